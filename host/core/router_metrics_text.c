// What is counted, and what the router's state says, in Prometheus' text format 0.0.4.
//
//   # HELP farside_calls_total Calls that ended.
//   # TYPE farside_calls_total counter
//   farside_calls_total{deployment="app",tag="default",function="square",worker="0",outcome="ok"} 12
//
// Times are seconds, sizes bytes, worker is the number in its deployment, as in logs. All samples of
// a family stand together, so the families are the outer loop. Numbers never pass through a locale.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router_metrics.h"
#include "router_state.h"

struct piece {
  const char *bytes;
  size_t size;
};

// Where a family is written: the labels of the deployment, function and worker at hand stand ready.
struct page {
  const struct router *router;
  struct buffer *out;
  const char *family;
  struct buffer labels;
  size_t deployment_end, function_end;  // in `labels`
};

static struct piece piece_of(const char *text) {
  return (struct piece){text, strlen(text)};
}

// ---- pieces ----

static void append(struct buffer *out, const char *text) {
  buffer_append(out, text, strlen(text));
}

static void append_count(struct buffer *out, uint64_t number) {
  char digits[24];
  size_t at = sizeof digits;
  do digits[--at] = (char)('0' + number % 10);
  while (number /= 10);
  buffer_append(out, digits + at, sizeof digits - at);
}

// Nanoseconds as seconds, exactly.
static void append_seconds(struct buffer *out, uint64_t nanoseconds) {
  char digits[12];
  uint64_t rest = nanoseconds % 1000000000;
  append_count(out, nanoseconds / 1000000000);
  if (!rest) return;
  snprintf(digits, sizeof digits, ".%09" PRIu64, rest);
  size_t size = strlen(digits);
  while (digits[size - 1] == '0') size--;
  buffer_append(out, digits, size);
}

// Some locales write another decimal point, in one or more bytes.
static void append_number(struct buffer *out, double number) {
  char text[40];
  snprintf(text, sizeof text, "%.9g", number);
  for (const char *at = text; *at; at++) {
    if (strchr("0123456789+-eainf", *at))
      buffer_append(out, at, 1);
    else if (at == text || strchr("0123456789", at[-1]))
      append(out, ".");
  }
}

static void append_escaped(struct buffer *out, struct piece text) {
  for (size_t i = 0; i < text.size; i++) {
    char c = text.bytes[i];
    if (c == '\n')
      append(out, "\\n");
    else if (c == '"' || c == '\\')
      buffer_append(out, (char[]){'\\', c}, 2);
    else
      buffer_append(out, &c, 1);
  }
}

static void append_label(struct buffer *labels, const char *name, struct piece value) {
  if (labels->size) append(labels, ",");
  append(labels, name);
  append(labels, "=\"");
  append_escaped(labels, value);
  append(labels, "\"");
}

// ---- names ----

// The first line of the manifest is "deployment NAME TAG".
static struct piece tag_of(const struct deployment *deployment) {
  const char *start = deployment->manifest, *end = start;
  while (*end && *end != '\n') end++;
  const char *at = end;
  while (at > start && at[-1] != ' ') at--;
  return (struct piece){at, at > start ? (size_t)(end - at) : 0};
}

static void at_deployment(struct page *page, const struct deployment *deployment) {
  buffer_clear(&page->labels);
  append_label(&page->labels, "deployment", piece_of(deployment->name));
  append_label(&page->labels, "tag", tag_of(deployment));
  page->deployment_end = page->function_end = page->labels.size;
}

static void at_function(struct page *page, const struct deployment *deployment, uint32_t function) {
  page->labels.size = page->deployment_end;
  const struct function_counts *counts = &deployment->metrics->of[function];
  append_label(&page->labels, "function", (struct piece){counts->name, counts->name_size});
  page->function_end = page->labels.size;
}

// NULL: no worker.
static void at_worker(struct page *page, const struct worker *worker) {
  page->labels.size = page->function_end;
  char number[12] = "";
  if (worker) {
    uint32_t first = page->router->deployments[worker->deployment]->first_worker;
    snprintf(number, sizeof number, "%" PRIu32, worker->number - first);
  }
  append_label(&page->labels, "worker", piece_of(number));
}

// ---- samples ----

static void begin(struct page *page, const char *family, const char *type, const char *help) {
  page->family = family;
  append(page->out, "# HELP ");
  append(page->out, family);
  append(page->out, " ");
  append(page->out, help);
  append(page->out, "\n# TYPE ");
  append(page->out, family);
  append(page->out, " ");
  append(page->out, type);
  append(page->out, "\n");
}

