// Clients: they call, cancel, vanish, and some send what a client should not.
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { BURST = 400, RECENT = 64 };

static struct message last_message(const struct record *record, enum message_type type) {
  return (struct message){
      .type = (uint8_t)type, .id = record->id, .attempt = 1, .function = record->function};
}

void client_sends(struct world *world, uint32_t number, uint32_t deployment,
                  struct message *message) {
  struct person *person = &world->people[number];
  if (!person->latency) {
    shell_client_sends(world, number, deployment, message);
    return;
  }
  int64_t latency = chance_time(&world->chance, 2 * person->latency);
  if (fault(world, world->rates.burst_latency)) latency += MILLISECONDS(200);
  int64_t at = world->now + latency;
  if (at < person->last_sent) at = person->last_sent;
  person->last_sent = at;
  struct event *event = event_add(world, at, CLIENT_SENDS, number, person->incarnation);
  event->sequence = deployment;
  event->message = *message;
}

static void connect(struct world *world, uint32_t number) {
  struct person *person = &world->people[number];
  person->incarnation++;
  person->client = client_new(((uint64_t)(number + 1) << 32) + person->incarnation);
  person->connected = true;
  person->record_count = person->calls = 0;
  memset(person->queued, 0, sizeof person->queued);
  memset(person->only, 0, sizeof person->only);
  if (person->index) memset(person->index, 0, person->index_capacity * sizeof *person->index);
  person->last_sent = person->last_got = 0;
  shell_client_comes(world, number);
}

static void vanish(struct world *world, uint32_t number) {
  struct person *person = &world->people[number];
  shell_client_goes(world, number);
  person->connected = false;
  client_lost(person->client, world->now);
  client_checks(world, number);
  REQUIRE(world, !client_pending(person->client), "a client that lost its router waits for calls");
  client_free(person->client);
  person->client = NULL;
}

// ---- calls ----

static int64_t draw_timeout(struct world *world) {
  struct chance *chance = &world->chance;
  if (chance_one_in(chance, world->rates.default_timeout)) return 0;
  if (chance_one_in(chance, world->rates.quick_timeout))
    return chance_magnitude(chance, MICROSECONDS(50), 7);
  return chance_magnitude(chance, MILLISECONDS(5), 12);
}

static void call(struct world *world, uint32_t number, struct call_options *options) {
  struct person *person = &world->people[number];
  struct message message;
  uint64_t counter;
  uint32_t next = world->record_count;
  options->tag = next;
  struct payload *body = payload_copy(&next, sizeof next);
  if (client_call(person->client, options, body, world->now, &message, &counter) != CLIENT_OK) {
    REQUIRE(world, client_pending(person->client) == LIMIT_IN_FLIGHT,
            "a client refuses a call with %zu in flight", client_pending(person->client));
    return;
  }
  REQUIRE(world, !record_find(world, message.id), "two calls of a client have one number");
  struct record *record = record_new(world, number, message.id);
  record->deployment = options->deployment;
  record->function = options->function;
  record->workload = options->workload;
  record->default_timeout = options->timeout == 0;
  stream_open(world, record, options);
  client_sends(world, number, options->deployment, &message);
}

static struct record *recent(struct world *world, uint32_t number) {
  struct person *person = &world->people[number];
  if (!person->record_count) return NULL;
  uint32_t count = person->record_count < RECENT ? person->record_count : RECENT;
  return person->records[person->record_count - 1 - chance_below(&world->chance, count)];
}

static void call_any(struct world *world, uint32_t number) {
  struct chance *chance = &world->chance;
  struct call_options options = {.deployment = chance_below(chance, world->app_count),
                                 .timeout = draw_timeout(world)};
  options.function = chance_below(chance, world->apps[options.deployment].function_count);
  options.workload = chance_below(chance, 4) ? 1 : 0.1 * (1 + chance_below(chance, 100));
  if (chance_one_in(chance, world->rates.limits)) {
    if (chance_below(chance, 2))
      options.queue_timeout = chance_magnitude(chance, MILLISECONDS(1), 12);
    options.attempts = chance_below(chance, 5);
    options.priority = (uint8_t)chance_below(chance, 3);
  }
  stream_draw(world, &options);
  key_draw(world, &options);
  struct record *parent = chance_one_in(chance, world->rates.nests) ? recent(world, number) : NULL;
  if (parent) options.parent = parent->id;
  call(world, number, &options);
}

static void cancel(struct world *world, uint32_t number) {
  struct record *record = recent(world, number);
  struct message message;
  if (!record) return;
  bool pending = client_cancel(world->people[number].client, record->id.counter, &message);
  record->is_deaf = true;
  REQUIRE(world, pending == !record->heard, "a client's core does not know which calls have ended");
  client_checks(world, number);
  if (pending) client_sends(world, number, record->deployment, &message);
}

