// Slots of workers, and which waiting call gets one.
#include <string.h>

#include "balance.h"
#include "payload.h"
#include "router_failed.h"
#include "router_key.h"
#include "router_state.h"

// ---- slots ----

static uint32_t least_concurrency(const struct router *router, const struct worker *worker) {
  const struct deployment *deployment = router->deployments[worker->deployment];
  uint32_t least = LIMIT_CONCURRENCY;
  for (const struct call *call = worker->first; call && least > 1; call = call->next) {
    uint32_t concurrency = deployment->functions[call->function].concurrency;
    if (concurrency < least) least = concurrency;
  }
  return least;
}

static void occupy(struct router *router, struct worker *worker, struct call *call) {
  uint32_t concurrency = call_deployment(router, call)->functions[call->function].concurrency;
  if (!worker->in_flight || concurrency < worker->slots) worker->slots = concurrency;
  if (!call->batch || call->batch->members == 1) worker->in_flight++;
  call->worker = worker->number;
  call->previous = worker->last;
  call->next = NULL;
  *(worker->last ? &worker->last->next : &worker->first) = call;
  worker->last = call;
  worker->backlog += call->predicted;
  worker->work += call->work;
  call_deployment(router, call)->running++;
  router_outlook_changed(router, worker);
}

static void vacate(struct router *router, struct worker *worker, struct call *call, int64_t now) {
  if (call == worker->first) worker->moved = now;
  *(call->previous ? &call->previous->next : &worker->first) = call->next;
  *(call->next ? &call->next->previous : &worker->last) = call->previous;
  call->previous = call->next = NULL;
  call->worker = ROUTER_NONE;
  if (!call->batch || router_batch_leave(router, worker, call, now)) worker->in_flight--;
  worker->backlog = worker->in_flight ? worker->backlog - call->predicted : 0;
  worker->work = worker->in_flight ? worker->work - call->work : 0;
  call_deployment(router, call)->running--;
  uint32_t concurrency = call_deployment(router, call)->functions[call->function].concurrency;
  if (concurrency == worker->slots && worker->in_flight)
    worker->slots = least_concurrency(router, worker);
  router_outlook_changed(router, worker);
}

void router_call_detach(struct router *router, struct call *call, int64_t now) {
  struct worker *worker = call_worker(router, call);
  struct deployment *deployment = call_deployment(router, call);
  if (worker) {
    vacate(router, worker, call, now);
    router_recycle_vacated(router, worker, now);
  } else if (call->state == CALL_QUEUED) {
    queue_remove(&deployment->queue, &call->item);
    router_fair_leaves(router, call);
  } else if (call->state == CALL_DELAYED) {
    deployment->delayed--;
  }
  if (call->state == CALL_QUEUED || call->state == CALL_DELAYED)
    deployment->queue_bytes -= call->body ? call->body->size : 0;
}

// ---- assignment ----

static const double kKeep = 6;
static const double kServiceWeight = 1.0 / 64;

// One that will be given up unless its answer comes soon gets no call: else a call of several silent
// workers would be tried on one after the other.
static bool is_silent(const struct router *router, const struct worker *worker) {
  return router->options.heartbeat && worker->unanswered >= router->options.heartbeat_misses;
}

bool router_may_serve(const struct router *router, const struct worker *worker) {
#ifdef PLANT_UNREADY
  return worker->state == WORKER_READY || worker->state == WORKER_STARTING;
#else
#ifdef PLANT_PARKED_SERVES
  if (worker->parked && worker->state == WORKER_READY && !worker->killed && !worker->leaving)
    return !is_silent(router, worker);
#endif
#ifdef PLANT_RETIREE_SERVES
  if (worker->retiring && !worker->killed) return true;
#endif
  return worker->state == WORKER_READY && !worker->killed && !worker->leaving && !worker->parked &&
         (worker->standing != STANDING_EJECTED ||
          router->deployments[worker->deployment]->panics) &&
         !is_silent(router, worker);
#endif
}

// Where a call is to go.
struct choice {
  uint32_t worker;  // in the deployment; ROUTER_NONE: it waits
  uint32_t
      awaited;  // the busy one it waits for although another is free; ROUTER_NONE: none is free
  uint32_t candidate;  // which one that is
  double later;        // predicted seconds until that one has a slot
};

// The candidates that a step of dispatching chooses from: valid until a call was given to one.
struct sight {
  uint32_t function, reserved, count, free;
  bool valid;
};

// A call that failed goes to another worker if one is free. It waits for none: who stands in the
// place where it failed is another process by now.
static bool is_other_free(const struct deployment *deployment, const struct call *call,
                          uint32_t reserved) {
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct outlook *outlook = &deployment->outlooks[i];
    if (i != reserved && outlook->serves && outlook->free &&
        !router_retry_failed_on(call, deployment->first_worker + i))
      return true;
  }
  return false;
}

