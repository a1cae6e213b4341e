--- A tensor as text: a line that says what it is, and its elements, of long dimensions the first and last three.
local ffi = require 'ffi'
local shapes = require 'farside.tensor.shape'

local M = {}

local MANY = 200  -- elements of a tensor that is not shown whole
local EDGE = 3
local DIGITS = '%.6g'

--- An element's text: of integers all digits.
local function text_of(self, value)
  if type(value) == 'number' then return ((self._dtype.kind == 'integer' and '%.0f' or DIGITS):format(value)) end
  return (tostring(value):gsub('U?LL$', ''))
end

--- The positions of a dimension that are shown; 0 stands for those that are left out.
local function positions_of(size, is_short)
  local positions = {}
  for i = 1, size do
    local is_shown = not is_short or size <= 2 * EDGE or i <= EDGE or i > size - EDGE
    if is_shown then positions[#positions + 1] = i end
    if not is_shown and i == EDGE + 1 then positions[#positions + 1] = 0 end
  end
  return positions
end

--- Visits the elements that are shown: `visit(value)`; `open(axis)`, `skip(axis)`, `close(axis)` around and between them.
local function walk(self, pointer, visitor, axis, offset)
  if axis > #self.shape then return visitor.visit(self._dtype.read(pointer, offset)) end
  visitor.open(axis)
  for number, i in ipairs(positions_of(self.shape[axis], visitor.is_short)) do
    if number > 1 then visitor.between(axis) end
    if i == 0 then
      visitor.skip()
    else
      walk(self, pointer, visitor, axis + 1, offset + (i - 1) * self._strides[axis])
    end
  end
  visitor.close(axis)
end

local function nothing() end

--- How wide the widest element is.
local function width_of(self, pointer, is_short)
  local width = 0
  local function visit(value) width = math.max(width, #text_of(self, value)) end
  walk(self, pointer, { is_short = is_short, visit = visit, open = nothing, close = nothing, between = nothing,
    skip = nothing }, 1, self._offset)
  return width
end

--- The elements of a tensor on the host.
function M.elements(self)
  local pointer = ffi.cast(self._dtype.pointer, self._storage.pointer)
  local is_short, rank = self:count() > MANY, #self.shape
  local width, out = width_of(self, pointer, is_short), {}
  local function put(text) out[#out + 1] = text end
  walk(self, pointer, {
    is_short = is_short,
    open = function() put '[' end,
    close = function() put ']' end,
    between = function(axis)
      if axis == rank then put ', ' else put(',' .. ('\n'):rep(rank - axis) .. (' '):rep(axis)) end
    end,
    skip = function() put '...' end,
    visit = function(value)
      local text = text_of(self, value)
      put((' '):rep(width - #text) .. text)
    end,
  }, 1, self._offset)
  return table.concat(out)
end

--- What it is: `tensor {2, 3} f32`
function M.head(self)
  local where = self.device == 'cpu' and '' or ' on ' .. self.device
  return ('tensor %s %s%s'):format(shapes.describe(self.shape), self.dtype, where)
end

return M
