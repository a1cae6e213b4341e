// Checks of how workers are recycled: host/core/router_recycle.c.
#include "scene.h"

enum { A, B, SPARE };

static const struct router_function kLimited = {.concurrency = 1, .max_calls = 2};
static const struct router_function kShared = {.concurrency = 4, .max_calls = 1};
static const struct router_function kSized = {.concurrency = 1, .max_rss = 1000};

static struct scene open_with(const struct router_function *function, uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, function, 1, workers);
  for (uint32_t i = 0; i < workers; i++) {
    EXPECT(scene_starts(&scene, i));
    scene_ready(&scene, i);
  }
  return scene;
}

static void run(struct scene *scene, uint32_t worker) {
  uint64_t call = scene_call(scene, 0, SECONDS(5));
  scene_reply(scene, worker, scene_dispatched(scene, worker), MESSAGE_RESULT);
  scene_succeeds(scene, call);
}

static uint32_t ready_count(struct scene *scene) {
  struct deployment_status status;
  EXPECT(router_deployment_status(scene->router, 0, &status, scene->now));
  payload_unref(status.failure);
  return status.ready;
}

static void after_calls(void) {
  struct scene scene = open_with(&kLimited, 1);
  run(&scene, 0);
  EXPECT(!scene_starts(&scene, 1));
  run(&scene, 0);
  EXPECT(scene_starts(&scene, 1));
  run(&scene, 0);  // it goes on serving
  EXPECT_EQUAL(1, ready_count(&scene));
  scene_ready(&scene, 1);
  EXPECT_EQUAL(1, ready_count(&scene));
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  run(&scene, 1);
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  EXPECT(!scene_starts(&scene, 0));
  run(&scene, 1);
  EXPECT(scene_starts(&scene, 0));  // its place is the spare one now
  scene_close(&scene);
}

static void after_its_last_call(void) {
  struct scene scene = open_with(&kShared, 1);
  run(&scene, 0);
  EXPECT(scene_starts(&scene, 1));
  uint64_t first = scene_call(&scene, 0, SECONDS(100)),
           second = scene_call(&scene, 0, SECONDS(100));
  struct message one = scene_dispatched(&scene, 0), two = scene_dispatched(&scene, 0);
  scene_ready(&scene, 1);
  uint64_t third = scene_call(&scene, 0, SECONDS(100));
  EXPECT_EQUAL(third, scene_dispatched(&scene, 1).id.counter);
  EXPECT_EQUAL(WORKER_DRAINING, scene_state(&scene, 0));
  scene_pass(&scene, SECONDS(50));
  EXPECT(!scene_kills(&scene, 0));
  scene_reply(&scene, 0, one, MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  EXPECT(!scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_reply(&scene, 0, two, MESSAGE_RESULT);
  scene_succeeds(&scene, second);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_pass(&scene, LIMIT_CONTEXT_EXIT);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

static void says_its_size(struct scene *scene, uint32_t worker, uint32_t function, uint64_t size) {
  struct message message = {.type = MESSAGE_RECYCLE, .function = function, .resident = size};
  scene_worker_says(scene, worker, &message);
}

static void after_growth(void) {
  struct scene scene = open_with(&kSized, 2);
  says_its_size(&scene, B, 0, 1000);
  says_its_size(&scene, B, 7, 5000);
  EXPECT(!scene_starts(&scene, SPARE));
  says_its_size(&scene, B, 0, 1001);
  EXPECT(scene_starts(&scene, SPARE));
  scene_ready(&scene, SPARE);
  EXPECT(scene_sends(&scene, B, MESSAGE_DRAIN, NULL));
  scene_close(&scene);
}

static void one_at_a_time(void) {
  struct scene scene = open_with(&kSized, 2);
  says_its_size(&scene, B, 0, 2000);
  says_its_size(&scene, A, 0, 2000);
  EXPECT(scene_starts(&scene, SPARE));
  scene_ready(&scene, SPARE);
  EXPECT(scene_sends(&scene, B, MESSAGE_DRAIN, NULL));
  EXPECT(!scene_starts(&scene, B));
  scene_lost(&scene, B, LOST_EXIT, 0, 0);
  EXPECT(scene_starts(&scene, B));
  EXPECT(!scene_sends(&scene, A, MESSAGE_DRAIN, NULL));
  scene_ready(&scene, B);
  EXPECT(scene_sends(&scene, A, MESSAGE_DRAIN, NULL));
  EXPECT_EQUAL(2, ready_count(&scene));
  scene_close(&scene);
}

static void replacement_fails(void) {
  struct scene scene = open_with(&kLimited, 1);
  run(&scene, 0);
  run(&scene, 0);
  for (int i = 0; i < 8; i++) {
    EXPECT(scene_starts(&scene, 1));
    scene_lost(&scene, 1, LOST_EXIT, 71, 0);
    EXPECT(!scene_starts(&scene, 1));
    run(&scene, 0);
    scene_pass(&scene, SECONDS(73));
  }
  EXPECT(scene_starts(&scene, 1));
  scene_ready(&scene, 1);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_close(&scene);
}

static void dies_meanwhile(void) {
  struct scene scene = open_with(&kLimited, 1);
  run(&scene, 0);
  run(&scene, 0);
  EXPECT(scene_starts(&scene, 1));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  scene_pass(&scene, SECONDS(100));
  EXPECT(!scene_starts(&scene, 0));
  scene_ready(&scene, 1);
  EXPECT_EQUAL(1, ready_count(&scene));
  run(&scene, 1);
  scene_close(&scene);
}

static void dies_while_replacement_pauses(void) {
  struct scene scene = open_with(&kLimited, 1);
  run(&scene, 0);
  run(&scene, 0);
  EXPECT(scene_starts(&scene, 1));
  scene_lost(&scene, 1, LOST_EXIT, 71, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  EXPECT(scene_starts(&scene, 0));
  scene_pass(&scene, SECONDS(100));
  EXPECT(!scene_starts(&scene, 1));
  scene_close(&scene);
}

static void says_goodbye(void) {
  struct scene scene = open_with(&kLimited, 1);
  struct message message = {.type = MESSAGE_GOODBYE};
  scene_worker_says(&scene, 0, &message);
  scene_call(&scene, 0, SECONDS(100));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_pass(&scene, LIMIT_CONTEXT_EXIT);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

static void drained_meanwhile(void) {
  struct scene scene = open_with(&kShared, 1);
  run(&scene, 0);
  scene_call(&scene, 0, SECONDS(100));
  scene_ready(&scene, 1);
  EXPECT(!scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  EXPECT(scene_sends(&scene, 1, MESSAGE_DRAIN, NULL));
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  EXPECT(!router_drained(scene.router));
  scene_lost(&scene, 1, LOST_EXIT, 0, 0);
  EXPECT(router_drained(scene.router));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"replaces a worker that has run its calls by one that is ready first", after_calls},
    {"lets it end the calls it has, however long that takes", after_its_last_call},
    {"replaces a worker that says it has grown above the limit of a function", after_growth},
    {"replaces one worker at a time", one_at_a_time},
    {"lets the worker serve on while its replacement fails to start", replacement_fails},
    {"starts no second replacement when the worker dies meanwhile", dies_meanwhile},
    {"starts it at once when it dies while its replacement pauses", dies_while_replacement_pauses},
    {"gives a worker that says it goes no more calls, and ends it in time", says_goodbye},
    {"drains all of them in the middle of it", drained_meanwhile},
};
CHECK_MAIN(checks)
