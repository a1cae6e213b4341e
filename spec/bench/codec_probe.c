// The codec as C calls it, with large strings referred to: for the bench and for specs of what Lua
// does not see. A module for luajit with a codec of its own.
#include <lauxlib.h>

#include "../../host/core/payload.h"
#include "../../host/core/scan.h"
#include "../../host/vm/bind_codec.h"
#include "../../host/vm/codec.h"

// Anchors whose payloads are gone, until the Lua thread lets go of them.
struct released {
  uint64_t anchor;  // the last one, 0: none
  lua_Integer count;
};

static void on_release(void *owner, uint64_t anchor) {
  struct released *released = owner;
  released->anchor = anchor;
  released->count++;
}

static struct released *get_released(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

static void collect(lua_State *L, struct released *released) {
  if (released->anchor) codec_release(L, released->anchor);
  released->anchor = 0;
}

static struct payload *encode(lua_State *L, int index) {
  struct payload *payload = codec_encode(L, index, 1, 0, 0, "argument");
  if (!payload) lua_error(L);
  return payload;
}

// encode(value, count)
static int l_encode(lua_State *L) {
  struct released *released = get_released(L);
  lua_Integer count = luaL_checkinteger(L, 2);
  for (; count > 0; count--) {
    payload_unref(encode(L, 1));
    collect(L, released);
  }
  return 0;
}

// decode(payload, count): with the scan before.
static int l_decode(lua_State *L) {
  struct payload **place = luaL_checkudata(L, 1, "farside.payload");
  lua_Integer count = luaL_checkinteger(L, 2);
  struct payload *payload = *place;
  luaL_argcheck(L, payload->count == 1, 1, "expected a payload of one part");
  for (; count > 0; count--) {
    size_t used;
    if (scan_body(payload->parts[0].bytes, payload->size, &scan_body_limits, &used))
      return luaL_error(L, "the scan refuses the payload");
    if (codec_decode(L, payload, 0) < 0) return lua_error(L);
    lua_settop(L, 2);
  }
  return 0;
}

// own(true|false): whether payloads have an owner, and so may refer to strings.
static int l_own(lua_State *L) {
  struct released *released = get_released(L);
  struct codec_owner owner = {on_release, released};
  codec_set_owner(L, lua_toboolean(L, 1) ? &owner : NULL);
  return 0;
}

// released(): lets go of the last strings; how many payloads with strings are gone.
static int l_released(lua_State *L) {
  struct released *released = get_released(L);
  collect(L, released);
  lua_pushinteger(L, released->count);
  return 1;
}

int luaopen_codec_probe(lua_State *L);

int luaopen_codec_probe(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"time_encode", l_encode},
      {"time_decode", l_decode},
      {"own", l_own},
      {"released", l_released},
      {NULL, NULL},
  };
  bind_codec(L);
  struct released *released = lua_newuserdata(L, sizeof *released);
  *released = (struct released){0};
  luaL_openlib(L, NULL, functions, 1);
  return 1;
}
