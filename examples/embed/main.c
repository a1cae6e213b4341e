// A C program that calls functions of a Lua deploy script: through its own poll loop, through
// Farside's thread, and one call that another thread cancels.
//
//   embed [deploy.lua]
#include <farside.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// [5] and [30] as msgpack: an array of one small integer.
static const unsigned char kFive[] = {0x91, 5};
static const unsigned char kThirty[] = {0x91, 30};

struct answer {
  _Atomic int ended;
  int ok;
  int value;       // of a small integer result
  char error[64];  // its name
  char executed[8];
};

static void on_end(void *user, const struct farside_result *result) {
  struct answer *answer = user;
  const unsigned char *bytes = result->payload;
  answer->ok = result->ok;
  if (result->ok && result->size == 2)
    answer->value = bytes[1];  // [n], n < 128
  else if (!result->ok)
    snprintf(answer->error, sizeof answer->error, "%s", result->error);
  snprintf(answer->executed, sizeof answer->executed, "%s", result->executed);
  atomic_store(&answer->ended, 1);
}

static void fail(struct farside *farside, const char *what) {
  fprintf(stderr, "embed: %s: %s\n", what, farside_problem(farside));
  farside_close(farside);
  exit(1);
}

// Farside's thread turns; this one could do anything meanwhile.
static void wait_for(struct answer *answer) {
  while (!atomic_load(&answer->ended)) poll(NULL, 0, 1);
}

static void call_with_thread(struct farside *farside) {
  struct answer answer = {0};
  if (farside_call(farside, "square", kFive, sizeof kFive, 0, on_end, &answer, NULL))
    fail(farside, "square");
  wait_for(&answer);
  printf("square(5) through the thread: %d\n", answer.value);
}

static void *cancel(void *argument) {
  void **pair = argument;
  farside_cancel(pair[0], *(uint64_t *)pair[1]);
  return NULL;
}

static void cancel_from_thread(struct farside *farside) {
  struct answer answer = {0};
  uint64_t call;
  if (farside_call(farside, "nap", kThirty, sizeof kThirty, 0, on_end, &answer, &call))
    fail(farside, "nap");
  pthread_t thread;
  void *pair[] = {farside, &call};
  if (pthread_create(&thread, NULL, cancel, pair)) fail(farside, "a thread could not be started");
  pthread_join(thread, NULL);
  wait_for(&answer);
  printf("nap(30) cancelled by a thread: %s, executed %s\n", answer.error, answer.executed);
}

static void call_with_poll(struct farside *farside) {
  struct answer answer = {0};
  struct pollfd ready = {.fd = farside_fd(farside), .events = POLLIN};
  if (farside_call(farside, "square", kFive, sizeof kFive, 0, on_end, &answer, NULL))
    fail(farside, "square");
  while (!atomic_load(&answer.ended)) {
    poll(&ready, 1, -1);
    farside_turn(farside);
  }
  printf("square(5) through poll: %d\n", answer.value);
}

int main(int count, char **arguments) {
  struct farside_options options = {
      .struct_size = sizeof options,
      .deploy = count > 1 ? arguments[1] : "deploy.lua",
  };
  struct farside *farside;
  if (farside_open(&options, &farside)) fail(farside, options.deploy);
  call_with_thread(farside);
  cancel_from_thread(farside);
  call_with_poll(farside);
  farside_close(farside);
  return 0;
}
