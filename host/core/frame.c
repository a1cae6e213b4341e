#include "frame.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "limits.h"
#include "memory.h"
#include "pack.h"
#include "payload.h"
#include "scan.h"

enum {
  PREFACE_SIZE = 12,
  LENGTH_SIZE = 4,
  RECEIVE_SIZE = 64 * 1024,
  SENTENCE_SIZE = 160,
  MINIMAL_ROOM = 16 * 1024,  // for less it is not worth asking the kernel
  // What a body may be ahead of its bytes: 1 MiB without the reader itself.
  GROWTH = 1024 * 1024 - RECEIVE_SIZE - 4096,
};

static const char magic[] = "FARSIDE\n";

// Nothing of a header is built in memory, so that only depth and size matter.
static const struct scan_limits header_limits = {
    .depth = LIMIT_HEADER_DEPTH,
    .elements = LIMIT_HEADER,
    .cost = LIMIT_COST,
};

struct reader {
  enum frame_state state;
  uint32_t limit;
  int result;  // why it is closed
  const char *reason;
  uint64_t offset;
  char sentence[SENTENCE_SIZE];

  uint64_t passed;  // place of bytes[0] in the stream
  size_t start, end;

  // A frame too large for `bytes`: its header was read, its body comes.
  struct message message;
  struct payload *body;
  size_t body_size;
  size_t body_received;
  uint64_t body_offset;

  unsigned char bytes[RECEIVE_SIZE];
};

struct reader *reader_new(enum frame_state state, uint32_t limit) {
  struct reader *reader = xrealloc(NULL, sizeof *reader);
  memset(reader, 0, offsetof(struct reader, bytes));
  reader->state = state;
  reader->limit = limit;
  return reader;
}

void reader_free(struct reader *reader) {
  if (!reader) return;
  payload_unref(reader->body);
  free(reader);
}

// ---- errors ----

__attribute__((format(printf, 5, 6))) static int fail(struct reader *reader, int result,
                                                      const char *reason, uint64_t offset,
                                                      const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reader->sentence, sizeof reader->sentence, format, arguments);
  va_end(arguments);
  reader->state = FRAME_CLOSED;
  reader->result = result;
  reader->reason = reason;
  reader->offset = offset;
  payload_unref(reader->body);
  reader->body = NULL;
  return result;
}

static int fail_memory(struct reader *reader, size_t size) {
  return fail(reader, FRAME_MEMORY, NULL, 0, "no memory for a body of %zu bytes", size);
}

const char *reader_error(const struct reader *reader, const char **reason, uint64_t *offset) {
  *reason = reader->reason;
  *offset = reader->offset;
  return reader->sentence;
}

// ---- the receive buffer ----

static uint64_t stream_offset(const struct reader *reader, const unsigned char *at) {
  return reader->passed + (uint64_t)(at - reader->bytes);
}

static void discard_passed(struct reader *reader) {
  if (!reader->start) return;
  memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
  reader->passed += reader->start;
  reader->end -= reader->start;
  reader->start = 0;
}

static bool grow_body(struct reader *reader) {
  size_t size = reader->body_size - reader->body_received < GROWTH ? reader->body_size
                                                                   : reader->body_received + GROWTH;
  struct payload *body = payload_resize(reader->body, size);
  if (!body) return false;
  reader->body = body;
  return true;
}

size_t reader_held(const struct reader *reader) {
  return reader->body ? reader->body->capacity : 0;
}

unsigned char *reader_space(struct reader *reader, size_t *size) {
  if (reader->state == FRAME_CLOSED) {
    *size = RECEIVE_SIZE;
    return reader->bytes;
  }
  if (reader->body) {
    if (reader->body_received == reader->body->size && !grow_body(reader)) {
      fail_memory(reader, reader->body_size);
      return NULL;
    }
    *size = reader->body->size - reader->body_received;
    return reader->body->bytes + reader->body_received;
  }
  if (reader->start == reader->end || RECEIVE_SIZE - reader->end < MINIMAL_ROOM)
    discard_passed(reader);
  *size = RECEIVE_SIZE - reader->end;
  return reader->bytes + reader->end;
}

void reader_received(struct reader *reader, size_t size) {
  if (reader->state == FRAME_CLOSED) return;
  if (reader->body) {
    assert(size <= reader->body->size - reader->body_received);
    reader->body_received += size;
  } else {
    assert(size <= RECEIVE_SIZE - reader->end);
    reader->end += size;
  }
}

// ---- the preface ----

