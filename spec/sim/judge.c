// What the router does, held against the truth.
//
// What has to hold in all worlds, and where that is looked at:
//
//   I1   each call has one outcome            judge_outcome (no second one), judge_step (owed ones)
//   I2   until its deadline and a second      judge_outcome, check_deadlines; at the client:
//                                             client_hears
//   I3   a function is entered once           truth_entered (attempts at most)
//   I4   `executed` tells the truth           check_error, truth_entered
//   I5   a result is that of its attempt      check_result, and only what truth.c lets through is
//                                             relayed: none of a process that was given up
//   I6   attempts have a number and a budget  judge_dispatched, try_again in truth.c
//   I7   slots, calls of one client           judge_dispatched, judge_step
//   I8   counts are those of their owners     compare_app, compare_seat
//   I9   no call waits for 10 ms beside a     check_waiting (but for one that will end it sooner),
//        free worker                          batch_check_waiting
//   I10  processes are not too many           scale.c
//   I11  starts are not too many              scale.c, with what else holds where load decides
//   I12  what waits has a limit               LIMIT_IN_FLIGHT in truth.c; the rest in spec/unit/c
//   I16  once the faults have stopped, all    settle in world.c, judge_quiet
//        ends and all workers are ready
#include <inttypes.h>
#include <string.h>

#include "../../host/core/cursor.h"
#include "../../host/core/error.h"
#include "world.h"

enum { LOOK_EVERY = 64 };

static const int64_t kLate = SECONDS(1);  // after its deadline an outcome is too late
static const uint32_t kBehind = 100;  // the router looks at 64 behind one that waits for a worker
static const int64_t kCanary = SECONDS(60), kSize = SECONDS(20);
static const int64_t kShortestBackoff = MILLISECONDS(160), kLongestBackoff = SECONDS(73);
static const int64_t kPatience = MILLISECONDS(10);  // of a call beside a free worker

// ---- the router's outcomes ----

int read_error(const struct payload *body, int *executed, bool *retryable) {
  static const char *const texts[] = {"no", "maybe", "yes"};
  struct cursor map = cursor_of(body->parts[0].bytes, body->size), value;
  const unsigned char *bytes;
  size_t size;
  *executed = -1;
  *retryable = false;
  if (!cursor_array(&map, &size)) return -1;
  if (cursor_find(map, "executed", &value) && cursor_str(&value, &bytes, &size))
    for (int i = 0; i < 3; i++)
      if (size == strlen(texts[i]) && !memcmp(bytes, texts[i], size)) *executed = i;
  if (cursor_find(map, "retryable", &value)) cursor_bool(&value, retryable);
  if (!cursor_find(map, "name", &value) || !cursor_str(&value, &bytes, &size)) return -1;
  for (int i = 0; i < ERROR_NAMES; i++)
    if (size == strlen(error_text((enum error_name)i)) &&
        !memcmp(bytes, error_text((enum error_name)i), size))
      return i;
  return -1;
}

static bool waits_for_another(const struct world *world, const struct record *record) {
  if (!record->has_children) return false;
  for (uint32_t i = 0; i < world->app_count; i++)
    for (const struct record *other = world->apps[i].oldest; other; other = other->newer)
      if (other->parent == record && !other->answered) return true;
  return false;
}

static bool batch_waits_for_another(const struct world *world, const struct seat *seat,
                                    const struct record *record) {
  for (uint32_t i = 0; i < seat->slot_count; i++)
    if (seat->slots[i]->batch == record->batch && waits_for_another(world, seat->slots[i]))
      return true;
  return false;
}

// It gets no calls until it has answered a ping.
static bool is_silent(const struct world *world, uint32_t number) {
  return world->heartbeat && world->seats[number].unanswered >= world->misses;
}

