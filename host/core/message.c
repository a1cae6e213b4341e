#include "message.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "cursor.h"
#include "limits.h"
#include "pack.h"

enum { FIELDS = 10, ID_SIZE = 16, LARGEST_HEADER = 256 };

// What stands in a header behind the type.
enum field {
  NO_FIELD,
  ID,
  ATTEMPT,
  EPOCH,
  SEQUENCE,
  FUNCTION,
  REMAINING,
  WORKLOAD,
  PRIORITY,
  FLAGS,
  ELAPSED,
  REASON,
  PHASE,
  ROLE,
  LIMIT,
  WORKER,
  GENERATION,
  CODE,
  CREDIT,
  N,
  TOTAL,
  RESIDENT,
};

static const char *const field_names[] = {
    [NO_FIELD] = "type",
    [ID] = "id",
    [ATTEMPT] = "attempt",
    [EPOCH] = "epoch",
    [SEQUENCE] = "sequence",
    [FUNCTION] = "function",
    [REMAINING] = "remaining time",
    [WORKLOAD] = "workload",
    [PRIORITY] = "priority",
    [FLAGS] = "flags",
    [ELAPSED] = "elapsed time",
    [REASON] = "reason",
    [PHASE] = "phase",
    [ROLE] = "role",
    [LIMIT] = "limit",
    [WORKER] = "worker",
    [GENERATION] = "generation",
    [CODE] = "exit code",
    [CREDIT] = "bytes of credit",
    [N] = "n",
    [TOTAL] = "total",
    [RESIDENT] = "resident bytes",
};

struct layout {
  const char *name;
  enum body_rule body;
  unsigned char fields[FIELDS];  // enum field, up to NO_FIELD
};

static const struct layout layouts[MESSAGE_TYPES] = {
    [MESSAGE_HELLO] = {"HELLO", BODY_NEEDED, {ROLE, FLAGS, LIMIT}},
    [MESSAGE_WELCOME] = {"WELCOME", BODY_OPTIONAL, {EPOCH, FLAGS}},
    [MESSAGE_START] = {"START", BODY_NEEDED, {WORKER, GENERATION, EPOCH}},
    [MESSAGE_READY] = {"READY", BODY_NEEDED, {GENERATION}},
    [MESSAGE_CALL] = {"CALL",
                      BODY_NEEDED,
                      {ID, ATTEMPT, EPOCH, SEQUENCE, FUNCTION, REMAINING, WORKLOAD, PRIORITY,
                       FLAGS}},
    [MESSAGE_STARTED] = {"STARTED", BODY_NONE, {ID, ATTEMPT, SEQUENCE}},
    [MESSAGE_RESULT] = {"RESULT", BODY_NEEDED, {ID, ATTEMPT, EPOCH, SEQUENCE, ELAPSED}},
    [MESSAGE_ERROR] = {"ERROR", BODY_NEEDED, {ID, ATTEMPT, EPOCH, SEQUENCE, ELAPSED}},
    [MESSAGE_CANCEL] = {"CANCEL", BODY_NONE, {ID, ATTEMPT, SEQUENCE, REASON}},
    [MESSAGE_GIVE_BACK] = {"GIVE_BACK", BODY_NONE, {ID, ATTEMPT, EPOCH, SEQUENCE}},
    [MESSAGE_ITEM] = {"ITEM", BODY_NEEDED, {ID, ATTEMPT, EPOCH, SEQUENCE}},
    [MESSAGE_CREDIT] = {"CREDIT", BODY_NONE, {ID, ATTEMPT, SEQUENCE, CREDIT}},
    [MESSAGE_PROGRESS] = {"PROGRESS", BODY_NONE, {ID, ATTEMPT, EPOCH, SEQUENCE, N, TOTAL}},
    [MESSAGE_LOG] = {"LOG", BODY_NEEDED, {NO_FIELD}},
    [MESSAGE_PING] = {"PING", BODY_NONE, {SEQUENCE}},
    [MESSAGE_PONG] = {"PONG", BODY_NONE, {SEQUENCE}},
    [MESSAGE_SCORE] = {"SCORE", BODY_NONE, {FUNCTION, WORKLOAD}},
    [MESSAGE_DRAIN] = {"DRAIN", BODY_NONE, {REMAINING}},
    [MESSAGE_GOODBYE] = {"GOODBYE", BODY_OPTIONAL, {CODE, PHASE}},
    [MESSAGE_RECYCLE] = {"RECYCLE", BODY_NONE, {FUNCTION, RESIDENT}},
    [MESSAGE_REQUEST] = {"REQUEST", BODY_NEEDED, {SEQUENCE}},
    [MESSAGE_REPLY] = {"REPLY", BODY_NEEDED, {SEQUENCE}},
};

static bool is_type(uint64_t type) {
  return type < MESSAGE_TYPES && layouts[type].name;
}

enum body_rule message_body(enum message_type type) {
  assert(is_type(type));
  return layouts[type].body;
}

const char *message_name(enum message_type type) {
  return is_type(type) ? layouts[type].name : "unknown type";
}

