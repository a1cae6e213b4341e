// Fuzzes host/core/scan.c against msgpack-c and a recursive walk.
//
// What the scan accepts is msgpack for both, and stays within its limits: with the depth, number of
// values and cost that the walk finds as limits it is accepted, with one less it is not. What only
// the scan refuses it refuses for a reason that the walk has seen.
#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../host/core/limits.h"
#include "../../host/core/scan.h"
#include "../unit/c/utf8.h"

enum {
  MSGPACK_DEPTH = 31,       // what msgpack-c parses for certain
  MSGPACK_COUNT = 1 << 16,  // it allocates by the lengths it is told
};

// What a walk over the whole value has seen.
struct facts {
  uint32_t depth, elements;
  uint64_t cost;
  uint64_t largest_count;
  bool has_bad_key, has_bad_extension, has_bad_object, has_bad_text;
};

struct walk {
  const unsigned char *at, *end;
  uint32_t depth;
  struct facts *facts;
};

static void expect(bool condition) {
  if (!condition) abort();
}

static uint64_t number(struct walk *walk, unsigned width, bool *is_there) {
  uint64_t value = 0;
  *is_there = *is_there && (size_t)(walk->end - walk->at) >= width;
  for (; *is_there && width; width--) value = value << 8 | *walk->at++;
  return value;
}

static bool skip(struct walk *walk, uint64_t size) {
  if ((uint64_t)(walk->end - walk->at) < size) return false;
  walk->at += size;
  return true;
}

static bool walk_value(struct walk *walk);

static bool is_bad_key(const unsigned char *at, const unsigned char *end) {
  unsigned first = *at;
  uint64_t bits = 0;
  size_t width = first == 0xca ? 4 : 8;
  if (first == 0xc0 || first == 0xcf || first == 0xd3) return true;
  if (first >= 0x80 && first <= 0x9f) return true;
  if (first >= 0xdc && first <= 0xdf) return true;
  if ((first >= 0xc7 && first <= 0xc9) || (first >= 0xd4 && first <= 0xd8)) return true;
  if ((first != 0xca && first != 0xcb) || (size_t)(end - at) <= width) return false;
  for (size_t i = 1; i <= width; i++) bits = bits << 8 | at[i];
  union {
    uint32_t bits;
    float value;
  } small = {.bits = (uint32_t)bits};
  union {
    uint64_t bits;
    double value;
  } large = {.bits = bits};
  return width == 4 ? small.value != small.value : large.value != large.value;
}

static bool walk_values(struct walk *walk, uint64_t count, bool is_map) {
  struct facts *facts = walk->facts;
  facts->cost += 64 + count * (is_map ? 48 : 16);
  uint64_t values = is_map ? 2 * count : count;
  facts->elements += (uint32_t)values;
  if (values > facts->largest_count) facts->largest_count = values;
  if (++walk->depth > facts->depth) facts->depth = walk->depth;
  for (uint64_t i = 0; i < values; i++) {
    if (walk->at == walk->end) return false;
    if (is_map && i % 2 == 0 && is_bad_key(walk->at, walk->end)) facts->has_bad_key = true;
    if (!walk_value(walk)) return false;
  }
  walk->depth--;
  return true;
}

static bool walk_string(struct walk *walk, uint64_t size, bool is_text) {
  walk->facts->cost += 28 + size;
  const unsigned char *text = walk->at;
  if (!skip(walk, size)) return false;
  if (is_text && utf8_prefix(text, size) < size) walk->facts->has_bad_text = true;
  return true;
}

// A text, then a map, then nothing. Walks as far as it is so.
static bool walk_object(struct walk *walk) {
  const unsigned char *at = walk->at;
  bool is_text = at < walk->end && ((*at >= 0xa0 && *at <= 0xbf) || (*at >= 0xd9 && *at <= 0xdb));
  if (!is_text || !walk_value(walk) || walk->at == walk->end) return false;
  at = walk->at;
  bool is_map = (*at >= 0x80 && *at <= 0x8f) || *at == 0xde || *at == 0xdf;
  return is_map && walk_value(walk) && walk->at == walk->end;
}

// The bytes that the elements of a tensor take: none where the content is none.
static bool walk_tensor(const unsigned char *at, uint64_t size, uint64_t *elements) {
  static const unsigned char kWidths[] = {0, 8, 4, 2, 2, 8, 4, 1, 1};
  if (size < 4 || at[0] < 1 || at[0] > 8 || at[1] > 8 || at[2] > 63 || at[3] > 63) return false;
  uint64_t rest = 4u + 8u * at[1] + at[2] + at[3];
  double all = 1;  // exact, or too many
  bool is_empty = false;
  if (size < rest) return false;
  for (size_t i = 0; i < at[1]; i++) {
    uint64_t count = 0;
    for (size_t j = 8; j-- > 0;) count = count << 8 | at[4 + 8 * i + j];
    if (count) all *= (double)count;
    is_empty = is_empty || !count;
  }
  *elements = is_empty || all > 0x1p47 ? 0 : (uint64_t)all * kWidths[at[0]];
  return all <= 0x1p47 && *elements == size - rest;
}

