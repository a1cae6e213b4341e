// How few worker-seconds the calls of a simulation could have cost somebody who knew all of them in
// advance: the measure of an autoscaler that knows none of them.
//
// The true minimum is hard to find; it lies between two numbers that are not:
//
//   bound      No schedule whatever needs fewer. Each call takes its time on some worker, and as
//              many workers as are busy on average have to be started at least once.
//   schedule   One that could be carried out. Time is cut into steps; in each step there are as few
//              workers as can begin every call of it within `wait`, first come, first served. More
//              workers are started exactly in time, and one that is not needed ends when its call
//              has ended. Of several step lengths the best one counts.
//
// Starting worker-seconds are counted in both.
#pragma once

#include <stdint.h>

#include "arrivals.h"

struct clairvoyant_options {
  struct arrivals_options arrivals;
  uint64_t seed;
  double speed;  // of all workers, one call at a time
  double start;  // seconds
  double wait;   // seconds, of any call
};

struct clairvoyant {
  double bound, schedule;  // worker-seconds
  double step;             // seconds, of the schedule
  uint32_t starts, most;   // of the schedule: how often, and how many workers at a time
  double p99;              // of its waits, seconds
};

void clairvoyant_find(const struct clairvoyant_options *options, struct clairvoyant *found);
