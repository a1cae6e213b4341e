// An interrupt (Ctrl-C) is taken by a thread that waits for it and sends a signal of its own, which
// can carry a pointer: no variable that lives as long as the process is needed. The first one
// raises an error in the Lua code that runs, the second ends the process.
//
// A reader of stdout that has gone, as in `farside run x.lua | head -1`, ends the process as it ends
// others. What else breaks (the pipe of a process that was started, stderr) is an error to its
// writer.
#define _GNU_SOURCE
#include "run.h"

#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../io/fork.h"
#include "interrupt.h"
#include "vm.h"

enum { EXIT_FAILED = 1, EXIT_UNWRITTEN = 74, EXIT_INTERRUPTED = 130 };

static const char kKey[] = "farside.run";

struct run {
  struct fork_mark *mark;
  struct interrupt interrupt;
  pthread_t main, watcher;
  bool watched;
  _Atomic bool raised;  // an interrupt came and was not delivered yet
};

static bool is_wanted(void *owner) {
  struct run *run = owner;
  return atomic_exchange(&run->raised, false);
}

static void *wait_for_interrupt(void *argument) {
  struct run *run = argument;
  sigset_t set;
  int number;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  for (int times = 0;; times++) {
    if (sigwait(&set, &number)) return NULL;
    if (times) _exit(EXIT_INTERRUPTED);
    atomic_store(&run->raised, true);
    interrupt_send(&run->interrupt, run->main);
  }
}

static void watch_interrupts(struct run *run) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  run->main = pthread_self();
  interrupt_open(&run->interrupt);
  pthread_sigmask(SIG_BLOCK, &set, NULL);  // here and in all threads to come
  run->watched = !pthread_create(&run->watcher, NULL, wait_for_interrupt, run);
  lua_pushlightuserdata(run->interrupt.L, run);
  lua_setfield(run->interrupt.L, LUA_REGISTRYINDEX, kKey);
}

static void on_broken_pipe(int number) {
  struct pollfd out = {.fd = STDOUT_FILENO};
  int error = errno;
  if (poll(&out, 1, 0) > 0 && out.revents & POLLERR) {
    signal(number, SIG_DFL);
    raise(number);  // comes when this returns
  }
  errno = error;
}

static struct run *run_of(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, kKey);
  struct run *run = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return run;
}

bool run_is_forked(lua_State *L) {
  const struct run *run = run_of(L);
  return run && fork_is_child(run->mark);
}

void run_release_signals(lua_State *L) {
  struct run *run = run_of(L);
  if (!run || !run->watched || fork_is_child(run->mark)) return;
  signal(SIGPIPE, SIG_IGN);
  run->watched = false;
  pthread_cancel(run->watcher);  // it waits in sigwait
  pthread_join(run->watcher, NULL);
}

// require('farside.cli')(arguments) -> exit code
static int call_cli(lua_State *L, int count, char **arguments) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "farside.cli");
  if (vm_call(L, 1, 1)) goto fail;
  lua_createtable(L, count, 0);
  for (int i = 1; i < count; i++) {
    lua_pushstring(L, arguments[i]);
    lua_rawseti(L, -2, i);
  }
  if (vm_call(L, 1, 1)) goto fail;
  return (int)lua_tointeger(L, -1);

fail:
  fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  return EXIT_FAILED;
}

// What was printed may still wait to be written, or have been lost.
static int end_output(int code) {
  bool failed = ferror(stdout) != 0;
  errno = 0;
  if (!fflush(stdout) && !failed) return code;
  const char *why = errno ? strerror(errno) : NULL;
  fprintf(stderr, "farside: cannot write to stdout%s%s\n", why ? ": " : "", why ? why : "");
  return code ? code : EXIT_UNWRITTEN;
}

int run_main(int count, char **arguments) {
  vm_keep_blocks();
  signal(SIGPIPE, on_broken_pipe);
  struct run run = {.interrupt = {.wanted = is_wanted}};
  run.interrupt.owner = &run;
  run.interrupt.L = vm_open(VM_CLIENT);
  run.mark = fork_mark_new();
  if (!run.interrupt.L || !run.mark) {
    fprintf(stderr, "farside: there is no memory for a Lua state\n");
    return EXIT_FAILED;
  }
  watch_interrupts(&run);
  int code = call_cli(run.interrupt.L, count, arguments);
  if (fork_is_child(run.mark)) fork_leave(end_output(code));  // it has come to the script's end
  run_release_signals(run.interrupt.L);
  interrupt_close(&run.interrupt);
  lua_close(run.interrupt.L);
  fork_mark_free(run.mark);
  return end_output(code);
}
