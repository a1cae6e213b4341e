// Slots of workers, and which waiting call gets one.
#include <string.h>

#include "balance.h"
#include "payload.h"
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

// One that will be given up unless its answer comes soon gets no call: else a call of several silent
// workers would be tried on one after the other.
static bool is_silent(const struct router *router, const struct worker *worker) {
  return router->options.heartbeat && worker->unanswered >= router->options.heartbeat_misses;
}

bool router_may_serve(const struct router *router, const struct worker *worker) {
#ifdef PLANT_UNREADY
  return worker->state == WORKER_READY || worker->state == WORKER_STARTING;
#else
#ifdef PLANT_RETIREE_SERVES
  if (worker->retiring && !worker->killed) return true;
#endif
  return worker->state == WORKER_READY && !worker->killed && !worker->leaving && !worker->parked &&
         !is_silent(router, worker);
#endif
}

static bool has_slot(const struct worker *worker, uint32_t concurrency) {
  if (!worker->in_flight) return true;
  return worker->in_flight < worker->slots && worker->in_flight < concurrency;
}

// Seconds of a slot: the calls of a batch run as one.
static double whole(const struct call *call) {
  return call->batch ? call->batch->predicted : call->predicted;
}

// Seconds a call that runs since `begun` will go on. What takes longer than predicted is expected to
// take as long again as it has.
static double left_of(const struct call *call, int64_t begun, int64_t now) {
  double elapsed = to_seconds(now - begun), left = whole(call) - elapsed;
  return left > 0 ? left : elapsed;
}

// The same of the first of several that run one after the other, and all behind it.
static double left_of_all(const struct worker *worker, int64_t now) {
  const struct call *first = worker->first;
  int64_t begun = worker->moved > first->sent ? worker->moved : first->sent;
  return left_of(first, begun, now) + worker->backlog - first->predicted;
}

// Seconds of work in front of a new call of a function with this concurrency. Of calls that may run
// beside others nobody knows whether they work or wait, so only a worker that has no slot is judged
// by them: one has to end, and the new call then stands beside the others; or all have to, where it
// may run beside fewer than there are. A worker without a slot never looks better than it will with
// one: else a call would wait for one full worker after the other.
static double backlog(const struct worker *worker, uint32_t concurrency, int64_t now) {
  if (has_slot(worker, concurrency)) return worker->first ? worker->backlog : 0;
  if (router_has_ahead(worker)) return left_of_all(worker, now);
  bool all = concurrency < worker->slots;
  double left = 0, beside = 0;
  for (const struct call *call = worker->first; call; call = call->next) {
    double one = left_of(call, call->sent, now);
    if (call != worker->first && (all ? one <= left : one >= left)) continue;
    left = one;
    beside = all ? 0 : worker->backlog - whole(call);
  }
  return left + beside;
}

// What was measured long ago counts for less and less, so that a worker that was slow to answer for
// a while is tried again.
static double round_trip(const struct worker *worker, int64_t now) {
  return worker->round_trip / (1 + to_seconds(now - worker->answered_at));
}

// Where a call is to go.
struct choice {
  uint32_t worker;  // in the deployment; ROUTER_NONE: it waits
  uint32_t
      awaited;   // the busy one it waits for although another is free; ROUTER_NONE: none is free
  double later;  // predicted seconds until that one has a slot
};

// A call that failed goes to another worker if one is free. It waits for none: who stands in the
// place where it failed is another process by now.
static bool is_other_free(const struct router *router, const struct deployment *deployment,
                          const struct call *call, uint32_t reserved) {
  uint32_t concurrency = deployment->functions[call->function].concurrency;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (i != reserved && router_may_serve(router, worker) && has_slot(worker, concurrency) &&
        !router_retry_failed_on(call, worker->number))
      return true;
  }
  return false;
}

// `reserved`: a worker that an older call waits for, which gets no others; or ROUTER_NONE.
static struct choice choose(struct router *router, struct deployment *deployment,
                            const struct call *call, uint32_t reserved, int64_t now) {
  uint32_t concurrency = deployment->functions[call->function].concurrency, count = 0, any_free = 0;
  bool elsewhere = call->trials && is_other_free(router, deployment, call, reserved);
  struct choice choice = {ROUTER_NONE, ROUTER_NONE, 0};
  struct candidate *candidates = deployment->candidates;
  uint32_t *places = deployment->places, best = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (!router_may_serve(router, worker)) continue;
    if (elsewhere && router_retry_failed_on(call, worker->number)) continue;
    bool is_free = i != reserved && has_slot(worker, concurrency);
    any_free += is_free;
    places[count] = i;
    candidates[count++] = (struct candidate){.score = worker->scores[call->function],
                                             .round_trip = round_trip(worker, now),
                                             .free = is_free};
  }
  if (!any_free) return choice;
  for (uint32_t i = 0; i < count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + places[i]];
    candidates[i].backlog = backlog(worker, concurrency, now) + deployment->promised[places[i]];
  }
  double workload = router_batch_workload(deployment, call, now);
  int chosen = balance_choose(candidates, count, workload, &best);
  if (chosen != BALANCE_WAIT) {
    choice.worker = places[chosen];
  } else {
    choice.awaited = places[best];
    choice.later = candidates[best].backlog;
  }
  return choice;
}

