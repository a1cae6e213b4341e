local ffi = require 'ffi'
local kernels = require 'spec.cuda.kernels'

-- Sums are compared with a sum in doubles; the error of adding n rounded numbers in some order grows with the sum of their
-- magnitudes, far slower than n times this.
local SUM_ULP = 64
local EXP_ULP = 64

-- Shape, reduced dimensions, and the input's stride where it is not row-major.
local CASES = {
  { { 1 }, { 1 } }, { { 7 }, { 1 } }, { { 1031 }, { 1 } }, { { 70001 }, { 1 } },
  { { 3, 0, 2 }, { 3 } }, { { 0, 5 }, { 2 } }, { { 3, 2, 0 }, { 1 } }, { { 3, 2, 0 }, { 1 }, { 2, 1, 1 } }, { {}, {} },
  { { 0, 3, 2 }, { 3 }, { 100, 4, 1 } }, { { 2, 0, 3 }, { 2, 3 }, { 100, 4, 1 } },
  { { 13, 17 }, { 2 } }, { { 13, 17 }, { 1 } }, { { 13, 17 }, { 1, 2 } }, { { 13, 17 }, {} },
  { { 5, 4096 }, { 2 } }, { { 3, 2999 }, { 2 } }, { { 600, 70 }, { 1 } }, { { 1000, 3 }, { 1 } }, { { 2, 500, 40 }, { 2 } }, { { 3, 4100 }, { 1 } },
  { { 5, 6, 7, 8 }, { 2, 4 } }, { { 5, 6, 7, 8 }, { 1, 3 } }, { { 2, 1, 40, 33 }, { 3 } },
  { { 31, 50 }, { 2 }, { 1, 31 } }, { { 31, 50 }, { 1 }, { 1, 31 } }, { { 300 }, { 1 }, { -2 } }, { { 20, 30 }, { 2 }, { 0, 1 } },
  { { 9, 64 }, { 2 }, { 65, 1 } }, { { 9, 64 }, { 2 }, { 80, 1 } }, { { 64, 20 }, { 1 }, { 33, 1 } },
}

-- Groups the elements that go into one result. Calls f(result, element, place of the element in its group).
local function each(shape, reduced, f)
  local is_reduced, count = {}, kernels.count(shape)
  for _, d in ipairs(reduced) do is_reduced[d] = true end
  for i = 0, count - 1 do
    local rest, kept, place, kept_step, place_step = i, 0, 0, 1, 1
    for d = #shape, 1, -1 do
      local index = rest % shape[d]
      rest = math.floor(rest / shape[d])
      if is_reduced[d] then
        place, place_step = place + index * place_step, place_step * shape[d]
      else
        kept, kept_step = kept + index * kept_step, kept_step * shape[d]
      end
    end
    f(kept + 1, i + 1, place)
  end
end

local function out_shape(shape, reduced)
  local out = { unpack(shape) }
  for _, d in ipairs(reduced) do out[d] = 1 end
  return out
end

