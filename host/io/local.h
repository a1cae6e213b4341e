// The local provider: starts worker processes on this machine, watches them, reads their logs,
// kills them.
//
// A worker is `farside worker` exec'd with three descriptors (3 data, 4 control, 5 the shared
// page), stdin from /dev/null, stdout and stderr one pipe whose lines come out on this process's
// stderr as "[name worker] line". No signal handler is installed: deaths are seen through pidfds.
// Everything with the baton.
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "../core/message.h"
#include "../core/router.h"

struct local;

struct local_events {
  /// A message of the worker's data or control connection; takes over its body.
  void (*message)(void *owner, uint32_t worker, uint32_t generation, struct message *message);
  /// The process is gone, everything it sent was delivered.
  void (*lost)(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason, int code,
               uint64_t entered);
};

struct local *local_new(uv_loop_t *loop, const char *executable, const struct local_events *events,
                        void *owner);

/// Starts a process; the answer to a failure is `lost` with LOST_START, later. `start` is the body
/// of START (one reference is taken), `name` prefixes its log.
void local_start(struct local *local, uint32_t worker, uint32_t generation, uint64_t epoch,
                 const char *name, struct payload *start);

/// Queues a message: CALL goes by the data connection, everything else by control. Takes over the
/// body.
void local_send(struct local *local, uint32_t worker, struct message *message);
void local_kill(struct local *local, uint32_t worker, uint32_t generation);

/// Flushes all that was sent since the last flush.
void local_flush(struct local *local);
/// Reads, without waiting, the data connections on which answers are due. Returns how many messages
/// came.
int local_poll(struct local *local);

/// The last sequence in the worker's page; 0 when there is none.
uint64_t local_entered(const struct local *local, uint32_t worker);
pid_t local_pid(const struct local *local, uint32_t worker);

/// Kills what is left, closes all handles (they are gone when the loop has turned).
void local_close(struct local *local);
void local_free(struct local *local);

/// Where the executable is: $FARSIDE_BIN; /proc/self/exe if that is `farside`; beside the file this
/// code was loaded from; PATH. Writes up to `size` bytes. On failure -ENOENT and the places that
/// were tried, comma-separated, in `path`.
int local_executable(char *path, size_t size);
