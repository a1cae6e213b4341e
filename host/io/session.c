#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "session_state.h"
#include "wait.h"

// ---- between the cores ----

size_t session_waiting(const struct session *session) {
  return client_done(session->client) + client_told(session->client);
}

void session_notice(struct session *session, size_t before) {
  size_t waiting = session_waiting(session);
  if (waiting <= before) return;
  session->fresh += waiting - before;
  session_tell(session);
  loop_stir(session->loop);
}

void session_taken(struct session *session) {
  if (session->fresh) session->fresh--;
  session_untell(session);
}

// A message of the router in this process.
static bool on_message(void *owner, struct message *message, int64_t now) {
  struct session *session = owner;
  size_t waiting = session_waiting(session), done = client_done(session->client);
  client_message(session->client, message, now);
  session_notice(session, waiting);
  return client_done(session->client) != done;
}

// ---- turns ----

static void tick(struct session *session, int64_t now) {
  if (now < client_deadline(session->client)) return;
  size_t before = session_waiting(session);
  client_tick(session->client, now);
  session_notice(session, before);
}

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t on_turn(void *owner, int64_t now) {
  struct session *session = owner;
  int64_t next = hub_turn(session->hub, now);
  tick(session, now);
  return sooner(next, client_deadline(session->client));
}

static void on_poll(void *owner) {
  struct session *session = owner;
  hub_poll(session->hub);
}

static void on_kept(void *owner) {
  struct session *session = owner;
  void (*done)(void *) = session->done;
  void *done_owner = session->done_owner;
  if (!done || session->poll_fd >= 0 || !session_waiting(session)) return;
  loop_release(session->loop);
  done(done_owner);
  loop_acquire(session->loop);
}

// ---- life ----

int session_open(struct session **out) {
  uint64_t random;
  if (getrandom(&random, sizeof random, 0) != sizeof random) return -errno;
  struct session *session = xcalloc(1, sizeof *session);
  struct loop_events events = {on_turn, on_poll, on_kept, session};
  int error = loop_open(&session->loop, &events);
  if (!error) error = hub_open(&session->hub, session->loop);
  if (error) {
    if (session->loop) loop_close(session->loop);
    free(session);
    return error;
  }
  session->client = client_new(random);
  session->poll_fd = session->ended_fd = -1;
  session->peer = hub_client(
      session->hub, &(struct hub_client){.message = on_message, .owner = session}, wait_now());
  *out = session;
  return 0;
}

static void wait_until_drained(struct session *session) {
  int64_t now = wait_now(), until = now + LIMIT_CONTEXT_EXIT;
  int signals = 0;
  hub_client_gone(session->hub, session->peer, now);
  hub_drain(session->hub, now);
  while (!hub_drained(session->hub) && wait_now() < until && signals < 2)
    if (loop_wait(session->loop, until) == LOOP_INTERRUPTED) signals++;
}

static void free_all(struct session *session) {
  hub_free(session->hub);
  client_free(session->client);
  if (session->poll_fd >= 0) close(session->poll_fd);
  if (session->ended_fd >= 0) close(session->ended_fd);
  free(session);
}

void session_close(struct session *session) {
  if (!session) return;
  loop_acquire(session->loop);
  session->done = NULL;
  if (hub_is_busy(session->hub)) wait_until_drained(session);
  hub_close(session->hub);
  loop_release(session->loop);
  loop_close(session->loop);
  free_all(session);
}

uint32_t session_deploy(struct session *session, const struct router_deployment_options *options,
                        int *error, char *why, size_t why_size) {
  loop_acquire(session->loop);
  uint32_t number = hub_deploy(session->hub, options, error, why, why_size);
  loop_release(session->loop);
  return number;
}

// ---- calls ----

// Writes what is to be written before the baton is given. Who polls the loop himself must find his
// descriptor readable for what was not.
static void finish(struct session *session) {
  if (session->poll_fd >= 0) loop_turn(session->loop);
}

int session_call(struct session *session, const struct call_options *options, struct payload *body,
                 uint64_t *call) {
  loop_acquire(session->loop);
  int64_t now = wait_now();
  struct message message;
  int result = client_call(session->client, options, body, now, &message, call);
  if (!result) {
    hub_message(session->hub, session->peer, options->deployment, &message, now);
    hub_push(session->hub, now);
    finish(session);
  }
  loop_release(session->loop);
  return result;
}

