// Checks of what the router counts and how it writes that: host/core/router_metrics*.c. With
// "--text" it prints what a busy router says, for a spec that reads it.
#include "../../../host/core/router_metrics.h"

#include "scene.h"

enum { SQUARE, CUBE };

static const struct router_function kFunctions[] = {{.concurrency = 1, .idempotent = true},
                                                    {.concurrency = 1}};

static struct scene open_with(const char *name, const char *manifest, uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  struct router_deployment_options options = {.name = name,
                                              .functions = kFunctions,
                                              .function_count = 2,
                                              .manifest = manifest,
                                              .manifest_size = strlen(manifest),
                                              .workers = workers};
  EXPECT_EQUAL(0, router_deployment(scene.router, &options, scene.now));
  scene_gather(&scene);
  for (uint32_t i = 0; i < workers; i++) scene_reports(&scene, i, manifest, 2, 100);
  return scene;
}

static const char kManifest[] =
    "deployment app default\nfunction square(x) concurrency=1\nfunction cube(x, y) concurrency=1\n";

static struct scene open_two(uint32_t workers) {
  return open_with("app", kManifest, workers);
}

static struct function_metrics metrics_of(struct scene *scene, uint32_t function) {
  struct function_metrics metrics;
  EXPECT(router_function_metrics(scene->router, 0, function, &metrics));
  uint64_t ended = 0;
  for (uint32_t i = 0; i < METRIC_OUTCOMES; i++) ended += metrics.outcomes[i];
  EXPECT_EQUAL(metrics.admitted + metrics.refused, ended + metrics.in_flight);
  return metrics;
}

// A worker's answer after `milliseconds`, of which its function took so many.
static void answer(struct scene *scene, uint32_t worker, int64_t milliseconds, int64_t inside) {
  struct message call = scene_dispatched(scene, worker);
  scene->now += MILLISECONDS(milliseconds);
  call.elapsed = MILLISECONDS(inside);
  scene_reply(scene, worker, call, MESSAGE_RESULT);
}

static char *text_of(struct scene *scene) {
  struct buffer text = BUFFER_EMPTY;
  router_metrics_text(scene->router, "0.1", &text);
  buffer_append(&text, "", 1);
  return (char *)text.bytes;
}

static void expect_line(struct scene *scene, const char *line) {
  char *text = text_of(scene), *at = strstr(text, line);
  size_t length = strlen(line);
  if (!at || at[length] != '\n' || at[-1] != '\n') printf("%s\nno line %s\n", text, line);
  EXPECT(at && at[length] == '\n' && at[-1] == '\n');
  free(text);
}

static void no_line(struct scene *scene, const char *part) {
  char *text = text_of(scene);
  EXPECT(!strstr(text, part));
  free(text);
}

static uint32_t bucket_of(int64_t nanoseconds) {
  struct metric_histogram histogram = {0};
  metric_add(&histogram, nanoseconds);
  EXPECT_EQUAL(1, metric_count(&histogram));
  for (uint32_t i = 0; i <= METRIC_BUCKETS; i++)
    if (histogram.buckets[i]) return i;
  return 0;
}

static void buckets(void) {
  EXPECT_EQUAL(1000, metric_bound(0));
  EXPECT_EQUAL(2500, metric_bound(1));
  EXPECT_EQUAL(SECONDS(1000), metric_bound(METRIC_BUCKETS - 1));
  for (uint32_t i = 0; i < METRIC_BUCKETS; i++) {
    EXPECT_EQUAL(i, bucket_of(metric_bound(i)));
    EXPECT_EQUAL(i, bucket_of(metric_bound(i) - 1));
    EXPECT_EQUAL(i + 1, bucket_of(metric_bound(i) + 1));
  }
  for (int bits = 0; bits < 63; bits++) {
    int64_t power = INT64_C(1) << bits;
    uint32_t bucket = bucket_of(power);
    EXPECT(power <= metric_bound(bucket));
    EXPECT(!bucket || power > metric_bound(bucket - 1));
  }
  EXPECT_EQUAL(0, bucket_of(0));
  EXPECT_EQUAL(0, bucket_of(-5));
  EXPECT_EQUAL(METRIC_BUCKETS, bucket_of(INT64_MAX));
}