// ---- to bytes ----

static void pack_id(struct buffer *out, struct call_id id) {
  uint64_t words[] = {htobe64(id.session), htobe64(id.counter)};
  pack_bin(out, words, sizeof words);
}

// Rounded up, so that a call with time left does not arrive as one without. What is too long to
// come back as nanoseconds is cut.
static uint64_t milliseconds(int64_t nanoseconds) {
  if (nanoseconds <= 0) return 0;
  int64_t whole = nanoseconds / NANOSECONDS_PER_MILLISECOND;
  bool is_cut = whole == INT64_MAX / NANOSECONDS_PER_MILLISECOND;
  return (uint64_t)(whole + (nanoseconds % NANOSECONDS_PER_MILLISECOND && !is_cut));
}

static void pack_field(struct buffer *out, const struct message *message, enum field field) {
  switch (field) {
    case ID:
      return pack_id(out, message->id);
    case ATTEMPT:
      return pack_uint(out, message->attempt);
    case EPOCH:
      return pack_uint(out, message->epoch);
    case SEQUENCE:
      return pack_uint(out, message->sequence);
    case FUNCTION:
      return pack_uint(out, message->function);
    case REMAINING:
      return pack_uint(out, milliseconds(message->remaining));
    case WORKLOAD:
      return pack_double(out, message->workload);
    case PRIORITY:
      return pack_uint(out, message->priority);
    case FLAGS:
      return pack_uint(out, message->flags);
    case ELAPSED:
      return pack_uint(out, message->elapsed > 0 ? (uint64_t)message->elapsed / 1000 : 0);
    case REASON:
    case PHASE:
      return pack_uint(out, message->reason);
    case ROLE:
      return pack_uint(out, message->role);
    case LIMIT:
      return pack_uint(out, message->limit);
    case WORKER:
      return pack_uint(out, message->worker);
    case GENERATION:
      return pack_uint(out, message->generation);
    case CODE:
      return pack_int(out, message->code);
    case CREDIT:
      return pack_uint(out, message->credit);
    case N:
      return pack_number(out, message->n);
    case TOTAL:
      return message->total > 0 ? pack_number(out, message->total) : pack_nil(out);
    case RESIDENT:
      return pack_uint(out, message->resident);
    case NO_FIELD:
      return;
  }
}

static size_t field_count(const struct layout *layout) {
  size_t count = 0;
  while (count < FIELDS && layout->fields[count]) count++;
  return count;
}

// ---- what few calls have: a map behind the other fields ----

static bool has_parent(const struct message *message) {
  return message->parent.session || message->parent.counter;
}

static size_t rare_count(const struct message *message) {
  if (message->type != MESSAGE_CALL) return 0;
  return (size_t)(message->queue_timeout > 0) + (message->attempts > 0) + has_parent(message) +
         (message->credit > 0) + (message->key_size > 0) + (message->batch > 0);
}

static void pack_rare(struct buffer *out, const struct message *message, size_t count) {
  pack_map(out, count);
  if (message->queue_timeout > 0) {
    pack_text(out, "queue");
    pack_uint(out, milliseconds(message->queue_timeout));
  }
  if (message->attempts) {
    pack_text(out, "attempts");
    pack_uint(out, message->attempts);
  }
  if (has_parent(message)) {
    pack_text(out, "parent");
    pack_id(out, message->parent);
  }
  if (message->credit) {
    pack_text(out, "window");
    pack_uint(out, message->credit);
  }
  if (message->key_size) {
    pack_text(out, "key");
    pack_bin(out, message->key, message->key_size);
  }
  if (message->batch) {
    pack_text(out, "batch");
    pack_uint(out, message->batch);
  }
}

void message_pack(const struct message *message, struct buffer *out) {
  assert(is_type(message->type));
  const struct layout *layout = &layouts[message->type];
  size_t count = field_count(layout), rare = rare_count(message);
  if (!pack_room(out, LARGEST_HEADER + message->key_size)) return;
  pack_array(out, 1 + count + (rare > 0));
  pack_uint(out, message->type);
  for (size_t i = 0; i < count; i++) pack_field(out, message, layout->fields[i]);
  if (rare) pack_rare(out, message, rare);
}

// ---- from bytes ----

static bool read_id(struct cursor *header, struct call_id *id) {
  struct cursor next = *header;
  const unsigned char *bytes;
  size_t size;
  if (!cursor_bin(&next, &bytes, &size) || size != ID_SIZE) return false;
  id->session = cursor_load(bytes, 8);
  id->counter = cursor_load(bytes + 8, 8);
  *header = next;
  return true;
}

static bool read_between(struct cursor *header, uint64_t lowest, uint64_t highest,
                         uint64_t *value) {
  struct cursor next = *header;
  if (!cursor_uint(&next, value) || *value < lowest || *value > highest) return false;
  *header = next;
  return true;
}

static bool read_u32(struct cursor *header, uint32_t lowest, uint32_t *value) {
  uint64_t number;
  if (!read_between(header, lowest, UINT32_MAX, &number)) return false;
  *value = (uint32_t)number;
  return true;
}

