// Long arrays of numbers in Lua, where the JIT compiler makes one loop without a call of them. An
// array of 1000 takes a tenth of the time that lua_rawgeti needs. And 64-bit integers as cdata,
// which the C API knows nothing of.
#include <lauxlib.h>
#include <string.h>

#include "codec_state.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the helpers swap bytes");

// The halves of a number are looked at before it becomes a Lua value: the bits of a NaN from the
// wire could pass for a reference to any object.
//
// Positions are Lua numbers and no pointers: a pointer that changes in a loop is a new cdata each
// time. Everything goes in and out as arguments and results, addresses and the halves of 64-bit
// integers as numbers: compiled code may run finalizers as soon as it is entered, and one that uses
// the codec would overwrite whatever is shared.
static const char kHelpers[] =
    "local type, tostring, match = type, tostring, string.match\n"
    "local ffi, bit, new_table = require('ffi'), require('bit'), require('table.new')\n"
    "local is_compiling = require('jit').status\n"
    "local band, bswap, rshift, floor = bit.band, bit.bswap, bit.rshift, math.floor\n"
    "local cast, istype = ffi.cast, ffi.istype\n"
    "local infinity, nan = 1 / 0, 0 / 0\n"
    "local byte_pointer, const_byte_pointer = ffi.typeof('uint8_t *'), ffi.typeof('const uint8_t "
    "*')\n"
    "local word_pointer = ffi.typeof('uint64_t *')\n"
    "local const_pointer = ffi.typeof('const uint64_t *')\n"
    "local signed, unsigned = ffi.typeof('int64_t'), ffi.typeof('uint64_t')\n"
    "local new_word = ffi.typeof('union { double number; uint64_t bits; uint32_t half[2]; }')\n"
    "\n"
    "local function encode(values, count, address)\n"
    "  if not is_compiling() then return 0 end\n"
    "  local output, at, word = cast(byte_pointer, address), 0, new_word()\n"
    "  for i = 1, count do\n"
    "    local value = values[i]\n"
    "    if type(value) ~= 'number' then return 0 end\n"
    "    if value ~= floor(value) or value < -2147483648 or value > 4294967295\n"
    "        or (value == 0 and 1 / value < 0) then\n"
    "      word.number = value\n"
    "      output[at] = 0xcb\n"
    "      cast(word_pointer, output + (at + 1))[0] = bswap(word.bits)\n"
    "      at = at + 9\n"
    "    elseif value >= 0 then\n"
    "      if value < 128 then\n"
    "        output[at] = value\n"
    "        at = at + 1\n"
    "      elseif value < 256 then\n"
    "        output[at], output[at + 1] = 0xcc, value\n"
    "        at = at + 2\n"
    "      elseif value < 65536 then\n"
    "        output[at], output[at + 1], output[at + 2] = 0xcd, rshift(value, 8), band(value, "
    "255)\n"
    "        at = at + 3\n"
    "      else\n"
    "        output[at] = 0xce\n"
    "        output[at + 1], output[at + 2] = rshift(value, 24), band(rshift(value, 16), 255)\n"
    "        output[at + 3], output[at + 4] = band(rshift(value, 8), 255), band(value, 255)\n"
    "        at = at + 5\n"
    "      end\n"
    "    elseif value >= -32 then\n"
    "      output[at] = value + 256\n"
    "      at = at + 1\n"
    "    elseif value >= -128 then\n"
    "      output[at], output[at + 1] = 0xd0, value + 256\n"
    "      at = at + 2\n"
    "    elseif value >= -32768 then\n"
    "      output[at] = 0xd1\n"
    "      output[at + 1], output[at + 2] = band(rshift(value, 8), 255), band(value, 255)\n"
    "      at = at + 3\n"
    "    else\n"
    "      output[at] = 0xd2\n"
    "      output[at + 1], output[at + 2] = rshift(value, 24), band(rshift(value, 16), 255)\n"
    "      output[at + 3], output[at + 4] = band(rshift(value, 8), 255), band(value, 255)\n"
    "      at = at + 5\n"
    "    end\n"
    "  end\n"
    "  return at\n"
    "end\n"
    "\n"
    "local function decode(count, address)\n"
    "  if not is_compiling() then return nil, 0, 0 end\n"
    "  local input, at, word = cast(const_byte_pointer, address), 0, new_word()\n"
    "  local values = new_table(count, 0)\n"
    "  for i = 1, count do\n"
    "    local first = input[at]\n"
    "    if first == 0xcb then\n"
    "      word.bits = bswap(cast(const_pointer, input + (at + 1))[0])\n"
    "      local high = word.half[1]\n"
    "      if band(high, 0x7ff00000) ~= 0x7ff00000 then\n"
    "        values[i] = word.number\n"
    "      elseif word.half[0] ~= 0 or band(high, 0xfffff) ~= 0 then\n"
    "        values[i] = nan\n"
    "      else\n"
    "        values[i] = high < 0x80000000 and infinity or -infinity\n"
    "      end\n"
    "      at = at + 9\n"
    "    elseif first < 0x80 then\n"
    "      values[i] = first\n"
    "      at = at + 1\n"
    "    elseif first >= 0xe0 then\n"
    "      values[i] = first - 256\n"
    "      at = at + 1\n"
    "    elseif first == 0xcc then\n"
    "      values[i] = input[at + 1]\n"
    "      at = at + 2\n"
    "    elseif first == 0xcd then\n"
    "      values[i] = input[at + 1] * 256 + input[at + 2]\n"
    "      at = at + 3\n"
    "    elseif first == 0xce then\n"
    "      values[i] = input[at + 1] * 16777216 + input[at + 2] * 65536\n"
    "        + input[at + 3] * 256 + input[at + 4]\n"
    "      at = at + 5\n"
    "    elseif first == 0xd0 then\n"
    "      local low = input[at + 1]\n"
    "      values[i] = low < 128 and low or low - 256\n"
    "      at = at + 2\n"
    "    elseif first == 0xd1 then\n"
    "      local low = input[at + 1] * 256 + input[at + 2]\n"
    "      values[i] = low < 32768 and low or low - 65536\n"
    "      at = at + 3\n"
    "    elseif first == 0xd2 then\n"
    "      local low = input[at + 1] * 16777216 + input[at + 2] * 65536\n"
    "        + input[at + 3] * 256 + input[at + 4]\n"
    "      values[i] = low < 2147483648 and low or low - 4294967296\n"
    "      at = at + 5\n"
    "    else\n"
    "      return values, i - 1, at\n"
    "    end\n"
    "  end\n"
    "  return values, count, at\n"
    "end\n"
    "\n"
    "-- 1: signed, 2: unsigned, with the value's halves; or what it is called.\n"
    "local function take(value)\n"
    "  local kind = istype(signed, value) and 1 or istype(unsigned, value) and 2\n"
    "  if not kind then\n"
    "    return match(tostring(ffi.typeof(value)), '^ctype<(.*)>$') or 'a type'\n"
    "  end\n"
    "  local word = new_word()\n"
    "  word.bits = cast(unsigned, value)\n"
    "  return kind, word.half[1], word.half[0]\n"
    "end\n"
    "\n"
    "local function give(kind, high, low)\n"
    "  local word = new_word()\n"
    "  word.half[1], word.half[0] = high, low\n"
    "  return kind == 1 and cast(signed, word.bits) or word.bits\n"
    "end\n"
    "\n"
    "return encode, decode, take, give\n";

