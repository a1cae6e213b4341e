// Streams, from one end to the other: clients that read at once, slowly, or never; functions that
// yield as far as their credit goes, or further; what the router has to pass on, and nothing else.
#include <string.h>

#include "../../host/core/pack.h"
#include "world.h"

enum { MOST_ITEMS = 40, MOST_SIZE = 3000 };

// What stands in an item: whose it is, from which dispatch, and the how manieth.
struct item {
  uint64_t session, counter, sequence, index;
};

// ---- clients ----

void stream_draw(struct world *world, struct call_options *options) {
  struct chance *chance = &world->chance;
  if (!chance_one_in(chance, world->rates.streams)) return;
  if (chance_below(chance, 3)) options->flags |= CALL_STREAM;
  if (chance_below(chance, 2)) options->flags |= CALL_PROGRESS;
  if (chance_below(chance, 4)) options->window = (uint32_t)chance_magnitude(chance, 1, 13);
}

static void read_later(struct world *world, const struct record *record) {
  int64_t at = world->now + chance_magnitude(&world->chance, MICROSECONDS(20), 10);
  event_add(world, at, CLIENT_READS, record->client, record->incarnation)->sequence =
      record->number;
}

// Takes up to `most` items. False: it has got all there is now.
static bool read(struct world *world, struct record *record, uint32_t most) {
  struct client *client = world->people[record->client].client;
  for (uint32_t i = 0; i < most; i++) {
    struct payload *body;
    struct message credit;
    struct item item;
    uint64_t tag;
    if (!client_item(client, record->id.counter, &body, &tag, &credit)) return false;
    memcpy(&item, body->parts[0].bytes, sizeof item);
    REQUIRE(world, tag == record->number && item.counter == record->id.counter,
            "a client takes an item of another call");
    REQUIRE(world, item.index == record->taken, "a client takes item %u of call %u before item %u",
            (uint32_t)item.index, record->number, (uint32_t)record->taken);
    record->taken++;
    payload_unref(body);
    if (credit.type) client_sends(world, record->client, record->deployment, &credit);
  }
  return true;
}

void stream_open(struct world *world, struct record *record, const struct call_options *options) {
  struct chance *chance = &world->chance;
  record->flags = options->flags;
  record->credit = credit_of(options->window);
  if (!(options->flags & CALL_STREAM)) return;
  record->reader = chance_below(chance, 4)                              ? READS_AT_ONCE
                   : chance_below(chance, 4) || record->default_timeout ? READS_SLOWLY
                                                                        : READS_NEVER;
  if (record->reader == READS_AT_ONCE) read(world, record, 1);
  if (record->reader == READS_SLOWLY) read_later(world, record);
}

void stream_reads(struct world *world, const struct event *event) {
  struct record *record = record_at(world, event->sequence);
  const struct person *person = &world->people[event->who];
  if (!person->connected || person->incarnation != event->generation || record->told) return;
  if (read(world, record, 1 + chance_below(&world->chance, 4))) read_later(world, record);
  client_checks(world, event->who);
}

void stream_checks(struct world *world, uint32_t number) {
  struct client *client = world->people[number].client;
  struct news news;
  while (client_news(client, &news)) {
    struct record *record = record_at(world, news.tag);
    REQUIRE(world, !record->is_deaf, "a client hears of its call %u, which it has cancelled",
            record->number);
    REQUIRE(world, news.has_item || news.has_progress, "news that are none");
    if (news.has_progress)
      REQUIRE(world, news.n <= (double)record->yielded, "progress that nobody has made");
    if (news.has_item && record->reader == READS_SLOWLY) read_later(world, record);
    while (news.has_item && record->reader == READS_AT_ONCE && read(world, record, 8)) continue;
  }
}

// More than was out: it gets no more than that.
void stream_greedy(struct world *world, struct record *record) {
  struct message message = {.type = MESSAGE_CREDIT, .id = record->id, .attempt = 1};
  message.credit = 1 + chance_below(&world->chance, 100000);
  client_sends(world, record->client, record->deployment, &message);
}

// ---- functions ----

static struct payload *item_of(struct world *world, const struct held *held) {
  const struct record *record = held->record;
  struct item item = {record->id.session, record->id.counter, held->sequence, held->yielded};
  struct payload *body = payload_new(sizeof item + chance_below(&world->chance, MOST_SIZE));
  memset(body->bytes, 0, body->size);
  memcpy(body->bytes, &item, sizeof item);
  return body;
}

void stream_says_item(struct world *world, uint32_t number, struct held *held) {
  struct message message = process_about(world, held, MESSAGE_ITEM);
  message.body = item_of(world, held);
  credit_spend(&held->credit, message.body->size);
  held->yielded++;
  process_says(world, number, &message, false);
}

static void plan(struct world *world, uint32_t number, const struct held *held,
                 enum happening kind) {
  uint32_t generation = world->processes[number].generation;
  int64_t at = world->now + chance_time(&world->chance, held->gap);
  event_add(world, at, kind, number, generation)->sequence = held->sequence;
}

bool stream_enters(struct world *world, uint32_t number, struct held *held, int64_t time) {
  uint32_t flags = held->record->flags;
  if (!(flags & (CALL_STREAM | CALL_PROGRESS))) return false;
  held->items_left = chance_below(&world->chance, MOST_ITEMS);
  if (!held->items_left) return false;
  held->gap = 2 * time / held->items_left;
  plan(world, number, held, WORKER_YIELDS);
  return true;
}

