// The client's side of `farside.native`: a handle on a session.
#pragma once

#include <lua.h>

struct session;

/// Adds `open` to the table on top of the stack.
void bind_client(lua_State *L);

/// The router behind the handle at `index`. Raises if it is none, or closed.
struct session *bind_client_session(lua_State *L, int index);
