// Checks of a number of workers that follows the load: host/core/router_scale.c.
#include "../../../host/core/autoscale.h"
#include "scene.h"

static const struct router_function kPlain = {.concurrency = 1, .benchmarked = true};

// A worker of score 100, so that a call of workload 100 takes it a second.
static void becomes_ready(struct scene *scene, uint32_t worker) {
  EXPECT(scene_starts(scene, worker));
  scene_reports(scene, worker, MANIFEST, 1, 100);
}

static struct autoscale_options plain(uint32_t max_workers) {
  struct autoscale_options options = autoscale_defaults();
  options.max_workers = max_workers;
  options.start_burst = max_workers;
  options.cold_mult = 1;
  return options;
}

static void deploy(struct scene *scene, const struct autoscale_options *scaling,
                   const struct router_function *function) {
  struct router_deployment_options options = {.name = "app",
                                              .functions = function,
                                              .function_count = 1,
                                              .manifest = MANIFEST,
                                              .manifest_size = strlen(MANIFEST),
                                              .scaling = scaling};
  *scene = scene_open(0, 0);
  EXPECT_EQUAL(0, router_deployment(scene->router, &options, scene->now));
  scene_gather(scene);
}

static struct deployment_status status_of(struct scene *scene) {
  struct deployment_status status;
  EXPECT(router_deployment_status(scene->router, 0, &status, scene->now));
  payload_unref(status.failure);
  return status;
}

static bool is_parked(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.parked;
}

static uint64_t call(struct scene *scene, double workload) {
  return scene_call_with(scene, PEER,
                         (struct message){.remaining = SECONDS(3600), .workload = workload});
}

// One call that is answered at once.
static void run(struct scene *scene, uint32_t worker) {
  uint64_t number = call(scene, 1);
  scene_reply(scene, worker, scene_dispatched(scene, worker), MESSAGE_RESULT);
  scene_succeeds(scene, number);
}

static void at_first(void) {
  struct scene scene;
  struct autoscale_options options = plain(4);
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  scene_pass(&scene, SECONDS(3600));
  for (uint32_t i = 1; i < 5; i++) EXPECT(!scene_starts(&scene, i));
  EXPECT_EQUAL(1, status_of(&scene).active);
  EXPECT(router_deadline(scene.router) == INT64_MAX);  // nothing turns when nothing happens
  scene_close(&scene);
}

static void refuses(void) {
  struct scene scene;
  struct autoscale_options options = plain(4);
  deploy(&scene, &options, &kPlain);
  options.target_util = 0;
  EXPECT_EQUAL(ROUTER_NONE,
               router_deployment(
                   scene.router,
                   &(struct router_deployment_options){
                       .name = "b", .functions = &kPlain, .function_count = 1, .scaling = &options},
                   scene.now));
  scene_close(&scene);
}

static void follows_load(void) {
  struct scene scene;
  struct autoscale_options options = plain(4);
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  uint64_t calls[200];
  for (int i = 0; i < 200; i++) calls[i] = call(&scene, 200);  // 400 s of work
  scene_pass(&scene, SECONDS(1));
  EXPECT(scene_starts(&scene, 1) && scene_starts(&scene, 2) && scene_starts(&scene, 3));
  EXPECT(!scene_starts(&scene, 4));  // the spare place is for recycling
  EXPECT_EQUAL(4, status_of(&scene).workers);
  EXPECT_EQUAL(3, status_of(&scene).starting);
  EXPECT(strstr(status_of(&scene).decision, "calls wait"));
  for (int i = 1; i < 200; i++) scene_cancel(&scene, calls[i]);
  scene_pass(&scene, SECONDS(20));
  for (uint32_t i = 0; i < 5; i++) {
    EXPECT(!scene_kills(&scene, i));
    EXPECT(!scene_sends(&scene, i, MESSAGE_DRAIN, NULL));
  }
  EXPECT_EQUAL(3, status_of(&scene).starting);
  scene_close(&scene);
}

// Two ready workers, the second one parked.
static void open_parked(struct scene *scene, struct autoscale_options *options,
                        const struct router_function *function) {
  options->cold_workers = 2;
  deploy(scene, options, function);
  becomes_ready(scene, 0);
  becomes_ready(scene, 1);
  scene_pass(scene, SECONDS(1));
  EXPECT(!is_parked(scene, 0));
  EXPECT(is_parked(scene, 1));
  EXPECT_EQUAL(1, status_of(scene).parked);
  EXPECT_EQUAL(1, status_of(scene).active_wanted);
}

static void gets_no_calls(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &kPlain);
  call(&scene, 1);
  call(&scene, 1);
  scene_dispatched(&scene, 0);
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_close(&scene);
}

