#include "autoscale.h"

#include "limits.h"

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
