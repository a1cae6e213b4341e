#include "router.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "autoscale.h"
#include "balance.h"
#include "memory.h"
#include "payload.h"
#include "router_failed.h"
#include "router_finish.h"
#include "router_key.h"
#include "router_state.h"

// ---- actions ----

static struct action *add_action(struct router *router) {
  if (router->action_count == router->action_capacity) {
    size_t capacity = router->action_capacity ? 2 * router->action_capacity : 64;
    struct action *actions = xcalloc(capacity, sizeof *actions);
    for (size_t i = 0; i < router->action_count; i++)
      actions[i] = router->actions[(router->action_first + i) & (router->action_capacity - 1)];
    free(router->actions);
    router->actions = actions;
    router->action_first = 0;
    router->action_capacity = capacity;
  }
  size_t at = (router->action_first + router->action_count++) & (router->action_capacity - 1);
  return &router->actions[at];
}

struct action *router_act(struct router *router, enum router_action type) {
  struct action *action = add_action(router);
  *action = (struct action){.type = type, .peer = ROUTER_NONE, .worker = ROUTER_NONE};
  return action;
}

// On every call's path, so the message is written once.
struct action *router_send(struct router *router, const struct message *message) {
  struct action *action = add_action(router);
  action->type = ROUTER_SEND;
  action->peer = action->worker = ROUTER_NONE;
  action->deployment = action->generation = 0;
  action->message = *message;
  action->text = NULL;
  return action;
}

bool router_next(struct router *router, struct action *action) {
  free(router->text);
  router->text = NULL;
  if (!router->action_count) return false;
  *action = router->actions[router->action_first];
  router->action_first = (router->action_first + 1) & (router->action_capacity - 1);
  router->action_count--;
  if (action->type == ROUTER_LOG) router->text = (char *)(uintptr_t)action->text;
  return true;
}

void router_log(struct router *router, uint32_t deployment, const char *format, ...) {
  char *text = xcalloc(1, 512);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, 512, format, arguments);
  va_end(arguments);
  for (char *at = text; *at; at++)  // what a worker has said may be in it
    if ((unsigned char)*at < ' ' || *at == 127) *at = ' ';
  struct action *action = router_act(router, ROUTER_LOG);
  action->deployment = deployment;
  action->text = text;
}

void router_answer(struct router *router, struct call *call, enum message_type type,
                   int64_t elapsed, struct payload *body) {
  if (router->ended) router_ended(router, call, type, elapsed, body);
  if (router->whys) router_why_ended(router, call, type, body, elapsed);
  router_metrics_ended(router, call, type, body);
  if (call->peer == ROUTER_NONE) {
    if (router_key_is_run(call))
      router_key_outcome(router, call, type, elapsed, body);
    else
      payload_unref(body);
    return;
  }
  struct action *action = router_send(router, &(struct message){.type = (uint8_t)type,
                                                                .id = call->id,
                                                                .attempt = call->attempt,
                                                                .epoch = router->options.epoch,
                                                                .elapsed = elapsed,
                                                                .body = body});
  action->peer = call->peer;
  action->deployment = call->deployment;
}

double router_random(struct router *router) {
  // xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators,
  // scrambled").
  router->random ^= router->random >> 12;
  router->random ^= router->random << 25;
  router->random ^= router->random >> 27;
  return (double)((router->random * UINT64_C(0x2545F4914F6CDD1D)) >> 11) * 0x1p-53;
}

// ---- life ----

struct router *router_new(const struct router_options *options) {
  struct router *router = xcalloc(1, sizeof *router);
  router->options = *options;
  router->random = options->seed | 1;
  table_init(&router->calls, options->seed ^ options->epoch);
  table_init(&router->peers, options->seed);
  return router;
}

static void free_deployment(struct deployment *deployment) {
  router_key_close(deployment);
  router_scale_free(deployment->scale);
  queue_close(&deployment->queue);
  payload_unref(deployment->start);
  payload_unref(deployment->failure);
  free(deployment->name);
  free(deployment->manifest);
  free(deployment->skip);
  free(deployment->gatherings);
  router_outlook_close(deployment);
  free(deployment->suspects);
  for (uint32_t i = 0; i < deployment->function_count; i++) free(deployment->levels[i].of);
  free(deployment->levels);
  free(deployment->metrics);
  for (uint32_t i = 0; i < deployment->function_count; i++)
    free((char *)(uintptr_t)deployment->functions[i].retry_on);
  free(deployment->functions);
  free(deployment);
}

