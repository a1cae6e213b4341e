// The encoder: one walk over the values, depth first, into a buffer that is kept between calls. What
// it writes passes scan_body; the limits are counted by the same rules as there.
//
// Every function that writes a value returns 0, or -1 with the error table of a refusal on top of
// the stack; on the way out of a refusal nobody touches the stack.
#include <lauxlib.h>
#include <string.h>

#include "../core/pack.h"
#include "codec_state.h"

// A table takes: metatable, class name, key, value, and what refusals and lua_next push.
enum { STACK_PER_TABLE = 12 };

// ---- limits ----

int codec_refuse_memory(struct encoder *encoder) {
  return codec_refuse_size(encoder, (double)encoder->cost, (double)encoder->cost, "bytes",
                           "does not fit into the memory that is left", NULL);
}

// What a user can do about a value that is too large.
static const char *in_parts(const struct encoder *encoder) {
  if (!strcmp(encoder->side, "argument"))
    return "pass it in parts, by several calls, or have a context or the function load it from a "
           "file";
  if (!strcmp(encoder->side, "item")) return "yield it as several items";
  return "yield it in parts, as a stream (app.yield), or write it to a file and return the name";
}

static bool is_within(const struct encoder *encoder, size_t size) {
  return encoder->cost <= LIMIT_COST && encoder->elements <= LIMIT_ELEMENTS &&
         codec_body_size(encoder) + size <= CODEC_BODY && !encoder->buffer->failed;
}

// Says which limit it is.
static __attribute__((noinline)) int refuse_limit(struct encoder *encoder, size_t size) {
  if (encoder->buffer->failed) return codec_refuse_memory(encoder);
  if (encoder->elements > LIMIT_ELEMENTS)
    return codec_refuse_size(encoder, encoder->elements, LIMIT_ELEMENTS, "values",
                             "holds too many values", in_parts(encoder));
  if (codec_body_size(encoder) + size > CODEC_BODY)
    return codec_refuse_size(encoder, (double)(codec_body_size(encoder) + size), CODEC_BODY,
                             "bytes", "makes the message too long", in_parts(encoder));
  return codec_refuse_size(encoder, (double)encoder->cost, LIMIT_COST, "bytes in Lua",
                           "needs too much memory in Lua", in_parts(encoder));
}

static inline int charge(struct encoder *encoder, uint32_t elements, size_t cost, size_t size) {
  encoder->elements += elements;
  encoder->cost += cost;
  return __builtin_expect(is_within(encoder, size), 1) ? 0 : refuse_limit(encoder, size);
}

int codec_charge(struct encoder *encoder, uint32_t elements, size_t cost, size_t size) {
  return charge(encoder, elements, cost, size);
}

static int descend(struct encoder *encoder, uint32_t depth) {
  encoder->depth += depth;
  if (encoder->depth > LIMIT_DEPTH)
    return codec_refuse_size(encoder, encoder->depth, LIMIT_DEPTH, "levels", "is nested too deeply",
                             NULL);
  if (!lua_checkstack(encoder->L, STACK_PER_TABLE))
    return codec_refuse_size(encoder, lua_gettop(encoder->L), lua_gettop(encoder->L), "levels",
                             "does not fit on the Lua stack", NULL);
  return 0;
}

// ---- strings ----

static void pack_string_head(struct buffer *buffer, const char *bytes, size_t size) {
  bool is_text = size <= CODEC_TEXT && scan_utf8((const unsigned char *)bytes, size) == size;
  if (is_text)
    pack_str_head(buffer, size);
  else
    pack_bin_head(buffer, size);
}

// Short ASCII, as most keys are, in one go. False: it is something else.
static inline bool pack_short(struct buffer *buffer, const char *bytes, size_t size) {
  const uint64_t high_bits = UINT64_C(0x8080808080808080);
  uint64_t seen = 0, word = 0;
  if (size > 31 || !pack_room(buffer, 1 + size)) return false;
  unsigned char *to = buffer->bytes + buffer->size + 1;
  size_t at = 0;
  for (; size - at >= 8; at += 8) {
    memcpy(&word, bytes + at, 8);
    memcpy(to + at, &word, 8);
    seen |= word;
  }
  for (; at < size; at++) {
    to[at] = (unsigned char)bytes[at];
    seen |= to[at];
  }
  if (seen & high_bits) return false;
  to[-1] = (unsigned char)(0xa0 | size);
  buffer->size += 1 + size;
  return true;
}

static int encode_string(struct encoder *encoder, const char *bytes, size_t size) {
  int result = charge(encoder, 0, CODEC_COST_STRING + size, size);
  if (result) return result;
  struct buffer *buffer = encoder->buffer;
  if (pack_short(buffer, bytes, size)) return 0;
  pack_string_head(buffer, bytes, size);
  if (pack_room(buffer, size)) pack_bytes(buffer, bytes, size);
  return 0;
}

