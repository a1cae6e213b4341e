// Checks of host/core/router_why.c: a record says what the router really did, and for what reason.
#include "../../../host/core/router_why.h"

#include "scene.h"

#define MICROSECONDS(n) ((int64_t)(n)*1000)

enum { KEPT = 4, MANY = 12 };

static const struct router_function kOne = {.concurrency = 1};

static struct scene open_with(struct router_function function, uint32_t workers, int64_t ahead) {
  struct scene scene = scene_open(0, 0);
  router_free(scene.router);
  scene.router = router_new(&(struct router_options){.seed = 1, .epoch = EPOCH, .ahead = ahead});
  router_keep_whys(scene.router, 100);
  router_client(scene.router, PEER, scene.now);
  EXPECT_EQUAL(0, scene_deploy(&scene, &function, 1, workers));
  return scene;
}

// Workers with these scores.
static struct scene open_scored(uint32_t workers, const double *scores) {
  struct scene scene = open_with(kOne, workers, 0);
  for (uint32_t i = 0; i < workers; i++) scene_reports(&scene, i, MANIFEST, 1, scores[i]);
  return scene;
}

static struct why why_of(struct scene *scene, uint64_t call) {
  struct why why;
  EXPECT(router_why(scene->router, (struct call_id){PEER, call}, &why));
  EXPECT_EQUAL(call, why.id.counter);
  return why;
}

static bool is_kept(const struct why *why, uint32_t place) {
  for (uint32_t i = 0; i < why->kept; i++)
    if (why->of[i].place == place) return true;
  return false;
}

static uint64_t call_of(struct scene *scene, double workload) {
  return scene_call_with(scene, PEER,
                         (struct message){.remaining = SECONDS(90), .workload = workload});
}

static void is_near(double expected, double got) {
  EXPECT(got > expected * 0.99 && got < expected * 1.01);
}

// ---- reasons of waiting ----

static void no_slot(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  call_of(&scene, 1);
  uint64_t second = call_of(&scene, 1);
  struct why why = why_of(&scene, second);
  EXPECT_EQUAL(WHY_NO_SLOT, why.reason);
  EXPECT_EQUAL(ROUTER_NONE, why.place);
  EXPECT(why.decided == INT64_MAX && why.looks == 1);
  scene.now += MILLISECONDS(3);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  why = why_of(&scene, second);
  EXPECT_EQUAL(WHY_ONLY_FREE, why.reason);
  EXPECT_EQUAL(WHY_NO_SLOT, why.waited);
  EXPECT(why.decided == scene.now && why.decided - why.admitted == MILLISECONDS(3));
  EXPECT(why.looks == 2 && why.place == 0);
  scene_close(&scene);
}

static void faster(void) {
  struct scene scene = open_scored(2, (double[]){1, 100});
  call_of(&scene, 1);
  struct why why = why_of(&scene, call_of(&scene, 1));
  EXPECT_EQUAL(WHY_FASTER, why.reason);
  EXPECT_EQUAL(1, why.place);
  EXPECT(why.kept == 2 && why.of[0].place == 1 && !why.of[0].free && why.of[1].free);
  EXPECT(why.of[0].ends < why.of[1].ends);
  scene_close(&scene);
}

static void gathers(void) {
  struct scene scene = open_with(
      (struct router_function){.concurrency = 1, .batch_size = 4, .batch_wait = MILLISECONDS(5)}, 1,
      0);
  scene_ready(&scene, 0);
  uint64_t first = call_of(&scene, 1);
  EXPECT_EQUAL(WHY_GATHERS, why_of(&scene, first).reason);
  uint64_t second = call_of(&scene, 1);
  scene_pass(&scene, MILLISECONDS(5));
  EXPECT_EQUAL(WHY_ONLY_FREE, why_of(&scene, first).reason);
  EXPECT_EQUAL(WHY_GATHERS, why_of(&scene, first).waited);
  EXPECT_EQUAL(WHY_BATCH, why_of(&scene, second).reason);
  scene_close(&scene);
}

// ---- reasons of a choice ----

