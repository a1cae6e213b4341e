// Checks of host/core/frame.c and message.c: what is sent arrives, however it is cut.
#include "frames.h"

enum {
  MEBIBYTE = 1024 * 1024,
  RECEIVE_SIZE =
      64 * 1024,  // the reader's buffer: where frames begin to be received into their body
};

// ---- messages ----

static const enum message_type types[] = {
    MESSAGE_HELLO,   MESSAGE_WELCOME, MESSAGE_START,  MESSAGE_READY,    MESSAGE_CALL,
    MESSAGE_STARTED, MESSAGE_RESULT,  MESSAGE_ERROR,  MESSAGE_CANCEL,   MESSAGE_GIVE_BACK,
    MESSAGE_LOG,     MESSAGE_PING,    MESSAGE_PONG,   MESSAGE_SCORE,    MESSAGE_DRAIN,
    MESSAGE_GOODBYE, MESSAGE_ITEM,    MESSAGE_CREDIT, MESSAGE_PROGRESS, MESSAGE_RECYCLE,
    MESSAGE_REQUEST, MESSAGE_REPLY};
enum { TYPES = sizeof types / sizeof *types };

static struct payload *random_body(struct chance *chance) {
  struct buffer body = BUFFER_EMPTY;
  chance_body(chance, &body);
  struct payload *payload = payload_copy(body.bytes, body.size);
  buffer_free(&body);
  return payload;
}

static struct message random_message(struct chance *chance, enum message_type type) {
  const enum message_type t = type;
  bool has_id = t == MESSAGE_CALL || t == MESSAGE_STARTED || t == MESSAGE_RESULT ||
                t == MESSAGE_ERROR || t == MESSAGE_CANCEL || t == MESSAGE_GIVE_BACK ||
                t == MESSAGE_ITEM || t == MESSAGE_CREDIT || t == MESSAGE_PROGRESS;
  bool has_epoch = (has_id && t != MESSAGE_STARTED && t != MESSAGE_CANCEL && t != MESSAGE_CREDIT) ||
                   t == MESSAGE_WELCOME || t == MESSAGE_START;
  bool has_work = t == MESSAGE_CALL || t == MESSAGE_SCORE;
  bool has_function = has_work || t == MESSAGE_RECYCLE;
  bool has_time = t == MESSAGE_CALL || t == MESSAGE_DRAIN;
  bool has_flags = t == MESSAGE_CALL || t == MESSAGE_HELLO || t == MESSAGE_WELCOME;
  bool is_end = t == MESSAGE_RESULT || t == MESSAGE_ERROR;
  bool has_generation = t == MESSAGE_START || t == MESSAGE_READY;
  struct message m = {.type = (uint8_t)t};
  if (has_id) m.id = (struct call_id){chance_next(chance), chance_number(chance)};
  if (has_id) m.attempt = (uint32_t)chance_number(chance) | 1;
  if (has_epoch) m.epoch = chance_number(chance);
  bool has_count =
      t == MESSAGE_PING || t == MESSAGE_PONG || t == MESSAGE_REQUEST || t == MESSAGE_REPLY;
  if (has_id || has_count) m.sequence = chance_number(chance);
  if (has_function) m.function = (uint32_t)chance_number(chance);
  if (has_work) m.workload = (double)chance_number(chance) / 7;
  if (has_time) m.remaining = (int64_t)(chance_number(chance) >> 25) * 1000000;
  if (has_flags) m.flags = (uint32_t)chance_number(chance);
  if (is_end) m.elapsed = (int64_t)(chance_number(chance) >> 14) * 1000;
  if (has_generation) m.generation = (uint32_t)chance_number(chance);
  if (t == MESSAGE_CALL) m.priority = (uint8_t)chance_number(chance);
  if (t == MESSAGE_CALL && chance_below(chance, 2))
    m.queue_timeout = (int64_t)(chance_number(chance) >> 25);
  m.queue_timeout *= 1000000;
  if (t == MESSAGE_CALL && chance_below(chance, 2)) m.attempts = (uint32_t)chance_number(chance);
  if (t == MESSAGE_CALL && chance_below(chance, 2))
    m.parent = (struct call_id){chance_next(chance), 5};
  if (t == MESSAGE_CREDIT || (t == MESSAGE_CALL && chance_below(chance, 2)))
    m.credit = (uint32_t)chance_number(chance) | 1;
  if (t == MESSAGE_PROGRESS) m.n = (double)chance_number(chance) / 3;
  if (t == MESSAGE_PROGRESS && chance_below(chance, 2)) m.total = (double)chance_number(chance);
  static const char key[LIMIT_KEY] = "an order of a customer";
  if (t == MESSAGE_CALL && chance_below(chance, 2)) {
    m.key = key;
    m.key_size = (uint32_t)(1 + chance_below(chance, LIMIT_KEY));
  }
  if (t == MESSAGE_CALL && chance_below(chance, 2)) m.batch = (uint32_t)chance_number(chance);
  if (t == MESSAGE_RECYCLE) m.resident = chance_number(chance);
  if (t == MESSAGE_START) m.worker = (uint32_t)chance_number(chance);
  if (t == MESSAGE_CANCEL) m.reason = (uint8_t)(1 + chance_below(chance, 3));
  if (t == MESSAGE_GOODBYE) m.reason = (uint8_t)chance_below(chance, PHASE_GPU_LOST + 1);
  if (t == MESSAGE_GOODBYE) m.code = (int32_t)chance_next(chance);
  if (t == MESSAGE_HELLO) m.role = (uint8_t)(1 + chance_below(chance, 5));
  if (t == MESSAGE_HELLO) m.limit = (uint32_t)chance_number(chance);
  enum body_rule rule = message_body(t);
  if (rule == BODY_NEEDED || (rule == BODY_OPTIONAL && chance_below(chance, 2)))
    m.body = random_body(chance);
  return m;
}

