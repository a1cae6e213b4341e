// Routers that end as a served one does, in the middle of their work.
//
// What has to hold:
//
//   in the step in which it finishes the calls that wait end in Draining, and no others
//   afterwards a call is admitted only if the call that makes it has a slot
//   those that have one go on to the end that they would have had anyhow: for that nothing is said
//   here, which is what everything else in the simulation is about
//   it has finished exactly when there is no call left whose client waits for it
#include "world.h"

void finish_draw(struct world *world) {
  // A stream of its own: worlds in which no router finishes are what they would be without this.
  struct chance own = {world->seed * UINT64_C(0xa0761d6478bd642f)};
  if (chance_below(&own, 6)) return;
  world->finish_at = world->span / 4 + chance_time(&own, world->span / 2);
}

// Whether the call that made it, or another one of its batch, is in progress.
static bool is_needed(const struct record *record) {
  if (!record->is_run)
    return record->parent && record->parent->where == IN_SLOT && !record->parent->answered;
  for (const struct record *other = record->attached; other; other = other->next)
    if (is_needed(other)) return true;
  return false;
}

bool finish_refuses(struct world *world, struct call_id parent) {
  if (!world->finishing) return false;
  const struct record *record = record_find(world, parent);
  bool is_refused = !record || !batch_bearer(world, record);
  world->statistics->needed += !is_refused;
  return is_refused;
}

bool finish_gives_back(const struct record *run) {
  return run->given_back && run->where == IN_QUEUE;
}

static void finish(struct world *world) {
  trace(world, ROUTER_FINISHES, 0, 0, NULL);
  world->finishing = true;
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *record = world->apps[i].oldest; record; record = record->newer) {
      if (record->where != IN_QUEUE || is_needed(record)) continue;
      record->given_back = true;
      truth_owe(world, record);
      world->statistics->ended_waiting++;
    }
  router_finish(world->router, world->now);
  shell_actions(world);
  judge_step(world);
}

void finish_looks(struct world *world, int64_t age) {
  if (!world->finish_at || world->draining) return;
  if (!world->finishing && age >= world->finish_at)
    finish(world);
  else if (world->finishing && router_finished(world->router))
    shell_drain(world);
}

static bool is_finished(const struct world *world) {
  for (uint32_t i = 0; i < world->app_count; i++)
    for (const struct record *record = world->apps[i].oldest; record; record = record->newer)
      if (!record->answered) return false;
  return true;
}

void finish_step(struct world *world) {
  if (!world->finishing) return;
  bool finished = is_finished(world);
  REQUIRE(world, router_finished(world->router) == finished, "the router says that it has %s",
          finished ? "not finished, and no call is left" : "finished, and calls are left");
}
