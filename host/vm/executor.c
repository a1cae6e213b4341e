#define _GNU_SOURCE
#include "executor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/client.h"
#include "../core/frame.h"
#include "../core/limits.h"
#include "../core/payload.h"
#include "../io/page.h"
#include "../io/wait.h"
#include "../io/warden.h"
#include "bind_call.h"
#include "bind_executor.h"
#include "bind_fork.h"
#include "codec.h"
#include "executor_state.h"
#include "vm.h"

// An executor that had nothing to do for so long gives memory back.
static const int64_t kRest = NANOSECONDS_PER_SECOND;
// A cancelled call that blocks again: it looks again after so long whether it goes on.
static const int64_t kBlockCancelled = 10 * NANOSECONDS_PER_MILLISECOND;

// How long a worker whose GPU has failed has to unwind its calls and exit its contexts.
static const int64_t kFaulted = 900 * NANOSECONDS_PER_MILLISECOND;

void executor_exit(int code) {
  fflush(NULL);
  _exit(code);
}

// ---- what comes ----

static void begin_call(struct executor *executor, lua_State *L, struct message *message) {
  executor->begun = message->sequence;
  if (executor_ahead_claim(executor, message)) executor_call_start(executor, L, message);
  payload_unref(message->body);
}

static void on_message(struct executor *executor, lua_State *L, struct message *message) {
  if (executor_nested_message(executor, message)) return;
  if (message->type == MESSAGE_CREDIT) {
    executor_stream_credit(executor, L, message);
    return;
  }
  if (message->type != MESSAGE_CALL || message->sequence <= executor->last) {
    fprintf(stderr, "farside: the router sent what no worker expects: %s, %llu after %llu\n",
            message_name((enum message_type)message->type), (unsigned long long)message->sequence,
            (unsigned long long)executor->last);
    executor_exit(EXIT_INTERNAL);
  }
  executor->last = message->sequence;
  executor->rests = false;
  if (!executor_ahead_hold(executor, message)) begin_call(executor, L, message);
}

// Reads without waiting. True: something came, or nothing will come any more.
static bool receive(struct executor *executor) {
  size_t size;
  unsigned char *space = reader_space(executor->reader, &size);
  if (!space) return true;  // no memory: the reader says so
  ssize_t n = recv(executor->data, space, size, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0)
    reader_received(executor->reader, (size_t)n);
  else
    executor->router_gone = true;
  return true;
}

static void start_calls(struct executor *executor, lua_State *L) {
  struct message message;
  int result = FRAME_MORE;
  while (!executor->tainted && !executor->fault) {
    if (executor_ahead_next(executor, &message))
      begin_call(executor, L, &message);
    else if ((result = reader_next(executor->reader, &message)) == FRAME_OK)
      on_message(executor, L, &message);
    else
      break;
  }
  if (result == FRAME_OK || result == FRAME_MORE) return;
  const char *reason;
  uint64_t offset;
  fprintf(stderr, "farside: the router sent bytes that are no frames: %s\n",
          reader_error(executor->reader, &reason, &offset));
  executor_exit(EXIT_INTERNAL);
}

// ---- turns ----

// Sleeps until something can be received (if `data`), the warden or the instant comes.
static void sleep_until(struct executor *executor, lua_State *L, int64_t until, bool data) {
  struct pollfd fds[] = {{.fd = data ? executor->data : -1, .events = POLLIN},
                         {.fd = warden_fd(executor->warden), .events = POLLIN}};
  int64_t left = until - wait_now();
  if (left < 0) left = 0;
  struct timespec timeout = {left / NANOSECONDS_PER_SECOND, left % NANOSECONDS_PER_SECOND};
  int count = ppoll(fds, 2, until == INT64_MAX ? NULL : &timeout, NULL);
  if (count <= 0) return;
  if (fds[0].revents) receive(executor);
  if (fds[1].revents) warden_woken(executor->warden);
  if (warden_alone(executor->warden)) executor->router_gone = true;
  // Nobody waits for the results of what is suspended.
  if (executor->router_gone) executor_call_cancel_all(executor, L);
  executor_call_cancels(executor, L);
}