static void times(void) {
  struct scene scene = open_two(1);
  uint64_t first = scene_call(&scene, SQUARE, SECONDS(5)),
           second = scene_call(&scene, CUBE, SECONDS(5));
  answer(&scene, 0, 30, 20);
  scene_succeeds(&scene, first);
  answer(&scene, 0, 4, 4);
  scene_succeeds(&scene, second);
  struct function_metrics square = metrics_of(&scene, SQUARE), cube = metrics_of(&scene, CUBE);
  EXPECT_EQUAL(0, square.queue.sum);
  EXPECT_EQUAL(MILLISECONDS(20), square.run.sum);
  EXPECT_EQUAL(MILLISECONDS(10), square.transfer.sum);
  EXPECT_EQUAL(MILLISECONDS(30), cube.queue.sum);
  EXPECT_EQUAL(MILLISECONDS(4), cube.run.sum);
  EXPECT_EQUAL(0, metric_count(&cube.transfer));
  EXPECT_EQUAL(1, square.outcomes[OUTCOME_OK]);
  EXPECT_EQUAL(1, cube.dispatched);
  scene_close(&scene);
}

static void outcomes(void) {
  struct scene scene = open_two(1);
  uint64_t raised = scene_call(&scene, CUBE, SECONDS(5)),
           cancelled = scene_call(&scene, CUBE, SECONDS(5)),
           late = scene_call(&scene, CUBE, MILLISECONDS(100));
  scene_call(&scene, 7, SECONDS(5));
  scene_fails(&scene, 4, "NoSuchFunction", "no");
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  struct message call = scene_dispatched(&scene, 0);
  call.type = MESSAGE_ERROR;
  call.body = error_end(&writer);
  scene_cancel(&scene, cancelled);
  scene_fails(&scene, cancelled, "Cancelled", "no");
  scene_pass(&scene, MILLISECONDS(100));
  scene_fails(&scene, late, "DeadlineExceeded", "no");
  scene_worker_says(&scene, 0, &call);
  scene_fails(&scene, raised, "RemoteError", "yes");
  struct function_metrics cube = metrics_of(&scene, CUBE);
  EXPECT_EQUAL(3, cube.admitted);
  EXPECT_EQUAL(1, cube.outcomes[ERROR_REMOTE_ERROR]);
  EXPECT_EQUAL(1, cube.outcomes[ERROR_CANCELLED]);
  EXPECT_EQUAL(1, cube.outcomes[ERROR_DEADLINE_EXCEEDED]);
  EXPECT_EQUAL(0, cube.refused);
  expect_line(&scene,
              "farside_calls_total{deployment=\"app\",tag=\"default\",function=\"cube\","
              "worker=\"0\",outcome=\"RemoteError\"} 1");
  expect_line(&scene,
              "farside_calls_total{deployment=\"app\",tag=\"default\",function=\"cube\","
              "worker=\"\",outcome=\"DeadlineExceeded\"} 1");
  scene_close(&scene);
}

static void vanished(void) {
  struct scene scene = open_two(1);
  scene_call(&scene, CUBE, SECONDS(5));
  scene_call(&scene, CUBE, SECONDS(5));
  EXPECT_EQUAL(2, metrics_of(&scene, CUBE).in_flight);
  router_client_gone(scene.router, PEER, scene.now);
  EXPECT_EQUAL(2, metrics_of(&scene, CUBE).outcomes[ERROR_CANCELLED]);
  struct message call = scene_dispatched(&scene, 0);
  scene_reply(&scene, 0, call, MESSAGE_RESULT);
  EXPECT_EQUAL(0, metrics_of(&scene, CUBE).outcomes[OUTCOME_OK]);
  scene_close(&scene);
}

