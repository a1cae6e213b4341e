#include "router_key.h"

#include <string.h>

#include "cursor.h"
#include "hash.h"
#include "memory.h"
#include "payload.h"
#include "router_state.h"

enum { FIRST_BUCKETS = 64, MOST_MAKERS = 1000 };

// A key of a function: with a run, or with the outcome of one.
struct keyed {
  struct keyed *chain;          // of its bucket
  struct keyed *older, *newer;  // those with an outcome, in the order in which they go
  uint64_t hash, content;       // of the key and its function; of the arguments
  struct call *run;             // NULL: it has ended
  struct call *first, *last;    // attached to it, in the order in which they came
  enum message_type type;       // RESULT or ERROR,
  struct payload *outcome;      // its body. Never given out: what is sent are copies, which clients
                                // may drop on another thread.
  int64_t elapsed, expires;
  uint32_t function, attempt, size;
  char key[];
};

struct keys {
  struct timer timer;  // when the oldest outcome goes
  struct keyed **buckets;
  size_t capacity, count;
  struct keyed *oldest, *newest;
  size_t kept;  // bytes
};

// ---- the table ----

static struct keys *keys_of(struct deployment *deployment) {
  if (deployment->keys) return deployment->keys;
  struct keys *keys = deployment->keys = xcalloc(1, sizeof *keys);
  keys->timer.kind = TIMER_KEYS;
  keys->capacity = FIRST_BUCKETS;
  keys->buckets = xcalloc(keys->capacity, sizeof(struct keyed *));
  return keys;
}

static uint64_t hash_key(const struct router *router, const struct message *message) {
  struct hash hash;
  hash_begin(&hash, router->options.seed, router->options.epoch);
  hash_add(&hash, &message->function, sizeof message->function);
  hash_add(&hash, message->key, message->key_size);
  return hash_end(&hash);
}

static struct keyed **bucket_of(const struct keys *keys, uint64_t hash) {
  return &keys->buckets[hash & (keys->capacity - 1)];
}

static struct keyed *find(const struct router *router, const struct deployment *deployment,
                          const struct message *message) {
#ifdef PLANT_KEY_CUT
  struct message cut = *message;
  if (cut.key_size > 7) cut.key_size = 7;
  message = &cut;
#endif
  if (!deployment->keys) return NULL;
  uint64_t hash = hash_key(router, message);
  struct keyed *keyed = *bucket_of(deployment->keys, hash);
  while (keyed && (keyed->hash != hash || keyed->function != message->function ||
                   keyed->size != message->key_size ||
                   memcmp(keyed->key, message->key, message->key_size) != 0))
    keyed = keyed->chain;
  return keyed;
}

static void grow(struct keys *keys) {
  struct keyed **old = keys->buckets;
  size_t capacity = keys->capacity;
  keys->capacity *= 2;
  keys->buckets = xcalloc(keys->capacity, sizeof(struct keyed *));
  for (size_t i = 0; i < capacity; i++)
    for (struct keyed *keyed = old[i], *next; keyed; keyed = next) {
      next = keyed->chain;
      struct keyed **bucket = bucket_of(keys, keyed->hash);
      keyed->chain = *bucket;
      *bucket = keyed;
    }
  free(old);
}

static size_t kept_size(const struct keyed *keyed) {
  return sizeof *keyed + keyed->size + sizeof *keyed->outcome + keyed->outcome->size;
}

static void forget(struct keys *keys, struct keyed *keyed) {
  if (keyed->outcome) {
    keys->kept -= kept_size(keyed);
    *(keyed->older ? &keyed->older->newer : &keys->oldest) = keyed->newer;
    *(keyed->newer ? &keyed->newer->older : &keys->newest) = keyed->older;
    payload_unref(keyed->outcome);
  }
  struct keyed **at = bucket_of(keys, keyed->hash);
  while (*at != keyed) at = &(*at)->chain;
  *at = keyed->chain;
  keys->count--;
  free(keyed);
}

