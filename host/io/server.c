#define _GNU_SOURCE
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/cursor.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "../core/router_why.h"
#include "log.h"
#include "server_state.h"
#include "wait.h"

// For the last answers to be written.
static const int64_t kFlush = NANOSECONDS_PER_SECOND;

// ---- the end ----

static void close_listeners(struct server *server) {
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    listener_close(server->deployments[i]->listener);
    server->deployments[i]->listener = NULL;
  }
}

// Clients find the next router from now on, or none; operators find this one until it ends.
static void retire_listeners(struct server *server) {
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    struct served *served = server->deployments[i];
    if (served->started && served->listener) {
      listener_retire(served->listener);
    } else {
      listener_close(served->listener);
      served->listener = NULL;
    }
  }
}

void server_finish(struct server *server, const char *why) {
  if (server->phase != SERVER_SERVES) return;
  int64_t now = wait_now();
  char text[160];
  snprintf(text, sizeof text, "ends: %s; calls in progress have %lld s", why,
           (long long)(LIMIT_DRAIN / NANOSECONDS_PER_SECOND));
  log_line("farside", text);
  server->phase = SERVER_FINISHES;
  server->phase_until = now + LIMIT_DRAIN;
  retire_listeners(server);
  server_peers_drain(server, LIMIT_DRAIN, now);
  hub_finish(server->hub, now);
  loop_stir(server->loop);
}

// From phase to phase; each has its time.
static void step_phase(struct server *server, int64_t now) {
  bool is_late = now >= server->phase_until;
  if (server->phase == SERVER_FINISHES && (is_late || hub_finished(server->hub))) {
    server->phase = SERVER_DRAINS;
    server->phase_until = now + LIMIT_CONTEXT_EXIT + LIMIT_GRACE;
    hub_drain(server->hub, now);
    is_late = false;
    loop_stir(server->loop);
  }
  if (server->phase == SERVER_DRAINS && (is_late || hub_drained(server->hub))) {
    server->phase = SERVER_FLUSHES;
    server->phase_until = now + kFlush;
    is_late = false;
  }
  if (server->phase == SERVER_FLUSHES && (is_late || server_peers_flushed(server)))
    server->phase = SERVER_ENDED;
}

static void on_signal(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  struct server *server = poll->data;
  struct signalfd_siginfo info;
  while (read(server->signal_fd, &info, sizeof info) == sizeof info) {
    if (server->phase == SERVER_SERVES) {
      server_finish(server, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    } else {
      server->signal = (int)info.ssi_signo;
      server->phase = SERVER_ENDED;
    }
  }
  loop_stir(server->loop);
}

// ---- turns ----

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t turn_listeners(struct server *server, int64_t now) {
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    struct listener *listener = server->deployments[i]->listener;
    if (!listener) continue;
    listener_tick(listener, now);
    next = sooner(next, listener_deadline(listener));
  }
  return next;
}

// Nobody has needed it for its ttl.
static void end_served(struct served *served, int64_t now) {
  char text[128];
  snprintf(text, sizeof text, "ends: no client for its ttl of %g s", (double)served->ttl / 1e9);
  log_line(served->name, text);
  served->ended = true;
  listener_close(served->listener);
  served->listener = NULL;
  hub_deployment_end(served->server->hub, served->number, now);
}

// What an error says, or the one that caused it.
static void copy_message(const struct payload *error, char *text, size_t size) {
  struct cursor map = cursor_of(error->parts[0].bytes, error->parts[0].size), value;
  const unsigned char *bytes;
  size_t length;
  if (!cursor_array(&map, &length) || !length) return;
  if (cursor_find(map, "cause", &value) && cursor_type(&value) == CURSOR_MAP) map = value;
  if (cursor_find(map, "message", &value) && cursor_str(&value, &bytes, &length))
    snprintf(text, size, "%.*s", (int)length, (const char *)bytes);
}

// Its callers are told, and so is whoever has started this process.
static void say_failed(struct served *served) {
  struct deployment_status status;
  char cause[LIMIT_ERROR_MESSAGE] = "it is not known why", line[LIMIT_ERROR_MESSAGE + 100];
  if (!hub_status(served->server->hub, served->number, &status)) return;
  if (status.failure) copy_message(status.failure, cause, sizeof cause);
  payload_unref(status.failure);
  snprintf(line, sizeof line, "has failed, as no worker becomes ready; the last failure: %s",
           cause);
  log_line(served->name, line);
  server_line(served->server, served->number, ROUTER_NONE, line, strlen(line));
}

