// What a call can expect of each place, at a glance: whether it may be given one, when there will be
// room, and how fast the call will go there.
//
// A worker's outlook changes only when something happens to it. Then it is marked, and looked at
// anew when the next call asks. So a decision among many workers reads a few cache lines in a row
// and not the workers themselves.
#include <stdlib.h>

#include "autoscale.h"
#include "memory.h"
#include "payload.h"
#include "router_key.h"
#include "router_state.h"

// The first calls of a process find its caches cold.
enum { COLD_CALLS = 8 };

// ---- life ----

static int64_t full_at(const struct router_deployment_options *options) {
  if (options->max_queue_time > 0) return options->max_queue_time;
  bool scales = options->scaling && options->scaling->max_queue_time > 0;
  return scales ? options->scaling->max_queue_time : LIMIT_FULL;
}

void router_outlook_open(struct deployment *deployment,
                         const struct router_deployment_options *options) {
  size_t places = deployment->place_count, functions = options->function_count;
  deployment->full = to_seconds(full_at(options));
  deployment->candidates = xcalloc(places, sizeof *deployment->candidates);
  deployment->places = xcalloc(places, sizeof *deployment->places);
  deployment->outlooks = xcalloc(places, sizeof *deployment->outlooks);
  deployment->stale = xcalloc(places, sizeof *deployment->stale);
  deployment->pace_of = xcalloc(places * functions, sizeof *deployment->pace_of);
  deployment->paces = xcalloc(functions, sizeof *deployment->paces);
  deployment->scales = xcalloc(functions, sizeof *deployment->scales);
  deployment->noises = xcalloc(functions, sizeof *deployment->noises);
}

void router_outlook_close(struct deployment *deployment) {
  free(deployment->candidates);
  free(deployment->places);
  free(deployment->outlooks);
  free(deployment->stale);
  free(deployment->pace_of);
  free(deployment->paces);
  free(deployment->scales);
  free(deployment->noises);
}

// ---- when there is room ----

static bool has_slot(const struct worker *worker, uint32_t concurrency) {
  if (!worker->in_flight) return true;
#ifndef PLANT_PROBATION_MANY
  if (worker->standing == STANDING_PROBATION) return false;
#endif
  return worker->in_flight < worker->slots && worker->in_flight < concurrency;
}

// Seconds of a slot: the calls of a batch run as one.
static double whole(const struct call *call) {
  return call->batch ? call->batch->predicted : call->predicted;
}

// Seconds a call that runs since `begun` will go on. What takes longer than predicted is expected to
// take as long again as it has.
static double left_of(const struct call *call, int64_t begun, int64_t now) {
  double elapsed = to_seconds(now - begun), left = whole(call) - elapsed;
  return left > 0 ? left : elapsed;
}

static void wait_for(struct outlook *outlook, const struct call *call, int64_t begun,
                     double beside) {
  outlook->begun = begun;
  outlook->ends = begun + (int64_t)(whole(call) * 1e9);
  outlook->beside = beside;
}

// Of calls that may run beside others nobody knows whether they work or wait, so only a worker that
// has no slot is judged by them: one has to end, and the new call then stands beside the others; or
// all have to, where it may run beside fewer than there are. A worker without a slot never looks
// better than it will with one: else a call would wait for one full worker after the other.
static void look_for_room(const struct worker *worker, uint32_t concurrency,
                          struct outlook *outlook, int64_t now) {
  const struct call *first = worker->first, *awaited = first;
  outlook->free = has_slot(worker, concurrency);
  outlook->many = false;
  if (outlook->free) {
    outlook->begun = outlook->ends = INT64_MIN;
    outlook->beside = first ? worker->backlog : 0;
    return;
  }
  if (router_has_ahead(worker)) {
    int64_t begun = worker->moved > first->sent ? worker->moved : first->sent;
    wait_for(outlook, first, begun, worker->backlog - first->predicted);
    return;
  }
  bool all = concurrency < worker->slots;
  double left = 0;
  for (const struct call *call = first; call; call = call->next) {
    double one = left_of(call, call->sent, now);
    if (call != first && (all ? one <= left : one >= left)) continue;
    left = one;
    awaited = call;
  }
  outlook->many = worker->in_flight > 1;
  wait_for(outlook, awaited, awaited->sent, all ? 0 : worker->backlog - whole(awaited));
}

