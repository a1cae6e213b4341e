#include "scan.h"

#include <stdbool.h>
#include <string.h>

#include "limits.h"
#include "tensor.h"

enum { DOUBLE = 0xcb, DOUBLE_SIZE = 9 };

enum {
  COST_STRING = 28,
  COST_TABLE = 64,
  COST_ELEMENT = 16,
  COST_PAIR = 48,
  COST_CDATA = 24,
  COST_TENSOR = 1024,
};

const struct scan_limits scan_body_limits = {
    .depth = LIMIT_DEPTH,
    .elements = LIMIT_ELEMENTS,
    .cost = LIMIT_COST,
};

// Size of the values whose first byte tells it and that cost nothing beyond their place.
static const unsigned char plain_sizes[256] = {
    [0x00 ... 0x7f] = 1,                          // small integers
    [0xc0] = 1,          [0xc2] = 1, [0xc3] = 1,  // nil, false, true
    [0xca] = 5,          [0xcb] = 9,              // floats
    [0xcc] = 2,          [0xcd] = 3, [0xce] = 5,  // unsigned integers
    [0xd0] = 2,          [0xd1] = 3, [0xd2] = 5,  // signed integers
    [0xe0 ... 0xff] = 1,                          // small negative integers
};

enum kind { ARRAY, MAP, OBJECT };

// An open container.
struct level {
  uint64_t left;             // values still to come; keys of a map count
  const unsigned char *end;  // OBJECT: where the bytes around it end
  enum kind kind;
};

struct scan {
  const unsigned char *at;
  const unsigned char *end;  // of the bytes, or of the innermost object
  const struct scan_limits *limits;
  uint64_t elements;
  uint64_t cost;
  uint32_t depth;
  struct level levels[LIMIT_DEPTH];
};

// ---- text ----