bool judge_deadlocked(const struct world *world, const struct app *app, bool but_for_ejected) {
  uint32_t ejected = 0;
  if (app->ready != app->worker_count) return false;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    const struct seat *seat = &world->seats[i];
    if (!seat->wanted || seat->slot_count) continue;
    bool is_there = seat->standing && seat->ready && !seat->killed && !seat->given_up &&
                    !seat->leaving && !seat->parked && !is_silent(world, i);
    if (!is_there || standing_serves(world, seat)) return false;
    ejected++;
  }
  if (but_for_ejected != (ejected > 0)) return false;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    const struct seat *seat = &world->seats[i];
    for (uint32_t k = 0; k < seat->slot_count; k++)
      if (!batch_waits_for_another(world, seat, seat->slots[k])) return false;
  }
  return true;
}

static bool has_cause(const struct world *world, const struct record *record, int name) {
  if (record->refusal >= 0) return name == record->refusal;
  const struct record *run = record->where == ATTACHED ? record->run : record;
  const struct app *app = &world->apps[record->deployment];
  // In one tick the deadline may come before the worker is given up.
  bool emptied = world->tick && app->emptied_at == world->now;
  switch (name) {
    case ERROR_CANCELLED:
      return record->cancelled || over_or_drained(world, app);
    case ERROR_DEADLINE_EXCEEDED:
      return run->where == IN_QUEUE
                 ? world->now >= record->queue_deadline && (app->ready || emptied)
                 : world->now >= record->deadline;
    case ERROR_DRAINING:
      return finish_gives_back(run);
    case ERROR_NOT_READY:
      return world->now >= record->queue_deadline && run->where == IN_QUEUE && !app->ready;
    case ERROR_OVERLOADED:
      return run->where == IN_QUEUE && record->parent && judge_deadlocked(world, app, false);
    case ERROR_WORKER_LOST:
      return run->lost;
    case ERROR_POISON_CALL:
      return run->poison;
    case ERROR_INTERNAL:
      return record->overdrawn;
    case ERROR_DEPLOYMENT_FAILED:
      return app->failed && run->where == IN_QUEUE;
    default:
      return false;
  }
}

static void check_error(struct world *world, struct record *record, const struct action *action) {
  bool retryable;
  int executed, name = read_error(action->message.body, &executed, &retryable);
  const struct record *run = record->run ? record->run : record;
  REQUIRE(world, name >= 0 && executed >= 0, "an error without a name or `executed`");
  world->statistics->outcomes[name]++;
  counts_of(world, record)->errors[name]++;
  const char *text = error_text((enum error_name)name);
  if (record->where == ATTACHED && run->outcome)
    key_relays(world, record, action->message.body);
  else if (world->relayed == record)
    REQUIRE(world, action->message.body == world->relaying,
            "call %u ends with another error than its worker gave", record->number);
  else if (!record->run || record->where != AT_END)
    REQUIRE(world, has_cause(world, record, name), "call %u ends with %s without a cause",
            record->number, text);
  REQUIRE(world, executed != EXECUTED_NO || !run->entries,
          "call %u ends with %s, executed no, and was entered", record->number, text);
  REQUIRE(world, executed != EXECUTED_YES || run->entries,
          "call %u ends with %s, executed yes, and was not entered", record->number, text);
  record->never = executed == EXECUTED_NO;
}

static void check_result(struct world *world, struct record *record, const struct action *action) {
  const struct payload *body = action->message.body;
  uint64_t words[3] = {0};
  const struct record *run = record->run ? record->run : record;
  REQUIRE(world,
          record->run ? run->outcome != NULL : world->relayed == record && world->relaying == body,
          "call %u gets a result that its worker did not give", record->number);
  if (record->run) key_relays(world, record, body);
  if (body->size == sizeof words) memcpy(words, body->parts[0].bytes, sizeof words);
  REQUIRE(world,
          words[0] == run->id.session && words[1] == run->id.counter && words[2] == run->sequence,
          "call %u gets the result of another call or attempt", record->number);
  record->result = true;
  world->statistics->results++;
  counts_of(world, record)->results++;
}

