// A file of the calls that came, one line each when it has ended, which farside simulate reads
// again:
//
//   arrival,deployment,function,workload,service,wait,worker,outcome
//   12.000250,shapes,square,100,0.010213,0.000031,2,ok
//   12.104121,shapes,cube,250,,30.000412,,DeadlineExceeded
//
// Seconds; arrivals count from when the file was begun. `service` is the time in the function,
// empty where it is not known; `worker` the one that had the call last, by its number in the
// deployment.
// Lines are kept back for a second at most while calls go on, and written at the end.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct record;
struct router_ended;

/// Begins a file; what it had is gone. Negative errno on failure.
int record_open(struct record **record, const char *path, int64_t now);

/// Where a call belongs: names, and the first worker of its deployment.
struct record_place {
  const char *deployment, *function;
  size_t function_size;
  uint32_t first_worker;
};
/// Adds a call. When the file cannot be written (its disk is full) one line to stderr says so, and
/// no more is tried.
void record_call(struct record *record, const struct record_place *place,
                 const struct router_ended *ended, int64_t now);

/// Writes what was kept back. NULL is allowed.
void record_close(struct record *record);
