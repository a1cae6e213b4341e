// Checks of places and their processes in the router: host/core/router_worker.c.
#include "scene.h"

enum { CRASH_LOOP = 5, MISSES = 3 };

static const struct router_function kIdempotent = {.concurrency = 1, .idempotent = true};

static struct message running(struct scene *scene, uint32_t worker) {
  scene_ready(scene, worker);
  scene_call(scene, 0, SECONDS(500));
  return scene_dispatched(scene, worker);
}

// The worker of a place that is starting ends, and its replacement is waited for.
static void fail_start(struct scene *scene, uint32_t worker) {
  scene_lost(scene, worker, LOST_EXIT, 71, 0);
  while (!scene_starts(scene, worker)) {
    int64_t deadline = router_deadline(scene->router);
    EXPECT(deadline < INT64_MAX);
    scene_pass(scene, deadline - scene->now);
  }
}

// ---- lost calls ----

static void lost_by_signal(void) {
  struct scene scene = scene_square(2);
  struct message call = running(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, call.sequence);
  struct payload *error = scene_error(&scene, call.id.counter, "WorkerLost", "maybe");
  EXPECT(scene_map_says(scene_map(error), "reason", "signal"));
  EXPECT(scene_map_counts(scene_map(error), "signal", 9));
  EXPECT(scene_map_counts(scene_map(error), "worker", 0));
  EXPECT(scene_map_counts(scene_map(error), "attempt", 1));
  payload_unref(error);
  scene_close(&scene);
}

static void lost_with_last_words(void) {
  struct scene scene = scene_square(2);
  struct message call = running(&scene, 0);
  uint32_t generation = scene_generation(&scene, 0);
  router_worker_said(scene.router, 0, generation + 1, "somebody else");
  router_worker_said(scene.router, 0, generation, "kernel f:\tnot\x1b[1m well");
  scene_lost(&scene, 0, LOST_SIGNAL, 6, call.sequence);
  struct payload *error = scene_error(&scene, call.id.counter, "WorkerLost", "maybe");
  EXPECT(scene_map_says(scene_map(error), "message",
                        "worker 0 was ended by signal 6 while it had the call; it said: kernel f: "
                        "not [1m well"));
  payload_unref(error);
  scene_close(&scene);
}

static void lost_by_exit(void) {
  struct scene scene = scene_square(2);
  struct message call = running(&scene, 0);
  scene_lost(&scene, 0, LOST_EXIT, 3, call.sequence);
  struct payload *error = scene_error(&scene, call.id.counter, "WorkerLost", "maybe");
  EXPECT(scene_map_says(scene_map(error), "reason", "exit"));
  EXPECT(scene_map_counts(scene_map(error), "exit_code", 3));
  payload_unref(error);
  scene_close(&scene);
}

static void lost_started(void) {
  struct scene scene = scene_square(2);
  struct message call = running(&scene, 0);
  scene_reply(&scene, 0, call, MESSAGE_STARTED);
  scene_lost(&scene, 0, LOST_SIGNAL, 11, call.sequence);
  scene_fails(&scene, call.id.counter, "WorkerLost", "yes");
  scene_close(&scene);
}

static void lost_before_entry(void) {
  struct scene scene = scene_square(2);
  struct message call = running(&scene, 0);
  scene_ready(&scene, 1);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, call.sequence - 1);
  EXPECT(scene_is_silent(&scene));
  struct message again = scene_dispatched(&scene, 1);
  EXPECT_EQUAL(call.id.counter, again.id.counter);
  EXPECT_EQUAL(1, again.attempt);
  scene_close(&scene);
}

static void tried_again(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kIdempotent, 1, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  for (uint32_t attempt = 1; attempt <= LIMIT_ATTEMPTS; attempt++) {
    EXPECT(scene_is_silent(&scene));
    scene_ready(&scene, 0);
    struct message given = scene_dispatched(&scene, 0);
    EXPECT_EQUAL(attempt, given.attempt);
    scene_lost(&scene, 0, LOST_SIGNAL, 9, given.sequence);
    scene_pass(&scene, SECONDS(2));
  }
  scene_fails(&scene, call, "PoisonCall", "maybe");
  scene_close(&scene);
}

static void tried_before(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &kIdempotent, 1, 1);
  struct message given = running(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, given.sequence);
  scene_cancel(&scene, given.id.counter);
  scene_fails(&scene, given.id.counter, "Cancelled", "maybe");
  scene_close(&scene);
}

