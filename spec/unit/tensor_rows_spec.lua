-- Softmax and norms on the processor and on a made-up device, against the formulas in Lua's doubles.
local devices = require 'spec.support.devices'
local kernels = require 'spec.cuda.kernels'
local shapes = require 'farside.tensor.shape'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:6'
local ULPS = 32  -- of f32, in which f16 and bf16 are computed, too

local function softmax(row)
  local sum, out = 0, {}
  for _, x in ipairs(row) do sum = sum + math.exp(x) end
  for i, x in ipairs(row) do out[i] = math.exp(x) / sum end
  return out
end

local function log_softmax(row)
  local out = softmax(row)
  for i, x in ipairs(out) do out[i] = math.log(x) end
  return out
end

local function norm(row, centred, epsilon, weight, bias)
  local mean, square, out = 0, 0, {}
  for _, x in ipairs(row) do mean = mean + (centred and x or 0) end
  mean = mean / #row
  for _, x in ipairs(row) do square = square + (x - mean) ^ 2 end
  for i, x in ipairs(row) do
    out[i] = (x - mean) / math.sqrt(square / #row + epsilon) * (weight and weight[i] or 1) + (bias and bias[i] or 0)
  end
  return out
end

local function values_of(t)
  return t:contiguous():reshape({ -1 }):table()
end

local function numbers(shape, dtype, device, seed)
  local count = shapes.count(shape)
  return tensor.from(kernels.random(count, -4, 4, seed or 8), 'f64', shape):to(dtype):to(device)
end

-- Compares the rows along a dimension with what an oracle makes of those of the input.
local function compare(t, got, axis, oracle)
  assert.same(t.shape, got.shape)
  assert.same({ t.dtype, t.device }, { got.dtype, got.device })
  local own = kernels.epsilon(t.dtype)
  local wide = ULPS * kernels.epsilon(t.dtype == 'f64' and 'f64' or 'f32')
  local rows, results = values_of(t:transpose(axis, -1)), values_of(got:transpose(axis, -1))
  local length = t.shape[axis]
  for first = 1, #rows, length do
    local row, result = {}, {}
    for i = 1, length do row[i], result[i] = rows[first + i - 1], results[first + i - 1] end
    kernels.near(oracle(row), result, own + wide, wide, t.dtype)
  end
end

for _, device in ipairs { 'cpu', DEVICE } do
  describe('on ' .. device .. ' a tensor', function()
    it('has a softmax and its logarithm along any dimension', function()
      for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16' } do
        local t = numbers({ 3, 5, 7 }, dtype, device)
        for axis = 1, 3 do
          compare(t, t:softmax(axis), axis, softmax)
          compare(t, t:log_softmax(axis - 4), axis, log_softmax)
        end
        compare(t, t:softmax(), 3, softmax)
        compare(t, t:log_softmax(), 3, log_softmax)
      end
      local view = numbers({ 6, 9 }, 'f32', device):transpose():slice(1, 1, -1, 2)
      compare(view, view:softmax(1), 1, softmax)
    end)

    it('has a softmax of numbers whose exponential is none', function()
      local t = tensor.from({ 1000, 1000, -math.huge }):to(device)
      assert.same({ 0.5, 0.5, 0 }, t:softmax():table())
      assert.same({ -1000, 0 }, tensor.from({ 0, 1000 }):to(device):log_softmax():table())
    end)

    it('has norms, with a weight and a bias or without', function()
      for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16' } do
        for _, shape in ipairs { { 4, 37 }, { 2, 3, 64 }, { 11 } } do
          local t, length = numbers(shape, dtype, device), shape[#shape]
          local w, b = numbers({ length }, dtype, device, 2), numbers({ length }, dtype, device, 3)
          local weight, bias = w:table(), b:table()
          compare(t, t:layernorm(), #shape, function(row) return norm(row, true, 1e-5) end)
          compare(t, t:layernorm { weight = w, bias = b }, #shape, function(row) return norm(row, true, 1e-5, weight, bias) end)
          compare(t, t:layernorm { bias = b, epsilon = 0.25 }, #shape, function(row) return norm(row, true, 0.25, nil, bias) end)
          compare(t, t:rmsnorm(), #shape, function(row) return norm(row, false, 1e-5) end)
          compare(t, t:rmsnorm { weight = w, epsilon = 0 }, #shape, function(row) return norm(row, false, 0, weight) end)
        end
      end
    end)

    it('has norms of views, with views as weights', function()
      local t = numbers({ 8, 12 }, 'f32', device):transpose():slice(2, 2, -2)
      local w = numbers({ 12 }, 'f32', device, 5):slice(1, 1, -1, 2)
      local weight = w:table()
      compare(t, t:layernorm { weight = w }, 2, function(row) return norm(row, true, 1e-5, weight) end)
      compare(t, t:rmsnorm { weight = w }, 2, function(row) return norm(row, false, 1e-5, weight) end)
    end)

    it('of no elements has a softmax and norms of none', function()
      for _, shape in ipairs { { 3, 0 }, { 0, 3 } } do
        local t = tensor.zeros(shape, 'f32', device)
        for _, method in ipairs { 'softmax', 'log_softmax', 'layernorm', 'rmsnorm' } do
          assert.same(shape, t[method](t).shape)
        end
      end
    end)
  end)
end

describe('a row operation that cannot be', function()
  local t = tensor.zeros({ 2, 3 })
  local cases = {
    { 'names a dimension that is none', function() t:softmax(0) end,
      'softmax of a tensor {2, 3}: expected a dimension from 1 to 2 or from -2 to -1, got the number 0' },
    { 'asks for a dimension where there is none', function() tensor.from(1):log_softmax() end,
      'log_softmax of a tensor {}: expected at least one dimension' },
    { 'names what it takes', function() t:to('i32'):softmax() end,
      "softmax: expected floats (t:to 'f32' converts), got a tensor {2, 3} of i32" },
    { 'names a weight of another length', function() t:rmsnorm { weight = tensor.zeros({ 2 }) } end,
      'rmsnorm of a tensor {2, 3}: weight: expected a tensor {3} of f32 on cpu, got one {2} of f32 on cpu' },
    { 'names a bias of another type', function() t:layernorm { bias = tensor.zeros({ 3 }, 'f64') } end,
      'layernorm of a tensor {2, 3}: bias: expected a tensor {3} of f32 on cpu, got one {3} of f64 on cpu' },
    { 'names a weight on another device', function() t:layernorm { weight = tensor.zeros({ 3 }, 'f32', DEVICE) } end,
      'layernorm of a tensor {2, 3}: weight: expected a tensor {3} of f32 on cpu, got one {3} of f32 on cuda:6' },
    { 'names a weight that is none', function() t:layernorm { weight = 2 } end,
      'layernorm: weight: expected a tensor, got the number 2' },
    { 'suggests an option', function() t:layernorm { epsilom = 1 } end,
      "layernorm: unknown option 'epsilom'; did you mean 'epsilon'?" },
    { 'knows no bias of rmsnorm', function() t:rmsnorm { bias = t } end,
      "rmsnorm: unknown option 'bias'; expected one of epsilon, weight" },
    { 'names an epsilon that is none', function() t:rmsnorm { epsilon = -1 } end,
      'rmsnorm: epsilon: expected a number of at least 0, got the number -1' },
    { 'asks for a row', function() tensor.from(1):layernorm() end,
      'layernorm of a tensor {}: expected at least one dimension' },
  }
  devices.refuses(cases)
end)
