// Where a call is: in the queue, in a slot of a worker, or ended.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "payload.h"
#include "router_failed.h"
#include "router_key.h"
#include "router_state.h"

// A service time below this says more about the clock than about the worker.
static const double kShortestLesson = 20e-6;

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

// The call that made it does not wait for it any more.
static void leave_parent(struct router *router, struct call *call) {
  struct call *parent = table_find(&router->calls, call->parent);
  if (parent && parent->children) parent->children--;
  call->parent = (struct call_id){0};
}

void router_call_free(struct router *router, struct call *call) {
  struct peer *peer = router_peer(router, call->peer);
  if (peer) peer->calls--;
  leave_parent(router, call);
  timers_cancel(&router->timers, &call->timer);
  table_remove(&router->calls, call->id);
  router_fair_forget(call);
  router_drop_body(router, call);
  free(call->trials);
  *(call->older ? &call->older->newer : &router->oldest) = call->newer;
  *(call->newer ? &call->newer->older : &router->newest) = call->older;
  call->newer = router->free_calls;
  router->free_calls = call;
}

void router_call_queue(struct router *router, struct call *call) {
  struct deployment *deployment = call_deployment(router, call);
  call->state = CALL_QUEUED;
  call->worker = ROUTER_NONE;
#ifndef PLANT_DEADLINE_FORGOTTEN
  timers_set(&router->timers, &call->timer, call->queue_deadline);
#endif
  queue_push(&deployment->queue, &call->item);
  router_fair_waits(router, call);
  if (router_batches(deployment, call)) router_batch_queued(deployment, call);
  deployment->queue_bytes += call->body ? call->body->size : 0;
  if (call->key) router_key_queued(router, call);
}

void router_call_start_clock(struct router *router, struct call *call, int64_t now) {
  bool is_default = (call->flags & CALL_DEFAULT_DEADLINE) != 0;
  if (!is_default || call_deployment(router, call)->functions[call->function].timeout) return;
  bool may_wait = call->queue_deadline == call->deadline;
  call->deadline = now + LIMIT_DEADLINE_DEFAULT;
  if (may_wait || call->queue_deadline > call->deadline) call->queue_deadline = call->deadline;
  timers_set(&router->timers, &call->timer, call->queue_deadline);
}

// ---- ends ----

void router_call_fail(struct router *router, struct call *call, struct payload *error,
                      int64_t now) {
  if (call->state == CALL_ATTACHED) {
    router_key_leave(router, call, error, now);
    return;
  }
  if (call->state == CALL_ABANDONED)
    payload_unref(error);
  else
    router_answer(router, call, MESSAGE_ERROR, 0, error);
  router_call_detach(router, call, now);
  router_call_free(router, call);
}

static struct call *first_child(const struct router *router, struct call_id parent) {
  struct call *call = router->oldest;
  while (call && (call->parent.counter != parent.counter || call->parent.session != parent.session))
    call = call->newer;
  return call;
}

// Each cancel may end further calls, so the search begins anew.
static void cancel_children(struct router *router, struct call *call, int64_t now) {
  while (call->children) {
    struct call *child = first_child(router, call->id);
    if (!child) break;
    child->parent = (struct call_id){0};
    call->children--;
    router_call_cancel(router, child, CANCEL_CLIENT, now);
  }
}

void router_call_abandon(struct router *router, struct call *call, enum cancel_reason reason,
                         struct payload *error, int64_t now) {
  struct worker *worker = call_worker(router, call);
  router_answer(router, call, MESSAGE_ERROR, 0, error);
  call->state = CALL_ABANDONED;
  leave_parent(router, call);
  router_drop_body(router, call);
  if (call->batch) {
    if (!router_batch_abandon(router, call, reason, now)) cancel_children(router, call, now);
    return;
  }
  timers_set(&router->timers, &call->timer, now + LIMIT_GRACE);
  router_worker_send(router, worker,
                     &(struct message){.type = MESSAGE_CANCEL,
                                       .id = call->id,
                                       .attempt = call->attempt,
                                       .sequence = call->sequence,
                                       .reason = (uint8_t)reason});
  cancel_children(router, call, now);
}

