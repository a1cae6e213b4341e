// Checks of host/core/scan.c.
#include "../../../host/core/scan.h"

#include "../../../host/core/limits.h"
#include "../../../host/core/tensor.h"
#include "check.h"
#include "utf8.h"

static int scan(const void *bytes, size_t size) {
  size_t used;
  return scan_body(bytes, size, &scan_body_limits, &used);
}

static int scan_one(const void *bytes, size_t size) {
  size_t used;
  return scan_value(bytes, size, &scan_body_limits, &used);
}

#define BODY(text) scan(text, sizeof(text) - 1)
#define VALUE(text) scan_one(text, sizeof(text) - 1)

static void accepts_valid(void) {
  struct chance chance = {1};
  struct buffer body = BUFFER_EMPTY;
  for (int i = 0; i < 20000; i++) {
    buffer_clear(&body);
    chance_body(&chance, &body);
    size_t used;
    EXPECT_EQUAL(SCAN_OK, scan_body(body.bytes, body.size, &scan_body_limits, &used));
    EXPECT_EQUAL(body.size, used);
  }
  buffer_free(&body);
}

// In memory of their own, so that a sanitizer sees a read beyond the end.
static void refuses_prefixes(void) {
  struct chance chance = {2};
  struct buffer body = BUFFER_EMPTY;
  for (int i = 0; i < 300; i++) {
    buffer_clear(&body);
    chance_body(&chance, &body);
    for (size_t size = 0; size < body.size && size < 3000; size++) {
      unsigned char *prefix = malloc(size + 1);
      memcpy(prefix, body.bytes, size);
      unsigned char *exact = realloc(prefix, size ? size : 1);
      size_t used;
      EXPECT_EQUAL(SCAN_LENGTH, scan_body(exact, size, &scan_body_limits, &used));
      EXPECT(used <= size);
      free(exact);
    }
  }
  buffer_free(&body);
}

static void refuses_trailing(void) {
  EXPECT_EQUAL(SCAN_OK, BODY("\x91\x05"));
  EXPECT_EQUAL(SCAN_TRAILING, BODY("\x91\x05\xc0"));
  EXPECT_EQUAL(SCAN_TRAILING, BODY("\x90\x90"));
}

static void refuses_other_bodies(void) {
  EXPECT_EQUAL(SCAN_LENGTH, BODY(""));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\x05"));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\x80"));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\xc0"));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\xa1x"));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\xde\0\0"));
  EXPECT_EQUAL(SCAN_TYPE, BODY("\x91\xc1"));
}

static void refuses_declared_lengths(void) {
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xdf\xff\x7a\xbf\xff"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xdd\x10\0\0\0"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xdd\xff\xff\xff\xff\x01\x02"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xdb\xff\xff\xff\xff"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc6\xff\xff\xff\xff"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc9\xff\xff\xff\xff\x01"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xde\0\1\xa1k"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xa5shor"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xcb\0\0\0\0\0\0\0"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xcf\0\0\0\0\0\0\0"));
}

// `levels` arrays in each other.
static int scan_nested(size_t levels, uint32_t limit) {
  unsigned char bytes[200];
  memset(bytes, 0x91, levels);
  bytes[levels] = 0x05;
  struct scan_limits limits = scan_body_limits;
  limits.depth = limit;
  size_t used;
  return scan_body(bytes, levels + 1, &limits, &used);
}

static void limits_depth(void) {
  EXPECT_EQUAL(SCAN_OK, scan_nested(LIMIT_DEPTH - 1, LIMIT_DEPTH));
  EXPECT_EQUAL(SCAN_OK, scan_nested(LIMIT_DEPTH, LIMIT_DEPTH));
  EXPECT_EQUAL(SCAN_DEPTH, scan_nested(LIMIT_DEPTH + 1, LIMIT_DEPTH));
  EXPECT_EQUAL(SCAN_OK, scan_nested(LIMIT_HEADER_DEPTH, LIMIT_HEADER_DEPTH));
  EXPECT_EQUAL(SCAN_DEPTH, scan_nested(LIMIT_HEADER_DEPTH + 1, LIMIT_HEADER_DEPTH));
  EXPECT_EQUAL(SCAN_DEPTH, scan_nested(LIMIT_DEPTH + 1, 1000));
}

