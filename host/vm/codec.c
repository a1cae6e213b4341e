// The codec's state in a Lua state: one table that holds the helpers, the markers, the buffer and
// the anchored strings; it is the environment of a userdata with what C needs. Class registries.
#include "codec.h"

#include <lauxlib.h>
#include <string.h>

#include "codec_state.h"

// Its address is the key in the Lua registry.
static const char kCodec;

enum { CLASS_NAME = 255 };

struct codec *codec_push(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&kCodec);
  lua_rawget(L, LUA_REGISTRYINDEX);
  return lua_touserdata(L, -1);
}

void codec_push_slot(lua_State *L, int slot) {
  codec_push(L);
  lua_getfenv(L, -1);
  lua_rawgeti(L, -1, slot);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

// ---- markers ----

// The table at 1, or a new one, with the metatable in the upvalue.
static int l_mark(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (lua_getmetatable(L, 1)) {
    bool is_marked =
        lua_rawequal(L, -1, lua_upvalueindex(1)) || lua_rawequal(L, -1, lua_upvalueindex(2));
    luaL_argcheck(L, is_marked, 1, "the table has a metatable already");
  }
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, 1);
  return 1;
}

static void push_marker_class(lua_State *L, const char *name) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
}

static void set_marker(lua_State *L, int slots, const char *field, int own, int other) {
  lua_rawgeti(L, slots, own);
  lua_rawgeti(L, slots, other);
  lua_pushcclosure(L, l_mark, 2);
  lua_setfield(L, -2, field);
}

// ---- registries ----

int codec_is_registry(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return false;
  codec_push_slot(L, CODEC_SLOT_REGISTRY);
  bool is_registry = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is_registry;
}

static const char *check_class_name(lua_State *L, int index) {
  size_t size;
  luaL_checktype(L, index, LUA_TSTRING);
  const char *name = lua_tolstring(L, index, &size);
  luaL_argcheck(L, size > 0 && size <= CLASS_NAME, index, "a class name has 1 to 255 bytes");
  luaL_argcheck(L, scan_utf8((const unsigned char *)name, size) == size, index,
                "a class name is UTF-8");
  return name;
}

// registry:add(name, class). The environment maps names to classes and classes to names.
static int l_registry_add(lua_State *L) {
  luaL_argcheck(L, codec_is_registry(L, 1), 1, "expected a registry");
  const char *name = check_class_name(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  lua_getfenv(L, 1);
  lua_pushvalue(L, 2);
  lua_rawget(L, 4);
  if (!lua_isnil(L, 5) && !lua_rawequal(L, 5, 3))
    return luaL_error(L, "the class name \"%s\" is taken by another class", name);
  lua_pushvalue(L, 3);
  lua_rawget(L, 4);
  if (!lua_isnil(L, 6) && !lua_rawequal(L, 6, 2))
    return luaL_error(L, "this class is registered as \"%s\" already, and cannot be \"%s\" too",
                      lua_tostring(L, 6), name);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, 4);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 2);
  lua_rawset(L, 4);
  return 0;
}

static int l_new_registry(lua_State *L) {
  lua_newuserdata(L, 1);
  lua_newtable(L);
  lua_setfenv(L, -2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  return 1;
}

static void push_registry_class(lua_State *L) {
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, l_registry_add);
  lua_setfield(L, -2, "add");
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

// ---- owners ----

void codec_set_owner(lua_State *L, const struct codec_owner *owner) {
  codec_push(L)->owner = owner ? *owner : (struct codec_owner){0};
  lua_pop(L, 1);
}

void codec_release(lua_State *L, uint64_t anchor) {
  codec_push_slot(L, CODEC_SLOT_ANCHORS);
  lua_pushnumber(L, (lua_Number)anchor);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

// ---- opening ----

static int l_codec_gc(lua_State *L) {
  struct codec *codec = lua_touserdata(L, 1);
  buffer_free(&codec->scratch.buffer);
  codec->scratch.is_taken = true;  // should another finalizer still come by
  return 0;
}

static void push_finalizer(lua_State *L, lua_CFunction function) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, function);
  lua_setfield(L, -2, "__gc");
}

static void fill_slots(lua_State *L, struct codec *codec, int slots) {
  codec_open_helpers(L, codec);
  push_marker_class(L, "farside.array");
  codec->array_mark = lua_topointer(L, -1);
  lua_rawseti(L, slots, CODEC_SLOT_ARRAY);
  push_marker_class(L, "farside.map");
  codec->map_mark = lua_topointer(L, -1);
  lua_rawseti(L, slots, CODEC_SLOT_MAP);
  push_registry_class(L);
  lua_rawseti(L, slots, CODEC_SLOT_REGISTRY);
  push_finalizer(L, codec_scratch_gc);
  lua_rawseti(L, slots, CODEC_SLOT_SCRATCH);
  lua_newtable(L);
  lua_rawseti(L, slots, CODEC_SLOT_ANCHORS);
}

static void push_functions(lua_State *L, int slots) {
  lua_createtable(L, 0, 5);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  set_marker(L, slots, "array", CODEC_SLOT_ARRAY, CODEC_SLOT_MAP);
  set_marker(L, slots, "map", CODEC_SLOT_MAP, CODEC_SLOT_ARRAY);
  lua_rawgeti(L, slots, CODEC_SLOT_REGISTRY);
  lua_pushcclosure(L, l_new_registry, 1);
  lua_setfield(L, -2, "new_registry");
  codec_push_tensors(L);
  lua_setfield(L, -2, "tensors");
}

int codec_open(lua_State *L) {
  struct codec *codec = lua_newuserdata(L, sizeof *codec);
  *codec = (struct codec){0};
  push_finalizer(L, l_codec_gc);
  lua_setmetatable(L, -2);
  lua_newtable(L);
  int slots = lua_gettop(L);
  fill_slots(L, codec, slots);
  lua_pushlightuserdata(L, (void *)&kCodec);
  lua_pushvalue(L, slots - 1);
  lua_rawset(L, LUA_REGISTRYINDEX);
  push_functions(L, slots);
  lua_insert(L, slots - 1);
  // [functions, codec, slots]
  lua_setfenv(L, -2);
  lua_pop(L, 1);
  return 1;
}