bool executor_draining(const struct executor *executor) {
  return executor->router_gone || warden_draining(executor->warden);
}

static bool shall_end(const struct executor *executor) {
  if (executor->tainted || executor->fault) return true;
  return executor_draining(executor) && !executor->running;
}

// As sleep_until, but an idle executor gives its memory back first.
static void sleep_or_rest(struct executor *executor, lua_State *L, int64_t until, bool data) {
  int64_t rest = wait_now() + kRest;
  bool is_idle = !executor->rests && !executor->running && until > rest;
  sleep_until(executor, L, is_idle ? rest : until, data);
  if (!is_idle || wait_now() < rest) return;
  executor->rests = true;
  vm_give_blocks();
}

bool executor_turn(struct executor *executor, lua_State *L, int64_t until) {
  assert(!executor->active);
  executor_flush(executor);
  if (shall_end(executor)) return false;
  // Also while calls come in all the time; who is cancelled is to be resumed at once.
  if (executor_call_cancels(executor, L) || executor_ahead_ready(executor)) until = 0;
  bool came = false, open = !executor->router_gone;
  wait_begin(&executor->wait);
  while (open && !came && wait_again(&executor->wait) && wait_now() < until)
    came = receive(executor);
  if (!came || executor->router_gone) sleep_or_rest(executor, L, until, open);
  wait_end(&executor->wait);
  if (!executor->router_gone) start_calls(executor, L);
  executor_flush(executor);
  return !shall_end(executor);
}

void executor_pause(struct executor *executor, lua_State *L, int64_t until) {
  const struct running *active = executor->active;
  executor_flush(executor);
  executor_call_block(executor);
  int64_t most = active && active->is_cancelled ? wait_now() + kBlockCancelled : INT64_MAX;
  bool awaits = executor_nested_pending(executor) || executor->waiting;
  if (!active || !active->is_claimed) sleep_until(executor, L, until < most ? until : most, awaits);
  if (awaits && !executor->router_gone) start_calls(executor, L);
  executor_call_unblock(executor);
  // Own code is not interrupted elsewhere: see spares_own.
  if (active && active->is_claimed && active->is_safe) luaL_error(L, "interrupted");
}

// cancelled() of the call whose sequence is an upvalue.
static int l_cancelled(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  if (executor_is_forked(executor)) bind_fork_refuse(L);
  uint64_t sequence = (uint64_t)lua_tonumber(L, lua_upvalueindex(2));
  lua_pushboolean(L, executor_call_cancelled(executor, L, sequence));
  return 1;
}

int executor_current(struct executor *executor, lua_State *L) {
  const struct running *running = executor_call_of(executor, L);
  if (!running) return 0;
  bind_call_push_id(L, running->call.id);
  lua_pushinteger(L, (lua_Integer)running->call.attempt);
  lua_pushnumber(L, (lua_Number)(running->entered + running->call.remaining) / 1e9);
  lua_pushlightuserdata(L, executor);
  lua_pushnumber(L, (lua_Number)running->call.sequence);
  lua_pushcclosure(L, l_cancelled, 2);
  return 4;
}

bool executor_is_forked(const struct executor *executor) {
  return fork_is_child(executor->mark);
}

void executor_open(struct executor *executor, const struct executor_callbacks *callbacks) {
  int settle = executor->callbacks.settle;
  executor->callbacks = *callbacks;
  executor->callbacks.settle = settle;
}

void executor_measure(struct executor *executor, bool begin) {
  if (begin && executor->measure_fd < 0) {
    executor->measure_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    while (executor->measure_fd >= 0 && !executor_draining(executor) &&
           flock(executor->measure_fd, LOCK_EX) && errno == EINTR)
      continue;
  } else if (!begin && executor->measure_fd >= 0) {
    close(executor->measure_fd);
    executor->measure_fd = -1;
  }
}

