// The C API (farside.h): a session, and a Lua state that exists to load the deploy script.
//
// Only farside_open and farside_close touch the Lua state; calls go from any thread straight to the
// router.
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/cursor.h"
#include "../core/limits.h"
#include "../core/payload.h"
#include "../core/scan.h"
#include "../farside.h"
#include "../io/session.h"
#include "bind_client.h"
#include "vm.h"

struct farside {
  lua_State *L;
  struct session *session;  // owned by the handle in L
  uint32_t deployment;
  char **functions;  // names; a place is a function's number
  uint32_t function_count;
  pthread_mutex_t
      reporting;  // callbacks come one after the other, whoever turns; a callback may turn
  char problem[1024];
};

// ---- what calls have to tell: the address of its listener is a call's tag ----

// The text under `key` of an error map as a string that ends with 0, in `text`.
static const char *error_text_of(struct cursor map, const char *key, char *text, size_t size) {
  struct cursor value;
  const unsigned char *bytes;
  size_t length;
  text[0] = 0;
  if (!cursor_find(map, key, &value)) return text;
  if (!cursor_str(&value, &bytes, &length) && !cursor_bin(&value, &bytes, &length)) return text;
  if (length >= size) length = size - 1;
  memcpy(text, bytes, length);
  text[length] = 0;
  return text;
}

static void report(const struct completion *completion) {
  struct farside_listener *listener = (struct farside_listener *)(uintptr_t)completion->tag;
  const unsigned char *bytes = completion->body->parts[0].bytes;
  char name[64], message[LIMIT_ERROR_MESSAGE + 1], executed[8];
  struct farside_result result = {
      .struct_size = sizeof result,
      .call = completion->call,
      .ok = completion->ok,
      .payload = bytes,
      .size = completion->body->size,
      .executed = "yes",
  };
  if (!completion->ok) {
    struct cursor map = cursor_of(bytes, completion->body->size);
    size_t count;
    cursor_array(&map, &count);
    result.error = error_text_of(map, "name", name, sizeof name);
    result.message = error_text_of(map, "message", message, sizeof message);
    result.executed = error_text_of(map, "executed", executed, sizeof executed);
  }
  listener->ended(listener->user, &result);
  payload_unref(completion->body);
  free(listener);
}

// Returns how many items were reported.
static int report_items(struct farside *farside, const struct farside_listener *listener,
                        uint64_t call) {
  struct payload *body;
  uint64_t tag;
  int count = 0;
  while (session_item(farside->session, call, &body, &tag)) {
    int enough = listener->item(listener->user, call, body->parts[0].bytes, body->size);
    payload_unref(body);
    count++;
    if (enough) session_cancel(farside->session, call);
  }
  return count;
}

static int report_news(struct farside *farside) {
  struct news news;
  int count = 0;
  while (session_news(farside->session, &news)) {
    const struct farside_listener *listener = (struct farside_listener *)(uintptr_t)news.tag;
    if (news.has_progress) listener->progress(listener->user, news.call, news.n, news.total);
    count += news.has_progress;
    if (news.has_item) count += report_items(farside, listener, news.call);
  }
  return count;
}

static int report_all(struct farside *farside) {
  struct completion completion;
  pthread_mutex_lock(&farside->reporting);
  int count = report_news(farside);
  while (session_next(farside->session, &completion)) {
    report(&completion);
    count++;
  }
  pthread_mutex_unlock(&farside->reporting);
  return count;
}

static void on_done(void *owner) {
  report_all(owner);
}

// ---- open ----

static int fail(struct farside *farside, int status, const char *text) {
  snprintf(farside->problem, sizeof farside->problem, "%s", text);
  return status;
}

