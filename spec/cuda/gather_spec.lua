-- Gather and take against loops that follow the definition.
local ffi = require 'ffi'
local kernels = require 'spec.cuda.kernels'

-- Shape of the input, dimension from 1, how many places are asked for, stride of the input where it is not row-major.
local CASES = {
  { { 1 }, 1, 1 }, { { 7 }, 1, 20 }, { { 7 }, 1, 0 }, { { 0, 3 }, 1, 0 }, { { 3, 0 }, 1, 5 }, { { 5, 64 }, 1, 9 }, { { 64, 5 }, 2, 9 },
  { { 13, 17 }, 1, 4 }, { { 13, 17 }, 2, 40 }, { { 4, 5, 16 }, 2, 7 }, { { 4, 5, 16 }, 1, 3 }, { { 2, 3, 4, 5 }, 3, 6 },
  { { 30, 1000 }, 1, 40 }, { { 3, 5000 }, 2, 4000 },
  { { 31, 48 }, 1, 20, { 1, 31 } }, { { 31, 48 }, 2, 20, { 1, 31 } }, { { 9, 64 }, 1, 5, { 72, 1 } }, { { 9, 64 }, 1, 5, { 65, 1 } },
  { { 9, 8 }, 1, 12, { -8, 1 } }, { { 9, 8 }, 2, 12, { 0, 1 } },
}

local function shape_with(shape, axis, size)
  local out = { unpack(shape) }
  out[axis] = size
  return out
end

-- For each element of a shape: its number among those of `shape`, and its position along the dimension.
local function each(shape, f)
  local position = {}
  for d = 1, #shape do position[d] = 0 end
  for n = 1, kernels.count(shape) do
    f(n, position)
    for d = #shape, 1, -1 do
      position[d] = position[d] + 1
      if position[d] < shape[d] then break end
      position[d] = 0
    end
  end
end

local function number_of(shape, position, axis, place)
  local n = 0
  for d = 1, #shape do n = n * shape[d] + (d == axis and place or position[d]) end
  return n + 1
end

-- What is expected; `place_at(element, position)` from 0.
local function expected_of(values, shape, axis, many, place_at)
  local out, got = shape_with(shape, axis, many), {}
  each(out, function(n, position)
    local place = place_at(n, position)
    got[n] = place >= 0 and place < shape[axis] and values[number_of(shape, position, axis, place)] or 0
  end)
  return out, got
end

local function numbers(dtype, count)
  local values = kernels.random(count, 0, dtype == 'bool' and 1.999 or 200, 3)
  for i, x in ipairs(values) do values[i] = math.floor(x) end
  return values
end

