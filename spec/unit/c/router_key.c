// Checks of host/core/router_key.c: calls with an idempotency key, and calls that repeat an id.
#include "scene.h"

enum { OTHER = 2 };

static uint64_t keyed_call(struct scene *scene, uint32_t peer, const char *key, unsigned content,
                           struct message message) {
  unsigned char body[] = {0x91, (unsigned char)content};
  message.type = MESSAGE_CALL;
  message.id = (struct call_id){peer, ++scene->calls};
  message.attempt = 1;
  message.workload = 1;
  message.key = key;
  message.key_size = (uint32_t)strlen(key);
  if (message.remaining == 0) message.flags |= CALL_DEFAULT_DEADLINE;
  message.body = payload_copy(body, sizeof body);
  router_client_message(scene->router, peer, 0, &message, scene->now);
  scene_gather(scene);
  return scene->calls;
}

static uint64_t call_key(struct scene *scene, const char *key, int64_t timeout) {
  return keyed_call(scene, PEER, key, 5, (struct message){.remaining = timeout});
}

static uint64_t call_of_other(struct scene *scene, const char *key, int64_t timeout) {
  return keyed_call(scene, OTHER, key, 5, (struct message){.remaining = timeout});
}

static void cancel_of_other(struct scene *scene, uint64_t call) {
  struct message message = {.type = MESSAGE_CANCEL, .id = {OTHER, call}};
  router_client_message(scene->router, OTHER, 0, &message, scene->now);
  scene_gather(scene);
}

// One worker that is ready, and two clients.
static struct scene two_clients(void) {
  struct scene scene = scene_square(1);
  router_client(scene.router, OTHER, scene.now);
  scene_ready(&scene, 0);
  return scene;
}

static void fail_run(struct scene *scene, struct message call, enum error_name name,
                     enum executed executed) {
  struct error_writer writer;
  error_begin(&writer, name, executed, false, "function");
  call.type = MESSAGE_ERROR;
  call.body = error_end(&writer);
  scene_worker_says(scene, 0, &call);
}

// ---- one run ----

