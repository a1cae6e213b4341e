--- What the elementwise operations compute, in Lua's doubles: the oracle of their specs.
local bit = require 'bit'
local kernels = require 'spec.cuda.kernels'

local M = {}

local INTEGER = { i64 = { -2 ^ 63, 2 ^ 63 }, i32 = { -2 ^ 31, 2 ^ 31 }, u8 = { 0, 256 } }

-- erf by a series of positive terms, erfc by its continued fraction where 1 - erf would cancel (Abramowitz and Stegun, 7.1.6
-- and 7.1.14).
local function erf_series(x)
  local term, sum = x, x
  for n = 1, 100 do
    term = term * 2 * x * x / (2 * n + 1)
    sum = sum + term
  end
  return 2 / math.sqrt(math.pi) * math.exp(-x * x) * sum
end

local function erfc_fraction(x)
  local rest = x
  for n = 600, 1, -1 do rest = x + n / 2 / rest end
  return math.exp(-x * x) / math.sqrt(math.pi) / rest
end

local function erfc(x)
  if x < 0 then return 2 - erfc(-x) end
  return x < 0.5 and 1 - erf_series(x) or erfc_fraction(x)
end

local function erf(x)
  if x < 0 then return -erf(-x) end
  return x < 0.5 and erf_series(x) or 1 - erfc_fraction(x)
end

-- W. Kahan's ways to keep the digits that 1 + x loses.
local function log1p(x)
  local u = 1 + x
  return u == 1 and x or math.log(u) * x / (u - 1)
end

local function expm1(x)
  local u = math.exp(x)
  if u == 1 then return x end
  return u - 1 == -1 and -1 or (u - 1) * x / math.log(u)
end

local function half_even(x)
  local floor = math.floor(x)
  if x - floor == 0.5 then return floor % 2 == 0 and floor or floor + 1 end
  return math.floor(x + 0.5)
end

local function sigmoid(x)
  return 1 / (1 + math.exp(-x))
end

-- Each: function, dtypes ('numbers', 'floats', 'integers and bool', 'all'), domain of the inputs, whether the result is exact.
local OPS = {
  neg = { function(x) return -x end, 'numbers', 'any', true },
  abs = { math.abs, 'numbers', 'any', true },
  sign = { function(x) return x > 0 and 1 or x < 0 and -1 or x end, 'numbers', 'any', true },
  square = { function(x) return x * x end, 'numbers', 'any', true },
  ['not'] = { function(x, _, dtype) return dtype == 'bool' and x == 0 or dtype ~= 'bool' and -1 - x end, 'integers and bool', 'whole', true },
  floor = { math.floor, 'floats', 'any', true },
  ceil = { math.ceil, 'floats', 'any', true },
  trunc = { function(x) return x < 0 and math.ceil(x) or math.floor(x) end, 'floats', 'any', true },
  round = { half_even, 'floats', 'any', true },
  sqrt = { math.sqrt, 'floats', 'positive', true },
  rsqrt = { function(x) return 1 / math.sqrt(x) end, 'floats', 'positive' },
  reciprocal = { function(x) return 1 / x end, 'floats', 'positive', true },
  exp = { math.exp, 'floats', 'any' },
  expm1 = { expm1, 'floats', 'any' },
  log = { function(x) return math.log(x) end, 'floats', 'positive' },
  log2 = { function(x) return math.log(x) / math.log(2) end, 'floats', 'positive' },
  log10 = { math.log10, 'floats', 'positive' },
  log1p = { log1p, 'floats', 'positive' },
  sin = { math.sin, 'floats', 'any' },
  cos = { math.cos, 'floats', 'any' },
  tan = { math.tan, 'floats', 'unit' },
  asin = { math.asin, 'floats', 'unit' },
  acos = { math.acos, 'floats', 'unit' },
  atan = { math.atan, 'floats', 'any' },
  sinh = { math.sinh, 'floats', 'any' },
  cosh = { math.cosh, 'floats', 'any' },
  tanh = { math.tanh, 'floats', 'any' },
  erf = { erf, 'floats', 'any' },
  sigmoid = { sigmoid, 'floats', 'any' },
  relu = { function(x) return x < 0 and 0 or x end, 'floats', 'any', true },
  gelu = { function(x) return x / 2 * erfc(-x / math.sqrt(2)) end, 'floats', 'any' },
  gelu_tanh = {
    function(x) return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3)) end, 'floats', 'any' },
  silu = { function(x) return x * sigmoid(x) end, 'floats', 'any' },
  softplus = { function(x) return log1p(math.exp(x)) end, 'floats', 'any' },
  isnan = { function(x) return x ~= x end, 'floats', 'any', true },
  isinf = { function(x) return x == math.huge or x == -math.huge end, 'floats', 'any', true },
  isfinite = { function(x) return x - x == 0 end, 'floats', 'any', true },
}

local function floordiv(a, b, dtype)
  return INTEGER[dtype] and b == 0 and 0 or math.floor(a / b)
end

local function mod(a, b, dtype)
  if INTEGER[dtype] and b == 0 then return 0 end
  local rest = math.fmod(a, b)
  return rest ~= 0 and (rest < 0) ~= (b < 0) and rest + b or rest
end

local function power(a, b, dtype)
  if not INTEGER[dtype] then return a ^ b end
  if b >= 0 then return a ^ b end
  return a == 1 and 1 or a == -1 and (b % 2 == 0 and 1 or -1) or 0
end

local function logic(whole, truth)
  return function(a, b, dtype)
    if dtype == 'bool' then return truth(a ~= 0, b ~= 0) end
    return whole(a, b)
  end
end

