// Workers that serve one queue, first come first served, and the autoscaler that says how many there
// are: a model to hold host/core/autoscale.c against loads, without a router. Times in seconds.
#pragma once

#include <math.h>
#include <stdbool.h>

#include "../../../host/core/autoscale.h"
#include "../../../host/core/limits.h"
#include "check.h"

enum { FLEET_WORKERS = 256, FLEET_WAITS = 4096 };

static const double kFleetWaitsPerSecond = 50;

struct fleet {
  struct autoscale_options options;
  double start_time;            // that a worker needs
  double score;                 // of a worker; the workload of a call is given by the load
  double (*rate)(double time);  // calls a second
  double most;                  // of these
  double workload;              // mean of a call, exponential
  double end;

  struct autoscale *autoscale;
  struct chance chance;
  double now;
  struct hand {
    bool is_there, is_ready, is_parked, is_busy;
    double ready_at, free_at;
  } hands[FLEET_WORKERS];
  uint32_t used;                  // of them, at most
  double *queue_at, *queue_work;  // of those that wait, a ring
  size_t first, count, capacity;
  struct autoscale_function function;

  // What came of it.
  uint64_t calls, starts, stops;
  double worker_seconds, active_seconds, work_seconds;
  uint64_t waits[FLEET_WAITS];  // by wait
  uint32_t most_workers;
};

static inline double fleet_uniform(struct fleet *fleet) {
  return ((double)(chance_next(&fleet->chance) >> 11) + 0.5) * 0x1p-53;
}

static inline double fleet_exponential(struct fleet *fleet, double mean) {
  return -log(fleet_uniform(fleet)) * mean;
}

static inline uint32_t fleet_count(const struct fleet *fleet, bool ready, bool active) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < fleet->used; i++) {
    const struct hand *hand = &fleet->hands[i];
    count += hand->is_there && hand->is_ready == ready && !(active && hand->is_parked);
  }
  return count;
}

static inline bool fleet_is_out(const struct fleet *fleet) {
  for (uint32_t i = 0; i < fleet->used; i++)
    if (fleet->hands[i].is_ready && !fleet->hands[i].is_parked) return false;
  return true;
}

static inline void fleet_push(struct fleet *fleet, double work) {
  if (fleet->count == fleet->capacity) {
    size_t capacity = fleet->capacity ? 2 * fleet->capacity : 1024;
    double *at = malloc(capacity * sizeof *at), *works = malloc(capacity * sizeof *works);
    EXPECT(at && works);
    for (size_t i = 0; i < fleet->count; i++) {
      at[i] = fleet->queue_at[(fleet->first + i) % fleet->capacity];
      works[i] = fleet->queue_work[(fleet->first + i) % fleet->capacity];
    }
    free(fleet->queue_at);
    free(fleet->queue_work);
    fleet->queue_at = at;
    fleet->queue_work = works;
    fleet->first = 0;
    fleet->capacity = capacity;
  }
  size_t at = (fleet->first + fleet->count++) % fleet->capacity;
  fleet->queue_at[at] = fleet->now;
  fleet->queue_work[at] = work;
  fleet->function.waiting += work * fleet->score;
}

static inline struct hand *fleet_free_hand(struct fleet *fleet) {
  for (uint32_t i = 0; i < fleet->used; i++) {
    struct hand *hand = &fleet->hands[i];
    if (hand->is_there && hand->is_ready && !hand->is_parked && !hand->is_busy) return hand;
  }
  return NULL;
}

static inline void fleet_serve(struct fleet *fleet) {
  struct hand *hand;
  while (fleet->count && (hand = fleet_free_hand(fleet))) {
    size_t at = fleet->first;
    double waited = (fleet->now - fleet->queue_at[at]) * kFleetWaitsPerSecond;
    fleet->waits[waited < FLEET_WAITS - 1 ? (size_t)waited : FLEET_WAITS - 1]++;
    hand->is_busy = true;
    hand->free_at = fleet->now + fleet->queue_work[at];
    fleet->function.waiting -= fleet->queue_work[at] * fleet->score;
    fleet->first = (at + 1) % fleet->capacity;
    if (!--fleet->count) fleet->function.waiting = 0;
  }
}

static inline int64_t fleet_nanoseconds(double seconds) {
  return (int64_t)(seconds * 1e9);
}

