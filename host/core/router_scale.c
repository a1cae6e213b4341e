// The number of workers of a deployment with scaling: what autoscale.c is told, and what is done
// about its answer.
//
//   active   a ready worker that is given calls
//   parked   ready, with its process and its contexts, and given none. It takes calls again in the
//            step in which it is needed; what it has in its slots it still runs to the end
//   stopped  as a retiree: no more calls, and told to go when its last one has ended
//
// Parked are the slowest, and stopped of those parked the slowest that is old enough. A start is
// never called off; a place whose start has failed and waits for another try is given up first.
// One that is ejected (router_eject.c) carries next to nothing, so that others are started for its
// part of the load; it is the slowest of all.
// Recycling goes on beside it: a retiree and its substitute count as one, and neither is stopped.
//
// A step is due at most every 250 ms, when something has changed that it can do something about; at
// once when a call comes and none is active, when a worker is ready, and when one is gone. With
// nothing to do and nothing to wait for there is none.
#include <string.h>

#include "autoscale.h"
#include "memory.h"
#include "router_state.h"

static const int64_t kStep = 250 * NANOSECONDS_PER_MILLISECOND;
// Of a queue so many calls are looked at; the others are taken to be like them.
enum { LOOK_AT = 256 };
static const double kStartWeight = 0.25;  // of one start in what is known of them
static const double kLeast = 1e-3;        // speed; and of its speed, what one who is ejected has

struct scale {
  struct timer timer;
  struct autoscale *autoscale;
  struct autoscale_function *functions;
  double *speeds;      // scratch, one a place
  int64_t start_time;  // smoothed; 0: not known
  int64_t not_before;  // no start before that: a place that waited for another try was given up
  uint32_t deployment, active, active_wanted;
  uint32_t starting;  // at the last step
  char decision[DECISION_SIZE];
};

static struct deployment *deployment_of(const struct router *router, const struct scale *scale) {
  return router->deployments[scale->deployment];
}

static struct worker *place(const struct router *router, const struct deployment *deployment,
                            uint32_t i) {
  return router->workers[deployment->first_worker + i];
}

// ---- life ----

struct scale *router_scale_new(uint32_t deployment, uint32_t function_count,
                               const struct autoscale_options *options, int64_t now) {
  struct scale *scale = xcalloc(1, sizeof *scale);
  scale->timer.kind = TIMER_SCALE;
  scale->autoscale = autoscale_new(options, function_count, now);
  scale->functions = xcalloc(function_count, sizeof *scale->functions);
  scale->speeds = xcalloc(options->max_workers + 1, sizeof *scale->speeds);
  scale->deployment = deployment;
  scale->active_wanted = 1;
  return scale;
}

void router_scale_free(struct scale *scale) {
  if (!scale) return;
  autoscale_free(scale->autoscale);
  free(scale->functions);
  free(scale->speeds);
  free(scale);
}

// ---- what there is ----

static bool is_alive(const struct worker *worker) {
  return worker->state == WORKER_READY && !worker->killed && !worker->leaving;
}

static void update_scores(const struct router *router, struct scale *scale) {
  const struct deployment *deployment = deployment_of(router, scale);
  for (uint32_t f = 0; f < deployment->function_count; f++) {
    double sum = 0;
    uint32_t known = 0;
    for (uint32_t i = 0; i < deployment->place_count; i++) {
      const struct worker *worker = place(router, deployment, i);
      if (!is_alive(worker) || !(worker->scores[f] > 0)) continue;
      sum += worker->scores[f];
      known++;
    }
    if (known) scale->functions[f].score = sum / known;
  }
}

// In typical workers. Functions count alike: which of them is called may change at any time.
static double speed(const struct scale *scale, const struct deployment *deployment,
                    const struct worker *worker) {
  double sum = 0;
  uint32_t known = 0;
  for (uint32_t f = 0; f < deployment->function_count; f++) {
    if (!(worker->scores[f] > 0) || !(scale->functions[f].score > 0)) continue;
    sum += worker->scores[f] / scale->functions[f].score;
    known++;
  }
  if (!known) return 1;
  return sum / known > kLeast ? sum / known : kLeast;
}

