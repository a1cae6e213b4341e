#include "bind_simulate.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "../core/autoscale.h"
#include "../core/limits.h"
#include "../core/router.h"
#include "../simulate/clairvoyant.h"
#include "../simulate/simulate.h"
#include "../simulate/trace.h"
#include "bind_functions.h"
#include "bind_scaling.h"

static const char kSimulation[] = "farside.simulation", kTrace[] = "farside.trace";

// ---- traces ----

static int l_read_trace(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  struct trace_names names = {.deployment = luaL_checkstring(L, 3)};
  luaL_checktype(L, 2, LUA_TTABLE);
  uint32_t count = (uint32_t)lua_objlen(L, 2);
  const char **functions = lua_newuserdata(L, (count + 1) * sizeof *functions);
  for (uint32_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    functions[i] = luaL_checkstring(L, -1);  // the list keeps it
    lua_pop(L, 1);
  }
  names.functions = functions;
  names.function_count = count;
  struct trace **place = lua_newuserdata(L, sizeof(struct trace *));
  *place = NULL;
  luaL_getmetatable(L, kTrace);
  lua_setmetatable(L, -2);
  struct trace_problem problem;
  *place = trace_read(text, size, &names, &problem);
  if (*place) {
    lua_pushnumber(L, (lua_Number)(*place)->count);
    lua_pushnumber(L, (*place)->calls[(*place)->count - 1].arrival);
    return 3;
  }
  lua_pushnil(L);
  lua_pushinteger(L, (lua_Integer)problem.line);
  lua_pushstring(L, problem.text);
  return 3;
}

static int l_trace_gc(lua_State *L) {
  struct trace **place = luaL_checkudata(L, 1, kTrace);
  free(*place);
  *place = NULL;
  return 0;
}

// ---- options ----

static int field_option(lua_State *L, int index, const char *key, const char *const *words) {
  lua_getfield(L, index, key);
  int option = luaL_checkoption(L, -1, words[0], words);
  lua_pop(L, 1);
  return option;
}

// What the list `key` of the table at index 1 has, zeroed, in a userdata left on the stack with the
// list above it.
static void *list_of(lua_State *L, const char *key, size_t size, uint32_t *count) {
  lua_getfield(L, 1, key);
  *count = lua_istable(L, -1) ? (uint32_t)lua_objlen(L, -1) : 0;
  void *list = lua_newuserdata(L, (*count + 1) * size);
  memset(list, 0, (*count + 1) * size);
  lua_insert(L, -2);
  return list;
}

static void read_arrivals(lua_State *L, struct arrivals_options *options) {
  static const char *const shapes[] = {"even",   "poisson", "diurnal", "burst",
                                       "square", "closed",  "trace",   NULL};
  static const char *const workloads[] = {"constant",  "uniform", "exponential",
                                          "lognormal", "pareto",  NULL};
  lua_getfield(L, 1, "arrivals");
  luaL_checktype(L, -1, LUA_TTABLE);
  int index = lua_gettop(L);
  *options = (struct arrivals_options){
      .shape = (enum arrivals_shape)field_option(L, index, "shape", shapes),
      .rate = bind_number(L, index, "rate", 0),
      .high = bind_number(L, index, "high", 0),
      .swing = bind_number(L, index, "swing", 0),
      .period = bind_number(L, index, "period", 0),
      .length = bind_number(L, index, "length", 0),
      .closed = (uint32_t)bind_number(L, index, "closed", 0),
      .seconds = bind_number(L, index, "seconds", 0),
      .workload = (enum workload_shape)field_option(L, index, "workload", workloads),
      .mean = bind_number(L, index, "mean", 100),
      .spread = bind_number(L, index, "spread", 0),
      .told_alike = bind_boolean(L, index, "told_alike"),
      .told_wrong = bind_number(L, index, "told_wrong", 0),
      .noise = bind_number(L, index, "noise", 0),
      .reference = bind_number(L, index, "reference", 1)};
  lua_getfield(L, index, "trace");
  if (!lua_isnil(L, -1)) options->trace = *(struct trace **)luaL_checkudata(L, -1, kTrace);
  luaL_argcheck(L, options->trace || options->shape != ARRIVALS_TRACE, 1, "there is no trace");
  lua_settop(L, index);
}

