--- The arguments of a launch: checked against the kernel's signature, and laid out as CUDA takes them, as pointers to values.
local Tensor = require 'farside.tensor.class'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local native = require 'farside.native'
local shapes = require 'farside.tensor.shape'
local types = require 'farside.cuda.types'

local Arguments = {}
Arguments.__index = Arguments

local SLOT = 8  -- bytes, of a value: the largest that is a number or an address
local address = ffi.typeof 'void **'
local pointer = ffi.typeof 'void *'
local null_pointer = pointer()

--- Room for the arguments of one kernel at a time.
function Arguments.new(kernel)
  local count = #kernel.parameters
  local self = setmetatable({
    kernel = kernel,
    pointers = ffi.new('void *[?]', math.max(count, 1)),
    _slots = ffi.new('uint64_t[?]', math.max(count, 1)),
    _values = {},  -- of each slot, a pointer of the parameter's type
    _kept = {},    -- what has a place of its own: structs
  }, Arguments)
  for i, parameter in ipairs(kernel.parameters) do
    local slot = ffi.cast('uint8_t *', self._slots) + (i - 1) * SLOT
    self._values[i] = ffi.cast(parameter.kind == 'scalar' and parameter.type.pointer or address, slot)
  end
  return self
end

local function name_of(parameter, i)
  return parameter.name and ('%s (%s)'):format(parameter.name, parameter.text) or ('parameter %d (%s)'):format(i, parameter.text)
end

local function refuse(kernel, i, expected, got)
  misuse('kernel %s: %s: expected %s, got %s', kernel.name, name_of(kernel.parameters[i], i), expected, got)
end

local function describe(value)
  return types.describe(value, Tensor.is(value))
end

-- Pointers -------------------------------------------------------------------------------------------------------------

local function expected_pointer(parameter)
  local dtype = parameter.type and parameter.type.dtype
  if not parameter.type then return 'a tensor' end
  return dtype and 'a tensor of ' .. dtype or ('a cdata pointer (tensors have no elements of %s)'):format(parameter.type.name)
end

--- What is wrong with a tensor for a pointer: what is expected and what there is instead; nil: nothing.
local function problem_of(parameter, tensor, device)
  local type = parameter.type
  if type and type.dtype ~= tensor.dtype then return expected_pointer(parameter), describe(tensor) end
  if tensor.device ~= device then
    return ("a tensor on %s (t:to '%s' copies)"):format(device, device), 'one on ' .. tensor.device
  end
  if not tensor:is_contiguous() then
    return 'a tensor whose elements lie in order (t:contiguous() copies)', 'a view of shape ' .. shapes.describe(tensor.shape)
  end
  if type and type.width > 1 then
    if tensor:count() % type.width ~= 0 then
      return ('a multiple of %d elements'):format(type.width), ('%d'):format(tensor:count())
    end
    if tonumber(ffi.cast('uintptr_t', tensor:data())) % type.align ~= 0 then
      return ('elements that begin at a multiple of %d bytes'):format(type.align), 'a view that begins elsewhere'
    end
  end
end

local any_pointer = ffi.typeof 'const void *[1]'

--- Puts a cdata pointer or array into a slot, if its elements are of the parameter's type.
local function put_cdata(slot, parameter, value)
  local ok, converted = pcall(ffi.new, parameter.type and parameter.type.place or any_pointer, { value })
  if not ok then return false end
  slot[0] = ffi.cast('void *', converted[0])
  return true
end

local function put_pointer(self, i, value, device)
  local parameter, slot = self.kernel.parameters[i], self._values[i]
  if Tensor.is(value) then
    local expected, got = problem_of(parameter, value, device)
    if expected then refuse(self.kernel, i, expected, got) end
    Tensor.check_bounds(value)
    slot[0] = value:data()
  elseif value == native.null then
    slot[0] = nil
  elseif type(value) ~= 'cdata' or not put_cdata(slot, parameter, value) then
    refuse(self.kernel, i, expected_pointer(parameter), describe(value))
  end
end

-- Values ---------------------------------------------------------------------------------------------------------------

local function put_scalar(self, i, value)
  local parameter = self.kernel.parameters[i]
  local expected = parameter.type.write(self._values[i], value)
  if expected then refuse(self.kernel, i, expected, describe(value)) end
end

local function copy_of_value(value)
  local copy = ffi.new(ffi.typeof('$[1]', ffi.typeof(value)))
  copy[0] = value
  return copy
end
-- Compiled, it takes the type that it was compiled with for that of another value.
jit.off(copy_of_value)

local function copy_of_bytes(value)
  local size = ffi.sizeof(value)
  local copy = ffi.new('uint64_t[?]', math.ceil(size / 8))
  ffi.copy(copy, value, size)
  return copy
end

--- A copy of a cdata, of the size that the compiler says the parameter has.
local function put_other(self, i, value, size)
  local parameter = self.kernel.parameters[i]
  if parameter.is_pointer and value == native.null then value = null_pointer end
  if type(value) ~= 'cdata' then
    refuse(self.kernel, i, 'a cdata, as ffi.new makes it: its type is not known here', describe(value))
  end
  if parameter.is_pointer then value = ffi.cast(pointer, value) end  -- arrays and structs are passed by their address
  if size and ffi.sizeof(value) ~= size then
    refuse(self.kernel, i, ('a cdata of %d bytes'):format(size), ('%s of %d'):format(describe(value), ffi.sizeof(value)))
  end
  -- Of numbers and pointers ffi.copy would take the value for an address.
  local ctype = tostring(ffi.typeof(value))
  local is_aggregate = ctype:find '[&%]]>$' or not ctype:find '%*>$' and (ctype:find '%f[%a]struct ' or ctype:find '%f[%a]union ')
  local copy = (is_aggregate and copy_of_bytes or copy_of_value)(value)
  self._kept[i] = copy
  self.pointers[i - 1] = copy
end

local PUT = { pointer = put_pointer, scalar = put_scalar }

-- All of them ----------------------------------------------------------------------------------------------------------

--- Checks their number, and each of them.
---@param device string where the launch is to run
---@param sizes table? of the parameters in bytes, as the compiler has them
function Arguments:put(device, sizes, count, ...)
  local parameters = self.kernel.parameters
  if count ~= #parameters then
    misuse('kernel %s%s: expected %d argument%s, got %d', self.kernel.name, self.kernel.text, #parameters,
      #parameters == 1 and '' or 's', count)
  end
  for i = 1, count do
    local parameter, value = parameters[i], (select(i, ...))
    local put = PUT[parameter.kind]
    if put then
      self.pointers[i - 1] = self._values[i]
      put(self, i, value, device)
    else
      put_other(self, i, value, sizes and sizes[i])
    end
  end
end

--- Lets go of what a launch no longer needs.
function Arguments:clear()
  for i in pairs(self._kept) do self._kept[i] = nil end
end

return Arguments
