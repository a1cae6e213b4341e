// Checks of calls in the router, how they come and how they end: host/core/router.c, router_call.c.
#include "scene.h"

// ---- deadlines ----

static void deadline_in_queue(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  uint64_t waiting = scene_call(&scene, 0, MILLISECONDS(50));
  scene_pass(&scene, MILLISECONDS(49));
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, MILLISECONDS(1));
  struct payload *error = scene_error(&scene, waiting, "DeadlineExceeded", "no");
  EXPECT(scene_map_says(scene_map(error), "phase", "queue"));
  EXPECT(scene_map_counts(scene_map(error), "waited_ms", 50));
  payload_unref(error);
  scene_close(&scene);
}

static void deadline_running(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(50));
  struct message given = scene_dispatched(&scene, 0), cancel;
  scene_pass(&scene, MILLISECONDS(50));
  struct payload *error = scene_error(&scene, call, "DeadlineExceeded", "maybe");
  EXPECT(scene_map_says(scene_map(error), "phase", "run"));
  payload_unref(error);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(given.sequence, cancel.sequence);
  EXPECT_EQUAL(CANCEL_DEADLINE, cancel.reason);
  scene_close(&scene);
}

static void deadline_entered(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(50));
  struct message given = scene_dispatched(&scene, 0);
  router_worker_entered(scene.router, 0, 1, given.sequence);
  scene_pass(&scene, MILLISECONDS(50));
  scene_fails(&scene, call, "DeadlineExceeded", "yes");
  scene_close(&scene);
}

static void slot_until_told(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(50));
  struct message given = scene_dispatched(&scene, 0);
  scene_pass(&scene, MILLISECONDS(50));
  scene_fails(&scene, call, "DeadlineExceeded", "maybe");
  uint64_t next = scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, given, MESSAGE_ERROR);
  EXPECT(scene_is_silent(&scene));
  EXPECT_EQUAL(next, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void grace(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(50));
  struct message given = scene_dispatched(&scene, 0);
  scene_pass(&scene, MILLISECONDS(50));
  scene_fails(&scene, call, "DeadlineExceeded", "maybe");
  scene_pass(&scene, LIMIT_GRACE - 1);
  EXPECT(!scene_kills(&scene, 0));
  scene_pass(&scene, 1);
  EXPECT(scene_kills(&scene, 0));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, given.sequence);
  EXPECT(scene_starts(&scene, 0));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void no_time_left(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  scene_fails(&scene, scene_call(&scene, 0, -1), "DeadlineExceeded", "no");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void late_tick(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, MILLISECONDS(50));
  scene.now += MILLISECONDS(60);
  scene_ready(&scene, 0);
  scene_fails(&scene, call, "DeadlineExceeded", "no");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void longest_deadline(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, INT64_MAX);
  EXPECT_EQUAL(LIMIT_DEADLINE, scene_dispatched(&scene, 0).remaining);
  scene_close(&scene);
}

static void default_deadline(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, 0);
  scene_pass(&scene, SECONDS(100));
  scene_ready(&scene, 0);
  struct message given = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(LIMIT_DEADLINE_DEFAULT, given.remaining);
  scene_reply(&scene, 0, given, MESSAGE_GIVE_BACK);
  scene_dispatched(&scene, 0);
  scene_pass(&scene, LIMIT_DEADLINE_DEFAULT - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, call, "DeadlineExceeded", "maybe");
  scene_close(&scene);
}

static void default_of_function(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &(struct router_function){.concurrency = 1, .timeout = SECONDS(2)}, 1, 1);
  uint64_t call = scene_call(&scene, 0, 0);
  scene_pass(&scene, SECONDS(1));
  scene_ready(&scene, 0);
  EXPECT_EQUAL(SECONDS(1), scene_dispatched(&scene, 0).remaining);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, call, "DeadlineExceeded", "maybe");
  scene_close(&scene);
}

static void not_ready(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(1)), patient = scene_call(&scene, 0, 0);
  scene_pass(&scene, SECONDS(1));
  struct payload *error = scene_error(&scene, call, "NotReady", "no");
  EXPECT(scene_map_says(scene_map(error), "state", "starting"));
  payload_unref(error);
  scene_pass(&scene, LIMIT_READY - SECONDS(1) - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, patient, "NotReady", "no");
  scene_close(&scene);
}

static void queue_timeout(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  struct message options = {.remaining = SECONDS(5), .queue_timeout = SECONDS(1), .workload = 1};
  uint64_t running = scene_call_with(&scene, PEER, options);
  uint64_t waiting = scene_call_with(&scene, PEER, options);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, waiting, "DeadlineExceeded", "no");
  scene_pass(&scene, SECONDS(4) - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, running, "DeadlineExceeded", "maybe");
  scene_close(&scene);
}