static void earliest(void) {
  struct scene scene = open_scored(3, (double[]){100, 300, 200});
  struct why why = why_of(&scene, call_of(&scene, 60000));
  EXPECT_EQUAL(WHY_EARLIEST, why.reason);
  EXPECT_EQUAL(1, why.place);
  EXPECT(why.candidates == 3 && why.kept == 3 && why.of[0].place == 1);
  is_near(200, why.predicted);
  for (uint32_t i = 0; i < 3; i++) {
    EXPECT(why.of[i].known && why.of[i].free);
    is_near(why.of[i].wait + 60000 / why.of[i].score, why.of[i].ends);
  }
  scene_close(&scene);
}

// Ten busy ones of score 1000 that are about to end calls of 2 s, and two free ones: so those that
// are predicted to end a call first are all busy.
static struct scene open_many(double first, double second) {
  double scores[MANY];
  for (uint32_t i = 0; i < MANY; i++) scores[i] = 1000;
  scores[MANY - 2] = first;
  scores[MANY - 1] = second;
  struct scene scene = open_scored(MANY, scores);
  for (uint32_t i = 0; i < MANY - 2; i++) call_of(&scene, 2000);
  for (uint32_t i = 0; i < MANY - 2; i++) scene_dispatched(&scene, i);
  scene.now += MILLISECONDS(1999);
  return scene;
}

static void left_among_many(void) {
  struct scene scene = open_many(1000, 100);
  struct why why = why_of(&scene, call_of(&scene, 1));
  EXPECT_EQUAL(MANY - 1, why.place);
  EXPECT_EQUAL(WHY_LEFT, why.reason);
  EXPECT(why.candidates == MANY && why.kept == WHY_CANDIDATES && is_kept(&why, why.place));
  scene_close(&scene);
}

static void free_behind_busy(void) {
  struct scene scene = open_many(960, 960);
  struct why why = why_of(&scene, call_of(&scene, 100000));
  EXPECT_EQUAL(MANY - 2, why.place);
  EXPECT_EQUAL(WHY_EARLIEST, why.reason);
  EXPECT(is_kept(&why, why.place));
  scene_close(&scene);
}

// What has been measured of none comes behind what is known.
static void unknown_last(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  EXPECT(why_of(&scene, call_of(&scene, 1)).of[0].known);
  scene_close(&scene);
  scene = open_with(kOne, 3, 0);
  for (uint32_t i = 0; i < 3; i++) scene_ready(&scene, i);
  struct why why = why_of(&scene, call_of(&scene, 1));
  EXPECT(why.kept == 3 && !why.of[0].known && why.predicted <= 0);
  for (uint32_t i = 0; i < 3; i++) EXPECT_EQUAL(i, why.of[i].place);
  scene_close(&scene);
}

// What is predicted is that of the whole batch: its calls run as one.
static void whole_batch(void) {
  struct scene scene = open_with(
      (struct router_function){.concurrency = 1, .batch_size = 4, .batch_wait = MILLISECONDS(5)}, 1,
      0);
  scene_reports(&scene, 0, MANIFEST, 1, 100);
  uint64_t first = call_of(&scene, 1);
  for (int i = 1; i < 4; i++) call_of(&scene, 1);
  struct why why = why_of(&scene, first);
  EXPECT(why.reason == WHY_ONLY_FREE && why.decided == scene.now);
  is_near(why.of[0].wait + 4 / why.of[0].score, why.of[0].ends);
  scene_close(&scene);
}

static struct router_function retried(void) {
  return (struct router_function){.concurrency = 1, .idempotent = true, .retry_on = "Internal"};
}

static void fail(struct scene *scene, uint32_t worker) {
  struct error_writer writer;
  struct message call = scene_dispatched(scene, worker);
  error_begin(&writer, ERROR_INTERNAL, EXECUTED_YES, true, "worker");
  error_message(&writer, "no");
  call.type = MESSAGE_ERROR;
  call.body = error_end(&writer);
  scene_worker_says(scene, worker, &call);
}

static void elsewhere(void) {
  struct scene scene = open_with(retried(), 2, 0);
  for (uint32_t i = 0; i < 2; i++) scene_reports(&scene, i, MANIFEST, 1, 1000);
  for (int i = 0; i < 400; i++) {  // the budget of attempts grows with them
    call_of(&scene, 1);
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  }
  uint64_t call = scene_call_with(
      &scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 1, .attempts = 3});
  fail(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  struct why why = why_of(&scene, call);
  EXPECT(why.attempt == 2 && why.place == 1 && why.reason == WHY_OTHER);
  scene_close(&scene);
}

