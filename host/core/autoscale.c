#include "autoscale.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "limits.h"
#include "memory.h"

enum { HORIZONS = 4, BUCKETS = 13 };

static const double kHorizons[HORIZONS] = {2, 15, 60, 300};  // seconds
static const double kSurprise = 3, kDoubt = 2;               // standard deviations
static const double kStaffing = 0.3;
static const int64_t kBucket = 5 * NANOSECONDS_PER_SECOND;  // BUCKETS - 1 of them are the 60 s
static const int64_t kStep = 250 * NANOSECONDS_PER_MILLISECOND;
static const int64_t kSlowStep = NANOSECONDS_PER_SECOND;
static const double kRise = 0.2;        // of the size
static const double kStartPeriod = 10;  // seconds
static const double kSlack = 1e-6;      // workers: rounding is no load

// The most workers that were wanted, in spans of kBucket.
struct window {
  uint32_t most[BUCKETS];
};

// Workload per second, and its squares, smoothed.
struct rates {
  double last_workload, last_squares;
  double rate[HORIZONS], square[HORIZONS];
};

struct autoscale {
  struct autoscale_options options;
  uint32_t function_count;
  struct rates *rates;
  int64_t observed;  // when
  int64_t bucket;    // number of the latest
  struct window active, total;
  double tokens;     // starts that are allowed now
  int64_t refilled;  // when they were counted
  int64_t raised;    // when a call had waited too long
  int64_t busy;      // when there was something to do, or it had just ended
  bool was_busy, came;
  uint32_t last_active, last_total;
  char reason[AUTOSCALE_REASON];
};

// ---- options ----

struct autoscale_options autoscale_defaults(void) {
  return (struct autoscale_options){
      .max_workers = 16,
      .start_burst = 16,
      .min_load = 1,
      .target_util = 0.9,
      .cold_mult = 2.5,
      .max_queue_time = 30 * NANOSECONDS_PER_SECOND,
      .target_queue_time = 10 * NANOSECONDS_PER_SECOND,
      .inactivity_timeout = AUTOSCALE_NEVER,
  };
}

static bool is_finite_from(double value, double least) {
  return value >= least && value < 1e300;
}

bool autoscale_valid(const struct autoscale_options *options) {
  return options->max_workers >= 1 && options->max_workers <= LIMIT_WORKERS &&
         options->cold_workers <= options->max_workers && is_finite_from(options->min_load, 0) &&
         options->target_util > 0 && options->target_util <= 1 &&
         is_finite_from(options->min_cold_load, 0) && is_finite_from(options->cold_mult, 1) &&
         options->max_queue_time > 0 && options->target_queue_time > 0;
}

struct autoscale *autoscale_new(const struct autoscale_options *options, uint32_t function_count,
                                int64_t now) {
  struct autoscale *autoscale = xcalloc(1, sizeof *autoscale);
  autoscale->options = *options;
  autoscale->function_count = function_count;
  autoscale->rates = xcalloc(function_count, sizeof *autoscale->rates);
  autoscale->observed = autoscale->refilled = autoscale->busy = now;
  autoscale->raised = now;
  autoscale->bucket = now / kBucket;
  autoscale->tokens = LIMIT_WORKERS;
  return autoscale;
}

void autoscale_free(struct autoscale *autoscale) {
  if (!autoscale) return;
  free(autoscale->rates);
  free(autoscale);
}

// ---- load ----

static double seconds(int64_t nanoseconds) {
  return (double)nanoseconds / (double)NANOSECONDS_PER_SECOND;
}

// Exponential smoothing, by the implicit rule: stable however long the time since the last step.
static double smooth(double rate, double horizon, double sum, double elapsed) {
  return (rate * horizon + sum) / (horizon + elapsed);
}