static void limits_million_levels(void) {
  size_t size = 1000 * 1000;
  unsigned char *bytes = malloc(size);
  memset(bytes, 0x91, size);
  EXPECT_EQUAL(SCAN_DEPTH, scan(bytes, size));
  free(bytes);
}

static void limits_elements(void) {
  // The array, three elements, one of them a map with a key and a value.
  const char body[] = "\x93\x01\x02\x81\xa1k\x03";
  struct scan_limits limits = scan_body_limits;
  size_t used;
  limits.elements = 6;
  EXPECT_EQUAL(SCAN_OK, scan_body((const void *)body, sizeof body - 1, &limits, &used));
  limits.elements = 7;
  EXPECT_EQUAL(SCAN_OK, scan_body((const void *)body, sizeof body - 1, &limits, &used));
  limits.elements = 5;
  EXPECT_EQUAL(SCAN_COST, scan_body((const void *)body, sizeof body - 1, &limits, &used));
}

static int scan_many(size_t count) {
  unsigned char *bytes = calloc(1, 5 + count);
  unsigned char head[] = {0xdd, (unsigned char)(count >> 24), (unsigned char)(count >> 16),
                          (unsigned char)(count >> 8), (unsigned char)count};
  memcpy(bytes, head, sizeof head);
  int result = scan(bytes, sizeof head + count);
  free(bytes);
  return result;
}

static void limits_elements_of_bodies(void) {
  EXPECT_EQUAL(SCAN_OK, scan_many(LIMIT_ELEMENTS - 2));
  EXPECT_EQUAL(SCAN_OK, scan_many(LIMIT_ELEMENTS - 1));
  EXPECT_EQUAL(SCAN_COST, scan_many(LIMIT_ELEMENTS));
}

static void limits_cost(void) {
  static const struct {
    const char *bytes;
    size_t size;
    size_t cost;
  } values[] = {
      {"\x05", 1, 0},
      {"\xcb\0\0\0\0\0\0\0\0", 9, 0},
      {"\xcf\0\0\0\0\0\0\0\0", 9, 24},
      {"\xd3\0\0\0\0\0\0\0\0", 9, 24},
      {"\xa3"
       "abc",
       4, 28 + 3},
      {"\xc4\2ab", 4, 28 + 2},
      {"\xd9\2ab", 4, 28 + 2},
      {"\x90", 1, 64},
      {"\x93\1\2\3", 4, 64 + 3 * 16},
      {"\xdc\0\2\1\2", 5, 64 + 2 * 16},
      {"\x80", 1, 64},
      {"\x82\1\2\3\4", 5, 64 + 2 * 48},
      {"\x81\xa1k\x91\xa1v", 6, 64 + 48 + 29 + 64 + 16 + 29},
      {"\xc7\3\1\xa1"
       "C\x80",
       6, 29 + 64},
  };
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    struct scan_limits limits = scan_body_limits;
    const unsigned char *bytes = (const unsigned char *)values[i].bytes;
    size_t used;
    limits.cost = values[i].cost;
    EXPECT_EQUAL(SCAN_OK, scan_value(bytes, values[i].size, &limits, &used));
    limits.cost = values[i].cost + 1;
    EXPECT_EQUAL(SCAN_OK, scan_value(bytes, values[i].size, &limits, &used));
    if (!values[i].cost) continue;
    limits.cost = values[i].cost - 1;
    EXPECT_EQUAL(SCAN_COST, scan_value(bytes, values[i].size, &limits, &used));
  }
}