static void turn_failures(struct server *server) {
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    struct served *served = server->deployments[i];
    if (!served->started) continue;
    enum deployment_state state = router_deployment_state(hub_router(server->hub), served->number);
    bool failed = state == DEPLOYMENT_FAILED;
    if (failed && !served->failed) say_failed(served);
    if (served->failed && state == DEPLOYMENT_READY) log_line(served->name, "is ready again");
    served->failed = failed;
  }
}

// Ends the deployments whose time is over, and this process with the last one.
static int64_t turn_ttls(struct server *server, int64_t now) {
  int64_t next = INT64_MAX;
  uint32_t left = 0;
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    struct served *served = server->deployments[i];
    bool may_end = served->started && served->ttl && !served->clients && !served->ended;
    if (may_end && now - served->left_at >= served->ttl)
      end_served(served, now);
    else if (may_end)
      next = sooner(next, served->left_at + served->ttl);
    left += !served->ended;
  }
  if (!left && server->deployment_count) server_finish(server, "no deployment is left");
  return next;
}

static int64_t on_turn(void *owner, int64_t now) {
  struct server *server = owner;
  int64_t next = hub_turn(server->hub, now);
  next = sooner(next, server_peers_turn(server, now));
  next = sooner(next, turn_listeners(server, now));
  next = sooner(next, server_http_turn(server, now));
  turn_failures(server);
  if (server->phase == SERVER_SERVES) next = sooner(next, turn_ttls(server, now));
  if (server->phase == SERVER_SERVES) return next;
  step_phase(server, now);
  return sooner(next, server->phase_until);
}

static void on_poll(void *owner) {
  struct server *server = owner;
  hub_poll(server->hub);
  server_peers_poll(server);
}

int server_run(struct server *server) {
  loop_acquire(server->loop);
  while (server->phase != SERVER_ENDED) loop_wait(server->loop, INT64_MAX);
  loop_release(server->loop);
  return server->signal;
}

// ---- deployments ----

struct served *server_find(const struct server *server, const char *name, const char *tag) {
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    struct served *served = server->deployments[i];
    if (served->started && !strcmp(served->name, name) && !strcmp(served->tag, tag)) return served;
  }
  return NULL;
}

static char *copy_text(const char *text) {
  char *copy = strdup(text ? text : "");
  if (!copy) abort();
  return copy;
}

static void add(struct server *server, struct served *served) {
  server->deployments =
      xrealloc(server->deployments, (server->deployment_count + 1) * sizeof *server->deployments);
  served->server = server;
  served->number = server->deployment_count;
  server->deployments[server->deployment_count++] = served;
}

int server_claim(struct server *server, const char *name, const char *tag, const char *path,
                 pid_t *holder, char *why, size_t size) {
  char found[ADDRESS_SIZE];
  *holder = 0;
  int error = path ? 0 : address_of(name, tag, true, found, why, size);
  if (error) return error;
  struct listener *listener;
  error = listener_open(&listener, path ? path : found, holder, why, size);
  if (error) return error;
  struct served *served = xcalloc(1, sizeof *served);
  served->name = copy_text(name);
  served->tag = copy_text(tag);
  served->hash = copy_text(NULL);
  snprintf(served->path, sizeof served->path, "%s", path ? path : found);
  served->listener = listener;
  add(server, served);
  return (int)served->number;
}

const char *server_path(const struct server *server, uint32_t number) {
  return server->deployments[number]->path;
}

static struct payload *make_welcome(const struct served *served,
                                    const struct router_deployment_options *options) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 4);
  pack_text(&body, "name");
  pack_text(&body, served->name);
  pack_text(&body, "tag");
  pack_text(&body, served->tag);
  pack_text(&body, "hash");
  pack_text(&body, served->hash);
  pack_text(&body, "manifest");
  pack_str(&body, options->manifest, options->manifest_size);
  struct payload *welcome = body.failed ? NULL : payload_copy(body.bytes, body.size);
  buffer_free(&body);
  if (!welcome) abort();
  return welcome;
}

