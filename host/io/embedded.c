#include "embedded.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "embedded_state.h"
#include "log.h"
#include "wait.h"

enum { HEARTBEAT_MISSES = 3 };

// Short calls are handed ahead behind as much work: it takes as long as a few wake-ups.
static const int64_t kAhead = 100 * INT64_C(1000);

// What is needed to start workers of a deployment.
struct deployed {
  char *name;
  struct payload *start;
  uint32_t first_worker;
};

// ---- between the cores ----

size_t embedded_waiting(const struct embedded *embedded) {
  return client_done(embedded->client) + client_told(embedded->client);
}

void embedded_notice(struct embedded *embedded, size_t before) {
  size_t waiting = embedded_waiting(embedded);
  if (waiting <= before) return;
  embedded->fresh += waiting - before;
  embedded_tell(embedded);
  loop_stir(embedded->loop);
}

void embedded_taken(struct embedded *embedded) {
  if (embedded->fresh) embedded->fresh--;
  embedded_untell(embedded);
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
  size_t before = embedded_waiting(embedded);
  client_message(embedded->client, &action->message, now);
  embedded_notice(embedded, before);
}

// Takes back what was handed ahead.
static void take_back(struct embedded *embedded, const struct action *action, int64_t now) {
  uint32_t worker = action->worker, generation = action->generation, count = 0;
  uint64_t sequence = action->message.sequence, entering;
  if (action->type == ROUTER_WITHDRAW) {
    count = local_withdraw(embedded->local, worker, generation, sequence);
    router_worker_withdrawn(embedded->router, worker, generation, sequence, count, now);
  } else if (local_recall(embedded->local, worker, generation, sequence, &entering)) {
    count = router_worker_recalled(embedded->router, worker, generation, entering, now);
  }
  local_forget(embedded->local, worker, count);
}

// Does what the router has decided.
void embedded_act(struct embedded *embedded, int64_t now) {
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
      case ROUTER_RECALL:
      case ROUTER_WITHDRAW:
        take_back(embedded, &action, now);
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
  size_t before = client_done(embedded->client);
  enum message_type type = (enum message_type)message->type;
  if (type == MESSAGE_CALL || type == MESSAGE_CANCEL || type == MESSAGE_CREDIT)
    router_client_message(embedded->router, peer_of(worker), deployment_of(embedded, worker),
                          message, now);
  else
    router_worker_message(embedded->router, worker, generation, message, now);
  embedded_act(embedded, now);
  // What matters to our calls was noticed; but an answer that ends none of them, of a call that was
  // given up, may have let another one go out.
  bool is_part = type == MESSAGE_ITEM || type == MESSAGE_PROGRESS;
  if (!is_part && client_done(embedded->client) == before) loop_stir(embedded->loop);
}

static void on_lost(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason,
                    int code, uint64_t entered) {
  struct embedded *embedded = owner;
  int64_t now = wait_now();
  router_client_gone(embedded->router, peer_of(worker), now);
  router_worker_lost(embedded->router, worker, generation, reason, code, entered, now);
  embedded_act(embedded, now);
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
    embedded_act(embedded, now);
    loop_stir(embedded->loop);
  }
  if (now >= client_deadline(embedded->client)) {
    size_t before = embedded_waiting(embedded);
    client_tick(embedded->client, now);
    embedded_notice(embedded, before);
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
  if (!done || embedded->poll_fd >= 0 || !embedded_waiting(embedded)) return;
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
                                   .heartbeat_misses = HEARTBEAT_MISSES,
                                   .ahead = kAhead};
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
  embedded_act(embedded, now);
  router_drain(embedded->router, now);
  embedded_act(embedded, now);
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
  embedded_act(embedded, now);
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
    embedded_act(embedded, now);
    if (embedded->local) local_push(embedded->local, now);
    finish(embedded);
  }
  loop_release(embedded->loop);
  return result;
}

static bool cancel(struct embedded *embedded, uint64_t call, int64_t now) {
  struct message message;
  size_t before = embedded_waiting(embedded);
  bool found = client_cancel(embedded->client, call, &message);
  embedded_notice(embedded, before);
  if (!found) return false;
  router_client_message(embedded->router, PEER, 0, &message, now);
  embedded_act(embedded, now);
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
  if (any ? embedded_waiting(embedded) > 0 : call && client_ended(embedded->client, call))
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
  embedded_taken(embedded);
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

void embedded_on_done(struct embedded *embedded, void (*done)(void *owner), void *owner) {
  loop_acquire(embedded->loop);
  embedded->done = done;
  embedded->done_owner = owner;
  loop_release(embedded->loop);
}
