#include "wait.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Waits that were longer than this are no flow of calls: the next one sleeps at once.
static const int64_t kFlow = 4 * WAIT_SPIN;

int64_t wait_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

void wait_init(struct wait *wait) {
  const char *policy = getenv("FARSIDE_WAIT");
  *wait = (struct wait){.never = policy && !strcmp(policy, "sleep")};
}

void wait_begin(struct wait *wait) {
  wait->started = wait_now();
}

bool wait_again(struct wait *wait) {
  if (!wait->spin || wait->never) return false;
  sched_yield();
  return wait_now() - wait->started < WAIT_SPIN;
}

void wait_end(struct wait *wait) {
  wait->spin = wait_now() - wait->started < kFlow;
}