static void see(struct router *router, struct deployment *deployment, const struct call *call,
                struct sight *sight, int64_t now) {
  if (sight->valid && sight->function == call->function && !call->trials) return;
  bool elsewhere = call->trials && is_other_free(deployment, call, sight->reserved);
  sight->valid = !call->trials;
  sight->function = call->function;
  sight->count = router_outlook_candidates(router, deployment, call->function,
                                           elsewhere ? call : NULL, sight->reserved, now);
  sight->free = 0;
  for (uint32_t i = 0; i < sight->count; i++) sight->free += deployment->candidates[i].free;
}

// How much later than on the best worker a call may end to leave that one to others: the more of
// the workers are busy, the more it is worth.
static double keep(const struct deployment *deployment, const struct sight *sight) {
  double busy = 1 - (double)sight->free / (double)sight->count;
  return kKeep * deployment->service * busy * busy * busy;
}

static struct choice choose(struct router *router, struct deployment *deployment,
                            const struct call *call, struct sight *sight, int64_t now) {
  struct choice choice = {ROUTER_NONE, ROUTER_NONE, ROUTER_NONE, 0};
  uint32_t concurrency = deployment->functions[call->function].concurrency, best = 0;
  if (!router_outlook_refresh(router, deployment, concurrency, now)) return choice;
  see(router, deployment, call, sight, now);
  if (!sight->free) return choice;
  struct wish wish = {.workload = router_batch_workload(deployment, call, now),
                      .keep = keep(deployment, sight),
                      .full = deployment->full};
  int chosen = balance_choose(deployment->candidates, sight->count, &wish, &best);
  if (chosen != BALANCE_WAIT) {
    choice.worker = deployment->places[chosen];
  } else {
    choice.candidate = best;
    choice.awaited = deployment->places[best];
    choice.later = deployment->candidates[best].wait;
  }
  return choice;
}

static void move(double *mean, double value) {
  *mean += *mean > 0 ? (value - *mean) * kServiceWeight : value;
}

static void note_size(struct deployment *deployment, const struct call *call, double pace) {
  if (!(pace > 0)) return;
  move(&deployment->paces[call->function], pace);
  move(&deployment->service, call->predicted);
}

// `follow`: how many of the same batch come after it.
static void assign_one(struct router *router, struct worker *worker, struct call *call,
                       struct batch *batch, uint32_t follow, bool ahead, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  uint32_t place = worker->number - deployment->first_worker;
  double pace = deployment->pace_of[call->function * deployment->place_count + place];
  router_call_detach(router, call, now);
  router_fair_dispatched(router, call, now);
  call->ahead = ahead;
  call->state = CALL_RUNNING;
  router_metrics_dispatched(router, worker, call, now);
  call->sequence = ++router->sequence;
  call->sent = now;
  timers_set(&router->timers, &call->timer, call->deadline);
  call->predicted = call->workload * pace;
  if (router->whys) router_why_predicted(router, call);
  note_size(deployment, call, pace);
  if (batch) router_batch_join(batch, call);
  call->work = router_ahead_work(router, worker, call);
  occupy(router, worker, call);
  int64_t remaining = call->deadline - now;
  router_worker_send(
      router, worker,
      &(struct message){.type = MESSAGE_CALL,
                        .id = call->id,
                        .attempt = call->attempt,
                        .epoch = router->options.epoch,
                        .sequence = call->sequence,
                        .function = call->function,
                        .remaining = remaining > 0 ? remaining : 0,
                        .workload = call->workload,
                        .priority = call->priority,
                        .flags = call->flags | (batch ? CALL_BATCH : 0) | (ahead ? CALL_AHEAD : 0),
                        .batch = follow,
                        .credit = credit_window(&call->credit),
                        .body = payload_ref(call->body)});
}

// Gives `call` to `worker`, and those that go with it.
static void assign(struct router *router, struct deployment *deployment, struct worker *worker,
                   struct call *call, int64_t now) {
  if (!router_batches(deployment, call)) {
    assign_one(router, worker, call, NULL, 0, false, now);
    return;
  }
  uint32_t count = router_batch_count(deployment, call, now), function = call->function;
  struct batch *batch = router_batch_new(router);
  for (struct call *next; count; call = next) {
    next = router_batch_next(call, now);
    if (router->whys && batch->members)
      router_why_given(router, call, 0, worker->number - deployment->first_worker, WHY_BATCH, now);
    assign_one(router, worker, call, batch, --count, false, now);
  }
  router_batch_went(deployment, function, now);
}

// A call that fits nowhere does not hold up calls of other functions. Once it has waited so long that
// they would starve it, the worker that will first have room for it gets no others.
static const int64_t kPatience = 100 * NANOSECONDS_PER_MILLISECOND;

