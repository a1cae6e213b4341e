// Deployments whose number of workers follows the load.
//
// How many are wanted is the autoscaler's decision, which is not made here once more: the router is
// asked for it. What has to hold, whatever is wanted:
//
//   I10  processes are at most max_workers, and one more while one is recycled
//   I11  starts are bounded in any minute; what was started for is kept for 60 s (A1); a start is not
//        called off; no worker is stopped before it was ready for twice its start (A1); while starts
//        fail one at a time is tried (A2)
//   a parked worker gets no calls (judge_dispatched); while calls wait, one worker is wanted at
//   least, and is to be given calls (A10)
#include "world.h"

static const int64_t kHeld = SECONDS(60);
static const int64_t kNone = SECONDS(73);  // the longest pause after a failed start
static const uint32_t kPeriods = 6;        // of 10 s

// ---- what it is like ----

static double draw_load(struct chance *chance) {
  static const double loads[] = {0, 0, 1, 100, 1e4, 1e6};
  return loads[chance_below(chance, 6)];
}

void scale_draw(const struct world *world, struct app *app) {
  // A stream of its own: worlds without any are what they would be without this.
  struct chance own = {world->seed * UINT64_C(0x9fb21c651e98df25) + (uint64_t)(app - world->apps)};
  if (chance_below(&own, 4)) return;
  app->scaled = true;
  app->scaling = autoscale_defaults();
  struct autoscale_options *options = &app->scaling;
  options->max_workers = app->worker_count;
  options->cold_workers = chance_below(&own, 2) ? 0 : chance_below(&own, app->worker_count + 1);
  options->start_burst = chance_below(&own, 2) ? 0 : 1 + chance_below(&own, app->worker_count);
  options->min_load = draw_load(&own);
  options->target_util = 0.5 + chance_below(&own, 6) / 10.0;
  options->min_cold_load = draw_load(&own);
  options->cold_mult = 1 + chance_below(&own, 4) / 2.0;
  options->max_queue_time = chance_magnitude(&own, MILLISECONDS(100), 8);
  options->target_queue_time = chance_magnitude(&own, MILLISECONDS(10), 8);
  options->inactivity_timeout =
      chance_below(&own, 4) ? chance_magnitude(&own, MILLISECONDS(1), 14) : 0;
  if (chance_below(&own, 4) == 0) options->inactivity_timeout = AUTOSCALE_NEVER;
}

uint32_t scale_first(const struct app *app) {
  if (!app->scaled) return app->worker_count;
  return app->scaling.cold_workers ? app->scaling.cold_workers : 1;
}

// ---- starts ----

static uint32_t size_of(const struct world *world, const struct app *app) {
  uint32_t size = 0;
  for (uint32_t i = 0; i <= app->worker_count; i++)
    size += world->seats[app->first_worker + i].wanted;
  return size - (app->substitute != ROUTER_NONE);
}

static uint32_t most_in_a_minute(const struct app *app) {
  uint32_t rise = app->worker_count / 5 + 1, burst = rise;
  if (app->scaling.start_burst > burst) burst = app->scaling.start_burst;
  if (app->scaling.cold_workers > burst) burst = app->scaling.cold_workers;
  return burst + kPeriods * rise;
}

void scale_started(struct world *world, struct app *app) {
  uint32_t standing = 0, unready = 0, most = most_in_a_minute(app);
  for (uint32_t i = 0; i <= app->worker_count; i++) {
    const struct seat *seat = &world->seats[app->first_worker + i];
    standing += seat->standing;
    unready += seat->wanted && !seat->ready && app->first_worker + i != app->substitute;
  }
  REQUIRE(world, standing < app->worker_count + (app->retiree != ROUTER_NONE),
          "%u processes stand where %u may, and one more is started", standing, app->worker_count);
  REQUIRE(world, !app->failures || !unready, "one more process is started while starts fail");
  REQUIRE(world, most < STARTS, "the ring of starts is too small");
  int64_t before = app->starts[(app->start_count + STARTS - most) % STARTS];
  REQUIRE(world, app->start_count < most || world->now - before >= kHeld,
          "more than %u processes are started in a minute", most);
  app->starts[app->start_count++ % STARTS] = world->now;
  world->statistics->scale_starts++;
}

