// Checks of host/core/payload.c, buffer.c, pack.h and cursor.h.
#include "../../../host/core/payload.h"

#include <math.h>

#include "../../../host/core/cursor.h"
#include "../../../host/core/scan.h"
#include "check.h"

// ---- payloads ----

struct owner {
  int released;
  uint64_t anchor;
};

static void count_release(void *owner, uint64_t anchor) {
  struct owner *self = owner;
  self->released++;
  self->anchor = anchor;
}

static void releases_once(void) {
  struct owner owner = {0, 0};
  struct payload *payload = payload_copy("abc", 3);
  payload->release = count_release;
  payload->owner = &owner;
  payload->anchor = 77;
  EXPECT(payload_ref(payload) == payload);
  payload_unref(payload);
  EXPECT_EQUAL(0, owner.released);
  payload_unref(payload);
  EXPECT_EQUAL(1, owner.released);
  EXPECT_EQUAL(77, owner.anchor);
}

static void copies(void) {
  struct payload *payload = payload_copy("abc", 3);
  EXPECT_EQUAL(1, payload->references);
  EXPECT_EQUAL(1, payload->count);
  EXPECT_EQUAL(3, payload->size);
  EXPECT(payload->parts[0].bytes == payload->bytes && payload->parts[0].size == 3);
  EXPECT(!memcmp(payload->bytes, "abc", 3));
  payload_unref(payload);
  payload = payload_copy(NULL, 0);
  EXPECT_EQUAL(0, payload->size);
  payload_unref(payload);
}

static void resizes(void) {
  struct payload *payload = payload_copy("abc", 3);
  payload = payload_resize(payload, 1000000);
  EXPECT_EQUAL(1000000, payload->size);
  EXPECT(payload->parts[0].bytes == payload->bytes && payload->parts[0].size == 1000000);
  EXPECT(!memcmp(payload->bytes, "abc", 3));
  payload = payload_resize(payload, 2);
  EXPECT_EQUAL(2, payload->parts[0].size);
  payload_unref(payload);
}

static void refuses_sizes(void) {
  EXPECT(!payload_new(SIZE_MAX));
  EXPECT(!payload_new(SIZE_MAX / 2));
  struct payload *payload = payload_copy("abc", 3);
  EXPECT(!payload_resize(payload, SIZE_MAX - 10));
  EXPECT(!memcmp(payload->bytes, "abc", 3));
  payload_unref(payload);
}

static void allows_null(void) {
  EXPECT(!payload_ref(NULL));
  payload_unref(NULL);
}

// ---- buffers ----

static void grows(void) {
  struct buffer buffer = BUFFER_EMPTY;
  for (unsigned i = 0; i < 10000; i++) buffer_append(&buffer, &i, sizeof i);
  EXPECT_EQUAL(10000 * sizeof(unsigned), buffer.size);
  for (unsigned i = 0; i < 10000; i++) EXPECT(!memcmp(buffer.bytes + i * sizeof i, &i, sizeof i));
  buffer_consume(&buffer, 9999 * sizeof(unsigned));
  EXPECT_EQUAL(sizeof(unsigned), buffer.size);
  EXPECT(!memcmp(buffer.bytes, &(unsigned){9999}, sizeof(unsigned)));
  size_t capacity = buffer.capacity;
  buffer_clear(&buffer);
  EXPECT(!buffer.size && buffer.capacity == capacity);
  buffer_free(&buffer);
  EXPECT(!buffer.bytes && !buffer.capacity);
}

static void fails_once(void) {
  struct buffer buffer = BUFFER_EMPTY;
  buffer_append(&buffer, "abc", 3);
  EXPECT(!buffer_reserve(&buffer, SIZE_MAX));
  EXPECT(buffer.failed);
  buffer_append(&buffer, "abc", 3);
  pack_uint(&buffer, 5);
  pack_text(&buffer, "text");
  EXPECT(buffer.failed && buffer.size == 0);
  EXPECT(!buffer_reserve(&buffer, SIZE_MAX / 2));
  buffer_clear(&buffer);
  pack_uint(&buffer, 5);
  EXPECT(!buffer.failed && buffer.size == 1);
  buffer_free(&buffer);
}

// ---- values ----

static void expect_bytes(struct buffer *buffer, const void *bytes, size_t size) {
  EXPECT_EQUAL(size, buffer->size);
  EXPECT(!memcmp(buffer->bytes, bytes, size));
  buffer_free(buffer);
}

#define EXPECT_PACKED(call, text)                  \
  do {                                             \
    struct buffer packed = BUFFER_EMPTY;           \
    struct buffer *out = &packed;                  \
    call;                                          \
    expect_bytes(&packed, text, sizeof(text) - 1); \
  } while (0)