// In bytes; 0: not known.
static uint64_t resident_size(void) {
  char text[64] = "";
  unsigned long long pages = 0;
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) > 0) sscanf(text, "%*u %llu", &pages);
  close(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void executor_check_size(struct executor *executor, uint32_t function) {
  uint64_t most = executor->callbacks.rules[function].max_rss;
  if (!most || executor->has_grown) return;
  uint64_t resident = resident_size();
  if (resident <= most) return;
  executor->has_grown = true;
  struct message message = {.type = MESSAGE_RECYCLE, .function = function, .resident = resident};
  warden_send(executor->warden, &message);
}

// ---- the role ----

void executor_ready(struct executor *executor, struct payload *body) {
  struct message message = {
      .type = MESSAGE_READY, .generation = executor->generation, .body = body};
  warden_send(executor->warden, &message);
}

void executor_goodbye(struct executor *executor, int code, const char *phase,
                      struct payload *body) {
  static const char *const names[] = {"",           "bundle",  "context",   "benchmark",
                                      "crash_loop", "tainted", "no_device", "unsupported",
                                      "gpu_fault",  "gpu_lost"};
  struct message message = {.type = MESSAGE_GOODBYE, .code = code, .body = body};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i], phase)) message.reason = (uint8_t)i;
  warden_send(executor->warden, &message);
}

void executor_fault(struct executor *executor, bool is_lost, struct payload *body) {
  if (executor->fault) {
    payload_unref(body);
    return;
  }
  executor_flush(executor);
  executor->fault = is_lost ? EXIT_GPU_LOST : EXIT_GPU_FAULT;
  executor_goodbye(executor, executor->fault, is_lost ? "gpu_lost" : "gpu_fault", body);
  warden_doom(executor->warden, wait_now() + kFaulted, executor->fault, NULL);
}

void executor_settles(struct executor *executor, lua_State *L) {
  executor->callbacks.settle = luaL_ref(L, LUA_REGISTRYINDEX);
}

void executor_suspects(struct executor *executor, int64_t at, struct payload *body) {
  struct message parting = {
      .type = MESSAGE_GOODBYE, .code = EXIT_GPU_LOST, .reason = PHASE_GPU_LOST, .body = body};
  warden_doom(executor->warden, at, EXIT_GPU_LOST, body ? &parting : NULL);
}

uint64_t executor_device(const struct executor *executor, bool *is_suspect) {
  *is_suspect = executor->page->device_suspect;
  return executor->page->device_before;
}

void executor_device_free(struct executor *executor, uint64_t bytes) {
  executor->page->device_free = bytes;
}

// On the warden's thread.
static void interrupt_executor(void *owner) {
  struct executor *executor = owner;
  interrupt_send(&executor->interrupt, executor->thread);
}

// The sources of Farside's own Lua lie where its function `trace` does.
static bool is_own(struct executor *executor, lua_State *L, const char *source) {
  lua_Debug own;
  executor_push(L, executor->callbacks.trace);
  if (!lua_getinfo(L, ">S", &own)) return false;
  const char *end = strrchr(own.source, '/');
  return end && !strncmp(source, own.source, (size_t)(end - own.source) + 1);
}

// A worker that goes on after an interrupt needs its scheduler whole: Farside's own code is not
// interrupted, but for where it waits.
static bool spares_own(void *owner, lua_State *L) {
  struct executor *executor = owner;
  lua_Debug frame;
  if (!executor->active || !executor->active->is_safe) return false;
  for (int level = 0; lua_getstack(L, level, &frame); level++)
    if (lua_getinfo(L, "S", &frame) && *frame.what != 'C') return is_own(executor, L, frame.source);
  return false;
}

