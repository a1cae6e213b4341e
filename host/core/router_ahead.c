// Short calls handed ahead: given to a worker that has no slot for them yet.
//
// A call that waits in the router for a slot costs one wake-up of the worker and one of the router.
// Where its function takes far less than that, several calls in one write save all of them but one.
// The worker runs them one after the other, each when all before it have ended, so it never runs
// more at once than it has slots.
//
// Which: calls of functions that run alone and are known to be short on this worker, from the times
// of those that have ended there, the longest of late included. Not those made in another call,
// which may be the one in front, nor further attempts of those that failed. Only the oldest call
// that waits goes ahead, so that none that needs a slot is passed by. No streams, no batches, none
// with an idempotency key.
//
// When: no worker has a slot for it, or it waits for the one that will end it soonest; the calls in
// front of it are predicted to take kAhead (router_options.ahead) together, and the first of them
// is not late.
//
// If the one in front turns out long, the others are taken back: once nothing has ended for kLate,
// the router recalls all that are not entered (page.h says what proves it), and they wait in the
// queue at the places they had. The worker's warden is told by a GIVE_BACK to send the answers that
// the executor had gathered before it got stuck. The long one counts from then on, and its function
// is no short one for a while.
//
//   queue --CALL_AHEAD--> behind the slot --the call in front has ended--> in the slot
//     ^                        |
//     +-- ROUTER_RECALL -------+
//
// A call that is cancelled or late meanwhile is withdrawn in the same way, alone, so that its error
// says truly that it was not executed. Where that cannot be proven it is abandoned as one that runs:
// its CANCEL is kept by the warden, so that it is answered without being entered; or it is recalled.
#include "payload.h"
#include "router_state.h"

// What a call costs the worker beside its function. It also stands for the part of a microsecond
// that was rounded away on the wire.
static const double kOverhead = 1e-6;
static const double kWeight = 1.0 / 8;
// How much of the longest time is forgotten with each call: one of 4 ms counts for 60 calls.
static const double kForgotten = 1.0 / 16;
// A function that takes longer now and then is no short one.
static const double kShort = 100e-6;
enum { SAMPLES = 16 };

static const int64_t kLate = NANOSECONDS_PER_MILLISECOND;
// A worker whose first call takes so long gets no more behind it: by then it may be stuck.
static const int64_t kSuspicious = NANOSECONDS_PER_MILLISECOND / 4;

// ---- how long calls take ----

static void note_peak(struct pace *pace, double seconds) {
  if (seconds > pace->peak) pace->peak = seconds;
}

void router_ahead_learn(struct worker *worker, const struct call *call, enum message_type type,
                        int64_t elapsed) {
  struct pace *pace = &worker->paces[call->function];
  double seconds = to_seconds(elapsed) + kOverhead;
  if (type == MESSAGE_RESULT) {
    double weight = pace->samples ? kWeight : 1;
    pace->mean += (seconds - pace->mean) * weight;
    pace->workload += (call->workload - pace->workload) * weight;
    pace->peak -= pace->peak * kForgotten;
    if (pace->samples < SAMPLES) pace->samples++;
  }
  note_peak(pace, seconds);
}

double router_ahead_work(const struct router *router, const struct worker *worker,
                         const struct call *call) {
  const struct router_function *function =
      &call_deployment(router, call)->functions[call->function];
  const struct pace *pace = &worker->paces[call->function];
  if (!router->options.ahead || function->concurrency > 1) return 0;
  if (call->parent.counter || call->trials || call->key || call->flags & CALL_STREAM) return 0;
  if (router_batches(call_deployment(router, call), call)) return 0;
  if (pace->samples < SAMPLES || pace->peak > kShort) return 0;
  bool larger = call->workload > pace->workload && pace->workload > 0;
  double work = larger ? pace->mean * call->workload / pace->workload : pace->mean;
  return work > kShort ? 0 : work;
}

// ---- to whom ----

// When the first call began, as far as the router can know.
static int64_t begun(const struct worker *worker) {
  return worker->first->sent > worker->moved ? worker->first->sent : worker->moved;
}

// All that the worker has is short, and goes on.
static bool flows(const struct router *router, const struct worker *worker, int64_t now) {
  const struct call *first = worker->first;
  if (!first || worker->recalling || worker->slots > 1) return false;
  if (worker->standing == STANDING_PROBATION) return false;
  if (!(first->work > 0) || first->state != CALL_RUNNING || first->children) return false;
  // Its function may have been long meanwhile.
  if (worker->paces[first->function].peak > kShort || now - begun(worker) >= kSuspicious)
    return false;
#ifdef PLANT_AHEAD_UNBOUNDED
  return true;
#endif
  return worker->work <= to_seconds(router->options.ahead);
}