static void takes_the_place(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &kPlain);
  run(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  scene_tick(&scene);
  EXPECT(!is_parked(&scene, 1));
  run(&scene, 1);
  EXPECT(scene_starts(&scene, 0));
  scene_close(&scene);
}

static void in_the_same_step(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  options.min_load = 0;
  options.inactivity_timeout = SECONDS(5);
  open_parked(&scene, &options, &kPlain);
  scene_pass(&scene, SECONDS(10));
  EXPECT(is_parked(&scene, 0) && is_parked(&scene, 1));
  EXPECT_EQUAL(0, status_of(&scene).active);
  EXPECT_EQUAL(2, status_of(&scene).ready);
  run(&scene, 0);
  EXPECT(!is_parked(&scene, 0));
  EXPECT(is_parked(&scene, 1));
  scene_close(&scene);
}

static void finishes_its_calls(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &kPlain);
  uint64_t first = call(&scene, 20000), second = call(&scene, 20000);  // 200 s each
  struct message one = scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  struct message two = scene_dispatched(&scene, 1);
  scene_pass(&scene, SECONDS(600));  // little load, though these go on
  EXPECT(is_parked(&scene, 1));
  EXPECT_EQUAL(2, status_of(&scene).running);
  scene_reply(&scene, 1, two, MESSAGE_RESULT);
  scene_succeeds(&scene, second);
  call(&scene, 1);
  EXPECT(scene_is_given_nothing(&scene, 1));
  scene_reply(&scene, 0, one, MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

static void parks_the_slowest(void) {
  struct scene scene;
  struct autoscale_options options = plain(3);
  options.cold_workers = 3;
  options.min_load = 150;
  deploy(&scene, &options, &kPlain);
  static const double scores[] = {100, 20, 180};
  for (uint32_t i = 0; i < 3; i++) {
    EXPECT(scene_starts(&scene, i));
    scene_reports(&scene, i, MANIFEST, 1, scores[i]);
  }
  scene_pass(&scene, SECONDS(200));
  EXPECT(is_parked(&scene, 0) && is_parked(&scene, 1) && !is_parked(&scene, 2));
  scene_close(&scene);
}

static enum worker_standing standing(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.standing;
}

// One call for each of `active` workers: the one of `worker` ends in a fault, until it is ejected.
static void eject(struct scene *scene, uint32_t active, uint32_t worker) {
  for (int rounds = 0; standing(scene, worker) != STANDING_EJECTED; rounds++) {
    EXPECT(rounds < 20);
    for (uint32_t i = 0; i < active; i++) call(scene, 1);
    for (uint32_t i = 0; i < 5; i++) {
      struct message one;
      if (!scene_sends(scene, i, MESSAGE_CALL, &one)) continue;
      one.type = i == worker ? MESSAGE_ERROR : MESSAGE_RESULT;
      one.epoch = EPOCH;
      one.body = i == worker ? scene_raised("GpuFault") : NULL;
      scene_worker_says(scene, i, &one);
    }
    scene_drop_answers(scene);
  }
}

static void ejected_carries_nothing(void) {
  struct scene scene;
  struct autoscale_options options = plain(4);
  options.min_load = 150;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  becomes_ready(&scene, 1);
  scene_pass(&scene, SECONDS(300));
  EXPECT(!scene_starts(&scene, 2));
  eject(&scene, 2, 0);
  scene_tick(&scene);
  EXPECT(scene_starts(&scene, 2));
  scene_close(&scene);
}

static void ejected_is_parked(void) {
  struct scene scene;
  struct autoscale_options options = plain(3);
  options.cold_workers = 3;
  options.min_load = 150;
  deploy(&scene, &options, &kPlain);
  for (uint32_t i = 0; i < 3; i++) becomes_ready(&scene, i);
  scene_pass(&scene, SECONDS(200));
  EXPECT(!is_parked(&scene, 0) && !is_parked(&scene, 1) && is_parked(&scene, 2));
  eject(&scene, 2, 0);
  scene_tick(&scene);
  EXPECT(is_parked(&scene, 0) && !is_parked(&scene, 1) && !is_parked(&scene, 2));
  scene_close(&scene);
}

// The only active one is ejected, which does not count; yet a good one is parked.
static void ejected_alone(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &kPlain);
  eject(&scene, 1, 0);
  scene_tick(&scene);
  EXPECT(is_parked(&scene, 0) && !is_parked(&scene, 1));
  scene_close(&scene);
}

