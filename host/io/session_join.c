// Deployments of a session: in this process, or served elsewhere.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "address.h"
#include "session_state.h"
#include "wait.h"

enum { WHY_SIZE = 1024 };

static uint32_t add(struct session *session, const struct joined *joined) {
  session->joined =
      xrealloc(session->joined, (session->joined_count + 1) * sizeof *session->joined);
  session->joined[session->joined_count] = *joined;
  return session->joined_count++;
}

// ---- in this process ----

static uint32_t deploy(struct session *session, const struct router_deployment_options *options,
                       int *error, char *why, size_t why_size) {
  uint32_t number = hub_deploy(session->hub, options, error, why, why_size);
  if (number == ROUTER_NONE) return ROUTER_NONE;
  return add(session, &(struct joined){.number = number, .functions = options->function_count});
}

uint32_t session_deploy(struct session *session, const struct router_deployment_options *options,
                        int *error, char *why, size_t why_size) {
  loop_acquire(session->loop);
  uint32_t number = deploy(session, options, error, why, why_size);
  loop_release(session->loop);
  return number;
}

// ---- served elsewhere ----

static void spare(void *owner, uint64_t call) {
  client_spare(owner, call);
}

static void lose(struct session *session, uint32_t number, int64_t now) {
  size_t before = session_waiting(session);
  connection_waiting(session->joined[number].connection, spare, session->client);
  client_lost_deployment(session->client, number,
                         connection_epoch(session->joined[number].connection), now);
  session_notice(session, before);
}

static void on_lost(void *owner, struct connection *connection, int64_t now) {
  struct session *session = owner;
  for (uint32_t i = 0; i < session->joined_count; i++)
    if (session->joined[i].connection == connection) lose(session, i, now);
}

static void on_message(void *owner, struct message *message, int64_t now) {
  session_message(owner, message, now);
}

static struct payload *hello_of(const struct router_deployment_options *options,
                                const struct session_bundle *bundle) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 4);
  pack_text(&body, "name");
  pack_text(&body, options->name);
  pack_text(&body, "tag");
  pack_text(&body, bundle->tag);
  pack_text(&body, "hash");
  pack_text(&body, bundle->hash);
  pack_text(&body, "pid");
  pack_uint(&body, (uint64_t)getpid());
  struct payload *hello = body.failed ? NULL : payload_copy(body.bytes, body.size);
  buffer_free(&body);
  if (!hello) abort();
  return hello;
}

static struct connection *connect_to(struct session *session, const char *path,
                                     const struct router_deployment_options *options,
                                     const struct session_bundle *bundle) {
  struct connection_events events = {on_message, on_lost, session};
  struct contact_function *functions = xcalloc(options->function_count + 1, sizeof *functions);
  for (uint32_t i = 0; i < options->function_count; i++)
    functions[i] = (struct contact_function){.patience = options->functions[i].timeout,
                                             .is_idempotent = options->functions[i].idempotent};
  struct connection_options with = {.path = path,
                                    .hello = hello_of(options, bundle),
                                    .files = bundle->files,
                                    .manifest = options->manifest,
                                    .manifest_size = options->manifest_size,
                                    .functions = functions,
                                    .function_count = options->function_count};
  if (getrandom(&with.seed, sizeof with.seed, 0) != sizeof with.seed)
    with.seed = (uint64_t)wait_now();
  struct connection *connection = connection_new(session->loop, &with, &events);
  payload_unref(with.hello);
  free(functions);
  return connection;
}

// Waits until the router has welcomed or refused this client. -EINTR: a signal came.
static int await_welcome(struct session *session, const struct connection *connection) {
  int64_t until = wait_now() + LIMIT_HANDSHAKE;
  while (connection_state(connection) == CONNECTION_TRYING) {
    enum loop_result result = loop_wait(session->loop, until);
    if (result == LOOP_INTERRUPTED) return -EINTR;
    if (result == LOOP_TIMEOUT) return -ETIMEDOUT;
  }
  return connection_state(connection) == CONNECTION_OPEN ? 0 : -ECONNRESET;
}

