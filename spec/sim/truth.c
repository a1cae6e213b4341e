// What really happened, kept apart from the router's own state, and what the router may do then.
//
// Each event is first understood here: it says which calls have to be answered in this step
// (`owed`), which wait in the queue, which stand in a slot. Then the router gets it, and each of its
// actions has to fit.
#include <stdlib.h>
#include <string.h>

#include "../../host/core/error.h"
#include "world.h"

static const int64_t kYoung = SECONDS(10);
static const int64_t kCrashWindow = SECONDS(300);
static const int64_t kCanary = SECONDS(60), kForget = SECONDS(600);

// ---- where a call is ----

// The records of a deployment stand in the order in which its calls are to be served.
static void link_record(struct world *world, struct record *record) {
  struct app *app = record_app(world, record);
  struct record *before = app->newest;
  while (before && before->order > record->order) before = before->older;
  record->older = before;
  record->newer = before ? before->newer : app->oldest;
  *(record->older ? &record->older->newer : &app->oldest) = record;
  *(record->newer ? &record->newer->older : &app->newest) = record;
}

static void unlink_record(struct world *world, struct record *record) {
  struct app *app = record_app(world, record);
  *(record->older ? &record->older->newer : &app->oldest) = record->newer;
  *(record->newer ? &record->newer->older : &app->newest) = record->older;
}

static void leave_slot(struct world *world, struct record *record) {
  struct seat *seat = &world->seats[record->worker];
  uint32_t i = 0;
  ahead_leaves(world, seat, record);
  while (seat->slots[i] != record) i++;
  seat->slots[i] = seat->slots[--seat->slot_count];
  seat->batch_count -= !batch_members(seat, record);
}

// Which call of a client is the only one of its that waits: see judge.c.
static void count_queued(struct world *world, struct record *record, int change) {
  struct person *person = &world->people[record->client];
  if (record->incarnation != person->incarnation) return;
  uint32_t *queued = &person->queued[record->deployment];
  *queued += (uint32_t)change;
  person->only[record->deployment] = change > 0 && *queued == 1 ? record : NULL;
  record->behind = 0;
}

void truth_move(struct world *world, struct record *record, enum where where) {
  struct app *app = record_app(world, record);
  struct person *person = &world->people[record->client];
  bool counted = record->incarnation == person->incarnation && person->connected;
  if (record->where == AT_CLIENT) {
    link_record(world, record);
    if (counted) person->calls++;
  }
  if (record->where == IN_QUEUE) {
    app->queued--;
    count_queued(world, record, -1);
  }
  if (record->where == IN_SLOT) {
    app->running--;
    leave_slot(world, record);
  }
  record->where = where;
  if (where == IN_QUEUE) {
    app->queued++;
    count_queued(world, record, 1);
  }
  if (where == IN_SLOT) {
    app->running++;
    struct seat *seat = &world->seats[record->worker];
    REQUIRE(world, seat->slot_count < HELD, "a worker has more calls than it has slots");
    seat->batch_count += !batch_members(seat, record);
    seat->slots[seat->slot_count++] = record;
  }
  if (where == AT_END) {
    unlink_record(world, record);
    if (counted) person->calls--;
  }
}

void truth_owe(struct world *world, struct record *record) {
  if (record->is_run) key_owe(world, record);
  if (record->owed || record->answered || record->is_run) return;
  record->owed = true;
  world->owed++;
}

// Nothing waits in a failed deployment, also not what comes back from a worker on its way out.
static void fail_waiting(struct world *world, const struct app *app) {
  for (struct record *record = app->oldest; app->failed && record; record = record->newer)
    if (record->where == IN_QUEUE) truth_owe(world, record);
}

// ---- what clients do ----

