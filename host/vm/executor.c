#define _GNU_SOURCE
#include "executor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/frame.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "../io/page.h"
#include "../io/wait.h"
#include "../io/warden.h"
#include "bind_executor.h"
#include "codec.h"
#include "interrupt.h"
#include "vm.h"

enum { EXIT_USAGE = 64, EXIT_INTERNAL = 70, EXIT_TAINTED = 83, EXIT_ROUTER_GONE = 84 };

// Answers up to this size gather until the turn ends; a larger body is written from where it lies.
static const size_t kGathered = 16 * 1024;

// A call that was entered and has not ended.
struct running {
  struct message call;  // without its body
  lua_State *co;
  int anchor;  // keeps `co` alive: its place in the pool's table
  int64_t entered;
  bool cancelled;  // the scheduler remembers it of the coroutine, which so serves no other call
  struct running *next;
};

struct executor {
  lua_State *L;
  struct interrupt interrupt;
  pthread_t thread;
  struct warden *warden;
  struct page *page;
  int data;
  struct reader *reader;
  struct buffer out;
  struct wait wait;
  struct executor_callbacks callbacks;
  uint64_t last;  // sequence
  uint32_t generation;
  struct running *running, *spare;
  struct running *active;  // the one that runs now
  int pool;                // registry references: coroutines by anchor;
  int xpcall;              // the function
  int measure_fd;
  bool router_gone, tainted;
};

// ---- answers ----

static void write_all(struct executor *executor, struct iovec *vector, int count) {
  while (count) {
    struct msghdr header = {.msg_iov = vector, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(executor->data, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      struct pollfd full = {.fd = executor->data, .events = POLLOUT};
      poll(&full, 1, -1);
      continue;
    }
    if (n < 0) {
      executor->router_gone = true;
      return;
    }
    for (size_t left = (size_t)n; count && (left || !vector->iov_len);) {
      size_t cut = left < vector->iov_len ? left : vector->iov_len;
      vector->iov_base = (char *)vector->iov_base + cut;
      vector->iov_len -= cut;
      left -= cut;
      if (vector->iov_len) break;
      vector++;
      count--;
    }
  }
}

static void flush(struct executor *executor) {
  if (!executor->out.size) return;
  struct iovec vector = {executor->out.bytes, executor->out.size};
  write_all(executor, &vector, 1);
  buffer_clear(&executor->out);
}

static void flush_large(struct executor *executor, const struct payload *body) {
  struct iovec vector[1 + PAYLOAD_PARTS] = {{executor->out.bytes, executor->out.size}};
  for (uint32_t i = 0; i < body->count; i++)
    vector[1 + i] = (struct iovec){(void *)(uintptr_t)body->parts[i].bytes, body->parts[i].size};
  write_all(executor, vector, 1 + (int)body->count);
  buffer_clear(&executor->out);
}

// Takes over the body.
static void answer(struct executor *executor, const struct message *call, enum message_type type,
                   int64_t elapsed, struct payload *body) {
  struct message message = {.type = (uint8_t)type,
                            .id = call->id,
                            .attempt = call->attempt,
                            .epoch = call->epoch,
                            .sequence = call->sequence,
                            .elapsed = elapsed,
                            .body = body};
  if (body && body->size > kGathered) {
    frame_header(&executor->out, &message);
    flush_large(executor, body);
  } else {
    frame_append(&executor->out, &message);
  }
  payload_unref(body);
}

static void answer_cancelled(struct executor *executor, const struct message *call,
                             enum cancel_reason reason) {
  struct error_writer writer;
  bool late = reason == CANCEL_DEADLINE;
  error_begin(&writer, late ? ERROR_DEADLINE_EXCEEDED : ERROR_CANCELLED, EXECUTED_NO, false,
              "worker");
  error_message(&writer, "the call was ended before its function was entered");
  if (!late) error_string(&writer, "by", reason == CANCEL_SHUTDOWN ? "shutdown" : "client");
  answer(executor, call, MESSAGE_ERROR, 0, error_end(&writer));
}

// Pushes a callback or table that Lua has given.
static void push(lua_State *L, int reference) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
}

// The error table on top of L, popped, as a body; without its data where that cannot travel.
static struct payload *error_body(struct executor *executor, lua_State *L) {
  int table = lua_gettop(L);
  push(L, executor->callbacks.registry);
  struct payload *body = codec_encode(L, table, 1, table + 1, 0, "result");
  if (!body) {
    lua_pushnil(L);
    lua_setfield(L, table, "data");
    body = codec_encode(L, table, 1, table + 1, 0, "result");
  }
  lua_settop(L, table - 1);
  if (body) return body;
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  error_message(&writer, "the function raised an error that cannot travel");
  return error_end(&writer);
}

