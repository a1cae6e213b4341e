local ffi = require 'ffi'
local kernels = require 'spec.cuda.kernels'
local oracle = require 'spec.cuda.elementwise'

-- In units of the last place of the result's type, beyond its own rounding. The functions of f32 are those of the C library and of
-- CUDA, whose documented errors are up to 4 units; a GPU's tan, pow and hyperbolic functions have the larger ones.
local LIBRARY_ULP = 8
-- What the oracle's own series lose.
local ORACLE_ULP = 64

local SHAPES = { {}, { 0 }, { 1 }, { 7 }, { 1031 }, { 3, 5 }, { 2, 0, 3 }, { 13, 17, 3 }, { 4, 64 }, { 41, 1, 32 } }

-- Inputs for each domain, in the reach of all float types.
local function inputs(count, domain, dtype)
  local low, high = -3, 3
  if domain == 'positive' then low, high = 0.01, 5 end
  if domain == 'unit' then low, high = -1, 1 end
  if domain == 'whole' then low, high = dtype == 'u8' and 0 or -9, 9 end
  local values = kernels.random(count, low, high, 3)
  for i, x in ipairs(values) do
    values[i] = domain == 'whole' and math.floor(x) or kernels.round(x, dtype)
  end
  return values
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  local function unary(op, dtype, shape, values, stride)
    local out = kernels.view(C, oracle.result_of(op, dtype), shape)
    local input = kernels.view(C, dtype, shape, values, stride)
    kernels.check(C, C.kernel_unary(C['KERNEL_' .. op:upper()], out.view, input.view, nil))
    return out:values()
  end

  local function binary(op, dtype, shape, a, b)
    local out = kernels.view(C, oracle.result_of(op, dtype), shape)
    kernels.check(C, C.kernel_binary(C['KERNEL_' .. op:upper()], out.view, a.view, b.view, nil))
    assert(out:gaps_are_untouched())
    return out:values()
  end

  local function expect(op, dtype, got, ...)
    local expected, lists = {}, { ... }
    for i = 1, #lists[1] do expected[i] = oracle.apply(op, dtype, lists[1][i], lists[2] and lists[2][i]) end
    local exact = oracle.is_exact(op, dtype)
    local ulp = exact and 0 or dtype == 'f64' and ORACLE_ULP * kernels.epsilon('f64') or LIBRARY_ULP * kernels.epsilon('f32')
    if not exact and (dtype == 'f16' or dtype == 'bf16') then ulp = ulp + kernels.epsilon(dtype) end
    kernels.near(expected, got, ulp, exact and 0 or ulp * 0.1, ('%s of %s'):format(op, dtype))
  end

  describe(library.name, function()
    after_each(kernels.forget)

    for _, op in ipairs(oracle.UNARY) do
      it('computes ' .. op, function()
        for _, dtype in ipairs(oracle.dtypes_of(op)) do
          for _, shape in ipairs(SHAPES) do
            local values = inputs(kernels.count(shape), oracle.domain_of(op, dtype), dtype)
            expect(op, dtype, unary(op, dtype, shape, values), values)
          end
        end
      end)
    end

    for _, op in ipairs(oracle.BINARY) do
      it('computes ' .. op, function()
        for _, dtype in ipairs(oracle.dtypes_of(op)) do
          for _, shape in ipairs(SHAPES) do
            local count, domain = kernels.count(shape), oracle.domain_of(op, dtype)
            local a = inputs(count, domain, dtype)
            local b = inputs(count + 5, domain, dtype)
            b = { unpack(b, 6) }
            if op == 'eq' or op == 'ne' or op == 'le' then for i = 1, count, 3 do b[i] = a[i] end end
            expect(op, dtype, binary(op, dtype, shape, kernels.view(C, dtype, shape, a), kernels.view(C, dtype, shape, b)), a, b)
          end
        end
      end)
    end

    it('refuses operations that a dtype does not have', function()
      for _, op in ipairs(oracle.ALL) do
        for _, dtype in ipairs(kernels.DTYPES) do
          local out = kernels.view(C, oracle.result_of(op, dtype), { 3 })
          local input = kernels.view(C, dtype, { 3 }, { 1, 1, 1 })
          local status
          if oracle.is_binary(op) then
            status = C.kernel_binary(C['KERNEL_' .. op:upper()], out.view, input.view, input.view, nil)
          else
            status = C.kernel_unary(C['KERNEL_' .. op:upper()], out.view, input.view, nil)
          end
          local defined = false
          for _, one in ipairs(oracle.dtypes_of(op)) do defined = defined or one == dtype end
          assert.equal(defined and 0 or C.KERNEL_BAD_DTYPE, status, op .. ' of ' .. dtype)
        end
      end
    end)

    -- Each: the output's shape and stride, then those of the inputs.
    local LAYOUTS = {
      ['a row'] = { { 6, 40 }, nil, { 40 }, nil },
      ['a column'] = { { 6, 40 }, nil, { 6, 1 }, nil },
      ['a single element'] = { { 6, 40 }, nil, { 1, 1 }, nil },
      ['a scalar'] = { { 6, 40 }, nil, {}, nil },
      ['a row of odd length'] = { { 11, 37 }, nil, { 37 }, nil },
      ['the middle'] = { { 3, 5, 16 }, nil, { 3, 1, 16 }, nil },
      ['a transposed matrix'] = { { 33, 31 }, nil, { 33, 31 }, { 1, 33 } },
      ['every second element'] = { { 100 }, nil, { 100 }, { 2 } },
      ['the reverse'] = { { 1000 }, nil, { 1000 }, { -1 } },
      ['gaps between rows'] = { { 9, 64 }, { 80, 1 }, { 9, 64 }, { 72, 1 } },
      ['a transposed output'] = { { 30, 50 }, { 1, 32 }, { 50 }, nil },
      ['eight dimensions'] = { { 2, 3, 2, 2, 3, 2, 2, 3 }, nil, { 3, 1, 2, 1, 2, 1, 3 }, nil },
    }
    for name, layout in pairs(LAYOUTS) do
      it('broadcasts and steps over ' .. name, function()
        local shape, out_stride, small, stride = layout[1], layout[2], layout[3], layout[4]
        for _, dtype in ipairs { 'f32', 'f16', 'i64', 'u8' } do
          local count = kernels.count(shape)
          local a, b = inputs(count, 'whole', dtype), inputs(kernels.count(small), 'whole', dtype)
          local wide = oracle.broadcast(b, small, shape)
          for _, swapped in ipairs { false, true } do
            local out = kernels.view(C, dtype, shape, nil, out_stride)
            local x, y = kernels.view(C, dtype, shape, a), kernels.view(C, dtype, small, b, stride)
            if swapped then x, y = y, x end
            kernels.check(C, C.kernel_binary(C.KERNEL_SUB, out.view, x.view, y.view, nil))
            if swapped then expect('sub', dtype, out:values(), wide, a) else expect('sub', dtype, out:values(), a, wide) end
            assert.is_true(out:gaps_are_untouched())
          end
        end
      end)
    end

    it('takes memory that is aligned to its element only', function()
      for _, dtype in ipairs(kernels.DTYPES) do
        local values = inputs(1000, 'whole', dtype)
        local out = kernels.view(C, dtype, { 1000 }, nil, nil, 1)
        kernels.check(C, C.kernel_copy(out.view, kernels.view(C, dtype, { 1000 }, values, nil, 3).view, nil))
        assert.is_true(out:gaps_are_untouched())
        kernels.near(kernels.view(C, dtype, { 1000 }, values):values(), out:values(), 0, 0, dtype)
      end
    end)

    it('works in place', function()
      local values = inputs(10007, 'whole', 'f32')
      local view = kernels.view(C, 'f32', { 10007 }, values)
      kernels.check(C, C.kernel_binary(C.KERNEL_MUL, view.view, view.view, view.view, nil))
      expect('mul', 'f32', view:values(), values, values)
    end)

    it('computes the exponential to the ends of its range', function()
      local values, expected = { -math.huge, -200, -104, -103, -90, -87.5, -0.0, 1e-30, 1, 88.7, 89, 200, math.huge, 0 / 0 }, {}
      for i, x in ipairs(values) do expected[i] = kernels.round(math.exp(kernels.round(x, 'f32')), 'f32') end
      kernels.near(expected, unary('exp', 'f32', { #values }, values), 4 * kernels.epsilon('f32'), 2 ^ -149, 'exp')
    end)

    it('refuses shapes that do not fit', function()
      local out = kernels.view(C, 'f32', { 2, 3 })
      for _, shape in ipairs { { 2 }, { 3, 3 }, { 2, 3, 1 }, { 0 } } do
        local input = kernels.view(C, 'f32', shape)
        assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_unary(C.KERNEL_NEG, out.view, input.view, nil))
      end
      out.view.rank = 9
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_unary(C.KERNEL_NEG, out.view, kernels.view(C, 'f32', {}).view, nil))
    end)

    it('takes a number for an input', function()
      for _, op in ipairs { 'add', 'sub', 'floordiv', 'pow', 'lt', 'ge', 'eq', 'max' } do
        for _, dtype in ipairs { 'f64', 'f32', 'bf16', 'i64', 'u8' } do
          local a = inputs(1500, 'whole', dtype)
          local number = {}
          for i = 1, #a do number[i] = 3 end
          for first = 0, 1 do
            local out = kernels.view(C, oracle.result_of(op, dtype), { 1500 })
            local input = kernels.view(C, dtype, { 1500 }, a)
            kernels.check(C, C.kernel_binary_scalar(C['KERNEL_' .. op:upper()], out.view, input.view, 3, first, nil))
            if first == 1 then expect(op, dtype, out:values(), number, a) else expect(op, dtype, out:values(), a, number) end
          end
        end
      end
    end)

    it('chooses by a condition', function()
      for _, dtype in ipairs(kernels.DTYPES) do
        local a, b = inputs(600, 'whole', dtype), inputs(20, 'whole', dtype)
        local condition = { true, false, true, true, false }
        local out = kernels.view(C, dtype, { 30, 20 })
        local status = C.kernel_where(out.view, kernels.view(C, 'bool', { 30, 1 }, oracle.broadcast(condition, { 5 }, { 6, 5 })).view,
          kernels.view(C, dtype, { 30, 20 }, a).view, kernels.view(C, dtype, { 20 }, b).view, nil)
        kernels.check(C, status)
        local expected = {}
        for i = 1, 600 do
          expected[i] = condition[math.floor((i - 1) / 20) % 5 + 1] and a[i] or b[(i - 1) % 20 + 1]
        end
        kernels.near(kernels.view(C, dtype, { 600 }, expected):values(), out:values(), 0, 0, dtype)
      end
    end)

    it('converts between any two dtypes', function()
      local huge = math.huge
      local values = { 0, 1, -1, 2.5, 3.5, -2.5, 0.1, 255, 256, 300, -300, 65504, 65519.99, 65520, 70000, 2 ^ -24, 2 ^ -25, 2 ^ -25 * 1.01,
        2 ^ -14, 1 + 2 ^ -11, 1 + 2 ^ -11 + 2 ^ -30, 1 + 3 * 2 ^ -11, 2 ^ 31, -2 ^ 31, 2 ^ 31 - 1, 2 ^ 40 + 1, -2 ^ 62, 2 ^ 63, 1e300, -1e300, 3.4e38, 3.5e38,
        huge, -huge, 0 / 0, 2 ^ -133, 2 ^ -134, 1.5 * 2 ^ -133, 1e-40 }
      for _, from in ipairs(kernels.DTYPES) do
        for _, to in ipairs(kernels.DTYPES) do
          local held, expected = {}, {}
          for i, x in ipairs(values) do held[i] = oracle.convert(x, from) end
          local whole = from == 'i64' or from == 'i32' or from == 'u8' or from == 'bool'
          for i, x in ipairs(held) do expected[i] = whole and oracle.from_integer(x, to) or oracle.convert(x, to) end
          local out = kernels.view(C, to, { #values })
          kernels.check(C, C.kernel_copy(out.view, kernels.view(C, from, { #values }, held).view, nil))
          kernels.near(expected, out:values(), 0, 0, ('%s to %s'):format(from, to))
        end
      end
    end)

    it('converts every f16 and bf16 to f32 and back', function()
      for _, dtype in ipairs { 'f16', 'bf16' } do
        local bits, wide, back = kernels.view(C, dtype, { 65536 }), kernels.view(C, 'f32', { 65536 }), kernels.view(C, dtype, { 65536 })
        local host = ffi.new('uint16_t[65536]')
        for i = 0, 65535 do host[i] = i end
        kernels.check(C, C.device_copy(bits.memory, host, 131072, nil))
        kernels.check(C, C.kernel_copy(wide.view, bits.view, nil))
        local values = bits:values()
        kernels.near(values, wide:values(), 0, 0, dtype)
        kernels.check(C, C.kernel_copy(back.view, wide.view, nil))
        local raw = back:raw()
        for i = 0, 65535 do
          if values[i + 1] == values[i + 1] then assert.equal(i, raw[i]) end
        end
      end
    end)

    it('fills, and counts', function()
      for _, dtype in ipairs(kernels.DTYPES) do
        local out = kernels.view(C, dtype, { 3, 50 }, nil, { 64, 1 })
        kernels.check(C, C.kernel_fill(out.view, 2.5, nil))
        local value = oracle.convert(2.5, dtype)
        for _, x in ipairs(out:values()) do assert.equal(value, x) end
        assert.is_true(out:gaps_are_untouched())
      end
      for _, dtype in ipairs { 'f64', 'f32', 'bf16', 'i64', 'u8' } do
        local out, expected = kernels.view(C, dtype, { 30, 50 }, nil, { 1, 30 }), {}
        local start, step = 3, dtype == 'u8' and 1 or -2
        if dtype == 'f64' or dtype == 'f32' then start, step = 0.1, 0.3 end
        kernels.check(C, C.kernel_arange(out.view, start, step, nil))
        for i = 1, 1500 do expected[i] = oracle.convert(oracle.wrap(start + (i - 1) * step, dtype), dtype) end
        kernels.near(expected, out:values(), 0, 0, dtype)
      end
    end)
  end)
end
