#include "bind_codec.h"

#include <lauxlib.h>
#include <stdbool.h>

#include "../core/limits.h"
#include "../core/payload.h"
#include "../core/scan.h"
#include "codec.h"

static const char kPayload[] = "farside.payload";

// ---- payloads ----

static struct payload *check_payload(lua_State *L, int index) {
  struct payload **place = luaL_checkudata(L, index, kPayload);
  luaL_argcheck(L, *place, index, "the payload is empty");
  return *place;
}

static int l_payload_gc(lua_State *L) {
  struct payload **place = luaL_checkudata(L, 1, kPayload);
  payload_unref(*place);
  *place = NULL;
  return 0;
}

static int l_payload_parts(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_payload(L, 1)->count);
  return 1;
}

static int l_payload_size(lua_State *L) {
  lua_pushnumber(L, (lua_Number)check_payload(L, 1)->size);
  return 1;
}

static int l_payload_tostring(lua_State *L) {
  const struct payload *payload = check_payload(L, 1);
  if (payload->count == 1) {
    lua_pushlstring(L, (const char *)payload->parts[0].bytes, payload->size);
    return 1;
  }
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (uint32_t i = 0; i < payload->count; i++)
    luaL_addlstring(&buffer, (const char *)payload->parts[i].bytes, payload->parts[i].size);
  luaL_pushresult(&buffer);
  return 1;
}

// An empty place is made before the payload: nothing raises while nobody owns it.
static struct payload **push_place(lua_State *L) {
  struct payload **place = lua_newuserdata(L, sizeof(struct payload *));
  *place = NULL;
  luaL_getmetatable(L, kPayload);
  lua_setmetatable(L, -2);
  return place;
}

// ---- codec ----

static int check_registry(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  luaL_argcheck(L, codec_is_registry(L, index), index, "expected a registry or nil");
  return index;
}

// Values from `first` on; the place is pushed behind them.
static int encode(lua_State *L, int first, int registry, int names, const char *side) {
  int count = lua_gettop(L) - first + 1;
  if (count < 0) {
    lua_settop(L, first - 1);
    count = 0;
  }
  struct payload **place = push_place(L);
  *place = codec_encode(L, first, count, registry, names, side);
  if (*place) return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static int l_encode(lua_State *L) {
  return encode(L, 2, check_registry(L, 1), 0, "argument");
}

static int l_encode_as(lua_State *L) {
  const char *side = luaL_checkstring(L, 1);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  int names = lua_istable(L, 2) ? 2 : 0;
  return encode(L, 4, check_registry(L, 3), names, side);
}

static int push_bad_frame(lua_State *L, int result, size_t offset) {
  lua_pushboolean(L, false);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, "BadFrame");
  lua_setfield(L, -2, "name");
  lua_pushfstring(L, "not a value that can travel: %s", scan_reason(result));
  lua_setfield(L, -2, "message");
  lua_pushstring(L, scan_reason(result));
  lua_setfield(L, -2, "reason");
  lua_pushinteger(L, (lua_Integer)offset);
  lua_setfield(L, -2, "offset");
  return 2;
}

// The payload at `index` as one part, behind it on the stack if a copy is needed.
static struct payload *to_one_part(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TSTRING) {
    struct payload *payload = check_payload(L, index);
    if (payload->count == 1) return payload;
    lua_pushcfunction(L, l_payload_tostring);
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    lua_replace(L, index);
  }
  struct payload **place = push_place(L);
  size_t size;
  const char *bytes = lua_tolstring(L, index, &size);
  *place = payload_copy(bytes, size);
  if (!*place) luaL_error(L, "not enough memory");
  return *place;
}

static int l_decode(lua_State *L) {
  lua_settop(L, 2);
  int registry = check_registry(L, 1);
  struct payload *payload = to_one_part(L, 2);
  size_t used;
  int result = scan_body(payload->parts[0].bytes, payload->size, &scan_body_limits, &used);
  if (result) return push_bad_frame(L, result, used);
  lua_pushboolean(L, true);
  int count = codec_decode(L, payload, registry);
  if (count >= 0) return count + 1;
  lua_pushboolean(L, false);
  lua_replace(L, -3);
  return 2;
}

int bind_codec(lua_State *L) {
  static const luaL_Reg payload_functions[] = {
      {"tostring", l_payload_tostring},
      {"parts", l_payload_parts},
      {"__len", l_payload_size},
      {"__gc", l_payload_gc},
      {NULL, NULL},
  };
  static const luaL_Reg functions[] = {
      {"encode", l_encode},
      {"encode_as", l_encode_as},
      {"decode", l_decode},
      {NULL, NULL},
  };
  luaL_newmetatable(L, kPayload);
  luaL_register(L, NULL, payload_functions);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  codec_open(L);
  luaL_register(L, NULL, functions);
  return 1;
}
