// Checks of host/io/warden.c, which has a socket's other end for a router. Clean under the thread
// sanitizer.
#define _GNU_SOURCE
#include "../../../host/io/warden.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../host/core/frame.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "../../../host/io/wait.h"
#include "check.h"

enum { ROUNDS = 100 * 1000, LATEST = 5 };  // seconds for what should take milliseconds

struct fixture {
  struct warden *warden;
  int router;
  struct reader *reader;
  atomic_int interrupts, looks;
};

static void on_interrupt(void *owner) {
  atomic_fetch_add(&((struct fixture *)owner)->interrupts, 1);
}

static void on_look(void *owner) {
  atomic_fetch_add(&((struct fixture *)owner)->looks, 1);
}

static void open_pair(int pair[2]) {
  EXPECT_EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

static void set_up_on(struct fixture *fixture, const int pair[2]) {
  setpgid(0, 0);  // a warden that has lost its router kills the group
  *fixture = (struct fixture){.reader = reader_new(FRAME_OPEN, LIMIT_FRAME)};
  fixture->router = pair[0];
  struct warden_options options = {pair[1], on_interrupt, on_look, fixture};
  EXPECT_EQUAL(0, warden_start(&fixture->warden, &options));
}

static void set_up(struct fixture *fixture) {
  int pair[2];
  open_pair(pair);
  set_up_on(fixture, pair);
}

static void tear_down(struct fixture *fixture) {
  warden_stop(fixture->warden);
  close(fixture->router);
  reader_free(fixture->reader);
}

static void say(struct fixture *fixture, struct message message) {
  struct buffer bytes = BUFFER_EMPTY;
  frame_append(&bytes, &message);
  for (size_t at = 0; at < bytes.size;) {
    ssize_t n = send(fixture->router, bytes.bytes + at, bytes.size - at, MSG_NOSIGNAL);
    EXPECT(n > 0);
    at += (size_t)n;
  }
  buffer_free(&bytes);
  payload_unref(message.body);
}

static void say_cancel(struct fixture *fixture, uint64_t sequence) {
  say(fixture,
      (struct message){
          .type = MESSAGE_CANCEL, .attempt = 1, .sequence = sequence, .reason = CANCEL_DEADLINE});
}

// All that was said before has been taken in when the answer to this comes.
static void settle(struct fixture *fixture, uint64_t number) {
  struct message message;
  say(fixture, (struct message){.type = MESSAGE_PING, .sequence = number});
  while (reader_next(fixture->reader, &message) != FRAME_OK) {
    size_t size;
    unsigned char *space = reader_space(fixture->reader, &size);
    ssize_t n = recv(fixture->router, space, size, 0);
    EXPECT(n > 0);
    reader_received(fixture->reader, (size_t)n);
  }
  EXPECT_EQUAL(MESSAGE_PONG, message.type);
  EXPECT_EQUAL(number, message.sequence);
}

#define EVENTUALLY(condition)                                         \
  do {                                                                \
    int64_t check_end = wait_now() + LATEST * NANOSECONDS_PER_SECOND; \
    while (!(condition) && wait_now() < check_end) poll(NULL, 0, 1);  \
    EXPECT(condition);                                                \
  } while (0)

static bool is_readable(int fd) {
  struct pollfd pollfd = {.fd = fd, .events = POLLIN};
  return poll(&pollfd, 1, 0) == 1;
}

// ---- what it says and hears ----

static void ping_is_answered(void) {
  struct fixture fixture;
  set_up(&fixture);
  for (uint64_t i = 1; i <= 1000; i++) settle(&fixture, i);
  tear_down(&fixture);
}

static void start_is_handed_over(void) {
  struct fixture fixture;
  set_up(&fixture);
  struct buffer text = BUFFER_EMPTY;
  size_t size = 8 * 1024 * 1024;
  pack_array(&text, 1);
  pack_bin_head(&text, size);
  buffer_reserve(&text, size);
  memset(text.bytes + text.size, 'x', size);
  text.size += size;
  say(&fixture, (struct message){.type = MESSAGE_START,
                                 .worker = 3,
                                 .generation = 9,
                                 .epoch = 4,
                                 .body = payload_copy(text.bytes, text.size)});
  struct message message;
  EXPECT(warden_wait_start(fixture.warden, &message));
  EXPECT_EQUAL(9, message.generation);
  EXPECT_EQUAL(text.size, message.body->size);
  EXPECT(!memcmp(text.bytes, message.body->bytes, text.size));
  payload_unref(message.body);
  buffer_free(&text);
  tear_down(&fixture);
}

static void *hang_up(void *fixture) {
  shutdown(((struct fixture *)fixture)->router, SHUT_RDWR);
  return NULL;
}

static void waiting_for_start_ends(void) {
  struct fixture fixture;
  struct message message;
  pthread_t thread;
  set_up(&fixture);
  EXPECT_EQUAL(0, pthread_create(&thread, NULL, hang_up, &fixture));
  EXPECT(!warden_wait_start(fixture.warden, &message));
  pthread_join(thread, NULL);
  tear_down(&fixture);
}

static void goodbye_is_out_before_it_stops(void) {
  struct fixture fixture;
  struct message message = {.type = MESSAGE_GOODBYE, .code = 83, .reason = PHASE_TAINTED};
  set_up(&fixture);
  warden_send(fixture.warden, &message);
  warden_stop(fixture.warden);
  while (reader_next(fixture.reader, &message) != FRAME_OK) {
    size_t size;
    unsigned char *space = reader_space(fixture.reader, &size);
    ssize_t n = recv(fixture.router, space, size, 0);
    EXPECT(n > 0);
    reader_received(fixture.reader, (size_t)n);
  }
  EXPECT_EQUAL(MESSAGE_GOODBYE, message.type);
  EXPECT_EQUAL(83, message.code);
  close(fixture.router);
  reader_free(fixture.reader);
}

// ---- cancels ----

static void cancel_waits_for_its_call(void) {
  struct fixture fixture;
  enum cancel_reason reason;
  set_up(&fixture);
  say_cancel(&fixture, 5);
  settle(&fixture, 1);
  EXPECT(is_readable(warden_fd(fixture.warden)));
  warden_woken(fixture.warden);
  EXPECT(!is_readable(warden_fd(fixture.warden)));
  EXPECT(!warden_cancelled(fixture.warden, 4, &reason));
  EXPECT(warden_cancelled(fixture.warden, 5, &reason));
  EXPECT_EQUAL(CANCEL_DEADLINE, reason);
  EXPECT(!warden_cancelled(fixture.warden, 5, &reason));
  tear_down(&fixture);
}

static void running_call_is_claimed(void) {
  struct fixture fixture;
  set_up(&fixture);
  warden_enter(fixture.warden, 5);
  say_cancel(&fixture, 4);  // another one
  settle(&fixture, 1);
  EXPECT(!warden_stopping(fixture.warden));
  EXPECT_EQUAL(0, atomic_load(&fixture.interrupts));
  say_cancel(&fixture, 5);
  EVENTUALLY(warden_stopping(fixture.warden));
  EVENTUALLY(atomic_load(&fixture.interrupts) > 3);
  EXPECT(!warden_leave(fixture.warden));
  settle(&fixture, 2);
  int count = atomic_load(&fixture.interrupts);
  warden_enter(fixture.warden, 6);
  poll(NULL, 0, 30);
  EXPECT_EQUAL(count, atomic_load(&fixture.interrupts));
  EXPECT(warden_leave(fixture.warden));
  tear_down(&fixture);
}

static void claim_can_be_renewed(void) {
  struct fixture fixture;
  set_up(&fixture);
  warden_enter(fixture.warden, 5);
  warden_claim(fixture.warden);
  EXPECT(warden_stopping(fixture.warden));
  EVENTUALLY(atomic_load(&fixture.interrupts) > 3);
  EXPECT(!warden_leave(fixture.warden));
  tear_down(&fixture);
}

struct rounds {
  struct fixture fixture;
  _Atomic uint64_t entered, sent;  // the last ones
};

static void spin(struct chance *chance, size_t most) {
  for (size_t i = chance_below(chance, most); i; i--) __asm__ volatile("");
}

// Cancels each call around the time at which it runs: before it is entered, while it runs, when it
// is over. Settles now and then, for no router is further ahead than it has slots.
static void *cancel_all(void *argument) {
  struct rounds *rounds = argument;
  struct chance chance = {1};
  for (uint64_t i = 1; i <= ROUNDS; i++) {
    while (atomic_load(&rounds->entered) + 1 < i) sched_yield();
    spin(&chance, 2000);
    say_cancel(&rounds->fixture, i);
    if (i % 1000 == 0) settle(&rounds->fixture, i);
    atomic_store(&rounds->sent, i);
  }
  return NULL;
}

static bool is_any(void *owner, uint64_t sequence) {
  (void)owner, (void)sequence;
  return true;
}

static uint64_t take_all(struct warden *warden) {
  uint64_t count = 0, sequence;
  enum cancel_reason reason;
  while (warden_next_cancel(warden, is_any, NULL, &sequence, &reason)) count++;
  return count;
}

// As the executor does it. Each cancel is used up once: it refuses its call before it begins, or
// claims it, or comes too late.
static void one_of_two_ends_a_call(void) {
  struct rounds rounds = {.entered = 0};
  struct chance chance = {2};
  enum cancel_reason reason;
  pthread_t thread;
  uint64_t refused = 0, claimed = 0, late = 0;
  set_up(&rounds.fixture);
  struct warden *warden = rounds.fixture.warden;
  EXPECT_EQUAL(0, pthread_create(&thread, NULL, cancel_all, &rounds));
  for (uint64_t i = 1; i <= ROUNDS; i++) {
    warden_enter(warden, i);
    atomic_store(&rounds.entered, i);
    bool is_refused = warden_cancelled(warden, i, &reason);
    while (i % 8 == 0 && atomic_load(&rounds.sent) < i) sched_yield();
    spin(&chance, 8000);
    bool is_mine = warden_leave(warden);
    EXPECT(is_mine || !is_refused);
    refused += is_refused;
    claimed += !is_mine;
    while (atomic_load(&rounds.sent) + 1 < i) sched_yield();
    late += take_all(warden);
  }
  pthread_join(thread, NULL);
  settle(&rounds.fixture, ROUNDS + 1);
  late += take_all(warden);
  EXPECT(claimed > 0);
  EXPECT(late > 0);
  EXPECT_EQUAL(ROUNDS, refused + claimed + late);
  tear_down(&rounds.fixture);
}

static void too_many_cancels_end_it(void) {
  struct fixture fixture;
  set_up(&fixture);
  for (uint64_t i = 1; i <= 2049; i++) say_cancel(&fixture, i);
  EVENTUALLY(warden_draining(fixture.warden));
  tear_down(&fixture);
}

// ---- ends ----

static void drain_is_passed_on(void) {
  struct fixture fixture;
  set_up(&fixture);
  EXPECT(!warden_draining(fixture.warden));
  warden_enter(fixture.warden, 1);
  say(&fixture, (struct message){.type = MESSAGE_DRAIN, .remaining = NANOSECONDS_PER_SECOND});
  settle(&fixture, 1);
  EXPECT(warden_draining(fixture.warden));
  EXPECT(is_readable(warden_fd(fixture.warden)));
  EXPECT(!warden_stopping(fixture.warden));
  EXPECT_EQUAL(0, atomic_load(&fixture.interrupts));
  EXPECT(warden_leave(fixture.warden));
  tear_down(&fixture);
}

static void looks_when_asked(void) {
  struct fixture fixture;
  set_up(&fixture);
  for (int i = 1; i < 20; i++) {
    int64_t start = wait_now();
    for (int k = 0; k < 100; k++) warden_look(fixture.warden);
    EVENTUALLY(atomic_load(&fixture.looks) == i);
    EXPECT(wait_now() - start >= NANOSECONDS_PER_SECOND / 1000);
  }
  tear_down(&fixture);
}

static void be_left_alone(void) {
  struct fixture fixture;
  set_up(&fixture);
  if (!fork()) pause();
  warden_enter(fixture.warden, 1);
  shutdown(fixture.router, SHUT_RDWR);
  EVENTUALLY(warden_draining(fixture.warden) && warden_stopping(fixture.warden));
  EVENTUALLY(atomic_load(&fixture.interrupts) > 3);
  for (;;) pause();
}

static void loss_of_the_router_ends_it(void) {
  int64_t start = wait_now();
  int status;
  pid_t pid = fork();
  if (!pid) be_left_alone();
  EXPECT_EQUAL(pid, waitpid(pid, &status, 0));
  EXPECT(WIFSIGNALED(status));
  EXPECT_EQUAL(SIGKILL, WTERMSIG(status));
  EXPECT(wait_now() - start > NANOSECONDS_PER_SECOND * 9 / 10);
  EVENTUALLY(kill(-pid, 0));
}

static void meet_doom(const int pair[2]) {
  struct fixture fixture;
  set_up_on(&fixture, pair);
  struct message parting = {.type = MESSAGE_GOODBYE,
                            .code = 82,
                            .reason = PHASE_GPU_LOST,
                            .body = payload_copy("\x90", 1)};
  warden_doom(fixture.warden, wait_now() + NANOSECONDS_PER_SECOND * 3600, 81, NULL);
  warden_doom(fixture.warden, INT64_MAX, 0, NULL);
  poll(NULL, 0, 20);
  warden_doom(fixture.warden, wait_now() + NANOSECONDS_PER_SECOND / 20, 82, &parting);
  for (;;) pause();  // as in a function of a driver
}

static void doom_ends_it(void) {
  int status, pair[2];
  open_pair(pair);
  pid_t pid = fork();
  if (!pid) meet_doom(pair);
  close(pair[1]);
  EXPECT_EQUAL(pid, waitpid(pid, &status, 0));
  EXPECT(WIFEXITED(status));
  EXPECT_EQUAL(82, WEXITSTATUS(status));
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  struct message message;
  size_t size;
  unsigned char *space = reader_space(reader, &size);
  ssize_t n = recv(pair[0], space, size, 0);
  EXPECT(n > 0);
  reader_received(reader, (size_t)n);
  EXPECT_EQUAL(FRAME_OK, reader_next(reader, &message));
  EXPECT_EQUAL(MESSAGE_GOODBYE, message.type);
  EXPECT_EQUAL(PHASE_GPU_LOST, message.reason);
  payload_unref(message.body);
  reader_free(reader);
  close(pair[0]);
}

static const struct check kChecks[] = {
    {"answers pings", ping_is_answered},
    {"hands over a large START", start_is_handed_over},
    {"ends the wait for START when the router is gone", waiting_for_start_ends},
    {"sends what it was given before it stops", goodbye_is_out_before_it_stops},
    {"keeps a cancel until its call comes", cancel_waits_for_its_call},
    {"claims the running call that is cancelled, no other, and interrupts until it is left",
     running_call_is_claimed},
    {"interrupts a call that the executor claims itself", claim_can_be_renewed},
    {"ends each of 100,000 calls either by the executor or by a cancel", one_of_two_ends_a_call},
    {"refuses a router that sends cancels without end", too_many_cancels_end_it},
    {"looks a millisecond after it was asked, however often", looks_when_asked},
    {"passes a drain on and leaves the running call alone", drain_is_passed_on},
    {"ends the process at the instant it was told, whatever holds the executor up", doom_ends_it},
    {"interrupts the running call when the router is gone, and kills its group a second later",
     loss_of_the_router_ends_it},
};

CHECK_MAIN(kChecks)
