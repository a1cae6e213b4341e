// The end that loses nothing: calls that wait are given back to their clients, those that run go on
// with what they need of others.
#include "router_finish.h"

#include "payload.h"
#include "router_key.h"
#include "router_state.h"

static struct payload *draining(enum executed executed) {
  struct error_writer writer;
  error_begin(&writer, ERROR_DRAINING, executed, true, "router");
  error_message(&writer, "the router is ending");
  return error_end(&writer);
}

// Whether a call made by `parent` is part of one in progress. A batch goes on for the others when
// one of its calls has been given up.
static bool serves(const struct router *router, struct call_id parent) {
  if (!parent.session && !parent.counter) return false;
  const struct call *call = router_batch_bearer(table_find(&router->calls, parent));
  return call && call->state == CALL_RUNNING;
}

// A run is there for those that are attached to it.
static bool is_needed(const struct router *router, const struct call *call) {
#ifdef PLANT_FINISH_NEEDED
  return false;
#endif
  if (!router_key_is_run(call)) return serves(router, call->parent);
  const struct call *attached = router_key_first(call);
  while (attached && !serves(router, attached->parent)) attached = attached->next;
  return attached;
}

struct payload *router_finish_refusal(const struct router *router,
                                      const struct deployment *deployment,
                                      const struct message *message) {
  bool ends = router->draining || deployment->state == DEPLOYMENT_DRAINING ||
              (router->finishing && !serves(router, message->parent));
  return ends ? draining(EXECUTED_NO) : NULL;
}

static struct call *first_waiting(const struct router *router) {
  struct call *call = router->oldest;
  while (call &&
         ((call->state != CALL_QUEUED && call->state != CALL_DELAYED) || is_needed(router, call)))
    call = call->newer;
  return call;
}

void router_finish(struct router *router, int64_t now) {
  if (router->finishing || router->draining) return;
  router->finishing = true;
  router->now = now;
  // The end of one may be that of others, so the search begins anew after each.
  struct call *call;
  while ((call = first_waiting(router)))
    router_call_fail(router, call, draining(router_call_executed(router, call)), now);
  for (uint32_t i = 0; i < router->deployment_count; i++)
    router_dispatch(router, router->deployments[i], now);
}

bool router_finished(const struct router *router) {
  const struct call *call = router->oldest;
  while (call && call->state == CALL_ABANDONED) call = call->newer;
  return !call;
}

static struct call *first_of(const struct router *router, uint32_t deployment) {
  struct call *call = router->oldest;
  while (call && (call->state == CALL_ABANDONED || call->deployment != deployment))
    call = call->newer;
  return call;
}

void router_deployment_end(struct router *router, uint32_t number, int64_t now) {
  if (number >= router->deployment_count) return;
  struct deployment *deployment = router->deployments[number];
  if (deployment->state == DEPLOYMENT_DRAINING) return;
  router->now = now;
  deployment->state = DEPLOYMENT_DRAINING;
  deployment->retiree = deployment->substitute = ROUTER_NONE;
#ifndef PLANT_END_KEEPS_CALLS
  struct call *call;
  while ((call = first_of(router, number))) router_call_cancel(router, call, CANCEL_SHUTDOWN, now);
#endif
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
#ifndef PLANT_END_REFILLED
    worker->wanted = false;
#endif
    router_worker_drain(router, worker, now);
  }
}
