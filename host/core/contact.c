#include "contact.h"

#include <string.h>

#include "error.h"
#include "limits.h"
#include "memory.h"
#include "payload.h"
#include "timer.h"

static const int64_t kPauseFirst = 50 * NANOSECONDS_PER_MILLISECOND;
static const int64_t kPauseMost = 2 * NANOSECONDS_PER_SECOND;

// A call that waits for a connection.
struct waiting {
  struct timer timer;  // when its time is up
  struct message message;
  struct waiting *previous, *next;
  bool was_sent;  // on a connection that was lost before the kernel took a byte of it
  bool is_timed;  // the caller has given a timeout
};

// A call of which the kernel has not taken a byte, as far as is known.
struct sent {
  struct message message;  // with references of its own
  uint64_t at;             // where it begins among the bytes of the connection
  int64_t sent;            // when
  int64_t patience;
  bool is_cancelled;
};

struct contact {
  char *address;
  uint64_t chance;
  enum contact_state state;
  int64_t due;      // closed: when the next attempt is made; connecting: when it has taken too long
  uint32_t failed;  // attempts since the last welcome
  bool was_open;
  char why[160];
  struct payload *refusal;  // final

  struct waiting *first, *last;
  size_t waiting_count;
  struct timers timers;

  struct sent *sent;  // from `sent_first` on
  size_t sent_first, sent_count, sent_capacity;

  struct message *answers;  // from `answer_first` on
  size_t answer_first, answer_count, answer_capacity;
};

#define OWNER(at) ((struct waiting *)(void *)((char *)(at)-offsetof(struct waiting, timer)))

// ---- life ----

struct contact *contact_new(const char *address, uint64_t seed) {
  struct contact *contact = xcalloc(1, sizeof *contact);
  contact->address = strdup(address);
  if (!contact->address) abort();
  contact->chance = seed;
  return contact;
}

// Keys belong to those who call; what waits has a copy.
static void own_key(struct message *message) {
  if (!message->key_size) return;
  char *key = xcalloc(1, message->key_size);
  memcpy(key, message->key, message->key_size);
  message->key = key;
}

static void drop_message(struct message *message) {
  payload_unref(message->body);
  if (message->key_size) free((char *)(uintptr_t)message->key);
}

static void forget_sent(struct contact *contact, size_t count) {
  for (size_t i = 0; i < count; i++) drop_message(&contact->sent[contact->sent_first + i].message);
  contact->sent_first += count;
  contact->sent_count -= count;
  if (!contact->sent_count) contact->sent_first = 0;
}

static void unlink_waiting(struct contact *contact, struct waiting *waiting) {
  timers_cancel(&contact->timers, &waiting->timer);
  *(waiting->previous ? &waiting->previous->next : &contact->first) = waiting->next;
  *(waiting->next ? &waiting->next->previous : &contact->last) = waiting->previous;
  contact->waiting_count--;
}

static void drop_waiting(struct contact *contact, struct waiting *waiting) {
  unlink_waiting(contact, waiting);
  drop_message(&waiting->message);
  free(waiting);
}

