// Checks of host/core/frame.c and message.c: what a reader refuses, and what it just accepts.
#include "frames.h"

// ---- limits ----

static struct failure judge_length(enum frame_state state, uint32_t limit, uint32_t length) {
  struct reader *reader = reader_new(state, limit);
  uint32_t bytes = htobe32(length);
  struct message message;
  struct failure failure = {.result = feed(reader, &bytes, 4, &message)};
  const char *reason;
  uint64_t offset;
  snprintf(failure.sentence, sizeof failure.sentence, "%s", reader_error(reader, &reason, &offset));
  reader_free(reader);
  return failure;
}

static void limits_frames(void) {
  static const uint32_t limits[] = {100, LIMIT_FRAME, UINT32_C(1) << 31, UINT32_MAX - 1};
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    EXPECT_EQUAL(FRAME_MORE, judge_length(FRAME_OPEN, limits[i], limits[i] - 1).result);
    EXPECT_EQUAL(FRAME_MORE, judge_length(FRAME_OPEN, limits[i], limits[i]).result);
    EXPECT_EQUAL(FRAME_TOO_LARGE, judge_length(FRAME_OPEN, limits[i], limits[i] + 1).result);
  }
  EXPECT(strstr(judge_length(FRAME_OPEN, 100, 101).sentence, "101"));
}

static void limits_handshake(void) {
  EXPECT_EQUAL(FRAME_MORE, judge_length(FRAME_HELLO, LIMIT_FRAME, 4095).result);
  EXPECT_EQUAL(FRAME_MORE, judge_length(FRAME_HELLO, LIMIT_FRAME, 4096).result);
  EXPECT_EQUAL(FRAME_TOO_LARGE, judge_length(FRAME_HELLO, LIMIT_FRAME, 4097).result);
  EXPECT_EQUAL(FRAME_TOO_LARGE, judge_length(FRAME_HELLO, 100, 101).result);
}

// The limit of the handshake is gone once HELLO was there.
static void limits_after_hello(void) {
  struct payload *map = payload_copy("\x91\x80", 2), *large = bin_body(10000);
  struct message hello = {.type = MESSAGE_HELLO, .role = ROLE_CLIENT, .body = map};
  struct message call = call_of(large), got;
  struct buffer stream = BUFFER_EMPTY;
  frame_preface(&stream);
  frame_append(&stream, &hello);
  struct reader *reader = reader_new(FRAME_PREFACE, LIMIT_FRAME);
  EXPECT_EQUAL(FRAME_OK, feed(reader, stream.bytes, stream.size, &got));
  payload_unref(got.body);
  buffer_clear(&stream);
  frame_append(&stream, &call);
  EXPECT_EQUAL(FRAME_OK, feed(reader, stream.bytes, stream.size, &got));
  payload_unref(got.body);
  reader_free(reader);
  buffer_free(&stream);
  payload_unref(map);
  payload_unref(large);
}

// PING with a further element that makes the header `size` bytes long.
static struct failure judge_header_size(size_t size) {
  struct buffer content = BUFFER_EMPTY;
  unsigned char filler[LIMIT_HEADER] = {0};
  pack_array(&content, 3);
  pack_uint(&content, MESSAGE_PING);
  pack_uint(&content, 1);
  pack_bin(&content, filler, size - 6);
  EXPECT_EQUAL(size, content.size);
  struct failure failure = judge_frame(&content);
  buffer_free(&content);
  return failure;
}

static void limits_headers(void) {
  EXPECT_EQUAL(FRAME_OK, judge_header_size(LIMIT_HEADER - 1).result);
  EXPECT_EQUAL(FRAME_OK, judge_header_size(LIMIT_HEADER).result);
  expect_bad(judge_header_size(LIMIT_HEADER + 1), "length", -1);
}