static int refusal(struct world *world, const struct record *record,
                   const struct message *message) {
  if (record->deployment >= world->app_count) return ERROR_NO_SUCH_DEPLOYMENT;
  const struct app *app = &world->apps[record->deployment];
  if (record->function >= app->function_count) return ERROR_NO_SUCH_FUNCTION;
  if (over_or_drained(world, app) || finish_refuses(world, message->parent)) return ERROR_DRAINING;
  if (app->failed) return ERROR_DEPLOYMENT_FAILED;
  if (record->flags & CALL_STREAM && app->functions[record->function].batch_size > 1)
    return ERROR_UNSUPPORTED;
  if (record->deadline <= record->admitted) return ERROR_DEADLINE_EXCEEDED;
  if (world->people[record->client].calls >= LIMIT_IN_FLIGHT) return ERROR_OVERLOADED;
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

// A call that is made in one that runs has no more time than that.
static void adopt(struct world *world, struct record *record, const struct message *message) {
  struct record *parent = message->parent.counter ? record_find(world, message->parent) : NULL;
  parent = parent ? batch_bearer(world, parent) : NULL;
  if (!parent) return;
  record->parent = parent;
  parent->has_children = true;
  if (parent->deadline < record->deadline) record->deadline = parent->deadline;
}

// ---- further attempts ----

static struct second *second_at(struct world *world, struct app *app) {
  int64_t at = world->now / SECONDS(1);
  struct second *second = &app->seconds[at % BUDGET];
  if (second->at != at) *second = (struct second){.at = at};
  return second;
}

static bool has_budget(struct world *world, struct app *app) {
  uint32_t calls = 0, retries = 0;
  for (int i = 0; i < BUDGET; i++) {
    if (world->now / SECONDS(1) - app->seconds[i].at >= BUDGET) continue;
    calls += app->seconds[i].calls;
    retries += app->seconds[i].retries;
  }
  return retries < 30 || retries < calls / 10;
}

static void pause_record(struct world *world, struct record *record, uint32_t times) {
  int64_t longest = MILLISECONDS(50);
  for (uint32_t i = 0; i < times && longest < SECONDS(2); i++) longest *= 2;
  record->paused_until = world->now + (longest < SECONDS(2) ? longest : SECONDS(2));
}

// It comes back from a worker that has not entered it.
static void resend(struct world *world, struct record *record) {
  record->paused_until = 0;
  if (record->resent++) pause_record(world, record, record->resent - 2);
  truth_move(world, record, IN_QUEUE);
  world->statistics->requeued++;
  counts_of(world, record)->requeued++;
}

// False: the attempt that has failed was the last one.
static bool try_again(struct world *world, struct record *record) {
  struct app *app = record_app(world, record);
  record->died_on |= 1u << record->worker;
  if (record->attempt >= record->attempts || world->now >= record->deadline) return false;
  if (!has_budget(world, app)) {
    world->statistics->refused_retries++;
    return false;
  }
  second_at(world, app)->retries++;
  pause_record(world, record, record->spent++);
  truth_move(world, record, IN_QUEUE);
  world->statistics->retried++;
  counts_of(world, record)->retried++;
  return true;
}

static void admit(struct world *world, struct record *record, struct message *message) {
  second_at(world, record_app(world, record))->calls++;
  adopt(world, record, message);
  record->queue_deadline = record->deadline;
  if (message->queue_timeout && message->queue_timeout < record->deadline - world->now)
    record->queue_deadline = world->now + message->queue_timeout;
  record->attempts = message->attempts;
  if (!record->attempts) record->attempts = record->idempotent ? LIMIT_ATTEMPTS : 1;
  world->arrival = world->now > world->arrival ? world->now : world->arrival + 1;
  record->priority = message->priority;
  record->order = world->arrival - message->priority * NANOSECONDS_PER_SECOND;
  if (!key_admits(world, record, message)) truth_move(world, record, IN_QUEUE);
}

void truth_arrives(struct world *world, struct record *record, struct message *message) {
  record->admitted = world->now;
  record->deadline = world->now;
  if (record->deployment < world->app_count &&
      record->function < record_app(world, record)->function_count) {
    const struct router_function *function =
        &record_app(world, record)->functions[record->function];
    record->idempotent = function->idempotent;
    record->default_deadline =
        (message->flags & CALL_DEFAULT_DEADLINE) != 0 && function->timeout == 0;
    record->deadline = deadline_of(world, record, message);
  }
  record->refusal = refusal(world, record, message);
  if (record->refusal >= 0) {
    record->where = AT_END;
    truth_owe(world, record);
    counts_of(world, record)->refused++;
  } else {
    counts_of(world, record)->admitted++;
    admit(world, record, message);
  }
}

void truth_cancels(struct world *world, uint32_t client, const struct message *message) {
  struct record *record = record_find(world, message->id);
  if (!record || record->client != client || record->answered) return;
  if (record->where == AT_CLIENT || record->where == AT_END) return;
  record->cancelled = true;
  truth_owe(world, record);
}

void truth_leaves(struct world *world, uint32_t client) {
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *record = world->apps[i].oldest, *newer; record; record = newer) {
      newer = record->newer;
      if (record->client != client || record->incarnation != world->people[client].incarnation)
        continue;
      if (!record->answered) record->answered_at = world->now;
      if (!record->answered) counts_of(world, record)->vanished++;
      record->answered = true;
      if (record->where == IN_QUEUE) truth_move(world, record, AT_END);
      if (record->where == ATTACHED) key_vanishes(world, record);
    }
  for (uint32_t i = 0; i < world->app_count; i++)
    for (struct record *record = world->apps[i].oldest; record; record = record->newer)
      if (record->client == client && record->where == IN_SLOT && record->has_children &&
          record->incarnation == world->people[client].incarnation)
        batch_abandoned(world, record);
}

