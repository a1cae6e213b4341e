// The thread that turns the loop when nobody else does.
//
//   nap 1 ms -> somebody held the baton meanwhile: nap again
//            -> somebody has held it all the time: he turns the loop; sleep until he gives it
//            -> nobody: take it and pump until it is wanted
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "../core/limits.h"
#include "loop_state.h"

static const int64_t kLook = NANOSECONDS_PER_MILLISECOND;
// How long those who poll the loop themselves may take before the keeper turns it for them.
static const int64_t kPatience = 2 * NANOSECONDS_PER_MILLISECOND;

static void call_out(struct loop *loop) {
  if (loop->events.kept) loop->events.kept(loop->events.owner);
}

// With the baton; gives it.
static void keep(struct loop *loop) {
  while (!atomic_load(&loop->closing) && !atomic_load(&loop->is_external) &&
         loop_pump(loop, INT64_MAX) != LOOP_WANTED)
    call_out(loop);
  baton_give(&loop->baton);
}

// Sleeps outside the loop until it has something to do that nobody does.
static void stand_by(struct loop *loop) {
  struct pollfd ready = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
  poll(&ready, 1, -1);
  uint64_t takes = atomic_load(&loop->baton.takes);
  baton_nap(&loop->baton, kPatience, &loop->closing);
  if (takes != atomic_load(&loop->baton.takes) || !baton_try(&loop->baton)) return;
  loop_turn(loop);
  baton_give(&loop->baton);
}

static void look(struct loop *loop) {
  uint64_t takes = atomic_load(&loop->baton.takes);
  baton_nap(&loop->baton, kLook, &loop->closing);
  if (takes != atomic_load(&loop->baton.takes)) return;
  if (baton_try(&loop->baton))
    keep(loop);
  else
    baton_await(&loop->baton, &loop->closing);
}

static void *keeper(void *owner) {
  struct loop *loop = owner;
  while (!atomic_load(&loop->closing)) {
    if (atomic_load(&loop->is_external))
      stand_by(loop);
    else
      look(loop);
  }
  return NULL;
}

int loop_keep(struct loop *loop) {
  if (loop->kept) return 0;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&loop->keeper, NULL, keeper, loop);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  loop->kept = !error;
  if (!error) pthread_setname_np(loop->keeper, "farside keeper");
  return -error;
}
