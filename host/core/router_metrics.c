#include "router_metrics.h"

#include <string.h>

#include "cursor.h"
#include "memory.h"
#include "payload.h"
#include "router_key.h"
#include "router_state.h"

// More functions on workers than that share the counts of no worker, so that what is kept and
// written stays bounded.
enum { MOST_KEPT = 2048 };

// ---- histograms ----

#define DECADE(n) INT64_C(n), INT64_C(n) * 5 / 2, INT64_C(n) * 5

static const int64_t kBounds[METRIC_BUCKETS] = {
    DECADE(1000),         DECADE(10000),          DECADE(100000),     DECADE(1000000),
    DECADE(10000000),     DECADE(100000000),      DECADE(1000000000), DECADE(10000000000),
    DECADE(100000000000), INT64_C(1000000000000),
};

int64_t metric_bound(uint32_t bucket) {
  return bucket < METRIC_BUCKETS ? kBounds[bucket] : INT64_MAX;
}

// The search begins where the number of bits says, which is never too far: three bounds a decade are
// 231/256 a power of two.
void metric_add(struct metric_histogram *histogram, int64_t nanoseconds) {
  uint64_t time = nanoseconds > 0 ? (uint64_t)nanoseconds : 0;
  uint32_t bits = 63 - (uint32_t)__builtin_clzll(time | 1);
  uint32_t bucket = bits < 10 ? 0 : (bits - 10) * 231 / 256;
  while (bucket < METRIC_BUCKETS && time > (uint64_t)kBounds[bucket]) bucket++;
  if (bucket > METRIC_BUCKETS) bucket = METRIC_BUCKETS;
  histogram->buckets[bucket]++;
  histogram->sum += time;
}

uint64_t metric_count(const struct metric_histogram *histogram) {
  uint64_t count = 0;
  for (uint32_t i = 0; i <= METRIC_BUCKETS; i++) count += histogram->buckets[i];
  return count;
}

static void sum(struct metric_histogram *total, const struct metric_histogram *part) {
  total->sum += part->sum;
  for (uint32_t i = 0; i <= METRIC_BUCKETS; i++) total->buckets[i] += part->buckets[i];
}

// ---- life ----

// The line of a function is "function NAME(...) ..."; the first line is the deployment's.
static void find_name(const struct deployment *deployment, uint32_t function) {
  static const char kWord[] = "function ";
  struct function_counts *counts = &deployment->metrics->of[function];
  const char *end = deployment->manifest + deployment->manifest_size;
  const char *from = function ? counts[-1].name : deployment->manifest;
  const char *line = from ? memchr(from, '\n', (size_t)(end - from)) : NULL;
  if (!line || ++line == end) return;
  size_t word = sizeof kWord - 1;
  counts->name = (size_t)(end - line) > word && !memcmp(line, kWord, word) ? line + word : line;
  while (counts->name + counts->name_size < end && !strchr("(\n", counts->name[counts->name_size]))
    counts->name_size++;
}

void router_metrics_open(struct deployment *deployment) {
  uint32_t count = deployment->function_count;
  struct metrics *metrics = deployment->metrics =
      xcalloc(1, sizeof *metrics + count * sizeof *metrics->of);
  for (uint32_t i = 0; i < count; i++) find_name(deployment, i);
}

struct worker_metrics *router_metrics_worker_new(uint32_t functions) {
  struct worker_metrics *metrics = xcalloc(1, sizeof *metrics);
  metrics->of = xcalloc(functions, sizeof *metrics->of);
  return metrics;
}

void router_metrics_worker_free(struct worker_metrics *metrics, uint32_t functions) {
  for (uint32_t i = 0; i < functions; i++) free(metrics->of[i]);
  free(metrics->of);
  free(metrics);
}

static struct function_counts *counts_of(struct router *router, const struct call *call) {
  return &call_deployment(router, call)->metrics->of[call->function];
}

static struct metric *metric_of(struct router *router, const struct worker *worker,
                                uint32_t function) {
  struct metrics *metrics = router->deployments[worker->deployment]->metrics;
  struct metric **metric = &worker->metrics->of[function];
  if (*metric) return *metric;
  if (metrics->kept == MOST_KEPT) return &metrics->of[function].nowhere;
  metrics->kept++;
  return *metric = xcalloc(1, sizeof **metric);
}

// ---- what happens ----

void router_metrics_admitted(struct router *router, struct call *call) {
  struct function_counts *counts = counts_of(router, call);
  counts->admitted++;
  counts->in_flight++;
  counts->workload += call->workload;
  call->is_counted = true;
}

void router_metrics_refused(struct router *router, struct call *call) {
  if (call->deployment >= router->deployment_count) return;
  if (call->function >= call_deployment(router, call)->function_count) return;
  struct function_counts *counts = counts_of(router, call);
  counts->refused++;
  counts->in_flight++;
  call->is_counted = true;
}

void router_metrics_shed(struct router *router, uint32_t deployment, uint32_t function) {
  router->deployments[deployment]->metrics->of[function].shed++;
}

void router_metrics_retried(struct router *router, const struct call *call) {
  counts_of(router, call)->retries++;
}

void router_metrics_requeued(struct router *router, const struct call *call) {
  counts_of(router, call)->requeues++;
}

