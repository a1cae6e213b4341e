// Checks of host/core/error.c.
#include "../../../host/core/error.h"

#include "../../../host/core/cursor.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "../../../host/core/scan.h"
#include "check.h"

// The map of a body that a peer accepts.
static struct cursor map_of(const struct payload *body) {
  size_t used, count;
  EXPECT_EQUAL(1, body->count);
  EXPECT_EQUAL(SCAN_OK, scan_body(body->bytes, body->size, &scan_body_limits, &used));
  struct cursor cursor = cursor_of(body->bytes, body->size);
  EXPECT(cursor_array(&cursor, &count) && count == 1);
  EXPECT_EQUAL(CURSOR_MAP, cursor_type(&cursor));
  return cursor;
}

static struct cursor field(const struct payload *body, const char *key) {
  struct cursor value;
  EXPECT(cursor_find(map_of(body), key, &value));
  return value;
}

static bool has(const struct payload *body, const char *key) {
  struct cursor value;
  return cursor_find(map_of(body), key, &value);
}

static void expect_text(const struct payload *body, const char *key, const char *text) {
  struct cursor value = field(body, key);
  const unsigned char *bytes;
  size_t size;
  EXPECT(cursor_str(&value, &bytes, &size));
  EXPECT_EQUAL(strlen(text), size);
  EXPECT(!memcmp(bytes, text, size));
}

static void expect_number(const struct payload *body, const char *key, double number) {
  struct cursor value = field(body, key);
  double got;
  EXPECT(cursor_number(&value, &got) && got == number);
}

static void begin(struct error_writer *writer) {
  error_begin(writer, ERROR_WORKER_LOST, EXECUTED_MAYBE, false, "router");
}

static void writes_fields(void) {
  struct error_writer writer;
  begin(&writer);
  error_message(&writer, "worker %d is gone", 3);
  error_string(&writer, "reason", "signal");
  error_string(&writer, "host", NULL);
  error_number(&writer, "signal", 9);
  error_number(&writer, "elapsed_ms", 1.5);
  struct payload *body = error_end(&writer);
  expect_text(body, "name", "WorkerLost");
  expect_number(body, "code", 14);
  expect_text(body, "executed", "maybe");
  expect_text(body, "where", "router");
  expect_text(body, "message", "worker 3 is gone");
  expect_text(body, "reason", "signal");
  expect_number(body, "signal", 9);
  expect_number(body, "elapsed_ms", 1.5);
  struct cursor retryable = field(body, "retryable");
  bool value;
  EXPECT(cursor_bool(&retryable, &value) && !value);
  EXPECT(!has(body, "host"));
  EXPECT(!writer.buffer.bytes);
  payload_unref(body);
}

static void writes_many_fields(void) {
  struct error_writer writer;
  begin(&writer);
  for (int i = 0; i < 300; i++) {
    char key[16];
    snprintf(key, sizeof key, "key%d", i);
    error_number(&writer, key, i);
  }
  struct payload *body = error_end(&writer);
  expect_number(body, "key299", 299);
  payload_unref(body);
}

static size_t message_size(const char *text) {
  struct error_writer writer;
  begin(&writer);
  error_message(&writer, "%s", text);
  struct payload *body = error_end(&writer);
  struct cursor value = field(body, "message");
  const unsigned char *bytes;
  size_t size;
  EXPECT(cursor_str(&value, &bytes, &size));
  EXPECT(!memcmp(bytes, text, size));
  payload_unref(body);
  return size;
}

static void cuts_messages(void) {
  char text[3 * LIMIT_ERROR_MESSAGE] = {0};
  memset(text, 'x', LIMIT_ERROR_MESSAGE - 1);
  EXPECT_EQUAL(LIMIT_ERROR_MESSAGE - 1, message_size(text));
  text[LIMIT_ERROR_MESSAGE - 1] = 'x';
  EXPECT_EQUAL(LIMIT_ERROR_MESSAGE, message_size(text));
  text[LIMIT_ERROR_MESSAGE] = 'x';
  EXPECT_EQUAL(LIMIT_ERROR_MESSAGE, message_size(text));
  // A character of three bytes on the border is left out as a whole.
  for (size_t at = LIMIT_ERROR_MESSAGE - 3; at <= LIMIT_ERROR_MESSAGE; at++) {
    memset(text, 'x', sizeof text - 1);
    memcpy(text + at, "\xe2\x82\xac", 3);
    EXPECT_EQUAL(at == LIMIT_ERROR_MESSAGE - 3 ? at + 3 : at, message_size(text));
  }
}

static void keeps_bytes(void) {
  struct error_writer writer;
  begin(&writer);
  error_string(&writer, "file", "/tmp/\xe4.lua");
  error_message(&writer, "no %s", "\xff");
  struct payload *body = error_end(&writer);
  struct cursor value = field(body, "file");
  const unsigned char *bytes;
  size_t size;
  EXPECT(cursor_bin(&value, &bytes, &size) && size == 10 && !memcmp(bytes, "/tmp/\xe4.lua", 10));
  payload_unref(body);
}

static void cuts_strings(void) {
  char *text = calloc(1, 2 * LIMIT_ERROR_TRACEBACK);
  memset(text, 'x', 2 * LIMIT_ERROR_TRACEBACK - 1);
  struct error_writer writer;
  begin(&writer);
  error_string(&writer, "traceback", text);
  struct payload *body = error_end(&writer);
  struct cursor value = field(body, "traceback");
  const unsigned char *bytes;
  size_t size;
  EXPECT(cursor_str(&value, &bytes, &size));
  EXPECT_EQUAL(LIMIT_ERROR_TRACEBACK, size);
  payload_unref(body);
  free(text);
}

