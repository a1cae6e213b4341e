--- Random numbers by Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011): a
-- number is a function of a seed and its place in the row of all numbers, so it does not matter on what, or by how many
-- threads, it is computed.
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'

local Random = {}
Random.__index = Random

local M = {}

local EXACT = 2 ^ 53

function M.new(seed)
  local is_whole = type(seed) == 'number' and seed >= 0 and seed <= EXACT and seed % 1 == 0
  if not is_whole and not ffi.istype('uint64_t', seed) then
    misuse('tensor.random: expected a whole number from 0 to 2^53 or a uint64_t as seed, got %s', check.describe(seed))
  end
  return setmetatable({ seed = ffi.cast('uint64_t', seed), offset = 0ULL }, Random)
end

local function is_number(value)
  return type(value) == 'number' and value == value and math.abs(value) ~= math.huge
end

local function draw(self, method, kind, shape, dtype, device, a, b)
  local sizes, problem = shapes.check(shape)
  if not sizes then misuse('%s: %s', method, problem) end
  local found
  found, problem = dtypes.find(dtype)
  if not found then misuse('%s: %s', method, problem) end
  local place
  place, problem = backends.device(device or 'cpu')
  if not place then misuse('%s: %s', method, problem) end
  local out = Tensor.empty(place, found, sizes)
  local backend, stream = ops.enter(out)
  local status = backend.library.kernel_random(ffi.C[kind], ops.view(1, out, stream), self.seed, self.offset, a, b, stream)
  backend:check(status, method)
  self.offset = self.offset + out:count()
  return out
end

local function check_float(method, dtype)
  local found = dtypes.types[dtype or 'f32']
  if found and found.kind ~= 'float' then misuse('%s: expected floats, got %s', method, dtype) end
end

--- Numbers of [low, high), [0, 1) without another range.
function Random:uniform(shape, low, high, dtype, device)
  low, high = low or 0, high or 1
  check_float('uniform', dtype)
  if not is_number(low) or not is_number(high) or low > high then
    misuse('uniform: expected low and high as numbers in order, got %s and %s', check.describe(low), check.describe(high))
  end
  return draw(self, 'uniform', 'KERNEL_UNIFORM', shape, dtype or 'f32', device, low, high)
end

--- Numbers of the normal distribution, with mean 0 and deviation 1 unless others are given.
function Random:normal(shape, mean, deviation, dtype, device)
  mean, deviation = mean or 0, deviation or 1
  check_float('normal', dtype)
  if not is_number(mean) or not is_number(deviation) or deviation < 0 then
    misuse('normal: expected numbers as mean and deviation, got %s and %s', check.describe(mean), check.describe(deviation))
  end
  return draw(self, 'normal', 'KERNEL_NORMAL', shape, dtype or 'f32', device, mean, deviation)
end

--- Whole numbers from low to high, both included.
function Random:integers(shape, low, high, dtype, device)
  if not is_number(low) or not is_number(high) or low % 1 ~= 0 or high % 1 ~= 0 or low > high or high - low >= EXACT then
    misuse('integers: expected low and high as whole numbers in order, got %s and %s', check.describe(low),
      check.describe(high))
  end
  return draw(self, 'integers', 'KERNEL_INTEGERS', shape, dtype or 'i64', device, low, high)
end

return M