static void ejected_is_stopped(void) {
  struct scene scene;
  struct autoscale_options options = plain(3);
  options.cold_workers = 2;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  becomes_ready(&scene, 1);
  uint64_t calls[40];
  for (int i = 0; i < 40; i++) calls[i] = call(&scene, 200);
  scene_pass(&scene, SECONDS(1));
  becomes_ready(&scene, 2);
  scene_tick(&scene);
  for (uint32_t i = 0; i < 3; i++)
    scene_reply(&scene, i, scene_dispatched(&scene, i), MESSAGE_RESULT);
  for (int i = 3; i < 40; i++) scene_cancel(&scene, calls[i]);
  for (uint32_t i = 0; i < 3; i++)
    while (!scene_is_given_nothing(&scene, i))
      scene_reply(&scene, i, scene_dispatched(&scene, i), MESSAGE_RESULT);
  scene_pass(&scene, SECONDS(45));
  EXPECT_EQUAL(3, status_of(&scene).active);
  eject(&scene, 3, 0);
  scene_pass(&scene, SECONDS(25));
  EXPECT(standing(&scene, 0) == STANDING_EJECTED);
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  EXPECT_EQUAL(2, status_of(&scene).workers);
  scene_close(&scene);
}

static void panic_has_them_back(void) {
  struct scene scene;
  struct autoscale_options options = plain(5);
  options.min_load = 250;
  deploy(&scene, &options, &kPlain);
  for (uint32_t i = 0; i < 3; i++) {
    becomes_ready(&scene, i);
    scene_pass(&scene, SECONDS(11));
  }
  eject(&scene, 3, 0);
  scene_tick(&scene);
  EXPECT(scene_starts(&scene, 3));  // of 4 one is bad
  eject(&scene, 3, 1);              // of those that are ready two of three: then none counts
  scene_pass(&scene, SECONDS(15));
  EXPECT(!scene_starts(&scene, 4));
  scene_close(&scene);
}

static void to_zero_and_back(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  options.min_load = 0;
  options.inactivity_timeout = SECONDS(5);
  deploy(&scene, &options, &kPlain);
  scene_pass(&scene, SECONDS(3));
  becomes_ready(&scene, 0);
  run(&scene, 0);
  scene_pass(&scene, SECONDS(5));
  EXPECT(!scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));  // ready for less than two starts
  scene_pass(&scene, SECONDS(2));
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  EXPECT_EQUAL(0, status_of(&scene).workers);
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  EXPECT(!scene_starts(&scene, 0));
  EXPECT_EQUAL(DEPLOYMENT_READY, status_of(&scene).state);
  scene_tick(&scene);
  EXPECT(router_deadline(scene.router) == INT64_MAX);
  scene_pass(&scene, SECONDS(1000));
  uint64_t number = call(&scene, 1);
  becomes_ready(&scene, 0);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, number);
  scene_close(&scene);
}

// Its process has not gone yet.
static void while_the_last_goes(void) {
  struct scene scene;
  struct autoscale_options options = plain(1);
  options.min_load = 0;
  options.inactivity_timeout = 0;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  scene_pass(&scene, SECONDS(1));
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  uint64_t number = call(&scene, 1);
  scene_pass(&scene, SECONDS(1));
  EXPECT(!scene_starts(&scene, 1));  // there is no room for a second one
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  scene_tick(&scene);
  becomes_ready(&scene, 0);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, number);
  scene_close(&scene);
}

static void runs_when_idle(void) {
  struct scene scene;
  struct autoscale_options options = plain(1);
  options.min_load = 0;
  options.inactivity_timeout = 0;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  call(&scene, 1);
  scene_dispatched(&scene, 0);
  scene_pass(&scene, SECONDS(500));
  EXPECT(!scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  EXPECT_EQUAL(1, status_of(&scene).active);
  scene_close(&scene);
}

static void failing_starts(void) {
  struct scene scene;
  struct autoscale_options options = plain(8);
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  run(&scene, 0);
  for (int i = 0; i < 200; i++) call(&scene, 20000);
  scene_pass(&scene, NANOSECONDS_PER_SECOND / 2);
  EXPECT_EQUAL(7, status_of(&scene).starting);
  for (uint32_t i = 1; i < 8; i++) {
    EXPECT(scene_starts(&scene, i));
    scene_lost(&scene, i, LOST_START, 12, 0);
  }
  // From now on every start fails. Each place tries again after its pause, and there are no others.
  uint32_t starts = 0;
  for (int second = 0; second < 120; second++) {
    scene_pass(&scene, SECONDS(1));
    for (uint32_t i = 1; i < 9; i++)
      if (scene_starts(&scene, i)) {
        starts++;
        scene_lost(&scene, i, LOST_START, 12, 0);
      }
  }
  EXPECT(starts > 1 && starts < 60);
  EXPECT_EQUAL(8, status_of(&scene).workers);
  scene_close(&scene);
}

// A place that waits for another try is given up with the load; a new start has to wait no less.
static void pauses_are_kept(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  options.cold_workers = 0;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  run(&scene, 0);
  uint64_t calls[40];
  for (int i = 0; i < 40; i++) calls[i] = call(&scene, 2000);
  scene_pass(&scene, NANOSECONDS_PER_SECOND);
  for (int i = 0; i < 10; i++) {
    if (i) scene_pass(&scene, SECONDS(80));
    while (!scene_starts(&scene, 1)) scene_pass(&scene, SECONDS(1));
    scene_lost(&scene, 1, LOST_START, 12, 0);
  }
  EXPECT_EQUAL(2, status_of(&scene).workers);
  for (int i = 0; i < 40; i++) scene_cancel(&scene, calls[i]);
  scene_close(&scene);
}

static void beside_recycling(void) {
  static const struct router_function limited = {.concurrency = 1, .max_calls = 2};
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &limited);
  run(&scene, 0);
  run(&scene, 0);
  becomes_ready(&scene, 2);
  scene_pass(&scene, SECONDS(1));
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL));
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  scene_pass(&scene, SECONDS(200));
  EXPECT(!scene_starts(&scene, 0));
  struct deployment_status status = status_of(&scene);
  EXPECT_EQUAL(2, status.workers);
  EXPECT_EQUAL(1, status.active);
  EXPECT_EQUAL(1, status.parked);
  scene_close(&scene);
}