// By which workers are ordered. Also where no ejection counts those who are not ejected come first:
// that few of the active ones look good is no reason to leave a good one parked.
static double rank(const struct scale *scale, const struct deployment *deployment,
                   const struct worker *worker) {
  double one = speed(scale, deployment, worker);
  return worker->standing == STANDING_EJECTED ? kLeast * one : one;
}

// What it carries.
static double capacity(const struct scale *scale, const struct deployment *deployment,
                       const struct worker *worker) {
  if (deployment->panics) return speed(scale, deployment, worker);
  return rank(scale, deployment, worker);
}

static void insert_speed(double *speeds, uint32_t count, double one) {
  uint32_t i = count;
  for (; i && speeds[i - 1] < one; i--) speeds[i] = speeds[i - 1];
  speeds[i] = one;
}

static double waiting_workload(const struct queue_line *line) {
  double sum = 0;
  uint32_t count = 0;
  const struct queue_item *item = line->first;
  for (; item && count < LOOK_AT; item = item->next, count++)
    sum += ((const struct call *)item)->workload;
  return count < line->count ? sum / count * (double)line->count : sum;
}

static void look_at_queue(const struct deployment *deployment, struct scale *scale,
                          struct autoscale_view *view, int64_t now) {
  for (uint32_t f = 0; f < deployment->function_count; f++) {
    const struct queue_line *line = &deployment->queue.lines[f];
    scale->functions[f].waiting = waiting_workload(line);
    if (!line->first) continue;
    int64_t waited = now - ((const struct call *)line->first)->admitted;
    if (waited > view->waited) view->waited = waited;
  }
}

static struct autoscale_view view_of(const struct router *router, struct scale *scale,
                                     int64_t now) {
  const struct deployment *deployment = deployment_of(router, scale);
  struct autoscale_view view = {.functions = scale->functions,
                                .speeds = scale->speeds,
                                .running = deployment->running,
                                .waiting = (uint32_t)deployment->queue.count + deployment->delayed,
                                .start_time = scale->start_time,
                                .failing = deployment->failed_starts > 0};
  update_scores(router, scale);
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = place(router, deployment, i);
    if (!worker->wanted || worker->number == deployment->substitute) continue;
    if (!is_alive(worker)) {
      view.starting++;
      continue;
    }
    insert_speed(scale->speeds, view.ready++, capacity(scale, deployment, worker));
    view.active += !worker->parked;
  }
  look_at_queue(deployment, scale, &view, now);
  return view;
}

// ---- parking ----

// The fastest parked one, or the slowest active one; the lower place counts as faster.
static struct worker *find(const struct router *router, const struct scale *scale, bool parked) {
  const struct deployment *deployment = deployment_of(router, scale);
  struct worker *best = NULL;
  double best_rank = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = place(router, deployment, i);
    if (!worker->wanted || !is_alive(worker) || worker->parked != parked) continue;
    double one = rank(scale, deployment, worker);
    if (best && (parked ? one <= best_rank : one > best_rank)) continue;
    best = worker;
    best_rank = one;
  }
  return best;
}

static void set_parked(struct router *router, struct worker *worker, bool parked) {
  if (worker->parked != parked) {
    struct action *action = router_act(router, parked ? ROUTER_PARK : ROUTER_UNPARK);
    action->deployment = worker->deployment;
    action->worker = worker->number;
    action->generation = worker->generation;
  }
  worker->parked = parked;
  router_outlook_changed(router, worker);
  router_eject_weigh(router, router->deployments[worker->deployment]);
}

// So many were wanted as carry the load if they are the fastest. What hardly differs stays.
static bool swap(struct router *router, const struct scale *scale) {
  static const double kWorth = 1.5;
  const struct deployment *deployment = deployment_of(router, scale);
  struct worker *fast = find(router, scale, true), *slow = find(router, scale, false);
  if (!fast || !slow) return false;
  if (rank(scale, deployment, fast) <= kWorth * rank(scale, deployment, slow)) return false;
  set_parked(router, fast, false);
  set_parked(router, slow, true);
  return true;
}

