-- Generators on the processor and on a made-up device. That the kernels make the numbers of Philox is specified in
-- spec/cuda/random_spec.lua; here it is which of them a generator takes, and what it refuses.
local devices = require 'spec.support.devices'
local kernels = require 'spec.cuda.kernels'
local philox = require 'spec.cuda.philox'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:6'
local F32, F64 = 1e-6, 1e-13  -- of a normal number, against the formula in doubles

-- In the order of the list.
local function scaled(values, low, high, dtype)
  for i, x in ipairs(values) do values[i] = kernels.round(low + (high - low) * x, dtype) end
  return values
end

for _, device in ipairs { 'cpu', DEVICE } do
  describe('random numbers on ' .. device, function()
    it('are uniform, normal or whole', function()
      local rng = tensor.random(42)
      local uniform = rng:uniform({ 5, 7 }, { device = device })
      local normal = rng:normal({ 11 }, { mean = 3, deviation = 0.5, dtype = 'f64', device = device })
      local whole = rng:integers(13, { low = 1, high = 6, device = device })
      assert.same({ { 5, 7 }, 'f32', device }, { uniform.shape, uniform.dtype, uniform.device })
      assert.same({ { 11 }, 'f64', device }, { normal.shape, normal.dtype, normal.device })
      assert.same({ { 13 }, 'i64', device }, { whole.shape, whole.dtype, whole.device })
      kernels.near(philox.uniform('f32', 35, 42, 0), uniform:reshape { -1 }:table(), 0, 0, 'uniform')
      kernels.near(scaled(philox.normal('f64', 11, 42, 35), 3, 3.5, 'f64'), normal:table(), F64, F64, 'normal')
      kernels.near(philox.integers(13, 42, 46, 1, 6), whole:table(), 0, 0, 'integers')
    end)

    it('are of the range and of the type that were asked for', function()
      for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16' } do
        local made = tensor.random(7):uniform({ 400 }, { low = -2, high = 3, dtype = dtype, device = device })
        local expected = scaled(philox.uniform(dtype == 'f64' and 'f64' or 'f32', 400, 7, 0), -2, 3,
          dtype == 'f64' and 'f64' or 'f32')
        for i, x in ipairs(expected) do expected[i] = kernels.round(x, dtype) end
        -- What rounding takes to the upper bound is the lower one.
        for i, x in ipairs(expected) do expected[i] = x < 3 and x or -2 end
        kernels.near(expected, made:table(), dtype == 'f64' and F64 or kernels.epsilon(dtype), F32, dtype)
        assert.equal(dtype, made.dtype)
      end
      for _, dtype in ipairs { 'u8', 'i32', 'f16' } do
        local made = tensor.random(7):integers({ 50 }, { low = 0, high = 255, dtype = dtype, device = device })
        kernels.near(philox.integers(50, 7, 0, 0, 255), made:table(), 0, 0, dtype)
      end
    end)

    it('go on where the last draw ended, however it was cut', function()
      local whole = tensor.random(1):normal({ 100 }, { device = device }):table()
      local rng, parts = tensor.random(1), {}
      for _, count in ipairs { 1, 2, 0, 3, 94 } do
        for _, x in ipairs(rng:normal({ count }, { device = device }):table()) do parts[#parts + 1] = x end
      end
      assert.same(whole, parts)
    end)
  end)
end

describe('a generator', function()
  it('makes the same numbers on each device', function()
    local function draw(device)
      local rng = tensor.random(123)
      return { rng:uniform({ 999 }, { device = device }):table(), rng:normal({ 999 }, { device = device }):table() }
    end
    assert.same(draw 'cpu', draw(DEVICE))
  end)

  it('makes others for each seed, and is not moved by another generator', function()
    local a, b = tensor.random(1), tensor.random(2)
    local first = a:uniform { 4 }
    assert.not_same(first:table(), b:uniform({ 4 }):table())
    local second = a:uniform({ 4 }):table()
    a = tensor.random(1)
    a:uniform { 4 }
    assert.same(second, a:uniform({ 4 }):table())
  end)

  it('tells its state and goes back there', function()
    local rng = tensor.random(9)
    rng:uniform { 3 }
    local state = rng:state()
    assert.same({ seed = 9, offset = 3 }, state)
    local expected = rng:normal({ 5 }):table()
    rng:set_state(state)
    assert.same(expected, rng:normal({ 5 }):table())
    local other = tensor.random(0)
    other:set_state { seed = 9, offset = 3 }
    assert.same(expected, other:normal({ 5 }):table())
  end)

  it('takes seeds of 64 bits', function()
    local seed = 0xfedcba9876543210ULL
    local rng = tensor.random(seed)
    kernels.near(philox.uniform('f32', 6, seed, 0), rng:uniform({ 6 }):table(), 0, 0, 'uniform')
    assert.is_true(rng:state().seed == seed)
    assert.same(rng:uniform({ 6 }):table(), (function()
      local other = tensor.random(-81985529216486896LL)
      other:set_state { seed = other:state().seed, offset = 6 }
      return other:uniform({ 6 }):table()
    end)())
    assert.equal('random numbers of the seed 18364758544493064720, 12 drawn', tostring(rng))
  end)

  it('is not moved by a draw that is refused', function()
    local rng = tensor.random(5)
    pcall(rng.uniform, rng, { -1 })
    pcall(rng.integers, rng, { 3 }, { low = 2, high = 1 })
    assert.equal(0, rng:state().offset)
  end)
end)

describe('a draw that cannot be', function()
  local rng = tensor.random(1)
  local cases = {
    { 'names a seed that is none', function() tensor.random(-1) end,
      'tensor.random: expected a whole number from 0 to 2^53 or a 64-bit integer, got the number -1' },
    { 'names a seed that is missing', function() tensor.random() end,
      'tensor.random: expected a whole number from 0 to 2^53 or a 64-bit integer, got nil' },
    { 'names a shape that is none', function() rng:normal { 2.5 } end,
      'rng:normal: expected a whole number of at least 0 as size of dimension 1, got the number 2.5' },
    { 'suggests an option', function() rng:uniform({ 2 }, { dtyp = 'f64' }) end,
      "rng:uniform: unknown option 'dtyp'; did you mean 'dtype'?" },
    { 'names options that are none', function() rng:uniform({ 2 }, 'f64') end,
      'rng:uniform: expected a table of options, got the string "f64"' },
    { 'names a type that is none', function() rng:uniform({ 2 }, { dtype = 'f8' }) end,
      'rng:uniform: dtype: expected a dtype (f64, f32, f16, bf16, i64, i32, u8, bool), got the string "f8"' },
    { 'names a type that does not fit', function() rng:normal({ 2 }, { dtype = 'i32' }) end,
      'rng:normal: dtype: expected floats (f64, f32, f16, bf16), got i32' },
    { 'names an empty range', function() rng:uniform({ 2 }, { low = 1 }) end,
      'rng:uniform: expected low below high, got 1 and 1' },
    { 'names a range that the type does not reach', function() rng:uniform({ 2 }, { high = 70000, dtype = 'f16' }) end,
      'rng:uniform: expected a range that fits f16, got 0 to 70000' },
    { 'names a deviation below zero', function() rng:normal({ 2 }, { deviation = -1 }) end,
      'rng:normal: deviation: expected a number of at least 0, got the number -1' },
    { 'names a bound that is missing', function() rng:integers({ 2 }, { low = 1 }) end,
      'rng:integers: high: expected a whole number, got nil' },
    { 'names bounds that are missing', function() rng:integers { 2 } end,
      'rng:integers: low: expected a whole number, got nil' },
    { 'names a bound that does not fit', function() rng:integers({ 2 }, { low = 0, high = 256, dtype = 'u8' }) end,
      'rng:integers: high: expected a whole number from 0 to 255, got the number 256' },
    { 'names a bound that is not exact', function() rng:integers({ 2 }, { low = 0, high = 257, dtype = 'bf16' }) end,
      'rng:integers: high: expected a whole number from -256 to 256, got the number 257' },
    { 'names a bound that is too far off', function() rng:integers({ 2 }, { low = -2 ^ 63, high = 0 }) end,
      'rng:integers: low: expected a whole number from -4611686018427387904 to 4611686018427387904, got the number -9.2233720368548e+18' },
    { 'names bounds in the wrong order', function() rng:integers({ 2 }, { low = 3, high = 2 }) end,
      'rng:integers: expected low of at most high, got 3 and 2' },
    { 'names a range that is too wide', function() rng:integers({ 2 }, { low = 0, high = 2 ^ 53 }) end,
      'rng:integers: expected high - low below 2^53, got 0 to 9007199254740992' },
    { 'names a device that is none', function() rng:uniform({ 2 }, { device = 'gpu' }) end,
      "rng:uniform: device: expected a device ('cpu' or 'cuda:0'), got the string \"gpu\"" },
    { 'names what stands before the colon', function() rng.uniform({ 2 }) end,
      'expected a generator before the colon: write rng:uniform(...), got a table' },
    { 'names a state that is none', function() rng:set_state { seed = 1, offset = -1 } end,
      'rng:set_state: offset: expected a whole number from 0 to 2^53, got the number -1' },
  }
  devices.refuses(cases)
end)