static const struct simulation_kind *read_kinds(lua_State *L, uint32_t *count) {
  struct simulation_kind *kinds = list_of(L, "kinds", sizeof *kinds, count);
  int list = lua_gettop(L);
  for (uint32_t i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    kinds[i] = (struct simulation_kind){.count = (uint32_t)bind_number(L, list + 1, "count", 1),
                                        .speed = bind_number(L, list + 1, "speed", 1),
                                        .start = bind_number(L, list + 1, "start", 0),
                                        .spread = bind_number(L, list + 1, "spread", 0),
                                        .faults = bind_number(L, list + 1, "faults", 0),
                                        .deaths = bind_number(L, list + 1, "deaths", 0),
                                        .round_trip = bind_number(L, list + 1, "round_trip", 0)};
    lua_settop(L, list);
  }
  return kinds;
}

static const struct simulation_change *read_changes(lua_State *L, uint32_t *count) {
  struct simulation_change *changes = list_of(L, "changes", sizeof *changes, count);
  int list = lua_gettop(L);
  for (uint32_t i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    changes[i] =
        (struct simulation_change){.worker = (uint32_t)bind_number(L, list + 1, "worker", 0),
                                   .at = bind_number(L, list + 1, "at", 0),
                                   .factor = bind_number(L, list + 1, "factor", 1)};
    lua_settop(L, list);
  }
  return changes;
}

static const double *read_shares(lua_State *L, uint32_t *count) {
  double *shares = list_of(L, "shares", sizeof *shares, count);
  int list = lua_gettop(L);
  for (uint32_t i = 0; i < *count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    shares[i] = luaL_checknumber(L, -1);
    lua_settop(L, list);
  }
  return *count ? shares : NULL;
}

// ---- simulations ----

static struct simulation *check_simulation(lua_State *L) {
  return *(struct simulation **)luaL_checkudata(L, 1, kSimulation);
}

static void check_workers(lua_State *L, const struct simulation_options *options) {
  uint32_t workers = 0;
  for (uint32_t i = 0; i < options->kind_count; i++) {
    luaL_argcheck(L, options->kinds[i].count <= LIMIT_WORKERS && options->kinds[i].speed > 0, 1,
                  "kinds: a count or a speed is out of its range");
    workers += options->kinds[i].count;
  }
  luaL_argcheck(L, workers >= 1 && workers <= LIMIT_WORKERS, 1, "kinds: expected 1..1024 workers");
  for (uint32_t i = 0; i < options->change_count; i++)
    luaL_argcheck(L, options->changes[i].worker < workers, 1, "changes: there is no such worker");
  for (uint32_t i = 0; i < options->function_count; i++)
    luaL_argcheck(L, options->functions[i].concurrency >= 1, 1, "functions: no concurrency");
  luaL_argcheck(L, options->function_count >= 1, 1, "functions: expected at least one");
}

static int l_simulation(lua_State *L) {
  static const char *const policies[] = {"farside",           "round_robin",
                                         "least_connections", "least_connections_weighted",
                                         "power_of_two",      NULL};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct simulation_options options = {
      .policy = (enum policy)field_option(L, 1, "policy", policies),
      .seed = (uint64_t)bind_number(L, 1, "seed", 1),
      .measured_from = bind_number(L, 1, "measured_from", 0),
      .sample_count = (uint32_t)bind_number(L, 1, "sample_count", 0),
      .horizon = bind_number(L, 1, "horizon", 0)};
  read_arrivals(L, &options.arrivals);
  options.kinds = read_kinds(L, &options.kind_count);
  options.changes = read_changes(L, &options.change_count);
  options.functions = bind_functions(L, 1, &options.function_count);
  options.arrivals.shares = read_shares(L, &options.arrivals.function_count);
  options.scaling = bind_scaling(L, 1);
  check_workers(L, &options);
  struct simulation **place = lua_newuserdata(L, sizeof(struct simulation *));
  *place = NULL;
  luaL_getmetatable(L, kSimulation);
  lua_setmetatable(L, -2);
  // The simulation refers to the trace, the shares and texts of the functions.
  lua_createtable(L, 1, 0);
  for (int i = 1; i < lua_gettop(L) - 1; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, i);
  }
  lua_setfenv(L, -2);
  *place = simulation_new(&options);
  return 1;
}

static int l_simulation_gc(lua_State *L) {
  struct simulation **place = luaL_checkudata(L, 1, kSimulation);
  simulation_free(*place);
  *place = NULL;
  return 0;
}