static void free_calls(struct router *router) {
  while (router->oldest) {
    struct call *call = router->oldest;
    router->oldest = call->newer;
    router_fair_forget(call);
    payload_unref(call->body);
    free(call->trials);
    free(call);
  }
  while (router->free_calls) {
    struct call *call = router->free_calls;
    router->free_calls = call->newer;
    free(call);
  }
  table_close(&router->calls);
}

static void free_worker(struct router *router, struct worker *worker) {
  router_metrics_worker_free(worker->metrics,
                             router->deployments[worker->deployment]->function_count);
  payload_unref(worker->goodbye);
  free(worker->said);
  free(worker->scores);
  free(worker->lessons);
  free(worker->runs);
  free(worker->paces);
  free(worker);
}

void router_free(struct router *router) {
  if (!router) return;
  struct action action;
  while (router_next(router, &action)) payload_unref(action.message.body);
  router_batch_free(router);
  free_calls(router);
  for (uint32_t i = 0; i < router->worker_count; i++) free_worker(router, router->workers[i]);
  for (uint32_t i = 0; i < router->deployment_count; i++) free_deployment(router->deployments[i]);
  timers_close(&router->timers);
  free(router->deployments);
  free(router->workers);
  for (size_t i = 0; i < router->peers.capacity; i++)
    router_peer_free(router->peers.entries[i].value);
  table_close(&router->peers);
  free(router->actions);
  free(router->whys);
  free(router);
}

// ---- deployments ----

static bool function_valid(const struct router_function *function) {
  uint32_t concurrency = function->concurrency, size = function->batch_size;
  if (!concurrency || concurrency > LIMIT_CONCURRENCY || function->timeout < 0) return false;
  if (function->batch_wait < 0 || function->batch_wait > LIMIT_DEADLINE) return false;
  return size != 1 && size <= LIMIT_BATCH / concurrency;
}

static bool options_valid(const struct router *router,
                          const struct router_deployment_options *options) {
  if (!options->name || !options->function_count || options->function_count > LIMIT_FUNCTIONS)
    return false;
  if (options->scaling ? !autoscale_valid(options->scaling)
                       : !options->workers || options->workers > LIMIT_WORKERS)
    return false;
  if (router->draining) return false;
  for (uint32_t i = 0; i < options->function_count; i++)
    if (!function_valid(&options->functions[i])) return false;
  return true;
}

static void add_workers(struct router *router, struct deployment *deployment, uint32_t number) {
  uint32_t first = router->worker_count, count = deployment->place_count;
  router->workers = xrealloc(router->workers, (first + count) * sizeof *router->workers);
  router->worker_count = first + count;
  deployment->first_worker = first;
  for (uint32_t i = first; i < first + count; i++) {
    struct worker *worker = router->workers[i] = xcalloc(1, sizeof *worker);
    worker->number = i;
    worker->deployment = number;
    worker->timer.kind = TIMER_WORKER;
    worker->heartbeat.kind = TIMER_HEARTBEAT;
    worker->recall.kind = TIMER_RECALL;
    worker->probation.kind = TIMER_PROBATION;
    worker->scores = xcalloc(deployment->function_count, sizeof *worker->scores);
    worker->lessons = xcalloc(deployment->function_count, sizeof *worker->lessons);
    worker->runs = xcalloc(deployment->function_count, sizeof *worker->runs);
    worker->wanted = i - first < deployment->worker_count;
    worker->paces = xcalloc(deployment->function_count, sizeof *worker->paces);
    worker->metrics = router_metrics_worker_new(deployment->function_count);
  }
}

uint32_t router_deployment(struct router *router, const struct router_deployment_options *options,
                           int64_t now) {
  if (!options_valid(router, options)) return ROUTER_NONE;
  struct deployment *deployment = xcalloc(1, sizeof *deployment);
  deployment->name = strdup(options->name);
  deployment->manifest = xcalloc(options->manifest_size + 1, 1);
  if (options->manifest_size)
    memcpy(deployment->manifest, options->manifest, options->manifest_size);
  deployment->manifest_size = options->manifest_size;
  deployment->function_count = options->function_count;
  deployment->functions = xcalloc(options->function_count, sizeof *deployment->functions);
  memcpy(deployment->functions, options->functions,
         options->function_count * sizeof *deployment->functions);
  for (uint32_t i = 0; i < options->function_count; i++)
    if (options->functions[i].retry_on)
      deployment->functions[i].retry_on = strdup(options->functions[i].retry_on);
  deployment->worker_count = options->workers;
  deployment->place_count =
      (options->scaling ? options->scaling->max_workers : options->workers) + 1;
  if (options->scaling)
    deployment->worker_count = options->scaling->cold_workers ? options->scaling->cold_workers : 1;
  deployment->retiree = deployment->substitute = ROUTER_NONE;
  deployment->start = payload_ref(options->start);
  deployment->timer.kind = TIMER_DEPLOYMENT;
  deployment->skip = xcalloc(options->function_count, 1);
  deployment->levels = xcalloc(options->function_count, sizeof *deployment->levels);
  router_metrics_open(deployment);
  deployment->gatherings = xcalloc(options->function_count, sizeof *deployment->gatherings);
  router_outlook_open(deployment, options);
  queue_init(&deployment->queue, options->function_count);

  uint32_t number = router->deployment_count++;
  router->deployments =
      xrealloc(router->deployments, router->deployment_count * sizeof *router->deployments);
  router->deployments[number] = deployment;
  if (options->scaling)
    deployment->scale = router_scale_new(number, options->function_count, options->scaling, now);
  add_workers(router, deployment, number);
  for (uint32_t i = 0; i < deployment->worker_count; i++)
    router_worker_start(router, router->workers[deployment->first_worker + i], now);
  return number;
}

