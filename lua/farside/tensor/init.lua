--- Tensors: elements of one type in the memory of the host or of a device, which remote functions get and return.
--
--     local tensor = require 'farside.tensor'
--     local a = tensor.from({ { 1, 2, 3 }, { 4, 5, 6 } }, 'f32')
--     print(a:transpose():table()[3][2])          --> 6
--     print(tensor.zeros({ 2, 3 }, 'i32').shape[2]) --> 3
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local matmul = require 'farside.tensor.matmul'
local misuse = require 'farside.tensor.misuse'
local native = require 'farside.native'
local ops = require 'farside.tensor.ops'
local print_tensor = require 'farside.tensor.print'
local random = require 'farside.tensor.random'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'
local wire = require 'farside.tensor.wire'
require 'farside.tensor.reduce'
require 'farside.tensor.rows'
require 'farside.tensor.select'

local M = {
  is = Tensor.is,
  dtypes = { unpack(dtypes.names) },
}

local DEFAULT = 'f32'

local function find_dtype(what, name)
  local dtype, problem = dtypes.find(name)
  if not dtype then misuse('%s: %s', what, problem) end
  return dtype
end

local function check_shape(what, value)
  local shape, problem = shapes.check(value)
  if not shape then misuse('%s: %s', what, problem) end
  return shape
end

local function find_device(what, value)
  local device, problem = backends.device(value or 'cpu')
  if not device then misuse('%s: %s', what, problem) end
  return device
end

--- The device of this process: on a worker its GPU, 'cuda:0', where it has one; else 'cpu'.
function M.device()
  return backends.preferred()
end

-- Memory --------------------------------------------------------------------------------------------------------------

--- Bytes of a device ('cpu' without another) in use by tensors, in memory kept for the next, in use at most so far, as
-- { used =, cached =, peak = }.
function M.memory(device)
  return storages.memory(find_device('tensor.memory', device))
end

--- Gives memory that is kept for the next tensor back to the system.
function M.trim(device)
  storages.trim(find_device('tensor.trim', device))
end

--- What multiplies matrices of floats on a device ('cpu' without another): 'OpenBLAS 0.3.21 Cooperlake', 'cuBLASLt 13.1.0', or
-- 'portable' where neither is there.
function M.matmul_library(device)
  return matmul.library(find_device('tensor.matmul_library', device))
end

-- Empty ones ----------------------------------------------------------------------------------------------------------

--- Checks type, shape and device and makes the tensor, not filled.
local function make(what, shape, dtype, device)
  shape = check_shape(what, shape)
  return Tensor.empty(find_device(what, device), find_dtype(what, dtype or DEFAULT), shape)
end

--- Elements of any value.
function M.empty(shape, dtype, device)
  return make('tensor.empty', shape, dtype, device)
end

--- Zeros; false for bool.
function M.zeros(shape, dtype, device)
  local made = make('tensor.zeros', shape, dtype, device)
  if not Tensor.is_plain(made) then return made:fill(made.dtype ~= 'bool' and 0) end
  ffi.fill(made:data(), made:count() * made._dtype.size)
  return made
end

--- One value everywhere.
function M.full(shape, value, dtype, device)
  return make('tensor.full', shape, dtype or type(value) == 'boolean' and 'bool', device):fill(value)
end

function M.ones(shape, dtype, device)
  local made = make('tensor.ones', shape, dtype, device)
  return made:fill(made.dtype == 'bool' or 1)
end

local function check_element(made, i, value, expected)
  if expected then
    misuse('tensor.arange: element %d of %s: expected %s, got %s', i, made.dtype, expected, check.describe(value))
  end
end

--- Fills a range on the host; or by a kernel, when the first elements and the last say that all fit.
local function fill_range(made, first, step)
  local count, write = made:count(), made._dtype.write
  if Tensor.is_plain(made) then
    local data = made:data()
    for i = 0, count - 1 do
      local value = first + i * step
      local expected = write(data, i, value)
      if expected then check_element(made, i + 1, value, expected) end
    end
    return made
  end
  local scratch = ffi.new(made._dtype.scratch)
  for _, i in ipairs { 0, math.min(1, count - 1), count - 1 } do
    if i >= 0 then check_element(made, i + 1, first + i * step, write(scratch, 0, first + i * step)) end
  end
  ops.fill_range_on_device(made, first, step)
  return made
end

--- first, first + step, ... as long as they do not pass last: tensor.arange(1, 3) is {1, 2, 3}, as a loop in Lua is.
function M.arange(first, last, step, dtype, device)
  for name, value in pairs { first = first, last = last, step = step or 1 } do
    if type(value) ~= 'number' or value ~= value or math.abs(value) == math.huge then
      misuse('tensor.arange: %s: expected a number, got %s', name, check.describe(value))
    end
  end
  if first == nil or last == nil then misuse('tensor.arange: expected first and last, as in arange(1, 3)') end
  step = step or 1
  if step == 0 then misuse('tensor.arange: step: expected a number other than 0, got the number 0') end
  local count = math.max(math.floor((last - first) / step + 1e-9) + 1, 0)
  return fill_range(make('tensor.arange', { count }, dtype, device), first, step)
end

--- A generator of random numbers of a seed: a whole number, or a 64-bit integer as cdata.
function M.random(seed)
  return random.new(seed)
