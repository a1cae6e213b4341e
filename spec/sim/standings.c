// Which workers are ejected, on probation or trusted, held against their faults. That one has become
// slow is the router's word: it is believed of one that has just answered.
#include "world.h"

enum { FAULTS = 5, GOOD_CALLS = 3 };

static const int64_t kTime = SECONDS(30), kForget = SECONDS(600);

void standing_draw(struct world *world) {
  // A stream of its own: the other worlds are what they would be without this.
  struct chance own = {world->seed * UINT64_C(0xe7037ed1a0b428db)};
  if (chance_below(&own, 8)) return;
  // Two workers, of which one is often bad, and calls that make others: an ejection ends early.
  struct app *app = &world->apps[0];
  world->rates.breaks = 2;
  world->rates.nests = 1 + chance_below(&own, 2);
  world->app_count = 1;
  app->worker_count = 2;
  app->scaled = false;
}

// More than half of them look bad: then it is not the workers.
static bool panics(const struct world *world, const struct app *app) {
  uint32_t count = 0, active = 0;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    const struct seat *seat = &world->seats[i];
    struct worker_status status;
    router_worker_status(world->router, i, &status);
    if (!seat->standing || !seat->ready || seat->given_up || seat->draining || seat->retiring ||
        status.parked)
      continue;
    count += seat->trust.standing == STANDING_EJECTED;
    active++;
  }
  return 2 * count > active && !(count == 1 && active > 1);
}

static void eject(struct world *world, struct seat *seat) {
  struct trust *trust = &seat->trust;
  if (trust->standing == STANDING_EJECTED || world->apps[seat->deployment].worker_count < 2) return;
  bool anew = trust->standing == STANDING_TRUSTED && world->now - trust->trusted_at >= kForget;
  trust->ejections = anew ? 1 : trust->ejections + 1;
  trust->standing = STANDING_EJECTED;
  trust->until = world->now + kTime * trust->ejections;
  trust->faults = trust->good = 0;
  world->statistics->ejected++;
}

void standing_fault(struct world *world, struct seat *seat) {
  if (++seat->trust.faults >= FAULTS || seat->trust.standing == STANDING_PROBATION)
    eject(world, seat);
}

void standing_answered(struct world *world, struct seat *seat, const struct message *message) {
  struct trust *trust = &seat->trust;
  int executed;
  bool retryable;
  trust->answered_step = world->step;
  if (message->type == MESSAGE_ERROR && message->body &&
      read_error(message->body, &executed, &retryable) == ERROR_INTERNAL) {
    standing_fault(world, seat);
    return;
  }
  trust->faults = 0;
  if (trust->standing != STANDING_PROBATION || ++trust->good < GOOD_CALLS) return;
  trust->standing = STANDING_TRUSTED;
  trust->trusted_at = world->now;
  world->statistics->trusted_again++;
}

void standing_ticks(struct world *world, struct seat *seat) {
  struct trust *trust = &seat->trust;
  if (trust->standing != STANDING_EJECTED || trust->until > world->now) return;
  trust->standing = STANDING_PROBATION;
  trust->good = 0;
}

static bool may_go_now(const struct world *world, const struct record *record) {
  const struct record *run = record->where == ATTACHED ? record->run : record;
  return run->where == IN_QUEUE && world->now >= run->paused_until;
}

// Calls on all workers that are not ejected wait for others, one of which could go to one that is.
static bool is_needed(const struct world *world, const struct app *app) {
  if (!judge_deadlocked(world, app, true)) return false;
  for (const struct record *record = app->oldest; record; record = record->newer)
    if (record->parent && !record->answered && may_go_now(world, record)) return true;
  return false;
}

// Then those that wait here may go on when these have ended.
static bool others_run(const struct world *world, const struct app *app) {
  for (uint32_t i = 0; i < world->app_count; i++)
    for (const struct record *record = world->apps[i].oldest; record; record = record->newer)
      if (&world->apps[i] != app && record->parent && record->where != IN_QUEUE) return true;
  return false;
}

void standing_step(struct world *world, const struct app *app) {
  REQUIRE(world, over_or_drained(world, app) || !is_needed(world, app) || others_run(world, app),
          "a call waits for the end of an ejection, and all other workers run calls that wait");
}

void standing_compare(struct world *world) {
  for (uint32_t i = 0; i < world->seat_count; i++) {
    struct seat *seat = &world->seats[i];
    struct worker_status status;
    router_worker_status(world->router, i, &status);
    if (status.standing == seat->trust.standing) continue;
    if (status.standing == STANDING_PROBATION && seat->trust.standing == STANDING_EJECTED) {
      REQUIRE(world, is_needed(world, &world->apps[seat->deployment]),
              "the ejection of worker %u ends early, and nobody needs it", i);
      seat->trust.standing = STANDING_PROBATION;
      seat->trust.good = 0;
      world->statistics->needed_ejected++;
      continue;
    }
    REQUIRE(world, status.standing == STANDING_EJECTED && seat->trust.answered_step == world->step,
            "worker %u has standing %d and not %d", i, (int)status.standing,
            (int)seat->trust.standing);
    // Its third good call was not good.
    if (seat->trust.standing == STANDING_TRUSTED && seat->trust.trusted_at == world->now &&
        seat->trust.ejections)
      seat->trust.standing = STANDING_PROBATION;
    eject(world, seat);
    world->statistics->ejected_slow++;
  }
}

bool standing_serves(const struct world *world, const struct seat *seat) {
  switch (seat->trust.standing) {
    case STANDING_TRUSTED:
      return true;
    case STANDING_PROBATION:
      return !seat->slot_count;
    case STANDING_EJECTED:
      return panics(world, &world->apps[seat->deployment]);
  }
  return false;
}
