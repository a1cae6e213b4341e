// Checks of host/io/loop.c, keeper.c, baton.c and wait.c. Where a time is promised the best of many tries counts: the
// machine has other things to do.
#define _GNU_SOURCE
#include "../../../host/io/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../../host/io/wait.h"
#include "check.h"

enum { MILLISECOND = 1000000 };

struct shell {
  struct loop *loop;
  _Atomic int64_t turned;  // when, last
  atomic_int turns;
  int64_t next;         // what a turn answers: after so many ns, 0: never
  bool was_read;        // what lies in the socket
  bool was_read_first;  // at the first turn after it was written
  atomic_int kept;
};

static int64_t on_turn(void *owner, int64_t now) {
  struct shell *shell = owner;
  shell->turned = wait_now();
  shell->turns++;
  shell->was_read_first = shell->was_read;
  return shell->next ? now + shell->next : INT64_MAX;
}

static void on_poll(void *owner) {
  (void)owner;
}

static void on_kept(void *owner) {
  struct shell *shell = owner;
  loop_release(shell->loop);
  loop_acquire(shell->loop);  // as one does who calls out
  shell->kept++;
}

static void shell_open(struct shell *shell, bool keep) {
  struct loop_events events = {on_turn, on_poll, on_kept, shell};
  *shell = (struct shell){0};
  EXPECT_EQUAL(0, loop_open(&shell->loop, &events));
  if (keep) EXPECT_EQUAL(0, loop_keep(shell->loop));
}

static void rest(int64_t nanoseconds) {
  int64_t end = wait_now() + nanoseconds;
  while (wait_now() < end) {
    struct timespec time = {0, 100000};
    nanosleep(&time, NULL);
  }
}

// Computes, as a user's code does between calls.
static void compute(int64_t nanoseconds) {
  int64_t end = wait_now() + nanoseconds;
  while (wait_now() < end) continue;
}

// ---- the baton ----

struct counter {
  struct loop *loop;
  long *count;
};

static void *count_up(void *argument) {
  struct counter *counter = argument;
  for (int i = 0; i < 100000; i++) {
    loop_acquire(counter->loop);
    ++*counter->count;
    loop_release(counter->loop);
  }
  return NULL;
}

static void goes_to_and_fro(void) {
  struct shell shell;
  shell_open(&shell, true);
  long count = 0;
  struct counter counter = {shell.loop, &count};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, count_up, &counter);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  EXPECT_EQUAL(200000, count);
  loop_close(shell.loop);
}

static void is_taken_by_the_keeper(void) {
  struct shell shell;
  shell_open(&shell, true);
  int64_t best = INT64_MAX;
  for (int i = 0; i < 20; i++) {
    loop_acquire(shell.loop);
    loop_wait(shell.loop, wait_now());
    loop_release(shell.loop);
    int64_t from = wait_now();
    int turns = shell.turns;
    while (shell.turns == turns) rest(MILLISECOND / 10);
    int64_t took = shell.turned - from;
    if (took < best) best = took;
  }
  EXPECT(best < 5 * MILLISECOND);
  EXPECT(shell.kept > 0);
  loop_close(shell.loop);
}

static void is_taken_back_at_once(void) {
  struct shell shell;
  shell_open(&shell, true);
  int64_t best = INT64_MAX;
  for (int i = 0; i < 20; i++) {
    rest(5 * MILLISECOND);
    int64_t from = wait_now();
    loop_acquire(shell.loop);
    int64_t took = wait_now() - from;
    if (took < best) best = took;
    loop_release(shell.loop);
  }
  EXPECT(best < MILLISECOND);
  loop_close(shell.loop);
}

static void is_turned_for_those_who_only_ask(void) {
  struct shell shell;
  shell_open(&shell, true);
  int64_t end = wait_now() + 10 * (int64_t)1000 * MILLISECOND;
  while (shell.turns < 5 && wait_now() < end) {
    loop_acquire(shell.loop);
    compute(1000);
    loop_release(shell.loop);
  }
  EXPECT(shell.turns >= 5);
  loop_close(shell.loop);
}

static void sleeps_when_nothing_happens(void) {
  struct shell shell;
  shell_open(&shell, true);
  while (!shell.turns) rest(MILLISECOND);
  rest(10 * MILLISECOND);
  int turns = shell.turns;
  rest(200 * MILLISECOND);
  EXPECT(shell.turns - turns <= 2);
  loop_close(shell.loop);
}

static void wakes_a_holder_that_is_needed(void) {
  struct shell shell;
  shell_open(&shell, true);
  while (!shell.turns) rest(MILLISECOND);
  int turns = shell.turns;
  loop_wake(shell.loop);
  int64_t end = wait_now() + 5 * (int64_t)1000 * MILLISECOND;
  while (shell.turns == turns && wait_now() < end) rest(MILLISECOND / 10);
  EXPECT(shell.turns > turns);
  loop_close(shell.loop);
}