void autoscale_observe(struct autoscale *autoscale, const struct autoscale_function *functions,
                       int64_t now) {
  double elapsed = seconds(now - autoscale->observed);
  if (elapsed <= 0) return;
  for (uint32_t i = 0; i < autoscale->function_count; i++) {
    struct rates *rates = &autoscale->rates[i];
    double workload = functions[i].workload - rates->last_workload;
    double squares = functions[i].squares - rates->last_squares;
    rates->last_workload = functions[i].workload;
    rates->last_squares = functions[i].squares;
    if (workload > 0) autoscale->came = true;
    for (int h = 0; h < HORIZONS; h++) {
      rates->rate[h] = smooth(rates->rate[h], kHorizons[h], workload, elapsed);
      rates->square[h] = smooth(rates->square[h], kHorizons[h], squares, elapsed);
    }
  }
  autoscale->observed = now;
}

// In workers, but for `price`.
struct load {
  double over[HORIZONS];
  double now, predicted;
  double backlog;  // seconds of a worker
  double price;    // a typical worker's seconds for one unit of workload, as functions are called
  int horizon;     // that counts
};

static double price_of_all(const struct autoscale *autoscale, const struct autoscale_view *view) {
  double work = 0, workload = 0, sum = 0;
  uint32_t known = 0;
  for (uint32_t i = 0; i < autoscale->function_count; i++) {
    double score = view->functions[i].score, rate = autoscale->rates[i].rate[HORIZONS - 1];
    if (!(score > 0)) continue;
    work += rate / score;
    workload += rate;
    sum += 1 / score;
    known++;
  }
  if (workload > kSlack) return work / workload;
  return known ? sum / known : 0;
}

// Beyond chance, or 0.
static double slope(const struct load *load, const double *variance, int h) {
  double rise = load->over[h] - load->over[h + 1];
  return rise > kSurprise * sqrt(variance[h]) ? rise / (kHorizons[h + 1] - kHorizons[h]) : 0;
}

static double growth(const struct load *load, const double *variance) {
  double middle = slope(load, variance, 1), slow = slope(load, variance, 2);
  return middle < slow ? middle : slow;
}

static struct load measure(const struct autoscale *autoscale, const struct autoscale_view *view) {
  struct load load = {.price = price_of_all(autoscale, view), .horizon = HORIZONS - 1};
  double variance[HORIZONS] = {0};
  for (uint32_t i = 0; i < autoscale->function_count; i++) {
    double score = view->functions[i].score;
    if (!(score > 0)) continue;
    const struct rates *rates = &autoscale->rates[i];
    load.backlog += view->functions[i].waiting / score;
    for (int h = 0; h < HORIZONS; h++) {
      load.over[h] += rates->rate[h] / score;
      variance[h] += rates->square[h] / (score * score) / (2 * kHorizons[h]);
    }
  }
  for (int h = HORIZONS - 2; h >= 0; h--)
    if (fabs(load.over[h] - load.over[load.horizon]) > kSurprise * sqrt(variance[h]) + kSlack)
      load.horizon = h;
  double longest = load.over[HORIZONS - 1], calls = view->waiting + view->running;
  load.now = load.over[load.horizon];
  // What is certain of a rise.
  double chance = kDoubt * sqrt(variance[load.horizon]);
  if (load.now > longest + chance) load.now -= chance;
  if (load.now > longest && load.now > calls) load.now = longest > calls ? longest : calls;
  load.predicted =
      load.now + growth(&load, variance) * (kHorizons[load.horizon] + seconds(view->start_time));
  return load;
}

// ---- what is wanted ----

// How many of the workers there are, and of typical ones when these are all taken, have `capacity`.
static uint32_t workers_for(const struct autoscale *autoscale, const struct autoscale_view *view,
                            double capacity) {
  uint32_t count = 0;
  for (; capacity > kSlack && count < autoscale->options.max_workers; count++)
    capacity -= count < view->ready ? view->speeds[count] : 1;
  return count;
}

static double capacity_of(const struct autoscale_view *view, uint32_t count) {
  double capacity = 0;
  for (uint32_t i = 0; i < count; i++) capacity += i < view->ready ? view->speeds[i] : 1;
  return capacity;
}

