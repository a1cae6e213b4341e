#include "bind_server.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "../core/payload.h"
#include "../io/fork.h"
#include "../io/server.h"
#include "bind_call.h"
#include "bind_functions.h"
#include "codec.h"
#include "run.h"

static const char kServer[] = "farside.server";

struct binding {
  struct server *server;
};

static struct server *check_server(lua_State *L) {
  struct binding *binding = luaL_checkudata(L, 1, kServer);
  if (!binding->server) luaL_error(L, "the server is closed");
  return binding->server;
}

// server:claim(name, tag, path or nil) -> number, path; nil, error, which has `in_use` and `holder`,
// the pid if it is known, where another process has it
static int l_claim(lua_State *L) {
  struct server *server = check_server(L);
  const char *name = luaL_checkstring(L, 2), *tag = luaL_checkstring(L, 3);
  const char *path = luaL_optstring(L, 4, NULL);
  char why[1024] = "";
  pid_t holder;
  int number = server_claim(server, name, tag, path, &holder, why, sizeof why);
  if (number >= 0) {
    lua_pushinteger(L, number);
    lua_pushstring(L, server_path(server, (uint32_t)number));
    return 2;
  }
  bind_call_error(L, "ConfigError", "%s", why);
  lua_pushboolean(L, number == -EADDRINUSE);
  lua_setfield(L, -2, "in_use");
  if (holder > 0) lua_pushinteger(L, holder);
  if (holder > 0) lua_setfield(L, -2, "holder");
  return 2;
}

// The field as the only value of a body, or NULL where it is nil.
static struct payload *encode_field(lua_State *L, const char *key) {
  lua_getfield(L, 3, key);
  struct payload *body = NULL;
  if (!lua_isnil(L, -1)) body = codec_encode(L, lua_gettop(L), 1, 0, 0, key);
  if (!lua_isnil(L, -1) && !body) lua_error(L);
  return body;
}

// Names that stay on the stack, in a userdata there.
static const char **read_names(lua_State *L, uint32_t count) {
  lua_getfield(L, 3, "names");
  luaL_checktype(L, -1, LUA_TTABLE);
  int list = lua_gettop(L);
  const char **names = lua_newuserdata(L, (count + 1) * sizeof *names);
  for (uint32_t i = 0; i < count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    names[i] = luaL_checkstring(L, -1);
    lua_pop(L, 1);  // the list keeps it
  }
  return names;
}

static const double kLongestTtl = 1e9;  // seconds: for ever

// server:deploy(number, spec) -> true; nil, error. The spec is what a handle's `deploy` takes, with
// names of the functions, hash, files, description and ttl.
static int l_deploy(lua_State *L) {
  struct server *server = check_server(L);
  uint32_t number = (uint32_t)luaL_checkinteger(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  lua_getfield(L, 3, "hash");
  struct server_deployment deployment = {.hash = luaL_optstring(L, -1, "")};
  double ttl = bind_number(L, 3, "ttl", 0);
  deployment.ttl = (int64_t)((ttl < kLongestTtl ? ttl : kLongestTtl) * 1e9);
  struct router_deployment_options options;
  bind_deployment(L, 3, &options);
  deployment.router = &options;
  deployment.function_names = read_names(L, options.function_count);
  struct payload *files = encode_field(L, "files");
  struct payload *description = encode_field(L, "description");
  deployment.files = files;
  deployment.description = description;
  char why[1024] = "";
  int error = server_deploy(server, number, &deployment, why, sizeof why);
  payload_unref(options.start);
  payload_unref(files);
  payload_unref(description);
  if (error) return bind_call_error(L, "ConfigError", "%s", why);
  lua_pushboolean(L, 1);
  return 1;
}

// server:metrics(address) -> the port that answers; nil, error
static int l_metrics(lua_State *L) {
  struct server *server = check_server(L);
  uint16_t port;
  char why[1024] = "";
  if (server_listen_http(server, luaL_checkstring(L, 2), &port, why, sizeof why))
    return bind_call_error(L, "ConfigError", "%s", why);
  lua_pushinteger(L, port);
  return 1;
}

// server:record(path) -> true; nil, error
static int l_record(lua_State *L) {
  const char *path = luaL_checkstring(L, 2);
  int error = server_record(check_server(L), path);
  if (error) return bind_call_error(L, "ConfigError", "%s: %s", path, strerror(-error));
  lua_pushboolean(L, 1);
  return 1;
}

// server:memory(bytes)
static int l_memory(lua_State *L) {
  struct server *server = check_server(L);
  lua_Number bytes = luaL_checknumber(L, 2);
  luaL_argcheck(L, bytes >= 1 && bytes <= 0x1p53, 2, "expected a number of bytes");
  server_memory(server, (uint64_t)bytes);
  return 0;
}

// server:run() -> 0 when it has drained, else the number of the signal that ended it at once
static int l_run(lua_State *L) {
  lua_pushinteger(L, server_run(check_server(L)));
  return 1;
}

static int l_close(lua_State *L) {
  struct binding *binding = luaL_checkudata(L, 1, kServer);
  server_close(binding->server);
  binding->server = NULL;
  return 0;
}

// serve() -> server; nil, error. From now on SIGTERM and SIGINT are its own. A fork that a deploy
// script has made ends here: one router serves it.
static int l_serve(lua_State *L) {
  if (run_is_forked(L)) fork_leave(EXIT_SUCCESS);
  struct binding *binding = lua_newuserdata(L, sizeof *binding);
  *binding = (struct binding){0};
  luaL_getmetatable(L, kServer);
  lua_setmetatable(L, -2);
  run_release_signals(L);
  int error = server_open(&binding->server);
  if (error)
    return bind_call_error(L, "EngineError", "the router could not be started: %s",
                           strerror(-error));
  return 1;
}

void bind_server(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"claim", l_claim},     {"deploy", l_deploy}, {"memory", l_memory},
      {"metrics", l_metrics}, {"record", l_record}, {"run", l_run},
      {"close", l_close},     {"__gc", l_close},    {NULL, NULL},
  };
  luaL_newmetatable(L, kServer);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, methods);
  lua_pop(L, 1);
  lua_pushcfunction(L, l_serve);
  lua_setfield(L, -2, "serve");
}
