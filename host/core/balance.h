// Which worker a call goes to: the one where it is predicted to end first. Pure functions of their
// arguments.
//
//   predicted end = when a slot is free + workload / score + round trip
//
// A busy fast worker may beat an idle slow one; then the call waits for it. The full policy will
// grow here.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct candidate {
  double score;       // workload per second of the function there; 0: not known
  double backlog;     // predicted seconds of work in front of the call
  double round_trip;  // seconds
  bool free;          // the call could be given to it at once
};

enum { BALANCE_WAIT = -1 };

/// Index of the worker to give a call of `workload` to now, or BALANCE_WAIT: none is free, or a
/// busy one, whose index goes into `*best`, is predicted to end it earlier than any free one; its
/// score has to be known for that.
/// Equals within 20 us or 10 % go to the free one with the lowest index: caches and a waiting
/// thread stay warm.
int balance_choose(const struct candidate *candidates, uint32_t count, double workload,
                   uint32_t *best);