// One that came to nothing stays in its place until it is freed with the session: its handles go
// with turns of the loop.
static int welcome(struct session *session, uint32_t number, char *why, struct payload **failure) {
  struct connection *connection = session->joined[number].connection;
  int error = loop_keep(session->loop);
  if (error) {
    snprintf(why, WHY_SIZE, "no thread can be started: %s", strerror(-error));
    return error;
  }
  error = connection_begin(connection, wait_now(), why, WHY_SIZE);
  if (!error) {
    error = await_welcome(session, connection);
    const struct payload *refusal = connection_refusal(connection);
    if (error && refusal) *failure = payload_join(refusal);
    snprintf(why, WHY_SIZE, "the router at unix:%s did not welcome this client: %s",
             connection_path(connection),
             error == -EINTR       ? "a signal came first"
             : error == -ETIMEDOUT ? "it accepted the connection and did not answer within 5 s"
                                   : connection_why(connection));
  }
  if (error) connection_close(connection);
  return error;
}

static void forget(struct session *session, uint32_t number) {
  struct joined *joined = &session->joined[number];
  connection_close(joined->connection);
  joined->is_gone = true;
}

static struct payload *error_of(enum error_name name, const char *why) {
  struct error_writer writer;
  error_begin(&writer, name, EXECUTED_NO, name == ERROR_CONNECT_FAILED, "sdk");
  error_message(&writer, "%s", why);
  if (name == ERROR_CONFIG_ERROR) error_string(&writer, "key", "FARSIDE_ROUTER");
  return error_end(&writer);
}

// ROUTER_NONE without a failure: nobody serves there.
static uint32_t join_at(struct session *session, const char *path, bool forced,
                        const struct router_deployment_options *options,
                        const struct session_bundle *bundle, struct payload **failure) {
  char why[WHY_SIZE] = "";
  struct joined joined = {.connection = connect_to(session, path, options, bundle),
                          .functions = options->function_count};
  uint32_t number = add(session, &joined);
  int error = welcome(session, number, why, failure);
  if (!error) return number;
  forget(session, number);
  bool nobody = error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET;
  if (!*failure && (forced || !nobody)) *failure = error_of(ERROR_CONNECT_FAILED, why);
  return ROUTER_NONE;
}

// ---- the choice ----

static uint32_t embed(struct session *session, const struct router_deployment_options *options,
                      struct payload **failure) {
  char why[WHY_SIZE];
  int error = 0;
  uint32_t number = deploy(session, options, &error, why, sizeof why);
  if (number == ROUTER_NONE) *failure = error_of(ERROR_CONFIG_ERROR, why);
  return number;
}

// A folder that is not as it must be is that of no router of this user.
static uint32_t find(struct session *session, const struct router_deployment_options *options,
                     const struct session_bundle *bundle, struct payload **failure) {
  char path[ADDRESS_SIZE], why[WHY_SIZE];
  if (!bundle->hash || address_of(options->name, bundle->tag, false, path, why, sizeof why))
    return embed(session, options, failure);
  if (access(path, F_OK)) return embed(session, options, failure);
  uint32_t number = join_at(session, path, false, options, bundle, failure);
  if (number != ROUTER_NONE || *failure) return number;
  return embed(session, options, failure);
}

static uint32_t choose(struct session *session, const struct router_deployment_options *options,
                       const struct session_bundle *bundle, struct payload **failure) {
  const char *router = getenv("FARSIDE_ROUTER");
  char path[ADDRESS_SIZE], why[WHY_SIZE];
  if (!router || !*router) return find(session, options, bundle, failure);
  if (!strcmp(router, "embedded")) return embed(session, options, failure);
  if (!strncmp(router, "unix:", 5) && bundle->hash && !address_parse(router, path, why, sizeof why))
    return join_at(session, path, true, options, bundle, failure);
  snprintf(
      why, sizeof why,
      "FARSIDE_ROUTER: expected embedded or unix:PATH with a path of at most %d bytes, got '%s'",
      ADDRESS_SIZE - 1, router);
  *failure = error_of(ERROR_CONFIG_ERROR, why);
  return ROUTER_NONE;
}

