// What the shell costs: calls through an session router to workers without Lua.
//
//   shell one SECONDS              one call in flight
//   shell many SECONDS CALLS       CALLS in flight on one worker that runs them all at once
//   shell spread SECONDS WORKERS   64 in flight, WORKERS that run one at a time
//   shell bulk COUNT BYTES         echoes of BYTES
//
// Needs FARSIDE_BIN: the stand-in of a worker. Prints like bare: p50 us, p99 us, calls per second,
// bytes per second.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/buffer.h"
#include "../../host/core/limits.h"
#include "../../host/core/pack.h"
#include "../../host/core/payload.h"
#include "../../host/io/session.h"
#include "../../host/io/wait.h"

enum { MAX_SAMPLES = 1 << 22, SLOTS = 64 };

struct bench {
  struct session *session;
  uint32_t deployment;
  struct buffer body;
  float *samples;
  size_t count;
};

static void open_bench(struct bench *bench, uint32_t workers, uint32_t concurrency) {
  struct buffer start = BUFFER_EMPTY;
  pack_array(&start, 1);
  pack_text(&start, "echo");
  struct router_function function = {.concurrency = concurrency};
  struct router_deployment_options options = {.name = "bench",
                                              .functions = &function,
                                              .function_count = 1,
                                              .manifest = "",
                                              .start = payload_copy(start.bytes, start.size),
                                              .workers = workers};
  int error = session_open(&bench->session);
  char why[1024] = "";
  if (!error) bench->deployment = session_deploy(bench->session, &options, &error, why, sizeof why);
  if (error) {
    fprintf(stderr, "%d %s\n", error, why);
    exit(1);
  }
  payload_unref(options.start);
  buffer_free(&start);
  struct deployment_status status;
  do {
    session_wait(bench->session, 0, bench->deployment, wait_now() + 10000000);
    session_status(bench->session, bench->deployment, &status);
    payload_unref(status.failure);
  } while (status.ready < workers);
  bench->samples = malloc(MAX_SAMPLES * sizeof *bench->samples);
  pack_array(&bench->body, 1);
  pack_int(&bench->body, 5);
}

static uint64_t call(struct bench *bench, uint64_t tag) {
  struct call_options options = {.deployment = bench->deployment, .workload = 100, .tag = tag};
  uint64_t number;
  if (session_call(bench->session, &options, payload_copy(bench->body.bytes, bench->body.size),
                   &number))
    exit(1);
  return number;
}

static int64_t take(struct bench *bench, struct completion *completion) {
  int64_t now = wait_now();
  if (!completion->ok) {
    fprintf(stderr, "a call failed: %.*s\n", (int)completion->body->size, completion->body->bytes);
    exit(1);
  }
  payload_unref(completion->body);
  if (bench->count < MAX_SAMPLES)
    bench->samples[bench->count++] = (float)(now - (int64_t)completion->tag) / 1000;
  return now;
}

static int64_t one(struct bench *bench) {
  struct completion completion;
  uint64_t number = call(bench, (uint64_t)wait_now());
  while (!session_take(bench->session, number, &completion))
    session_wait(bench->session, number, ROUTER_NONE, INT64_MAX);
  return take(bench, &completion);
}

static int64_t many(struct bench *bench) {
  struct completion completion;
  int64_t now = 0;
  session_wait(bench->session, 0, ROUTER_NONE, INT64_MAX);
  while (session_next(bench->session, &completion)) {
    now = take(bench, &completion);
    call(bench, (uint64_t)now);
  }
  return now;
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void run(struct bench *bench, int64_t (*step)(struct bench *), double seconds,
                size_t limit) {
  int64_t warm = wait_now() + (limit == MAX_SAMPLES ? 100000000 : 0);
  while (step(bench) < warm) continue;
  bench->count = 0;
  int64_t start = wait_now(), end = start + (int64_t)(seconds * 1e9), last = start;
  while (last < end && bench->count < limit) last = step(bench);
  qsort(bench->samples, bench->count, sizeof *bench->samples, compare);
  double rate = (double)bench->count / ((double)(last - start) / 1e9);
  printf("%.2f %.2f %.0f %.0f\n", (double)bench->samples[bench->count / 2],
         (double)bench->samples[bench->count * 99 / 100], rate, rate * (double)bench->body.size);
}

int main(int count, char **arguments) {
  struct bench bench = {0};
  const char *what = count > 2 ? arguments[1] : "";
  if (!strcmp(what, "one")) {
    open_bench(&bench, 1, 1);
    run(&bench, one, atof(arguments[2]), MAX_SAMPLES);
  } else if ((!strcmp(what, "many") || !strcmp(what, "spread")) && count == 4) {
    int number = atoi(arguments[3]);
    bool is_many = !strcmp(what, "many");
    open_bench(&bench, is_many ? 1 : (uint32_t)number, is_many ? (uint32_t)number : 1);
    for (int i = 0; i < (is_many ? number : SLOTS); i++) call(&bench, (uint64_t)wait_now());
    run(&bench, many, atof(arguments[2]), MAX_SAMPLES);
  } else if (!strcmp(what, "bulk") && count == 4) {
    open_bench(&bench, 1, 1);
    size_t size = (size_t)atol(arguments[3]);
    buffer_clear(&bench.body);
    pack_array(&bench.body, 1);
    pack_bin_head(&bench.body, size);
    buffer_reserve(&bench.body, size);
    memset(bench.body.bytes + bench.body.size, 1, size);
    bench.body.size += size;
    run(&bench, one, 1000, (size_t)atol(arguments[2]));
  } else {
    return fprintf(stderr, "usage: shell one|many|spread|bulk ..., see the head of shell.c\n"), 64;
  }
  session_close(bench.session);
  buffer_free(&bench.body);
  free(bench.samples);
  return 0;
}
