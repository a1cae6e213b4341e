// farside.native.operator(address) and what goes with it: the command line's end of a connection to
// a served router.
#pragma once

#include <lua.h>

/// Puts `operator`, `socket_of` and `sockets` into the table on top of the stack.
void bind_operator(lua_State *L);