// The names in the table on top of the stack, which is popped.
static void keep_functions(struct farside *farside) {
  lua_State *L = farside->L;
  farside->function_count = (uint32_t)lua_objlen(L, -1);
  farside->functions = calloc(farside->function_count + 1, sizeof *farside->functions);
  if (!farside->functions) abort();
  for (uint32_t i = 0; i < farside->function_count; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    farside->functions[i] = strdup(lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

// require('farside.embed').load(path) -> handle, deployment, {names}
static int load_script(struct farside *farside, const char *path) {
  lua_State *L = farside->L;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "farside.embed");
  if (vm_call(L, 1, 1)) return fail(farside, FARSIDE_SYSTEM, lua_tostring(L, -1));
  lua_getfield(L, -1, "load");
  lua_pushstring(L, path);
  if (vm_call(L, 1, 3)) return fail(farside, FARSIDE_SCRIPT, lua_tostring(L, -1));
  keep_functions(farside);
  farside->deployment = (uint32_t)lua_tointeger(L, -1);
  farside->session = bind_client_session(L, -2);
  lua_pop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "farside.embed");  // the handle lives as long as the state
  return FARSIDE_OK;
}

static void init_lock(pthread_mutex_t *lock) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

int farside_open(const struct farside_options *options, struct farside **out) {
  *out = calloc(1, sizeof **out);
  if (!*out) return FARSIDE_MEMORY;
  init_lock(&(*out)->reporting);
  if (!options || options->struct_size < sizeof *options || !options->deploy)
    return fail(*out, FARSIDE_INVALID, "options: struct_size and deploy must be set");
  (*out)->L = vm_open(VM_CLIENT);
  if (!(*out)->L) return fail(*out, FARSIDE_MEMORY, "there is no memory for a Lua state");
  int status = load_script(*out, options->deploy);
  if (!status) session_on_done((*out)->session, on_done, *out);
  return status;
}

// A fork has nothing of the process before it, and calls nobody.
static bool is_usable(const struct farside *farside) {
  return farside->session && !session_is_forked(farside->session);
}

// ---- calls ----

static uint32_t find_function(const struct farside *farside, const char *name) {
  for (uint32_t i = 0; i < farside->function_count; i++)
    if (!strcmp(farside->functions[i], name)) return i;
  return ROUTER_NONE;
}

static int begin(struct farside *farside, struct call_options *options,
                 const struct farside_listener *listener, const void *payload, size_t size,
                 uint64_t *call) {
  struct farside_listener *copy = malloc(sizeof *copy);
  struct payload *body = copy ? payload_copy(payload, size) : NULL;
  if (!body) {
    free(copy);
    return FARSIDE_MEMORY;
  }
  *copy = *listener;
  options->tag = (uint64_t)(uintptr_t)copy;
  uint64_t number;
  int error = session_call(farside->session, options, body, &number);
  if (error) free(copy);
  if (error) return error == CLIENT_MEMORY ? FARSIDE_MEMORY : FARSIDE_OVERLOADED;
  if (call) *call = number;
  return FARSIDE_OK;
}

int farside_listen(struct farside *farside, const char *function, const void *payload, size_t size,
                   double timeout, const struct farside_listener *listener, uint64_t *call) {
  size_t used;
  if (!is_usable(farside) || !function || !(timeout >= 0)) return FARSIDE_INVALID;
  if (!listener || listener->struct_size < sizeof *listener || !listener->ended)
    return FARSIDE_INVALID;
  if (size > LIMIT_FRAME - LIMIT_HEADER || scan_body(payload, size, &scan_body_limits, &used))
    return FARSIDE_INVALID;
  struct call_options options = {.deployment = farside->deployment,
                                 .function = find_function(farside, function),
                                 .workload = 100};
  if (options.function == ROUTER_NONE) return FARSIDE_NO_FUNCTION;
  double limit = (double)LIMIT_DEADLINE / 1e9;
  options.timeout = (int64_t)((timeout < limit ? timeout : limit) * 1e9);
  if (listener->item) options.flags |= CALL_STREAM;
  if (listener->item) options.window = listener->window;
  if (listener->progress) options.flags |= CALL_PROGRESS;
  return begin(farside, &options, listener, payload, size, call);
}

int farside_call(struct farside *farside, const char *function, const void *payload, size_t size,
                 double timeout, farside_callback callback, void *user, uint64_t *call) {
  struct farside_listener listener = {
      .struct_size = sizeof listener, .ended = callback, .user = user};
  return farside_listen(farside, function, payload, size, timeout, &listener, call);
}

int farside_cancel(struct farside *farside, uint64_t call) {
  if (!is_usable(farside)) return FARSIDE_INVALID;
  return session_cancel(farside->session, call) ? FARSIDE_OK : FARSIDE_ENDED;
}

// ---- turning ----

int farside_fd(struct farside *farside) {
  return is_usable(farside) ? session_fd(farside->session) : FARSIDE_INVALID;
}

int farside_turn(struct farside *farside) {
  if (!is_usable(farside)) return FARSIDE_INVALID;
  session_turn(farside->session);
  return report_all(farside);
}

const char *farside_problem(const struct farside *farside) {
  return farside ? farside->problem : "there is no memory";
}

void farside_close(struct farside *farside) {
  if (!farside || (farside->session && session_is_forked(farside->session))) return;
  if (farside->session) session_cancel_all(farside->session);
  if (farside->session) report_all(farside);
  if (farside->L) lua_close(farside->L);
  for (uint32_t i = 0; i < farside->function_count; i++) free(farside->functions[i]);
  free(farside->functions);
  pthread_mutex_destroy(&farside->reporting);
  free(farside);
}