static void keyed(void) {
  struct scene scene = open_two(1);
  for (int i = 0; i < 3; i++)
    scene_call_with(&scene, PEER,
                    (struct message){.function = CUBE,
                                     .remaining = SECONDS(5),
                                     .workload = 1,
                                     .key = "k",
                                     .key_size = 1,
                                     .body = payload_copy("\x91\x07", 2)});
  answer(&scene, 0, 5, 5);
  struct function_metrics cube = metrics_of(&scene, CUBE);
  EXPECT_EQUAL(3, cube.admitted);
  EXPECT_EQUAL(3, cube.outcomes[OUTCOME_OK]);
  EXPECT_EQUAL(1, cube.dispatched);
  expect_line(&scene,
              "farside_calls_total{deployment=\"app\",tag=\"default\",function=\"cube\","
              "worker=\"0\",outcome=\"ok\"} 3");
  scene_close(&scene);
}

static void full(void) {
  struct scene scene = open_two(1);
  for (int i = 0; i < LIMIT_IN_FLIGHT + 2; i++) scene_call(&scene, CUBE, SECONDS(5));
  struct function_metrics cube = metrics_of(&scene, CUBE);
  EXPECT_EQUAL(LIMIT_IN_FLIGHT, cube.admitted);
  EXPECT_EQUAL(2, cube.refused);
  EXPECT_EQUAL(2, cube.shed);
  EXPECT_EQUAL(2, cube.outcomes[ERROR_OVERLOADED]);
  scene_close(&scene);
}

static void attempts(void) {
  struct scene scene = open_two(2);
  uint64_t call = scene_call(&scene, SQUARE, SECONDS(5));
  struct message first = scene_dispatched(&scene, 0);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, first.sequence);
  scene_pass(&scene, SECONDS(1));
  answer(&scene, 1, 1, 1);
  scene_succeeds(&scene, call);
  struct function_metrics square = metrics_of(&scene, SQUARE);
  EXPECT_EQUAL(1, square.retries);
  EXPECT_EQUAL(2, square.dispatched);
  EXPECT_EQUAL(1, metric_count(&square.queue));
  uint64_t other = scene_call(&scene, CUBE, SECONDS(5));
  scene_reply(&scene, 1, scene_dispatched(&scene, 1), MESSAGE_GIVE_BACK);
  answer(&scene, 1, 1, 1);
  scene_succeeds(&scene, other);
  EXPECT_EQUAL(1, metrics_of(&scene, CUBE).requeues);
  EXPECT_EQUAL(0, metrics_of(&scene, CUBE).retries);
  scene_close(&scene);
}

static void deaths(void) {
  struct scene scene = open_two(1);
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  scene_pass(&scene, SECONDS(2));
  scene_lost(&scene, 0, LOST_START, 2, 0);
  expect_line(&scene,
              "farside_worker_deaths_total{deployment=\"app\",tag=\"default\",worker=\"0\","
              "reason=\"signal\"} 1");
  expect_line(&scene,
              "farside_worker_deaths_total{deployment=\"app\",tag=\"default\",worker=\"0\","
              "reason=\"start\"} 1");
  expect_line(&scene,
              "farside_worker_starts_total{deployment=\"app\",tag=\"default\",worker=\"0\"} 2");
  scene_pass(&scene, SECONDS(2));
  scene_reports(&scene, 0, kManifest, 2, 1);
  router_drain(scene.router, scene.now);
  scene_gather(&scene);
  scene_lost(&scene, 0, LOST_EXIT, 0, 0);
  expect_line(&scene,
              "farside_worker_deaths_total{deployment=\"app\",tag=\"default\",worker=\"0\","
              "reason=\"drained\"} 1");
  scene_close(&scene);
}