// NULL: all keys that there may be are in flight.
static struct keyed *add(const struct router *router, struct keys *keys,
                         const struct message *message) {
  if (keys->count == LIMIT_KEYS) {
    if (!keys->oldest) return NULL;
    forget(keys, keys->oldest);
  }
  if (keys->count == keys->capacity) grow(keys);
  struct keyed *keyed = xcalloc(1, sizeof *keyed + message->key_size);
  keyed->hash = hash_key(router, message);
  keyed->content = router_content(router, message->body);
  keyed->function = message->function;
  keyed->size = message->key_size;
  memcpy(keyed->key, message->key, message->key_size);
  struct keyed **bucket = bucket_of(keys, keyed->hash);
  keyed->chain = *bucket;
  *bucket = keyed;
  keys->count++;
  return keyed;
}

size_t router_key_kept(const struct deployment *deployment) {
  return deployment->keys ? deployment->keys->kept : 0;
}

void router_key_close(struct deployment *deployment) {
  struct keys *keys = deployment->keys;
  if (!keys) return;
  for (size_t i = 0; i < keys->capacity; i++)
    while (keys->buckets[i]) forget(keys, keys->buckets[i]);
  free(keys->buckets);
  free(keys);
}

// ---- kept outcomes ----

static void wait_for_oldest(struct router *router, struct keys *keys) {
  if (keys->oldest)
    timers_set(&router->timers, &keys->timer, keys->oldest->expires);
  else
    timers_cancel(&router->timers, &keys->timer);
}

void router_key_expire(struct router *router, struct timer *timer, int64_t now) {
  struct keys *keys = (struct keys *)(void *)timer;  // its first member
#ifdef PLANT_KEY_FOREVER
  return;
#endif
  while (keys->oldest && keys->oldest->expires <= now) forget(keys, keys->oldest);
  wait_for_oldest(router, keys);
}

static void keep(struct router *router, struct keys *keys, struct keyed *keyed,
                 enum message_type type, int64_t elapsed, struct payload *body) {
  keyed->type = type;
  keyed->elapsed = elapsed;
  keyed->outcome = payload_ref(body);
  keyed->expires = router->now + LIMIT_RESULT_TTL;
  keyed->older = keys->newest;
  *(keys->newest ? &keys->newest->newer : &keys->oldest) = keyed;
  keys->newest = keyed;
  keys->kept += kept_size(keyed);
  while (keys->kept > LIMIT_KEPT_BYTES) forget(keys, keys->oldest);
  wait_for_oldest(router, keys);
}

static bool field_is(struct cursor map, const char *name, const char *text) {
  struct cursor value;
  const unsigned char *bytes;
  size_t size;
  return cursor_find(map, name, &value) && cursor_str(&value, &bytes, &size) &&
         size == strlen(text) && !memcmp(bytes, text, size);
}

// An error is kept unless it proves that the function was not entered; where a further run does no
// harm, only if it is the function's own.
static bool keeps_error(const struct call *run, const struct payload *error) {
  size_t count;
  bool retryable = false;
  struct cursor map = cursor_of(error->parts[0].bytes, error->parts[0].size), value;
  if (!cursor_array(&map, &count) || !count) return true;
  if (field_is(map, "executed", "no")) return false;
#ifdef PLANT_KEY_AGAIN
  if (!field_is(map, "name", error_text(ERROR_REMOTE_ERROR))) return false;
#endif
  if (cursor_find(map, "retryable", &value) && cursor_bool(&value, &retryable) && retryable)
    return false;
  bool harmless = (run->flags & CALL_IDEMPOTENT) || run->attempts > 1;
  return !harmless || field_is(map, "name", error_text(ERROR_REMOTE_ERROR));
}

