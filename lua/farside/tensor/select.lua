--- Choosing and ordering elements: the largest, all in order, those at given places.
--
--     t:topk(10)                     the 10 largest along the last dimension, and their places
--     t:topk(10, 1, { largest = false })   the least along the first
--     t:sort()                       all in order, and their places; t:sort(1, { descending = true })
--     t:argsort()                    the places alone
--     t:take({ 3, 1 })               the third and the first part along the first dimension
--     t:gather(2, places)            along the second, at places of each row's own: what t:argsort() returns makes t:sort()
--
-- Places are i64 and counted from 1, as everywhere in Lua. Equals keep their order. NaN counts as the largest number, so that a
-- result which is none stands where it is seen.
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local ffi = require 'ffi'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'

local methods = Tensor.methods
local fail = Tensor.fail

local UNSIGNED = ffi.typeof 'uint64_t *'
local MOST = 2 ^ 31 - 1  -- rows, and elements of one

--- The option of a table that has at most this one, which is true or false.
local function option(self, method, given, name, default)
  if given == nil then return default end
  if type(given) ~= 'table' then
    fail(self, method, ('expected options like { %s = %s }, got %s'):format(name, tostring(not default), check.describe(given)))
  end
  for key in pairs(given) do
    if key ~= name then
      fail(self, method, ('expected %s as the only option, got %s%s'):format(name, check.describe(key),
        check.suggest(key, { name })))
    end
  end
  if given[name] == nil then return default end
  if type(given[name]) ~= 'boolean' then
    fail(self, method, ('%s: expected true or false, got %s'):format(name, check.describe(given[name])))
  end
  return given[name]
end

--- The dimension along which rows lie: the last without another.
local function axis_of(self, method, given)
  if #self.shape == 0 then fail(self, method, 'expected at least one dimension, got none') end
  local axis = Tensor.check_axis(self, method, given == nil and -1 or given)
  local length, rows = self.shape[axis], 1
  for i, size in ipairs(self.shape) do rows = rows * (i == axis and 1 or size) end
  if length > MOST or rows > MOST then
    fail(self, method, ('expected fewer than 2^31 rows of fewer than 2^31 elements, got %.0f of %.0f'):format(rows, length))
  end
  return axis
end

--- Launches topk or sort along a dimension, of which `count` are kept. Returns values (unless `places_only`) and places.
local function order(self, method, kernel, axis, count, flag, places_only)
  local backend, stream = ops.enter(self)
  local shape = { unpack(self.shape) }
  shape[axis] = count
  local values = not places_only and Tensor.empty(self.device, self._dtype, shape) or nil
  local places = Tensor.empty(self.device, Tensor.dtypes.i64, { unpack(shape) })
  -- Kernels work along the last dimension.
  local function last(number, tensor) return ops.view(number, tensor:transpose(axis, -1), stream) end
  local library = backend.library
  local to, at, from = values and last(1, values), last(2, places), last(3, self)
  local bytes = tonumber(library['kernel_' .. kernel .. '_workspace'](to, at, from))
  local workspace = bytes > 0 and storages.new(self.device, bytes) or nil
  local status = library['kernel_' .. kernel](to, at, from, flag and 1 or 0, 1, workspace and workspace.pointer, bytes, stream)
  backend:check(status, method)
  return values, places
end

--- The k largest elements along a dimension, the largest first, and their places; with { largest = false } the least.
---@return table values
---@return table places
function methods:topk(k, dimension, options)
  Tensor.check_self(self, 'topk')
  local axis = axis_of(self, 'topk', dimension)
  local largest = option(self, 'topk', options, 'largest', true)
  local length = self.shape[axis]
  if type(k) ~= 'number' or k % 1 ~= 0 or k < 0 or k > length then
    fail(self, 'topk', ('expected a whole number from 0 to %d, the size of dimension %d, got %s'):format(length, axis,
      check.describe(k)))
  end
  return order(self, 'topk', 'topk', axis, k, largest)
end

--- The elements in order along a dimension, the least first, and their places; with { descending = true } the largest first.
---@return table values
---@return table places
function methods:sort(dimension, options)
  Tensor.check_self(self, 'sort')
  local axis = axis_of(self, 'sort', dimension)
  return order(self, 'sort', 'sort', axis, self.shape[axis], option(self, 'sort', options, 'descending', false))
end

--- Where the elements are that t:sort(...) returns.
function methods:argsort(dimension, options)
  Tensor.check_self(self, 'argsort')
  local axis = axis_of(self, 'argsort', dimension)
  local _, places = order(self, 'argsort', 'sort', axis, self.shape[axis],
    option(self, 'argsort', options, 'descending', false), true)
  return places
end

-- Elements from places ------------------------------------------------------------------------------------------------

local function number_in_words(value)
  return type(value) == 'number' and ('%.0f'):format(value) or (tostring(value):gsub('LL$', ''))
