// A unix socket that a router listens on, for this user alone, and the lock beside it.
//
//   HASH.sock   mode 0600
//   HASH.lock   the pid of whoever listens, who holds a lock (flock) on it: there is one router a
//               deployment. A socket that a dead one has left is taken over under the lock
//
// Of those who connect a few are let in at a time, so that the loop does other things too. Some
// descriptors are kept in reserve: who comes when no others are left is told so, and not left in a
// queue that never moves. With the baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct listener;

struct listener_events {
  /// Somebody of this user has connected; takes over the descriptor. `is_last`: what is left is the
  /// reserve.
  void (*accepted)(void *owner, int fd, bool is_last);
  void *owner;
};

/// Takes the lock and the socket `path`. Nobody is let in before listener_start. What lies there and
/// is no socket, or no lock, is left as it is: -EEXIST. -EADDRINUSE:
/// another process, `*holder` (0: not known), listens there; other negative errnos. A sentence is in
/// `why`.
int listener_open(struct listener **listener, const char *path, pid_t *holder, char *why,
                  size_t size);

int listener_start(struct listener *listener, uv_loop_t *loop,
                   const struct listener_events *events);

/// Leaves the path and the lock to the next router, and listens at address_of_ending, if it can, for
/// those who want to know what becomes of this one. It has been started.
void listener_retire(struct listener *listener);

/// When listener_tick has something to do; INT64_MAX: never.
int64_t listener_deadline(const struct listener *listener);
void listener_tick(struct listener *listener, int64_t now);

/// Removes the socket, if it is still this one's, and gives the lock back; memory goes when the loop
/// has turned. NULL is allowed.
void listener_close(struct listener *listener);

/// Lets this process have as many descriptors as it may.
void listener_raise_limit(void);

/// How many descriptors this process may have, less the reserve; half of them where that is very
/// little.
int listener_descriptors(void);