static void packs_shortest(void) {
  EXPECT_PACKED(pack_uint(out, 127), "\x7f");
  EXPECT_PACKED(pack_uint(out, 128), "\xcc\x80");
  EXPECT_PACKED(pack_uint(out, 256), "\xcd\1\0");
  EXPECT_PACKED(pack_uint(out, 65536), "\xce\0\1\0\0");
  EXPECT_PACKED(pack_uint(out, UINT64_C(1) << 32), "\xcf\0\0\0\1\0\0\0\0");
  EXPECT_PACKED(pack_int(out, -1), "\xff");
  EXPECT_PACKED(pack_int(out, -33), "\xd0\xdf");
  EXPECT_PACKED(pack_int(out, 200), "\xcc\xc8");
  EXPECT_PACKED(pack_nil(out), "\xc0");
  EXPECT_PACKED(pack_bool(out, true), "\xc3");
  EXPECT_PACKED(pack_bool(out, false), "\xc2");
  EXPECT_PACKED(pack_text(out, "abc"),
                "\xa3"
                "abc");
  EXPECT_PACKED(pack_bin(out, "ab", 2), "\xc4\2ab");
  EXPECT_PACKED(pack_ext(out, 1, "abcd", 4), "\xd6\1abcd");
  EXPECT_PACKED(pack_array(out, 16), "\xdc\0\x10");
  EXPECT_PACKED(pack_map(out, 15), "\x8f");
}

static void packs_exact(void) {
  EXPECT_PACKED(pack_uint64_exact(out, 5), "\xcf\0\0\0\0\0\0\0\5");
  EXPECT_PACKED(pack_int64_exact(out, -2), "\xd3\xff\xff\xff\xff\xff\xff\xff\xfe");
  EXPECT_PACKED(pack_double(out, 1), "\xcb\x3f\xf0\0\0\0\0\0\0");
}

static void packs_numbers(void) {
  EXPECT_PACKED(pack_number(out, 5), "\5");
  EXPECT_PACKED(pack_number(out, 0), "\0");
  EXPECT_PACKED(pack_number(out, -0.0), "\xcb\x80\0\0\0\0\0\0\0");
  EXPECT_PACKED(pack_number(out, 4294967295.0), "\xce\xff\xff\xff\xff");
  EXPECT_PACKED(pack_number(out, 4294967296.0), "\xcb\x41\xf0\0\0\0\0\0\0");
  EXPECT_PACKED(pack_number(out, -2147483648.0), "\xd2\x80\0\0\0");
  EXPECT_PACKED(pack_number(out, -2147483649.0), "\xcb\xc1\xe0\0\0\0\x20\0\0");
  EXPECT_PACKED(pack_number(out, 0.5), "\xcb\x3f\xe0\0\0\0\0\0\0");
  EXPECT_PACKED(pack_number(out, (double)INFINITY), "\xcb\x7f\xf0\0\0\0\0\0\0");
  struct buffer nan = BUFFER_EMPTY;
  pack_number(&nan, (double)NAN);
  EXPECT(nan.size == 9 && nan.bytes[0] == 0xcb);
  buffer_free(&nan);
}

static void reads_integers(void) {
  struct chance chance = {3};
  for (int i = 0; i < 100000; i++) {
    uint64_t number = chance_number(&chance), got;
    int64_t negative = -(int64_t)(number >> 1), integer;
    struct buffer bytes = BUFFER_EMPTY;
    pack_uint(&bytes, number);
    pack_int(&bytes, negative);
    pack_uint64_exact(&bytes, number);
    pack_int64_exact(&bytes, negative);
    struct cursor cursor = cursor_of(bytes.bytes, bytes.size);
    EXPECT(cursor_uint(&cursor, &got) && got == number);
    EXPECT(cursor_int(&cursor, &integer) && integer == negative);
    EXPECT(cursor_uint(&cursor, &got) && got == number);
    EXPECT(negative == 0 || !cursor_uint(&cursor, &got));
    EXPECT(cursor_int(&cursor, &integer) && integer == negative);
    EXPECT_EQUAL(CURSOR_END, cursor_type(&cursor));
    EXPECT(!cursor_uint(&cursor, &got) && !cursor_int(&cursor, &integer) && !cursor_skip(&cursor));
    buffer_free(&bytes);
  }
}

static void reads_too_large(void) {
  struct cursor cursor = cursor_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9);
  int64_t integer;
  double number;
  EXPECT(!cursor_int(&cursor, &integer));
  EXPECT(cursor_number(&cursor, &number) && number == 18446744073709551616.0);
}

