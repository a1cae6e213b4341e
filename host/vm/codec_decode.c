// The decoder: bytes that passed scan_body onto the Lua stack. It relies on the scan for lengths,
// nesting, UTF-8 and types of keys; that a key occurs once is checked here.
#include <lauxlib.h>
#include <string.h>

#include "../core/cursor.h"
#include "../core/payload.h"
#include "codec_state.h"

enum {
  STACK_PER_TABLE = 10,  // a table, a key, a value, and what an error needs
  FEW_PAIRS = 16,        // keys of a map up to this size are compared with each other
};

struct decoder {
  lua_State *L;
  const unsigned char *at;
  struct payload *payload;  // in which it is
  int registry;             // stack index or 0
};

static int decode_value(struct decoder *decoder);

// ---- errors ----

static int refuse(struct decoder *decoder, const char *name, const char *message) {
  lua_State *L = decoder->L;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  return -1;
}

static int refuse_frame(struct decoder *decoder, const char *reason, const char *message) {
  refuse(decoder, "BadFrame", message);
  lua_pushstring(decoder->L, reason);
  lua_setfield(decoder->L, -2, "reason");
  return -1;
}

// The name of the class is on top of the stack.
static int refuse_class(struct decoder *decoder) {
  lua_State *L = decoder->L;
  const char *class = lua_tostring(L, -1);
  const char *message = lua_pushfstring(L, "the class \"%s\" is not registered here", class);
  refuse(decoder, "UnknownClass", message);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "class");
  return -1;
}

// ---- bytes ----

static size_t take_length(struct decoder *decoder, unsigned width) {
  size_t length = (size_t)cursor_load(decoder->at + 1, width);
  decoder->at += 1 + width;
  return length;
}

static void push_string(struct decoder *decoder, size_t size) {
  lua_pushlstring(decoder->L, (const char *)decoder->at, size);
  decoder->at += size;
}

static void push_float(struct decoder *decoder) {
  uint32_t bits = (uint32_t)cursor_load(decoder->at + 1, 4);
  float number;
  memcpy(&number, &bits, sizeof number);
  decoder->at += 5;
  lua_pushnumber(decoder->L, (lua_Number)number);
}

static void push_double(struct decoder *decoder) {
  uint64_t bits = cursor_load(decoder->at + 1, 8);
  double number;
  memcpy(&number, &bits, sizeof number);
  decoder->at += 9;
  lua_pushnumber(decoder->L, number);  // which makes any NaN Lua's own
}

static void push_unsigned(struct decoder *decoder, unsigned width) {
  lua_pushnumber(decoder->L, (lua_Number)cursor_load(decoder->at + 1, width));
  decoder->at += 1 + width;
}

static void push_signed(struct decoder *decoder, unsigned width) {
  unsigned shift = 64 - 8 * width;
  int64_t value = (int64_t)(cursor_load(decoder->at + 1, width) << shift) >> shift;
  lua_pushnumber(decoder->L, (lua_Number)value);
  decoder->at += 1 + width;
}

static void push_cdata(struct decoder *decoder, enum codec_integer kind) {
  uint64_t bits = cursor_load(decoder->at + 1, 8);
  decoder->at += 9;
  codec_push_integer(decoder->L, kind, bits);
}

// ---- arrays ----

static bool is_number(unsigned first) {
  return first <= 0x7f || first >= 0xe0 || (first >= 0xcb && first <= 0xd3);
}

static int decode_array(struct decoder *decoder, size_t count) {
  lua_State *L = decoder->L;
  if (!lua_checkstack(L, STACK_PER_TABLE))
    return refuse_frame(decoder, "depth", "the Lua stack is too small for the values");
  int done = 0;
  if (count >= CODEC_NUMBERS && is_number(*decoder->at))
    done = codec_decode_numbers(L, &decoder->at, (int)count);
  if (!done) lua_createtable(L, (int)count, 0);
  for (int i = done + 1; i <= (int)count; i++) {
    int result = decode_value(decoder);
    if (result) return result;
    lua_rawseti(L, -2, i);
  }
  return 0;
}

// ---- maps ----

// The keys of a small map so far, as long as all of them are strings.
struct keys {
  size_t count;
  uint64_t marks[FEW_PAIRS];  // different for different sizes or different first or last bytes
  const unsigned char *bytes[FEW_PAIRS];
  size_t sizes[FEW_PAIRS];
};

