#include "hub.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "local.h"
#include "log.h"
#include "loop.h"
#include "record.h"
#include "wait.h"

enum { HEARTBEAT_MISSES = 3 };

// Short calls are handed ahead behind as much work: it takes as long as a few wake-ups.
static const int64_t kAhead = 100 * INT64_C(1000);

// The router's peers: clients from 0 on, workers, whose functions make calls too, above them.
enum { WORKERS = 1 << 24 };

// What is needed to start workers of a deployment.
struct deployed {
  char *name;
  struct payload *start;
  uint32_t first_worker;
};

struct hub {
  struct loop *loop;
  struct router *router;
  struct local *local;              // NULL until the first deployment
  struct local_provider processes;  // its
  uint64_t epoch;
  struct deployed *deployed;
  uint32_t deployed_count;
  struct hub_client *clients;  // by number; without `message`: a free one
  uint32_t client_count;
  hub_part part;
  void *part_owner;
  hub_line line;
  void *line_owner;
  struct record *record;  // of calls, or NULL
  bool told;              // somebody who waits for the loop was told
};

// ---- clients ----

uint32_t hub_client(struct hub *hub, const struct hub_client *client, int64_t now) {
  uint32_t number = 0;
  while (number < hub->client_count && hub->clients[number].message) number++;
  if (number == hub->client_count)
    hub->clients = xrealloc(hub->clients, ++hub->client_count * sizeof *hub->clients);
  hub->clients[number] = *client;
  router_client(hub->router, number, now);
  return number;
}

void hub_client_gone(struct hub *hub, uint32_t client, int64_t now) {
  hub->clients[client] = (struct hub_client){0};
  router_client_gone(hub->router, client, now);
  hub_act(hub, now);
}

void hub_message(struct hub *hub, uint32_t client, uint32_t deployment, struct message *message,
                 int64_t now) {
  router_client_message(hub->router, client, deployment, message, now);
  hub_act(hub, now);
}

// ---- what the router has decided ----

static struct provider_tag tag_of(const struct hub *hub, uint32_t deployment, uint32_t worker,
                                  uint32_t generation) {
  const struct deployed *deployed = &hub->deployed[deployment];
  return (struct provider_tag){deployed->name, hub->epoch, worker, worker - deployed->first_worker,
                               generation};
}

static void provide(struct hub *hub, const struct action *action) {
  struct provider *provider = &hub->processes.provider;
  struct provider_tag tag = tag_of(hub, action->deployment, action->worker, action->generation);
  if (action->type == ROUTER_START) {
    router_client(hub->router, WORKERS + action->worker, wait_now());
    provider->start(provider, &tag, hub->deployed[action->deployment].start);
    router_worker_process(hub->router, action->worker, action->generation,
                          (uint32_t)local_pid(hub->local, action->worker));
  } else if (action->type == ROUTER_KILL) {
    provider->stop(provider, &tag);
  } else {
    provider->park(provider, &tag, action->type == ROUTER_PARK);
  }
}

static void send_on(struct hub *hub, struct action *action, int64_t now) {
  if (action->peer < hub->client_count) {
    const struct hub_client *client = &hub->clients[action->peer];
    if (client->message)
      hub->told |= client->message(client->owner, &action->message, now);
    else
      payload_unref(action->message.body);
    return;
  }
  uint32_t worker = action->peer == ROUTER_NONE ? action->worker : action->peer - WORKERS;
  local_send(hub->local, worker, &action->message);
  if (action->peer != ROUTER_NONE) loop_stir(hub->loop);  // no call of this process has ended
}

static void close_client(struct hub *hub, uint32_t number) {
  if (number >= hub->client_count) return;
  const struct hub_client *client = &hub->clients[number];
  if (client->message && client->close) client->close(client->owner);
}

// Takes back what was handed ahead.
static void take_back(struct hub *hub, const struct action *action, int64_t now) {
  uint32_t worker = action->worker, generation = action->generation;
  uint64_t sequence = action->message.sequence, entering;
  if (action->type == ROUTER_WITHDRAW) {
    bool is_taken = local_withdraw(hub->local, worker, generation, sequence);
    router_worker_withdrawn(hub->router, worker, generation, sequence, is_taken, now);
  } else if (local_recall(hub->local, worker, generation, sequence, &entering)) {
    uint32_t count = router_worker_recalled(hub->router, worker, generation, entering, now);
    local_forget(hub->local, worker, count);  // of a single one the worker says that it is back
  }
}

static void say(struct hub *hub, const struct action *action) {
  log_line(hub->deployed[action->deployment].name, action->text);
  if (hub->line)
    hub->line(hub->line_owner, action->deployment, ROUTER_NONE, action->text, strlen(action->text));
}

