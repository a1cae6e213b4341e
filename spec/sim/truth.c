// What really happened, kept apart from the router's own state, and what the router may do then.
//
// Each event is first understood here: it says which calls have to be answered in this step
// (`owed`), which wait in the queue, which stand in a slot. Then the router gets it, and each of its
// actions has to fit.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/cursor.h"
#include "../../host/core/error.h"
#include "world.h"

enum { CHUNK = 1024, LOOK_EVERY = 64 };

static const int64_t kLate = SECONDS(1);  // after its deadline an outcome is too late
static const int64_t kYoung = SECONDS(10);
static const int64_t kCrashWindow = SECONDS(300);
static const int64_t kCanary = SECONDS(60);
static const int64_t kShortestBackoff = MILLISECONDS(160);
static const int64_t kLongestBackoff = SECONDS(73);
static const int64_t kPatience = SECONDS(10);  // with a free worker while a better one is busy

// ---- records ----

static struct record **index_slot(const struct person *person, uint64_t counter) {
  uint64_t slot = counter * UINT64_C(0x9e3779b97f4a7c15) >> 32;
  for (;; slot++) {
    struct record **at = &person->index[slot & (person->index_capacity - 1)];
    if (!*at || (*at)->id.counter == counter) return at;
  }
}

// After `records` has got one more.
static void index_add(struct person *person, struct record *record) {
  if (2 * person->record_count > person->index_capacity) {
    person->index_capacity = person->index_capacity ? 2 * person->index_capacity : 512;
    free(person->index);
    person->index = calloc(person->index_capacity, sizeof *person->index);
    for (uint32_t i = 0; i < person->record_count; i++)
      *index_slot(person, person->records[i]->id.counter) = person->records[i];
  }
  *index_slot(person, record->id.counter) = record;
}

struct record *record_new(struct world *world, uint32_t client, struct call_id id) {
  if (world->record_count == CHUNK * world->chunk_count) {
    world->chunks = realloc(world->chunks, (world->chunk_count + 1) * sizeof *world->chunks);
    world->chunks[world->chunk_count++] = malloc(CHUNK * sizeof **world->chunks);
  }
  uint32_t number = world->record_count++;
  struct record *record = &world->chunks[number / CHUNK][number % CHUNK];
  struct person *person = &world->people[client];
  *record = (struct record){.id = id,
                            .number = number,
                            .client = client,
                            .incarnation = person->incarnation,
                            .refusal = -1};
  if (person->record_count == person->record_capacity) {
    person->record_capacity = person->record_capacity ? 2 * person->record_capacity : 256;
    person->records = realloc(person->records, person->record_capacity * sizeof *person->records);
  }
  person->records[person->record_count++] = record;
  index_add(person, record);
  return record;
}

struct record *record_find(struct world *world, struct call_id id) {
  uint64_t client = (id.session >> 32) - 1;
  if (client >= world->people_count) return NULL;
  struct person *person = &world->people[client];
  if (person->incarnation != (uint32_t)id.session || !person->connected) return NULL;
  return person->index_capacity ? *index_slot(person, id.counter) : NULL;
}

struct record *record_at(struct world *world, uint64_t number) {
  return &world->chunks[number / CHUNK][number % CHUNK];
}

struct record *record_of(struct world *world, const struct payload *arguments) {
  uint32_t number = UINT32_MAX;
  if (arguments && arguments->size == sizeof number)
    memcpy(&number, arguments->parts[0].bytes, sizeof number);
  REQUIRE(world, number < world->record_count, "the arguments of a call are not those sent");
  return record_at(world, number);
}

void truth_close(struct world *world) {
  for (uint32_t i = 0; i < world->chunk_count; i++) free(world->chunks[i]);
  free(world->chunks);
}

static struct app *app_of(struct world *world, const struct record *record) {
  return &world->apps[record->deployment];
}

// ---- where a call is ----

static void link_record(struct world *world, struct record *record) {
  struct app *app = app_of(world, record);
  record->older = app->newest;
  record->newer = NULL;
  *(app->newest ? &app->newest->newer : &app->oldest) = record;
  app->newest = record;
}

static void unlink_record(struct world *world, struct record *record) {
  struct app *app = app_of(world, record);
  *(record->older ? &record->older->newer : &app->oldest) = record->newer;
  *(record->newer ? &record->newer->older : &app->newest) = record->older;
}