-- Each: start, step(carried, x, place), finish(carried, count).
local ORACLE = {
  sum = { function() return 0 end, function(c, x) return c + x end },
  mean = { function() return 0 end, function(c, x) return c + x end, function(c, n) return c / n end },
  product = { function() return 1 end, function(c, x) return c * x end },
  reduce_min = { function() return math.huge end, function(c, x) return (x ~= x or c ~= c) and 0 / 0 or math.min(c, x) end },
  reduce_max = { function() return -math.huge end, function(c, x) return (x ~= x or c ~= c) and 0 / 0 or math.max(c, x) end },
  argmin = { function() return {} end, function(c, x, place)
    if not c.x or (x < c.x and c.x == c.x) or (x ~= x and c.x == c.x) then return { x = x, place = place } end
    return c
  end, function(c) return c.place end },
  argmax = { function() return {} end, function(c, x, place)
    if not c.x or (x > c.x and c.x == c.x) or (x ~= x and c.x == c.x) then return { x = x, place = place } end
    return c
  end, function(c) return c.place end },
  logsumexp = { function() return {} end, function(c, x) c[#c + 1] = x return c end, function(c)
    local most, sum = -math.huge, 0
    for _, x in ipairs(c) do most = (x ~= x or x > most) and x or most end
    if most ~= most or most == math.huge or most == -math.huge then return most end
    for _, x in ipairs(c) do sum = sum + math.exp(x - most) end
    return most + math.log(sum)
  end },
  reduce_any = { function() return 0 end, function(c, x) return (c ~= 0 or x ~= 0) and 1 or 0 end },
  reduce_all = { function() return 1 end, function(c, x) return (c ~= 0 and x ~= 0) and 1 or 0 end },
}

local DTYPES = {
  sum = { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool' },
  mean = kernels.FLOATS, logsumexp = kernels.FLOATS,
  product = { 'f64', 'f32', 'f16', 'i64', 'u8' },
  reduce_min = { 'f64', 'f32', 'bf16', 'i64', 'i32', 'u8' }, reduce_max = { 'f64', 'f32', 'f16', 'i64', 'i32', 'u8' },
  argmin = { 'f64', 'f32', 'f16', 'i64', 'u8' }, argmax = { 'f32', 'bf16', 'i32', 'u8' },
  reduce_any = { 'bool' }, reduce_all = { 'bool' },
}

local IS_FLOAT = { f64 = true, f32 = true, f16 = true, bf16 = true }

local function result_of(op, dtype)
  if op == 'argmin' or op == 'argmax' then return 'i64' end
  return (op == 'sum' or op == 'product') and not IS_FLOAT[dtype] and 'i64' or dtype
end

local function inputs(op, dtype, count)
  local low, high = -4, 4
  if dtype == 'u8' then low, high = 0, 9 end
  if dtype == 'bool' then low, high = 0, 1.999 end
  if op == 'product' then
    low, high = 0.98, 1.02
    if not IS_FLOAT[dtype] then low, high = 1, 2.0005 end
  end
  local values = kernels.random(count, low, high, 11)
  for i, x in ipairs(values) do values[i] = IS_FLOAT[dtype] and kernels.round(x, dtype) or math.floor(x) end
  return values
end

-- What is expected, and for each result the sum of magnitudes that went into it.
local function expected_of(op, dtype, shape, reduced, values)
  local oracle, carried, size, count = ORACLE[op], {}, {}, {}
  local results = kernels.count(out_shape(shape, reduced))
  for i = 1, results do carried[i], size[i], count[i] = oracle[1](), 0, 0 end
  each(shape, reduced, function(result, element, place)
    carried[result] = oracle[2](carried[result], values[element], place)
    size[result] = size[result] + math.abs(values[element])
    count[result] = count[result] + 1
  end)
  for i = 1, results do
    if oracle[3] then carried[i], size[i] = oracle[3](carried[i], count[i]), op == 'mean' and size[i] / count[i] or size[i] end
    if IS_FLOAT[result_of(op, dtype)] then carried[i] = kernels.round(carried[i], dtype) end
  end
  return carried, size
end

-- How far a result may be off, relative and absolute.
local function tolerance(op, dtype, size)
  if not IS_FLOAT[dtype] or op:find('min') or op:find('max') then return 0, 0 end
  local wide, last = dtype == 'f64' and 'f64' or 'f32', dtype ~= 'f32' and dtype ~= 'f64' and kernels.epsilon(dtype) or 0
  if op == 'product' then return last + 1e5 * kernels.epsilon(wide), 0 end
  if op == 'logsumexp' then return last + EXP_ULP * kernels.epsilon(wide), EXP_ULP * kernels.epsilon(wide) end
  return last, SUM_ULP * kernels.epsilon(wide) * size
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  local function reduce(op, out, input)
    local code = C['KERNEL_' .. op:upper()]
    local size = tonumber(C.kernel_reduce_workspace(code, out.view, input.view))
    local workspace = kernels.view(C, 'u8', { size })
    kernels.check(C, C.kernel_reduce(code, out.view, input.view, workspace.memory, size, nil))
    assert(out:gaps_are_untouched())
    return out:values(), size
  end

  local function is_empty(shape, reduced)
    for _, d in ipairs(reduced) do
      if shape[d] == 0 then return true end
    end
    return false
  end

  describe(library.name, function()
    after_each(kernels.forget)

    for op in pairs(ORACLE) do
      it('computes ' .. op .. ' over any dimensions', function()
        for _, dtype in ipairs(DTYPES[op]) do
          for _, case in ipairs(CASES) do
            local shape, reduced, stride = case[1], case[2], case[3]
            local values = inputs(op, dtype, kernels.count(shape))
            if stride and stride[1] == 0 then for i = 31, #values do values[i] = values[i - 30] end end
            if not (is_empty(shape, reduced) and (op:find('min') or op:find('max'))) then
              local out = kernels.view(C, result_of(op, dtype), out_shape(shape, reduced))
              local got = reduce(op, out, kernels.view(C, dtype, shape, values, stride))
              local expected, size = expected_of(op, dtype, shape, reduced, values)
              for i = 1, #expected do
                local relative, absolute = tolerance(op, dtype, size[i])
                kernels.near({ expected[i] }, { got[i] }, relative, absolute,
                  ('%s of %s {%s} over {%s}, result %d'):format(op, dtype, table.concat(shape, ','), table.concat(reduced, ','), i))
              end
            end
          end
        end
      end)
    end

    it('carries NaN and infinities', function()
      local huge, nan = math.huge, 0 / 0
      for _, row in ipairs { { 1, nan, 3, nan }, { -huge, -huge, -huge, -huge }, { 1, huge, 2, huge }, { -huge, 2, 2, huge }, { nan, huge, -huge, 0 } } do
        for _, op in ipairs { 'sum', 'reduce_min', 'reduce_max', 'argmin', 'argmax', 'logsumexp' } do
          local out = kernels.view(C, result_of(op, 'f32'), { 1 })
          local got = reduce(op, out, kernels.view(C, 'f32', { 4 }, row))
          kernels.near(expected_of(op, 'f32', { 4 }, { 1 }, row), got, 1e-6, 0, op)
        end
      end
    end)

    it('finds the first of several extremes that are far apart', function()
      for op, far in pairs { argmax = 5, argmin = -5 } do
        for _, case in ipairs { { far, 600 }, { 0 / 0, 700 }, { far, 1 }, { far, 1500 } } do
          local row = {}
          for i = 1, 1500 do row[i] = i % 3 / 4 end
          row[case[2]], row[math.min(case[2] + 512, 1500)] = case[1], case[1]
          for _, dtype in ipairs { 'f32', 'f64', 'bf16' } do
            assert.same({ case[2] - 1 }, (reduce(op, kernels.view(C, 'i64', { 1 }), kernels.view(C, dtype, { 1500 }, row))))
          end
        end
      end
    end)

    it('splits long rows and says how much workspace that takes', function()
      local values = inputs('sum', 'f32', 300000)
      local out, input = kernels.view(C, 'f32', { 1 }), kernels.view(C, 'f32', { 300000 }, values)
      local _, size = reduce('sum', out, input)
      assert.is_true(size > 0)
      assert.equal(C.KERNEL_BAD_WORKSPACE, C.kernel_reduce(C.KERNEL_SUM, out.view, input.view, nil, 0, nil))
    end)

    it('is the same to the bit each time, on any number of threads', function()
      local values = inputs('sum', 'f32', 300000)
      local input, first = kernels.view(C, 'f32', { 3, 100000 }, values), nil
      local threads = C.device_threads(0)
      for _, count in ipairs { 1, 2, 3, 1 } do
        if threads > 0 then C.device_threads(count) end
        local out = kernels.view(C, 'f32', { 3, 1 })
        local got = reduce('sum', out, input)
        first = first or got
        kernels.near(first, got, 0, 0, 'sum')
      end
      if threads > 0 then C.device_threads(threads) end
    end)

    it('refuses what does not fit', function()
      local input = kernels.view(C, 'f32', { 4, 5 }, inputs('sum', 'f32', 20))
      local function status(op, dtype, shape, from)
        return C.kernel_reduce(C['KERNEL_' .. op], kernels.view(C, dtype, shape).view, (from or input).view, nil, 0, nil)
      end
      assert.equal(C.KERNEL_BAD_SHAPE, status('SUM', 'f32', { 4, 2 }))
      assert.equal(C.KERNEL_BAD_SHAPE, status('SUM', 'f32', { 4 }))
      assert.equal(C.KERNEL_BAD_DTYPE, status('SUM', 'f64', { 4, 1 }))
      assert.equal(C.KERNEL_BAD_DTYPE, status('ARGMAX', 'f32', { 4, 1 }))
      assert.equal(C.KERNEL_BAD_DTYPE, status('REDUCE_ANY', 'bool', { 4, 1 }))
      assert.equal(C.KERNEL_BAD_SHAPE, status('REDUCE_MAX', 'f32', { 4, 1 }, kernels.view(C, 'f32', { 4, 0 })))
      assert.equal(C.KERNEL_BAD_OPERATION, C.kernel_reduce(77, input.view, input.view, nil, 0, nil))
    end)
  end)
end

describe('declarations', function()
  it('are those of the library', function()
    assert.equal(8 + 4 + 4 + 64 + 64, ffi.sizeof('struct kernel_view'))
  end)
end)
