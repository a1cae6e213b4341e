// Checks of workers whose GPU has failed, is missing or is full: host/core/router_gpu.c.
#include <errno.h>

#include "scene.h"

static const struct router_function kPlain = {.concurrency = 4};
static const struct router_function kIdempotent = {.concurrency = 4, .idempotent = true};

static struct scene open_with(const struct router_function *function, uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, function, 1, workers);
  for (uint32_t i = 0; i < workers; i++) {
    EXPECT(scene_starts(&scene, i));
    scene_ready(&scene, i);
  }
  return scene;
}

static struct payload *fault(double code, const char *name) {
  struct error_writer writer;
  error_begin(&writer, ERROR_GPU_FAULT, EXECUTED_MAYBE, false, "worker");
  error_message(&writer, "exp on cuda:0: it went wrong");
  error_number(&writer, "cuda_code", code);
  error_string(&writer, "cuda_name", name);
  error_string(&writer, "device", "cuda:0");
  return error_end(&writer);
}

static void dies(struct scene *scene, uint32_t worker, enum phase phase, uint64_t entered) {
  struct message message = {.type = MESSAGE_GOODBYE, .reason = (uint8_t)phase};
  message.body = fault(700, "cudaErrorIllegalAddress");
  scene_worker_says(scene, worker, &message);
  EXPECT(scene_is_silent(scene));
  scene_lost(scene, worker, LOST_EXIT, phase == PHASE_GPU_FAULT ? 81 : 82, entered);
}

static void ends_in_fault(void) {
  struct scene scene = open_with(&kPlain, 1);
  uint64_t first = scene_call(&scene, 0, SECONDS(5)), second = scene_call(&scene, 0, SECONDS(5)),
           third = scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  uint64_t entered = scene_dispatched(&scene, 0).sequence;
  EXPECT(scene_dispatched(&scene, 0).sequence > entered);
  dies(&scene, 0, PHASE_GPU_FAULT, entered);
  struct payload *error = scene_error(&scene, first, "GpuFault", "maybe");
  struct cursor map = scene_map(error), value;
  bool sticky = false;
  EXPECT(scene_map_mentions(map, "message", "worker 0: exp on cuda:0: it went wrong"));
  EXPECT(scene_map_counts(map, "cuda_code", 700));
  EXPECT(scene_map_says(map, "cuda_name", "cudaErrorIllegalAddress"));
  EXPECT(scene_map_says(map, "device", "cuda:0"));
  EXPECT(scene_map_counts(map, "code", 13));
  EXPECT(cursor_find(map, "sticky", &value) && cursor_bool(&value, &sticky) && sticky);
  payload_unref(error);
  scene_fails(&scene, second, "GpuFault", "maybe");
  EXPECT(scene_is_silent(&scene));
  EXPECT(scene_starts(&scene, 0));
  scene_ready(&scene, 0);
  EXPECT_EQUAL(third, scene_dispatched(&scene, 0).id.counter);  // which had not been entered
  scene_close(&scene);
}

static void gives_no_more_calls(void) {
  struct scene scene = open_with(&kPlain, 1);
  scene_worker_says(&scene, 0,
                    &(struct message){.type = MESSAGE_GOODBYE, .reason = PHASE_GPU_FAULT});
  scene_call(&scene, 0, SECONDS(5));
  EXPECT(scene_is_given_nothing(&scene, 0));
  scene_close(&scene);
}

static void needs_the_word(void) {
  struct scene scene = open_with(&kPlain, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene_lost(&scene, 0, LOST_EXIT, 81, scene_dispatched(&scene, 0).sequence);
  scene_fails(&scene, call, "WorkerLost", "maybe");
  scene_close(&scene);
}

static void says_without_a_reason(void) {
  struct scene scene = open_with(&kPlain, 1);
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  uint64_t entered = scene_dispatched(&scene, 0).sequence;
  scene_worker_says(&scene, 0,
                    &(struct message){.type = MESSAGE_GOODBYE, .reason = PHASE_GPU_LOST});
  scene_lost(&scene, 0, LOST_EXIT, 82, entered);
  struct payload *error = scene_error(&scene, call, "GpuFault", "maybe");
  EXPECT(scene_map_mentions(scene_map(error), "message", "worker 0: its GPU has failed"));
  payload_unref(error);
  scene_close(&scene);
}

static void tries_once_more(void) {
  struct scene scene = open_with(&kIdempotent, 2);
  uint64_t call = scene_call(&scene, 0, SECONDS(500));
  struct message given = scene_dispatched(&scene, 0);
  dies(&scene, 0, PHASE_GPU_FAULT, given.sequence);
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, SECONDS(1));
  struct message again = scene_dispatched(&scene, 1);  // elsewhere
  EXPECT_EQUAL(2, again.attempt);
  dies(&scene, 1, PHASE_GPU_LOST, again.sequence);
  struct payload *error = scene_error(&scene, call, "GpuFault", "maybe");
  struct cursor attempts;
  size_t count = 0;
  EXPECT(cursor_find(scene_map(error), "attempts", &attempts));
  EXPECT(cursor_array(&attempts, &count) && count == 2);
  EXPECT(scene_map_says(attempts, "outcome", "GpuFault"));
  payload_unref(error);
  scene_close(&scene);
}

