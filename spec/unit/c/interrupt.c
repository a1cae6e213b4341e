// Checks of host/vm/interrupt.c: code of every kind is stopped within 100 ms, compiled or not, by a
// thread that interrupts as the warden does.
#define _GNU_SOURCE
#include "../../../host/vm/interrupt.h"

#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "../../../host/io/wait.h"
#include "../../../host/vm/vm.h"
#include "check.h"

enum { MILLISECOND = 1000000, WARM = 60, AGAIN = 5, LATEST = 100 };

struct fixture {
  struct interrupt interrupt;
  pthread_t thread;
  atomic_bool wanted, over;
  int64_t since;
};

static bool is_wanted(void *owner) {
  return atomic_load(&((struct fixture *)owner)->wanted);
}

// Lets the code become compiled, then interrupts until it has ended.
static void *interrupt_later(void *argument) {
  struct fixture *fixture = argument;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  poll(NULL, 0, WARM);
  fixture->since = wait_now();
  atomic_store(&fixture->wanted, true);
  while (!atomic_load(&fixture->over)) {
    interrupt_send(&fixture->interrupt, fixture->thread);
    poll(NULL, 0, AGAIN);
  }
  return NULL;
}

static void set_up(struct fixture *fixture) {
  *fixture = (struct fixture){.thread = pthread_self()};
  fixture->interrupt = (struct interrupt){vm_open(VM_WORKER), is_wanted, NULL, fixture};
  EXPECT(fixture->interrupt.L != NULL);
  interrupt_open(&fixture->interrupt);
}

static void tear_down(struct fixture *fixture) {
  interrupt_close(&fixture->interrupt);
  lua_close(fixture->interrupt.L);
}

// Runs `code` in a coroutine, as calls run, until it is interrupted. Returns nanoseconds.
static int64_t stop(struct fixture *fixture, const char *code) {
  pthread_t thread;
  lua_State *L = fixture->interrupt.L, *co = lua_newthread(L);
  EXPECT_EQUAL(0, luaL_loadstring(co, code));
  atomic_store(&fixture->over, false);
  EXPECT_EQUAL(0, pthread_create(&thread, NULL, interrupt_later, fixture));
  int status = lua_resume(co, 0);
  int64_t took = wait_now() - fixture->since;
  atomic_store(&fixture->over, true);
  pthread_join(thread, NULL);
  atomic_store(&fixture->wanted, false);
  EXPECT(status > LUA_YIELD);
  if (!strstr(lua_tostring(co, -1), "interrupted")) {
    printf("it ended in: %s\n", lua_tostring(co, -1));
    exit(1);
  }
  lua_settop(L, 0);
  return took;
}

// With the compiler and without it; what the state does afterwards is not disturbed.
static void expect_stopped(const char *code) {
  struct fixture fixture;
  set_up(&fixture);
  for (int compiled = 1; compiled >= 0; compiled--) {
    if (!compiled) EXPECT_EQUAL(0, luaL_dostring(fixture.interrupt.L, "jit.off() jit.flush()"));
    int64_t took = stop(&fixture, code);
    if (took > LATEST * MILLISECOND) {
      printf("it took %d ms, %s\n", (int)(took / MILLISECOND),
             compiled ? "compiled" : "not compiled");
      exit(1);
    }
    EXPECT_EQUAL(0, luaL_dostring(fixture.interrupt.L,
                                  "local n = 0 for i = 1, 1e6 do n = n + i end "
                                  "assert(n == 500000500000)"));
  }
  tear_down(&fixture);
}

static void counting(void) {
  expect_stopped("local n = 0 while true do n = n + 1 end");
}

static void numeric_for(void) {
  expect_stopped("local n = 0 for i = 1, 1e18 do n = n + i % 3 end");
}

static void repeat_loop(void) {
  expect_stopped("local x = 1 repeat x = x * 1.5 if x > 1e9 then x = 1 end until x < 0");
}

static void inlined_calls(void) {
  expect_stopped(
      "local function f(x) return x * 2 + 1 end local n = 0 while true do n = f(n) % 7 end");
}

static void library_calls(void) {
  expect_stopped("local s while true do s = tostring(1 + 2) s = s:rep(3):upper() end");
}

static void allocations(void) {
  expect_stopped("local t while true do t = { t and #t or 0, {} } end");
}

static void text(void) {
  expect_stopped(
      "local i = 0 while true do i = i + 1 local s = ('x' .. i):rep(10):gsub('x', 'y') end");
}