// Which of the rules wants most.
enum rule { RULE_LEAST, RULE_LOAD, RULE_BACKLOG, RULE_WAIT, RULE_HELD, RULE_IDLE };

struct want {
  double active, total;
  enum rule rule;
};

static void raise_to(struct want *want, double capacity, enum rule rule) {
  if (capacity <= want->active + kSlack) return;
  want->active = capacity;
  want->rule = rule;
}

// Nothing that scores promise has helped the call that waits.
static double more(struct autoscale *autoscale, const struct autoscale_view *view, int64_t now) {
  const struct autoscale_options *options = &autoscale->options;
  if (view->waited <= options->target_queue_time || view->starting) return 0;
  int64_t pause = view->ready > view->active ? 0 : view->start_time;
  if (pause < kSlowStep) pause = kSlowStep;
  if (now - autoscale->raised < pause) return 0;
  autoscale->raised = now;
  uint32_t rise = (uint32_t)(kRise * view->active), most = view->waiting + view->running;
  uint32_t count = view->active + (rise ? rise : 1);
  return capacity_of(view, count < most ? count : most);
}

static struct want want_of(struct autoscale *autoscale, const struct autoscale_view *view,
                           const struct load *load, int64_t now) {
  const struct autoscale_options *options = &autoscale->options;
  double least = options->min_load * load->price;
  struct want want = {.active = least, .rule = RULE_LEAST};
  raise_to(&want, load->predicted / options->target_util, RULE_LOAD);
  raise_to(&want, load->predicted + kStaffing * sqrt(load->predicted), RULE_LOAD);
  bool late = view->waited > options->target_queue_time;
  int64_t pause = options->max_queue_time;
  if (late && options->target_queue_time < pause) pause = options->target_queue_time;
  double extra = load->backlog / seconds(pause + view->start_time);
  if (extra > view->waiting) extra = view->waiting;
  raise_to(&want, load->predicted + extra, RULE_BACKLOG);
  raise_to(&want, more(autoscale, view, now), RULE_WAIT);
  want.total = options->cold_mult * (load->now > least ? load->now : least);
  if (want.total < options->min_cold_load * load->price)
    want.total = options->min_cold_load * load->price;
  return want;
}

// ---- the last 60 s ----

static void turn(struct autoscale *autoscale, int64_t now) {
  int64_t bucket = now / kBucket, first = autoscale->bucket + 1;
  if (bucket - first >= BUCKETS) first = bucket - BUCKETS + 1;
  for (int64_t i = first; i <= bucket; i++)
    autoscale->active.most[i % BUCKETS] = autoscale->total.most[i % BUCKETS] = 0;
  if (bucket > autoscale->bucket) autoscale->bucket = bucket;
}

static uint32_t hold(const struct autoscale *autoscale, struct window *window, uint32_t count) {
  uint32_t *latest = &window->most[autoscale->bucket % BUCKETS], most = 0;
  if (count > *latest) *latest = count;
#ifdef PLANT_HELD_SHORT
  return count;
#endif
  for (int i = 0; i < BUCKETS; i++)
    if (window->most[i] > most) most = window->most[i];
  return most;
}

// ---- starts ----

static double larger(double one, double other) {
  return one > other ? one : other;
}

static uint32_t larger_count(uint32_t one, uint32_t other) {
  return one > other ? one : other;
}

static void refill(struct autoscale *autoscale, uint32_t size, int64_t now) {
  const struct autoscale_options *options = &autoscale->options;
  double rise = larger(1, kRise * size);
  double most = larger(rise, larger(options->start_burst, options->cold_workers));
  autoscale->tokens += rise * seconds(now - autoscale->refilled) / kStartPeriod;
  if (autoscale->tokens > most) autoscale->tokens = most;
  autoscale->refilled = now;
}

void autoscale_started(struct autoscale *autoscale) {
#ifndef PLANT_STARTS_UNBOUNDED
  autoscale->tokens -= 1;
#endif
}