static int l_run(lua_State *L) {
  lua_pushboolean(L, simulation_run(check_simulation(L), luaL_checknumber(L, 2)));
  return 1;
}

// ---- results ----

static void set(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_times(lua_State *L, const char *key, const struct histogram *times) {
  lua_createtable(L, 0, 6);
  set(L, "count", (double)times->count);
  set(L, "mean", histogram_mean(times));
  set(L, "p50", histogram_quantile(times, 0.5));
  set(L, "p95", histogram_quantile(times, 0.95));
  set(L, "p99", histogram_quantile(times, 0.99));
  set(L, "max", (double)times->most * 1e-9);
  lua_setfield(L, -2, key);
}

static void set_workers(lua_State *L, const struct simulation_result *result) {
  lua_createtable(L, (int)result->worker_count, 0);
  for (uint32_t i = 0; i < result->worker_count; i++) {
    const struct simulation_worker *worker = &result->workers[i];
    lua_createtable(L, 0, 8);
    set(L, "speed", worker->speed);
    set(L, "calls", (double)worker->calls);
    set(L, "busy", worker->busy);
    set(L, "ready", worker->ready);
    set(L, "starting", worker->starting);
    set(L, "parked", worker->parked);
    set(L, "starts", worker->starts);
    set(L, "stops", worker->stops);
    set(L, "deaths", worker->deaths);
    set(L, "parks", worker->parks);
    set(L, "unparks", worker->unparks);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "workers");
}

static void set_samples(lua_State *L, const struct simulation_result *result) {
  lua_createtable(L, (int)result->sample_count, 0);
  for (uint32_t i = 0; i < result->sample_count; i++) {
    const struct simulation_sample *sample = &result->samples[i];
    lua_createtable(L, 0, 12);
    set(L, "at", sample->at);
    set(L, "arrived", sample->arrived);
    set(L, "ended", sample->ended);
    set(L, "failed", sample->failed);
    set(L, "waiting", sample->waiting);
    set(L, "running", sample->running);
    set(L, "active", sample->active);
    set(L, "starting", sample->starting);
    set(L, "parked", sample->parked);
    set(L, "p50", sample->p50);
    set(L, "p99", sample->p99);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "samples");
}

static int l_result(lua_State *L) {
  const struct simulation_result *result = simulation_result(check_simulation(L));
  lua_createtable(L, 0, 16);
  set(L, "seconds", result->seconds);
  set(L, "calls", (double)result->calls);
  set(L, "ended", (double)result->ended);
  set(L, "failed", (double)result->failed);
  set(L, "work_come", result->work_come);
  set(L, "work_done", result->work_done);
  set(L, "work_in_time", result->work_in_time);
  set(L, "decisions", (double)result->decisions);
  set_times(L, "wait", &result->wait);
  set_times(L, "latency", &result->latency);
  lua_newtable(L);
  for (int i = 0; i < ERROR_NAMES; i++)
    if (result->errors[i]) set(L, error_text((enum error_name)i), (double)result->errors[i]);
  lua_setfield(L, -2, "errors");
  set_workers(L, result);
  set_samples(L, result);
  return 1;
}

static int l_clairvoyant(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct clairvoyant_options options = {.seed = (uint64_t)bind_number(L, 1, "seed", 1),
                                        .speed = bind_number(L, 1, "speed", 1),
                                        .start = bind_number(L, 1, "start", 0),
                                        .wait = bind_number(L, 1, "wait", 0)};
  read_arrivals(L, &options.arrivals);
  struct clairvoyant found;
  clairvoyant_find(&options, &found);
  lua_createtable(L, 0, 6);
  set(L, "bound", found.bound);
  set(L, "schedule", found.schedule);
  set(L, "step", found.step);
  set(L, "starts", found.starts);
  set(L, "most", found.most);
  set(L, "p99", found.p99);
  return 1;
}

void bind_simulate(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"run", l_run}, {"result", l_result}, {"__gc", l_simulation_gc}, {NULL, NULL}};
  luaL_newmetatable(L, kTrace);
  lua_pushcfunction(L, l_trace_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, kSimulation);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
  lua_pushcfunction(L, l_read_trace);
  lua_setfield(L, -2, "read_trace");
  lua_pushcfunction(L, l_clairvoyant);
  lua_setfield(L, -2, "clairvoyant");
  lua_pushcfunction(L, l_simulation);
  lua_setfield(L, -2, "simulation");
}
