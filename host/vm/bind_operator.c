#include "bind_operator.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "../core/error.h"
#include "../core/limits.h"
#include "../core/payload.h"
#include "../io/address.h"
#include "../io/console.h"
#include "../io/wait.h"
#include "bind_call.h"
#include "codec.h"

static const char kOperator[] = "farside.operator";

enum { WHY = 1024 };

struct binding {
  struct console *console;
};

static struct console *check_console(lua_State *L) {
  struct binding *binding = luaL_checkudata(L, 1, kOperator);
  if (!binding->console) luaL_error(L, "the connection is closed");
  return binding->console;
}

static int64_t until(lua_State *L, int index, int64_t otherwise) {
  if (lua_isnoneornil(L, index)) return otherwise;
  return wait_now() + bind_call_nanoseconds(luaL_checknumber(L, index));
}

static int failed(lua_State *L, int error, const struct console *console) {
  char epoch[ERROR_EPOCH];
  const char *why = console_why(console);
  if (error == -ETIMEDOUT) return bind_call_error(L, "DeadlineExceeded", "%s", why);
  if (error == -EINTR) return bind_call_error(L, "Cancelled", "interrupted");
  bind_call_error(L, "RouterLost", "%s", *why ? why : strerror(-error));
  error_epoch_text(console_epoch(console), epoch);
  lua_pushstring(L, epoch);
  lua_setfield(L, -2, "epoch");
  return 2;
}

// Pushes the values of a body, which is taken over; returns how many.
static int push_body(lua_State *L, struct payload *body) {
  int count = codec_decode(L, body, 0);
  payload_unref(body);
  return count < 0 ? lua_error(L) : count;
}

// operator:request(name, options or nil, timeout or nil) -> value; nil, error
static int l_request(lua_State *L) {
  struct console *console = check_console(L);
  const char *name = luaL_checkstring(L, 2);
  struct payload *options = NULL, *reply = NULL;
  if (lua_istable(L, 3) && !(options = codec_encode(L, 3, 1, 0, 0, "options"))) return lua_error(L);
  int error = console_request(console, name, options, until(L, 4, INT64_MAX), &reply);
  payload_unref(options);
  if (error) return failed(L, error, console);
  lua_settop(L, 0);
  if (push_body(L, reply) == 2 && lua_toboolean(L, 1)) return 1;
  lua_pushnil(L);
  lua_replace(L, 1);
  return 2;
}

// operator:next_line(timeout or nil) -> text, worker or nil, deployment; nil, error; nil at the
// timeout
static int l_next_line(lua_State *L) {
  struct console *console = check_console(L);
  struct payload *line = NULL;
  int error = console_line(console, until(L, 2, INT64_MAX), &line);
  if (error == -ETIMEDOUT) return 0;
  if (error) return failed(L, error, console);
  return push_body(L, line);
}

// operator:welcome() -> what the router said: name, tag, hash, manifest
static int l_welcome(lua_State *L) {
  int count = codec_decode(L, console_welcome(check_console(L)), 0);
  return count < 0 ? lua_error(L) : count;
}

static int l_close(lua_State *L) {
  struct binding *binding = luaL_checkudata(L, 1, kOperator);
  console_close(binding->console);
  binding->console = NULL;
  return 0;
}

static int refused(lua_State *L, int error, struct payload *refusal, const char *address,
                   const char *why) {
  if (refusal) {
    lua_pushnil(L);
    return 1 + push_body(L, refusal);
  }
  bind_call_error(L, "ConnectFailed", "%s", why);
  lua_pushstring(L, address);
  lua_setfield(L, -2, "address");
  lua_pushinteger(L, -error);
  lua_setfield(L, -2, "errno");
  return 2;
}

// operator(address, timeout or nil) -> operator; nil, error. An address is unix:PATH, or a path that
// begins with a slash.
static int l_operator(lua_State *L) {
  const char *address = luaL_checkstring(L, 1);
  int64_t limit = until(L, 2, wait_now() + LIMIT_HANDSHAKE);
  char path[ADDRESS_SIZE], why[WHY] = "";
  struct payload *refusal = NULL;
  if (*address != '/' && address_parse(address, path, why, sizeof why))
    return bind_call_error(L, "ConfigError", "%s", why);
  struct binding *binding = lua_newuserdata(L, sizeof *binding);
  *binding = (struct binding){0};
  luaL_getmetatable(L, kOperator);
  lua_setmetatable(L, -2);
  int error = console_open(&binding->console, *address == '/' ? address : path, limit, &refusal,
                           why, sizeof why);
  return error ? refused(L, error, refusal, address, why) : 1;
}

// socket_of(name, tag) -> path; nil, error. Nobody need listen there.
static int l_socket_of(lua_State *L) {
  char path[ADDRESS_SIZE], why[WHY] = "";
  int error =
      address_of(luaL_checkstring(L, 1), luaL_checkstring(L, 2), false, path, why, sizeof why);
  if (error == -ENOENT && !*why)
    return bind_call_error(L, "ConnectFailed", "no router serves here");
  if (error) return bind_call_error(L, "ConfigError", "%s", why);
  lua_pushstring(L, path);
  return 1;
}

static void add_socket(void *owner, const char *path) {
  lua_State *L = owner;
  lua_pushstring(L, path);
  lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

// sockets() -> paths of all sockets of this user's routers, whether anybody listens there or not;
// nil, error
static int l_sockets(lua_State *L) {
  char why[WHY] = "";
  lua_newtable(L);
  if (address_list(add_socket, L, why, sizeof why))
    return bind_call_error(L, "ConfigError", "%s", why);
  return 1;
}

void bind_operator(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"request", l_request}, {"next_line", l_next_line}, {"welcome", l_welcome},
      {"close", l_close},     {"__gc", l_close},          {NULL, NULL},
  };
  static const luaL_Reg functions[] = {
      {"operator", l_operator}, {"socket_of", l_socket_of}, {"sockets", l_sockets}, {NULL, NULL}};
  luaL_newmetatable(L, kOperator);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, methods);
  lua_pop(L, 1);
  luaL_register(L, NULL, functions);
}
