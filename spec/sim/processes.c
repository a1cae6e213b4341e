// Workers' processes: what stands on the other end of the router's messages.
#include <string.h>

#include "../../host/core/error.h"
#include "../../host/core/pack.h"
#include "world.h"

enum { EXIT_CONTEXT = 71, EXIT_TAINTED = 83, NO_MEMORY = 12, FLOOD = 12 };

static const int64_t kLongest = SECONDS(15);  // that a call runs in a world by time

// ---- what it says ----

static int64_t latency(struct world *world) {
  int64_t most = 2 * world->worker_latency;
  if (fault(world, world->rates.burst_latency)) most = 50 * most + MILLISECONDS(50);
  return chance_time(&world->chance, most);
}

void process_says(struct world *world, uint32_t number, struct message *message, bool control) {
  struct process *process = &world->processes[number];
  int64_t *last = control ? &process->control_out : &process->data_out;
  int64_t at = world->now + latency(world);
  if (at < *last) at = *last;
  *last = at;
  if (!process->under_way++) process->entered_safe = process->entered;
  struct event *event = event_add(world, at, WORKER_SENDS, number, process->generation);
  event->message = *message;
}

// What a function gives back in this attempt: nobody else makes these bytes.
static struct payload *result_of(const struct record *record, uint64_t sequence) {
  uint64_t words[] = {record->id.session, record->id.counter, sequence};
  return payload_copy(words, sizeof words);
}

static struct payload *error_of(enum error_name name, enum executed executed) {
  struct error_writer writer;
  error_begin(&writer, name, executed, false, "worker");
  return error_end(&writer);
}

struct message process_about(struct world *world, const struct held *held, enum message_type type) {
  return (struct message){.type = (uint8_t)type,
                          .id = held->record->id,
                          .attempt = held->attempt,
                          .epoch = world->epoch,
                          .sequence = held->sequence};
}

static void give_back(struct world *world, uint32_t number, const struct held *held) {
  struct message message = process_about(world, held, MESSAGE_GIVE_BACK);
  process_says(world, number, &message, false);
}

static void say_cancelled(struct world *world, uint32_t number, const struct held *held,
                          enum executed executed) {
  struct message message = process_about(world, held, MESSAGE_ERROR);
  message.body = error_of(ERROR_CANCELLED, executed);
  process_says(world, number, &message, false);
}

static void say_goodbye(struct world *world, uint32_t number, enum phase phase) {
  struct message message = {.type = MESSAGE_GOODBYE, .reason = (uint8_t)phase};
  message.body = phase ? error_of(ERROR_REMOTE_ERROR, EXECUTED_YES) : NULL;
  process_says(world, number, &message, true);
}

// Of any function, with any number: also what no worker of ours says.
static void say_grown(struct world *world, uint32_t number) {
  struct message message = {.type = MESSAGE_RECYCLE,
                            .function = chance_below(&world->chance, FUNCTIONS + 1),
                            .resident = chance_below(&world->chance, 2000)};
  process_says(world, number, &message, true);
}

// ---- start ----

static bool in_storm(const struct world *world, const struct app *app) {
  return world->faults && world_age(world) >= app->storm_from &&
         world_age(world) < app->storm_until;
}

static void fail_start(struct world *world, uint32_t number) {
  struct process *process = &world->processes[number];
  int64_t delay = chance_time(&world->chance, MILLISECONDS(300));
  if (chance_below(&world->chance, 3) == 0) {
    process->alive = false;
    process->reason = LOST_START;
    process->code = NO_MEMORY;
    event_add(world, world->now + delay / 100, WORKER_LOST_SEEN, number, process->generation);
    return;
  }
  process->doomed = true;
  event_add(world, world->now + delay, WORKER_DIES, number, process->generation)->sequence =
      chance_below(&world->chance, 2) ? 11 : 0;
}

static void load(struct world *world, uint32_t number) {
  struct process *process = &world->processes[number];
  struct rates *rates = &world->rates;
  int64_t delay = chance_magnitude(&world->chance, MILLISECONDS(1), 7);
  if (fault(world, 16)) delay += chance_time(&world->chance, SECONDS(30));
  if (fault(world, rates->start_hangs)) {
    int64_t wakes = world_wakes(world);
    if (wakes == INT64_MAX) return;
    delay += wakes - world->now;
  }
  event_add(world, world->now + delay, WORKER_LOADED, number, process->generation);
  process->slowness = fault(world, 4) ? 1 + chance_below(&world->chance, 20) : 1;
  process->broken = fault(world, rates->breaks);
  process->stubborn = fault(world, rates->stubborn);
  if (!fault(world, rates->short_life)) return;
  int64_t life = chance_magnitude(&world->chance, MILLISECONDS(1), 14);
  process->doomed = true;
  event_add(world, world->now + delay + life, WORKER_DIES, number, process->generation)->sequence =
      chance_below(&world->chance, 2) ? 9 : 0;
}

