// Ends Lua code that does not end by itself, compiled or not.
//
// Two signals go to the thread that runs it. One is LuaJIT's profiler's own: in line mode, on from
// the state's first moment, compiled code looks at every line whether it shall leave for the
// interpreter. The other arms a hook there, which raises "interrupted" if that is still wanted. The
// profiler's timer is set to go off after weeks of computing, so nothing ticks while nothing is to
// be stopped. A signal may come where it has no effect: it is sent again until the code has ended.
#pragma once

#include <lua.h>
#include <pthread.h>
#include <stdbool.h>

struct interrupt {
  lua_State *L;
  bool (*wanted)(void *owner);  // asked in the hook, on the executor's thread
  /// Or NULL: whether the code that runs now is to go on to where the hook is asked again.
  bool (*spares)(void *owner, lua_State *L);
  void *owner;
};

/// From any thread: makes the hook look whether it is `wanted`, soon, on `thread`, which runs the
/// state. Ends a system call that waits there.
void interrupt_send(const struct interrupt *interrupt, pthread_t thread);

/// Prepares `L`, on its thread, before any of its code runs. `interrupt` must outlive the state.
/// One state in a process.
void interrupt_open(struct interrupt *interrupt);
void interrupt_close(struct interrupt *interrupt);