// Does what was decided; returns when to step next.
static inline double fleet_step(struct fleet *fleet) {
  double ones[FLEET_WORKERS];
  for (uint32_t i = 0; i < FLEET_WORKERS; i++) ones[i] = 1;
  uint32_t ready = fleet_count(fleet, true, false), active = fleet_count(fleet, true, true),
           busy = 0;
  for (uint32_t i = 0; i < fleet->used; i++) busy += fleet->hands[i].is_busy;
  fleet->function.score = ready || fleet->starts ? fleet->score : 0;
  struct autoscale_view view = {
      .functions = &fleet->function,
      .speeds = ones,
      .ready = ready,
      .active = active,
      .starting = fleet_count(fleet, false, false),
      .waiting = (uint32_t)fleet->count,
      .running = busy,
      .waited = fleet->count ? fleet_nanoseconds(fleet->now - fleet->queue_at[fleet->first]) : 0,
      .start_time = fleet_nanoseconds(fleet->start_time),
  };
  int64_t now = fleet_nanoseconds(fleet->now);
  struct autoscale_wish wish = autoscale_step(fleet->autoscale, &view, now);
  for (uint32_t i = 0; i < fleet->used; i++) {
    struct hand *hand = &fleet->hands[i];
    if (!hand->is_there || !hand->is_ready) continue;
    if (hand->is_parked && active < wish.active) {
      hand->is_parked = false;
      active++;
    } else if (!hand->is_parked && !hand->is_busy && active > wish.active) {
      hand->is_parked = true;
      active--;
    }
  }
  uint32_t there = view.ready + view.starting;
  for (uint32_t i = 0; i < FLEET_WORKERS && there < wish.total; i++) {
    if (fleet->hands[i].is_there) continue;
    fleet->hands[i] = (struct hand){.is_there = true, .ready_at = fleet->now + fleet->start_time};
    if (i >= fleet->used) fleet->used = i + 1;
    autoscale_started(fleet->autoscale);
    fleet->starts++;
    there++;
  }
  for (uint32_t i = 0; i < FLEET_WORKERS && there > wish.total; i++) {
    struct hand *hand = &fleet->hands[i];
    int64_t ready_at = fleet_nanoseconds(hand->ready_at);
    if (!hand->is_there || !hand->is_parked || hand->is_busy) continue;
    if (autoscale_may_stop(view.start_time, ready_at) > now) continue;
    *hand = (struct hand){0};
    fleet->stops++;
    there--;
  }
  if (there > fleet->most_workers) fleet->most_workers = there;
  return wish.again == INT64_MAX ? fleet->end : (double)wish.again / 1e9;
}

static inline void fleet_pass(struct fleet *fleet, double until) {
  double passed = until - fleet->now;
  for (uint32_t i = 0; i < fleet->used; i++) {
    const struct hand *hand = &fleet->hands[i];
    fleet->worker_seconds += hand->is_there ? passed : 0;
    fleet->active_seconds += hand->is_there && !hand->is_parked ? passed : 0;
  }
  fleet->now = until;
}

/// From `workers` ready ones at 0 to `end`.
static inline void fleet_run(struct fleet *fleet, uint32_t workers) {
  fleet->chance.state = 88172645463325252u;
  fleet->autoscale = autoscale_new(&fleet->options, 1, 0);
  fleet->used = workers;
  for (uint32_t i = 0; i < workers; i++)
    fleet->hands[i] = (struct hand){.is_there = true, .is_ready = true};
  double arrival = fleet_exponential(fleet, 1 / fleet->most), step = 0;
  while (fleet->now < fleet->end) {
    double next = arrival < step ? arrival : step;
    for (uint32_t i = 0; i < fleet->used; i++) {
      const struct hand *hand = &fleet->hands[i];
      if (hand->is_busy && hand->free_at < next) next = hand->free_at;
      if (hand->is_there && !hand->is_ready && hand->ready_at < next) next = hand->ready_at;
    }
    fleet_pass(fleet, next);
    for (uint32_t i = 0; i < fleet->used; i++) {
      struct hand *hand = &fleet->hands[i];
      if (hand->is_busy && hand->free_at <= next) hand->is_busy = false;
      if (hand->is_there && !hand->is_ready && hand->ready_at <= next) {
        hand->is_ready = true;
        step = next;
      }
    }
    if (arrival <= next) {
      // Thinning (Lewis and Shedler): candidates at the highest rate, kept by the rate of now.
      if (fleet_uniform(fleet) * fleet->most < fleet->rate(fleet->now)) {
        double work = fleet_exponential(fleet, fleet->workload / fleet->score);
        int64_t now = fleet_nanoseconds(next);
        if (step > next + 0.25) {
          autoscale_observe(fleet->autoscale, &fleet->function, now);
          step = next + 0.25;
        }
        fleet->function.workload += work * fleet->score;
        fleet->function.squares += work * work * fleet->score * fleet->score;
        fleet->calls++;
        fleet->work_seconds += work;
        fleet_push(fleet, work);
        if (fleet_is_out(fleet)) step = next;
      }
      arrival = next + fleet_exponential(fleet, 1 / fleet->most);
    }
    if (step <= next) step = fleet_step(fleet);
    if (step <= next) step = next + 1e-6;
    fleet_serve(fleet);
  }
}

/// The wait that so large a part of the calls did not exceed, to 1 / kFleetWaitsPerSecond.
static inline double fleet_quantile(const struct fleet *fleet, double part) {
  uint64_t all = 0, sum = 0;
  for (int i = 0; i < FLEET_WAITS; i++) all += fleet->waits[i];
  for (int i = 0; i < FLEET_WAITS; i++)
    if ((double)(sum += fleet->waits[i]) >= (double)all * part)
      return (i + 1) / kFleetWaitsPerSecond;
  return FLEET_WAITS / kFleetWaitsPerSecond;
}

static inline void fleet_close(struct fleet *fleet) {
  autoscale_free(fleet->autoscale);
  free(fleet->queue_at);
  free(fleet->queue_work);
}