void codec_refer(struct encoder *encoder, const char *bytes, size_t size, size_t head) {
  int n = encoder->reference_count;
  if (!n) {
    lua_createtable(encoder->L, 1, 0);
    lua_replace(encoder->L, encoder->strings);
  }
  lua_pushvalue(encoder->L, -1);
  lua_rawseti(encoder->L, encoder->strings, n + 1);
  encoder->references[n] = (struct codec_reference){encoder->buffer->size, bytes, size, head};
  encoder->reference_count = n + 1;
  encoder->referred += size;
}

// The string at `index` is not copied: the buffer goes on behind it.
static int refer_to_string(struct encoder *encoder, int index, const char *bytes, size_t size) {
  int result = charge(encoder, 0, CODEC_COST_STRING + size, size);
  if (result) return result;
  pack_string_head(encoder->buffer, bytes, size);
  lua_pushvalue(encoder->L, index);
  codec_refer(encoder, bytes, size, 0);
  lua_pop(encoder->L, 1);
  return 0;
}

static int encode_string_value(struct encoder *encoder, int index) {
  size_t size;
  const char *bytes = lua_tolstring(encoder->L, index, &size);
  if (codec_may_refer(encoder, size)) return refer_to_string(encoder, index, bytes, size);
  return encode_string(encoder, bytes, size);
}

// ---- numbers ----

static int encode_cdata(struct encoder *encoder, int index) {
  uint64_t bits = 0;
  switch (codec_take_integer(encoder->L, index, &bits)) {
    case CODEC_SIGNED:
      pack_int64_exact(encoder->buffer, (int64_t)bits);
      break;
    case CODEC_UNSIGNED:
      pack_uint64_exact(encoder->buffer, bits);
      break;
    default:
      return codec_refuse_type(encoder, "cdata", "is a cdata of type %.80s",
                               lua_tostring(encoder->L, -1));
  }
  return charge(encoder, 0, CODEC_COST_CDATA, 0);
}

// ---- containers ----

// Writes `head` over the `reserved` bytes at `start`, for which a guess was made before the content
// behind them was known.
static void put_head(struct encoder *encoder, size_t start, size_t reserved,
                     const struct buffer *head) {
  struct buffer *buffer = encoder->buffer;
  if (!pack_room(buffer, head->size)) return;
  size_t content = start + reserved;
  if (head->size != reserved) {
    memmove(buffer->bytes + start + head->size, buffer->bytes + content, buffer->size - content);
    for (int i = 0; i < encoder->reference_count; i++)
      if (encoder->references[i].offset >= content)
        encoder->references[i].offset += head->size - reserved;
    buffer->size += head->size - reserved;
  }
  memcpy(buffer->bytes + start, head->bytes, head->size);
}

// Makes room for a head.
static void reserve_head(struct encoder *encoder, size_t reserved) {
  if (pack_room(encoder->buffer, reserved)) encoder->buffer->size += reserved;
}

static int encode_value(struct encoder *encoder, int index);

static bool is_tensor(const struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  if (!lua_getmetatable(L, index)) return false;
  const void *class = lua_topointer(L, -1);
  lua_pop(L, 1);
  return class == encoder->codec->tensor_mark;
}

static int encode_key(struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  size_t size;
  const char *bytes;
  switch (lua_type(L, index)) {
    case LUA_TSTRING:
      bytes = lua_tolstring(L, index, &size);
      return encode_string(encoder, bytes, size);
    case LUA_TNUMBER:
      pack_number(encoder->buffer, lua_tonumber(L, index));
      return 0;
    case LUA_TBOOLEAN:
      pack_bool(encoder->buffer, lua_toboolean(L, index));
      return 0;
    default:
      // The path is that of the table.
      encoder->level_count--;
      return codec_refuse_type(encoder, luaL_typename(L, index), "has a key that is a %s",
                               is_tensor(encoder, index) ? "tensor" : luaL_typename(L, index));
  }
}

// What a table without keys becomes.
enum empty { EMPTY_ARRAY = 0x90, EMPTY_MAP = 0x80 };

