#include "bind_functions.h"

#include <lauxlib.h>

#include "../core/router.h"
#include "bind_scaling.h"
#include "codec.h"

double bind_number(lua_State *L, int index, const char *key, double otherwise) {
  lua_getfield(L, index, key);
  double value = lua_isnil(L, -1) ? otherwise : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return value;
}

bool bind_boolean(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

struct router_function *bind_functions(lua_State *L, int index, uint32_t *count) {
  lua_getfield(L, index, "functions");
  luaL_checktype(L, -1, LUA_TTABLE);
  int list = lua_gettop(L);
  *count = (uint32_t)lua_objlen(L, list);
  struct router_function *functions = lua_newuserdata(L, (*count + 1) * sizeof *functions);
  for (uint32_t i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    int item = lua_gettop(L);
    functions[i] = (struct router_function){
        .concurrency = (uint32_t)bind_number(L, item, "concurrency", 1),
        .batch_size = (uint32_t)bind_number(L, item, "batch_size", 0),
        .batch_wait = (int64_t)(bind_number(L, item, "batch_wait", 0) * 1e9),
        .timeout = (int64_t)(bind_number(L, item, "timeout", 0) * 1e9),
        .queue_timeout = (int64_t)(bind_number(L, item, "queue_timeout", 0) * 1e9),
        .max_queue_time = (int64_t)(bind_number(L, item, "max_queue_time", 0) * 1e9),
        .idempotent = bind_boolean(L, item, "idempotent"),
        .benchmarked = bind_boolean(L, item, "benchmarked"),
        .max_calls = (uint64_t)bind_number(L, item, "max_calls", 0),
        .max_rss = (uint64_t)bind_number(L, item, "max_rss", 0),
    };
    lua_getfield(L, item, "retry_on");  // a string that the table keeps
    functions[i].retry_on = lua_tostring(L, -1);
    lua_settop(L, item - 1);
  }
  return functions;
}

void bind_deployment(lua_State *L, int spec, struct router_deployment_options *options) {
  *options = (struct router_deployment_options){0};
  options->functions = bind_functions(L, spec, &options->function_count);
  lua_getfield(L, spec, "name");
  options->name = luaL_checkstring(L, -1);
  lua_getfield(L, spec, "manifest");
  options->manifest = luaL_checklstring(L, -1, &options->manifest_size);
  options->workers = (uint32_t)bind_number(L, spec, "workers", 1);
  options->scaling = bind_scaling(L, spec);
  lua_getfield(L, spec, "start");
  options->start = codec_encode(L, lua_gettop(L), 1, 0, 0, "start");
  if (!options->start) lua_error(L);
}
