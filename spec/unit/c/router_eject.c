// Checks of host/core/router_eject.c.
#include "scene.h"

static void ends(struct scene *scene, uint32_t worker, struct message call, const char *error,
                 int64_t time) {
  call.type = error ? MESSAGE_ERROR : MESSAGE_RESULT;
  call.epoch = EPOCH;
  call.elapsed = time;
  call.body = error ? scene_raised(error) : NULL;
  scene->now += time;
  scene_worker_says(scene, worker, &call);
  scene_drop_answers(scene);
}

static bool has_call(struct scene *scene, uint32_t worker) {
  return !scene_is_given_nothing(scene, worker);
}

static enum worker_standing standing(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.standing;
}

static struct scene scene_of(uint32_t workers) {
  struct scene scene = scene_square(workers);
  for (uint32_t i = 0; i < workers; i++) scene_reports(&scene, i, MANIFEST, 1, 1000);
  return scene;
}

// Calls of 1 ms, until `worker` has ended so many; the others give results.
static void run(struct scene *scene, uint32_t workers, uint32_t worker, int count,
                const char *error) {
  for (int rounds = 0; count > 0; rounds++) {
    EXPECT(rounds < 1000);
    for (uint32_t i = 0; i < workers; i++) scene_call(scene, 0, SECONDS(90));
    for (uint32_t i = 0; i < workers; i++)
      while (has_call(scene, i)) {
        ends(scene, i, scene_dispatched(scene, i), i == worker ? error : NULL, MILLISECONDS(1));
        count -= i == worker;
      }
  }
}

// One call for each worker: whether `worker` gets one of them.
static bool is_used(struct scene *scene, uint32_t workers, uint32_t worker) {
  bool used = false;
  for (uint32_t i = 0; i < workers; i++) scene_call(scene, 0, SECONDS(90));
  for (uint32_t i = 0; i < workers; i++) {
    used |= i == worker && has_call(scene, i);
    while (has_call(scene, i)) ends(scene, i, scene_dispatched(scene, i), NULL, MILLISECONDS(1));
  }
  return used;
}

static void five_faults(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 2, 4, "GpuFault");
  EXPECT(standing(&scene, 2) == STANDING_TRUSTED);
  run(&scene, 4, 2, 1, NULL);
  run(&scene, 4, 2, 4, "Internal");
  EXPECT(standing(&scene, 2) == STANDING_TRUSTED && is_used(&scene, 4, 2));
  run(&scene, 4, 2, 5, "WorkerOutOfMemory");
  EXPECT(standing(&scene, 2) == STANDING_EJECTED && !is_used(&scene, 4, 2));
  scene_close(&scene);
}

static void raised(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 2, 20, "MyError");
  EXPECT(standing(&scene, 2) == STANDING_TRUSTED);
  scene_close(&scene);
}

static void deaths(void) {
  struct scene scene = scene_of(3);
  for (int i = 0; i < 5; i++) {
    for (int k = 0; k < 3; k++) scene_call(&scene, 0, SECONDS(90));
    for (uint32_t k = 0; k < 3; k++) {
      struct message call = scene_dispatched(&scene, k);
      if (k)
        ends(&scene, k, call, NULL, MILLISECONDS(1));
      else
        router_worker_lost(scene.router, 0, scene_generation(&scene, 0), LOST_SIGNAL, 9,
                           call.sequence, scene.now);
    }
    scene_gather(&scene);
    scene_drop_answers(&scene);
    scene_pass(&scene, SECONDS(2));
    EXPECT(scene_starts(&scene, 0));
    scene_reports(&scene, 0, MANIFEST, 1, 1000);
  }
  EXPECT(standing(&scene, 0) == STANDING_EJECTED && !is_used(&scene, 3, 0));
  scene_close(&scene);
}

static void probation(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 0, 5, "GpuFault");
  scene_pass(&scene, SECONDS(30) - MILLISECONDS(10));
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  scene_pass(&scene, MILLISECONDS(10));
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  run(&scene, 4, 0, 2, NULL);
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  run(&scene, 4, 0, 1, NULL);
  EXPECT(standing(&scene, 0) == STANDING_TRUSTED);
  scene_close(&scene);
}

static void longer(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 0, 5, "GpuFault");
  scene_pass(&scene, SECONDS(30));
  run(&scene, 4, 0, 1, "GpuFault");
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  scene_pass(&scene, SECONDS(59));
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  scene_pass(&scene, SECONDS(1));
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  run(&scene, 4, 0, 3, NULL);
  scene_pass(&scene, SECONDS(600));
  run(&scene, 4, 0, 5, "GpuFault");
  scene_pass(&scene, SECONDS(30));
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  scene_close(&scene);
}

static void one_at_a_time(void) {
  struct scene scene = scene_open(0, 0);
  EXPECT_EQUAL(0, scene_deploy(&scene, &(struct router_function){.concurrency = 4}, 1, 2));
  scene_reports(&scene, 0, MANIFEST, 1, 1000);
  scene_reports(&scene, 1, MANIFEST, 1, 1000);
  run(&scene, 2, 0, 5, "GpuFault");
  scene_pass(&scene, SECONDS(30));
  for (int i = 0; i < 8; i++) scene_call(&scene, 0, SECONDS(90));
  scene_dispatched(&scene, 0);
  EXPECT(!has_call(&scene, 0));
  for (int i = 0; i < 4; i++) scene_dispatched(&scene, 1);
  scene_close(&scene);
}

static uint64_t call_from(struct scene *scene, struct message parent) {
  return scene_call_with(
      scene, PEER, (struct message){.remaining = SECONDS(90), .workload = 1, .parent = parent.id});
}