// ---- several that wait ----

struct waiter {
  struct loop *loop;
  atomic_bool *flag;
  atomic_int *waiting;
  bool timed_out;
};

static void *wait_for_flag(void *argument) {
  struct waiter *waiter = argument;
  int64_t until = wait_now() + 20 * (int64_t)1000 * MILLISECOND;
  loop_acquire(waiter->loop);
  ++*waiter->waiting;
  while (!*waiter->flag && !waiter->timed_out)
    waiter->timed_out = loop_wait(waiter->loop, until) == LOOP_TIMEOUT;
  loop_release(waiter->loop);
  return NULL;
}

static void tells_all_that_wait(void) {
  enum { WAITERS = 4 };
  struct shell shell;
  shell_open(&shell, true);
  atomic_bool flags[WAITERS] = {0};
  atomic_int waiting = 0;
  struct waiter waiters[WAITERS];
  pthread_t threads[WAITERS];
  for (int i = 0; i < WAITERS; i++) {
    waiters[i] = (struct waiter){shell.loop, &flags[i], &waiting, false};
    pthread_create(&threads[i], NULL, wait_for_flag, &waiters[i]);
  }
  while (waiting < WAITERS) rest(MILLISECOND);
  for (int i = 0; i < WAITERS; i++) {
    loop_acquire(shell.loop);
    flags[i] = true;
    loop_stir(shell.loop);
    loop_release(shell.loop);
    pthread_join(threads[i], NULL);
    EXPECT(!waiters[i].timed_out);
  }
  loop_close(shell.loop);
}

static void waits_side_by_side_until_their_time(void) {
  struct shell shell;
  shell_open(&shell, true);
  atomic_bool never = false;
  atomic_int waiting = 0;
  struct waiter waiter = {shell.loop, &never, &waiting, false};
  pthread_t thread;
  pthread_create(&thread, NULL, wait_for_flag, &waiter);
  while (!waiting) rest(MILLISECOND);
  loop_acquire(shell.loop);
  int64_t from = wait_now(), until = from + 20 * MILLISECOND;
  while (loop_wait(shell.loop, until) != LOOP_TIMEOUT)
    EXPECT(wait_now() < from + INT64_C(10000000000));
  EXPECT(wait_now() >= until);
  never = true;
  loop_stir(shell.loop);
  loop_release(shell.loop);
  pthread_join(thread, NULL);
  EXPECT(!waiter.timed_out);
  loop_close(shell.loop);
}

// ---- waits ----

static void ends_at_its_time(void) {
  struct shell shell;
  shell_open(&shell, false);
  loop_acquire(shell.loop);
  int64_t until = wait_now() + 5 * MILLISECOND;
  EXPECT_EQUAL(LOOP_TIMEOUT, loop_wait(shell.loop, until));
  EXPECT(wait_now() >= until);
  EXPECT_EQUAL(LOOP_TIMEOUT, loop_wait(shell.loop, 0));
  loop_release(shell.loop);
  loop_close(shell.loop);
}

static void turns_when_the_machines_want(void) {
  struct shell shell;
  shell_open(&shell, false);
  shell.next = 2 * MILLISECOND;
  loop_acquire(shell.loop);
  int64_t until = wait_now() + 100 * MILLISECOND;
  while (loop_wait(shell.loop, until) != LOOP_TIMEOUT) continue;
  EXPECT(shell.turns >= 5);
  EXPECT(shell.turns <= 60);
  loop_release(shell.loop);
  loop_close(shell.loop);
}

static void on_signal(int number) {
  (void)number;
}

static void *interrupt(void *argument) {
  rest(20 * MILLISECOND);
  pthread_kill(*(pthread_t *)argument, SIGUSR1);
  return NULL;
}

static void ends_on_a_signal(void) {
  struct shell shell;
  shell_open(&shell, true);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t self = pthread_self(), thread;
  loop_acquire(shell.loop);
  pthread_create(&thread, NULL, interrupt, &self);
  enum loop_result result;
  do result = loop_wait(shell.loop, wait_now() + 10 * (int64_t)1000 * MILLISECOND);
  while (result == LOOP_EVENT || result == LOOP_WANTED);
  EXPECT_EQUAL(LOOP_INTERRUPTED, result);
  loop_release(shell.loop);
  pthread_join(thread, NULL);
  loop_close(shell.loop);
}

static void on_readable(uv_poll_t *handle, int status, int events) {
  struct shell *shell = handle->data;
  (void)status, (void)events;
  shell->was_read = true;
  uv_poll_stop(handle);
  loop_stir(shell->loop);
}

// A socket that the loop reads, with the other end in `*peer`.
static void watch_socket(struct shell *shell, uv_poll_t *handle, int pair[2]) {
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  EXPECT(!uv_poll_init(loop_uv(shell->loop), handle, pair[0]));
  handle->data = shell;
  uv_poll_start(handle, UV_READABLE, on_readable);
}

