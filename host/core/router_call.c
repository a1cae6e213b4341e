// Where a call is: in the queue, in a slot of a worker, or ended.
#include <string.h>

#include "balance.h"
#include "memory.h"
#include "payload.h"
#include "router_state.h"

// A service time below this says more about the clock than about the worker.
static const double kShortestLesson = 20e-6;

static struct deployment *deployment_of(struct router *router, const struct call *call) {
  return router->deployments[call->deployment];
}

static struct worker *worker_of(struct router *router, const struct call *call) {
  return call->worker == ROUTER_NONE ? NULL : router->workers[call->worker];
}

static double seconds(int64_t nanoseconds) {
  return (double)nanoseconds / (double)NANOSECONDS_PER_SECOND;
}

// ---- life ----

struct call *router_call_new(struct router *router) {
  struct call *call = router->free_calls;
  if (call) {
    router->free_calls = call->newer;
    memset(call, 0, sizeof *call);
  } else {
    call = xcalloc(1, sizeof *call);
  }
  call->timer.kind = TIMER_CALL;
  call->worker = ROUTER_NONE;
  call->older = router->newest;
  *(router->newest ? &router->newest->newer : &router->oldest) = call;
  router->newest = call;
  return call;
}

void router_call_free(struct router *router, struct call *call) {
  struct peer *peer = router_peer(router, call->peer);
  if (peer) peer->calls--;
  timers_cancel(&router->timers, &call->timer);
  table_remove(&router->calls, call->id);
  payload_unref(call->body);
  *(call->older ? &call->older->newer : &router->oldest) = call->newer;
  *(call->newer ? &call->newer->older : &router->newest) = call->older;
  call->newer = router->free_calls;
  router->free_calls = call;
}

void router_call_queue(struct router *router, struct call *call) {
  struct deployment *deployment = deployment_of(router, call);
  call->state = CALL_QUEUED;
  call->worker = ROUTER_NONE;
  queue_push(&deployment->queue, &call->item);
  deployment->queue_bytes += call->body ? call->body->size : 0;
}

// ---- slots ----

static uint32_t least_concurrency(const struct router *router, const struct worker *worker) {
  const struct deployment *deployment = router->deployments[worker->deployment];
  uint32_t least = LIMIT_CONCURRENCY;
  for (const struct call *call = worker->first; call; call = call->next) {
    uint32_t concurrency = deployment->functions[call->function].concurrency;
    if (concurrency < least) least = concurrency;
  }
  return least;
}

static void occupy(struct router *router, struct worker *worker, struct call *call) {
  uint32_t concurrency = deployment_of(router, call)->functions[call->function].concurrency;
  if (!worker->in_flight || concurrency < worker->slots) worker->slots = concurrency;
  call->worker = worker->number;
  call->previous = worker->last;
  call->next = NULL;
  *(worker->last ? &worker->last->next : &worker->first) = call;
  worker->last = call;
  worker->in_flight++;
  worker->backlog += call->predicted;
  deployment_of(router, call)->running++;
}

static void vacate(struct router *router, struct worker *worker, struct call *call) {
  *(call->previous ? &call->previous->next : &worker->first) = call->next;
  *(call->next ? &call->next->previous : &worker->last) = call->previous;
  call->previous = call->next = NULL;
  call->worker = ROUTER_NONE;
  worker->in_flight--;
  worker->backlog = worker->in_flight ? worker->backlog - call->predicted : 0;
  deployment_of(router, call)->running--;
  uint32_t concurrency = deployment_of(router, call)->functions[call->function].concurrency;
  if (concurrency == worker->slots && worker->in_flight)
    worker->slots = least_concurrency(router, worker);
}

void router_call_detach(struct router *router, struct call *call, int64_t now) {
  (void)now;
  struct worker *worker = worker_of(router, call);
  struct deployment *deployment = deployment_of(router, call);
  if (worker) {
    vacate(router, worker, call);
  } else if (call->state == CALL_QUEUED) {
    queue_remove(&deployment->queue, &call->item);
    deployment->queue_bytes -= call->body ? call->body->size : 0;
  }
}

// ---- ends ----

void router_call_fail(struct router *router, struct call *call, struct payload *error,
                      int64_t now) {
  if (call->state == CALL_ABANDONED)
    payload_unref(error);
  else
    router_answer(router, call, MESSAGE_ERROR, 0, error);
  router_call_detach(router, call, now);
  router_call_free(router, call);
}

