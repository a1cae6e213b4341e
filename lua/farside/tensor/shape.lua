--- Sizes of dimensions and the distances between their elements, as plain lists.
local check = require 'farside.check'

local M = {}

M.MAX_RANK = 8
M.MAX_ELEMENTS = 2 ^ 47

local floor = math.floor

--- `{2, 3}`
function M.describe(shape)
  return '{' .. table.concat(shape, ', ') .. '}'
end

local function is_size(value)
  return type(value) == 'number' and value >= 0 and value == floor(value) and value <= M.MAX_ELEMENTS
end

--- A copy of what a user gave as a shape, or nil and what is wrong with it. A number stands for one dimension.
---@return number[]? shape
---@return string? problem
function M.check(value)
  if type(value) == 'number' then value = { value } end
  if type(value) ~= 'table' then return nil, ('expected a shape like {2, 3}, got %s'):format(check.describe(value)) end
  local shape, elements = {}, 1
  for i = 1, #value do
    if not is_size(value[i]) then
      return nil, ('expected a whole number of at least 0 as size of dimension %d, got %s'):format(i,
        check.describe(value[i]))
    end
    shape[i] = value[i]
    elements = elements * math.max(shape[i], 1)
  end
  for key in pairs(value) do
    if not shape[key] then
      return nil, ('expected a list of sizes like {2, 3}, got the key %s in it'):format(tostring(key))
    end
  end
  if #shape > M.MAX_RANK then
    return nil, ('expected at most %d dimensions, got %d'):format(M.MAX_RANK, #shape)
  end
  if elements > M.MAX_ELEMENTS then
    return nil, ('expected at most 2^47 elements, got the shape %s'):format(M.describe(shape))
  end
  return shape
end

function M.count(shape)
  local count = 1
  for i = 1, #shape do count = count * shape[i] end
  return count
end

--- The strides of elements in row-major order.
function M.strides(shape)
  local strides, step = {}, 1
  for i = #shape, 1, -1 do
    strides[i] = step
    step = step * math.max(shape[i], 1)
  end
  return strides
end

--- Whether the elements lie in row-major order without gaps.
function M.is_contiguous(shape, strides)
  local step = 1
  for i = #shape, 1, -1 do
    if shape[i] ~= 1 and strides[i] ~= step then return M.count(shape) == 0 end
    step = step * shape[i]
  end
  return true
end

function M.equal(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

--- The shape of elements that are combined one by one, sizes of 1 stretched; nil: they do not fit.
function M.broadcast(a, b)
  local rank = math.max(#a, #b)
  local shape = {}
  for i = 0, rank - 1 do
    local x, y = a[#a - i] or 1, b[#b - i] or 1
    if x ~= y and x ~= 1 and y ~= 1 then return nil end
    shape[rank - i] = x == 1 and y or x
  end
  return shape
end

--- A dimension's number from 1, given from either end (-1 is the last); nil and what is wrong.
function M.axis(value, rank)
  local axis = type(value) == 'number' and value < 0 and rank + 1 + value or value
  if type(axis) == 'number' and axis == floor(axis) and axis >= 1 and axis <= rank then return axis end
  local expected = rank == 0 and 'no dimension, for there is none' or ('a dimension from 1 to %d or from -%d to -1')
    :format(rank, rank)
  return nil, ('expected %s, got %s'):format(expected, check.describe(value))
end

--- Neighbouring dimensions joined where their elements follow each other at even distances: a list of { count, step },
-- the last dimension's first.
local function runs_of(shape, strides)
  local runs = {}
  for i = #shape, 1, -1 do
    local run = runs[#runs]
    if run and strides[i] == run.step * run.count then
      run.count = run.count * shape[i]
    elseif shape[i] ~= 1 then
      runs[#runs + 1] = { count = shape[i], step = strides[i] }
    end
  end
  return runs
end

--- The strides of the same elements in another shape of as many, or nil where there are none short of a copy.
function M.reshape(shape, strides, new)
  if M.count(shape) == 0 then return M.strides(new) end
  local runs, result = runs_of(shape, strides), {}
  local at, step, left = 0, 1, 1
  for i = #new, 1, -1 do
    if new[i] > 1 and left == 1 then
      at = at + 1
      step, left = runs[at].step, runs[at].count
    end
    if left % new[i] ~= 0 then return nil end
    result[i] = step
    step, left = step * new[i], left / new[i]
  end
  return result
end

return M