// What no client of ours sends.
static void misbehave(struct world *world, uint32_t number) {
  static const enum message_type strange[] = {MESSAGE_RESULT, MESSAGE_READY, MESSAGE_PONG,
                                              MESSAGE_GIVE_BACK};
  struct chance *chance = &world->chance;
  struct record *own = recent(world, number);
  uint32_t other = chance_below(chance, world->people_count);
  struct record *others = world->people[other].connected ? recent(world, other) : NULL;
  struct call_options options = {.deployment = 0, .timeout = SECONDS(1), .workload = 1};
  struct message message;
  switch (chance_below(chance, 8)) {
    case 0:
      options.deployment = world->app_count + chance_below(chance, 2);
      call(world, number, &options);
      return;
    case 1:
      options.function = world->apps[0].function_count;
      call(world, number, &options);
      return;
    case 2:
      options.timeout = -MILLISECONDS(chance_below(chance, 100)) - 1;
      call(world, number, &options);
      return;
    case 3:  // the same id again
      if (!own) return;
      message = last_message(own, MESSAGE_CALL);
      message.remaining = SECONDS(1);
      client_sends(world, number, own->deployment, &message);
      return;
    case 4:  // another's id
      if (!others || other == number) return;
      message = last_message(others, MESSAGE_CALL);
      message.remaining = SECONDS(1);
      client_sends(world, number, others->deployment, &message);
      return;
    case 5:  // ends another's call
      if (!others || other == number) return;
      message = last_message(others, MESSAGE_CANCEL);
      client_sends(world, number, others->deployment, &message);
      return;
    case 6:
      if (own) stream_greedy(world, own);
      return;
    default:
      if (!own) return;
      message = last_message(own, strange[chance_below(chance, 4)]);
      client_sends(world, number, own->deployment, &message);
      return;
  }
}

void client_acts(struct world *world, const struct event *event) {
  struct person *person = &world->people[event->who];
  if (!world->calling) return;
  int64_t pause = chance_time(&world->chance, 2 * person->gap);
  if (person->rush) {
    person->rush--;
    pause /= 1024;
  }
  if (!person->connected) {
    connect(world, event->who);
  } else if (fault(world, world->rates.vanish)) {
    vanish(world, event->who);
    pause += chance_time(&world->chance, SECONDS(3));
  } else if (fault(world, world->rates.mischief)) {
    misbehave(world, event->who);
  } else if (chance_one_in(&world->chance, world->rates.cancel)) {
    cancel(world, event->who);
  } else if (chance_one_in(&world->chance, world->rates.burst)) {
    for (int i = 0; i < BURST; i++) call_any(world, event->who);
  } else if (world->life->seconds && chance_one_in(&world->chance, world->rates.rush)) {
    person->rush = 16U << chance_below(&world->chance, 7);
  } else {
    call_any(world, event->who);
  }
  event_add(world, world->now + pause, CLIENT_ACTS, event->who, 0);
}

// ---- answers ----

void client_checks(struct world *world, uint32_t number) {
  struct person *person = &world->people[number];
  struct completion completion;
  stream_checks(world, number);
  while (client_next(person->client, &completion)) {
    struct record *record = record_at(world, completion.tag);
    REQUIRE(world, !record->told, "a client ends its call %u twice", record->number);
    REQUIRE(world, record->answered || !person->connected, "a client has to end its call %u itself",
            record->number);
    REQUIRE(world, !person->connected || completion.ok == record->result,
            "a client takes an error for a result");
    REQUIRE(world, record->is_deaf || !person->connected || record->taken == record->passed,
            "a client ends its call %u before all items were taken", record->number);
    record->told = true;
    payload_unref(completion.body);
  }
}

void client_hears(struct world *world, uint32_t number, struct message *message) {
  struct record *record = record_find(world, message->id);
  if (message->type == MESSAGE_RESULT || message->type == MESSAGE_ERROR) {
    record->heard = true;
    REQUIRE(world, record->refusal >= 0 || world->now <= record->deadline + SECONDS(1),
            "a client hears of the end of its call %u %.3f s after its deadline", record->number,
            (double)(world->now - record->deadline) / 1e9);
  }
  client_message(world->people[number].client, message, world->now);
  client_checks(world, number);
}

void client_gets(struct world *world, struct event *event) {
  struct person *person = &world->people[event->who];
  if (!person->connected || person->incarnation != event->generation) {
    payload_unref(event->message.body);
    return;
  }
  client_hears(world, event->who, &event->message);
}

// ---- all of them ----

void clients_open(struct world *world) {
  struct chance *chance = &world->chance;
  world->people_count = 1 + chance_below(chance, CLIENTS);
  int64_t gap = world->life->seconds ? chance_magnitude(chance, MILLISECONDS(8), 6)
                : world->brisk       ? chance_magnitude(chance, MICROSECONDS(1), 5)
                                     : chance_magnitude(chance, MICROSECONDS(30), 14);
  for (uint32_t i = 0; i < world->people_count; i++) {
    struct person *person = &world->people[i];
    person->latency = chance_below(chance, 2) ? 0 : chance_magnitude(chance, MICROSECONDS(10), 10);
    person->gap = chance_magnitude(chance, gap, 2);
    connect(world, i);
    event_add(world, world->now + chance_time(chance, person->gap), CLIENT_ACTS, i, 0);
  }
}

void clients_close(struct world *world) {
  for (uint32_t i = 0; i < CLIENTS; i++) {
    client_free(world->people[i].client);
    free(world->people[i].records);
    free(world->people[i].index);
  }
}

uint64_t clients_pending(const struct world *world) {
  uint64_t pending = 0;
  for (uint32_t i = 0; i < world->people_count; i++)
    if (world->people[i].connected) pending += client_pending(world->people[i].client);
  return pending;
}

void clients_cancel_all(struct world *world) {
  for (uint32_t i = 0; i < world->people_count; i++) {
    struct person *person = &world->people[i];
    for (uint32_t k = 0; person->connected && k < person->record_count; k++) {
      struct message message;
      person->records[k]->is_deaf |= !person->records[k]->told;
      if (!person->records[k]->told &&
          client_cancel(person->client, person->records[k]->id.counter, &message))
        client_sends(world, i, person->records[k]->deployment, &message);
    }
  }
}