static uint64_t key_mark(const unsigned char *bytes, size_t size) {
  uint64_t mark = 0;
  if (size >= 8) {
    uint64_t last;
    memcpy(&mark, bytes, 8);
    memcpy(&last, bytes + size - 8, 8);
    mark ^= last << 1;
  } else {
    for (size_t i = 0; i < size; i++) mark = mark << 8 | bytes[i];
  }
  return mark ^ (uint64_t)size << 56;
}

// Remembers a key. False: it is among them already.
static bool add_key(struct keys *keys, const unsigned char *bytes, size_t size) {
  uint64_t mark = key_mark(bytes, size);
  size_t n = keys->count++;
  for (size_t i = 0; i < n; i++)
    if (keys->marks[i] == mark && keys->sizes[i] == size && !memcmp(keys->bytes[i], bytes, size))
      return false;
  keys->marks[n] = mark;
  keys->bytes[n] = bytes;
  keys->sizes[n] = size;
  return true;
}

// Whether the table below the key on top of the stack has it already.
static bool has_key(lua_State *L) {
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  bool is_there = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return is_there;
}

// Pushes a string and its size, if one is next.
static bool decode_string(struct decoder *decoder, size_t *size) {
  unsigned first = *decoder->at;
  if (first >= 0xa0 && first <= 0xbf) {
    *size = first & 0x1f;
    decoder->at++;
  } else if (first >= 0xd9 && first <= 0xdb) {
    *size = take_length(decoder, 1u << (first - 0xd9));
  } else if (first >= 0xc4 && first <= 0xc6) {
    *size = take_length(decoder, 1u << (first - 0xc4));
  } else {
    return false;
  }
  push_string(decoder, *size);
  return true;
}

// Pushes a key. `*keys` is NULL, or becomes so, when keys have to be looked up in the table.
static int decode_key(struct decoder *decoder, struct keys **keys) {
  size_t size;
  bool is_new;
  if (decode_string(decoder, &size)) {
    is_new = *keys ? add_key(*keys, decoder->at - size, size) : !has_key(decoder->L);
  } else {
    int result = decode_value(decoder);
    if (result) return result;
    *keys = NULL;
    is_new = !has_key(decoder->L);
  }
  return is_new ? 0 : refuse_frame(decoder, "key", "a map holds the same key twice");
}

static int decode_map(struct decoder *decoder, size_t pairs) {
  lua_State *L = decoder->L;
  if (!lua_checkstack(L, STACK_PER_TABLE))
    return refuse_frame(decoder, "depth", "the Lua stack is too small for the values");
  lua_createtable(L, 0, (int)pairs);
  struct keys few;  // filled in as keys come
  few.count = 0;
  struct keys *keys = pairs <= FEW_PAIRS ? &few : NULL;
  for (; pairs; pairs--) {
    int result = decode_key(decoder, &keys);
    if (!result) result = decode_value(decoder);
    if (result) return result;
    lua_rawset(L, -3);
  }
  return 0;
}

static int decode_plain_map(struct decoder *decoder, size_t pairs) {
  if (pairs) return decode_map(decoder, pairs);
  lua_createtable(decoder->L, 0, 0);
  codec_push_slot(decoder->L, CODEC_SLOT_MAP);
  lua_setmetatable(decoder->L, -2);
  return 0;
}

// ---- objects ----

static size_t take_map_head(struct decoder *decoder) {
  unsigned first = *decoder->at;
  if (first >= 0xde) return take_length(decoder, 2u << (first - 0xde));
  decoder->at++;
  return first & 0x0f;
}

// The bytes stand behind the extension's head.
static int decode_object(struct decoder *decoder) {
  lua_State *L = decoder->L;
  if (!lua_checkstack(L, STACK_PER_TABLE))
    return refuse_frame(decoder, "depth", "the Lua stack is too small for the values");
  size_t size;
  decode_string(decoder, &size);
  if (!decoder->registry) return refuse_class(decoder);
  lua_getfenv(L, decoder->registry);
  lua_pushvalue(L, -2);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return refuse_class(decoder);
  }
  int result = decode_map(decoder, take_map_head(decoder));
  if (result) return result;
  // [name, class, object]
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  lua_remove(L, -2);
  return 0;
}