// Where in a table its array part's size stands, found by looking at tables whose size is known; 0
// when there is no such place. C API and FFI tell nobody whether a table has keys besides 1..n
// short of a walk over all.
static size_t find_array_part(lua_State *L) {
  static const int sizes[] = {3, 77, 1000, 12345};
  enum { TABLES = sizeof sizes / sizeof *sizes, SEEN = 64 };  // a table is no smaller
  unsigned char seen[TABLES][SEEN];
  for (int i = 0; i < TABLES; i++) {
    lua_createtable(L, sizes[i], 0);
    memcpy(seen[i], lua_topointer(L, -1), SEEN);
    lua_pop(L, 1);
  }
  for (size_t offset = sizeof(uint32_t); offset < SEEN; offset += sizeof(uint32_t)) {
    int matches = 0;
    for (; matches < TABLES; matches++) {
      uint32_t size;
      memcpy(&size, seen[matches] + offset, sizeof size);
      if (size != (uint32_t)sizes[matches] + 1) break;
    }
    if (matches == TABLES) return offset;
  }
  return 0;
}

void codec_open_helpers(lua_State *L, struct codec *codec) {
  int slots = lua_gettop(L);
  if (luaL_loadbuffer(L, kHelpers, sizeof kHelpers - 1, "=farside.codec")) lua_error(L);
  lua_call(L, 0, CODEC_SLOT_GIVE);
  for (int slot = CODEC_SLOT_GIVE; slot >= CODEC_SLOT_ENCODE; slot--) lua_rawseti(L, slots, slot);
  codec->array_part = find_array_part(L);
}

