--- Tensors: elements of one type in the memory of the host or of a device, which remote functions get and return.
--
--     local tensor = require 'farside.tensor'
--     local a = tensor.from({ { 1, 2, 3 }, { 4, 5, 6 } }, 'f32')
--     print(a:transpose():table()[3][2])          --> 6
--     print(tensor.zeros({ 2, 3 }, 'i32').shape[2]) --> 3
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local native = require 'farside.native'
local print_tensor = require 'farside.tensor.print'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'
local wire = require 'farside.tensor.wire'

local M = {
  is = Tensor.is,
  dtypes = { unpack(dtypes.names) },
  memory = storages.memory,
  trim = storages.trim,
}

local DEFAULT = 'f32'

local function find_dtype(what, name)
  local dtype, problem = dtypes.find(name)
  if not dtype then error(('%s: %s'):format(what, problem), 3) end
  return dtype
end

local function check_shape(what, value)
  local shape, problem = shapes.check(value)
  if not shape then error(('%s: %s'):format(what, problem), 3) end
  return shape
end

-- Empty ones ----------------------------------------------------------------------------------------------------------

--- Elements of any value.
function M.empty(shape, dtype)
  shape = check_shape('tensor.empty', shape)
  return Tensor.empty('cpu', find_dtype('tensor.empty', dtype or DEFAULT), shape)
end

--- Zeros; false for bool.
function M.zeros(shape, dtype)
  shape = check_shape('tensor.zeros', shape)
  local made = Tensor.empty('cpu', find_dtype('tensor.zeros', dtype or DEFAULT), shape)
  ffi.fill(made:data(), made:count() * made._dtype.size)
  return made
end

--- One value everywhere.
function M.full(shape, value, dtype)
  shape = check_shape('tensor.full', shape)
  local name = dtype or type(value) == 'boolean' and 'bool' or DEFAULT
  return Tensor.empty('cpu', find_dtype('tensor.full', name), shape):fill(value)
end

function M.ones(shape, dtype)
  shape = check_shape('tensor.ones', shape)
  local found = find_dtype('tensor.ones', dtype or DEFAULT)
  return Tensor.empty('cpu', found, shape):fill(found.kind == 'bool' or 1)
end

--- first, first + step, ... as long as they do not pass last: tensor.arange(1, 3) is {1, 2, 3}, as a loop in Lua is.
function M.arange(first, last, step, dtype)
  for name, value in pairs { first = first, last = last, step = step or 1 } do
    if type(value) ~= 'number' or value ~= value or math.abs(value) == math.huge then
      error(('tensor.arange: %s: expected a number, got %s'):format(name, check.describe(value)), 2)
    end
  end
  if first == nil or last == nil then error('tensor.arange: expected first and last, as in arange(1, 3)', 2) end
  step = step or 1
  if step == 0 then error('tensor.arange: step: expected a number other than 0, got the number 0', 2) end
  local count = math.max(math.floor((last - first) / step + 1e-9) + 1, 0)
  local shape = check_shape('tensor.arange', { count })
  local made = Tensor.empty('cpu', find_dtype('tensor.arange', dtype or DEFAULT), shape)
  local data, write = made:data(), made._dtype.write
  for i = 0, count - 1 do
    local expected = write(data, i, first + i * step)
    if expected then
      error(('tensor.arange: element %d of %s: expected %s, got %s'):format(i + 1, made.dtype, expected,
        check.describe(first + i * step)), 2)
    end
  end
  return made
end

-- From values ---------------------------------------------------------------------------------------------------------

--- The type that the elements of a nested list have without being told.
local function guess_dtype(value)
  while type(value) == 'table' do value = value[1] end
  if type(value) == 'boolean' then return 'bool' end
  if type(value) == 'cdata' then return 'i64' end
  return DEFAULT
end

