#include "bind_client.h"

#include <lauxlib.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../core/limits.h"
#include "../core/payload.h"
#include "../io/session.h"
#include "../io/wait.h"
#include "bind_call.h"
#include "bind_fork.h"
#include "bind_functions.h"
#include "codec.h"

static const char kHandle[] = "farside.handle";

// The environment table of a handle: [deployment] = its class registry.
struct handle {
  struct session *session;
  struct payload *decoding;  // freed later should Lua run out of memory while it is decoded
  pthread_mutex_t lock;
  uint64_t *anchors;  // of strings that no payload needs any more
  size_t anchor_count, anchor_capacity;
};

static struct handle *check_handle(lua_State *L, int index) {
  struct handle *handle = luaL_checkudata(L, index, kHandle);
  if (!handle->session) luaL_error(L, "the handle is closed");
  if (session_is_forked(handle->session)) bind_fork_refuse(L);
  return handle;
}

struct session *bind_client_session(lua_State *L, int index) {
  return check_handle(L, index)->session;
}

// ---- strings that payloads refer to ----

// On whatever thread drops the last reference; Lua may not be touched here.
static void on_release(void *owner, uint64_t anchor) {
  struct handle *handle = owner;
  pthread_mutex_lock(&handle->lock);
  if (handle->anchor_count == handle->anchor_capacity) {
    size_t capacity = handle->anchor_capacity ? 2 * handle->anchor_capacity : 16;
    uint64_t *anchors = realloc(handle->anchors, capacity * sizeof *anchors);
    if (!anchors) abort();
    handle->anchors = anchors;
    handle->anchor_capacity = capacity;
  }
  __atomic_store_n(&handle->anchor_count, handle->anchor_count + 1, __ATOMIC_RELAXED);
  handle->anchors[handle->anchor_count - 1] = anchor;
  pthread_mutex_unlock(&handle->lock);
}

static void release_strings(lua_State *L, struct handle *handle) {
  if (!__atomic_load_n(&handle->anchor_count, __ATOMIC_RELAXED)) return;
  pthread_mutex_lock(&handle->lock);
  for (size_t i = 0; i < handle->anchor_count; i++) codec_release(L, handle->anchors[i]);
  __atomic_store_n(&handle->anchor_count, 0, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&handle->lock);
}

// ---- deploy ----

// Pushes the failure as a table, or nil; takes over the body.
static void push_failure(lua_State *L, struct payload *failure) {
  if (!failure) {
    lua_pushnil(L);
    return;
  }
  int count = codec_decode(L, failure, 0);
  payload_unref(failure);
  if (count == 0) lua_pushnil(L);
}

// What a router that serves elsewhere is told. The strings stay in the spec.
static bool read_bundle(lua_State *L, struct session_bundle *bundle) {
  lua_getfield(L, 2, "tag");
  bundle->tag = luaL_optstring(L, -1, "");
  lua_getfield(L, 2, "hash");
  bundle->hash = lua_tostring(L, -1);
  lua_getfield(L, 2, "files");
  bundle->files = lua_istable(L, -1) ? codec_encode(L, lua_gettop(L), 1, 0, 0, "files") : NULL;
  return !lua_istable(L, -1) || bundle->files;
}

// Pushes nil and the error, whose body is taken over.
static int push_failed(lua_State *L, struct payload *failure) {
  lua_pushnil(L);
  push_failure(L, failure);
  return 2;
}

// handle:deploy{...} -> number, address of the router that serves it, if it is elsewhere; nil, error
static int l_deploy(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct router_deployment_options options;
  bind_deployment(L, 2, &options);
  struct session_bundle bundle;
  if (!read_bundle(L, &bundle)) {
    payload_unref(options.start);
    return lua_error(L);
  }

  struct payload *failure = NULL;
  uint32_t number = session_join(handle->session, &options, &bundle, &failure);
  payload_unref(options.start);
  payload_unref(bundle.files);
  if (number == ROUTER_NONE) return push_failed(L, failure);
  lua_getfenv(L, 1);
  lua_getfield(L, 2, "registry");
  lua_rawseti(L, -2, (int)number);
  lua_pushinteger(L, number);
  const char *served = session_served_at(handle->session, number);
  if (!served) return 1;
  lua_pushfstring(L, "unix:%s", served);
  return 2;
}

// ---- calls ----

// Pushes the class registry of a deployment, whose stack index is returned, or nothing: 0.
static int push_registry(lua_State *L, uint32_t deployment) {
  lua_getfenv(L, 1);
  lua_rawgeti(L, -1, (int)deployment);
  lua_remove(L, -2);
  if (!lua_isnil(L, -1)) return lua_gettop(L);
  lua_pop(L, 1);
  return 0;
}