static void push_address(lua_State *L, const void *address) {
  lua_pushnumber(L, (lua_Number)(uintptr_t)address);  // 47 bits, or 56: exact either way
}

bool codec_is_sequence(lua_State *L, const struct codec *codec, int index, int n) {
  if (!codec->array_part) return false;
  uint32_t size;
  memcpy(&size, (const char *)lua_topointer(L, index) + codec->array_part, sizeof size);
  if ((uint32_t)n >= size) return false;
  // The array part comes first in the order of lua_next, from key 0 on.
  lua_rawgeti(L, index, 0);
  bool is_other = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (is_other) return false;
  lua_pushinteger(L, n);
  if (!lua_next(L, index)) return true;
  lua_pop(L, 2);
  return false;
}

size_t codec_encode_numbers(struct encoder *encoder, int index, int n) {
  lua_State *L = encoder->L;
  codec_push_slot(L, CODEC_SLOT_ENCODE);
  lua_pushvalue(L, index);
  lua_pushinteger(L, n);
  push_address(L, encoder->buffer->bytes + encoder->buffer->size);
  lua_call(L, 3, 1);
  size_t size = (size_t)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return size;
}

int codec_decode_numbers(lua_State *L, const unsigned char **at, int n) {
  codec_push_slot(L, CODEC_SLOT_DECODE);
  lua_pushinteger(L, n);
  push_address(L, *at);
  lua_call(L, 2, 3);
  int done = (int)lua_tointeger(L, -2);
  *at += (size_t)lua_tonumber(L, -1);
  lua_pop(L, done ? 2 : 3);
  return done;
}

enum codec_integer codec_take_integer(lua_State *L, int index, uint64_t *bits) {
  codec_push_slot(L, CODEC_SLOT_TAKE);
  lua_pushvalue(L, index);
  lua_call(L, 1, 3);
  int kind = lua_type(L, -3) == LUA_TNUMBER ? (int)lua_tointeger(L, -3) : CODEC_NO_INTEGER;
  if (kind == CODEC_NO_INTEGER) {
    lua_pop(L, 2);
    return CODEC_NO_INTEGER;
  }
  *bits = (uint64_t)lua_tonumber(L, -2) << 32 | (uint64_t)lua_tonumber(L, -1);
  lua_pop(L, 3);
  return (enum codec_integer)kind;
}

void codec_push_integer(lua_State *L, enum codec_integer kind, uint64_t bits) {
  codec_push_slot(L, CODEC_SLOT_GIVE);
  lua_pushinteger(L, (lua_Integer)kind);
  lua_pushnumber(L, (lua_Number)(bits >> 32));
  lua_pushnumber(L, (lua_Number)(bits & UINT32_MAX));
  lua_call(L, 3, 1);
}
