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

bool session_message(struct session *session, struct message *message, int64_t now) {
  size_t waiting = session_waiting(session), done = client_done(session->client);
  client_message(session->client, message, now);
  session_notice(session, waiting);
  return client_done(session->client) != done;
}

// A message of the router in this process.
static bool on_message(void *owner, struct message *message, int64_t now) {
  return session_message(owner, message, now);
}

void session_send(struct session *session, uint32_t deployment, struct message *message,
                  int64_t now) {
  const struct joined *joined = &session->joined[deployment];
  if (joined->connection)
    connection_send(joined->connection, message, now);
  else
    hub_message(session->hub, session->peer, joined->number, message, now);
}

void session_push(struct session *session, int64_t now) {
  hub_push(session->hub, now);
  for (uint32_t i = 0; i < session->joined_count; i++)
    if (session->joined[i].connection) connection_push(session->joined[i].connection, now);
}

// Who polls the loop himself must find his descriptor readable for what was not written.
static void finish(struct session *session) {
  if (session->poll_fd >= 0) loop_turn(session->loop);
}

void session_flush(struct session *session) {
  hub_flush(session->hub);
  for (uint32_t i = 0; i < session->joined_count; i++)
    if (session->joined[i].connection) connection_flush(session->joined[i].connection);
  finish(session);
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
  next = sooner(next, session_turn_connections(session, now));
  tick(session, now);
  return sooner(next, client_deadline(session->client));
}

static void on_poll(void *owner) {
  struct session *session = owner;
  hub_poll(session->hub);
  for (uint32_t i = 0; i < session->joined_count; i++)
    if (session->joined[i].connection) connection_poll(session->joined[i].connection);
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
  session->mark = fork_mark_new();
  int error = session->mark ? loop_open(&session->loop, &events) : -ENOMEM;
  if (!error) error = hub_open(&session->hub, session->loop);
  if (error) {
    if (session->loop) loop_close(session->loop);
    fork_mark_free(session->mark);
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

bool session_is_forked(const struct session *session) {
  return fork_is_child(session->mark);
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
  for (uint32_t i = 0; i < session->joined_count; i++)
    connection_free(session->joined[i].connection);
  free(session->joined);
  client_free(session->client);
  if (session->poll_fd >= 0) close(session->poll_fd);
  if (session->ended_fd >= 0) close(session->ended_fd);
  fork_mark_free(session->mark);
  free(session);
}

void session_close(struct session *session) {
  if (!session) return;
  loop_acquire(session->loop);
  session->done = NULL;
  for (uint32_t i = 0; i < session->joined_count; i++)
    if (session->joined[i].connection) connection_close(session->joined[i].connection);
  if (hub_is_busy(session->hub)) wait_until_drained(session);
  hub_close(session->hub);
  loop_release(session->loop);
  loop_close(session->loop);
  free_all(session);
}

// ---- calls ----

int session_call(struct session *session, const struct call_options *options, struct payload *body,
                 uint64_t *call) {
  loop_acquire(session->loop);
  int64_t now = wait_now();
  struct message message;
  int result = client_call(session->client, options, body, now, &message, call);
  if (!result) {
    session->joined[options->deployment].calls++;
    session_send(session, options->deployment, &message, now);
    session_push(session, now);
    finish(session);
  }
  loop_release(session->loop);
  return result;
}

static bool cancel(struct session *session, uint64_t call, int64_t now) {
  struct message message;
  uint32_t deployment;
  size_t before = session_waiting(session);
  bool found = client_cancel(session->client, call, &message);
  session_notice(session, before);
  if (!found || !client_deployment(session->client, call, &deployment)) return false;
  session_send(session, deployment, &message, now);
  return true;
}

bool session_cancel(struct session *session, uint64_t call) {
  loop_acquire(session->loop);
  hub_report_entered(session->hub);
  bool found = cancel(session, call, wait_now());
  session_flush(session);
  loop_release(session->loop);
  return found;
}

// The router of this process has answered when hub_message returns, others take their time.
static void await_cancelled(struct session *session, int64_t until) {
  while (session_has_out(session) && wait_now() < until)
    if (loop_wait(session->loop, until) == LOOP_INTERRUPTED) break;
  session_give_up(session, wait_now());
}

static void keep_number(uint64_t call, void *owner) {
  uint64_t **next = owner;
  *(*next)++ = call;
}

void session_cancel_all(struct session *session) {
  loop_acquire(session->loop);
  hub_report_entered(session->hub);
  int64_t now = wait_now();
  size_t count = client_pending(session->client);
  uint64_t *calls = xcalloc(count + 1, sizeof *calls), *end = calls;
  client_each(session->client, keep_number, &end);
  for (size_t i = 0; i < count; i++) cancel(session, calls[i], now);
  free(calls);
  session_flush(session);
  await_cancelled(session, now + NANOSECONDS_PER_SECOND);
  loop_release(session->loop);
}

// ---- ends of calls ----

static bool is_starting(const struct session *session, uint32_t deployment) {
  enum deployment_state state = session_state(session, deployment);
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
  session_flush(session);  // answers have made room for other calls
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
