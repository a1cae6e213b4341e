// The local provider: starts worker processes on this machine, watches them, reads their logs,
// kills them.
//
// A worker is `farside worker` exec'd with three descriptors (3 data, 4 control, 5 the shared
// page), stdin from /dev/null, stdout and stderr one pipe whose lines come out on this process's
// stderr as "[name] line". No signal handler is installed: deaths are seen through pidfds. A worker
// is connected with both connections or not at all: one that loses one is ended, at once if it sent
// bytes that are no frames, else when it has had a second to end by itself. Everything with the
// baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "../core/message.h"
#include "../core/router.h"
#include "provider.h"

struct local;

struct local_events {
  /// A message of the worker's data or control connection; takes over its body.
  void (*message)(void *owner, uint32_t worker, uint32_t generation, struct message *message);
  /// The process is gone, everything it sent was delivered. `code` is -1 when somebody else in this
  /// process took the exit code away. `said`: the last line that it printed, "" if none.
  void (*lost)(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason, int code,
               uint64_t entered, const char *said);
  /// A line of what the worker prints, which also goes to stderr. NULL is allowed.
  void (*line)(void *owner, uint32_t worker, const char *text, size_t size);
};

/// `executable` is copied. Workers are numbered by the router.
struct local *local_new(uv_loop_t *loop, const char *executable, const struct local_events *events,
                        void *owner);

/// Starts a process and sends it START; the answer to a failure is `lost` with LOST_START and an
/// errno, from local_tick. `start` is the body of START (one reference is taken), `name` prefixes
/// its log.
void local_start(struct local *local, uint32_t worker, uint32_t generation, uint64_t epoch,
                 const char *name, struct payload *start);

/// The same as a provider, which hub and specs ask for processes; `local` stays the caller's.
struct local_provider {
  struct provider provider;
  struct local *local;
};
void local_provider(struct local_provider *provider, struct local *local);

/// Notes that a worker is given no calls / is given them again. Nothing if it is gone, or of another
/// generation.
void local_park(struct local *local, uint32_t worker, uint32_t generation, bool parked);

struct local_process {
  uint32_t generation, device;
  bool has_device;  // a GPU of its own, `device`
  bool is_parked, is_ending;
  int failure;  // errno: it could not be started
  pid_t pid;
};
/// False: the worker has no process.
bool local_process(const struct local *local, uint32_t worker, struct local_process *process);

/// Queues a message: calls, credit, and what comes for the calls that its functions made, go by the
/// data connection, everything else by control. Takes over the body.
void local_send(struct local *local, uint32_t worker, struct message *message);
/// SIGKILL to the process and its group. Nothing if it is gone, or of another generation.
void local_kill(struct local *local, uint32_t worker, uint32_t generation);

/// Writes all that was sent since the last flush.
void local_flush(struct local *local);
/// Writes to the workers that had nothing to do, and to those not written to for a while: so a call
/// goes out at once, and many in a row share their writes. The rest waits for local_flush.
void local_push(struct local *local, int64_t now);
/// Reads, without waiting, the data connections on which answers are due. Returns how many messages
/// came.
int local_poll(struct local *local);

/// When local_tick has something to do at the latest; INT64_MAX: never.
int64_t local_deadline(const struct local *local);
void local_tick(struct local *local, int64_t now);

/// Takes back, in its page, what was handed ahead to a worker up to `sequence`. `*entering`: those
/// above are not entered. False: that process is gone.
bool local_recall(struct local *local, uint32_t worker, uint32_t generation, uint64_t sequence,
                  uint64_t *entering);
/// The same for the one call `sequence`. False: it may be entered.
bool local_withdraw(struct local *local, uint32_t worker, uint32_t generation, uint64_t sequence);
/// No answers will come to `count` calls that were sent to it.
void local_forget(struct local *local, uint32_t worker, uint32_t count);

/// Workers are numbered below this.
uint32_t local_count(const struct local *local);
/// The generation and the last sequence in its page (0: none) of a worker that has a process.
bool local_entered(const struct local *local, uint32_t worker, uint32_t *generation,
                   uint64_t *entered);
/// 0: it has no process.
pid_t local_pid(const struct local *local, uint32_t worker);

/// Kills and reaps what is left, closes all handles; no events. Then the loop has to turn until
/// they are gone, before it is freed.
void local_close(struct local *local);
void local_free(struct local *local);

/// Where the executable is: $FARSIDE_BIN; /proc/self/exe if that is `farside`; beside the file this
/// code was loaded from, or where an installation puts it; PATH. Writes up to `size` bytes. On
/// failure -ENOENT and the places that were tried, comma-separated, in `path`.
int local_executable(char *path, size_t size);
