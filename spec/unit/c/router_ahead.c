// Checks of short calls that are handed ahead: host/core/router_ahead.c.
#include "scene.h"

#define MICROSECONDS(n) ((int64_t)(n)*1000)

enum { KNOWN = 16 };  // calls after which a function is known to be short

static const struct router_function kTwo[] = {{.concurrency = 1}, {.concurrency = 1}};

static struct scene open_ahead(const struct router_function *functions, uint32_t count,
                               uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  router_free(scene.router);
  scene.router =
      router_new(&(struct router_options){.seed = 1, .epoch = EPOCH, .ahead = MICROSECONDS(100)});
  router_client(scene.router, PEER, scene.now);
  EXPECT_EQUAL(0, scene_deploy(&scene, functions, count, workers));
  for (uint32_t i = 0; i < workers; i++) scene_ready(&scene, i);
  return scene;
}

static void answer(struct scene *scene, uint32_t worker, struct message call, int64_t elapsed) {
  call.elapsed = elapsed;
  scene_reply(scene, worker, call, MESSAGE_RESULT);
  scene_succeeds(scene, call.id.counter);
}

// Runs so many calls, one after the other; they go to the first worker.
static void run(struct scene *scene, uint32_t function, int count, int64_t elapsed) {
  for (int i = 0; i < count; i++) {
    scene_call(scene, function, SECONDS(5));
    answer(scene, 0, scene_dispatched(scene, 0), elapsed);
  }
}

// A worker on which the first function is known to take 10 us.
static struct scene open_known(uint32_t workers) {
  struct scene scene = open_ahead(kTwo, 2, workers);
  run(&scene, 0, KNOWN, MICROSECONDS(9));
  return scene;
}

static bool is_ahead(const struct message *call) {
  return (call->flags & CALL_AHEAD) != 0;
}

// How many calls `worker` is given; all but the first as ones handed ahead.
static int given(struct scene *scene, uint32_t worker) {
  struct message call;
  int count = 0;
  for (; scene_sends(scene, worker, MESSAGE_CALL, &call); count++)
    EXPECT_EQUAL(count > 0, is_ahead(&call));
  return count;
}

static void bounded(void) {
  struct scene scene = open_known(1);
  for (int i = 0; i < 30; i++) scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(11, given(&scene, 0));  // ten in front of the last
  struct worker_status status;
  EXPECT(router_worker_status(scene.router, 0, &status));
  EXPECT_EQUAL(11, status.in_flight);
  scene_close(&scene);
}

static void unknown(void) {
  struct scene scene = open_ahead(kTwo, 2, 1);
  run(&scene, 0, KNOWN - 1, 0);
  for (int i = 0; i < 5; i++) scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(1, given(&scene, 0));
  scene_close(&scene);
}

static void sometimes_long(void) {
  struct scene scene = open_known(1);
  run(&scene, 0, 1, MILLISECONDS(4));
  run(&scene, 0, 20, MICROSECONDS(9));
  scene_call(&scene, 0, SECONDS(5));
  scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  answer(&scene, 0, call, MICROSECONDS(9));
  answer(&scene, 0, scene_dispatched(&scene, 0), MICROSECONDS(9));
  run(&scene, 0, 50, MICROSECONDS(9));
  scene_call(&scene, 0, SECONDS(5));
  scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(2, given(&scene, 0));
  scene_close(&scene);
}

static void more_work(void) {
  struct scene scene = open_known(1);
  scene_call(&scene, 0, SECONDS(5));
  scene_call_with(&scene, PEER, (struct message){.remaining = SECONDS(5), .workload = 50});
  EXPECT_EQUAL(1, given(&scene, 0));
  scene_close(&scene);
}