void router_call_abandon(struct router *router, struct call *call, enum cancel_reason reason,
                         struct payload *error, int64_t now) {
  struct worker *worker = worker_of(router, call);
  router_answer(router, call, MESSAGE_ERROR, 0, error);
  call->state = CALL_ABANDONED;
  payload_unref(call->body);
  call->body = NULL;
  timers_set(&router->timers, &call->timer, now + LIMIT_GRACE);
  router_worker_send(router, worker,
                     (struct message){.type = MESSAGE_CANCEL,
                                      .id = call->id,
                                      .attempt = call->attempt,
                                      .sequence = call->sequence,
                                      .reason = (uint8_t)reason});
}

// An attempt before this one may have run.
static enum executed executed_before(const struct call *call) {
  return call->attempt > 1 ? EXECUTED_MAYBE : EXECUTED_NO;
}

static enum executed executed_now(struct router *router, const struct call *call) {
  const struct worker *worker = worker_of(router, call);
  if (!worker) return executed_before(call);
  return call->started || worker->entered >= call->sequence ? EXECUTED_YES : EXECUTED_MAYBE;
}

static void write_call(struct error_writer *writer, struct router *router,
                       const struct call *call) {
  error_string(writer, "deployment", deployment_of(router, call)->name);
  error_number(writer, "attempt", call->attempt);
  if (call->worker != ROUTER_NONE) error_number(writer, "worker", call->worker);
}

static struct payload *not_ready(struct router *router, struct call *call, int64_t now) {
  struct deployment *deployment = deployment_of(router, call);
  struct error_writer writer;
  error_begin(&writer, ERROR_NOT_READY, executed_before(call), true, "router");
  error_message(&writer, "no worker of deployment '%s' became ready within %.3g s%s",
                deployment->name, seconds(now - call->admitted),
                deployment->failure ? "; the last failure is the cause" : "");
  error_string(&writer, "state", deployment->state == DEPLOYMENT_FAILED ? "failed" : "starting");
  error_number(&writer, "workers", deployment->worker_count);
  write_call(&writer, router, call);
  if (deployment->failure) error_cause(&writer, deployment->failure);
  return error_end(&writer);
}

static struct payload *deadline_exceeded(struct router *router, struct call *call, int64_t now) {
  enum executed executed = executed_now(router, call);
  bool queued = call->state == CALL_QUEUED;
  struct error_writer writer;
  error_begin(&writer, ERROR_DEADLINE_EXCEEDED, executed, executed == EXECUTED_NO, "router");
  error_message(&writer,
                queued ? "the deadline passed after %.3g s in the queue"
                       : "the deadline passed after %.3g s, while it ran",
                seconds(now - call->admitted));
  error_string(&writer, "phase", queued ? "queue" : "run");
  error_number(&writer, "waited_ms", seconds(now - call->admitted) * 1000);
  write_call(&writer, router, call);
  return error_end(&writer);
}

static void deadline(struct router *router, struct call *call, int64_t now) {
  if (call->state == CALL_RUNNING) {
    router_call_abandon(router, call, CANCEL_DEADLINE, deadline_exceeded(router, call, now), now);
    return;
  }
  const struct deployment *deployment = deployment_of(router, call);
  router_call_fail(
      router, call,
      deployment->ready ? deadline_exceeded(router, call, now) : not_ready(router, call, now), now);
}

void router_call_timer(struct router *router, struct call *call, int64_t now) {
#ifdef PLANT_DEADLINE_FORGOTTEN
  if (call->state == CALL_QUEUED) return;
#endif
  if (call->state == CALL_ABANDONED)
    router_worker_kill(router, worker_of(router, call));
  else
    deadline(router, call, now);
}

void router_call_cancel(struct router *router, struct call *call, enum cancel_reason reason,
                        int64_t now) {
  if (call->state == CALL_ABANDONED) return;
  struct error_writer writer;
  error_begin(&writer, ERROR_CANCELLED, executed_now(router, call), false, "router");
  error_message(
      &writer, "the call was cancelled %s",
      call->state == CALL_QUEUED ? "before it was sent to a worker" : "while a worker had it");
  error_string(&writer, "by", reason == CANCEL_SHUTDOWN ? "shutdown" : "client");
  write_call(&writer, router, call);
  struct payload *error = error_end(&writer);
  if (call->state == CALL_QUEUED)
    router_call_fail(router, call, error, now);
  else
    router_call_abandon(router, call, reason, error, now);
}

