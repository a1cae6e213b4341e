--- Views for the specs of the kernels: made from Lua numbers, read back into them, in memory of the library's device.
local bit = require 'bit'
local ffi = require 'ffi'
local library = require 'farside.cuda.library'

local M = {}

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

M.DTYPES = { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool' }
M.FLOATS = { 'f64', 'f32', 'f16', 'bf16' }
M.INTEGERS = { 'i64', 'i32', 'u8' }

local CODES, SIZES = {}, { f64 = 8, f32 = 4, f16 = 2, bf16 = 2, i64 = 8, i32 = 4, u8 = 1, bool = 1 }
for code, name in ipairs(M.DTYPES) do CODES[name] = code - 1 end
local CTYPES = { f64 = 'double', f32 = 'float', f16 = 'uint16_t', bf16 = 'uint16_t', i64 = 'int64_t', i32 = 'int32_t',
  u8 = 'uint8_t', bool = 'uint8_t' }

-- What a float type has: bits of the mantissa, exponent of the least normal and of the largest number.
local FORMS = { f64 = { 52, -1022, 1023 }, f32 = { 23, -126, 127 }, f16 = { 10, -14, 15 }, bf16 = { 7, -126, 127 } }

--- The distance from 1 to the next number of a float type.
function M.epsilon(dtype)
  return 2 ^ -FORMS[dtype][1]
end

--- The largest number of a float type.
function M.largest(dtype)
  local form = FORMS[dtype]
  return (2 - 2 ^ -form[1]) * 2 ^ form[3]
end

--- The least positive normal number of a float type.
function M.least(dtype)
  return 2 ^ FORMS[dtype][2]
end

local function half_even(x)
  local floor = math.floor(x)
  local rest = x - floor
  if rest > 0.5 or (rest == 0.5 and floor % 2 == 1) then return floor + 1 end
  return floor
end

--- A double rounded to a float type, to nearest, ties to even.
function M.round(x, dtype)
  if x ~= x or x == 0 or x == math.huge or x == -math.huge or dtype == 'f64' then return x end
  local form = FORMS[dtype]
  local _, exponent = math.frexp(x)
  local unit = 2 ^ (math.max(exponent - 1, form[2]) - form[1])
  local rounded = (x < 0 and -1 or 1) * half_even(math.abs(x) / unit) * unit
  return math.abs(rounded) > M.largest(dtype) and (x < 0 and -math.huge or math.huge) or rounded
end

-- The bits of a half from a number that it holds, and back.
local function to_bits(x, dtype)
  local form = FORMS[dtype]
  local top = form[3] - form[2] + 2
  local sign = (x < 0 or 1 / x < 0) and 0x8000 or 0
  if x ~= x then return bit.bor(bit.lshift(top, form[1]), bit.lshift(1, form[1] - 1)) end
  x = math.abs(M.round(x, dtype))
  if x == math.huge then return bit.bor(sign, bit.lshift(top, form[1])) end
  if x < M.least(dtype) then return bit.bor(sign, x / 2 ^ (form[2] - form[1])) end
  local mantissa, exponent = math.frexp(x)
  return bit.bor(sign, bit.lshift(exponent - 1 - form[2] + 1, form[1]) + (mantissa * 2 - 1) * 2 ^ form[1])
end

local function from_bits(bits, dtype)
  local form = FORMS[dtype]
  local top = form[3] - form[2] + 2
  local sign = bits >= 0x8000 and -1 or 1
  local exponent = bit.rshift(bit.band(bits, 0x7fff), form[1])
  local mantissa = bit.band(bits, 2 ^ form[1] - 1)
  if exponent == top then return mantissa == 0 and sign * math.huge or 0 / 0 end
  if exponent == 0 then return sign * mantissa * 2 ^ (form[2] - form[1]) end
  return sign * (1 + mantissa / 2 ^ form[1]) * 2 ^ (exponent + form[2] - 1)
end

local function to_memory(x, dtype)
  if dtype == 'f16' or dtype == 'bf16' then return to_bits(x, dtype) end
  if dtype == 'bool' then return (x == true or (type(x) == 'number' and x ~= 0)) and 1 or 0 end
  return x
end

-- A NaN is told by its bits: LuaJIT takes a double out of memory as it is, and its own tags are NaNs with a payload.
local NAN_BITS = {
  f64 = function(host, i)
    local high = ffi.cast('uint32_t *', host)[2 * i + 1]
    return bit.band(high, 0x7ff00000) == 0x7ff00000 and
      (bit.band(high, 0xfffff) ~= 0 or ffi.cast('uint32_t *', host)[2 * i] ~= 0)
  end,
  f32 = function(host, i)
    return bit.band(ffi.cast('uint32_t *', host)[i], 0x7fffffff) > 0x7f800000
  end,
}

local function from_memory(host, i, dtype)
  if NAN_BITS[dtype] and NAN_BITS[dtype](host, i) then return 0 / 0 end
  local x = host[i]
  if dtype == 'f16' or dtype == 'bf16' then return from_bits(x, dtype) end
  if dtype == 'i64' and x > -2 ^ 53 and x < 2 ^ 53 then return tonumber(x) end
  return x
end

--- The libraries that are there: each is { name = ..., C = the library }.
function M.libraries()
  local found = {}
  local function add(name, C, err)
    if C then found[#found + 1] = { name = name, C = C } else error(err, 0) end
  end
  add('the CPU library', library.open_file(BUILD .. '/libfarside_cpu.so'))
  local file = io.open(BUILD .. '/spec/libfarside_simt.so')
  if file then
    file:close()
    add("the CPU library in a GPU's shape", library.open_file(BUILD .. '/spec/libfarside_simt.so'))
  end
  local cuda = library.open_file(BUILD .. '/libfarside_cuda.so')
  local count = ffi.new('int32_t[1]')
  if cuda and cuda.device_count(count) == 0 and count[0] > 0 then add('the CUDA library', cuda) end
  return found
end

--- Raises unless a status is 0.
function M.check(C, status)
  if status ~= 0 then error(('%s: %s'):format(ffi.string(C.device_error_name(status)), ffi.string(C.device_error_text(status))), 2) end
end

-- Views of the spec that runs: only their struct goes into a call, which alone would not keep the memory.
local alive = {}

--- To be called after each spec.
function M.forget()
  alive = {}
end

local View = {}
View.__index = View

-- Elements between the first and the last that a view reaches, and where its first lies in between.
local function extent(shape, stride)
  local low, high = 0, 0
  for i = 1, #shape do
    if shape[i] == 0 then return 0, 0 end
    local far = (shape[i] - 1) * stride[i]
    low, high = low + math.min(far, 0), high + math.max(far, 0)
  end
  return high - low + 1, -low
end

--- Row-major strides of a shape.
function M.strides(shape)
  local stride, step = {}, 1
  for i = #shape, 1, -1 do
    stride[i] = step
    step = step * math.max(shape[i], 1)
  end
  return stride
end

function M.count(shape)
  local count = 1
  for i = 1, #shape do count = count * shape[i] end
  return count
end

local function offset_of(index, shape, stride)
  local offset = 0
  for i = #shape, 1, -1 do
    offset = offset + index % shape[i] * stride[i]
    index = math.floor(index / shape[i])
  end
  return offset
end

--- A view of `dtype` and `shape`. values: a table in row-major order, or nil for memory filled with the byte 0xa5.
---@param stride table? in elements; row-major without it
---@param shift number? elements that lie before the first, so that it is aligned to its own size only
function M.view(C, dtype, shape, values, stride, shift)
  stride = stride or M.strides(shape)
  shift = shift or 0
  local size, first = extent(shape, stride)
  local self = setmetatable({ C = C, dtype = dtype, shape = shape, stride = stride, size = size + shift, first = first + shift }, View)
  local bytes = math.max(self.size, 1) * SIZES[dtype]
  local memory = ffi.new('void *[1]')
  M.check(C, C.device_malloc(memory, bytes, nil))
  self.memory = ffi.gc(memory[0], function(freed) C.device_free(freed, nil) end)
  local host = ffi.new(CTYPES[dtype] .. '[?]', math.max(self.size, 1))
  ffi.fill(host, bytes, 0xa5)
  for i = 0, values and M.count(shape) - 1 or -1 do
    host[self.first + offset_of(i, shape, stride)] = to_memory(values[i + 1], dtype)
  end
  M.check(C, C.device_copy(self.memory, host, bytes, nil))
  alive[#alive + 1] = self
  self.view = ffi.new('struct kernel_view')
  self.view.data = ffi.cast(CTYPES[dtype] .. ' *', self.memory) + self.first
  self.view.dtype = CODES[dtype]
  self.view.rank = #shape
  for i = 1, #shape do
    self.view.shape[i - 1], self.view.stride[i - 1] = shape[i], stride[i]
  end
  return self
end

--- The elements in row-major order.
function View:values()
  local host = self:raw()
  local values = {}
  for i = 0, M.count(self.shape) - 1 do
    values[i + 1] = from_memory(host, self.first + offset_of(i, self.shape, self.stride), self.dtype)
  end
  return values
end

--- The memory as it is.
function View:raw()
  local bytes = math.max(self.size, 1) * SIZES[self.dtype]
  local host = ffi.new(CTYPES[self.dtype] .. '[?]', math.max(self.size, 1))
  M.check(self.C, self.C.device_synchronize())
  M.check(self.C, self.C.device_copy(host, self.memory, bytes, nil))
  M.check(self.C, self.C.device_synchronize())
  return host
end

--- Whether memory that no element of the view uses is still filled with 0xa5.
function View:gaps_are_untouched()
  local host = ffi.cast('uint8_t *', ffi.cast('void *', self:raw()))
  local used, size = {}, SIZES[self.dtype]
  for i = 0, M.count(self.shape) - 1 do used[self.first + offset_of(i, self.shape, self.stride)] = true end
  for i = 0, self.size - 1 do
    if not used[i] then
      for k = 0, size - 1 do
        if host[i * size + k] ~= 0xa5 then return false end
      end
    end
  end
  return true
end

--- Whether two numbers are one: also two NaN, and -0 is not 0.
function M.same(a, b)
  if a ~= a then return b ~= b end
  return a == b and (a ~= 0 or type(a) ~= 'number' or 1 / a == 1 / b)
end

--- Fails unless each number is within `relative` of the expected one, or within `absolute`.
function M.near(expected, got, relative, absolute, what)
  assert(#expected == #got, ('%s: %d elements instead of %d'):format(what, #got, #expected))
  for i = 1, #expected do
    local e, g = expected[i], got[i]
    local fine = M.same(e, g) or e == g or math.abs(tonumber(e - g)) <= math.max(absolute or 0, relative * math.abs(tonumber(e)))
    if not fine then error(('%s: element %d is %s instead of %s'):format(what, i, tostring(g), tostring(e)), 2) end
  end
end

--- Numbers between `low` and `high`, the same in each run.
function M.random(count, low, high, seed)
  local state, values = (seed or 1) * 7919 % 2147483647, {}
  for i = 1, count do
    state = state * 48271 % 2147483647
    values[i] = low + (high - low) * state / 2147483647
  end
  return values
end

return M
