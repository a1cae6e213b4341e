#include "contact.h"

#include <string.h>

#include "cursor.h"
#include "error.h"
#include "limits.h"
#include "memory.h"
#include "payload.h"
#include "timer.h"

static const int64_t kPauseFirst = 50 * NANOSECONDS_PER_MILLISECOND;
static const int64_t kPauseMost = 2 * NANOSECONDS_PER_SECOND;

// As in client.c: the low bits of a call's number are a small place, used again.
enum { PLACES = 1 << 20 };

// A call that has not ended.
struct kept {
  struct timer timer;            // while it waits: when its time is up
  struct message message;        // with references of its own
  struct line *line;             // waiting or out
  struct kept *previous, *next;  // there
  uint64_t order;                // in which they were made
  uint64_t at;                   // while it is out: where it begins among the connection's bytes
  int64_t until;                 // when its time is up; for one without a timeout while it waits
  uint32_t losses;               // how often it went down with a connection, and may have run
  bool is_timed;                 // the caller has given a timeout
  bool is_cancelled;
};

// Calls in the order in which they were made.
struct line {
  struct kept *first, *last;
  size_t count;
};

struct contact {
  char *address;
  struct contact_function *functions;
  uint32_t function_count;
  uint64_t chance;
  enum contact_state state;
  int64_t due;      // closed: when the next attempt is made; connecting: when it has taken too long
  uint32_t failed;  // attempts since the last welcome
  bool was_open;
  uint64_t epoch;  // of the router that welcomed last
  char why[160];
  struct payload *refusal;  // final

  struct line waiting, out;
  struct timers timers;
  struct kept **places;  // by the place of a call
  uint32_t place_count;
  struct kept *spare;
  uint64_t made;  // so far

  struct message *answers;  // from `answer_first` on
  size_t answer_first, answer_count, answer_capacity;
};

#define OWNER(at) ((struct kept *)(void *)((char *)(at)-offsetof(struct kept, timer)))

// ---- what is kept ----

static void line_add(struct line *line, struct kept *before, struct kept *kept) {
  struct kept *previous = before ? before->previous : line->last;
  kept->line = line;
  kept->previous = previous;
  kept->next = before;
  *(previous ? &previous->next : &line->first) = kept;
  *(before ? &before->previous : &line->last) = kept;
  line->count++;
}

static void line_remove(struct kept *kept) {
  struct line *line = kept->line;
  *(kept->previous ? &kept->previous->next : &line->first) = kept->next;
  *(kept->next ? &kept->next->previous : &line->last) = kept->previous;
  line->count--;
}

static struct kept **place_of(struct contact *contact, uint64_t call) {
  uint32_t place = (uint32_t)(call & (PLACES - 1));
  if (place >= contact->place_count) {
    uint32_t count = contact->place_count ? contact->place_count : 64;
    while (count <= place) count *= 2;
    contact->places = xrealloc(contact->places, count * sizeof *contact->places);
    memset(contact->places + contact->place_count, 0,
           (count - contact->place_count) * sizeof *contact->places);
    contact->place_count = count;
  }
  return &contact->places[place];
}

static struct kept *find(const struct contact *contact, struct call_id id) {
  uint64_t place = id.counter & (PLACES - 1);
  struct kept *kept = place < contact->place_count ? contact->places[place] : NULL;
  return kept && kept->message.id.counter == id.counter ? kept : NULL;
}

// Takes over the body's reference. Keys belong to those who call; what is kept has a copy.
static struct kept *keep(struct contact *contact, const struct message *message, int64_t now) {
  struct kept *kept = contact->spare;
  if (kept)
    contact->spare = kept->next;
  else
    kept = xcalloc(1, sizeof *kept);
  *kept = (struct kept){
      .message = *message, .is_timed = message->remaining > 0, .order = contact->made++};
  int64_t patience = 0;
  if (message->function < contact->function_count)
    patience = contact->functions[message->function].patience;
  if (patience <= 0) patience = LIMIT_DEADLINE_DEFAULT;
  kept->until = now + (kept->is_timed ? message->remaining : patience);
  if (message->key_size) {
    char *key = xcalloc(1, message->key_size);
    memcpy(key, message->key, message->key_size);
    kept->message.key = key;
  }
  *place_of(contact, message->id.counter) = kept;
  return kept;
}

