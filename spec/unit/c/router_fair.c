// Checks of fairness between clients and of overload: host/core/router_fair.c.
#include "scene.h"

enum { LIGHT = 2, OTHER = 3 };

static const struct message kOptions = {.remaining = SECONDS(250), .workload = 1};

// A worker that runs one call at a time, for three clients.
static struct scene busy(const struct router_function *function) {
  struct scene scene = scene_open(0, 0);
  scene_deploy(&scene, function, 1, 1);
  router_client(scene.router, LIGHT, scene.now);
  router_client(scene.router, OTHER, scene.now);
  scene_ready(&scene, 0);
  return scene;
}

static const struct router_function kSquare = {.concurrency = 1};

static void flood(struct scene *scene, uint32_t peer, int count) {
  for (int i = 0; i < count; i++) scene_call_with(scene, peer, kOptions);
}

// The worker takes `time` for the call it has, and gets the next one. Returns whose that was.
static uint32_t serve(struct scene *scene, int64_t time) {
  struct message given = scene_dispatched(scene, 0), end;
  scene->now += time;
  given.elapsed = time;
  scene_reply(scene, 0, given, MESSAGE_RESULT);
  EXPECT(scene_answers(scene, &end) && end.id.counter == given.id.counter);
  payload_unref(end.body);
  return (uint32_t)given.id.session;
}

static void light(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, 500);
  for (int i = 0; i < 50; i++) serve(&scene, MILLISECONDS(1));
  for (int round = 0; round < 20; round++) {
    flood(&scene, LIGHT, 1);
    int others = 0;
    while (serve(&scene, MILLISECONDS(1)) != LIGHT) others++;
    EXPECT(others <= 3);
  }
  scene_close(&scene);
}

// The time a call takes was learnt wrong, by far.
static void light_when_slow(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, 100);
  for (int i = 0; i < 100; i++) serve(&scene, 20000);
  flood(&scene, PEER, 500);
  for (int i = 0; i < 10; i++) serve(&scene, SECONDS(1) / 10);
  flood(&scene, LIGHT, 1);
  int others = 0;
  while (serve(&scene, SECONDS(1) / 10) != LIGHT) others++;
  EXPECT(others <= 3);
  scene_close(&scene);
}

// More urgent calls stand before the flood.
static void light_behind_urgent(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, 300);
  struct message options = kOptions;
  options.priority = 1;
  for (int i = 0; i < 100; i++) scene_call_with(&scene, OTHER, options);
  for (int i = 0; i < 10; i++) serve(&scene, MILLISECONDS(1));
  flood(&scene, LIGHT, 1);
  int floods = 0;
  for (uint32_t peer; (peer = serve(&scene, MILLISECONDS(1))) != LIGHT;) floods += peer == PEER;
  EXPECT(floods <= 3);
  scene_close(&scene);
}

// Calls that take 1 s for a workload of 1000.
static struct scene sized(void) {
  struct scene scene = busy(&kSquare);
  scene_reports(&scene, 0, MANIFEST, 1, 1000);
  flood(&scene, PEER, 1);
  serve(&scene, MILLISECONDS(1));
  flood(&scene, PEER, 1);
  return scene;
}

static uint64_t call_of(struct scene *scene, double workload) {
  return scene_call_with(scene, PEER,
                         (struct message){.remaining = SECONDS(250), .workload = workload});
}

// Of those that come within a third of the time it takes.
static void small_pass(void) {
  struct scene scene = sized();
  uint64_t large = call_of(&scene, 1000), small = call_of(&scene, 10);
  scene.now += MILLISECONDS(310);
  uint64_t late = call_of(&scene, 10);
  serve(&scene, MILLISECONDS(1));
  EXPECT_EQUAL(small, scene_find(&scene, ROUTER_SEND, 0, MESSAGE_CALL)->message.id.counter);
  serve(&scene, MILLISECONDS(10));
  EXPECT_EQUAL(large, scene_find(&scene, ROUTER_SEND, 0, MESSAGE_CALL)->message.id.counter);
  serve(&scene, SECONDS(1));
  EXPECT_EQUAL(late, scene_find(&scene, ROUTER_SEND, 0, MESSAGE_CALL)->message.id.counter);
  scene_close(&scene);
}

