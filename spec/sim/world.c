// Draws a world, lives through it, ends it.
#include "world.h"

#include <stdlib.h>
#include <string.h>

enum { LATE_STEPS = 4 };  // how much longer than the steps the end may take

static const int64_t kBirth = SECONDS(1000);
static const int64_t kSettled = SECONDS(120);  // after the faults have stopped: invariant I16
static const int64_t kPatience = SECONDS(90);  // of clients that wait for their last calls

int64_t world_age(const struct world *world) {
  return world->life->seconds ? world->now - kBirth : world->step;
}

int64_t world_wakes(struct world *world) {
  if (!world->life->seconds) return INT64_MAX;
  return kBirth + world->faults_until + chance_time(&world->chance, SECONDS(5));
}

bool fault(struct world *world, uint32_t one_in) {
  return world->faults && chance_one_in(&world->chance, one_in);
}

// ---- what a world is like ----

static uint32_t draw_rate(struct chance *chance, uint32_t most) {
  return chance_below(chance, 2) ? 0 : most << chance_below(chance, 7);
}

static void draw_rates(struct world *world) {
  struct chance *chance = &world->chance;
  world->rates = (struct rates){
      .start_refused = draw_rate(chance, 4),
      .start_dies = draw_rate(chance, 3),
      .start_hangs = draw_rate(chance, 32),
      .other_manifest = draw_rate(chance, 8),
      .goodbye_first = chance_below(chance, 3),
      .short_life = draw_rate(chance, 1),
      .dies_unentered = draw_rate(chance, 64),
      .dies_in_call = draw_rate(chance, 32),
      .slow = draw_rate(chance, 16),
      .hangs = draw_rate(chance, 64),
      .breaks = draw_rate(chance, 16),
      .raises = draw_rate(chance, 8),
      .twice = draw_rate(chance, 16),
      .for_others = draw_rate(chance, 16),
      .wrong_epoch = draw_rate(chance, 16),
      .given_back = draw_rate(chance, 16),
      .overdraws = draw_rate(chance, 4),
      .item_late = draw_rate(chance, 8),
      .item_strange = draw_rate(chance, 16),
      .says_started = draw_rate(chance, 2),
      .deaf = draw_rate(chance, 128),
      .paused = draw_rate(chance, 128),
      .grows = draw_rate(chance, 16),
      .stubborn = draw_rate(chance, 1),
      .taints = draw_rate(chance, 1),
      .zombie = draw_rate(chance, 1),
      .flood = draw_rate(chance, 256),
      .cancel = draw_rate(chance, 8),
      .vanish = draw_rate(chance, 256),
      .nests = draw_rate(chance, 4),
      .limits = draw_rate(chance, 2),
      .streams = draw_rate(chance, 1),
      .keys = draw_rate(chance, 3),
      .mischief = draw_rate(chance, 8),
      .burst = draw_rate(chance, 256),
      .rush = draw_rate(chance, 32),
      .default_timeout = draw_rate(chance, 2),
      .quick_timeout = draw_rate(chance, 2),
      .burst_latency = draw_rate(chance, 64),
  };
}

static void draw_batch(struct chance *chance, struct router_function *function) {
  static const uint32_t sizes[] = {2, 3, 4, 8};
  function->batch_size = sizes[chance_below(chance, 4)];
  function->batch_wait =
      chance_below(chance, 4) ? chance_magnitude(chance, MICROSECONDS(50), 10) : 0;
  function->concurrency = 1 + chance_below(chance, 5) % 3;
}