enum executed router_call_executed(const struct router *router, const struct call *call) {
  const struct call *run = router_key_run(call);
  const struct worker *worker = call_worker(router, run);
  if (run->ran) return EXECUTED_YES;
  if (worker)
    return run->started || worker->entered >= run->sequence ? EXECUTED_YES : EXECUTED_MAYBE;
  // An attempt before this one may have run; the others will see this one run.
  bool goes_on = run != call && router_key_is_shared(call);
  return run->attempt > 1 || goes_on ? EXECUTED_MAYBE : EXECUTED_NO;
}

void router_write_call(struct error_writer *writer, struct router *router,
                       const struct call *call) {
  call = router_key_run(call);
  error_string(writer, "deployment", call_deployment(router, call)->name);
  error_number(writer, "attempt", call->attempt);
  if (call->worker != ROUTER_NONE) error_number(writer, "worker", call->worker);
  if (call->trials) error_trials(writer, call->trials->of, call->trials->count);
}

static struct payload *not_ready(struct router *router, struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  bool is_past = router_next_try(router, deployment) == INT64_MAX;
  const struct payload *failure = is_past ? NULL : deployment->failure;
  struct error_writer writer;
  error_begin(&writer, ERROR_NOT_READY, router_call_executed(router, call), true, "router");
  error_message(&writer, "no worker of deployment '%s' became ready within %.3g s%s",
                deployment->name, to_seconds(now - call->admitted),
                failure ? "; the last failure is the cause" : "");
  error_string(&writer, "state", deployment->state == DEPLOYMENT_FAILED ? "failed" : "starting");
  error_number(&writer, "workers", deployment->worker_count);
  router_write_call(&writer, router, call);
  if (failure) error_cause(&writer, failure);
  return error_end(&writer);
}

static struct payload *deadline_exceeded(struct router *router, struct call *call, int64_t now) {
  enum executed executed = router_call_executed(router, call);
  bool queued = router_key_run(call)->state != CALL_RUNNING;
  struct error_writer writer;
  error_begin(&writer, ERROR_DEADLINE_EXCEEDED, executed, executed == EXECUTED_NO, "router");
  error_message(&writer,
                queued ? "the deadline passed after %.3g s in the queue"
                       : "the deadline passed after %.3g s, while it ran",
                to_seconds(now - call->admitted));
  error_string(&writer, "phase", queued ? "queue" : "run");
  error_number(&writer, "waited_ms", to_seconds(now - call->admitted) * 1000);
  router_write_call(&writer, router, call);
  return error_end(&writer);
}

static void deadline(struct router *router, struct call *call, int64_t now) {
  if (router_ahead_withdraw(router, call, CANCEL_DEADLINE)) return;
  if (call->state == CALL_RUNNING) {
    router_call_abandon(router, call, CANCEL_DEADLINE, deadline_exceeded(router, call, now), now);
    return;
  }
  bool queued = router_key_run(call)->state != CALL_RUNNING;
  if (!queued && now < call->deadline) {  // an attached call has waited for a worker, and got one
    timers_set(&router->timers, &call->timer, call->deadline);
    return;
  }
  bool waits = queued && !call_deployment(router, call)->ready;
  router_call_fail(router, call,
                   waits ? not_ready(router, call, now) : deadline_exceeded(router, call, now),
                   now);
}

void router_call_end(struct router *router, struct call *call, enum cancel_reason reason,
                     int64_t now) {
  if (reason == CANCEL_DEADLINE)
    deadline(router, call, now);
  else
    router_call_cancel(router, call, reason, now);
}

void router_call_timer(struct router *router, struct call *call, int64_t now) {
#ifdef PLANT_GRACE_FORGOTTEN
  if (call->state == CALL_ABANDONED) return;
#endif
  if (call->state == CALL_ABANDONED)
    router_worker_kill(router, call_worker(router, call));
  else if (call->state == CALL_DELAYED && now < call->queue_deadline)
    router_retry_timer(router, call, now);
  else
    deadline(router, call, now);
}