struct worker *router_ahead_choose(const struct router *router, const struct deployment *deployment,
                                   const struct call *call, uint32_t awaited, int64_t now) {
  struct worker *best = NULL;
  double least = 0;
  if (!router->options.ahead) return NULL;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (awaited != ROUTER_NONE && awaited != i) continue;
    if (!flows(router, worker, now) || !router_may_serve(router, worker)) continue;
    double work = router_ahead_work(router, worker, call);
    if (!(work > 0)) continue;
    double end = worker->work + work + worker->round_trip;
    if (best && end >= least) continue;
    best = worker;
    least = end;
  }
  return best;
}

void router_ahead_sent(struct router *router, struct worker *worker) {
  if (!worker->recall.position) timers_set(&router->timers, &worker->recall, begun(worker) + kLate);
}

// ---- back again ----

static void act(struct router *router, const struct worker *worker, enum router_action type,
                uint64_t sequence) {
  struct action *action = router_act(router, type);
  action->deployment = worker->deployment;
  action->worker = worker->number;
  action->generation = worker->generation;
  action->message.sequence = sequence;
}

static void recall(struct router *router, struct worker *worker) {
  worker->recalled = worker->last->sequence;
  act(router, worker, ROUTER_RECALL, worker->recalled);
  worker->recalling = true;
  router_worker_send(router, worker,
                     &(struct message){.type = MESSAGE_GIVE_BACK,
                                       .id = worker->last->id,
                                       .attempt = worker->last->attempt,
                                       .epoch = router->options.epoch,
                                       .sequence = worker->recalled});
}

void router_ahead_timer(struct router *router, struct worker *worker, int64_t now) {
#ifdef PLANT_RECALL_FORGOTTEN
  return;
#endif
  if (!router_has_ahead(worker) || worker->recalling) return;
  int64_t late = begun(worker) + kLate;
  if (now < late)
    timers_set(&router->timers, &worker->recall, late);
  else
    recall(router, worker);
}

static void take_back(struct router *router, struct call *call, int64_t now) {
  if (call->state == CALL_ABANDONED) {
    router_call_fail(router, call, NULL, now);
    return;
  }
  router_call_detach(router, call, now);
#ifndef PLANT_RECALL_LOST
  router_call_queue(router, call);
  if (call->ending)
    router_call_end(router, call, call->ending, now);
  else if (call->queue_deadline <= now)
    router_call_timer(router, call, now);
#endif
}

uint32_t router_worker_recalled(struct router *router, uint32_t number, uint32_t generation,
                                uint64_t entering, int64_t now) {
  struct worker *worker = number < router->worker_count ? router->workers[number] : NULL;
  if (!worker || worker->generation != generation || !worker->recalling) return 0;
  uint32_t count = 0;
  double late = worker->first ? to_seconds(now - begun(worker)) : 0;
  worker->recalling = false;
  // The newest first: each then goes to the front of its line.
  for (struct call *call = worker->last, *previous; call; call = previous) {
    previous = call->previous;
#ifdef PLANT_RECALL_BLIND
    entering = 0;
#endif
    if (!call->ahead || call->sequence > worker->recalled || call->sequence <= entering) continue;
    take_back(router, call, now);
    count++;
  }
  // The last one it has entered is what takes so long.
  if (worker->last) note_peak(&worker->paces[worker->last->function], late);
  router_dispatch(router, router->deployments[worker->deployment], now);
  return count;
}

// ---- one of them ----

// Where nobody waits for its error, or all end, it is not worth the trouble.
bool router_ahead_withdraw(struct router *router, struct call *call, enum cancel_reason reason) {
  if (call->state != CALL_RUNNING || !call->ahead || call->ending) return false;
  if (call->peer == ROUTER_NONE || router->draining || router_call_entered(router, call))
    return false;
  struct worker *worker = router->workers[call->worker];
  if (worker->recalled < call->sequence) worker->recalled = call->sequence;
  call->ending = reason;
  act(router, worker, ROUTER_WITHDRAW, call->sequence);
  return true;
}

void router_worker_withdrawn(struct router *router, uint32_t number, uint32_t generation,
                             uint64_t sequence, bool taken, int64_t now) {
  struct worker *worker = number < router->worker_count ? router->workers[number] : NULL;
  if (!worker || worker->generation != generation) return;
  struct call *call = worker->first;
  while (call && call->sequence != sequence) call = call->next;
  if (!call || !call->ending || call->state != CALL_RUNNING) return;
#ifdef PLANT_WITHDRAWN_BLIND
  taken = true;
#endif
  if (taken)
    take_back(router, call, now);
  else
    router_call_end(router, call, call->ending, now);
  router_dispatch(router, router->deployments[worker->deployment], now);
}