static void leave_slot(struct world *world, struct record *record) {
  struct seat *seat = &world->seats[record->worker];
  uint32_t i = 0;
  while (seat->slots[i] != record) i++;
  seat->slots[i] = seat->slots[--seat->slot_count];
}

static void move(struct world *world, struct record *record, enum where where) {
  struct app *app = app_of(world, record);
  struct person *person = &world->people[record->client];
  bool counted = record->incarnation == person->incarnation && person->connected;
  if (record->where == AT_CLIENT) {
    link_record(world, record);
    if (counted) person->calls++;
  }
  if (record->where == IN_QUEUE) app->queued--;
  if (record->where == IN_SLOT) {
    app->running--;
    leave_slot(world, record);
  }
  record->where = where;
  if (where == IN_QUEUE) app->queued++;
  if (where == IN_SLOT) {
    app->running++;
    struct seat *seat = &world->seats[record->worker];
    REQUIRE(world, seat->slot_count < HELD, "a worker has more calls than it has slots");
    seat->slots[seat->slot_count++] = record;
  }
  if (where == AT_END) {
    unlink_record(world, record);
    if (counted) person->calls--;
  }
}

static void owe(struct world *world, struct record *record) {
  if (record->owed || record->answered) return;
  record->owed = true;
  world->owed++;
}

// ---- what clients do ----

static int refusal(const struct world *world, const struct record *record) {
  if (record->deployment >= world->app_count) return ERROR_NO_SUCH_DEPLOYMENT;
  const struct app *app = &world->apps[record->deployment];
  if (record->function >= app->function_count) return ERROR_NO_SUCH_FUNCTION;
  if (world->draining) return ERROR_DRAINING;
  if (app->failed) return ERROR_DEPLOYMENT_FAILED;
  if (world->people[record->client].calls >= LIMIT_IN_FLIGHT) return ERROR_OVERLOADED;
  if (record->deadline <= record->admitted) return ERROR_DEADLINE_EXCEEDED;
  return -1;
}

static int64_t deadline_of(const struct world *world, const struct record *record,
                           const struct message *message) {
  const struct app *app = &world->apps[record->deployment];
  if (!(message->flags & CALL_DEFAULT_DEADLINE)) return world->now + message->remaining;
  int64_t timeout = app->functions[record->function].timeout;
  if (timeout) return world->now + timeout;
  return world->now + (app->was_ready ? LIMIT_DEADLINE_DEFAULT : LIMIT_READY);
}

void truth_arrives(struct world *world, struct record *record, const struct message *message) {
  record->admitted = world->now;
  record->deadline = world->now;
  if (record->deployment < world->app_count &&
      record->function < app_of(world, record)->function_count) {
    const struct router_function *function = &app_of(world, record)->functions[record->function];
    record->idempotent = function->idempotent;
    record->default_deadline =
        (message->flags & CALL_DEFAULT_DEADLINE) != 0 && function->timeout == 0;
    record->deadline = deadline_of(world, record, message);
  }
  record->refusal = refusal(world, record);
  if (record->refusal >= 0) {
    record->where = AT_END;
    owe(world, record);
  } else {
    move(world, record, IN_QUEUE);
  }
}

void truth_cancels(struct world *world, uint32_t client, const struct message *message) {
  struct record *record = record_find(world, message->id);
  if (!record || record->client != client || record->answered) return;
  if (record->where != IN_QUEUE && record->where != IN_SLOT) return;
  record->cancelled = true;
  owe(world, record);
}

void truth_leaves(struct world *world, uint32_t client) {
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *record = world->apps[i].oldest, *newer; record; record = newer) {
      newer = record->newer;
      if (record->client != client || record->incarnation != world->people[client].incarnation)
        continue;
      if (!record->answered) record->answered_at = world->now;
      record->answered = true;
      if (record->where == IN_QUEUE) move(world, record, AT_END);
    }
}

void truth_drains(struct world *world) {
  world->draining = true;
  for (uint32_t i = 0; i < world->app_count; i++) world->apps[i].ready = 0;
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *record = world->apps[i].oldest; record; record = record->newer)
      owe(world, record);
  for (uint32_t i = 0; i < world->seat_count; i++) world->seats[i].draining = true;
}

// ---- what workers do ----

void truth_entered(struct world *world, struct record *record) {
  record->entries++;
  REQUIRE(world, !record->never,
          "call %u is entered after its client was told that it was not executed", record->number);
  REQUIRE(world, record->idempotent ? record->entries <= LIMIT_ATTEMPTS : record->entries == 1,
          "call %u is entered %u times", record->number, record->entries);
}

