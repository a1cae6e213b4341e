// Checks of further attempts and of calls that kill their workers: host/core/router_retry.c.
#include "scene.h"

static const struct router_function kIdempotent = {
    .concurrency = 1, .idempotent = true, .retry_on = "NotReady,Busy"};
static const struct router_function kPlain = {.concurrency = 1};
static const struct router_function kCrowded = {.concurrency = 4, .idempotent = true};

static struct scene idempotent(uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kIdempotent, 1, workers);
  for (uint32_t i = 0; i < workers; i++) scene_ready(&scene, i);
  return scene;
}

// The worker dies of the call it was given, and its replacement becomes ready.
static void die(struct scene *scene, uint32_t worker) {
  struct message given = scene_dispatched(scene, worker);
  scene_lost(scene, worker, LOST_SIGNAL, 11, given.sequence);
  while (scene_state(scene, worker) != WORKER_STARTING) scene_pass(scene, MILLISECONDS(100));
  scene_ready(scene, worker);
}

static void answer(struct scene *scene, uint32_t worker, struct message call, const char *key,
                   const char *name) {
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  error_string(&writer, key, name);
  call.type = MESSAGE_ERROR;
  call.body = error_end(&writer);
  scene_worker_says(scene, worker, &call);
}

// ---- pauses ----

// How long after it failed a call is sent again.
static int64_t pause_of(struct scene *scene) {
  int64_t start = scene->now;
  answer(scene, 0, scene_dispatched(scene, 0), "type", "Busy");
  while (!scene_find(scene, ROUTER_SEND, 0, MESSAGE_CALL))
    scene_pass(scene, router_deadline(scene->router) - scene->now);
  return scene->now - start;
}

static void pauses(void) {
  int64_t longest[2] = {0, 0}, shortest[2] = {SECONDS(9), SECONDS(9)};
  struct scene scene = idempotent(1);
  for (int i = 0; i < 15; i++) {
    uint64_t call = scene_call(&scene, 0, SECONDS(500));
    for (int k = 0; k < 2; k++) {
      int64_t pause = pause_of(&scene);
      if (pause > longest[k]) longest[k] = pause;
      if (pause < shortest[k]) shortest[k] = pause;
    }
    scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
    scene_succeeds(&scene, call);
  }
  EXPECT(shortest[0] < MILLISECONDS(20) && shortest[1] < MILLISECONDS(40));
  EXPECT(longest[0] > MILLISECONDS(30) && longest[0] <= MILLISECONDS(50));
  EXPECT(longest[1] > MILLISECONDS(60) && longest[1] <= MILLISECONDS(100));
  scene_close(&scene);
}

static void pause_cancelled(void) {
  struct scene scene = idempotent(2);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  die(&scene, 0);
  scene_cancel(&scene, call);
  scene_fails(&scene, call, "Cancelled", "maybe");
  scene_pass(&scene, SECONDS(3));
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_close(&scene);
}

static void pause_and_deadline(void) {
  struct scene scene = idempotent(1);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(1));
  struct message given = scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 11, given.sequence);
  scene_pass(&scene, MILLISECONDS(1));
  struct message end;
  EXPECT(scene_answers(&scene, &end) && end.id.counter == call);
  payload_unref(end.body);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void pause_orphaned(void) {
  struct scene scene = idempotent(2);
  scene_call(&scene, 0, SECONDS(500));
  die(&scene, 0);
  router_client_gone(scene.router, PEER, scene.now);
  scene_gather(&scene);
  struct deployment_status status;
  router_deployment_status(scene.router, 0, &status, scene.now);
  payload_unref(status.failure);
  EXPECT_EQUAL(0, status.queued);
  scene_pass(&scene, SECONDS(3));
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_close(&scene);
}

static void given_back(void) {
  struct scene scene = idempotent(1);
  scene_call(&scene, 0, SECONDS(500));
  struct message given = scene_dispatched(&scene, 0);
  scene_reply(&scene, 0, given, MESSAGE_GIVE_BACK);
  given = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(1, given.attempt);
  scene_reply(&scene, 0, given, MESSAGE_GIVE_BACK);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_pass(&scene, MILLISECONDS(50));
  EXPECT_EQUAL(1, scene_dispatched(&scene, 0).attempt);
  scene_close(&scene);
}