// Up to the value. `name`: of a further label, or NULL; its value needs no escapes.
static void sample(struct page *page, const char *suffix, const char *name, const char *value) {
  struct buffer *out = page->out;
  append(out, page->family);
  append(out, suffix);
  if (page->labels.size || name) append(out, "{");
  buffer_append(out, page->labels.bytes, page->labels.size);
  if (name) {
    if (page->labels.size) append(out, ",");
    append(out, name);
    append(out, "=\"");
    append(out, value);
    append(out, "\"");
  }
  if (page->labels.size || name) append(out, "}");
  append(out, " ");
}

static void count_with(struct page *page, const char *name, const char *value, uint64_t number) {
  sample(page, "", name, value);
  append_count(page->out, number);
  append(page->out, "\n");
}

static void count(struct page *page, uint64_t number) {
  count_with(page, NULL, NULL, number);
}

static void number(struct page *page, double value) {
  sample(page, "", NULL, NULL);
  append_number(page->out, value);
  append(page->out, "\n");
}

static void histogram(struct page *page, const struct metric_histogram *histogram) {
  static const char *const kDigits[] = {"1", "2.5", "5"};
  char bound[16];
  uint64_t sum = 0;
  for (uint32_t i = 0; i <= METRIC_BUCKETS; i++) {
    snprintf(bound, sizeof bound, "%se%+03d", kDigits[i % 3], (int)(i / 3) - 6);
    sample(page, "_bucket", "le", i < METRIC_BUCKETS ? bound : "+Inf");
    append_count(page->out, sum += histogram->buckets[i]);
    append(page->out, "\n");
  }
  sample(page, "_sum", NULL, NULL);
  append_seconds(page->out, histogram->sum);
  append(page->out, "\n");
  sample(page, "_count", NULL, NULL);
  append_count(page->out, sum);
  append(page->out, "\n");
}

// ---- by deployment ----

static void deployments(struct page *page,
                        void (*write)(struct page *page, const struct deployment *deployment)) {
  for (uint32_t i = 0; i < page->router->deployment_count; i++) {
    at_deployment(page, page->router->deployments[i]);
    write(page, page->router->deployments[i]);
  }
}

static void write_state(struct page *page, const struct deployment *deployment) {
  static const char *const kStates[] = {[DEPLOYMENT_STARTING] = "starting",
                                        [DEPLOYMENT_READY] = "ready",
                                        [DEPLOYMENT_FAILED] = "failed",
                                        [DEPLOYMENT_DRAINING] = "draining"};
  for (uint32_t i = 0; i < sizeof kStates / sizeof *kStates; i++)
    count_with(page, "state", kStates[i], deployment->state == i);
}

static void write_wanted(struct page *page, const struct deployment *deployment) {
  count(page, deployment->worker_count);
}

static void write_ready(struct page *page, const struct deployment *deployment) {
  count(page, deployment->ready);
}

static void write_active_wanted(struct page *page, const struct deployment *deployment) {
  struct deployment_status status = {.workers = deployment->worker_count};
  router_scale_status(page->router, deployment, &status);
  count(page, status.active_wanted);
}

static void write_paused(struct page *page, const struct deployment *deployment) {
  count(page, deployment->delayed);
}

static void write_queue_bytes(struct page *page, const struct deployment *deployment) {
  count(page, deployment->queue_bytes);
}

static void write_dropped(struct page *page, const struct deployment *deployment) {
  count(page, deployment->dropped);
}

// ---- by function ----

static void functions(struct page *page,
                      void (*write)(struct page *page, const struct deployment *deployment,
                                    uint32_t function)) {
  for (uint32_t i = 0; i < page->router->deployment_count; i++) {
    const struct deployment *deployment = page->router->deployments[i];
    at_deployment(page, deployment);
    for (uint32_t k = 0; k < deployment->function_count; k++) {
      at_function(page, deployment, k);
      write(page, deployment, k);
    }
  }
}

#define WRITE_COUNT(name)                                                          \
  static void write_##name(struct page *page, const struct deployment *deployment, \
                           uint32_t function) {                                    \
    count(page, deployment->metrics->of[function].name);                           \
  }
WRITE_COUNT(admitted)
WRITE_COUNT(refused)
WRITE_COUNT(shed)
WRITE_COUNT(retries)
WRITE_COUNT(requeues)
WRITE_COUNT(in_flight)

static void write_workload(struct page *page, const struct deployment *deployment,
                           uint32_t function) {
  number(page, deployment->metrics->of[function].workload);
}

static void write_queued(struct page *page, const struct deployment *deployment,
                         uint32_t function) {
  count(page, deployment->queue.lines[function].count);
}

static void write_queue_time(struct page *page, const struct deployment *deployment,
                             uint32_t function) {
  histogram(page, &deployment->metrics->of[function].queue);
}

// ---- by function and worker ----

