// A place and the processes that stand in it, one after the other.
//
//   NONE, BACKOFF --START--> STARTING --READY--> READY --drain--> DRAINING
//      ^                        |                  |                 |
//      +------ the process has ended --------------+-----------------+
//   LOST: given up (heartbeat, grace, bad answers), KILL was ordered, its end has not been seen yet
//
// A death before ready, or soon after it while idle and without one finished call, is charged to
// the deployment (crash loop); a death in a call to the call. Mixing the two would let one bad call
// take a healthy deployment down.
//
// After five charges in five minutes, or at once where the deploy script has never worked, a
// deployment without a ready worker fails: its calls are told why and when the next try is. Then
// one place at a time is tried: once a minute, or in the pace of the back-off (0.2 s, twice as long
// each time, up to 60 s) if workers were ready before, and now only fail to start.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "limits.h"
#include "memory.h"
#include "payload.h"
#include "router_failed.h"
#include "router_key.h"
#include "router_state.h"

#define SECONDS(n) ((n)*NANOSECONDS_PER_SECOND)

static const int64_t kYoung = SECONDS(10);
static const int64_t kCrashWindow = SECONDS(300);
static const int64_t kCanary = SECONDS(60);
static const int64_t kForget = SECONDS(600);
static const double kBackoffFirst = 0.2, kBackoffMost = 60, kBackoffServed = 1,
                    kBackoffSpread = 0.2;

static struct deployment *deployment_of(struct router *router, const struct worker *worker) {
  return router->deployments[worker->deployment];
}

void router_worker_send(struct router *router, const struct worker *worker,
                        const struct message *message) {
  struct action *action = router_send(router, message);
  action->deployment = worker->deployment;
  action->worker = worker->number;
  action->generation = worker->generation;
}

// ---- start ----

void router_worker_start(struct router *router, struct worker *worker, int64_t now) {
  struct deployment *deployment = deployment_of(router, worker);
  if (worker->state != WORKER_BACKOFF) worker->charged = false;
  worker->state = WORKER_STARTING;
  worker->generation++;
  worker->starts++;
  worker->started_at = now;
  worker->parked = false;
  worker->killed = worker->leaving = worker->tainted = worker->retiring = false;
  worker->mark = worker->memory_errors = 0;
  worker->mark_why = NULL;
  worker->unanswered = worker->bad_answers = 0;
  worker->finished = worker->entered = 0;
  worker->process = 0;
  worker->round_trip = 0;
  worker->phase = PHASE_NONE;
  payload_unref(worker->goodbye);
  worker->goodbye = NULL;
  free(worker->said);
  worker->said = NULL;
  router_score_forget(router, worker);
  router_outlook_changed(router, worker);
  memset(worker->runs, 0, deployment->function_count * sizeof *worker->runs);
  memset(worker->paces, 0, deployment->function_count * sizeof *worker->paces);
  worker->recalling = false;
  worker->recalled = 0;
  timers_set(&router->timers, &worker->timer, now + LIMIT_START + LIMIT_BENCHMARK);
  if (router->options.heartbeat)
    timers_set(&router->timers, &worker->heartbeat, now + router->options.heartbeat);
  struct action *action = router_act(router, ROUTER_START);
  action->deployment = worker->deployment;
  action->worker = worker->number;
  action->generation = worker->generation;
}

void router_worker_kill(struct router *router, struct worker *worker) {
  if (worker->killed || worker->state == WORKER_NONE || worker->state == WORKER_BACKOFF) return;
  worker->killed = true;
  router_outlook_changed(router, worker);
  struct action *action = router_act(router, ROUTER_KILL);
  action->deployment = worker->deployment;
  action->worker = worker->number;
  action->generation = worker->generation;
}

static void leave_ready(struct router *router, struct worker *worker, enum worker_state state) {
  if (worker->state == WORKER_READY) deployment_of(router, worker)->ready--;
  worker->state = state;
  router_outlook_changed(router, worker);
  router_eject_weigh(router, deployment_of(router, worker));
}

