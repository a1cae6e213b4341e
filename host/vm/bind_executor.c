#include "bind_executor.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "../io/wait.h"
#include "bind_fork.h"
#include "executor.h"

static const char kExecutor[] = "farside.executor";

static struct executor *check(lua_State *L) {
  struct executor *executor = *(struct executor **)luaL_checkudata(L, 1, kExecutor);
  if (executor_is_forked(executor)) bind_fork_refuse(L);
  return executor;
}

static int l_is_forked(lua_State *L) {
  lua_pushboolean(L, executor_is_forked(*(struct executor **)luaL_checkudata(L, 1, kExecutor)));
  return 1;
}

static int take_field(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

// The field `rules`: for each function, in their order, a table.
static struct executor_rule *take_rules(lua_State *L) {
  lua_getfield(L, 2, "rules");
  luaL_checktype(L, -1, LUA_TTABLE);
  size_t count = lua_objlen(L, -1);
  struct executor_rule *rules = xcalloc(count + 1, sizeof *rules);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    lua_getfield(L, -1, "interrupt_safe");
    lua_getfield(L, -2, "max_rss");
    rules[i] = (struct executor_rule){lua_toboolean(L, -2), (uint64_t)lua_tonumber(L, -1)};
    lua_pop(L, 3);
  }
  lua_pop(L, 1);
  return rules;
}

static int l_open(lua_State *L) {
  struct executor_callbacks callbacks = {
      .ours = take_field(L, "ours"),
      .makers = take_field(L, "makers"),
      .cancel = take_field(L, "cancel"),
      .credit = take_field(L, "credit"),
      .trace = take_field(L, "trace"),
      .describe = take_field(L, "describe"),
      .registry = take_field(L, "registry"),
      .entries = take_field(L, "entries"),
      .rules = take_rules(L),
      .problem = take_field(L, "problem"),
      .failure = take_field(L, "failure"),
      .forked = take_field(L, "forked"),
  };
  executor_open(check(L), &callbacks);
  return 0;
}

// executor:ready(manifest, scores)
static int l_ready(lua_State *L) {
  size_t size;
  const char *manifest = luaL_checklstring(L, 2, &size);
  struct buffer body = BUFFER_EMPTY;
  uint32_t count = 0;
  luaL_checktype(L, 3, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) count++;
  pack_array(&body, 2);
  pack_bin(&body, manifest, size);
  pack_map(&body, count);
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    pack_uint(&body, (uint64_t)lua_tointeger(L, -2));
    pack_double(&body, lua_tonumber(L, -1));
  }
  executor_ready(check(L), payload_copy(body.bytes, body.size));
  buffer_free(&body);
  return 0;
}

// executor:goodbye(code, phase, errtable)
static int l_goodbye(lua_State *L) {
  struct payload *body = NULL;
  int code = luaL_checkint(L, 2);
  const char *phase = luaL_checkstring(L, 3);
  lua_settop(L, 4);
  if (lua_istable(L, 4)) body = executor_error_body(check(L), L);
  executor_goodbye(check(L), code, phase, body);
  return 0;
}

// executor:fault(is_lost, errtable)
static int l_fault(lua_State *L) {
  lua_settop(L, 3);
  executor_fault(check(L), lua_toboolean(L, 2), executor_error_body(check(L), L));
  return 0;
}

static int l_settles(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  executor_settles(check(L), L);
  return 0;
}

static int l_device(lua_State *L) {
  bool is_suspect;
  lua_pushnumber(L, (lua_Number)executor_device(check(L), &is_suspect));
  lua_pushboolean(L, is_suspect);
  return 2;
}

static int l_device_free(lua_State *L) {
  executor_device_free(check(L), (uint64_t)luaL_checknumber(L, 2));
  return 0;
}

static int64_t until(lua_State *L) {
  if (lua_isnoneornil(L, 2)) return INT64_MAX;
  double seconds = luaL_checknumber(L, 2), most = (double)LIMIT_DEADLINE / 1e9;
  return wait_now() + (int64_t)((seconds < most ? seconds : most) * 1e9);
}

// executor:suspects(seconds, errtable), or without: no more
static int l_suspects(lua_State *L) {
  struct executor *executor = check(L);
  int64_t at = until(L);
  lua_settop(L, 3);
  executor_suspects(executor, at, lua_istable(L, 3) ? executor_error_body(executor, L) : NULL);
  return 0;
}

static int l_turn(lua_State *L) {
  lua_pushboolean(L, executor_turn(check(L), L, until(L)));
  return 1;
}

