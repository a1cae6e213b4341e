// Starts a worker's process.
#pragma once

#include <sys/types.h>

struct spawn {
  const char *executable;
  int data, control, page;  // become the descriptors 3, 4, 5
  int output;               // becomes stdout and stderr; stdin is /dev/null
  const char *devices;      // CUDA_VISIBLE_DEVICES; NULL: as here
};

/// Runs `executable worker` in a process group of its own, with default signals, all others of this
/// process's close-on-exec descriptors closed, and this process's environment without what is meant
/// for this process. `*pidfd` becomes readable when it has ended. Descriptors stay the caller's. 0
/// or negative errno: there is no process then, and `*pid` is no process's number.
int spawn_process(const struct spawn *spawn, pid_t *pid, int *pidfd);

/// A descriptor for the same that is in nobody's way between 0 and 5; `fd` is closed. Negative
/// errno.
int spawn_clear(int fd);
