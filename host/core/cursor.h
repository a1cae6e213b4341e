// Reads msgpack that scan.h has accepted, value by value: headers of frames, maps of errors. It
// trusts the bytes and checks only that there is a value left.
//
// Each cursor_* that reads a value returns false, and stays where it is, when the value is of
// another type or does not fit.
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
  const unsigned char *at;
  const unsigned char *end;
};

enum cursor_type {
  CURSOR_END,  // no value is left
  CURSOR_NIL,
  CURSOR_BOOL,
  CURSOR_INT,  // of either sign, at most 64 bits
  CURSOR_FLOAT,
  CURSOR_STR,
  CURSOR_BIN,
  CURSOR_ARRAY,
  CURSOR_MAP,
  CURSOR_EXT,
};

static inline struct cursor cursor_of(const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  return (struct cursor){at, at + size};
}

static inline enum cursor_type cursor_type(const struct cursor *cursor) {
  if (cursor->at >= cursor->end) return CURSOR_END;
  unsigned first = *cursor->at;
  if (first <= 0x7f || first >= 0xe0) return CURSOR_INT;
  if (first <= 0x8f) return CURSOR_MAP;
  if (first <= 0x9f) return CURSOR_ARRAY;
  if (first <= 0xbf) return CURSOR_STR;
  if (first <= 0xc0) return CURSOR_NIL;
  if (first <= 0xc3) return CURSOR_BOOL;
  if (first <= 0xc6) return CURSOR_BIN;
  if (first <= 0xc9) return CURSOR_EXT;
  if (first <= 0xcb) return CURSOR_FLOAT;
  if (first <= 0xd3) return CURSOR_INT;
  if (first <= 0xd8) return CURSOR_EXT;
  if (first <= 0xdb) return CURSOR_STR;
  return first <= 0xdd ? CURSOR_ARRAY : CURSOR_MAP;
}

/// The big-endian number in `width` bytes.
static inline uint64_t cursor_load(const unsigned char *bytes, unsigned width) {
  uint16_t two;
  uint32_t four;
  uint64_t eight;
  switch (width) {
    case 1:
      return *bytes;
    case 2:
      memcpy(&two, bytes, 2);
      return be16toh(two);
    case 4:
      memcpy(&four, bytes, 4);
      return be32toh(four);
    default:
      memcpy(&eight, bytes, 8);
      return be64toh(eight);
  }
}

static inline bool cursor_nil(struct cursor *cursor) {
  if (cursor_type(cursor) != CURSOR_NIL) return false;
  cursor->at++;
  return true;
}

static inline bool cursor_bool(struct cursor *cursor, bool *value) {
  if (cursor_type(cursor) != CURSOR_BOOL) return false;
  *value = *cursor->at++ == 0xc3;
  return true;
}

// Two's complement of an integer of any form; `*negative` tells how to read it.
static inline bool cursor_integer(struct cursor *cursor, uint64_t *bits, bool *negative) {
  if (cursor->at >= cursor->end) return false;
  unsigned first = *cursor->at;
  *negative = false;
  if (first <= 0x7f || first >= 0xe0) {
    *bits = (uint64_t)(int64_t)(int8_t)first;
    *negative = first >= 0xe0;
    cursor->at++;
    return true;
  }
  if (first < 0xcc || first > 0xd3) return false;
  unsigned width = 1u << ((first - 0xcc) & 3);
  *bits = cursor_load(cursor->at + 1, width);
  if (first >= 0xd0) {
    unsigned shift = 64 - 8 * width;
    int64_t value = (int64_t)(*bits << shift) >> shift;
    *negative = value < 0;
    *bits = (uint64_t)value;
  }
  cursor->at += 1 + width;
  return true;
}

/// An integer that is not negative.
static inline bool cursor_uint(struct cursor *cursor, uint64_t *value) {
  struct cursor next = *cursor;
  bool negative;
  uint64_t bits;
  if (!cursor_integer(&next, &bits, &negative) || negative) return false;
  *value = bits;
  *cursor = next;
  return true;
}

static inline bool cursor_int(struct cursor *cursor, int64_t *value) {
  struct cursor next = *cursor;
  bool negative;
  uint64_t bits;
  if (!cursor_integer(&next, &bits, &negative) || (!negative && bits > INT64_MAX)) return false;
  *value = (int64_t)bits;
  *cursor = next;
  return true;
}

/// A float of either size, or an integer, which may be rounded.
static inline bool cursor_number(struct cursor *cursor, double *value) {
  if (cursor->at >= cursor->end) return false;
  unsigned first = *cursor->at;
  if (first == 0xcb) {
    uint64_t bits = cursor_load(cursor->at + 1, 8);
    memcpy(value, &bits, sizeof *value);
    cursor->at += 9;
    return true;
  }
  if (first == 0xca) {
    uint32_t bits = (uint32_t)cursor_load(cursor->at + 1, 4);
    float number;
    memcpy(&number, &bits, sizeof number);
    *value = (double)number;
    cursor->at += 5;
    return true;
  }
  bool negative;
  uint64_t bits;
  if (!cursor_integer(cursor, &bits, &negative)) return false;
  *value = negative ? (double)(int64_t)bits : (double)bits;
  return true;
}

