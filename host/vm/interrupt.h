// Ends Lua code that does not end by itself, compiled or not.
//
// The warden sends two signals to the executor's thread. One is LuaJIT's profiler's own: in line mode, on from the state's first moment, compiled code looks at every line whether it
// shall leave for the interpreter. The other arms a hook there, which raises "interrupted" if the call is still to be stopped. The profiler's timer is set to
// go off after years, so nothing ticks while nothing is to be stopped. Code may catch the error; the warden sends again until the call has ended.
#pragma once

#include <lua.h>
#include <pthread.h>
#include <stdbool.h>

struct interrupt {
  lua_State *L;
  bool (*wanted)(void *owner);  // asked in the hook, on the executor's thread
  void *owner;
};

/// From any thread: makes the hook look whether it is `wanted`, soon, on `thread`, which runs the state. Ends a system call that waits there.
void interrupt_send(const struct interrupt *interrupt, pthread_t thread);

/// Prepares `L`, on its thread, before any of its code runs. `interrupt` must outlive the state.
void interrupt_open(struct interrupt *interrupt);
void interrupt_close(struct interrupt *interrupt);
