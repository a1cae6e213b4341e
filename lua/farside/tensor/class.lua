--- What a tensor is: elements of one type in a storage, found by a shape, strides and an offset. Views share the storage.
--
-- Dimensions and positions are counted from 1, from the end with negative numbers, and ranges include both ends, as
-- everywhere in Lua.
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'

local Tensor = {}

-- Methods, and what is looked up by number: t[i].
local methods = {}
Tensor.methods = methods

function Tensor.is(value)
  return type(value) == 'table' and getmetatable(value) == Tensor
end

Tensor.dtypes, Tensor.dtype_names = dtypes.types, dtypes.names

--- Makes a tensor of its parts, which it keeps.
---@param offset number elements before the first
function Tensor.new(storage, dtype, shape, strides, offset)
  return setmetatable({
    device = storage.device,
    dtype = dtype.name,
    shape = shape,
    _dtype = dtype,
    _storage = storage,
    _strides = strides,
    _offset = offset,
  }, Tensor)
end

--- A new one, not filled, in row-major order.
function Tensor.empty(device, dtype, shape)
  local storage = storages.new(device, shapes.count(shape) * dtype.size)
  return Tensor.new(storage, dtype, shape, shapes.strides(shape), 0)
end

--- Checks `self` of a method that was called with a dot instead of a colon.
local function check_self(self, method)
  if not Tensor.is(self) then
    misuse('expected a tensor before the colon: write t:%s(...), got %s', method, check.describe(self))
  end
end
Tensor.check_self = check_self

local function fail(self, method, problem)
  misuse('%s of a tensor %s: %s', method, shapes.describe(self.shape), problem)
end
Tensor.fail = fail

--- Where in the storage the first and the last of its elements lie, or nil: it has none.
local function extent(self)
  local first, last = self._offset, self._offset
  for i, size in ipairs(self.shape) do
    if size == 0 then return nil end
    local reach = (size - 1) * self._strides[i]
    if reach < 0 then first = first + reach else last = last + reach end
  end
  return first, last
end

--- A shape that was changed by hand must not lead out of the storage.
function Tensor.check_bounds(self)
  local first, last = extent(self)
  if not first then return end
  if first >= 0 and (last + 1) * self._dtype.size <= self._storage.bytes then return end
  error(('a tensor %s of %s: its elements lie outside of its %.0f bytes; a shape is no place to write to'):format(
    shapes.describe(self.shape), self.dtype, self._storage.bytes), 0)
end

-- What it is ----------------------------------------------------------------------------------------------------------

--- Number of dimensions.
function methods:rank()
  return #self.shape
end

--- Number of elements.
function methods:count()
  return shapes.count(self.shape)
end

--- For each dimension, how many elements of the storage lie between two neighbours.
function methods:strides()
  return { unpack(self._strides) }
end

--- Whether the elements lie in row-major order without gaps.
function methods:is_contiguous()
  return shapes.is_contiguous(self.shape, self._strides)
end

--- The address of the first element as a pointer of its type. It is good as long as the tensor is kept.
function methods:data()
  return ffi.cast(self._dtype.pointer, self._storage.pointer) + self._offset
end

-- Views ---------------------------------------------------------------------------------------------------------------

local function view(self, shape, strides, offset)
  return Tensor.new(self._storage, self._dtype, shape, strides, offset or self._offset)
end

--- The shape that a user gave, with the size that -1 stands for.
local function infer(self, given)
  if type(given) ~= 'table' then return shapes.check(given) end
  local wanted, open, known = {}, nil, 1
  for i = 1, #given do
    wanted[i] = given[i]
    if given[i] == -1 then
      if open then return nil, 'expected one -1 at most' end
      open, wanted[i] = i, 1
    elseif type(given[i]) == 'number' then
      known = known * given[i]
    end
  end
  if open and known > 0 then wanted[open] = self:count() / known end
  if open and (known == 0 or wanted[open] % 1 ~= 0) then
    return nil, ('expected sizes that divide %d elements, got %s'):format(self:count(), shapes.describe(given))
  end
  return shapes.check(wanted)
end

--- The same elements in another shape, which shares the memory; one size may be -1: what is left.
function methods:reshape(shape)
  check_self(self, 'reshape')
  local new, problem = infer(self, shape)
  if not new then fail(self, 'reshape', problem) end
  if shapes.count(new) ~= self:count() then
    fail(self, 'reshape', ('expected a shape of %d elements, got %s of %d'):format(self:count(), shapes.describe(new),
      shapes.count(new)))
  end
  local strides = shapes.reshape(self.shape, self._strides, new)
  if not strides then
    fail(self, 'reshape', ('its elements do not lie so that %s could share them; reshape t:contiguous()')
      :format(shapes.describe(new)))
  end
  return view(self, new, strides)
