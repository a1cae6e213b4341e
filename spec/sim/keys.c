// Idempotency keys: calls that are one run, and whom its outcome has to reach.
//
// A run has a record of its own, of no client. What the router sends to a worker has the run's
// number in its arguments, so that a second run where there may be one only is seen at once. Which
// arguments a call brings, those of the run its key stands for or others, is settled when it
// arrives.
#include <string.h>

#include "../../host/core/error.h"
#include "../../host/core/payload.h"
#include "world.h"

enum { MOST_MAKERS = 1000 };

static const char *const names[KEYS] = {"a", "order 2", "order 20", "d"};

// ---- clients ----

void key_draw(struct world *world, struct call_options *options) {
  struct chance *chance = &world->chance;
  if (!chance_one_in(chance, world->rates.keys)) return;
  options->key = names[chance_below(chance, KEYS)];
  options->key_size = (uint32_t)strlen(options->key);
  if (chance_below(chance, 16)) options->flags &= ~(uint32_t)CALL_STREAM;
}

static struct key *key_of(struct world *world, const struct record *record,
                          const struct message *message) {
  for (uint32_t i = 0; i < KEYS; i++)
    if (message->key_size == strlen(names[i]) && !memcmp(message->key, names[i], strlen(names[i])))
      return &world->keys[record->deployment][record->function][i];
  return NULL;
}

// ---- runs ----

static void forget(struct key *key) {
  key->run = NULL;
  key->kept_until = 0;
}

static bool is_kept(const struct key *key) {
  return key->run && key->kept_until;
}

static struct record *begin_run(struct world *world, struct record *record, struct key *key) {
  struct record *run = key->run = record_add(world, CLIENTS, (struct call_id){0, 0});
  key->kept_until = 0;
  run->key = key;
  run->is_run = true;
  run->deployment = record->deployment;
  run->function = record->function;
  run->flags = record->flags & ~(uint32_t)CALL_PROGRESS;
  run->idempotent = record->idempotent;
  run->default_timeout = record->default_timeout;
  run->attempts = record->attempts;
  run->order = record->order;
  run->workload = record->workload;
  run->admitted = world->now;
  truth_move(world, run, IN_QUEUE);
  return run;
}

static void widen(struct record *run, const struct record *record) {
  if (run->deadline < record->deadline) run->deadline = record->deadline;
  if (run->queue_deadline < record->queue_deadline) run->queue_deadline = record->queue_deadline;
}

static void attach(struct world *world, struct record *record, struct record *run) {
  record->next = run->attached;
  run->attached = record;
  widen(run, record);
  if (run->where == IN_SLOT) batch_widened(world, run);
  truth_move(world, record, ATTACHED);
  world->statistics->attached++;
}

// Whether `maker`, or whatever waits for it, is `run` or runs in one batch with it.
static bool serves(const struct record *maker, const struct record *run, int left) {
  if (!maker || maker->where == AT_END || left < 0) return false;
  if (maker == run) return true;
  if (maker->where == IN_SLOT && run->where == IN_SLOT && maker->batch == run->batch) return true;
  if (!maker->is_run) return !maker->answered && serves(maker->parent, run, left - 1);
  for (const struct record *record = maker->attached; record; record = record->next)
    if (serves(record->parent, run, left - 1)) return true;
  return false;
}

static void end_at_once(struct world *world, struct record *record, int refusal) {
  record->refusal = refusal;
  record->where = AT_END;
  truth_owe(world, record);
}