// Each empty map is one byte on the wire.
static void limits_amplification(void) {
  size_t count = LIMIT_COST / (64 + 16);
  unsigned char *bytes = malloc(5 + count);
  memset(bytes, 0x80, 5 + count);
  for (size_t extra = 0; extra < 2; extra++) {
    size_t maps = count - 1 + extra;
    const unsigned char head[] = {0xdd, (unsigned char)(maps >> 24), (unsigned char)(maps >> 16),
                                  (unsigned char)(maps >> 8), (unsigned char)maps};
    memcpy(bytes, head, sizeof head);
    EXPECT_EQUAL(extra ? SCAN_COST : SCAN_OK, scan(bytes, sizeof head + maps));
  }
  free(bytes);
}

static void accepts_keys(void) {
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\x01\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xff\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xc2\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xa1k\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xd9\1k\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xc4\1k\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xce\0\0\0\1\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xca\0\0\0\1\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xca\x7f\x80\0\0\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xcb\x7f\xf0\0\0\0\0\0\0\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\xcb\xff\xf0\0\0\0\0\0\0\xc0"));
}

static void refuses_keys(void) {
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xc0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\x90\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xdc\0\0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\x80\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xde\0\0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xc7\3\1\xa1"
                               "C\x80\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xd4\1\0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xcf\0\0\0\0\0\0\0\1\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xd3\0\0\0\0\0\0\0\1\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xca\x7f\xc0\0\0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xca\xff\x80\0\1\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xcb\x7f\xf8\0\0\0\0\0\0\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xcb\xff\xf0\0\0\0\0\0\1\xc0"));
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x82\x01\x02\xc0\x02"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x81\x01\xcb\x7f\xf8\0\0\0\0\0\0"));
}