int64_t autoscale_may_stop(int64_t start_time, int64_t ready_at) {
  return ready_at + 2 * start_time;
}

// Why there are fewer than wanted.
enum brake { BRAKE_NONE, BRAKE_MOST, BRAKE_RATE, BRAKE_FAILING };

static enum brake limit_starts(struct autoscale *autoscale, const struct autoscale_view *view,
                               uint32_t *total, int64_t now, int64_t *again) {
  uint32_t size = view->ready + view->starting;
  refill(autoscale, size, now);
  if (*total <= size) return BRAKE_NONE;
  if (view->failing) {
    *total = view->starting ? size : size + 1;
    return BRAKE_FAILING;
  }
  uint32_t most = size + (autoscale->tokens >= 1 ? (uint32_t)autoscale->tokens : 0);
  if (*total <= most) return BRAKE_NONE;
  *total = most;
  double missing = 1 - (autoscale->tokens - (most - size));
  int64_t next = now + (int64_t)(missing * kStartPeriod / larger(1, kRise * size) * 1e9) + 1;
  if (next < *again) *again = next;
  return BRAKE_RATE;
}

// ---- the step ----

static const char *brake_text(enum brake brake) {
  switch (brake) {
    case BRAKE_MOST:
      return "; held by max_workers";
    case BRAKE_RATE:
      return "; more is not started at once";
    case BRAKE_FAILING:
      return "; the latest start has failed";
    case BRAKE_NONE:
      break;
  }
  return "";
}

static void explain(struct autoscale *autoscale, const struct autoscale_view *view,
                    const struct load *load, enum rule rule, enum brake brake) {
  const struct autoscale_options *options = &autoscale->options;
  char *text = autoscale->reason;
  size_t size = sizeof autoscale->reason;
  const char *held = brake_text(brake);
  switch (rule) {
    case RULE_LEAST:
      snprintf(text, size,
               "the least that is kept, min_load %g; calls may wait for target_queue_time %g s%s",
               options->min_load, seconds(options->target_queue_time), held);
      break;
    case RULE_LOAD:
      snprintf(text, size, "load of %.2f workers over %.0f s, %.2f predicted, target_util %g%s",
               load->now, kHorizons[load->horizon], load->predicted, options->target_util, held);
      break;
    case RULE_BACKLOG:
      snprintf(text, size, "%u calls wait, %.1f s of work beside a load of %.2f workers%s",
               view->waiting, load->backlog, load->predicted, held);
      break;
    case RULE_WAIT:
      snprintf(text, size, "a call has waited for %.1f s, target_queue_time %g s%s",
               seconds(view->waited), seconds(options->target_queue_time), held);
      break;
    case RULE_HELD:
      snprintf(text, size, "load of %.2f workers, more was wanted within the last 60 s%s",
               load->now, held);
      break;
    case RULE_IDLE:
      snprintf(text, size, "no call for inactivity_timeout %g s",
               seconds(options->inactivity_timeout));
      break;
  }
}

static bool is_idle(struct autoscale *autoscale, const struct autoscale_view *view, int64_t now) {
  const struct autoscale_options *options = &autoscale->options;
  bool busy = view->waiting || view->running || autoscale->came;
#ifdef PLANT_QUEUE_NO_DEMAND
  busy = view->running;
#endif
  if (busy || autoscale->was_busy) autoscale->busy = now;
  autoscale->was_busy = busy;
  autoscale->came = false;
  return !busy && options->min_load <= 0 && options->inactivity_timeout >= 0 &&
         now - autoscale->busy >= options->inactivity_timeout;
}

// How many workers are to be there.
struct counts {
  uint32_t active, total;
};

static struct counts counts_of(const struct autoscale *autoscale, const struct autoscale_view *view,
                               double active, double total, bool idle) {
  struct counts counts = {workers_for(autoscale, view, active),
                          workers_for(autoscale, view, total)};
  if (!counts.active && !idle) counts.active = 1;
  if (counts.total < autoscale->options.cold_workers)
    counts.total = autoscale->options.cold_workers;
  if (counts.total < counts.active) counts.total = counts.active;
  return counts;
}