// handle:call(deployment, function, limits, workload, names, ...)
static int l_call(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  release_strings(L, handle);
  struct call_options options = {.tag = (uint64_t)lua_tointeger(L, 2)};
  int registry = push_registry(L, (uint32_t)options.tag);
  struct payload *body = bind_call_begin(L, registry, &options);
  if (!body) return 2;
  uint64_t call = 0;
  int result = session_call(handle->session, &options, body, &call);
  return bind_call_begun(L, result, call);
}

static int64_t until(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return INT64_MAX;
  double seconds = lua_tonumber(L, index);
  return wait_now() + bind_call_nanoseconds(seconds);
}

static int push_wait(lua_State *L, enum session_wait result) {
  switch (result) {
    case SESSION_DONE:
      lua_pushliteral(L, "done");
      break;
    case SESSION_OTHER:
      lua_pushliteral(L, "other");
      break;
    case SESSION_TIMEOUT:
      lua_pushliteral(L, "timeout");
      break;
    case SESSION_INTERRUPTED:
      lua_pushliteral(L, "interrupted");
      break;
  }
  return 1;
}

// handle:wait(call, timeout)
static int l_wait(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  uint64_t call = lua_isnoneornil(L, 2) ? 0 : (uint64_t)lua_tonumber(L, 2);
  return push_wait(L, session_wait(handle->session, call, ROUTER_NONE, until(L, 3)));
}

static int push_completion(lua_State *L, struct handle *handle,
                           const struct completion *completion) {
  payload_unref(handle->decoding);
  handle->decoding = completion->body;
  int registry = push_registry(L, (uint32_t)completion->tag);
  int count = bind_call_ended(L, registry, completion);
  handle->decoding = NULL;
  return count;
}

// handle:take(call)
static int l_take(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  struct completion completion;
  if (!session_take(handle->session, (uint64_t)luaL_checknumber(L, 2), &completion)) return 0;
  return push_completion(L, handle, &completion);
}

// handle:next()
static int l_next(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  struct completion completion;
  if (!session_next(handle->session, &completion)) return 0;
  int count = push_completion(L, handle, &completion);
  lua_pushnumber(L, (lua_Number)completion.call);
  lua_insert(L, -count - 1);
  return count + 1;
}

// handle:item(call)
static int l_item(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  struct payload *body;
  uint64_t tag;
  if (!session_item(handle->session, (uint64_t)luaL_checknumber(L, 2), &body, &tag)) return 0;
  payload_unref(handle->decoding);
  handle->decoding = body;
  int count = bind_call_item(L, push_registry(L, (uint32_t)tag), body);
  handle->decoding = NULL;
  return count;
}

// handle:news()
static int l_news(lua_State *L) {
  struct news news;
  return session_news(check_handle(L, 1)->session, &news) ? bind_call_news(L, &news) : 0;
}

static int l_done(lua_State *L) {
  size_t done, told;
  session_count(check_handle(L, 1)->session, &done, &told);
  lua_pushinteger(L, (lua_Integer)done);
  lua_pushinteger(L, (lua_Integer)told);
  return 2;
}

static int l_cancel(lua_State *L) {
  session_cancel(check_handle(L, 1)->session, (uint64_t)luaL_checknumber(L, 2));
  return 0;
}

// ---- what is going on ----

static const char *const kDeploymentStates[] = {"starting", "ready", "failed", "draining"};

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

// False: nobody is or will be there, and nothing is pushed.
static bool push_worker(lua_State *L, struct session *session, uint32_t number, uint32_t place,
                        uint32_t functions) {
  struct worker_status status;
  pid_t pid;
  if (!session_worker(session, number, &status, &pid)) return false;
  if (!status.wanted && status.state == WORKER_NONE) return false;  // a spare place
  lua_createtable(L, 0, 8);
  status.parked = false;  // a word for operators
  lua_pushstring(L, worker_status_text(&status));
  lua_setfield(L, -2, "state");
  if (pid > 0) set_number(L, "pid", pid);
  set_number(L, "place", place);
  set_number(L, "generation", status.generation);
  set_number(L, "in_flight", status.in_flight);
  set_number(L, "calls", (double)status.calls);
  set_number(L, "starts", (double)status.starts);
  lua_newtable(L);
  for (uint32_t function = 0; function < functions; function++) {
    double score = session_score(session, number, function);
    if (score <= 0) continue;
    lua_pushnumber(L, score);
    lua_rawseti(L, -2, (int)function);
  }
  lua_setfield(L, -2, "scores");
  return true;
}