static void expect_same_body(const struct payload *expected, const struct payload *got) {
  EXPECT(!expected == !got);
  if (!expected) return;
  EXPECT_EQUAL(1, got->count);
  EXPECT_EQUAL(1, got->references);
  EXPECT_EQUAL(expected->size, got->size);
  EXPECT(!memcmp(expected->bytes, got->parts[0].bytes, got->size));
}

static void expect_same(const struct message *expected, const struct message *got) {
  EXPECT_EQUAL(expected->type, got->type);
  EXPECT_EQUAL(expected->role, got->role);
  EXPECT_EQUAL(expected->priority, got->priority);
  EXPECT_EQUAL(expected->reason, got->reason);
  EXPECT_EQUAL(expected->flags, got->flags);
  EXPECT_EQUAL(expected->id.session, got->id.session);
  EXPECT_EQUAL(expected->id.counter, got->id.counter);
  EXPECT_EQUAL(expected->attempt, got->attempt);
  EXPECT_EQUAL(expected->function, got->function);
  EXPECT_EQUAL(expected->epoch, got->epoch);
  EXPECT_EQUAL(expected->sequence, got->sequence);
  EXPECT_EQUAL(expected->remaining, got->remaining);
  EXPECT_EQUAL(expected->elapsed, got->elapsed);
  EXPECT(!memcmp(&expected->workload, &got->workload, sizeof got->workload));
  EXPECT_EQUAL(expected->worker, got->worker);
  EXPECT_EQUAL(expected->generation, got->generation);
  EXPECT_EQUAL(expected->limit, got->limit);
  EXPECT_EQUAL(expected->code, got->code);
  EXPECT_EQUAL(expected->queue_timeout, got->queue_timeout);
  EXPECT_EQUAL(expected->attempts, got->attempts);
  EXPECT_EQUAL(expected->batch, got->batch);
  EXPECT_EQUAL(expected->parent.session, got->parent.session);
  EXPECT_EQUAL(expected->parent.counter, got->parent.counter);
  EXPECT_EQUAL(expected->credit, got->credit);
  EXPECT_EQUAL(expected->resident, got->resident);
  EXPECT(!memcmp(&expected->n, &got->n, sizeof got->n));
  EXPECT(!memcmp(&expected->total, &got->total, sizeof got->total));
  EXPECT_EQUAL(expected->key_size, got->key_size);
  EXPECT(!expected->key_size || !memcmp(expected->key, got->key, got->key_size));
  expect_same_body(expected->body, got->body);
}