static bool read_u8(struct cursor *header, uint8_t lowest, uint8_t highest, uint8_t *value) {
  uint64_t number;
  if (!read_between(header, lowest, highest, &number)) return false;
  *value = (uint8_t)number;
  return true;
}

static bool read_time(struct cursor *header, int64_t unit, int64_t *nanoseconds) {
  uint64_t number;
  if (!read_between(header, 0, (uint64_t)(INT64_MAX / unit), &number)) return false;
  *nanoseconds = (int64_t)number * unit;
  return true;
}

static bool read_amount(struct cursor *header, double *amount) {
  struct cursor next = *header;
  if (!cursor_number(&next, amount) || !isfinite(*amount) || *amount < 0) return false;
  *header = next;
  return true;
}

static bool read_code(struct cursor *header, int32_t *code) {
  struct cursor next = *header;
  int64_t number;
  if (!cursor_int(&next, &number) || number < INT32_MIN || number > INT32_MAX) return false;
  *code = (int32_t)number;
  *header = next;
  return true;
}

static bool read_field(struct cursor *header, struct message *message, enum field field) {
  switch (field) {
    case ID:
      return read_id(header, &message->id);
    case ATTEMPT:
      return read_u32(header, 1, &message->attempt);
    case EPOCH:
      return cursor_uint(header, &message->epoch);
    case SEQUENCE:
      return cursor_uint(header, &message->sequence);
    case FUNCTION:
      return read_u32(header, 0, &message->function);
    case REMAINING:
      return read_time(header, NANOSECONDS_PER_MILLISECOND, &message->remaining);
    case WORKLOAD:
      return read_amount(header, &message->workload);
    case PRIORITY:
      return read_u8(header, 0, UINT8_MAX, &message->priority);
    case FLAGS:
      return read_u32(header, 0, &message->flags);
    case ELAPSED:
      return read_time(header, 1000, &message->elapsed);
    case REASON:
      return read_u8(header, CANCEL_CLIENT, CANCEL_SHUTDOWN, &message->reason);
    case PHASE:
      return read_u8(header, PHASE_NONE, PHASE_GPU_LOST, &message->reason);
    case ROLE:
      return read_u8(header, ROLE_CLIENT, ROLE_ROUTER, &message->role);
    case LIMIT:
      return read_u32(header, 0, &message->limit);
    case WORKER:
      return read_u32(header, 0, &message->worker);
    case GENERATION:
      return read_u32(header, 0, &message->generation);
    case CODE:
      return read_code(header, &message->code);
    case CREDIT:
      return read_u32(header, 1, &message->credit);
    case N:
      return read_amount(header, &message->n);
    case TOTAL:
      return cursor_nil(header) || read_amount(header, &message->total);
    case RESIDENT:
      return cursor_uint(header, &message->resident);
    case NO_FIELD:
      return false;
  }
  return false;
}

static bool read_key(struct cursor *value, struct message *message) {
  const unsigned char *bytes;
  size_t size;
  if (!cursor_bin(value, &bytes, &size) || !size || size > LIMIT_KEY) return false;
  message->key = (const char *)bytes;
  message->key_size = (uint32_t)size;
  return true;
}

// Keys that are not known are ignored.
static bool read_rare(struct cursor *header, struct message *message) {
  struct cursor value;
  if (cursor_type(header) != CURSOR_MAP) return false;
  if (cursor_find(*header, "queue", &value) &&
      !read_time(&value, NANOSECONDS_PER_MILLISECOND, &message->queue_timeout))
    return false;
  if (cursor_find(*header, "attempts", &value) && !read_u32(&value, 1, &message->attempts))
    return false;
  if (cursor_find(*header, "window", &value) && !read_u32(&value, 1, &message->credit))
    return false;
  if (cursor_find(*header, "key", &value) && !read_key(&value, message)) return false;
  if (cursor_find(*header, "batch", &value) && !read_u32(&value, 1, &message->batch)) return false;
  return !cursor_find(*header, "parent", &value) || read_id(&value, &message->parent);
}

int message_read(struct message *message, struct cursor *header, const char **field) {
  *message = (struct message){0};
  *field = field_names[NO_FIELD];
  size_t count;
  uint64_t type;
  if (!cursor_array(header, &count) || !count) return MESSAGE_BAD;
  struct cursor at = *header;
  if (!cursor_uint(header, &type) || !is_type(type)) {
    *header = at;
    return MESSAGE_BAD;
  }
  message->type = (uint8_t)type;
  const unsigned char *fields = layouts[type].fields;
  for (size_t i = 0; i < FIELDS && fields[i]; i++) {
    *field = field_names[fields[i]];
    if (i + 1 == count || !read_field(header, message, fields[i])) return MESSAGE_BAD;
  }
  if (type != MESSAGE_CALL || count == 1 + field_count(&layouts[type])) return MESSAGE_OK;
  *field = "rare fields";
  return read_rare(header, message) ? MESSAGE_OK : MESSAGE_BAD;
}