// What is always kept.
static struct counts least_of(const struct autoscale *autoscale, const struct autoscale_view *view,
                              const struct load *load, bool idle) {
  const struct autoscale_options *options = &autoscale->options;
  double active = idle ? 0 : options->min_load * load->price;
  return counts_of(autoscale, view, active,
                   larger(options->cold_mult * active, options->min_cold_load * load->price), idle);
}

// Nothing changes by itself any more when no more is held than is always kept.
static int64_t next_step(const struct autoscale *autoscale, const struct load *load, bool idle,
                         const struct autoscale_wish *wish, struct counts least, int64_t now) {
  const struct autoscale_options *options = &autoscale->options;
  if (autoscale->was_busy)
    return now + (load->backlog > 0 || load->over[0] > kSlack ? kStep : kSlowStep);
  int64_t next = INT64_MAX;
  if (!idle && (wish->active > least.active || wish->total > least.total))
    next = (autoscale->bucket + 1) * kBucket;
  int64_t timeout = autoscale->busy + options->inactivity_timeout;
  bool times_out = !idle && options->min_load <= 0 && options->inactivity_timeout >= 0;
  return times_out && timeout < next ? timeout : next;
}

// A tenth more than are wanted stay, but for the least: loads waver.
static uint32_t ease(uint32_t wanted, uint32_t there, uint32_t least) {
  return wanted > least && wanted < there && there - wanted <= there / 10 ? there : wanted;
}

// What was wanted a while ago is kept, but nothing is started for it.
static struct autoscale_wish wish_of(struct autoscale *autoscale, const struct autoscale_view *view,
                                     struct counts counts, struct counts least) {
  uint32_t size = view->ready + view->starting;
  struct autoscale_wish wish = {.active = hold(autoscale, &autoscale->active, counts.active),
                                .total = hold(autoscale, &autoscale->total, counts.total)};
  wish.active = ease(wish.active, view->active, least.active);
  wish.total = ease(wish.total, size, least.total);
  if (wish.total > size) wish.total = larger_count(counts.total, size);
  if (wish.total < wish.active) wish.active = wish.total;
  return wish;
}

struct autoscale_wish autoscale_step(struct autoscale *autoscale, const struct autoscale_view *view,
                                     int64_t now) {
  autoscale_observe(autoscale, view->functions, now);
  turn(autoscale, now);
  bool idle = is_idle(autoscale, view, now);
  struct load load = measure(autoscale, view);
  struct want want = want_of(autoscale, view, &load, now);
  if (idle) {
    memset(&autoscale->active, 0, sizeof autoscale->active);
    memset(&autoscale->total, 0, sizeof autoscale->total);
    want = (struct want){.total = autoscale->options.min_cold_load * load.price, .rule = RULE_IDLE};
  }
  struct counts counts = counts_of(autoscale, view, want.active, want.total, idle);
  struct counts least = least_of(autoscale, view, &load, idle);
  struct autoscale_wish wish = wish_of(autoscale, view, counts, least);
  if (wish.active > counts.active) want.rule = RULE_HELD;
  wish.again = next_step(autoscale, &load, idle, &wish, least, now);
  bool is_most = want.active > capacity_of(view, autoscale->options.max_workers) + kSlack;
  enum brake brake = limit_starts(autoscale, view, &wish.total, now, &wish.again);
  if (brake == BRAKE_NONE && is_most) brake = BRAKE_MOST;
  if (wish.active != autoscale->last_active || wish.total != autoscale->last_total ||
      !autoscale->reason[0])
    explain(autoscale, view, &load, want.rule, brake);
  autoscale->last_active = wish.active;
  autoscale->last_total = wish.total;
  wish.reason = autoscale->reason;
  return wish;
}
