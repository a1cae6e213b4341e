// The warden: the second thread of a worker. It owns the control connection, answers pings, takes
// cancels, and interrupts or ends the process while user code blocks. It runs neither Lua nor CUDA.
//
// Between warden and executor stands one atomic word, `current`: 0, or the sequence of the call
// that runs, with a bit that says running or stopping. The executor ends a call by compare-and-swap
// running -> 0; the warden claims one by running -> stopping. An executor that loses the swap
// answers nothing more, so only the call that was meant is ever interrupted. A cancel for a
// sequence not running right now is kept: the executor finds it when the call arrives (answered
// Cancelled, not executed), or at the wait of a suspended call.
//
// When the control connection ends (the router is gone) the call that runs is claimed, the executor
// is told to drain, and after a second the whole process group is killed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../core/message.h"

struct warden;

struct warden_options {
  int control;  // descriptor, taken over
  /// Called on the warden's thread: every few ms while a claimed call does not end, and once for a
  /// drain when no call runs.
  void (*interrupt)(void *owner);
  /// Called on the warden's thread a millisecond after warden_look, and when the router has taken
  /// calls back.
  void (*look)(void *owner);
  void *owner;
};

/// Starts the thread with all signals blocked. Negative errno on failure.
int warden_start(struct warden **warden, const struct warden_options *options);

/// Blocks until START has come: true, the body's reference is the caller's; false: the connection
/// ended first.
bool warden_wait_start(struct warden *warden, struct message *message);

/// The executor enters (or resumes) the call `sequence`.
void warden_enter(struct warden *warden, uint64_t sequence);
/// The executor leaves it (it ended or yielded). False: the warden has claimed it meanwhile; the
/// call must not be answered.
bool warden_leave(struct warden *warden);

/// The call asks whether it is cancelled: claimed, it has a second to end by itself before it is
/// interrupted. To be said each time it is entered.
void warden_patient(struct warden *warden, uint64_t sequence);

/// Claims the call that runs, on behalf of a claim that came before.
void warden_claim(struct warden *warden);
/// Whether the call that runs is claimed. Also from a hook, on the executor's thread.
bool warden_stopping(const struct warden *warden);

/// Whether a cancel for this sequence, not yet entered, has come; forgets it. One relaxed load when
/// no cancel is pending.
bool warden_cancelled(struct warden *warden, uint64_t sequence, enum cancel_reason *reason);
/// Takes the next pending cancel for which `suspended(owner, sequence)` holds. False: none.
bool warden_next_cancel(struct warden *warden, bool (*suspended)(void *owner, uint64_t sequence),
                        void *owner, uint64_t *sequence, enum cancel_reason *reason);

/// Readable when cancels or a drain wait for the executor; warden_woken makes it unreadable.
int warden_fd(const struct warden *warden);
void warden_woken(struct warden *warden);
/// The router asked for a drain, or is gone.
bool warden_draining(const struct warden *warden);
/// It is gone.
bool warden_alone(const struct warden *warden);

/// The process ends with this exit code at this instant, whatever it does then; INT64_MAX: it does
/// not. Before its end it sends `parting`, whose body is taken over; NULL: nothing.
void warden_doom(struct warden *warden, int64_t at, int code, struct message *parting);

/// Asks for a call of `look`. Cheap while one is due.
void warden_look(struct warden *warden);

/// Sends READY or GOODBYE on the control connection. Any thread. Takes over the body.
void warden_send(struct warden *warden, struct message *message);

/// Waits until what was sent is out, ends the thread, frees.
void warden_stop(struct warden *warden);