static struct payload *copy(const struct payload *body) {
  struct payload *new = payload_new(body->size);
  unsigned char *at = new ? new->bytes : NULL;
  for (uint32_t i = 0; new &&i < body->count; i++) {
    memcpy(at, body->parts[i].bytes, body->parts[i].size);
    at += body->parts[i].size;
  }
  return new;
}

static void answer(struct router *router, struct call *call, uint32_t attempt,
                   enum message_type type, int64_t elapsed, const struct payload *body) {
  struct payload *mine = copy(body);
  if (!mine) {
    struct error_writer writer;
    error_begin(&writer, ERROR_INTERNAL, EXECUTED_YES, false, "router");
    error_message(&writer, "there is no memory for the outcome of the call, %zu bytes", body->size);
    mine = error_end(&writer);
    type = MESSAGE_ERROR;
  }
  call->attempt = attempt;
  router_answer(router, call, type, elapsed, mine);
}

// ---- runs and what is attached to them ----

bool router_key_is_run(const struct call *call) {
  return call->key && call->state != CALL_ATTACHED;
}

const struct call *router_key_first(const struct call *run) {
  return run->key->first;
}

const struct call *router_key_run(const struct call *call) {
  return call->state == CALL_ATTACHED ? call->key->run : call;
}

bool router_key_is_shared(const struct call *call) {
  return call->key->first != call->key->last;
}

// A call is attached to a run, and the other way around.
static void attach(struct router *router, struct keyed *keyed, struct call *call) {
  struct call *run = keyed->run;
  call->state = CALL_ATTACHED;
  call->key = keyed;
  router_drop_body(router, call);
  call->previous = keyed->last;
  call->next = NULL;
  *(keyed->last ? &keyed->last->next : &keyed->first) = call;
  keyed->last = call;
  timers_set(&router->timers, &call->timer, call->queue_deadline);
  if (run->deadline < call->deadline) run->deadline = call->deadline;
  if (run->queue_deadline < call->queue_deadline) run->queue_deadline = call->queue_deadline;
  if (run->state == CALL_RUNNING) router_batch_widened(router, run);
  if (run->state != CALL_DELAYED)
    timers_set(&router->timers, &run->timer,
               run->state == CALL_QUEUED ? run->queue_deadline : run->deadline);
}

static void detach(struct call *call) {
  struct keyed *keyed = call->key;
  *(call->previous ? &call->previous->next : &keyed->first) = call->next;
  *(call->next ? &call->next->previous : &keyed->last) = call->previous;
  call->previous = call->next = NULL;
}

// Clients may guess ids of runs: one that is in use is passed over.
static struct call_id run_id(struct router *router) {
  struct call_id id = {router->options.epoch, ++router->runs};
  while (table_find(&router->calls, id)) id.counter = ++router->runs;
  return id;
}

// The run stands where its first call would: in the same line, at the same place.
static void begin_run(struct router *router, struct keyed *keyed, struct call *call) {
  struct call *run = keyed->run = router_call_new(router);
  run->peer = ROUTER_NONE;
  run->deployment = call->deployment;
  run->function = call->function;
  run->attempt = call->attempt;
  run->attempts = call->attempts;
  run->flags = call->flags & ~(uint32_t)(CALL_DEFAULT_DEADLINE | CALL_PROGRESS);
  run->priority = call->priority;
  run->id = run_id(router);
  run->admitted = call->admitted;
  run->deadline = call->deadline;
  run->queue_deadline = call->queue_deadline;
  run->workload = call->workload;
  router_fair_same(run, call);
  run->body = call->body;
  call->body = NULL;
  table_add(&router->calls, run->id, run);
  router_call_queue(router, run);
  run->key = keyed;
}

// Whether `maker`, or whatever waits for it, is `run` or runs in one batch with it.
static bool serves(const struct router *router, const struct call *maker, const struct call *run,
                   int *left) {
  if (maker && maker->batch && maker->batch == run->batch) return true;
  if (!maker || maker == run || --*left < 0) return maker == run;
  if (!router_key_is_run(maker))
    return serves(router, table_find(&router->calls, maker->parent), run, left);
  for (const struct call *call = maker->key->first; call; call = call->next)
    if (serves(router, table_find(&router->calls, call->parent), run, left)) return true;
  return false;
}