// ---- ready ----

// A manifest as a worker told it.
struct text {
  const unsigned char *bytes;
  size_t size;
};

// The first line in which two manifests differ.
static void first_difference(const struct deployment *deployment, struct text theirs, char *line,
                             size_t size) {
  size_t start = 0, i = 0;
  const char *mine = deployment->manifest;
  while (i < theirs.size && i < deployment->manifest_size &&
         theirs.bytes[i] == (unsigned char)mine[i])
    if (mine[i++] == '\n') start = i;
  size_t end = start;
  while (end < theirs.size && theirs.bytes[end] != '\n') end++;
  size_t length = end - start < size - 1 ? end - start : size - 1;
  memcpy(line, theirs.bytes + start, length);
  line[length] = 0;
}

static struct payload *manifest_error(const struct deployment *deployment, struct text theirs) {
  char line[200];
  first_difference(deployment, theirs, line, sizeof line);
  struct error_writer writer;
  error_begin(&writer, ERROR_DEPLOYMENT_FAILED, EXECUTED_NO, false, "router");
  error_message(&writer,
                "the worker loaded other functions than the client: it has \"%s\" where the client "
                "differs; does the deploy "
                "script depend on something only one of them has?",
                line);
  error_string(&writer, "phase", "bundle");
  return error_end(&writer);
}

static bool read_text(struct cursor *cursor, struct text *text) {
  return cursor_str(cursor, &text->bytes, &text->size) ||
         cursor_bin(cursor, &text->bytes, &text->size);
}

static bool read_scores(const struct router *router, struct cursor *cursor, struct worker *worker,
                        uint32_t function_count) {
  size_t pairs;
  if (!cursor_map(cursor, &pairs)) return false;
  for (size_t i = 0; i < pairs; i++) {
    uint64_t function;
    double score;
    if (!cursor_uint(cursor, &function) || !cursor_number(cursor, &score)) return false;
    if (function >= function_count || !(score > 0) || score > 1e300) return false;
    router_score_measured(router, worker, (uint32_t)function, score);
  }
  return true;
}

static void fail_deployment(struct router *router, struct deployment *deployment, int64_t now) {
  if (deployment->state == DEPLOYMENT_DRAINING) return;
  deployment->state = DEPLOYMENT_FAILED;
  router_fail_queue(router, deployment, now);
}

static void unfit(struct router *router, struct worker *worker, enum phase phase,
                  struct payload *error) {
  payload_unref(worker->goodbye);
  worker->goodbye = error;
  worker->phase = phase;
  router_worker_kill(router, worker);
}

// A default deadline starts now for calls that waited for the first worker.
static void start_clocks(struct router *router, struct deployment *deployment, int64_t now) {
  for (uint32_t line = 0; line < deployment->queue.line_count; line++)
    for (struct queue_item *item = deployment->queue.lines[line].first; item; item = item->next)
      router_call_start_clock(router, (struct call *)item, now);
  router_key_start_clocks(router, deployment, now);
}

// The canary lives: the other places need not wait for their turn.
static void start_waiting(struct router *router, struct deployment *deployment, int64_t now) {
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = router->workers[deployment->first_worker + i];
    if (worker->state != WORKER_BACKOFF) continue;
    timers_cancel(&router->timers, &worker->timer);
    router_worker_start(router, worker, now);
  }
}

