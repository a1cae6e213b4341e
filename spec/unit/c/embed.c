// Checks of farside.h: a C program and its workers. The deploy script's path is in EMBED_DEPLOY.
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../host/farside.h"
#include "check.h"

enum { THREADS = 4, CALLS = 200 };

static const char kFive[] = "\x91\x05";    // [5]
static const char kMinute[] = "\x91\x3c";  // [60]

struct seen {
  _Atomic int count;
  int ok, last;
  char error[64], executed[8], message[256];
};

static struct farside *opened(void) {
  struct farside_options options = {.struct_size = sizeof options,
                                    .deploy = getenv("EMBED_DEPLOY")};
  struct farside *farside;
  int status = farside_open(&options, &farside);
  if (status) printf("%s\n", farside_problem(farside));
  EXPECT_EQUAL(FARSIDE_OK, status);
  return farside;
}

static void on_end(void *user, const struct farside_result *result) {
  struct seen *seen = user;
  const unsigned char *bytes = result->payload;
  seen->ok = result->ok;
  seen->last = result->ok ? bytes[result->size - 1] : 0;
  snprintf(seen->error, sizeof seen->error, "%s", result->error ? result->error : "");
  snprintf(seen->message, sizeof seen->message, "%s", result->message ? result->message : "");
  snprintf(seen->executed, sizeof seen->executed, "%s", result->executed);
  atomic_fetch_add(&seen->count, 1);
}

static void wait_for(struct seen *seen, int count) {
  for (int i = 0; i < 20000 && atomic_load(&seen->count) < count; i++) poll(NULL, 0, 1);
  EXPECT_EQUAL(count, atomic_load(&seen->count));
}

static void a_missing_script(void) {
  struct farside_options options = {.struct_size = sizeof options, .deploy = "/nowhere/deploy.lua"};
  struct farside *farside;
  EXPECT_EQUAL(FARSIDE_SCRIPT, farside_open(&options, &farside));
  EXPECT(strstr(farside_problem(farside), "/nowhere/deploy.lua"));
  farside_close(farside);
}

static void bad_options(void) {
  struct farside_options options = {.struct_size = 1};
  struct farside *farside;
  EXPECT_EQUAL(FARSIDE_INVALID, farside_open(&options, &farside));
  EXPECT_EQUAL(FARSIDE_INVALID, farside_call(farside, "square", kFive, 2, 0, on_end, NULL, NULL));
  farside_close(farside);
  farside_close(NULL);
}

static void what_cannot_be_sent(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  EXPECT_EQUAL(FARSIDE_NO_FUNCTION,
               farside_call(farside, "sqare", kFive, 2, 0, on_end, &seen, NULL));
  EXPECT_EQUAL(FARSIDE_INVALID,
               farside_call(farside, "square", "\x92\x05", 2, 0, on_end, &seen, NULL));
  EXPECT_EQUAL(FARSIDE_INVALID, farside_call(farside, "square", "\x05", 1, 0, on_end, &seen, NULL));
  EXPECT_EQUAL(FARSIDE_INVALID, farside_call(farside, "square", kFive, 2, -1, on_end, &seen, NULL));
  EXPECT_EQUAL(FARSIDE_ENDED, farside_cancel(farside, 12345));
  farside_close(farside);
  EXPECT_EQUAL(0, seen.count);
}

static void a_class_no_one_registered(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  // [ext 1: str "Ghost", map {}]
  static const char ghost[] = "\x91\xc7\x07\x01\xa5Ghost\x80";
  EXPECT_EQUAL(FARSIDE_OK,
               farside_call(farside, "square", ghost, sizeof ghost - 1, 0, on_end, &seen, NULL));
  wait_for(&seen, 1);
  EXPECT(!strcmp(seen.error, "UnknownClass"));
  EXPECT(!strcmp(seen.executed, "no"));
  farside_close(farside);
}

static void an_error_of_the_function(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "square", "\x91\xa1x", 3, 0, on_end, &seen, NULL));
  wait_for(&seen, 1);
  EXPECT(!strcmp(seen.error, "RemoteError"));
  EXPECT(!strcmp(seen.executed, "yes"));
  EXPECT(strstr(seen.message, "attempt to perform arithmetic"));
  farside_close(farside);
}

static void a_deadline(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "square", kFive, 2, 0, on_end, &seen, NULL));
  wait_for(&seen, 1);
  EXPECT_EQUAL(25, seen.last);
  EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "nap", kMinute, 2, 0.05, on_end, &seen, NULL));
  wait_for(&seen, 2);
  EXPECT(!strcmp(seen.error, "DeadlineExceeded"));
  farside_close(farside);
}