static int l_status(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  struct deployment_status status;
  uint32_t number = (uint32_t)luaL_checkinteger(L, 2);
  if (!session_status(handle->session, number, &status))
    return luaL_error(L, "there is no deployment %d", (int)number);
  lua_createtable(L, 0, 8);
  push_failure(L, status.failure);
  lua_setfield(L, -2, "failure");
  const char *served = session_served_at(handle->session, number);
  bool is_connecting = served && status.state == DEPLOYMENT_STARTING;
  lua_pushstring(L, is_connecting ? "connecting" : kDeploymentStates[status.state]);
  lua_setfield(L, -2, "state");
  set_number(L, "queued", status.queued);
  set_number(L, "running", status.running);
  set_number(L, "ready", status.ready);
  set_number(L, "active", status.active);
  set_number(L, "parked", status.parked);
  set_number(L, "starting", status.starting);
  set_number(L, "wanted", status.workers);
  set_number(L, "active_wanted", status.active_wanted);
  if (status.decision[0]) {
    lua_pushstring(L, status.decision);
    lua_setfield(L, -2, "decision");
  }
  set_number(L, "calls", (double)status.calls);
  set_number(L, "dropped", (double)status.dropped);
  lua_createtable(L, (int)status.workers, 0);
  int count = 0;
  for (uint32_t i = 0; i < status.places; i++)
    if (push_worker(L, handle->session, status.first_worker + i, i, status.functions))
      lua_rawseti(L, -2, ++count);
  lua_setfield(L, -2, "workers");
  return 1;
}

// handle:ready(deployment, timeout)
static int l_ready(lua_State *L) {
  struct handle *handle = check_handle(L, 1);
  uint32_t number = (uint32_t)luaL_checkinteger(L, 2);
  int64_t limit = until(L, 3);
  for (;;) {
    struct deployment_status status;
    if (!session_status(handle->session, number, &status))
      return luaL_error(L, "there is no deployment %d", (int)number);
    if (status.state == DEPLOYMENT_FAILED) {
      lua_pushliteral(L, "failed");
      push_failure(L, status.failure);
      return 2;
    }
    payload_unref(status.failure);
    if (status.state == DEPLOYMENT_READY) {
      lua_pushliteral(L, "ready");
      return 1;
    }
    enum session_wait result = session_wait(handle->session, 0, number, limit);
    if (result == SESSION_TIMEOUT || result == SESSION_INTERRUPTED) return push_wait(L, result);
  }
}

// ---- life ----

static bool is_forked(const struct handle *handle) {
  return handle->session && session_is_forked(handle->session);
}

// handle:is_forked(): this process is a fork of the one that has opened it
static int l_is_forked(lua_State *L) {
  lua_pushboolean(L, is_forked(luaL_checkudata(L, 1, kHandle)));
  return 1;
}

// os.exit, which in a fork calls nobody who was there for the process before it.
static int l_exit(lua_State *L) {
  if (is_forked(lua_touserdata(L, lua_upvalueindex(1)))) return bind_fork_leave(L);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

// For the handle on top of the stack.
static void replace_exit(lua_State *L) {
  lua_getglobal(L, "os");
  if (lua_istable(L, -1)) {
    lua_pushvalue(L, -2);
    lua_getfield(L, -2, "exit");
    lua_pushcclosure(L, l_exit, 2);
    lua_setfield(L, -2, "exit");
  }
  lua_pop(L, 1);
}

// In a fork nothing: all that it has is that of the process before it.
static int l_close(lua_State *L) {
  struct handle *handle = luaL_checkudata(L, 1, kHandle);
  if (!handle->session || is_forked(handle)) return 0;
  session_close(handle->session);
  handle->session = NULL;
  payload_unref(handle->decoding);
  release_strings(L, handle);
  free(handle->anchors);
  pthread_mutex_destroy(&handle->lock);
  return 0;
}

static int l_open(lua_State *L) {
  struct handle *handle = lua_newuserdata(L, sizeof *handle);
  *handle = (struct handle){0};
  luaL_getmetatable(L, kHandle);
  lua_setmetatable(L, -2);
  lua_newtable(L);
  lua_setfenv(L, -2);
  int error = session_open(&handle->session);
  if (error)
    return bind_call_error(L, "EngineError", "the router could not be started: %s",
                           strerror(-error));
  pthread_mutex_init(&handle->lock, NULL);
  codec_set_owner(L, &(struct codec_owner){on_release, handle});
  replace_exit(L);
  return 1;
}

void bind_client(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"deploy", l_deploy}, {"call", l_call},           {"wait", l_wait},     {"take", l_take},
      {"next", l_next},     {"done", l_done},           {"cancel", l_cancel}, {"ready", l_ready},
      {"item", l_item},     {"news", l_news},           {"status", l_status}, {"close", l_close},
      {"__gc", l_close},    {"is_forked", l_is_forked}, {NULL, NULL},
  };
  luaL_newmetatable(L, kHandle);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, methods);
  lua_pop(L, 1);
  lua_pushcfunction(L, l_open);
  lua_setfield(L, -2, "open");
}