void judge_outcome(struct world *world, const struct action *action) {
  struct record *record = record_find(world, action->message.id);
  REQUIRE(world, world->people[action->peer].connected, "an answer for a client that is gone");
  REQUIRE(world, record && record->client == action->peer && record->where != AT_CLIENT,
          "an answer for a call that its client did not make");
  REQUIRE(world, !record->answered, "call %u gets a second outcome", record->number);
  REQUIRE(world, world->now <= record->deadline + kLate, "call %u ends %.3f s after its deadline",
          record->number, (double)(world->now - record->deadline) / 1e9);
  if (action->message.type == MESSAGE_RESULT)
    check_result(world, record, action);
  else
    check_error(world, record, action);
  bool is_somewhere = counts_of(world, record) != &world->nowhere;
  REQUIRE(world, record->ended || record->run || !is_somewhere, "call %u ends, and nobody is told",
          record->number);
  if (record->where == ATTACHED)
    key_outcome(world, record, action);
  else if (record->run)
    key_kept(world, record, action);
  record->answered = true;
  record->answered_at = world->now;
  if (record->owed) world->owed--;
  record->owed = false;
  if (record->where == IN_SLOT || world->relayed == record) batch_abandoned(world, record);
  if (record->where == IN_QUEUE) truth_move(world, record, AT_END);
}

// ---- the router's other actions ----

static uint32_t slots_with(const struct app *app, const struct seat *seat, uint32_t function) {
  uint32_t least = app->functions[function].concurrency;
  for (uint32_t i = 0; i < seat->slot_count; i++) {
    uint32_t concurrency = app->functions[seat->slots[i]->function].concurrency;
    if (concurrency < least) least = concurrency;
  }
  return least;
}

// It failed on this worker, and there is another one that has nothing to do.
static bool avoids(const struct world *world, const struct app *app, const struct record *record,
                   uint32_t number) {
  if (!(record->died_on >> number & 1)) return false;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++)
    if (judge_serves(world, &world->seats[i]) && !world->seats[i].slot_count &&
        !is_silent(world, i) && !(record->died_on >> i & 1))
      return true;
  return false;
}

bool judge_serves(const struct world *world, const struct seat *seat) {
  return standing_serves(world, seat) && seat->standing && seat->ready && !seat->killed &&
         !seat->given_up && !seat->tainted && !seat->draining && !seat->retiring &&
         !seat->leaving && !seat->parked;
}

bool judge_could_take(const struct world *world, const struct seat *seat,
                      const struct record *record) {
  const struct app *app = &world->apps[record->deployment];
  return judge_serves(world, seat) && seat->batch_count < slots_with(app, seat, record->function);
}

// A client that has one call in the queue does not wait behind all those of another; but those that
// come back from a worker have their old places, and a large call may be passed by smaller ones.
static void check_fair(struct world *world, const struct record *served) {
  if (served->sequence) return;
  for (uint32_t i = 0; i < world->people_count; i++) {
    struct record *record = world->people[i].only[served->deployment];
    if (!record || record->client == served->client || record->function != served->function ||
        record->priority < served->priority || world->now < record->paused_until ||
        record->died_on || served->order > record->order || served->workload < record->workload)
      continue;
    REQUIRE(world, ++record->behind <= kBehind,
            "call %u of a client with one waits behind %u calls of others", record->number,
            record->behind);
  }
}

