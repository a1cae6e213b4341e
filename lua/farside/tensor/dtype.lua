--- The types of elements: how many bytes, how a Lua value is read from them and written to them.
--
-- Numbers beyond a type's range are refused where the type is an integer, and become infinite where it is a float. A float
-- is rounded to the nearest, to even between two. An i64 beyond 2^53 is read as int64_t cdata.
local bit = require 'bit'
local check = require 'farside.check'
local ffi = require 'ffi'

local M = {}

local band, rshift = bit.band, bit.rshift
local floor, huge = math.floor, math.huge
local nan = 0 / 0

local cast, words = ffi.cast, ffi.typeof 'const uint32_t *'
local int64, uint64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'
local new_word = ffi.typeof 'union { double number; uint32_t half[2]; }'
local new_single = ffi.typeof 'union { float number; uint32_t bits; }'

--- To the nearest whole number from 0 to 2^51, to even between two.
local function round(x)
  return (x + 4503599627370496) - 4503599627370496
end

--- The exponent of a positive, finite, normal number: 2^e <= x < 2^(e + 1).
local function exponent_of(x)
  local word = new_word()
  word.number = x
  return band(rshift(word.half[1], 20), 0x7ff) - 1023
end

--- Rounds a positive finite number to `digits` binary ones, with `least` as the exponent of the smallest normal number.
local function shorten(x, digits, least)
  local exponent = exponent_of(x)
  local unit = 2 ^ ((exponent < least and least or exponent) - digits + 1)
  return round(x / unit) * unit
end

-- Half precision: 5 bits of exponent, 10 of fraction; bfloat16: the upper half of a float -----------------------------

local function f16_of(x)
  if x ~= x then return 0x7e00 end
  local sign = (x < 0 or 1 / x < 0) and 0x8000 or 0
  x = math.abs(x)
  if x >= 65520 then return sign + 0x7c00 end
  if x < 2 ^ -25 then return sign end
  x = shorten(x, 11, -14)
  if x < 2 ^ -14 then return sign + x * 2 ^ 24 end
  local exponent = exponent_of(x)
  return sign + (exponent + 14) * 1024 + x * 2 ^ (10 - exponent)
end

local function number_of_f16(bits)
  local fraction, exponent = band(bits, 0x3ff), band(rshift(bits, 10), 0x1f)
  local x
  if exponent == 0 then
    x = fraction * 2 ^ -24
  elseif exponent == 31 then
    x = fraction == 0 and huge or nan
  else
    x = (1024 + fraction) * 2 ^ (exponent - 25)
  end
  return bits >= 0x8000 and -x or x
end

local function bf16_of(x)
  if x ~= x then return 0x7fc0 end
  local single = new_single()
  local magnitude = math.abs(x)
  if magnitude < huge and magnitude >= 2 ^ -134 then magnitude = shorten(magnitude, 8, -126) end
  single.number = (x < 0 or 1 / x < 0) and -magnitude or magnitude
  return rshift(single.bits, 16)
end

local function number_of_bf16(bits)
  if band(bits, 0x7fff) > 0x7f80 then return nan end
  local single = new_single()
  single.bits = bits * 65536
  return single.number
end

-- Reading and writing -----------------------------------------------------------------------------------------------
--
-- The bits of a float are looked at before it becomes a Lua value: those of some NaNs would pass for a reference to an object.

local function read_plain(pointer, i) return pointer[i] end

local function read_f32(pointer, i)
  if band(cast(words, pointer)[i], 0x7fffffff) > 0x7f800000 then return nan end
  return pointer[i]
end

local function read_f64(pointer, i)
  local halves = cast(words, pointer)
  local high = band(halves[2 * i + 1], 0x7fffffff)
  if high > 0x7ff00000 or high == 0x7ff00000 and halves[2 * i] ~= 0 then return nan end
  return pointer[i]
end

local function read_f16(pointer, i) return number_of_f16(pointer[i]) end

local function read_bf16(pointer, i) return number_of_bf16(pointer[i]) end

local function read_i64(pointer, i)
  local value = pointer[i]
  if value >= -0x20000000000000LL and value <= 0x20000000000000LL then return tonumber(value) end
  return value
end

local function read_bool(pointer, i) return pointer[i] ~= 0 end