// The only worker is the one on which it failed: nobody may say that it went elsewhere.
static void same_place_again(void) {
  struct scene scene = open_with(retried(), 1, 0);
  scene_reports(&scene, 0, MANIFEST, 1, 1000);
  for (int i = 0; i < 400; i++) {
    call_of(&scene, 1);
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  }
  uint64_t call = scene_call_with(
      &scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 1, .attempts = 3});
  fail(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  struct why why = why_of(&scene, call);
  EXPECT(why.attempt == 2 && why.place == 0);
  EXPECT_EQUAL(WHY_ONLY_FREE, why.reason);
  scene_close(&scene);
}

static void pauses(void) {
  struct scene scene = open_with(retried(), 2, 0);
  for (uint32_t i = 0; i < 2; i++) scene_reports(&scene, i, MANIFEST, 1, 1000);
  for (int i = 0; i < 400; i++) {
    call_of(&scene, 1);
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  }
  uint64_t call = scene_call_with(
      &scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 1, .attempts = 3});
  fail(&scene, 0);
  struct why why = why_of(&scene, call);
  EXPECT(why.attempt == 2 && why.place == ROUTER_NONE && why.decided == INT64_MAX);
  EXPECT_EQUAL(WHY_PAUSES, why.reason);
  scene_pass(&scene, SECONDS(1));
  EXPECT_EQUAL(WHY_PAUSES, why_of(&scene, call).waited);
  scene_close(&scene);
}

// A call that wants the worker alone has waited; others that could run beside what runs do not.
static void reserved(void) {
  static const struct router_function functions[] = {{.concurrency = 4}, {.concurrency = 1}};
  struct scene scene = open_with(kOne, 1, 0);
  EXPECT_EQUAL(1, scene_deploy(&scene, functions, 2, 1));
  enum { WORKER = 2 };  // the first of the second deployment
  scene_reports(&scene, WORKER, MANIFEST, 2, 1000);
  uint64_t calls[3];
  for (int i = 0; i < 3; i++) {
    if (i == 2) scene_pass(&scene, SECONDS(1));
    struct message message = {.type = MESSAGE_CALL,
                              .id = {PEER, ++scene.calls},
                              .attempt = 1,
                              .function = i == 1,
                              .remaining = SECONDS(90),
                              .workload = 1};
    calls[i] = scene.calls;
    message.body = payload_copy("\x90", 1);
    router_client_message(scene.router, PEER, 1, &message, scene.now);
    scene_gather(&scene);
  }
  EXPECT_EQUAL(WHY_NO_SLOT, why_of(&scene, calls[1]).reason);
  EXPECT_EQUAL(WHY_RESERVED, why_of(&scene, calls[2]).reason);
  scene_close(&scene);
}

static void fault(struct scene *scene, uint32_t worker) {
  struct message call = scene_dispatched(scene, worker);
  call.type = MESSAGE_ERROR;
  call.epoch = EPOCH;
  call.body = scene_raised("GpuFault");
  scene_worker_says(scene, worker, &call);
  scene_drop_answers(scene);
}

// Of two workers one is ejected, and then tried with one call.
static void probation(void) {
  struct scene scene = open_with((struct router_function){.concurrency = 4}, 2, 0);
  for (uint32_t i = 0; i < 2; i++) scene_reports(&scene, i, MANIFEST, 1, 1000);
  for (int i = 0; i < 5; i++) {
    call_of(&scene, 1);
    fault(&scene, 0);
  }
  scene_pass(&scene, SECONDS(30));
  for (int i = 0; i < 12; i++) call_of(&scene, 1);
  struct why whys[12];
  size_t found = 0, count = router_why_last(scene.router, whys, 12);
  for (size_t i = 0; i < count; i++) {
    if (whys[i].reason != WHY_PROBATION) continue;  // an older one
    found++;
    for (uint32_t k = 0; k < whys[i].kept; k++)
      EXPECT(whys[i].of[k].standing == (whys[i].of[k].place ? WHY_SLOW_START : WHY_TRIED));
  }
  EXPECT(found);
  scene_close(&scene);
}