// describe(what `trace` made of the error, or the error itself) -> error table, in a protected call.
static struct payload *describe(struct executor *executor, lua_State *co) {
  lua_State *L = executor->L;
  push(L, executor->callbacks.describe);
  lua_pushvalue(co, -1);
  lua_xmove(co, L, 1);
  if (!vm_call(L, 1, 1)) return error_body(executor, L);
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  error_message(&writer, "the function raised an error that cannot be described: %s",
                lua_tostring(L, -1));
  error_string(&writer, "kind", "error");
  lua_pop(L, 1);
  return error_end(&writer);
}

// ---- coroutines ----

static int new_coroutine(struct executor *executor, struct running *running) {
  lua_State *L = executor->L;
  push(L, executor->pool);
  running->co = lua_newthread(L);
  push(L, executor->callbacks.ours);
  lua_pushvalue(L, -2);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  running->anchor = luaL_ref(L, -2);
  lua_pop(L, 1);
  return 0;
}

static struct running *occupy(struct executor *executor, const struct message *call) {
  struct running *running = executor->spare;
  if (running)
    executor->spare = running->next;
  else
    new_coroutine(executor, running = xcalloc(1, sizeof *running));
  running->call = *call;
  running->call.body = NULL;
  running->next = executor->running;
  executor->running = running;
  return running;
}

// A coroutine that has returned can run again; one that ended in an error cannot.
static void end(struct executor *executor, struct running *running, bool reusable) {
  struct running **at = &executor->running;
  while (*at != running) at = &(*at)->next;
  *at = running->next;
  if (reusable) {
    lua_settop(running->co, 0);
    running->next = executor->spare;
    executor->spare = running;
    return;
  }
  push(executor->L, executor->pool);
  luaL_unref(executor->L, -1, running->anchor);
  lua_pop(executor->L, 1);
  free(running);
}

// The results lie above the `true` of xpcall.
static void answer_results(struct executor *executor, struct running *running, int64_t elapsed) {
  lua_State *co = running->co;
  int count = lua_gettop(co) - 1;
  luaL_checkstack(co, 4, NULL);
  push(co, executor->callbacks.registry);
  struct payload *body = codec_encode(co, 2, count, count + 2, 0, "result");
  if (body) {
    answer(executor, &running->call, MESSAGE_RESULT, elapsed, body);
    return;
  }
  lua_pushliteral(co, "yes");
  lua_setfield(co, -2, "executed");
  lua_pushliteral(co, "worker");
  lua_setfield(co, -2, "where");
  lua_xmove(co, executor->L, 1);
  answer(executor, &running->call, MESSAGE_ERROR, elapsed, error_body(executor, executor->L));
}

// The call has ended, or waits. Answers unless the warden has claimed it.
static void left(struct executor *executor, struct running *running, int status) {
  executor->active = NULL;
  bool mine = warden_leave(executor->warden);
  if (!mine) executor->tainted = true;
  if (status == LUA_YIELD && mine) return;
  if (mine) {
    int64_t elapsed = wait_now() - running->entered;
    if (status == 0 && lua_toboolean(running->co, 1))
      answer_results(executor, running, elapsed);
    else
      answer(executor, &running->call, MESSAGE_ERROR, elapsed, describe(executor, running->co));
  }
  atomic_fetch_add_explicit(&executor->page->left, 1, memory_order_relaxed);
  if (status == LUA_ERRMEM) lua_gc(executor->L, LUA_GCCOLLECT, 0);
  if (status != LUA_YIELD) end(executor, running, status == 0 && !running->cancelled);
}

static struct running *running_of(struct executor *executor, const lua_State *co) {
  struct running *running = executor->running;
  while (running && running->co != co) running = running->next;
  return running;
}

int executor_resume(struct executor *executor, lua_State *L, lua_State *co, int arguments) {
  (void)L;
  struct running *running = executor->active ? NULL : running_of(executor, co);
  if (!running) return lua_resume(co, arguments);
  executor->active = running;
  warden_enter(executor->warden, running->call.sequence);
  int status = lua_resume(co, arguments);
  left(executor, running, status);
  return status;
}

// ---- calls ----

static void refuse(struct executor *executor, const struct message *call) {
  lua_State *L = executor->L;  // [error table]
  lua_pushliteral(L, "no");
  lua_setfield(L, -2, "executed");
  lua_pushliteral(L, "worker");
  lua_setfield(L, -2, "where");
  answer(executor, call, MESSAGE_ERROR, 0, error_body(executor, L));
}