// What kills three workers is poison, also on a GPU; a lost one is not its fault.
static void becomes_poison(void) {
  struct scene scene = open_with(&kPlain, 1);
  for (int i = 0; i < 4; i++) {
    enum phase phase = i == 1 ? PHASE_GPU_LOST : PHASE_GPU_FAULT;
    struct message message = {.remaining = SECONDS(5), .workload = 1};
    message.body = payload_copy("\x91\x07", 2);
    uint64_t call = scene_call_with(&scene, PEER, message);
    dies(&scene, 0, phase, scene_dispatched(&scene, 0).sequence);
    scene_fails(&scene, call, i == 3 ? "PoisonCall" : "GpuFault", "maybe");
    while (!scene_starts(&scene, 0)) scene_pass(&scene, MILLISECONDS(100));
    scene_ready(&scene, 0);
  }
  scene_close(&scene);
}

static bool is_state(struct scene *scene, uint32_t worker, const char *text) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return !strcmp(worker_status_text(&status), text);
}

static void finds_no_device(struct scene *scene, uint32_t worker, enum phase phase) {
  struct message message = {.type = MESSAGE_GOODBYE, .reason = (uint8_t)phase};
  message.body = fault(100, "cudaErrorNoDevice");
  scene_worker_says(scene, worker, &message);
  scene_lost(scene, worker, LOST_EXIT, 78, 0);
}

static void no_device(void) {
  static const char *const words[] = {"no_device", "unsupported"};
  for (int i = 0; i < 2; i++) {
    struct scene scene = scene_square(1);
    EXPECT(scene_starts(&scene, 0));
    uint64_t call = scene_call(&scene, 0, SECONDS(500));
    finds_no_device(&scene, 0, i ? PHASE_UNSUPPORTED : PHASE_NO_DEVICE);
    struct payload *error = scene_error(&scene, call, "DeploymentFailed", "no");
    EXPECT(scene_map_says(scene_map(error), "phase", words[i]));
    payload_unref(error);
    EXPECT(is_state(&scene, 0, words[i]));
    scene_pass(&scene, SECONDS(59));
    EXPECT(!scene_starts(&scene, 0));
    scene_pass(&scene, SECONDS(2));
    EXPECT(scene_starts(&scene, 0));
    scene_ready(&scene, 0);
    EXPECT(is_state(&scene, 0, "ready"));
    scene_close(&scene);
  }
}

static void no_device_in_one_place(void) {
  struct scene scene = scene_square(2);
  EXPECT(scene_starts(&scene, 0) && scene_starts(&scene, 1));
  scene_ready(&scene, 0);
  for (int i = 0; i < 10; i++) {
    finds_no_device(&scene, 1, PHASE_NO_DEVICE);
    scene_pass(&scene, SECONDS(59));
    EXPECT(!scene_starts(&scene, 1));
    scene_pass(&scene, SECONDS(2));
    EXPECT(scene_starts(&scene, 1));
  }
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

static void no_device_left(void) {
  struct scene scene = scene_square(1);
  EXPECT(scene_starts(&scene, 0));
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  scene_lost(&scene, 0, LOST_START, ENODEV, 0);
  struct payload *error = scene_error(&scene, call, "DeploymentFailed", "no");
  struct cursor cause;
  EXPECT(scene_map_says(scene_map(error), "phase", "no_device"));
  EXPECT(cursor_find(scene_map(error), "cause", &cause));
  EXPECT(scene_map_mentions(cause, "message", "no GPU of this machine is left"));
  payload_unref(error);
  EXPECT(is_state(&scene, 0, "no_device"));
  scene_close(&scene);
}

static void runs(struct scene *scene, const char *kind) {
  uint64_t number = scene_call(scene, 0, SECONDS(5));
  struct message call = scene_dispatched(scene, 0), answer;
  call.type = kind ? MESSAGE_ERROR : MESSAGE_RESULT;
  if (kind) {
    struct error_writer writer;
    error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
    error_string(&writer, "kind", kind);
    call.body = error_end(&writer);
  } else {
    call.body = payload_copy("\x91\x19", 2);
  }
  scene_worker_says(scene, 0, &call);
  EXPECT(scene_answers(scene, &answer));
  EXPECT_EQUAL(number, answer.id.counter);
  payload_unref(answer.body);
}

static void no_memory(void) {
  struct scene scene = open_with(&kPlain, 1);
  for (int i = 0; i < 5; i++) {
    runs(&scene, "gpu_memory");
    runs(&scene, "gpu_memory");
    runs(&scene, i % 2 ? NULL : "gpu");
  }
  EXPECT(!scene_starts(&scene, 1));
  for (int i = 0; i < 3; i++) runs(&scene, "gpu_memory");
  EXPECT(scene_starts(&scene, 1));
  runs(&scene, NULL);  // it goes on serving
  scene_ready(&scene, 1);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"G1: ends what it had entered in GpuFault, and gives the rest to the next", ends_in_fault},
    {"G1: gives it no more calls once it has said so", gives_no_more_calls},
    {"takes no exit code alone for a fault of a GPU", needs_the_word},
    {"G5: says so also when it was not told what has failed", says_without_a_reason},
    {"G1: tries an idempotent call once more, on another worker", tries_once_more},
    {"W17: takes a call that kills three workers for poison, but for those whose GPU was lost",
     becomes_poison},
    {"G8, G9: fails at once where there is no device, and looks once a minute", no_device},
    {"G8: lets the others serve when one place has no device", no_device_in_one_place},
    {"G5: fails when no device is left", no_device_left},
    {"G3: replaces a worker whose GPU had no memory for three calls in a row", no_memory},
};
CHECK_MAIN(checks)