static bool cancel(struct session *session, uint64_t call, int64_t now) {
  struct message message;
  size_t before = session_waiting(session);
  bool found = client_cancel(session->client, call, &message);
  session_notice(session, before);
  if (!found) return false;
  hub_message(session->hub, session->peer, 0, &message, now);
  return true;
}

bool session_cancel(struct session *session, uint64_t call) {
  loop_acquire(session->loop);
  hub_report_entered(session->hub);
  bool found = cancel(session, call, wait_now());
  hub_flush(session->hub);
  finish(session);
  loop_release(session->loop);
  return found;
}

void session_cancel_all(struct session *session) {
  loop_acquire(session->loop);
  hub_report_entered(session->hub);
  int64_t now = wait_now();
  for (uint64_t call, last = 0; (call = client_first(session->client)) != last; last = call)
    cancel(session, call, now);
  hub_flush(session->hub);
  finish(session);
  loop_release(session->loop);
}

// ---- ends of calls ----

static bool is_starting(const struct session *session, uint32_t deployment) {
  enum deployment_state state = router_deployment_state(hub_router(session->hub), deployment);
  return state == DEPLOYMENT_STARTING || state == DEPLOYMENT_DRAINING;
}

// Whether the wait is over, and how.
static bool is_over(struct session *session, uint64_t call, uint32_t deployment,
                    enum session_wait *result) {
  bool any = !call && deployment == ROUTER_NONE;
  *result = SESSION_DONE;
  if (any ? session_waiting(session) > 0 : call && client_ended(session->client, call)) return true;
  *result = SESSION_OTHER;
  if (session->fresh) {
    session->fresh = 0;
    return true;
  }
  return deployment != ROUTER_NONE && !is_starting(session, deployment);
}

enum session_wait session_wait(struct session *session, uint64_t call, uint32_t deployment,
                               int64_t until) {
  enum session_wait result;
  loop_acquire(session->loop);
  while (!is_over(session, call, deployment, &result)) {
    enum loop_result turned = loop_wait(session->loop, until);
    if (turned == LOOP_TIMEOUT) result = SESSION_TIMEOUT;
    if (turned == LOOP_INTERRUPTED) result = SESSION_INTERRUPTED;
    if (turned == LOOP_TIMEOUT || turned == LOOP_INTERRUPTED) break;
  }
  // Answers have made room for other calls.
  hub_flush(session->hub);
  finish(session);
  loop_release(session->loop);
  return result;
}

// A body that the router also holds is counted by threads with the baton; the caller may have none.
static void take_body(struct session *session, struct completion *completion) {
  session_taken(session);
  if (!completion->body || completion->body->references == 1) return;
  struct payload *copy = payload_join(completion->body);
  if (!copy) abort();  // only small errors are shared
  payload_unref(completion->body);
  completion->body = copy;
}

bool session_take(struct session *session, uint64_t call, struct completion *completion) {
  loop_acquire(session->loop);
  bool found = client_take(session->client, call, completion);
  if (found) take_body(session, completion);
  loop_release(session->loop);
  return found;
}

bool session_next(struct session *session, struct completion *completion) {
  loop_acquire(session->loop);
  bool found = client_next(session->client, completion);
  if (found) take_body(session, completion);
  loop_release(session->loop);
  return found;
}

size_t session_done(struct session *session) {
  loop_acquire(session->loop);
  size_t count = client_done(session->client);
  loop_release(session->loop);
  return count;
}

// ---- what is going on ----

bool session_status(struct session *session, uint32_t deployment,
                    struct deployment_status *status) {
  loop_acquire(session->loop);
  bool found = hub_status(session->hub, deployment, status);
  if (found && status->failure) {
    struct payload *copy = payload_join(status->failure);
    payload_unref(status->failure);
    status->failure = copy;
  }
  loop_release(session->loop);
  return found;
}

bool session_worker(struct session *session, uint32_t worker, struct worker_status *status,
                    pid_t *pid) {
  loop_acquire(session->loop);
  bool found = hub_worker(session->hub, worker, status, pid);
  loop_release(session->loop);
  return found;
}

double session_score(struct session *session, uint32_t worker, uint32_t function) {
  loop_acquire(session->loop);
  double score = router_score(hub_router(session->hub), worker, function);
  loop_release(session->loop);
  return score;
}

void session_on_done(struct session *session, void (*done)(void *owner), void *owner) {
  loop_acquire(session->loop);
  session->done = done;
  session->done_owner = owner;
  loop_release(session->loop);
}
