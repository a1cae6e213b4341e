// Feeds bytes to readers and asks what they say; for the checks of frames.
#pragma once

#include "../../../host/core/frame.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "check.h"

// Puts up to `size` bytes into the reader; returns how many it took.
static inline size_t feed_some(struct reader *reader, const unsigned char *bytes, size_t size) {
  size_t room;
  unsigned char *space = reader_space(reader, &room);
  EXPECT(space && room > 0);
  if (room < size) size = room;
  memcpy(space, bytes, size);
  reader_received(reader, size);
  return size;
}

// Feeds until a message is complete or an error is there, at most all bytes.
static inline int feed(struct reader *reader, const void *bytes, size_t size,
                       struct message *message) {
  int result = reader_next(reader, message);
  for (size_t at = 0; result == FRAME_MORE && at < size;) {
    at += feed_some(reader, (const unsigned char *)bytes + at, size - at);
    result = reader_next(reader, message);
  }
  return result;
}

struct failure {
  int result;
  char reason[16];
  long long offset;
  char sentence[200];
};

// What a new reader says to these bytes; a message that is complete counts as FRAME_OK.
static inline struct failure judge(enum frame_state state, const void *bytes, size_t size) {
  struct reader *reader = reader_new(state, LIMIT_FRAME);
  struct message message;
  struct failure failure = {.result = feed(reader, bytes, size, &message)};
  if (failure.result == FRAME_OK) payload_unref(message.body);
  if (failure.result < 0) {
    const char *reason;
    uint64_t offset;
    snprintf(failure.sentence, sizeof failure.sentence, "%s",
             reader_error(reader, &reason, &offset));
    EXPECT(strlen(failure.sentence) > 0);
    EXPECT((failure.result == FRAME_BAD) == (reason != NULL));
    snprintf(failure.reason, sizeof failure.reason, "%s", reason ? reason : "");
    failure.offset = (long long)offset;
    EXPECT_EQUAL(failure.result, reader_next(reader, &message));
    feed_some(reader, (const unsigned char *)"more", 4);
    EXPECT_EQUAL(failure.result, reader_next(reader, &message));
  }
  reader_free(reader);
  return failure;
}

// The frame around a header and body given as bytes.
static inline struct failure judge_frame(const struct buffer *content) {
  struct buffer frame = BUFFER_EMPTY;
  uint32_t length = htobe32((uint32_t)content->size);
  buffer_append(&frame, &length, 4);
  buffer_append(&frame, content->bytes, content->size);
  struct failure failure = judge(FRAME_OPEN, frame.bytes, frame.size);
  buffer_free(&frame);
  return failure;
}

static inline void expect_bad(struct failure failure, const char *reason, long long offset) {
  EXPECT_EQUAL(FRAME_BAD, failure.result);
  if (strcmp(reason, failure.reason)) printf("%s, not %s\n", failure.reason, reason);
  EXPECT(!strcmp(reason, failure.reason));
  if (offset >= 0) EXPECT_EQUAL(offset, failure.offset);
}

#define CONTENT(text) \
  (&(struct buffer){.bytes = (unsigned char *)(uintptr_t)(text), .size = sizeof(text) - 1})

static inline struct message call_of(struct payload *body) {
  return (struct message){.type = MESSAGE_CALL, .id = {1, 2}, .attempt = 1, .body = body};
}

static inline struct payload *bin_body(size_t size) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_bin_head(&body, size);
  EXPECT(buffer_reserve(&body, size));
  for (size_t i = 0; i < size; i++) body.bytes[body.size++] = (unsigned char)(i * 7 + i / 251);
  struct payload *payload = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return payload;
}