void contact_free(struct contact *contact) {
  if (!contact) return;
  while (contact->first) drop_waiting(contact, contact->first);
  forget_sent(contact, contact->sent_count);
  for (size_t i = 0; i < contact->answer_count; i++)
    payload_unref(contact->answers[contact->answer_first + i].body);
  payload_unref(contact->refusal);
  timers_close(&contact->timers);
  free(contact->sent);
  free(contact->answers);
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

static struct payload *cancelled(void) {
  struct error_writer writer;
  error_begin(&writer, ERROR_CANCELLED, EXECUTED_NO, false, "sdk");
  error_message(&writer, "cancelled while it waited for a connection to the router");
  error_string(&writer, "by", "client");
  return error_end(&writer);
}

static struct payload *timed_out(const struct contact *contact, const struct waiting *waiting) {
  struct error_writer writer;
  bool lost = waiting->was_sent || contact->was_open;
  error_begin(&writer, lost ? ERROR_ROUTER_LOST : ERROR_CONNECT_FAILED, EXECUTED_NO, true, "sdk");
  error_message(
      &writer, "%s %s until the call's %s: %s",
      lost ? "the router was lost and did not come back at" : "no router could be reached at",
      contact->address, waiting->is_timed ? "deadline" : "default deadline", contact->why);
  error_string(&writer, "address", contact->address);
  return error_end(&writer);
}

static struct payload *refused(const struct contact *contact) {
  struct payload *body = payload_join(contact->refusal);
  if (!body) abort();  // errors are small
  return body;
}

// ---- calls ----

// Takes the message's references over.
static struct waiting *wait_at_end(struct contact *contact, const struct message *message,
                                   int64_t until) {
  struct waiting *waiting = xcalloc(1, sizeof *waiting);
  waiting->message = *message;
  waiting->previous = contact->last;
  *(contact->last ? &contact->last->next : &contact->first) = waiting;
  contact->last = waiting;
  contact->waiting_count++;
  waiting->is_timed = message->remaining > 0;
  timers_set(&contact->timers, &waiting->timer, until);
  return waiting;
}

static int64_t time_of(const struct message *message, int64_t patience) {
  return message->remaining > 0 ? message->remaining : patience;
}

// Takes the message's references over.
static void remember_sent(struct contact *contact, const struct message *message, uint64_t at,
                          int64_t patience, int64_t now) {
  if (contact->sent_first + contact->sent_count == contact->sent_capacity) {
    if (contact->sent_first > contact->sent_count) {
      memmove(contact->sent, contact->sent + contact->sent_first,
              contact->sent_count * sizeof *contact->sent);
      contact->sent_first = 0;
    } else {
      contact->sent_capacity = contact->sent_capacity ? 2 * contact->sent_capacity : 64;
      contact->sent = xrealloc(contact->sent, contact->sent_capacity * sizeof *contact->sent);
    }
  }
  contact->sent[contact->sent_first + contact->sent_count++] =
      (struct sent){*message, at, now, patience, false};
}

bool contact_call(struct contact *contact, const struct message *message, uint64_t at,
                  int64_t patience, int64_t now) {
  struct message copy = *message;
  if (contact->state == CONTACT_OPEN) {
    own_key(&copy);
    payload_ref(copy.body);
    remember_sent(contact, &copy, at, patience, now);
    return true;
  }
  if (contact->refusal) {
    answer(contact, message->id, refused(contact));
    payload_unref(message->body);
    return false;
  }
  own_key(&copy);
  wait_at_end(contact, &copy, now + time_of(message, patience));
  return false;
}

void contact_written(struct contact *contact, uint64_t written) {
  size_t count = 0;
  while (count < contact->sent_count && contact->sent[contact->sent_first + count].at < written)
    count++;
  if (count) forget_sent(contact, count);
}

static bool is_same(struct call_id a, struct call_id b) {
  return a.session == b.session && a.counter == b.counter;
}

// A call that may have to wait for another connection does not when it is cancelled.
static void mark_cancelled(struct contact *contact, struct call_id id) {
  for (size_t i = 0; i < contact->sent_count; i++) {
    struct sent *sent = &contact->sent[contact->sent_first + i];
    if (is_same(sent->message.id, id)) sent->is_cancelled = true;
  }
}

bool contact_control(struct contact *contact, const struct message *message, int64_t now) {
  (void)now;
  for (struct waiting *waiting = contact->first; waiting; waiting = waiting->next) {
    if (!is_same(waiting->message.id, message->id)) continue;
    if (message->type != MESSAGE_CANCEL) return false;
    answer(contact, message->id, cancelled());
    drop_waiting(contact, waiting);
    return false;
  }
  if (contact->state != CONTACT_OPEN && contact->state != CONTACT_DRAINING) return false;
  if (message->type == MESSAGE_CANCEL) mark_cancelled(contact, message->id);
  return true;
}

bool contact_next(struct contact *contact, uint64_t at, struct message *message, int64_t now) {
  struct waiting *waiting = contact->first;
  if (contact->state != CONTACT_OPEN || !waiting) return false;
  int64_t left = waiting->timer.at - now, patience = left > 0 ? left : 1;
  struct message sent = waiting->message;
  if (waiting->is_timed) sent.remaining = patience;
  unlink_waiting(contact, waiting);
  free(waiting);
  remember_sent(contact, &sent, at, patience, now);
  payload_ref(sent.body);
  *message = sent;
  return true;
}

void contact_each(const struct contact *contact, void (*each)(void *owner, uint64_t call),
                  void *owner) {
  for (const struct waiting *waiting = contact->first; waiting; waiting = waiting->next)
    each(owner, waiting->message.id.counter);
}

size_t contact_waiting(const struct contact *contact) {
  return contact->waiting_count;
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

void contact_opened(struct contact *contact) {
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
  int64_t drawn = draw_pause(contact);
  contact->due = now + (pause > drawn ? pause : drawn);
  if (contact->failed < UINT32_MAX) contact->failed++;
}

void contact_refused(struct contact *contact, struct payload *error, bool is_final, int64_t pause,
                     int64_t now) {
  close_at(contact, pause, now);
  strcpy(contact->why, "it has refused this client");
  if (!is_final) {
    payload_unref(error);
    return;
  }
  payload_unref(contact->refusal);
  contact->refusal = error;
  while (contact->first) {
    answer(contact, contact->first->message.id, refused(contact));
    drop_waiting(contact, contact->first);
  }
}

// What was not taken by the kernel goes before what came later.
static void wait_again(struct contact *contact, int64_t now) {
  struct waiting *first = contact->first, *last = contact->last;
  contact->first = contact->last = NULL;
  for (size_t i = 0; i < contact->sent_count; i++) {
    struct sent *sent = &contact->sent[contact->sent_first + i];
    if (sent->is_cancelled) {
      answer(contact, sent->message.id, cancelled());
      drop_message(&sent->message);
      continue;
    }
    int64_t until = sent->sent + time_of(&sent->message, sent->patience);
    wait_at_end(contact, &sent->message, until > now ? until : now)->was_sent = true;
  }
  contact->sent_first = contact->sent_count = 0;
  if (!first) return;
  first->previous = contact->last;
  *(contact->last ? &contact->last->next : &contact->first) = first;
  contact->last = last;
}

void contact_lost(struct contact *contact, uint64_t written, const char *why, int64_t now) {
  size_t size = strlen(why);
  if (size >= sizeof contact->why) size = sizeof contact->why - 1;
  memcpy(contact->why, why, size);
  contact->why[size] = 0;
  contact_written(contact, written);
  wait_again(contact, now);
  close_at(contact, 0, now);
}

// ---- time ----

void contact_tick(struct contact *contact, int64_t now) {
  struct timer *timer;
  while ((timer = timers_first(&contact->timers)) && timer->at <= now) {
    struct waiting *waiting = OWNER(timer);
    answer(contact, waiting->message.id, timed_out(contact, waiting));
    drop_waiting(contact, waiting);
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