static void nested(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  options.cold_mult = 1;
  deploy(&scene, &options, &kPlain);
  becomes_ready(&scene, 0);
  uint64_t outer = call(&scene, 1);
  struct message running = scene_dispatched(&scene, 0);
  uint64_t inner = scene_call_with(
      &scene, PEER,
      (struct message){.remaining = SECONDS(3600), .workload = 1, .parent = running.id});
  EXPECT(scene_is_silent(&scene));  // no deadlock: another worker may be started
  scene_pass(&scene, SECONDS(15));
  becomes_ready(&scene, 1);
  scene_tick(&scene);
  scene_reply(&scene, 1, scene_dispatched(&scene, 1), MESSAGE_RESULT);
  scene_succeeds(&scene, inner);
  scene_reply(&scene, 0, running, MESSAGE_RESULT);
  scene_succeeds(&scene, outer);
  scene_close(&scene);
}

static void ends(void) {
  struct scene scene;
  struct autoscale_options options = plain(2);
  open_parked(&scene, &options, &kPlain);
  uint64_t running = call(&scene, 1), waiting = call(&scene, 1);
  struct message one = scene_dispatched(&scene, 0);
  router_deployment_end(scene.router, 0, scene.now);
  scene_gather(&scene);
  scene_fails(&scene, running, "Cancelled", "maybe");
  scene_fails(&scene, waiting, "Cancelled", "no");
  EXPECT(scene_sends(&scene, 0, MESSAGE_DRAIN, NULL) &&
         scene_sends(&scene, 1, MESSAGE_DRAIN, NULL));
  scene_fails(&scene, call(&scene, 1), "Draining", "no");
  scene_reply(&scene, 0, one, MESSAGE_RESULT);
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  scene_lost(&scene, 1, LOST_EXIT, 0, 0);
  scene_pass(&scene, SECONDS(100));
  for (uint32_t i = 0; i < 3; i++) EXPECT(!scene_starts(&scene, i));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"starts one worker, and has nothing to do without calls", at_first},
    {"refuses options that are out of their ranges", refuses},
    {"starts what the load needs, at most max_workers, and calls no start off", follows_load},
    {"gives a parked worker no calls", gets_no_calls},
    {"has a parked worker take the place of one that died", takes_the_place},
    {"A10: has a parked worker take a call in the step in which it comes", in_the_same_step},
    {"lets a worker that is parked finish its calls", finishes_its_calls},
    {"parks the slowest", parks_the_slowest},
    {"has another one started for the part of one that is ejected", ejected_carries_nothing},
    {"parks one that is ejected, and has another take its place", ejected_is_parked},
    {"does not keep an ejected one active beside a good one that is parked", ejected_alone},
    {"stops one that is ejected first", ejected_is_stopped},
    {"A16: counts all workers where so many are ejected that it does not count",
     panic_has_them_back},
    {"A10: scales to zero and back", to_zero_and_back},
    {"A10: starts a worker for a call that comes while the last one goes", while_the_last_goes},
    {"A10: stops no worker while a call runs, however long", runs_when_idle},
    {"A2: does not multiply starts that fail", failing_starts},
    {"A2: keeps the pause after a failed start when the load goes and comes", pauses_are_kept},
    {"goes on beside recycling", beside_recycling},
    {"starts a worker for a call that another one waits for", nested},
    {"ends one deployment, whose workers go", ends},
};
CHECK_MAIN(checks)