static void close_socket(uv_poll_t *handle, int pair[2]) {
  uv_close((uv_handle_t *)handle, NULL);
  close(pair[0]);
  close(pair[1]);
}

static void reads_before_it_tells_the_time(void) {
  struct shell shell;
  uv_poll_t handle;
  int pair[2];
  shell_open(&shell, false);
  loop_acquire(shell.loop);
  watch_socket(&shell, &handle, pair);
  loop_wait(shell.loop, wait_now());
  EXPECT_EQUAL(1, write(pair[1], "x", 1));
  rest(5 * MILLISECOND);  // a gap in which nobody listens
  EXPECT_EQUAL(LOOP_EVENT, loop_wait(shell.loop, wait_now() + 10 * (int64_t)1000 * MILLISECOND));
  EXPECT(shell.was_read_first);
  close_socket(&handle, pair);
  loop_release(shell.loop);
  loop_close(shell.loop);
}

static void sees_sockets_while_the_user_computes(void) {
  struct shell shell;
  uv_poll_t handle;
  int pair[2];
  shell_open(&shell, true);
  loop_acquire(shell.loop);
  watch_socket(&shell, &handle, pair);
  loop_release(shell.loop);
  EXPECT_EQUAL(1, write(pair[1], "x", 1));
  int64_t end = wait_now() + 5 * (int64_t)1000 * MILLISECOND;
  bool was_read = false;
  while (!was_read && wait_now() < end) {
    compute(10 * MILLISECOND);
    loop_acquire(shell.loop);
    was_read = shell.was_read;
    loop_release(shell.loop);
  }
  EXPECT(was_read);
  loop_acquire(shell.loop);
  close_socket(&handle, pair);
  loop_release(shell.loop);
  loop_close(shell.loop);
}

static void stands_without_standard_descriptors(void) {
  struct shell shell;
  int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
  for (int fd = 0; fd <= STDERR_FILENO; fd++) close(fd);
  shell_open(&shell, true);
  loop_close(shell.loop);
  char nothing;
  ssize_t size = read(STDIN_FILENO, &nothing, 1);
  dup2(out, STDOUT_FILENO);
  EXPECT_EQUAL(0, size);
}

// ---- a loop of one's own ----

static bool is_readable(int fd, int milliseconds) {
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  return poll(&ready, 1, milliseconds) == 1;
}

static void tells_by_a_descriptor_that_time_has_passed(void) {
  struct shell shell;
  shell_open(&shell, false);
  shell.next = 20 * MILLISECOND;
  loop_acquire(shell.loop);
  int fd = loop_fd(shell.loop);
  EXPECT(!is_readable(fd, 0));
  EXPECT(is_readable(fd, 5000));
  shell.next = 0;
  loop_turn(shell.loop);
  EXPECT(!is_readable(fd, 50));
  loop_release(shell.loop);
  loop_close(shell.loop);
}

static void is_turned_when_a_loop_of_ones_own_is_late(void) {
  struct shell shell;
  shell_open(&shell, true);
  loop_acquire(shell.loop);
  int fd = loop_fd(shell.loop);
  loop_release(shell.loop);
  rest(10 * MILLISECOND);
  int turns = shell.turns;
  rest(50 * MILLISECOND);
  EXPECT(shell.turns - turns <= 2);
  loop_wake(shell.loop);
  int64_t end = wait_now() + 5 * (int64_t)1000 * MILLISECOND;
  while (shell.turns == turns && wait_now() < end) rest(MILLISECOND);
  EXPECT(shell.turns > turns);
  EXPECT(!is_readable(fd, 0));
  loop_close(shell.loop);
}

static const struct check checks[] = {
    {"goes to and fro between threads", goes_to_and_fro},
    {"is taken by the keeper within 5 ms", is_taken_by_the_keeper},
    {"is taken back from the keeper within 1 ms", is_taken_back_at_once},
    {"is turned also for a thread that asks without end and never waits",
     is_turned_for_those_who_only_ask},
    {"sleeps when nothing happens", sleeps_when_nothing_happens},
    {"wakes its holder when it is told to", wakes_a_holder_that_is_needed},
    {"lets each of several threads look when something happened", tells_all_that_wait},
    {"ends the wait of a thread at its time while another one pumps",
     waits_side_by_side_until_their_time},
    {"ends a wait at its time", ends_at_its_time},
    {"turns when the machines want it", turns_when_the_machines_want},
    {"ends a wait on a signal", ends_on_a_signal},
    {"reads sockets before it tells the time", reads_before_it_tells_the_time},
    {"reads sockets while the user computes", sees_sockets_while_the_user_computes},
    {"stands in a process without standard descriptors", stands_without_standard_descriptors},
    {"tells by a descriptor that time has passed", tells_by_a_descriptor_that_time_has_passed},
    {"is turned by the keeper when who polls it is late",
     is_turned_when_a_loop_of_ones_own_is_late},
};

CHECK_MAIN(checks)