// ---- round trips ----

static void round_trip(enum message_type type) {
  struct chance chance = {1000 + type};
  struct buffer frame = BUFFER_EMPTY;
  struct reader *reader = reader_new(type == MESSAGE_HELLO ? FRAME_HELLO : FRAME_OPEN, LIMIT_FRAME);
  for (int i = 0; i < 2000; i++) {
    struct message sent = random_message(&chance, type), got;
    buffer_clear(&frame);
    frame_append(&frame, &sent);
    if (type == MESSAGE_HELLO) {
      reader_free(reader);
      reader = reader_new(FRAME_HELLO, LIMIT_FRAME);
      if (frame.size > LIMIT_UNAUTHENTICATED) goto next;
    }
    EXPECT_EQUAL(FRAME_OK, feed(reader, frame.bytes, frame.size, &got));
    expect_same(&sent, &got);
    payload_unref(got.body);
    EXPECT_EQUAL(FRAME_MORE, reader_next(reader, &got));
  next:
    payload_unref(sent.body);
  }
  reader_free(reader);
  buffer_free(&frame);
}

static void all_round_trips(void) {
  for (size_t i = 0; i < TYPES; i++) round_trip(types[i]);
}

// Sends one message and returns how it arrives.
static struct message pass_on(const struct message *sent) {
  struct buffer frame = BUFFER_EMPTY;
  frame_append(&frame, sent);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  struct message got;
  EXPECT_EQUAL(FRAME_OK, feed(reader, frame.bytes, frame.size, &got));
  payload_unref(got.body);
  reader_free(reader);
  buffer_free(&frame);
  return got;
}

static void rounds_times(void) {
  struct payload *body = payload_copy("\x90", 1);
  struct message call = call_of(body);
  static const int64_t sent[] = {-5, 0, 1, 999999, 1000000, 1000001, INT64_MAX};
  static const int64_t got[] = {
      0, 0, 1000000, 1000000, 1000000, 2000000, INT64_MAX / 1000000 * 1000000};
  for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
    call.remaining = sent[i];
    EXPECT_EQUAL(got[i], pass_on(&call).remaining);
  }
  struct message result = {.type = MESSAGE_RESULT, .attempt = 1, .elapsed = 1999, .body = body};
  EXPECT_EQUAL(1000, pass_on(&result).elapsed);
  result.elapsed = -1;
  EXPECT_EQUAL(0, pass_on(&result).elapsed);
  result.elapsed = INT64_MAX;
  EXPECT_EQUAL(INT64_MAX / 1000 * 1000, pass_on(&result).elapsed);
  payload_unref(body);
}

static void joins_parts(void) {
  struct payload *body = payload_copy("\x93\x01", 2);
  body->parts[1] = (struct part){(const unsigned char *)"\x02", 1};
  body->parts[2] = (struct part){(const unsigned char *)"\x03", 1};
  body->count = 3;
  body->size = 4;
  struct message call = call_of(body), got;
  struct buffer frame = BUFFER_EMPTY;
  frame_append(&frame, &call);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  EXPECT_EQUAL(FRAME_OK, feed(reader, frame.bytes, frame.size, &got));
  EXPECT_EQUAL(4, got.body->size);
  EXPECT(!memcmp(got.body->bytes, "\x93\1\2\3", 4));
  payload_unref(got.body);
  payload_unref(body);
  reader_free(reader);
  buffer_free(&frame);
}

// ---- cuttings ----

enum { DIALOGUE = 30 };

struct dialogue {
  struct message messages[DIALOGUE];
  struct buffer stream;
};

static void dialogue_init(struct dialogue *dialogue, uint64_t seed) {
  struct chance chance = {seed};
  dialogue->stream = BUFFER_EMPTY;
  frame_preface(&dialogue->stream);
  for (size_t i = 0; i < DIALOGUE; i++) {
    enum message_type type = i ? types[1 + chance_below(&chance, TYPES - 1)] : MESSAGE_HELLO;
    struct message *message = &dialogue->messages[i];
    *message = random_message(&chance, type);
    if (!i) {
      payload_unref(message->body);
      message->body = payload_copy("\x91\x80", 2);
    }
    frame_append(&dialogue->stream, message);
  }
}