// Returns whether one can be given calls again.
static bool park(struct router *router, struct scale *scale, uint32_t active) {
  bool unparked = false;
  struct worker *worker;
  for (; scale->active < active && (worker = find(router, scale, true)); scale->active++) {
    set_parked(router, worker, false);
    unparked = true;
  }
  for (; scale->active > active && (worker = find(router, scale, false)); scale->active--)
    set_parked(router, worker, true);
  while (swap(router, scale)) unparked = true;
  return unparked;
}

// ---- starts ----

// Also those that are on their way out: they hold memory and devices.
static bool has_room(const struct router *router, const struct deployment *deployment) {
  uint32_t taken = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = place(router, deployment, i);
    taken += worker->wanted || worker->state != WORKER_NONE;
  }
  return taken + 1 < deployment->place_count + (deployment->substitute != ROUTER_NONE);
}

static struct worker *free_place(const struct router *router, const struct deployment *deployment) {
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = place(router, deployment, i);
    if (!worker->wanted && worker->state == WORKER_NONE) return worker;
  }
  return NULL;
}

static void start(struct router *router, struct scale *scale, uint32_t count, int64_t now) {
  struct deployment *deployment = deployment_of(router, scale);
  struct worker *worker;
  for (; count && has_room(router, deployment) && (worker = free_place(router, deployment));
       count--) {
    worker->wanted = true;
    autoscale_started(scale->autoscale);
    router_worker_start(router, worker, now);
  }
}

// ---- stops ----

static bool takes_part_in_recycling(const struct deployment *deployment,
                                    const struct worker *worker) {
  return worker->number == deployment->retiree || worker->number == deployment->substitute;
}

static struct worker *waiting_for_try(const struct router *router,
                                      const struct deployment *deployment) {
  for (uint32_t i = deployment->place_count; i--;) {
    struct worker *worker = place(router, deployment, i);
#ifdef PLANT_START_CALLED_OFF
    if (worker->wanted && worker->state == WORKER_STARTING) return worker;
#endif
    if (worker->wanted && worker->state == WORKER_BACKOFF &&
        !takes_part_in_recycling(deployment, worker))
      return worker;
  }
  return NULL;
}

// The slowest parked one that is old enough, or NULL; `*again` is lowered to when one will be.
static struct worker *dispensable(const struct router *router, const struct scale *scale,
                                  int64_t now, int64_t *again) {
  const struct deployment *deployment = deployment_of(router, scale);
  struct worker *slowest = NULL;
  double least = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    struct worker *worker = place(router, deployment, i);
    if (!worker->wanted || !worker->parked || !is_alive(worker)) continue;
    if (takes_part_in_recycling(deployment, worker)) continue;
    int64_t at = autoscale_may_stop(worker->ready_at - worker->started_at, worker->ready_at);
    if (at > now) {
      if (at < *again) *again = at;
      continue;
    }
    double one = rank(scale, deployment, worker);
    if (slowest && one > least) continue;
    slowest = worker;
    least = one;
  }
  return slowest;
}

static void stop(struct router *router, struct scale *scale, uint32_t count, int64_t now,
                 int64_t *again) {
  struct deployment *deployment = deployment_of(router, scale);
  for (; count; count--) {
    struct worker *worker = waiting_for_try(router, deployment);
    if (worker) {
      if (worker->timer.at > scale->not_before) scale->not_before = worker->timer.at;
      worker->wanted = false;
      router_worker_drain(router, worker, now);
      continue;
    }
    worker = dispensable(router, scale, now, again);
    if (!worker) return;
    worker->wanted = false;
    router_worker_retire(router, worker, now);
  }
}

// ---- the step ----

static uint32_t count_wanted(const struct router *router, const struct deployment *deployment) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = place(router, deployment, i);
    count += worker->wanted && worker->number != deployment->substitute;
  }
  return count;
}

