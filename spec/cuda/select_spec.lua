-- Top-k and sort against an insertion of each element into a list, and against table.sort of numbered elements.
local kernels = require 'spec.cuda.kernels'

-- Shape, and stride where it is not row-major.
local CASES = {
  { { 1 } }, { { 7 } }, { { 32 } }, { { 33 } }, { { 1031 } }, { { 3000 } }, { { 3, 0 } }, { { 0, 5 } }, { { 40, 3 } },
  { { 13, 17 } }, { { 3, 4, 65 } }, { { 9, 64 } }, { { 5, 300 } }, { { 2, 3, 600 } },
  { { 31, 50 }, { 1, 31 } }, { { 300 }, { -2 } }, { { 6, 70 }, { 71, 1 } }, { { 6, 64 }, { 80, 1 } }, { { 4, 40 }, { 0, 1 } },
}

local LOW = { u8 = 0, bool = 0 }
local HIGH = { u8 = 9, bool = 1.999 }

-- Few different numbers, so that there are ties; of floats also NaN, infinities and both zeros.
local function inputs(dtype, count, seed)
  local values = kernels.random(count, LOW[dtype] or -50, HIGH[dtype] or 50, seed)
  local is_float = dtype:find '^b?f%d' ~= nil
  local special = { 0 / 0, math.huge, -math.huge, 0, -0, kernels.least('f16'), -3e4 }
  for i, x in ipairs(values) do
    x = math.floor(x)
    if is_float and i % 11 == 0 then x = special[i / 11 % #special + 1] elseif is_float and i % 3 == 0 then x = x / 8 end
    values[i] = is_float and kernels.round(x, dtype) or x
  end
  return values
end

-- Whether a comes before b, where they are { value, place }.
local function ascending(a, b)
  local x, y = a[1], b[1]
  if x ~= x or y ~= y then
    if x ~= x and y ~= y then return a[2] < b[2] end
    return y ~= y
  end
  if x == y then return a[2] < b[2] end
  return x < y
end
local function descending(a, b)
  local x, y = a[1], b[1]
  if x == y or x ~= x and y ~= y then return a[2] < b[2] end
  return ascending({ y, 0 }, { x, 0 })
end

-- Values and places of the first k of each row.
local function expected_of(shape, values, k, before)
  local length, out, places = shape[#shape], {}, {}
  for row = 0, length > 0 and kernels.count(shape) / length - 1 or -1 do
    local list = {}
    for i = 1, length do list[i] = { values[row * length + i], i - 1 } end
    table.sort(list, before)
    for i = 1, k do out[#out + 1], places[#places + 1] = list[i][1], list[i][2] end
  end
  return out, places
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  -- Runs kernel_topk or kernel_sort with as much workspace as it asks for, or `size`.
  local function run(name, values, indices, input, flag, first, size)
    local v, i = values and values.view, indices and indices.view
    size = size or tonumber(C['kernel_' .. name .. '_workspace'](v, i, input.view))
    local workspace = kernels.view(C, 'f64', { math.ceil(size / 8) + 1 })
    kernels.check(C, C['kernel_' .. name](v, i, input.view, flag, first or 0, workspace.memory, size, nil))
    return size
  end

  local function some(dtype, shape, stride, seed)
    local values = inputs(dtype, kernels.count(shape), seed or 5)
    if stride and stride[1] == 0 then for i = shape[2] + 1, #values do values[i] = values[i - shape[2]] end end
    return values, kernels.view(C, dtype, shape, values, stride)
  end

  local function compare(name, dtype, shape, values, input, k, flag, before)
    local what = ('%s %d of %s {%s}'):format(name, k, dtype, table.concat(shape, ','))
    local kept = { unpack(shape) }
    kept[#kept] = k
    local out, places = kernels.view(C, dtype, kept), kernels.view(C, 'i64', kept)
    run(name, out, places, input, flag)
    local expected, expected_places = expected_of(shape, values, k, before)
    kernels.near(expected_places, places:values(), 0, 0, what .. ', places')
    local got = out:values()
    for i = 1, #expected do
      if not kernels.same(expected[i], got[i]) then
        error(('%s: element %d is %s instead of %s'):format(what, i, tostring(got[i]), tostring(expected[i])))
      end
    end
  end

  describe(library.name, function()
    after_each(kernels.forget)

    it('chooses the largest and the least of each row', function()
      for _, dtype in ipairs(kernels.DTYPES) do
        for _, case in ipairs(CASES) do
          local shape = case[1]
          local length = shape[#shape]
          local values, input = some(dtype, shape, case[2])
          for _, k in ipairs { 0, 1, 5, 32, 33, 64, 65, 200, length } do
            -- Long rows take a while in the shape of a GPU.
            local chosen = k == 5 and (dtype ~= 'f32' or length < 100) or k == 33 and length < 1000
            if length > 1000 and dtype ~= 'u8' and (dtype ~= 'f32' or k < 33) then chosen = false end
            if k <= length and (dtype == 'f32' and (length < 1000 or k > 33) or chosen) then
              compare('topk', dtype, shape, values, input, k, 1, descending)
              if chosen then compare('topk', dtype, shape, values, input, k, 0, ascending) end
            end
          end
        end
      end
    end)

    it('sorts each row either way, equals as they were', function()
      for _, dtype in ipairs(kernels.DTYPES) do
        for _, case in ipairs(CASES) do
          local shape = case[1]
          local values, input = some(dtype, shape, case[2])
          if #values < 1000 or dtype == 'f32' or dtype == 'f64' or dtype == 'u8' then
            compare('sort', dtype, shape, values, input, shape[#shape], 0, ascending)
          end
          if dtype == 'f16' or #values < 1000 then
            compare('sort', dtype, shape, values, input, shape[#shape], 1, descending)
          end
        end
      end
    end)

    it('tells whole numbers apart that a double does not', function()
      local big = 2 ^ 60 * 1LL
      local input = kernels.view(C, 'i64', { 4 }, { big + 1, big, -big - 1, -big })
      local places = kernels.view(C, 'i64', { 4 })
      run('sort', nil, places, input, 0)
      assert.same({ 2, 3, 1, 0 }, places:values())
      run('topk', nil, places, input, 1)
      assert.same({ 0, 1, 3, 2 }, places:values())
    end)

    it('writes places alone or values alone, counted from what is asked, in either width, wherever they lie', function()
      local values, input = some('f32', { 5, 90 })
      for _, name in ipairs { 'topk', 'sort' } do
        local expected, expected_places = expected_of({ 5, 90 }, values, 8, descending)
        for i, place in ipairs(expected_places) do expected_places[i] = place + 1 end
        local narrow = kernels.view(C, 'i32', { 5, 8 }, nil, { 1, 7 })
        run(name, nil, narrow, input, 1, 1)
        kernels.near(expected_places, narrow:values(), 0, 0, name)
        assert(narrow:gaps_are_untouched())
        local out = kernels.view(C, 'f32', { 5, 8 }, nil, { 30, -2 })
        run(name, out, nil, input, 1)
        kernels.near(expected, out:values(), 0, 0, name)
        assert(out:gaps_are_untouched())
      end
    end)

    it('splits a long row and says how much workspace that takes', function()
      local shape = { 2, 70000 }
      local values = kernels.random(140000, -9, 9, 3)
      for i, x in ipairs(values) do values[i] = math.floor(x * 256) end
      local input = kernels.view(C, 'f32', shape, values)
      local out, places = kernels.view(C, 'f32', { 2, 40 }), kernels.view(C, 'i64', { 2, 40 })
      local size = run('topk', out, places, input, 1)
      assert.is_true(size > 0)
      local expected, expected_places = expected_of(shape, values, 40, descending)
      kernels.near(expected, out:values(), 0, 0, 'values')
      kernels.near(expected_places, places:values(), 0, 0, 'places')
      assert.equal(C.KERNEL_BAD_WORKSPACE, C.kernel_topk(out.view, places.view, input.view, 1, 0, nil, 0, nil))
    end)

    it('sorts with any workspace that one row fits in', function()
      local shape = { 7, 1500 }
      local values, input = some('i32', shape)
      local whole, one = kernels.view(C, 'i32', shape), kernels.view(C, 'i32', { 1, 1500 }, values)
      local least = tonumber(C.kernel_sort_workspace(whole.view, nil, one.view))
      least = least > 0 and least or tonumber(C.kernel_sort_workspace(one.view, nil, one.view))
      run('sort', whole, nil, input, 0, 0, least)
      kernels.near((expected_of(shape, values, 1500, ascending)), whole:values(), 0, 0, 'sort')
      assert.equal(C.KERNEL_BAD_WORKSPACE, C.kernel_sort(whole.view, nil, input.view, 0, 0, nil, least - 1, nil))
    end)

    it('finds rows in order, in reverse and all alike in order', function()
      for _, length in ipairs { 64, 700, 4000 } do
        local rising, falling, alike = {}, {}, {}
        for i = 1, length do rising[i], falling[i], alike[i] = i, length - i, 7 end
        for _, values in ipairs { rising, falling, alike } do
          local input = kernels.view(C, 'i32', { length }, values)
          compare('sort', 'i32', { length }, values, input, length, 0, ascending)
          compare('topk', 'i32', { length }, values, input, 50, 1, descending)
          compare('topk', 'i32', { length }, values, input, math.min(length, 100), 0, ascending)
        end
      end
    end)

    it('refuses what does not fit', function()
      local input = kernels.view(C, 'f32', { 4, 5 }, inputs('f32', 20, 1))
      local function status(values, indices, from)
        return C.kernel_topk(values and values.view, indices and indices.view, (from or input).view, 1, 0, nil, 0, nil)
      end
      local function view(...) return kernels.view(C, ...) end
      assert.equal(C.KERNEL_BAD_SHAPE, status(view('f32', { 4, 6 })))
      assert.equal(C.KERNEL_BAD_SHAPE, status(view('f32', { 3, 2 })))
      assert.equal(C.KERNEL_BAD_SHAPE, status(view('f32', { 2 })))
      assert.equal(C.KERNEL_BAD_SHAPE, status(view('f32', { 4, 2 }), view('i64', { 4, 3 })))
      assert.equal(C.KERNEL_BAD_SHAPE, status(nil, nil))
      assert.equal(C.KERNEL_BAD_SHAPE, status(view('f32', {}), nil, view('f32', {})))
      assert.equal(C.KERNEL_BAD_DTYPE, status(view('f64', { 4, 2 })))
      assert.equal(C.KERNEL_BAD_DTYPE, status(nil, view('f32', { 4, 2 })))
      assert.equal(C.KERNEL_BAD_SHAPE, C.kernel_sort(view('f32', { 4, 6 }).view, nil, input.view, 0, 0, nil, 0, nil))
    end)
  end)
end
