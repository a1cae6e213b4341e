// What the files of the codec share: the state it keeps per Lua state, the encoder, the helpers.
// Not for others.
#pragma once

#include <stdbool.h>

#include "../core/buffer.h"
#include "../core/limits.h"
#include "../core/scan.h"
#include "codec.h"

enum {
  CODEC_TYPE_CDATA = 10,     // what lua_type() says of LuaJIT's cdata
  CODEC_TEXT = 64 * 1024,    // a longer string is not looked through for UTF-8
  CODEC_NUMBERS = 48,        // shorter arrays of numbers are not worth calling a helper
  CODEC_REFERENCES = 7,      // strings referred to by one payload: two parts each, and the tail
  CODEC_KEEP = 1024 * 1024,  // memory the encoder keeps between calls
  CODEC_BODY = LIMIT_FRAME - LIMIT_HEADER,  // bytes of the largest body
};

// Places in the codec's table, which is the environment of its userdata. Fetched where it is needed:
// a small call does without.
enum codec_slot {
  CODEC_SLOT_ENCODE = 1,  // helpers, see codec_numbers.c
  CODEC_SLOT_DECODE,
  CODEC_SLOT_TAKE,
  CODEC_SLOT_GIVE,
  CODEC_SLOT_ARRAY,  // metatables of the markers
  CODEC_SLOT_MAP,
  CODEC_SLOT_REGISTRY,     // metatable of the registries
  CODEC_SLOT_SCRATCH,      // metatable of scratch buffers
  CODEC_SLOT_ANCHORS,      // anchor -> table of strings and tensors
  CODEC_SLOT_TENSOR,       // metatable of tensors; this and the next two: nil before the first
  CODEC_SLOT_TENSOR_TAKE,  // functions of lua/farside/tensor/wire.lua
  CODEC_SLOT_TENSOR_GIVE,
};

// What the encoder writes into.
struct codec_scratch {
  struct buffer buffer;
  bool is_taken;
};

struct codec {
  struct codec_owner owner;
  struct codec_scratch scratch;
  uint64_t anchors;        // last one given
  size_t array_part;       // offset of the size of a table's array part, 0: not known
  const void *array_mark;  // the metatables of the markers
  const void *map_mark;
  const void *tensor_mark;  // of tensors, NULL before the first
};

/// Pushes the codec.
struct codec *codec_push(lua_State *L);

/// Pushes what is in a place of the codec's table.
void codec_push_slot(lua_State *L, int slot);

/// For the metatable of scratch buffers that live on their own.
int codec_scratch_gc(lua_State *L);

/// The cost of values by the rules of scan.h.
enum {
  CODEC_COST_STRING = 28,
  CODEC_COST_TABLE = 64,
  CODEC_COST_ELEMENT = 16,
  CODEC_COST_PAIR = 48,
  CODEC_COST_CDATA = 24,
  CODEC_COST_TENSOR = 1024,
};

// ---- encoder ----

// A table that is being encoded.
struct codec_level {
  const void *table;
  int key;    // stack index of the key of the current value, or 0:
  int index;  // position of the current value in an array; 0: the table itself is the value
};

// The bytes of a string or a tensor that are not copied into the buffer.
struct codec_reference {
  size_t offset;  // in the buffer: what lies before them
  const char *bytes;
  size_t size;
  size_t head;  // of a tensor: bytes from its type to its padding; a string: 0
};

struct encoder {
  lua_State *L;
  struct codec *codec;
  struct buffer *buffer;
  size_t referred;  // bytes of all references
  size_t cost;
  uint32_t elements;
  uint32_t depth;  // as the scan counts it: the body, tables, the frames around objects
  int classes;     // stack indices: the registry's table or 0,
  int names;       // the names or 0,
  int first;       // the first value,
  int strings;     // a table of what is referred to, or nil
  int count;
  int value;  // the value that is being encoded, from 0
  const char *side;
  int reference_count;
  int level_count;
  struct codec_reference references[CODEC_REFERENCES];
  struct codec_level levels[LIMIT_DEPTH];
};

