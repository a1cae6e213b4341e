// Checks of who runs together, and who ends how: host/core/router_batch.c.
#include "scene.h"

enum { SIZE = 4 };

static const struct router_function kBatch = {
    .concurrency = 1, .batch_size = SIZE, .batch_wait = MILLISECONDS(5)};
static const struct router_function kIdempotent = {
    .concurrency = 1, .batch_size = SIZE, .batch_wait = MILLISECONDS(5), .idempotent = true};

static struct scene open_with(struct router_function function, uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &function, 1, workers);
  for (uint32_t i = 0; i < workers; i++) scene_ready(&scene, i);
  return scene;
}

static void call_many(struct scene *scene, int count) {
  for (int i = 0; i < count; i++) scene_call(scene, 0, SECONDS(5));
}

// The calls of the next batch that the router has given to `worker`; it has to have so many.
static void take_batch(struct scene *scene, uint32_t worker, uint32_t count,
                       struct message *calls) {
  for (uint32_t i = 0; i < count; i++) {
    calls[i] = scene_dispatched(scene, worker);
    EXPECT(calls[i].flags & CALL_BATCH);
    EXPECT_EQUAL(count - 1 - i, calls[i].batch);
    EXPECT(!i || calls[i].sequence == calls[i - 1].sequence + 1);
  }
}

static uint32_t slots_of(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.in_flight;
}

// Another call would be given to the worker at once.
static bool has_room(struct scene *scene) {
  struct message call;
  scene_call(scene, 0, SECONDS(5));
  scene_pass(scene, MILLISECONDS(5));
  if (scene_is_given_nothing(scene, 0)) return false;
  take_batch(scene, 0, 1, &call);
  return true;
}

// ---- who goes when ----

static void full_goes_at_once(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[SIZE];
  call_many(&scene, SIZE - 1);
  EXPECT(scene_is_given_nothing(&scene, 0));
  call_many(&scene, 1);
  take_batch(&scene, 0, SIZE, calls);
  EXPECT_EQUAL(1, slots_of(&scene, 0));
  scene_close(&scene);
}

static void first_waits_so_long(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[SIZE];
  call_many(&scene, 1);
  scene_pass(&scene, MILLISECONDS(3));
  call_many(&scene, 1);
  scene_pass(&scene, MILLISECONDS(2) - 1);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_pass(&scene, 1);
  take_batch(&scene, 0, 2, calls);
  scene_close(&scene);
}

static void never_waits(void) {
  struct router_function function = kBatch;
  function.batch_wait = 0;
  struct scene scene = open_with(function, 1);
  struct message call;
  call_many(&scene, 1);
  take_batch(&scene, 0, 1, &call);
  scene_close(&scene);
}

static void busy_adds_no_wait(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message first[SIZE], second[SIZE];
  call_many(&scene, SIZE);
  take_batch(&scene, 0, SIZE, first);
  call_many(&scene, 2);
  for (int i = 0; i < SIZE; i++) {
    EXPECT(scene_is_given_nothing(&scene, 0));
    scene_reply(&scene, 0, first[i], MESSAGE_RESULT);
  }
  take_batch(&scene, 0, 2, second);
  scene_close(&scene);
}

static void rest_of_busy_adds_no_wait(void) {
  struct router_function function = kBatch;
  function.concurrency = 2;
  struct scene scene = open_with(function, 1);
  struct message calls[SIZE];
  call_many(&scene, SIZE);
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  take_batch(&scene, 0, SIZE, calls);
  call_many(&scene, 1);
  scene_pass(&scene, SECONDS(1));
  scene_ready(&scene, 0);
  take_batch(&scene, 0, SIZE, calls);
  take_batch(&scene, 0, 1, calls);
  EXPECT_EQUAL(2, slots_of(&scene, 0));
  scene_close(&scene);
}

static void short_of_time(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[SIZE];
  call_many(&scene, 1);
  scene_call(&scene, 0, MILLISECONDS(10) - 1);
  take_batch(&scene, 0, 2, calls);
  scene_close(&scene);
}

static void short_of_queue_time(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message call;
  scene_call_with(&scene, PEER,
                  (struct message){.remaining = SECONDS(5), .queue_timeout = MILLISECONDS(6)});
  take_batch(&scene, 0, 1, &call);
  scene_close(&scene);
}

// The fast worker is busy for one second and would take half a second for both: earlier than the slow
// one, which is free and takes one second for each.
static void whole_batch_is_predicted(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kBatch, 1, 2);
  scene_reports(&scene, 0, MANIFEST, 1, 1);
  scene_reports(&scene, 1, MANIFEST, 1, 4);
  struct message first[SIZE], second[SIZE];
  call_many(&scene, SIZE);
  take_batch(&scene, 1, SIZE, first);
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(6));
  EXPECT(scene_is_given_nothing(&scene, 0));
  for (int i = 0; i < SIZE; i++) scene_reply(&scene, 1, first[i], MESSAGE_RESULT);
  take_batch(&scene, 1, 2, second);
  scene_close(&scene);
}