static void dialogue_close(struct dialogue *dialogue) {
  for (size_t i = 0; i < DIALOGUE; i++) payload_unref(dialogue->messages[i].body);
  buffer_free(&dialogue->stream);
}

static size_t take_all(struct reader *reader, const struct message *expected) {
  struct message got;
  size_t count = 0;
  int result;
  while (!(result = reader_next(reader, &got))) {
    expect_same(&expected[count++], &got);
    payload_unref(got.body);
  }
  EXPECT_EQUAL(FRAME_MORE, result);
  return count;
}

// Feeds the stream in pieces whose sizes `cut` gives.
static void hear(const struct dialogue *dialogue, size_t (*cut)(void *, size_t), void *argument) {
  struct reader *reader = reader_new(FRAME_PREFACE, LIMIT_FRAME);
  size_t count = 0;
  for (size_t at = 0; at < dialogue->stream.size;) {
    size_t left = dialogue->stream.size - at, size = cut(argument, at);
    at += feed_some(reader, dialogue->stream.bytes + at, size < left ? size : left);
    count += take_all(reader, dialogue->messages + count);
  }
  EXPECT_EQUAL(DIALOGUE, count);
  reader_free(reader);
}

static size_t cut_once(void *argument, size_t at) {
  size_t place = *(size_t *)argument;
  return at < place ? place - at : SIZE_MAX;
}

static size_t cut_bytes(void *argument, size_t at) {
  (void)at;
  return *(size_t *)argument;
}

static size_t cut_by_chance(void *argument, size_t at) {
  (void)at;
  return 1 + (size_t)(chance_number(argument) >> 44);
}

static void every_single_cut(void) {
  struct dialogue dialogue;
  dialogue_init(&dialogue, 5);
  for (size_t place = 1; place <= dialogue.stream.size; place++) hear(&dialogue, cut_once, &place);
  dialogue_close(&dialogue);
}

static void pieces_of_one_size(void) {
  struct dialogue dialogue;
  dialogue_init(&dialogue, 6);
  for (size_t size = 1; size < 200; size++) hear(&dialogue, cut_bytes, &size);
  dialogue_close(&dialogue);
}

static void random_cuts(void) {
  struct chance chance = {7};
  for (uint64_t seed = 1; seed <= 300; seed++) {
    struct dialogue dialogue;
    dialogue_init(&dialogue, seed);
    hear(&dialogue, cut_by_chance, &chance);
    dialogue_close(&dialogue);
  }
}

// ---- large frames ----

// A large message between two small ones, in pieces of any size.
static void pass_large(size_t size, struct chance *chance) {
  struct payload *small = payload_copy("\x91\x05", 2), *large = bin_body(size);
  struct message sent[] = {call_of(small), call_of(large), call_of(small)};
  struct buffer stream = BUFFER_EMPTY;
  for (int i = 0; i < 3; i++) frame_append(&stream, &sent[i]);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  size_t count = 0, largest = (size_t)1 << (4 + chance_below(chance, 20));
  for (size_t at = 0; at < stream.size;) {
    size_t left = stream.size - at, piece = 1 + chance_below(chance, largest);
    at += feed_some(reader, stream.bytes + at, piece < left ? piece : left);
    count += take_all(reader, sent + count);
  }
  EXPECT_EQUAL(3, count);
  reader_free(reader);
  buffer_free(&stream);
  payload_unref(small);
  payload_unref(large);
}

static void around_the_buffer(void) {
  struct chance chance = {8};
  for (size_t size = RECEIVE_SIZE - 120; size < RECEIVE_SIZE + 60; size++)
    pass_large(size, &chance);
}

static void many_large(void) {
  struct chance chance = {9};
  for (int i = 0; i < 40; i++) pass_large(chance_below(&chance, 5 * MEBIBYTE), &chance);
}

