// Recycling: a worker that has run its number of calls, or has grown too large, is replaced between
// calls, and its replacement is ready first. So is one whose GPU has no memory (router_gpu.c).
//
//   marked     it goes on serving and waits for its turn, one at a time in a deployment
//   retiree    the oldest mark; a process starts in the spare place, the substitute. While that
//              fails the retiree serves; if the retiree dies the substitute is its replacement
//   retiring   the substitute is ready: the retiree gets no more calls (router_worker_retire), and
//              when its last one has ended it is told to go. Then its place is the spare one
//
// A place is wanted or not. Only wanted places are filled again when their process has ended.
#include "router_state.h"

static bool is_marked(const struct worker *worker) {
  return worker->mark && worker->state == WORKER_READY && !worker->killed && !worker->leaving;
}

// Whose turn it is, or NULL.
static struct worker *first_marked(const struct router *router,
                                   const struct deployment *deployment) {
  struct worker *first = NULL;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (is_marked(worker) && (!first || worker->mark < first->mark)) first = worker;
  }
  return first;
}

static struct worker *spare_place(const struct router *router,
                                  const struct deployment *deployment) {
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (!worker->wanted && worker->state == WORKER_NONE) return worker;
  }
  return NULL;
}

static void log_reason(struct router *router, const struct worker *worker,
                       const struct worker *substitute) {
  if (worker->mark_why)
    router_log(router, worker->deployment, "worker %u is replaced by worker %u: %s", worker->number,
               substitute->number, worker->mark_why);
  else if (worker->mark_bytes)
    router_log(router, worker->deployment,
               "worker %u is replaced by worker %u: it has %.1f MiB resident, max_rss is %.1f MiB",
               worker->number, substitute->number, (double)worker->mark_bytes / 0x1p20,
               (double)worker->mark_limit / 0x1p20);
  else
    router_log(router, worker->deployment,
               "worker %u is replaced by worker %u: it has run max_calls = %.0f calls",
               worker->number, substitute->number, (double)worker->mark_limit);
}

void router_recycle_next(struct router *router, struct deployment *deployment, int64_t now) {
  if (deployment->retiree != ROUTER_NONE || deployment->state != DEPLOYMENT_READY) return;
  struct worker *retiree = first_marked(router, deployment);
  struct worker *substitute = retiree ? spare_place(router, deployment) : NULL;
  if (!substitute) return;
  log_reason(router, retiree, substitute);
  deployment->retiree = retiree->number;
  deployment->substitute = substitute->number;
  substitute->wanted = true;
  router_worker_start(router, substitute, now);
#ifdef PLANT_RETIRED_EARLY
  router_worker_retire(router, retiree, now);
#endif
}

static void mark(struct router *router, struct worker *worker, uint64_t limit, uint64_t bytes,
                 int64_t now) {
  if (worker->mark) return;
  struct deployment *deployment = router->deployments[worker->deployment];
  worker->mark = ++deployment->marks;
  worker->mark_limit = limit;
  worker->mark_bytes = bytes;
  router_recycle_next(router, deployment, now);
}

void router_recycle_for(struct router *router, struct worker *worker, const char *why,
                        int64_t now) {
  if (worker->mark) return;
  worker->mark_why = why;
  mark(router, worker, 0, 0, now);
}

void router_recycle_count(struct router *router, struct worker *worker, const struct call *call,
                          int64_t now) {
  uint64_t most = call_deployment(router, call)->functions[call->function].max_calls;
  if (most && ++worker->runs[call->function] >= most) mark(router, worker, most, 0, now);
}

// What it says is believed as far as it may be true: the function has a limit, and the number is
// above that.
void router_recycle_report(struct router *router, struct worker *worker,
                           const struct message *message, int64_t now) {
  const struct deployment *deployment = router->deployments[worker->deployment];
  if (message->function >= deployment->function_count) return;
  uint64_t most = deployment->functions[message->function].max_rss;
  if (most && message->resident > most) mark(router, worker, most, message->resident, now);
}

void router_recycle_ready(struct router *router, struct worker *worker, int64_t now) {
  struct deployment *deployment = router->deployments[worker->deployment];
  if (deployment->substitute != worker->number) return;
  struct worker *retiree = router->workers[deployment->retiree];
  deployment->retiree = deployment->substitute = ROUTER_NONE;
  retiree->wanted = false;
  // One that was given up meanwhile has only to end.
  if (retiree->state == WORKER_READY) router_worker_retire(router, retiree, now);
  router_recycle_next(router, deployment, now);  // where there is more than one spare place
}

// The substitute of one that has died goes on as its replacement. One that waits for another try
// does not: the place of the dead has a pause of its own, and mostly none.
void router_recycle_lost(struct router *router, struct worker *worker) {
  struct deployment *deployment = router->deployments[worker->deployment];
  if (deployment->retiree != worker->number) return;
  struct worker *substitute = router->workers[deployment->substitute];
  deployment->retiree = deployment->substitute = ROUTER_NONE;
  if (substitute->state != WORKER_BACKOFF) {
    worker->wanted = false;
    return;
  }
  timers_cancel(&router->timers, &substitute->timer);
  substitute->state = WORKER_NONE;
  substitute->wanted = false;
}

void router_recycle_vacated(struct router *router, struct worker *worker, int64_t now) {
  if (worker->retiring && !worker->first && worker->state == WORKER_DRAINING && !worker->killed)
    router_worker_drain(router, worker, now);
}
