#include <unistd.h>

#include "../core/buffer.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "server_state.h"
#include "wait.h"

static const char *const kDeploymentStates[] = {"starting", "ready", "failed", "draining"};

static void field_text(struct buffer *out, const char *key, const char *text) {
  pack_text(out, key);
  pack_text(out, text);
}

static void field_number(struct buffer *out, const char *key, double number) {
  pack_text(out, key);
  pack_number(out, number);
}

static void pack_scores(const struct served *served, uint32_t worker, struct buffer *out) {
  const struct router *router = hub_router(served->server->hub);
  size_t count = 0;
  for (uint32_t i = 0; i < served->function_count; i++)
    count += router_score(router, worker, i) > 0;
  pack_map(out, count);
  for (uint32_t i = 0; i < served->function_count; i++) {
    double score = router_score(router, worker, i);
    if (score > 0) field_number(out, served->function_names[i], score);
  }
}

// Whether there is, or is to be, anybody in that place.
static bool is_shown(const struct worker_status *status) {
  return status->wanted || status->state != WORKER_NONE;
}

static void pack_worker(const struct served *served, uint32_t first, uint32_t place,
                        struct buffer *out) {
  struct worker_status status;
  pid_t pid;
  hub_worker(served->server->hub, first + place, &status, &pid);
  char text[160];
  bool is_explained = hub_explain(served->server->hub, first + place, text, sizeof text);
  pack_map(out, (pid > 0 ? 8U : 7U) + is_explained);
  field_text(out, "state", worker_status_text(&status));
  field_number(out, "place", place);
  if (pid > 0) field_number(out, "pid", pid);
  if (is_explained) field_text(out, "process", text);
  field_number(out, "generation", status.generation);
  field_number(out, "in_flight", status.in_flight);
  field_number(out, "calls", (double)status.calls);
  field_number(out, "starts", (double)status.starts);
  pack_text(out, "scores");
  pack_scores(served, first + place, out);
}

static void pack_workers(const struct served *served, const struct deployment_status *status,
                         struct buffer *out) {
  size_t count = 0;
  struct worker_status worker;
  pid_t pid;
  for (uint32_t i = 0; i < status->places; i++)
    count += hub_worker(served->server->hub, status->first_worker + i, &worker, &pid) &&
             is_shown(&worker);
  pack_array(out, count);
  for (uint32_t i = 0; i < status->places; i++)
    if (hub_worker(served->server->hub, status->first_worker + i, &worker, &pid) &&
        is_shown(&worker))
      pack_worker(served, status->first_worker, i, out);
}

// The map of an error is what follows the head of its body.
static void pack_failure(const struct payload *failure, struct buffer *out) {
  pack_text(out, "failure");
  buffer_append(out, failure->parts[0].bytes + 1, failure->size - 1);
}

static double seconds_until(int64_t at) {
  int64_t left = at - wait_now();
  return left > 0 ? (double)left / 1e9 : 0;
}

static void pack_deployment(const struct served *served, struct buffer *out) {
  struct deployment_status status = {0};
  hub_status(served->server->hub, served->number, &status);
  bool is_tried = status.failure && status.next_try && status.next_try != INT64_MAX;
  size_t further = (size_t)(status.failure != NULL) + is_tried + (status.decision[0] != 0);
  pack_map(out, 16 + further);
  field_text(out, "name", served->name);
  field_text(out, "tag", served->tag);
  field_text(out, "hash", served->hash);
  field_text(out, "path", served->path);
  field_text(out, "state", kDeploymentStates[status.state]);
  field_number(out, "queued", status.queued);
  field_number(out, "running", status.running);
  field_number(out, "queue_bytes", (double)status.queue_bytes);
  field_number(out, "ready", status.ready);
  field_number(out, "parked", status.parked);
  field_number(out, "workers_wanted", status.workers);
  field_number(out, "active_wanted", status.active_wanted);
  if (status.decision[0]) field_text(out, "decision", status.decision);
  field_number(out, "calls", (double)status.calls);
  field_number(out, "dropped", (double)status.dropped);
  field_number(out, "clients", served->clients);
  if (status.failure) pack_failure(status.failure, out);
  if (is_tried) field_number(out, "next_try", seconds_until(status.next_try));
  pack_text(out, "workers");
  pack_workers(served, &status, out);
  payload_unref(status.failure);
}

void server_pack_status(struct server *server, struct buffer *out) {
  char epoch[ERROR_EPOCH];
  error_epoch_text(hub_epoch(server->hub), epoch);
  pack_map(out, 14);
  field_text(out, "version", FARSIDE_VERSION);
  field_number(out, "pid", getpid());
  field_text(out, "epoch", epoch);
  field_text(out, "state", server->phase == SERVER_SERVES ? "serving" : "draining");
  field_number(out, "uptime", (double)(wait_now() - server->started) / 1e9);
  field_number(out, "peers", server->peer_count);
  field_number(out, "operators", server->operators);
  field_number(out, "connections", (double)server->connections);
  field_number(out, "refused", (double)server->refused);
  field_number(out, "slow_readers", (double)server->slow);
  field_number(out, "memory", (double)server_held(server));
  field_number(out, "memory_budget", (double)server->budget);
  field_number(out, "memory_step", server->pressure);
  pack_text(out, "deployments");
  pack_array(out, server->deployment_count);
  for (uint32_t i = 0; i < server->deployment_count; i++)
    pack_deployment(server->deployments[i], out);
}