static int encode_pairs(struct encoder *encoder, int index, struct codec_level *level,
                        enum empty empty) {
  enum { GUESS = 1, FEW = 15 };
  lua_State *L = encoder->L;
  size_t start = encoder->buffer->size;
  reserve_head(encoder, GUESS);
  uint32_t pairs = 0;
  level->key = lua_gettop(L) + 1;
  lua_pushnil(L);
  for (; lua_next(L, index); pairs++) {
    int result = encode_key(encoder, level->key);
    if (!result) result = charge(encoder, 2, CODEC_COST_PAIR, 0);
    if (!result) result = encode_value(encoder, level->key + 1);
    if (result) return result;
    lua_pop(L, 1);
  }
  if (encoder->buffer->failed) return codec_refuse_memory(encoder);
  if (pairs <= FEW) {
    encoder->buffer->bytes[start] = (unsigned char)(pairs ? EMPTY_MAP | pairs : empty);
    return 0;
  }
  unsigned char bytes[PACK_LARGEST_HEAD];
  struct buffer head = {.bytes = bytes, .capacity = sizeof bytes};
  pack_map(&head, pairs);
  put_head(encoder, start, GUESS, &head);
  return 0;
}

static int encode_object(struct encoder *encoder, int index, struct codec_level *level) {
  enum { GUESS = 3 };  // a length below 256
  lua_State *L = encoder->L;
  size_t start = encoder->buffer->size;
  reserve_head(encoder, GUESS);
  size_t before = codec_body_size(encoder);
  size_t size;
  const char *name = lua_tolstring(L, -1, &size);
  int result = encode_string(encoder, name, size);
  if (!result) result = charge(encoder, 2, 0, 0);
  if (!result) result = encode_pairs(encoder, index, level, EMPTY_MAP);
  if (result) return result;
  unsigned char bytes[PACK_LARGEST_HEAD];
  struct buffer head = {.bytes = bytes, .capacity = sizeof bytes};
  pack_ext_head(&head, EXT_OBJECT, codec_body_size(encoder) - before);
  put_head(encoder, start, GUESS, &head);
  return 0;
}

static int encode_elements(struct encoder *encoder, int index, struct codec_level *level, int n) {
  lua_State *L = encoder->L;
  int value = lua_gettop(L) + 1;
  for (int i = 1; i <= n; i++) {
    level->index = i;
    lua_rawgeti(L, index, i);
    int result = encode_value(encoder, value);
    if (result) return result;
    lua_pop(L, 1);
  }
  return 0;
}

static int open_array(struct encoder *encoder, int n) {
  int result = charge(encoder, (uint32_t)n, (size_t)n * CODEC_COST_ELEMENT, (size_t)n);
  if (result) return result;
  pack_array(encoder->buffer, (size_t)n);
  return 0;
}

static int encode_array(struct encoder *encoder, int index, struct codec_level *level, int n) {
  int result = open_array(encoder, n);
  return result ? result : encode_elements(encoder, index, level, n);
}

// A long array of nothing but numbers, by the compiled loop. 1: done; 0: it is something else.
static int encode_numbers(struct encoder *encoder, int index, int n) {
  lua_State *L = encoder->L;
  lua_rawgeti(L, index, 1);
  bool is_number = lua_type(L, -1) == LUA_TNUMBER;
  lua_pop(L, 1);
  if (!is_number || !codec_is_sequence(L, encoder->codec, index, n)) return 0;

  struct buffer *buffer = encoder->buffer;
  size_t start = buffer->size;
  int result = open_array(encoder, n);
  if (result) return result;
  if (!pack_room(buffer, (size_t)n * PACK_LARGEST_HEAD)) return codec_refuse_memory(encoder);
  size_t size = codec_encode_numbers(encoder, index, n);
  buffer->size += size;
  if (size) return 1;
  buffer->size = start;
  encoder->elements -= (uint32_t)n;
  encoder->cost -= (size_t)n * CODEC_COST_ELEMENT;
  return 0;
}

// ---- tables ----

// Whether the keys are 1..n and no others, by a walk over all. It comes before the first value is
// written: a table that turned out to be a map later would be encoded twice, and so would each of
// the tables in it, on every level.
static bool is_sequence(lua_State *L, int index, int n) {
  int count = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    double key = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    if (!(key >= 1 && key <= n) || key != (double)(int)key) {
      lua_pop(L, 1);
      return false;
    }
    count++;
  }
  return count == n;
}

enum table_kind { TABLE_PLAIN, TABLE_ARRAY, TABLE_MAP, TABLE_OBJECT, TABLE_TENSOR, TABLE_UNKNOWN };

// By its metatable. For an object the name of its class is pushed.
static enum table_kind table_kind(const struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  if (!lua_getmetatable(L, index)) return TABLE_PLAIN;
  const void *class = lua_topointer(L, -1);
  enum table_kind kind = class == encoder->codec->array_mark    ? TABLE_ARRAY
                         : class == encoder->codec->map_mark    ? TABLE_MAP
                         : class == encoder->codec->tensor_mark ? TABLE_TENSOR
                                                                : TABLE_UNKNOWN;
  if (kind == TABLE_UNKNOWN && encoder->classes) {
    lua_rawget(L, encoder->classes);
    if (lua_type(L, -1) == LUA_TSTRING) return TABLE_OBJECT;
  }
  lua_pop(L, 1);
  return kind;
}

