// Clients and their fair shares of a deployment.
//
// Calls wait in one order, their tag, which is a time: when they came, less a second for each level
// of priority. So a call is passed by more urgent ones for so long and no longer. Among clients the
// tags are made fair (after start-time fair queueing: Goyal, Vin, Cheng 1996):
//
// - A client's calls of one level stand apart by the time the deployment takes to serve one call of
//   each client that waits: who floods has tags that run ahead of the time.
// - While others wait, a client that has less in the queue than its share is placed as if it had
//   come with the first one there of its function and priority, not behind all that came before it.
//
// Between calls of one client and priority, size counts: each is placed as if it had come later by a
// third of the time it is expected to run. So small calls pass large ones, but only those that come
// within that time.
//
// With one client and calls of one size this is the order in which the calls came. When the queue is
// full, a client below its share takes the place of the newest call of the client with most.
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "payload.h"
#include "router_key.h"
#include "router_state.h"

// The time between dispatches may be wrong, tags run ahead no further than this.
static const int64_t kFurthest = LIMIT_DEADLINE_DEFAULT;
static const int64_t kLargest = 20 * NANOSECONDS_PER_SECOND;
static const double kSize = 0.3;
static const double kIntervalWeight = 0.125;
static const double kLeastRetry = 1e-3, kMostRetry = 10, kUnknownRetry = 0.1;  // seconds
static const double kPressedRetry = 1;

// ---- peers ----

static struct call_id key_of(uint32_t number) {
  return (struct call_id){1, number};
}

struct peer *router_peer(const struct router *router, uint32_t number) {
  return table_find(&router->peers, key_of(number));
}

void router_peer_add(struct router *router, uint32_t number) {
  if (number == ROUTER_NONE || router_peer(router, number)) return;
  struct peer *peer = xcalloc(1, sizeof *peer);
  peer->number = number;
  table_add(&router->peers, key_of(number), peer);
}

static void release(struct share *share) {
  if (share && !--share->uses) free(share);
}

void router_peer_free(struct peer *peer) {
  for (uint32_t i = 0; peer && i < peer->share_count; i++) release(peer->shares[i]);
  if (peer) free(peer->shares);
  free(peer);
}

struct peer *router_peer_remove(struct router *router, uint32_t number) {
  return table_remove(&router->peers, key_of(number));
}

static struct share *share_of(struct peer *peer, uint32_t deployment) {
  if (deployment >= peer->share_count) {
    peer->shares = xrealloc(peer->shares, (deployment + 1) * sizeof *peer->shares);
    while (peer->share_count <= deployment) peer->shares[peer->share_count++] = NULL;
  }
  struct share *share = peer->shares[deployment];
  if (share) return share;
  share = peer->shares[deployment] = xcalloc(1, sizeof *share);
  share->uses = 1;
  return share;
}

// ---- tags ----

static struct level *level_of(struct deployment *deployment, const struct call *call) {
  struct levels *levels = &deployment->levels[call->function];
  for (uint32_t i = 0; i < levels->count; i++)
    if (levels->of[i].priority == call->priority) return &levels->of[i];
  levels->of = xrealloc(levels->of, (levels->count + 1) * sizeof *levels->of);
  struct level *level = &levels->of[levels->count++];
  *level = (struct level){.priority = call->priority};
  return level;
}

// Whether a client has less in the queue than the others on average, if there are others.
static bool is_below_share(const struct deployment *deployment, const struct share *share) {
  uint32_t clients = deployment->waiting_shares + !share->waiting;
  return clients > 1 && (share->waiting + UINT64_C(1)) * clients <= deployment->queue.count;
}

// The least tag of those in the queue, about: of the latest that went to a worker, or of the first
// one, should that have been passed by others that suited a worker better.
static int64_t first_tag(const struct deployment *deployment, const struct call *call,
                         const struct level *level) {
  const struct call *first = (const struct call *)deployment->queue.lines[call->function].first;
  bool is_first = first && first->priority == call->priority && first->tag < level->served;
  return is_first ? first->tag : level->served;
}

