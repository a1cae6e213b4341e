#include "clairvoyant.h"

#include <stddef.h>
#include <string.h>

#include "../core/memory.h"
#include "histogram.h"

enum { MOST_WORKERS = 1024 };

struct known {
  double at, service;  // seconds
};

struct plan {
  const struct known *calls;
  size_t count;
  double wait, start, step, end;
  double free_at[MOST_WORKERS];  // of the workers there are, in no order
  uint32_t workers;
  double cost;
  uint32_t starts, most;
  struct histogram *waits;
};

static struct known *read_calls(const struct clairvoyant_options *options, size_t *count,
                                double *work) {
  struct arrivals arrivals;
  struct arrival arrival;
  struct known *calls = NULL;
  size_t capacity = 0;
  arrivals_init(&arrivals, &options->arrivals, options->seed);
  *count = 0;
  *work = 0;
  while (arrivals_next(&arrivals, &arrival)) {
    if (*count == capacity) {
      capacity = capacity ? 2 * capacity : 4096;
      calls = xrealloc(calls, capacity * sizeof *calls);
    }
    double service = arrival.work / options->speed;
    calls[(*count)++] = (struct known){(double)arrival.at * 1e-9, service};
    *work += service;
  }
  return calls;
}

static uint32_t first_free(const double *free_at, uint32_t count) {
  uint32_t first = 0;
  for (uint32_t i = 1; i < count; i++)
    if (free_at[i] < free_at[first]) first = i;
  return first;
}

// As many workers as `count` at `now`. Those go that are idle or will be first, and end their
// calls.
static uint32_t resize(double *free_at, uint32_t workers, uint32_t count, double now,
                       double *rest) {
  while (workers < count) free_at[workers++] = now;
  while (workers > count) {
    uint32_t first = first_free(free_at, workers);
    if (free_at[first] > now) *rest += free_at[first] - now;
    free_at[first] = free_at[--workers];
  }
  return workers;
}

// Runs the calls from `from` on that come before `end`, and counts their waits in `waits`. False:
// one would wait for too long.
static bool serve(const struct plan *plan, double *free_at, uint32_t workers, size_t from,
                  double end, struct histogram *waits) {
  for (size_t i = from; i < plan->count && plan->calls[i].at < end; i++) {
    const struct known *call = &plan->calls[i];
    uint32_t first = first_free(free_at, workers);
    double begin = free_at[first] > call->at ? free_at[first] : call->at;
    if (begin - call->at > plan->wait && !waits) return false;
    if (waits) histogram_add(waits, (int64_t)((begin - call->at) * 1e9));
    free_at[first] = begin + call->service;
  }
  return true;
}

// The fewest workers for the calls of one step.
static uint32_t fewest(const struct plan *plan, size_t from, double now) {
  double free_at[MOST_WORKERS], rest = 0;
  for (uint32_t count = 1; count < MOST_WORKERS; count++) {
    memcpy(free_at, plan->free_at, plan->workers * sizeof *free_at);
    uint32_t workers = resize(free_at, plan->workers, count, now, &rest);
    if (serve(plan, free_at, workers, from, now + plan->step, NULL)) return count;
  }
  return MOST_WORKERS;
}

static void follow(struct plan *plan) {
  size_t at = 0;
  for (double now = 0; now < plan->end; now += plan->step) {
    bool idle = at == plan->count || plan->calls[at].at >= now + plan->step;
    uint32_t count = idle ? 0 : fewest(plan, at, now);
    if (count > plan->workers) plan->starts += count - plan->workers;
    plan->workers = resize(plan->free_at, plan->workers, count, now, &plan->cost);
    if (count) serve(plan, plan->free_at, count, at, now + plan->step, plan->waits);
    while (at < plan->count && plan->calls[at].at < now + plan->step) at++;
    plan->cost += count * plan->step;
    if (count > plan->most) plan->most = count;
  }
  resize(plan->free_at, plan->workers, 0, plan->end, &plan->cost);
  plan->cost += plan->starts * plan->start;
}

void clairvoyant_find(const struct clairvoyant_options *options, struct clairvoyant *found) {
  static const double steps[] = {30, 60, 120, 300};
  size_t count;
  double work;
  struct known *calls = read_calls(options, &count, &work);
  double end = count ? calls[count - 1].at : 0;
  *found = (struct clairvoyant){.bound = work};
  if (end > 0) found->bound += ceil(work / end) * options->start;
  struct plan *plan = xcalloc(1, sizeof *plan);
  struct histogram *waits = xcalloc(1, sizeof *waits);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    memset(waits, 0, sizeof *waits);
    *plan = (struct plan){.calls = calls,
                          .count = count,
                          .wait = options->wait,
                          .start = options->start,
                          .step = steps[i],
                          .end = end,
                          .waits = waits};
    follow(plan);
    if (i && plan->cost >= found->schedule) continue;
    found->schedule = plan->cost;
    found->step = plan->step;
    found->starts = plan->starts;
    found->most = plan->most;
    found->p99 = histogram_quantile(waits, 0.99);
  }
  free(waits);
  free(plan);
  free(calls);
}