void judge_dispatched(struct world *world, const struct action *action) {
  const struct message *message = &action->message;
  struct record *record = record_of(world, message->body);
  struct seat *seat = &world->seats[action->worker];
  trace(world, WORKER_GETS, action->worker, action->generation, message);
  if (record->is_run && !record->id.counter) {
    REQUIRE(world, message->id.session == world->epoch, "the run %u has the id of a client's call",
            record->number);
    record->id = message->id;
  }
  REQUIRE(world,
          record->id.counter == message->id.counter && record->id.session == message->id.session &&
              record->function == message->function && world->epoch == message->epoch,
          "call %u is sent as another one", record->number);
  REQUIRE(world, record->where == IN_QUEUE, "call %u is sent and was not in the queue",
          record->number);
  REQUIRE(world, world->now < record->queue_deadline, "call %u is sent after its deadline",
          record->number);
  REQUIRE(world, message->attempt == record->spent + 1, "call %u is sent as attempt %u, not %u",
          record->number, message->attempt, record->spent + 1);
  REQUIRE(world, message->sequence > world->sequence, "sequences do not grow");
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "call %u is sent to a process that is gone", record->number);
  REQUIRE(world, seat->deployment == record->deployment, "call %u is sent to another deployment",
          record->number);
  REQUIRE(world, seat->ready && !seat->killed && !seat->given_up && !seat->draining,
          "call %u is sent to a worker that is not ready", record->number);
  REQUIRE(world, !seat->retiring && !seat->leaving, "call %u is sent to a worker that goes",
          record->number);
  REQUIRE(world, !scale_parked(world, action->worker), "call %u is sent to a worker that is parked",
          record->number);
  standing_compare(world);
  REQUIRE(world, world->follow || standing_serves(world, seat),
          "call %u is sent to a worker that is ejected or has one on probation", record->number);
  record->ahead = (message->flags & CALL_AHEAD) != 0;
  if (record->ahead)
    ahead_sent(world, seat, record);
  else
    REQUIRE(world,
            world->follow ||
                seat->batch_count < slots_with(record_app(world, record), seat, record->function),
            "call %u is sent to a worker without a free slot", record->number);
  REQUIRE(world, !avoids(world, record_app(world, record), record, action->worker),
          "call %u is tried again on a worker that failed it", record->number);
  batch_dispatched(world, record, action);
  check_fair(world, record);
  world->sequence = record->sequence = message->sequence;
  record->attempt = message->attempt;
  record->worker = action->worker;
  record->generation = action->generation;
  record->stood_back = false;
  record->sent_at = world->now;
  record->work = ahead_work(world, seat, record);
  truth_move(world, record, IN_SLOT);
  world->statistics->dispatched++;
  counts_of(world, record)->dispatched++;
}

void judge_pinged(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is pinged");
  seat->unanswered++;
  seat->pings = action->message.sequence;
  seat->ping_at = world->now + world->heartbeat;
}

// A process in a place that was not wanted is there for the oldest one that is to be recycled.
static void begin_recycling(struct world *world, struct app *app, uint32_t number) {
  REQUIRE(world, app->retiree == ROUTER_NONE, "two workers are recycled at a time");
  app->retiree = truth_marked(world, app);
  REQUIRE(world, app->retiree != ROUTER_NONE, "one worker more than wanted is started");
  app->substitute = number;
  world->statistics->recycled++;
}

void judge_drained(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is drained");
  scale_look(world, seat);
  REQUIRE(world,
          over_or_drained(world, &world->apps[seat->deployment]) ||
              (seat->retiring && !seat->slot_count),
          "worker %u is drained %s", action->worker,
          seat->retiring ? "while it has calls" : "without a cause");
  seat->retiring = false;
  seat->draining = true;
  seat->left_at = world->now;
}