// PING with a further element of arrays in each other.
static struct failure judge_header_depth(size_t depth) {
  unsigned char bytes[100] = {0x93, MESSAGE_PING, 0x01};
  memset(bytes + 3, 0x91, depth);
  bytes[3 + depth - 2] = 0x90;
  return judge_frame(&(struct buffer){.bytes = bytes, .size = 3 + depth - 1});
}

static void limits_header_depth(void) {
  EXPECT_EQUAL(FRAME_OK, judge_header_depth(LIMIT_HEADER_DEPTH - 1).result);
  EXPECT_EQUAL(FRAME_OK, judge_header_depth(LIMIT_HEADER_DEPTH).result);
  expect_bad(judge_header_depth(LIMIT_HEADER_DEPTH + 1), "depth", -1);
}

// ---- the preface ----

static struct failure judge_versions(unsigned char lowest, unsigned char highest) {
  unsigned char preface[] = {'F', 'A', 'R', 'S', 'I', 'D', 'E', '\n', lowest, highest, 0, 0};
  return judge(FRAME_PREFACE, preface, sizeof preface);
}

static void agrees_on_versions(void) {
  EXPECT_EQUAL(FRAME_MORE, judge_versions(1, 1).result);
  EXPECT_EQUAL(FRAME_MORE, judge_versions(1, 200).result);
  struct failure failure = judge_versions(2, 3);
  EXPECT_EQUAL(FRAME_VERSION, failure.result);
  EXPECT(strstr(failure.sentence, "1 to 1") && strstr(failure.sentence, "2 to 3"));
  expect_bad(judge_versions(0, 1), "type", 8);
  expect_bad(judge_versions(2, 1), "type", 8);
}

static void ignores_preface_flags(void) {
  EXPECT_EQUAL(FRAME_MORE, judge(FRAME_PREFACE, "FARSIDE\n\1\1\xff\xff", 12).result);
}

static void refuses_foreign(void) {
  struct failure failure = judge(FRAME_PREFACE, "GET / HTTP/1.1\r\n\r\n", 18);
  expect_bad(failure, "type", 0);
  EXPECT(strstr(failure.sentence, "HTTP"));
  failure = judge(FRAME_PREFACE, "\x16\x03\x01\x02", 4);
  expect_bad(failure, "type", 0);
  EXPECT(strstr(failure.sentence, "TLS"));
  expect_bad(judge(FRAME_PREFACE, "G", 1), "type", 0);
  expect_bad(judge(FRAME_PREFACE, "FARSIDE\r\1\1\0\0", 12), "type", 7);
  expect_bad(judge(FRAME_PREFACE, "\0", 1), "type", 0);
}

static void waits_for_preface(void) {
  for (size_t size = 0; size < 12; size++)
    EXPECT_EQUAL(FRAME_MORE, judge(FRAME_PREFACE, "FARSIDE\n\1\1\0\0", size).result);
}

static void hello_first(void) {
  expect_bad(judge(FRAME_PREFACE, "FARSIDE\n\1\1\0\0\0\0\0\3\x92\x10\1", 19), "type", 16);
  expect_bad(judge(FRAME_HELLO, "\0\0\0\3\x92\x10\1", 7), "type", 4);
  EXPECT_EQUAL(FRAME_OK, judge(FRAME_HELLO, "\0\0\0\7\x94\1\1\0\1\x91\x80", 11).result);
  expect_bad(judge(FRAME_OPEN, "\0\0\0\7\x94\1\1\0\1\x91\x80", 11), "type", 4);
}

// ---- hostile frames ----

static void refuses_empty(void) {
  expect_bad(judge(FRAME_OPEN, "\0\0\0\0", 4), "length", 0);
  expect_bad(judge_frame(CONTENT("\x92")), "length", -1);
}

// The place of an error counts from the first byte of the connection.
static void counts_on(void) {
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  struct message message;
  for (int i = 0; i < 100000; i++)
    EXPECT_EQUAL(FRAME_OK, feed(reader, "\0\0\0\3\x92\x10\1", 7, &message));
  EXPECT_EQUAL(FRAME_BAD, feed(reader, "\0\0\0\0", 4, &message));
  const char *reason;
  uint64_t offset;
  reader_error(reader, &reason, &offset);
  EXPECT_EQUAL(700000, offset);
  reader_free(reader);
}