static const char *reason_text(enum lost_reason reason) {
  switch (reason) {
    case LOST_EXIT:
      return "exit";
    case LOST_SIGNAL:
      return "signal";
    case LOST_HEARTBEAT:
      return "heartbeat";
    case LOST_START:
      return "start";
    case LOST_FRAME:
      return "frame";
  }
  return "exit";
}

static struct payload *worker_lost(struct router *router, struct call *call,
                                   enum lost_reason reason, int code) {
  struct error_writer writer;
  bool idempotent = call->flags & CALL_IDEMPOTENT;
  error_begin(&writer, ERROR_WORKER_LOST, call->started ? EXECUTED_YES : EXECUTED_MAYBE, idempotent,
              "router");
  if (reason == LOST_SIGNAL)
    error_message(&writer, "worker %u was ended by signal %d while it had the call", call->worker,
                  code);
  else if (reason == LOST_EXIT)
    error_message(&writer, "worker %u ended with exit code %d while it had the call", call->worker,
                  code);
  else
    error_message(&writer, "worker %u was given up (%s) while it had the call", call->worker,
                  reason_text(reason));
  error_string(&writer, "reason", reason_text(reason));
  if (reason == LOST_SIGNAL) error_number(&writer, "signal", code);
  if (reason == LOST_EXIT) error_number(&writer, "exit_code", code);
  write_call(&writer, router, call);
  return error_end(&writer);
}

void router_call_lost(struct router *router, struct call *call, enum lost_reason reason, int code,
                      int64_t now) {
  struct worker *worker = worker_of(router, call);
  bool entered = call->started || worker->entered >= call->sequence;
  if (reason == LOST_HEARTBEAT) entered = true;  // it may be alive and enter it yet
  bool again = !entered || ((call->flags & CALL_IDEMPOTENT) && call->attempt < LIMIT_ATTEMPTS);
  if (call->state == CALL_ABANDONED || !again) {
    router_call_fail(router, call,
                     call->state == CALL_ABANDONED ? NULL : worker_lost(router, call, reason, code),
                     now);
    return;
  }
  router_call_detach(router, call, now);
#ifdef PLANT_SLOT_KEPT
  worker->in_flight++;
#endif
  if (entered) call->attempt++;
  call->started = false;
#ifndef PLANT_LOST_REQUEUE
  router_call_queue(router, call);
#endif
}

// ---- answers of workers ----

static struct call *find_call(struct router *router, struct worker *worker,
                              const struct message *message) {
#ifdef PLANT_SECOND_RESULT
  struct call *any = table_find(&router->calls, message->id);
  if (any && any->state != CALL_QUEUED) return any;
#endif
  struct call *call = worker->first;
  while (call && call->sequence != message->sequence) call = call->next;
  if (!call || call->attempt != message->attempt) return NULL;
  if (call->id.counter != message->id.counter || call->id.session != message->id.session)
    return NULL;
#ifndef PLANT_NO_FENCE
  if (message->type != MESSAGE_STARTED && message->epoch != router->options.epoch) return NULL;
#endif
  return call;
}

// The service time of a call moves the score where it can be compared with the benchmark's: alone,
// or with as many others as the function allows.
static void learn(struct router *router, struct worker *worker, const struct call *call,
                  int64_t elapsed, int64_t now) {
  double total = seconds(now - call->sent), inside = seconds(elapsed);
  if (inside < total) worker->round_trip += (total - inside - worker->round_trip) / 16;
  uint32_t concurrency = deployment_of(router, call)->functions[call->function].concurrency;
  if (inside < kShortestLesson || 2 * worker->in_flight < concurrency) return;
  double *score = &worker->scores[call->function];
  *score = balance_learn(*score, call->workload * worker->in_flight, inside);
}

static void finish(struct router *router, struct worker *worker, struct call *call,
                   struct message *message, int64_t now) {
  worker->calls++;
  worker->finished++;
  worker->quick_deaths = 0;
  if (message->type == MESSAGE_RESULT) learn(router, worker, call, message->elapsed, now);
  if (call->state == CALL_ABANDONED) {
    deployment_of(router, call)->dropped++;
    payload_unref(message->body);
  } else {
    router_answer(router, call, (enum message_type)message->type, message->elapsed, message->body);
  }
  router_call_detach(router, call, now);
  router_call_free(router, call);
}