// ---- clients ----

void router_client(struct router *router, uint32_t number, int64_t now) {
  (void)now;
  router_peer_add(router, number);
}

static struct call *first_orphan(const struct router *router) {
  struct call *call = router->oldest;
  while (call &&
         (call->peer != ROUTER_NONE || call->state == CALL_ABANDONED || router_key_is_run(call)))
    call = call->newer;
  return call;
}

void router_client_gone(struct router *router, uint32_t number, int64_t now) {
  struct peer *peer = router_peer_remove(router, number);
  if (!peer) return;
  router->now = now;
  struct call *call;
  for (call = router->oldest; call; call = call->newer)
    if (call->peer == number) call->peer = ROUTER_NONE;
  // One cancel may end further calls, so the search begins anew after each.
  while ((call = first_orphan(router))) router_call_cancel(router, call, CANCEL_CLIENT, now);
  router_peer_free(peer);
  for (uint32_t i = 0; i < router->deployment_count; i++)
    router_dispatch(router, router->deployments[i], now);
}

// A call that is refused before it is one: the answer needs an id only.
static void refuse(struct router *router, uint32_t peer, uint32_t deployment,
                   struct message *message, struct payload *error) {
  struct call call = {.peer = peer,
                      .id = message->id,
                      .attempt = message->attempt,
                      .deployment = deployment,
                      .function = message->function,
                      .worker = ROUTER_NONE,
                      .admitted = router->now,
                      .workload = message->workload};
  payload_unref(message->body);
  router_metrics_refused(router, &call);
  router_answer(router, &call, MESSAGE_ERROR, 0, error);
}

static struct payload *refusal(struct router *router, struct peer *peer, uint32_t number,
                               const struct message *message, int64_t now) {
  struct error_writer writer;
  if (number >= router->deployment_count) {
    error_begin(&writer, ERROR_NO_SUCH_DEPLOYMENT, EXECUTED_NO, false, "router");
    error_message(&writer, "there is no deployment %u here", number);
    return error_end(&writer);
  }
  struct deployment *deployment = router->deployments[number];
  if (message->function >= deployment->function_count) {
    error_begin(&writer, ERROR_NO_SUCH_FUNCTION, EXECUTED_NO, false, "router");
    error_message(&writer, "deployment '%s' has %u functions, number %u was called",
                  deployment->name, deployment->function_count, message->function);
    return error_end(&writer);
  }
  struct payload *error = router_finish_refusal(router, deployment, message);
  if (error) return error;
  if (deployment->state == DEPLOYMENT_FAILED)
    return router_deployment_failed(router, deployment, EXECUTED_NO, now);
  if (message->flags & CALL_STREAM && deployment->functions[message->function].batch_size > 1) {
    error_begin(&writer, ERROR_UNSUPPORTED, EXECUTED_NO, false, "router");
    error_message(&writer, "a function with batch has no streams: it runs many calls as one");
    error_string(&writer, "feature", "streams of batches");
    return error_end(&writer);
  }
  if (!(message->flags & CALL_DEFAULT_DEADLINE) && message->remaining <= 0) {
    error_begin(&writer, ERROR_DEADLINE_EXCEEDED, EXECUTED_NO, true, "router");
    error_message(&writer, "the deadline had passed when the call came");
    error_string(&writer, "phase", "queue");
    return error_end(&writer);
  }
  error = router_retry_refusal(router, deployment, message, now);
  if (error) return error;
  error = router_fair_refusal(router, peer, number, message, now);
  if (error) router_metrics_shed(router, number, message->function);
  return error;
}

