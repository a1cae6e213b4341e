// How many workers a deployment is to have. A pure function of parameters, of what was observed and
// of the time; it knows neither processes nor calls.
//
// Units: load is what functions are offered in workload per second. Each function's load is divided
// by the score of that function, so that loads add up in *workers*: seconds of a typical worker's
// time per second.
//
// The options are app.configure_autoscaling's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { AUTOSCALE_NEVER = -1 };

/// Times in nanoseconds. `autoscale_defaults` fills in what nobody has set; there is no other
/// encoding of "unset".
struct autoscale_options {
  uint32_t max_workers;        // of all kinds, 1..LIMIT_WORKERS
  uint32_t cold_workers;       // loaded and benchmarked at least, active or parked
  uint32_t start_burst;        // may be started at once; 0: as a cluster, one, or 20 % of the size
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