static struct payload *refusal(const struct router *router, const struct keyed *keyed,
                               const struct call *call) {
  struct error_writer writer;
  int left = MOST_MAKERS;
  if (call->flags & CALL_STREAM) {
    error_begin(&writer, ERROR_UNSUPPORTED, EXECUTED_NO, false, "router");
    error_message(&writer,
                  "a stream with an idempotency_key: its items would be gone for later calls");
    error_string(&writer, "feature", "streams with idempotency keys");
  } else if (!keyed) {
    error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, true, "router");
    error_message(&writer, "too many keys are in flight: the limit per deployment is %d",
                  LIMIT_KEYS);
    error_string(&writer, "scope", "deployment");
    error_number(&writer, "limit", LIMIT_KEYS);
    error_number(&writer, "retry_after", 100);
  } else if (keyed->content != router_content(router, call->body)) {
    error_begin(&writer, ERROR_DUPLICATE_ID, EXECUTED_NO, false, "router");
    error_message(
        &writer,
        "this idempotency_key was used with other arguments in the last %d s: a key stands "
        "for one call; take another for another call",
        (int)(LIMIT_RESULT_TTL / NANOSECONDS_PER_SECOND));
  } else if (keyed->run &&
             serves(router, table_find(&router->calls, call->parent), keyed->run, &left)) {
    error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, false, "router");
    error_message(&writer,
                  "deadlock: the call has the idempotency_key of a call in which it is made, and "
                  "would wait for itself");
    error_string(&writer, "scope", "workers");
  } else {
    return NULL;
  }
  error_string(&writer, "deployment", call_deployment(router, call)->name);
  return error_end(&writer);
}

bool router_key_joins(const struct router *router, const struct deployment *deployment,
                      const struct message *message) {
  return message->key_size && find(router, deployment, message);
}

void router_key_admit(struct router *router, struct call *call, const struct message *message,
                      int64_t now) {
  struct deployment *deployment = call_deployment(router, call);
  struct keyed *keyed = find(router, deployment, message);
#ifndef PLANT_KEY_FOREVER
  if (keyed && keyed->outcome && keyed->expires <= now) {  // before the tick
    forget(deployment->keys, keyed);
    keyed = NULL;
  }
#endif
  bool is_new = !keyed && !(call->flags & CALL_STREAM);
  if (is_new) keyed = add(router, keys_of(deployment), message);
  struct payload *error = refusal(router, keyed, call);
  if (error) {
    router_answer(router, call, MESSAGE_ERROR, 0, error);
    router_call_free(router, call);
  } else if (keyed->outcome) {
    answer(router, call, keyed->attempt, keyed->type, keyed->elapsed, keyed->outcome);
    router_call_free(router, call);
  } else {
    if (is_new) begin_run(router, keyed, call);
    attach(router, keyed, call);
    if (is_new) router_scale_offered(router, keyed->run, now);
    // The maker of a call waits for the run from now on, which may be a deadlock.
    if (is_new || call->parent.counter) router_dispatch(router, deployment, now);
  }
}

// The run ends without the calls that were attached to it. Its outcome, if there is one, is kept or
// not; the key goes with it.
static void conclude(struct router *router, struct keyed *keyed, enum message_type type,
                     int64_t elapsed, struct payload *body) {
  struct call *run = keyed->run;
  struct keys *keys = call_deployment(router, run)->keys;
  keyed->run = NULL;
  run->key = NULL;
  keyed->attempt = run->attempt;
  if (type == MESSAGE_RESULT || keeps_error(run, body))
    keep(router, keys, keyed, type, elapsed, body);
  else
    forget(keys, keyed);
}

