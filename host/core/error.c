#include "error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cursor.h"
#include "limits.h"
#include "pack.h"
#include "payload.h"
#include "scan.h"

enum {
  COUNT_SIZE = 2,    // of the number of fields
  OUTER_LEVELS = 2,  // the body's array and the error's map, around a cause
  LARGEST_CAUSE =
      LIMIT_ERROR_CAUSES * (LIMIT_ERROR_DATA + LIMIT_ERROR_TRACEBACK + 4 * LIMIT_ERROR_MESSAGE),
};

static const struct {
  const char *name;
  int code;  // gRPC's
} errors[ERROR_NAMES] = {
    [ERROR_REMOTE_ERROR] = {"RemoteError", 2},
    [ERROR_CANCELLED] = {"Cancelled", 1},
    [ERROR_DEADLINE_EXCEEDED] = {"DeadlineExceeded", 4},
    [ERROR_BAD_ARGUMENTS] = {"BadArguments", 3},
    [ERROR_NOT_SERIALIZABLE] = {"NotSerializable", 3},
    [ERROR_UNKNOWN_CLASS] = {"UnknownClass", 3},
    [ERROR_ARGUMENT_TOO_LARGE] = {"ArgumentTooLarge", 8},
    [ERROR_RESULT_TOO_LARGE] = {"ResultTooLarge", 8},
    [ERROR_NO_SUCH_DEPLOYMENT] = {"NoSuchDeployment", 5},
    [ERROR_NO_SUCH_FUNCTION] = {"NoSuchFunction", 12},
    [ERROR_DUPLICATE_ID] = {"DuplicateId", 6},
    [ERROR_PERMISSION_DENIED] = {"PermissionDenied", 7},
    [ERROR_OVERLOADED] = {"Overloaded", 8},
    [ERROR_NOT_READY] = {"NotReady", 14},
    [ERROR_DRAINING] = {"Draining", 14},
    [ERROR_DEPLOYMENT_CHANGED] = {"DeploymentChanged", 9},
    [ERROR_DEPLOYMENT_FAILED] = {"DeploymentFailed", 9},
    [ERROR_WORKER_LOST] = {"WorkerLost", 14},
    [ERROR_GPU_FAULT] = {"GpuFault", 13},
    [ERROR_POISON_CALL] = {"PoisonCall", 10},
    [ERROR_ROUTER_LOST] = {"RouterLost", 14},
    [ERROR_CONNECT_FAILED] = {"ConnectFailed", 14},
    [ERROR_SLOW_READER] = {"SlowReader", 8},
    [ERROR_BAD_FRAME] = {"BadFrame", 3},
    [ERROR_FRAME_TOO_LARGE] = {"FrameTooLarge", 8},
    [ERROR_VERSION_MISMATCH] = {"VersionMismatch", 9},
    [ERROR_UNSUPPORTED] = {"Unsupported", 12},
    [ERROR_ENGINE_ERROR] = {"EngineError", 14},
    [ERROR_CONFIG_ERROR] = {"ConfigError", 9},
    [ERROR_INTERNAL] = {"Internal", 13},
    [ERROR_UNKNOWN] = {"Unknown", 2},
};

const char *error_text(enum error_name name) {
  assert(name < ERROR_NAMES);
  return errors[name].name;
}

int error_code(enum error_name name) {
  assert(name < ERROR_NAMES);
  return errors[name].code;
}

static struct buffer *add_key(struct error_writer *writer, const char *key) {
  writer->fields++;
  pack_text(&writer->buffer, key);
  return &writer->buffer;
}

void error_begin(struct error_writer *writer, enum error_name name, enum executed executed,
                 bool retryable, const char *where) {
  static const char *const executed_texts[] = {"no", "maybe", "yes"};
  // A map whose number of fields has two bytes, filled in at the end.
  static const unsigned char head[] = {0x91, 0xde, 0, 0};
  *writer = (struct error_writer){.buffer = BUFFER_EMPTY};
  buffer_append(&writer->buffer, head, sizeof head);
  writer->count_at = sizeof head - COUNT_SIZE;
  pack_text(add_key(writer, "name"), error_text(name));
  pack_int(add_key(writer, "code"), error_code(name));
  pack_text(add_key(writer, "executed"), executed_texts[executed]);
  pack_bool(add_key(writer, "retryable"), retryable);
  pack_text(add_key(writer, "where"), where);
}

