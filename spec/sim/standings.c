// Which workers are ejected, on probation or trusted, held against their faults. That one has become
// slow is the router's word: it is believed of one that has just answered.
#include "world.h"

enum { FAULTS = 5, GOOD_CALLS = 3 };

static const int64_t kTime = SECONDS(30), kForget = SECONDS(600);

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

void standing_compare(struct world *world) {
  for (uint32_t i = 0; i < world->seat_count; i++) {
    struct seat *seat = &world->seats[i];
    struct worker_status status;
    router_worker_status(world->router, i, &status);
    if (status.standing == seat->trust.standing) continue;
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