// How many calls behind one that waits for a busy worker are looked at.
enum { LOOK_BEHIND = 64, LOOK_LEAST = 8, LOOKS = 1024 };  // LOOKS: times candidates

// The first call waits for a busy worker that will end it sooner than a free one. Each that does so
// is work in front of those behind it, so further back one may be better off with the free worker
// now: without this a slow worker would stay idle however long the queue is.
static struct call *look_behind(struct router *router, struct deployment *deployment,
                                struct call *call, struct choice *choice, struct sight *sight,
                                int64_t now) {
  uint32_t steps = LOOKS / sight->count;
  if (steps > LOOK_BEHIND) steps = LOOK_BEHIND;
  if (steps < LOOK_LEAST) steps = LOOK_LEAST;
  for (uint32_t i = 0; i < steps && choice->awaited != ROUTER_NONE; i++) {
    struct candidate *awaited = &deployment->candidates[choice->candidate];
    awaited->wait += router_batch_workload(deployment, call, now) * awaited->pace;
    call = router_batch_behind(deployment, call, now);
    if (call && call->queue_deadline <= now) call = NULL;  // about to end
    if (!call) break;
    *choice = choose(router, deployment, call, sight, now);
    if (choice->worker != ROUTER_NONE) break;
  }
  sight->valid = false;
  return choice->worker != ROUTER_NONE ? call : NULL;
}

// The worker that is predicted to have room for `call` first.
static uint32_t reserve(const struct router *router, struct deployment *deployment,
                        const struct call *call, int64_t now) {
  uint32_t concurrency = deployment->functions[call->function].concurrency, best = ROUTER_NONE;
  double least = 0;
  router_outlook_refresh(router, deployment, concurrency, now);
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct outlook *outlook = &deployment->outlooks[i];
    if (!outlook->serves) continue;
    double left = router_outlook_wait(outlook, now);
    if (best != ROUTER_NONE && left >= least) continue;
    best = i;
    least = left;
  }
  return best;
}

// Nothing but its ejection keeps calls from it.
static bool is_only_ejected(const struct router *router, const struct worker *worker) {
  return worker->state == WORKER_READY && worker->standing == STANDING_EJECTED &&
         !router->deployments[worker->deployment]->panics && !worker->first && !worker->parked &&
         !worker->killed && !worker->leaving && !is_silent(router, worker);
}

// Every slot is held by a call that waits for another one, and none of those can get a slot:
// nothing will move. `ejected` is the idle worker whose ejection ends first, or NULL.
static bool is_deadlocked(const struct router *router, const struct deployment *deployment,
                          struct worker **ejected) {
  *ejected = NULL;
  if (router_scale_may_grow(deployment)) return false;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->wanted && is_only_ejected(router, worker)) {
      if (!*ejected || worker->probation.at < (*ejected)->probation.at) *ejected = worker;
      continue;
    }
    if (worker->wanted && (worker->state != WORKER_READY || !worker->first)) return false;
    for (struct call *call = worker->first; call; call = call->next) {
      const struct call *bearer = router_batch_bearer(call);
      if (!bearer || !bearer->children || bearer->state != CALL_RUNNING) return false;
    }
  }
  for (const struct call *call = router->oldest; call; call = call->newer)
    if (call->parent.counter && router_key_run(call)->state == CALL_RUNNING &&
        call_deployment(router, call) != deployment)
      return false;  // made here, it runs elsewhere: its maker may go on
  return true;
}

static struct call *newest_child(const struct router *router, const struct deployment *deployment) {
  struct call *call = router->newest;
  for (; call; call = call->older)
    if (router_key_run(call)->state == CALL_QUEUED && call_deployment(router, call) == deployment &&
        call->parent.counter)
      break;
  return call;
}

// Whoever is ejected and idle is tried before a call is given up. Returns whether one is.
static bool break_deadlock(struct router *router, struct deployment *deployment, int64_t now) {
  struct worker *ejected;
  while (deployment->queue.count && is_deadlocked(router, deployment, &ejected)) {
    struct call *call = newest_child(router, deployment);
    if (!call) return false;
#ifndef PLANT_EJECT_DEADLOCK
    if (ejected) {
      router_eject_needed(router, ejected, now);
      return true;
    }
#else
    if (ejected) return false;
#endif
    struct error_writer writer;
    error_begin(&writer, ERROR_OVERLOADED, router_call_executed(router, call), false, "router");
    error_message(
        &writer,
        "deadlock: all %u workers of deployment '%s' run calls that wait for calls like this "
        "one; more workers, or functions with concurrency, let them go on",
        deployment->worker_count, deployment->name);
    error_string(&writer, "scope", "workers");
    router_call_fail(router, call, error_end(&writer), now);
  }
  return false;
}