void judge_started(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  struct app *app = &world->apps[seat->deployment];
  REQUIRE(world, !seat->standing, "a process is started where one stands");
  REQUIRE(world, action->generation == seat->generation + 1, "generation %u comes after %u",
          action->generation, seat->generation);
  REQUIRE(world, !over_or_drained(world, app), "a process is started for what ends");
  REQUIRE(world, !app->failed || world->now - app->canary_at >= app->canary_gap,
          "a failed deployment starts more than one process at a time, or too soon");
  REQUIRE(
      world,
      !seat->charged || world->canary_lives || world->now - seat->emptied_at >= kShortestBackoff,
      "a process that failed is replaced without back-off");
  bool scales = app->scaled && !seat->wanted &&
                (app->retiree != ROUTER_NONE || truth_marked(world, app) == ROUTER_NONE);
  if (scales) scale_started(world, app);
  if (!seat->wanted && !scales) begin_recycling(world, app, action->worker);
  world->statistics->canaries += app->failed;
  if (app->failed) app->canary_at = world->now;
  app->canary_gap = kCanary;
  world->starts_owed -= seat->start_owed;
  world->statistics->starts++;
  *seat = (struct seat){.deployment = seat->deployment,
                        .generation = action->generation,
                        .standing = true,
                        .trust = seat->trust,
                        .wanted = true,
                        .started_at = world->now,
                        .pings = seat->pings,
                        .ping_at = world->now + world->heartbeat};
  if (scales) scale_grown(world, app);
}

static bool grace_over(const struct world *world, const struct seat *seat) {
  for (uint32_t i = 0; i < seat->slot_count; i++)
    if (batch_over(world, seat, seat->slots[i])) return true;
  return false;
}

// It has had its time to go.
static bool has_left(const struct world *world, const struct seat *seat) {
  int64_t limit = seat->ready ? LIMIT_CONTEXT_EXIT : LIMIT_GRACE;
  return (seat->draining || seat->leaving) && world->now - seat->left_at >= limit;
}

void judge_killed(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is killed");
  REQUIRE(world, !seat->killed, "a process is killed twice");
  bool grace = grace_over(world, seat);
  bool slow_start = !seat->ready && world->now - seat->started_at >= LIMIT_START;
  bool silent = seat->ping_at == INT64_MAX;
  REQUIRE(world,
          grace || slow_start || silent || seat->other_manifest || has_left(world, seat) ||
              seat->bad_answers >= LIMIT_BAD_ANSWERS,
          "a process is killed without a cause");
  seat->killed = true;
  world->statistics->kills++;
  world->statistics->grace_kills += grace;
}

// ---- after each step ----

// Who is to be recycled is, as soon as it is its turn and a place is free; who has been, goes.
static void check_recycling(struct world *world, const struct app *app) {
  bool is_free = false;
  for (uint32_t i = 0; i <= app->worker_count; i++) {
    const struct seat *seat = &world->seats[app->first_worker + i];
    is_free |= !seat->wanted && !seat->standing;
    REQUIRE(world, !seat->standing || !seat->retiring || seat->slot_count || seat->killed,
            "worker %u has ended its last call and is not told to go", app->first_worker + i);
  }
  REQUIRE(world,
          !is_free || over_or_drained(world, app) || app->failed || app->retiree != ROUTER_NONE ||
              truth_marked(world, app) == ROUTER_NONE,
          "a worker is not recycled when it is its turn");
}

static void compare_app(struct world *world, uint32_t number) {
  const struct app *app = &world->apps[number];
  struct deployment_status status;
  router_deployment_status(world->router, number, &status, world->now);
  payload_unref(status.failure);
  REQUIRE(world, status.queued == app->queued && status.running == app->running,
          "the router counts %u in the queue and %u running, there are %u and %u", status.queued,
          status.running, app->queued, app->running);
  size_t bytes = app->queued * sizeof(uint32_t);  // arguments are the number of a record
  REQUIRE(world, status.queue_bytes == bytes, "the router counts %zu bytes in the queue of %zu",
          status.queue_bytes, bytes);
  REQUIRE(world, status.ready == app->ready, "the router counts %u ready workers, there are %u",
          status.ready, app->ready);
  REQUIRE(world,
          (status.state == DEPLOYMENT_FAILED) == (app->failed && !over_or_drained(world, app)),
          "a deployment %s failed", app->failed ? "should have" : "should not have");
  REQUIRE(world, !app->failed || !app->queued || over_or_drained(world, app),
          "calls wait in a failed deployment");
  check_recycling(world, app);
}

