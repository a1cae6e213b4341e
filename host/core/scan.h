// Walks msgpack before anybody decodes it: the lengths it declares fit the bytes at hand, nesting,
// number of values and the memory it will cost are within limits, every string that claims to be
// text is UTF-8, every extension is known.
//
// It allocates nothing and does not recurse. Who accepts bytes from a peer scans them first;
// decoders rely on it and check nothing again, except that a key of a map occurs once.
//
// Depth counts the containers that are open at once: 1 in [5], 2 in [[5]]. Elements counts values,
// keys of maps too. The cost is what LuaJIT (GC64) needs for the decoded value: a string 28 bytes
// plus its length, a table 64 bytes, an array element 16, a map pair 48 (a hash part of 24 byte
// nodes that may be half empty), a 64-bit integer cdata 24, a tensor 1024 and its elements. It
// bounds amplification (a million empty maps in a megabyte).
//
// The extensions: an object of a registered class holds exactly two values, its class name (str)
// and its fields (map), and counts as a container; a tensor's content is described in tensor.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct scan_limits {
  uint32_t depth;
  uint32_t elements;
  size_t cost;
};

enum scan_result {
  SCAN_OK = 0,
  SCAN_LENGTH = -1,  // a declared length exceeds the bytes at hand
  SCAN_DEPTH = -2,
  SCAN_COST = -3,  // elements or cost
  SCAN_TYPE = -4,  // 0xc1, or not the type that must stand here
  SCAN_KEY = -5,   // a map key that is nil, NaN, a container, an extension, or one of the 64-bit
                   // integers (0xcf, 0xd3), which as cdata would be compared by identity
  SCAN_EXT = -6,   // an extension number that is not in use, or the content of a tensor is none
  SCAN_UTF8 = -7,  // `str` that is no UTF-8
  SCAN_TRAILING = -8,  // bytes after the value
};

enum { EXT_OBJECT = 1, EXT_TENSOR = 2 };

/// Limits for bodies (limits.h).
extern const struct scan_limits scan_body_limits;

/// Scans one value at the start of `bytes`; `*used` is its size in bytes, also where an error was
/// found. A depth limit above LIMIT_DEPTH counts as LIMIT_DEPTH.
int scan_value(const unsigned char *bytes, size_t size, const struct scan_limits *limits,
               size_t *used);

/// Scans a body: exactly one array, nothing behind it.
int scan_body(const unsigned char *bytes, size_t size, const struct scan_limits *limits,
              size_t *used);

/// The `reason` of a BadFrame error: "length", "depth", "cost", "type", "key", "ext", "utf8",
/// "trailing".
const char *scan_reason(int result);

/// How many of the `size` bytes, from the first on, are whole characters of valid UTF-8; `size` if
/// all are.
size_t scan_utf8(const unsigned char *bytes, size_t size);

/// The size of the longest prefix of `limit` bytes at most that cuts no character. Text that is no
/// UTF-8 is cut anywhere.
size_t scan_cut(const unsigned char *bytes, size_t size, size_t limit);