static void lost_with_answer(void) {
  struct scene scene = scene_square(1);
  struct message call = running(&scene, 0);
  scene_cancel(&scene, call.id.counter);
  scene_fails(&scene, call.id.counter, "Cancelled", "maybe");
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// ---- the dead ----

static void old_generation(void) {
  struct scene scene = scene_square(1);
  struct message call = running(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, call.sequence);
  scene_fails(&scene, call.id.counter, "WorkerLost", "maybe");
  EXPECT_EQUAL(2, scene_generation(&scene, 0));
  struct message late = {.type = MESSAGE_READY, .generation = 1};
  late.body = payload_copy("\x92\xa0\x80", 3);
  router_worker_message(scene.router, 0, 1, &late, scene.now);
  late = call;
  late.type = MESSAGE_RESULT;
  late.body = payload_copy("\x90", 1);
  router_worker_message(scene.router, 0, 1, &late, scene.now);
  router_worker_lost(scene.router, 0, 1, LOST_EXIT, 0, 0, scene.now);
  scene_gather(&scene);
  EXPECT(scene_is_silent(&scene));
  EXPECT_EQUAL(WORKER_STARTING, scene_state(&scene, 0));
  scene_close(&scene);
}

static void killed_not_ready(void) {
  struct scene scene = scene_square(1);
  scene_call(&scene, 0, SECONDS(5));
  scene_reports(&scene, 0, "other\n", 0, 0);
  EXPECT(scene_kills(&scene, 0));
  scene_ready(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  EXPECT_EQUAL(WORKER_STARTING, scene_state(&scene, 0));
  scene_close(&scene);
}

// ---- replacement ----

// One that has served has died, and another one is started.
static struct scene after_serving(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  scene_reply(&scene, 0, running(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, 1);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  EXPECT(scene_starts(&scene, 0));
  return scene;
}

static void served(void) {
  struct scene scene = after_serving();
  scene_close(&scene);
}

static struct deployment_status status_of(struct scene *scene) {
  struct deployment_status status;
  EXPECT(router_deployment_status(scene->router, 0, &status, scene->now));
  return status;
}

// Seconds until a place is started again.
static double waited(struct scene *scene, uint32_t worker) {
  int64_t from = scene->now;
  while (!scene_starts(scene, worker)) scene_pass(scene, MILLISECONDS(1));
  return (double)(scene->now - from) / 1e9;
}

static bool near(double expected, double got) {
  return got >= 0.8 * expected && got <= 1.2 * expected + 0.001;
}

static void backoff(void) {
  struct scene scene = scene_square(2);
  EXPECT(scene_starts(&scene, 0));
  scene_ready(&scene, 1);  // so that the deployment does not fail
  double expected = 0.2;
  for (int i = 0; i < 12; i++) {
    scene_lost(&scene, 0, LOST_EXIT, 71, 0);
    EXPECT(near(expected, waited(&scene, 0)));
    expected = expected * 2 < 60 ? expected * 2 : 60;
  }
  scene_close(&scene);
}

static void backoff_of_served(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  const double expected[] = {0, 0.2, 0.4, 0.8, 1, 1};
  for (int i = 0; i < 6; i++) {
    struct message call = running(&scene, 0);
    scene_lost(&scene, 0, LOST_SIGNAL, 11, call.sequence);
    scene_fails(&scene, call.id.counter, "WorkerLost", "maybe");
    EXPECT(near(expected[i], waited(&scene, 0)));
  }
  scene_close(&scene);
}

// ---- crash loops ----

static void crash_loop(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  uint64_t first = scene_call(&scene, 0, SECONDS(500)),
           second = scene_call(&scene, 0, SECONDS(500));
  for (int i = 1; i < CRASH_LOOP; i++) fail_start(&scene, 0);
  EXPECT(scene_is_silent(&scene));
  scene_lost(&scene, 0, LOST_EXIT, 71, 0);
  for (uint64_t call = first; call <= second; call++) {
    struct payload *error = scene_error(&scene, call, "DeploymentFailed", "no");
    struct cursor cause;
    EXPECT(scene_map_says(scene_map(error), "phase", "crash_loop"));
    EXPECT(cursor_find(scene_map(error), "cause", &cause));
    EXPECT(scene_map_counts(cause, "exit_code", 71));
    payload_unref(error);
  }
  scene_fails(&scene, scene_call(&scene, 0, SECONDS(5)), "DeploymentFailed", "no");
  EXPECT_EQUAL(DEPLOYMENT_FAILED, router_deployment_state(scene.router, 0));
  scene_close(&scene);
}

static void canary(void) {
  struct scene scene = scene_square(3);
  for (uint32_t i = 0; i < 3; i++) EXPECT(scene_starts(&scene, i));
  for (uint32_t i = 0; i < 2; i++) fail_start(&scene, i);
  for (uint32_t i = 0; i < 3; i++) scene_lost(&scene, i, LOST_EXIT, 71, 0);
  EXPECT_EQUAL(DEPLOYMENT_FAILED, router_deployment_state(scene.router, 0));
  scene_pass(&scene, SECONDS(60) - 1);
  EXPECT(!scene_find(&scene, ROUTER_START, 0, 0) && !scene_find(&scene, ROUTER_START, 1, 0) &&
         !scene_find(&scene, ROUTER_START, 2, 0));
  scene_pass(&scene, SECONDS(30));
  uint32_t first = scene_starts(&scene, 0) ? 0 : scene_starts(&scene, 1) ? 1 : 2;
  if (first == 2) EXPECT(scene_starts(&scene, 2));
  uint32_t others[] = {(first + 1) % 3, (first + 2) % 3};
  EXPECT(!scene_starts(&scene, others[0]) && !scene_starts(&scene, others[1]));
  scene_ready(&scene, first);
  EXPECT_EQUAL(DEPLOYMENT_READY, router_deployment_state(scene.router, 0));
  EXPECT(scene_starts(&scene, others[0]) && scene_starts(&scene, others[1]));
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, first);
  scene_close(&scene);
}

static void slow_failures(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  scene_call(&scene, 0, SECONDS(5000));
  for (int i = 0; i < 20; i++) {
    scene_pass(&scene, SECONDS(75));
    fail_start(&scene, 0);
  }
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void young_deaths(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  for (int i = 1; i < CRASH_LOOP; i++) {
    scene_ready(&scene, 0);
    fail_start(&scene, 0);
  }
  scene_ready(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 11, 0);
  EXPECT_EQUAL(DEPLOYMENT_FAILED, router_deployment_state(scene.router, 0));
  scene_close(&scene);
}

static void deaths_in_calls(void) {
  struct scene scene = scene_square(1);
  for (int i = 0; i < 2 * CRASH_LOOP; i++) {
    struct message call = running(&scene, 0);
    scene_lost(&scene, 0, LOST_SIGNAL, 11, call.sequence);
    scene_fails(&scene, call.id.counter, "WorkerLost", "maybe");
    scene_pass(&scene, SECONDS(2));
  }
  EXPECT(router_deployment_state(scene.router, 0) != DEPLOYMENT_FAILED);
  scene_close(&scene);
}

static void one_serves(void) {
  struct scene scene = scene_square(2);
  EXPECT(scene_starts(&scene, 1));
  scene_ready(&scene, 0);
  for (int i = 0; i < 2 * CRASH_LOOP; i++) fail_start(&scene, 1);
  EXPECT_EQUAL(DEPLOYMENT_READY, router_deployment_state(scene.router, 0));
  scene_close(&scene);
}

static void other_manifest(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  scene_reports(&scene, 0, "app\ncube(x)\n", 0, 0);
  EXPECT(scene_kills(&scene, 0));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  struct payload *error = scene_error(&scene, call, "DeploymentFailed", "no");
  struct cursor cause;
  EXPECT(scene_map_says(scene_map(error), "phase", "bundle"));
  EXPECT(cursor_find(scene_map(error), "cause", &cause));
  EXPECT(scene_map_mentions(cause, "message", "\"cube(x)\""));
  payload_unref(error);
  scene_close(&scene);
}

// The script of a worker that is starting fails, and its process ends.
static void fail_script(struct scene *scene, const char *text) {
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  error_message(&writer, "%s", text);
  struct message message = {.type = MESSAGE_GOODBYE, .reason = PHASE_BUNDLE};
  message.body = error_end(&writer);
  scene_worker_says(scene, 0, &message);
  EXPECT(scene_is_silent(scene));
  scene_lost(scene, 0, LOST_EXIT, 65, 0);
}

static void goodbye(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  EXPECT(scene_starts(&scene, 0));
  fail_script(&scene, "no model at /tmp/x");
  struct payload *error = scene_error(&scene, call, "DeploymentFailed", "no");
  EXPECT(scene_map_mentions(scene_map(error), "message", "(1 failure); the last one is the cause"));
  EXPECT(scene_map_mentions(scene_map(error), "message", "; the next try is in 60 s"));
  EXPECT(scene_map_counts(scene_map(error), "retry_after", 60000));
  struct cursor cause;
  EXPECT(cursor_find(scene_map(error), "cause", &cause));
  EXPECT(scene_map_mentions(cause, "message", "no model at /tmp/x"));
  payload_unref(error);
  EXPECT(near(60, waited(&scene, 0)));
  error = status_of(&scene).failure;
  EXPECT(scene_map_mentions(scene_map(error), "message", "; another try has begun"));
  payload_unref(error);
  scene_close(&scene);
}

static void script_that_worked(void) {
  struct scene scene = after_serving();
  double expected = 0.2;
  for (int i = 1; i < 2 * CRASH_LOOP; i++) {
    uint64_t call = i == 1 || i > CRASH_LOOP ? scene_call(&scene, 0, SECONDS(500)) : 0;
    if (i > CRASH_LOOP) scene_fails(&scene, call, "DeploymentFailed", "no");
    fail_script(&scene, "half a script");
    if (i < CRASH_LOOP) EXPECT(scene_is_silent(&scene));
    if (i == CRASH_LOOP) scene_fails(&scene, 2, "DeploymentFailed", "no");
    EXPECT_EQUAL(i < CRASH_LOOP, router_deployment_state(scene.router, 0) != DEPLOYMENT_FAILED);
    struct deployment_status status = status_of(&scene);
    EXPECT(status.failure && near(expected, (double)(status.next_try - scene.now) / 1e9));
    payload_unref(status.failure);
    EXPECT(near(expected, waited(&scene, 0)));
    expected = expected * 2 < 60 ? expected * 2 : 60;
  }
  struct deployment_status status = status_of(&scene);
  EXPECT(status.failure && !status.next_try);
  payload_unref(status.failure);
  scene_ready(&scene, 0);
  status = status_of(&scene);
  EXPECT(!status.failure);
  EXPECT_EQUAL(INT64_MAX, status.next_try);
  scene_close(&scene);
}

// ---- health ----

static struct scene pinged(void) {
  struct scene scene = scene_open(SECONDS(1), MISSES);
  scene_deploy(&scene, &kIdempotent, 1, 2);
  scene_ready(&scene, 0);
  return scene;
}

static void answers_pings(void) {
  struct scene scene = pinged();
  for (int i = 0; i < 10; i++) {
    scene_pass(&scene, SECONDS(1));
    struct message ping;
    for (uint32_t worker = 0; worker < 2; worker++) {
      EXPECT(scene_sends(&scene, worker, MESSAGE_PING, &ping));
      ping.type = MESSAGE_PONG;
      scene_worker_says(&scene, worker, &ping);
    }
  }
  EXPECT(!scene_kills(&scene, 0) && !scene_kills(&scene, 1));
  scene_close(&scene);
}

static void misses_pings(void) {
  struct scene scene = pinged();
  scene_pass(&scene, SECONDS(1 + MISSES) - 1);
  EXPECT(!scene_kills(&scene, 0));
  scene_pass(&scene, 1);
  EXPECT(scene_kills(&scene, 0));
  EXPECT_EQUAL(WORKER_LOST, scene_state(&scene, 0));
  scene_close(&scene);
}

static void answers_old_ping(void) {
  struct scene scene = pinged();
  struct message ping;
  scene_pass(&scene, SECONDS(1));
  EXPECT(scene_sends(&scene, 0, MESSAGE_PING, &ping));
  ping.type = MESSAGE_PONG;
  scene_pass(&scene, SECONDS(1));
  scene_worker_says(&scene, 0, &ping);
  scene_pass(&scene, SECONDS(MISSES - 1));
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

// A paused worker may wake up and run the call yet.
static void lost_by_silence(void) {
  struct scene scene = pinged();
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  struct message given = scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(2));
  scene_ready(&scene, 1);
  struct message pong = {.type = MESSAGE_PONG, .sequence = 2};
  scene_worker_says(&scene, 1, &pong);
  scene_pass(&scene, SECONDS(2));
  scene_pass(&scene, MILLISECONDS(50));
  struct message again = scene_dispatched(&scene, 1);
  EXPECT_EQUAL(call, again.id.counter);
  EXPECT_EQUAL(2, again.attempt);
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  scene_reply(&scene, 1, again, MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  scene_close(&scene);
}

// After a pause of the whole machine all workers seem silent in one instant.
static void all_silent(void) {
  struct scene scene = pinged();
  scene_ready(&scene, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(4));
  EXPECT(scene_kills(&scene, 0) && scene_kills(&scene, 1));
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_lost(&scene, 1, LOST_SIGNAL, 9, 0);
  scene_ready(&scene, 1);
  scene_pass(&scene, MILLISECONDS(50));
  struct message again = scene_dispatched(&scene, 1);
  EXPECT_EQUAL(call, again.id.counter);
  EXPECT_EQUAL(2, again.attempt);
  scene_close(&scene);
}

// The third ping may be answered yet.
static void nearly_silent(void) {
  struct scene scene = pinged();
  scene_pass(&scene, SECONDS(MISSES));
  scene_call(&scene, 0, SECONDS(500));
  EXPECT(scene_is_given_nothing(&scene, 0));
  struct message pong = {.type = MESSAGE_PONG, .sequence = MISSES};
  scene_worker_says(&scene, 0, &pong);
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

static void bad_answers(void) {
  struct scene scene = scene_square(1);
  struct message wrong = running(&scene, 0);
  wrong.sequence++;
  for (int i = 1; i < LIMIT_BAD_ANSWERS; i++) scene_reply(&scene, 0, wrong, MESSAGE_RESULT);
  EXPECT(!scene_kills(&scene, 0));
  scene_reply(&scene, 0, wrong, MESSAGE_RESULT);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

static void slow_start(void) {
  struct scene scene = scene_square(1);
  scene_pass(&scene, LIMIT_START + LIMIT_BENCHMARK - 1);
  EXPECT(!scene_kills(&scene, 0));
  scene_pass(&scene, 1);
  EXPECT(scene_kills(&scene, 0));
  scene_close(&scene);
}

static void tainted(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  struct message message = {.type = MESSAGE_GOODBYE, .reason = PHASE_TAINTED};
  scene_worker_says(&scene, 0, &message);
  scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void scores(void) {
  struct scene scene = scene_square(1);
  scene_reports(&scene, 0, MANIFEST, 1, 40);
  EXPECT(router_score(scene.router, 0, 0) == 40);
  scene_call(&scene, 0, SECONDS(5));
  struct message call = scene_dispatched(&scene, 0);
  call.elapsed = SECONDS(1) / 80;
  scene.now += call.elapsed;
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  EXPECT(router_score(scene.router, 0, 0) > 40 && router_score(scene.router, 0, 0) < 50);
  scene_close(&scene);
}

static const struct check checks[] = {
    {"ends the call of a worker that a signal ended in WorkerLost, with the signal",
     lost_by_signal},
    {"quotes what a worker said that has ended itself", lost_with_last_words},
    {"ends the call of a worker that exited in WorkerLost, with its code", lost_by_exit},
    {"says that a lost call was executed when its worker had said so", lost_started},
    {"sends a call again that was never entered", lost_before_entry},
    {"tries an idempotent call three times, for then it is poison", tried_again},
    {"does not say of a call that was tried before that it was not executed", tried_before},
    {"answers a call that has its answer no more when its worker dies", lost_with_answer},
    {"W12: hears nothing that the dead say", old_generation},
    {"does not take one that is being killed for ready", killed_not_ready},
    {"replaces a worker that has served at once", served},
    {"replaces one that does not become ready after 0.2 s to 60 s, give or take 20 %", backoff},
    {"replaces one that dies in its first call at once, then after up to 1 s", backoff_of_served},
    {"W11: fails after five failed starts, tells all that wait why, and later ones at once",
     crash_loop},
    {"tries one worker a minute after that, and all when it becomes ready", canary},
    {"does not fail when the failures lie further apart", slow_failures},
    {"counts deaths soon after ready without a finished call", young_deaths},
    {"does not count deaths in calls", deaths_in_calls},
    {"does not fail while a worker serves", one_serves},
    {"fails at once when a worker has other functions, and names the line", other_manifest},
    {"fails at once when the deploy script does, with its error, and says when it tries again",
     goodbye},
    {"tries a deploy script that has worked as soon as any worker, and forgets when it does again",
     script_that_worked},
    {"leaves workers alone that answer their pings", answers_pings},
    {"gives up a worker that has missed three pings", misses_pings},
    {"does not take the answer to an older ping for one to the last", answers_old_ping},
    {"tries an idempotent call of a silent worker elsewhere, and takes no late result",
     lost_by_silence},
    {"tries a call once when all workers fall silent at once", all_silent},
    {"gives no call to a worker that has to answer its last ping yet", nearly_silent},
    {"W13: ends a worker that gives ten answers nobody asked for", bad_answers},
    {"ends a worker that takes too long to start", slow_start},
    {"gives no call to a worker that has said it will go", tainted},
    {"learns how fast a worker is", scores},
};
CHECK_MAIN(checks)
