--- The types that parameters of kernels have in CUDA C: what a Lua value must be to become one of them, and which tensors a
-- pointer to them takes.
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'

local M = {}

local int64, uint64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'
local istype = ffi.istype

-- Each writer returns nil, or what it expects instead.

local function number_of(value)
  if type(value) == 'number' then return value end
  return type(value) == 'cdata' and tonumber(value) or nil
end

local function write_float(pointer, value)
  local number = number_of(value)
  if not number then return 'a number' end
  pointer[0] = number
end

local function write_bool(pointer, value)
  if type(value) ~= 'boolean' then return 'true or false' end
  pointer[0] = value
end

--- A half is written by its bits, as tensors do it.
local function half_writer(dtype)
  return function(pointer, value)
    local number = number_of(value)
    if not number then return 'a number' end
    return dtype.write(pointer, 0, number)
  end
end

local function integer_writer(size, signed)
  local low = signed and -2 ^ (8 * size - 1) or 0
  local above = 2 ^ (8 * size - (signed and 1 or 0))
  local expected = size < 8 and ('a whole number from %.0f to %.0f'):format(low, above - 1) or
    signed and 'a whole number from -2^63 to 2^63 - 1' or 'a whole number from 0 to 2^64 - 1'
  return function(pointer, value)
    if size == 8 and type(value) == 'cdata' then
      -- A double would not hold all of them.
      local fits = istype(int64, value) and (signed or value >= 0) or
        istype(uint64, value) and (not signed or value < 0x8000000000000000ULL)
      if fits then
        pointer[0] = value
        return nil
      end
    end
    local number = number_of(value)
    if not number or number % 1 ~= 0 or number < low or number >= above then return expected end
    pointer[0] = number
  end
end

local types = {}

--- Adds types that are alike.
---@param dtype string? of the tensors that a pointer to it takes
local function add(names, ctype, dtype, write)
  local pointer, place = ffi.typeof(ctype .. ' *'), ffi.typeof(('const %s *[1]'):format(ctype))
  for _, name in ipairs(names) do
    types[name] = { name = name, width = 1, pointer = pointer, place = place, dtype = dtype, write = write }
  end
end

local function add_integers(names, size, signed, dtype)
  add(names, ('%sint%d_t'):format(signed and '' or 'u', 8 * size), dtype, integer_writer(size, signed))
end

-- On every system that Farside runs on char is what the compiler says, long has 64 bits. What is unsigned in C is of the
-- tensors that hold as many bits.
add({ 'char' }, 'char', 'u8', integer_writer(1, ffi.cast('char', -1) < 0))
add_integers({ 'signed char', 'int8_t' }, 1, true, 'u8')
add_integers({ 'unsigned char', 'uint8_t' }, 1, false, 'u8')
add_integers({ 'short', 'int16_t' }, 2, true)
add_integers({ 'unsigned short', 'uint16_t' }, 2, false)
add_integers({ 'int', 'int32_t' }, 4, true, 'i32')
add_integers({ 'unsigned int', 'uint32_t' }, 4, false, 'i32')
add_integers({ 'long', 'long long', 'int64_t', 'ptrdiff_t', 'intptr_t' }, 8, true, 'i64')
add_integers({ 'unsigned long', 'unsigned long long', 'uint64_t', 'size_t', 'uintptr_t' }, 8, false, 'i64')
add({ 'float' }, 'float', 'f32', write_float)
add({ 'double' }, 'double', 'f64', write_float)
add({ 'bool' }, 'bool', 'bool', write_bool)
add({ '__half', 'half' }, 'uint16_t', 'f16', half_writer(dtypes.types.f16))
add({ '__nv_bfloat16', 'nv_bfloat16' }, 'uint16_t', 'bf16', half_writer(dtypes.types.bf16))

-- Vectors, to which there are pointers: several elements of a tensor side by side, and where they have to begin.
local function add_vectors(name, dtype, size, four)
  for width = 2, 4 do
    local align = width == 3 and size or width == 4 and four or math.min(2 * size, 16)
    types[name .. width] = { name = name .. width, width = width, align = align, dtype = dtype }
  end
end
add_vectors('char', 'u8', 1, 4)
add_vectors('uchar', 'u8', 1, 4)
add_vectors('int', 'i32', 4, 16)
add_vectors('uint', 'i32', 4, 16)
add_vectors('longlong', 'i64', 8, 16)
add_vectors('ulonglong', 'i64', 8, 16)
add_vectors('float', 'f32', 4, 16)
add_vectors('double', 'f64', 8, 16)
for name, dtype in pairs { __half2 = 'f16', half2 = 'f16', __nv_bfloat162 = 'bf16', nv_bfloat162 = 'bf16' } do
  types[name] = { name = name, width = 2, align = 4, dtype = dtype }
end

-- Words of which the names of C's own types are made, in any order.
M.WORDS = {}
for word in ('signed unsigned char short int long float double bool'):gmatch '%a+' do M.WORDS[word] = true end

local function count_words(words)
  local count = { long = 0 }
  for _, word in ipairs(words) do count[word] = (count[word] or 0) + 1 end
  return count
end

--- The usual name of a type that is written in several words.
local function usual_name(words)
  local count = count_words(words)
  if #words == 1 and words[1] ~= 'signed' and words[1] ~= 'unsigned' then return words[1] end
  if count.float or count.bool or count.double then return table.concat(words, ' ') end  -- `long double` is none
  local base = count.char and 'char' or count.short and 'short' or count.long == 1 and 'long' or
    count.long == 2 and 'long long' or 'int'
  if count.unsigned then return 'unsigned ' .. base end
  return base == 'char' and count.signed and 'signed char' or base
end

--- The type of a name, given in its words; nil: it is none of those that are known.
function M.find(words)
  return types[usual_name(words)]
end

--- Names a value for a message, tensors with what matters of them.
function M.describe(value, is_tensor)
  if is_tensor then return ('a tensor of %s'):format(value.dtype) end
  if type(value) == 'cdata' then return ('a cdata of %s'):format((tostring(ffi.typeof(value)):match '^ctype<(.*)>$')) end
  return check.describe(value)
end

return M