static void one_run(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5)), second = call_key(&scene, "k", SECONDS(5));
  uint64_t third = call_of_other(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  EXPECT(scene_is_silent(&scene));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_succeeds(&scene, second);
  scene_succeeds(&scene, third);
  EXPECT(scene_is_silent(&scene));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void other_keys(void) {
  struct scene scene = scene_open(0, 0);
  const struct router_function functions[] = {{.concurrency = 8}, {.concurrency = 8}};
  scene_deploy(&scene, functions, 2, 1);
  scene_ready(&scene, 0);
  call_key(&scene, "k", SECONDS(5));
  scene_dispatched(&scene, 0);
  call_key(&scene, "kk", SECONDS(5));
  scene_dispatched(&scene, 0);
  keyed_call(&scene, PEER, "k", 5, (struct message){.function = 1, .remaining = SECONDS(5)});
  EXPECT_EQUAL(1, scene_dispatched(&scene, 0).function);
  scene_close(&scene);
}

static void other_content(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  struct message options = {.remaining = SECONDS(5)};
  scene_fails(&scene, keyed_call(&scene, OTHER, "k", 6, options), "DuplicateId", "no");
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_fails(&scene, keyed_call(&scene, OTHER, "k", 6, options), "DuplicateId", "no");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

// ---- those that leave ----

static void one_is_cancelled(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  uint64_t second = call_of_other(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  scene_cancel(&scene, first);
  scene_fails(&scene, first, "Cancelled", "maybe");
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, second);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void all_are_cancelled(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  uint64_t second = call_of_other(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0), cancel;
  scene_cancel(&scene, first);
  router_worker_entered(scene.router, 0, 1, given.sequence);
  cancel_of_other(&scene, second);
  scene_fails(&scene, first, "Cancelled", "maybe");
  scene_fails(&scene, second, "Cancelled", "yes");
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, &cancel));
  EXPECT_EQUAL(given.sequence, cancel.sequence);
  // It may have run: it does not run again.
  scene_fails(&scene, call_key(&scene, "k", SECONDS(5)), "Cancelled", "yes");
  scene_close(&scene);
}

static void leaves_the_queue(void) {
  struct scene scene = two_clients();
  scene_call(&scene, 0, SECONDS(5));
  struct message busy = scene_dispatched(&scene, 0);
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  uint64_t second = call_of_other(&scene, "k", SECONDS(5));
  scene_cancel(&scene, first);
  scene_fails(&scene, first, "Cancelled", "maybe");  // it may run yet, for the second
  cancel_of_other(&scene, second);
  scene_fails(&scene, second, "Cancelled", "no");
  scene_reply(&scene, 0, busy, MESSAGE_RESULT);
  EXPECT(scene_is_given_nothing(&scene, 0));
  call_key(&scene, "k", SECONDS(5));
  EXPECT(!scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void client_vanishes(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  uint64_t second = call_of_other(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  router_client_gone(scene.router, PEER, scene.now);
  scene_gather(&scene);
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, second);
  scene_close(&scene);
}

static void all_vanish(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  call_of_other(&scene, "k", SECONDS(5));
  router_client_gone(scene.router, PEER, scene.now);
  router_client_gone(scene.router, OTHER, scene.now);
  scene_gather(&scene);
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// ---- clocks ----

static void own_deadlines(void) {
  struct scene scene = two_clients();
  uint64_t hurried = call_key(&scene, "k", SECONDS(1));
  uint64_t patient = call_of_other(&scene, "k", SECONDS(3));
  scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, hurried, "DeadlineExceeded", "maybe");
  EXPECT(!scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_pass(&scene, SECONDS(2) - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, patient, "DeadlineExceeded", "maybe");
  EXPECT(scene_sends(&scene, 0, MESSAGE_CANCEL, NULL));
  scene_close(&scene);
}

static void own_queue_timeouts(void) {
  struct scene scene = two_clients();
  scene_call(&scene, 0, SECONDS(50));
  struct message options = {.remaining = SECONDS(5), .queue_timeout = SECONDS(1)};
  uint64_t hurried = keyed_call(&scene, PEER, "k", 5, options);
  options.queue_timeout = SECONDS(2);
  uint64_t patient = keyed_call(&scene, OTHER, "k", 5, options);
  struct message busy = scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, hurried, "DeadlineExceeded", "maybe");
  scene_reply(&scene, 0, busy, MESSAGE_RESULT);
  scene_succeeds(&scene, 1);
  scene_pass(&scene, SECONDS(4) - 1);  // it runs: the queue is no matter any more
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, patient, "DeadlineExceeded", "maybe");
  scene_close(&scene);
}

static void waits_for_the_first_worker(void) {
  struct scene scene = scene_square(1);
  uint64_t by_default = call_key(&scene, "k", 0);
  scene_pass(&scene, LIMIT_READY - SECONDS(1));
  scene_ready(&scene, 0);
  scene_dispatched(&scene, 0);
  scene_pass(&scene, LIMIT_DEADLINE_DEFAULT - 1);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, 1);
  scene_fails(&scene, by_default, "DeadlineExceeded", "maybe");
  scene_close(&scene);
}

// ---- kept outcomes ----

static void result_is_kept(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_pass(&scene, LIMIT_RESULT_TTL - 1);
  scene_succeeds(&scene, call_of_other(&scene, "k", SECONDS(5)));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_pass(&scene, 1);
  call_of_other(&scene, "k", SECONDS(5));
  EXPECT(!scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void errors_of_functions_are_kept(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  fail_run(&scene, scene_dispatched(&scene, 0), ERROR_REMOTE_ERROR, EXECUTED_YES);
  scene_fails(&scene, 1, "RemoteError", "yes");
  scene_fails(&scene, call_key(&scene, "k", SECONDS(5)), "RemoteError", "yes");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void refusals_are_not_kept(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  fail_run(&scene, scene_dispatched(&scene, 0), ERROR_UNKNOWN_CLASS, EXECUTED_NO);
  scene_fails(&scene, 1, "UnknownClass", "no");
  call_key(&scene, "k", SECONDS(5));
  EXPECT(!scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void lost_runs_are_kept(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, scene_dispatched(&scene, 0).sequence);
  scene_fails(&scene, 1, "WorkerLost", "maybe");
  scene_starts(&scene, 0);
  scene_ready(&scene, 0);
  scene_fails(&scene, call_key(&scene, "k", SECONDS(5)), "WorkerLost", "maybe");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void harmless_runs_again(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &(struct router_function){.concurrency = 1, .idempotent = true}, 1, 1);
  scene_ready(&scene, 0);
  uint64_t call = call_key(&scene, "k", SECONDS(1));
  struct message given = scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, call, "DeadlineExceeded", "maybe");
  call = call_key(&scene, "k", SECONDS(5));
  scene_reply(&scene, 0, given, MESSAGE_ERROR);
  given = scene_dispatched(&scene, 0);
  fail_run(&scene, given, ERROR_REMOTE_ERROR, EXECUTED_YES);
  scene_fails(&scene, call, "RemoteError", "yes");
  scene_fails(&scene, call_key(&scene, "k", SECONDS(5)), "RemoteError", "yes");
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void retried(void) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, &(struct router_function){.concurrency = 1, .idempotent = true}, 1, 1);
  scene_ready(&scene, 0);
  uint64_t first = call_key(&scene, "k", SECONDS(60)), second = call_key(&scene, "k", SECONDS(1));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, scene_dispatched(&scene, 0).sequence);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, second, "NotReady", "maybe");
  scene_starts(&scene, 0);
  scene_ready(&scene, 0);
  struct message given = scene_dispatched(&scene, 0), answer;
  EXPECT_EQUAL(2, given.attempt);
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_answers(&scene, &answer));
  EXPECT_EQUAL(first, answer.id.counter);
  EXPECT_EQUAL(2, answer.attempt);
  payload_unref(answer.body);
  scene_close(&scene);
}