double router_outlook_wait(const struct outlook *outlook, int64_t now) {
  if (outlook->free) return outlook->beside;
  int64_t left = outlook->ends > now ? outlook->ends - now : now - outlook->begun;
  return to_seconds(left) + outlook->beside;
}

// ---- what has changed ----

void router_outlook_changed(struct router *router, const struct worker *worker) {
  struct deployment *deployment = router->deployments[worker->deployment];
  uint32_t place = worker->number - deployment->first_worker;
  if (deployment->outlooks[place].stale) return;
  deployment->outlooks[place].stale = true;
  deployment->stale[deployment->stale_count++] = place;
}

static enum why_standing standing_of(const struct worker *worker) {
  if (worker->standing == STANDING_EJECTED) return WHY_EJECTED;
  if (worker->standing == STANDING_PROBATION) return WHY_TRIED;
  if (worker->finished < COLD_CALLS) return WHY_SLOW_START;
  return worker->degraded ? WHY_SLOWER : WHY_HEALTHY;
}

static void look(const struct router *router, struct deployment *deployment, uint32_t place,
                 int64_t now) {
  const struct worker *worker = router->workers[deployment->first_worker + place];
  struct outlook *outlook = &deployment->outlooks[place];
  deployment->free_places -= outlook->serves && outlook->free;
  outlook->stale = false;
  outlook->serves = router_may_serve(router, worker);
  outlook->round_trip = worker->round_trip;
  outlook->answered_at = worker->answered_at;
  outlook->doubted = worker->degraded > 0;
  outlook->cold = worker->finished < COLD_CALLS ? 1 + 0.5 / (1 + (double)worker->finished) : 1;
  outlook->standing = (uint8_t)standing_of(worker);
  look_for_room(worker, deployment->outlook_concurrency, outlook, now);
  deployment->free_places += outlook->serves && outlook->free;
}

uint32_t router_outlook_refresh(const struct router *router, struct deployment *deployment,
                                uint32_t concurrency, int64_t now) {
  bool all = concurrency != deployment->outlook_concurrency;
  deployment->outlook_concurrency = concurrency;
  for (uint32_t i = 0; all && i < deployment->place_count; i++) look(router, deployment, i, now);
  for (uint32_t i = 0; !all && i < deployment->stale_count; i++)
    look(router, deployment, deployment->stale[i], now);
  deployment->stale_count = 0;
  return deployment->free_places;
}

// ---- candidates ----

// What was measured long ago counts for less and less, so that a worker that was slow to answer for
// a while is tried again.
static double round_trip(const struct outlook *outlook, int64_t now) {
  return outlook->round_trip / (1 + to_seconds(now - outlook->answered_at));
}

static double pace(const struct router *router, const struct deployment *deployment,
                   uint32_t function, uint32_t place, int64_t now) {
  const struct outlook *outlook = &deployment->outlooks[place];
  double pace = deployment->pace_of[function * deployment->place_count + place];
  if (outlook->doubted) {
    const struct worker *worker = router->workers[deployment->first_worker + place];
    double score = router_score_now(worker, function, now);
    pace = score > 0 ? 1 / score : 0;
  }
  return pace * outlook->cold;
}

uint32_t router_outlook_candidates(const struct router *router, struct deployment *deployment,
                                   uint32_t function, const struct call *avoiding,
                                   uint32_t reserved, int64_t now) {
  struct candidate *candidates = deployment->candidates;
  uint32_t *places = deployment->places, count = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct outlook *outlook = &deployment->outlooks[i];
    if (!outlook->serves) continue;
    if (avoiding && router_retry_failed_on(avoiding, deployment->first_worker + i)) continue;
    // Of several calls beside each other another one may end first by now.
    if (outlook->many && outlook->ends <= now) look(router, deployment, i, now);
    places[count] = i;
    double away = round_trip(outlook, now);
    candidates[count++] = (struct candidate){.pace = pace(router, deployment, function, i, now),
                                             .wait = router_outlook_wait(outlook, now) + away,
                                             .round_trip = away,
                                             .free = outlook->free && i != reserved};
  }
  return count;
}
