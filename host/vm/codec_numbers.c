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
// time. What is read from the exchange, which is shared, is read before anything is allocated: a
// finalizer may use the codec too.
static const char kHelpers[] =
    "local exchange = ...\n"
    "local type, tostring, match = type, tostring, string.match\n"
    "local ffi, bit, new_table = require('ffi'), require('bit'), require('table.new')\n"
    "local is_compiling = require('jit').status\n"
    "local band, bswap, rshift, floor = bit.band, bit.bswap, bit.rshift, math.floor\n"
    "local cast, istype = ffi.cast, ffi.istype\n"
    "local infinity, nan = 1 / 0, 0 / 0\n"
    "local word_pointer = ffi.typeof('uint64_t *')\n"
    "local const_pointer = ffi.typeof('const uint64_t *')\n"
    "local signed, unsigned = ffi.typeof('int64_t'), ffi.typeof('uint64_t')\n"
    "local new_word = ffi.typeof('union { double number; uint64_t bits; uint32_t half[2]; }')\n"
    "exchange = ffi.cast([[struct {\n"
    "  unsigned char *output;\n"
    "  const unsigned char *input;\n"
    "  union { int64_t integer; uint64_t natural; };\n"
    "} *]], exchange)\n"
    "\n"
    "local function encode(values, count)\n"
    "  local output, at = exchange.output, 0\n"
    "  if not is_compiling() then return 0 end\n"
    "  local word = new_word()\n"
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
    "local function decode(count)\n"
    "  local input, at = exchange.input, 0\n"
    "  if not is_compiling() then return nil, 0, 0 end\n"
    "  local word, values = new_word(), new_table(count, 0)\n"
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
    "-- 1: signed, 2: unsigned, with the value in the exchange; or what it is called.\n"
    "local function classify(value)\n"
    "  if istype(signed, value) then\n"
    "    exchange.integer = value\n"
    "    return 1\n"
    "  elseif istype(unsigned, value) then\n"
    "    exchange.natural = value\n"
    "    return 2\n"
    "  end\n"
    "  return match(tostring(ffi.typeof(value)), '^ctype<(.*)>$') or 'a type'\n"
    "end\n"
    "\n"
    "return encode, decode, classify,\n"
    "  function() return exchange.integer end, function() return exchange.natural end\n";

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
  lua_pushlightuserdata(L, &codec->exchange);
  lua_call(L, 1, CODEC_SLOT_UNSIGNED);
  for (int slot = CODEC_SLOT_UNSIGNED; slot >= CODEC_SLOT_ENCODE; slot--)
    lua_rawseti(L, slots, slot);
  codec->array_part = find_array_part(L);
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
  encoder->codec->exchange.output = encoder->buffer->bytes + encoder->buffer->size;
  codec_push_slot(L, CODEC_SLOT_ENCODE);
  lua_pushvalue(L, index);
  lua_pushinteger(L, n);
  lua_call(L, 2, 1);
  size_t size = (size_t)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return size;
}

int codec_decode_numbers(lua_State *L, const unsigned char **at, int n) {
  codec_push(L)->exchange.input = *at;
  lua_pop(L, 1);
  codec_push_slot(L, CODEC_SLOT_DECODE);
  lua_pushinteger(L, n);
  lua_call(L, 1, 3);
  int done = (int)lua_tointeger(L, -2);
  *at += (size_t)lua_tonumber(L, -1);
  lua_pop(L, done ? 2 : 3);
  return done;
}