struct chain {
  struct farside *farside;
  struct seen seen;
};

static void on_link(void *user, const struct farside_result *result) {
  struct chain *chain = user;
  on_end(&chain->seen, result);
  if (chain->seen.count < 10)
    EXPECT_EQUAL(FARSIDE_OK,
                 farside_call(chain->farside, "square", kFive, 2, 0, on_link, chain, NULL));
}

static void a_call_in_a_callback(void) {
  struct chain chain = {.farside = opened()};
  EXPECT_EQUAL(FARSIDE_OK,
               farside_call(chain.farside, "square", kFive, 2, 0, on_link, &chain, NULL));
  wait_for(&chain.seen, 10);
  farside_close(chain.farside);
}

struct caller {
  struct farside *farside;
  struct seen *seen;
  int calls;
};

static void *call_many(void *argument) {
  struct caller *caller = argument;
  for (int i = 0; i < CALLS; i++)
    EXPECT_EQUAL(FARSIDE_OK,
                 farside_call(caller->farside, "square", kFive, 2, 0, on_end, caller->seen, NULL));
  return NULL;
}

static void threads(void) {
  struct seen seen = {0};
  struct caller caller = {.farside = opened(), .seen = &seen};
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    EXPECT_EQUAL(0, pthread_create(&threads[i], NULL, call_many, &caller));
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  wait_for(&seen, THREADS * CALLS);
  EXPECT_EQUAL(1, seen.ok);
  farside_close(caller.farside);
}

static void *cancel_it(void *argument) {
  void **pair = argument;
  EXPECT_EQUAL(FARSIDE_OK, farside_cancel(pair[0], *(uint64_t *)pair[1]));
  return NULL;
}

static void a_cancel(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  uint64_t call;
  pthread_t thread;
  EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "nap", kMinute, 2, 0, on_end, &seen, &call));
  void *pair[] = {farside, &call};
  EXPECT_EQUAL(0, pthread_create(&thread, NULL, cancel_it, pair));
  pthread_join(thread, NULL);
  wait_for(&seen, 1);
  EXPECT(!strcmp(seen.error, "Cancelled"));
  EXPECT_EQUAL(FARSIDE_ENDED, farside_cancel(farside, call));
  farside_close(farside);
}

static void its_own_loop(void) {
  struct farside *farside = opened();
  struct pollfd ready = {.fd = farside_fd(farside), .events = POLLIN};
  struct seen seen = {0};
  for (int i = 1; i <= 100; i++) {
    EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "square", kFive, 2, 0, on_end, &seen, NULL));
    poll(NULL, 0, i % 10 ? 0 : 5);  // the thread may have taken the answer; it must not report it
    EXPECT_EQUAL(i - 1, seen.count);
    while (seen.count < i) {
      EXPECT(poll(&ready, 1, 10000) > 0);
      farside_turn(farside);
    }
  }
  EXPECT_EQUAL(0, poll(&ready, 1, 0) > 0 && farside_turn(farside) > 0);
  farside_close(farside);
}

static void a_close_with_calls_in_flight(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  for (int i = 0; i < 10; i++)
    EXPECT_EQUAL(FARSIDE_OK, farside_call(farside, "nap", kMinute, 2, 0, on_end, &seen, NULL));
  farside_close(farside);
  EXPECT_EQUAL(10, seen.count);
  EXPECT(!strcmp(seen.error, "Cancelled"));
}

// The child uses all functions, and the parent's workers go on.
static void a_fork(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  farside_call(farside, "square", kFive, 2, 0, on_end, &seen, NULL);
  wait_for(&seen, 1);
  pid_t child = fork();
  if (!child) {
    bool refused =
        farside_call(farside, "square", kFive, 2, 0, on_end, &seen, NULL) == FARSIDE_INVALID &&
        farside_cancel(farside, 1) == FARSIDE_INVALID && farside_fd(farside) == FARSIDE_INVALID &&
        farside_turn(farside) == FARSIDE_INVALID;
    farside_close(farside);
    _exit(refused ? 7 : 1);
  }
  int status = 0;
  EXPECT_EQUAL(child, waitpid(child, &status, 0));
  EXPECT_EQUAL(7, WEXITSTATUS(status));
  farside_call(farside, "square", kFive, 2, 0, on_end, &seen, NULL);
  wait_for(&seen, 2);
  EXPECT(seen.ok && seen.last == 25);
  farside_close(farside);
}