void error_pack(struct buffer *buffer, const char *text, size_t size, size_t limit) {
  size = scan_cut((const unsigned char *)text, size, limit);
  if (scan_utf8((const unsigned char *)text, size) == size)
    pack_str(buffer, text, size);
  else
    pack_bin(buffer, text, size);
}

void error_message(struct error_writer *writer, const char *format, ...) {
  // One character more than fits tells that the text was cut.
  char text[LIMIT_ERROR_MESSAGE + 2];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  error_pack(add_key(writer, "message"), text, strlen(text), LIMIT_ERROR_MESSAGE);
}

void error_string(struct error_writer *writer, const char *key, const char *value) {
  if (!value) return;
  size_t size = strnlen(value, LIMIT_ERROR_TRACEBACK + 1);
  error_pack(add_key(writer, key), value, size, LIMIT_ERROR_TRACEBACK);
}

void error_number(struct error_writer *writer, const char *key, double value) {
  pack_number(add_key(writer, key), value);
}

void error_epoch_text(uint64_t epoch, char text[ERROR_EPOCH]) {
  snprintf(text, ERROR_EPOCH, "%016" PRIx64, epoch);
}

void error_epoch(struct error_writer *writer, uint64_t epoch) {
  char text[ERROR_EPOCH];
  if (!epoch) return;
  error_epoch_text(epoch, text);
  pack_text(add_key(writer, "epoch"), text);
}

struct buffer *error_value(struct error_writer *writer, const char *key) {
  return add_key(writer, key);
}

void error_trials(struct error_writer *writer, const struct trial *trials, uint32_t count) {
  struct buffer *buffer = add_key(writer, "attempts");
  pack_array(buffer, count);
  for (uint32_t i = 0; i < count; i++) {
    pack_map(buffer, 3);
    pack_text(buffer, "worker");
    pack_uint(buffer, trials[i].worker);
    pack_text(buffer, "outcome");
    pack_text(buffer, trials[i].outcome);
    pack_text(buffer, "ms");
    pack_number(buffer, trials[i].milliseconds);
  }
}

static bool join(const struct payload *payload, struct buffer *bytes) {
  for (uint32_t i = 0; i < payload->count; i++)
    buffer_append(bytes, payload->parts[i].bytes, payload->parts[i].size);
  return !bytes->failed && bytes->size > 0;
}

// How many errors stand in each other, from the map at `map` on; counts no further than needed.
static int count_causes(struct cursor map) {
  int count = 1;
  while (count <= LIMIT_ERROR_CAUSES && cursor_find(map, "cause", &map)) count++;
  return count;
}

// The map of an error, if one more level around it leaves a body that a peer accepts.
static bool find_map(const struct buffer *body, struct cursor *map) {
  size_t used, count;
  if (scan_body(body->bytes, body->size, &scan_body_limits, &used)) return false;
  *map = cursor_of(body->bytes, body->size);
  if (!cursor_array(map, &count) || count != 1 || cursor_type(map) != CURSOR_MAP) return false;
  struct scan_limits limits = scan_body_limits;
  limits.depth -= OUTER_LEVELS;
  limits.elements /= 2;
  limits.cost /= 2;
  return !scan_value(map->at, (size_t)(map->end - map->at), &limits, &used);
}

void error_cause(struct error_writer *writer, const struct payload *cause) {
  struct buffer body = BUFFER_EMPTY;
  struct cursor map;
  if (cause && cause->size <= LARGEST_CAUSE && join(cause, &body) && find_map(&body, &map) &&
      count_causes(map) <= LIMIT_ERROR_CAUSES)
    buffer_append(add_key(writer, "cause"), map.at, (size_t)(map.end - map.at));
  buffer_free(&body);
}

bool error_says(const struct payload *body, const char *key, const unsigned char **text,
                size_t *size) {
  struct cursor map, value;
  size_t count;
  if (!body || body->count != 1) return false;
  map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  return cursor_array(&map, &count) && count == 1 && cursor_type(&map) == CURSOR_MAP &&
         cursor_find(map, key, &value) && cursor_str(&value, text, size);
}

struct payload *error_end(struct error_writer *writer) {
  struct buffer *buffer = &writer->buffer;
  struct payload *payload = NULL;
  if (!buffer->failed) {
    buffer->bytes[writer->count_at] = (unsigned char)(writer->fields >> 8);
    buffer->bytes[writer->count_at + 1] = (unsigned char)writer->fields;
    payload = payload_copy(buffer->bytes, buffer->size);
  }
  if (!payload) __builtin_trap();
  buffer_free(buffer);
  return payload;
}