static void silent(void) {
  struct scene scene = scene_open(SECONDS(1), 3);
  scene_deploy(&scene, kFunctions, 1, 1);
  scene_ready(&scene, 0);
  scene_pass(&scene, SECONDS(10));
  scene_lost(&scene, 0, LOST_SIGNAL, 9, 0);
  expect_line(&scene,
              "farside_worker_deaths_total{deployment=\"app\",tag=\"\",worker=\"0\","
              "reason=\"heartbeat\"} 1");
  scene_close(&scene);
}

static void gauges(void) {
  struct scene scene = open_two(1);
  scene_call(&scene, SQUARE, SECONDS(5));
  scene_call(&scene, CUBE, SECONDS(5));
  expect_line(&scene, "farside_callers 1");
  expect_line(&scene, "farside_workers_active_wanted{deployment=\"app\",tag=\"default\"} 1");
  expect_line(&scene,
              "farside_calls_queued{deployment=\"app\",tag=\"default\",function=\"cube\"} 1");
  expect_line(&scene, "farside_queue_bytes{deployment=\"app\",tag=\"default\"} 4");
  expect_line(&scene,
              "farside_worker_score{deployment=\"app\",tag=\"default\",function=\"square\","
              "worker=\"0\"} 100");
  expect_line(&scene,
              "farside_worker_calls_in_flight{deployment=\"app\",tag=\"default\",worker=\"0\"} 1");
  expect_line(&scene,
              "farside_worker_backlog_seconds{deployment=\"app\",tag=\"default\",worker=\"0\"} "
              "0.01");
  expect_line(&scene,
              "farside_deployment_state{deployment=\"app\",tag=\"default\",state=\"ready\"} 1");
  scene_close(&scene);
}

static void histograms(void) {
  struct scene scene = open_two(1);
  for (int i = 0; i < 3; i++) {
    scene_call(&scene, SQUARE, SECONDS(5));
    answer(&scene, 0, 30, 20);
  }
  static const char kLabels[] =
      "deployment=\"app\",tag=\"default\",function=\"square\",worker=\"0\"";
  char line[200];
  static const struct {
    const char *bound;
    int count;
  } kCounts[] = {{"1e-06", 0}, {"1e-02", 0}, {"2.5e-02", 3}, {"1e+03", 3}, {"+Inf", 3}};
  for (size_t i = 0; i < sizeof kCounts / sizeof *kCounts; i++) {
    snprintf(line, sizeof line, "farside_call_run_seconds_bucket{%s,le=\"%s\"} %d", kLabels,
             kCounts[i].bound, kCounts[i].count);
    expect_line(&scene, line);
  }
  snprintf(line, sizeof line, "farside_call_run_seconds_sum{%s} 0.06", kLabels);
  expect_line(&scene, line);
  snprintf(line, sizeof line, "farside_call_run_seconds_count{%s} 3", kLabels);
  expect_line(&scene, line);
  no_line(&scene,
          "farside_call_run_seconds_bucket{deployment=\"app\",tag=\"default\","
          "function=\"cube\"");
  scene_close(&scene);
}

static void two_deployments(void) {
  struct scene scene = open_two(2);
  struct router_deployment_options options = {.name = "other",
                                              .functions = kFunctions,
                                              .function_count = 1,
                                              .manifest = "deployment other canary\nfunction f()",
                                              .manifest_size = 36,
                                              .workers = 1};
  EXPECT_EQUAL(1, router_deployment(scene.router, &options, scene.now));
  scene_gather(&scene);
  expect_line(&scene,
              "farside_worker_starts_total{deployment=\"other\",tag=\"canary\",worker=\"0\"} 1");
  expect_line(&scene,
              "farside_worker_starts_total{deployment=\"app\",tag=\"default\",worker=\"1\"} 1");
  expect_line(&scene,
              "farside_worker_state{deployment=\"other\",tag=\"canary\",worker=\"0\","
              "state=\"starting\"} 1");
  expect_line(&scene, "farside_calls_queued{deployment=\"other\",tag=\"canary\",function=\"f\"} 0");
  scene_close(&scene);
}