static void large_in_place(void) {
  struct payload *body = bin_body(3 * MEBIBYTE);
  struct message call = call_of(body), got;
  struct buffer frame = BUFFER_EMPTY;
  frame_append(&frame, &call);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  size_t room, at = feed_some(reader, frame.bytes, 5000);
  EXPECT_EQUAL(FRAME_MORE, reader_next(reader, &got));
  // From here on the kernel writes into the body, of which no more than 1 MiB is there.
  unsigned char *space = reader_space(reader, &room);
  EXPECT(room > MEBIBYTE / 2 && room < MEBIBYTE);
  memcpy(space, frame.bytes + at, room);
  reader_received(reader, room);
  EXPECT_EQUAL(FRAME_OK, feed(reader, frame.bytes + at + room, frame.size - at - room, &got));
  expect_same(&call, &got);
  payload_unref(got.body);
  reader_free(reader);
  buffer_free(&frame);
  payload_unref(body);
}

static void large_offset(void) {
  // A bad byte at the end of a large body, behind another frame.
  struct payload *small = payload_copy("\x91\x05", 2), *large = bin_body(100000);
  large->bytes[0] = 0x92;
  struct message sent[] = {call_of(small), call_of(large)};
  struct buffer stream = BUFFER_EMPTY;
  for (int i = 0; i < 2; i++) frame_append(&stream, &sent[i]);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  struct message got;
  const char *reason;
  uint64_t offset;
  EXPECT_EQUAL(FRAME_OK, feed(reader, stream.bytes, RECEIVE_SIZE, &got));
  payload_unref(got.body);
  EXPECT_EQUAL(FRAME_BAD,
               feed(reader, stream.bytes + RECEIVE_SIZE, stream.size - RECEIVE_SIZE, &got));
  reader_error(reader, &reason, &offset);
  EXPECT_EQUAL(stream.size, offset);
  EXPECT(!strcmp("length", reason));
  reader_free(reader);
  buffer_free(&stream);
  payload_unref(small);
  payload_unref(large);
}

// After a large frame, whose bytes went another way, places count on.
static void offset_after_large(void) {
  struct payload *large = bin_body(200000);
  struct message call = call_of(large), got;
  struct buffer stream = BUFFER_EMPTY;
  frame_append(&stream, &call);
  frame_append(&stream, &call);
  size_t place = stream.size;
  buffer_append(&stream, "\0\0\0\0", 4);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  size_t at = 0;
  int result = FRAME_MORE;
  while (result >= 0) {
    if (result == FRAME_MORE) at += feed_some(reader, stream.bytes + at, stream.size - at);
    result = reader_next(reader, &got);
    if (result == FRAME_OK) payload_unref(got.body);
  }
  const char *reason;
  uint64_t offset;
  reader_error(reader, &reason, &offset);
  EXPECT_EQUAL(place, offset);
  reader_free(reader);
  buffer_free(&stream);
  payload_unref(large);
}

// A large frame starts with its header: what is wrong with it shows before its body comes.
static void large_bad_header(void) {
  unsigned char bytes[8192] = {0x01, 0, 0, 0, 0x92, MESSAGE_PING, 0x05};
  struct failure failure = judge(FRAME_OPEN, bytes, sizeof bytes);
  expect_bad(failure, "trailing", 7);
  bytes[4] = 0x91;
  expect_bad(judge(FRAME_OPEN, bytes, sizeof bytes), "type", 6);
}

static const struct check checks[] = {
    {"carry every type of message", all_round_trips},
    {"carry times in whole units", rounds_times},
    {"carry bodies of several parts as one", joins_parts},
    {"are the same wherever the stream is cut once", every_single_cut},
    {"are the same in pieces of any one size", pieces_of_one_size},
    {"are the same in pieces of random sizes", random_cuts},
    {"of about the size of the receive buffer arrive", around_the_buffer},
    {"of several megabytes arrive", many_large},
    {"that are large are received into their body, a part at a time", large_in_place},
    {"that are large have a place in the stream too", large_offset},
    {"have their place in the stream behind large ones too", offset_after_large},
    {"that are large are refused for their header at once", large_bad_header},
};
CHECK_MAIN(checks)