void scale_grown(struct world *world, struct app *app) {
  app->sized_at[size_of(world, app)] = world->now;
}

// ---- after each step ----

static bool may_be_idle(const struct app *app) {
  return app->scaling.min_load <= 0 && app->scaling.inactivity_timeout >= 0;
}

static void unwanted(struct world *world, struct app *app, struct seat *seat) {
  uint32_t number = (uint32_t)(seat - world->seats);
  REQUIRE(world, number != app->retiree && number != app->substitute,
          "worker %u takes part in recycling and is not wanted any more", number);
  REQUIRE(world, may_be_idle(app) || world->now - app->sized_at[size_of(world, app)] >= kHeld,
          "worker %u is not wanted, and within the last 60 s was", number);
  seat->wanted = false;
  if (!seat->standing) return;
  REQUIRE(world, seat->ready, "the start of worker %u is called off", number);
  REQUIRE(world, !seat->killed && !seat->given_up && !seat->draining,
          "worker %u, which ends, is stopped", number);
  REQUIRE(world, world->now - seat->ready_at >= 2 * (seat->ready_at - seat->started_at),
          "worker %u is stopped, younger than twice its start", number);
  seat->retiring = true;
  app->ready--;
  world->statistics->stopped++;
}

void scale_look(struct world *world, struct seat *seat) {
  struct app *app = &world->apps[seat->deployment];
  struct worker_status status;
  router_worker_status(world->router, (uint32_t)(seat - world->seats), &status);
  if (!app->scaled || over_or_drained(world, app)) return;
  if (seat->wanted && !status.wanted) unwanted(world, app, seat);
}

void scale_told(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  bool parked = action->type == ROUTER_PARK;
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is parked, or is not any more");
  REQUIRE(world, seat->told_parked != parked, "worker %u is %sparked a second time", action->worker,
          parked ? "" : "un");
  seat->told_parked = parked;
}

static void look_at_parked(struct world *world, struct seat *seat) {
  struct worker_status status;
  router_worker_status(world->router, (uint32_t)(seat - world->seats), &status);
  bool parked = status.parked && seat->standing && seat->ready;
  REQUIRE(world, parked == (seat->told_parked && seat->standing),
          "whether worker %u is parked was not told", (uint32_t)(seat - world->seats));
  world->statistics->parked += parked && !seat->parked;
  world->statistics->unparked += !parked && seat->parked && seat->standing;
  seat->parked = parked;
}

// None may be there for a while: the last one is on its way out, has failed, or was started a moment
// ago.
static void look_at_demand(struct world *world, struct app *app) {
  struct deployment_status status;
  router_deployment_status(world->router, (uint32_t)(app - world->apps), &status, world->now);
  payload_unref(status.failure);
  REQUIRE(world, status.active_wanted, "%u calls wait, and no active worker is wanted",
          app->queued);
  if (status.workers)
    app->none_since = 0;
  else if (!app->none_since)
    app->none_since = world->now;
  REQUIRE(world, !app->none_since || world->now - app->none_since <= kNone,
          "%u calls wait, and no worker is wanted", app->queued);
}

void scale_step(struct world *world, struct app *app) {
  if (!app->scaled) return;
  for (uint32_t i = 0; i <= app->worker_count; i++) {
    struct seat *seat = &world->seats[app->first_worker + i];
    scale_look(world, seat);
    look_at_parked(world, seat);
  }
  if (!over_or_drained(world, app) && !app->failed && app->queued)
    look_at_demand(world, app);
  else
    app->none_since = 0;
}

bool scale_parked(const struct world *world, uint32_t number) {
  struct worker_status status;
  router_worker_status(world->router, number, &status);
  return world->seats[number].parked && status.parked;
}

bool scale_quiet(const struct world *world, const struct app *app) {
  for (uint32_t i = 0; i <= app->worker_count; i++) {
    const struct seat *seat = &world->seats[app->first_worker + i];
    if (seat->wanted ? !seat->standing || !seat->ready : seat->standing) return false;
  }
  return app->retiree == ROUTER_NONE;
}