uint32_t session_join(struct session *session, const struct router_deployment_options *options,
                      const struct session_bundle *bundle, struct payload **failure) {
  *failure = NULL;
  loop_acquire(session->loop);
  uint32_t number = choose(session, options, bundle, failure);
  loop_release(session->loop);
  return number;
}

// ---- what is going on ----

static enum deployment_state state_of(const struct connection *connection) {
  if (connection_is_draining(connection)) return DEPLOYMENT_DRAINING;
  switch (connection_state(connection)) {
    case CONNECTION_OPEN:
      return DEPLOYMENT_READY;
    case CONNECTION_REFUSED:
      return DEPLOYMENT_FAILED;
    case CONNECTION_TRYING:
    case CONNECTION_LOST:
      break;
  }
  return DEPLOYMENT_STARTING;
}

enum deployment_state session_state(const struct session *session, uint32_t deployment) {
  const struct joined *joined = &session->joined[deployment];
  if (joined->connection) return state_of(joined->connection);
  return router_deployment_state(hub_router(session->hub), joined->number);
}

static void served_status(const struct joined *joined, struct deployment_status *status) {
  size_t waiting, out;
  connection_count(joined->connection, &waiting, &out);
  *status = (struct deployment_status){.state = state_of(joined->connection),
                                       .functions = joined->functions,
                                       .queued = (uint32_t)waiting,
                                       .running = (uint32_t)out,
                                       .calls = joined->calls};
  const struct payload *refusal = connection_refusal(joined->connection);
  if (refusal) status->failure = payload_join(refusal);
}

static bool status_of(struct session *session, uint32_t deployment,
                      struct deployment_status *status) {
  if (deployment >= session->joined_count || session->joined[deployment].is_gone) return false;
  const struct joined *joined = &session->joined[deployment];
  if (joined->connection) {
    served_status(joined, status);
    return true;
  }
  if (!hub_status(session->hub, joined->number, status)) return false;
  if (status->failure) {
    struct payload *copy = payload_join(status->failure);
    payload_unref(status->failure);
    status->failure = copy;
  }
  return true;
}

bool session_status(struct session *session, uint32_t deployment,
                    struct deployment_status *status) {
  loop_acquire(session->loop);
  bool found = status_of(session, deployment, status);
  loop_release(session->loop);
  return found;
}

const char *session_served_at(struct session *session, uint32_t deployment) {
  loop_acquire(session->loop);
  bool found = deployment < session->joined_count && session->joined[deployment].connection;
  const char *path = found ? connection_path(session->joined[deployment].connection) : NULL;
  loop_release(session->loop);
  return path;
}

// ---- turns and ends ----

int64_t session_turn_connections(struct session *session, int64_t now) {
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < session->joined_count; i++) {
    const struct joined *joined = &session->joined[i];
    if (!joined->connection || joined->is_gone) continue;
    int64_t at = connection_turn(joined->connection, now);
    if (at < next) next = at;
  }
  return next;
}

bool session_has_out(const struct session *session) {
  for (uint32_t i = 0; i < session->joined_count; i++) {
    size_t waiting = 0, out = 0;
    if (session->joined[i].connection)
      connection_count(session->joined[i].connection, &waiting, &out);
    if (waiting || out) return true;
  }
  return false;
}

void session_give_up(struct session *session, int64_t now) {
  size_t before = session_waiting(session);
  for (uint32_t i = 0; i < session->joined_count; i++) {
    const struct connection *connection = session->joined[i].connection;
    if (connection) client_lost_deployment(session->client, i, connection_epoch(connection), now);
  }
  session_notice(session, before);
}