static void give_back(struct router *router, struct call *call, int64_t now) {
  if (call->state == CALL_ABANDONED) {
    router_call_fail(router, call, NULL, now);
    return;
  }
  router_call_detach(router, call, now);
  router_call_queue(router, call);
}

static void unexpected(struct router *router, struct worker *worker) {
  router->deployments[worker->deployment]->dropped++;
  if (++worker->bad_answers == LIMIT_BAD_ANSWERS) {
    router_log(router, worker->deployment,
               "worker %u gave %d answers nobody asked for and is ended", worker->number,
               LIMIT_BAD_ANSWERS);
    router_worker_kill(router, worker);
  }
}

void router_call_answered(struct router *router, struct worker *worker, struct message *message,
                          int64_t now) {
  struct call *call = find_call(router, worker, message);
  if (!call) {
    unexpected(router, worker);
  } else if (message->type == MESSAGE_RESULT || message->type == MESSAGE_ERROR) {
    finish(router, worker, call, message, now);
    router_dispatch(router, router->deployments[worker->deployment], now);
    return;
  } else if (message->type == MESSAGE_STARTED) {
    call->started = true;
  } else {
    give_back(router, call, now);
    router_dispatch(router, router->deployments[worker->deployment], now);
  }
  payload_unref(message->body);
}

// ---- assignment ----

static bool may_serve(const struct worker *worker) {
#ifdef PLANT_UNREADY
  return worker->state == WORKER_READY || worker->state == WORKER_STARTING;
#else
  return worker->state == WORKER_READY && !worker->killed && !worker->tainted;
#endif
}

static bool has_slot(const struct worker *worker, uint32_t concurrency) {
  if (!worker->in_flight) return true;
  return worker->in_flight < worker->slots && worker->in_flight < concurrency;
}

// Seconds of work in front of a new call. What runs longer than predicted is expected to take as
// long again as it has.
static double backlog(const struct worker *worker, int64_t now) {
  if (!worker->first) return 0;
  if (worker->in_flight > 1) return worker->backlog;
  double elapsed = seconds(now - worker->first->sent), left = worker->first->predicted - elapsed;
  return left > 0 ? left : elapsed;
}

// Where a call is to go.
struct choice {
  uint32_t worker;  // in the deployment; ROUTER_NONE: it waits
  uint32_t
      awaited;   // the busy one it waits for although another is free; ROUTER_NONE: none is free
  double later;  // predicted seconds until that one has a slot
};

static struct choice choose(struct router *router, struct deployment *deployment,
                            const struct call *call, int64_t now) {
  uint32_t concurrency = deployment->functions[call->function].concurrency, count = 0, any_free = 0;
  struct choice choice = {ROUTER_NONE, ROUTER_NONE, 0};
  struct candidate *candidates = deployment->candidates;
  uint32_t *places = deployment->places, best = 0;
  for (uint32_t i = 0; i < deployment->worker_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (!may_serve(worker)) continue;
    bool is_free = has_slot(worker, concurrency);
    any_free += is_free;
    places[count] = i;
    candidates[count++] = (struct candidate){
        .score = worker->scores[call->function], .round_trip = worker->round_trip, .free = is_free};
  }
  if (!any_free) return choice;
  for (uint32_t i = 0; i < count; i++)
    candidates[i].backlog = backlog(router->workers[deployment->first_worker + places[i]], now) +
                            deployment->promised[places[i]];
  int chosen = balance_choose(candidates, count, call->workload, &best);
  if (chosen != BALANCE_WAIT) {
    choice.worker = places[chosen];
  } else {
    choice.awaited = places[best];
    choice.later = candidates[best].backlog;
  }
  return choice;
}

static void assign(struct router *router, struct worker *worker, struct call *call, int64_t now) {
  double score = worker->scores[call->function];
  router_call_detach(router, call, now);
  call->state = CALL_RUNNING;
  call->sequence = ++router->sequence;
  call->sent = now;
  call->predicted = score > 0 ? call->workload / score : 0;
  occupy(router, worker, call);
  int64_t remaining = call->deadline - now;
  router_worker_send(router, worker,
                     (struct message){.type = MESSAGE_CALL,
                                      .id = call->id,
                                      .attempt = call->attempt,
                                      .epoch = router->options.epoch,
                                      .sequence = call->sequence,
                                      .function = call->function,
                                      .remaining = remaining > 0 ? remaining : 0,
                                      .workload = call->workload,
                                      .priority = call->priority,
                                      .flags = call->flags,
                                      .body = payload_ref(call->body)});
}

