// Checks of who gets a slot: host/core/router_assign.c.
#include "scene.h"

static const struct router_function kFew[] = {{.concurrency = 1}, {.concurrency = 4}};

// ---- waiting and slots ----

static void late_binding(void) {
  struct scene scene = scene_square(1);
  uint64_t first = scene_call(&scene, 0, SECONDS(5)), second = scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_ready(&scene, 0);
  struct message call = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(first, call.id.counter);
  EXPECT_EQUAL(EPOCH, call.epoch);
  EXPECT_EQUAL(1, call.attempt);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  EXPECT_EQUAL(second, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void remaining_time(void) {
  struct scene scene = scene_square(1);
  scene_call(&scene, 0, SECONDS(5));
  scene.now += SECONDS(2);
  scene_ready(&scene, 0);
  EXPECT_EQUAL(SECONDS(3), scene_dispatched(&scene, 0).remaining);
  scene_close(&scene);
}

static void lowest_index(void) {
  struct scene scene = scene_square(3);
  for (uint32_t i = 0; i < 3; i++) scene_reports(&scene, 2 - i, MANIFEST, 1, 100);
  scene_call(&scene, 0, SECONDS(5));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_call(&scene, 0, SECONDS(5));
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_dispatched(&scene, 1);
  scene_close(&scene);
}

static void waits_for_fast(void) {
  struct scene scene = scene_square(2);
  scene_reports(&scene, 0, MANIFEST, 1, 1);
  scene_reports(&scene, 1, MANIFEST, 1, 100);
  scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 1);
  uint64_t second = scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0) && scene_is_given_nothing(&scene, 1));
  scene_reply(&scene, 1, call, MESSAGE_RESULT);
  EXPECT_EQUAL(second, scene_dispatched(&scene, 1).id.counter);
  scene_close(&scene);
}

// The busy one was to take 10 ms. What is late is expected to take as long again, so the router looks
// again after twice the time: within 2 s it has given up a worker that seemed to save one.
static void waits_no_longer(void) {
  struct scene scene = scene_square(2);
  scene_reports(&scene, 0, MANIFEST, 1, 1);
  scene_reports(&scene, 1, MANIFEST, 1, 100);
  scene_call(&scene, 0, SECONDS(9));
  scene_dispatched(&scene, 1);
  uint64_t second = scene_call(&scene, 0, SECONDS(9));
  scene_pass(&scene, MILLISECONDS(700));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_pass(&scene, MILLISECONDS(1400));
  EXPECT_EQUAL(second, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

// The fast one is busy for 20 s, the slow one would take 40.
static void full(void) {
  for (int full = 0; full < 2; full++) {
    struct scene scene = scene_open(0, 0);
    struct router_deployment_options options = {
        .name = "app",
        .functions = &(struct router_function){.concurrency = 1},
        .function_count = 1,
        .manifest = MANIFEST,
        .manifest_size = strlen(MANIFEST),
        .workers = 2,
        .max_queue_time = SECONDS(full ? 19 : 21)};
    EXPECT_EQUAL(0, router_deployment(scene.router, &options, scene.now));
    scene_gather(&scene);
    scene_reports(&scene, 0, MANIFEST, 1, 1);
    scene_reports(&scene, 1, MANIFEST, 1, 100);
    scene_call_with(&scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 2000});
    scene_dispatched(&scene, 1);
    scene_call_with(&scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 40});
    EXPECT(scene_is_given_nothing(&scene, 0) == !full);
    scene_close(&scene);
  }
}

// A queue that keeps the fast worker busy for longer than the slow one takes is for both.
static void uses_slow_for_many(void) {
  struct scene scene = scene_square(2);
  scene_reports(&scene, 0, MANIFEST, 1, 10);
  scene_reports(&scene, 1, MANIFEST, 1, 100);
  for (int i = 0; i < 20; i++) scene_call(&scene, 0, SECONDS(9));
  scene_dispatched(&scene, 1);
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

// ---- concurrency ----

static struct scene few_open(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, kFew, 2, 1);
  scene_ready(&scene, 0);
  return scene;
}

static void fills_slots(void) {
  struct scene scene = few_open();
  for (int i = 0; i < 5; i++) scene_call(&scene, 1, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0);
  for (int i = 1; i < 4; i++) scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

static void runs_alone(void) {
  struct scene scene = few_open();
  scene_call(&scene, 1, SECONDS(5));
  struct message together = scene_dispatched(&scene, 0);
  uint64_t alone = scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, together, MESSAGE_RESULT);
  EXPECT_EQUAL(alone, scene_dispatched(&scene, 0).id.counter);
  scene_call(&scene, 1, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void passes_by(void) {
  struct scene scene = few_open();
  scene_call(&scene, 1, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  uint64_t behind = scene_call(&scene, 1, SECONDS(5));
  EXPECT_EQUAL(behind, scene_dispatched(&scene, 0).id.counter);
  scene.now += MILLISECONDS(101);
  scene_call(&scene, 1, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

// Four calls fill the first worker, one stands in the second, which so has room for a call of its
// own first.
static void reserves_one(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, kFew, 2, 2);
  scene_ready(&scene, 0);
  scene_ready(&scene, 1);
  struct message full[4];
  for (int i = 0; i < 5; i++) scene_call(&scene, 1, SECONDS(5));
  for (int i = 0; i < 4; i++) full[i] = scene_dispatched(&scene, 0);
  scene.now += MILLISECONDS(50);
  struct message last = scene_dispatched(&scene, 1);
  scene_reply(&scene, 1, last, MESSAGE_RESULT);
  scene_call(&scene, 1, SECONDS(5));
  last = scene_dispatched(&scene, 1);
  uint64_t alone = scene_call(&scene, 0, SECONDS(5));
  scene.now += MILLISECONDS(101);
  uint64_t behind = scene_call(&scene, 1, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_reply(&scene, 0, full[0], MESSAGE_RESULT);
  EXPECT_EQUAL(behind, scene_dispatched(&scene, 0).id.counter);
  scene_reply(&scene, 1, last, MESSAGE_RESULT);
  EXPECT_EQUAL(alone, scene_dispatched(&scene, 1).id.counter);
  scene_close(&scene);
}

static const struct check checks[] = {
    {"gives a call to a worker only when a slot is free", late_binding},
    {"sends along the time that is left", remaining_time},
    {"gives a call to the first of equal workers", lowest_index},
    {"lets a call wait for a fast worker that will end it sooner than a slow one", waits_for_fast},
    {"lets none wait for a worker that is full", full},
    {"lets it wait no longer than the slow one would take", waits_no_longer},
    {"uses the slow worker when many calls wait", uses_slow_for_many},
    {"runs as many calls of a function at once as it allows", fills_slots},
    {"runs a call of a function that wants to be alone alone", runs_alone},
    {"lets calls pass one that fits nowhere, but for 100 ms only", passes_by},
    {"then keeps one worker free for it, and gives the others what comes", reserves_one},
};
CHECK_MAIN(checks)