// A worker that is 8 ms away, and has ended so many calls that it is warm.
static void apart(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  for (int i = 0; i < 60; i++) {
    call_of(&scene, 1);
    struct message call = scene_dispatched(&scene, 0);
    call.elapsed = MILLISECONDS(1);
    scene.now += MILLISECONDS(9);
    scene_reply(&scene, 0, call, MESSAGE_RESULT);
  }
  struct why why = why_of(&scene, call_of(&scene, 1));
  EXPECT_EQUAL(WHY_HEALTHY, why.of[0].standing);
  EXPECT(why.of[0].round_trip > 0.007 && why.of[0].round_trip < 0.009);
  EXPECT(why.of[0].wait < 1e-6 && why.of[0].wait > -1e-6);
  is_near(why.of[0].wait + why.of[0].round_trip + 1 / why.of[0].score, why.of[0].ends);
  scene_close(&scene);
}

// Handed ahead, and taken back: it waits again.
static void ahead(void) {
  struct scene scene = open_with(kOne, 1, MICROSECONDS(100));
  scene_ready(&scene, 0);
  for (int i = 0; i < 20; i++) {
    call_of(&scene, 1);
    struct message call = scene_dispatched(&scene, 0);
    call.elapsed = MICROSECONDS(9);
    scene_reply(&scene, 0, call, MESSAGE_RESULT);
  }
  call_of(&scene, 1);
  uint64_t second = call_of(&scene, 1);
  EXPECT_EQUAL(WHY_AHEAD, why_of(&scene, second).reason);
  struct message first = scene_dispatched(&scene, 0);
  scene_pass(&scene, MILLISECONDS(2));
  EXPECT_EQUAL(1, router_worker_recalled(scene.router, 0, scene_generation(&scene, 0),
                                         first.sequence, scene.now));
  struct why why = why_of(&scene, second);
  EXPECT_EQUAL(WHY_NO_SLOT, why.reason);
  EXPECT(why.decided == INT64_MAX && why.place == ROUTER_NONE);
  scene_close(&scene);
}

// ---- what came of it ----

static void outcome(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  uint64_t first = call_of(&scene, 2), second = call_of(&scene, 2);
  is_near(0.002, why_of(&scene, first).predicted);
  struct message call = scene_dispatched(&scene, 0);
  scene.now += MILLISECONDS(4);
  call.elapsed = MILLISECONDS(3);
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  struct why why = why_of(&scene, first);
  EXPECT(why.ended && why.outcome == ERROR_NAMES && why.workload == 2);
  is_near(0.003, why.ran);
  is_near(0.004, why.took);
  call = scene_dispatched(&scene, 0);
  call.type = MESSAGE_ERROR;
  call.body = scene_raised("MyError");
  scene_worker_says(&scene, 0, &call);
  why = why_of(&scene, second);
  EXPECT(why.ended && why.outcome == ERROR_REMOTE_ERROR);
  scene_close(&scene);
}

// An answer that the router made says nothing of how long the function ran, one of its worker does:
// also that it took less than a microsecond.
static void not_known(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  uint64_t late = scene_call_with(&scene, PEER, (struct message){.remaining = SECONDS(1)});
  scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  struct why why = why_of(&scene, late);
  EXPECT(why.ended && why.outcome == ERROR_DEADLINE_EXCEEDED && why.decided != INT64_MAX);
  EXPECT(why.ran < 0 && why.took >= 1 && why.of[0].round_trip <= 0);
  scene_close(&scene);
  scene = open_scored(1, (double[]){1000});
  uint64_t quick = call_of(&scene, 1), bad = call_of(&scene, 1);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  EXPECT(why_of(&scene, quick).ran >= 0);
  fail(&scene, 0);
  EXPECT(why_of(&scene, bad).ended && why_of(&scene, bad).ran < 0);
  scene_close(&scene);
}

// A client knows its call, and not the run that it shares.
static void with_a_key(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  struct message message = {.remaining = SECONDS(90), .workload = 1, .key = "k", .key_size = 1};
  uint64_t call = scene_call_with(&scene, PEER, message);
  struct why why = why_of(&scene, call);
  EXPECT(why.place == 0 && why.decided == scene.now && !why.ended);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  why = why_of(&scene, call);
  EXPECT(why.ended && why.outcome == ERROR_NAMES && why.place == 0);
  scene_close(&scene);
}