// ---- causes ----

static struct payload *with_cause(const struct payload *cause) {
  struct error_writer writer;
  error_begin(&writer, ERROR_DEPLOYMENT_FAILED, EXECUTED_NO, false, "router");
  error_cause(&writer, cause);
  return error_end(&writer);
}

static int count_causes(const struct payload *body) {
  struct cursor map = map_of(body);
  int count = 0;
  while (cursor_find(map, "cause", &map)) count++;
  return count;
}

static void nests_causes(void) {
  struct payload *body = with_cause(NULL);
  for (int i = 1; i <= LIMIT_ERROR_CAUSES + 2; i++) {
    struct payload *outer = with_cause(body);
    // One that is too deep is left out, and the next starts anew.
    EXPECT_EQUAL(i <= LIMIT_ERROR_CAUSES ? i : i - LIMIT_ERROR_CAUSES - 1, count_causes(outer));
    expect_text(outer, "name", "DeploymentFailed");
    payload_unref(body);
    body = outer;
  }
  payload_unref(body);
}

static struct payload *error_of(const struct buffer *map) {
  struct buffer bytes = BUFFER_EMPTY;
  pack_array(&bytes, 1);
  buffer_append(&bytes, map->bytes, map->size);
  struct payload *payload = payload_copy(bytes.bytes, bytes.size);
  buffer_free(&bytes);
  return payload;
}

static bool takes_cause(struct payload *cause) {
  struct payload *body = with_cause(cause);
  bool is_there = has(body, "cause");
  payload_unref(body);
  payload_unref(cause);
  return is_there;
}

static struct payload *deep_error(size_t levels) {
  struct buffer map = BUFFER_EMPTY;
  pack_map(&map, 1);
  pack_text(&map, "data");
  for (size_t i = 0; i < levels; i++) pack_array(&map, 1);
  pack_nil(&map);
  struct payload *error = error_of(&map);
  buffer_free(&map);
  return error;
}

// Two levels are the cause's own body and map, one more is the map around it.
static void leaves_out_deep(void) {
  EXPECT(takes_cause(deep_error(1)));
  EXPECT(takes_cause(deep_error(LIMIT_DEPTH - 3)));
  EXPECT(!takes_cause(deep_error(LIMIT_DEPTH - 2)));
}

static struct payload *large_error(size_t size) {
  struct buffer map = BUFFER_EMPTY;
  pack_map(&map, 1);
  pack_text(&map, "data");
  pack_bin_head(&map, size);
  EXPECT(buffer_reserve(&map, size));
  memset(map.bytes + map.size, 0, size);
  map.size += size;
  struct payload *error = error_of(&map);
  buffer_free(&map);
  return error;
}

static void leaves_out_large(void) {
  EXPECT(takes_cause(large_error(LIMIT_ERROR_DATA)));
  EXPECT(!takes_cause(large_error(2 * 1024 * 1024)));
}

static void leaves_out_others(void) {
  EXPECT(!takes_cause(payload_copy("\x91\x05", 2)));
  EXPECT(!takes_cause(payload_copy("\x92\x80\x80", 3)));
  EXPECT(!takes_cause(payload_copy("\x90", 1)));
  EXPECT(!takes_cause(payload_copy("\x81\x01\x01", 3)));
  EXPECT(!takes_cause(payload_copy("\x91\x81", 2)));
  EXPECT(!takes_cause(payload_copy("", 0)));
  EXPECT(takes_cause(payload_copy("\x91\x80", 2)));
}

static void takes_parts(void) {
  struct payload *cause = payload_copy("\x91\x81\xa4", 3);
  cause->parts[1] = (struct part){(const unsigned char *)"name", 4};
  cause->parts[2] = (struct part){(const unsigned char *)"\xa1X", 2};
  cause->count = 3;
  cause->size = 9;
  struct payload *body = with_cause(cause);
  struct cursor inner = field(body, "cause"), value;
  EXPECT(cursor_find(inner, "name", &value));
  payload_unref(body);
  payload_unref(cause);
}

static void names_all(void) {
  for (int i = 0; i < ERROR_NAMES; i++) {
    const char *text = error_text((enum error_name)i);
    EXPECT(text && text[0] >= 'A' && text[0] <= 'Z');
    EXPECT(error_code((enum error_name)i) > 0 && error_code((enum error_name)i) <= 16);
    for (int k = 0; k < i; k++) EXPECT(strcmp(text, error_text((enum error_name)k)));
  }
  EXPECT(!strcmp("RemoteError", error_text(ERROR_REMOTE_ERROR)));
  EXPECT(!strcmp("DeadlineExceeded", error_text(ERROR_DEADLINE_EXCEEDED)));
  EXPECT(!strcmp("Unknown", error_text(ERROR_UNKNOWN)));
  EXPECT_EQUAL(4, error_code(ERROR_DEADLINE_EXCEEDED));
}

static const struct check checks[] = {
    {"have a name and a code each", names_all},
    {"carry their fields", writes_fields},
    {"carry many fields", writes_many_fields},
    {"cut messages between characters", cuts_messages},
    {"cut long strings", cuts_strings},
    {"keep strings that are no UTF-8", keeps_bytes},
    {"carry causes, eight deep at most", nests_causes},
    {"leave out a cause that would make them too deep", leaves_out_deep},
    {"leave out a cause that is too large", leaves_out_large},
    {"leave out what is no error", leaves_out_others},
    {"take a cause of several parts", takes_parts},
};
CHECK_MAIN(checks)