void router_key_outcome(struct router *router, struct call *run, enum message_type type,
                        int64_t elapsed, struct payload *body) {
  struct keyed *keyed = run->key;
  struct call *call;
  while ((call = keyed->first)) {
    detach(call);
    answer(router, call, run->attempt, type, elapsed, body);
    router_call_free(router, call);
  }
  conclude(router, keyed, type, elapsed, body);
  payload_unref(body);
}

static enum cancel_reason reason_to_leave(const struct router *router, const struct call *call,
                                          int64_t now) {
  if (router->draining) return CANCEL_SHUTDOWN;
  return call->deadline <= now ? CANCEL_DEADLINE : CANCEL_CLIENT;
}

void router_key_leave(struct router *router, struct call *call, struct payload *error,
                      int64_t now) {
  struct keyed *keyed = call->key;
  struct call *run = keyed->run;
  enum cancel_reason reason = reason_to_leave(router, call, now);
#ifdef PLANT_KEY_FIRST
  if (keyed->first == call && call->next) router_call_cancel(router, run, reason, now);
  if (!run->key) return payload_unref(error);
#endif
  detach(call);
  call->key = NULL;
  if (!keyed->first) conclude(router, keyed, MESSAGE_ERROR, 0, error);
  router_answer(router, call, MESSAGE_ERROR, 0, error);
  router_call_free(router, call);
  if (run->key) return;
  if (run->state == CALL_RUNNING)
    router_call_abandon(router, run, reason, NULL, now);
  else
    router_call_fail(router, run, NULL, now);
}

// ---- clocks ----

void router_key_queued(struct router *router, struct call *run) {
  for (struct call *call = run->key->first; call; call = call->next)
    timers_set(&router->timers, &call->timer, call->queue_deadline);
}

static void start_clocks(struct router *router, struct keyed *keyed, int64_t now) {
  struct call *run = keyed->run;
  run->deadline = run->queue_deadline = 0;
  for (struct call *call = keyed->first; call; call = call->next) {
    router_call_start_clock(router, call, now);
    if (run->deadline < call->deadline) run->deadline = call->deadline;
    if (run->queue_deadline < call->queue_deadline) run->queue_deadline = call->queue_deadline;
  }
  if (run->state == CALL_QUEUED) timers_set(&router->timers, &run->timer, run->queue_deadline);
}

void router_key_start_clocks(struct router *router, struct deployment *deployment, int64_t now) {
  const struct keys *keys = deployment->keys;
  for (size_t i = 0; keys && i < keys->capacity; i++)
    for (struct keyed *keyed = keys->buckets[i]; keyed; keyed = keyed->chain)
      if (keyed->run) start_clocks(router, keyed, now);
}

// ---- repeated ids ----

static bool same_bytes(const struct payload *a, const struct payload *b) {
  size_t size = a ? a->size : 0, done = 0, i = 0, k = 0, in_a = 0, in_b = 0;
  if (size != (b ? b->size : 0)) return false;
  while (done < size) {
    size_t left_a = a->parts[i].size - in_a, left_b = b->parts[k].size - in_b;
    size_t count = left_a < left_b ? left_a : left_b;
    if (memcmp(a->parts[i].bytes + in_a, b->parts[k].bytes + in_b, count) != 0) return false;
    done += count;
    in_a += count;
    in_b += count;
    if (in_a == a->parts[i].size) in_a = 0, i++;
    if (in_b == b->parts[k].size) in_b = 0, k++;
  }
  return true;
}

bool router_key_repeats(const struct router *router, const struct call *call,
                        const struct message *message) {
  if (call->function != message->function || call->state == CALL_ABANDONED) return false;
  if (call->state != CALL_ATTACHED)
    return !message->key_size && same_bytes(call->body, message->body);
  return call->key == find(router, call_deployment(router, call), message) &&
         call->key->content == router_content(router, message->body);
}