// The least tag that a call of a client may get, and how far its calls stand apart. For one below
// its share both are those of the calls of its function and priority in the queue, whatever the
// times they were given once.
static int64_t place(const struct deployment *deployment, const struct call *call,
                     const struct level *level, int64_t now, double *apart) {
  uint32_t clients = deployment->waiting_shares + !call->share->waiting;
  *apart = deployment->interval * clients;
  if (!level->waiting || !is_below_share(deployment, call->share)) return now;
  int64_t first = first_tag(deployment, call, level);
  double spread = (double)(level->furthest - first) / (double)level->waiting;
  if (spread * clients < *apart) *apart = spread * clients;
  return first < now ? first : now;
}

// The scale stays as it is while calls of the function wait, so those of one size keep their order.
static int64_t size_of(struct deployment *deployment, const struct call *call) {
  if (router_batches(deployment, call)) return 0;
  if (!deployment->queue.lines[call->function].count)
    deployment->scales[call->function] = deployment->paces[call->function];
  double nanoseconds = kSize * call->workload * deployment->scales[call->function] * 1e9;
  return nanoseconds < (double)kLargest ? (int64_t)nanoseconds : kLargest;
}

void router_fair_tag(struct router *router, struct peer *peer, struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  struct share *share = call->share = share_of(peer, call->deployment);
  struct level *level = level_of(deployment, call);
  share->uses++;
  // Calls of the same instant are kept a nanosecond apart.
  router->arrival = now > router->arrival ? now : router->arrival + 1;
  int64_t tag = router->arrival;
#ifndef PLANT_UNFAIR
  double apart;
  tag = place(deployment, call, level, tag, &apart);
  int64_t own = share->tags[call->priority] + (apart > 1 ? (int64_t)apart : 1);
  if (share->waiting && own > tag) tag = own;
  if (tag > now + kFurthest) tag = router->arrival + kFurthest;
#endif
  if (tag > level->furthest) level->furthest = tag;
  share->tags[call->priority] = call->tag = tag;
  int64_t priority = (UINT8_MAX - call->priority) * NANOSECONDS_PER_SECOND;
  call->item.order = (uint64_t)(tag + priority + size_of(deployment, call));
}

void router_fair_same(struct call *call, const struct call *other) {
  call->item.line = other->item.line;
  call->item.order = other->item.order;
  call->tag = other->tag;
  call->share = other->share;
  call->share->uses++;
}

void router_fair_forget(struct call *call) {
  release(call->share);
  call->share = NULL;
}

void router_fair_waits(struct router *router, struct call *call) {
  struct level *level = level_of(call_deployment(router, call), call);
  if (!level->waiting++) level->served = call->tag;
  if (!call->share->waiting++) call_deployment(router, call)->waiting_shares++;
}

void router_fair_leaves(struct router *router, struct call *call) {
  level_of(call_deployment(router, call), call)->waiting--;
  if (!--call->share->waiting) call_deployment(router, call)->waiting_shares--;
}

void router_fair_dispatched(struct router *router, const struct call *call, int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  struct level *level = level_of(deployment, call);
  if (call->tag > level->served) level->served = call->tag;
  if (deployment->dispatched_at) {
    double gap = (double)(now - deployment->dispatched_at);
    deployment->interval +=
        deployment->interval > 0 ? (gap - deployment->interval) * kIntervalWeight : gap;
  }
  deployment->dispatched_at = deployment->queue.count ? now : 0;
}

// ---- overload ----

static struct payload *overloaded(const char *scope, double limit, double retry_after,
                                  enum executed executed) {
  struct error_writer writer;
  if (retry_after < kLeastRetry) retry_after = kLeastRetry;
  if (retry_after > kMostRetry) retry_after = kMostRetry;
  error_begin(&writer, ERROR_OVERLOADED, executed, true, "router");
  error_message(&writer, "too many calls wait: the limit per %s is %.0f; try again in %.3g s",
                scope, limit, retry_after);
  error_string(&writer, "scope", scope);
  error_number(&writer, "limit", limit);
  error_number(&writer, "retry_after", retry_after * 1000);
  return error_end(&writer);
}

// When there will be room again nobody knows: what is there has to end first.
static struct payload *pressed(uint64_t limit) {
  struct error_writer writer;
  error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, true, "router");
  error_message(&writer,
                "the router holds as many arguments and results as it may, %.3g MiB, and takes no "
                "further call; try again in %.3g s, or serve with more (--memory)",
                (double)limit / (1 << 20), kPressedRetry);
  error_string(&writer, "scope", "memory");
  error_number(&writer, "limit", (double)limit);
  error_number(&writer, "retry_after", kPressedRetry * 1000);
  return error_end(&writer);
}

