// The executor as dispatch.lua sees it.
#pragma once

#include <lua.h>

struct executor;

/// Pushes the object; the executor must outlive the state.
void bind_executor(lua_State *L, struct executor *executor);
