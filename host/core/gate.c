#include "gate.h"

#include <string.h>

#include "cursor.h"
#include "limits.h"
#include "payload.h"

static const int64_t kCancelGap = NANOSECONDS_PER_SECOND / LIMIT_CANCELS;

// ---- what comes ----

void gate_open(struct gate *gate, int64_t now) {
  *gate = (struct gate){.state = GATE_HELLO, .due = now + LIMIT_HANDSHAKE};
}

void gate_turn_away(struct gate *gate) {
  gate->state = GATE_TURNED_AWAY;
}

void gate_welcome(struct gate *gate, enum role role) {
  gate->state = role == ROLE_OPERATOR ? GATE_OPERATOR : GATE_CLIENT;
  gate->due = INT64_MAX;
}

// Copies the text under `key`, if there is one. False: it is none, or does not fit.
static bool read_text(struct cursor map, const char *key, char *text, size_t size) {
  struct cursor value;
  const unsigned char *bytes;
  size_t length;
  if (!cursor_find(map, key, &value) || cursor_nil(&value)) return true;
  if (!cursor_str(&value, &bytes, &length) || length >= size || memchr(bytes, 0, length))
    return false;
  memcpy(text, bytes, length);
  text[length] = 0;
  return true;
}

static bool read_map(const struct message *message, struct cursor *map) {
  const struct payload *body = message->body;
  size_t count;
  if (!body || body->count != 1) return false;
  *map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  return cursor_array(map, &count) && count == 1 && cursor_type(map) == CURSOR_MAP;
}

static const char *read_hello(const struct message *message, struct hello *hello) {
  struct cursor map, value;
  *hello = (struct hello){.role = (enum role)message->role, .limit = message->limit};
  if (!read_map(message, &map)) return "the body of HELLO is expected to be a map";
  if (!read_text(map, "name", hello->name, sizeof hello->name) ||
      !read_text(map, "tag", hello->tag, sizeof hello->tag))
    return "name and tag in HELLO are expected to be texts of at most 128 bytes";
  if (!read_text(map, "hash", hello->hash, sizeof hello->hash))
    return "the hash in HELLO is expected to be a text of at most 64 digits";
  if (cursor_find(map, "pid", &value)) cursor_uint(&value, &hello->pid);
  if (!*hello->tag) strcpy(hello->tag, "default");
  return NULL;
}

static enum gate_verdict greet(const struct message *message, struct hello *hello,
                               const char **why) {
  *why = "a connection is expected to begin with HELLO";
  if (message->type != MESSAGE_HELLO) return GATE_REFUSE;
  *why = "only clients and operators connect here; workers are started by the router";
  if (message->role != ROLE_CLIENT && message->role != ROLE_OPERATOR) return GATE_REFUSE;
  *why = read_hello(message, hello);
  return *why ? GATE_REFUSE : GATE_GREET;
}

// After the generic cell rate algorithm (ITU-T I.371).
static void count_cancel(struct gate *gate, int64_t now) {
  if (gate->cancels_until < now) gate->cancels_until = now;
  gate->cancels_until += kCancelGap;
}

// Until when nothing is read because of cancels.
static int64_t held_until(const struct gate *gate) {
  return gate->cancels_until - LIMIT_IN_FLIGHT * kCancelGap;
}

bool gate_is_held(const struct gate *gate, int64_t now) {
  return held_until(gate) > now;
}

enum gate_verdict gate_message(struct gate *gate, const struct message *message,
                               struct hello *hello, const char **why, int64_t now) {
  enum gate_verdict verdict = GATE_REFUSE;
  bool is_let_in = gate->state == GATE_CLIENT || gate->state == GATE_OPERATOR;
  if (gate->state == GATE_TURNED_AWAY) return GATE_IGNORE;
  *why = "nothing is expected after a refusal";
  if (gate->state == GATE_HELLO) {
    verdict = greet(message, hello, why);
  } else if (gate->state == GATE_CLIENT) {
    *why = "a client sends CALL, CANCEL and CREDIT";
    if (message->type == MESSAGE_CANCEL) count_cancel(gate, now);
    if (message->type == MESSAGE_CALL || message->type == MESSAGE_CANCEL ||
        message->type == MESSAGE_CREDIT)
      verdict = GATE_PASS;
  } else if (gate->state == GATE_OPERATOR) {
    *why = "an operator sends REQUEST";
    if (message->type == MESSAGE_REQUEST) verdict = GATE_ANSWER;
  }
  if (message->type == MESSAGE_PONG && is_let_in) verdict = GATE_IGNORE;
  if (verdict == GATE_REFUSE) {
    gate->state = GATE_CLOSED;
    gate->due = INT64_MAX;
  }
  return verdict;
}

// The handshake is not done.
static bool is_new(const struct gate *gate) {
  return gate->state == GATE_HELLO || gate->state == GATE_TURNED_AWAY;
}

bool gate_late(const struct gate *gate, int64_t now) {
  return is_new(gate) && now >= gate->due;
}

// ---- what goes ----

void gate_sent(struct gate *gate, size_t size, int64_t now) {
  if (!gate->queued) {
    gate->largest = 0;
    gate->written_at = now;
  }
  gate->queued += size;
  if (size > gate->largest) gate->largest = size;
}

enum gate_flow gate_flow(struct gate *gate, size_t queued, int64_t now) {
  if (queued < gate->queued) gate->written_at = now;
  gate->queued = queued;
  size_t behind = queued > gate->largest ? queued - gate->largest : 0;
  if (behind > LIMIT_QUEUED_PAUSE) gate->paused = true;
  if (behind <= LIMIT_QUEUED_PAUSE / 2) gate->paused = false;
  if (!is_new(gate)) gate->due = queued ? gate->written_at + LIMIT_PROGRESS : INT64_MAX;
  if (behind > LIMIT_QUEUED_CUT || (queued && now - gate->written_at >= LIMIT_PROGRESS))
    return GATE_CUT;
  if (gate->state == GATE_TURNED_AWAY) return queued ? GATE_PAUSE : GATE_END;
  if (gate_is_held(gate, now)) {
    if (held_until(gate) < gate->due) gate->due = held_until(gate);
    return GATE_PAUSE;
  }
  return gate->paused ? GATE_PAUSE : GATE_READ;
}

// ---- words ----

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

// How many letters have to be put in, left out or replaced (Levenshtein 1966).
static size_t distance(const char *a, const char *b) {
  size_t row[GATE_NAME + 1], length = strlen(b);
  for (size_t j = 0; j <= length; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= length; j++) {
      size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
    }
  }
  return row[length];
}

size_t gate_nearest(const char *word, const char *const *words, size_t count) {
  size_t nearest = count, fewest = strlen(word) / 3 + 2;
  for (size_t i = 0; i < count; i++) {
    if (strlen(words[i]) > GATE_NAME) continue;
    size_t edits = distance(word, words[i]);
    if (edits >= fewest || edits >= strlen(words[i])) continue;
    fewest = edits;
    nearest = i;
  }
  return nearest;
}