static void forget(struct contact *contact, struct kept *kept) {
  line_remove(kept);
  timers_cancel(&contact->timers, &kept->timer);
  *place_of(contact, kept->message.id.counter) = NULL;
  payload_unref(kept->message.body);
  if (kept->message.key_size) free((char *)(uintptr_t)kept->message.key);
  kept->next = contact->spare;
  contact->spare = kept;
}

// ---- life ----

struct contact *contact_new(const char *address, const struct contact_function *functions,
                            uint32_t function_count, uint64_t seed) {
  struct contact *contact = xcalloc(1, sizeof *contact);
  contact->address = strdup(address);
  contact->functions = xcalloc(function_count + 1, sizeof *functions);
  if (!contact->address) abort();
  if (function_count) memcpy(contact->functions, functions, function_count * sizeof *functions);
  contact->function_count = function_count;
  contact->chance = seed;
  return contact;
}

void contact_free(struct contact *contact) {
  if (!contact) return;
  while (contact->waiting.first) forget(contact, contact->waiting.first);
  while (contact->out.first) forget(contact, contact->out.first);
  for (struct kept *next, *kept = contact->spare; kept; kept = next) {
    next = kept->next;
    free(kept);
  }
  for (size_t i = 0; i < contact->answer_count; i++)
    payload_unref(contact->answers[contact->answer_first + i].body);
  payload_unref(contact->refusal);
  timers_close(&contact->timers);
  free(contact->places);
  free(contact->answers);
  free(contact->functions);
  free(contact->address);
  free(contact);
}

enum contact_state contact_state(const struct contact *contact) {
  return contact->state;
}

// ---- answers ----

static void answer(struct contact *contact, struct call_id id, struct payload *body) {
  if (contact->answer_first + contact->answer_count == contact->answer_capacity) {
    if (contact->answer_first) {
      memmove(contact->answers, contact->answers + contact->answer_first,
              contact->answer_count * sizeof *contact->answers);
      contact->answer_first = 0;
    } else {
      contact->answer_capacity = contact->answer_capacity ? 2 * contact->answer_capacity : 16;
      contact->answers =
          xrealloc(contact->answers, contact->answer_capacity * sizeof *contact->answers);
    }
  }
  contact->answers[contact->answer_first + contact->answer_count++] =
      (struct message){.type = MESSAGE_ERROR, .id = id, .attempt = 1, .body = body};
}

bool contact_answer(struct contact *contact, struct message *message) {
  if (!contact->answer_count) return false;
  *message = contact->answers[contact->answer_first++];
  if (!--contact->answer_count) contact->answer_first = 0;
  return true;
}

static enum executed executed_of(const struct kept *kept) {
  return kept->losses ? EXECUTED_MAYBE : EXECUTED_NO;
}

static struct payload *cancelled(const struct kept *kept) {
  struct error_writer writer;
  error_begin(&writer, ERROR_CANCELLED, executed_of(kept), false, "sdk");
  error_message(&writer, "cancelled while it waited for a connection to the router");
  error_string(&writer, "by", "client");
  return error_end(&writer);
}

static struct payload *timed_out(const struct contact *contact, const struct kept *kept) {
  struct error_writer writer;
  error_begin(&writer, contact->was_open ? ERROR_ROUTER_LOST : ERROR_CONNECT_FAILED,
              executed_of(kept), !kept->losses, "sdk");
  error_message(&writer, "%s unix:%s until the call's %s: %s",
                contact->was_open ? "the router was lost and none came back at"
                                  : "no router could be reached at",
                contact->address, kept->is_timed ? "deadline" : "default deadline", contact->why);
  error_string(&writer, "address", contact->address);
  error_epoch(&writer, contact->epoch);
  return error_end(&writer);
}