// A call on the only other worker waits for one that it has made.
static void needed(void) {
  struct scene scene = scene_of(2);
  run(&scene, 2, 0, 5, "GpuFault");
  scene_call(&scene, 0, SECONDS(90));
  scene_call(&scene, 0, SECONDS(90));
  struct message parent = scene_dispatched(&scene, 1);
  EXPECT(!has_call(&scene, 0) && standing(&scene, 0) == STANDING_EJECTED);
  uint64_t child = call_from(&scene, parent);
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  // Older ones go first, and then the child.
  ends(&scene, 0, scene_dispatched(&scene, 0), NULL, MILLISECONDS(1));
  struct message message = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(child, message.id.counter);
  // The time that was set for the end of the ejection means nothing any more.
  ends(&scene, 0, message, "GpuFault", MILLISECONDS(1));
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  scene_pass(&scene, SECONDS(59));
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  scene_pass(&scene, SECONDS(1));
  EXPECT(standing(&scene, 0) == STANDING_PROBATION);
  scene_close(&scene);
}

// Three workers, two of them ejected: one is tried, and then the other one, and then there is none.
static void needed_all(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 0, 5, "GpuFault");
  scene_pass(&scene, SECONDS(1));
  run(&scene, 4, 1, 5, "GpuFault");
  scene_call(&scene, 0, SECONDS(90));
  scene_call(&scene, 0, SECONDS(90));
  struct message two = scene_dispatched(&scene, 2), three = scene_dispatched(&scene, 3);
  call_from(&scene, two);
  EXPECT(standing(&scene, 0) == STANDING_EJECTED && scene_is_silent(&scene));
  call_from(&scene, three);
  EXPECT(standing(&scene, 0) == STANDING_PROBATION && standing(&scene, 1) == STANDING_EJECTED);
  struct message zero = scene_dispatched(&scene, 0);
  EXPECT(!has_call(&scene, 1));
  call_from(&scene, zero);
  EXPECT(standing(&scene, 1) == STANDING_PROBATION);
  uint64_t last = call_from(&scene, scene_dispatched(&scene, 1));
  scene_fails(&scene, last, "Overloaded", "no");
  scene_close(&scene);
}

static void panic(void) {
  struct scene scene = scene_of(4);
  run(&scene, 4, 0, 5, "GpuFault");
  run(&scene, 4, 1, 5, "GpuFault");
  EXPECT(!is_used(&scene, 4, 0) && !is_used(&scene, 4, 1));
  run(&scene, 4, 2, 5, "GpuFault");
  EXPECT(is_used(&scene, 4, 0) && is_used(&scene, 4, 1) && is_used(&scene, 4, 2));
  scene_close(&scene);
}

static void at_least_one(void) {
  struct scene scene = scene_of(2);
  run(&scene, 2, 0, 5, "GpuFault");
  EXPECT(!is_used(&scene, 2, 0));
  scene_close(&scene);
  scene = scene_of(1);
  run(&scene, 1, 0, 20, "GpuFault");
  EXPECT(is_used(&scene, 1, 0));
  scene_close(&scene);
}

// Who takes 20 times as long gets fewer than one of 50 calls.
static void slow(void) {
  enum { WORKERS = 8, SLOW = 3 };
  struct scene scene = scene_of(WORKERS);
  run(&scene, WORKERS, SLOW, 20, NULL);
  int counts[WORKERS] = {0};
  for (int i = 0; i < 200; i++) {
    for (uint32_t k = 0; k < WORKERS; k++) scene_call(&scene, 0, SECONDS(90));
    for (uint32_t k = 0; k < WORKERS; k++)
      while (has_call(&scene, k)) {
        counts[k]++;
        ends(&scene, k, scene_dispatched(&scene, k), NULL, MILLISECONDS(k == SLOW ? 20 : 1));
      }
  }
  EXPECT(standing(&scene, SLOW) == STANDING_EJECTED && counts[SLOW] < 1600 / 50);
  scene_pass(&scene, SECONDS(30));
  EXPECT(standing(&scene, SLOW) == STANDING_PROBATION);
  scene_close(&scene);
}

// Calls become larger, and nobody says so. All of them come to one worker: the other one is busy.
static void large(void) {
  struct scene scene = scene_of(2);
  run(&scene, 2, 0, 20, NULL);
  scene_call(&scene, 0, SECONDS(90));
  scene_call(&scene, 0, SECONDS(90));
  uint32_t busy = has_call(&scene, 0) && has_call(&scene, 1) ? 0 : 2;
  EXPECT_EQUAL(0, busy);
  scene_dispatched(&scene, busy);
  for (int i = 0; i < 30; i++) {
    while (has_call(&scene, 1))
      ends(&scene, 1, scene_dispatched(&scene, 1), NULL, MILLISECONDS(20));
    scene_call(&scene, 0, SECONDS(90));
  }
  EXPECT(standing(&scene, 1) == STANDING_TRUSTED);
  scene_close(&scene);
}

static const struct check checks[] = {
    {"gives no calls to a worker after 5 faults in a row", five_faults},
    {"does not take an error that a function raised for a fault", raised},
    {"takes the deaths of processes in a place for its faults", deaths},
    {"tries it again after 30 s, and trusts it after 3 good calls", probation},
    {"ejects it for longer each time, until it was good for 10 minutes", longer},
    {"gives a worker on probation one call at a time", one_at_a_time},
    {"tries one early when calls on all others wait for one that it can run", needed},
    {"tries one after the other, and gives up a call when there is none left", needed_all},
    {"A16: gives calls to all when more than half look bad", panic},
    {"ejects one of two, but never the only one", at_least_one},
    {"does not eject one that alone got calls that are larger than before", large},
    {"ejects a worker that becomes 20 times slower than the others", slow},
};
CHECK_MAIN(checks)
