// A plain luajit with a sanitizer's runtime in it, which a module built with that sanitizer needs:
// luajit [-e CODE]... [SCRIPT [ARGUMENTS]]
//
// To preload the runtime into Debian's luajit is no way out: the shells that specs start would get
// it too, and crash.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

struct arguments {
  int count;
  char **values;
  int status;
};

// LeakSanitizer does not see the pointers in LuaJIT's own memory, and would report whatever only a
// userdata points to.
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0";
}

// As Debian's luajit: an object that is no string is asked for its text.
static int traceback(lua_State *L) {
  if (!lua_isstring(L, 1)) {
    if (!luaL_callmeta(L, 1, "__tostring") || !lua_isstring(L, -1)) return 1;
    lua_remove(L, 1);
  }
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

// Runs the chunk on top of the stack, if it could be loaded, with `count` arguments from `values`.
static int run(lua_State *L, int loaded, int count, char **values) {
  int base = lua_gettop(L);
  int err = loaded;
  if (!err) {
    lua_pushcfunction(L, traceback);
    lua_insert(L, base);
    luaL_checkstack(L, count, "too many arguments");
    for (int i = 0; i < count; i++) lua_pushstring(L, values[i]);
    err = lua_pcall(L, count, 0, base);
  }
  if (err) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "luajit: %s\n", message ? message : "(error object is not a string)");
  }
  lua_settop(L, base - 1);
  return err ? 1 : 0;
}

static void set_arg(lua_State *L, const struct arguments *arguments, int script) {
  lua_newtable(L);
  for (int i = 0; i < arguments->count; i++) {
    lua_pushstring(L, arguments->values[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static int run_all(lua_State *L) {
  struct arguments *arguments = lua_touserdata(L, 1);
  luaL_openlibs(L);
  int i = 1;
  for (; i + 1 < arguments->count && !strcmp(arguments->values[i], "-e"); i += 2) {
    const char *code = arguments->values[i + 1];
    int loaded = luaL_loadbuffer(L, code, strlen(code), "=(command line)");
    arguments->status = run(L, loaded, 0, NULL);
    if (arguments->status) return 0;
  }
  if (i == arguments->count) return 0;
  set_arg(L, arguments, i);
  int loaded = luaL_loadfile(L, arguments->values[i]);
  arguments->status = run(L, loaded, arguments->count - i - 1, arguments->values + i + 1);
  return 0;
}

int main(int argc, char **argv) {
  struct arguments arguments = {.count = argc, .values = argv};
  lua_State *L = luaL_newstate();
  if (!L || lua_cpcall(L, run_all, &arguments)) return 1;
  lua_close(L);
  return arguments.status;
}