void router_call_cancel(struct router *router, struct call *call, enum cancel_reason reason,
                        int64_t now) {
  if (call->state == CALL_ABANDONED || router_ahead_withdraw(router, call, reason)) return;
  struct error_writer writer;
  error_begin(&writer, ERROR_CANCELLED, router_call_executed(router, call), false, "router");
  error_message(&writer, "the call was cancelled %s",
                router_key_run(call)->state != CALL_RUNNING ? "before it was sent to a worker"
                                                            : "while a worker had it");
  error_string(&writer, "by", reason == CANCEL_SHUTDOWN ? "shutdown" : "client");
  router_write_call(&writer, router, call);
  struct payload *error = error_end(&writer);
  if (call->state == CALL_RUNNING)
    router_call_abandon(router, call, reason, error, now);
  else
    router_call_fail(router, call, error, now);
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
  const char *said = call_worker(router, call)->said;
  struct error_writer writer;
  error_begin(&writer, ERROR_WORKER_LOST,
              call->started || call->ran ? EXECUTED_YES : EXECUTED_MAYBE,
              call->flags & CALL_IDEMPOTENT, "router");
  if (reason == LOST_SIGNAL)
    error_message(&writer, "worker %u was ended by signal %d while it had the call%s", call->worker,
                  code, said ? said : "");
  else if (reason == LOST_EXIT)
    error_message(&writer, "worker %u ended with exit code %d while it had the call", call->worker,
                  code);
  else
    error_message(&writer, "worker %u was given up (%s) while it had the call", call->worker,
                  reason_text(reason));
  error_string(&writer, "reason", reason_text(reason));
  if (reason == LOST_SIGNAL) error_number(&writer, "signal", code);
  if (reason == LOST_EXIT) error_number(&writer, "exit_code", code);
  router_write_call(&writer, router, call);
  return error_end(&writer);
}

bool router_call_entered(const struct router *router, const struct call *call) {
  return call->started || call_worker(router, call)->entered >= call->sequence;
}

// Whether the worker died, of itself, of this one call: see router_retry.c.
static bool is_guilty(const struct router *router, const struct call *call, enum lost_reason reason,
                      bool alone) {
  return alone && (reason == LOST_EXIT || reason == LOST_SIGNAL) &&
         !call_worker(router, call)->killed;
}

static void outcome_text(char *text, size_t size, enum lost_reason reason, int code) {
  if (reason == LOST_EXIT || reason == LOST_SIGNAL)
    snprintf(text, size, "%s %d", reason_text(reason), code);
  else
    snprintf(text, size, "%s", reason_text(reason));
}

// Its GPU has failed under it: it is tried once more at most, for the next one may have another.
static void lose_to_gpu(struct router *router, struct call *call, bool guilty, int64_t now) {
  static const char kOutcome[] = "GpuFault";
  bool again = !router_retry_was(call, kOutcome);
  if (guilty && router_retry_killed(router, call, now)) {
    router_retry_note(call, kOutcome, now);
    router_call_fail(router, call, router_retry_poison(router, call, now), now);
    return;
  }
  if (again && router_retry_again(router, call, kOutcome, now)) return;
  if (!again) router_retry_note(call, kOutcome, now);
  router_call_fail(router, call, router_gpu_fault(router, call), now);
}

// It may have been entered: its outcome, unless it is tried again.
static void lose_entered(struct router *router, struct call *call, enum lost_reason reason,
                         int code, bool alone, int64_t now) {
  char outcome[24];
  const struct worker *worker = call_worker(router, call);
  if (reason == LOST_EXIT && router_gpu_failed(worker)) {
    bool is_lost = worker->phase == PHASE_GPU_LOST;
    lose_to_gpu(router, call, !is_lost && is_guilty(router, call, reason, alone), now);
    return;
  }
  outcome_text(outcome, sizeof outcome, reason, code);
  if (is_guilty(router, call, reason, alone) && router_retry_killed(router, call, now)) {
    router_retry_note(call, outcome, now);
    router_call_fail(router, call, router_retry_poison(router, call, now), now);
  } else if (!router_retry_again(router, call, outcome, now)) {
    router_call_fail(router, call, worker_lost(router, call, reason, code), now);
  }
}

void router_call_lost(struct router *router, struct call *call, enum lost_reason reason, int code,
                      bool alone, int64_t now) {
#ifdef PLANT_SLOT_KEPT
  struct worker *worker = call_worker(router, call);
#endif
  // One that is silent may be alive and enter it yet.
  bool entered = reason == LOST_HEARTBEAT || router_call_entered(router, call);
#ifdef PLANT_SENT_TWICE
  entered = false;
#endif
  if (call->state == CALL_ABANDONED) {
    router_call_fail(router, call, NULL, now);
  } else if (entered) {
    lose_entered(router, call, reason, code, alone, now);
  } else {
    router_call_detach(router, call, now);
#ifdef PLANT_SLOT_KEPT
    worker->in_flight++;
#endif
#ifndef PLANT_LOST_REQUEUE
    router_retry_unentered(router, call, now);
#endif
  }
}