// The length in the `width` bytes behind the first one.
static inline size_t cursor_length(struct cursor *cursor, unsigned width) {
  size_t length = (size_t)cursor_load(cursor->at + 1, width);
  cursor->at += 1 + width;
  return length;
}

static inline bool cursor_str(struct cursor *cursor, const unsigned char **bytes, size_t *size) {
  if (cursor_type(cursor) != CURSOR_STR) return false;
  unsigned first = *cursor->at;
  if (first <= 0xbf) {
    *size = first & 0x1f;
    cursor->at++;
  } else {
    *size = cursor_length(cursor, 1u << (first - 0xd9));
  }
  *bytes = cursor->at;
  cursor->at += *size;
  return true;
}

static inline bool cursor_bin(struct cursor *cursor, const unsigned char **bytes, size_t *size) {
  if (cursor_type(cursor) != CURSOR_BIN) return false;
  *size = cursor_length(cursor, 1u << (*cursor->at - 0xc4));
  *bytes = cursor->at;
  cursor->at += *size;
  return true;
}

/// How many values follow.
static inline bool cursor_array(struct cursor *cursor, size_t *count) {
  if (cursor_type(cursor) != CURSOR_ARRAY) return false;
  unsigned first = *cursor->at;
  if (first <= 0x9f) {
    *count = first & 0x0f;
    cursor->at++;
  } else {
    *count = cursor_length(cursor, 2u << (first - 0xdc));
  }
  return true;
}

/// How many pairs of values follow.
static inline bool cursor_map(struct cursor *cursor, size_t *count) {
  if (cursor_type(cursor) != CURSOR_MAP) return false;
  unsigned first = *cursor->at;
  if (first <= 0x8f) {
    *count = first & 0x0f;
    cursor->at++;
  } else {
    *count = cursor_length(cursor, 2u << (first - 0xde));
  }
  return true;
}

/// The number of an extension and its content, which the cursor passes.
static inline bool cursor_ext(struct cursor *cursor, int8_t *number, struct cursor *content) {
  if (cursor_type(cursor) != CURSOR_EXT) return false;
  unsigned first = *cursor->at;
  size_t size;
  if (first >= 0xd4) {
    size = (size_t)1 << (first - 0xd4);
    cursor->at++;
  } else {
    size = cursor_length(cursor, 1u << (first - 0xc7));
  }
  *number = (int8_t)*cursor->at++;
  *content = (struct cursor){cursor->at, cursor->at + size};
  cursor->at += size;
  return true;
}

// Passes a value that holds no others and returns 0, or a head and returns how many follow.
static inline size_t cursor_pass(struct cursor *cursor) {
  const unsigned char *bytes;
  size_t size = 0;
  int8_t number;
  struct cursor content;
  double value;
  switch (cursor_type(cursor)) {
    case CURSOR_END:
      return 0;
    case CURSOR_NIL:
    case CURSOR_BOOL:
      cursor->at++;
      return 0;
    case CURSOR_INT:
    case CURSOR_FLOAT:
      cursor_number(cursor, &value);
      return 0;
    case CURSOR_STR:
      cursor_str(cursor, &bytes, &size);
      return 0;
    case CURSOR_BIN:
      cursor_bin(cursor, &bytes, &size);
      return 0;
    case CURSOR_EXT:
      cursor_ext(cursor, &number, &content);
      return 0;
    case CURSOR_ARRAY:
      cursor_array(cursor, &size);
      return size;
    case CURSOR_MAP:
      cursor_map(cursor, &size);
      return 2 * size;
  }
  return 0;
}

/// Passes one value with all it holds. False: none is left.
static inline bool cursor_skip(struct cursor *cursor) {
  if (cursor->at >= cursor->end) return false;
  size_t left = 1;
  while (left) left += cursor_pass(cursor) - 1;
  return true;
}

/// Looks for the key `name` in the map at `map`: true, `*value` stands at its value; false: no map,
/// or no such key.
static inline bool cursor_find(struct cursor map, const char *name, struct cursor *value) {
  size_t count, length = strlen(name);
  if (!cursor_map(&map, &count)) return false;
  for (; count; count--) {
    const unsigned char *key;
    size_t size;
    bool is_text = cursor_str(&map, &key, &size);
    if (!is_text && !cursor_skip(&map)) return false;
    if (is_text && size == length && !memcmp(key, name, size)) {
      *value = map;
      return true;
    }
    if (!cursor_skip(&map)) return false;
  }
  return false;
}