static int length(lua_State *L, int index) {
  size_t size = lua_objlen(L, index);
  return size > LIMIT_ELEMENTS ? LIMIT_ELEMENTS + 1 : (int)size;
}

static int encode_plain(struct encoder *encoder, int index, struct codec_level *level) {
  int n = length(encoder->L, index);
  if (n >= CODEC_NUMBERS) {
    int result = encode_numbers(encoder, index, n);
    if (result) return result < 0 ? result : 0;
  }
  if (n && is_sequence(encoder->L, index, n)) return encode_array(encoder, index, level, n);
  return encode_pairs(encoder, index, level, EMPTY_ARRAY);
}

static int encode_marked_array(struct encoder *encoder, int index, struct codec_level *level) {
  int n = length(encoder->L, index);
  if (is_sequence(encoder->L, index, n)) return encode_array(encoder, index, level, n);
  return codec_refuse_type(encoder, "table", "is marked as an array and has other keys");
}

static int encode_content(struct encoder *encoder, int index, struct codec_level *level,
                          enum table_kind kind) {
  switch (kind) {
    case TABLE_ARRAY:
      return encode_marked_array(encoder, index, level);
    case TABLE_MAP:
      return encode_pairs(encoder, index, level, EMPTY_MAP);
    case TABLE_OBJECT:
      return encode_object(encoder, index, level);
    default:
      return encode_plain(encoder, index, level);
  }
}

static int find_cycle(struct encoder *encoder, const void *table) {
  for (int i = 0; i < encoder->level_count; i++)
    if (encoder->levels[i].table == table) return codec_refuse_cycle(encoder, i);
  return 0;
}

static int encode_table(struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  const void *table = lua_topointer(L, index);
  int result = find_cycle(encoder, table);
  if (result) return result;
  enum table_kind kind = table_kind(encoder, index);
  if (kind == TABLE_TENSOR) return codec_encode_tensor(encoder, index);
  if (kind == TABLE_UNKNOWN)
    return codec_refuse_type(encoder, "table", "has the metatable of no registered class");
  uint32_t depth = kind == TABLE_OBJECT ? 2 : 1;
  result = descend(encoder, depth);
  if (!result) result = charge(encoder, 0, CODEC_COST_TABLE, 0);
  if (result) return result;
  struct codec_level *level = &encoder->levels[encoder->level_count++];
  *level = (struct codec_level){.table = table};
  result = encode_content(encoder, index, level, kind);
  if (result) return result;
  encoder->level_count--;
  encoder->depth -= depth;
  if (kind == TABLE_OBJECT) lua_pop(L, 1);
  return encoder->buffer->failed ? codec_refuse_memory(encoder) : 0;
}

static int encode_value(struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  switch (lua_type(L, index)) {
    case LUA_TNUMBER:
      pack_number(encoder->buffer, lua_tonumber(L, index));
      return 0;
    case LUA_TSTRING:
      return encode_string_value(encoder, index);
    case LUA_TTABLE:
      return encode_table(encoder, index);
    case LUA_TBOOLEAN:
      pack_bool(encoder->buffer, lua_toboolean(L, index));
      return 0;
    case LUA_TNIL:
      pack_nil(encoder->buffer);
      return 0;
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(L, index)) break;
      pack_nil(encoder->buffer);
      return 0;
    case CODEC_TYPE_CDATA:
      return encode_cdata(encoder, index);
    default:
      break;
  }
  const char *type = luaL_typename(L, index);
  return codec_refuse_type(encoder, type, "is a %s", type);
}

int codec_encode_values(struct encoder *encoder) {
  if (encoder->count > CODEC_VALUES)
    return codec_refuse_size(encoder, encoder->count, CODEC_VALUES, "values",
                             "is one of too many values", "put them into a table");
  encoder->elements = 1 + (uint32_t)encoder->count;
  encoder->cost = CODEC_COST_TABLE + (size_t)encoder->count * CODEC_COST_ELEMENT;
  encoder->depth = 1;
  pack_array(encoder->buffer, (size_t)encoder->count);
  for (encoder->value = 0; encoder->value < encoder->count; encoder->value++) {
    int result = encode_value(encoder, encoder->first + encoder->value);
    if (result) return result;
  }
  encoder->value = encoder->count ? encoder->count - 1 : 0;  // for the path
  return charge(encoder, 0, 0, 0);
}
