// Checks of host/core/router_stream.c: what passes through while a call runs.
#include "../../../host/core/credit.h"
#include "scene.h"

enum { ITEM = 1000, WINDOW = 3000 };

static struct message stream(struct scene *scene, uint32_t flags) {
  scene_call_with(scene, PEER,
                  (struct message){.remaining = SECONDS(60), .flags = flags, .credit = WINDOW});
  return scene_dispatched(scene, 0);
}

static struct scene open_stream(struct message *call) {
  struct scene scene = scene_square(1);
  scene_starts(&scene, 0);
  scene_ready(&scene, 0);
  *call = stream(&scene, CALL_STREAM | CALL_PROGRESS);
  return scene;
}

static void say_item(struct scene *scene, struct message call) {
  call.type = MESSAGE_ITEM;
  call.body = payload_new(ITEM);
  memset(call.body->bytes, 0, ITEM);
  scene_worker_says(scene, 0, &call);
}

static void say_progress(struct scene *scene, struct message call, double n) {
  call.type = MESSAGE_PROGRESS;
  call.n = n;
  call.body = NULL;
  scene_worker_says(scene, 0, &call);
}

static void give(struct scene *scene, uint64_t call, uint32_t bytes) {
  struct message message = {.type = MESSAGE_CREDIT, .id = {PEER, call}, .credit = bytes};
  router_client_message(scene->router, PEER, 0, &message, scene->now);
  scene_gather(scene);
}

static bool gets(struct scene *scene, enum message_type type, struct message *message) {
  if (!scene_answers(scene, message)) return false;
  payload_unref(message->body);
  return message->type == type;
}

static void passes_on(void) {
  struct message call, message;
  struct scene scene = open_stream(&call);
  EXPECT_EQUAL(WINDOW, call.credit);
  EXPECT(call.flags & CALL_STREAM);
  say_item(&scene, call);
  say_progress(&scene, call, 4);
  EXPECT(gets(&scene, MESSAGE_ITEM, &message));
  EXPECT_EQUAL(call.id.counter, message.id.counter);
  EXPECT(gets(&scene, MESSAGE_PROGRESS, &message));
  EXPECT(message.n == 4);
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  scene_succeeds(&scene, 1);
  say_item(&scene, call);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// Two items of a thousand bytes are below the window, the third goes beyond it, a fourth may not.
static void counts_credit(void) {
  struct message call, message;
  struct scene scene = open_stream(&call);
  for (int i = 0; i < 3; i++) {
    say_item(&scene, call);
    EXPECT(gets(&scene, MESSAGE_ITEM, &message));
  }
  give(&scene, 1, (uint32_t)credit_cost(ITEM));
  EXPECT(scene_sends(&scene, 0, MESSAGE_CREDIT, &message));
  EXPECT_EQUAL(credit_cost(ITEM), message.credit);
  EXPECT_EQUAL(call.sequence, message.sequence);
  EXPECT_EQUAL(call.attempt, message.attempt);
  say_item(&scene, call);
  EXPECT(gets(&scene, MESSAGE_ITEM, &message));
  give(&scene, 1, 1000 * 1000);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CREDIT, &message));
  EXPECT_EQUAL(3 * credit_cost(ITEM), message.credit);
  give(&scene, 1, 1);
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CREDIT, NULL));
  scene_close(&scene);
}

static void overdraws(void) {
  struct message call, message;
  struct scene scene = open_stream(&call);
  for (int i = 0; i < 3; i++) {
    say_item(&scene, call);
    EXPECT(gets(&scene, MESSAGE_ITEM, &message));
  }
  say_item(&scene, call);
  scene_fails(&scene, 1, "Internal", "yes");
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  say_item(&scene, call);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void unwanted(void) {
  struct scene scene = scene_square(1);
  scene_starts(&scene, 0);
  scene_ready(&scene, 0);
  struct message call = stream(&scene, 0);
  for (int i = 0; i < LIMIT_BAD_ANSWERS; i++) {
    EXPECT(!scene_kills(&scene, 0));
    if (i % 2)
      say_item(&scene, call);
    else
      say_progress(&scene, call, 1);
  }
  EXPECT(scene_kills(&scene, 0));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void not_tried_again(void) {
  struct message call, message;
  struct scene scene = open_stream(&call);
  scene_cancel(&scene, 1);
  scene_fails(&scene, 1, "Cancelled", "maybe");
  scene_reply(&scene, 0, call, MESSAGE_ERROR);
  scene_call_with(&scene, PEER,
                  (struct message){.remaining = SECONDS(60), .flags = CALL_STREAM, .attempts = 3});
  call = scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, call.sequence);
  EXPECT(scene_is_silent(&scene));
  scene_starts(&scene, 0);
  scene_ready(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  call = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(2, call.attempt);
  say_item(&scene, call);
  EXPECT(gets(&scene, MESSAGE_ITEM, &message));
  scene_reply(&scene, 0, call, MESSAGE_GIVE_BACK);  // it has not: an item came
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  scene_fails(&scene, 2, "WorkerLost", "yes");
  scene_close(&scene);
}

static const struct check checks[] = {
    {"passes items and progress on until the call has ended", passes_on},
    {"gives a worker as much credit back as it has spent", counts_credit},
    {"ends a call whose worker sends more than its credit allows", overdraws},
    {"counts items and progress that nobody waits for as bad answers", unwanted},
    {"does not try a call again of which an item has reached its client", not_tried_again},
};
CHECK_MAIN(checks)