static void follow(struct router *router, struct scale *scale, const struct autoscale_wish *wish,
                   uint32_t there, int64_t now, int64_t *again) {
  if (there > wish->total) stop(router, scale, there - wish->total, now, again);
  if (there >= wish->total) return;
  if (scale->not_before > now) {
    if (scale->not_before < *again) *again = scale->not_before;
    return;
  }
  start(router, scale, wish->total - there, now);
}

static void step(struct router *router, struct scale *scale, int64_t now) {
  struct deployment *deployment = deployment_of(router, scale);
  timers_cancel(&router->timers, &scale->timer);
  // One that has failed tries one start a minute, whatever is wanted; it has no calls.
  if (deployment->state == DEPLOYMENT_DRAINING || deployment->state == DEPLOYMENT_FAILED) return;
  struct autoscale_view view = view_of(router, scale, now);
  struct autoscale_wish wish = autoscale_step(scale->autoscale, &view, now);
  scale->active = view.active;
  scale->active_wanted = wish.active;
  bool unparked = park(router, scale, wish.active);
  follow(router, scale, &wish, view.ready + view.starting, now, &wish.again);
  deployment->worker_count = count_wanted(router, deployment);
  scale->starting = deployment->worker_count - view.ready;
  memcpy(scale->decision, wish.reason, strlen(wish.reason) + 1);
  if (wish.again != INT64_MAX)
    timers_set(&router->timers, &scale->timer, wish.again > now ? wish.again : now + 1);
  router_recycle_next(router, deployment, now);  // a place may be free now
  if (unparked) router_dispatch(router, deployment, now);
}

void router_scale_timer(struct router *router, struct timer *timer, int64_t now) {
  step(router, (struct scale *)(void *)((char *)timer - offsetof(struct scale, timer)), now);
}

// ---- events ----

void router_scale_soon(struct router *router, struct deployment *deployment, int64_t now) {
  if (deployment->scale) timers_set(&router->timers, &deployment->scale->timer, now);
}

void router_scale_offered(struct router *router, const struct call *call, int64_t now) {
  const struct deployment *deployment = call_deployment(router, call);
  struct scale *scale = deployment->scale;
  if (!scale) return;
  if (!scale->timer.position || scale->timer.at > now + kStep) {
    autoscale_observe(scale->autoscale, scale->functions, now);
    timers_set(&router->timers, &scale->timer, now + kStep);
  }
  struct autoscale_function *function = &scale->functions[call->function];
  function->workload += call->workload;
  function->squares += call->workload * call->workload;
  bool helps = !scale->starting || !scale->active_wanted;
  if (!scale->active && helps && deployment->queue.count) step(router, scale, now);
}

void router_scale_ready(struct router *router, struct worker *worker, int64_t now) {
  struct scale *scale = router->deployments[worker->deployment]->scale;
  worker->parked = false;
  if (!scale) return;
  double time = (double)(now - worker->started_at), known = (double)scale->start_time;
  scale->start_time = (int64_t)(known > 0 ? known + (time - known) * kStartWeight : time);
  // Until the next step says otherwise.
  set_parked(router, worker, scale->active >= scale->active_wanted);
  if (!worker->parked) scale->active++;
  router_scale_soon(router, router->deployments[worker->deployment], now);
}

bool router_scale_may_grow(const struct deployment *deployment) {
  return deployment->scale && deployment->worker_count + 1 < deployment->place_count;
}

void router_scale_status(const struct router *router, const struct deployment *deployment,
                         struct deployment_status *status) {
  const struct scale *scale = deployment->scale;
  for (uint32_t i = 0; i < deployment->place_count; i++) {
    const struct worker *worker = place(router, deployment, i);
    status->starting += worker->state == WORKER_STARTING || worker->state == WORKER_BACKOFF;
    status->parked += is_alive(worker) && worker->parked;
  }
  status->active = status->ready - status->parked;
  status->active_wanted = scale ? scale->active_wanted : status->workers;
  if (scale) memcpy(status->decision, scale->decision, sizeof status->decision);
}
