// Writes msgpack into a buffer. The forms are those of msgpack-c, whose packer is a template meant
// to be given its own way of appending: nothing of its library is linked.
//
// As everywhere in a buffer, a failure shows in `failed` at the end. How many values a container
// holds is promised before they are written; keeping the promise is the caller's.
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "buffer.h"

/// Room for `size` more bytes, nearly always without a call.
static inline bool pack_room(struct buffer *buffer, size_t size) {
  return buffer->capacity - buffer->size >= size || buffer_reserve(buffer, size);
}

// The template appends through this; the functions below have made room before.
static inline void pack_bytes(struct buffer *buffer, const void *bytes, size_t size) {
  memcpy(buffer->bytes + buffer->size, bytes, size);
  buffer->size += size;
}

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define MSGPACK_ENDIAN_BIG_BYTE 1
#define MSGPACK_ENDIAN_LITTLE_BYTE 0
#endif
#include <msgpack/pack_define.h>
#include <msgpack/timestamp.h>  // a type the template mentions
#define msgpack_pack_inline_func(name) static inline void msgpack_pack##name
#define msgpack_pack_inline_func_fixint(name) static inline void msgpack_pack_fix##name
#define msgpack_pack_user struct buffer *
#define msgpack_pack_append_buffer(buffer, bytes, size) pack_bytes(buffer, bytes, size)
#include <msgpack/pack_template.h>

enum { PACK_LARGEST_HEAD = 9 };  // bytes of any number, and more than the head of any other value

static inline void pack_nil(struct buffer *buffer) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_nil(buffer);
}

static inline void pack_bool(struct buffer *buffer, bool value) {
  if (!pack_room(buffer, PACK_LARGEST_HEAD)) return;
  if (value)
    msgpack_pack_true(buffer);
  else
    msgpack_pack_false(buffer);
}

/// In the shortest form.
static inline void pack_uint(struct buffer *buffer, uint64_t value) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_uint64(buffer, value);
}

static inline void pack_int(struct buffer *buffer, int64_t value) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_int64(buffer, value);
}

/// Always nine bytes (0xcf, 0xd3): the forms that become cdata in Lua.
static inline void pack_uint64_exact(struct buffer *buffer, uint64_t value) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_fix_uint64(buffer, value);
}

static inline void pack_int64_exact(struct buffer *buffer, int64_t value) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_fix_int64(buffer, value);
}

/// Bit for bit.
static inline void pack_double(struct buffer *buffer, double value) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_double(buffer, value);
}

/// A Lua number: an integer from -2^31 to 2^32 - 1 in its shortest form, anything else (also -0) as
/// it is.
static inline void pack_number(struct buffer *buffer, double value) {
  int64_t integer = value >= -2147483648.0 && value <= 4294967295.0 ? (int64_t)value : 0;
  if ((double)integer == value && (integer || !signbit(value)))
    pack_int(buffer, integer);
  else
    pack_double(buffer, value);
}

/// The heads: `size` bytes or `count` values, pairs for a map, have to follow.
static inline void pack_str_head(struct buffer *buffer, size_t size) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_str(buffer, size);
}

static inline void pack_bin_head(struct buffer *buffer, size_t size) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_bin(buffer, size);
}

static inline void pack_ext_head(struct buffer *buffer, int8_t number, size_t size) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_ext(buffer, size, number);
}

static inline void pack_array(struct buffer *buffer, size_t count) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_array(buffer, count);
}

static inline void pack_map(struct buffer *buffer, size_t count) {
  if (pack_room(buffer, PACK_LARGEST_HEAD)) msgpack_pack_map(buffer, count);
}

/// Head and content. The text has to be UTF-8.
static inline void pack_str(struct buffer *buffer, const void *text, size_t size) {
  pack_str_head(buffer, size);
  buffer_append(buffer, text, size);
}

static inline void pack_text(struct buffer *buffer, const char *text) {
  pack_str(buffer, text, strlen(text));
}

static inline void pack_bin(struct buffer *buffer, const void *bytes, size_t size) {
  pack_bin_head(buffer, size);
  buffer_append(buffer, bytes, size);
}

static inline void pack_ext(struct buffer *buffer, int8_t number, const void *bytes, size_t size) {
  pack_ext_head(buffer, number, size);
  buffer_append(buffer, bytes, size);
}

/// The head of an ext whose size is not known yet, in its longest form; `pack_ext_end` with what
/// `pack_ext_begin` returned fills the size in.
static inline size_t pack_ext_begin(struct buffer *buffer, int8_t number) {
  if (!pack_room(buffer, PACK_LARGEST_HEAD)) return 0;
  unsigned char head[6] = {0xc9, 0, 0, 0, 0, (unsigned char)number};
  pack_bytes(buffer, head, sizeof head);
  return buffer->size;
}

static inline void pack_ext_end(struct buffer *buffer, size_t begin) {
  if (buffer->failed) return;
  size_t size = buffer->size - begin;
  for (size_t i = 0; i < 4; i++)
    buffer->bytes[begin - 5 + i] = (unsigned char)(size >> (24 - 8 * i));
}