--- The shape of a nested list, by its first elements.
local function shape_of(value)
  local shape = {}
  while type(value) == 'table' do
    shape[#shape + 1] = #value
    value = value[1]
  end
  return shape
end

--- Writes the elements of a nested list; returns nil or what is wrong, with its path.
local function write_nested(made, data, list, axis, at, path)
  local size = made.shape[axis]
  if type(list) ~= 'table' or #list ~= size then
    local got = type(list) == 'table' and ('a list of %d'):format(#list) or check.describe(list)
    return nil, ('value%s: expected a list of %d elements, got %s'):format(path, size, got)
  end
  local write = made._dtype.write
  for i = 1, size do
    if axis < #made.shape then
      local problem
      at, problem = write_nested(made, data, list[i], axis + 1, at, ('%s[%d]'):format(path, i))
      if not at then return nil, problem end
    else
      local expected = write(data, at, list[i])
      if expected then
        return nil, ('value%s[%d]: expected %s, got %s'):format(path, i, expected, check.describe(list[i]))
      end
      at = at + 1
    end
  end
  return at
end

local function from_table(value, dtype, shape)
  local own = shape_of(value)
  local made = Tensor.empty('cpu', dtype, check_shape('tensor.from', own))
  local done, problem = write_nested(made, made:data(), value, 1, 0, '')
  if not done then error('tensor.from: ' .. problem, 3) end
  if shape and shapes.count(shape) ~= done then
    error(('tensor.from: expected %d elements for the shape %s, got %d'):format(shapes.count(shape),
      shapes.describe(shape), done), 3)
  end
  return shape and made:reshape(shape) or made
end

local function from_value(value, dtype, shape)
  if shape and shapes.count(shape) ~= 1 then
    error(('tensor.from: expected %d elements for the shape %s, got one; tensor.full repeats it'):format(
      shapes.count(shape), shapes.describe(shape)), 3)
  end
  local made = Tensor.empty('cpu', dtype, shape or {})
  local expected = dtype.write(made:data(), 0, value)
  if expected then error(('tensor.from: expected %s, got %s'):format(expected, check.describe(value)), 3) end
  return made
end

--- Copies of bytes: the shape must fit them, or is one dimension of all.
local function from_bytes(value, bytes, dtype, shape, level)
  local count = bytes / dtype.size
  local expected = shape and ('%.0f'):format(shapes.count(shape) * dtype.size)
    or count % 1 ~= 0 and ('a multiple of %d'):format(dtype.size)
  if expected and (not shape or shapes.count(shape) ~= count) then
    error(('tensor.from: expected %s bytes for %s%s, got %.0f'):format(expected, dtype.name,
      shape and ' ' .. shapes.describe(shape) or '', bytes), level or 3)
  end
  shape = shape or { count }
  local made = Tensor.empty('cpu', dtype, shape)
  ffi.copy(made:data(), value, bytes)
  return made
end

local function from_cdata(value, dtype, shape)
  local name = tostring(ffi.typeof(value))
  if name:find '%*>$' or name:find '&>$' then
    if not shape then error('tensor.from: expected a shape beside a pointer, got nil', 3) end
    local made = from_bytes(value, shapes.count(shape) * dtype.size, dtype, shape)
    return made
  end
  local bytes = ffi.sizeof(value)
  if shape and bytes >= shapes.count(shape) * dtype.size then bytes = shapes.count(shape) * dtype.size end
  local made = from_bytes(value, bytes, dtype, shape, 4)
  return made
end

local function is_number(value)
  return type(value) == 'number' or type(value) == 'boolean' or ffi.istype('int64_t', value)
    or ffi.istype('uint64_t', value)
end

--- A tensor of a copy of
--- - nested lists of numbers or booleans, f32 or bool without a dtype;
--- - a string or an FFI array of the elements' bytes, little-endian; its shape is one dimension without another;
--- - the memory at an FFI pointer, which must hold what the shape says;
--- - a number, as a tensor without dimensions.
function M.from(value, dtype, shape)
  local found = find_dtype('tensor.from', dtype or guess_dtype(value))
  if shape ~= nil then shape = check_shape('tensor.from', shape) end
  if Tensor.is(value) then
    error('tensor.from: expected a table, a string, cdata or a number, got a tensor; t:to(dtype) converts', 2)
  end
  local made  -- no tail calls: errors stand at the caller's line
  if type(value) == 'table' then
    made = from_table(value, found, shape)
  elseif type(value) == 'string' then
    made = from_bytes(value, #value, found, shape)
  elseif is_number(value) then
    made = from_value(value, found, shape)
  elseif type(value) == 'cdata' then
    made = from_cdata(value, found, shape)
  else
    error(('tensor.from: expected a table, a string, cdata or a number, got %s'):format(check.describe(value)), 2)
  end
  return made
end

-- Files ---------------------------------------------------------------------------------------------------------------

local FORMATS = { npy = 'farside.tensor.npy', safetensors = 'farside.tensor.safetensors' }

local function format_of(what, path)
  local format = type(path) == 'string' and FORMATS[path:match '%.(%w+)$']
  if not format then
    error(('%s: expected the name of a .npy or .safetensors file, got %s'):format(what, check.describe(path)), 3)
  end
  return require(format)
end

--- Loads a file: a tensor of a .npy; of a .safetensors a table of tensors by name, and its metadata. They lie in the file's
-- pages until they are written to or moved.
function M.load(path)
  local format = format_of('tensor.load', path)
  return format.load(path)
end

--- Saves a tensor as .npy, or tensors by name as .safetensors, with metadata (texts by text) there.
function M.save(path, value, metadata)
  local format = format_of('tensor.save', path)
  format.save(path, value, metadata)
end

function Tensor:__tostring()
  local host = Tensor.on_host(self)
  return print_tensor.head(self) .. '\n' .. print_tensor.elements(host)
end

wire.install(native, Tensor)

return M