static struct record *slot_of(struct world *world, const struct seat *seat,
                              const struct message *message) {
  for (uint32_t i = 0; i < seat->slot_count; i++) {
    struct record *record = seat->slots[i];
    if (record->sequence != message->sequence) continue;
    bool same = record->attempt == message->attempt && record->id.counter == message->id.counter &&
                record->id.session == message->id.session &&
                (message->type == MESSAGE_STARTED || message->epoch == world->epoch);
    return same ? record : NULL;
  }
  return NULL;
}

static void answered(struct world *world, struct seat *seat, const struct message *message) {
  struct record *record = slot_of(world, seat, message);
  if (!record) {
    seat->bad_answers++;
    world->statistics->bad_answers++;
  } else if (message->type == MESSAGE_GIVE_BACK) {
    move(world, record, record->answered ? AT_END : IN_QUEUE);
    world->statistics->requeued++;
  } else if (message->type != MESSAGE_STARTED) {
    seat->finished++;
    owe(world, record);
    move(world, record, AT_END);
    world->relayed = record;
    world->relaying = message->body;
  }
}

// Calls that have waited for the first worker have their default deadline from here on.
static void first_ready(struct world *world, struct app *app) {
  app->was_ready = true;
  for (struct record *record = app->oldest; record; record = record->newer)
    if (record->default_deadline) record->deadline = world->now + LIMIT_DEADLINE_DEFAULT;
}

static void ready(struct world *world, struct seat *seat, const struct message *message) {
  if (seat->ready || seat->killed || seat->draining) return;
  if (message->code) {  // see processes.c
    seat->other_manifest = seat->hopeless = true;
    return;
  }
  struct app *app = &world->apps[seat->deployment];
  seat->ready = true;
  seat->ready_at = world->now;
  app->ready++;
  world->canary_lives = app->failed;
  app->failed = false;
  if (!app->was_ready) first_ready(world, app);
}

void truth_worker_sends(struct world *world, const struct event *event) {
  struct seat *seat = &world->seats[event->who];
  const struct message *message = &event->message;
  if (!seat->standing || seat->generation != event->generation || seat->given_up) {
    world->statistics->zombies++;
    return;
  }
  switch (message->type) {
    case MESSAGE_READY:
      ready(world, seat, message);
      break;
    case MESSAGE_GOODBYE:
      seat->tainted = message->reason == PHASE_TAINTED;
      seat->hopeless = message->reason == PHASE_BUNDLE;
      break;
    case MESSAGE_PONG:
      if (message->sequence == seat->pings) seat->unanswered = 0;
      break;
    default:
      answered(world, seat, message);
  }
}

// ---- losses ----

static void lose_call(struct world *world, struct record *record, bool entered) {
  if (record->answered) {
    move(world, record, AT_END);
  } else if (!entered) {
    move(world, record, IN_QUEUE);
    world->statistics->requeued++;
  } else if (record->idempotent && record->attempt < LIMIT_ATTEMPTS) {
    record->spent++;
    move(world, record, IN_QUEUE);
    world->statistics->retried++;
  } else {
    record->lost = true;
    owe(world, record);
    move(world, record, AT_END);
  }
}

static void fail(struct world *world, struct app *app) {
  if (!app->failed) world->statistics->failed++;
  app->failed = true;
  app->canary_at = world->now;
  for (struct record *record = app->oldest; record; record = record->newer)
    if (record->where == IN_QUEUE) owe(world, record);
}

static void charge(struct world *world, struct seat *seat) {
  struct app *app = &world->apps[seat->deployment];
  seat->charged = true;
  app->charges[app->charge_count++ % CHARGES] = world->now;
  bool loop = app->charge_count >= CHARGES &&
              world->now - app->charges[app->charge_count % CHARGES] < kCrashWindow;
  if (!app->ready && !world->draining && (seat->hopeless || loop)) fail(world, app);
}

void truth_lost(struct world *world, uint32_t number) {
  struct seat *seat = &world->seats[number];
  struct app *app = &world->apps[seat->deployment];
  const struct process *process = &world->processes[number];
  bool was_ready = seat->ready && !seat->draining;
  bool young = was_ready && !seat->slot_count && !seat->finished && !seat->killed &&
               world->now - seat->ready_at < kYoung;
  seat->standing = seat->charged = false;
  seat->emptied_at = world->now;
  if (was_ready && !seat->given_up) app->ready--;
  while (seat->slot_count) {
    struct record *record = seat->slots[0];
    lose_call(world, record, process->entered >= record->sequence);
  }
  if (!seat->draining && (!seat->ready || young)) charge(world, seat);
  seat->start_owed =
      !seat->draining && !seat->charged && (seat->finished || seat->killed || seat->tainted);
  world->starts_owed += seat->start_owed;
}