// ---- extensions ----

static int decode_tensor(struct decoder *decoder, size_t size) {
  lua_State *L = decoder->L;
  const unsigned char *bytes = decoder->at;
  decoder->at += size;
  if (!codec_decode_tensor(L, decoder->payload, bytes, size)) return 0;
  return refuse_frame(decoder, "ext", lua_tostring(L, -1));
}

// `size` is that of the content; the number stands before it.
static int decode_extension(struct decoder *decoder, size_t size) {
  int number = *decoder->at++;
  return number == EXT_TENSOR ? decode_tensor(decoder, size) : decode_object(decoder);
}

// ---- values ----

// The values whose first byte is 0xc0 to 0xdf.
static int decode_long(struct decoder *decoder) {
  lua_State *L = decoder->L;
  unsigned first = *decoder->at;
  size_t size;
  switch (first) {
    case 0xc0:
      decoder->at++;
      lua_pushlightuserdata(L, NULL);
      return 0;
    case 0xc2:
    case 0xc3:
      decoder->at++;
      lua_pushboolean(L, first == 0xc3);
      return 0;
    case 0xc7:
    case 0xc8:
    case 0xc9:
      return decode_extension(decoder, take_length(decoder, 1u << (first - 0xc7)));
    case 0xca:
      push_float(decoder);
      return 0;
    case 0xcb:
      push_double(decoder);
      return 0;
    case 0xcc:
    case 0xcd:
    case 0xce:
      push_unsigned(decoder, 1u << (first - 0xcc));
      return 0;
    case 0xcf:
      push_cdata(decoder, CODEC_UNSIGNED);
      return 0;
    case 0xd0:
    case 0xd1:
    case 0xd2:
      push_signed(decoder, 1u << (first - 0xd0));
      return 0;
    case 0xd3:
      push_cdata(decoder, CODEC_SIGNED);
      return 0;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      decoder->at++;
      return decode_extension(decoder, (size_t)1 << (first - 0xd4));
    case 0xdc:
    case 0xdd:
      return decode_array(decoder, take_length(decoder, 2u << (first - 0xdc)));
    case 0xde:
    case 0xdf:
      return decode_plain_map(decoder, take_length(decoder, 2u << (first - 0xde)));
    default:
      decode_string(decoder, &size);
      return 0;
  }
}

static int decode_value(struct decoder *decoder) {
  unsigned first = *decoder->at;
  if (first >= 0xc0 && first <= 0xdf) return decode_long(decoder);
  decoder->at++;
  if (first <= 0x7f)
    lua_pushnumber(decoder->L, first);
  else if (first >= 0xe0)
    lua_pushnumber(decoder->L, (int)first - 256);
  else if (first <= 0x8f)
    return decode_plain_map(decoder, first & 0x0f);
  else if (first <= 0x9f)
    return decode_array(decoder, first & 0x0f);
  else
    push_string(decoder, first & 0x1f);
  return 0;
}

// ---- bodies ----

static size_t take_array_head(struct decoder *decoder) {
  unsigned first = *decoder->at;
  if (first >= 0xdc) return take_length(decoder, 2u << (first - 0xdc));
  decoder->at++;
  return first & 0x0f;
}

static int decode_values(struct decoder *decoder, size_t count) {
  lua_State *L = decoder->L;
  if (count > CODEC_VALUES || !lua_checkstack(L, (int)count + STACK_PER_TABLE))
    return refuse_frame(decoder, "cost", "more values than the Lua stack takes");
  for (; count; count--) {
    int result = 0;
    if (*decoder->at == 0xc0) {
      decoder->at++;
      lua_pushnil(L);
    } else {
      result = decode_value(decoder);
    }
    if (result) return result;
  }
  return 0;
}

int codec_decode(lua_State *L, struct payload *payload, int registry) {
  luaL_checkstack(L, STACK_PER_TABLE, "to decode");
  int base = lua_gettop(L);
  struct decoder decoder = {
      .L = L, .at = payload->parts[0].bytes, .payload = payload, .registry = registry};
  size_t count = take_array_head(&decoder);
  if (!decode_values(&decoder, count)) return (int)count;
  lua_insert(L, base + 1);
  lua_settop(L, base + 1);
  return -1;
}
