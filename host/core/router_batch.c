// Batches: calls of one function that a worker runs as one.
//
//   call --> line of its function --gathers--> batch --> one slot of a worker --> each its own end
//
// A call that finds a free worker waits for others until the line is full (batch_size), or somebody
// in it has waited for batch_wait. It waits for others only while a worker is free: what has waited
// for a worker goes at once when there is one. Nor does it wait who has less than twice that time
// left, so gathering takes at most half of the time of a call; nor who was on a worker before.
//
// A batch goes out as one CALL for each of its calls, in the same instant and with sequences of
// their own that follow each other; each says how many come after it. The worker enters the function
// once, by the sequence of the last one, and answers each call. So each of them stands in the
// worker's list and ends on its own: by its answer, its deadline, a cancel, or the worker's end.
//
// One that is abandoned leaves the others alone: it is withdrawn if the function was not entered
// yet, else nothing happens to it. Only when nobody is left who waits for the batch, the worker is
// told to end it, and has the usual grace from then on.
//
// A call that is tried again after the loss of a worker goes alone: it may be what the worker died
// of.
#include <stdlib.h>

#include "memory.h"
#include "router_state.h"

// ---- gathering ----

static const struct router_function *function_of(const struct deployment *deployment,
                                                 const struct call *call) {
  return &deployment->functions[call->function];
}

// When a waiting call goes to a free worker, whether others have come or not.
static int64_t goes_at(const struct deployment *deployment, const struct call *call) {
  int64_t wait = function_of(deployment, call)->batch_wait;
  bool was_sent = call->sequence > 0;
  bool has_waited = call->admitted <= deployment->gatherings[call->function].busy_at;
  if (was_sent || has_waited || call->queue_deadline - call->admitted < 2 * wait)
    return call->admitted;
  return call->admitted + wait;
}

void router_batch_queued(struct deployment *deployment, const struct call *call) {
  struct gathering *gathering = &deployment->gatherings[call->function];
  int64_t at = goes_at(deployment, call);
  bool is_first = deployment->queue.lines[call->function].count == 1;
  if (is_first || at < gathering->goes_at) gathering->goes_at = at;
}

bool router_batch_gathers(struct deployment *deployment, const struct call *call, bool is_free,
                          int64_t now, int64_t *until) {
  struct gathering *gathering = &deployment->gatherings[call->function];
  size_t count = deployment->queue.lines[call->function].count;
#ifndef PLANT_BATCH_LATE
  if (!is_free) gathering->goes_at = gathering->busy_at = now;
#endif
  if (!is_free || count >= function_of(deployment, call)->batch_size) return false;
#ifdef PLANT_BATCH_FULL
  if (gathering->goes_at <= now) return true;
#endif
  if (gathering->goes_at <= now) return false;
  if (gathering->goes_at < *until) *until = gathering->goes_at;
  return true;
}

void router_batch_went(struct deployment *deployment, uint32_t function, int64_t now) {
  struct gathering *gathering = &deployment->gatherings[function];
  uint32_t left = deployment->functions[function].batch_size;
  const struct queue_item *item = deployment->queue.lines[function].first;
  gathering->goes_at = INT64_MAX;
  for (; item && left && gathering->goes_at > now; item = item->next, left--) {
    int64_t at = goes_at(deployment, (const struct call *)item);
    if (at < gathering->goes_at) gathering->goes_at = at;
  }
}

// ---- who goes together ----

static bool goes_alone(const struct call *call) {
  return call->attempt > 1;
}

struct call *router_batch_next(const struct call *call, int64_t now) {
  struct queue_item *item = call->item.next;
  for (; item; item = item->next) {
    struct call *next = (struct call *)item;
    if (!goes_alone(next) && next->queue_deadline > now) return next;
  }
  return NULL;
}

// One more of a batch that has `count` calls, the last of them `call`; NULL: it has all.
static struct call *more(const struct deployment *deployment, const struct call *call,
                         uint32_t count, int64_t now) {
  if (count >= function_of(deployment, call)->batch_size || goes_alone(call)) return NULL;
  return router_batch_next(call, now);
}

uint32_t router_batch_count(const struct deployment *deployment, const struct call *call,
                            int64_t now) {
  uint32_t count = 1;
  while ((call = more(deployment, call, count, now))) count++;
  return count;
}

double router_batch_workload(const struct deployment *deployment, const struct call *call,
                             int64_t now) {
  double workload = call->workload;
  uint32_t count = 1;
  while ((call = more(deployment, call, count, now))) {
    workload += call->workload;
    count++;
  }
  return workload;
}