static void refuses_other_headers(void) {
  expect_bad(judge_frame(CONTENT("\xc0")), "type", 4);
  expect_bad(judge_frame(CONTENT("\x80")), "type", 4);
  expect_bad(judge_frame(CONTENT("\x90")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\xc0")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\xa4PING")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\x00")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\x18")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\x0e")), "type", 5);  // not in use
  expect_bad(judge_frame(CONTENT("\x91\xff")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\xcd\1\x10")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x91\xc1")), "type", 5);
  expect_bad(judge_frame(CONTENT("\x92\x10\xdf\xff\xff\xff\xff")), "length", 6);
  expect_bad(judge_frame(CONTENT("\x93\x10\1\xa1\xff")), "utf8", 7);
  expect_bad(judge_frame(CONTENT("\x93\x10\1\xd4\7\0")), "ext", 7);
  expect_bad(judge_frame(CONTENT("\x93\x10\1\x81\xc0\xc0")), "key", 8);
  // A field is missing.
  expect_bad(judge_frame(CONTENT("\x91\x10")), "type", 6);
}

// What an item, credit and progress say behind type, id, attempt, epoch and sequence.
static struct failure judge_stream(const char *head, const char *rest, size_t size) {
  struct buffer content = BUFFER_EMPTY;
  buffer_append(&content, head, 2);
  buffer_append(&content,
                "\xc4\x10"
                "0123456789abcdef",
                18);
  buffer_append(&content, rest, size);
  struct failure failure = judge_frame(&content);
  buffer_free(&content);
  return failure;
}

#define JUDGE_STREAM(head, rest) judge_stream(head, rest, sizeof(rest) - 1)

static void refuses_bad_streams(void) {
  EXPECT_EQUAL(FRAME_OK, JUDGE_STREAM("\x95\x0b", "\1\1\1\x91\5").result);
  expect_bad(JUDGE_STREAM("\x95\x0b", "\1\1\1"), "length", 27);  // an item without a body
  EXPECT_EQUAL(FRAME_OK, JUDGE_STREAM("\x95\x0c", "\1\1\1").result);
  expect_bad(JUDGE_STREAM("\x95\x0c", "\1\1\0"), "type", 26);  // no credit at all
  expect_bad(JUDGE_STREAM("\x95\x0c", "\1\1\xcf\0\0\0\1\0\0\0\0"), "type", 26);
  EXPECT_EQUAL(FRAME_OK, JUDGE_STREAM("\x97\x0d", "\1\1\1\3\x64").result);
  EXPECT_EQUAL(FRAME_OK, JUDGE_STREAM("\x97\x0d", "\1\1\1\3\xc0").result);
  expect_bad(JUDGE_STREAM("\x97\x0d", "\1\1\1\xff\x64"), "type", 27);
  expect_bad(JUDGE_STREAM("\x97\x0d", "\1\1\1\3\xcb\x7f\xf0\0\0\0\0\0\0"), "type", 28);
}

static void ignores_more_elements(void) {
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x93\x10\1\xc0")).result);
  EXPECT_EQUAL(FRAME_OK,
               judge_frame(CONTENT("\x94\x10\1\x81\xa4trac\xcb\0\0\0\0\0\0\0\0\x90")).result);
}

// A CALL of which one field is replaced by the bytes given.
static struct failure judge_call(size_t field, const char *bytes, size_t size) {
  static const struct {
    const char *bytes;
    size_t size;
  } fields[] = {
      {"\x05", 1},
      {"\xc4\x10"
       "0123456789abcdef",
       18},
      {"\x01", 1},  // attempt
      {"\x01", 1},  // epoch
      {"\x01", 1},  // sequence
      {"\x01", 1},  // function
      {"\x01", 1},  // remaining
      {"\x01", 1},  // workload
      {"\x01", 1},  // priority
      {"\x01", 1},  // flags
  };
  struct buffer content = BUFFER_EMPTY;
  pack_array(&content, 10);
  for (size_t i = 0; i < 10; i++)
    buffer_append(&content, i == field ? bytes : fields[i].bytes,
                  i == field ? size : fields[i].size);
  buffer_append(&content, "\x90", 1);
  struct failure failure = judge_frame(&content);
  buffer_free(&content);
  return failure;
}

