#include "router_failed.h"

#include <math.h>
#include <stdio.h>

#include "payload.h"
#include "router_state.h"

int64_t router_next_try(const struct router *router, const struct deployment *deployment) {
  bool is_failed = deployment->state == DEPLOYMENT_FAILED, is_wanted = false;
  int64_t next = INT64_MAX;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->state == WORKER_STARTING && (is_failed || worker->charged)) return 0;
    if (worker->state == WORKER_BACKOFF && worker->charged && worker->timer.at < next)
      next = worker->timer.at;
    is_wanted |= worker->wanted;
  }
  return is_failed && is_wanted ? deployment->canary : next;
}

// When the next try is, and the milliseconds until then.
static void write_next_try(struct error_writer *writer, int64_t next, int64_t now, char *text,
                           size_t size) {
  double left = next > now ? to_seconds(next - now) : 0;
  *text = 0;
  if (!next) snprintf(text, size, "; another try has begun");
  if (!next || next == INT64_MAX) return;
  snprintf(text, size, "; the next try is in %.0f s", ceil(left));
  error_number(writer, "retry_after", ceil(left * 1000));
}

struct payload *router_deployment_failed(const struct router *router,
                                         const struct deployment *deployment,
                                         enum executed executed, int64_t now) {
  static const char *const phases[] = {
      [PHASE_NONE] = "crash_loop",       [PHASE_BUNDLE] = "bundle",
      [PHASE_CONTEXT] = "context",       [PHASE_BENCHMARK] = "benchmark",
      [PHASE_CRASH_LOOP] = "crash_loop", [PHASE_TAINTED] = "crash_loop",
      [PHASE_NO_DEVICE] = "no_device",   [PHASE_UNSUPPORTED] = "unsupported",
      [PHASE_GPU_FAULT] = "crash_loop",  [PHASE_GPU_LOST] = "crash_loop"};
  struct error_writer writer;
  char next[64];
  error_begin(&writer, ERROR_DEPLOYMENT_FAILED, executed, false, "router");
  write_next_try(&writer, router_next_try(router, deployment), now, next, sizeof next);
  error_message(
      &writer,
      "the workers of deployment '%s' do not become ready (%u failure%s); the last one is "
      "the cause%s",
      deployment->name, deployment->failure_count, deployment->failure_count == 1 ? "" : "s", next);
  error_string(&writer, "phase", phases[deployment->failure_phase]);
  error_string(&writer, "deployment", deployment->name);
  if (deployment->failure) error_cause(&writer, deployment->failure);
  return error_end(&writer);
}

void router_fail_queue(struct router *router, struct deployment *deployment, int64_t now) {
  struct queue_item *item;
  while ((item = queue_oldest(&deployment->queue, NULL))) {
    struct call *call = (struct call *)item;
    enum executed executed = router_call_executed(router, call);
    router_call_fail(router, call, router_deployment_failed(router, deployment, executed, now),
                     now);
  }
  router_retry_fail_all(router, deployment, now);
}