// Judged by the first byte alone, so that it does not matter how many have come.
static const char *foreign_protocol(unsigned char first) {
  if (first == 0x16) return "TLS";
  if (first >= 'A' && first <= 'Z') return "text, perhaps HTTP";
  return "something else";
}

static int check_versions(struct reader *reader, unsigned lowest, unsigned highest) {
  if (!lowest || lowest > highest)
    return fail(reader, FRAME_BAD, "type", sizeof magic - 1,
                "the peer claims to speak versions %u to %u", lowest, highest);
  unsigned agreed = highest < PROTOCOL_VERSION ? highest : PROTOCOL_VERSION;
  if (agreed < lowest || agreed < PROTOCOL_VERSION_LOWEST)
    return fail(reader, FRAME_VERSION, NULL, 0,
                "this side speaks versions %d to %d of the protocol, the peer %u to %u",
                PROTOCOL_VERSION_LOWEST, PROTOCOL_VERSION, lowest, highest);
  return FRAME_OK;
}

static int read_preface(struct reader *reader) {
  const unsigned char *preface = reader->bytes + reader->start;
  size_t size = reader->end - reader->start;
  for (size_t i = 0; i < size && i < sizeof magic - 1; i++)
    if (preface[i] != (unsigned char)magic[i])
      return fail(reader, FRAME_BAD, "type", i, "the peer does not speak Farside's protocol but %s",
                  foreign_protocol(preface[0]));
  if (size < PREFACE_SIZE) return FRAME_MORE;
  int result = check_versions(reader, preface[sizeof magic - 1], preface[sizeof magic]);
  if (result) return result;
  reader->start += PREFACE_SIZE;
  reader->state = FRAME_HELLO;
  return FRAME_OK;
}

// ---- frames ----

static int fail_scan(struct reader *reader, int result, uint64_t offset, const char *what) {
  const char *reason = scan_reason(result);
  return fail(reader, FRAME_BAD, reason, offset, "%s is not acceptable: %s", what, reason);
}

// The order of a connection: HELLO once and first. One that starts open has none.
static int check_order(struct reader *reader, enum message_type type, uint64_t offset) {
  if ((reader->state == FRAME_HELLO) == (type == MESSAGE_HELLO)) return FRAME_OK;
  return fail(reader, FRAME_BAD, "type", offset,
              type == MESSAGE_HELLO ? "HELLO after the handshake" : "%s before HELLO",
              message_name(type));
}

// Reads the header at `bytes`, of which at most `size` belong to it; `*used` is its size.
static int read_header(struct reader *reader, const unsigned char *bytes, size_t size,
                       struct message *message, size_t *used) {
  if (size > LIMIT_HEADER) size = LIMIT_HEADER;
  int result = scan_value(bytes, size, &header_limits, used);
  if (result)
    return fail_scan(reader, result, stream_offset(reader, bytes + *used), "the header of a frame");
  struct cursor header = cursor_of(bytes, *used);
  const char *field;
  result = message_read(message, &header, &field);
  uint64_t offset = stream_offset(reader, header.at);
  if (result)
    return fail(reader, FRAME_BAD, "type", offset, "the header of a frame (%s) has no valid %s",
                message_name(message->type), field);
  return check_order(reader, message->type, stream_offset(reader, bytes));
}

static int check_body(struct reader *reader, const struct message *message,
                      const unsigned char *bytes, size_t size, uint64_t offset) {
  enum body_rule rule = message_body(message->type);
  if (!size) {
    if (rule != BODY_NEEDED) return FRAME_OK;
    return fail(reader, FRAME_BAD, "length", offset, "%s without a body",
                message_name(message->type));
  }
  if (rule == BODY_NONE)
    return fail(reader, FRAME_BAD, "trailing", offset, "%s with a body",
                message_name(message->type));
  size_t used;
  int result = scan_body(bytes, size, &scan_body_limits, &used);
  return result ? fail_scan(reader, result, offset + used, "the body of a frame") : FRAME_OK;
}

static int read_small(struct reader *reader, size_t length, struct message *message) {
  const unsigned char *bytes = reader->bytes + reader->start + LENGTH_SIZE;
  size_t used;
  int result = read_header(reader, bytes, length, message, &used);
  if (result) return result;
  size_t size = length - used;
  result = check_body(reader, message, bytes + used, size, stream_offset(reader, bytes + used));
  if (result) return result;
  if (size && !(message->body = payload_copy(bytes + used, size))) return fail_memory(reader, size);
  reader->start += LENGTH_SIZE + length;
  reader->state = FRAME_OPEN;
  return FRAME_OK;
}