void process_start(struct world *world, uint32_t number, uint32_t generation) {
  struct process *process = &world->processes[number];
  struct rates *rates = &world->rates;
  const struct app *app = &world->apps[world->seats[number].deployment];
  *process = (struct process){.alive = true, .generation = generation, .slowness = 1};
  if (in_storm(world, app) ? chance_below(&world->chance, 8) != 0
                           : fault(world, rates->start_refused) || fault(world, rates->start_dies))
    fail_start(world, number);
  else
    load(world, number);
}

static struct payload *ready_body(struct world *world, uint32_t number, bool other) {
  const struct app *app = &world->apps[world->seats[number].deployment];
  struct buffer bytes = BUFFER_EMPTY;
  pack_array(&bytes, 2);
  pack_text(&bytes, other ? "deployment ?\nfunction g(x)\n" : app->manifest);
  pack_map(&bytes, app->scored ? app->function_count : 0);
  for (uint32_t i = 0; app->scored && i < app->function_count; i++) {
    pack_uint(&bytes, i);
    double slowness = world->processes[number].slowness;
    pack_double(&bytes, 1e9 * app->functions[i].concurrency / ((double)app->service[i] * slowness));
  }
  struct payload *body = payload_copy(bytes.bytes, bytes.size);
  buffer_free(&bytes);
  return body;
}

void process_loaded(struct world *world, const struct event *event) {
  struct process *process = &world->processes[event->who];
  if (!process->alive || process->generation != event->generation) return;
  if (fault(world, world->rates.goodbye_first) && fault(world, world->rates.start_dies)) {
    say_goodbye(world, event->who, chance_below(&world->chance, 4) ? PHASE_CONTEXT : PHASE_BUNDLE);
    process_dies(world, event->who, event->generation, LOST_EXIT, EXIT_CONTEXT);
    return;
  }
  bool other = fault(world, world->rates.other_manifest);
  // `code` means nothing in READY; here it tells truth.c what the body says.
  struct message message = {.type = MESSAGE_READY,
                            .generation = process->generation,
                            .code = other,
                            .body = ready_body(world, event->who, other)};
  process_says(world, event->who, &message, false);
}

// ---- end ----

// What a process that is gone says later: a connection of its that nobody has read.
static void haunt(struct world *world, uint32_t number, int64_t from) {
  static const enum message_type types[] = {MESSAGE_RESULT, MESSAGE_RESULT, MESSAGE_GOODBYE,
                                            MESSAGE_READY, MESSAGE_PONG};
  struct process *process = &world->processes[number];
  for (int i = 0; i < 3; i++) {
    int64_t at = from + 1 + chance_time(&world->chance, SECONDS(2));
    enum message_type type = types[chance_below(&world->chance, 5)];
    struct message message = {.type = (uint8_t)type, .generation = process->generation};
    if (type == MESSAGE_RESULT && process->held_count) {
      message = process_about(world, &process->held[0], type);
      message.body = result_of(process->held[0].record, message.sequence);
    } else if (type == MESSAGE_READY) {
      message.body = ready_body(world, number, false);
    } else {
      message.reason = PHASE_TAINTED;
    }
    struct event *event = event_add(world, at, WORKER_SENDS, number, process->generation);
    event->message = message;
    event->sequence = 1;  // not counted among those under way
  }
}

void process_dies(struct world *world, uint32_t number, uint32_t generation,
                  enum lost_reason reason, int code) {
  struct process *process = &world->processes[number];
  if (!process->alive || process->generation != generation) return;
  process->alive = false;
  process->reason = reason;
  process->code = code;
  int64_t at = world->now;
  if (at < process->data_out) at = process->data_out;
  if (at < process->control_out) at = process->control_out;
  at += latency(world);
  event_add(world, at, WORKER_LOST_SEEN, number, generation);
  if (fault(world, world->rates.zombie)) haunt(world, number, at);
}

static void end_if_done(struct world *world, uint32_t number) {
  struct process *process = &world->processes[number];
  if (!process->leaving || process->held_count) return;
  say_goodbye(world, number, PHASE_NONE);
  process_dies(world, number, process->generation, LOST_EXIT, 0);
}

