// Batches: calls of one function that were dispatched together take one slot, wait for each other no
// longer than they may, and end one by one.
#include <inttypes.h>

#include "world.h"

enum { LOOKED_AT = 24 };  // calls of a deployment that wait

// ---- who belongs together ----

uint32_t batch_members(const struct seat *seat, const struct record *record) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < seat->slot_count; i++) count += seat->slots[i]->batch == record->batch;
  return count;
}

struct record *batch_bearer(struct world *world, const struct record *record) {
  struct record *bearer = NULL;
  if (record->where != IN_SLOT) return NULL;
  const struct seat *seat = &world->seats[record->worker];
  for (uint32_t i = 0; i < seat->slot_count; i++) {
    struct record *other = seat->slots[i];
    if (other->batch != record->batch || other->answered) continue;
    if (!bearer || other->deadline > bearer->deadline ||
        (other->deadline == bearer->deadline && other->sequence < bearer->sequence))
      bearer = other;
  }
  return bearer;
}

// The calls made in it are those of another member from now on, or end with it.
static void hand_over(struct world *world, struct record *record, struct record *bearer) {
  if (!record->has_children) return;
  record->has_children = false;
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *other = world->apps[i].oldest; other; other = other->newer) {
      if (other->parent != record || other->answered) continue;
      if (bearer) {
        other->parent = bearer;
        bearer->has_children = true;
      } else {
        other->cancelled = true;
        truth_owe(world, other);
      }
    }
}

void batch_abandoned(struct world *world, struct record *record) {
  hand_over(world, record, batch_bearer(world, record));
}

void batch_widened(struct world *world, struct record *run) {
  struct record *bearer = batch_bearer(world, run);
  const struct seat *seat = &world->seats[run->worker];
  for (uint32_t i = 0; bearer && i < seat->slot_count; i++) {
    struct record *other = seat->slots[i];
    if (other->batch == run->batch && other != bearer) hand_over(world, other, bearer);
  }
}

// ---- what the router sends ----

void batch_dispatched(struct world *world, struct record *record, const struct action *action) {
  const struct message *message = &action->message;
  const struct router_function *function = &record_app(world, record)->functions[record->function];
  bool is_one = function->batch_size > 0, follows = world->follow > 0;
  REQUIRE(world, is_one == ((message->flags & CALL_BATCH) != 0),
          "call %u is sent as one %s a batch", record->number, is_one ? "without" : "of");
  REQUIRE(world, is_one ? message->batch < function->batch_size : !message->batch,
          "a batch of %u calls is sent", message->batch + 1);
  REQUIRE(world, !(follows || message->batch) || message->attempt == 1,
          "call %u is tried again beside others", record->number);
  if (follows) {
    const struct record *before = world->dispatched;
    REQUIRE(world,
            message->batch == world->follow - 1 && before->worker == action->worker &&
                before->deployment == record->deployment && before->function == record->function &&
                message->sequence == world->sequence + 1,
            "call %u is sent in the middle of a batch of others", record->number);
  }
  record->batch = follows ? world->dispatched->batch : message->sequence;
  world->statistics->batches += !follows && message->batch;
  world->follow = message->batch;
  world->dispatched = record;
}

bool batch_over(const struct world *world, const struct seat *seat, const struct record *record) {
  int64_t latest = 0;
  for (uint32_t i = 0; i < seat->slot_count; i++) {
    const struct record *other = seat->slots[i];
    if (other->batch != record->batch) continue;
    if (!other->answered) return false;
    if (other->answered_at > latest) latest = other->answered_at;
  }
  return world->now - latest >= LIMIT_GRACE;
}

// ---- who waits for others ----

// The only worker, if it can get calls. One that will end counts: of that the router need not make
// anything before it has ended.
static const struct seat *only_seat(const struct world *world, const struct app *app) {
  const struct seat *only = NULL;
  for (uint32_t i = 0; i <= app->worker_count; i++) {
    const struct seat *seat = &world->seats[app->first_worker + i];
    if (!seat->standing || !seat->ready) continue;
    if (only) return NULL;
    only = seat;
  }
  return only && judge_serves(world, only) &&
                 (!world->heartbeat || only->unanswered < world->misses)
             ? only
             : NULL;
}

static bool may_wait(const struct world *world, const struct record *record, int64_t wait) {
  bool has_time = record->queue_deadline - record->admitted >= 2 * wait;
  return !record->stood_back && !record->sequence && has_time &&
         world->now <= record->admitted + wait + world->slack;
}

// Where several workers or functions compete a call may wait for other reasons; so this looks at one
// worker, and calls of one function.
void batch_check_waiting(struct world *world, struct app *app) {
  const struct seat *seat = app->queued && app->queued <= LOOKED_AT ? only_seat(world, app) : NULL;
  struct record *first = NULL;
  uint32_t count = 0;
  bool is_due = false;
  for (struct record *record = seat ? app->oldest : NULL; record; record = record->newer) {
    if (record->where != IN_QUEUE) continue;
    // Whether it waits already nobody knows; a worker may be kept for it.
    if (world->now <= record->paused_until + world->slack) return;
    const struct router_function *function = &app->functions[record->function];
    if (!first) first = record;
    if (!function->batch_size || record->function != first->function) return;
    if (!judge_could_take(world, seat, record))
      record->stood_back = true;
    else if (record->queue_deadline > world->now)
      is_due |= ++count >= function->batch_size || !may_wait(world, record, function->batch_wait);
  }
  REQUIRE(world, !is_due, "call %u waits for others beside a free worker", first->number);
}