static void beside_others(void) {
  static const struct router_function four = {.concurrency = 4};
  struct scene scene = open_ahead(&four, 1, 1);
  run(&scene, 0, KNOWN, 0);
  for (int i = 0; i < 8; i++) scene_call(&scene, 0, SECONDS(5));
  for (int i = 0; i < 4; i++) {
    struct message call = scene_dispatched(&scene, 0);
    EXPECT(!is_ahead(&call));
  }
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void free_first(void) {
  struct scene scene = open_known(2);
  for (int i = 0; i < 4; i++) scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(3, given(&scene, 0));  // of the other nobody knows how long it takes
  EXPECT_EQUAL(1, given(&scene, 1));
  scene_close(&scene);
}

static void nested(void) {
  struct scene scene = open_known(2);
  uint64_t parent = scene_call(&scene, 0, SECONDS(5));
  scene_call(&scene, 1, SECONDS(5));
  struct message child = {.remaining = SECONDS(5), .workload = 1, .parent = {PEER, parent}};
  scene_call_with(&scene, PEER, child);
  scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(1, given(&scene, 0));
  EXPECT_EQUAL(1, given(&scene, 1));
  scene_close(&scene);
}

// Else a flow of short calls would keep the long one from its slot.
static void in_turn(void) {
  struct scene scene = open_known(1);
  scene_call(&scene, 0, SECONDS(5));
  uint64_t other = scene_call(&scene, 1, SECONDS(5));
  for (int i = 0; i < 5; i++) scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  answer(&scene, 0, call, MICROSECONDS(9));
  EXPECT_EQUAL(other, scene_dispatched(&scene, 0).id.counter);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

// ---- back again ----

static bool recalls(struct scene *scene, uint32_t worker, uint64_t *sequence) {
  struct action action;
  if (!scene_take(scene, ROUTER_RECALL, worker, 0, &action)) return false;
  *sequence = action.message.sequence;
  return true;
}

static uint32_t recalled(struct scene *scene, uint32_t worker, uint64_t entering) {
  uint32_t count = router_worker_recalled(scene->router, worker, scene_generation(scene, worker),
                                          entering, scene->now);
  scene_gather(scene);
  return count;
}

static void taken_back(void) {
  struct scene scene = open_known(1);
  struct message calls[5];
  uint64_t last;
  for (int i = 0; i < 5; i++) scene_call(&scene, 0, SECONDS(5));
  for (int i = 0; i < 5; i++) calls[i] = scene_dispatched(&scene, 0);
  answer(&scene, 0, calls[0], MICROSECONDS(9));
  scene_pass(&scene, MICROSECONDS(999));
  EXPECT(!recalls(&scene, 0, &last));
  scene_pass(&scene, MICROSECONDS(1));
  EXPECT(recalls(&scene, 0, &last));
  EXPECT_EQUAL(calls[4].sequence, last);
  struct message told;
  EXPECT(scene_sends(&scene, 0, MESSAGE_GIVE_BACK, &told));
  EXPECT(told.sequence == last && told.attempt == 1 && told.epoch == EPOCH);
  EXPECT_EQUAL(3, recalled(&scene, 0, calls[1].sequence));
  EXPECT(scene_is_given_nothing(&scene, 0));
  answer(&scene, 0, calls[1], MILLISECONDS(2));
  for (int i = 2; i < 5; i++) {
    struct message call = scene_dispatched(&scene, 0);
    EXPECT_EQUAL(calls[i].id.counter, call.id.counter);
    EXPECT(!is_ahead(&call) && call.attempt == 1 && call.sequence > last);
    EXPECT(scene_is_given_nothing(&scene, 0));  // the function is no short one now
    answer(&scene, 0, call, MICROSECONDS(9));
  }
  scene_close(&scene);
}

static void given_back_late(void) {
  struct scene scene = open_known(1);
  uint64_t last;
  scene_call(&scene, 0, SECONDS(5));
  uint64_t second = scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0), ahead = scene_dispatched(&scene, 0);
  scene_pass(&scene, MILLISECONDS(1));
  EXPECT(recalls(&scene, 0, &last));
  EXPECT_EQUAL(1, recalled(&scene, 0, call.sequence));
  for (int i = 0; i < 2 * LIMIT_BAD_ANSWERS; i++) scene_reply(&scene, 0, ahead, MESSAGE_GIVE_BACK);
  EXPECT(!scene_kills(&scene, 0));
  answer(&scene, 0, call, MILLISECONDS(1));
  EXPECT_EQUAL(second, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void lost(void) {
  struct scene scene = open_known(1);
  uint64_t first = scene_call(&scene, 0, SECONDS(5)), second = scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0);
  scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, call.sequence);
  scene_fails(&scene, first, "WorkerLost", "maybe");
  EXPECT(scene_is_silent(&scene));
  scene_ready(&scene, 0);
  EXPECT_EQUAL(second, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void withdraw(struct scene *scene, const struct message *call, bool taken) {
  struct action action;
  EXPECT(scene_take(scene, ROUTER_WITHDRAW, 0, 0, &action));
  EXPECT_EQUAL(call->sequence, action.message.sequence);
  EXPECT(scene_is_silent(scene));
  router_worker_withdrawn(scene->router, 0, action.generation, call->sequence, taken, scene->now);
  scene_gather(scene);
}

static void cancelled(void) {
  struct scene scene = open_known(1);
  for (int i = 0; i < 3; i++) scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  struct message second = scene_dispatched(&scene, 0), third = scene_dispatched(&scene, 0);
  scene_cancel(&scene, second.id.counter);
  withdraw(&scene, &second, true);
  scene_fails(&scene, second.id.counter, "Cancelled", "no");
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_cancel(&scene, third.id.counter);
  withdraw(&scene, &third, false);
  scene_fails(&scene, third.id.counter, "Cancelled", "maybe");
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_close(&scene);
}

static void late(void) {
  struct scene scene = open_known(1);
  scene_call(&scene, 0, SECONDS(5));
  uint64_t call = scene_call(&scene, 0, MICROSECONDS(500));
  scene_dispatched(&scene, 0);
  struct message ahead = scene_dispatched(&scene, 0);
  scene_pass(&scene, MICROSECONDS(500));
  withdraw(&scene, &ahead, true);
  scene_fails(&scene, call, "DeadlineExceeded", "no");
  scene_close(&scene);
}

static const struct check checks[] = {
    {"hands short calls ahead as long as 100 us of work are in front of them", bounded},
    {"hands no call ahead whose function is not known yet", unknown},
    {"hands none ahead for a while after a long one", sometimes_long},
    {"hands none ahead that has much more to do than those before", more_work},
    {"hands none ahead that may run beside others", beside_others},
    {"gives a call to a free worker before it hands one ahead", free_first},
    {"hands nothing ahead behind a call that has made another, nor that one", nested},
    {"hands none ahead of one that waits for a slot", in_turn},
    {"takes back what was not entered when nothing has ended for a millisecond", taken_back},
    {"takes no offence at a call that comes back after a recall", given_back_late},
    {"W1: sends again what was handed ahead to a worker that died in another call", lost},
    {"withdraws a call that is cancelled while it is handed ahead", cancelled},
    {"withdraws one whose deadline passes", late},
};
CHECK_MAIN(checks)