#define CALL_WITH(field, text) judge_call(field, text, sizeof(text) - 1)

static void accepts_field_ranges(void) {
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(2, "\xce\xff\xff\xff\xff").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(3, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(3, "\x00").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(4, "\xd3\0\0\0\0\0\0\0\1").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(6, "\xcf\0\0\x08\x63\x7b\xd0\x5a\xf6").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(7, "\xcb\x7f\xef\xff\xff\xff\xff\xff\xff").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(7, "\xca\x3f\x80\0\0").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(7, "\xcb\x80\0\0\0\0\0\0\0").result);
  EXPECT_EQUAL(FRAME_OK, CALL_WITH(8, "\xcc\xff").result);
}

static void refuses_field_ranges(void) {
  const long long id = 4 + 2, attempt = id + 18;
  expect_bad(CALL_WITH(1,
                       "\xc4\x0f"
                       "0123456789abcde"),
             "type", id);
  expect_bad(CALL_WITH(1,
                       "\xc4\x11"
                       "0123456789abcdefg"),
             "type", id);
  expect_bad(CALL_WITH(1,
                       "\xb0"
                       "0123456789abcdef"),
             "type", id);
  expect_bad(CALL_WITH(1, "\x07"), "type", id);
  expect_bad(CALL_WITH(2, "\x00"), "type", attempt);
  expect_bad(CALL_WITH(2, "\xcf\0\0\0\1\0\0\0\0"), "type", attempt);
  expect_bad(CALL_WITH(2, "\xff"), "type", attempt);
  expect_bad(CALL_WITH(3, "\xff"), "type", attempt + 1);
  expect_bad(CALL_WITH(3, "\xcb\x3f\xf0\0\0\0\0\0\0"), "type", attempt + 1);
  expect_bad(CALL_WITH(4, "\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), "type", attempt + 2);
  expect_bad(CALL_WITH(5, "\xcf\0\0\0\1\0\0\0\0"), "type", attempt + 3);
  expect_bad(CALL_WITH(6, "\xff"), "type", attempt + 4);
  expect_bad(CALL_WITH(6, "\xcf\0\0\x08\x63\x7b\xd0\x5a\xf7"), "type", attempt + 4);
  expect_bad(CALL_WITH(6, "\xcb\x3f\xf0\0\0\0\0\0\0"), "type", attempt + 4);
  expect_bad(CALL_WITH(7, "\xcb\x7f\xf8\0\0\0\0\0\0"), "type", attempt + 5);
  expect_bad(CALL_WITH(7, "\xcb\x7f\xf0\0\0\0\0\0\0"), "type", attempt + 5);
  expect_bad(CALL_WITH(7, "\xca\xff\x80\0\0"), "type", attempt + 5);
  expect_bad(CALL_WITH(7, "\xcb\xbf\xf0\0\0\0\0\0\0"), "type", attempt + 5);
  expect_bad(CALL_WITH(7, "\xff"), "type", attempt + 5);
  expect_bad(CALL_WITH(7, "\xa1x"), "type", attempt + 5);
  expect_bad(CALL_WITH(8, "\xcd\1\0"), "type", attempt + 6);
  expect_bad(CALL_WITH(9, "\xcf\0\0\0\1\0\0\0\0"), "type", attempt + 7);
  EXPECT(strstr(CALL_WITH(7, "\xff").sentence, "CALL") &&
         strstr(CALL_WITH(7, "\xff").sentence, "workload"));
}

static void refuses_other_ranges(void) {
  // Roles, reasons, phases and exit codes.
  expect_bad(judge(FRAME_HELLO, "\0\0\0\7\x94\1\0\0\1\x91\x80", 11), "type", 6);
  expect_bad(judge(FRAME_HELLO, "\0\0\0\7\x94\1\6\0\1\x91\x80", 11), "type", 6);
  expect_bad(judge_frame(CONTENT("\x95\x09\xc4\x10"
                                 "0123456789abcdef\1\1\0")),
             "type", -1);
  expect_bad(judge_frame(CONTENT("\x95\x09\xc4\x10"
                                 "0123456789abcdef\1\1\4")),
             "type", -1);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x95\x09\xc4\x10"
                                             "0123456789abcdef\1\1\3"))
                             .result);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x93\x14\xff\x09")).result);
  expect_bad(judge_frame(CONTENT("\x93\x14\xff\x0a")), "type", -1);
  expect_bad(judge_frame(CONTENT("\x93\x14\xce\x80\0\0\0\5")), "type", -1);
  expect_bad(judge_frame(CONTENT("\x93\x12\0\xff")), "type", -1);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x93\x12\0\0")).result);
}