static void ready(struct router *router, struct worker *worker, const struct message *message,
                  int64_t now) {
  struct deployment *deployment = deployment_of(router, worker);
  struct cursor cursor = cursor_of(message->body->parts[0].bytes, message->body->size);
  size_t count;
  struct text manifest;
  if (!cursor_array(&cursor, &count) || count != 2 || !read_text(&cursor, &manifest)) {
    router_worker_kill(router, worker);
    return;
  }
  if (manifest.size != deployment->manifest_size ||
      memcmp(manifest.bytes, deployment->manifest, manifest.size) != 0) {
    unfit(router, worker, PHASE_BUNDLE, manifest_error(deployment, manifest));
    return;
  }
  if (!read_scores(router, &cursor, worker, deployment->function_count)) {
    router_worker_kill(router, worker);
    return;
  }
  worker->state = WORKER_READY;
  worker->ready_at = now;
  worker->lacks_gpu = false;
  worker->charged = false;
  router_score_ready(router, worker);
  router_outlook_changed(router, worker);
  timers_cancel(&router->timers, &worker->timer);
  deployment->ready++;
  router_eject_weigh(router, deployment);
  deployment->failed_starts = 0;
  if (deployment->state == DEPLOYMENT_FAILED) start_waiting(router, deployment, now);
  deployment->state = DEPLOYMENT_READY;
  if (!deployment->was_ready) start_clocks(router, deployment, now);
  deployment->was_ready = true;
  router_recycle_ready(router, worker, now);
  router_scale_ready(router, worker, now);
  router_dispatch(router, deployment, now);
}

// ---- messages ----

// One that was ready has as long for its end as one that is told to go.
static void goodbye(struct router *router, struct worker *worker, const struct message *message,
                    int64_t now) {
  if (worker->state == WORKER_READY && !worker->leaving)
    timers_set(&router->timers, &worker->timer, now + LIMIT_CONTEXT_EXIT);
  worker->leaving = true;
  router_outlook_changed(router, worker);
  worker->tainted = message->reason == PHASE_TAINTED;
  worker->phase = (enum phase)message->reason;
  payload_unref(worker->goodbye);
  worker->goodbye = payload_ref(message->body);
  router_gpu_told(router, worker);
}

void router_worker_message(struct router *router, uint32_t number, uint32_t generation,
                           struct message *message, int64_t now) {
  router->now = now;
  struct worker *worker = number < router->worker_count ? router->workers[number] : NULL;
  bool alive = worker && worker->state != WORKER_NONE && worker->state != WORKER_BACKOFF;
#ifndef PLANT_NO_FENCE
  alive = alive && worker->generation == generation && worker->state != WORKER_LOST;
#endif
  if (!alive) {
    if (worker) deployment_of(router, worker)->dropped++;
    payload_unref(message->body);
    return;
  }
  switch (message->type) {
    case MESSAGE_RESULT:
    case MESSAGE_ERROR:
    case MESSAGE_GIVE_BACK:
    case MESSAGE_STARTED:
      router_call_answered(router, worker, message, now);
      return;  // which took the body
    case MESSAGE_ITEM:
    case MESSAGE_PROGRESS:
      router_stream_message(router, worker, message, now);
      return;
    case MESSAGE_READY:
      if (worker->state == WORKER_STARTING && !worker->killed &&
          message->generation == worker->generation)
        ready(router, worker, message, now);
      break;
    case MESSAGE_PONG:
      if (message->sequence != worker->pings) break;
      worker->unanswered = 0;
      router_outlook_changed(router, worker);
      router_dispatch(router, deployment_of(router, worker), now);
      break;
    case MESSAGE_SCORE:
      if (message->function < deployment_of(router, worker)->function_count &&
          message->workload > 0 && message->workload <= 1e300)
        router_score_measured(router, worker, message->function, message->workload);
      break;
    case MESSAGE_GOODBYE:
      goodbye(router, worker, message, now);
      break;
    case MESSAGE_RECYCLE:
      router_recycle_report(router, worker, message, now);
      break;
    default:
      break;
  }
  payload_unref(message->body);
}

void router_worker_entered(struct router *router, uint32_t number, uint32_t generation,
                           uint64_t entered) {
  if (number >= router->worker_count || router->workers[number]->generation != generation) return;
  router->workers[number]->entered = entered;
}