static void draw_app(struct world *world, struct app *app) {
  static const uint32_t concurrencies[] = {1, 1, 1, 2, 3, 8, 16};
  struct chance *chance = &world->chance;
  uint32_t number = (uint32_t)(app - world->apps);
  app->function_count = 1 + chance_below(chance, FUNCTIONS);
  app->worker_count = 1 + chance_below(chance, WORKERS);
  app->scored = chance_below(chance, 2);
  int64_t scale = world->life->seconds && chance_below(chance, 2)
                      ? chance_magnitude(chance, MILLISECONDS(1), 8)
                  : world->brisk ? chance_magnitude(chance, 500, 4)
                                 : chance_magnitude(chance, MICROSECONDS(20), 12);
  for (uint32_t i = 0; i < app->function_count; i++) {
    app->functions[i] = (struct router_function){
        .concurrency = concurrencies[chance_below(chance, world->brisk ? 4 : 7)],
        .timeout = chance_below(chance, 3) ? 0 : chance_magnitude(chance, MILLISECONDS(20), 8),
        .idempotent = !chance_below(chance, 3),
        .benchmarked = app->scored,
        .max_calls = chance_below(chance, 4) ? 0 : 1 + chance_below(chance, 200),
        .max_rss = chance_below(chance, 4) ? 0 : 1000,
    };
    if (app->functions[i].idempotent && chance_below(chance, 2))
      app->functions[i].retry_on = "NotReady,RemoteError";
    if (chance_below(chance, 3) == 0) draw_batch(chance, &app->functions[i]);
    app->service[i] = chance_magnitude(chance, scale, 2);
  }
  scale_draw(world, app);
  snprintf(app->manifest, sizeof app->manifest, "deployment %u\nfunction f(x)\n", number);
  if (chance_below(chance, 3) == 0) {
    app->storm_from = chance_time(chance, world->span);
    app->storm_until = app->storm_from + chance_time(chance, world->span / 2);
  }
}

static void draw(struct world *world) {
  static const int64_t heartbeats[] = {0, SECONDS(1), SECONDS(5)};
  struct chance *chance = &world->chance;
  world->epoch = chance_next(chance);
  world->heartbeat = heartbeats[chance_below(chance, 3)];
  world->misses = 3;
  world->ahead = chance_below(chance, 4) ? MICROSECONDS(100) : 0;
  world->slack = chance_below(chance, 2) ? 0 : MILLISECONDS(5);
  world->brisk = chance_below(chance, 3) == 0;
  world->worker_latency = chance_magnitude(chance, MICROSECONDS(5), world->brisk ? 4 : 10);
  world->faults_until = world->span - world->span / 10;
  world->calls_until = world->span - world->span / 25;
  if (world->life->seconds) world->faults_until -= chance_time(chance, world->span / 3);
  if (chance_below(chance, 8) == 0)
    world->drain_at = world->faults_until + chance_time(chance, world->span / 10);
  draw_rates(world);
  world->app_count = 1 + chance_below(chance, DEPLOYMENTS);
  for (uint32_t i = 0; i < world->app_count; i++) draw_app(world, &world->apps[i]);
  finish_draw(world);
  over_draw(world);
  standing_draw(world);
}

// ---- its life ----

static void open_router(struct world *world) {
  struct router_options options = {chance_next(&world->chance), world->epoch, world->heartbeat,
                                   world->misses, world->ahead};
  world->router = router_new(&options);
  router_tell_ended(world->router, ended_told, world);
  for (uint32_t i = 0; i < world->app_count; i++) {
    struct app *app = &world->apps[i];
    app->first_worker = world->seat_count;
    app->retiree = app->substitute = ROUTER_NONE;
    for (uint32_t k = 0; k <= app->worker_count; k++)
      world->seats[world->seat_count++] =
          (struct seat){.deployment = i, .wanted = k < scale_first(app)};
    uint32_t number = router_deployment(world->router,
                                        &(struct router_deployment_options){
                                            .name = "app",
                                            .functions = app->functions,
                                            .function_count = app->function_count,
                                            .manifest = app->manifest,
                                            .manifest_size = strlen(app->manifest),
                                            .workers = app->worker_count,
                                            .scaling = app->scaled ? &app->scaling : NULL,
                                        },
                                        world->now);
    REQUIRE(world, number == i, "the deployment has number %u instead of %u", number, i);
    shell_actions(world);
  }
}