void hub_act(struct hub *hub, int64_t now) {
  struct action action;
  while (router_next(hub->router, &action)) {
    switch (action.type) {
      case ROUTER_SEND:
        send_on(hub, &action, now);
        break;
      case ROUTER_START:
      case ROUTER_KILL:
      case ROUTER_PARK:
      case ROUTER_UNPARK:
        provide(hub, &action);
        break;
      case ROUTER_RECALL:
      case ROUTER_WITHDRAW:
        take_back(hub, &action, now);
        break;
      case ROUTER_LOG:
        say(hub, &action);
        break;
      case ROUTER_CLOSE:
        close_client(hub, action.peer);
        break;
    }
  }
}

struct router *hub_router(struct hub *hub) {
  return hub->router;
}

uint64_t hub_epoch(const struct hub *hub) {
  return hub->epoch;
}

// ---- what comes from workers ----

static uint32_t deployment_of(const struct hub *hub, uint32_t worker) {
  uint32_t deployment = hub->deployed_count - 1;
  while (hub->deployed[deployment].first_worker > worker) deployment--;
  return deployment;
}

static void on_message(void *owner, uint32_t worker, uint32_t generation, struct message *message) {
  struct hub *hub = owner;
  int64_t now = wait_now();
  enum message_type type = (enum message_type)message->type;
  hub->told = false;
  if (type == MESSAGE_CALL || type == MESSAGE_CANCEL || type == MESSAGE_CREDIT)
    router_client_message(hub->router, WORKERS + worker, deployment_of(hub, worker), message, now);
  else
    router_worker_message(hub->router, worker, generation, message, now);
  hub_act(hub, now);
  // What matters to those who wait was told to them; but an answer that ends no call of theirs, of a
  // call that was given up, may have let another one go out.
  bool is_part = type == MESSAGE_ITEM || type == MESSAGE_PROGRESS;
  if (!is_part && !hub->told) loop_stir(hub->loop);
}

static void on_lost(void *owner, uint32_t worker, uint32_t generation, enum lost_reason reason,
                    int code, uint64_t entered, const char *said) {
  struct hub *hub = owner;
  int64_t now = wait_now();
  // Who aborts has just printed why: an assert, a kernel on the processor, the allocator.
  if (reason == LOST_SIGNAL && code == SIGABRT)
    router_worker_said(hub->router, worker, generation, said);
  router_client_gone(hub->router, WORKERS + worker, now);
  router_worker_lost(hub->router, worker, generation, reason, code, entered, now);
  hub_act(hub, now);
  loop_stir(hub->loop);
}

static void on_line(void *owner, uint32_t worker, const char *text, size_t size) {
  struct hub *hub = owner;
  if (hub->line) hub->line(hub->line_owner, deployment_of(hub, worker), worker, text, size);
}

void hub_on_line(struct hub *hub, hub_line line, void *owner) {
  hub->line = line;
  hub->line_owner = owner;
}

// ---- turns ----

void hub_report_entered(struct hub *hub) {
  uint32_t count = hub->local ? local_count(hub->local) : 0;
  for (uint32_t worker = 0; worker < count; worker++) {
    uint32_t generation;
    uint64_t entered;
    if (local_entered(hub->local, worker, &generation, &entered))
      router_worker_entered(hub->router, worker, generation, entered);
  }
}

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t turn_router(struct hub *hub, int64_t now) {
  if (now >= router_deadline(hub->router)) {
    hub_report_entered(hub);
    router_tick(hub->router, now);
    hub_act(hub, now);
    loop_stir(hub->loop);
  }
  if (!hub->local) return router_deadline(hub->router);
  if (now >= local_deadline(hub->local)) local_tick(hub->local, now);
  local_flush(hub->local);
  return sooner(router_deadline(hub->router), local_deadline(hub->local));
}

int64_t hub_turn(struct hub *hub, int64_t now) {
  int64_t next = turn_router(hub, now);
  return hub->part ? sooner(next, hub->part(hub->part_owner, now)) : next;
}

static void on_ended(void *owner, const struct router_ended *ended) {
  struct hub *hub = owner;
  const struct deployed *deployed = &hub->deployed[ended->deployment];
  struct record_place place = {.deployment = deployed->name,
                               .first_worker = deployed->first_worker};
  place.function =
      router_function_name(hub->router, ended->deployment, ended->function, &place.function_size);
  if (place.function) record_call(hub->record, &place, ended, wait_now());
}

int hub_record(struct hub *hub, const char *path) {
  struct record *record;
  int error = record_open(&record, path, wait_now());
  if (error) return error;
  record_close(hub->record);
  hub->record = record;
  router_tell_ended(hub->router, on_ended, hub);
  return 0;
}

void hub_attach(struct hub *hub, hub_part part, void *owner) {
  hub->part = part;
  hub->part_owner = owner;
}

void hub_poll(struct hub *hub) {
  if (hub->local) local_poll(hub->local);
}

void hub_flush(struct hub *hub) {
  if (hub->local) local_flush(hub->local);
}

void hub_push(struct hub *hub, int64_t now) {
  if (hub->local) local_push(hub->local, now);
}

// ---- life ----