// ---- loss ----

static double backoff(struct router *router, double first, double most, uint32_t times) {
  double delay = first;
  for (uint32_t i = 0; i < times && delay < most; i++) delay *= 2;
  if (delay > most) delay = most;
  return delay * (1 - kBackoffSpread + 2 * kBackoffSpread * router_random(router));
}

static bool in_crash_loop(const struct deployment *deployment, int64_t now) {
  if (deployment->failure_count < CRASH_LOOP) return false;
  int64_t oldest = deployment->failures[deployment->failure_count % CRASH_LOOP];
  return now - oldest < kCrashWindow;
}

static struct payload *describe_loss(const struct deployment *deployment,
                                     const struct worker *worker, enum lost_reason reason,
                                     int code) {
  struct error_writer writer;
  error_begin(&writer, reason == LOST_START ? ERROR_ENGINE_ERROR : ERROR_WORKER_LOST, EXECUTED_NO,
              true, "router");
  if (router_gpu_missing(worker))
    error_message(&writer,
                  "no GPU of this machine is left for worker %u: each was lost by a worker before",
                  worker->number);
  else if (reason == LOST_START)
    error_message(&writer, "the process of a worker could not be started: %s", strerror(code));
  else if (reason == LOST_SIGNAL)
    error_message(&writer, "worker %u was ended by signal %d before it was ready%s", worker->number,
                  code, worker->said ? worker->said : "");
  else
    error_message(&writer, "worker %u ended with exit code %d before it was ready", worker->number,
                  code);
  error_string(&writer, "deployment", deployment->name);
  error_string(&writer, "reason",
               reason == LOST_START    ? "start"
               : reason == LOST_SIGNAL ? "signal"
                                       : "exit");
  error_number(&writer, reason == LOST_SIGNAL ? "signal" : "exit_code", code);
  return error_end(&writer);
}

// The next process would find the same device; or the same script, unless that has worked before:
// then it is being edited, and may be whole again in a moment.
static bool is_hopeless(const struct deployment *deployment, const struct worker *worker) {
  return (worker->phase == PHASE_BUNDLE && !deployment->was_ready) || router_gpu_missing(worker);
}

// How long a failed deployment waits before it tries one worker: its back-off goes on if it was
// ready before and only fails to start, so that one that is put right soon is back soon.
static double canary_pause(const struct deployment *deployment, const struct worker *worker,
                           double delay) {
  bool goes_on = deployment->was_ready && deployment->failed_starts >= CRASH_LOOP &&
                 !router_gpu_missing(worker);
  return goes_on ? delay : (double)kCanary / 1e9;
}

// Counts a failure against the deployment and returns the seconds until the next try in this place.
// A place without a GPU is no crash loop: it is looked at now and then.
static double charge(struct router *router, struct worker *worker, enum lost_reason reason,
                     int code, int64_t now) {
  struct deployment *deployment = deployment_of(router, worker);
  payload_unref(deployment->failure);
  deployment->failure = worker->goodbye ? payload_ref(worker->goodbye)
                                        : describe_loss(deployment, worker, reason, code);
  deployment->failure_phase = worker->phase;
  worker->charged = true;
  if (deployment->ready && router_gpu_missing(worker)) return (double)kCanary / 1e9;
  if (deployment->failure_count &&
      now - deployment->failures[(deployment->failure_count - 1) % CRASH_LOOP] > kForget)
    deployment->failed_starts = 0;
  deployment->failures[deployment->failure_count++ % CRASH_LOOP] = now;
  double delay = backoff(router, kBackoffFirst, kBackoffMost, deployment->failed_starts++);
  bool is_failed =
      !deployment->ready && (is_hopeless(deployment, worker) || in_crash_loop(deployment, now));
  if (is_failed) {
    delay = canary_pause(deployment, worker, delay);
    deployment->canary = now + (int64_t)(delay * 1e9);
    fail_deployment(router, deployment, now);
  }
  return delay;
}

