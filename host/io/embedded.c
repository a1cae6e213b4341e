#include "embedded.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "local.h"
#include "log.h"
#include "loop.h"
#include "wait.h"

enum { PEER = 0, HEARTBEAT_MISSES = 3 };

// What is needed to start workers of a deployment.
struct deployed {
  char *name;
  struct payload *start;
  uint32_t first_worker;
};

struct embedded {
  struct loop *loop;
  struct client *client;
  struct router *router;
  struct local *local;  // NULL until the first deployment
  uint64_t epoch;
  struct deployed *deployed;
  uint32_t deployed_count;

  size_t fresh;  // calls that ended and were neither taken nor told of by embedded_wait
  void (*done)(void *owner);
  void *done_owner;

  int poll_fd;   // for programs with their own loop; -1 until asked for
  int ended_fd;  // an eventfd, readable while calls that ended are not taken
  bool told;     // it is
};

// ---- between the cores ----

static void tell_ended(struct embedded *embedded) {
  if (embedded->poll_fd < 0 || embedded->told || !client_done(embedded->client)) return;
  embedded->told = true;
  eventfd_write(embedded->ended_fd, 1);
}

static void untell_ended(struct embedded *embedded) {
  if (!embedded->told || client_done(embedded->client)) return;
  eventfd_t count;
  embedded->told = false;
  eventfd_read(embedded->ended_fd, &count);
}

// `before` calls had ended: notices those that did since.
static void notice_ended(struct embedded *embedded, size_t before) {
  size_t ended = client_done(embedded->client) - before;
  if (!ended) return;
  embedded->fresh += ended;
  tell_ended(embedded);
  loop_stir(embedded->loop);
}

// Workers are clients too: their functions make calls.
static uint32_t peer_of(uint32_t worker) {
  return PEER + 1 + worker;
}

static void start_worker(struct embedded *embedded, const struct action *action) {
  const struct deployed *deployed = &embedded->deployed[action->deployment];
  char name[128];
  snprintf(name, sizeof name, "%.100s w%u", deployed->name,
           action->worker - deployed->first_worker);
  router_client(embedded->router, peer_of(action->worker), wait_now());
  local_start(embedded->local, action->worker, action->generation, embedded->epoch, name,
              deployed->start);
}

static void send_on(struct embedded *embedded, struct action *action, int64_t now) {
  if (action->peer != PEER) {
    uint32_t worker = action->peer == ROUTER_NONE ? action->worker : action->peer - peer_of(0);
    local_send(embedded->local, worker, &action->message);
    if (action->peer != ROUTER_NONE) loop_stir(embedded->loop);  // no call of ours has ended
    return;
  }
  size_t before = client_done(embedded->client);
  client_message(embedded->client, &action->message, now);
  notice_ended(embedded, before);
}

// Does what the router has decided.
static void act(struct embedded *embedded, int64_t now) {
  struct action action;
  while (router_next(embedded->router, &action)) {
    switch (action.type) {
      case ROUTER_SEND:
        send_on(embedded, &action, now);
        break;
      case ROUTER_START:
        start_worker(embedded, &action);
        break;
      case ROUTER_KILL:
        local_kill(embedded->local, action.worker, action.generation);
        break;
      case ROUTER_LOG:
        log_line(embedded->deployed[action.deployment].name, action.text);
        break;
      case ROUTER_CLOSE:
        break;  // there is no connection to the only client
    }
  }
}

static uint32_t deployment_of(const struct embedded *embedded, uint32_t worker) {
  uint32_t deployment = embedded->deployed_count - 1;
  while (embedded->deployed[deployment].first_worker > worker) deployment--;
  return deployment;
}

static void on_message(void *owner, uint32_t worker, uint32_t generation, struct message *message) {
  struct embedded *embedded = owner;
  int64_t now = wait_now();
  bool is_answer = message->type == MESSAGE_RESULT || message->type == MESSAGE_ERROR;
  if (message->type == MESSAGE_CALL || message->type == MESSAGE_CANCEL)
    router_client_message(embedded->router, peer_of(worker), deployment_of(embedded, worker),
                          message, now);
  else
    router_worker_message(embedded->router, worker, generation, message, now);
  act(embedded, now);
  if (!is_answer) loop_stir(embedded->loop);
}

static void on_lost(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason,
                    int code, uint64_t entered) {
  struct embedded *embedded = owner;
  int64_t now = wait_now();
  router_client_gone(embedded->router, peer_of(worker), now);
  router_worker_lost(embedded->router, worker, generation, reason, code, entered, now);
  act(embedded, now);
  loop_stir(embedded->loop);
}

// ---- turns ----