static int l_pause(lua_State *L) {
  executor_pause(check(L), L, until(L));
  return 0;
}

// It waits, or has not begun; neither has it ended, nor does it run below.
static bool is_suspended(lua_State *co) {
  lua_Debug level;
  if (lua_status(co) == LUA_YIELD) return true;
  return lua_status(co) == 0 && lua_gettop(co) > 0 && !lua_getstack(co, 0, &level);
}

// executor:resume(co, ...) as coroutine.resume
static int l_resume(lua_State *L) {
  struct executor *executor = check(L);
  lua_State *co = lua_tothread(L, 2);
  luaL_argcheck(L, co, 2, "a coroutine expected");
  if (!is_suspended(co)) {
    lua_pushboolean(L, 0);
    lua_pushliteral(L, "cannot resume a coroutine that is not suspended");
    return 2;
  }
  int arguments = lua_gettop(L) - 2;
  if (!lua_checkstack(co, arguments + 1)) return luaL_error(L, "too many values");
  lua_xmove(L, co, arguments);
  int status = executor_resume(executor, L, co, arguments);
  if (status > LUA_YIELD) {
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
  }
  int results = lua_gettop(co);
  lua_pushboolean(L, 1);
  luaL_checkstack(L, results, "too many results");
  lua_xmove(co, L, results);
  return 1 + results;
}

static int l_draining(lua_State *L) {
  lua_pushboolean(L, executor_draining(check(L)));
  return 1;
}

static int l_measure(lua_State *L) {
  executor_measure(check(L), lua_toboolean(L, 2));
  return 0;
}

// ---- calls that functions make ----

static int l_call(lua_State *L) {
  return executor_nested_call(check(L), L);
}

static int l_cancel(lua_State *L) {
  executor_nested_cancel(check(L), (uint64_t)luaL_checknumber(L, 2));
  return 0;
}

static int l_done(lua_State *L) {
  return executor_nested_done(check(L), L);
}

static int l_take(lua_State *L) {
  return executor_nested_take(check(L), L, (uint64_t)luaL_checknumber(L, 2));
}

static int l_next(lua_State *L) {
  return executor_nested_next(check(L), L);
}

static int l_item(lua_State *L) {
  return executor_nested_item(check(L), L, (uint64_t)luaL_checknumber(L, 2));
}

static int l_news(lua_State *L) {
  return executor_nested_news(check(L), L);
}

// executor:wait(call, timeout)
static int l_wait(lua_State *L) {
  uint64_t call = lua_isnoneornil(L, 2) ? 0 : (uint64_t)lua_tonumber(L, 2);
  lua_remove(L, 2);
  return executor_nested_wait(check(L), L, call, until(L));
}

// executor:yield(sequence or nil, ...)
static int l_yield(lua_State *L) {
  return executor_yield(check(L), L);
}

// executor:progress(sequence or nil, n, total)
static int l_progress(lua_State *L) {
  lua_pushboolean(L, executor_progress(check(L), L, lua_tonumber(L, 3), lua_tonumber(L, 4)));
  return 1;
}

static int l_sequence(lua_State *L) {
  return executor_sequence(check(L), L);
}

// executor:runs(sequence)
static int l_runs(lua_State *L) {
  lua_pushboolean(L, executor_call_runs(check(L), (uint64_t)luaL_checknumber(L, 2)));
  return 1;
}

static int l_current(lua_State *L) {
  return executor_current(check(L), L);
}

void bind_executor(lua_State *L, struct executor *executor) {
  static const luaL_Reg methods[] = {
      {"open", l_open},           {"ready", l_ready},
      {"goodbye", l_goodbye},     {"turn", l_turn},
      {"pause", l_pause},         {"resume", l_resume},
      {"draining", l_draining},   {"measure", l_measure},
      {"call", l_call},           {"cancel", l_cancel},
      {"done", l_done},           {"take", l_take},
      {"next", l_next},           {"wait", l_wait},
      {"current", l_current},     {"item", l_item},
      {"news", l_news},           {"yield", l_yield},
      {"progress", l_progress},   {"sequence", l_sequence},
      {"fault", l_fault},         {"settles", l_settles},
      {"device", l_device},       {"device_free", l_device_free},
      {"suspects", l_suspects},   {"runs", l_runs},
      {"is_forked", l_is_forked}, {NULL, NULL},
  };
  *(struct executor **)lua_newuserdata(L, sizeof executor) = executor;
  luaL_newmetatable(L, kExecutor);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, methods);
  lua_setmetatable(L, -2);
}