// A call that fits nowhere does not hold up calls of other functions, unless it has waited so long
// that they would starve it.
static const int64_t kPatience = 100 * NANOSECONDS_PER_MILLISECOND;

// How many calls behind one that waits for a busy worker are looked at.
enum { LOOK_BEHIND = 64 };

static double predicted(const struct router *router, const struct deployment *deployment,
                        const struct call *call, uint32_t worker) {
  double score = router->workers[deployment->first_worker + worker]->scores[call->function];
  return score > 0 ? call->workload / score : 0;
}

// The first call waits for a busy worker that will end it sooner than a free one. Each that does so is work in front of those behind it, so further
// back one may be better off with the free worker now: without this a slow worker would stay idle however long the queue is.
static struct call *look_behind(struct router *router, struct deployment *deployment,
                                struct call *call, struct choice *choice, int64_t now) {
  struct queue_item *item = &call->item;
  for (int i = 0; i < LOOK_BEHIND && choice->awaited != ROUTER_NONE; i++) {
    deployment->promised[choice->awaited] +=
        predicted(router, deployment, (struct call *)item, choice->awaited);
    item = item->next;
    if (item && ((struct call *)item)->deadline <= now) item = NULL;  // about to end
    if (!item) break;
    *choice = choose(router, deployment, (struct call *)item, now);
    if (choice->worker != ROUTER_NONE) break;
  }
  memset(deployment->promised, 0, deployment->worker_count * sizeof *deployment->promised);
  return item && choice->worker != ROUTER_NONE ? (struct call *)item : NULL;
}

void router_dispatch(struct router *router, struct deployment *deployment, int64_t now) {
  if (!deployment->queue.count) return;
  double soonest = -1;
  struct queue_item *item;
  bool skipped = false;
  while ((item = queue_oldest(&deployment->queue, skipped ? deployment->skip : NULL))) {
    struct call *call = (struct call *)item;
    if (call->deadline <= now) {
      router_call_timer(router, call, now);
      continue;
    }
    struct choice choice = choose(router, deployment, call, now);
    if (choice.worker == ROUTER_NONE && choice.awaited != ROUTER_NONE) {
      if (soonest < 0 || choice.later < soonest) soonest = choice.later;
      call = look_behind(router, deployment, call, &choice, now);
    }
    if (choice.worker != ROUTER_NONE) {
      assign(router, router->workers[deployment->first_worker + choice.worker], call, now);
      continue;
    }
    if (deployment->function_count == 1 || now - ((struct call *)item)->admitted > kPatience) break;
    if (!skipped) memset(deployment->skip, 0, deployment->function_count);
    skipped = true;
    deployment->skip[item->line] = 1;
  }
  if (soonest >= 0)
    timers_set(&router->timers, &deployment->timer,
               now + (int64_t)(soonest * 1e9) + NANOSECONDS_PER_MILLISECOND / 10);
}

struct payload *router_deployment_failed(const struct deployment *deployment,
                                         enum executed executed) {
  static const char *const phases[] = {"crash_loop", "bundle",     "context",
                                       "benchmark",  "crash_loop", "crash_loop"};
  struct error_writer writer;
  error_begin(&writer, ERROR_DEPLOYMENT_FAILED, executed, false, "router");
  error_message(
      &writer,
      "the workers of deployment '%s' do not become ready (%u failures); the last one is the cause",
      deployment->name, deployment->failure_count);
  error_string(&writer, "phase", phases[deployment->failure_phase]);
  error_string(&writer, "deployment", deployment->name);
  if (deployment->failure) error_cause(&writer, deployment->failure);
  return error_end(&writer);
}

void router_fail_queue(struct router *router, struct deployment *deployment, int64_t now) {
  struct queue_item *item;
  while ((item = queue_oldest(&deployment->queue, NULL))) {
    struct call *call = (struct call *)item;
    router_call_fail(router, call, router_deployment_failed(deployment, executed_before(call)),
                     now);
  }
}
