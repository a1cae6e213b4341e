// The codec when Lua runs out of memory: each allocation in turn fails, the error comes through, and
// nothing is lost. In a build with AddressSanitizer leaks are found by it; else by malloc's count.
#include <lauxlib.h>
#include <lualib.h>
#include <malloc.h>

#include "../../../host/core/payload.h"
#include "../../../host/vm/codec.h"
#include "check.h"

// Lua's memory.
struct memory {
  size_t used;
  size_t growths;  // allocations that made something larger
  size_t fail_at;  // the one that fails, 0: none
};

// Present in a build with AddressSanitizer.
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

// The sanitizer does not look for Lua's own memory: the recorder of traces loses some when there is
// none left.
static void *reallocate(void *old, size_t size) {
  if (__lsan_disable) __lsan_disable();
  void *memory = realloc(old, size);
  if (__lsan_enable) __lsan_enable();
  return memory;
}

static void *allocate(void *context, void *old, size_t old_size, size_t new_size) {
  struct memory *memory = context;
  if (new_size > old_size && ++memory->growths == memory->fail_at) return NULL;
  memory->used += new_size - old_size;
  if (new_size) return reallocate(old, new_size);
  free(old);
  return NULL;
}

static const char kSetUp[] =
    "local codec = ...\n"
    "local value = { text = {}, numbers = {}, inner = { { { x = codec.null } } } }\n"
    "for i = 1, 3 do value.text[i] = ('x'):rep(20000 + i) end\n"
    "for i = 1, 100 do value.numbers[i], value['key' .. i] = i + 0.5, codec.map {} end\n"
    "value.integer = require('ffi').new('int64_t', 5)\n"
    "local Point, registry = {}, codec.new_registry()\n"
    "registry:add('Point', Point)\n"
    "value.point = setmetatable({ 1 }, Point)\n"
    "return value, registry\n";

struct fixture {
  struct memory memory;
  lua_State *L;  // [codec, value, registry]
  struct payload *payload;
  uint64_t released;
};

static void on_release(void *owner, uint64_t anchor) {
  ((struct fixture *)owner)->released = anchor;
}

static void open(struct fixture *fixture) {
  memset(fixture, 0, sizeof *fixture);
  lua_State *L = fixture->L = lua_newstate(allocate, &fixture->memory);
  EXPECT(L != NULL);
  luaL_openlibs(L);
  codec_open(L);
  EXPECT_EQUAL(0, luaL_loadstring(L, kSetUp));
  lua_pushvalue(L, 1);
  EXPECT_EQUAL(0, lua_pcall(L, 1, 2, 0));
}

static void close(struct fixture *fixture) {
  payload_unref(fixture->payload);
  lua_close(fixture->L);
  EXPECT_EQUAL(0, fixture->memory.used);
}

static void drop(struct fixture *fixture) {
  payload_unref(fixture->payload);
  fixture->payload = NULL;
  if (fixture->released) codec_release(fixture->L, fixture->released);
  fixture->released = 0;
}

static struct fixture *get_fixture(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

// encode(value, registry)
static int l_encode(lua_State *L) {
  struct fixture *fixture = get_fixture(L);
  fixture->payload = codec_encode(L, 1, 1, 2, 0, "argument");
  EXPECT(fixture->payload != NULL);
  return 0;
}

// refused(value, registry): a refusal after all that can travel.
static int l_refuse(lua_State *L) {
  lua_pushcfunction(L, l_refuse);
  lua_insert(L, 2);
  EXPECT(!codec_encode(L, 1, 2, 3, 0, "argument"));
  return 0;
}

// decode(value, registry)
static int l_decode(lua_State *L) {
  EXPECT_EQUAL(1, codec_decode(L, get_fixture(L)->payload, 2));
  return 0;
}

// Calls with (value, registry); the allocation `fail_at` of the call fails, none if it is 0.
static int call(struct fixture *fixture, lua_CFunction function, size_t fail_at) {
  lua_State *L = fixture->L;
  lua_pushlightuserdata(L, fixture);
  lua_pushcclosure(L, function, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  fixture->memory.growths = 0;
  fixture->memory.fail_at = fail_at;
  int result = lua_pcall(L, 2, 0, 0);
  fixture->memory.fail_at = 0;
  if (result) lua_pop(L, 1);
  lua_gc(L, LUA_GCCOLLECT, 0);
  return result;
}

// Bytes in use, by Lua and by malloc.
static size_t in_use(const struct fixture *fixture) {
  return fixture->memory.used + mallinfo2().uordblks;
}

// Lets each allocation of the function fail, until it is through without.
static void starve(struct fixture *fixture, lua_CFunction function, bool keeps_payload) {
  enum { ROUNDS = 10000, SLACK = 64 * 1024 };
  for (int i = 0; i < 100; i++) {  // what is compiled is there
    EXPECT_EQUAL(0, call(fixture, function, 0));
    if (!keeps_payload) drop(fixture);
  }
  lua_gc(fixture->L, LUA_GCCOLLECT, 0);
  size_t before = in_use(fixture);
  size_t failures = 0;
  for (size_t n = 1; n < ROUNDS; n++) {
    int result = call(fixture, function, n);
    if (!keeps_payload) drop(fixture);
    if (!result) break;
    EXPECT_EQUAL(LUA_ERRMEM, result);
    failures++;
  }
  lua_gc(fixture->L, LUA_GCCOLLECT, 0);
  EXPECT(failures > 0 && failures < ROUNDS - 1);
  EXPECT(in_use(fixture) < before + SLACK);
  EXPECT_EQUAL(0, call(fixture, function, 0));
}

static void encoder(void) {
  struct fixture fixture;
  open(&fixture);
  struct codec_owner owner = {on_release, &fixture};
  codec_set_owner(fixture.L, &owner);
  starve(&fixture, l_encode, false);
  drop(&fixture);
  close(&fixture);
}

static void encoder_without_owner(void) {
  struct fixture fixture;
  open(&fixture);
  starve(&fixture, l_encode, false);
  drop(&fixture);
  close(&fixture);
}

static void refusal(void) {
  struct fixture fixture;
  open(&fixture);
  starve(&fixture, l_refuse, false);
  close(&fixture);
}

static void decoder(void) {
  struct fixture fixture;
  open(&fixture);
  EXPECT_EQUAL(0, call(&fixture, l_encode, 0));
  starve(&fixture, l_decode, true);
  close(&fixture);
}

static const struct check checks[] = {
    {"loses nothing while it encodes", encoder},
    {"loses nothing while it encodes without an owner", encoder_without_owner},
    {"loses nothing while it refuses", refusal},
    {"loses nothing while it decodes", decoder},
};

CHECK_MAIN(checks)