static struct payload *copy_of(const struct payload *payload) {
  struct payload *copy = payload ? payload_join(payload) : NULL;
  if (payload && !copy) abort();
  return copy;
}

static void fill(struct served *served, const struct server_deployment *deployment) {
  const struct router_deployment_options *options = deployment->router;
  free(served->hash);
  served->hash = copy_text(deployment->hash);
  served->files = copy_of(deployment->files);
  served->description = copy_of(deployment->description);
  served->welcome = make_welcome(served, options);
  served->function_count = options->function_count;
  served->function_names = xcalloc(options->function_count + 1, sizeof *served->function_names);
  for (uint32_t i = 0; i < options->function_count; i++)
    served->function_names[i] = copy_text(deployment->function_names[i]);
}

static void on_accepted(void *owner, int fd, bool is_last) {
  server_meet(owner, fd, is_last);
}

static int deploy(struct server *server, struct served *served,
                  const struct server_deployment *deployment, char *why, size_t size) {
  int error;
  uint32_t number = hub_deploy(server->hub, deployment->router, &error, why, size);
  if (number == ROUTER_NONE) return error;
  assert(number == served->number);
  fill(served, deployment);
  served->started = true;
  served->ttl = deployment->ttl;
  served->left_at = wait_now();
  error = listener_start(served->listener, loop_uv(server->loop),
                         &(struct listener_events){on_accepted, served});
  if (error) snprintf(why, size, "the socket cannot be listened on: %s", uv_strerror(error));
  return error;
}

int server_deploy(struct server *server, uint32_t number,
                  const struct server_deployment *deployment, char *why, size_t size) {
  loop_acquire(server->loop);
  int error = deploy(server, server->deployments[number], deployment, why, size);
  loop_release(server->loop);
  return error;
}

int server_record(struct server *server, const char *path) {
  loop_acquire(server->loop);
  int error = hub_record(server->hub, path);
  loop_release(server->loop);
  return error;
}

// ---- life ----

// A file that may not become larger, the record or that of stderr, is an error to its writer, and
// not the end of this process.
static int open_signals(struct server *server) {
  sigset_t set;
  signal(SIGXFSZ, SIG_IGN);
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (server->signal_fd < 0) return -errno;
  int error = uv_poll_init(loop_uv(server->loop), &server->signals, server->signal_fd);
  if (error) return error;
  server->signals.data = server;
  return uv_poll_start(&server->signals, UV_READABLE, on_signal);
}

int server_open(struct server **out) {
  struct server *server = xcalloc(1, sizeof *server);
  struct loop_events events = {on_turn, on_poll, NULL, server};
  server->signal_fd = -1;
  server->started = wait_now();
  listener_raise_limit();
  int error = loop_open(&server->loop, &events);
  if (!error) error = hub_open(&server->hub, server->loop);
  if (!error) error = open_signals(server);
  if (error) {
    server_close(server);
    return error;
  }
  router_keep_whys(hub_router(server->hub), LIMIT_WHYS);
  server_memory_open(server);
  server_http_open(server);
  hub_on_line(server->hub, server_line, server);
  *out = server;
  return 0;
}

static void free_served(struct served *served) {
  for (uint32_t i = 0; i < served->function_count; i++) free(served->function_names[i]);
  free(served->function_names);
  payload_unref(served->files);
  payload_unref(served->description);
  payload_unref(served->welcome);
  free(served->tail.text);
  free(served->name);
  free(served->tag);
  free(served->hash);
  free(served);
}

static void close_handles(struct server *server) {
  loop_acquire(server->loop);
  close_listeners(server);
  if (server->hub) server_peers_close(server);
  server_http_close(server);
  if (server->hub) hub_close(server->hub);
  loop_release(server->loop);
  loop_close(server->loop);
}

void server_close(struct server *server) {
  if (!server) return;
  if (server->loop) close_handles(server);
  if (server->signal_fd >= 0) close(server->signal_fd);
  if (server->hub) hub_free(server->hub);
  for (uint32_t i = 0; i < server->deployment_count; i++) free_served(server->deployments[i]);
  free(server->deployments);
  server_log_close(server);
  free(server);
}