end

-- From values ---------------------------------------------------------------------------------------------------------

local function is_list(value)
  return type(value) == 'table' and not Tensor.is(value)
end

--- The type that the elements of a nested list have without being told. One that is deeper than shapes are is left to be refused.
local function guess_dtype(value)
  for _ = 1, shapes.MAX_RANK do
    if is_list(value) then value = value[1] end
  end
  if type(value) == 'boolean' then return 'bool' end
  if type(value) == 'cdata' then return 'i64' end
  return DEFAULT
end

--- The shape of a nested list, by its first elements.
local function shape_of(value)
  local shape = {}
  while is_list(value) and #shape <= shapes.MAX_RANK do
    shape[#shape + 1] = #value
    value = value[1]
  end
  return shape
end

--- Writes the elements of a nested list; returns nil or what is wrong, with its path.
local function write_nested(made, data, list, axis, at, path)
  local size = made.shape[axis]
  if not is_list(list) or #list ~= size then
    local got = is_list(list) and ('a list of %d'):format(#list) or check.describe(list)
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
  if not done then misuse('tensor.from: ' .. problem) end
  if shape and shapes.count(shape) ~= done then
    misuse('tensor.from: expected %d elements for the shape %s, got %d', shapes.count(shape),
      shapes.describe(shape), done)
  end
  return shape and made:reshape(shape) or made
end

local function from_value(value, dtype, shape)
  if shape and shapes.count(shape) ~= 1 then
    misuse('tensor.from: expected %d elements for the shape %s, got one; tensor.full repeats it', shapes.count(shape),
      shapes.describe(shape))
  end
  local made = Tensor.empty('cpu', dtype, shape or {})
  local expected = dtype.write(made:data(), 0, value)
  if expected then misuse('tensor.from: expected %s, got %s', expected, check.describe(value)) end
  return made
end

--- Copies of bytes: the shape must fit them, or is one dimension of all.
local function from_bytes(value, bytes, dtype, shape)
  local count = bytes / dtype.size
  local expected = shape and ('%.0f'):format(shapes.count(shape) * dtype.size)
    or count % 1 ~= 0 and ('a multiple of %d'):format(dtype.size)
  if expected and (not shape or shapes.count(shape) ~= count) then
    misuse('tensor.from: expected %s bytes for %s%s, got %.0f', expected, dtype.name,
      shape and ' ' .. shapes.describe(shape) or '', bytes)
  end
  shape = shape or { count }
  local made = Tensor.empty('cpu', dtype, shape)
  ffi.copy(made:data(), value, bytes)
  if dtype.name == 'bool' then dtypes.make_bools(made:data(), bytes) end
  return made
end

local function from_cdata(value, dtype, shape)
  local name = tostring(ffi.typeof(value))
  if name:find '%*>$' or name:find '&>$' then
    if not shape then misuse('tensor.from: expected a shape beside a pointer, got nil') end
    return from_bytes(value, shapes.count(shape) * dtype.size, dtype, shape)
  end
  local bytes = ffi.sizeof(value)
  if shape and bytes >= shapes.count(shape) * dtype.size then bytes = shapes.count(shape) * dtype.size end
  return from_bytes(value, bytes, dtype, shape)
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
    misuse('tensor.from: expected a table, a string, cdata or a number, got a tensor; t:to(dtype) converts')
  end
  if type(value) == 'table' then return from_table(value, found, shape) end
  if type(value) == 'string' then return from_bytes(value, #value, found, shape) end
  if is_number(value) then return from_value(value, found, shape) end
  if type(value) == 'cdata' then return from_cdata(value, found, shape) end
  misuse('tensor.from: expected a table, a string, cdata or a number, got %s', check.describe(value))
end

-- Files ---------------------------------------------------------------------------------------------------------------

local FORMATS = { npy = 'farside.tensor.npy', safetensors = 'farside.tensor.safetensors' }

local function format_of(what, path)
  local format = type(path) == 'string' and FORMATS[path:match '%.(%w+)$']
  if not format then
    misuse('%s: expected the name of a .npy or .safetensors file, got %s', what, check.describe(path))
  end
  return require(format)
end

--- Loads a file: a tensor of a .npy; of a .safetensors a table of tensors by name, and its metadata. On the host they lie in
-- the file's pages until they are written to; to another device they are copied from there.
function M.load(path, device)
  local format = format_of('tensor.load', path)
  device = find_device('tensor.load', device)
  local loaded, metadata = format.load(path)
  if Tensor.is(loaded) then return loaded:to(device) end
  for name, one in pairs(loaded) do loaded[name] = one:to(device) end
  return loaded, metadata
end

--- Saves a tensor as .npy, or tensors by name as .safetensors, with metadata (texts by text) there.
function M.save(path, value, metadata)
  local format = format_of('tensor.save', path)
  format.save(path, value, metadata)
end

function Tensor:__tostring()
  if storages.is_unknown(self._storage) then return print_tensor.head(self) .. ' of a graph that is written down' end
  Tensor.check_bounds(self)
  local host = Tensor.on_host(self)
  return print_tensor.head(self) .. '\n' .. print_tensor.elements(host)
end

Tensor.ops = ops
wire.install(native, Tensor)

return M