// So that errors can say whether a function was entered.
static void report_entered(struct embedded *embedded) {
  uint32_t count = embedded->local ? local_count(embedded->local) : 0;
  for (uint32_t worker = 0; worker < count; worker++) {
    uint32_t generation;
    uint64_t entered;
    if (local_entered(embedded->local, worker, &generation, &entered))
      router_worker_entered(embedded->router, worker, generation, entered);
  }
}

static void tick(struct embedded *embedded, int64_t now) {
  if (now >= router_deadline(embedded->router)) {
    report_entered(embedded);
    router_tick(embedded->router, now);
    act(embedded, now);
    loop_stir(embedded->loop);
  }
  if (now >= client_deadline(embedded->client)) {
    size_t before = client_done(embedded->client);
    client_tick(embedded->client, now);
    notice_ended(embedded, before);
  }
  if (embedded->local && now >= local_deadline(embedded->local)) local_tick(embedded->local, now);
}

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t on_turn(void *owner, int64_t now) {
  struct embedded *embedded = owner;
  tick(embedded, now);
  int64_t next = sooner(router_deadline(embedded->router), client_deadline(embedded->client));
  if (!embedded->local) return next;
  local_flush(embedded->local);
  return sooner(next, local_deadline(embedded->local));
}

static void on_poll(void *owner) {
  struct embedded *embedded = owner;
  if (embedded->local) local_poll(embedded->local);
}

static void on_kept(void *owner) {
  struct embedded *embedded = owner;
  void (*done)(void *) = embedded->done;
  void *done_owner = embedded->done_owner;
  if (!done || embedded->poll_fd >= 0 || !client_done(embedded->client)) return;
  loop_release(embedded->loop);
  done(done_owner);
  loop_acquire(embedded->loop);
}

// ---- life ----

int embedded_open(struct embedded **out) {
  struct {
    uint64_t session, seed, epoch;
  } random;
  if (getrandom(&random, sizeof random, 0) != sizeof random) return -errno;
  struct embedded *embedded = xcalloc(1, sizeof *embedded);
  struct loop_events events = {on_turn, on_poll, on_kept, embedded};
  int error = loop_open(&embedded->loop, &events);
  if (error) {
    free(embedded);
    return error;
  }
  struct router_options options = {.seed = random.seed,
                                   .epoch = random.epoch,
                                   .heartbeat = NANOSECONDS_PER_SECOND,
                                   .heartbeat_misses = HEARTBEAT_MISSES};
  embedded->epoch = random.epoch;
  embedded->router = router_new(&options);
  embedded->client = client_new(random.session);
  embedded->poll_fd = embedded->ended_fd = -1;
  router_client(embedded->router, PEER, wait_now());
  *out = embedded;
  return 0;
}

static void wait_until_drained(struct embedded *embedded) {
  int64_t now = wait_now(), until = now + LIMIT_CONTEXT_EXIT;
  int signals = 0;
  router_client_gone(embedded->router, PEER, now);
  act(embedded, now);
  router_drain(embedded->router, now);
  act(embedded, now);
  while (!router_drained(embedded->router) && wait_now() < until && signals < 2)
    if (loop_wait(embedded->loop, until) == LOOP_INTERRUPTED) signals++;
}

static void free_all(struct embedded *embedded) {
  local_free(embedded->local);
  router_free(embedded->router);
  client_free(embedded->client);
  for (uint32_t i = 0; i < embedded->deployed_count; i++) {
    free(embedded->deployed[i].name);
    payload_unref(embedded->deployed[i].start);
  }
  free(embedded->deployed);
  if (embedded->poll_fd >= 0) close(embedded->poll_fd);
  if (embedded->ended_fd >= 0) close(embedded->ended_fd);
  free(embedded);
}

void embedded_close(struct embedded *embedded) {
  if (!embedded) return;
  loop_acquire(embedded->loop);
  embedded->done = NULL;
  if (embedded->local) {
    wait_until_drained(embedded);
    local_close(embedded->local);
  }
  loop_release(embedded->loop);
  loop_close(embedded->loop);
  free_all(embedded);
}

// ---- deployments ----

static int begin(struct embedded *embedded, char *why, size_t why_size) {
  if (embedded->local) return 0;
  char path[PATH_MAX];
  int error = local_executable(path, sizeof path);
  if (error) {
    snprintf(why, why_size,
             "the executable farside, which workers are processes of, is in none of: %s", path);
    return error;
  }
  error = loop_keep(embedded->loop);
  if (error) {
    snprintf(why, why_size, "no thread can be started: %s", strerror(-error));
    return error;
  }
  static const struct local_events events = {on_message, on_lost};
  embedded->local = local_new(loop_uv(embedded->loop), path, &events, embedded);
  return 0;
}

