// A million hostile frames: what a reader has allocated at any time stays below the bytes it has
// received + 1 MiB. Linked with --wrap for malloc, calloc, realloc and free, which are counted here.
#include <malloc.h>

#include "frames.h"

enum { FRAMES = 1000 * 1000, ALLOWANCE = 1024 * 1024, LARGE = 300 * 1000 };

// ---- the count ----

static size_t allocated;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *memory);

void *__wrap_malloc(size_t size) {
  void *memory = __real_malloc(size);
  allocated += malloc_usable_size(memory);
  return memory;
}

void *__wrap_calloc(size_t count, size_t size) {
  void *memory = __real_calloc(count, size);
  allocated += malloc_usable_size(memory);
  return memory;
}

void *__wrap_realloc(void *old, size_t size) {
  size_t before = malloc_usable_size(old);
  void *memory = __real_realloc(old, size);
  if (memory || !size) allocated += malloc_usable_size(memory) - before;
  return memory;
}

void __wrap_free(void *memory) {
  allocated -= malloc_usable_size(memory);
  __real_free(memory);
}

// ---- hostile frames ----

// Heads that declare more than there is, of frames, headers and bodies.
static const struct {
  const char *bytes;
  size_t size;
} lies[] = {
    {"\x04\0\0\0", 4},           {"\x03\xff\xff\xff", 4},
    {"\xff\xff\xff\xff", 4},     {"\0\0\0\0", 4},
    {"\xdf\xff\x7a\xbf\xff", 5}, {"\xdd\x10\0\0\0", 5},
    {"\xc6\xff\xff\xff\xff", 5}, {"\xdb\x7f\xff\xff\xff", 5},
    {"\xc9\x03\0\0\0\1", 6},     {"\x91\x91\x91\x91\x91\x91\x91\x91", 8},
};

static void make_message(struct chance *chance, struct buffer *out) {
  struct buffer body = BUFFER_EMPTY;
  chance_body(chance, &body);
  struct payload *payload = payload_copy(body.bytes, body.size);
  struct message message = {.type = MESSAGE_RESULT, .attempt = 1, .body = payload};
  message.id.counter = chance_next(chance);
  frame_append(out, &message);
  payload_unref(payload);
  buffer_free(&body);
}

// A good frame with a lie or some other bytes in it, mostly in its head.
static void make_hostile(struct chance *chance, struct buffer *out) {
  buffer_clear(out);
  make_message(chance, out);
  for (size_t changes = 1 + chance_below(chance, 4); changes; changes--) {
    size_t at = chance_below(chance, chance_below(chance, 2) ? out->size : 12);
    size_t lie = chance_below(chance, sizeof lies / sizeof *lies);
    if (chance_below(chance, 2))
      out->bytes[at] = (unsigned char)chance_next(chance);
    else if (at + lies[lie].size <= out->size)
      memcpy(out->bytes + at, lies[lie].bytes, lies[lie].size);
  }
}

// A frame of which 64 MiB are declared and far less come.
static void make_unfinished(struct chance *chance, struct buffer *out) {
  buffer_clear(out);
  make_message(chance, out);
  out->bytes[0] = 0x03;
  size_t size = chance_below(chance, LARGE);
  EXPECT(buffer_reserve(out, size));
  memset(out->bytes + out->size, 0x05, size);
  out->size += size;
}

struct tally {
  size_t refused, accepted;
  size_t most;  // allocated beyond what was received
};

// The messages that come are given back at once.
static int take(struct reader *reader) {
  struct message message;
  int result;
  while (!(result = reader_next(reader, &message))) payload_unref(message.body);
  return result;
}

static void attack(const struct buffer *stream, struct tally *tally) {
  size_t before = allocated, received = 0;
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  int result = FRAME_MORE;
  do {
    size_t taken = feed_some(reader, stream->bytes + received, stream->size - received);
    received += taken;
    result = take(reader);
    size_t room;
    EXPECT(reader_space(reader, &room));
    size_t excess = allocated - before > received ? allocated - before - received : 0;
    if (excess > tally->most) tally->most = excess;
  } while (result == FRAME_MORE && received < stream->size);
  tally->refused += result < 0;
  tally->accepted += result == FRAME_MORE;
  reader_free(reader);
  EXPECT_EQUAL(before, allocated);
}

static void stays_below(void) {
  struct chance chance = {11};
  struct tally tally = {0};
  struct buffer stream = BUFFER_EMPTY;
  for (int i = 0; i < FRAMES; i++) {
    if (i % 1000)
      make_hostile(&chance, &stream);
    else
      make_unfinished(&chance, &stream);
    attack(&stream, &tally);
  }
  buffer_free(&stream);
  printf("%zu refused, %zu not finished or harmless; at most %zu KiB beyond the bytes received\n",
         tally.refused, tally.accepted, tally.most / 1024);
  EXPECT(tally.refused > FRAMES / 2);
  EXPECT(tally.most > ALLOWANCE / 2);
  EXPECT(tally.most < ALLOWANCE);
}

// The four bytes of a length beyond the limit are enough, and cost nothing.
static void costs_nothing(void) {
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  size_t before = allocated;
  struct message message;
  EXPECT_EQUAL(FRAME_TOO_LARGE, feed(reader, "\x04\0\0\1", 4, &message));
  EXPECT_EQUAL(before, allocated);
  reader_free(reader);
}

static const struct check checks[] = {
    {"P5: allocate less than the bytes received and 1 MiB", stays_below},
    {"P1: of too large a size are refused after four bytes, without an allocation", costs_nothing},
};
CHECK_MAIN(checks)