void truth_ticks(struct world *world) {
  for (uint32_t i = 0; i < world->seat_count && world->heartbeat; i++) {
    struct seat *seat = &world->seats[i];
    if (!seat->standing || seat->given_up || seat->ping_at > world->now ||
        seat->unanswered < world->misses)
      continue;
    world->statistics->heartbeat_kills += !seat->killed;
    struct app *app = &world->apps[seat->deployment];
    if (seat->ready && !seat->draining && !--app->ready) app->emptied_at = world->now;
    // One that is still loading may yet say why it ends.
    seat->given_up = seat->ready || seat->draining;
    seat->ping_at = INT64_MAX;
    while (seat->slot_count) lose_call(world, seat->slots[0], true);
  }
}

// ---- the router's outcomes ----

static int read_name(const struct payload *body, int *executed) {
  static const char *const texts[] = {"no", "maybe", "yes"};
  struct cursor map = cursor_of(body->parts[0].bytes, body->size), value;
  const unsigned char *bytes;
  size_t size;
  *executed = -1;
  if (!cursor_array(&map, &size)) return -1;
  if (cursor_find(map, "executed", &value) && cursor_str(&value, &bytes, &size))
    for (int i = 0; i < 3; i++)
      if (size == strlen(texts[i]) && !memcmp(bytes, texts[i], size)) *executed = i;
  if (!cursor_find(map, "name", &value) || !cursor_str(&value, &bytes, &size)) return -1;
  for (int i = 0; i < ERROR_NAMES; i++)
    if (size == strlen(error_text((enum error_name)i)) &&
        !memcmp(bytes, error_text((enum error_name)i), size))
      return i;
  return -1;
}

static bool has_cause(const struct world *world, const struct record *record, int name) {
  if (record->refusal >= 0) return name == record->refusal;
  const struct app *app = &world->apps[record->deployment];
  // In one tick the deadline may come before the worker is given up.
  bool emptied = world->tick && app->emptied_at == world->now;
  switch (name) {
    case ERROR_CANCELLED:
      return record->cancelled || world->draining;
    case ERROR_DEADLINE_EXCEEDED:
      return world->now >= record->deadline && (record->where != IN_QUEUE || app->ready || emptied);
    case ERROR_NOT_READY:
      return world->now >= record->deadline && record->where == IN_QUEUE && !app->ready;
    case ERROR_WORKER_LOST:
      return record->lost;
    case ERROR_DEPLOYMENT_FAILED:
      return app->failed && record->where == IN_QUEUE;
    default:
      return false;
  }
}

static void check_error(struct world *world, struct record *record, const struct action *action) {
  int executed, name = read_name(action->message.body, &executed);
  REQUIRE(world, name >= 0 && executed >= 0, "an error without a name or `executed`");
  world->statistics->outcomes[name]++;
  const char *text = error_text((enum error_name)name);
  if (world->relayed == record)
    REQUIRE(world, action->message.body == world->relaying,
            "call %u ends with another error than its worker gave", record->number);
  else
    REQUIRE(world, has_cause(world, record, name), "call %u ends with %s without a cause",
            record->number, text);
  REQUIRE(world, executed != EXECUTED_NO || !record->entries,
          "call %u ends with %s, executed no, and was entered", record->number, text);
  REQUIRE(world, executed != EXECUTED_YES || record->entries,
          "call %u ends with %s, executed yes, and was not entered", record->number, text);
  record->never = executed == EXECUTED_NO;
}

static void check_result(struct world *world, struct record *record, const struct action *action) {
  const struct payload *body = action->message.body;
  uint64_t words[3] = {0};
  REQUIRE(world, world->relayed == record && world->relaying == body,
          "call %u gets a result that its worker did not give", record->number);
  if (body->size == sizeof words) memcpy(words, body->parts[0].bytes, sizeof words);
  REQUIRE(world,
          words[0] == record->id.session && words[1] == record->id.counter &&
              words[2] == record->sequence,
          "call %u gets the result of another call or attempt", record->number);
  record->result = true;
  world->statistics->results++;
}

