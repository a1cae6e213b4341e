--- Arrays of the bench, each on the host for the plain loop and on the device for the kernel: the same numbers in both. They are
-- there until `free`.
local ffi = require 'ffi'

local M = {}
M.__index = M

local CODES, SIZES = {}, { f64 = 8, f32 = 4, f16 = 2, bf16 = 2, i64 = 8, i32 = 4, u8 = 1, bool = 1 }
for code, name in ipairs { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool' } do CODES[name] = code - 1 end
local CTYPES = { f64 = 'double *', f32 = 'float *', f16 = 'uint16_t *', bf16 = 'uint16_t *', i64 = 'int64_t *', i32 = 'int32_t *',
  u8 = 'uint8_t *', bool = 'uint8_t *' }

local Array = {}
Array.__index = Array

--- C: the library of kernels. plain: that of the loops.
function M.new(C, plain)
  return setmetatable({ C = C, plain = plain, all = {}, seed = 0 }, M)
end

--- Raises unless a status is 0.
function M:check(status)
  if status ~= 0 then error(ffi.string(self.C.device_error_text(status)), 2) end
end

function M:_memory(allocate, free, bytes)
  local place = ffi.new('void *[1]')
  self:check(allocate(place, bytes))
  self.all[#self.all + 1] = function() free(place[0]) end
  return place[0]
end

function M:_host(bytes)
  return self:_memory(self.C.device_host_malloc, self.C.device_host_free, bytes)
end

--- An array of `count` elements, which are whatever lay there.
function M:empty(dtype, count)
  local C, bytes = self.C, count * SIZES[dtype]
  return setmetatable({
    arrays = self, dtype = dtype, count = count, bytes = bytes,
    host = ffi.cast(CTYPES[dtype], self:_host(bytes)),
    device = self:_memory(function(place, size) return C.device_malloc(place, size, nil) end,
      function(memory) C.device_free(memory, nil) end, bytes),
  }, Array)
end

--- An array of numbers between -4 and 4, of f32 or bf16.
function M:numbers(dtype, count)
  self.seed = self.seed + 1
  local made = self:empty(dtype, count)
  if dtype == 'bf16' then
    local exact = self:empty('f32', count)
    self.plain.plain_numbers(exact.host, count, self.seed)
    self.plain.plain_to_bf16(made.host, exact.host, count)
  else
    self.plain.plain_numbers(made.host, count, self.seed)
  end
  return made:upload()
end

function M:free()
  self:check(self.C.device_synchronize())
  for _, free in ipairs(self.all) do free() end
  self.all = {}
end

--- To the device what the host has.
function Array:upload()
  local arrays = self.arrays
  arrays:check(arrays.C.device_copy(self.device, self.host, self.bytes, nil))
  arrays:check(arrays.C.device_synchronize())
  return self
end

--- The array as a view of `shape`, row-major unless `strides` says otherwise.
function Array:view(shape, strides)
  local view = ffi.new('struct kernel_view')
  view.data, view.dtype, view.rank = self.device, CODES[self.dtype], #shape
  local step = 1
  for i = #shape, 1, -1 do
    view.shape[i - 1], view.stride[i - 1] = shape[i], strides and strides[i] or step
    step = step * shape[i]
  end
  return view
end

--- How far what the kernel has made is from what the loop has made: at most, as a part of it.
function Array:difference()
  local arrays = self.arrays
  local plain = arrays.plain
  local got = ffi.cast(CTYPES[self.dtype], arrays:_host(self.bytes))
  arrays:check(arrays.C.device_synchronize())
  arrays:check(arrays.C.device_copy(got, self.device, self.bytes, nil))
  arrays:check(arrays.C.device_synchronize())
  if self.dtype == 'f32' then return plain.plain_difference_f32(self.host, got, self.count) end
  if self.dtype == 'bf16' then return plain.plain_difference_bf16(self.host, got, self.count) end
  return plain.plain_difference_bytes(self.host, got, self.bytes)
end

return M