void router_metrics_dispatched(struct router *router, struct worker *worker,
                               const struct call *call, int64_t now) {
  metric_of(router, worker, call->function)->dispatched++;
  if (!call->sequence) metric_add(&counts_of(router, call)->queue, now - call->admitted);
}

void router_metrics_ran(struct router *router, struct worker *worker, const struct call *call,
                        int64_t elapsed, int64_t now) {
  struct metric *metric = metric_of(router, worker, call->function);
  int64_t total = now - call->sent;
  if (elapsed <= 0) return;  // it was not entered
  metric_add(&metric->run, elapsed);
  bool waited = call->ahead || router_has_ahead(worker);  // for others, or its answer did
  if (!waited && elapsed < total) metric_add(&metric->transfer, total - elapsed);
}

enum error_name router_metrics_outcome(enum message_type type, const struct payload *body) {
  if (type == MESSAGE_RESULT) return (enum error_name)OUTCOME_OK;
  const unsigned char *name;
  size_t size, count;
  if (!body || body->count != 1) return ERROR_UNKNOWN;
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size), value;
  if (!cursor_array(&map, &count) || !count || !cursor_find(map, "name", &value) ||
      !cursor_str(&value, &name, &size))
    return ERROR_UNKNOWN;
  for (uint32_t i = 0; i < ERROR_NAMES; i++) {
    const char *text = error_text((enum error_name)i);
    if (size == strlen(text) && !memcmp(name, text, size)) return (enum error_name)i;
  }
  return ERROR_UNKNOWN;
}

// The worker of an attached call is that of its run.
static struct worker *last_worker(const struct router *router, const struct call *call) {
  if (call->state == CALL_ATTACHED && call->key) call = router_key_run(call);
  return call ? call_worker(router, call) : NULL;
}

void router_metrics_ended(struct router *router, struct call *call, enum message_type type,
                          const struct payload *body) {
  if (!call->is_counted) return;
#ifdef PLANT_METRIC_GONE
  if (call->peer == ROUTER_NONE) return;
#endif
  call->is_counted = false;
  struct function_counts *counts = counts_of(router, call);
  struct worker *worker = last_worker(router, call);
  struct metric *metric = worker ? metric_of(router, worker, call->function) : &counts->nowhere;
  metric->outcomes[router_metrics_outcome(type, body)]++;
  counts->in_flight--;
}

void router_metrics_lost(struct worker *worker, enum lost_reason reason) {
  static const enum death kDeaths[] = {[LOST_EXIT] = DEATH_EXIT,
                                       [LOST_SIGNAL] = DEATH_SIGNAL,
                                       [LOST_HEARTBEAT] = DEATH_HEARTBEAT,
                                       [LOST_START] = DEATH_START,
                                       [LOST_FRAME] = DEATH_FRAME};
  enum death death = kDeaths[reason];
  if (worker->state == WORKER_LOST)
    death = DEATH_HEARTBEAT;
  else if (worker->killed)
    death = DEATH_KILLED;
  else if (worker->state == WORKER_DRAINING && reason == LOST_EXIT)
    death = DEATH_DRAINED;
  else if (worker->tainted && reason == LOST_EXIT)
    death = DEATH_TAINTED;
  else if (worker->phase == PHASE_GPU_FAULT && reason == LOST_EXIT)
    death = DEATH_GPU_FAULT;
  else if (worker->phase == PHASE_GPU_LOST && reason == LOST_EXIT)
    death = DEATH_GPU_LOST;
  worker->metrics->deaths[death]++;
}

// ---- for whoever asks ----

static void add_metric(struct function_metrics *metrics, const struct metric *metric) {
  metrics->dispatched += metric->dispatched;
  for (uint32_t i = 0; i < METRIC_OUTCOMES; i++) metrics->outcomes[i] += metric->outcomes[i];
  sum(&metrics->run, &metric->run);
  sum(&metrics->transfer, &metric->transfer);
}

const char *router_function_name(const struct router *router, uint32_t deployment,
                                 uint32_t function, size_t *size) {
  if (deployment >= router->deployment_count) return NULL;
  if (function >= router->deployments[deployment]->function_count) return NULL;
  const struct function_counts *counts = &router->deployments[deployment]->metrics->of[function];
  *size = counts->name_size;
  return counts->name;
}

bool router_function_metrics(const struct router *router, uint32_t number, uint32_t function,
                             struct function_metrics *metrics) {
  if (number >= router->deployment_count) return false;
  const struct deployment *deployment = router->deployments[number];
  if (function >= deployment->function_count) return false;
  const struct function_counts *counts = &deployment->metrics->of[function];
  *metrics = (struct function_metrics){.admitted = counts->admitted,
                                       .refused = counts->refused,
                                       .in_flight = counts->in_flight,
                                       .retries = counts->retries,
                                       .requeues = counts->requeues,
                                       .shed = counts->shed,
                                       .workload = counts->workload,
                                       .queue = counts->queue};
  add_metric(metrics, &counts->nowhere);
  for (uint32_t i = 0; i < router->worker_count; i++) {
    const struct worker *worker = router->workers[i];
    if (worker->deployment != number || !worker->metrics->of[function]) continue;
    add_metric(metrics, worker->metrics->of[function]);
  }
  return true;
}