// Why `call` has no worker, where none is awaited.
static enum why_reason reason_to_wait(const struct router *router,
                                      const struct deployment *deployment, const struct call *call,
                                      const struct sight *sight) {
  uint32_t concurrency = deployment->functions[call->function].concurrency;
  const struct outlook *outlooks = deployment->outlooks;
  bool is_kept = sight->reserved != ROUTER_NONE && outlooks[sight->reserved].serves &&
                 outlooks[sight->reserved].free;
  if (is_kept) return WHY_RESERVED;
  for (uint32_t i = 0; deployment->on_probation && i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->standing == STANDING_PROBATION && outlooks[i].serves && worker->in_flight &&
        worker->in_flight < worker->slots && worker->in_flight < concurrency)
      return WHY_PROBATION;
  }
  return WHY_NO_SLOT;
}

// The candidates are those of this call where they were looked at for it.
static void note_why(struct router *router, const struct deployment *deployment, struct call *call,
                     const struct choice *choice, const struct sight *sight, bool gathers,
                     int64_t now) {
  bool is_seen = choice->worker != ROUTER_NONE || choice->awaited != ROUTER_NONE;
  is_seen = is_seen || (sight->valid && sight->function == call->function);
  uint32_t count = is_seen ? sight->count : 0;
  if (gathers)
    router_why_waits(router, call, count, WHY_GATHERS, ROUTER_NONE, now);
  else if (choice->worker != ROUTER_NONE)
    router_why_given(router, call, count, choice->worker, WHY_EARLIEST, now);
  else
    router_why_waits(router, call, count,
                     choice->awaited == ROUTER_NONE
                         ? reason_to_wait(router, deployment, call, sight)
                         : WHY_FASTER,
                     choice->awaited, now);
}

void router_dispatch(struct router *router, struct deployment *deployment, int64_t now) {
  // A worker on its way out may have given calls back.
  if (deployment->state == DEPLOYMENT_FAILED) router_fail_queue(router, deployment, now);
  if (!deployment->queue.count) return;
  double soonest = -1;
  int64_t again = INT64_MAX;
  struct queue_item *item;
  struct sight sight = {.reserved = ROUTER_NONE};
  bool skipped = false;
  while ((item = queue_oldest(&deployment->queue, skipped ? deployment->skip : NULL))) {
    struct call *call = (struct call *)item;
    if (call->queue_deadline <= now) {
      router_call_timer(router, call, now);
      continue;
    }
    struct choice choice = choose(router, deployment, call, &sight, now);
    struct worker *ahead = NULL;
    if (choice.worker == ROUTER_NONE && !skipped)
      ahead = router_ahead_choose(router, deployment, call, choice.awaited, now);
    if (ahead) {
      if (router->whys)
        router_why_given(router, call, sight.valid ? sight.count : 0,
                         ahead->number - deployment->first_worker, WHY_AHEAD, now);
      assign_one(router, ahead, call, NULL, 0, true, now);
      router_ahead_sent(router, ahead);
      sight.valid = false;
      continue;
    }
    bool gathers =
        router_batches(deployment, call) &&
        router_batch_gathers(deployment, call, choice.worker != ROUTER_NONE, now, &again);
    bool fits_nowhere = choice.worker == ROUTER_NONE && choice.awaited == ROUTER_NONE;
    if (router->whys) note_why(router, deployment, call, &choice, &sight, gathers, now);
    if (choice.worker == ROUTER_NONE && choice.awaited != ROUTER_NONE) {
      if (soonest < 0 || choice.later < soonest) soonest = choice.later;
      call = look_behind(router, deployment, call, &choice, &sight, now);
      if (call && router->whys) note_why(router, deployment, call, &choice, &sight, gathers, now);
    }
    if (choice.worker != ROUTER_NONE && !gathers) {
      assign(router, deployment, router->workers[deployment->first_worker + choice.worker], call,
             now);
      sight.valid = false;
      // Those that waited for others may have lost the worker they had.
      skipped &= again == INT64_MAX;
      continue;
    }
    if (deployment->function_count == 1) break;
    call = (struct call *)item;
    if (sight.reserved == ROUTER_NONE && fits_nowhere && now - call->admitted > kPatience) {
      sight.reserved = reserve(router, deployment, call, now);
      sight.valid = false;
    }
    if (!skipped) memset(deployment->skip, 0, deployment->function_count);
    skipped = true;
    deployment->skip[item->line] = 1;
  }
  if (soonest < 0 && break_deadlock(router, deployment, now)) {
    router_dispatch(router, deployment, now);  // one more worker, of a finite number
    return;
  }
  int64_t later = now + (int64_t)(soonest * 1e9) + NANOSECONDS_PER_MILLISECOND;
  if (soonest >= 0 && later < again) again = later;
  if (again != INT64_MAX) timers_set(&router->timers, &deployment->timer, again);
}