// `follow`: how many of the same batch come after it.
static void assign_one(struct router *router, struct worker *worker, struct call *call,
                       struct batch *batch, uint32_t follow, bool ahead, int64_t now) {
  double score = worker->scores[call->function];
  router_call_detach(router, call, now);
  router_fair_dispatched(router, call, now);
  call->ahead = ahead;
  call->state = CALL_RUNNING;
  router_metrics_dispatched(router, worker, call, now);
  call->sequence = ++router->sequence;
  call->sent = now;
  timers_set(&router->timers, &call->timer, call->deadline);
  call->predicted = score > 0 ? call->workload / score : 0;
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
    assign_one(router, worker, call, batch, --count, false, now);
  }
  router_batch_went(deployment, function, now);
}

// A call that fits nowhere does not hold up calls of other functions. Once it has waited so long that
// they would starve it, the worker that will first have room for it gets no others.
static const int64_t kPatience = 100 * NANOSECONDS_PER_MILLISECOND;

// How many calls behind one that waits for a busy worker are looked at.
enum { LOOK_BEHIND = 64 };

static double predicted(const struct router *router, const struct deployment *deployment,
                        const struct call *call, uint32_t worker, int64_t now) {
  double score = router->workers[deployment->first_worker + worker]->scores[call->function];
  return score > 0 ? router_batch_workload(deployment, call, now) / score : 0;
}

// The first call waits for a busy worker that will end it sooner than a free one. Each that does so
// is work in front of those behind it, so further back one may be better off with the free worker
// now: without this a slow worker would stay idle however long the queue is.
static struct call *look_behind(struct router *router, struct deployment *deployment,
                                struct call *call, struct choice *choice, uint32_t reserved,
                                int64_t now) {
  for (int i = 0; i < LOOK_BEHIND && choice->awaited != ROUTER_NONE; i++) {
    deployment->promised[choice->awaited] +=
        predicted(router, deployment, call, choice->awaited, now);
    call = router_batch_behind(deployment, call, now);
    if (call && call->queue_deadline <= now) call = NULL;  // about to end
    if (!call) break;
    *choice = choose(router, deployment, call, reserved, now);
    if (choice->worker != ROUTER_NONE) break;
  }
  memset(deployment->promised, 0, deployment->place_count * sizeof *deployment->promised);
  return choice->worker != ROUTER_NONE ? call : NULL;
}

// The worker that is predicted to have room for `call` first.
static uint32_t reserve(const struct router *router, const struct deployment *deployment,
                        const struct call *call, int64_t now) {
  uint32_t concurrency = deployment->functions[call->function].concurrency, best = ROUTER_NONE;
  double least = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (!router_may_serve(router, worker)) continue;
    double left = backlog(worker, concurrency, now);
    if (best != ROUTER_NONE && left >= least) continue;
    best = i;
    least = left;
  }
  return best;
}

// Every slot is held by a call that waits for another one, and none of those can get a slot:
// nothing will move.
static bool is_deadlocked(const struct router *router, const struct deployment *deployment) {
  if (router_scale_may_grow(deployment)) return false;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
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

static void break_deadlock(struct router *router, struct deployment *deployment, int64_t now) {
  while (deployment->queue.count && is_deadlocked(router, deployment)) {
    struct call *call = newest_child(router, deployment);
    if (!call) return;
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
}

void router_dispatch(struct router *router, struct deployment *deployment, int64_t now) {
  // A worker on its way out may have given calls back.
  if (deployment->state == DEPLOYMENT_FAILED) router_fail_queue(router, deployment, now);
  if (!deployment->queue.count) return;
  double soonest = -1;
  int64_t again = INT64_MAX;
  struct queue_item *item;
  uint32_t reserved = ROUTER_NONE;
  bool skipped = false;
  while ((item = queue_oldest(&deployment->queue, skipped ? deployment->skip : NULL))) {
    struct call *call = (struct call *)item;
    if (call->queue_deadline <= now) {
      router_call_timer(router, call, now);
      continue;
    }
    struct choice choice = choose(router, deployment, call, reserved, now);
    struct worker *ahead = NULL;
    if (choice.worker == ROUTER_NONE && !skipped)
      ahead = router_ahead_choose(router, deployment, call, choice.awaited, now);
    if (ahead) {
      assign_one(router, ahead, call, NULL, 0, true, now);
      router_ahead_sent(router, ahead);
      continue;
    }
    bool gathers =
        router_batches(deployment, call) &&
        router_batch_gathers(deployment, call, choice.worker != ROUTER_NONE, now, &again);
    bool fits_nowhere = choice.worker == ROUTER_NONE && choice.awaited == ROUTER_NONE;
    if (choice.worker == ROUTER_NONE && choice.awaited != ROUTER_NONE) {
      if (soonest < 0 || choice.later < soonest) soonest = choice.later;
      call = look_behind(router, deployment, call, &choice, reserved, now);
    }
    if (choice.worker != ROUTER_NONE && !gathers) {
      assign(router, deployment, router->workers[deployment->first_worker + choice.worker], call,
             now);
      // Those that waited for others may have lost the worker they had.
      skipped &= again == INT64_MAX;
      continue;
    }
    if (deployment->function_count == 1) break;
    call = (struct call *)item;
    if (reserved == ROUTER_NONE && fits_nowhere && now - call->admitted > kPatience)
      reserved = reserve(router, deployment, call, now);
    if (!skipped) memset(deployment->skip, 0, deployment->function_count);
    skipped = true;
    deployment->skip[item->line] = 1;
  }
  if (soonest < 0) break_deadlock(router, deployment, now);
  int64_t later = now + (int64_t)(soonest * 1e9) + NANOSECONDS_PER_MILLISECOND;
  if (soonest >= 0 && later < again) again = later;
  if (again != INT64_MAX) timers_set(&router->timers, &deployment->timer, again);
}