void truth_over(struct world *world, struct app *app) {
  app->ready = 0;
  for (struct record *record = app->oldest; record; record = record->newer)
    truth_owe(world, record);
  // Whoever retires is told now, others in this step too.
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    struct seat *seat = &world->seats[i];
    if (!seat->draining) seat->left_at = world->now;
    seat->draining = true;
    seat->retiring = false;
  }
}

void truth_drains(struct world *world) {
  world->draining = true;
  for (uint32_t i = 0; i < world->app_count; i++)
    if (!world->apps[i].over) truth_over(world, &world->apps[i]);
}

// ---- what workers do ----

void truth_entered(struct world *world, struct record *record) {
  record->entries++;
  REQUIRE(world, !record->never,
          "call %u is entered after its client was told that it was not executed", record->number);
  REQUIRE(world, record->entries <= record->attempts, "call %u is entered %u times", record->number,
          record->entries);
}

struct record *truth_slot_of(struct world *world, const struct seat *seat,
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

// ---- recycling ----

static void mark(struct world *world, struct seat *seat) {
  if (!seat->mark) seat->mark = ++world->apps[seat->deployment].marks;
}

uint32_t truth_marked(const struct world *world, const struct app *app) {
  uint32_t first = ROUTER_NONE;
  for (uint32_t i = app->first_worker; i <= app->first_worker + app->worker_count; i++) {
    const struct seat *seat = &world->seats[i];
    if (!seat->mark || !seat->standing || !seat->ready || seat->killed || seat->given_up) continue;
    if (seat->draining || seat->retiring || seat->leaving) continue;
    if (first == ROUTER_NONE || seat->mark < world->seats[first].mark) first = i;
  }
  return first;
}

// Another worker is ready in its stead.
static void retire(struct world *world, struct app *app) {
  struct seat *retiree = &world->seats[app->retiree];
  app->retiree = app->substitute = ROUTER_NONE;
  retiree->wanted = false;
  if (!retiree->standing || retiree->given_up || retiree->draining) return;
  retiree->retiring = true;
  app->ready--;
}

// The retiree has died before that. Its substitute goes on, unless it waits for another try: then
// there is none any more, and the next one in that place is another start.
static void retiree_lost(struct world *world, struct app *app) {
  struct seat *retiree = &world->seats[app->retiree], *substitute = &world->seats[app->substitute];
  app->retiree = app->substitute = ROUTER_NONE;
  if (substitute->standing)
    retiree->wanted = false;
  else
    substitute->wanted = substitute->charged = false;
}

static void answered(struct world *world, struct seat *seat, const struct message *message) {
  struct record *record = truth_slot_of(world, seat, message);
  if (!record && message->type == MESSAGE_GIVE_BACK &&
      (message->sequence <= seat->recalled || message->sequence <= seat->withdrawn)) {
    world->statistics->late_backs++;
  } else if (!record || (record->passed && message->type == MESSAGE_GIVE_BACK)) {
    seat->bad_answers++;
    world->statistics->bad_answers++;
  } else if (message->type == MESSAGE_GIVE_BACK) {
    if (record->answered)
      truth_move(world, record, AT_END);
    else
      resend(world, record);
  } else if (message->type != MESSAGE_STARTED) {
    seat->finished++;
    standing_answered(world, seat, message);
    uint64_t most = record_app(world, record)->functions[record->function].max_calls;
    if (most && ++seat->runs[record->function] >= most) mark(world, seat);
    if (message->type == MESSAGE_RESULT) ahead_ended(world, seat, record, message->elapsed);
    if (message->type == MESSAGE_ERROR && !record->answered &&
        record_app(world, record)->functions[record->function].retry_on && message->code &&
        try_again(world, record)) {
      batch_abandoned(world, record);
      return;
    }
    if (record->is_run) key_answered(record, message);
    truth_owe(world, record);
    truth_move(world, record, AT_END);
    world->relayed = record;
    world->relaying = message->body;
  }
}

// Calls that have waited for the first worker have their default deadline from here on.
static void first_ready(struct world *world, struct app *app) {
  app->was_ready = true;
  for (struct record *record = app->oldest; record; record = record->newer)
    if (record->default_deadline) {
      bool may_wait = record->queue_deadline == record->deadline;
      record->deadline = world->now + LIMIT_DEADLINE_DEFAULT;
      if (may_wait || record->queue_deadline > record->deadline)
        record->queue_deadline = record->deadline;
    }
  for (struct record *record = app->oldest; record; record = record->newer)
    if (record->is_run) key_first_ready(record);
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
  app->failures = 0;
  world->canary_lives = app->failed;
  app->failed = false;
  if (!app->was_ready) first_ready(world, app);
  if (app->substitute != ROUTER_NONE && seat == &world->seats[app->substitute]) retire(world, app);
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
      if (seat->ready && !seat->draining && !seat->retiring && !seat->leaving)
        seat->left_at = world->now;
      seat->leaving = true;
      seat->tainted = message->reason == PHASE_TAINTED;
      seat->hopeless = message->reason == PHASE_BUNDLE;
      break;
    case MESSAGE_PONG:
      if (message->sequence == seat->pings) seat->unanswered = 0;
      break;
    case MESSAGE_ITEM:
    case MESSAGE_PROGRESS:
      stream_truth(world, seat, message);
      break;
    case MESSAGE_RECYCLE: {
      const struct app *app = &world->apps[seat->deployment];
      if (message->function < app->function_count && app->functions[message->function].max_rss &&
          message->resident > app->functions[message->function].max_rss)
        mark(world, seat);
      break;
    }
    default:
      answered(world, seat, message);
  }
  fail_waiting(world, &world->apps[seat->deployment]);
}

