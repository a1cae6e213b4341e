// The client's side of `farside.native`: a handle on an embedded router.
#pragma once

#include <lua.h>

struct embedded;

/// Adds `open` to the table on top of the stack.
void bind_client(lua_State *L);

/// The router behind the handle at `index`. Raises if it is none, or closed.
struct embedded *bind_client_embedded(lua_State *L, int index);