static void refuses_bodies(void) {
  // One that must be there, one that must not, and what a scan refuses.
  expect_bad(judge_frame(CONTENT("\x91\x0f")), "length", 6);
  expect_bad(judge_frame(CONTENT("\x92\x10\1\x90")), "trailing", 7);
  expect_bad(judge_frame(CONTENT("\x91\x0f\x05")), "type", 6);
  expect_bad(judge_frame(CONTENT("\x91\x0f\x92\x05")), "length", 6);
  expect_bad(judge_frame(CONTENT("\x91\x0f\x91\x05\x05")), "trailing", 8);
  expect_bad(judge_frame(CONTENT("\x91\x0f\x91\x81\xc0\xc0")), "key", 8);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x91\x0f\x91\xa1x")).result);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x93\x14\0\0")).result);
  EXPECT_EQUAL(FRAME_OK, judge_frame(CONTENT("\x93\x14\0\0\x91\x80")).result);
}

static void drops_unfinished(void) {
  struct buffer frame = BUFFER_EMPTY;
  struct payload *body = bin_body(200000);
  struct message call = call_of(body), got;
  frame_append(&frame, &call);
  struct reader *reader = reader_new(FRAME_OPEN, LIMIT_FRAME);
  EXPECT_EQUAL(FRAME_MORE, feed(reader, frame.bytes, 150000, &got));
  reader_free(reader);
  reader_free(NULL);
  payload_unref(body);
  buffer_free(&frame);
}

static const struct check checks[] = {
    {"P1: are limited in size: one less, as many, one more", limits_frames},
    {"P1: are limited to 4 KiB before the handshake is done", limits_handshake},
    {"are not limited to 4 KiB after it", limits_after_hello},
    {"have headers of 4 KiB at most", limits_headers},
    {"have headers of 32 levels at most", limits_header_depth},
    {"P8: follow a preface that agrees on a version", agrees_on_versions},
    {"follow a preface whose flags are ignored", ignores_preface_flags},
    {"P3: do not follow HTTP or TLS", refuses_foreign},
    {"follow a preface that may come in pieces", waits_for_preface},
    {"begin with HELLO, which comes once", hello_first},
    {"are not empty", refuses_empty},
    {"are refused with their place in the stream", counts_on},
    {"P7: have an array with a known type as header", refuses_other_headers},
    {"of streams that say nonsense", refuses_bad_streams},
    {"P7: may have more elements in the header", ignores_more_elements},
    {"accept the largest and smallest values of fields", accepts_field_ranges},
    {"refuse what is no value of a field of CALL", refuses_field_ranges},
    {"refuse what is no value of other fields", refuses_other_ranges},
    {"have an acceptable body exactly where one belongs", refuses_bodies},
    {"P2: that end too early are dropped", drops_unfinished},
};
CHECK_MAIN(checks)