static uint64_t load64(const unsigned char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static size_t ascii_prefix(const unsigned char *bytes, size_t size) {
  const uint64_t high_bits = UINT64_C(0x8080808080808080);
  size_t at = 0;
  while (size - at >= 32 && !((load64(bytes + at) | load64(bytes + at + 8) |
                               load64(bytes + at + 16) | load64(bytes + at + 24)) &
                              high_bits))
    at += 32;
  while (size - at >= 8 && !(load64(bytes + at) & high_bits)) at += 8;
  while (at < size && bytes[at] < 0x80) at++;
  return at;
}

static bool is_between(unsigned byte, unsigned low, unsigned high) {
  return byte >= low && byte <= high;
}

// Size of the character of several bytes at `bytes`, 0 if there is none. The second byte's range
// excludes overlong forms, surrogates, and what lies above U+10FFFF.
static size_t character_size(const unsigned char *bytes, size_t size) {
  unsigned first = bytes[0];
  size_t length = is_between(first, 0xc2, 0xdf)   ? 2
                  : is_between(first, 0xe0, 0xef) ? 3
                  : is_between(first, 0xf0, 0xf4) ? 4
                                                  : 0;
  if (!length || size < length) return 0;
  unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (!is_between(bytes[1], low, high)) return 0;
  for (size_t i = 2; i < length; i++)
    if (!is_between(bytes[i], 0x80, 0xbf)) return 0;
  return length;
}

size_t scan_utf8(const unsigned char *bytes, size_t size) {
  size_t at = 0;
  while (true) {
    at += ascii_prefix(bytes + at, size - at);
    if (at == size) return at;
    do {
      size_t length = character_size(bytes + at, size - at);
      if (!length) return at;
      at += length;
    } while (at < size && bytes[at] >= 0x80);
  }
}

size_t scan_cut(const unsigned char *bytes, size_t size, size_t limit) {
  if (size <= limit) return size;
  size_t whole = scan_utf8(bytes, limit);
  return limit - whole < 4 ? whole : limit;
}

// ---- one value ----

static size_t bytes_left(const struct scan *scan) {
  return (size_t)(scan->end - scan->at);
}

static int spend(struct scan *scan, uint64_t cost) {
  scan->cost += cost;
  return scan->cost > scan->limits->cost ? SCAN_COST : SCAN_OK;
}

// The big-endian number of `width` bytes behind the first byte of the value.
static bool read_length(const struct scan *scan, unsigned width, uint64_t *length) {
  if (bytes_left(scan) < 1 + width) return false;
  *length = 0;
  for (unsigned i = 1; i <= width; i++) *length = *length << 8 | scan->at[i];
  return true;
}

static int pass_string(struct scan *scan, size_t head, uint64_t length, bool is_text) {
  if (bytes_left(scan) - head < length) return SCAN_LENGTH;
  int result = spend(scan, COST_STRING + length);
  if (result) return result;
  if (is_text && scan_utf8(scan->at + head, (size_t)length) < length) return SCAN_UTF8;
  scan->at += head + length;
  return SCAN_OK;
}

// `count` values of the container follow its head. Each needs a byte at least, so that what a
// container may declare is bounded by what was received.
static int enter(struct scan *scan, size_t head, enum kind kind, uint64_t count, uint64_t cost) {
  uint32_t depth = scan->limits->depth < LIMIT_DEPTH ? scan->limits->depth : LIMIT_DEPTH;
  if (bytes_left(scan) - head < count) return SCAN_LENGTH;
  if (scan->depth >= depth) return SCAN_DEPTH;
  scan->elements += count;
  if (scan->elements > scan->limits->elements) return SCAN_COST;
  int result = spend(scan, cost);
  if (result) return result;
  struct level *level = &scan->levels[scan->depth++];
  level->left = count;
  level->kind = kind;
  scan->at += head;
  return SCAN_OK;
}

static int enter_array(struct scan *scan, size_t head, uint64_t count) {
  return enter(scan, head, ARRAY, count, COST_TABLE + count * COST_ELEMENT);
}

static int enter_map(struct scan *scan, size_t head, uint64_t pairs) {
  return enter(scan, head, MAP, 2 * pairs, COST_TABLE + pairs * COST_PAIR);
}

static int pass_tensor(struct scan *scan, size_t head, size_t length) {
  struct tensor tensor;
  if (tensor_read(&tensor, scan->at + head, length)) return SCAN_EXT;
  int result = spend(scan, COST_TENSOR + tensor.size);
  if (!result) scan->at += head + length;
  return result;
}

// The number stands behind the length; `head` is the size of both with the first byte.
static int enter_extension(struct scan *scan, size_t head, uint64_t length) {
  if (bytes_left(scan) < head || bytes_left(scan) - head < length) return SCAN_LENGTH;
  if (scan->at[head - 1] == EXT_TENSOR) return pass_tensor(scan, head, (size_t)length);
  if (scan->at[head - 1] != EXT_OBJECT) return SCAN_EXT;
  const unsigned char *outer_end = scan->end;
  scan->end = scan->at + head + length;
  int result = enter(scan, head, OBJECT, 2, 0);
  if (!result) scan->levels[scan->depth - 1].end = outer_end;
  return result;
}

static int pass_cdata(struct scan *scan) {
  if (bytes_left(scan) < 9) return SCAN_LENGTH;
  int result = spend(scan, COST_CDATA);
  if (!result) scan->at += 9;
  return result;
}

// The values with a length of 1, 2 or 4 bytes behind their first byte.
static int pass_long(struct scan *scan, unsigned first) {
  static const unsigned char widths[] = {
      [0xc4 - 0xc4] = 1, [0xc5 - 0xc4] = 2, [0xc6 - 0xc4] = 4,  // bin
      [0xc7 - 0xc4] = 1, [0xc8 - 0xc4] = 2, [0xc9 - 0xc4] = 4,  // ext
      [0xd9 - 0xc4] = 1, [0xda - 0xc4] = 2, [0xdb - 0xc4] = 4,  // str
      [0xdc - 0xc4] = 2, [0xdd - 0xc4] = 4,                     // array
      [0xde - 0xc4] = 2, [0xdf - 0xc4] = 4,                     // map
  };
  unsigned width = widths[first - 0xc4];
  uint64_t length;
  if (!read_length(scan, width, &length)) return SCAN_LENGTH;
  if (first <= 0xc6) return pass_string(scan, 1 + width, length, false);
  if (first <= 0xc9) return enter_extension(scan, 2 + width, length);
  if (first <= 0xdb) return pass_string(scan, 1 + width, length, true);
  if (first <= 0xdd) return enter_array(scan, 1 + width, length);
  return enter_map(scan, 1 + width, length);
}

// Passes one value, or the head of one that holds others.
static int pass(struct scan *scan) {
  if (scan->at == scan->end) return SCAN_LENGTH;
  unsigned first = *scan->at;
  size_t size = plain_sizes[first];
  if (size) {
    if (bytes_left(scan) < size) return SCAN_LENGTH;
    scan->at += size;
    return SCAN_OK;
  }
  if (first <= 0x8f) return enter_map(scan, 1, first & 0x0f);
  if (first <= 0x9f) return enter_array(scan, 1, first & 0x0f);
  if (first <= 0xbf) return pass_string(scan, 1, first & 0x1f, true);
  switch (first) {
    case 0xc1:
      return SCAN_TYPE;
    case 0xcf:
    case 0xd3:
      return pass_cdata(scan);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return enter_extension(scan, 2, UINT64_C(1) << (first - 0xd4));
    default:
      return pass_long(scan, first);
  }
}

// ---- containers ----

static bool is_nan(const unsigned char *number, size_t size) {
  uint64_t bits = 0;
  for (size_t i = 0; i < size; i++) bits = bits << 8 | number[i];
  uint64_t infinity = size == 8 ? UINT64_C(0x7ff) << 52 : UINT64_C(0xff) << 23;
  return (bits & ((UINT64_C(1) << (8 * size - 1)) - 1)) > infinity;
}

// What `pass` refuses in any place is left to it.
static bool is_key(const struct scan *scan) {
  if (scan->at == scan->end) return true;
  unsigned first = *scan->at;
  if (first <= 0x7f || first >= 0xe0 || is_between(first, 0xa0, 0xbf)) return true;
  if (first <= 0x9f || first >= 0xdc) return false;  // arrays and maps
  if (is_between(first, 0xc7, 0xc9) || is_between(first, 0xd4, 0xd8)) return false;
  if (first == 0xc0 || first == 0xcf || first == 0xd3) return false;
  if (first != 0xca && first != 0xcb) return true;
  size_t size = first == 0xca ? 4 : 8;
  return bytes_left(scan) < 1 + size || !is_nan(scan->at + 1, size);
}

// The name of an object's class, or its fields.
static bool is_object_part(const struct scan *scan, uint64_t left) {
  if (scan->at == scan->end) return true;
  unsigned first = *scan->at;
  if (left == 2) return is_between(first, 0xa0, 0xbf) || is_between(first, 0xd9, 0xdb);
  return is_between(first, 0x80, 0x8f) || is_between(first, 0xde, 0xdf);
}

static int leave(struct scan *scan) {
  const struct level *level = &scan->levels[--scan->depth];
  if (level->kind != OBJECT) return SCAN_OK;
  if (scan->at != scan->end) return SCAN_TRAILING;
  scan->end = level->end;
  return SCAN_OK;
}

// Doubles come in long rows. A row whose step is known keeps the loop from waiting for each first
// byte.
static uint64_t pass_doubles(const unsigned char **at, const unsigned char *end, uint64_t left) {
  while (left && end - *at >= DOUBLE_SIZE && **at == DOUBLE) {
    *at += DOUBLE_SIZE;
    left--;
  }
  return left;
}

// Numbers, booleans and nils that follow each other in an array.
static void pass_plain(struct scan *scan, struct level *level) {
  const unsigned char *at = scan->at;
  uint64_t left = pass_doubles(&at, scan->end, level->left);
  while (left && at < scan->end) {
    size_t size = plain_sizes[*at];
    if (!size || size > (size_t)(scan->end - at)) break;
    at += size;
    left--;
    if (size == DOUBLE_SIZE) left = pass_doubles(&at, scan->end, left);
  }
  scan->at = at;
  level->left = left;
}

static int step(struct scan *scan) {
  struct level *level = &scan->levels[scan->depth - 1];
  if (level->kind == ARRAY) pass_plain(scan, level);
  if (!level->left) return leave(scan);
  if (level->kind == MAP && level->left % 2 == 0 && !is_key(scan)) return SCAN_KEY;
  if (level->kind == OBJECT && !is_object_part(scan, level->left)) return SCAN_TYPE;
  level->left--;
  return pass(scan);
}

int scan_value(const unsigned char *bytes, size_t size, const struct scan_limits *limits,
               size_t *used) {
  struct scan scan;  // the levels stay as they are until they are entered
  scan.at = bytes;
  scan.end = bytes + size;
  scan.limits = limits;
  scan.elements = 1;
  scan.cost = 0;
  scan.depth = 0;
  int result = limits->elements ? pass(&scan) : SCAN_COST;
  while (!result && scan.depth) result = step(&scan);
  *used = (size_t)(scan.at - bytes);
  return result;
}

int scan_body(const unsigned char *bytes, size_t size, const struct scan_limits *limits,
              size_t *used) {
  *used = 0;
  if (!size) return SCAN_LENGTH;
  unsigned first = bytes[0];
  if (!is_between(first, 0x90, 0x9f) && !is_between(first, 0xdc, 0xdd)) return SCAN_TYPE;
  int result = scan_value(bytes, size, limits, used);
  return !result && *used < size ? SCAN_TRAILING : result;
}

const char *scan_reason(int result) {
  static const char *const reasons[] = {"ok",  "length", "depth", "cost",    "type",
                                        "key", "ext",    "utf8",  "trailing"};
  return reasons[-result];
}
