// What loop.c and keeper.c share. Private to them.
#pragma once

#include "baton.h"
#include "loop.h"
#include "wait.h"

struct loop {
  uv_loop_t uv;
  uv_async_t wake;
  uv_poll_t clock;  // a timerfd, set only for those who poll the loop themselves
  int clock_fd;
  int64_t alarm;  // the instant the clock is set to; INT64_MAX: none
  struct loop_events events;
  struct wait wait;
  int64_t ran;   // when the sockets were last looked at
  bool stirred;  // something happened in this turn
  _Atomic uint64_t turns;
  atomic_bool asleep;  // the holder sleeps in the loop

  struct baton baton;
  pthread_t keeper;
  bool kept;                // the keeper runs
  atomic_bool is_external;  // somebody polls the loop's descriptor
  atomic_bool closing;
};

/// As loop_wait, but leaves it to the caller to give the baton away.
enum loop_result loop_pump(struct loop *loop, int64_t until);