// A default deadline starts when the deployment is ready; until then waiting has a limit of its
// own.
static int64_t call_deadline(const struct deployment *deployment, const struct message *message,
                             int64_t now) {
  const struct router_function *function = &deployment->functions[message->function];
  if (!(message->flags & CALL_DEFAULT_DEADLINE))
    return now + (message->remaining < LIMIT_DEADLINE ? message->remaining : LIMIT_DEADLINE);
  if (function->timeout) return now + function->timeout;
  return now + (deployment->was_ready ? LIMIT_DEADLINE_DEFAULT : LIMIT_READY);
}

// A call that another one makes ends with it at the latest.
static void adopt(struct router *router, struct call *call) {
  struct call *parent = router_batch_bearer(table_find(&router->calls, call->parent));
  if (!parent || parent->state != CALL_RUNNING) {
    call->parent = (struct call_id){0};
    return;
  }
  call->parent = parent->id;
  parent->children++;
  if (parent->deadline < call->deadline) call->deadline = parent->deadline;
}

static void admit(struct router *router, struct peer *peer, uint32_t number,
                  struct message *message, int64_t now) {
  struct deployment *deployment = router->deployments[number];
  struct call *call = router_call_new(router);
  call->peer = peer->number;
  call->deployment = number;
  call->function = message->function;
  call->attempt = message->attempt;
  call->flags = message->flags & ~(uint32_t)CALL_AHEAD;
  if (deployment->functions[call->function].idempotent) call->flags |= CALL_IDEMPOTENT;
  call->priority = message->priority;
  call->id = message->id;
  call->admitted = now;
  call->deadline = call_deadline(deployment, message, now);
  call->workload = message->workload;
  call->body = message->body;
  router->held += call->body ? call->body->size : 0;
  call->parent = message->parent;
  call->attempts = message->attempts;
  call->credit = credit_of(message->credit);
  if (!call->attempts) call->attempts = call->flags & CALL_IDEMPOTENT ? LIMIT_ATTEMPTS : 1;
  adopt(router, call);
  call->queue_deadline = call->deadline;
  int64_t queue_timeout = message->queue_timeout;
  if (!queue_timeout) queue_timeout = deployment->functions[call->function].queue_timeout;
  if (queue_timeout > 0 && queue_timeout < call->deadline - now)
    call->queue_deadline = now + queue_timeout;
  call->item.line = call->function;
  router_fair_tag(router, peer, call, now);
  peer->calls++;
  deployment->calls++;
  router_metrics_admitted(router, call);
  router_retry_admitted(deployment, now);
  table_add(&router->calls, call->id, call);
  if (message->key_size) {
    router_key_admit(router, call, message, now);
    return;
  }
  router_call_queue(router, call);
  router_scale_offered(router, call, now);
  router_dispatch(router, deployment, now);
}

void router_client_message(struct router *router, uint32_t number, uint32_t deployment,
                           struct message *message, int64_t now) {
  struct peer *peer = router_peer(router, number);
  struct call *call = table_find(&router->calls, message->id);
  router->now = now;
  if (peer && message->type == MESSAGE_CALL && !call) {
    struct payload *error = refusal(router, peer, deployment, message, now);
    if (error)
      refuse(router, number, deployment, message, error);
    else
      admit(router, peer, deployment, message, now);
    return;
  }
  if (peer && message->type == MESSAGE_CANCEL && call && call->peer == number) {
    struct deployment *owner = router->deployments[call->deployment];
    router_call_cancel(router, call, CANCEL_CLIENT, now);
    router_dispatch(router, owner, now);
  } else if (peer && message->type == MESSAGE_CREDIT && call && call->peer == number) {
    router_stream_credit(router, call, message->credit);
  } else if (message->type == MESSAGE_CALL && deployment < router->deployment_count) {
    if (!peer || !call || call->peer != number || !router_key_repeats(router, call, message))
      router->deployments[deployment]->dropped++;
  }
  payload_unref(message->body);
}

// ---- time ----

#define OWNER(timer, type, member) ((type *)(void *)((char *)(timer)-offsetof(type, member)))

// One that ends in the queue, or whose run does, may have kept a worker from others.
static void call_timer(struct router *router, struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  router_call_timer(router, call, now);
  router_dispatch(router, deployment, now);
}