static bool is_wanted(void *owner) {
  struct executor *executor = owner;
  return warden_stopping(executor->warden);
}

// require('farside.dispatch').main(executor, start) -> exit code
static int run(struct executor *executor, struct message *start) {
  lua_State *L = executor->L;
  bind_executor(L, executor);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "farside.dispatch");
  if (vm_call(L, 1, 1)) goto fail;
  executor_call_open(executor);
  lua_getfield(L, -1, "main");
  lua_pushvalue(L, 1);
  int count = codec_decode(L, start->body, 0);
  payload_unref(start->body);
  if (count != 1) goto fail;
  lua_getfield(L, -1, "cwd");
  if (lua_isstring(L, -1) && chdir(lua_tostring(L, -1)))
    fprintf(stderr, "farside: %s: %s\n", lua_tostring(L, -1), strerror(errno));
  lua_pop(L, 1);
  if (vm_call(L, 2, 1)) goto fail;
  return (int)lua_tointeger(L, -1);

fail:
  fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  return EXIT_INTERNAL;
}

// What the parent could not do: no other descriptor, first to be chosen when memory runs out, lines
// of output at once. False: these are no workers' descriptors.
static bool prepare(int data, int control, int page) {
  struct stat status;
  if (fstat(data, &status) || !S_ISSOCK(status.st_mode) || fstat(control, &status) ||
      !S_ISSOCK(status.st_mode) || fstat(page, &status))
    return false;
  close_range((unsigned)page + 1, ~0u, 0);
  fcntl(data, F_SETFD, FD_CLOEXEC);
  fcntl(control, F_SETFD, FD_CLOEXEC);
  setpgid(0, 0);
  int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0 && write(score, "500", 3) < 0) errno = 0;  // a wish
  if (score >= 0) close(score);
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  vm_keep_blocks();
  return true;
}

static uint64_t random_session(void) {
  uint64_t session;
  if (getrandom(&session, sizeof session, 0) != sizeof session) executor_exit(EXIT_INTERNAL);
  return session;
}

int executor_main(int data, int control, int page) {
  if (!prepare(data, control, page)) {
    fprintf(stderr,
            "farside: workers are started by a router, not by hand; try: farside run SCRIPT\n");
    return EXIT_USAGE;
  }
  struct executor executor = {.data = data, .measure_fd = -1};
  executor.held_end = &executor.held;
  executor.page = page_open(page);
  executor.L = vm_open(VM_WORKER);
  executor.mark = fork_mark_new();
  if (!executor.page || !executor.L || !executor.mark) return EXIT_INTERNAL;
  executor.interrupt = (struct interrupt){executor.L, is_wanted, spares_own, &executor};
  executor.thread = pthread_self();
  struct warden_options options = {
      .control = control,
      .interrupt = interrupt_executor,
      .look = executor_look,
      .owner = &executor,
  };
  if (warden_start(&executor.warden, &options)) return EXIT_INTERNAL;
  interrupt_open(&executor.interrupt);
  struct message start;
  if (!warden_wait_start(executor.warden, &start)) return EXIT_ROUTER_GONE;
  executor.generation = start.generation;
  executor.epoch = start.epoch;
  executor.client = client_new(random_session());
  executor.reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  wait_init(&executor.wait);

  int code = run(&executor, &start);
  if (executor_is_forked(&executor)) fork_leave(code);
  if (executor.fault) {
    code = executor.fault;
  } else if (executor.tainted) {
    executor_goodbye(&executor, EXIT_TAINTED, "tainted", NULL);
    code = EXIT_TAINTED;
  }
  if (executor.has_grown && !code) code = EXIT_GROWN;
  executor_flush(&executor);
  fflush(NULL);
  if (warden_alone(executor.warden)) executor.router_gone = true;
  warden_stop(executor.warden);
  executor_exit(executor.router_gone && !code ? EXIT_ROUTER_GONE : code);
}
