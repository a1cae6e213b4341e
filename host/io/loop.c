#define _GNU_SOURCE
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "loop_state.h"

// While calls flow the answers are read directly; the loop, which sees everything else, runs at
// least so often.
static const int64_t kRun = NANOSECONDS_PER_MILLISECOND;

enum { TURNS = 16 };  // without a wait, in a row

// ---- waiting ----

// Reads all that is ready, and lets libuv tell the kernel which handles are new.
static void run(struct loop *loop, int64_t now) {
  uv_run(&loop->uv, UV_RUN_NOWAIT);
  loop->ran = now;
}

void loop_stir(struct loop *loop) {
  loop->stirred = true;
  baton_news(&loop->baton);
}

static bool take_stirred(struct loop *loop) {
  bool stirred = loop->stirred;
  loop->stirred = false;
  return stirred;
}

// True: something happened, or the baton is wanted.
static bool spin(struct loop *loop) {
  while (wait_again(&loop->wait)) {
    loop->events.poll(loop->events.owner);
    if (loop->stirred || baton_wanted(&loop->baton)) return true;
  }
  return false;
}

// The rest of the wait in the kernel.
static enum loop_result sleep_until(struct loop *loop, int64_t until) {
  int64_t left = until - wait_now();
  if (left < 0) left = 0;
  struct timespec time = {left / NANOSECONDS_PER_SECOND, left % NANOSECONDS_PER_SECOND};
  struct pollfd ready = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
  atomic_store(&loop->asleep, true);
  int count = ppoll(&ready, 1, until == INT64_MAX ? NULL : &time, NULL);
  int error = errno;
  atomic_store(&loop->asleep, false);
  if (count < 0 && error == EINTR) return LOOP_INTERRUPTED;
  if (!count) return LOOP_TIMEOUT;
  run(loop, wait_now());
  return LOOP_EVENT;
}

static int64_t turn(struct loop *loop, int64_t now) {
  uint64_t turns = atomic_load_explicit(&loop->turns, memory_order_relaxed);
  atomic_store_explicit(&loop->turns, turns + 1, memory_order_relaxed);
  return loop->events.turn(loop->events.owner, now);
}

// The time counts from before the sockets were read, so that a gap in between does no harm.
static int64_t step(struct loop *loop) {
  int64_t now = wait_now();
  if (now - loop->ran >= kRun) run(loop, now);
  return turn(loop, now);
}

enum loop_result loop_pump(struct loop *loop, int64_t until) {
  if (baton_wanted(&loop->baton)) return LOOP_WANTED;
  int64_t next = step(loop);
  if (take_stirred(loop)) return LOOP_EVENT;
  wait_begin(&loop->wait);
  if (!spin(loop)) {
    run(loop, wait_now());
    if (!loop->stirred && !baton_wanted(&loop->baton)) {
      enum loop_result result = sleep_until(loop, until < next ? until : next);
      if (result == LOOP_TIMEOUT) return next < until ? LOOP_EVENT : LOOP_TIMEOUT;
      if (result == LOOP_INTERRUPTED) return result;
    }
  }
  wait_end(&loop->wait);
  return take_stirred(loop) || !baton_wanted(&loop->baton) ? LOOP_EVENT : LOOP_WANTED;
}

enum loop_result loop_wait(struct loop *loop, int64_t until) {
  enum loop_result result = loop_pump(loop, until);
  if (result == LOOP_WANTED) baton_pass(&loop->baton, until);
  return result;
}

// ---- turns for those who poll themselves ----

static void set_clock(struct loop *loop, int64_t at) {
  if (loop->alarm == at) return;
  loop->alarm = at;
  struct itimerspec timer = {0};
  if (at != INT64_MAX) {
    if (at < 1) at = 1;  // 0 would unset it
    timer.it_value = (struct timespec){at / NANOSECONDS_PER_SECOND, at % NANOSECONDS_PER_SECOND};
  }
  timerfd_settime(loop->clock_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

void loop_turn(struct loop *loop) {
  int64_t next = INT64_MAX;
  for (int i = 0; i < TURNS; i++) {
    loop->stirred = false;
    int64_t now = wait_now();
    run(loop, now);
    next = turn(loop, now);
    // Handles that the turn has changed are known to the kernel after one more run only.
    if (atomic_load(&loop->is_external)) run(loop, now);
    if (!loop->stirred) break;
  }
  if (!atomic_load(&loop->is_external)) return;
  set_clock(loop, next);
  if (take_stirred(loop)) loop_wake(loop);
}

int loop_fd(struct loop *loop) {
  if (!atomic_exchange(&loop->is_external, true)) {
    baton_stir(&loop->baton);
    loop_turn(loop);
  }
  return uv_backend_fd(&loop->uv);
}

// ---- the baton ----

void loop_acquire(struct loop *loop) {
  baton_take(&loop->baton);
}

void loop_release(struct loop *loop) {
  baton_give(&loop->baton);
}

void loop_wake(struct loop *loop) {
  uv_async_send(&loop->wake);
}

uv_loop_t *loop_uv(struct loop *loop) {
  return &loop->uv;
}

// ---- life ----

// A wake may be read in a run that is followed by a sleep.
static void on_wake(uv_async_t *wake) {
  loop_stir(wake->data);
}

static void on_clock(uv_poll_t *clock, int status, int events) {
  (void)status, (void)events;
  struct loop *loop = clock->data;
  uint64_t count;
  if (read(loop->clock_fd, &count, sizeof count) > 0) loop->alarm = INT64_MAX;
}

static void on_baton_wanted(void *owner) {
  loop_wake(owner);
}

static int open_handles(struct loop *loop) {
  int error = uv_async_init(&loop->uv, &loop->wake, on_wake);
  if (error) return error;
  loop->wake.data = loop;
  loop->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (loop->clock_fd < 0) return -errno;
  error = uv_poll_init(&loop->uv, &loop->clock, loop->clock_fd);
  if (error) return error;
  loop->clock.data = loop;
  return uv_poll_start(&loop->clock, UV_READABLE, on_clock);
}

static void close_handle(uv_handle_t *handle, void *owner) {
  (void)owner;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void destroy(struct loop *loop) {
  uv_walk(&loop->uv, close_handle, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  int error = uv_loop_close(&loop->uv);
  assert(!error);
  (void)error;
  if (loop->clock_fd >= 0) close(loop->clock_fd);
  baton_close(&loop->baton);
  free(loop);
}

// A program may have been started with its standard descriptors closed. What is opened must not get
// their numbers: libuv ends the process, and text for stderr would go into a socket.
static void open_standard(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

int loop_open(struct loop **out, const struct loop_events *events) {
  open_standard();
  struct loop *loop = xcalloc(1, sizeof *loop);
  loop->events = *events;
  loop->alarm = INT64_MAX;
  loop->clock_fd = -1;
  wait_init(&loop->wait);
  int error = uv_loop_init(&loop->uv);
  if (error) {
    free(loop);
    return error;
  }
  baton_init(&loop->baton, on_baton_wanted, loop);
  error = open_handles(loop);
  if (error)
    destroy(loop);
  else
    *out = loop;
  return error;
}

void loop_close(struct loop *loop) {
  atomic_store(&loop->closing, true);
  if (loop->kept) {
    baton_stir(&loop->baton);
    loop_wake(loop);
    pthread_join(loop->keeper, NULL);
  }
  loop_acquire(loop);
  destroy(loop);
}