bool process_paused(struct world *world, const struct event *event) {
  if (event->kind != WORKER_GETS && event->kind != WORKER_LOADED && event->kind != WORKER_ENTERS &&
      event->kind != WORKER_ENDS && event->kind != WORKER_YIELDS)
    return false;
  const struct process *process = &world->processes[event->who];
  if (!process->alive || process->generation != event->generation ||
      world->now >= process->paused_until)
    return false;
  struct event *again =
      event_add(world, process->paused_until, event->kind, event->who, event->generation);
  again->sequence = event->sequence;
  again->message = event->message;
  return true;
}

uint64_t process_page(const struct process *process) {
  return process->under_way ? process->entered_safe : process->entered;
}

// ---- calls ----

struct held *process_held(struct process *process, uint64_t sequence) {
  for (uint32_t i = 0; i < process->held_count; i++)
    if (process->held[i].sequence == sequence) return &process->held[i];
  return NULL;
}

static void drop(struct process *process, struct held *held) {
  uint32_t at = (uint32_t)(held - process->held);
  memmove(held, held + 1, (--process->held_count - at) * sizeof *held);
}

static bool take_cancel(struct process *process, uint64_t sequence) {
  for (uint32_t i = 0; i < process->cancel_count; i++) {
    if (process->cancels[i] != sequence) continue;
    process->cancels[i] = process->cancels[--process->cancel_count];
    return true;
  }
  return false;
}

// The next call of those handed ahead: false if it cannot be entered now, or is not there any more.
static bool claim(struct world *world, uint32_t number, struct held *held) {
  struct process *process = &world->processes[number];
  // Others may act between the two looks and the claim.
  if (!held->looked) {
    if (ahead_taken(process, held->sequence)) {
      take_cancel(process, held->sequence);
      drop(process, held);
      return false;
    }
    held->looked = true;
    if (chance_below(&world->chance, 4) == 0) return false;
  }
  if (!held->claimed) {
    held->claimed = true;
    process->entering = held->sequence;
    if (chance_below(&world->chance, 4) == 0) return false;
  }
  if (ahead_taken(process, held->sequence)) {
    give_back(world, number, held);
  } else if (take_cancel(process, held->sequence)) {
    say_cancelled(world, number, held, EXECUTED_NO);
  } else {
    return true;
  }
  drop(process, held);
  return false;
}

static bool runs_one(const struct process *process) {
  for (uint32_t i = 0; i < process->held_count; i++)
    if (process->held[i].entered) return true;
  return false;
}

static void plan_entry(struct world *world, uint32_t number) {
  struct process *process = &world->processes[number];
  if (process->entry_planned) return;
  process->entry_planned = true;
  int64_t most = chance_below(&world->chance, 32) ? MICROSECONDS(1) : MILLISECONDS(3);
  int64_t delay = chance_time(&world->chance, most);
  event_add(world, world->now + delay, WORKER_ENTERS, number, process->generation);
}

// The next call of a batch from `held` on, or NULL.
static struct held *member(struct process *process, struct held *held, uint64_t batch) {
  for (; held < process->held + process->held_count; held++)
    if (held->batch == batch) return held;
  return NULL;
}

static int64_t service_time(struct world *world, struct process *process, uint64_t batch) {
  double workload = 0;
  const struct record *record = NULL;
  for (struct held *held = process->held; (held = member(process, held, batch)); held++) {
    record = held->record;
    workload += record->workload;
  }
  int64_t usual = world->apps[record->deployment].service[record->function] * process->slowness;
  int64_t time = (int64_t)((double)usual * workload);
  time = time / 2 + chance_time(&world->chance, time);
  if (fault(world, world->rates.slow)) time *= 50;
  // In worlds by time all has to end soon after the faults have stopped.
  return world->life->seconds && time > kLongest ? kLongest : time;
}

static void enter(struct world *world, uint32_t number, uint64_t batch) {
  struct process *process = &world->processes[number];
  bool may_hang = true;
  process->entered = batch;
  for (struct held *held = process->held; (held = member(process, held, batch)); held++) {
    held->entered = true;
    held->entered_at = world->now;
    may_hang &= !held->record->default_timeout;
    truth_entered(world, held->record);
    if (!chance_one_in(&world->chance, world->rates.says_started)) continue;
    struct message message = process_about(world, held, MESSAGE_STARTED);
    message.epoch = 0;
    process_says(world, number, &message, false);
  }
  int64_t time = service_time(world, process, batch);
  if (fault(world, world->rates.dies_in_call))
    event_add(world, world->now + chance_time(&world->chance, time), WORKER_DIES, number,
              process->generation)
        ->sequence = 11;
  if (fault(world, world->rates.hangs) && (may_hang || fault(world, 16))) {
    if (world_wakes(world) != INT64_MAX)
      event_add(world, world_wakes(world), WORKER_ENDS, number, process->generation)->sequence =
          batch;
    return;
  }
  struct held *first = member(process, process->held, batch);
  if (!first->is_one && stream_enters(world, number, first, time)) return;
  event_add(world, world->now + time, WORKER_ENDS, number, process->generation)->sequence = batch;
}