// Functions that a worker has had, and what went to none.
static void metrics(struct page *page,
                    void (*write)(struct page *page, const struct metric *metric)) {
  for (uint32_t i = 0; i < page->router->deployment_count; i++) {
    const struct deployment *deployment = page->router->deployments[i];
    at_deployment(page, deployment);
    for (uint32_t k = 0; k < deployment->function_count; k++) {
      at_function(page, deployment, k);
      at_worker(page, NULL);
      write(page, &deployment->metrics->of[k].nowhere);
      for (uint32_t j = 0; j < page->router->worker_count; j++) {
        const struct worker *worker = page->router->workers[j];
        if (worker->deployment != i || !worker->metrics->of[k]) continue;
        at_worker(page, worker);
        write(page, worker->metrics->of[k]);
      }
    }
  }
}

// "ok" is there from the start, an error from its first time on.
static void write_outcomes(struct page *page, const struct metric *metric) {
  if (metric->dispatched || metric->outcomes[OUTCOME_OK])
    count_with(page, "outcome", "ok", metric->outcomes[OUTCOME_OK]);
  for (uint32_t i = 0; i < ERROR_NAMES; i++)
    if (metric->outcomes[i])
      count_with(page, "outcome", error_text((enum error_name)i), metric->outcomes[i]);
}

static void write_dispatched(struct page *page, const struct metric *metric) {
  if (metric->dispatched) count(page, metric->dispatched);
}

static void write_run_time(struct page *page, const struct metric *metric) {
  if (metric->dispatched) histogram(page, &metric->run);
}

static void write_transfer_time(struct page *page, const struct metric *metric) {
  if (metric->dispatched) histogram(page, &metric->transfer);
}

// ---- by worker ----

static void workers(struct page *page,
                    void (*write)(struct page *page, const struct worker *worker)) {
  uint32_t deployment = ROUTER_NONE;
  for (uint32_t i = 0; i < page->router->worker_count; i++) {
    const struct worker *worker = page->router->workers[i];
    if (worker->deployment != deployment)
      at_deployment(page, page->router->deployments[deployment = worker->deployment]);
    at_worker(page, worker);
    write(page, worker);
  }
}

// One that is parked is ready and gets no calls.
static void write_worker_state(struct page *page, const struct worker *worker) {
  static const char *const kStates[] = {
      [WORKER_NONE] = "none",         [WORKER_STARTING] = "starting", [WORKER_READY] = "ready",
      [WORKER_DRAINING] = "draining", [WORKER_BACKOFF] = "waiting",   [WORKER_LOST] = "lost"};
  bool parked = worker->state == WORKER_READY && worker->parked;
  for (uint32_t i = 0; i < sizeof kStates / sizeof *kStates; i++)
    count_with(page, "state", kStates[i], worker->state == i && !parked);
  count_with(page, "state", "parked", parked);
}

static void write_standing(struct page *page, const struct worker *worker) {
  static const char *const kStandings[] = {[STANDING_TRUSTED] = "trusted",
                                           [STANDING_EJECTED] = "ejected",
                                           [STANDING_PROBATION] = "probation"};
  for (uint32_t i = 0; i < sizeof kStandings / sizeof *kStandings; i++)
    count_with(page, "standing", kStandings[i], worker->standing == i);
}

static void write_slots(struct page *page, const struct worker *worker) {
  uint64_t calls = 0;
  for (const struct call *call = worker->first; call; call = call->next) calls++;
  count(page, calls);
}

static void write_backlog(struct page *page, const struct worker *worker) {
  number(page, worker->backlog);
}

static void write_round_trip(struct page *page, const struct worker *worker) {
  number(page, worker->round_trip);
}

static void write_starts(struct page *page, const struct worker *worker) {
  count(page, worker->starts);
}

static void write_deaths(struct page *page, const struct worker *worker) {
  static const char *const kReasons[DEATHS] = {
      [DEATH_DRAINED] = "drained",     [DEATH_TAINTED] = "tainted",
      [DEATH_EXIT] = "exit",           [DEATH_SIGNAL] = "signal",
      [DEATH_HEARTBEAT] = "heartbeat", [DEATH_KILLED] = "killed",
      [DEATH_START] = "start",         [DEATH_FRAME] = "frame",
      [DEATH_GPU_FAULT] = "gpu_fault", [DEATH_GPU_LOST] = "gpu_lost"};
  for (uint32_t i = 0; i < DEATHS; i++)
    count_with(page, "reason", kReasons[i], worker->metrics->deaths[i]);
}

static void scores(struct page *page) {
  uint32_t last = ROUTER_NONE;
  for (uint32_t i = 0; i < page->router->worker_count; i++) {
    const struct worker *worker = page->router->workers[i];
    const struct deployment *deployment = page->router->deployments[worker->deployment];
    if (worker->deployment != last) at_deployment(page, deployment);
    last = worker->deployment;
    for (uint32_t k = 0; k < deployment->function_count; k++) {
      if (!(worker->scores[k] > 0)) continue;
      at_function(page, deployment, k);
      at_worker(page, worker);
      number(page, worker->scores[k]);
    }
  }
}

