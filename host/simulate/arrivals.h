// The calls that come in a simulation: those of a trace, or made by chance. The same options and
// seed give the same calls, whoever serves them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "chance.h"

struct trace;

enum arrivals_shape {
  ARRIVALS_EVEN,     // `rate` a second, equally far apart
  ARRIVALS_POISSON,  // `rate` a second
  ARRIVALS_DIURNAL,  // Poisson around a cosine: `rate` on average, (1 - swing) of it at the
                     // beginning and (1 + swing) of it half a `period` later
  ARRIVALS_BURST,    // Poisson: `rate`, but `high` for `length` seconds at the end of each `period`
  ARRIVALS_SQUARE,   // Poisson: `rate` for half a `period`, `high` for the other half
  ARRIVALS_CLOSED,   // `closed` calls at any time: one that has ended is followed by the next one
  ARRIVALS_TRACE
};

enum workload_shape {
  WORKLOAD_CONSTANT,
  WORKLOAD_UNIFORM,      // 0 .. 2 * mean
  WORKLOAD_EXPONENTIAL,  // as in the textbooks
  WORKLOAD_LOGNORMAL,    // `spread`: sigma of the logarithm
  WORKLOAD_PARETO        // `spread`: the shape, above 1
};

struct arrivals_options {
  enum arrivals_shape shape;
  double rate, high, swing, period, length;
  uint32_t closed;
  double seconds;  // no call comes after that
  enum workload_shape workload;
  double mean, spread;
  bool told_alike;       // all workloads are told as their mean: the function has no calculator
  double told_wrong;     // each workload is told so much too high or too low: 0.3 is 30 %
  double noise;          // of the time a call takes: sigma of its logarithm
  const double *shares;  // how often each function is called, together 1; NULL: the first only
  uint32_t function_count;
  const struct trace *trace;
  double reference;  // speed at which the trace's service seconds were measured
};

struct arrival {
  int64_t at;  // nanoseconds
  uint32_t function;
  double workload;  // as told to the router
  double work;      // what it really costs: seconds on a worker of speed 1
};

struct arrivals {
  struct arrivals_options options;
  struct chance when, what, wrong;
  double at;  // seconds: the latest
  uint64_t count;
};

/// Keeps what `options` points to by reference.
void arrivals_init(struct arrivals *arrivals, const struct arrivals_options *options,
                   uint64_t seed);
/// The next call. False: none comes any more; in a closed loop arrivals_follow makes all of them.
bool arrivals_next(struct arrivals *arrivals, struct arrival *arrival);
/// The next call of a closed loop, which comes at `at`.
void arrivals_follow(struct arrivals *arrivals, int64_t at, struct arrival *arrival);