static double served_backoff(struct router *router, struct worker *worker) {
  if (worker->finished || worker->tainted || worker->killed) return 0;
  if (!worker->quick_deaths++) return 0;
  return backoff(router, kBackoffFirst, kBackoffServed, worker->quick_deaths - 2);
}

static void lose_calls(struct router *router, struct worker *worker, enum lost_reason reason,
                       int code, int64_t now) {
  uint32_t entered = 0;
  for (const struct call *call = worker->first; call; call = call->next)
    entered += router_call_entered(router, call);
  bool is_end = reason == LOST_EXIT || reason == LOST_SIGNAL;
  if (entered && is_end && !worker->killed) router_eject_fault(router, worker, now);
  for (struct call *call = worker->first, *next; call; call = next) {
    next = call->next;
    router_call_lost(router, call, reason, code, entered == 1, now);
  }
}

// Another process stands in the place after `delay` seconds, if it is wanted. In a failed deployment
// it waits for its turn to be the canary.
static void replace(struct router *router, struct worker *worker, double delay, int64_t now) {
  if (router->draining || !worker->wanted) {
    worker->state = WORKER_NONE;
    return;
  }
  bool failed = deployment_of(router, worker)->state == DEPLOYMENT_FAILED;
  if (delay <= 0 && !failed) {
    router_worker_start(router, worker, now);
    return;
  }
  worker->state = WORKER_BACKOFF;
  timers_set(&router->timers, &worker->timer, now + (int64_t)(delay * 1e9));
}

void router_worker_process(struct router *router, uint32_t number, uint32_t generation,
                           uint32_t process) {
  if (number >= router->worker_count || router->workers[number]->generation != generation) return;
  router->workers[number]->process = process;
}

void router_worker_said(struct router *router, uint32_t number, uint32_t generation,
                        const char *text) {
  static const char said[] = "; it said: ";
  if (number >= router->worker_count || !*text) return;
  struct worker *worker = router->workers[number];
  if (worker->generation != generation) return;
  size_t size = strnlen(text, LIMIT_ERROR_MESSAGE);
  free(worker->said);
  worker->said = xcalloc(1, sizeof said + size);
  memcpy(worker->said, said, sizeof said - 1);
  char *out = worker->said + sizeof said - 1;
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    out[i] = c < ' ' || c == 127 ? ' ' : text[i];
  }
}

void router_worker_lost(struct router *router, uint32_t number, uint32_t generation,
                        enum lost_reason reason, int code, uint64_t entered, int64_t now) {
  if (number >= router->worker_count) return;
  router->now = now;
  struct worker *worker = router->workers[number];
  if (worker->generation != generation || worker->state == WORKER_NONE ||
      worker->state == WORKER_BACKOFF)
    return;
  struct deployment *deployment = deployment_of(router, worker);
  bool idle = !worker->first, was_starting = worker->state == WORKER_STARTING;
  bool young = !was_starting && idle && !worker->finished && !worker->killed &&
               now - worker->ready_at < kYoung;
  bool ours =
      worker->state == WORKER_LOST || worker->state == WORKER_DRAINING;  // it was told to go
  worker->entered = entered;
  if (reason == LOST_START && code == ENODEV) worker->phase = PHASE_NO_DEVICE;
  router_metrics_lost(worker, reason);
  timers_cancel(&router->timers, &worker->timer);
  timers_cancel(&router->timers, &worker->heartbeat);
  timers_cancel(&router->timers, &worker->recall);
  char text[LOSS_SIZE];
  router_loss_describe(router, worker, reason, code, text, sizeof text);
  leave_ready(router, worker, WORKER_NONE);
  lose_calls(router, worker, reason, code, now);
  double delay = was_starting || (young && !ours) ? charge(router, worker, reason, code, now)
                                                  : served_backoff(router, worker);
  uint32_t heir = deployment->retiree == number ? deployment->substitute : ROUTER_NONE;
  router_recycle_lost(router, worker);
  replace(router, worker, delay, now);
  router_loss_tell(router, worker, heir, text, now);
  router_recycle_next(router, deployment, now);
  router_scale_soon(router, deployment, now);
  router_dispatch(router, deployment, now);
}

