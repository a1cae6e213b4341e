#include "bind_cache.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../io/cache.h"

static int push_error(lua_State *L, int error) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(-error));
  return 2;
}

// Up to `size` bytes.
static ssize_t read_all(int fd, char *bytes, size_t size) {
  size_t at = 0;
  while (at < size) {
    ssize_t got = read(fd, bytes + at, size - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (!got) break;
    at += (size_t)got;
  }
  return (ssize_t)at;
}

// cache_read(path): the bytes of a file, or nil and why not
static int l_cache_read(lua_State *L) {
  size_t size;
  int fd = cache_open(luaL_checkstring(L, 1), &size);
  if (fd < 0) return push_error(L, fd);
  char *bytes = malloc(size + 1);
  ssize_t got = bytes ? read_all(fd, bytes, size) : -ENOMEM;
  close(fd);
  if (got >= 0) lua_pushlstring(L, bytes, (size_t)got);
  free(bytes);
  return got < 0 ? push_error(L, (int)got) : 1;
}

// cache_write(path, bytes): true, or nil and why not
static int l_cache_write(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  int error = cache_write(luaL_checkstring(L, 1), bytes, size);
  if (error) return push_error(L, error);
  lua_pushboolean(L, 1);
  return 1;
}

// cache_lock(folder, number, seconds): a number for cache_unlock, or nil and why not
static int l_cache_lock(lua_State *L) {
  const char *folder = luaL_checkstring(L, 1);
  uint64_t number = (uint64_t)luaL_checknumber(L, 2);
  int64_t patience = (int64_t)(luaL_checknumber(L, 3) * (double)NANOSECONDS_PER_SECOND);
  int lock = cache_lock(folder, number, patience);
  if (lock < 0) return push_error(L, lock);
  lua_pushinteger(L, lock);
  return 1;
}

static int l_cache_unlock(lua_State *L) {
  cache_unlock(luaL_checkint(L, 1));
  return 0;
}

// cache_prune(folder, bytes): how many files went, or nil and why not
static int l_cache_prune(lua_State *L) {
  int removed = cache_prune(luaL_checkstring(L, 1), (uint64_t)luaL_checknumber(L, 2));
  if (removed < 0) return push_error(L, removed);
  lua_pushinteger(L, removed);
  return 1;
}

void bind_cache(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"cache_read", l_cache_read},   {"cache_write", l_cache_write},
      {"cache_lock", l_cache_lock},   {"cache_unlock", l_cache_unlock},
      {"cache_prune", l_cache_prune}, {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
