// What Lua does in a fork of a process that has a handle or an executor: it ends, or is told that it
// may do nothing else with Farside (lua/farside/fork.lua).
#pragma once

struct lua_State;

/// Sets native.leave and native.on_fork in the table on top of the stack.
void bind_fork(struct lua_State *L);

/// Raises what native.on_fork was given for that.
__attribute__((noreturn)) void bind_fork_refuse(struct lua_State *L);

/// Ends the process with the code at index 1, as os.exit takes it.
__attribute__((noreturn)) int bind_fork_leave(struct lua_State *L);