static struct payload *refused(const struct contact *contact) {
  struct payload *body = payload_join(contact->refusal);
  if (!body) abort();  // errors are small
  return body;
}

// ---- calls ----

static void wait_before(struct contact *contact, struct kept *before, struct kept *kept) {
  line_add(&contact->waiting, before, kept);
  timers_set(&contact->timers, &kept->timer, kept->until);
}

// Of one that was out: for the next connection, behind those that were made before it.
static void wait_again(struct contact *contact, struct kept *kept) {
  struct kept *before = contact->waiting.first;
  while (before && before->order < kept->order) before = before->next;
  line_remove(kept);
  wait_before(contact, before, kept);
}

bool contact_call(struct contact *contact, const struct message *message, uint64_t at,
                  int64_t now) {
  bool goes = contact->state == CONTACT_OPEN;
  if (!goes && contact->refusal) {
    answer(contact, message->id, refused(contact));
    payload_unref(message->body);
    return false;
  }
  struct kept *kept = keep(contact, message, now);
  kept->at = at;
  if (goes) {
    payload_ref(message->body);
    line_add(&contact->out, NULL, kept);
  } else {
    wait_before(contact, NULL, kept);
  }
  return goes;
}

bool contact_control(struct contact *contact, const struct message *message) {
  bool is_cancel = message->type == MESSAGE_CANCEL;
  struct kept *kept = find(contact, message->id);
  if (!kept) return false;
  if (kept->line == &contact->out) {
    if (is_cancel) kept->is_cancelled = true;
    return true;
  }
  if (is_cancel) {
    answer(contact, message->id, cancelled(kept));
    forget(contact, kept);
  }
  return false;
}

static bool is_named(const struct message *message, const char *name) {
  if (message->type != MESSAGE_ERROR || !message->body) return false;
  struct cursor map = cursor_of(message->body->parts[0].bytes, message->body->parts[0].size), value;
  const unsigned char *text;
  size_t size;
  return cursor_array(&map, &size) && size && cursor_find(map, "name", &value) &&
         cursor_str(&value, &text, &size) && size == strlen(name) && !memcmp(text, name, size);
}

bool contact_ended(struct contact *contact, const struct message *message, int64_t now) {
  struct kept *kept = find(contact, message->id);
  if (!kept || kept->line != &contact->out) return true;
  if (!kept->is_cancelled && kept->until > now && is_named(message, "Draining")) {
    contact_drained(contact);
    wait_again(contact, kept);
    return false;
  }
  forget(contact, kept);
  return true;
}

bool contact_next(struct contact *contact, uint64_t at, struct message *message, int64_t now) {
  struct kept *kept = contact->waiting.first;
  if (contact->state != CONTACT_OPEN || !kept) return false;
  line_remove(kept);
  timers_cancel(&contact->timers, &kept->timer);
  line_add(&contact->out, NULL, kept);
  kept->at = at;
  *message = kept->message;
  if (kept->is_timed) message->remaining = kept->until > now ? kept->until - now : 1;
  payload_ref(message->body);
  return true;
}

void contact_each(const struct contact *contact, void (*each)(void *owner, uint64_t call),
                  void *owner) {
  for (const struct kept *kept = contact->waiting.first; kept; kept = kept->next)
    each(owner, kept->message.id.counter);
}

size_t contact_waiting(const struct contact *contact) {
  return contact->waiting.count;
}

size_t contact_out(const struct contact *contact) {
  return contact->out.count;
}

// ---- connections ----

// xorshift64*, by S. Vigna ("An experimental exploration of Marsaglia's xorshift generators,
// scrambled", 2016).
static uint64_t draw(struct contact *contact) {
  if (!contact->chance) contact->chance = 1;
  contact->chance ^= contact->chance >> 12;
  contact->chance ^= contact->chance << 25;
  contact->chance ^= contact->chance >> 27;
  return contact->chance * UINT64_C(0x2545f4914f6cdd1d);
}