static inline size_t codec_body_size(const struct encoder *encoder) {
  return encoder->buffer->size + encoder->referred;
}

/// Counts values, what they cost, and that `size` more bytes fit into a body. 0, or a refusal.
int codec_charge(struct encoder *encoder, uint32_t elements, size_t cost, size_t size);

/// Refers to bytes that the value on top of the stack keeps, from the end of the buffer on. It is
/// anchored at once, so that not even a finalizer frees them.
void codec_refer(struct encoder *encoder, const char *bytes, size_t size, size_t head);

static inline bool codec_may_refer(const struct encoder *encoder, size_t size) {
  return size >= CODEC_REFER && encoder->reference_count < CODEC_REFERENCES;
}

/// Writes the body of `count` values into the buffer. 0; or -1 with the error table of a refusal on
/// top of the stack, and anything below it.
int codec_encode_values(struct encoder *encoder);

/// Pushes the error table of a refusal at the current path and returns -1. `type` is the Lua type
/// that cannot travel; the format says what is wrong with the path: "is a function".
int codec_refuse_type(struct encoder *encoder, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/// The same for a limit, with both numbers where `size` is above it, and then what to do about it,
/// unless that is NULL.
int codec_refuse_size(struct encoder *encoder, double size, double limit, const char *unit,
                      const char *text, const char *advice);

/// There is no memory for the body.
int codec_refuse_memory(struct encoder *encoder);

/// The table at the current path is the one at `ancestor` in the levels.
int codec_refuse_cycle(struct encoder *encoder, int ancestor);

// ---- helpers (codec_numbers.c) ----

/// Puts the helpers into the codec's table on top of the stack.
void codec_open_helpers(lua_State *L, struct codec *codec);

/// Whether the table at `index` has an array part that holds the keys 1..n, and no other key. False
/// also where it is not known. Holes are not looked for.
bool codec_is_sequence(lua_State *L, const struct codec *codec, int index, int n);

/// Writes the numbers 1..n of the table at `index` behind the `size` bytes in the buffer, which has
/// the room. Returns how many bytes, or 0 if they are not all numbers or nothing is gained.
size_t codec_encode_numbers(struct encoder *encoder, int index, int n);

/// Pushes a table for `n` values and fills in the numbers at `*at` up to the first other value.
/// Returns how many; 0: nothing is pushed.
int codec_decode_numbers(lua_State *L, const unsigned char **at, int n);

enum codec_integer { CODEC_NO_INTEGER, CODEC_SIGNED, CODEC_UNSIGNED };

/// The bits of the 64-bit integer cdata at `index`. CODEC_NO_INTEGER: it is something else, the name
/// of whose type is pushed.
enum codec_integer codec_take_integer(lua_State *L, int index, uint64_t *bits);

/// Pushes a 64-bit integer cdata.
void codec_push_integer(lua_State *L, enum codec_integer kind, uint64_t bits);

// ---- tensors (codec_tensor.c) ----

struct payload;

/// Pushes codec.tensors(metatable, take, give), by which Lua says what a tensor is:
/// take(tensor) -> type, address, bytes, what keeps them, sizes...; give of the same -> tensor.
void codec_push_tensors(lua_State *L);

/// Writes the tensor at `index`. 0, or a refusal.
int codec_encode_tensor(struct encoder *encoder, int index);

/// Gives the elements of the tensors referred to their places, at multiples of TENSOR_ALIGN bytes.
void codec_align_tensors(struct encoder *encoder);

/// Pushes a tensor of the scanned content of an extension in `payload`. 0; -1: the reason why there
/// are none here is pushed.
int codec_decode_tensor(lua_State *L, struct payload *payload, const unsigned char *bytes,
                        size_t size);
