local kernels = require 'spec.cuda.kernels'
local philox = require 'spec.cuda.philox'

-- Of the mean of n numbers, in standard deviations of such a mean.
local SIGMAS = 5

local function moments(values)
  local sum, square = 0, 0
  for _, x in ipairs(values) do sum = sum + x end
  for _, x in ipairs(values) do square = square + (x - sum / #values) ^ 2 end
  return sum / #values, math.sqrt(square / #values)
end

describe('the oracle', function()
  it('makes the words that the authors of Philox publish for zeros', function()
    local words = philox.words(0, 0, 0)
    assert.is_true(words[1] == 0x6627e8d5ULL and words[2] == 0xe169c58dULL)
    assert.is_true(words[3] == 0xbc57ac4cULL and words[4] == 0x9b00dbd8ULL)
  end)
end)

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  local function random(kind, dtype, shape, seed, offset, a, b, stride)
    local out = kernels.view(C, dtype, shape, nil, stride)
    kernels.check(C, C.kernel_random(C['KERNEL_' .. kind], out.view, seed, offset, a, b, nil))
    assert(out:gaps_are_untouched())
    return out:values()
  end

  describe(library.name, function()
    after_each(kernels.forget)

    it('makes the uniform numbers of Philox', function()
      for _, case in ipairs { { 0, 0 }, { 42, 7 }, { 0xfedcba9876543210ULL, 2 ^ 34 + 3 } } do
        kernels.near(philox.uniform('f32', 50, case[1], case[2]), random('UNIFORM', 'f32', { 50 }, case[1], case[2], 0, 1), 0, 0, 'f32')
        kernels.near(philox.uniform('f64', 50, case[1], case[2]), random('UNIFORM', 'f64', { 50 }, case[1], case[2], 0, 1), 0, 0, 'f64')
      end
    end)

    it('makes a tensor in parts of any size', function()
      for _, case in ipairs { { 'UNIFORM', 'f32' }, { 'UNIFORM', 'f64' }, { 'NORMAL', 'f32' }, { 'NORMAL', 'f64' }, { 'NORMAL', 'f16' }, { 'INTEGERS', 'i64' } } do
        local whole = random(case[1], case[2], { 1000 }, 42, 3, 0, 9)
        local first, rest = random(case[1], case[2], { 357 }, 42, 3, 0, 9), random(case[1], case[2], { 643 }, 42, 360, 0, 9)
        for i = 1, 643 do first[357 + i] = rest[i] end
        kernels.near(whole, first, 0, 0, case[1])
        kernels.near(whole, random(case[1], case[2], { 25, 40 }, 42, 3, 0, 9, { 1, 26 }), 0, 0, case[1] .. ' with strides')
      end
    end)

    it('makes others for another seed', function()
      local a, b = random('UNIFORM', 'f64', { 100 }, 1, 0, 0, 1), random('UNIFORM', 'f64', { 100 }, 2 ^ 40, 0, 0, 1)
      for i = 1, 100 do assert.not_equal(a[i], b[i]) end
    end)

    it('stays within the bounds, and is spread evenly', function()
      for _, dtype in ipairs(kernels.FLOATS) do
        local values = random('UNIFORM', dtype, { 20000 }, 5, 0, -1, 3)
        for _, x in ipairs(values) do assert.is_true(x >= -1 and x < 3) end
        local mean, deviation = moments(values)
        local expected = 4 / math.sqrt(12)
        assert.is_true(math.abs(mean - 1) < SIGMAS * expected / math.sqrt(20000) + 4 * kernels.epsilon(dtype))
        assert.is_true(math.abs(deviation / expected - 1) < 0.02)
      end
    end)

    it('makes normal numbers', function()
      for _, dtype in ipairs { 'f64', 'f32' } do
        local values = random('NORMAL', dtype, { 40000 }, 9, 1, 2, 0.5)
        local mean, deviation = moments(values)
        assert.is_true(math.abs(mean - 2) < SIGMAS * 0.5 / math.sqrt(40000))
        assert.is_true(math.abs(deviation / 0.5 - 1) < 0.02)
        local beyond, even = 0, 0
        for i, x in ipairs(values) do
          if math.abs(x - 2) > 1 then beyond = beyond + 1 end
          if i % 2 == 0 then even = even + (x - 2) * (values[i - 1] - 2) end
        end
        assert.is_true(math.abs(beyond / 40000 - 0.0455) < 0.006) -- two standard deviations
        assert.is_true(math.abs(even / 20000) < SIGMAS * 0.25 / math.sqrt(20000)) -- those of a pair are independent
      end
    end)

    it('computes the normal numbers of the formula', function()
      for dtype, tolerance in pairs { f64 = 1e-14, f32 = 1e-6 } do
        local got = random('NORMAL', dtype, { 2000 }, 77, 0, 0, 1)
        kernels.near(philox.normal(dtype, 2000, 77, 0), got, 10 * tolerance, tolerance, dtype)
      end
    end)

    it('makes the whole numbers of the formula', function()
      for _, range in ipairs { { 1, 6 }, { -5, 1000 }, { -2 ^ 51, 2 ^ 51 + 17 } } do
        local got = random('INTEGERS', 'i64', { 500 }, 5, 11, range[1], range[2])
        kernels.near(philox.integers(500, 5, 11, range[1], range[2]), got, 0, 0, 'integers')
      end
    end)

    it('draws each kind and each width from a sequence of its own', function()
      local f32, f64 = random('UNIFORM', 'f32', { 4000 }, 3, 0, 0, 1), random('UNIFORM', 'f64', { 2000 }, 3, 0, 0, 1)
      local seen = {}
      for _, x in ipairs(f32) do seen[math.floor(x * 2 ^ 24)] = true end
      local met = 0
      for _, x in ipairs(f64) do met = met + (seen[math.floor(x * 2 ^ 24)] and 1 or 0) end
      assert.is_true(met < 20)  -- of the same words it would be 2000; by chance it is 0.5
    end)

    it('makes whole numbers of both bounds', function()
      for _, dtype in ipairs { 'i64', 'i32', 'u8', 'f32' } do
        local seen = {}
        for _, x in ipairs(random('INTEGERS', dtype, { 3000 }, 1, 0, 3, 8)) do seen[x] = (seen[x] or 0) + 1 end
        for x = 3, 8 do assert.is_true(seen[x] > 400 and seen[x] < 600) end
      end
      for _, x in ipairs(random('INTEGERS', 'i64', { 100 }, 1, 0, 7, 7)) do assert.equal(7, x) end
      for _, x in ipairs(random('INTEGERS', 'i64', { 1000 }, 1, 0, -2 ^ 50, 2 ^ 50)) do
        assert.is_true(x >= -2 ^ 50 and x <= 2 ^ 50)
      end
    end)

    it('refuses what is no range', function()
      local out, whole = kernels.view(C, 'f32', { 2 }), kernels.view(C, 'i64', { 2 })
      assert.equal(C.KERNEL_BAD_ARGUMENT, C.kernel_random(C.KERNEL_UNIFORM, out.view, 0, 0, 1, 1, nil))
      assert.equal(C.KERNEL_BAD_ARGUMENT, C.kernel_random(C.KERNEL_INTEGERS, whole.view, 0, 0, 2, 1, nil))
      assert.equal(C.KERNEL_BAD_ARGUMENT, C.kernel_random(C.KERNEL_INTEGERS, whole.view, 0, 0, 0.5, 2, nil))
      assert.equal(C.KERNEL_BAD_ARGUMENT, C.kernel_random(C.KERNEL_INTEGERS, whole.view, 0, 0, 0, 2 ^ 53, nil))
      assert.equal(C.KERNEL_BAD_DTYPE, C.kernel_random(C.KERNEL_NORMAL, whole.view, 0, 0, 0, 1, nil))
    end)
  end)
end

describe('the libraries', function()
  it('make the same random numbers to the bit', function()
    local libraries = kernels.libraries()
    for _, case in ipairs { { 'UNIFORM', 'f32' }, { 'NORMAL', 'f32' }, { 'NORMAL', 'f64' }, { 'NORMAL', 'bf16' }, { 'INTEGERS', 'i64' } } do
      local first
      for _, library in ipairs(libraries) do
        local out = kernels.view(library.C, case[2], { 5000 })
        kernels.check(library.C, library.C.kernel_random(library.C['KERNEL_' .. case[1]], out.view, 123, 1, 0, 4, nil))
        first = first or out:values()
        kernels.near(first, out:values(), 0, 0, case[1])
      end
    end
  end)
end)
