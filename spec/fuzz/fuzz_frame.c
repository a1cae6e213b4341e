// Fuzzes the reader of host/core/frame.c with a stream in which large frames may be put.
//
// However the stream is cut, the same messages and the same error come; what is allocated stays
// below the bytes received + 1 MiB; a length beyond the limit is refused after its four bytes; what
// was read can be written and read again.
#include <sanitizer/allocator_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/buffer.h"
#include "../../host/core/frame.h"
#include "../../host/core/limits.h"
#include "../../host/core/pack.h"
#include "../../host/core/payload.h"

enum { ALLOWANCE = 1 << 20, OPTIONS = 4, LARGE = 200 * 1000 };

// What came out of a reader: a hash of all messages, and how it ended.
struct outcome {
  uint64_t hash, count;
  int result;
  uint64_t offset;
  const char *reason;
};

static void expect(bool condition) {
  if (!condition) abort();
}

static void mix(struct outcome *outcome, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < size; i++)
    outcome->hash = (outcome->hash ^ at[i]) * UINT64_C(0x100000001b3);
}

// Bodies as they are, so that a message becomes the same bytes again except for the header's forms.
static void write_again(struct outcome *outcome, const struct message *message) {
  struct buffer frame = BUFFER_EMPTY, again = BUFFER_EMPTY;
  frame_append(&frame, message);
  mix(outcome, frame.bytes, frame.size);
  struct reader *reader = reader_new(message->type == MESSAGE_HELLO ? FRAME_HELLO : FRAME_OPEN,
                                     LIMIT_FRAME + LIMIT_HEADER);
  struct message copy;
  for (size_t at = 0; at < frame.size;) {
    size_t size;
    unsigned char *space = reader_space(reader, &size);
    if (size > frame.size - at) size = frame.size - at;
    memcpy(space, frame.bytes + at, size);
    reader_received(reader, size);
    at += size;
    int result = reader_next(reader, &copy);
    expect(result == (at < frame.size ? FRAME_MORE : FRAME_OK));
  }
  frame_append(&again, &copy);
  expect(frame.size == again.size && !memcmp(frame.bytes, again.bytes, frame.size));
  payload_unref(copy.body);
  reader_free(reader);
  buffer_free(&frame);
  buffer_free(&again);
}

static int take(struct reader *reader, struct outcome *outcome, bool writes) {
  struct message message;
  int result;
  while (!(result = reader_next(reader, &message))) {
    outcome->count++;
    if (writes) write_again(outcome, &message);
    payload_unref(message.body);
  }
  return result;
}

// Whether the reader refuses a declared length as soon as it can be known.
static void check_oversize(const struct buffer *stream, enum frame_state state) {
  uint32_t length;
  if (state != FRAME_OPEN || stream->size < sizeof length) return;
  memcpy(&length, stream->bytes, sizeof length);
  struct reader *reader = reader_new(state, LIMIT_FRAME);
  size_t size, before = __sanitizer_get_current_allocated_bytes();
  struct message message;
  memcpy(reader_space(reader, &size), stream->bytes, sizeof length);
  reader_received(reader, sizeof length);
  int result = reader_next(reader, &message);
  expect((result == FRAME_TOO_LARGE) == (be32toh(length) > LIMIT_FRAME));
  expect(__sanitizer_get_current_allocated_bytes() == before);
  reader_free(reader);
}

// Pieces of the size that `cut` has in the mean; 0: as large as they can be.
static struct outcome read_cut(const struct buffer *stream, enum frame_state state, uint32_t cut,
                               bool writes) {
  size_t before = __sanitizer_get_current_allocated_bytes();
  struct outcome outcome = {.hash = UINT64_C(0xcbf29ce484222325), .result = FRAME_MORE};
  struct reader *reader = reader_new(state, LIMIT_FRAME);
  uint32_t chance = cut;
  for (size_t at = 0; at < stream->size && outcome.result == FRAME_MORE;) {
    size_t size;
    unsigned char *space = reader_space(reader, &size);
    expect(space && size);
    if (size > stream->size - at) size = stream->size - at;
    chance = chance * 1664525u + 1013904223u;
    size_t piece = 1 + (chance >> 8) % (2 * cut + 1);
    if (cut && size > piece) size = piece;
    memcpy(space, stream->bytes + at, size);
    reader_received(reader, size);
    at += size;
    expect(__sanitizer_get_current_allocated_bytes() - before < at + ALLOWANCE);
    outcome.result = take(reader, &outcome, writes);
    expect(__sanitizer_get_current_allocated_bytes() - before < at + ALLOWANCE);
  }
  reader_error(reader, &outcome.reason, &outcome.offset);
  reader_free(reader);
  expect(__sanitizer_get_current_allocated_bytes() == before);
  return outcome;
}

static void expect_same(const struct outcome *one, const struct outcome *other) {
  expect(one->count == other->count && one->result == other->result);
  expect(one->offset == other->offset && !one->reason == !other->reason);
  expect(!one->reason || !strcmp(one->reason, other->reason));
}

// A frame that is received into its body, which inputs of a few bytes would never be. It may
// declare more than comes.
static void add_large(struct buffer *stream, size_t size, bool is_whole) {
  struct payload *body = payload_new(size);
  memset(body->bytes, 'x', size);
  const unsigned char head[] = {0x91,
                                0xc6,
                                0,
                                (unsigned char)((size - 6) >> 16),
                                (unsigned char)((size - 6) >> 8),
                                (unsigned char)(size - 6)};
  memcpy(body->bytes, head, sizeof head);
  struct message message = {.type = MESSAGE_RESULT, .attempt = 1, .body = body};
  frame_append(stream, &message);
  if (!is_whole) stream->bytes[0] = 0x03;
  payload_unref(body);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size < OPTIONS) return 0;
  enum frame_state state = data[0] % 3 == 0   ? FRAME_PREFACE
                           : data[0] % 3 == 1 ? FRAME_HELLO
                                              : FRAME_OPEN;
  struct buffer stream = BUFFER_EMPTY;
  if (state == FRAME_OPEN && data[0] >= 0xe0)
    add_large(&stream, 6 + data[1] * (LARGE / 256u), data[0] >= 0xf0);
  buffer_append(&stream, data + OPTIONS, size - OPTIONS);
  if (stream.size) {
    struct outcome whole = read_cut(&stream, state, 0, true);
    struct outcome pieces = read_cut(&stream, state, 1 + data[2] * 16u + data[3], false);
    expect_same(&whole, &pieces);
    if (stream.size < 1000) {
      struct outcome bytes = read_cut(&stream, state, 1, true);
      expect_same(&whole, &bytes);
      expect(whole.hash == bytes.hash);
    }
    check_oversize(&stream, state);
  }
  buffer_free(&stream);
  return 0;
}