--- What a float is made of as a number, or nil.
local function number_of(value)
  if type(value) == 'number' then return value end
  return (ffi.istype(int64, value) or ffi.istype(uint64, value)) and tonumber(value) or nil
end

local function write_float(pointer, i, value)
  value = number_of(value)
  if not value then return 'a number' end
  pointer[i] = value
end

local function write_by(convert)
  return function(pointer, i, value)
    value = number_of(value)
    if not value then return 'a number' end
    pointer[i] = convert(value)
  end
end

local function write_integer(low, high)
  local expected = ('a whole number from %.0f to %.0f'):format(low, high)
  return function(pointer, i, value)
    if type(value) == 'cdata' and (ffi.istype(int64, value) or ffi.istype(uint64, value)) then value = tonumber(value) end
    if type(value) ~= 'number' or value ~= floor(value) or value < low or value > high then return expected end
    pointer[i] = value
  end
end

local function write_i64(pointer, i, value)
  if type(value) == 'number' then
    if value ~= floor(value) or value < -2 ^ 63 or value >= 2 ^ 63 then return 'a whole number from -2^63 to 2^63 - 1' end
  elseif ffi.istype(uint64, value) then
    if value >= 0x8000000000000000ULL then return 'a whole number from -2^63 to 2^63 - 1' end
  elseif not ffi.istype(int64, value) then
    return 'a whole number from -2^63 to 2^63 - 1'
  end
  pointer[i] = value
end

local function write_bool(pointer, i, value)
  if type(value) ~= 'boolean' then return 'true or false' end
  pointer[i] = value and 1 or 0
end

--- The types. `read(pointer, i)` returns the element at i, from 0; `write(pointer, i, value)` returns nil or what it
-- expects instead. `code` is the number on the wire.
M.types = {
  f64 = { code = 1, size = 8, ctype = 'double', kind = 'float', read = read_f64, write = write_float },
  f32 = { code = 2, size = 4, ctype = 'float', kind = 'float', read = read_f32, write = write_float },
  f16 = { code = 3, size = 2, ctype = 'uint16_t', kind = 'float', read = read_f16, write = write_by(f16_of) },
  bf16 = { code = 4, size = 2, ctype = 'uint16_t', kind = 'float', read = read_bf16, write = write_by(bf16_of) },
  i64 = { code = 5, size = 8, ctype = 'int64_t', kind = 'integer', read = read_i64, write = write_i64 },
  i32 = { code = 6, size = 4, ctype = 'int32_t', kind = 'integer', read = read_plain,
    write = write_integer(-2 ^ 31, 2 ^ 31 - 1) },
  u8 = { code = 7, size = 1, ctype = 'uint8_t', kind = 'integer', read = read_plain, write = write_integer(0, 255) },
  bool = { code = 8, size = 1, ctype = 'uint8_t', kind = 'bool', read = read_bool, write = write_bool },
}

--- Their names by their number on the wire.
M.by_code = {}
for name, dtype in pairs(M.types) do
  dtype.name = name
  dtype.pointer = ffi.typeof(dtype.ctype .. ' *')
  dtype.scratch = ffi.typeof(dtype.ctype .. '[1]')  -- for one element
  M.by_code[dtype.code] = name
end

--- The first of so many bytes, counted from 0, that is no boolean as kernels rely on it, 0 or 1; nil: all are.
---@param bytes ffi.cdata* uint8_t *
local function first_odd(bytes, count, from)
  for i = from or 0, count - 1 do
    if bytes[i] > 1 then return i end
  end
end
M.first_odd = first_odd

--- Makes booleans of bytes that come from outside: 0 is false, any other is true. Only what is neither 0 nor 1 is written to.
function M.make_bools(bytes, count)
  local odd = first_odd(bytes, count)
  while odd do
    bytes[odd] = 1
    odd = first_odd(bytes, count, odd + 1)
  end
end

M.names = { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool' }

--- The type of a name, or nil and what is wrong with it.
---@return table? dtype
---@return string? problem
function M.find(name)
  local dtype = M.types[name]
  if dtype then return dtype end
  return nil, ('expected a dtype (%s), got %s'):format(table.concat(M.names, ', '), check.describe(name))
end

return M