static void run_with_size(struct scene *scene, const char *key, size_t size) {
  call_key(scene, key, SECONDS(5));
  struct message call = scene_dispatched(scene, 0);
  call.type = MESSAGE_RESULT;
  call.body = payload_new(size);
  memset(call.body->bytes, 0, size);
  scene_worker_says(scene, 0, &call);
  scene_succeeds(scene, scene->calls);
}

static bool runs_again(struct scene *scene, const char *key) {
  uint64_t call = call_key(scene, key, SECONDS(5));
  if (scene_is_given_nothing(scene, 0)) {
    scene_succeeds(scene, call);
    return false;
  }
  scene_reply(scene, 0, scene_dispatched(scene, 0), MESSAGE_RESULT);
  scene_succeeds(scene, call);
  return true;
}

static void bytes_limit(void) {
  struct scene scene = two_clients();
  size_t half = LIMIT_KEPT_BYTES / 2;
  run_with_size(&scene, "a", half - 4096);
  run_with_size(&scene, "b", half - 4096);
  EXPECT(!runs_again(&scene, "a"));
  EXPECT(!runs_again(&scene, "b"));
  run_with_size(&scene, "c", 3 * 4096);
  EXPECT(!runs_again(&scene, "b"));
  EXPECT(!runs_again(&scene, "c"));
  EXPECT(runs_again(&scene, "a"));
  run_with_size(&scene, "d", 2 * half);
  EXPECT(runs_again(&scene, "d"));
  scene_close(&scene);
}

static void keys_limit(void) {
  struct scene scene = two_clients();
  char key[16];
  for (int i = 0; i < LIMIT_KEYS; i++) {
    snprintf(key, sizeof key, "%d", i);
    EXPECT(runs_again(&scene, key));
  }
  EXPECT(!runs_again(&scene, "0"));
  EXPECT(runs_again(&scene, "new"));
  EXPECT(!runs_again(&scene, "1"));
  EXPECT(runs_again(&scene, "0"));
  EXPECT(runs_again(&scene, "1"));
  scene_close(&scene);
}

