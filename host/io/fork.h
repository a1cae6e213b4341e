// Whether this process is a fork of the one that has opened something: the threads, sockets and
// children of that are not its own, and it must not use them.
//
// A word in a page of its own tells, which the kernel wipes in the child of a fork: to look costs a
// load, nothing has to run in the child, and a fork by a bare system call is known too. What shares
// the memory until it executes another program (vfork, posix_spawn, and so popen and system) is none.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fork_mark {
  volatile uint32_t is_original;
};

/// NULL: there is no memory.
struct fork_mark *fork_mark_new(void);
/// In the process that has made it alone. NULL is allowed.
void fork_mark_free(struct fork_mark *mark);

static inline bool fork_is_child(const struct fork_mark *mark) {
  return !mark->is_original;
}

/// Ends a fork: what it has written is flushed, in files that it has left open too, as exit does it;
/// and nobody is called who was there for the process before it.
__attribute__((noreturn)) void fork_leave(int code);