static int64_t draw_pause(struct contact *contact) {
  int64_t bound = kPauseFirst;
  for (uint32_t i = 0; i < contact->failed && bound < kPauseMost; i++) bound *= 2;
  if (bound > kPauseMost) bound = kPauseMost;
  return (int64_t)(draw(contact) % (uint64_t)bound);
}

bool contact_due(struct contact *contact, int64_t now) {
  if (contact->state != CONTACT_CLOSED || now < contact->due) return false;
  contact->state = CONTACT_CONNECTING;
  contact->due = now + LIMIT_HANDSHAKE;
  return true;
}

uint64_t contact_epoch(const struct contact *contact) {
  return contact->epoch;
}

void contact_opened(struct contact *contact, uint64_t epoch) {
  contact->epoch = epoch;
  contact->state = CONTACT_OPEN;
  contact->was_open = true;
  contact->failed = 0;
  contact->due = INT64_MAX;
  payload_unref(contact->refusal);
  contact->refusal = NULL;
}

void contact_drained(struct contact *contact) {
  if (contact->state == CONTACT_OPEN) contact->state = CONTACT_DRAINING;
}

static void close_at(struct contact *contact, int64_t pause, int64_t now) {
  contact->state = CONTACT_CLOSED;
  contact->due = now + pause + draw_pause(contact);
  if (contact->failed < UINT32_MAX) contact->failed++;
}

void contact_refused(struct contact *contact, struct payload *error, bool is_final, int64_t pause,
                     int64_t now) {
  if (pause < 0) pause = 0;
  close_at(contact, pause < LIMIT_DEADLINE ? pause : LIMIT_DEADLINE, now);
  strcpy(contact->why, "it has refused this client");
  if (!is_final) {
    payload_unref(error);
    return;
  }
  payload_unref(contact->refusal);
  contact->refusal = error;
  while (contact->waiting.first) {
    answer(contact, contact->waiting.first->message.id, refused(contact));
    forget(contact, contact->waiting.first);
  }
}

// What has given items to its caller cannot begin anew.
static bool may_run_again(const struct contact *contact, const struct kept *kept) {
  uint32_t function = kept->message.function;
  bool is_stream = kept->message.flags & CALL_STREAM;
  return !is_stream && kept->losses + 1 < LIMIT_ATTEMPTS && function < contact->function_count &&
         contact->functions[function].is_idempotent;
}

static void lose(struct contact *contact, struct kept *kept, uint64_t written) {
  bool has_left = kept->at < written;
  if (has_left && !may_run_again(contact, kept)) {
    forget(contact, kept);  // the client ends it
    return;
  }
  kept->losses += has_left;
  if (!kept->is_cancelled) {
    wait_again(contact, kept);
    return;
  }
  answer(contact, kept->message.id, cancelled(kept));
  forget(contact, kept);
}

void contact_lost(struct contact *contact, uint64_t written, const char *why, int64_t now) {
  size_t size = strlen(why);
  if (size >= sizeof contact->why) size = sizeof contact->why - 1;
  memcpy(contact->why, why, size);
  contact->why[size] = 0;
  while (contact->out.last) lose(contact, contact->out.last, written);
  close_at(contact, 0, now);
}

// ---- time ----

void contact_tick(struct contact *contact, int64_t now) {
  struct timer *timer;
  while ((timer = timers_first(&contact->timers)) && timer->at <= now) {
    struct kept *kept = OWNER(timer);
    answer(contact, kept->message.id, timed_out(contact, kept));
    forget(contact, kept);
  }
}

int64_t contact_deadline(const struct contact *contact) {
  const struct timer *timer = timers_first(&contact->timers);
  int64_t next = timer ? timer->at : INT64_MAX;
  bool has_due = contact->state == CONTACT_CLOSED || contact->state == CONTACT_CONNECTING;
  return has_due && contact->due < next ? contact->due : next;
}

bool contact_is_late(const struct contact *contact, int64_t now) {
  return contact->state == CONTACT_CONNECTING && now >= contact->due;
}