static void compare_seat(struct world *world, uint32_t number) {
  const struct seat *seat = &world->seats[number];
  struct worker_status status;
  router_worker_status(world->router, number, &status);
  REQUIRE(world, status.in_flight == seat->batch_count,
          "the router counts %u slots of worker %u in use, there are %u", status.in_flight, number,
          seat->batch_count);
  bool ready =
      seat->standing && seat->ready && !seat->given_up && !seat->draining && !seat->retiring;
  REQUIRE(world, (status.state == WORKER_READY) == ready, "worker %u is %s", number,
          ready ? "ready and the router does not know" : "not ready");
  const struct app *app = &world->apps[seat->deployment];
  int64_t since =
      app->failed && app->canary_at > seat->emptied_at ? app->canary_at : seat->emptied_at;
  bool other_stands = false;
  for (uint32_t i = 0; app->failed && i <= app->worker_count; i++)
    other_stands |= world->seats[app->first_worker + i].standing;
  REQUIRE(world,
          seat->standing || !seat->wanted || over_or_drained(world, app) || other_stands ||
              world->now - since <= kLongestBackoff + (app->failed ? kCanary : 0),
          "worker %u is not replaced", number);
}

// One that failed goes elsewhere where that can be, and waits for that.
static uint32_t seat_for(const struct world *world, const struct app *app,
                         const struct record *record) {
  uint32_t failed = ROUTER_NONE;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    if (!judge_could_take(world, &world->seats[i], record) || is_silent(world, i)) continue;
    if (!(record->died_on >> i & 1)) return i;
    if (failed == ROUTER_NONE) failed = i;
  }
  return failed;
}

// A call that may be served first wants a worker alone: one is kept for it. It is of another client,
// or of another function, since a large call may be passed by those that come up to kSize later.
static bool other_fits_nowhere(const struct world *world, const struct app *app,
                               const struct record *record) {
  for (const struct record *other = record->newer; other; other = other->newer)
    if (other->where == IN_QUEUE &&
        (other->client != record->client ||
         (other->function != record->function && other->order - record->order <= kSize)) &&
        seat_for(world, app, other) == ROUTER_NONE)
      return true;
  return false;
}

static double predicted(const struct world *world, uint32_t number, const struct record *record) {
  double score = router_score(world->router, number, record->function);
  return score > 0 ? record->workload / score : 0;
}

// Of those that would go with it; a call ends with its batch.
static double with_batch(const struct world *world, const struct record *record) {
  uint32_t left = world->apps[record->deployment].functions[record->function].batch_size;
  double workload = record->workload;
  for (const struct record *other = record->newer; other && left > 1; other = other->newer) {
    if (other->where != IN_QUEUE || other->function != record->function) continue;
    workload += other->workload;
    left--;
  }
  return workload;
}

// Seconds until a call would have ended on a worker, behind all that it has, with the longest way
// there and back.
static double predicted_end(const struct world *world, uint32_t number,
                            const struct record *record) {
  const struct seat *seat = &world->seats[number];
  double seconds = predicted(world, number, record) * with_batch(world, record) / record->workload;
  seconds += 4 * (double)world->worker_latency / 1e9;
  for (uint32_t i = 0; i < seat->slot_count; i++)
    seconds += predicted(world, number, seat->slots[i]);
  return seconds;
}