static void equals_in_order(void) {
  struct scene scene = sized();
  uint64_t first = call_of(&scene, 1000);
  for (int i = 1; i < 5; i++) EXPECT_EQUAL(first + (uint64_t)i, call_of(&scene, 1000));
  serve(&scene, MILLISECONDS(1));
  for (int i = 0; i < 5; i++) {
    EXPECT_EQUAL(first + (uint64_t)i,
                 scene_find(&scene, ROUTER_SEND, 0, MESSAGE_CALL)->message.id.counter);
    serve(&scene, MILLISECONDS(1 << i));
  }
  scene_close(&scene);
}

// Two keep the queue filled, with a different number of calls in flight.
static void two_floods(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, 800);
  for (int i = 0; i < 20; i++) serve(&scene, MILLISECONDS(1));
  flood(&scene, OTHER, 40);
  int served[OTHER + 1] = {0};
  for (int i = 0; i < 4000; i++) {
    uint32_t peer = serve(&scene, MILLISECONDS(1));
    if (i >= 2000) served[peer]++;
    flood(&scene, peer, 1);
  }
  EXPECT(served[PEER] > 800 && served[OTHER] > 800);
  scene_close(&scene);
}

static void alone(void) {
  struct scene scene = busy(&kSquare);
  for (uint64_t i = 1; i <= 300; i++) flood(&scene, PEER, 1);
  for (uint64_t i = 1; i <= 200; i++) {
    struct message given = scene_dispatched(&scene, 0), end;
    EXPECT_EQUAL(i, given.id.counter);
    scene.now += MILLISECONDS(1);
    scene_reply(&scene, 0, given, MESSAGE_RESULT);
    EXPECT(scene_answers(&scene, &end));
    payload_unref(end.body);
    flood(&scene, PEER, 1);
  }
  scene_close(&scene);
}

static void urgent(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, 400);
  for (int i = 0; i < 50; i++) serve(&scene, MILLISECONDS(1));
  struct message options = kOptions;
  options.priority = 1;
  uint64_t call = scene_call_with(&scene, PEER, options);
  serve(&scene, MILLISECONDS(1));
  EXPECT_EQUAL(call, scene_dispatched(&scene, 0).id.counter);
  scene_close(&scene);
}