end

--- Launches gather or take into a new tensor. Places that lead out of the dimension are refused, for which the device is waited
-- for; not so without `checked`, and they become zeros.
local function from_places(self, method, shape, axis, index, checked)
  local out = Tensor.empty(self.device, self._dtype, shape)
  if out:count() == 0 then return out end
  local size = self.shape[axis]
  if size == 0 then
    fail(self, method, ('expected no places, for dimension %d has none, got places %s'):format(axis,
      shapes.describe(index.shape)))
  end
  if checked and storages.is_capturing() then
    fail(self, method, 'expected { checked = false } while a graph is written down: places are not known before it is replayed')
  end
  local backend, stream = ops.enter(self)
  local wrong = checked and Tensor.empty(self.device, Tensor.dtypes.i64, {}) or nil
  if wrong then backend:check(backend.library.device_memset(wrong:data(), 0, 8, stream), method) end
  local status = backend.library['kernel_' .. method](ops.view(1, out, stream), ops.view(2, self, stream),
    ops.view(3, index, stream), axis - 1, 1, wrong and ffi.cast(UNSIGNED, wrong:data()), stream)
  backend:check(status, method)
  local found = wrong and wrong:item() or 0
  if found ~= 0 then
    fail(self, method, ('expected places from 1 to %d of dimension %d, got %s'):format(size, axis, number_in_words(found + 1)))
  end
  return out
end

local function check_places(self, method, index)
  if not Tensor.is(index) then
    fail(self, method, ('expected a tensor of i64 or i32 with places, got %s'):format(check.describe(index)))
  end
  if index.dtype ~= 'i64' and index.dtype ~= 'i32' then
    fail(self, method, ("expected places of i64 or i32 (t:to 'i64' converts), got %s"):format(ops.name_of(index)))
  end
  if index.device ~= self.device then
    fail(self, method, ('expected places on %s, got %s on %s'):format(self.device, ops.name_of(index), index.device))
  end
end

--- A list of places as a tensor beside another.
local function listed(self, list)
  local made = Tensor.empty('cpu', Tensor.dtypes.i64, { #list })
  for i = 1, #list do
    local expected = made._dtype.write(made:data(), i - 1, list[i])
    if expected then
      fail(self, 'take', ('place %d of the list: expected %s, got %s'):format(i, expected, check.describe(list[i])))
    end
  end
  return made:to(self.device)
end

--- out[i][j]... = t[index[i][j]...][j]... along the first dimension, for another likewise. The places' other dimensions are those
-- of the tensor; sizes of 1 are stretched, on either side. Options as for t:take.
function methods:gather(dimension, index, options)
  Tensor.check_self(self, 'gather')
  local axis = Tensor.check_axis(self, 'gather', dimension)
  check_places(self, 'gather', index)
  local checked = option(self, 'gather', options, 'checked', true)
  local rank = #self.shape
  local shape, wide = {}, {}
  for i = 1, rank do
    local mine, other = self.shape[i], index.shape[i]
    if i == axis then
      shape[i], wide[i] = other, mine
    else
      shape[i] = mine == 1 and other or mine
      wide[i] = shape[i]
    end
    if #index.shape ~= rank or i ~= axis and other ~= 1 and other ~= shape[i] then
      fail(self, 'gather', ('expected places of its shape but for dimension %d, got %s'):format(axis,
        shapes.describe(index.shape)))
    end
  end
  return from_places(self:expand(wide), 'gather', shape, axis, index:expand(shape), checked)
end

--- The parts at places along a dimension, the first without another: a tensor of places, whose shape stands in the result where
-- the dimension stood, or a list of them. With { checked = false } places that lead out become zeros instead of an error, and the
-- device is not waited for.
function methods:take(index, dimension, options)
  Tensor.check_self(self, 'take')
  if #self.shape == 0 then fail(self, 'take', 'expected at least one dimension, got none') end
  local axis = Tensor.check_axis(self, 'take', dimension == nil and 1 or dimension)
  if type(index) == 'table' and not Tensor.is(index) then index = listed(self, index) end
  check_places(self, 'take', index)
  local checked = option(self, 'take', options, 'checked', true)
  local shape, flat = {}, { unpack(self.shape) }
  flat[axis] = index:count()
  for i = 1, axis - 1 do shape[#shape + 1] = self.shape[i] end
  for _, size in ipairs(index.shape) do shape[#shape + 1] = size end
  for i = axis + 1, #self.shape do shape[#shape + 1] = self.shape[i] end
  if #shape > shapes.MAX_RANK then
    fail(self, 'take', ('expected a result of at most %d dimensions, got %s'):format(shapes.MAX_RANK, shapes.describe(shape)))
  end
  if #index.shape ~= 1 then index = index:contiguous():reshape { flat[axis] } end
  return from_places(self, 'take', flat, axis, index, checked):reshape(shape)
end