struct call *router_batch_behind(const struct deployment *deployment, struct call *call,
                                 int64_t now) {
  struct call *next;
  uint32_t count = 1;
  for (; (next = more(deployment, call, count, now)); call = next) count++;
  return (struct call *)call->item.next;
}

// ---- life ----

struct batch *router_batch_new(struct router *router) {
  struct batch *batch = router->free_batches;
  if (!batch) return xcalloc(1, sizeof *batch);
  router->free_batches = batch->next;
  *batch = (struct batch){0};
  return batch;
}

void router_batch_free(struct router *router) {
  for (struct call *call = router->oldest; call; call = call->newer)
    if (call->batch && !--call->batch->members) free(call->batch);
  while (router->free_batches) {
    struct batch *batch = router->free_batches;
    router->free_batches = batch->next;
    free(batch);
  }
}

// ---- its members ----

struct call *router_batch_bearer(struct call *call) {
  return call && call->batch ? call->batch->bearer : call;
}

static void offer_bearer(struct batch *batch, struct call *call) {
  if (!batch->bearer || call->deadline > batch->bearer->deadline) batch->bearer = call;
}

void router_batch_join(struct batch *batch, struct call *call) {
  call->batch = batch;
  batch->members++;
  batch->living++;
  batch->sequence = call->sequence;
  batch->workload += call->workload;
  batch->predicted += call->predicted;
  offer_bearer(batch, call);
}

static void choose_bearer(const struct worker *worker, struct batch *batch) {
  batch->bearer = NULL;
  for (struct call *call = worker->first; call; call = call->next)
    if (call->batch == batch && call->state == CALL_RUNNING) offer_bearer(batch, call);
}

// The calls that were made in the batch are those of another member from now on.
static void hand_over(struct router *router, struct call *from, struct call *to) {
  for (struct call *child = router->oldest; child && from->children; child = child->newer) {
    if (child->parent.counter != from->id.counter || child->parent.session != from->id.session)
      continue;
    child->parent = to->id;
    from->children--;
    to->children++;
  }
}

void router_batch_widened(struct router *router, const struct call *call) {
  struct batch *batch = call->batch;
  if (!batch) return;
  struct call *before = batch->bearer;
  choose_bearer(call_worker(router, call), batch);
  if (before && before != batch->bearer) hand_over(router, before, batch->bearer);
}

static void send_cancel(struct router *router, struct worker *worker, const struct call *call,
                        uint64_t sequence, enum cancel_reason reason) {
  router_worker_send(router, worker,
                     &(struct message){.type = MESSAGE_CANCEL,
                                       .id = call->id,
                                       .attempt = call->attempt,
                                       .sequence = sequence,
                                       .reason = (uint8_t)reason});
}

// Nobody waits for it any more. Which of its calls has the worker's answer last is not known, so
// each has a timer.
static void end(struct router *router, struct worker *worker, struct batch *batch,
                enum cancel_reason reason, int64_t now) {
  if (worker->killed || worker->state == WORKER_NONE || worker->state == WORKER_LOST) return;
  const struct call *any = NULL;
  for (struct call *call = worker->first; call; call = call->next) {
    if (call->batch != batch) continue;
    timers_set(&router->timers, &call->timer, now + LIMIT_GRACE);
    any = call;
  }
  if (any) send_cancel(router, worker, any, batch->sequence, reason);
}

bool router_batch_leave(struct router *router, struct worker *worker, struct call *call,
                        int64_t now) {
  struct batch *batch = call->batch;
  bool was_living = call->state == CALL_RUNNING;
  call->batch = NULL;
  batch->members--;
  batch->living -= was_living;
  batch->predicted -= call->predicted;
  if (!batch->members) {
    batch->next = router->free_batches;
    router->free_batches = batch;
#ifdef PLANT_BATCH_SLOT
    return was_living;
#endif
    return true;
  }
  if (batch->bearer == call) choose_bearer(worker, batch);
  if (was_living && !batch->living) end(router, worker, batch, CANCEL_CLIENT, now);
  return false;
}

bool router_batch_abandon(struct router *router, struct call *call, enum cancel_reason reason,
                          int64_t now) {
  struct worker *worker = call_worker(router, call);
  struct batch *batch = call->batch;
  timers_cancel(&router->timers, &call->timer);
#ifdef PLANT_BATCH_GRACE
  timers_set(&router->timers, &call->timer, now + LIMIT_GRACE);
#endif
  if (!--batch->living) {
    batch->bearer = NULL;
    end(router, worker, batch, reason, now);
    return false;
  }
  if (batch->bearer == call) choose_bearer(worker, batch);
  hand_over(router, call, batch->bearer);
  // The last one's sequence is that of the batch, which goes on.
  if (call->sequence != batch->sequence) send_cancel(router, worker, call, call->sequence, reason);
  return true;
}