static void elsewhere(void) {
  struct scene scene = idempotent(2);
  scene_call(&scene, 0, SECONDS(500));
  die(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  EXPECT(scene_is_given_nothing(&scene, 0));
  die(&scene, 1);
  scene_pass(&scene, SECONDS(1));
  EXPECT_EQUAL(3, scene_dispatched(&scene, 0).attempt);
  scene_close(&scene);
}

// ---- the budget ----

static void budget(void) {
  struct scene scene = idempotent(1);
  int retried = 0;
  for (int i = 0; i < 40; i++) {
    scene_call(&scene, 0, SECONDS(500));
    struct message given = scene_dispatched(&scene, 0), end;
    answer(&scene, 0, given, "type", "Busy");
    if (scene_answers(&scene, &end)) {
      payload_unref(end.body);
      continue;
    }
    retried++;
    scene_cancel(&scene, given.id.counter);
    scene_fails(&scene, given.id.counter, "Cancelled", "yes");
  }
  EXPECT_EQUAL(30, retried);
  scene_pass(&scene, SECONDS(10));
  scene_call(&scene, 0, SECONDS(500));
  struct message given = scene_dispatched(&scene, 0);
  answer(&scene, 0, given, "type", "Busy");
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// ---- errors that are tried again ----

static void listed(void) {
  struct scene scene = idempotent(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  for (uint32_t attempt = 1; attempt <= LIMIT_ATTEMPTS; attempt++) {
    struct message given = scene_dispatched(&scene, 0);
    EXPECT_EQUAL(attempt, given.attempt);
    EXPECT(scene_is_silent(&scene));
    answer(&scene, 0, given, "type", "Busy");
    scene_pass(&scene, MILLISECONDS(100));
  }
  scene_fails(&scene, call, "RemoteError", "yes");
  scene_close(&scene);
}

static void not_listed(void) {
  struct scene scene = idempotent(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  answer(&scene, 0, scene_dispatched(&scene, 0), "type", "Bus");
  scene_fails(&scene, call, "RemoteError", "yes");
  scene_close(&scene);
}

static void ran_before(void) {
  struct scene scene = idempotent(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  answer(&scene, 0, scene_dispatched(&scene, 0), "type", "Busy");
  scene_cancel(&scene, call);
  struct payload *error = scene_error(&scene, call, "Cancelled", "yes");
  struct cursor list;
  size_t count;
  EXPECT(cursor_find(scene_map(error), "attempts", &list) && cursor_array(&list, &count));
  EXPECT_EQUAL(1, count);
  EXPECT(scene_map_says(list, "outcome", "Busy") && scene_map_counts(list, "worker", 0));
  payload_unref(error);
  scene_close(&scene);
}

// ---- poison ----

static const char kArguments[] = "\x91\x07";

static uint64_t call_same(struct scene *scene) {
  struct message message = {.remaining = SECONDS(500), .workload = 1};
  message.body = payload_copy(kArguments, 2);
  return scene_call_with(scene, PEER, message);
}

static struct scene poisoned(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kPlain, 1, 1);
  scene_ready(&scene, 0);
  for (int i = 1; i <= 3; i++) {
    uint64_t call = call_same(&scene);
    die(&scene, 0);
    scene_fails(&scene, call, i < 3 ? "WorkerLost" : "PoisonCall", "maybe");
  }
  return scene;
}

static void quarantined(void) {
  struct scene scene = poisoned();
  uint64_t call = call_same(&scene);
  struct payload *error = scene_error(&scene, call, "PoisonCall", "no");
  EXPECT(scene_map_mentions(scene_map(error), "message", "3 workers died"));
  payload_unref(error);
  scene_call(&scene, 0, SECONDS(5));  // with other arguments
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, scene.calls);
  scene_pass(&scene, SECONDS(601));
  call = call_same(&scene);
  EXPECT_EQUAL(call, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void acquitted(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kPlain, 1, 1);
  scene_ready(&scene, 0);
  for (int i = 0; i < 8; i++) {
    uint64_t call = call_same(&scene);
    if (i % 3 == 2) {
      scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
      scene_succeeds(&scene, call);
    } else {
      die(&scene, 0);
      scene_fails(&scene, call, "WorkerLost", "maybe");
    }
  }
  scene_close(&scene);
}

// Which of the calls on a crowded worker has killed it nobody knows.
static void innocent(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kCrowded, 1, 1);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, SECONDS(500));
  scene_call(&scene, 0, SECONDS(500));
  for (int attempt = 1; attempt <= LIMIT_ATTEMPTS; attempt++) {
    scene_dispatched(&scene, 0);
    struct message second = scene_dispatched(&scene, 0);
    scene_lost(&scene, 0, LOST_SIGNAL, 11, second.sequence);
    scene_pass(&scene, SECONDS(2));
    scene_ready(&scene, 0);
  }
  for (int i = 0; i < 2; i++) {
    struct message end;
    EXPECT(scene_answers(&scene, &end));
    EXPECT(scene_map_says(scene_map(end.body), "name", "WorkerLost"));
    payload_unref(end.body);
  }
  scene_close(&scene);
}

static const struct check checks[] = {
    {"tries a call again after a pause of up to 50 ms, then of up to 100 ms", pauses},
    {"ends a call that is cancelled in its pause", pause_cancelled},
    {"lets no pause go on past the deadline", pause_and_deadline},
    {"forgets a call in its pause when its client goes", pause_orphaned},
    {"C10: pauses before a call that was given back twice is sent again", given_back},
    {"tries a call again on another worker, if there is one", elsewhere},
    {"C10: tries no more calls again than 30 in 10 s when there are few", budget},
    {"tries a call again that ends in an error of retry_on, three times in all", listed},
    {"does not try again what only begins like an error of retry_on", not_listed},
    {"lists the attempts of a call that has run before, and says that it has", ran_before},
    {"W17: refuses a call that has killed three workers for ten minutes", quarantined},
    {"W17: takes arguments that have given a result for harmless", acquitted},
    {"W17: blames no call that was not alone on its worker", innocent},
};
CHECK_MAIN(checks)
