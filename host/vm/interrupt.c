#define _GNU_SOURCE
#include "interrupt.h"

#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdint.h>

static const char kKey[] = "farside.interrupt";

enum { SIGNAL = SIGURG };  // ignored where nobody handles it

void interrupt_send(const struct interrupt *interrupt, pthread_t thread) {
  union sigval value = {.sival_ptr = (void *)(uintptr_t)interrupt};
  pthread_sigqueue(thread, SIGNAL, value);
  pthread_kill(thread, SIGPROF);
}

// As long as it is wanted the hook stays: whoever catches the error has it again at the next
// instruction, out to the outermost function.
static void on_hook(lua_State *L, lua_Debug *event) {
  (void)event;
  lua_getfield(L, LUA_REGISTRYINDEX, kKey);
  const struct interrupt *interrupt = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!interrupt || !interrupt->wanted(interrupt->owner)) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  if (!interrupt->spares || !interrupt->spares(interrupt->owner, L)) luaL_error(L, "interrupted");
}

// lua_sethook is one of the few functions of Lua that may be called from a signal handler.
static void on_signal(int number, siginfo_t *info, void *machine) {
  (void)number, (void)machine;
  const struct interrupt *interrupt = info->si_value.sival_ptr;
  if (info->si_code == SI_QUEUE && interrupt)
    lua_sethook(interrupt->L, on_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT,
                1);
}

static void on_profile(void *data, lua_State *L, int samples, int state) {
  (void)data, (void)L, (void)samples, (void)state;
}

void interrupt_open(struct interrupt *interrupt) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  sigaction(SIGNAL, &action, NULL);
  lua_pushlightuserdata(interrupt->L, interrupt);
  lua_setfield(interrupt->L, LUA_REGISTRYINDEX, kKey);
  luaJIT_profile_start(interrupt->L, "li2000000000", on_profile, NULL);
}

void interrupt_close(struct interrupt *interrupt) {
  luaJIT_profile_stop(interrupt->L);
  signal(SIGNAL, SIG_IGN);
  signal(SIGPROF, SIG_IGN);
}