static void knows_extensions(void) {
  EXPECT_EQUAL(SCAN_OK, VALUE("\xc7\3\1\xa1"
                              "C\x80"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\xc8\0\3\1\xa1"
                              "C\x80"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\xc9\0\0\0\3\1\xa1"
                              "C\x80"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\xd5\1\xa0\x80"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xc7\3\2\xa1"
                               "C\x80"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xd4\0\0"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xd6\xff\0\0\0\0"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xc7\0\5"));
}

// A tensor of i32 {2, 1} with `size` bytes behind its head, whose head is changed at `at`.
static int scan_tensor(size_t size, size_t at, unsigned value) {
  unsigned char bytes[64] = {0xc7, 0, EXT_TENSOR, TENSOR_I32, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1};
  enum { EXT = 3, HEAD = TENSOR_HEADER + 2 * TENSOR_SIZE };
  bytes[1] = (unsigned char)(HEAD + size);
  bytes[EXT + at] = (unsigned char)value;
  return scan_one(bytes, EXT + HEAD + size);
}

static void checks_tensors(void) {
  enum { TYPE, RANK, BEFORE, BEHIND, SIZES };
  EXPECT_EQUAL(SCAN_OK, scan_tensor(8, TYPE, TENSOR_I32));
  EXPECT_EQUAL(SCAN_OK, scan_tensor(16, TYPE, TENSOR_F64));
  EXPECT_EQUAL(SCAN_OK, scan_tensor(2, TYPE, TENSOR_BOOL));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, TYPE, 0));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, TYPE, TENSOR_BOOL + 1));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(7, TYPE, TENSOR_I32));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(9, TYPE, TENSOR_I32));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, RANK, 9));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, RANK, 1));
  EXPECT_EQUAL(SCAN_OK, scan_tensor(11, BEFORE, 3));
  EXPECT_EQUAL(SCAN_OK, scan_tensor(11, BEHIND, 3));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, BEFORE, 9));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(8, BEHIND, 64));
  EXPECT_EQUAL(SCAN_OK, scan_tensor(0, SIZES, 0));
  EXPECT_EQUAL(SCAN_EXT, scan_tensor(0, SIZES + 7, 0x80));
  // Without dimensions there is one element, and the head alone is no tensor.
  EXPECT_EQUAL(SCAN_OK, VALUE("\xc7\5\2\7\0\0\0\x2a"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xd6\2\7\0\0\0"));
  EXPECT_EQUAL(SCAN_EXT, VALUE("\xc7\3\2\7\0\0"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc7\6\2\7\0\0\0\x2a"));
  // No key, and what follows is no part of it.
  EXPECT_EQUAL(SCAN_KEY, VALUE("\x81\xc7\5\2\7\0\0\0\x2a\xc0"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\x92\xc7\5\2\7\0\0\0\x2a\xa5"
                              "after"));
}

// Sizes whose product is more than 64 bits hold.
static void measures_tensors(void) {
  size_t size;
  struct tensor tensor = {.type = TENSOR_F64, .rank = 2, .sizes = {3, 5}};
  EXPECT_EQUAL(0, tensor_measure(&tensor, &size));
  EXPECT_EQUAL(120, size);
  tensor.sizes[0] = tensor.sizes[1] = UINT64_C(1) << 32;
  EXPECT_EQUAL(-1, tensor_measure(&tensor, &size));
  tensor.sizes[0] = UINT64_C(1) << 15;
  EXPECT_EQUAL(0, tensor_measure(&tensor, &size));
  EXPECT_EQUAL(UINT64_C(1) << 50, size);
  tensor.rank = 3;
  tensor.sizes[2] = 0;
  EXPECT_EQUAL(0, tensor_measure(&tensor, &size));
  EXPECT_EQUAL(0, size);
  tensor.sizes[0]++;
  EXPECT_EQUAL(-1, tensor_measure(&tensor, &size));
}

static void checks_objects(void) {
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc7\0\1"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xd4\1\xa0"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc7\2\1\xa1"
                                  "C\x80"));
  EXPECT_EQUAL(SCAN_LENGTH, VALUE("\xc7\3\1\xa1"
                                  "C\x81\xa1k\5"));
  EXPECT_EQUAL(SCAN_TRAILING, VALUE("\xc7\4\1\xa1"
                                    "C\x80\5"));
  EXPECT_EQUAL(SCAN_TYPE, VALUE("\xc7\3\1\x05\x05\x80"));
  EXPECT_EQUAL(SCAN_TYPE, VALUE("\xc7\3\1\xa1"
                                "C\x05"));
  EXPECT_EQUAL(SCAN_TYPE, VALUE("\xc7\3\1\xa1"
                                "C\x90"));
  EXPECT_EQUAL(SCAN_TYPE, VALUE("\xc7\4\1\xc4\1C\x80"));
  // What follows an object is no part of it.
  EXPECT_EQUAL(SCAN_OK, VALUE("\x92\xc7\3\1\xa1"
                              "C\x80\xa5"
                              "after"));
  EXPECT_EQUAL(SCAN_OK, VALUE("\xc7\x0c\1\xa1"
                              "C\x81\xa1k\xc7\4\1\xa2"
                              "DD\x80"));
}

// Objects in each other count as containers.
static void limits_depth_of_objects(void) {
  for (size_t levels = LIMIT_DEPTH / 2 - 1; levels <= LIMIT_DEPTH / 2; levels++) {
    struct buffer inner = BUFFER_EMPTY;
    pack_nil(&inner);
    for (size_t i = 0; i < levels; i++) {
      struct buffer outer = BUFFER_EMPTY;
      size_t begin = pack_ext_begin(&outer, EXT_OBJECT);
      pack_text(&outer, "C");
      pack_map(&outer, 1);
      pack_text(&outer, "f");
      buffer_append(&outer, inner.bytes, inner.size);
      pack_ext_end(&outer, begin);
      buffer_free(&inner);
      inner = outer;
    }
    EXPECT_EQUAL(SCAN_OK, scan_one(inner.bytes, inner.size));
    struct buffer body = BUFFER_EMPTY;
    pack_array(&body, 1);
    buffer_append(&body, inner.bytes, inner.size);
    EXPECT_EQUAL(levels == LIMIT_DEPTH / 2 ? SCAN_DEPTH : SCAN_OK, scan(body.bytes, body.size));
    buffer_free(&body);
    buffer_free(&inner);
  }
}

static void refuses_no_utf8(void) {
  EXPECT_EQUAL(SCAN_OK, BODY("\x91\xa2\xc3\xa4"));
  EXPECT_EQUAL(SCAN_UTF8, BODY("\x91\xa1\xe4"));
  EXPECT_EQUAL(SCAN_UTF8, BODY("\x91\xa2\xc0\x80"));
  EXPECT_EQUAL(SCAN_UTF8, BODY("\x91\xa3\xed\xa0\x80"));
  EXPECT_EQUAL(SCAN_UTF8, BODY("\x91\xa4\xf4\x90\x80\x80"));
  EXPECT_EQUAL(SCAN_OK, BODY("\x91\xc4\1\xe4"));
}

static void agrees_about_utf8(void) {
  static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                        0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xec, 0xed, 0xee,
                                        0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
  enum { EDGES = sizeof edges };
  for (size_t i = 0; i < (size_t)EDGES * EDGES * EDGES * EDGES; i++) {
    unsigned char bytes[] = {edges[i % EDGES], edges[i / EDGES % EDGES],
                             edges[i / EDGES / EDGES % EDGES], edges[i / EDGES / EDGES / EDGES]};
    EXPECT_EQUAL(utf8_prefix(bytes, sizeof bytes), scan_utf8(bytes, sizeof bytes));
  }
}

// At each place among text that is passed in larger steps.
static void finds_utf8_anywhere(void) {
  for (size_t size = 1; size <= 80; size++) {
    for (size_t at = 0; at < size; at++) {
      unsigned char bytes[80];
      memset(bytes, 'x', size);
      EXPECT_EQUAL(size, scan_utf8(bytes, size));
      bytes[at] = 0xff;
      EXPECT_EQUAL(at, scan_utf8(bytes, size));
    }
  }
}

static void tells_the_place(void) {
  size_t used;
  EXPECT_EQUAL(SCAN_UTF8,
               scan_body((const unsigned char *)"\x93\1\2\xa1\xff", 5, &scan_body_limits, &used));
  EXPECT_EQUAL(3, used);
  EXPECT_EQUAL(SCAN_KEY,
               scan_body((const unsigned char *)"\x91\x82\1\2\xc0\1", 6, &scan_body_limits, &used));
  EXPECT_EQUAL(4, used);
}

static void names_reasons(void) {
  static const char *const names[] = {"length", "depth", "cost", "type",
                                      "key",    "ext",   "utf8", "trailing"};
  for (int i = 0; i < 8; i++) EXPECT(!strcmp(names[i], scan_reason(-1 - i)));
}

static const struct check checks[] = {
    {"accepts what a peer may send, to its last byte", accepts_valid},
    {"refuses every beginning of it", refuses_prefixes},
    {"refuses bytes behind the value", refuses_trailing},
    {"refuses bodies that are no array", refuses_other_bodies},
    {"P5: refuses lengths that exceed the bytes at hand", refuses_declared_lengths},
    {"P4: limits nesting: one less, as many, one more", limits_depth},
    {"P4: stops at the first level too many of a million", limits_million_levels},
    {"limits the number of values: one less, as many, one more", limits_elements},
    {"limits the number of values of a body", limits_elements_of_bodies},
    {"P6: limits the cost of each kind of value: one less, as much, one more", limits_cost},
    {"P6: limits millions of empty maps", limits_amplification},
    {"accepts strings, numbers and booleans as keys", accepts_keys},
    {"P9: refuses nil, NaN, containers and 64-bit integers as keys", refuses_keys},
    {"knows two extensions", knows_extensions},
    {"checks the content of tensors", checks_tensors},
    {"measures tensors without an overflow", measures_tensors},
    {"checks what is in an object", checks_objects},
    {"counts objects as containers", limits_depth_of_objects},
    {"refuses text that is no UTF-8", refuses_no_utf8},
    {"agrees with the definition of UTF-8", agrees_about_utf8},
    {"finds a bad byte at any place of a text", finds_utf8_anywhere},
    {"tells where an error is", tells_the_place},
    {"has a word for each reason", names_reasons},
};
CHECK_MAIN(checks)