static void recursion(void) {
  expect_stopped(
      "local function f(n) if n == 0 then return 0 end return 1 + f(n - 1) end "
      "while true do f(100) end");
}

static void tail_calls(void) {
  expect_stopped("local function f(n) return f(n + 1) end f(0)");
}

static void iterators(void) {
  expect_stopped(
      "local t = { 1, 2, 3, x = 4 } local n = 0 "
      "while true do for k, v in pairs(t) do n = n + v end for _, v in ipairs(t) do n = n - v end "
      "end");
}

static void ffi_loop(void) {
  expect_stopped(
      "local a = require('ffi').new('double[64]') "
      "while true do for i = 0, 63 do a[i] = a[i] + i end end");
}

static void coroutines(void) {
  expect_stopped(
      "while true do local f = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i) end "
      "end) for i = 1, 100 do f() end end");
}

static void inside_of_a_coroutine(void) {
  expect_stopped("coroutine.wrap(function() local n = 0 while true do n = n + 1 end end)()");
}

static void coroutines_that_die(void) {
  expect_stopped(
      "while true do coroutine.resume(coroutine.create(function() while true do end end)) end");
}

static void pcall_loop(void) {
  expect_stopped("while true do pcall(error, 'x') end");
}

static void swallowed(void) {
  expect_stopped(
      "local function spin() while true do end end "
      "while true do pcall(spin) xpcall(spin, function(e) return e end) end");
}

static void swallowed_and_nested(void) {
  expect_stopped(
      "local function deep(n) while true do "
      "if n == 0 then pcall(function() while true do end end) else pcall(deep, n - 1) end end end "
      "deep(20)");
}

static void sorting(void) {
  expect_stopped("local t = {} for i = 1, 1e3 do t[i] = i % 7 end while true do table.sort(t) end");
}

static void callback_of_gsub(void) {
  expect_stopped("('x'):gsub('x', function() while true do end end)");
}

static void metamethods(void) {
  expect_stopped(
      "local t = setmetatable({}, { __index = function(_, k) return k + 1 end }) "
      "local n = 0 while true do n = t[n % 100] end");
}

static void sleep_in_the_kernel(void) {
  expect_stopped(
      "local ffi = require 'ffi' ffi.cdef 'int poll(void *fds, unsigned long count, int timeout);' "
      "while true do ffi.C.poll(nil, 0, 3000) end");
}

static void unwanted_is_harmless(void) {
  struct fixture fixture;
  set_up(&fixture);
  for (int i = 0; i < 1000; i++) {
    interrupt_send(&fixture.interrupt, fixture.thread);
    EXPECT_EQUAL(0, luaL_dostring(fixture.interrupt.L,
                                  "local n = 0 for i = 1, 1e4 do n = n + i end return n"));
    EXPECT_EQUAL(50005000, lua_tonumber(fixture.interrupt.L, -1));
    lua_settop(fixture.interrupt.L, 0);
  }
  EXPECT(lua_gethook(fixture.interrupt.L) == NULL);
  tear_down(&fixture);
}

static void signals_cost_nothing_when_closed(void) {
  struct fixture fixture;
  set_up(&fixture);
  struct interrupt interrupt = fixture.interrupt;
  tear_down(&fixture);
  interrupt_send(&interrupt, pthread_self());
}

static const struct check kChecks[] = {
    {"stops a loop that counts", counting},
    {"stops a numeric for", numeric_for},
    {"stops a repeat", repeat_loop},
    {"stops a loop with inlined calls", inlined_calls},
    {"stops a loop of library calls", library_calls},
    {"stops a loop that allocates", allocations},
    {"stops a loop of string operations", text},
    {"stops recursion", recursion},
    {"stops tail calls", tail_calls},
    {"stops loops over pairs and ipairs", iterators},
    {"stops a loop over ffi arrays", ffi_loop},
    {"stops a loop that makes coroutines", coroutines},
    {"stops a loop inside of a coroutine", inside_of_a_coroutine},
    {"stops a loop whose coroutines die of it", coroutines_that_die},
    {"stops a loop of pcalls", pcall_loop},
    {"stops code that catches the error", swallowed},
    {"stops code that catches the error at many levels", swallowed_and_nested},
    {"stops a loop that sorts", sorting},
    {"stops a callback of gsub", callback_of_gsub},
    {"stops a loop of metamethods", metamethods},
    {"stops a sleep in the kernel", sleep_in_the_kernel},
    {"does nothing where it is not wanted", unwanted_is_harmless},
    {"does nothing once it is closed", signals_cost_nothing_when_closed},
};

CHECK_MAIN(kChecks)