// A coroutine begins in xpcall, which may be yielded across: once it has ended in an error a coroutine no longer knows the line of its top frame.
static bool push_entry(struct executor *executor, lua_State *co, uint32_t function) {
  push(co, executor->xpcall);
  push(co, executor->callbacks.entries);
  lua_rawgeti(co, -1, (int)function);
  lua_replace(co, -2);
  push(co, executor->callbacks.trace);
  return lua_isfunction(co, 2);
}

static void start_call(struct executor *executor, struct message *call) {
  enum cancel_reason reason;
  struct running *running = occupy(executor, call);
  lua_State *co = running->co;
  if (!push_entry(executor, co, call->function)) {
    struct error_writer writer;
    error_begin(&writer, ERROR_NO_SUCH_FUNCTION, EXECUTED_NO, false, "worker");
    error_message(&writer, "the worker has no function %u", call->function);
    answer(executor, call, MESSAGE_ERROR, 0, error_end(&writer));
    end(executor, running, true);
    return;
  }
  push(co, executor->callbacks.registry);
  int arguments = codec_decode(co, call->body, 4);  // [xpcall, entry, trace, registry, values...]
  if (arguments < 0) {
    lua_xmove(co, executor->L, 1);
    refuse(executor, call);
    end(executor, running, true);
    return;
  }
  lua_remove(co, 4);
  running->entered = wait_now();
  executor->active = running;
  warden_enter(executor->warden, call->sequence);
  if (warden_cancelled(executor->warden, call->sequence, &reason)) {
    executor->active = NULL;
    warden_leave(executor->warden);
    answer_cancelled(executor, call, reason);
    end(executor, running, true);
    return;
  }
  atomic_store_explicit(&executor->page->entered, call->sequence, memory_order_release);
  left(executor, running, lua_resume(co, 2 + arguments));
}

static void on_message(struct executor *executor, struct message *message) {
  if (message->type != MESSAGE_CALL || message->sequence <= executor->last) {
    fprintf(stderr,
            "farside: the router sent what no worker expects: type %d, sequence %llu after %llu\n",
            message->type, (unsigned long long)message->sequence,
            (unsigned long long)executor->last);
    exit(EXIT_INTERNAL);
  }
  executor->last = message->sequence;
  start_call(executor, message);
  payload_unref(message->body);
}

// Reads without waiting. True: something came, or nothing will come any more.
static bool receive(struct executor *executor) {
  size_t size;
  unsigned char *space = reader_space(executor->reader, &size);
  ssize_t n = space ? recv(executor->data, space, size, MSG_DONTWAIT) : 0;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0)
    reader_received(executor->reader, (size_t)n);
  else
    executor->router_gone = true;
  return true;
}

static void start_calls(struct executor *executor) {
  struct message message;
  int result = FRAME_MORE;
  while (!executor->tainted && (result = reader_next(executor->reader, &message)) == FRAME_OK)
    on_message(executor, &message);
  if (result == FRAME_OK || result == FRAME_MORE) return;
  fprintf(stderr, "farside: the router sent bytes that are no frames: %s\n",
          reader_error(executor->reader, NULL, NULL));
  exit(EXIT_INTERNAL);
}

// ---- cancels ----

static bool is_suspended(void *owner, uint64_t sequence) {
  struct executor *executor = owner;
  for (struct running *running = executor->running; running; running = running->next)
    if (running->call.sequence == sequence && running != executor->active) return true;
  return false;
}

static const char *reason_name(enum cancel_reason reason) {
  return reason == CANCEL_DEADLINE ? "deadline" : reason == CANCEL_SHUTDOWN ? "shutdown" : "client";
}

static void cancel_suspended(struct executor *executor, uint64_t sequence,
                             enum cancel_reason reason) {
  lua_State *L = executor->L;
  for (struct running *running = executor->running; running; running = running->next) {
    if (running->call.sequence != sequence) continue;
    running->cancelled = true;
    push(L, executor->callbacks.cancel);
    push(L, executor->pool);
    lua_rawgeti(L, -1, running->anchor);
    lua_remove(L, -2);
    lua_pushstring(L, reason_name(reason));
    if (vm_call(L, 2, 0)) {
      fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
      lua_pop(L, 1);
    }
    return;
  }
}

static void deliver_cancels(struct executor *executor) {
  uint64_t sequence;
  enum cancel_reason reason;
  while (warden_next_cancel(executor->warden, is_suspended, executor, &sequence, &reason))
    cancel_suspended(executor, sequence, reason);
}

// ---- turns ----