// ---- the client's limits ----

static void counts_for_its_client(void) {
  struct scene scene = two_clients();
  for (int i = 0; i < LIMIT_IN_FLIGHT; i++) call_key(&scene, "k", SECONDS(5));
  struct payload *error =
      scene_error(&scene, call_key(&scene, "k", SECONDS(5)), "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "client"));
  payload_unref(error);
  struct deployment_status status;
  EXPECT(router_deployment_status(scene.router, 0, &status, scene.now));
  EXPECT_EQUAL(1, status.running);
  EXPECT_EQUAL(0, status.queued);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  for (uint64_t i = 1; i <= LIMIT_IN_FLIGHT; i++) scene_succeeds(&scene, i);
  call_key(&scene, "other", SECONDS(5));
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

// ---- nested calls ----

static uint64_t call_in(struct scene *scene, const char *key, struct message maker) {
  struct message options = {.remaining = SECONDS(5), .parent = maker.id};
  return keyed_call(scene, OTHER, key, 5, options);
}

static void waits_for_itself(void) {
  struct scene scene = two_clients();
  call_key(&scene, "k", SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  struct payload *error = scene_error(&scene, call_in(&scene, "k", given), "Overloaded", "no");
  EXPECT(scene_map_mentions(scene_map(error), "message", "wait for itself"));
  payload_unref(error);
  scene_close(&scene);
}

static void waits_in_a_circle(void) {
  struct scene scene = scene_open(0, 0);
  router_client(scene.router, OTHER, scene.now);
  scene_deploy(&scene, &(struct router_function){.concurrency = 8}, 1, 1);
  scene_ready(&scene, 0);
  call_key(&scene, "a", SECONDS(5));
  struct message a = scene_dispatched(&scene, 0);
  call_key(&scene, "b", SECONDS(5));
  struct message b = scene_dispatched(&scene, 0);
  call_in(&scene, "b", a);
  EXPECT(scene_is_silent(&scene));
  scene_fails(&scene, call_in(&scene, "a", b), "Overloaded", "no");
  scene_close(&scene);
}

static void deadlock(void) {
  struct scene scene = two_clients();
  uint64_t outer = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  scene_fails(&scene, call_in(&scene, "k", given), "Overloaded", "no");
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, outer);
  scene_close(&scene);
}

// The run has waited before, for somebody else.
static void later_deadlock(void) {
  struct scene scene = two_clients();
  uint64_t outer = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  uint64_t first = call_key(&scene, "k", SECONDS(5));
  scene_fails(&scene, call_in(&scene, "k", given), "Overloaded", "maybe");  // the run goes on
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, outer);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_close(&scene);
}

static void ends_with_its_maker(void) {
  struct scene scene = scene_square(2);
  router_client(scene.router, OTHER, scene.now);
  scene_ready(&scene, 0);
  scene_ready(&scene, 1);
  uint64_t outer = scene_call(&scene, 0, SECONDS(5));
  struct message given = scene_dispatched(&scene, 0);
  uint64_t inner = call_in(&scene, "k", given);
  scene_dispatched(&scene, 1);
  scene_cancel(&scene, outer);
  scene_fails(&scene, outer, "Cancelled", "maybe");
  scene_fails(&scene, inner, "Cancelled", "maybe");
  EXPECT(scene_sends(&scene, 1, MESSAGE_CANCEL, NULL));
  scene_close(&scene);
}

// ---- ids in use ----

static uint64_t dropped(struct scene *scene) {
  struct deployment_status status;
  EXPECT(router_deployment_status(scene->router, 0, &status, scene->now));
  payload_unref(status.failure);
  return status.dropped;
}

static void same_id_same_content(void) {
  struct scene scene = two_clients();
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene.calls--;
  scene_call(&scene, 0, SECONDS(5));
  EXPECT_EQUAL(0, dropped(&scene));
  struct message given = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void same_id_other_content(void) {
  struct scene scene = two_clients();
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  struct message other = {.type = MESSAGE_CALL,
                          .id = {PEER, call},
                          .attempt = 1,
                          .remaining = SECONDS(5),
                          .body = payload_copy("\x91\x06", 2)};
  router_client_message(scene.router, PEER, 0, &other, scene.now);
  scene_gather(&scene);
  EXPECT_EQUAL(1, dropped(&scene));
  EXPECT(scene_is_silent(&scene));
  struct message given = scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_reply(&scene, 0, given, MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  scene_close(&scene);
}

static void same_id_with_key(void) {
  struct scene scene = two_clients();
  uint64_t call = call_key(&scene, "k", SECONDS(5));
  scene.calls--;
  call_key(&scene, "k", SECONDS(5));
  EXPECT_EQUAL(0, dropped(&scene));
  scene.calls--;
  call_key(&scene, "other", SECONDS(5));
  EXPECT_EQUAL(1, dropped(&scene));
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, call);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void no_streams(void) {
  struct scene scene = two_clients();
  struct message options = {.remaining = SECONDS(5), .flags = CALL_STREAM};
  scene_fails(&scene, keyed_call(&scene, PEER, "k", 5, options), "Unsupported", "no");
  call_key(&scene, "k", SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_fails(&scene, keyed_call(&scene, PEER, "k", 5, options), "Unsupported", "no");
  scene_close(&scene);
}

static void drains(void) {
  struct scene scene = two_clients();
  uint64_t first = call_key(&scene, "k", SECONDS(5)), second = call_key(&scene, "k", SECONDS(5));
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  scene_fails(&scene, first, "Cancelled", "maybe");
  scene_fails(&scene, second, "Cancelled", "maybe");
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"C6: runs once for all calls with a key, which get one outcome", one_run},
    {"takes other keys and other functions for other calls", other_keys},
    {"C7: refuses a key with other arguments, and goes on with the first", other_content},
    {"goes on when one of several calls is cancelled, also the first", one_is_cancelled},
    {"cancels the run with the last call, and does not run again", all_are_cancelled},
    {"takes a run out of the queue with the last call, and may run again", leaves_the_queue},
    {"goes on for the others when a client vanishes", client_vanishes},
    {"cancels the run when all clients have vanished", all_vanish},
    {"ends each call at its own deadline", own_deadlines},
    {"lets each call wait for a worker as long as it may", own_queue_timeouts},
    {"starts default deadlines with the first worker", waits_for_the_first_worker},
    {"C14: gives a result again for 60 s, and runs again after that", result_is_kept},
    {"C14: gives the error of a function again", errors_of_functions_are_kept},
    {"runs again after an error that proves it has not run", refusals_are_not_kept},
    {"C14: does not run again after it may have run", lost_runs_are_kept},
    {"runs an idempotent function again unless it ended by itself", harmless_runs_again},
    {"tells all calls of the attempt that succeeded", retried},
    {"keeps 64 MiB of outcomes, and drops the oldest first", bytes_limit},
    {"keeps 65,536 keys, and drops the oldest first", keys_limit},
    {"counts each call for its client, and none for the queue", counts_for_its_client},
    {"refuses a call that would wait for itself", waits_for_itself},
    {"refuses a call that would wait in a circle", waits_in_a_circle},
    {"ends a deadlock of calls with keys", deadlock},
    {"ends one that begins when a call joins what waits already", later_deadlock},
    {"ends calls with the one that made them", ends_with_its_maker},
    {"C6: ignores a call that repeats one in flight", same_id_same_content},
    {"C7: drops a call that has the id of another one, which is unaffected", same_id_other_content},
    {"C6: tells repeats of calls with keys from others", same_id_with_key},
    {"refuses streams", no_streams},
    {"ends all calls when it drains", drains},
};
CHECK_MAIN(checks)