bool key_admits(struct world *world, struct record *record, struct message *message) {
  struct key *key = key_of(world, record, message);
  if (!key) return false;
  if (is_kept(key) && world->now >= key->kept_until) forget(key);
  bool other = key->run && chance_below(&world->chance, 8) == 0;
  uint32_t content = record->number;
  if (record->flags & CALL_STREAM) {
    end_at_once(world, record, ERROR_UNSUPPORTED);
  } else if (other) {
    end_at_once(world, record, ERROR_DUPLICATE_ID);
  } else if (key->run && !is_kept(key) && serves(record->parent, key->run, MOST_MAKERS)) {
    content = key->run->number;
    end_at_once(world, record, ERROR_OVERLOADED);
  } else {
    bool kept = is_kept(key);
    record->run = key->run ? key->run : begin_run(world, record, key);
    content = record->run->number;
    if (kept)
      end_at_once(world, record, -1);
    else
      attach(world, record, record->run);
    world->statistics->given_again += kept;
  }
  payload_unref(message->body);
  message->body = payload_copy(&content, sizeof content);
  return true;
}

void key_owe(struct world *world, struct record *run) {
  for (struct record *record = run->attached; record; record = record->next)
    truth_owe(world, record);
}

void key_first_ready(struct record *run) {
  run->deadline = run->queue_deadline = 0;
  for (const struct record *record = run->attached; record; record = record->next)
    widen(run, record);
}

void key_answered(struct record *run, const struct message *message) {
  if (!run->answered)
    run->outcome = payload_copy(message->body->parts[0].bytes, message->body->size);
}

// ---- outcomes ----

static void detach(struct record *record) {
  struct record **at = &record->run->attached;
  while (*at != record) at = &(*at)->next;
  *at = record->next;
}

static bool is_harmless(const struct record *run) {
  return run->idempotent || run->attempts > 1;
}

// The last one has gone: the run ends with it, or has ended. The run's outcome stands for its key,
// or not.
static void conclude(struct world *world, struct record *run, bool kept) {
  run->answered = true;
  run->answered_at = world->now;
  if (run->where == IN_SLOT || world->relayed == run) batch_abandoned(world, run);
  if (run->where == IN_QUEUE) truth_move(world, run, AT_END);
  if (kept)
    run->key->kept_until = world->now + LIMIT_RESULT_TTL;
  else
    forget(run->key);
}

// Nobody hears that it was cancelled, but for those who come later.
void key_vanishes(struct world *world, struct record *record) {
  struct record *run = record->run;
  bool may_have_run = run->where == IN_SLOT;
  detach(record);
  truth_move(world, record, AT_END);
  if (!run->attached) conclude(world, run, may_have_run && !is_harmless(run));
}

void key_relays(struct world *world, const struct record *record, const struct payload *body) {
  const struct record *run = record->run;
  REQUIRE(world,
          run->outcome->size == body->size &&
              !memcmp(run->outcome->parts[0].bytes, body->parts[0].bytes, body->size),
          "call %u gets another outcome than others with its key", record->number);
}

void key_outcome(struct world *world, struct record *record, const struct action *action) {
  struct record *run = record->run;
  const struct payload *body = action->message.body;
  int executed = EXECUTED_YES, name = -1;
  bool retryable = false, ok = action->message.type == MESSAGE_RESULT;
  if (!ok) name = read_error(body, &executed, &retryable);
  if (executed == EXECUTED_NO) run->never = true;  // nor may it for the others
  detach(record);
  truth_move(world, record, AT_END);
  if (run->attached) {
    if (run->where == AT_END && !run->outcome)
      run->outcome = payload_copy(body->parts[0].bytes, body->size);
    return;
  }
  if (!run->outcome) run->outcome = payload_copy(body->parts[0].bytes, body->size);
  run->result = ok;
  bool keeps =
      executed != EXECUTED_NO && !retryable && (!is_harmless(run) || name == ERROR_REMOTE_ERROR);
  conclude(world, run, ok || keeps);
}

// One that came after the end.
void key_kept(struct world *world, struct record *record, const struct action *action) {
  struct record *run = record->run;
  const struct payload *body = action->message.body;
  bool ok = action->message.type == MESSAGE_RESULT;
  REQUIRE(world, run->key->run == run, "call %u gets an outcome that is not kept", record->number);
  if (!run->outcome) run->outcome = payload_copy(body->parts[0].bytes, body->size);
  REQUIRE(world, ok == run->result, "call %u gets a result for an error", record->number);
  key_relays(world, record, body);
}