void router_tick(struct router *router, int64_t now) {
  struct timer *timer;
  router->now = now;
  while ((timer = timers_first(&router->timers)) && timer->at <= now) {
    timers_cancel(&router->timers, timer);
    switch ((enum timer_kind)timer->kind) {
      case TIMER_CALL:
#ifdef PLANT_DEADLINE_FORGOTTEN
        if (OWNER(timer, struct call, timer)->state == CALL_QUEUED) break;
#endif
        call_timer(router, OWNER(timer, struct call, timer), now);
        break;
      case TIMER_WORKER:
        router_worker_timer(router, OWNER(timer, struct worker, timer), now);
        break;
      case TIMER_HEARTBEAT:
        router_worker_heartbeat(router, OWNER(timer, struct worker, heartbeat), now);
        break;
      case TIMER_DEPLOYMENT:
        router_dispatch(router, OWNER(timer, struct deployment, timer), now);
        break;
      case TIMER_KEYS:
        router_key_expire(router, timer, now);
        break;
      case TIMER_RECALL:
        router_ahead_timer(router, OWNER(timer, struct worker, recall), now);
        break;
      case TIMER_PROBATION:
        router_eject_timer(router, OWNER(timer, struct worker, probation), now);
        break;
      case TIMER_SCALE:
        router_scale_timer(router, timer, now);
        break;
    }
  }
}

int64_t router_deadline(const struct router *router) {
  struct timer *timer = timers_first(&router->timers);
  return timer ? timer->at : INT64_MAX;
}

// ---- the end ----

static struct call *first_alive(const struct router *router) {
  struct call *call = router->oldest;
  while (call && call->state == CALL_ABANDONED) call = call->newer;
  return call;
}

void router_drain(struct router *router, int64_t now) {
  if (router->draining) return;
  router->draining = true;
  router->now = now;
  for (uint32_t i = 0; i < router->deployment_count; i++)
    router->deployments[i]->state = DEPLOYMENT_DRAINING;
  struct call *call;
  while ((call = first_alive(router))) router_call_cancel(router, call, CANCEL_SHUTDOWN, now);
  for (uint32_t i = 0; i < router->worker_count; i++)
    router_worker_drain(router, router->workers[i], now);
}

bool router_drained(const struct router *router) {
  for (uint32_t i = 0; i < router->worker_count; i++) {
    enum worker_state state = router->workers[i]->state;
    if (state != WORKER_NONE && state != WORKER_BACKOFF) return false;
  }
  return router->draining;
}

// ---- status ----

// A copy: the caller may keep it on another thread.
static struct payload *failure_of(const struct router *router, const struct deployment *deployment,
                                  int64_t now) {
  if (deployment->state == DEPLOYMENT_FAILED)
    return router_deployment_failed(router, deployment, EXECUTED_NO, now);
  bool is_past = router_next_try(router, deployment) == INT64_MAX;
  const struct payload *failure = is_past ? NULL : deployment->failure;
  return failure ? payload_copy(failure->parts[0].bytes, failure->size) : NULL;
}

bool router_deployment_status(const struct router *router, uint32_t number,
                              struct deployment_status *status, int64_t now) {
  if (number >= router->deployment_count) return false;
  const struct deployment *deployment = router->deployments[number];
  *status = (struct deployment_status){
      .state = deployment->state,
      .workers = deployment->worker_count,
      .ready = deployment->ready,
      .functions = deployment->function_count,
      .queued = (uint32_t)deployment->queue.count + deployment->delayed,
      .queue_bytes = deployment->queue_bytes,
      .running = deployment->running,
      .calls = deployment->calls,
      .dropped = deployment->dropped,
      .first_worker = deployment->first_worker,
      .places = deployment->place_count,
      .failure = failure_of(router, deployment, now),
      .next_try = router_next_try(router, deployment),
  };
  router_scale_status(router, deployment, status);
  return true;
}

enum deployment_state router_deployment_state(const struct router *router, uint32_t deployment) {
  return deployment < router->deployment_count ? router->deployments[deployment]->state
                                               : DEPLOYMENT_DRAINING;
}

bool router_worker_status(const struct router *router, uint32_t number,
                          struct worker_status *status) {
  if (number >= router->worker_count) return false;
  const struct worker *worker = router->workers[number];
  *status = (struct worker_status){.state = worker->state,
                                   .generation = worker->generation,
                                   .in_flight = worker->in_flight,
                                   .calls = worker->calls,
                                   .starts = worker->starts,
                                   .wanted = worker->wanted,
                                   .standing = worker->standing,
                                   .parked = worker->parked,
                                   .phase = worker->phase};
  return true;
}

double router_score(const struct router *router, uint32_t number, uint32_t function) {
  if (number >= router->worker_count) return 0;
  const struct worker *worker = router->workers[number];
  if (function >= router->deployments[worker->deployment]->function_count) return 0;
  return worker->scores[function];
}