void truth_outcome(struct world *world, const struct action *action) {
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
  record->answered = true;
  record->answered_at = world->now;
  if (record->owed) world->owed--;
  record->owed = false;
  if (record->where == IN_QUEUE) move(world, record, AT_END);
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

static bool could_take(const struct app *app, const struct seat *seat,
                       const struct record *record) {
  return seat->standing && seat->ready && !seat->killed && !seat->given_up && !seat->tainted &&
         !seat->draining && seat->slot_count < slots_with(app, seat, record->function);
}

void truth_dispatched(struct world *world, const struct action *action) {
  const struct message *message = &action->message;
  struct record *record = record_of(world, message->body);
  struct seat *seat = &world->seats[action->worker];
  trace(world, WORKER_GETS, action->worker, action->generation, message);
  REQUIRE(world,
          record->id.counter == message->id.counter && record->id.session == message->id.session &&
              record->function == message->function && world->epoch == message->epoch,
          "call %u is sent as another one", record->number);
  REQUIRE(world, record->where == IN_QUEUE, "call %u is sent and was not in the queue",
          record->number);
  REQUIRE(world, world->now < record->deadline, "call %u is sent after its deadline",
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
  REQUIRE(world, seat->slot_count < slots_with(app_of(world, record), seat, record->function),
          "call %u is sent to a worker without a free slot", record->number);
  world->sequence = record->sequence = message->sequence;
  record->attempt = message->attempt;
  record->worker = action->worker;
  record->generation = action->generation;
  move(world, record, IN_SLOT);
  world->statistics->dispatched++;
}

void truth_pinged(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is pinged");
  seat->unanswered++;
  seat->pings = action->message.sequence;
  seat->ping_at = world->now + world->heartbeat;
}

void truth_started(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  struct app *app = &world->apps[seat->deployment];
  REQUIRE(world, !seat->standing, "a process is started where one stands");
  REQUIRE(world, action->generation == seat->generation + 1, "generation %u comes after %u",
          action->generation, seat->generation);
  REQUIRE(world, !world->draining, "a process is started while the router ends");
  REQUIRE(world, !app->failed || world->now - app->canary_at >= kCanary,
          "a failed deployment starts more than one process in a minute");
  REQUIRE(
      world,
      !seat->charged || world->canary_lives || world->now - seat->emptied_at >= kShortestBackoff,
      "a process that failed is replaced without back-off");
  world->statistics->canaries += app->failed;
  if (app->failed) app->canary_at = world->now;
  world->starts_owed -= seat->start_owed;
  world->statistics->starts++;
  *seat = (struct seat){.deployment = seat->deployment,
                        .generation = action->generation,
                        .standing = true,
                        .started_at = world->now,
                        .pings = seat->pings,
                        .ping_at = world->now + world->heartbeat};
}

static bool grace_over(const struct world *world, const struct seat *seat) {
  for (uint32_t i = 0; i < seat->slot_count; i++)
    if (seat->slots[i]->answered && world->now - seat->slots[i]->answered_at >= LIMIT_GRACE)
      return true;
  return false;
}

void truth_killed(struct world *world, const struct action *action) {
  struct seat *seat = &world->seats[action->worker];
  REQUIRE(world, seat->standing && seat->generation == action->generation,
          "a process that is gone is killed");
  REQUIRE(world, !seat->killed, "a process is killed twice");
  bool grace = grace_over(world, seat);
  bool slow_start = !seat->ready && world->now - seat->started_at >= LIMIT_START;
  bool silent = seat->ping_at == INT64_MAX;
  REQUIRE(world,
          grace || slow_start || silent || seat->other_manifest || seat->draining ||
              seat->bad_answers >= LIMIT_BAD_ANSWERS,
          "a process is killed without a cause");
  seat->killed = true;
  world->statistics->kills++;
  world->statistics->grace_kills += grace;
}

// ---- after each step ----

static void compare_app(struct world *world, uint32_t number) {
  const struct app *app = &world->apps[number];
  struct deployment_status status;
  router_deployment_status(world->router, number, &status);
  payload_unref(status.failure);
  REQUIRE(world, status.queued == app->queued && status.running == app->running,
          "the router counts %u in the queue and %u running, there are %u and %u", status.queued,
          status.running, app->queued, app->running);
  REQUIRE(world, status.ready == app->ready, "the router counts %u ready workers, there are %u",
          status.ready, app->ready);
  REQUIRE(world, (status.state == DEPLOYMENT_FAILED) == (app->failed && !world->draining),
          "a deployment %s failed", app->failed ? "should have" : "should not have");
  REQUIRE(world, !app->failed || !app->queued || world->draining,
          "calls wait in a failed deployment");
}

static void compare_seat(struct world *world, uint32_t number) {
  const struct seat *seat = &world->seats[number];
  struct worker_status status;
  router_worker_status(world->router, number, &status);
  REQUIRE(world, status.in_flight == seat->slot_count,
          "the router counts %u calls on worker %u, there are %u", status.in_flight, number,
          seat->slot_count);
  bool ready = seat->standing && seat->ready && !seat->given_up && !seat->draining;
  REQUIRE(world, (status.state == WORKER_READY) == ready, "worker %u is %s", number,
          ready ? "ready and the router does not know" : "not ready");
  const struct app *app = &world->apps[seat->deployment];
  int64_t since =
      app->failed && app->canary_at > seat->emptied_at ? app->canary_at : seat->emptied_at;
  bool other_stands = false;
  for (uint32_t i = 0; app->failed && i < app->worker_count; i++)
    other_stands |= world->seats[app->first_worker + i].standing;
  REQUIRE(world,
          seat->standing || world->draining || other_stands ||
              world->now - since <= kLongestBackoff + (app->failed ? kCanary : 0),
          "worker %u is not replaced", number);
}

// The oldest call in the queue may wait for a fast busy worker while a slow one is free, but not
// longer than the slow one would take.
static void check_waiting(struct world *world, struct app *app) {
  struct record *record = app->oldest;
  while (record && record->where != IN_QUEUE) record = record->newer;
  uint32_t free_seat = ROUTER_NONE;
  for (uint32_t i = 0; record && i < app->worker_count && free_seat == ROUTER_NONE; i++)
    if (could_take(app, &world->seats[app->first_worker + i], record))
      free_seat = app->first_worker + i;
  if (free_seat == ROUTER_NONE || app->waiting != record) {
    app->waiting = free_seat == ROUTER_NONE ? NULL : record;
    app->waiting_since = world->now;
    return;
  }
  double score = router_score(world->router, free_seat, record->function);
  double predicted = score > 0 ? record->workload / score : 0;
  REQUIRE(world, world->now - app->waiting_since < kPatience + (int64_t)(2e9 * predicted),
          "call %u waits while worker %u could take it", record->number, free_seat);
}

static void check_deadlines(struct world *world, const struct app *app) {
  for (const struct record *record = app->oldest; record; record = record->newer)
    REQUIRE(world, record->answered || world->now < record->deadline,
            "call %u has not ended %.3f s after its deadline", record->number,
            (double)(world->now - record->deadline) / 1e9);
}

void truth_step(struct world *world) {
  REQUIRE(world, !world->owed, "%u calls should have ended in this step", world->owed);
  REQUIRE(world, !world->starts_owed, "a worker that has served is not replaced at once");
  uint32_t app = world->step % world->app_count;
  compare_app(world, app);
  compare_seat(world, world->step % world->seat_count);
  if (world->step % LOOK_EVERY == 0 || world->apps[app].queued == 1)
    check_waiting(world, &world->apps[app]);
  if (world->tick && world->step % LOOK_EVERY < LOOK_EVERY / 4)
    check_deadlines(world, &world->apps[app]);
  for (uint32_t i = 0; i < world->app_count; i++)
    world->apps[i].ready_before = world->apps[i].ready;
  world->relayed = NULL;
  world->relaying = NULL;
  world->tick = world->canary_lives = false;
}

// ---- the end ----

bool truth_quiet(const struct world *world) {
  if (clients_pending(world)) return false;
  for (uint32_t i = 0; i < world->app_count; i++) {
    const struct app *app = &world->apps[i];
    if (app->oldest || app->queued || app->running) return false;
    if (!world->draining && (app->failed || app->ready != app->worker_count)) return false;
  }
  return true;
}

void truth_unsettled(struct world *world, const char *when) {
  for (uint32_t i = 0; i < world->app_count; i++) {
    const struct app *app = &world->apps[i];
    printf("deployment %u: %u of %u workers ready, %u calls in the queue, %u running%s\n", i,
           app->ready, app->worker_count, app->queued, app->running, app->failed ? ", failed" : "");
  }
  violation(world, "%" PRIu64 " calls of clients have not ended %s", clients_pending(world), when);
}
