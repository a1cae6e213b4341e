// How many workers a deployment is to have, and how many of them are to be given calls. Pure: of
// parameters, of what was observed and of the time; it knows neither processes nor calls.
//
// Load. What each function is offered, in workload per second, is divided by the score of that
// function on a typical worker. So loads of all functions add up, in *workers*: seconds of a
// typical worker's time per second. It is smoothed over four horizons, 2 s, 15 s, 60 s and 300 s.
// The longest counts, unless a shorter one differs from it by more than 3 standard deviations of
// chance: then the load has changed. (Work that arrives at random instants at a rate r, w a call:
// smoothed over h it has the variance r E[w^2] / 2h.) A rise counts without two such deviations. No
// more load is believed than calls are in the deployment, beyond what the longest horizon says: a
// few long calls are no burst.
//
//   growth     what load gains a second: the smaller one of the slopes from 15 s to 60 s and from
//              60 s to 300 s, where they are beyond chance. So a load that grows steadily is met
//              before it is there, and a step is not taken for one that goes on
//   predicted  load + growth * (its horizon + the time that a worker takes to start, as measured)
//   backlog    seconds of work that wait
//   pause      max_queue_time; target_queue_time once a call has waited longer than that; and the
//              time of a start, before which a new worker helps nobody
//
// Capacity wanted, in workers:
//
//   active     the most of
//                min_load
//                predicted / target_util
//                predicted + 0.3 * sqrt(predicted), which is more for few workers: these need more
//                to spare for the same waits (square-root staffing, Halfin and Whitt 1981)
//                predicted + backlog / pause, where no call that waits counts for more than a worker
//   total      the most of  active  /  cold_mult * the larger one of load and min_load  /
//              min_cold_load,  and at least cold_workers
//
// Besides: while anything waits or runs, or was there a moment ago, at least one is active. Once a
// call has waited for longer than target_queue_time, and no start is under way, a fifth more than
// there are, one at least, once in the time of a start: whatever scores promise, these calls wait.
//
// Up at once, down slowly: what was wanted within the last 60 s is wanted still, and a tenth more
// than that may stay. A worker is not stopped before it has been ready for twice the time that it
// took to start. Only with min_load = 0
// and an inactivity_timeout none is active: after that time without a call, which then is all the
// delay there is.
//
// Starts under way count as workers, and nothing here calls one off. At most
//
//   start_burst, cold_workers, or a fifth of the size, at least one   are begun at once,
//   a fifth of the size, at least one                                 every 10 s after that
//
// and while the latest one has failed, one at a time.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { AUTOSCALE_NEVER = -1, AUTOSCALE_REASON = 160 };

/// Times in nanoseconds. `autoscale_defaults` fills in what nobody has set; there is no other
/// encoding of "unset".
struct autoscale_options {
  uint32_t max_workers;        // of all kinds, 1..LIMIT_WORKERS
  uint32_t cold_workers;       // loaded and benchmarked at least, active or parked
  uint32_t start_burst;        // may be started at once; 0: as a cluster does
  double min_load;             // workload per second for which active capacity is always kept
  double target_util;          // wanted load / active capacity, above 0, at most 1
  double min_cold_load;        // least capacity, active and parked, workload per second
  double cold_mult;            // capacity, active and parked, wanted per load, at least 1
  int64_t max_queue_time;      // a backlog is to be worked off within it
  int64_t target_queue_time;   // once a call has waited longer, within this
  int64_t inactivity_timeout;  // idle time after which min_load = 0 scales to zero; negative
                               // (AUTOSCALE_NEVER, also where nobody has set it): never
};

/// What holds where the user has said nothing: the values of local workers.
struct autoscale_options autoscale_defaults(void);
/// Whether all are in their ranges.
bool autoscale_valid(const struct autoscale_options *options);

/// One function, since the deployment began and now.
struct autoscale_function {
  double workload, squares;  // of all calls it was offered: their sum, and that of their squares
  double score;              // workload per second on a typical worker; 0: not known
  double waiting;            // workload that waits
};

struct autoscale_view {
  const struct autoscale_function *functions;
  const double *speeds;       // of the `ready` workers, fastest first; a typical one has 1
  uint32_t ready, active;     // may be given calls, or are parked; the first
  uint32_t starting;          // will be ready: starts under way, and those that will be tried again
  uint32_t waiting, running;  // calls
  int64_t waited;             // by the one that waits longest
  int64_t start_time;         // of a worker, as measured; 0: none has started yet
  bool failing;               // the latest start has failed
};

struct autoscale_wish {
  uint32_t active, total;
  int64_t again;       // when to step again at the latest if nothing comes; INT64_MAX: never
  const char *reason;  // a sentence, until the next step
};

struct autoscale;

/// `options` is copied; they have to be valid. Ends the process when memory runs out.
struct autoscale *autoscale_new(const struct autoscale_options *options, uint32_t function_count,
                                int64_t now);
void autoscale_free(struct autoscale *autoscale);

/// What was offered until now. A step does the same; to be called besides it when calls come after
/// a time of nothing, before they count: else they would seem to be spread over that time.
void autoscale_observe(struct autoscale *autoscale, const struct autoscale_function *functions,
                       int64_t now);

/// Steps need not be equally far apart.
struct autoscale_wish autoscale_step(struct autoscale *autoscale, const struct autoscale_view *view,
                                     int64_t now);

/// A worker is started because a wish was larger than what there is.
void autoscale_started(struct autoscale *autoscale);

/// From when on a worker that took `start_time` to start and was ready at `ready_at` may be stopped.
int64_t autoscale_may_stop(int64_t start_time, int64_t ready_at);