// Some calls of a batch are given back although it is entered.
static void give_some_back(struct world *world, uint32_t number, uint64_t batch) {
  struct process *process = &world->processes[number];
  struct held *held = process->held;
  while ((held = member(process, held, batch))) {
    if (!fault(world, world->rates.given_back)) {
      held++;
      continue;
    }
    give_back(world, number, held);
    drop(process, held);
  }
}

void process_enters(struct world *world, const struct event *event) {
  struct process *process = &world->processes[event->who];
  if (!process->alive || process->generation != event->generation) return;
  process->entry_planned = false;
  for (uint32_t i = 0; i < process->held_count && process->alive;) {
    struct held *held = &process->held[i];
    uint64_t batch = held->batch;
    if (held->entered || batch > process->seen) {
      i++;
    } else if (held->ahead && runs_one(process)) {
      break;
    } else if (held->ahead && !claim(world, event->who, held)) {
      plan_entry(world, event->who);
      break;
    } else if (fault(world, world->rates.dies_unentered)) {
      process_dies(world, event->who, event->generation, LOST_SIGNAL, 11);
    } else {
      give_some_back(world, event->who, batch);
      if (member(process, process->held, batch)) enter(world, event->who, batch);
    }
  }
  end_if_done(world, event->who);
}

// The last one's sequence stands for the batch.
static void cancel_unentered(struct world *world, uint32_t number, uint64_t sequence) {
  struct process *process = &world->processes[number];
  for (uint32_t i = process->held_count; i > 0; i--) {
    struct held *held = &process->held[i - 1];
    if (held->entered || (held->sequence != sequence && held->batch != sequence)) continue;
    say_cancelled(world, number, held, EXECUTED_NO);
    drop(process, held);
  }
}

static void get_call(struct world *world, uint32_t number, const struct message *message) {
  struct process *process = &world->processes[number];
  REQUIRE(world, process->held_count < HELD, "a worker has more calls than it has slots");
  struct held *held = &process->held[process->held_count++];
  *held = (struct held){.record = record_of(world, message->body),
                        .sequence = message->sequence,
                        .batch = message->sequence + message->batch,
                        .is_one = (message->flags & CALL_BATCH) != 0,
                        .attempt = message->attempt,
                        .ahead = (message->flags & CALL_AHEAD) != 0,
                        .credit = credit_of(message->credit)};
  process->seen = message->sequence;
  if (!held->ahead && take_cancel(process, message->sequence)) {
    cancel_unentered(world, number, message->sequence);
  } else if (process->leaving) {
    give_back(world, number, held);
    drop(process, held);
  } else if (!process->entry_planned) {
    process->entry_planned = true;
    int64_t delay =
        chance_below(&world->chance, 4) ? 0 : chance_time(&world->chance, MICROSECONDS(300));
    if (!delay) {
      struct event now = {.who = number, .generation = process->generation};
      process_enters(world, &now);
    } else {
      event_add(world, world->now + delay, WORKER_ENTERS, number, process->generation);
    }
  }
}

static void get_cancel(struct world *world, uint32_t number, const struct message *message) {
  struct process *process = &world->processes[number];
  struct held *held = member(process, process->held, message->sequence);
  if (!held) held = process_held(process, message->sequence);
  bool later = message->sequence > process->seen || (held && held->ahead && !held->entered);
  if (!held || later) {
    if (later && process->cancel_count < HELD)
      process->cancels[process->cancel_count++] = message->sequence;
    return;
  }
  if (!held->entered) {
    cancel_unentered(world, number, message->sequence);
    end_if_done(world, number);
  } else if (!process->stubborn && held->batch == message->sequence) {
    for (; held; held = member(process, held + 1, message->sequence)) held->cancelled = true;
    event_add(world, world->now + chance_time(&world->chance, MILLISECONDS(5)), WORKER_ENDS, number,
              process->generation)
        ->sequence = message->sequence;
  }
}