static void expect_standing(struct scene *scene, const char *standing, uint32_t worker) {
  static const char *const kAll[] = {"trusted", "ejected", "probation"};
  char line[160];
  for (size_t i = 0; i < sizeof kAll / sizeof *kAll; i++) {
    snprintf(line, sizeof line,
             "farside_worker_standing{deployment=\"app\",tag=\"\",worker=\"%u\","
             "standing=\"%s\"} %d",
             worker, kAll[i], !strcmp(kAll[i], standing));
    expect_line(scene, line);
  }
}

// Of two workers the first one does nothing but fail.
static void standings(void) {
  struct scene scene = scene_square(2);
  scene_ready(&scene, 0);
  scene_ready(&scene, 1);
  expect_standing(&scene, "trusted", 0);
  for (int i = 0; i < 5; i++) {
    scene_call(&scene, 0, SECONDS(90));
    struct message call = scene_dispatched(&scene, 0);
    call.type = MESSAGE_ERROR;
    call.body = scene_raised("GpuFault");
    scene_worker_says(&scene, 0, &call);
    scene_drop_answers(&scene);
  }
  expect_standing(&scene, "ejected", 0);
  expect_standing(&scene, "trusted", 1);
  scene_pass(&scene, SECONDS(30));
  expect_standing(&scene, "probation", 0);
  scene_close(&scene);
}

static void escapes(void) {
  struct scene scene = open_with("a\"b\\c\nd", "deployment x y\nfunction f\\\"(x) z\nbare\n", 1);
  expect_line(
      &scene,
      "farside_calls_queued{deployment=\"a\\\"b\\\\c\\nd\",tag=\"y\",function=\"f\\\\\\\"\"}"
      " 0");
  expect_line(&scene,
              "farside_calls_queued{deployment=\"a\\\"b\\\\c\\nd\",tag=\"y\",function=\"bare\"} 0");
  scene_close(&scene);
}

// A manifest with fewer lines than functions is no reason to read behind its end.
static void short_manifest(void) {
  struct scene scene = open_with("app", "app", 1);
  expect_line(&scene, "farside_calls_queued{deployment=\"app\",tag=\"\",function=\"\"} 0");
  scene_close(&scene);
}

static int print(void) {
  struct scene scene = open_with("odd \"name\"\\", kManifest, 2);
  for (int i = 0; i < 20; i++) {
    scene_call(&scene, (uint32_t)i % 2, SECONDS(5));
    scene_call(&scene, CUBE, i % 3 ? SECONDS(5) : MILLISECONDS(10));
    answer(&scene, 0, 3 * i, i);
    scene_pass(&scene, MILLISECONDS(i));
  }
  scene_lost(&scene, 1, LOST_SIGNAL, 9, UINT64_MAX);
  char *text = text_of(&scene);
  fputs(text, stdout);
  free(text);
  scene_close(&scene);
  return 0;
}

static const struct check checks[] = {
    {"says how far each worker is trusted", standings},
    {"puts each time into the bucket of the least bound that holds it", buckets},
    {"knows how long calls waited, ran and travelled", times},
    {"counts each call once, by what it ended in and who had it last", outcomes},
    {"counts what is cancelled because its client has vanished", vanished},
    {"counts all calls that one run with a key has answered", keyed},
    {"counts what is refused for want of room", full},
    {"counts attempts and what comes back without having been entered", attempts},
    {"says of what workers died", deaths},
    {"calls a silent worker one that gave no heartbeat, whatever ends it", silent},
    {"reads queues, slots and scores off the router", gauges},
    {"writes histograms with cumulative buckets in seconds", histograms},
    {"numbers workers by deployment", two_deployments},
    {"escapes names", escapes},
    {"writes no names where the manifest has none", short_manifest},
};

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "--text")) return print();
  return check_main(argc, argv, checks, sizeof checks / sizeof *checks);
}