// The parts of `payload`, joined: what comes from outside may have an owner on another thread.
static struct payload *copy_payload(const struct payload *payload) {
  struct payload *copy = payload_new(payload->size);
  size_t at = 0;
  for (uint32_t i = 0; copy && i < payload->count; at += payload->parts[i++].size)
    if (payload->parts[i].size)
      memcpy(copy->bytes + at, payload->parts[i].bytes, payload->parts[i].size);
  return copy;
}

static void remember(struct embedded *embedded, uint32_t number, const char *name,
                     struct payload *start) {
  struct deployment_status status;
  assert(number == embedded->deployed_count);
  bool found = router_deployment_status(embedded->router, number, &status);
  assert(found);
  (void)found;
  payload_unref(status.failure);
  embedded->deployed = xrealloc(embedded->deployed, (number + 1) * sizeof *embedded->deployed);
  embedded->deployed[number] = (struct deployed){strdup(name), start, status.first_worker};
  embedded->deployed_count++;
  if (!embedded->deployed[number].name) abort();
}

static uint32_t deploy(struct embedded *embedded, const struct router_deployment_options *options,
                       int *error, char *why, size_t why_size) {
  *error = begin(embedded, why, why_size);
  if (*error) return ROUTER_NONE;
  struct router_deployment_options copy = *options;
  copy.start = copy_payload(options->start);
  int64_t now = wait_now();
  uint32_t number = copy.start ? router_deployment(embedded->router, &copy, now) : ROUTER_NONE;
  if (number == ROUTER_NONE) {
    *error = copy.start ? -EINVAL : -ENOMEM;
    snprintf(
        why, why_size, "%s",
        copy.start ? "an option of the deployment is out of its limits" : "there is no memory");
    payload_unref(copy.start);
    return ROUTER_NONE;
  }
  remember(embedded, number, options->name, copy.start);
  act(embedded, now);
  return number;
}

uint32_t embedded_deploy(struct embedded *embedded, const struct router_deployment_options *options,
                         int *error, char *why, size_t why_size) {
  loop_acquire(embedded->loop);
  uint32_t number = deploy(embedded, options, error, why, why_size);
  loop_release(embedded->loop);
  return number;
}

// ---- calls ----

// Writes what is to be written before the baton is given. Who polls the loop himself must find his
// descriptor readable for what was not.
static void finish(struct embedded *embedded) {
  if (embedded->poll_fd >= 0) loop_turn(embedded->loop);
}

int embedded_call(struct embedded *embedded, const struct call_options *options,
                  struct payload *body, uint64_t *call) {
  loop_acquire(embedded->loop);
  int64_t now = wait_now();
  struct message message;
  int result = client_call(embedded->client, options, body, now, &message, call);
  if (!result) {
    router_client_message(embedded->router, PEER, options->deployment, &message, now);
    act(embedded, now);
    if (embedded->local) local_push(embedded->local, now);
    finish(embedded);
  }
  loop_release(embedded->loop);
  return result;
}

static bool cancel(struct embedded *embedded, uint64_t call, int64_t now) {
  struct message message;
  if (!client_cancel(embedded->client, call, &message)) return false;
  router_client_message(embedded->router, PEER, 0, &message, now);
  act(embedded, now);
  return true;
}

bool embedded_cancel(struct embedded *embedded, uint64_t call) {
  loop_acquire(embedded->loop);
  report_entered(embedded);
  bool found = cancel(embedded, call, wait_now());
  if (embedded->local) local_flush(embedded->local);
  finish(embedded);
  loop_release(embedded->loop);
  return found;
}

void embedded_cancel_all(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  report_entered(embedded);
  int64_t now = wait_now();
  for (uint64_t call, last = 0; (call = client_first(embedded->client)) != last; last = call)
    cancel(embedded, call, now);
  if (embedded->local) local_flush(embedded->local);
  finish(embedded);
  loop_release(embedded->loop);
}

// ---- ends of calls ----

static bool is_starting(const struct embedded *embedded, uint32_t deployment) {
  enum deployment_state state = router_deployment_state(embedded->router, deployment);
  return state == DEPLOYMENT_STARTING || state == DEPLOYMENT_DRAINING;
}

// Whether the wait is over, and how.
static bool is_over(struct embedded *embedded, uint64_t call, uint32_t deployment,
                    enum embedded_wait *result) {
  bool any = !call && deployment == ROUTER_NONE;
  *result = EMBEDDED_DONE;
  if (any ? client_done(embedded->client) > 0 : call && client_ended(embedded->client, call))
    return true;
  *result = EMBEDDED_OTHER;
  if (embedded->fresh) {
    embedded->fresh = 0;
    return true;
  }
  return deployment != ROUTER_NONE && !is_starting(embedded, deployment);
}