const char *worker_status_text(const struct worker_status *status) {
  static const char *const texts[] = {"none", "starting", "ready", "draining", "waiting", "lost"};
  if (status->state == WORKER_READY && status->parked) return "parked";
  if (status->state != WORKER_BACKOFF) return texts[status->state];
  if (status->phase == PHASE_NO_DEVICE) return "no_device";
  return status->phase == PHASE_UNSUPPORTED ? "unsupported" : texts[status->state];
}

// ---- time ----

void router_worker_timer(struct router *router, struct worker *worker, int64_t now) {
  struct deployment *deployment = deployment_of(router, worker);
  if (worker->state == WORKER_BACKOFF) {
    bool failed = deployment->state == DEPLOYMENT_FAILED;
    if (failed && now < deployment->canary) {
      timers_set(&router->timers, &worker->timer, deployment->canary);
      return;
    }
    if (failed) deployment->canary = now + kCanary;
    router_worker_start(router, worker, now);
  } else if (worker->state == WORKER_STARTING) {
    struct error_writer writer;
    error_begin(&writer, ERROR_NOT_READY, EXECUTED_NO, true, "router");
    error_message(&writer, "worker %u did not become ready within %.0f s", worker->number,
                  (double)(LIMIT_START + LIMIT_BENCHMARK) / 1e9);
    unfit(router, worker, PHASE_NONE, error_end(&writer));
  } else {
    router_worker_kill(router, worker);  // it has drained long enough
  }
}

void router_worker_heartbeat(struct router *router, struct worker *worker, int64_t now) {
  if (worker->unanswered >= router->options.heartbeat_misses) {
    router_log(router, worker->deployment, "worker %u has not answered %u pings and is given up",
               worker->number, worker->unanswered);
    router_worker_kill(router, worker);
    bool starting = worker->state == WORKER_STARTING;
    lose_calls(router, worker, LOST_HEARTBEAT, 0, now);
    if (!starting) leave_ready(router, worker, WORKER_LOST);
    if (!starting) router_eject_fault(router, worker, now);
    router_scale_soon(router, deployment_of(router, worker), now);
    router_dispatch(router, deployment_of(router, worker), now);
    return;
  }
  worker->unanswered++;
  router_outlook_changed(router, worker);
  worker->pings++;
  router_worker_send(router, worker,
                     &(struct message){.type = MESSAGE_PING, .sequence = worker->pings});
  timers_set(&router->timers, &worker->heartbeat, now + router->options.heartbeat);
}

void router_worker_drain(struct router *router, struct worker *worker, int64_t now) {
  if (worker->state == WORKER_BACKOFF) {
    timers_cancel(&router->timers, &worker->timer);
    worker->state = WORKER_NONE;
    return;
  }
  if (worker->state == WORKER_NONE || worker->state == WORKER_LOST) return;
  if (worker->state == WORKER_DRAINING && !worker->retiring) return;  // it knows
  int64_t limit = worker->state == WORKER_STARTING ? LIMIT_GRACE : LIMIT_CONTEXT_EXIT;
  worker->retiring = false;
  leave_ready(router, worker, WORKER_DRAINING);
  timers_set(&router->timers, &worker->timer, now + limit);
  router_worker_send(router, worker, &(struct message){.type = MESSAGE_DRAIN, .remaining = limit});
}

void router_worker_retire(struct router *router, struct worker *worker, int64_t now) {
  leave_ready(router, worker, WORKER_DRAINING);
  worker->retiring = true;
  if (!worker->first) router_worker_drain(router, worker, now);
}
