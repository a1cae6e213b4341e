--- Choosing and ordering elements: the largest, all in order, those at given places.
--
--     t:topk(10)                     the 10 largest along the last dimension, and their places
--     t:topk(10, 1, { largest = false })   the least along the first
--     t:sort()                       all in order, and their places; t:sort(1, { descending = true })
--     t:argsort()                    the places alone
--
-- Places are i64 and counted from 1, as everywhere in Lua. Equals keep their order. NaN counts as the largest number, so that a
-- result which is none stands where it is seen.
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local ops = require 'farside.tensor.ops'
local storages = require 'farside.tensor.storage'

local methods = Tensor.methods
local fail = Tensor.fail

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