end

local function check_axis(self, method, value)
  local axis, problem = shapes.axis(value, #self.shape)
  if not axis then fail(self, method, problem) end
  return axis
end

Tensor.check_axis = check_axis

local function whole(value, default)
  if value == nil then return default end
  return type(value) == 'number' and value % 1 == 0 and value or nil
end

--- The elements at first, first + step, ... last of one dimension, as string.sub counts them: t:slice(1, 2, -1) leaves out
-- the first row. What lies outside is left out.
function methods:slice(dimension, first, last, step)
  check_self(self, 'slice')
  local axis = check_axis(self, 'slice', dimension)
  local size = self.shape[axis]
  first, last, step = whole(first, 1), whole(last, -1), whole(step, 1)
  if not first or not last then fail(self, 'slice', 'expected whole numbers as first and last position') end
  if not step or step < 1 then fail(self, 'slice', 'expected a whole number of at least 1 as step') end
  if first < 0 then first = math.max(size + 1 + first, 1) elseif first == 0 then first = 1 end
  if last < 0 then last = size + 1 + last else last = math.min(last, size) end
  local shape, strides = { unpack(self.shape) }, self:strides()
  shape[axis] = math.max(math.floor((last - first) / step) + 1, 0)
  strides[axis] = strides[axis] * step
  local offset = shape[axis] > 0 and (first - 1) * self._strides[axis] or 0
  return view(self, shape, strides, self._offset + offset)
end

--- Swaps two dimensions: the last two unless others are given.
function methods:transpose(a, b)
  check_self(self, 'transpose')
  local rank = #self.shape
  if rank < 2 and a == nil and b == nil then fail(self, 'transpose', 'expected at least two dimensions') end
  a, b = check_axis(self, 'transpose', a or -2), check_axis(self, 'transpose', b or -1)
  local shape, strides = { unpack(self.shape) }, self:strides()
  shape[a], shape[b] = shape[b], shape[a]
  strides[a], strides[b] = strides[b], strides[a]
  return view(self, shape, strides)
end

--- The dimensions in another order: t:permute{3, 1, 2}.
function methods:permute(order)
  check_self(self, 'permute')
  local rank = #self.shape
  local seen, shape, strides = {}, {}, {}
  for i, dimension in ipairs(type(order) == 'table' and order or {}) do
    local axis = check_axis(self, 'permute', dimension)
    seen[axis] = true
    shape[i], strides[i] = self.shape[axis], self._strides[axis]
  end
  local count = 0
  for _ in pairs(seen) do count = count + 1 end
  if count ~= rank or #shape ~= rank then
    fail(self, 'permute', ('expected a list with each dimension from 1 to %d once'):format(rank))
  end
  return view(self, shape, strides)
end

--- Another dimension of size 1 before `dimension`, or behind all.
function methods:unsqueeze(dimension)
  check_self(self, 'unsqueeze')
  local rank = #self.shape
  local axis, problem = shapes.axis(dimension, rank + 1)
  if not axis then fail(self, 'unsqueeze', problem) end
  if rank == shapes.MAX_RANK then fail(self, 'unsqueeze', 'expected fewer dimensions than the 8 there may be') end
  local shape, strides = { unpack(self.shape) }, self:strides()
  table.insert(shape, axis, 1)
  table.insert(strides, axis, 1)
  return view(self, shape, strides)
end

--- Leaves out a dimension of size 1, or all of them.
function methods:squeeze(dimension)
  check_self(self, 'squeeze')
  local only = dimension ~= nil and check_axis(self, 'squeeze', dimension)
  if only and self.shape[only] ~= 1 then
    fail(self, 'squeeze', ('expected a dimension of size 1, got dimension %d of size %d'):format(only, self.shape[only]))
  end
  local shape, strides = {}, {}
  for i, size in ipairs(self.shape) do
    if size ~= 1 or only and i ~= only then
      shape[#shape + 1], strides[#strides + 1] = size, self._strides[i]
    end
  end
  return view(self, shape, strides)
end

--- Stretches dimensions of size 1 to a shape, without copies: the same element stands in many places.
function methods:expand(shape)
  check_self(self, 'expand')
  local new, problem = shapes.check(shape)
  if not new then fail(self, 'expand', problem) end
  local both = shapes.broadcast(self.shape, new)
  if not both or not shapes.equal(both, new) then
    fail(self, 'expand', ('expected a shape in which only sizes of 1 are stretched, got %s'):format(shapes.describe(new)))
  end
  local strides, behind = {}, #new - #self.shape
  for i = 1, #new do
    strides[i] = i > behind and self.shape[i - behind] == new[i] and self._strides[i - behind] or 0
  end
  return view(self, new, strides)
end

--- The part at position i of the first dimension.
local function part(self, i)
  local offset = self._offset + (i - 1) * self._strides[1]
  return view(self, { unpack(self.shape, 2) }, { unpack(self._strides, 2) }, offset)
end

-- Elements ------------------------------------------------------------------------------------------------------------

--- Visits the rows of a view: `visit(offset, count, step)`, offsets in elements of the storage.
function Tensor.each_row(self, visit)
  Tensor.check_bounds(self)
  local shape, strides, rank = self.shape, self._strides, #self.shape
  if self:count() == 0 then return end
  if rank == 0 then return visit(self._offset, 1, 1) end
  local position, offset = {}, self._offset
  for i = 1, rank do position[i] = 1 end
  local axis
  repeat
    visit(offset, shape[rank], strides[rank])
    axis = rank - 1
    while axis > 0 and position[axis] == shape[axis] do
      offset = offset - (shape[axis] - 1) * strides[axis]
      position[axis] = 1
      axis = axis - 1
    end
    if axis > 0 then
      position[axis] = position[axis] + 1
      offset = offset + strides[axis]
    end
  until axis == 0
end

local function copy_row(to, at, from, offset, count, step)
  for i = 0, count - 1 do to[at + i] = from[offset + i * step] end
end

--- Copies the elements to `to`, a pointer of their type on the host, in row-major order.
function Tensor.gather(self, to)
  Tensor.check_bounds(self)
  local from, size, at = ffi.cast(self._dtype.pointer, self._storage.pointer), self._dtype.size, 0
  if self:is_contiguous() then return ffi.copy(to, from + self._offset, self:count() * size) end
  Tensor.each_row(self, function(offset, count, step)
    if step == 1 then
      ffi.copy(to + at, from + offset, count * size)
    else
      copy_row(to, at, from, offset, count, step)
    end
    at = at + count
  end)
end

--- The elements of a tensor on the host that lie in order, as a pointer to bytes and their number.
function Tensor.bytes_of(self)
  Tensor.check_bounds(self)
  return ffi.cast('uint8_t *', self:data()), self:count() * self._dtype.size
end

--- The same tensor if it is on the host, else a copy there.
function Tensor.on_host(self)
  return self.device == 'cpu' and self or self:to 'cpu'
end

--- Whether its elements are written by Lua rather than by a kernel: not those of a device, and not while a graph is captured.
function Tensor.is_plain(self)
  return self.device == 'cpu' and not storages.is_capturing()
end

--- A copy of its own, in row-major order.
function methods:copy()
  check_self(self, 'copy')
  local copy = Tensor.empty(self.device, self._dtype, { unpack(self.shape) })
  if Tensor.is_plain(self) then Tensor.gather(self, copy:data()) else Tensor.ops.copy_on_device(copy, self) end
  return copy
end

--- The tensor itself if its elements lie in row-major order without gaps, else a copy in which they do.
function methods:contiguous()
  check_self(self, 'contiguous')
  return self:is_contiguous() and self or self:copy()
end

--- Elements of what a graph makes are there when it is replayed.
local function check_known(self, method)
  if not storages.is_unknown(self._storage) then return end
  fail(self, method, 'expected elements that are there: while a graph is written down nothing is computed, graph:replay() does it')
end

Tensor.check_known = check_known

--- The tensor itself if it is on the host and its elements lie in order, else a copy there in which they do.
function Tensor.in_order_on_host(self, method)
  local host = Tensor.on_host(self):contiguous()
  check_known(host, method)
  return host
end

--- The only element.
function methods:item()
  check_self(self, 'item')
  check_known(self, 'item')
  if self:count() ~= 1 then fail(self, 'item', ('expected one element, got %d'):format(self:count())) end
  local host = Tensor.on_host(self)
  return host._dtype.read(host:data(), 0)
end

local function nested(self, pointer, offset, axis)
  local list, size, stride = {}, self.shape[axis], self._strides[axis]
  local read = self._dtype.read
  for i = 1, size do
    local at = offset + (i - 1) * stride
    if axis == #self.shape then list[i] = read(pointer, at) else list[i] = nested(self, pointer, at, axis + 1) end
  end
  return list
end

--- The elements as nested lists; one without dimensions as a value.
function methods:table()
  check_self(self, 'table')
  check_known(self, 'table')
  Tensor.check_bounds(self)
  if #self.shape == 0 then return self:item() end
  local host = Tensor.on_host(self)
  return nested(host, ffi.cast(host._dtype.pointer, host._storage.pointer), host._offset, 1)
end

--- The elements' bytes, little-endian, in row-major order.
function methods:string()
  check_self(self, 'string')
  check_known(self, 'string')
  Tensor.check_bounds(self)
  local host = Tensor.in_order_on_host(self, 'string')
  return ffi.string(host:data(), host:count() * host._dtype.size)
end

-- Positions -----------------------------------------------------------------------------------------------------------

local function position_of(self, i)
  local size = self.shape[1]
  if not size then misuse('t[i]: expected at least one dimension, got a tensor without any; t:item() is its element') end
  local at = i < 0 and size + 1 + i or i
  if at % 1 == 0 and at >= 1 and at <= size then return at end
  misuse('t[%s]: expected a whole number from 1 to %d or from -%d to -1 in a tensor %s', tostring(i), size, size,
    shapes.describe(self.shape))
end

--- t[i] is the part at position i of the first dimension: a view, or the element of a tensor of one dimension.
function Tensor:__index(key)
  if type(key) ~= 'number' then return methods[key] end
  local i = position_of(self, key)
  if #self.shape > 1 or self.device ~= 'cpu' then
    local found = part(self, i)
    if #found.shape == 0 then return found:item() end
    return found
  end
  check_known(self, 't[i]')
  local pointer, at = ffi.cast(self._dtype.pointer, self._storage.pointer), self._offset + (i - 1) * self._strides[1]
  if (at + 1) * self._dtype.size > self._storage.bytes then Tensor.check_bounds(self) end
  return self._dtype.read(pointer, at)
end

--- Writes a value to all elements on the host. Returns nil or what is wrong.
local function fill_on_host(self, value)
  local pointer, write = ffi.cast(self._dtype.pointer, self._storage.pointer), self._dtype.write
  local problem
  Tensor.each_row(self, function(offset, count, step)
    if problem then return end
    for i = 0, count - 1 do
      local expected = write(pointer, offset + i * step, value)
      if expected then
        problem = ('an element of a tensor of %s: expected %s, got %s'):format(self.dtype, expected, check.describe(value))
        return
      end
    end
  end)
  return problem
end

local function copy_row_to(to, offset, step, from, at, count)
  for i = 0, count - 1 do to[offset + i * step] = from[at + i] end
end

--- Copies the elements of another tensor of the same shape and type on the host.
local function scatter(self, other)
  local to, from, at = ffi.cast(self._dtype.pointer, self._storage.pointer), other:copy(), 0
  local data = from:data()
  Tensor.each_row(self, function(offset, count, step)
    copy_row_to(to, offset, step, data, at, count)
    at = at + count
  end)
  return from
end

--- Whether both may have elements at one place.
local function may_overlap(a, b)
  if a._storage ~= b._storage then return false end
  local first, last = extent(a)
  local start, stop = extent(b)
  return first ~= nil and start ~= nil and first <= stop and start <= last
end

local function set(self, other)
  local both = shapes.broadcast(self.shape, other.shape)
  if not both or not shapes.equal(both, self.shape) then
    return ('expected a tensor whose shape fits %s, got %s'):format(shapes.describe(self.shape),
      shapes.describe(other.shape))
  end
  local source = other:expand(self.shape)
  if source.device ~= self.device then source = other:to(self.device):expand(self.shape) end
  if Tensor.is_plain(self) and source.dtype == self.dtype then
    scatter(self, source)
  else
    -- A kernel reads and writes in any order.
    if may_overlap(self, source) then source = other:copy():expand(self.shape) end
    Tensor.ops.copy_on_device(self, source)
  end
  return nil
end

local function assign(self, value)
  local problem
  if Tensor.is(value) then
    problem = set(self, value)
  elseif Tensor.is_plain(self) then
    problem = fill_on_host(self, value)
  else
    problem = Tensor.ops.fill_on_device(self, value)
  end
  if problem then misuse(problem) end
end

function Tensor:__newindex(key, value)
  if type(key) ~= 'number' then
    misuse('a tensor has no field %s to write to; t[i] = value writes elements', check.describe(key))
  end
  assign(part(self, position_of(self, key)), value)
end

--- Gives all elements the same value.
function methods:fill(value)
  check_self(self, 'fill')
  assign(self, value)
  return self
end

--- Copies the elements of another tensor here, broadcast to this shape and converted to this dtype.
function methods:set(other)
  check_self(self, 'set')
  if not Tensor.is(other) then fail(self, 'set', 'expected a tensor, got ' .. check.describe(other)) end
  assign(self, other)
  return self
end

Tensor.__name = 'farside.tensor'

return Tensor