// The oldest call in the queue may wait for a fast busy worker while a slow one is free, if that is
// predicted to end it earlier. The prediction may be wrong, and is made anew then, of what takes
// longer than it was said to: so it waits for no more than three times what the free one would have
// taken.
static void check_waiting(struct world *world, struct app *app) {
  struct record *record = app->oldest;
  while (record && (record->where != IN_QUEUE || world->now < record->paused_until))
    record = record->newer;
  uint32_t free_seat = record ? seat_for(world, app, record) : ROUTER_NONE;
  if (free_seat == ROUTER_NONE || app->waiting != record || app->waiting_seat != free_seat) {
    app->waiting_seat = free_seat;
    app->waiting_end = 0;
    app->waiting = free_seat == ROUTER_NONE ? NULL : record;
    app->waiting_since = world->now;
    return;
  }
  int64_t gathering = app->functions[record->function].batch_wait;
  double end = predicted_end(world, free_seat, record);
  if (end > app->waiting_end) app->waiting_end = end;
  REQUIRE(
      world,
      world->now - app->waiting_since < kPatience + gathering + (int64_t)(3e9 * app->waiting_end) ||
          other_fits_nowhere(world, app, record),
      "call %u waits while worker %u could take it", record->number, free_seat);
}

static void check_deadlines(struct world *world, const struct app *app) {
  for (const struct record *record = app->oldest; record; record = record->newer) {
    const struct record *run = record->where == ATTACHED ? record->run : record;
    int64_t deadline = run->where == IN_QUEUE ? record->queue_deadline : record->deadline;
    REQUIRE(world, record->answered || record->is_run || world->now < deadline,
            "call %u has not ended %.3f s after its deadline", record->number,
            (double)(world->now - record->deadline) / 1e9);
  }
}

void judge_step(struct world *world) {
  REQUIRE(world, !world->owed, "%u calls should have ended in this step", world->owed);
  REQUIRE(world, !world->starts_owed, "a worker that has served is not replaced at once");
  REQUIRE(world, !world->follow, "%u calls of a batch are missing", world->follow);
  for (uint32_t i = 0; i < world->app_count; i++) scale_step(world, &world->apps[i]);
  standing_compare(world);
  for (uint32_t i = 0; i < world->app_count; i++) standing_step(world, &world->apps[i]);
  for (uint32_t i = 0; i < world->app_count; i++) batch_check_waiting(world, &world->apps[i]);
  const struct person *person = &world->people[world->step % world->people_count];
  REQUIRE(world, person->calls <= LIMIT_IN_FLIGHT, "a client has %u calls in flight",
          person->calls);
  uint32_t app = world->step % world->app_count;
  compare_app(world, app);
  compare_seat(world, world->step % world->seat_count);
  ahead_step(world, world->step % world->seat_count);
  if (world->step % LOOK_EVERY == 0 || world->apps[app].queued == 1)
    check_waiting(world, &world->apps[app]);
  if (world->tick && world->step % LOOK_EVERY < LOOK_EVERY / 4)
    check_deadlines(world, &world->apps[app]);
  stream_judge_step(world);
  finish_step(world);
  world->relayed = NULL;
  world->relaying = NULL;
  world->tick = world->canary_lives = false;
}

// ---- the end ----

bool judge_quiet(const struct world *world) {
  if (clients_pending(world)) return false;
  for (uint32_t i = 0; i < world->app_count; i++) {
    const struct app *app = &world->apps[i];
    if (app->oldest || app->queued || app->running) return false;
    bool is_complete = app->scaled ? scale_quiet(world, app) : app->ready == app->worker_count;
    if (!over_or_drained(world, app) && (app->failed || !is_complete)) return false;
    if (!over_is_gone(world, app)) return false;
  }
  return true;
}

void judge_unsettled(struct world *world, const char *when) {
  for (uint32_t i = 0; i < world->app_count; i++) {
    const struct app *app = &world->apps[i];
    printf("deployment %u: %u of %u workers ready, %u calls in the queue, %u running%s\n", i,
           app->ready, app->worker_count, app->queued, app->running, app->failed ? ", failed" : "");
  }
  violation(world, "%" PRIu64 " calls of clients have not ended %s", clients_pending(world), when);
}