// ---- all ----

static void write_router(struct page *page, const char *version) {
  begin(page, "farside_build_info", "gauge", "Always 1; the version of the router.");
  count_with(page, "version", version, 1);
  begin(page, "farside_callers", "gauge", "Who may make calls: clients, and workers.");
  count(page, page->router->peers.count);
}

static void write_deployments(struct page *page) {
  begin(page, "farside_deployment_state", "gauge", "1 for the state the deployment is in.");
  deployments(page, write_state);
  begin(page, "farside_workers_wanted", "gauge", "Workers that are to be there.");
  deployments(page, write_wanted);
  begin(page, "farside_workers_active_wanted", "gauge",
        "Of the workers that are to be there: to be given calls; the others are parked.");
  deployments(page, write_active_wanted);
  begin(page, "farside_workers_ready", "gauge", "Workers that can take calls, parked ones too.");
  deployments(page, write_ready);
  begin(page, "farside_calls_paused", "gauge", "Calls that wait for their next attempt.");
  deployments(page, write_paused);
  begin(page, "farside_queue_bytes", "gauge", "Arguments of the calls that wait.");
  deployments(page, write_queue_bytes);
  begin(page, "farside_answers_dropped_total", "counter",
        "Answers of workers that nobody waited for: late, fenced or given twice.");
  deployments(page, write_dropped);
}

static void write_functions(struct page *page) {
  begin(page, "farside_calls_admitted_total", "counter", "Calls that were let in.");
  functions(page, write_admitted);
  begin(page, "farside_calls_refused_total", "counter", "Calls that were answered at the door.");
  functions(page, write_refused);
  begin(page, "farside_calls_shed_total", "counter",
        "Calls refused, or thrown out of the queue, for want of room.");
  functions(page, write_shed);
  begin(page, "farside_call_retries_total", "counter", "Further attempts after failed ones.");
  functions(page, write_retries);
  begin(page, "farside_call_requeues_total", "counter",
        "Calls that came back from a worker which had not entered them.");
  functions(page, write_requeues);
  begin(page, "farside_workload_admitted_total", "counter", "Workload of the calls let in.");
  functions(page, write_workload);
  begin(page, "farside_calls_in_flight", "gauge", "Calls that were let in and have not ended.");
  functions(page, write_in_flight);
  begin(page, "farside_calls_queued", "gauge", "Calls that wait for a worker.");
  functions(page, write_queued);
  begin(page, "farside_call_queue_seconds", "histogram",
        "Time from the admission of a call until a worker got it for the first time.");
  functions(page, write_queue_time);
}

static void write_metrics(struct page *page) {
  begin(page, "farside_calls_total", "counter",
        "Calls that ended, by outcome: ok or the name of an error. Without a worker: none had it.");
  metrics(page, write_outcomes);
  begin(page, "farside_call_attempts_total", "counter", "Calls given to a worker.");
  metrics(page, write_dispatched);
  begin(page, "farside_call_run_seconds", "histogram", "Time in the function.");
  metrics(page, write_run_time);
  begin(page, "farside_call_transfer_seconds", "histogram",
        "Time a call was away beside the time in its function, where it stood behind no other.");
  metrics(page, write_transfer_time);
}

static void write_workers(struct page *page) {
  begin(page, "farside_worker_state", "gauge", "1 for the state the worker is in.");
  workers(page, write_worker_state);
  begin(page, "farside_worker_standing", "gauge",
        "1 for how far the worker is trusted: an ejected one gets no calls for a while, one on "
        "probation gets them one at a time.");
  workers(page, write_standing);
  begin(page, "farside_worker_calls_in_flight", "gauge", "Calls that the worker has.");
  workers(page, write_slots);
  begin(page, "farside_worker_backlog_seconds", "gauge", "Predicted time of the calls it has.");
  workers(page, write_backlog);
  begin(page, "farside_worker_round_trip_seconds", "gauge",
        "What a call costs there beside its time in the function, smoothed.");
  workers(page, write_round_trip);
  begin(page, "farside_worker_score", "gauge", "Workload per second, where it is known.");
  scores(page);
  begin(page, "farside_worker_starts_total", "counter", "Processes started in the worker's place.");
  workers(page, write_starts);
  begin(page, "farside_worker_deaths_total", "counter", "Processes that ended there, by reason.");
  workers(page, write_deaths);
}

void router_metrics_text(const struct router *router, const char *version, struct buffer *out) {
  struct page page = {.router = router, .out = out};
  write_router(&page, version);
  write_deployments(&page);
  write_functions(&page);
  write_metrics(&page);
  write_workers(&page);
  buffer_free(&page.labels);
}