// ---- answers of workers ----

struct call *router_call_find(struct router *router, struct worker *worker,
                              const struct message *message) {
#ifdef PLANT_SECOND_RESULT
  struct call *any = table_find(&router->calls, message->id);
  if (any && any->state != CALL_QUEUED) return any;
#endif
  struct call *call = worker->first;
  while (call && call->sequence != message->sequence) call = call->next;
  if (!call || call->attempt != message->attempt) return NULL;
  if (call->has_items && message->type == MESSAGE_GIVE_BACK) return NULL;
  if (call->id.counter != message->id.counter || call->id.session != message->id.session)
    return NULL;
#ifndef PLANT_NO_FENCE
  if (message->type != MESSAGE_STARTED && message->epoch != router->options.epoch) return NULL;
#endif
  return call;
}

// One call that was held up, in a paused process or on a crowded core, says little about the next:
// it counts as no more than twice what was seen before it, and a millisecond.
static void learn_round_trip(struct router *router, struct worker *worker, double seen,
                             int64_t now) {
  double most = 2 * worker->round_trip + 1e-3;
  worker->round_trip += ((seen < most ? seen : most) - worker->round_trip) / 16;
  worker->answered_at = now;
  router_outlook_changed(router, worker);
}

// The service time of a call moves the score where it can be compared with the benchmark's: alone,
// or with as many others as the function allows.
// Returns whether it does.
static bool learn(struct router *router, struct worker *worker, const struct call *call,
                  int64_t elapsed, int64_t now) {
  double total = to_seconds(now - call->sent), inside = to_seconds(elapsed);
  double workload = call->batch ? call->batch->workload : call->workload;
  if (call->batch && call->batch->is_learnt) return false;
  if (call->batch) call->batch->is_learnt = true;
  bool waited = call->ahead || router_has_ahead(worker);  // for others, or its answer did
  if (inside < total && !waited) learn_round_trip(router, worker, total - inside, now);
  if (call->flags & CALL_STREAM) return false;  // which may have waited for its reader
  uint32_t concurrency = call_deployment(router, call)->functions[call->function].concurrency;
  uint32_t beside = router_slots_used(worker);
  if (inside < kShortestLesson || 2 * beside < concurrency) return false;
  router_score_learn(router, worker, call->function, workload * beside, inside, now);
  return true;
}

static void finish(struct router *router, struct worker *worker, struct call *call,
                   struct message *message, int64_t now) {
  worker->calls++;
  worker->finished++;
  worker->quick_deaths = 0;
  router_ahead_learn(worker, call, (enum message_type)message->type, message->elapsed);
  router_metrics_ran(router, worker, call, message->elapsed, now);
  router_recycle_count(router, worker, call, now);
  router_gpu_answered(router, worker, message, now);
  bool learnt = false;
  if (message->type == MESSAGE_RESULT)
    learnt = learn(router, worker, call, message->elapsed, now);
  else if (call->batch && !message->elapsed)
    call->batch->workload -= call->workload;  // it was left out
  router_eject_answered(router, worker, call->function, message, learnt, now);
  if (message->type == MESSAGE_RESULT && call_deployment(router, call)->suspect_count)
    router_retry_acquit(router, call);
  if (router_retry_error(router, call, message, now)) {
    cancel_children(router, call, now);
    payload_unref(message->body);
    return;
  }
  if (call->state == CALL_ABANDONED) {
    call_deployment(router, call)->dropped++;
    payload_unref(message->body);
  } else {
    router_answer(router, call, (enum message_type)message->type, message->elapsed, message->body);
  }
  cancel_children(router, call, now);
  router_call_detach(router, call, now);
  router_call_free(router, call);
}

static void give_back(struct router *router, struct call *call, int64_t now) {
  if (call->batch) call->batch->workload -= call->workload;
  if (call->state == CALL_ABANDONED) {
    router_call_fail(router, call, NULL, now);
    return;
  }
  router_call_detach(router, call, now);
  router_retry_unentered(router, call, now);
}

void router_call_unexpected(struct router *router, struct worker *worker) {
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
  struct call *call = router_call_find(router, worker, message);
  // The worker does not know whether the router has taken a call back already: see page.h.
  bool is_known = message->type == MESSAGE_GIVE_BACK && message->sequence <= worker->recalled;
  if (!call) {
    if (!is_known) router_call_unexpected(router, worker);
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