static void say_progress(struct world *world, uint32_t number, const struct held *held) {
  struct message message = process_about(world, held, MESSAGE_PROGRESS);
  message.n = held->items_left;
  process_says(world, number, &message, false);
}

void stream_yields(struct world *world, const struct event *event) {
  struct process *process = &world->processes[event->who];
  if (!process->alive || process->generation != event->generation) return;
  struct held *held = process_held(process, event->sequence);
  if (!held) return;
  bool streams = held->record->flags & CALL_STREAM;
  if (streams && !credit_left(&held->credit) && !fault(world, world->rates.overdraws)) {
    held->waits = true;
    return;
  }
  if (streams) stream_says_item(world, event->who, held);
  if (held->record->flags & CALL_PROGRESS) say_progress(world, event->who, held);
  plan(world, event->who, held, --held->items_left ? WORKER_YIELDS : WORKER_ENDS);
}

void stream_gets_credit(struct world *world, uint32_t number, const struct message *message) {
  struct held *held = process_held(&world->processes[number], message->sequence);
  if (!held) return;
  uint32_t given = credit_give(&held->credit, message->credit);
  REQUIRE(world, given == message->credit, "a worker gets back more credit than it has spent");
  if (!held->waits) return;
  held->waits = false;
  plan(world, number, held, WORKER_YIELDS);
}

void stream_meddles(struct world *world, uint32_t number, const struct held *held) {
  struct held copy = *held;
  if (!fault(world, world->rates.item_strange)) return;
  switch (chance_below(&world->chance, 4)) {
    case 0:
      copy.attempt++;
      break;
    case 1:
      copy.sequence++;
      break;
    case 2:
      if (!held->yielded) return;
      struct message back = process_about(world, held, MESSAGE_GIVE_BACK);
      process_says(world, number, &back, false);
      return;
    default:
      if (held->record->flags & CALL_STREAM) return;
  }
  stream_says_item(world, number, &copy);
}

// ---- what is true ----

void stream_truth(struct world *world, struct seat *seat, const struct message *message) {
  struct record *record = truth_slot_of(world, seat, message);
  bool is_item = message->type == MESSAGE_ITEM;
  if (!record || !(record->flags & (is_item ? CALL_STREAM : CALL_PROGRESS))) {
    seat->bad_answers++;
    world->statistics->bad_answers++;
  } else if (record->answered) {
    return;
  } else if (is_item && !credit_left(&record->credit)) {
    seat->bad_answers++;
    record->overdrawn = true;
    world->statistics->overdrawn++;
    truth_owe(world, record);
  } else {
    world->passed = record;
    world->passing = message->body;
    if (!is_item) return;
    credit_spend(&record->credit, message->body->size);
    record->attempts = record->attempt;
  }
}

void stream_truth_credit(struct world *world, uint32_t client, const struct message *message) {
  struct record *record = record_find(world, message->id);
  if (!record || record->client != client || record->where != IN_SLOT || record->answered) return;
  world->credit = credit_give(&record->credit, message->credit);
  if (world->credit) world->credited = record;
}

// ---- what the router does ----

static void judge_item(struct world *world, struct record *record, const struct payload *body) {
  struct item item;
  memcpy(&item, body->parts[0].bytes, sizeof item);
  REQUIRE(world, item.session == record->id.session && item.counter == record->id.counter,
          "call %u gets an item of another one", record->number);
  REQUIRE(world, item.sequence == record->sequence, "call %u gets an item of another attempt",
          record->number);
  REQUIRE(world, item.index == record->passed, "call %u gets item %u after %u items",
          record->number, (uint32_t)item.index, (uint32_t)record->passed);
  record->passed++;
  world->statistics->items++;
}

void stream_judge(struct world *world, const struct action *action) {
  const struct message *message = &action->message;
  struct record *record = record_find(world, message->id);
  REQUIRE(world, record && record->client == action->peer && !record->answered,
          "an item or progress for a call that is none, or has ended");
  REQUIRE(world, record == world->passed && message->body == world->passing,
          "call %u gets what its worker has not said now, or may not say", record->number);
  world->passed = NULL;
  world->passing = NULL;
  if (message->type == MESSAGE_ITEM) {
    judge_item(world, record, message->body);
  } else {
    if (message->n > (double)record->yielded) record->yielded = (uint64_t)message->n;
    world->statistics->progress++;
  }
}

void stream_judge_credit(struct world *world, const struct action *action) {
  const struct message *message = &action->message;
  const struct record *record = world->credited;
  REQUIRE(world, record && message->credit == world->credit, "credit that nobody has given");
  REQUIRE(world,
          record->worker == action->worker && record->generation == action->generation &&
              record->sequence == message->sequence && record->attempt == message->attempt,
          "the credit of call %u goes elsewhere", record->number);
  world->credited = NULL;
  world->statistics->credits++;
}

void stream_judge_step(struct world *world) {
  REQUIRE(world, !world->passed, "an item or progress of call %u is not passed on",
          world->passed->number);
  REQUIRE(world, !world->credited, "credit of call %u is not passed on", world->credited->number);
}