// Nobody waits for the results of what is suspended.
static void cancel_all(struct executor *executor) {
  for (struct running *running = executor->running, *next; running; running = next) {
    next = running->next;
    cancel_suspended(executor, running->call.sequence, CANCEL_SHUTDOWN);
  }
}

// Sleeps until something can be received (if `data`), the warden or the instant comes.
static void sleep_until(struct executor *executor, int64_t until, bool data) {
  struct pollfd fds[] = {{.fd = data ? executor->data : -1, .events = POLLIN},
                         {.fd = warden_fd(executor->warden), .events = POLLIN}};
  int64_t left = until - wait_now();
  if (left < 0) left = 0;
  struct timespec timeout = {left / NANOSECONDS_PER_SECOND, left % NANOSECONDS_PER_SECOND};
  int count = ppoll(fds, 2, until == INT64_MAX ? NULL : &timeout, NULL);
  if (count > 0 && fds[0].revents && receive(executor) && executor->router_gone)
    cancel_all(executor);
  if (count <= 0 || !fds[1].revents) return;
  warden_woken(executor->warden);
  deliver_cancels(executor);
}

bool executor_draining(const struct executor *executor) {
  return executor->router_gone || warden_draining(executor->warden);
}

static bool shall_end(const struct executor *executor) {
  if (executor->tainted) return true;
  return executor_draining(executor) && !executor->running;
}

bool executor_turn(struct executor *executor, lua_State *L, int64_t until) {
  (void)L;
  flush(executor);
  if (shall_end(executor)) return false;
  bool came = false, open = !executor->router_gone;
  wait_begin(&executor->wait);
  while (open && !came && wait_again(&executor->wait) && wait_now() < until)
    came = receive(executor);
  if (!came || executor->router_gone) sleep_until(executor, until, open);
  wait_end(&executor->wait);
  start_calls(executor);
  flush(executor);
  return !shall_end(executor);
}

void executor_pause(struct executor *executor, lua_State *L, int64_t until) {
  (void)L;
  flush(executor);
  sleep_until(executor, until, false);
}

void executor_open(struct executor *executor, const struct executor_callbacks *callbacks) {
  executor->callbacks = *callbacks;
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

// ---- the role ----

void executor_ready(struct executor *executor, struct payload *body) {
  struct message message = {
      .type = MESSAGE_READY, .generation = executor->generation, .body = body};
  warden_send(executor->warden, &message);
}

void executor_goodbye(struct executor *executor, int code, const char *phase,
                      struct payload *body) {
  static const char *const names[] = {"",          "bundle",     "context",
                                      "benchmark", "crash_loop", "tainted"};
  struct message message = {.type = MESSAGE_GOODBYE, .code = code, .body = body};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i], phase)) message.reason = (uint8_t)i;
  warden_send(executor->warden, &message);
}

// On the warden's thread.
static void interrupt_executor(void *owner) {
  struct executor *executor = owner;
  interrupt_send(&executor->interrupt, executor->thread);
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

// What the parent could not do: no other descriptor, first to be chosen when memory runs out, lines of output at once. False: these are no workers' descriptors.
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

int executor_main(int data, int control, int page) {
  if (!prepare(data, control, page)) {
    fprintf(stderr,
            "farside: workers are started by a router, not by hand; try: farside run SCRIPT\n");
    return EXIT_USAGE;
  }
  struct executor executor = {.data = data, .measure_fd = -1};
  executor.page = page_open(page);
  executor.L = vm_open(VM_WORKER);
  if (!executor.page || !executor.L) return EXIT_INTERNAL;
  executor.interrupt = (struct interrupt){executor.L, is_wanted, &executor};
  executor.thread = pthread_self();
  struct warden_options options = {control, interrupt_executor, &executor};
  if (warden_start(&executor.warden, &options)) return EXIT_INTERNAL;
  interrupt_open(&executor.interrupt);
  struct message start;
  if (!warden_wait_start(executor.warden, &start)) return EXIT_ROUTER_GONE;
  executor.generation = start.generation;
  executor.reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  wait_init(&executor.wait);
  lua_newtable(executor.L);
  executor.pool = luaL_ref(executor.L, LUA_REGISTRYINDEX);
  lua_getglobal(executor.L, "xpcall");
  executor.xpcall = luaL_ref(executor.L, LUA_REGISTRYINDEX);

  int code = run(&executor, &start);
  if (executor.tainted) {
    executor_goodbye(&executor, EXIT_TAINTED, "tainted", NULL);
    code = EXIT_TAINTED;
  }
  flush(&executor);
  fflush(NULL);
  warden_stop(executor.warden);
  if (executor.router_gone && !code) code = EXIT_ROUTER_GONE;
  _exit(code);  // user code may have left threads and handlers behind
}
