// Checks of host/vm/vm.c.
#define _GNU_SOURCE
#include "../../../host/vm/vm.h"

#include <lauxlib.h>
#include <sys/resource.h>

#include "check.h"

enum { MEBIBYTE = 1024 * 1024, PAGE = 4096 };

static long page_faults(void) {
  struct rusage usage;
  EXPECT_EQUAL(0, getrusage(RUSAGE_SELF, &usage));
  return usage.ru_minflt;
}

// A fault for each page would be 256 a string. The sanitizers have their own malloc.
static void large_strings_reuse_memory(void) {
  vm_keep_blocks();
  lua_State *L = vm_open(VM_CLIENT);
  char *bytes = calloc(1, MEBIBYTE);
  EXPECT(L && bytes);
  long before = 0;
  for (int i = 0; i < 400; i++) {
    if (i == 200) before = page_faults();
    memcpy(bytes, &i, sizeof i);
    lua_pushlstring(L, bytes, MEBIBYTE);
    lua_pop(L, 1);
  }
  long faults = page_faults() - before;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT(faults < 200 * (MEBIBYTE / PAGE) / 20);
#endif
  EXPECT(faults >= 0);
  free(bytes);
  lua_close(L);
}

static long resident(void) {
  long size = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  EXPECT(file && fscanf(file, "%ld %ld", &size, &pages) == 2);
  fclose(file);
  return pages * PAGE / MEBIBYTE;
}

static void blocks_can_be_given_back(void) {
  enum { COUNT = 200 };
  void *blocks[COUNT];
  vm_keep_blocks();
  for (int i = 0; i < COUNT; i++) {
    blocks[i] = malloc(MEBIBYTE);
    EXPECT(blocks[i] != NULL);
    memset(blocks[i], 1, MEBIBYTE);
  }
  long full = resident();
  for (int i = 0; i < COUNT; i++) free(blocks[i]);
  vm_give_blocks();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT(resident() < full - COUNT / 2);
#endif
  EXPECT(full > COUNT);
}

static void role_is_known(void) {
  for (int role = VM_CLIENT; role <= VM_WORKER; role++) {
    lua_State *L = vm_open((enum vm_role)role);
    EXPECT_EQUAL(role, vm_role(L));
    EXPECT_EQUAL(0, luaL_dostring(L, "return require('farside.native').role"));
    EXPECT(!strcmp(role == VM_CLIENT ? "client" : "worker", lua_tostring(L, -1)));
    lua_close(L);
  }
}

static void worker_opens_no_router(void) {
  lua_State *L = vm_open(VM_WORKER);
  EXPECT(luaL_dostring(L, "require('farside.native').open()"));
  EXPECT(strstr(lua_tostring(L, -1), "a worker cannot start a router"));
  lua_close(L);
}

static void farside_can_be_required(void) {
  lua_State *L = vm_open(VM_CLIENT);
  if (luaL_dostring(L, "return type(require('farside').deployment)")) puts(lua_tostring(L, -1));
  EXPECT(!strcmp("function", lua_tostring(L, -1)));
  lua_close(L);
}

static void call_replaces_arguments(void) {
  lua_State *L = vm_open(VM_CLIENT);
  lua_pushliteral(L, "below");
  EXPECT_EQUAL(0, luaL_loadstring(L, "return ..."));
  lua_pushinteger(L, 1);
  lua_pushinteger(L, 2);
  EXPECT_EQUAL(0, vm_call(L, 2, 3));
  EXPECT_EQUAL(4, lua_gettop(L));
  EXPECT_EQUAL(2, lua_tointeger(L, 3));
  EXPECT(lua_isnil(L, 4));
  lua_close(L);
}

static void call_tells_where(void) {
  lua_State *L = vm_open(VM_CLIENT);
  lua_pushliteral(L, "below");
  EXPECT_EQUAL(0, luaL_loadstring(L, "local function f() error('bad') end f()"));
  lua_pushinteger(L, 1);
  EXPECT(vm_call(L, 1, 3));
  EXPECT_EQUAL(2, lua_gettop(L));
  EXPECT(strstr(lua_tostring(L, 2), "bad"));
  EXPECT(strstr(lua_tostring(L, 2), "stack traceback:"));
  lua_close(L);
}

// An error without a text passes as it is.
static void call_passes_other_errors(void) {
  lua_State *L = vm_open(VM_CLIENT);
  EXPECT_EQUAL(0, luaL_loadstring(L, "error({ code = 7 })"));
  EXPECT(vm_call(L, 0, 0));
  EXPECT(lua_istable(L, -1));
  lua_close(L);
}

static const struct check kChecks[] = {
    {"makes new large strings of pages that were touched before", large_strings_reuse_memory},
    {"gives them back when it is told to", blocks_can_be_given_back},
    {"knows its role before any Lua runs", role_is_known},
    {"starts no router in a worker", worker_opens_no_router},
    {"finds the Lua files of Farside", farside_can_be_required},
    {"replaces a function and its arguments by its results", call_replaces_arguments},
    {"replaces a function that fails by a text with a traceback", call_tells_where},
    {"leaves an error that is no text alone", call_passes_other_errors},
};

CHECK_MAIN(kChecks)
