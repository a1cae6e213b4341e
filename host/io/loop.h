// The loop and its baton. Any thread may hold the baton; who holds it runs the loop and touches
// what hangs on it. A thread inside a Farside call holds it and pumps. When nobody has turned the
// loop for 2 to 4 ms the keeper thread takes it, so that queued calls go out, deaths are seen, logs
// are read and deadlines pass while the user's code computes. A caller that finds it taken wakes
// the holder, who gives it up.
//
//   caller:  loop_acquire ... loop_wait ... loop_release, without a system call when nobody else
//            wants it
//   keeper:  looks every 2 ms whether somebody turned since; if not, takes it and sleeps in the loop
//            until it is wanted back
//
// After any gap what lies in the sockets is delivered before the time: silence counts only while
// the loop was listening.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct loop;

struct loop_events {
  /// Called by the holder after sockets were read and before it waits again: step the machines,
  /// flush. Returns the next instant (monotonic ns) it wants to be called at; INT64_MAX: none.
  int64_t (*turn)(void *owner, int64_t now);
  /// Tries the sockets an answer is expected on, without waiting. Called while spinning.
  void (*poll)(void *owner);
  /// The keeper has turned. It still holds the baton, and may release it and acquire it again in
  /// here, to call out. NULL is allowed.
  void (*kept)(void *owner);
  void *owner;
};

/// A loop with its keeper thread not yet started. Negative: a libuv error or errno.
int loop_open(struct loop **loop, const struct loop_events *events);

/// Starts the keeper (all signals blocked in it). Without one the loop only moves while somebody
/// pumps. Negative errno.
int loop_keep(struct loop *loop);

uv_loop_t *loop_uv(struct loop *loop);

/// Takes the baton; wakes a holder that sleeps in the loop. Recursive use is an error (asserted).
void loop_acquire(struct loop *loop);
void loop_release(struct loop *loop);

/// With the baton: something happened that a thread may wait for; the wait in progress ends.
void loop_stir(struct loop *loop);

enum loop_result { LOOP_EVENT, LOOP_TIMEOUT, LOOP_INTERRUPTED, LOOP_WANTED };

/// With the baton: one turn. Runs `turn`, then waits (spinning first while calls flow) until
/// something happened, the instant `until` (INT64_MAX: none), or a signal interrupted the wait.
/// Gives the baton away and takes it back when another thread wants it (LOOP_WANTED).
enum loop_result loop_wait(struct loop *loop, int64_t until);

/// With the baton: a turn that does not wait.
void loop_turn(struct loop *loop);

/// A descriptor that is readable when a turn has something to do (the loop's epoll; timers are a
/// timerfd in it). From the first use on the keeper leaves the turns to whoever polls this, as long
/// as they come within some milliseconds. With the baton.
int loop_fd(struct loop *loop);

/// From any thread, without the baton, also from a signal handler: makes the holder turn soon.
void loop_wake(struct loop *loop);

/// Without the baton: ends the keeper, then the loop. All handles must have been closed; turns
/// until they are gone.
void loop_close(struct loop *loop);