// ---- losses ----

// Those sent first are first when there is budget for some only.
static struct record *first_sent(const struct seat *seat) {
  struct record *first = seat->slots[0];
  for (uint32_t i = 1; i < seat->slot_count; i++)
    if (seat->slots[i]->sequence < first->sequence) first = seat->slots[i];
  return first;
}

// `guilty`: its process has died of it alone.
static void lose_call(struct world *world, struct record *record, bool entered, bool guilty) {
  if (record->answered) {
    truth_move(world, record, AT_END);
  } else if (!entered) {
    resend(world, record);
  } else if (guilty && ++record->deaths == LIMIT_ATTEMPTS) {
    record->poison = true;
    truth_owe(world, record);
    truth_move(world, record, AT_END);
  } else if (!try_again(world, record)) {
    record->lost = true;
    truth_owe(world, record);
    truth_move(world, record, AT_END);
  }
}

static int64_t shortest_backoff(const struct app *app) {
  int64_t delay = MILLISECONDS(160);
  for (uint32_t i = 1; i < app->failures && delay < kCanary; i++) delay *= 2;
  return delay < SECONDS(48) ? delay : SECONDS(48);
}

static void fail(struct world *world, struct app *app) {
  if (!app->failed) world->statistics->failed++;
  app->failed = true;
  app->canary_at = world->now;
  app->canary_gap = kCanary;
  if (app->was_ready && app->failures >= CHARGES) app->canary_gap = shortest_backoff(app);
}

