--- Many elements to one: sums, means, extremes and where they are, over all dimensions or over some.
--
--     t:sum()                      over all: a tensor without dimensions, t:sum():item() is a number
--     t:mean(-1)                   over the last dimension, which the result lacks
--     t:max { 1, 3 }               over two of them
--     t:sum { 2, keep = true }     the dimension stays, of size 1, so that the result fits beside t
--
-- Sums of integers and of booleans are i64. Floats of 16 bits are added in f32.
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local ffi = require 'ffi'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'

local methods = Tensor.methods

local MOST = 2 ^ 31 - 1  -- results of one reduction, and elements of one of them

-- What each takes, and what it gives where that is not of the same type.
local REDUCTIONS = {
  sum = { constant = 'KERNEL_SUM', takes = 'any', wide = true },
  product = { constant = 'KERNEL_PRODUCT', takes = 'number', wide = true },
  mean = { constant = 'KERNEL_MEAN', takes = 'float' },
  min = { constant = 'KERNEL_REDUCE_MIN', takes = 'number', needs_one = true },
  max = { constant = 'KERNEL_REDUCE_MAX', takes = 'number', needs_one = true },
  argmin = { constant = 'KERNEL_ARGMIN', takes = 'number', needs_one = true, gives = 'i64' },
  argmax = { constant = 'KERNEL_ARGMAX', takes = 'number', needs_one = true, gives = 'i64' },
  logsumexp = { constant = 'KERNEL_LOGSUMEXP', takes = 'float' },
  any = { constant = 'KERNEL_REDUCE_ANY', takes = 'bool' },
  all = { constant = 'KERNEL_REDUCE_ALL', takes = 'bool' },
}

--- A list of dimensions, in which `keep` may stand too, or nil and what is wrong with it.
local function read_axes(given)
  for key, value in pairs(given) do
    if key == 'keep' then
      if type(value) ~= 'boolean' then return nil, 'keep: expected true or false, got ' .. check.describe(value) end
    elseif type(key) ~= 'number' or key % 1 ~= 0 or key < 1 or key > #given then
      local shown = type(key) == 'string' and "'" .. key .. "'" or check.describe(key)
      return nil, ('expected a list of dimensions like {1, 2} and keep, got the key %s%s'):format(shown,
        check.suggest(key, { 'keep' }))
    end
  end
  if #given == 0 and given.keep == nil then return nil, 'expected at least one dimension in the list; all without a list' end
  return given
end

--- Which dimensions are reduced, by their number, and whether they stay with size 1.
local function axes_of(self, method, given)
  local rank, reduced = #self.shape, {}
  local problem
  if given ~= nil and type(given) ~= 'table' then given = { given } end
  if given then
    given, problem = read_axes(given)
    if problem then Tensor.fail(self, method, problem) end
  end
  if not given or #given == 0 then
    for i = 1, rank do reduced[i] = true end
    return reduced, given and given.keep
  end
  for i = 1, #given do
    local axis = Tensor.check_axis(self, method, given[i])
    if reduced[axis] then
      Tensor.fail(self, method, ('expected each dimension once, got dimension %d twice'):format(axis))
    end
    reduced[axis] = true
  end
  return reduced, given.keep
end

--- The shape with 1 where it is reduced, and without what is reduced.
local function shapes_of(shape, reduced)
  local kept, short = {}, {}
  for i, size in ipairs(shape) do
    kept[i] = reduced[i] and 1 or size
    if not reduced[i] then short[#short + 1] = size end
  end
  return kept, short
end

local function check_sizes(self, method, rule, kept)
  local results, elements = shapes.count(kept), 1
  for i, size in ipairs(self.shape) do elements = elements * (kept[i] == size and 1 or size) end
  if rule.needs_one and results > 0 and elements == 0 then
    Tensor.fail(self, method, 'expected at least one element for each result, got none')
  end
  if results > MOST or elements > MOST then
    Tensor.fail(self, method, ('expected fewer than 2^31 results of fewer than 2^31 elements each, got %.0f of %.0f')
      :format(results, elements))
  end
end

--- Launches the reduction to `out`, of the kept shape.
local function launch(out, self, method, constant)
  local backend, stream = ops.enter(self)
  local library, op = backend.library, ffi.C[constant]
  local to, from = ops.view(1, out, stream), ops.view(2, self, stream)
  local bytes = tonumber(library.kernel_reduce_workspace(op, to, from))
  local workspace = bytes > 0 and storages.new(self.device, bytes) or nil
  backend:check(library.kernel_reduce(op, to, from, workspace and workspace.pointer, bytes, stream), method)
end

local function reduce(self, method, rule, given, more)
  Tensor.check_self(self, method)
  if more ~= nil then
    Tensor.fail(self, method, ('expected one argument, as in t:%s{1, keep = true}, got %s behind it'):format(method,
      check.describe(more)))
  end
  ops.check_kind(method, self, rule.takes)
  local reduced, keep = axes_of(self, method, given)
  local kept, short = shapes_of(self.shape, reduced)
  check_sizes(self, method, rule, kept)
  local dtype = self._dtype
  if rule.gives or rule.wide and dtype.kind ~= 'float' then dtype = Tensor.dtypes[rule.gives or 'i64'] end
  local out = Tensor.empty(self.device, dtype, kept)
  launch(out, self, method, rule.constant)
  if keep then return out end
  return Tensor.new(out._storage, dtype, short, shapes.strides(short), 0)
end

for method, rule in pairs(REDUCTIONS) do
  if rule.gives == 'i64' then
    -- Kernels count places from 0.
    methods[method] = function(self, ...) return ops.add_in_place(reduce(self, method, rule, ...), 1) end
  else
    methods[method] = function(self, ...) return reduce(self, method, rule, ...) end
  end
end