// ---- the ring ----

static void bounded(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  struct why whys[KEPT + 2];
  router_keep_whys(scene.router, KEPT);
  EXPECT_EQUAL(0, router_why_last(scene.router, whys, KEPT + 2));
  for (uint64_t i = 1; i <= 10; i++) {
    EXPECT_EQUAL(i, call_of(&scene, 1));
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  }
  EXPECT_EQUAL(KEPT, router_why_last(scene.router, whys, KEPT + 2));
  for (uint64_t i = 0; i < KEPT; i++) EXPECT_EQUAL(10 - i, whys[i].id.counter);
  EXPECT_EQUAL(2, router_why_last(scene.router, whys, 2));
  EXPECT(!router_why(scene.router, (struct call_id){PEER, 6}, whys));
  EXPECT(router_why(scene.router, (struct call_id){PEER, 7}, whys));
  EXPECT(!router_why(scene.router, (struct call_id){PEER, 11}, whys));
  scene_close(&scene);
}

// A call whose record was overwritten while it waited writes into no other one's.
static void overwritten(void) {
  struct scene scene = open_with(kOne, 1, 0);
  router_keep_whys(scene.router, 1);
  scene_ready(&scene, 0);
  uint64_t first = call_of(&scene, 1), second = call_of(&scene, 1);
  EXPECT_EQUAL(second, why_of(&scene, second).id.counter);
  struct message call = scene_dispatched(&scene, 0);
  scene_cancel(&scene, second);
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  struct why why;
  EXPECT(!router_why(scene.router, (struct call_id){PEER, first}, &why));
  EXPECT(why_of(&scene, second).ended && why_of(&scene, second).outcome != ERROR_NAMES);
  scene_close(&scene);
}

static void made_smaller(void) {
  struct scene scene = open_scored(1, (double[]){1000});
  struct why why;
  for (int i = 0; i < 50; i++) {
    call_of(&scene, 1);
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  }
  uint64_t call = call_of(&scene, 1);
  router_keep_whys(scene.router, 1);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  EXPECT(!router_why(scene.router, (struct call_id){PEER, call}, &why));
  scene_close(&scene);
}

static void none(void) {
  struct scene scene = scene_square(1);
  struct why why;
  scene_ready(&scene, 0);
  call_of(&scene, 1);
  EXPECT(!router_why(scene.router, (struct call_id){PEER, 1}, &why));
  EXPECT_EQUAL(0, router_why_last(scene.router, &why, 1));
  scene_close(&scene);
}

// What router_why.h says of the memory.
static void memory(void) {
  EXPECT(sizeof(struct why) <= 368);
}

static const struct check checks[] = {
    {"says of a call that no worker has room for it, and then which had", no_slot},
    {"says which busy worker a call waits for, and what is predicted of both", faster},
    {"says that a call waits for others of its batch, and who goes with it", gathers},
    {"says that a call pauses before its next attempt", pauses},
    {"says that the worker with room is kept for a call that has waited longer", reserved},
    {"says that the worker with room is on probation", probation},
    {"says how each candidate stands, and how far away it is", apart},
    {"says that a call is predicted to end first where it went", earliest},
    {"says that a fast worker is left to others, however many there are", left_among_many},
    {"knows which workers were free, when many busy ones come first", free_behind_busy},
    {"lists workers of which nothing is known in their order", unknown_last},
    {"predicts a batch as a whole", whole_batch},
    {"says that a call went to another worker than the one where it failed", elsewhere},
    {"does not say so when it went to the same one", same_place_again},
    {"says that a call was handed ahead, and that it waits again once taken back", ahead},
    {"says how the call ended, and how long it ran", outcome},
    {"does not claim to know how long a call ran of which no worker said it", not_known},
    {"knows a call with a key by the id that its client has", with_a_key},
    {"keeps so many of the latest ones and no more", bounded},
    {"loses a call whose record was overwritten, and spoils no other", overwritten},
    {"can be made smaller while calls run", made_smaller},
    {"keeps nothing unless it is told to", none},
    {"takes at most 368 bytes for each", memory},
};

CHECK_MAIN(checks)
