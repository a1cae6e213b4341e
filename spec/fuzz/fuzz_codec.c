// Fuzzes the decoder and the encoder of host/vm with what the scan lets through.
//
// Bytes -> scan -> Lua -> bytes -> scan -> Lua: the values are equal, and the second bytes are the
// encoder's own form, so that another round gives as many. What the first decoding takes of Lua's
// memory stays near the cost that the scan has counted.
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <sanitizer/lsan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../host/core/limits.h"
#include "../../host/core/payload.h"
#include "../../host/core/scan.h"
#include "../../host/vm/codec.h"

enum {
  COST = 1024 * 1024,    // enough to find what there is to find, and fast
  SLACK = 128 * 1024,    // traces, and the table of strings, which grows by doubling
  STATE_INPUTS = 20000,  // a state is used so often
  CODEC = 1,             // stack indices
  REGISTRY,
  EQUAL,
  BASE = EQUAL,
};

static const char kSetUp[] =
    "local codec = ...\n"
    "local registry = codec.new_registry()\n"
    "for _, name in ipairs { 'A', 'Point', 'Class' } do registry:add(name, {}) end\n"
    "local ffi = require('ffi')\n"
    "local Tensor = {}\n"
    "codec.tensors(Tensor, function(tensor)\n"
    "  local address = tonumber(ffi.cast('uintptr_t', ffi.cast('const char *', tensor.elements)))\n"
    "  return tensor.code, address, #tensor.elements, tensor.elements, unpack(tensor.shape)\n"
    "end, function(code, address, size, keeper, ...)\n"
    "  local elements = ffi.string(ffi.cast('const char *', address), size)\n"
    "  return setmetatable({ code = code, elements = elements, shape = { ... } }, Tensor)\n"
    "end)\n"
    "local function equal(a, b)\n"
    "  if type(a) ~= type(b) or getmetatable(a) ~= getmetatable(b) then return false end\n"
    "  if type(a) == 'number' then return a == b and 1 / a == 1 / b or a ~= a and b ~= b end\n"
    "  if type(a) ~= 'table' then return a == b end\n"
    "  for k, v in pairs(a) do\n"
    "    if not equal(v, b[k]) then return false end\n"
    "  end\n"
    "  for k in pairs(b) do\n"
    "    if a[k] == nil then return false end\n"
    "  end\n"
    "  return true\n"
    "end\n"
    "return registry, equal\n";

static void expect(bool condition) {
  if (!condition) abort();
}

// The sanitizer is to follow pointers from Lua's memory, to which the encoder's buffer belongs, and
// not to look for the memory itself, of which LuaJIT keeps pointers to before its start.
static void *allocate(void *context, void *old, size_t old_size, size_t new_size) {
  (void)context;
  (void)old_size;
  __lsan_disable();
  void *memory = new_size ? realloc(old, new_size) : NULL;
  __lsan_enable();
  if (!new_size) free(old);
  return memory;
}

static lua_State *open_state(void) {
  lua_State *L = lua_newstate(allocate, NULL);
  expect(L != NULL);
  luaL_openlibs(L);
  codec_open(L);
  expect(luaL_loadstring(L, kSetUp) == 0);
  lua_pushvalue(L, CODEC);
  lua_call(L, 1, 2);
  return L;
}

// The state for the next input.
static lua_State *take_state(void) {
  static lua_State *L;
  static int inputs;
  if (L && inputs++ >= STATE_INPUTS) {
    lua_close(L);
    L = NULL;
    inputs = 0;
  }
  if (!L) L = open_state();
  return L;
}

static bool is_accepted(const unsigned char *data, size_t size, size_t cost) {
  struct scan_limits limits = scan_body_limits;
  size_t used;
  limits.cost = cost;
  return scan_body(data, size, &limits, &used) == SCAN_OK;
}

// The least limit under which the scan accepts the bytes.
static size_t predicted_cost(const unsigned char *data, size_t size) {
  size_t low = 0, high = COST;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (is_accepted(data, size, middle))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

static size_t lua_memory(lua_State *L) {
  return (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
}

// A table with one element takes 96 bytes, not 80; and each string has a place in a table.
static int decode_within(lua_State *L, struct payload *payload) {
  lua_gc(L, LUA_GCSTOP, 0);
  size_t before = lua_memory(L);
  int count = codec_decode(L, payload, REGISTRY);
  size_t taken = lua_memory(L) - before;
  lua_gc(L, LUA_GCRESTART, 0);
  size_t cost = predicted_cost(payload->bytes, payload->size);
  expect(taken <= cost + cost / 2 + SLACK);
  return count;
}

static struct payload *encode(lua_State *L, int first, int count) {
  struct payload *payload = codec_encode(L, first, count, REGISTRY, 0, "result");
  expect(payload && payload->count == 1);
  expect(is_accepted(payload->bytes, payload->size, LIMIT_COST));
  return payload;
}

static void expect_equal(lua_State *L, int a, int b) {
  lua_pushvalue(L, EQUAL);
  lua_pushvalue(L, a);
  lua_pushvalue(L, b);
  lua_call(L, 2, 1);
  expect(lua_toboolean(L, -1));
  lua_pop(L, 1);
}

// There and back again. The values lie behind BASE.
static void check_round(lua_State *L, int count) {
  struct payload *first = encode(L, BASE + 1, count);
  expect(lua_gettop(L) == BASE + count);
  expect(codec_decode(L, first, REGISTRY) == count);
  expect(lua_checkstack(L, 8));
  for (int i = 1; i <= count; i++) expect_equal(L, BASE + i, BASE + count + i);
  struct payload *second = encode(L, BASE + count + 1, count);
  expect(first->size == second->size);
  payload_unref(first);
  payload_unref(second);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (!is_accepted(data, size, COST)) return 0;
  lua_State *L = take_state();
  bool is_compiling = data[size - 1] & 1;
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | (is_compiling ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
  struct payload *payload = payload_copy(data, size);
  expect(payload != NULL);
  int count = decode_within(L, payload);
  if (count < 0) {
    expect(lua_gettop(L) == BASE + 1 && lua_istable(L, -1));
  } else {
    expect(lua_gettop(L) == BASE + count);
    check_round(L, count);
  }
  payload_unref(payload);
  lua_settop(L, BASE);
  return 0;
}
