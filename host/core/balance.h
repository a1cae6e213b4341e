// Which worker a call goes to: the one where it is predicted to end first. Pure functions of their
// arguments.
//
//   predicted end = when there is room for it + workload x pace + round trip
//
// A busy fast worker may beat an idle slow one; then the call waits for it. Of several free ones a
// call that is short leaves the fast one to others and goes to a slower one, where that costs it
// less than the fast one's time is worth (`keep`).
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct candidate {
  double pace;  // seconds of the function for a workload of one there; 0: not known
  double wait;  // predicted seconds until it could begin, and the round trip
  double round_trip;
  bool free;  // the call could be given to it at once
};

struct wish {
  double workload;
  double keep;  // seconds by which the call may end later than on the best worker, if it ends on a
                // slower one that is free
  double full;  // seconds of `wait` above which no busy worker is waited for; 0: none is too long
};

enum { BALANCE_WAIT = -1 };

/// Index of the worker to give a call to now, or BALANCE_WAIT: none is free, or a busy one, whose
/// index goes into `*best`, is predicted to end it earlier than any free one; its pace has to be
/// known for that.
/// Equals within 20 us or 10 % go to the free one with the lowest index: caches and a waiting
/// thread stay warm.
int balance_choose(const struct candidate *candidates, uint32_t count, const struct wish *wish,
                   uint32_t *best);
/// Whether `end` is no later than `least` but for what two workers may differ by and be equals.
bool balance_is_tie(double least, double end);