local BINARY = {
  add = { function(a, b) return a + b end, 'numbers', 'any', true },
  sub = { function(a, b) return a - b end, 'numbers', 'any', true },
  mul = { function(a, b) return a * b end, 'numbers', 'any', true },
  div = { function(a, b) return a / b end, 'floats', 'any', true },
  floordiv = { floordiv, 'numbers', 'whole', true },
  mod = { mod, 'numbers', 'whole', true },
  pow = { power, 'numbers', 'positive' },
  min = { function(a, b) return math.min(a, b) end, 'numbers', 'any', true },
  max = { function(a, b) return math.max(a, b) end, 'numbers', 'any', true },
  atan2 = { math.atan2, 'floats', 'any' },
  ['and'] = { logic(bit.band, function(a, b) return a and b end), 'integers and bool', 'whole', true },
  ['or'] = { logic(bit.bor, function(a, b) return a or b end), 'integers and bool', 'whole', true },
  xor = { logic(bit.bxor, function(a, b) return a ~= b end), 'integers and bool', 'whole', true },
  eq = { function(a, b) return a == b end, 'all', 'any', true },
  ne = { function(a, b) return a ~= b end, 'all', 'any', true },
  lt = { function(a, b) return a < b end, 'all', 'any', true },
  le = { function(a, b) return a <= b end, 'all', 'any', true },
  gt = { function(a, b) return a > b end, 'all', 'any', true },
  ge = { function(a, b) return a >= b end, 'all', 'any', true },
}

local TESTS = { isnan = true, isinf = true, isfinite = true, eq = true, ne = true, lt = true, le = true, gt = true, ge = true }
local DTYPES = {
  numbers = { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8' },
  floats = kernels.FLOATS,
  ['integers and bool'] = { 'i64', 'i32', 'u8', 'bool' },
  all = kernels.DTYPES,
}

M.UNARY, M.BINARY, M.ALL = {}, {}, {}
for op in pairs(OPS) do M.UNARY[#M.UNARY + 1], M.ALL[#M.ALL + 1] = op, op end
for op in pairs(BINARY) do M.BINARY[#M.BINARY + 1], M.ALL[#M.ALL + 1] = op, op end

local function find(op)
  return OPS[op] or BINARY[op]
end

function M.is_binary(op)
  return BINARY[op] ~= nil
end

function M.dtypes_of(op)
  return DTYPES[find(op)[2]]
end

--- What to try: 'any' number, 'positive', 'unit' for -1 to 1, 'whole'.
function M.domain_of(op, dtype)
  if INTEGER[dtype] or dtype == 'bool' then return 'whole' end
  return find(op)[3]
end

function M.result_of(op, dtype)
  return TESTS[op] and 'bool' or dtype
end

--- Whether IEEE 754 says what the result is to the bit.
function M.is_exact(op, dtype)
  return find(op)[4] or INTEGER[dtype] ~= nil
end

--- A whole number as an integer type keeps it: its low bits.
function M.wrap(x, dtype)
  local bounds = INTEGER[dtype]
  if not bounds or math.abs(x) < 2 ^ 53 and dtype == 'i64' then return x end
  local size = bounds[2] - bounds[1]
  return (x - bounds[1]) % size + bounds[1]
end

local function signed_bits(x, to)
  local value = require('ffi').cast(({ i64 = 'int64_t', i32 = 'int32_t', u8 = 'uint8_t' })[to], x)
  return to == 'i64' and value > -2 ^ 53 and value < 2 ^ 53 and tonumber(value) or to == 'i64' and value or tonumber(value)
end

--- A value of one dtype as another: numbers, or int64_t where a double would not hold it.
function M.convert(x, to)
  if x == true then x = 1 elseif x == false then x = 0 end
  if to == 'bool' then return x ~= 0 and 1 or 0 end
  local bounds = INTEGER[to]
  if not bounds then return kernels.round(tonumber(x), to) end
  if type(x) == 'cdata' then return signed_bits(x, to) end
  return M.from_float(x, to)
end

--- From a float towards zero, within the bounds.
function M.from_float(x, to)
  local bounds = INTEGER[to]
  if x ~= x then return 0 end
  x = x < 0 and math.ceil(x) or math.floor(x)
  if x >= bounds[2] then return to == 'i64' and 0x7fffffffffffffffLL or bounds[2] - 1 end
  if x <= bounds[1] then return to == 'i64' and -0x7fffffffffffffffLL - 1 or bounds[1] end
  return to == 'i64' and math.abs(x) >= 2 ^ 53 and 0LL + x or x + 0
end

--- From an integer: the low bits.
function M.from_integer(x, to)
  if INTEGER[to] then return signed_bits(type(x) == 'cdata' and x or 0LL + x, to) end
  return M.convert(x, to)
end

--- The result of an operation as its dtype keeps it.
function M.apply(op, dtype, a, b)
  local half = dtype == 'f16' or dtype == 'bf16'
  if dtype == 'bool' then
    a, b = a ~= 0 and 1 or 0, b and (b ~= 0 and 1 or 0)
  end
  local x = find(op)[1](a, b, dtype)
  if type(x) == 'boolean' then return x and 1 or 0 end
  if INTEGER[dtype] then return M.wrap(x, dtype) end
  return kernels.round(half and kernels.round(x, 'f32') or x, dtype)
end

--- Elements of a small shape repeated over a large one.
function M.broadcast(values, small, shape)
  local wide, stride = {}, kernels.strides(small)
  for i = 0, kernels.count(shape) - 1 do
    local at, rest = 1, i
    for d = #shape, 1, -1 do
      local index = rest % shape[d]
      rest = math.floor(rest / shape[d])
      local own = d - (#shape - #small)
      if own >= 1 and small[own] ~= 1 then at = at + index * stride[own] end
    end
    wide[i + 1] = values[at]
  end
  return wide
end

return M
