// Calls that the router hands ahead, held against the times that calls really took.
#include <math.h>

#include "world.h"

// As router_ahead.c says.
static const double kOverhead = 1000, kShort = 100 * 1000;  // nanoseconds
static const double kWeight = 1.0 / 8, kForgotten = 1.0 / 16;
static const int64_t kLate = MILLISECONDS(1), kSize = SECONDS(20);

void ahead_ended(struct world *world, struct seat *seat, const struct record *record,
                 int64_t elapsed) {
  (void)world;
  struct times *times = &seat->times[record->function];
  times->of[times->count++ % TIMES] = elapsed;
}

// The latest of them count: those before these add to what the router expects.
double ahead_work(const struct world *world, const struct seat *seat, const struct record *record) {
  const struct app *app = &world->apps[record->deployment];
  const struct times *times = &seat->times[record->function];
  if (app->functions[record->function].concurrency > 1 || times->count < TIMES) return 0;
  double mean = 0;
  for (uint32_t i = 0; i < TIMES; i++) {
    double time = kOverhead + (double)times->of[(times->count - 1 - i) % TIMES];
    if (time * pow(1 - kForgotten, i) > kShort * 1.001) return 0;
    mean += time * kWeight * pow(1 - kWeight, i);
  }
  return mean;
}

static const struct record *first_of(const struct seat *seat) {
  const struct record *first = seat->slots[0];
  for (uint32_t i = 1; i < seat->slot_count; i++)
    if (seat->slots[i]->sequence < first->sequence) first = seat->slots[i];
  return first;
}

static int64_t begun(const struct seat *seat) {
  const struct record *first = first_of(seat);
  return first->sent_at > seat->moved_at ? first->sent_at : seat->moved_at;
}

// Of other functions nobody knows.
static bool is_larger(const struct record *other, const struct record *record) {
  return other->function != record->function || other->workload > record->workload;
}

void ahead_sent(struct world *world, const struct seat *seat, const struct record *record) {
  REQUIRE(world, world->ahead, "call %u is handed ahead, and nothing is to be", record->number);
  REQUIRE(world, seat->slot_count, "call %u is handed ahead of nothing", record->number);
  REQUIRE(world, !record->parent, "call %u is handed ahead and was made in another one",
          record->number);
  double work = 0;
  for (uint32_t i = 0; i < seat->slot_count; i++) {
    const struct record *before = seat->slots[i];
    REQUIRE(world, ahead_work(world, seat, before) > 0 || before != first_of(seat),
            "call %u is handed ahead behind call %u, which may be long", record->number,
            before->number);
    work += before->work;
  }
  REQUIRE(world, ahead_work(world, seat, record) > 0,
          "call %u is handed ahead and may be long or run beside others", record->number);
  REQUIRE(world, work <= (double)world->ahead * 1.001, "call %u is handed ahead behind %.0f us",
          record->number, work / 1000);
  REQUIRE(world, world->now - begun(seat) < kLate,
          "call %u is handed ahead behind one that is late", record->number);
  // Between clients the router is fair, which may be another order; so it may be for what comes back.
  // Small calls pass larger ones that came no more than kSize before them.
  for (const struct record *other = record->older; other && !record->sequence; other = other->older)
    REQUIRE(world,
            other->where != IN_QUEUE || other->sequence || other->client != record->client ||
                other->priority != record->priority ||
                (is_larger(other, record) && record->order - other->order <= kSize),
            "call %u is handed ahead of call %u, which waits for longer", record->number,
            other->number);
  world->statistics->ahead++;
}

void ahead_leaves(struct world *world, struct seat *seat, const struct record *record) {
  if (first_of(seat) == record) seat->moved_at = world->now;
}

// ---- recalls ----

void ahead_recalled(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  struct process *process = &world->processes[action->worker];
  uint64_t until = action->message.sequence, entering = process->entering;
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "calls of a process that is gone are recalled");
  // The router decides before what else happens in the same step is done.
  bool has_changed = seat->given_up || seat->back_step == world->step;
  REQUIRE(world, has_changed || (seat->slot_count > 1 && world->now - begun(seat) >= kLate),
          "calls are recalled from a worker that is not late");
  uint32_t count = 0;
  process->recalled = seat->recalled = until;
  for (uint32_t i = 0; i < seat->slot_count;) {
    struct record *record = seat->slots[i];
    if (record->ahead && record->sequence <= until && record->sequence > entering) {
      truth_move(world, record, record->answered ? AT_END : IN_QUEUE);
      record->paused_until = 0;
      count++;
    } else {
      i++;
    }
  }
  uint32_t said = router_worker_recalled(world->router, action->worker, action->generation,
                                         entering, world->now);
  REQUIRE(world, said == count, "the router takes back %u calls, there are %u", said, count);
  world->statistics->recalled += count;
}

// ---- one call ----

bool ahead_taken(const struct process *process, uint64_t sequence) {
  return process->recalled >= sequence || process->withdrawn[sequence % 64] == sequence;
}

void ahead_withdrawn(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  struct process *process = &world->processes[action->worker];
  uint64_t sequence = action->message.sequence, *place = &process->withdrawn[sequence % 64];
  bool has_place = *place <= process->entering || *place <= process->recalled;
  bool taken = has_place && sequence > process->entering;
  if (has_place) *place = sequence;
  if (seat->withdrawn < sequence) seat->withdrawn = sequence;
  for (uint32_t i = 0; taken && i < seat->slot_count; i++) {
    if (seat->slots[i]->sequence != sequence) continue;
    const struct record *record = seat->slots[i];
    REQUIRE(world, record->owed || world->now >= record->deadline,
            "call %u is withdrawn, and does not end", record->number);
    truth_move(world, seat->slots[i], IN_QUEUE);
    world->statistics->withdrawn++;
    seat->back_step = world->step;
    break;
  }
  router_worker_withdrawn(world->router, action->worker, action->generation, sequence, taken,
                          world->now);
}

// Those that were not entered when the one in front was late wait again.
void ahead_step(struct world *world, uint32_t number) {
  const struct seat *seat = &world->seats[number];
  uint32_t behind = 0;
  for (uint32_t i = 0; i < seat->slot_count; i++)
    behind += seat->slots[i]->ahead && seat->slots[i]->sequence > seat->recalled;
  if (!behind || seat->slot_count < 2) return;
  REQUIRE(world, world->now - begun(seat) <= kLate + world->slack,
          "%u calls have been behind a late one on worker %u for %.3f ms", behind, number,
          (double)(world->now - begun(seat)) / 1e6);
}