// The header is there, and what has come of the body moves to where the rest goes.
static int begin_large(struct reader *reader, size_t length) {
  const unsigned char *bytes = reader->bytes + reader->start + LENGTH_SIZE;
  size_t used;
  int result = read_header(reader, bytes, length, &reader->message, &used);
  if (result) return result;
  uint64_t offset = stream_offset(reader, bytes + used);
  if (message_body(reader->message.type) == BODY_NONE)
    return fail(reader, FRAME_BAD, "trailing", offset, "%s with a body",
                message_name(reader->message.type));
  size_t received = (size_t)(reader->bytes + reader->end - (bytes + used));
  reader->body_size = length - used;
  reader->body_offset = offset;
  reader->body = payload_new(reader->body_size < GROWTH ? reader->body_size : GROWTH);
  if (!reader->body) return fail_memory(reader, reader->body_size);
  memcpy(reader->body->bytes, bytes + used, received);
  reader->body_received = received;
  reader->start = reader->end;
  return FRAME_OK;
}

static int end_large(struct reader *reader, struct message *message) {
  int result = check_body(reader, &reader->message, reader->body->bytes, reader->body_size,
                          reader->body_offset);
  if (result) return result;
  *message = reader->message;
  message->body = reader->body;
  reader->body = NULL;
  reader->passed = reader->body_offset + reader->body_size;
  reader->start = reader->end = 0;
  return FRAME_OK;
}

static int check_length(struct reader *reader, size_t length, uint64_t offset) {
  bool is_open = reader->state == FRAME_OPEN;
  uint32_t limit =
      is_open || reader->limit < LIMIT_UNAUTHENTICATED ? reader->limit : LIMIT_UNAUTHENTICATED;
  if (!length) return fail(reader, FRAME_BAD, "length", offset, "a frame without a header");
  if (length > limit)
    return fail(reader, FRAME_TOO_LARGE, NULL, offset,
                "a frame of %zu bytes where %u are allowed%s", length, limit,
                is_open ? "" : " before the handshake is done");
  return FRAME_OK;
}

static int read_frame(struct reader *reader, struct message *message) {
  if (reader->body) {
    if (reader->body_received < reader->body_size) return FRAME_MORE;
    return end_large(reader, message);
  }
  size_t available = reader->end - reader->start;
  if (available < LENGTH_SIZE) return FRAME_MORE;
  const unsigned char *frame = reader->bytes + reader->start;
  size_t length = (size_t)cursor_load(frame, LENGTH_SIZE);
  int result = check_length(reader, length, stream_offset(reader, frame));
  if (result) return result;
  if (LENGTH_SIZE + length <= RECEIVE_SIZE) {
    if (available < LENGTH_SIZE + length) return FRAME_MORE;
    return read_small(reader, length, message);
  }
  // Enough for any header: it is read once.
  if (available < LENGTH_SIZE + LIMIT_HEADER) return FRAME_MORE;
  result = begin_large(reader, length);
  return result ? result : FRAME_MORE;
}

int reader_next(struct reader *reader, struct message *message) {
  if (reader->state == FRAME_CLOSED) return reader->result;
  if (reader->state == FRAME_PREFACE) {
    int result = read_preface(reader);
    if (result) return result;
  }
  return read_frame(reader, message);
}

// ---- writing ----

void frame_preface(struct buffer *out) {
  const unsigned char rest[] = {PROTOCOL_VERSION_LOWEST, PROTOCOL_VERSION, 0, 0};
  buffer_append(out, magic, sizeof magic - 1);
  buffer_append(out, rest, sizeof rest);
}

void frame_header(struct buffer *out, const struct message *message) {
  enum body_rule rule = message_body(message->type);
  size_t body = message->body ? message->body->size : 0;
  assert(rule == BODY_OPTIONAL || (rule == BODY_NEEDED) == (body > 0));
  size_t begin = out->size;
  if (!pack_room(out, LENGTH_SIZE)) return;
  out->size += LENGTH_SIZE;
  message_pack(message, out);
  if (out->failed) return;
  size_t length = out->size - begin - LENGTH_SIZE + body;
  assert(length <= UINT32_MAX);
  uint32_t big_endian = htobe32((uint32_t)length);
  memcpy(out->bytes + begin, &big_endian, LENGTH_SIZE);
}

void frame_append(struct buffer *out, const struct message *message) {
  frame_header(out, message);
  const struct payload *body = message->body;
  for (uint32_t i = 0; body && i < body->count; i++)
    buffer_append(out, body->parts[i].bytes, body->parts[i].size);
}
