#include "bind_scaling.h"

#include <lauxlib.h>

#include "../core/autoscale.h"
#include "../core/limits.h"
#include "bind_functions.h"

static int64_t nanoseconds(lua_State *L, int index, const char *key, int64_t otherwise) {
  double time = bind_number(L, index, key, (double)otherwise / 1e9) * 1e9;
  if (time < 0) return AUTOSCALE_NEVER;
  return time < (double)LIMIT_DEADLINE ? (int64_t)time : LIMIT_DEADLINE;
}

static uint32_t count(lua_State *L, int index, const char *key, uint32_t otherwise) {
  double number = bind_number(L, index, key, otherwise);
  luaL_argcheck(L, number >= 0 && number <= LIMIT_WORKERS, 1, key);
  return (uint32_t)number;
}

const struct autoscale_options *bind_scaling(lua_State *L, int index) {
  struct autoscale_options *scaling = lua_newuserdata(L, sizeof *scaling);
  lua_getfield(L, index, "scaling");
  if (lua_isnil(L, -1)) return NULL;
  int at = lua_gettop(L);
  *scaling = autoscale_defaults();
  scaling->max_workers = count(L, at, "max_workers", scaling->max_workers);
  scaling->cold_workers = count(L, at, "cold_workers", scaling->cold_workers);
  scaling->start_burst = count(L, at, "start_burst", scaling->start_burst);
  scaling->min_load = bind_number(L, at, "min_load", scaling->min_load);
  scaling->target_util = bind_number(L, at, "target_util", scaling->target_util);
  scaling->min_cold_load = bind_number(L, at, "min_cold_load", scaling->min_cold_load);
  scaling->cold_mult = bind_number(L, at, "cold_mult", scaling->cold_mult);
  scaling->max_queue_time = nanoseconds(L, at, "max_queue_time", scaling->max_queue_time);
  scaling->target_queue_time = nanoseconds(L, at, "target_queue_time", scaling->target_queue_time);
  scaling->inactivity_timeout = nanoseconds(L, at, "inactivity_timeout", AUTOSCALE_NEVER);
  lua_settop(L, at - 1);
  luaL_argcheck(L, autoscale_valid(scaling), 1, "scaling: a parameter is out of its range");
  return scaling;
}