enum embedded_wait embedded_wait(struct embedded *embedded, uint64_t call, uint32_t deployment,
                                 int64_t until) {
  enum embedded_wait result;
  loop_acquire(embedded->loop);
  while (!is_over(embedded, call, deployment, &result)) {
    enum loop_result turned = loop_wait(embedded->loop, until);
    if (turned == LOOP_TIMEOUT) result = EMBEDDED_TIMEOUT;
    if (turned == LOOP_INTERRUPTED) result = EMBEDDED_INTERRUPTED;
    if (turned == LOOP_TIMEOUT || turned == LOOP_INTERRUPTED) break;
  }
  // Answers have made room for other calls.
  if (embedded->local) local_flush(embedded->local);
  finish(embedded);
  loop_release(embedded->loop);
  return result;
}

// A body that the router also holds is counted by threads with the baton; the caller may have none.
static void take_body(struct embedded *embedded, struct completion *completion) {
  if (embedded->fresh) embedded->fresh--;
  untell_ended(embedded);
  if (!completion->body || completion->body->references == 1) return;
  struct payload *copy = copy_payload(completion->body);
  if (!copy) abort();  // only small errors are shared
  payload_unref(completion->body);
  completion->body = copy;
}

bool embedded_take(struct embedded *embedded, uint64_t call, struct completion *completion) {
  loop_acquire(embedded->loop);
  bool found = client_take(embedded->client, call, completion);
  if (found) take_body(embedded, completion);
  loop_release(embedded->loop);
  return found;
}

bool embedded_next(struct embedded *embedded, struct completion *completion) {
  loop_acquire(embedded->loop);
  bool found = client_next(embedded->client, completion);
  if (found) take_body(embedded, completion);
  loop_release(embedded->loop);
  return found;
}

size_t embedded_done(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  size_t count = client_done(embedded->client);
  loop_release(embedded->loop);
  return count;
}

// ---- what is going on ----

bool embedded_status(struct embedded *embedded, uint32_t deployment,
                     struct deployment_status *status) {
  loop_acquire(embedded->loop);
  bool found = router_deployment_status(embedded->router, deployment, status);
  if (found && status->failure) {
    struct payload *copy = copy_payload(status->failure);
    payload_unref(status->failure);
    status->failure = copy;
  }
  loop_release(embedded->loop);
  return found;
}

bool embedded_worker(struct embedded *embedded, uint32_t worker, struct worker_status *status,
                     pid_t *pid) {
  loop_acquire(embedded->loop);
  bool found = router_worker_status(embedded->router, worker, status);
  *pid = embedded->local ? local_pid(embedded->local, worker) : 0;
  loop_release(embedded->loop);
  return found;
}

double embedded_score(struct embedded *embedded, uint32_t worker, uint32_t function) {
  loop_acquire(embedded->loop);
  double score = router_score(embedded->router, worker, function);
  loop_release(embedded->loop);
  return score;
}

// ---- programs with their own loop ----

static int add_to_poll(struct embedded *embedded, int fd) {
  struct epoll_event event = {.events = EPOLLIN};
  return epoll_ctl(embedded->poll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_poll(struct embedded *embedded) {
  embedded->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (embedded->ended_fd < 0) return -errno;
  embedded->poll_fd = epoll_create1(EPOLL_CLOEXEC);
  int error = embedded->poll_fd < 0 ? -errno : 0;
  if (!error) error = add_to_poll(embedded, embedded->ended_fd);
  if (!error) error = add_to_poll(embedded, loop_fd(embedded->loop));
  if (!error) {
    tell_ended(embedded);
    return 0;
  }
  if (embedded->poll_fd >= 0) close(embedded->poll_fd);
  close(embedded->ended_fd);
  embedded->poll_fd = embedded->ended_fd = -1;
  return error;
}

int embedded_fd(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  int error = embedded->poll_fd < 0 ? open_poll(embedded) : 0;
  int fd = error ? error : embedded->poll_fd;
  loop_release(embedded->loop);
  return fd;
}

void embedded_turn(struct embedded *embedded) {
  loop_acquire(embedded->loop);
  loop_turn(embedded->loop);
  loop_release(embedded->loop);
}

void embedded_on_done(struct embedded *embedded, void (*done)(void *owner), void *owner) {
  loop_acquire(embedded->loop);
  embedded->done = done;
  embedded->done_owner = owner;
  loop_release(embedded->loop);
}