static void queue_timeout_at_start(void) {
  struct scene scene = scene_square(1);
  struct message options = {.queue_timeout = SECONDS(2), .workload = 1};
  scene_call(&scene, 0, SECONDS(90));
  uint64_t waiting = scene_call_with(&scene, PEER, options);
  scene_pass(&scene, SECONDS(1));
  scene_ready(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, waiting, "DeadlineExceeded", "no");
  scene_close(&scene);
}

// ---- cancels ----

static void cancel_queued(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene_cancel(&scene, call);
  scene_fails(&scene, call, "Cancelled", "no");
  scene_ready(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void cancel_running(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0), cancel;
  scene_cancel(&scene, call);
  struct payload *error = scene_error(&scene, call, "Cancelled", "maybe");
  EXPECT(scene_map_says(scene_map(error), "by", "client"));
  payload_unref(error);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(CANCEL_CLIENT, cancel.reason);
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void cancel_late(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  scene_cancel(&scene, call);
  scene_cancel(&scene, 1000);
  EXPECT(scene_is_silent(&scene));
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_close(&scene);
}

static void cancel_of_other(void) {
  struct scene scene = scene_square(1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  router_client(scene.router, PEER + 1, scene.now);
  struct message message = {.type = MESSAGE_CANCEL, .id = {PEER, call}};
  router_client_message(scene.router, PEER + 1, 0, &message, scene.now);
  scene_gather(&scene);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static uint64_t call_from(struct scene *scene, struct message parent) {
  return scene_call_with(
      scene, PEER, (struct message){.remaining = SECONDS(9), .parent = parent.id, .workload = 1});
}

static void client_gone(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  call_from(&scene, given);
  router_client_gone(scene.router, PEER, scene.now);
  scene_gather(&scene);
  EXPECT(scene_is_silent(&scene));
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void ends_with_parent(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  uint64_t parent = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  struct message options = {.remaining = SECONDS(9), .parent = given.id, .workload = 1};
  uint64_t child = scene_call_with(&scene, PEER, options);
  scene_pass(&scene, SECONDS(5) - 1);
  EXPECT(scene_is_silent(&scene));
  scene_cancel(&scene, parent);
  scene_fails(&scene, parent, "Cancelled", "maybe");
  scene_fails(&scene, child, "Cancelled", "no");
  scene_close(&scene);
}

static void deadlock(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  scene_ready(&scene, 1);
  for (int i = 0; i < 2; i++) scene_call(&scene, 0, SECONDS(5));
  struct message first = scene_dispatched(&scene, 0), second = scene_dispatched(&scene, 1);
  call_from(&scene, first);
  EXPECT(scene_is_silent(&scene));
  uint64_t last = call_from(&scene, second);
  struct payload *error = scene_error(&scene, last, "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "workers"));
  payload_unref(error);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static struct message call_other(struct scene *scene, uint32_t worker, struct call_id parent) {
  struct message message = {.type = MESSAGE_CALL, .id = {PEER, ++scene->calls}, .attempt = 1};
  message.remaining = SECONDS(5);
  message.parent = parent;
  message.body = payload_copy("\x90", 1);
  router_client_message(scene->router, PEER, 1, &message, scene->now);
  scene_gather(scene);
  return scene_dispatched(scene, worker);
}

// The only worker runs a call that waits for one in another deployment, which runs.
static void no_deadlock(void) {
  struct scene scene = scene_square(1);
  scene_deploy(&scene, &(struct router_function){.concurrency = 1}, 1, 2);
  enum { FIRST, OTHER = 2, ANOTHER };  // 1 is the spare place of the first deployment
  scene_ready(&scene, FIRST);
  scene_ready(&scene, OTHER);
  scene_ready(&scene, ANOTHER);
  scene_call(&scene, 0, SECONDS(5));
  struct message parent = scene_dispatched(&scene, FIRST);
  struct message child = call_other(&scene, OTHER, parent.id);
  uint64_t waiting = call_from(&scene, call_other(&scene, ANOTHER, (struct call_id){0}));
  EXPECT(scene_is_silent(&scene));
  scene_reply(&scene, OTHER, child, MESSAGE_RESULT);
  scene_succeeds(&scene, child.id.counter);
  scene_reply(&scene, FIRST, parent, MESSAGE_RESULT);
  scene_succeeds(&scene, parent.id.counter);
  EXPECT_EQUAL(waiting, scene_dispatched(&scene, FIRST).id.counter);
  scene_close(&scene);
}

// ---- answers ----

static void carries_error(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_ERROR);
  struct message message;
  EXPECT(scene_answers(&scene, &message));
  EXPECT_EQUAL(MESSAGE_ERROR, message.type);
  EXPECT(message.body->size == 2 && !memcmp(message.body->parts[0].bytes, "\x91\x19", 2));
  payload_unref(message.body);
  scene_close(&scene);
}

static void unasked(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  scene_ready(&scene, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0), wrong = given;
  scene_reply(&scene, 1, given, MESSAGE_RESULT);
  wrong.attempt++;
  scene_reply(&scene, 0, wrong, MESSAGE_RESULT);
  wrong = given;
  wrong.epoch++;
  scene_reply(&scene, 0, wrong, MESSAGE_RESULT);
  wrong = given;
  wrong.id.counter++;
  scene_reply(&scene, 0, wrong, MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_is_silent(&scene));
  struct deployment_status status;
  router_deployment_status(scene.router, 0, &status, scene.now);
  EXPECT_EQUAL(5, status.dropped);
  scene_close(&scene);
}

static void gives_back(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  uint64_t first = scene_call(&scene, 0, SECONDS(5)), second = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  scene_reply(&scene, 0, given, MESSAGE_GIVE_BACK);
  struct message again = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(first, again.id.counter);
  EXPECT_EQUAL(1, again.attempt);
  EXPECT(again.sequence > given.sequence);
  scene_ready(&scene, 1);
  EXPECT_EQUAL(second, scene_dispatched(&scene, 1).id.counter);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// ---- refusals ----

static void nowhere(void) {
  struct scene scene = scene_square(1);
  scene_fails(&scene, scene_call(&scene, 1, SECONDS(5)), "NoSuchFunction", "no");
  struct message message = {.type = MESSAGE_CALL, .id = {PEER, 99}, .remaining = 1};
  message.body = payload_copy("\x90", 1);
  router_client_message(scene.router, PEER, 1, &message, scene.now);
  scene_gather(&scene);
  scene_fails(&scene, 99, "NoSuchDeployment", "no");
  scene_close(&scene);
}

static void same_id(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene.calls--;
  EXPECT_EQUAL(call, scene_call(&scene, 0, SECONDS(5)));
  struct message given = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void client_limit(void) {
  struct scene scene = scene_square(1);
  for (int i = 0; i < LIMIT_IN_FLIGHT; i++) scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_silent(&scene));
  struct payload *error =
      scene_error(&scene, scene_call(&scene, 0, SECONDS(5)), "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "client"));
  EXPECT(scene_map_counts(scene_map(error), "limit", LIMIT_IN_FLIGHT));
  payload_unref(error);
  scene_cancel(&scene, 1);
  scene_fails(&scene, 1, "Cancelled", "no");
  scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// Else a client that cancels would be free to start more than its workers can do.
static void cancelled_count(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &(struct router_function){.concurrency = LIMIT_CONCURRENCY}, 1, 1);
  scene_ready(&scene, 0);
  for (int i = 0; i < LIMIT_IN_FLIGHT; i++) scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  scene_cancel(&scene, given.id.counter);
  scene_fails(&scene, given.id.counter, "Cancelled", "maybe");
  scene_fails(&scene, scene_call(&scene, 0, SECONDS(5)), "Overloaded", "no");
  scene_reply(&scene, 0, given, MESSAGE_ERROR);
  scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void queue_limit(void) {
  struct scene scene = scene_square(1);
  uint32_t peer = PEER;
  struct message options = {.remaining = SECONDS(5), .workload = 1};
  for (int i = 0; i < LIMIT_QUEUE; i++) {
    if (i % 1000 == 0) router_client(scene.router, ++peer, scene.now);
    scene_call_with(&scene, peer, options);
  }
  EXPECT(scene_is_silent(&scene));
  uint64_t call = scene_call_with(&scene, peer, options);
  struct payload *error = scene_error(&scene, call, "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "deployment"));
  payload_unref(error);
  scene_ready(&scene, 0);
  scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void call_of_size(struct scene *scene, size_t size) {
  struct message message = {.type = MESSAGE_CALL, .id = {PEER, ++scene->calls}, .attempt = 1};
  message.remaining = SECONDS(5);
  message.body = payload_new(1);
  message.body->size = size;  // nobody looks into it
  router_client_message(scene->router, PEER, 0, &message, scene->now);
  scene_gather(scene);
}

static void queue_bytes(void) {
  struct scene scene = scene_square(1);
  for (int i = 0; i < 4; i++) call_of_size(&scene, LIMIT_QUEUE_BYTES / 4 - (i == 3));
  EXPECT(scene_is_silent(&scene));
  call_of_size(&scene, 1);
  EXPECT(scene_is_silent(&scene));
  call_of_size(&scene, 1);
  struct payload *error = scene_error(&scene, scene.calls, "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "memory"));
  payload_unref(error);
  scene_close(&scene);
}

static void bad_deployments(void) {
  struct scene scene = scene_open(0, 0);
  struct router_function function = {.concurrency = 1};
  EXPECT_EQUAL(ROUTER_NONE, scene_deploy(&scene, &function, 0, 1));
  EXPECT_EQUAL(ROUTER_NONE, scene_deploy(&scene, &function, 1, 0));
  EXPECT_EQUAL(ROUTER_NONE, scene_deploy(&scene, &function, 1, LIMIT_WORKERS + 1));
  function.concurrency = LIMIT_CONCURRENCY + 1;
  EXPECT_EQUAL(ROUTER_NONE, scene_deploy(&scene, &function, 1, 1));
  function.concurrency = LIMIT_CONCURRENCY;
  EXPECT_EQUAL(0, scene_deploy(&scene, &function, 1, LIMIT_WORKERS));
  scene_close(&scene);
}

// ---- the end ----

static void drains(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  uint64_t running = scene_call(&scene, 0, SECONDS(50)),
           queued = scene_call(&scene, 0, SECONDS(50));
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  scene_fails(&scene, running, "Cancelled", "maybe");
  struct payload *error = scene_error(&scene, queued, "Cancelled", "no");
  EXPECT(scene_map_says(scene_map(error), "by", "shutdown"));
  payload_unref(error);
  scene_fails(&scene, scene_call(&scene, 0, SECONDS(5)), "Draining", "no");
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL) &&
         scene_sends(&scene, 1, MESSAGE_DRAIN, NULL));
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  EXPECT(!router_drained(scene.router));
  scene_pass(&scene, LIMIT_GRACE);
  EXPECT(scene_kills(&scene, 1));
  scene_lost(&scene, 1, LOST_SIGNAL, 9, 0);
  EXPECT(router_drained(scene.router));
  EXPECT(!scene_starts(&scene, 0) || !scene_starts(&scene, 0));
  scene_close(&scene);
}

static void frees_all(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  for (int i = 0; i < 5; i++) scene_call(&scene, 0, SECONDS(5));
  router_drain(scene.router, scene.now);
  scene_close(&scene);
}

static const struct check checks[] = {
    {"ends a waiting call at its deadline, as not executed", deadline_in_queue},
    {"ends a running call at its deadline, as perhaps executed, and cancels it", deadline_running},
    {"says that a call was executed when the shared page says so", deadline_entered},
    {"keeps the slot of a call that was answered until its worker lets go", slot_until_told},
    {"kills a worker that does not let go within its grace", grace},
    {"C9: refuses a call whose time is over", no_time_left},
    {"sends no call after its deadline, however late the tick", late_tick},
    {"C9: cuts deadlines at the longest one", longest_deadline},
    {"C9: starts the default deadline when the deployment is ready", default_deadline},
    {"starts the timeout of a function at once", default_of_function},
    {"C11: ends a call with NotReady where no worker became ready", not_ready},
    {"ends a call that has waited too long, and lets one run that has not", queue_timeout},
    {"keeps the limit of waiting when the first worker is ready", queue_timeout_at_start},
    {"C2: cancels a waiting call, as not executed", cancel_queued},
    {"C2: cancels a running call at once, as perhaps executed", cancel_running},
    {"ignores the cancel of a call that has ended", cancel_late},
    {"ignores the cancel of another client", cancel_of_other},
    {"C1: drops the calls of a client that is gone", client_gone},
    {"cancels a call with the one that made it", ends_with_parent},
    {"ends a call that could only run when all that run have ended, and those wait", deadlock},
    {"does not take calls that wait for another deployment for a deadlock", no_deadlock},
    {"carries the error of a worker as it is", carries_error},
    {"W13: drops answers that nobody asked for, and counts them", unasked},
    {"sends a call again that was given back, before later ones", gives_back},
    {"C12: refuses calls of what does not exist", nowhere},
    {"runs an id once while it is in use", same_id},
    {"refuses the call that is one too many for its client", client_limit},
    {"counts a cancelled call until its worker lets go", cancelled_count},
    {"refuses the call that is one too many for the queue", queue_limit},
    {"refuses the byte that is one too many for the queue", queue_bytes},
    {"refuses deployments beyond the limits", bad_deployments},
    {"ends all calls and workers when it drains", drains},
    {"frees actions that were not taken", frees_all},
};
CHECK_MAIN(checks)
