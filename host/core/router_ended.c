// Who is told of calls that have ended.
#include "router_key.h"
#include "router_metrics.h"
#include "router_state.h"

// Calls that share a run are one there; those that get an outcome that was kept cost nothing.
static bool is_told(const struct router *router, const struct call *call, enum message_type type) {
  bool is_run = call->peer == ROUTER_NONE && call->id.session == router->options.epoch;
#ifdef PLANT_ENDED_SHARED
  return call->is_counted || is_run;
#endif
  if (!call->is_counted) return is_run;
  return call->state != CALL_ATTACHED && (type != MESSAGE_RESULT || call->sequence);
}

void router_ended(struct router *router, const struct call *call, enum message_type type,
                  int64_t elapsed, const struct payload *body) {
  if (!is_told(router, call, type)) return;
  struct router_ended ended = {.id = call->id,
                               .deployment = call->deployment,
                               .function = call->function,
                               .worker = call->worker,
                               .outcome = router_metrics_outcome(type, body),
                               .arrived = call->admitted,
                               .wait = (call->sequence ? call->sent : router->now) - call->admitted,
                               .run = elapsed > 0 ? elapsed : -1,
                               .workload = call->workload};
  router->ended(router->ended_owner, &ended);
}

void router_tell_ended(struct router *router,
                       void (*ended)(void *owner, const struct router_ended *ended), void *owner) {
  router->ended = ended;
  router->ended_owner = owner;
}