static void too_many_calls(void) {
  struct farside *farside = opened();
  struct seen seen = {0};
  int status = FARSIDE_OK, count = 0;
  while (count < 5000 &&
         !(status = farside_call(farside, "nap", kMinute, 2, 0, on_end, &seen, NULL)))
    count++;
  EXPECT_EQUAL(FARSIDE_OVERLOADED, status);
  EXPECT_EQUAL(1024, count);
  farside_close(farside);
  EXPECT_EQUAL(1024, seen.count);
}

// ---- streams ----

struct reader {
  struct seen seen;
  int items, enough;
  bool in_order, ended_early;
  double n, total;
};

static int on_item(void *user, uint64_t call, const void *payload, size_t size) {
  struct reader *reader = user;
  const unsigned char *bytes = payload;
  EXPECT(call > 0 && size == 2 && bytes[0] == 0x91);
  reader->ended_early |= atomic_load(&reader->seen.count) > 0;
  reader->in_order &= bytes[1] == ++reader->items;
  return reader->items == reader->enough;
}

static void on_progress(void *user, uint64_t call, double n, double total) {
  struct reader *reader = user;
  EXPECT(call > 0 && n >= reader->n);
  reader->n = n;
  reader->total = total;
}

static void on_reader_end(void *user, const struct farside_result *result) {
  on_end(&((struct reader *)user)->seen, result);
}

static struct farside_listener listener_of(struct reader *reader) {
  reader->in_order = true;
  return (struct farside_listener){.struct_size = sizeof(struct farside_listener),
                                   .item = on_item,
                                   .progress = on_progress,
                                   .ended = on_reader_end,
                                   .user = reader,
                                   .window = 2000};
}

static void a_stream(void) {
  struct farside *farside = opened();
  struct reader reader = {0}, own = {0};
  struct farside_listener listener = listener_of(&reader);
  static const char kHundred[] = "\x91\x64";
  EXPECT_EQUAL(FARSIDE_OK, farside_listen(farside, "count", kHundred, 2, 0, &listener, NULL));
  wait_for(&reader.seen, 1);
  EXPECT(reader.seen.ok && reader.in_order && !reader.ended_early);
  EXPECT_EQUAL(100, reader.items);
  EXPECT(reader.n == 100 && reader.total == 100);

  int fd = farside_fd(farside);
  listener = listener_of(&own);
  EXPECT_EQUAL(FARSIDE_OK, farside_listen(farside, "count", kHundred, 2, 0, &listener, NULL));
  while (!own.seen.count) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    EXPECT(poll(&ready, 1, 20000) == 1);
    farside_turn(farside);
  }
  EXPECT(own.seen.ok && own.in_order && own.items == 100);
  farside_close(farside);
}

static void enough_of_a_stream(void) {
  struct farside *farside = opened();
  struct reader reader = {.enough = 10};
  struct farside_listener listener = listener_of(&reader);
  static const char kMillion[] = "\x91\xce\x00\x0f\x42\x40";
  EXPECT_EQUAL(FARSIDE_OK, farside_listen(farside, "count", kMillion, 6, 0, &listener, NULL));
  wait_for(&reader.seen, 1);
  EXPECT_EQUAL(10, reader.items);
  EXPECT(!strcmp(reader.seen.error, "Cancelled"));
  listener.ended = NULL;
  EXPECT_EQUAL(FARSIDE_INVALID, farside_listen(farside, "count", kFive, 2, 0, &listener, NULL));
  farside_close(farside);
}

static const struct check kChecks[] = {
    {"is told which script is missing", a_missing_script},
    {"is told that its options are none", bad_options},
    {"is refused what cannot be sent", what_cannot_be_sent},
    {"learns that a class is not registered, and that nothing ran", a_class_no_one_registered},
    {"gets the error of a function", an_error_of_the_function},
    {"has deadlines", a_deadline},
    {"may call in a callback", a_call_in_a_callback},
    {"may call from any thread", threads},
    {"may cancel from any thread", a_cancel},
    {"may turn in a loop of its own, and then only there", its_own_loop},
    {"has all its calls ended when it closes", a_close_with_calls_in_flight},
    {"gets the items and the progress of a stream, also in a loop of its own", a_stream},
    {"may say that it has enough of a stream", enough_of_a_stream},
    {"may fork, and the child has nothing of what was opened before", a_fork},
    {"may have so many calls in flight and no more", too_many_calls},
};

CHECK_MAIN(kChecks)