static void get_drain(struct world *world, uint32_t number) {
  struct process *process = &world->processes[number];
  process->leaving = true;
  for (uint32_t i = process->held_count; i > 0; i--) {
    struct held *held = &process->held[i - 1];
    if (held->entered) continue;
    give_back(world, number, held);
    drop(process, held);
  }
  end_if_done(world, number);
}

void process_gets(struct world *world, struct event *event) {
  struct process *process = &world->processes[event->who];
  struct message *message = &event->message;
  if (process->alive && process->generation == event->generation) {
    struct message pong = {.type = MESSAGE_PONG, .sequence = message->sequence};
    switch (message->type) {
      case MESSAGE_CALL:
        get_call(world, event->who, message);
        break;
      case MESSAGE_CANCEL:
        get_cancel(world, event->who, message);
        break;
      case MESSAGE_CREDIT:
        stream_gets_credit(world, event->who, message);
        break;
      case MESSAGE_DRAIN:
        get_drain(world, event->who);
        break;
      case MESSAGE_PING:
        if (!process->deaf) process_says(world, event->who, &pong, true);
        break;
      default:
        break;
    }
  }
  payload_unref(message->body);
}

// ---- answers ----

// Answers that nobody asked for: a call of another worker, one that has ended, another epoch.
static void meddle(struct world *world, uint32_t number, const struct held *held) {
  struct message message = process_about(world, held, MESSAGE_RESULT);
  if (fault(world, world->rates.wrong_epoch)) {
    message.epoch++;
    message.body = payload_copy("wrong", 5);
    process_says(world, number, &message, false);
  }
  if (!fault(world, world->rates.for_others)) return;
  uint32_t other = chance_below(&world->chance, world->seat_count);
  const struct seat *seat = &world->seats[other];
  if (other == number || !seat->slot_count) return;
  const struct record *record = seat->slots[chance_below(&world->chance, seat->slot_count)];
  message.id = record->id;
  message.attempt = record->attempt;
  message.epoch = world->epoch;
  message.sequence = chance_below(&world->chance, 2) ? record->sequence : held->sequence;
  message.body = payload_copy("wrong", 5);
  process_says(world, number, &message, false);
}

static void flood(struct world *world, uint32_t number, const struct held *held) {
  for (int i = 0; i < FLOOD; i++) {
    struct message message = process_about(world, held, MESSAGE_RESULT);
    message.attempt++;
    message.body = payload_copy("wrong", 5);
    process_says(world, number, &message, false);
  }
}

static void answer(struct world *world, uint32_t number, const struct held *held) {
  bool broken = world->processes[number].broken;
  bool raises = !broken && chance_one_in(&world->chance, world->rates.raises);
  int copies = fault(world, world->rates.twice) ? 2 : 1;
  for (int i = 0; i < copies; i++) {
    struct message message =
        process_about(world, held, raises || broken ? MESSAGE_ERROR : MESSAGE_RESULT);
    // `code` means nothing in ERROR; here it tells truth.c that the function raised.
    message.code = raises;
    message.elapsed = world->now - held->entered_at;
    message.body = broken   ? error_of(ERROR_INTERNAL, EXECUTED_YES)
                   : raises ? error_of(ERROR_REMOTE_ERROR, EXECUTED_YES)
                            : result_of(held->record, held->sequence);
    process_says(world, number, &message, false);
  }
}

void process_ends(struct world *world, const struct event *event) {
  struct process *process = &world->processes[event->who];
  if (!process->alive || process->generation != event->generation) return;
  struct held *found, held = {0};
  while ((found = member(process, process->held, event->sequence))) {
    held = *found;
    drop(process, found);
    meddle(world, event->who, &held);
    stream_meddles(world, event->who, &held);
    if (held.cancelled)
      say_cancelled(world, event->who, &held, EXECUTED_YES);
    else
      answer(world, event->who, &held);
  }
  if (!held.record) return;
  if (held.cancelled && fault(world, world->rates.taints)) {
    say_goodbye(world, event->who, PHASE_TAINTED);
    process_dies(world, event->who, event->generation, LOST_EXIT, EXIT_TAINTED);
    return;
  }
  if (held.record->flags & CALL_STREAM && fault(world, world->rates.item_late))
    stream_says_item(world, event->who, &held);
  if (fault(world, world->rates.grows)) say_grown(world, event->who);
  if (fault(world, world->rates.flood)) flood(world, event->who, &held);
  if (fault(world, world->rates.deaf)) process->deaf = true;
  if (fault(world, world->rates.paused))
    process->paused_until = world->now + chance_magnitude(&world->chance, MILLISECONDS(50), 7);
  if (process->held_count && !runs_one(process)) plan_entry(world, event->who);
  end_if_done(world, event->who);
}