static void reads_all_types(void) {
  struct buffer bytes = BUFFER_EMPTY;
  pack_nil(&bytes);
  pack_bool(&bytes, true);
  pack_double(&bytes, 2.5);
  buffer_append(&bytes, "\xca\x3f\x80\0\0", 5);
  pack_text(&bytes, "text");
  pack_bin(&bytes, "bytes", 5);
  pack_array(&bytes, 70000);
  pack_map(&bytes, 20);
  pack_ext(&bytes, -3, "abc", 3);
  struct cursor cursor = cursor_of(bytes.bytes, bytes.size), content;
  bool boolean;
  double number;
  const unsigned char *string;
  size_t size;
  int8_t extension;
  EXPECT(!cursor_bool(&cursor, &boolean) && cursor_nil(&cursor));
  EXPECT(!cursor_nil(&cursor) && cursor_bool(&cursor, &boolean) && boolean);
  EXPECT(cursor_number(&cursor, &number) && number == 2.5);
  EXPECT(cursor_number(&cursor, &number) && number == 1.0);
  EXPECT(!cursor_number(&cursor, &number) && !cursor_bin(&cursor, &string, &size));
  EXPECT(cursor_str(&cursor, &string, &size) && size == 4 && !memcmp(string, "text", 4));
  EXPECT(!cursor_str(&cursor, &string, &size));
  EXPECT(cursor_bin(&cursor, &string, &size) && size == 5 && !memcmp(string, "bytes", 5));
  EXPECT(!cursor_map(&cursor, &size) && cursor_array(&cursor, &size) && size == 70000);
  EXPECT(!cursor_array(&cursor, &size) && cursor_map(&cursor, &size) && size == 20);
  EXPECT(cursor_ext(&cursor, &extension, &content) && extension == -3);
  EXPECT(content.end - content.at == 3 && !memcmp(content.at, "abc", 3));
  EXPECT_EQUAL(CURSOR_END, cursor_type(&cursor));
  buffer_free(&bytes);
}

// What a scan says is one value is one for a cursor.
static void skips_values(void) {
  struct chance chance = {4};
  struct buffer bytes = BUFFER_EMPTY;
  for (int i = 0; i < 20000; i++) {
    buffer_clear(&bytes);
    chance_value(&chance, &bytes, 6);
    size_t size = bytes.size, used;
    pack_text(&bytes, "next");
    EXPECT_EQUAL(SCAN_OK, scan_value(bytes.bytes, bytes.size, &scan_body_limits, &used));
    EXPECT_EQUAL(size, used);
    struct cursor cursor = cursor_of(bytes.bytes, bytes.size);
    EXPECT(cursor_skip(&cursor));
    EXPECT_EQUAL(size, cursor.at - bytes.bytes);
  }
  buffer_free(&bytes);
}

static void finds_keys(void) {
  struct buffer bytes = BUFFER_EMPTY;
  pack_map(&bytes, 3);
  pack_int(&bytes, 5);
  pack_text(&bytes, "wanted");
  pack_text(&bytes, "other");
  pack_map(&bytes, 1);
  pack_text(&bytes, "wanted");
  pack_int(&bytes, 1);
  pack_text(&bytes, "wanted");
  pack_int(&bytes, 2);
  struct cursor map = cursor_of(bytes.bytes, bytes.size), value;
  int64_t number;
  EXPECT(cursor_find(map, "wanted", &value) && cursor_int(&value, &number) && number == 2);
  EXPECT(!cursor_find(map, "want", &value));
  EXPECT(!cursor_find(value, "wanted", &value));
  buffer_free(&bytes);
}

static const struct check checks[] = {
    {"tells the owner of a payload once, when the last reference goes", releases_once},
    {"copies bytes", copies},
    {"resizes a payload and keeps its bytes", resizes},
    {"refuses sizes that cannot be", refuses_sizes},
    {"allows no payload", allows_null},
    {"grows a buffer, consumes and clears it", grows},
    {"appends nothing to a buffer after a failure", fails_once},
    {"packs values in their shortest form", packs_shortest},
    {"packs 64-bit integers and doubles in nine bytes", packs_exact},
    {"packs Lua numbers as integers where that loses nothing", packs_numbers},
    {"reads integers of every size", reads_integers},
    {"reads no integer that is too large", reads_too_large},
    {"reads values of every type, and only as what they are", reads_all_types},
    {"skips values", skips_values},
    {"finds keys of a map", finds_keys},
};
CHECK_MAIN(checks)
