// The thread that turns the loop when nobody else does.
//
//   nap 2 ms -> the loop was turned meanwhile: nap again
//            -> somebody sleeps in the loop: that is as good as turning it; sleep until he gives the
//               baton
//            -> else take it, also from those who only ask and never wait, turn, and pump until it is
//               wanted
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "../core/limits.h"
#include "loop_state.h"

// Each look disturbs a call: of those that take 10 us it may be one in two hundred, not in a hundred.
static const int64_t kLook = 2 * NANOSECONDS_PER_MILLISECOND;
// How long those who poll the loop themselves may take before the keeper turns it for them.
static const int64_t kPatience = 2 * NANOSECONDS_PER_MILLISECOND;

static void call_out(struct loop *loop) {
  if (loop->events.kept) loop->events.kept(loop->events.owner);
}

// With the baton; gives it.
static void keep(struct loop *loop) {
  enum loop_result result = LOOP_EVENT;
  loop_turn(loop);
  while (result != LOOP_WANTED) {
    call_out(loop);
    if (atomic_load(&loop->closing) || atomic_load(&loop->is_external)) break;
    result = loop_pump(loop, INT64_MAX);
  }
  baton_give(&loop->baton);
}

// Sleeps outside the loop until it has something to do that nobody does.
static void stand_by(struct loop *loop) {
  struct pollfd ready = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
  poll(&ready, 1, -1);
  uint64_t turns = atomic_load(&loop->turns);
  baton_nap(&loop->baton, kPatience, &loop->closing);
  if (turns != atomic_load(&loop->turns) || atomic_load(&loop->closing)) return;
  baton_take(&loop->baton);
  loop_turn(loop);
  baton_give(&loop->baton);
}

static void look(struct loop *loop) {
  uint64_t turns = atomic_load(&loop->turns);
  baton_nap(&loop->baton, kLook, &loop->closing);
  if (turns != atomic_load(&loop->turns) || atomic_load(&loop->closing)) return;
  if (atomic_load(&loop->asleep)) {
    baton_await(&loop->baton, &loop->closing);
    return;
  }
  baton_take(&loop->baton);
  keep(loop);
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