static void happen(struct world *world, struct event *event) {
  if (process_paused(world, event)) return;
  trace(world, event->kind, event->who, event->generation, &event->message);
  switch (event->kind) {
    case CLIENT_ACTS:
      client_acts(world, event);
      break;
    case CLIENT_SENDS:
      if (world->people[event->who].incarnation == event->generation)
        shell_client_sends(world, event->who, (uint32_t)event->sequence, &event->message);
      else
        payload_unref(event->message.body);
      break;
    case CLIENT_GETS:
      client_gets(world, event);
      break;
    case WORKER_GETS:
      process_gets(world, event);
      break;
    case WORKER_SENDS:
      shell_worker_sends(world, event);
      break;
    case WORKER_LOADED:
      process_loaded(world, event);
      break;
    case WORKER_ENTERS:
      process_enters(world, event);
      break;
    case WORKER_ENDS:
      process_ends(world, event);
      break;
    case WORKER_YIELDS:
      stream_yields(world, event);
      break;
    case CLIENT_READS:
      stream_reads(world, event);
      break;
    case WORKER_DIES:
      process_dies(world, event->who, event->generation, event->sequence ? LOST_SIGNAL : LOST_EXIT,
                   (int)event->sequence);
      break;
    case WORKER_LOST_SEEN:
      shell_worker_lost(world, event);
      break;
    default:
      break;
  }
}

// The next event, or a tick if the router's deadline comes first.
static bool step(struct world *world) {
  int64_t deadline = router_deadline(world->router), at = event_at(world);
  if (deadline == INT64_MAX && at == INT64_MAX) return false;
  if (deadline != INT64_MAX && world->slack) deadline += chance_time(&world->chance, world->slack);
  if (deadline <= at) {
    if (deadline > world->now) world->now = deadline;
    shell_tick(world);
  } else {
    struct event event;
    event_next(world, &event);
    if (event.at > world->now) world->now = event.at;
    happen(world, &event);
  }
  judge_step(world);
  world->step++;
  return true;
}

static void stop_faults(struct world *world) {
  world->faults = false;
  world->faults_stopped_at = world->now;
  trace(world, FAULTS_STOP, 0, 0, NULL);
}

static void live(struct world *world) {
  for (int64_t age; (age = world_age(world)) < world->span;) {
    if (world->faults && age >= world->faults_until) stop_faults(world);
    world->calling = age < world->calls_until;
    if (world->drain_at && !world->draining && age >= world->drain_at) shell_drain(world);
    finish_looks(world, age);
    over_looks(world, age);
    if (!step(world)) break;
  }
  world->faults = world->calling = false;
}

// Whoever waits on the longest limit has to be through: a deadline by default and the back-off of a
// start. Clients of worlds by time do not wait for those.
static void settle(struct world *world) {
  bool timed = world->life->seconds != 0, patient = chance_below(&world->chance, 2);
  int64_t limit = timed ? world->faults_stopped_at + kSettled
                        : world->now + LIMIT_READY + LIMIT_DEADLINE_DEFAULT + SECONDS(120);
  if (!patient) clients_cancel_all(world);
  while (!judge_quiet(world)) {
    if (timed && patient && world->now >= world->faults_stopped_at + kPatience) {
      patient = false;
      clients_cancel_all(world);
    }
    if (world->now > limit || (!timed && world->step > LATE_STEPS * world->life->steps + 200000))
      judge_unsettled(world, "after the faults have stopped");
    if (!step(world)) judge_unsettled(world, "and nothing will happen any more");
  }
}

static void drain(struct world *world) {
  if (!world->draining) shell_drain(world);
  int64_t limit = world->now + LIMIT_DRAIN;
  while (!router_drained(world->router))
    if (world->now > limit || !step(world)) judge_unsettled(world, "after the router was drained");
}

uint64_t world_run(uint64_t seed, const struct life *life, struct statistics *statistics) {
  struct world *world = calloc(1, sizeof *world);
  world->seed = seed;
  world->chance.state = seed * UINT64_C(0xd1342543de82ef95) + 1;
  world->life = life;
  world->span = life->seconds ? SECONDS(life->seconds) : life->steps;
  world->statistics = statistics;
  world->faults = world->calling = true;
  world->now = kBirth;
  draw(world);
  open_router(world);
  clients_open(world);
  live(world);
  // The router of some worlds ends in the middle of its work.
  if (world->drain_at || chance_below(&world->chance, 8)) {
    if (!world->draining) settle(world);
    drain(world);
    while (!judge_quiet(world) && step(world)) continue;
  }
  counts_judge(world);
  uint64_t hash = world->hash;
  statistics->steps += world->step;
  statistics->lived += world->now - kBirth;
  clients_close(world);
  router_free(world->router);
  event_close(world);
  records_close(world);
  free(world);
  return hash;
}
