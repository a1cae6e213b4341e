// The simulator: calls come, wait and run in virtual time. Which worker a call goes to is decided
// by the router itself (host/core), fed with the events of simulated workers, or by one of its
// peers' policies for comparison.
//
// Pure as the core is: no clock, no system call, and chance from the seed alone. The same options
// give the same numbers, bit for bit.
//
//   arrivals.c   which calls come        calendar.c    what happens when
//   trace.c      those of a file         station.c     simulated workers
//   shell.c      the router's shell      policies.c    its peers
//   clairvoyant.c   the fewest worker-seconds that could do
//
// A worker of speed s does s of workload a second when all of its slots are busy: a call of a
// function with concurrency c takes workload * c / s, beside c - 1 others as well as alone, as one
// does that waits for something else most of its time.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../core/error.h"
#include "arrivals.h"
#include "histogram.h"

struct autoscale_options;
struct router_function;
struct simulation;

enum policy {
  POLICY_FARSIDE,
  POLICY_ROUND_ROBIN,
  POLICY_LEAST_CONNECTIONS,
  POLICY_LEAST_CONNECTIONS_WEIGHTED,
  POLICY_POWER_OF_TWO,
  POLICIES
};

/// "round_robin" and so on.
const char *policy_name(enum policy policy);

/// Workers that are alike.
struct simulation_kind {
  uint32_t count;
  double speed;       // workload a second
  double start;       // seconds from its start until a worker is ready, on average
  double spread;      // of that: sigma of its logarithm
  double faults;      // share of calls that end in an error
  double deaths;      // an hour
  double round_trip;  // seconds
};

/// A worker that gets another speed, for better or worse, and does not say so.
struct simulation_change {
  uint32_t worker;
  double at;      // seconds
  double factor;  // what its calls take so many times longer than at first
};

struct simulation_options {
  enum policy policy;
  uint64_t seed;
  struct arrivals_options arrivals;
  const struct simulation_kind *kinds;  // all of these options' lists are copied
  uint32_t kind_count;
  const struct router_function *functions;
  uint32_t function_count;
  const struct autoscale_options *scaling;  // NULL: all workers stay; for the router's policy alone
  const struct simulation_change *changes;
  uint32_t change_count;
  double measured_from;   // seconds: calls that come before that are not counted
  uint32_t sample_count;  // over the whole time, for a picture; 0: none
  double horizon;         // seconds that the picture spans
};

/// What a worker did, those of its place that came before it included.
struct simulation_worker {
  double speed;
  uint64_t calls;                  // that came to an end on it
  double busy;                     // seconds of work, of all its slots together one a second
  double ready, starting, parked;  // seconds
  uint32_t starts, stops, deaths;  // stops: those that were told to go
  uint32_t parks, unparks;
};

/// What the time between this sample and the one before was like.
struct simulation_sample {
  double at;  // seconds, the end
  uint32_t arrived, ended, failed;
  uint32_t waiting, running;          // at the end
  uint32_t active, starting, parked;  // workers, at the end
  double p50, p99;                    // latency of calls that ended, seconds
};

struct simulation_result {
  double seconds;  // until the last call had ended
  uint64_t calls, ended, failed;
  uint64_t errors[ERROR_NAMES];
  struct histogram wait, latency;  // from arrival until it runs; until its result is there
  double work_done, work_in_time;  // of calls that ended; of those that did before `horizon`
  double work_come;                // of all calls
  const struct simulation_worker *workers;
  uint32_t worker_count;
  const struct simulation_sample *samples;
  uint32_t sample_count;
  uint64_t decisions;  // messages and ticks the router was given
};

struct simulation *simulation_new(const struct simulation_options *options);
void simulation_free(struct simulation *simulation);
/// Goes on until the virtual time `until`, or the end. True: that is reached.
bool simulation_run(struct simulation *simulation, double until);
/// Owned by the simulation.
const struct simulation_result *simulation_result(struct simulation *simulation);