static void shed(void) {
  struct scene scene = scene_square(1);
  uint32_t peer = OTHER;
  for (int i = 0; i < LIMIT_QUEUE; i++) {
    if (i % 1000 == 0) router_client(scene.router, ++peer, scene.now);
    scene_call_with(&scene, peer, kOptions);
  }
  uint64_t call = scene_call(&scene, 0, SECONDS(5));
  struct payload *error = scene_error(&scene, LIMIT_QUEUE, "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "deployment"));
  payload_unref(error);
  EXPECT(scene_is_silent(&scene));
  scene_cancel(&scene, call);
  scene_fails(&scene, call, "Cancelled", "no");
  scene_close(&scene);
}

static void retry_after(void) {
  struct scene scene = busy(&kSquare);
  flood(&scene, PEER, LIMIT_IN_FLIGHT);
  for (int i = 0; i < 30; i++) serve(&scene, MILLISECONDS(20));
  flood(&scene, PEER, 31);
  struct payload *error = scene_error(&scene, scene.calls, "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "client"));
  EXPECT(scene_map_counts(scene_map(error), "retry_after", 20));
  payload_unref(error);
  scene_close(&scene);
}

static void counts_until_it_ends(void) {
  struct scene scene = busy(&(struct router_function){.concurrency = LIMIT_CONCURRENCY});
  flood(&scene, PEER, LIMIT_IN_FLIGHT);
  for (uint64_t i = 1; i <= LIMIT_IN_FLIGHT; i++) {
    scene_cancel(&scene, i);
    scene_fails(&scene, i, "Cancelled", "maybe");
  }
  flood(&scene, PEER, 1);
  scene_fails(&scene, scene.calls, "Overloaded", "no");
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_ERROR);
  flood(&scene, PEER, 1);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void max_queue_time(void) {
  struct scene scene =
      busy(&(struct router_function){.concurrency = 1, .max_queue_time = SECONDS(1)});
  flood(&scene, PEER, 130);
  EXPECT(scene_is_silent(&scene));  // nobody knows how long they take
  for (int i = 0; i < 20; i++) serve(&scene, MILLISECONDS(10));
  flood(&scene, PEER, 1);
  struct payload *error = scene_error(&scene, scene.calls, "Overloaded", "no");
  EXPECT(scene_map_mentions(scene_map(error), "message", "max_queue_time is 1 s"));
  payload_unref(error);
  for (int i = 0; i < 20; i++) serve(&scene, MILLISECONDS(10));
  flood(&scene, PEER, 1);
  EXPECT(scene_is_silent(&scene));
  scene_close(&scene);
}

static void queue_timeout(void) {
  struct scene scene =
      busy(&(struct router_function){.concurrency = 1, .queue_timeout = SECONDS(1)});
  flood(&scene, PEER, 2);
  struct message options = kOptions;
  options.queue_timeout = SECONDS(2);
  uint64_t patient = scene_call_with(&scene, PEER, options);
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, 2, "DeadlineExceeded", "no");
  EXPECT(scene_is_silent(&scene));
  scene_pass(&scene, SECONDS(1));
  scene_fails(&scene, patient, "DeadlineExceeded", "no");
  scene_close(&scene);
}

// The same call as before, which joins one by its key, needs no further memory.
static void pressed(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  struct message keyed = {.remaining = SECONDS(5), .key = "k", .key_size = 1};
  keyed.body = payload_copy("\x90", 1);
  uint64_t first = scene_call_with(&scene, PEER, keyed);
  router_press(scene.router, 1 << 20);
  struct payload *error =
      scene_error(&scene, scene_call(&scene, 0, SECONDS(5)), "Overloaded", "no");
  EXPECT(scene_map_says(scene_map(error), "scope", "memory"));
  EXPECT(scene_map_counts(scene_map(error), "limit", 1 << 20));
  EXPECT(scene_map_counts(scene_map(error), "retry_after", 1000));
  payload_unref(error);
  keyed.body = payload_copy("\x90", 1);
  uint64_t second = scene_call_with(&scene, PEER, keyed);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_succeeds(&scene, first);
  scene_succeeds(&scene, second);
  router_press(scene.router, 0);
  scene_call(&scene, 0, SECONDS(5));
  scene_dispatched(&scene, 0);
  scene_close(&scene);
}

static void holds(void) {
  struct scene scene = scene_square(1);
  scene_ready(&scene, 0);
  struct message keyed = {.remaining = SECONDS(5), .key = "k", .key_size = 1};
  uint64_t calls[3];
  for (int i = 0; i < 2; i++) calls[i] = scene_call(&scene, 0, SECONDS(5));  // 4 bytes each
  for (int i = 0; i < 2; i++) {
    keyed.body = payload_copy("\x92\x01\x02", 3);
    calls[2] = scene_call_with(&scene, PEER, keyed);
  }
  EXPECT_EQUAL(4 + 4 + 3, router_held(scene.router));
  struct message running = scene_dispatched(&scene, 0);
  EXPECT_EQUAL(4 + 4 + 3, router_held(scene.router));
  scene_cancel(&scene, calls[0]);  // its worker has them
  EXPECT_EQUAL(4 + 3, router_held(scene.router));
  scene_cancel(&scene, calls[1]);
  EXPECT_EQUAL(3, router_held(scene.router));
  scene_drop_answers(&scene);
  scene_reply(&scene, 0, running, MESSAGE_RESULT);
  scene_reply(&scene, 0, scene_dispatched(&scene, 0), MESSAGE_RESULT);
  scene_drop_answers(&scene);
  EXPECT(router_held(scene.router) > 2);  // the outcome, for later calls with its key
  scene_pass(&scene, LIMIT_RESULT_TTL);
  EXPECT_EQUAL(0, router_held(scene.router));
  scene_close(&scene);
}

static const struct check checks[] = {
    {"lets small calls pass a large one that came within a third of its time", small_pass},
    {"keeps the order of calls of one size, however long they take", equals_in_order},
    {"C4: lets a client with one call wait for few of those of another", light},
    {"C4: also when calls take longer than those before them", light_when_slow},
    {"C4: also when many more urgent calls are before it", light_behind_urgent},
    {"C4: serves two clients alike that have different numbers of calls in flight", two_floods},
    {"serves the calls of one client in the order in which they came", alone},
    {"lets an urgent call pass those of its client", urgent},
    {"C4: takes the place of a call of the client with most when the queue is full", shed},
    {"says when there will be room again", retry_after},
    {"C5: counts cancelled calls until their worker is done with them", counts_until_it_ends},
    {"refuses a call that would wait for too long, once it knows", max_queue_time},
    {"lets a call wait as long as its function says, unless it says so itself", queue_timeout},
    {"R7: knows how many bytes it holds", holds},
    {"R7: takes no calls while it holds as much as it may", pressed},
};
CHECK_MAIN(checks)
