// Checks of what operators are told of workers that have ended: host/core/router_loss.c.
#include <errno.h>

#include "scene.h"

#define CALL_1 "call 00000000000000010000000000000001 of square"

static struct scene open_with(struct router_function function, uint32_t workers) {
  struct scene scene = scene_open(SECONDS(1), 3);
  function.concurrency = function.concurrency ? function.concurrency : 1;
  scene_deploy(&scene, &function, 1, workers);
  for (uint32_t i = 0; i < workers; i++) {
    router_worker_process(scene.router, i, scene_generation(&scene, i), 100 + i);
    scene_ready(&scene, i);
  }
  scene.now += SECONDS(20);  // no worker is young
  return scene;
}

static bool says(const struct scene *scene, size_t lines, const char *text) {
  if (scene->lines != lines || strcmp(scene->said, text))
    printf("%zu lines, the last one: %s\n", scene->lines, scene->said);
  return scene->lines == lines && !strcmp(scene->said, text);
}

static bool mentions(const struct scene *scene, size_t lines, const char *part) {
  if (scene->lines != lines || !strstr(scene->said, part))
    printf("%zu lines, the last one: %s\n", scene->lines, scene->said);
  return scene->lines == lines && strstr(scene->said, part);
}

static void in_a_call(void) {
  struct scene scene = open_with((struct router_function){0}, 1);
  scene_call(&scene, 0, SECONDS(5));
  scene_lost(&scene, 0, LOST_SIGNAL, 11, scene_dispatched(&scene, 0).sequence);
  EXPECT(
      says(&scene, 1,
           "worker 0 (process 100) was ended by signal 11 (Segmentation fault) while it ran " CALL_1
           "; another one is started"));
  scene_drop_answers(&scene);
  scene_close(&scene);
}

static void in_several(void) {
  struct scene scene = open_with((struct router_function){.concurrency = 2}, 1);
  scene_call(&scene, 0, SECONDS(5));
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_EXIT, 3, scene_dispatched(&scene, 0).sequence);
  EXPECT(
      mentions(&scene, 1, "ended with exit code 3 while it ran 2 calls, among them " CALL_1 ";"));
  scene_drop_answers(&scene);
  scene_close(&scene);
}

static void idle(void) {
  struct scene scene = open_with((struct router_function){0}, 2);
  scene_lost(&scene, 1, LOST_SIGNAL, 9, 0);
  EXPECT(says(&scene, 1,
              "worker 1 (process 101) was ended by signal 9 (Killed) while it ran no call; another "
              "one is started"));
  scene_close(&scene);
}

static void unentered(void) {
  struct scene scene = open_with((struct router_function){0}, 1);
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  EXPECT(mentions(&scene, 1, "while it ran no call"));
  scene_close(&scene);
}

static void crash_loop(void) {
  struct scene scene = scene_square(1);
  struct message goodbye = {.type = MESSAGE_GOODBYE, .reason = PHASE_CONTEXT};
  goodbye.body = scene_raised("x");
  scene_worker_says(&scene, 0, &goodbye);
  scene_lost(&scene, 0, LOST_EXIT, 71, 0);
  EXPECT(mentions(&scene, 1,
                  "worker 0 ended with exit code 71 before it was ready: no; the next one "
                  "is started in 0.2 s"));
  for (size_t i = 2; i <= 5; i++) {
    scene_pass(&scene, SECONDS(10));
    scene_lost(&scene, 0, LOST_EXIT, 71, 0);
    EXPECT_EQUAL(i, scene.lines);
  }
  EXPECT(says(&scene, 5,
              "worker 0 ended with exit code 71 before it was ready; the next try of its "
              "deployment, which has failed, is in 60 s"));
  scene_pass(&scene, SECONDS(59));
  EXPECT_EQUAL(5, scene.lines);
  scene_close(&scene);
}

static void not_started(void) {
  struct scene scene = scene_square(1);
  scene_lost(&scene, 0, LOST_START, ENOENT, 0);
  EXPECT(mentions(&scene, 1, "worker 0 could not be started: No such file or directory; the next"));
  scene_close(&scene);
}

static void no_device(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 1);
  for (int i = 0; i < 3; i++) {
    scene_lost(&scene, 0, LOST_START, ENODEV, 0);
    EXPECT(says(&scene, 1,
                "worker 0 finds no GPU: each was lost by a worker before; it is tried again every "
                "60 s"));
    scene_pass(&scene, SECONDS(60));
  }
  scene_ready(&scene, 0);
  scene_lost(&scene, 0, LOST_START, ENODEV, 0);
  EXPECT_EQUAL(2, scene.lines);
  scene_close(&scene);
}

