// How a thread waits for bytes: it looks again for a while before it sleeps.
//
// To wake a sleeper on another core costs 25 us a hop on a virtual machine, so while calls flow a
// waiting thread tries again for up to 50 us, with sched_yield between tries (without the yield
// spinning processes starve each other). It gives up where that loses: whether to spin is decided
// by how long the last waits took.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WAIT_SPIN (50 * INT64_C(1000))

struct wait {
  int64_t started;  // this wait, monotonic nanoseconds
  bool spin;        // worth trying before sleeping
  bool never;       // policy "sleep": for benches and single-threaded debugging
};

/// Monotonic nanoseconds.
int64_t wait_now(void);

/// Reads FARSIDE_WAIT ("spin", the default, or "sleep").
void wait_init(struct wait *wait);

/// A wait begins.
void wait_begin(struct wait *wait);

/// True: try again (it has yielded); false: sleep now.
bool wait_again(struct wait *wait);

/// The wait ended with something to do; decides whether the next one spins.
void wait_end(struct wait *wait);
