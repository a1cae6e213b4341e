local kernels = require 'spec.cuda.kernels'

-- In units of the last place of the type that is computed in, beyond the rounding of the result.
local ROW_ULP = 64

-- Shape, dimension, stride where it is not row-major.
local CASES = {
  { { 1 }, 1 }, { { 7 }, 1 }, { { 3, 0 }, 2 }, { { 0, 3 }, 2 }, { { 5, 64 }, 2 }, { { 37, 1000 }, 2 }, { { 3, 1031 }, 2 },
  { { 2, 4096 }, 2 }, { { 2, 20000 }, 2 }, { { 300, 8 }, 2 }, { { 4, 5, 16 }, 3 },
  { { 6, 64 }, 2, { 72, 1 } }, { { 6, 64 }, 2, { 67, 1 } }, { { 31, 40 }, 2, { 1, 31 } }, { { 9 }, 1, { -1 } },
  -- along another than the last, for softmax only
  { { 13, 17 }, 1 }, { { 2, 33, 40 }, 2 },
}

local function each_row(shape, axis, f)
  local inner, length = 1, shape[axis]
  for d = axis + 1, #shape do inner = inner * shape[d] end
  local outer = length == 0 and 0 or kernels.count(shape) / inner / length
  for i = 0, outer - 1 do
    for k = 0, inner - 1 do
      local places = {}
      for j = 0, length - 1 do places[j + 1] = (i * length + j) * inner + k + 1 end
      f(places)
    end
  end
end

local function softmax(row, logarithm)
  local most, sum, out = -math.huge, 0, {}
  for _, x in ipairs(row) do most = math.max(most, x) end
  for _, x in ipairs(row) do sum = sum + math.exp(x - most) end
  for i, x in ipairs(row) do out[i] = logarithm and x - most - math.log(sum) or math.exp(x - most) / sum end
  return out
end

local function norm(row, weight, bias, centred)
  local mean, square, out = 0, 0, {}
  for _, x in ipairs(row) do mean = mean + (centred and x / #row or 0) end
  for _, x in ipairs(row) do square = square + (x - mean) ^ 2 / #row end
  for i, x in ipairs(row) do
    out[i] = (x - mean) / math.sqrt(square + 1e-5) * (weight and weight[i] or 1) + (bias and bias[i] or 0)
  end
  return out
end

local function rounded(count, low, high, dtype, seed)
  local values = kernels.random(count, low, high, seed)
  for i, x in ipairs(values) do values[i] = kernels.round(x, dtype) end
  return values
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  -- run(out view, input view, axis, length) launches; oracle(row) is what a row becomes.
  local function compare(what, last_only, run, oracle)
    for _, dtype in ipairs(kernels.FLOATS) do
      for _, case in ipairs(CASES) do
        local shape, axis, stride = case[1], case[2], case[3]
        if not last_only or axis == #shape then
          local values = rounded(kernels.count(shape), -6, 6, dtype, 2)
          local out = kernels.view(C, dtype, shape, nil, stride)
          kernels.check(C, run(out, kernels.view(C, dtype, shape, values, stride), axis, shape[axis], dtype))
          local got = out:values()
          assert.is_true(out:gaps_are_untouched())
          each_row(shape, axis, function(places)
            local row, result = {}, {}
            for i, place in ipairs(places) do row[i], result[i] = values[place], got[place] end
            local ulp = ROW_ULP * kernels.epsilon(dtype == 'f64' and 'f64' or 'f32')
            local own = (dtype == 'f16' or dtype == 'bf16') and kernels.epsilon(dtype) or 0
            local tiny = dtype == 'f16' and 2 ^ -25 or 0
            kernels.near(oracle(row, dtype), result, ulp + own, ulp + tiny, ('%s of %s {%s}'):format(what, dtype, table.concat(shape, ',')))
          end)
        end
      end
    end
  end

  describe(library.name, function()
    after_each(kernels.forget)

    it('computes softmax along any dimension', function()
      for logarithm = 0, 1 do
        compare('softmax', false, function(out, input, axis)
          return C.kernel_softmax(out.view, input.view, axis - 1, logarithm, nil)
        end, function(row) return softmax(row, logarithm == 1) end)
      end
    end)

    it('computes softmax of numbers whose exponential is too large', function()
      local view = kernels.view(C, 'f32', { 3 }, { 1000, 1000, -math.huge })
      kernels.check(C, C.kernel_softmax(view.view, view.view, 0, 0, nil))
      kernels.near({ 0.5, 0.5, 0 }, view:values(), 0, 0, 'softmax')
    end)

    it('computes layer norm with and without weights', function()
      -- Elements from one weight to the next, and from one bias.
      for _, weighted in ipairs { { 1, 1 }, { 2, 1 }, { 1, 2 }, false } do
        local weight, bias
        compare('layernorm', true, function(out, input, _, length, dtype)
          weight, bias = weighted and rounded(length, 0.5, 2, dtype, 5) or nil, weighted and rounded(length, -1, 1, dtype, 6) or nil
          local w = weighted and kernels.view(C, dtype, { length }, weight, { weighted[1] }).view or nil
          local b = weighted and kernels.view(C, dtype, { length }, bias, { weighted[2] }).view or nil
          return C.kernel_layernorm(out.view, input.view, w, b, 1e-5, nil)
        end, function(row) return norm(row, weight, bias, true) end)
      end
    end)

    it('computes root mean square norm', function()
      local weight
      compare('rmsnorm', true, function(out, input, _, length, dtype)
        weight = rounded(length, 0.5, 2, dtype, 5)
        return C.kernel_rmsnorm(out.view, input.view, kernels.view(C, dtype, { length }, weight).view, 1e-5, nil)
      end, function(row) return norm(row, weight, nil, false) end)
    end)

    it('refuses what does not fit', function()
      local out, whole = kernels.view(C, 'f32', { 2, 3 }), kernels.view(C, 'i32', { 2, 3 })
      local two = kernels.view(C, 'f32', { 2 })
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_softmax(out.view, out.view, 2, 0, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_softmax(out.view, out.view, -1, 0, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_softmax(two.view, out.view, 0, 0, nil))
      assert.equal(C.KERNEL_BAD_DTYPE, C.kernel_softmax(whole.view, whole.view, 0, 0, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_layernorm(out.view, out.view, two.view, nil, 1e-5, nil))
      local scalar = kernels.view(C, 'f32', {}, { 1 })
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_rmsnorm(scalar.view, scalar.view, nil, 1e-5, nil))
    end)
  end)
end