static bool walk_extension(struct walk *walk, uint64_t size) {
  bool is_there = true;
  uint64_t type = number(walk, 1, &is_there);
  const unsigned char *content = walk->at;
  if (!is_there || !skip(walk, size)) return false;
  struct facts *facts = walk->facts;
  uint64_t elements = 0;
  if (type == EXT_TENSOR && walk_tensor(content, size, &elements)) {
    facts->cost += 1024 + elements;
  } else if (type != EXT_OBJECT) {
    facts->has_bad_extension = true;
  } else {
    struct walk inner = {content, walk->at, walk->depth + 1, facts};
    facts->elements += 2;
    if (inner.depth > facts->depth) facts->depth = inner.depth;
    if (!walk_object(&inner)) facts->has_bad_object = true;
  }
  return true;
}

static bool walk_value(struct walk *walk) {
  bool is_there = true;
  unsigned first = (unsigned)number(walk, 1, &is_there);
  uint64_t size = 0;
  if (!is_there) return false;
  if (first <= 0x7f || first >= 0xe0) return true;
  if (first <= 0x8f) return walk_values(walk, first & 15, true);
  if (first <= 0x9f) return walk_values(walk, first & 15, false);
  if (first <= 0xbf) return walk_string(walk, first & 31, true);
  if (first <= 0xc3) return first != 0xc1;
  if (first <= 0xc9) size = number(walk, 1u << ((first - 0xc4) % 3), &is_there);
  if (first >= 0xd9)
    size = number(walk, first <= 0xdb ? 1u << (first - 0xd9) : 2u << (first & 1), &is_there);
  if (!is_there) return false;
  if (first <= 0xc6) return walk_string(walk, size, false);
  if (first <= 0xc9) return walk_extension(walk, size);
  if (first == 0xcf || first == 0xd3) walk->facts->cost += 24;
  if (first <= 0xcb) return skip(walk, 4u << (first - 0xca));
  if (first <= 0xd3) return skip(walk, 1u << ((first - 0xcc) % 4));
  if (first <= 0xd8) return walk_extension(walk, 1u << (first - 0xd4));
  if (first <= 0xdb) return walk_string(walk, size, true);
  return walk_values(walk, size, first >= 0xde);
}

static void compare_with_msgpack(const unsigned char *data, size_t size, size_t used, bool is_whole,
                                 const struct facts *facts) {
  if (facts->largest_count > MSGPACK_COUNT || facts->depth > MSGPACK_DEPTH) return;
  msgpack_unpacked unpacked;
  size_t offset = 0;
  msgpack_unpacked_init(&unpacked);
  msgpack_unpack_return result = msgpack_unpack_next(&unpacked, (const char *)data, size, &offset);
  expect((result == MSGPACK_UNPACK_SUCCESS) == is_whole);
  if (is_whole) expect(offset == used);
  msgpack_unpacked_destroy(&unpacked);
}

static int scan_within(const unsigned char *data, size_t size, uint32_t depth, uint32_t elements,
                       uint64_t cost) {
  struct scan_limits limits = {.depth = depth, .elements = elements, .cost = cost};
  size_t used;
  return scan_body(data, size, &limits, &used);
}

// Exactly what the walk has found is allowed.
static void check_limits(const unsigned char *data, size_t size, const struct facts *facts) {
  uint32_t depth = facts->depth, elements = facts->elements;
  expect(scan_within(data, size, depth, elements, facts->cost) == SCAN_OK);
  expect(scan_within(data, size, depth - 1, elements, facts->cost) == SCAN_DEPTH);
  expect(scan_within(data, size, depth, elements - 1, facts->cost) == SCAN_COST);
  expect(scan_within(data, size, depth, elements, facts->cost - 1) == SCAN_COST);
}

static bool is_explained(int result, const struct facts *facts, bool has_rest, bool is_array) {
  switch (result) {
    case SCAN_DEPTH:
      return facts->depth > LIMIT_DEPTH;
    case SCAN_COST:
      return facts->cost > LIMIT_COST || facts->elements > LIMIT_ELEMENTS;
    case SCAN_TYPE:
      return !is_array || facts->has_bad_object;
    case SCAN_KEY:
      return facts->has_bad_key;
    case SCAN_EXT:
      return facts->has_bad_extension;
    case SCAN_UTF8:
      return facts->has_bad_text;
    case SCAN_TRAILING:
      return has_rest || facts->has_bad_object;
    default:
      return facts->has_bad_object;
  }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  size_t used;
  int result = scan_body(data, size, &scan_body_limits, &used);
  expect(used <= size);
  if (!size) return 0;
  struct facts facts = {.elements = 1};
  struct walk walk = {data, data + size, 0, &facts};
  bool is_whole = walk_value(&walk);
  size_t walked = (size_t)(walk.at - data);
  compare_with_msgpack(data, size, walked, is_whole, &facts);
  bool is_array = (data[0] >= 0x90 && data[0] <= 0x9f) || data[0] == 0xdc || data[0] == 0xdd;
  if (result) {
    expect(!is_whole || is_explained(result, &facts, walked < size, is_array));
    return 0;
  }
  expect(is_whole && is_array && used == size && walked == size);
  expect(!facts.has_bad_key && !facts.has_bad_extension && !facts.has_bad_object &&
         !facts.has_bad_text);
  check_limits(data, size, &facts);
  return 0;
}
