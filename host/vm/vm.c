#define _GNU_SOURCE
#include "vm.h"

#include <assert.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "embedded_lua.h"
#include "native.h"

static const char kRole[] = "farside.role";

// ---- memory ----

// LuaJIT's own allocator maps and unmaps each large block, and a new page costs twenty times its
// copy; malloc can be told to keep them.
static void *allocate(void *owner, void *old, size_t old_size, size_t size) {
  (void)owner, (void)old_size;
  if (size) return realloc(old, size);
  free(old);
  return NULL;
}

void vm_keep_blocks(void) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 1 << 20);
}

void vm_give_blocks(void) {
  malloc_trim(0);
}

// ---- modules ----

static int load_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const struct embedded_lua *file = farside_embedded_lua; file->name; file++) {
    if (strcmp(file->name, name)) continue;
    // A path, as of a file: Farside's own frames are told from the user's by their folder.
    char chunk[128];
    int size = snprintf(chunk, sizeof chunk, "@%s.lua", name);
    for (int i = 0; i < size - 4; i++)
      if (chunk[i] == '.') chunk[i] = '/';
    if (luaL_loadbuffer(L, (const char *)file->bytes, file->size, chunk)) return lua_error(L);
    return 1;
  }
  lua_pushfstring(L, "\n\tno packed file of Farside '%s'", name);
  return 1;
}

// Edited Lua files of the source tree count at once for what lies in its build folder.
static bool in_build_tree(void) {
  char self[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
  size_t folder = strlen(FARSIDE_BUILD_DIR);
  if (size <= 0 || strncmp(self, FARSIDE_BUILD_DIR, folder) || self[folder] != '/') return false;
  return !access(FARSIDE_SOURCE_DIR "/lua/farside/init.lua", R_OK);
}

static void add_source_tree(lua_State *L) {
  lua_getglobal(L, "package");
  lua_pushliteral(L, FARSIDE_SOURCE_DIR "/lua/?.lua;" FARSIDE_SOURCE_DIR "/lua/?/init.lua;");
  lua_getfield(L, -2, "path");
  lua_concat(L, 2);
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
}

// Packed files come at place `at`, or last with 0.
static void add_embedded(lua_State *L, int at) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "loaders");
  int count = (int)lua_objlen(L, -1);
  if (!at) at = count + 1;
  for (int i = count; i >= at; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, load_embedded);
  lua_rawseti(L, -2, at);
  lua_pop(L, 2);
}

static void preload_native(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, luaopen_farside_native);
  lua_setfield(L, -2, "farside.native");
  lua_pop(L, 2);
}

// ---- states ----

static int on_panic(lua_State *L) {
  fprintf(stderr, "farside: an error outside of any protected call: %s\n", lua_tostring(L, -1));
  return 0;
}

static int open_all(lua_State *L) {
  luaL_openlibs(L);
  lua_pushinteger(L, (lua_Integer)(intptr_t)lua_touserdata(L, 1));
  lua_setfield(L, LUA_REGISTRYINDEX, kRole);
  preload_native(L);
  // Right after package.preload no file on a path stands in for the packed ones.
  bool in_tree = in_build_tree();
  if (in_tree) add_source_tree(L);
  add_embedded(L, in_tree ? 0 : 2);
  return 0;
}

lua_State *vm_open(enum vm_role role) {
  lua_State *L = lua_newstate(allocate, NULL);
  if (!L) return NULL;
  lua_atpanic(L, on_panic);
  if (!lua_cpcall(L, open_all, (void *)(intptr_t)role)) return L;
  lua_close(L);
  return NULL;
}

enum vm_role vm_role(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, kRole);
  enum vm_role role = (enum vm_role)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return role;
}

static int add_traceback(lua_State *L) {
  const char *text = lua_tostring(L, 1);
  if (!text) return 1;
  luaL_traceback(L, L, text, 1);
  return 1;
}

int vm_call(lua_State *L, int arguments, int results) {
  int base = lua_gettop(L) - arguments;
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, arguments, results, base);
  lua_remove(L, base);
  assert(lua_gettop(L) == base - 1 + (status ? 1 : results) || results == LUA_MULTRET);
  return status;
}
