// Where workers come from: one interface for processes on this machine (local_provider.c) and for
// the engine of a cluster.
//
// A provider makes processes and ends them; what is said to them goes over connections of their own.
// Everything here returns at once and fails in silence: that a process runs is heard from itself, and
// that it could not be started, or has ended, is told to whoever has made the provider.
//
// Each process has a tag, by which all is idempotent: to start one that is there, to stop one that
// is gone or to park one that is parked does nothing, so that a request whose answer was lost can be
// made again, and a provider that finds processes after a restart knows whose they are. With the
// loop's baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct payload;

/// Whose process it is: deployment, the router's life, the worker's number in the router and its
/// place in the deployment, and which one it is of those that have stood there.
struct provider_tag {
  const char *deployment;
  uint64_t epoch;
  uint32_t worker, place, generation;
};

enum provider_state {
  PROVIDER_ABSENT,
  PROVIDER_PENDING,  // asked for, not running yet
  PROVIDER_RUNNING,
  PROVIDER_STOPPING,
};

struct provider_worker {
  uint32_t worker, generation;
  enum provider_state state;
  bool parked;
  int64_t process;  // its number there: a pid, the number of an engine's job; 0: none yet
};

struct provider {
  /// Starts a process; `start` is the body of START that it is to get, of which a reference is taken.
  void (*start)(struct provider *provider, const struct provider_tag *tag, struct payload *start);
  /// Ends it at once.
  void (*stop)(struct provider *provider, const struct provider_tag *tag);
  /// It will get no calls until it is parked no more, and is to be ready again at once then: what
  /// it holds that others could use meanwhile may be taken from it, its memory may not.
  void (*park)(struct provider *provider, const struct provider_tag *tag, bool parked);
  /// Fills in up to `size` of the processes that are there; returns how many those are.
  size_t (*list)(struct provider *provider, struct provider_worker *workers, size_t size);
  /// One sentence for a person on what the process is doing, or waits for. False: it is not there.
  bool (*explain)(struct provider *provider, const struct provider_tag *tag, char *text,
                  size_t size);
};
