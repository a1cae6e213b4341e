#include "bind_fork.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "../io/fork.h"

static const char kRefuse[] = "farside.fork";

// native.on_fork(raise): `raise` is called where a fork uses a handle or an executor.
static int l_on_fork(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, kRefuse);
  return 0;
}

void bind_fork_refuse(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, kRefuse);
  if (lua_isfunction(L, -1)) lua_call(L, 0, 0);
  luaL_error(L, "this process is a fork, and Farside goes on in the one before it");
  abort();  // luaL_error does not return, but is not declared so
}

// true and nil: it is well; false: it is not.
int bind_fork_leave(lua_State *L) {
  if (lua_isboolean(L, 1)) fork_leave(lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE);
  fork_leave((int)luaL_optinteger(L, 1, EXIT_SUCCESS));
}

void bind_fork(lua_State *L) {
  lua_pushcfunction(L, bind_fork_leave);
  lua_setfield(L, -2, "leave");
  lua_pushcfunction(L, l_on_fork);
  lua_setfield(L, -2, "on_fork");
}
