#include "bind_call.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "../core/client.h"
#include "../core/limits.h"
#include "../core/payload.h"
#include "codec.h"
#include "codec_sort.h"

enum { LIMITS = 4, WORKLOAD, NAMES, ARGUMENTS };

int bind_call_error(lua_State *L, const char *name, const char *format, ...) {
  va_list arguments;
  lua_pushnil(L);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_setfield(L, -2, "message");
  lua_pushliteral(L, "no");
  lua_setfield(L, -2, "executed");
  lua_pushliteral(L, "sdk");
  lua_setfield(L, -2, "where");
  return 2;
}

int64_t bind_call_nanoseconds(double seconds) {
  double limit = (double)LIMIT_DEADLINE / 1e9;
  return seconds > 0 ? (int64_t)((seconds < limit ? seconds : limit) * 1e9) : 0;
}

// False: no time is left; nil and an error table are pushed.
static bool read_time(lua_State *L, double seconds, int64_t *time) {
  if (seconds > 0) {
    *time = bind_call_nanoseconds(seconds);
    if (!*time) *time = 1;
    return true;
  }
  bind_call_error(L, "DeadlineExceeded", "the timeout is %f s: the call was not sent", seconds);
  lua_pushliteral(L, "sdk");
  lua_setfield(L, -2, "phase");
  return false;
}

static bool read_time_field(lua_State *L, const char *name, int64_t *time) {
  lua_getfield(L, LIMITS, name);
  bool set = !lua_isnil(L, -1);
  double seconds = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return !set || read_time(L, seconds, time);
}

static bool read_limits(lua_State *L, struct call_options *options) {
  if (!lua_toboolean(L, LIMITS)) return true;
  if (!lua_istable(L, LIMITS)) return read_time(L, lua_tonumber(L, LIMITS), &options->timeout);
  lua_getfield(L, LIMITS, "attempts");
  lua_getfield(L, LIMITS, "priority");
  options->attempts = (uint32_t)lua_tointeger(L, -2);
  options->priority = (uint8_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  lua_getfield(L, LIMITS, "key");
  size_t size = 0;
  options->key = lua_tolstring(L, -1, &size);  // the table keeps it
  options->key_size = (uint32_t)size;
  lua_pop(L, 1);
  lua_getfield(L, LIMITS, "stream");
  lua_getfield(L, LIMITS, "progress");
  options->window = (uint32_t)lua_tointeger(L, -2);
  if (options->window) options->flags |= CALL_STREAM;
  if (lua_toboolean(L, -1)) options->flags |= CALL_PROGRESS;
  lua_pop(L, 2);
  return read_time_field(L, "timeout", &options->timeout) &&
         read_time_field(L, "queue_timeout", &options->queue_timeout);
}

struct payload *bind_call_begin(lua_State *L, int registry, struct call_options *options) {
  int last = lua_gettop(L) - (registry ? 1 : 0);  // the registry lies on top
  if (last < NAMES) luaL_error(L, "expected deployment, function, limits, workload, names");
  options->deployment = (uint32_t)lua_tointeger(L, 2);
  options->function = (uint32_t)lua_tointeger(L, 3);
  options->workload = lua_tonumber(L, WORKLOAD);
  if (!read_limits(L, options)) return NULL;
  int names = lua_isnil(L, NAMES) ? 0 : NAMES;
  struct payload *body = codec_encode(L, ARGUMENTS, last - NAMES, registry, names, "argument");
  if (!body) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return NULL;
  }
  if (options->key_size && !(body = codec_sort(body)))
    bind_call_error(L, "Overloaded", "there is no memory for another call");
  return body;
}

int bind_call_begun(lua_State *L, int result, uint64_t call) {
  if (result == CLIENT_OK) {
    lua_pushnumber(L, (lua_Number)call);
    return 1;
  }
  if (result == CLIENT_MEMORY)
    return bind_call_error(L, "Overloaded", "there is no memory for another call");
  bind_call_error(L, "Overloaded", "%d calls of this client have not ended", LIMIT_IN_FLIGHT);
  lua_pushliteral(L, "client");
  lua_setfield(L, -2, "scope");
  lua_pushinteger(L, LIMIT_IN_FLIGHT);
  lua_setfield(L, -2, "limit");
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "retryable");
  lua_pushinteger(L, 100);
  lua_setfield(L, -2, "retry_after");
  return 2;
}

int bind_call_item(lua_State *L, int registry, struct payload *body) {
  lua_pushboolean(L, 1);
  int count = codec_decode(L, body, registry);
  payload_unref(body);
  if (count >= 0) return count + 1;
  lua_pushliteral(L, "yes");
  lua_setfield(L, -2, "executed");
  lua_pushboolean(L, 0);
  lua_replace(L, -3);
  return 2;
}

int bind_call_news(lua_State *L, const struct news *news) {
  lua_pushnumber(L, (lua_Number)news->call);
  lua_pushboolean(L, news->has_item);
  if (!news->has_progress) return 2;
  lua_pushnumber(L, news->n);
  if (news->total <= 0) return 3;
  lua_pushnumber(L, news->total);
  return 4;
}

void bind_call_push_id(lua_State *L, struct call_id id) {
  char text[33];
  snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)id.session,
           (unsigned long long)id.counter);
  lua_pushstring(L, text);
}

// An error that went through other calls has the id of the one that its caller made.
static void add_id(lua_State *L, const struct completion *completion) {
  if (!lua_istable(L, -1)) return;
  bind_call_push_id(L, (struct call_id){completion->session, completion->call});
  lua_setfield(L, -2, "call_id");
}

int bind_call_ended(lua_State *L, int registry, const struct completion *completion) {
  lua_pushboolean(L, completion->ok);
  int count = codec_decode(L, completion->body, registry);
  payload_unref(completion->body);
  if (!completion->ok || count < 0) add_id(L, completion);
  if (count >= 0) return count + 1;
  // The answer came and cannot be read: [.., true, error]. Results mean that the function ran.
  lua_pushstring(L, completion->ok ? "yes" : "maybe");
  lua_setfield(L, -2, "executed");
  lua_pushboolean(L, 0);
  lua_replace(L, -3);
  return 2;
}