static void silent(void) {
  struct scene scene = open_with((struct router_function){0}, 1);
  for (int i = 0; i < 4; i++) scene_pass(&scene, SECONDS(1));
  EXPECT(mentions(&scene, 1, "has not answered 3 pings"));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  EXPECT(
      says(&scene, 2,
           "worker 0 (process 100) was killed, since it did not answer; another one is started"));
  scene_close(&scene);
}

static void stuck(void) {
  struct scene scene = open_with((struct router_function){0}, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  uint64_t sequence = scene_dispatched(&scene, 0).sequence;
  scene_cancel(&scene, call);
  scene_drop_answers(&scene);
  scene.now += LIMIT_GRACE;
  router_tick(scene.router, scene.now);
  scene_gather(&scene);
  EXPECT(scene_kills(&scene, 0));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, sequence);
  EXPECT(says(&scene, 1,
              "worker 0 (process 100) was killed, since " CALL_1
              " did not end when it was told to; another one is started"));
  scene_close(&scene);
}

static void planned(void) {
  struct scene scene = open_with((struct router_function){0}, 3);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  uint64_t sequence = scene_dispatched(&scene, 0).sequence;
  scene_cancel(&scene, call);
  scene_drop_answers(&scene);
  struct message goodbye = {.type = MESSAGE_GOODBYE, .reason = PHASE_TAINTED};
  scene_worker_says(&scene, 0, &goodbye);
  scene_lost(&scene, 0, LOST_EXIT, 83, sequence);
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  scene_lost(&scene, 0, LOST_EXIT, 69, 0);  // it was not ready yet
  scene_lost(&scene, 1, LOST_EXIT, 0, 0);
  EXPECT_EQUAL(0, scene.lines);
  scene_lost(&scene, 2, LOST_SIGNAL, 11, 0);
  EXPECT(
      says(&scene, 1,
           "worker 2 (process 102) was ended by signal 11 (Segmentation fault) after it was told "
           "to go; none is started in its place"));
  scene_close(&scene);
}

static void recycled(void) {
  struct scene scene = open_with((struct router_function){.max_calls = 1}, 1);
  scene_call(&scene, 0, SECONDS(5));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_drop_answers(&scene);
  EXPECT(mentions(&scene, 1, "worker 0 is replaced by worker 1"));
  scene_lost(&scene, 0, LOST_SIGNAL, 7, 0);
  EXPECT(
      says(&scene, 2,
           "worker 0 (process 100) was ended by signal 7 (Bus error) while it ran no call; worker "
           "1 takes its place"));
  scene_close(&scene);
}

static void poison(void) {
  struct scene scene = open_with((struct router_function){0}, 1);
  for (int i = 0; i < 3; i++) {
    struct message call = {.remaining = SECONDS(5), .workload = 1};
    call.body = payload_copy("\x91\x07", 2);
    scene_call_with(&scene, PEER, call);
    scene_lost(&scene, 0, LOST_SIGNAL, 11, scene_dispatched(&scene, 0).sequence);
    scene_drop_answers(&scene);
    if (i < 2) EXPECT_EQUAL(i + 1, scene.lines);
    scene_pass(&scene, SECONDS(2));
    scene_ready(&scene, 0);
  }
  EXPECT_EQUAL(4, scene.lines);
  EXPECT(strstr(scene.told,
                "call 00000000000000010000000000000003 of square is poison: 3 workers died of it"));
  scene_close(&scene);
}

static void hostile(void) {
  struct scene scene = scene_square(1);
  router_worker_said(scene.router, 0, scene_generation(&scene, 0), "it\x1b[2J\nbroke");
  scene_lost(&scene, 0, LOST_SIGNAL, 6, 0);
  EXPECT(mentions(&scene, 1, "signal 6 (Aborted) before it was ready; it said: it [2J broke; the"));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"tells by which signal a worker ended, of which call, and what comes next", in_a_call},
    {"tells how many calls it ran", in_several},
    {"tells of one that ran nothing", idle},
    {"does not blame a call that was not entered", unentered},
    {"tells when the next one is started, once an attempt", crash_loop},
    {"tells of a process that could not be started", not_started},
    {"tells once of a place without a GPU", no_device},
    {"tells of the end of one that was given up", silent},
    {"tells for which call a worker was killed", stuck},
    {"does not tell of ends that were planned", planned},
    {"tells who takes the place of one that was to be recycled", recycled},
    {"tells of a call that has become poison", poison},
    {"tells in one line what a worker has said", hostile},
};
CHECK_MAIN(checks)