int hub_open(struct hub **out, struct loop *loop) {
  struct {
    uint64_t seed, epoch;
  } random;
  if (getrandom(&random, sizeof random, 0) != sizeof random) return -errno;
  struct hub *hub = xcalloc(1, sizeof *hub);
  struct router_options options = {.seed = random.seed,
                                   .epoch = random.epoch,
                                   .heartbeat = NANOSECONDS_PER_SECOND,
                                   .heartbeat_misses = HEARTBEAT_MISSES,
                                   .ahead = kAhead};
  hub->loop = loop;
  hub->epoch = random.epoch;
  hub->router = router_new(&options);
  *out = hub;
  return 0;
}

void hub_finish(struct hub *hub, int64_t now) {
  router_finish(hub->router, now);
  hub_act(hub, now);
}

bool hub_finished(const struct hub *hub) {
  return router_finished(hub->router);
}

void hub_deployment_end(struct hub *hub, uint32_t deployment, int64_t now) {
  router_deployment_end(hub->router, deployment, now);
  hub_act(hub, now);
}

void hub_drain(struct hub *hub, int64_t now) {
  router_drain(hub->router, now);
  hub_act(hub, now);
}

bool hub_drained(const struct hub *hub) {
  return router_drained(hub->router);
}

bool hub_is_busy(const struct hub *hub) {
  return hub->local;
}

void hub_close(struct hub *hub) {
  if (hub->local) local_close(hub->local);
}

void hub_free(struct hub *hub) {
  local_free(hub->local);
  router_free(hub->router);
  record_close(hub->record);
  for (uint32_t i = 0; i < hub->deployed_count; i++) {
    free(hub->deployed[i].name);
    payload_unref(hub->deployed[i].start);
  }
  free(hub->deployed);
  free(hub->clients);
  free(hub);
}

// ---- deployments ----

static int begin(struct hub *hub, char *why, size_t why_size) {
  if (hub->local) return 0;
  char path[PATH_MAX];
  int error = local_executable(path, sizeof path);
  if (error) {
    snprintf(why, why_size,
             "the executable farside, which workers are processes of, is in none of: %s", path);
    return error;
  }
  error = loop_keep(hub->loop);
  if (error) {
    snprintf(why, why_size, "no thread can be started: %s", strerror(-error));
    return error;
  }
  static const struct local_events events = {on_message, on_lost, on_line};
  hub->local = local_new(loop_uv(hub->loop), path, &events, hub);
  local_provider(&hub->processes, hub->local);
  return 0;
}

static void remember(struct hub *hub, uint32_t number, const char *name, struct payload *start) {
  struct deployment_status status;
  assert(number == hub->deployed_count);
  bool found = router_deployment_status(hub->router, number, &status, wait_now());
  assert(found);
  (void)found;
  payload_unref(status.failure);
  hub->deployed = xrealloc(hub->deployed, (number + 1) * sizeof *hub->deployed);
  hub->deployed[number] = (struct deployed){strdup(name), start, status.first_worker};
  hub->deployed_count++;
  if (!hub->deployed[number].name) abort();
}

uint32_t hub_deploy(struct hub *hub, const struct router_deployment_options *options, int *error,
                    char *why, size_t why_size) {
  *error = begin(hub, why, why_size);
  if (*error) return ROUTER_NONE;
  struct router_deployment_options copy = *options;
  copy.start = payload_join(options->start);
  int64_t now = wait_now();
  uint32_t number = copy.start ? router_deployment(hub->router, &copy, now) : ROUTER_NONE;
  if (number == ROUTER_NONE) {
    *error = copy.start ? -EINVAL : -ENOMEM;
    snprintf(
        why, why_size, "%s",
        copy.start ? "an option of the deployment is out of its limits" : "there is no memory");
    payload_unref(copy.start);
    return ROUTER_NONE;
  }
  remember(hub, number, options->name, copy.start);
  hub_act(hub, now);
  return number;
}

const char *hub_deployment_name(const struct hub *hub, uint32_t deployment) {
  return deployment < hub->deployed_count ? hub->deployed[deployment].name : NULL;
}

// ---- what is going on ----

bool hub_status(struct hub *hub, uint32_t deployment, struct deployment_status *status) {
  return router_deployment_status(hub->router, deployment, status, wait_now());
}

bool hub_worker(struct hub *hub, uint32_t worker, struct worker_status *status, pid_t *pid) {
  bool found = router_worker_status(hub->router, worker, status);
  *pid = hub->local ? local_pid(hub->local, worker) : 0;
  return found;
}

bool hub_explain(struct hub *hub, uint32_t worker, char *text, size_t size) {
  struct worker_status status;
  if (!hub->local || !router_worker_status(hub->router, worker, &status)) return false;
  struct provider *provider = &hub->processes.provider;
  struct provider_tag tag = tag_of(hub, deployment_of(hub, worker), worker, status.generation);
  return provider->explain(provider, &tag, text, size);
}
