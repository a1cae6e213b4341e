// The module `farside.native`: C as Farside's Lua files see it.
#pragma once

#include <lua.h>

int luaopen_farside_native(lua_State *L);
