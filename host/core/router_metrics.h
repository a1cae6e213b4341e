// What the router counts, and how monitoring reads it: numbers that only grow, and how long calls
// waited, ran and travelled, as histograms. For a person and for Prometheus; nothing is decided by
// them.
//
// Counted where it happens, some nanoseconds a call, nothing allocated but once for each function
// that a worker runs for the first time. What can be read off the router's state at any time
// (queues, slots, scores) is not counted here but read when the text is written.
//
//   admitted or refused  -->  dispatched, as often as it is tried  -->  ended, once, in one outcome
//
// An outcome is "ok" or the name of an error. It belongs to the worker that had the call last, or to
// none. For each function
//
//   admitted + refused = sum of all outcomes + in flight
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "error.h"
#include "router.h"

struct call;
struct deployment;
struct router;
struct worker;

enum {
  METRIC_BUCKETS = 28,  // with a bound, beside the one for all that took longer
  METRIC_OUTCOMES = ERROR_NAMES + 1,
  OUTCOME_OK = ERROR_NAMES,
};

/// How many observations took at most as long as each bound: 1, 2.5 and 5 of a power of ten, from a
/// microsecond to a thousand seconds.
struct metric_histogram {
  uint64_t sum;  // nanoseconds
  uint64_t buckets[METRIC_BUCKETS + 1];
};

void metric_add(struct metric_histogram *histogram, int64_t nanoseconds);
uint64_t metric_count(const struct metric_histogram *histogram);
/// Of a bucket in nanoseconds; INT64_MAX of the last.
int64_t metric_bound(uint32_t bucket);

/// One function of a deployment, over all workers; copied out.
struct function_metrics {
  uint64_t admitted, refused, in_flight, dispatched, retries, requeues, shed;
  double workload;  // of all that were admitted
  uint64_t outcomes[METRIC_OUTCOMES];
  struct metric_histogram queue, run, transfer;
};
bool router_function_metrics(const struct router *router, uint32_t deployment, uint32_t function,
                             struct function_metrics *metrics);

/// Appends all there is in Prometheus' text format, version 0.0.4, each family once with its HELP
/// and TYPE, in an order that depends on nothing but the router's state. `version`: of the program.
void router_metrics_text(const struct router *router, const char *version, struct buffer *out);

// ---- for router*.c ----

// How the process of a worker ended.
enum death {
  DEATH_DRAINED,    // it was told to go
  DEATH_TAINTED,    // it went because a call was interrupted
  DEATH_GPU_FAULT,  // its GPU has failed it
  DEATH_GPU_LOST,   // its GPU has failed
  DEATH_EXIT,       // of itself
  DEATH_SIGNAL,     // which the router has not sent
  DEATH_HEARTBEAT,  // given up: it was silent
  DEATH_KILLED,  // by the router: a call that did not end, bad answers, a start that took too long
  DEATH_START,   // there was none
  DEATH_FRAME,   // it said what is no frame
  DEATHS
};

// One function on one worker, over all processes in its place.
struct metric {
  uint64_t dispatched, outcomes[METRIC_OUTCOMES];
  struct metric_histogram run, transfer;
};

struct worker_metrics {
  uint64_t deaths[DEATHS];
  struct metric **of;  // per function; NULL: it was never dispatched there
};

struct metrics {
  uint32_t kept;  // struct metric of its workers
  struct function_counts {
    const char *name;  // in the manifest; without a 0 behind it
    size_t name_size;
    uint64_t admitted, refused, in_flight, retries, requeues, shed;
    double workload;
    struct metric_histogram queue;
    struct metric nowhere;  // on no worker, or on one that has none of its own
  } of[];                   // per function
};

/// Gives a deployment its metrics, when it has its manifest and functions; free() them.
void router_metrics_open(struct deployment *deployment);
struct worker_metrics *router_metrics_worker_new(uint32_t functions);
void router_metrics_worker_free(struct worker_metrics *metrics, uint32_t functions);

void router_metrics_admitted(struct router *router, struct call *call);
/// A call that was not admitted: it will be answered with an error. `call` stands for it; what it
/// asks for may not exist, and is then not counted.
void router_metrics_refused(struct router *router, struct call *call);
/// Refused, or thrown out of the queue, for want of room.
void router_metrics_shed(struct router *router, uint32_t deployment, uint32_t function);
/// Queued again, now or after a pause, after a failed attempt / without having been entered.
void router_metrics_retried(struct router *router, const struct call *call);
void router_metrics_requeued(struct router *router, const struct call *call);
/// Before it has the new sequence.
void router_metrics_dispatched(struct router *router, struct worker *worker,
                               const struct call *call, int64_t now);
/// Its worker has answered; `elapsed` in its function.
void router_metrics_ran(struct router *router, struct worker *worker, const struct call *call,
                        int64_t elapsed, int64_t now);
/// It is answered, or would be if its client were there: once in its life.
void router_metrics_ended(struct router *router, struct call *call, enum message_type type,
                          const struct payload *body);
/// What an answer says: the name of an error, or OUTCOME_OK.
enum error_name router_metrics_outcome(enum message_type type, const struct payload *body);
void router_metrics_lost(struct worker *worker, enum lost_reason reason);