static void charge(struct world *world, struct seat *seat) {
  struct app *app = &world->apps[seat->deployment];
  bool is_forgotten =
      app->charge_count && world->now - app->charges[(app->charge_count - 1) % CHARGES] > kForget;
  if (is_forgotten) app->failures = 0;
  seat->charged = true;
  app->failures++;
  app->charges[app->charge_count++ % CHARGES] = world->now;
  bool loop = app->charge_count >= CHARGES &&
              world->now - app->charges[app->charge_count % CHARGES] < kCrashWindow;
  if (!app->ready && !over_or_drained(world, app) && ((seat->hopeless && !app->was_ready) || loop))
    fail(world, app);
}

void truth_lost(struct world *world, uint32_t number) {
  struct seat *seat = &world->seats[number];
  struct app *app = &world->apps[seat->deployment];
  const struct process *process = &world->processes[number];
  bool was_ready = seat->ready && !seat->draining && !seat->retiring;
  bool young = was_ready && !seat->slot_count && !seat->finished && !seat->killed &&
               world->now - seat->ready_at < kYoung;
  seat->standing = seat->charged = false;
  seat->emptied_at = world->now;
  if (was_ready && !seat->given_up) app->ready--;
  uint32_t entered = 0;
  for (uint32_t i = 0; i < seat->slot_count; i++)
    entered += process->entered >= seat->slots[i]->sequence;
  if (entered && !seat->killed && process->reason != LOST_START) standing_fault(world, seat);
  while (seat->slot_count) {
    struct record *record = first_sent(seat);
    lose_call(world, record, process->entered >= record->sequence,
              entered == 1 && !seat->killed && process->reason != LOST_START);
  }
  bool told = seat->draining || seat->retiring;
  if (!told && (!seat->ready || young)) charge(world, seat);
  fail_waiting(world, app);
  if (app->retiree == number) retiree_lost(world, app);
  seat->start_owed = seat->wanted && !over_or_drained(world, app) && !seat->charged &&
                     !app->failed && (seat->finished || seat->killed || seat->tainted);
  world->starts_owed += seat->start_owed;
}

void truth_ticks(struct world *world) {
  for (uint32_t i = 0; i < world->seat_count && world->heartbeat; i++) {
    struct seat *seat = &world->seats[i];
    if (seat->trust.until <= seat->ping_at) standing_ticks(world, seat);
    if (!seat->standing || seat->given_up || seat->ping_at > world->now ||
        seat->unanswered < world->misses)
      continue;
    world->statistics->heartbeat_kills += !seat->killed;
    if (seat->ready || seat->draining) standing_fault(world, seat);
    struct app *app = &world->apps[seat->deployment];
    if (seat->ready && !seat->draining && !seat->retiring && !--app->ready)
      app->emptied_at = world->now;
    // One that is still loading may yet say why it ends.
    seat->given_up = seat->ready || seat->draining;
    seat->ping_at = INT64_MAX;
    while (seat->slot_count) lose_call(world, first_sent(seat), true, false);
    fail_waiting(world, app);
  }
  for (uint32_t i = 0; i < world->seat_count; i++) standing_ticks(world, &world->seats[i]);
}