local function indices(count, size, first)
  local values = kernels.random(count, 0, size - 1e-9, 8)
  for i, x in ipairs(values) do values[i] = math.floor(x) + first end
  return values
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  local function input_of(dtype, case)
    local shape, stride = case[1], case[4]
    local values = numbers(dtype, kernels.count(shape))
    if stride and stride[1] == 0 then for i = shape[2] + 1, #values do values[i] = values[i - shape[2]] end end
    return values, kernels.view(C, dtype, shape, values, stride)
  end

  -- Launches; returns what `wrong` has become.
  local function launch(name, out, input, index, axis, first)
    local wrong = kernels.view(C, 'i64', { 1 }, { 0 })
    kernels.check(C, C['kernel_' .. name](out.view, input.view, index.view, axis - 1, first, ffi.cast('uint64_t *', wrong.memory), nil))
    assert(out:gaps_are_untouched())
    return wrong:values()[1]
  end

  local function compare(name, dtype, index_dtype, case, first, out_stride)
    local shape, axis, many = case[1], case[2], case[3]
    local values, input = input_of(dtype, case)
    local index_shape = name == 'take' and { many } or shape_with(shape, axis, many)
    local list = indices(kernels.count(index_shape), shape[axis], first)
    local index = kernels.view(C, index_dtype, index_shape, list)
    local out_shape, expected = expected_of(values, shape, axis, many, function(n, position)
      return list[name == 'take' and position[axis] + 1 or n] - first
    end)
    local out = kernels.view(C, dtype, out_shape, nil, out_stride)
    local what = ('%s of %s {%s}, %d along %d'):format(name, dtype, table.concat(shape, ','), many, axis)
    assert.equal(0, launch(name, out, input, index, axis, first), what)
    kernels.near(expected, out:values(), 0, 0, what)
  end

  describe(library.name, function()
    after_each(kernels.forget)

    for _, name in ipairs { 'gather', 'take' } do
      it(name .. 's elements of any type along any dimension', function()
        for i, dtype in ipairs(kernels.DTYPES) do
          for j, case in ipairs(CASES) do
            compare(name, dtype, (i + j) % 2 == 0 and 'i64' or 'i32', case, j % 2)
          end
        end
      end)

      it(name .. 's to wherever the output lies', function()
        compare(name, 'f32', 'i64', { { 5, 64 }, 1, 9 }, 0, { 72, 1 })
        compare(name, 'f32', 'i64', { { 5, 64 }, 1, 9 }, 0, { 1, 9 })
        compare(name, 'i64', 'i32', { { 5, 64 }, 2, 9 }, 1, { -9, 1 })
        compare(name, 'u8', 'i32', { { 3, 4, 32 }, 2, 6 }, 0, { 2000, 48, 1 })
      end)
    end

    it('takes bits as they are', function()
      local values = { 0 / 0, -0, math.huge, -math.huge }
      local out = kernels.view(C, 'f32', { 4 })
      launch('take', out, kernels.view(C, 'f32', { 4 }, values), kernels.view(C, 'i32', { 4 }, { 4, 3, 2, 1 }), 1, 1)
      local got = out:values()
      for i = 1, 4 do assert.is_true(kernels.same(values[5 - i], got[i])) end
    end)

    it('does not follow an index that leads out of the input, and tells of it', function()
      for _, case in ipairs { { { 6, 64 }, 1 }, { { 6, 64 }, 2 }, { { 6, 5 }, 1 }, { { 70, 5 }, 2 } } do
        local shape, axis = case[1], case[2]
        for _, dtype in ipairs { 'i64', 'i32' } do
          -- The input lies between memory that would be seen.
          local values = numbers('f32', kernels.count(shape))
          local input = kernels.view(C, 'f32', shape, values)
          local size = shape[axis]
          local far = dtype == 'i64' and 2 ^ 53 or 2 ^ 31 - 1
          for wrong, expected in pairs { [size + 1] = size, [far] = far - 1, [0] = -1, [-5] = -6, [-far] = -far - 1 } do
            local list = { 1, wrong, size, size + 1 }
            local out_shape, wanted = expected_of(values, shape, axis, 4, function(_, position)
              return list[position[axis] + 1] - 1
            end)
            local out = kernels.view(C, 'f32', out_shape)
            local got = launch('take', out, input, kernels.view(C, dtype, { 4 }, list), axis, 1)
            assert.is_true(got == expected or tonumber(got) == expected, tostring(got))
            kernels.near(wanted, out:values(), 0, 0, 'take')
            kernels.check(C, C.kernel_take(out.view, input.view, kernels.view(C, dtype, { 4 }, list).view, axis - 1, 1, nil, nil))
            kernels.near(wanted, out:values(), 0, 0, 'take that is not told of')
          end
        end
      end
    end)

    it('refuses what does not fit', function()
      local input, index = kernels.view(C, 'f32', { 4, 5 }), kernels.view(C, 'i64', { 2, 5 })
      local row = kernels.view(C, 'i64', { 2 })
      local function gather(out, at, axis, from)
        return C.kernel_gather(out.view, (from or input).view, at.view, axis, 0, nil, nil)
      end
      local function view(...) return kernels.view(C, ...) end
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2, 5 }), index, 1))
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2, 5 }), index, 2))
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2, 5 }), index, -1))
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2, 4 }), index, 0))
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2 }), row, 0))
      assert.equal(C.KERNEL_BAD_SHAPE, gather(view('f32', { 2, 5 }), index, 0, view('f32', { 0, 5 })))
      assert.equal(C.KERNEL_BAD_DTYPE, gather(view('f64', { 2, 5 }), index, 0))
      assert.equal(C.KERNEL_BAD_DTYPE, gather(view('f32', { 2, 5 }), view('f32', { 2, 5 }), 0))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_take(view('f32', { 3, 5 }).view, input.view, row.view, 0, 0, nil, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_take(view('f32', { 2, 5 }).view, input.view, index.view, 0, 0, nil, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_take(view('f32', { 4, 2 }).view, input.view, row.view, 2, 0, nil, nil))
    end)
  end)
end
