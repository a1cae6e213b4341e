// Instants that something waits for, soonest first: a binary heap of timers that lie inside what
// waits.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct timer {
  int64_t at;       // monotonic nanoseconds
  uint32_t kind;    // the owner's
  size_t position;  // in the heap, from 1; 0: not set
};

struct timers {
  struct timer **heap;  // heap[1] is the soonest
  size_t count, capacity;
};

/// Sets or moves `timer`. Ends the process when memory runs out.
void timers_set(struct timers *timers, struct timer *timer, int64_t at);
void timers_cancel(struct timers *timers, struct timer *timer);
/// The soonest, or NULL.
struct timer *timers_first(const struct timers *timers);
void timers_close(struct timers *timers);
