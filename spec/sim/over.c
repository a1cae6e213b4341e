// Deployments that end as one of a served router does after its ttl, while the router goes on with
// others. There it happens only when no client is left; here clients go on calling.
//
// What has to hold:
//
//   in the step in which it ends all its calls end in Cancelled, and its workers are told to go
//   afterwards a call to it ends in Draining, and a process is never started for it again
//   the calls of other deployments go on, also those made in calls of the one that has ended, until
//   those that made them have
//   in the end none of its processes is left
#include "over.h"

#include "world.h"

void over_draw(struct world *world) {
  // A stream of its own: worlds in which no deployment ends are what they would be without this.
  struct chance own = {world->seed * UINT64_C(0xe7037ed1a0b428db)};
  if (chance_below(&own, 6)) return;
  for (uint32_t i = 0; i < world->app_count; i++)
    if (chance_below(&own, 2))
      world->apps[i].over_at = world->span / 4 + chance_time(&own, world->span / 2);
}

bool over_or_drained(const struct world *world, const struct app *app) {
  return world->draining || app->over;
}

void over_looks(struct world *world, int64_t age) {
  for (uint32_t i = 0; i < world->app_count; i++) {
    struct app *app = &world->apps[i];
    if (!app->over_at || age < app->over_at || over_or_drained(world, app)) continue;
    trace(world, DEPLOYMENT_ENDS, i, 0, NULL);
    app->over = true;
    truth_over(world, app);
    world->statistics->over++;
    router_deployment_end(world->router, i, world->now);
    shell_actions(world);
    judge_step(world);
  }
}

bool over_is_gone(const struct world *world, const struct app *app) {
  for (uint32_t i = app->first_worker; app->over && i <= app->first_worker + app->worker_count; i++)
    if (world->seats[i].standing) return false;
  return true;
}
