// Checks of how a router ends without losing calls: host/core/router_finish.c.
#include "scene.h"

static struct scene ready_square(uint32_t workers) {
  struct scene scene = scene_square(workers);
  for (uint32_t i = 0; i < workers; i++) scene_ready(&scene, i);
  return scene;
}

static void gives_back_what_waits(void) {
  struct scene scene = ready_square(1);
  uint64_t runs = scene_call(&scene, 0, SECONDS(60)), waits = scene_call(&scene, 0, SECONDS(60));
  struct message sent = scene_dispatched(&scene, 0);
  router_finish(scene.router, scene.now);
  scene_gather(&scene);
  scene_fails(&scene, waits, "Draining", "no");
  EXPECT(!router_finished(scene.router));
  uint64_t late = scene_call(&scene, 0, SECONDS(60));
  scene_fails(&scene, late, "Draining", "no");
  scene_reply(&scene, 0, sent, MESSAGE_RESULT);
  scene_succeeds(&scene, runs);
  EXPECT(router_finished(scene.router));
  EXPECT(!scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_close(&scene);
}

static void lets_a_call_in_progress_make_calls(void) {
  struct scene scene = ready_square(2);
  uint64_t outer = scene_call(&scene, 0, SECONDS(60));
  struct message sent = scene_dispatched(&scene, 0);
  router_finish(scene.router, scene.now);
  struct message message = {.function = 0, .remaining = SECONDS(60), .parent = sent.id};
  uint64_t inner = scene_call_with(&scene, PEER, message);
  struct message nested = scene_dispatched(&scene, 1);
  EXPECT_EQUAL(inner, nested.id.counter);
  scene_reply(&scene, 1, nested, MESSAGE_RESULT);
  scene_succeeds(&scene, inner);
  scene_reply(&scene, 0, sent, MESSAGE_RESULT);
  scene_succeeds(&scene, outer);
  message.parent.counter += 1000;  // of a call that has ended, or never was
  scene_fails(&scene, scene_call_with(&scene, PEER, message), "Draining", "no");
  EXPECT(router_finished(scene.router));
  scene_close(&scene);
}

static void is_done_at_once_without_calls(void) {
  struct scene scene = ready_square(1);
  router_finish(scene.router, scene.now);
  router_finish(scene.router, scene.now);
  scene_gather(&scene);
  EXPECT(router_finished(scene.router));
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"gives back what waits when it is to end, and lets finish what runs", gives_back_what_waits},
    {"lets a call in progress make calls while it ends", lets_a_call_in_progress_make_calls},
    {"has finished at once without calls", is_done_at_once_without_calls},
};

CHECK_MAIN(checks)
