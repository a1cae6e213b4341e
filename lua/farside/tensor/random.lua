--- Random numbers of a seed: Philox, which makes number n of a seed without those before it.
--
--     local rng = tensor.random(42)
--     local weights = rng:normal({ 64, 64 }, { deviation = 0.02, device = 'cuda:0' })
--     local dice = rng:integers({ 10 }, { low = 1, high = 6 })
--
-- The same calls on a generator of the same seed give the same numbers to the bit, on every device and machine. A generator
-- knows its seed and how many numbers were drawn; nothing else has an influence, and generators have none on each other.
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'

local Generator = {}
Generator.__index = Generator

local EXACT = 2 ^ 53  -- up to here a double holds each whole number
local int64, uint64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'

-- The largest number of floats; up to where each whole number is one, or for i64, whole numbers are made.
local LARGEST = { f64 = 1.7976931348623157e308, f32 = 3.4028234663852886e38, f16 = 65504, bf16 = 3.3895313892515355e38 }
local WHOLE = { f64 = 2 ^ 53, f32 = 2 ^ 24, f16 = 2 ^ 11, bf16 = 2 ^ 8, i64 = 2 ^ 62 }

-- What is drawn ------------------------------------------------------------------------------------------------------

local function dtype_rule(value)
  if not dtypes.types[value] then return ('a dtype (%s)'):format(table.concat(dtypes.names, ', ')) end
end

local function device_rule(value)
  if not backends.device(value) then return "a device ('cpu' or 'cuda:0')" end
end

local number = check.number()

local RULES = {
  uniform = { low = number, high = number, dtype = dtype_rule, device = device_rule },
  normal = { mean = number, deviation = check.number(0), dtype = dtype_rule, device = device_rule },
  integers = { low = number, high = number, dtype = dtype_rule, device = device_rule },
}

local function refuse(method, problem, ...)
  misuse('rng:%s: ' .. problem, method, ...)
end

--- The options of a draw, checked, with a dtype in place of its name.
local function options_of(self, method, options, dtype)
  if getmetatable(self) ~= Generator then
    misuse('expected a generator before the colon: write rng:%s(...), got %s', method, check.describe(self))
  end
  if options == nil then options = {} end
  local problem = check.options('rng:' .. method, options, RULES[method])
  if problem then misuse('%s', problem) end
  return dtypes.types[options.dtype or dtype]
end

local function check_float(method, dtype)
  if dtype.kind ~= 'float' then refuse(method, 'dtype: expected floats (f64, f32, f16, bf16), got %s', dtype.name) end
end

--- Makes the tensor and fills it with the numbers that come next.
local function draw(self, method, constant, shape, dtype, device, a, b)
  local sizes, problem = shapes.check(shape)
  if not sizes then refuse(method, '%s', problem) end
  local count = shapes.count(sizes)
  if self._offset + count > EXACT then
    refuse(method, 'expected at most 2^53 numbers of one generator, got %.0f more after %.0f', count, self._offset)
  end
  local out = Tensor.empty(backends.device(device or 'cpu'), dtype, sizes)
  local backend, stream = ops.enter(out)
  local status = backend.library.kernel_random(ffi.C[constant], ops.view(1, out, stream), self._seed, self._offset, a, b,
    stream)
  backend:check(status, 'rng:' .. method)
  self._offset = self._offset + count
  return out
end

--- Numbers spread evenly over [low, high), [0, 1) without others. Options: low, high, dtype (a float, f32 without another),
-- device ('cpu').
function Generator:uniform(shape, options)
  local dtype = options_of(self, 'uniform', options, 'f32')
  check_float('uniform', dtype)
  local low, high = options and options.low or 0, options and options.high or 1
  if low >= high then refuse('uniform', 'expected low below high, got %g and %g', low, high) end
  if high - low > LARGEST[dtype.name] or math.max(-low, high) > LARGEST[dtype.name] then
    refuse('uniform', 'expected a range that fits %s, got %g to %g', dtype.name, low, high)
  end
  return draw(self, 'uniform', 'KERNEL_UNIFORM', shape, dtype, options and options.device, low, high)
end

--- Normal numbers. Options: mean (0), deviation (standard deviation, 1), dtype (a float, f32 without another), device ('cpu').
function Generator:normal(shape, options)
  local dtype = options_of(self, 'normal', options, 'f32')
  check_float('normal', dtype)
  return draw(self, 'normal', 'KERNEL_NORMAL', shape, dtype, options and options.device, options and options.mean or 0,
    options and options.deviation or 1)
end

--- What a bound of whole numbers must be beside a dtype, or nil.
local function expected_bound(dtype, value)
  if value == nil then return 'a whole number' end
  if dtype.kind == 'integer' and dtype.size < 8 then return dtype.write(ffi.new(dtype.scratch), 0, value) end
  local most = WHOLE[dtype.name]
  if value % 1 ~= 0 or math.abs(value) > most then return ('a whole number from %.0f to %.0f'):format(-most, most) end
end

--- Whole numbers from low to high, both included, each as likely. Options: low and high, which have to be there, dtype
-- (numbers, i64 without another), device ('cpu').
function Generator:integers(shape, options)
  local dtype = options_of(self, 'integers', options, 'i64')
  if dtype.kind == 'bool' then refuse('integers', 'dtype: expected numbers, got bool') end
  local low, high = options and options.low, options and options.high
  for _, name in ipairs { 'low', 'high' } do
    local value = options and options[name]
    local expected = expected_bound(dtype, value)
    if expected then refuse('integers', '%s: expected %s, got %s', name, expected, check.describe(value)) end
  end
  if low > high then refuse('integers', 'expected low of at most high, got %.0f and %.0f', low, high) end
  if high - low >= EXACT then refuse('integers', 'expected high - low below 2^53, got %.0f to %.0f', low, high) end
  return draw(self, 'integers', 'KERNEL_INTEGERS', shape, dtype, options.device, low, high)
end

-- Seed and state -----------------------------------------------------------------------------------------------------

local function is_count(value)
  return type(value) == 'number' and value % 1 == 0 and value >= 0 and value <= EXACT
end

--- A seed as the kernels take it, or nil.
local function seed_of(value)
  if is_count(value) or ffi.istype(int64, value) or ffi.istype(uint64, value) then return ffi.cast(uint64, value) end
  return nil
end

local function check_seed(what, value)
  local seed = seed_of(value)
  if not seed then
    misuse('%s: expected a whole number from 0 to 2^53 or a 64-bit integer, got %s', what, check.describe(value))
  end
  return seed
end

--- Where the generator is, as a table that may be kept and sent: { seed =, offset = numbers drawn }.
function Generator:state()
  local seed = self._seed <= 0x20000000000000ULL and tonumber(self._seed) or self._seed
  return { seed = seed, offset = self._offset }
end

--- Goes to where a generator was when it told its state.
function Generator:set_state(state)
  if type(state) ~= 'table' then
    refuse('set_state', 'expected a table like { seed = 42, offset = 0 }, got %s', check.describe(state))
  end
  local seed, offset = check_seed('rng:set_state: seed', state.seed), state.offset
  if not is_count(offset) then
    refuse('set_state', 'offset: expected a whole number from 0 to 2^53, got %s', check.describe(offset))
  end
  self._seed, self._offset = seed, offset
end

function Generator:__tostring()
  local seed = tostring(self._seed):match '%d+'
  return ('random numbers of the seed %s, %.0f drawn'):format(seed, self._offset)
end

local M = {}

--- Makes a generator of a seed.
function M.new(seed)
  return setmetatable({ _seed = check_seed('tensor.random', seed), _offset = 0 }, Generator)
end

return M
