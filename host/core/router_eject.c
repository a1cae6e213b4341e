// Workers that are at fault get no calls for a while.
//
//   TRUSTED --5 faults in a row, or 8 times slower than the others--> EJECTED, for 30 s x n
//      ^                                                                 |
//      +--3 good calls-- PROBATION, one call at a time <-----------------+
//                            +--one that is not good--> EJECTED, n + 1
//
// An ejection ends early where every other worker runs a call that waits for one that nobody else
// can run.
//
// n is how often that happened; ten good minutes are a new beginning. (After the outlier detection
// of the Envoy proxy.)
//
// A fault is an error that says something about the worker and nothing about the call (kFaults), or
// the end of its process while it ran calls. A result, or an error that the function raised, is none.
// Faults are those of a place: that each of its processes dies is no better than one that errs.
//
// Slow is who has become so, and not for a moment: its score has followed (router_score.c), and the
// others', who have run such calls in the same time, have not. Nobody tells how much work is in calls
// without a workload: those that are larger than the others must have come to the others too, and to
// three of them at least, since fewer may have got other calls by chance.
//
// When more than half of the workers look bad, it is not the workers: then no ejection counts, until
// fewer do. One of several may always be ejected, but never the only one.
#include <math.h>
#include <stdio.h>

#include "payload.h"
#include "router_state.h"

enum { FAULTS = 5, GOOD_CALLS = 3, LEAST_OTHERS = 3 };

static const char kFaults[] = "WorkerOutOfMemory,GpuFault,Corrupt,Internal";
static const int64_t kTime = 30 * NANOSECONDS_PER_SECOND;
static const int64_t kForget = 600 * NANOSECONDS_PER_SECOND;
static const double kSlower = 2.08, kOthers = 0.69;  // natural logarithms: 8 times, 2 times
static const double kStillSlow = 1.04;

// ---- whether it counts ----

// Parked ones get no calls whether they are good or bad.
static uint32_t ejected(const struct router *router, const struct deployment *deployment,
                        uint32_t *active) {
  uint32_t count = 0;
  *active = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->state != WORKER_READY || worker->parked) continue;
    count += worker->standing == STANDING_EJECTED;
    ++*active;
  }
  return count;
}

void router_eject_weigh(struct router *router, struct deployment *deployment) {
  uint32_t active, count = ejected(router, deployment, &active);
  bool is_half = 2 * count <= active || (count == 1 && active > 1);
#ifdef PLANT_EJECT_ALL
  is_half = true;
#endif
  if (deployment->panics == !is_half) return;
  deployment->panics = !is_half;
  if (!is_half)
    router_log(
        router, router->workers[deployment->first_worker]->deployment,
        "%u of %u workers of deployment '%s' look bad: it is not the workers, they get calls",
        count, active, deployment->name);
  for (uint32_t i = 0; i < deployment->place_count; i++)
    router_outlook_changed(router, router->workers[deployment->first_worker + i]);
}

// ---- from state to state ----

static void become(struct router *router, struct worker *worker, enum worker_standing standing,
                   int64_t now) {
  struct deployment *deployment = router->deployments[worker->deployment];
  deployment->on_probation += standing == STANDING_PROBATION;
  deployment->on_probation -= worker->standing == STANDING_PROBATION;
  worker->standing = standing;
  worker->good_calls = 0;
  router_outlook_changed(router, worker);
  router_eject_weigh(router, deployment);
  router_scale_soon(router, deployment, now);
}

static void eject(struct router *router, struct worker *worker, const char *why, int64_t now) {
  bool is_only = router->deployments[worker->deployment]->place_count <= 2;
  if (worker->standing == STANDING_EJECTED || is_only) return;
  bool anew = worker->standing == STANDING_TRUSTED && now - worker->trusted_at >= kForget;
  worker->ejections = anew ? 1 : worker->ejections + 1;
  worker->faults = 0;
  int64_t time = kTime * worker->ejections;
  router_log(router, worker->deployment, "worker %u gets no calls for %.0f s: %s", worker->number,
             to_seconds(time), why);
  timers_set(&router->timers, &worker->probation, now + time);
  become(router, worker, STANDING_EJECTED, now);
}

void router_eject_timer(struct router *router, struct worker *worker, int64_t now) {
  router_log(router, worker->deployment, "worker %u is tried again, with one call at a time",
             worker->number);
  become(router, worker, STANDING_PROBATION, now);
  router_dispatch(router, router->deployments[worker->deployment], now);
}

void router_eject_needed(struct router *router, struct worker *worker, int64_t now) {
  router_log(router, worker->deployment,
             "worker %u is tried again early: calls on all others wait for one that it can run",
             worker->number);
  timers_cancel(&router->timers, &worker->probation);
  become(router, worker, STANDING_PROBATION, now);
}

static void good(struct router *router, struct worker *worker, int64_t now) {
  worker->faults = 0;
  if (worker->standing != STANDING_PROBATION || ++worker->good_calls < GOOD_CALLS) return;
  router_log(router, worker->deployment, "worker %u does well and is trusted again",
             worker->number);
  worker->trusted_at = now;
  become(router, worker, STANDING_TRUSTED, now);
}

// ---- faults ----

void router_eject_fault(struct router *router, struct worker *worker, int64_t now) {
#ifdef PLANT_EJECT_NEVER
  return;
#endif
  worker->faults++;
  if (worker->standing == STANDING_PROBATION)
    eject(router, worker, "it failed on probation", now);
  else if (worker->faults >= FAULTS)
    eject(router, worker, "5 faults in a row", now);
}

// ---- slowness ----

// Where most of the others have become slower too, it is the function or the machine.
static bool are_others_as_before(const struct router *router, const struct worker *worker,
                                 uint32_t function) {
  const struct deployment *deployment = router->deployments[worker->deployment];
  uint32_t known = 0, slower = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *other = router->workers[deployment->first_worker + i];
    const struct lessons *lessons = &other->lessons[function];
    if (other == worker || other->state != WORKER_READY || !lessons->count) continue;
    if (lessons->at <= worker->lessons[function].slow_since) continue;
    known++;
    slower += lessons->before - lessons->level > kOthers;
  }
  return known >= LEAST_OTHERS && 2 * slower < known;
}

static bool has_become_slow(const struct router *router, const struct worker *worker,
                            uint32_t function) {
  const struct lessons *lessons = &worker->lessons[function];
  return lessons->degraded && lessons->before - lessons->level > kSlower &&
         are_others_as_before(router, worker, function);
}

// A call that was learnt from, on a worker that is on probation.
static bool is_slow_still(const struct worker *worker, uint32_t function) {
  const struct lessons *lessons = &worker->lessons[function];
  return lessons->degraded && lessons->before - lessons->latest > kStillSlow;
}

// ---- answers ----

void router_eject_answered(struct router *router, struct worker *worker, uint32_t function,
                           const struct message *message, bool learnt, int64_t now) {
  if (message->type == MESSAGE_ERROR && router_retry_is_named(message, kFaults)) {
    router_eject_fault(router, worker, now);
  } else if (!learnt) {
    good(router, worker, now);
  } else if (worker->standing == STANDING_PROBATION && is_slow_still(worker, function)) {
    eject(router, worker, "it is slow still", now);
  } else if (worker->standing == STANDING_TRUSTED && has_become_slow(router, worker, function)) {
    const struct lessons *lessons = &worker->lessons[function];
    char why[64];
    snprintf(why, sizeof why, "its calls take %.0f times as long as before",
             exp(lessons->before - lessons->level));
    eject(router, worker, why, now);
  } else {
    good(router, worker, now);
  }
}