static void learns_once(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[SIZE];
  call_many(&scene, SIZE);
  take_batch(&scene, 0, SIZE, calls);
  scene_pass(&scene, MILLISECONDS(500));
  scene_reply(&scene, 0, calls[0], MESSAGE_ERROR);  // left out: it took no time
  for (int i = 1; i < SIZE; i++) {
    calls[i].elapsed = MILLISECONDS(300);
    scene_reply(&scene, 0, calls[i], MESSAGE_RESULT);
  }
  EXPECT(router_score(scene.router, 0, 0) > 9.99 && router_score(scene.router, 0, 0) < 10.01);
  scene_close(&scene);
}

// ---- each ends on its own ----

static void one_fails_alone(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2], answer;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_reply(&scene, 0, calls[0], MESSAGE_ERROR);
  EXPECT(scene_answers(&scene, &answer) && answer.type == MESSAGE_ERROR);
  payload_unref(answer.body);
  scene_reply(&scene, 0, calls[1], MESSAGE_RESULT);
  scene_succeeds(&scene, 2);
  EXPECT_EQUAL(0, slots_of(&scene, 0));
  EXPECT(has_room(&scene));
  scene_close(&scene);
}

static void cancelled_leaves_others(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2], cancel;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_cancel(&scene, 2);
  scene_fails(&scene, 2, "Cancelled", "maybe");
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  scene_pass(&scene, SECONDS(4));
  EXPECT(!scene_kills(&scene, 0));
  EXPECT_EQUAL(1, slots_of(&scene, 0));
  scene_reply(&scene, 0, calls[0], MESSAGE_RESULT);
  scene_succeeds(&scene, 1);
  scene_reply(&scene, 0, calls[1], MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  EXPECT_EQUAL(0, slots_of(&scene, 0));
  EXPECT(has_room(&scene));
  scene_close(&scene);
}

static void early_ones_are_withdrawn(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2], cancel;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_cancel(&scene, 1);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(calls[0].sequence, cancel.sequence);
  scene_close(&scene);
}

static void all_end_the_batch(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2], cancel;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_cancel(&scene, 2);
  scene_pass(&scene, SECONDS(3));
  scene_cancel(&scene, 1);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(calls[1].sequence, cancel.sequence);
  scene_pass(&scene, LIMIT_GRACE - 1);
  EXPECT(!scene_kills(&scene, 0));
  scene_pass(&scene, 1);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

// The last one who waits gets its answer before the function was entered for the other, whom nobody
// awaits.
static void last_answer_ends_the_batch(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2], cancel;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_cancel(&scene, 2);
  scene_reply(&scene, 0, calls[0], MESSAGE_ERROR);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(calls[1].sequence, cancel.sequence);
  scene_pass(&scene, LIMIT_GRACE);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

static void deadlines_are_each_ones(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2];
  scene_call(&scene, 0, SECONDS(1));
  scene_call(&scene, 0, SECONDS(9));
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, 1, "DeadlineExceeded", "maybe");
  scene_pass(&scene, SECONDS(4));
  EXPECT(!scene_kills(&scene, 0));
  for (int i = 0; i < 2; i++) scene_reply(&scene, 0, calls[i], MESSAGE_RESULT);
  scene_succeeds(&scene, 2);
  scene_close(&scene);
}

// ---- losses ----

static void unentered_go_again(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2];
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, calls[0].sequence - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, SECONDS(1));
  scene_ready(&scene, 0);
  take_batch(&scene, 0, 2, calls);
  EXPECT_EQUAL(1, calls[1].attempt);
  scene_close(&scene);
}

static void entered_end_each(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2];
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, calls[1].sequence);
  scene_fails(&scene, 1, "WorkerLost", "maybe");
  scene_fails(&scene, 2, "WorkerLost", "maybe");
  scene_close(&scene);
}

static void tried_again_alone(void) {
  struct scene scene = open_with(kIdempotent, 1);
  struct message calls[2], again;
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, calls[1].sequence);
  scene_pass(&scene, SECONDS(1));
  scene_ready(&scene, 0);
  take_batch(&scene, 0, 1, &again);
  EXPECT_EQUAL(2, again.attempt);
  scene_reply(&scene, 0, again, MESSAGE_RESULT);
  take_batch(&scene, 0, 1, &again);
  scene_close(&scene);
}

// ---- calls made in a batch ----

static void children_stay_with_the_batch(void) {
  static const struct router_function functions[] = {{.concurrency = 1, .batch_size = SIZE},
                                                     {.concurrency = 1}};
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, functions, 2, 2);
  struct message calls[3], cancel;
  for (int i = 0; i < 3; i++) scene_call(&scene, 0, SECONDS(i == 1 ? 9 : 3));
  scene_ready(&scene, 0);
  take_batch(&scene, 0, 3, calls);
  scene_ready(&scene, 1);
  struct message nested = {.function = 1, .remaining = SECONDS(20), .parent = calls[0].id};
  uint64_t child = scene_call_with(&scene, PEER, nested);
  EXPECT_EQUAL(SECONDS(9), scene_dispatched(&scene, 1).remaining);
  scene_cancel(&scene, 2);
  scene_fails(&scene, 2, "Cancelled", "maybe");
  scene_cancel(&scene, 1);
  scene_fails(&scene, 1, "Cancelled", "maybe");
  EXPECT(!scene_sends(&scene, 1, MESSAGE_CANCEL, &cancel));
  scene_cancel(&scene, 3);
  scene_fails(&scene, 3, "Cancelled", "maybe");
  scene_fails(&scene, child, "Cancelled", "maybe");
  EXPECT(scene_sends(&scene, 1, MESSAGE_CANCEL, &cancel));
  scene_close(&scene);
}