uint64_t router_held(const struct router *router) {
  uint64_t held = router->held;
  for (uint32_t i = 0; i < router->deployment_count; i++)
    held += router_key_kept(router->deployments[i]);
  return held;
}

void router_press(struct router *router, uint64_t limit) {
  router->pressed = limit;
}

// Seconds until `calls` more have been dispatched.
static double time_for(const struct deployment *deployment, double calls) {
  return deployment->interval > 0 ? deployment->interval * calls / 1e9 : kUnknownRetry;
}

static struct payload *queue_full(const struct deployment *deployment, enum executed executed) {
  bool by_count = deployment->queue.count + deployment->delayed >= LIMIT_QUEUE;
  return overloaded(by_count ? "deployment" : "memory", by_count ? LIMIT_QUEUE : LIMIT_QUEUE_BYTES,
                    time_for(deployment, (double)deployment->queue.count / 8), executed);
}

// The newest waiting call of the client that has most of them.
static struct call *find_most(struct router *router, uint32_t deployment) {
  const struct share *most = NULL;
  struct call *found = NULL;
  for (struct call *call = router->newest; call; call = call->older) {
    if (call->state != CALL_QUEUED || call->deployment != deployment) continue;
    if (most && call->share->waiting <= most->waiting) continue;
    most = call->share;
    found = call;
  }
  return found;
}

// Seconds that a call would wait behind those in the queue; 0: nobody knows. While calls wait the
// time between dispatches tells it, before that what such calls take by the workers' scores.
static double predicted_wait(const struct router *router, const struct deployment *deployment,
                             const struct message *message) {
  double calls = (double)deployment->queue.count, rate = 0;
  if (!deployment->queue.count || !deployment->ready) return 0;
  if (deployment->dispatched_at && deployment->interval > 0) return time_for(deployment, calls);
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->state == WORKER_READY) rate += worker->scores[message->function];
  }
  return rate > 0 ? calls * message->workload / rate : 0;
}

// The error of a call that would wait for longer than its function allows, or NULL.
static struct payload *waits_too_long(const struct router *router,
                                      const struct deployment *deployment,
                                      const struct message *message) {
  double limit = to_seconds(deployment->functions[message->function].max_queue_time);
  double wait = predicted_wait(router, deployment, message);
  if (wait <= limit) return NULL;
  struct error_writer writer;
  error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, true, "router");
  error_message(&writer,
                "the call would wait for %.3g s, %zu calls are in front of it; the function's "
                "max_queue_time is %.3g s",
                wait, deployment->queue.count, limit);
  error_string(&writer, "scope", "deployment");
  error_number(&writer, "limit", limit);
  error_number(&writer, "retry_after", (wait - limit) * 1000);
  return error_end(&writer);
}

struct payload *router_fair_refusal(struct router *router, struct peer *peer, uint32_t number,
                                    const struct message *message, int64_t now) {
  struct deployment *deployment = router->deployments[number];
  const struct router_function *function = &deployment->functions[message->function];
  size_t size = message->body ? message->body->size : 0;
  if (peer->calls >= LIMIT_IN_FLIGHT)
    return overloaded(
        "client", LIMIT_IN_FLIGHT,
        time_for(deployment, deployment->waiting_shares ? deployment->waiting_shares : 1),
        EXECUTED_NO);
  if (router_key_joins(router, deployment, message)) return NULL;
  if (router->pressed) return pressed(router->pressed);
  if (function->max_queue_time > 0) {
    struct payload *error = waits_too_long(router, deployment, message);
    if (error) return error;
  }
  bool full = deployment->queue.count + deployment->delayed >= LIMIT_QUEUE ||
              (deployment->queue.count && deployment->queue_bytes + size > LIMIT_QUEUE_BYTES);
  if (!full) return NULL;
  struct call *shed =
      is_below_share(deployment, share_of(peer, number)) ? find_most(router, number) : NULL;
  if (!shed || (shed->body ? shed->body->size : 0) < size)
    return queue_full(deployment, EXECUTED_NO);
  router_metrics_shed(router, number, shed->function);
  router_call_fail(router, shed, queue_full(deployment, router_call_executed(router, shed)), now);
  return NULL;
}
