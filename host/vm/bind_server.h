// farside.native.serve(): the served router for Lua.
#pragma once

#include <lua.h>

/// Puts `serve` into the table on top of the stack.
void bind_server(lua_State *L);
