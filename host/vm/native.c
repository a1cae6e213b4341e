#include "native.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <unistd.h>

#include "../io/folder.h"
#include "../io/places.h"
#include "../io/sha256.h"
#include "../io/wait.h"
#include "bind_cache.h"
#include "bind_client.h"
#include "bind_codec.h"
#include "bind_fork.h"
#include "bind_operator.h"
#include "bind_server.h"
#include "bind_simulate.h"
#include "vm.h"

static int l_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)wait_now() / 1e9);
  return 1;
}

static int l_usable_cores(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)places_cores());
  return 1;
}

static int l_usable_devices(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)places_devices());
  return 1;
}

static int l_is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty(luaL_checkint(L, 1)));
  return 1;
}

// sha256(bytes): its digits, lower case
static int l_sha256(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  char text[SHA256_TEXT];
  sha256_of(bytes, size, text);
  lua_pushstring(L, text);
  return 1;
}

typedef int folder_function(char *path, size_t size, char *why, size_t why_size);

// Path, or nil and why there is none.
static int push_folder(lua_State *L, folder_function *folder) {
  char path[PATH_MAX], why[PATH_MAX + 200];
  if (!folder(path, sizeof path, why, sizeof why)) {
    lua_pushstring(L, path);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

static int l_cache_folder(lua_State *L) {
  return push_folder(L, folder_cache);
}

static int l_temporary_folder(lua_State *L) {
  return push_folder(L, folder_temporary);
}

static int l_open_refused(lua_State *L) {
  return luaL_error(L, "a worker cannot start a router");
}

__attribute__((visibility("default"))) int luaopen_farside_native(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"now", l_now},
      {"usable_cores", l_usable_cores},
      {"usable_devices", l_usable_devices},
      {"is_terminal", l_is_terminal},
      {"sha256", l_sha256},
      {"cache_folder", l_cache_folder},
      {"temporary_folder", l_temporary_folder},
      {NULL, NULL},
  };
  bind_codec(L);
  bind_cache(L);
  bind_fork(L);
  luaL_register(L, NULL, functions);
  bool worker = vm_role(L) == VM_WORKER;
  lua_pushstring(L, worker ? "worker" : "client");
  lua_setfield(L, -2, "role");
  lua_pushliteral(L, FARSIDE_VERSION);
  lua_setfield(L, -2, "version");
  if (worker) {
    lua_pushcfunction(L, l_open_refused);
    lua_setfield(L, -2, "open");
  } else {
    bind_client(L);
    bind_operator(L);
    bind_server(L);
    bind_simulate(L);
  }
  return 1;
}