static void deadlock_is_seen(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2];
  call_many(&scene, 2);
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  struct message nested = {.remaining = SECONDS(20), .parent = calls[1].id};
  scene_fails(&scene, scene_call_with(&scene, PEER, nested), "Overloaded", "no");
  scene_close(&scene);
}

// A call joins one of the batch by its key, and has more time than all others.
static void deadlock_is_seen_after_widening(void) {
  static const struct router_function functions[] = {{.concurrency = 1, .batch_size = SIZE},
                                                     {.concurrency = 1}};
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, functions, 2, 2);
  struct message calls[2], keyed = {.remaining = SECONDS(5), .key = "k", .key_size = 1};
  keyed.body = payload_copy("\x90", 1);
  scene_call_with(&scene, PEER, keyed);
  scene_call(&scene, 0, SECONDS(9));
  scene_ready(&scene, 0);
  take_batch(&scene, 0, 2, calls);
  scene_ready(&scene, 1);
  scene_call(&scene, 1, SECONDS(60));
  struct message plain = scene_dispatched(&scene, 1);
  struct message nested = {.function = 1, .remaining = SECONDS(20), .parent = calls[1].id};
  scene_call_with(&scene, PEER, nested);
  EXPECT(scene_is_silent(&scene));
  keyed.remaining = SECONDS(30);
  keyed.body = payload_copy("\x90", 1);
  scene_call_with(&scene, PEER, keyed);
  nested.parent = plain.id;
  scene_fails(&scene, scene_call_with(&scene, PEER, nested), "Overloaded", "no");
  scene_close(&scene);
}

// It would wait for a call that ends with its maker.
static void own_key_is_refused(void) {
  struct scene scene = open_with(kBatch, 1);
  struct message calls[2];
  struct message keyed = {.remaining = SECONDS(5), .key = "k", .key_size = 1};
  keyed.body = payload_copy("\x90", 1);
  scene_call_with(&scene, PEER, keyed);
  scene_call(&scene, 0, SECONDS(9));
  scene_pass(&scene, MILLISECONDS(5));
  take_batch(&scene, 0, 2, calls);
  keyed.parent = calls[1].id;
  keyed.body = payload_copy("\x90", 1);
  scene_fails(&scene, scene_call_with(&scene, PEER, keyed), "Overloaded", "no");
  scene_close(&scene);
}

static void bad_options(void) {
  struct scene scene = scene_open(0, 0);
  struct router_function bad[] = {{.concurrency = 1, .batch_size = 1},
                                  {.concurrency = 2, .batch_size = LIMIT_BATCH / 2 + 1},
                                  {.concurrency = 1, .batch_size = 2, .batch_wait = -1}};
  for (int i = 0; i < 3; i++) EXPECT_EQUAL(ROUTER_NONE, scene_deploy(&scene, &bad[i], 1, 1));
  scene_close(&scene);
}

static const struct check kChecks[] = {
    {"gives a full batch to a worker at once, for one slot", full_goes_at_once},
    {"lets the first call wait for others so long and no longer", first_waits_so_long},
    {"lets it not wait at all with a wait of 0", never_waits},
    {"gives what has waited for a busy worker to it when it is free", busy_adds_no_wait},
    {"also what was too much for one batch", rest_of_busy_adds_no_wait},
    {"does not wait for others with a call that has little time", short_of_time},
    {"nor with one that may wait for a worker only a little while", short_of_queue_time},
    {"predicts the whole batch", whole_batch_is_predicted},
    {"learns from a batch once, by the workload of those that ran", learns_once},
    {"lets one of a batch fail alone", one_fails_alone},
    {"lets one of a batch be cancelled alone", cancelled_leaves_others},
    {"tells the worker of one that it may still leave out", early_ones_are_withdrawn},
    {"ends a batch for which nobody waits, after its grace", all_end_the_batch},
    {"also when the last one who waits gets its answer", last_answer_ends_the_batch},
    {"keeps the deadline of each", deadlines_are_each_ones},
    {"sends again those that were not entered", unentered_go_again},
    {"ends each that was lost", entered_end_each},
    {"tries again one by one what a worker may have died of", tried_again_alone},
    {"lets calls made in a batch live as long as somebody waits for it",
     children_stay_with_the_batch},
    {"sees that a batch waits for a call that cannot get a worker", deadlock_is_seen},
    {"sees it also when another one of the batch has the most time by then",
     deadlock_is_seen_after_widening},
    {"refuses a call made in a batch with the key of a call beside it", own_key_is_refused},
    {"refuses sizes and waits out of their limits", bad_options},
};
CHECK_MAIN(kChecks)
