local ffi = require 'ffi'
local functions = require 'spec.cuda.elementwise'
local kernels = require 'spec.cuda.kernels'

local abs, floor, max = math.abs, math.floor, math.max

-- A sum of k products loses at most so many units in the last place of the sum of their magnitudes: one for each product and
-- each addition, and some for alpha and bias.
local function sum_ulp(k) return k + 4 end
-- What an activation makes of an error: none of them is steeper than this.
local STEEPEST = 1.2
-- In units of the last place: the exponential and error functions of the C library and of CUDA, and the oracle's series.
local FUNCTION_ULP = 64

local ACTIVATIONS = { 'tanh', 'sigmoid', 'relu', 'gelu', 'gelu_tanh', 'silu', 'softplus' }
local IS_FLOAT = { f64 = true, f32 = true, f16 = true, bf16 = true }

-- Shapes of a and b: tiles and vectors that are not full, one of each, none of each, longer than a step along k.
local SHAPES = {
  { { 1, 1 }, { 1, 1 } }, { { 2, 3 }, { 3, 4 } }, { { 5, 7 }, { 7, 3 } }, { { 1, 31 }, { 31, 17 } }, { { 13, 29 }, { 29, 1 } },
  { { 1, 70 }, { 70, 1 } }, { { 67, 1 }, { 1, 71 } }, { { 65, 37 }, { 37, 129 } }, { { 17, 300 }, { 300, 19 } },
  { { 0, 3 }, { 3, 4 } }, { { 3, 4 }, { 4, 0 } }, { { 3, 0 }, { 0, 4 } },
}
-- Shapes whose leading dimensions are broadcast.
local BATCHES = {
  { { 3, 4, 5 }, { 3, 5, 2 } }, { { 4, 5 }, { 3, 5, 2 } }, { { 3, 4, 5 }, { 5, 2 } }, { { 2, 3, 4, 5 }, { 5, 2 } },
  { { 7, 1, 5 }, { 5, 6 } }, { { 2, 1, 4, 5 }, { 3, 5, 2 } }, { { 1, 4, 5 }, { 2, 3, 5, 1 } }, { { 2, 0, 4, 5 }, { 1, 1, 5, 2 } },
  { { 2, 3, 4, 0 }, { 2, 3, 0, 2 } }, { { 2, 3, 1, 5 }, { 2, 3, 5, 4 } },
}
-- How the elements of a matrix of `rows` by `columns` lie: strides.
local LAYOUTS = {
  rows = function(_, columns) return { columns, 1 } end,
  ['rows with gaps'] = function(_, columns) return { columns + 3, 1 } end,
  columns = function(rows) return { 1, rows } end,
  ['columns with gaps'] = function(rows) return { 1, rows + 2 } end,
  neither = function(_, columns) return { 2 * columns * 3, 3 } end,
  ['rows from the end'] = function(_, columns) return { -columns, 1 } end,
  ['from the end'] = function(_, columns) return { -columns, -1 } end,
}

local function broadcast(a, b)
  local rank, out = max(#a, #b), {}
  for i = 0, rank - 3 do
    local x, y = a[#a - 2 - i] or 1, b[#b - 2 - i] or 1
    out[rank - 2 - i] = x == 1 and y or x
  end
  out[rank - 1], out[rank] = a[#a - 1], b[#b]
  return out
end

-- Number of the matrix of `shape` that stands where number `index` of `out` does.
local function matrix_of(index, shape, out)
  local number, step = 0, 1
  for i = #out - 2, 1, -1 do
    local at, size = index % out[i], shape[i - #out + #shape] or 1
    if size > 1 then number = number + at * step end
    index, step = floor(index / out[i]), step * size
  end
  return number
end

-- The sums in doubles, and for each the sum of magnitudes.
local function multiply(a_shape, a, b_shape, b)
  local out = broadcast(a_shape, b_shape)
  local m, n, k = out[#out - 1], out[#out], a_shape[#a_shape]
  local sums, sizes = {}, {}
  for matrix = 0, m * n > 0 and kernels.count(out) / (m * n) - 1 or -1 do
    local at_a, at_b = matrix_of(matrix, a_shape, out) * m * k, matrix_of(matrix, b_shape, out) * k * n
    for i = 0, m - 1 do
      for j = 0, n - 1 do
        local sum, size = 0, 0
        for l = 0, k - 1 do
          local product = a[at_a + i * k + l + 1] * b[at_b + l * n + j + 1]
          sum, size = sum + product, size + abs(product)
        end
        sums[#sums + 1], sizes[#sizes + 1] = sum, size
      end
    end
  end
  return sums, sizes, out
end

local function inputs(dtype, shape, seed)
  local low, high = -2, 2
  if dtype == 'u8' then low, high = 0, 20 elseif not IS_FLOAT[dtype] then low, high = -50, 50 end
  local values = kernels.random(kernels.count(shape), low, high, seed)
  for i, x in ipairs(values) do values[i] = IS_FLOAT[dtype] and kernels.round(x, dtype) or floor(x) end
  return values
end

local function wrap(x, dtype)
  if dtype == 'u8' then return x % 256 end
  return x
end

local function describe_case(dtype, a, b)
  return ('%s {%s} times {%s}'):format(dtype, table.concat(a.shape, ','), table.concat(b.shape, ','))
end

--- Fails unless `got` is what it should be. options: bias (values), activation, alpha.
local function expect(dtype, a, b, got, options, what)
  local sums, sizes, shape = multiply(a.shape, a.list, b.shape, b.list)
  local k, n, alpha = a.shape[#a.shape], shape[#shape], options.alpha or 1
  local wide = dtype == 'f64' and 'f64' or 'f32'
  local is_half = dtype == 'f16' or dtype == 'bf16'
  assert(#got == #sums, what .. ': the number of elements')
  if not IS_FLOAT[dtype] then
    for i, sum in ipairs(sums) do sums[i] = wrap(sum + (options.bias and options.bias[(i - 1) % n + 1] or 0), dtype) end
    return kernels.near(sums, got, 0, 0, what)
  end
  local e, half_e = kernels.epsilon(wide), is_half and kernels.epsilon(dtype) or 0
  local least = kernels.least(dtype) * kernels.epsilon(dtype)
  for i, sum in ipairs(sums) do
    local added = options.bias and options.bias[(i - 1) % n + 1] or 0
    local x, size = sum * alpha + added, abs(alpha) * sizes[i] + abs(added)
    local relative, absolute = half_e, sum_ulp(k) * e * size + least
    if options.activation then
      x = functions.apply(options.activation, 'f64', x)
      -- A half may have been rounded before the activation too.
      absolute = STEEPEST * (absolute + relative * size) + FUNCTION_ULP * e
      relative = relative + FUNCTION_ULP * e
    end
    local off = abs(got[i] - x)
    if off ~= off or off > max(absolute, relative * abs(x)) then
      error(('%s: element %d is %.17g instead of %.17g'):format(what, i, got[i], x), 0)
    end
  end
end

for _, library in ipairs(kernels.libraries()) do
  local C = library.C

  -- A view of random numbers; `values` of another view are kept.
  local function operand(dtype, shape, seed, layout)
    local rows, columns = shape[#shape - 1], shape[#shape]
    local stride
    if layout then
      stride = kernels.strides(shape)
      local inner = LAYOUTS[layout](rows, columns)
      stride[#shape - 1], stride[#shape] = inner[1], inner[2]
      local reach = abs(inner[1]) * (rows + 1) + abs(inner[2]) * (columns + 1)
      for i = #shape - 2, 1, -1 do
        stride[i] = reach
        reach = reach * max(shape[i], 1)
      end
    end
    local values = inputs(dtype, shape, seed)
    local view = kernels.view(C, dtype, shape, values, stride)
    view.list = values
    return view
  end

  local function run(out, a, b, options)
    options = options or {}
    local activation = options.activation and C['KERNEL_' .. options.activation:upper()] or C.KERNEL_NO_ACTIVATION
    local flags = options.flags or 0
    local size = tonumber(C.kernel_matmul_workspace(out.view, a.view, b.view, flags))
    local workspace = kernels.view(C, 'u8', { size + 1 })
    local bias = options.bias and kernels.view(C, out.dtype, { #options.bias }, options.bias, options.bias_stride) or nil
    kernels.check(C, C.kernel_matmul(out.view, a.view, b.view, bias and bias.view, activation, options.alpha or 1, flags,
      size > 0 and workspace.memory or nil, size, nil))
    assert(out:gaps_are_untouched())
    assert(workspace:raw()[size] == 0xa5, 'it wrote behind the workspace')
    return out:values()
  end

  local function check(dtype, a, b, options, out_layout)
    local shape = broadcast(a.shape, b.shape)
    local out = operand(dtype, shape, 9, out_layout)
    local what = describe_case(dtype, a, b)
    expect(dtype, a, b, run(out, a, b, options), options or {}, what)
  end

  for way, flags in pairs { ['by the library'] = 0, ['by the portable kernel'] = C.KERNEL_PORTABLE } do
    describe(library.name .. ' ' .. way, function()
      after_each(kernels.forget)

      for _, dtype in ipairs(flags == 0 and kernels.FLOATS or { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8' }) do
        it('multiplies matrices of ' .. dtype, function()
          for _, shape in ipairs(SHAPES) do
            check(dtype, operand(dtype, shape[1], 1), operand(dtype, shape[2], 2), { flags = flags })
          end
        end)
      end

      it('broadcasts leading dimensions', function()
        for _, dtype in ipairs { 'f32', 'bf16', 'i32' } do
          for _, shape in ipairs(BATCHES) do
            check(dtype, operand(dtype, shape[1], 3), operand(dtype, shape[2], 4), { flags = flags })
          end
        end
      end)

      it('takes operands that lie in any way', function()
        for _, dtype in ipairs { 'f32', 'f16', 'i64' } do
          for of_a in pairs(LAYOUTS) do
            for of_b in pairs(LAYOUTS) do
              check(dtype, operand(dtype, { 5, 19 }, 5, of_a), operand(dtype, { 19, 9 }, 6, of_b), { flags = flags })
              check(dtype, operand(dtype, { 2, 1, 6 }, 5, of_a), operand(dtype, { 2, 6, 3 }, 6, of_b), { flags = flags })
              check(dtype, operand(dtype, { 2, 4, 6 }, 5, of_a), operand(dtype, { 2, 6, 1 }, 6, of_b), { flags = flags })
            end
          end
        end
      end)

      it('writes to an output that lies in any way', function()
        for _, dtype in ipairs { 'f64', 'bf16' } do
          for layout in pairs(LAYOUTS) do
            for _, shape in ipairs { { { 2, 5, 4 }, { 4, 7 } }, { { 2, 1, 4 }, { 2, 4, 7 } }, { { 6, 4 }, { 4, 1 } } } do
              check(dtype, operand(dtype, shape[1], 1), operand(dtype, shape[2], 2),
                { flags = flags, bias = inputs(dtype, { shape[2][#shape[2]] }, 3) }, layout)
            end
          end
        end
      end)

      it('reads an operand that stands in many places', function()
        local a = kernels.view(C, 'f32', { 4, 3 }, nil, { 0, 1 })
        a.list = inputs('f32', { 3 }, 1)
        for i = 4, 12 do a.list[i] = a.list[i - 3] end
        a = kernels.view(C, 'f32', { 4, 3 }, a.list, { 0, 1 })
        a.list = inputs('f32', { 3 }, 1)
        for i = 4, 12 do a.list[i] = a.list[i - 3] end
        check('f32', a, operand('f32', { 3, 5 }, 2), { flags = flags })
      end)

      it('adds a bias and applies an activation to all that it computes', function()
        local shapes = { { { 5, 7 }, { 7, 9 } }, { { 2, 1, 7 }, { 2, 7, 3 } }, { { 3, 7 }, { 7, 1 } }, { { 3, 0 }, { 0, 4 } } }
        for _, dtype in ipairs(kernels.FLOATS) do
          for _, shape in ipairs(shapes) do
            local a, b = operand(dtype, shape[1], 1), operand(dtype, shape[2], 2)
            local bias = inputs(dtype, { shape[2][#shape[2]] }, 3)
            for _, activation in ipairs(ACTIVATIONS) do
              check(dtype, a, b, { flags = flags, bias = bias, activation = activation })
              check(dtype, a, b, { flags = flags, activation = activation, alpha = -0.5 })
            end
            check(dtype, a, b, { flags = flags, bias = bias, bias_stride = { -2 }, alpha = 2 })
          end
        end
        check('i32', operand('i32', { 2, 3 }, 1), operand('i32', { 3, 4 }, 2), { flags = flags, bias = { 1, -2, 3, 4 } })
      end)

      it('multiplies matrices of many tiles, with each number of threads', function()
        local threads = C.device_threads(0)
        for _, count in ipairs(threads > 0 and { 1, 3, 4, 7 } or { 0 }) do
          if threads > 0 then C.device_threads(count) end
          for _, dtype in ipairs { 'f32', 'f16' } do
            local a, b = operand(dtype, { 150, 131 }, 1), operand(dtype, { 131, 141 }, 2, 'columns')
            check(dtype, a, b, { flags = flags, activation = 'relu', bias = inputs(dtype, { 141 }, 3) })
          end
        end
        if threads > 0 then C.device_threads(threads) end
      end)

      it('carries NaN and infinities', function()
        local huge, nan = math.huge, 0 / 0
        for _, dtype in ipairs(kernels.FLOATS) do
          local a = kernels.view(C, dtype, { 4, 2 }, { 0, 1, huge, 1, nan, 1, 1, 1 })
          local b = kernels.view(C, dtype, { 2, 3 }, { 1, huge, -1, 1, 1, 0 })
          local got = run(kernels.view(C, dtype, { 4, 3 }), a, b, { flags = flags })
          kernels.near({ 1, nan, 0, huge, huge, -huge, nan, nan, nan, 2, huge, -1 }, got, 0, 0, dtype)
          got = run(kernels.view(C, dtype, { 4, 1 }), a, kernels.view(C, dtype, { 2, 1 }, { 1, 0 }), { flags = flags })
          kernels.near({ 0, huge, nan, 1 }, got, 0, 0, dtype)
        end
      end)

      it('lets integers wrap around', function()
        local a = kernels.view(C, 'i32', { 1, 2 }, { 2 ^ 30, 2 ^ 30 })
        local b = kernels.view(C, 'i32', { 2, 2 }, { 1, 4, 1, 1 })
        assert.same({ -2 ^ 31, 2 ^ 30 }, run(kernels.view(C, 'i32', { 1, 2 }), a, b, { flags = flags }))
      end)
    end)
  end

  describe(library.name, function()
    after_each(kernels.forget)

    it('tells what multiplies floats, and what did', function()
      local name = ffi.string(C.kernel_matmul_library())
      local a, b, out = operand('f32', { 2, 3 }, 1), operand('f32', { 3, 2 }, 2), kernels.view(C, 'f32', { 2, 2 })
      run(out, a, b)
      assert.equal(name == 'portable' and 0 or 1, C.kernel_matmul_used_library())
      run(out, a, b, { flags = C.KERNEL_PORTABLE })
      assert.equal(0, C.kernel_matmul_used_library())
      if ffi.string(C.device_kind()) == 'cpu' then assert.truthy(name:find '^OpenBLAS %d') end
    end)

    it('makes do with the workspace of fewer threads', function()
      local a, b, out = operand('f16', { 90, 131 }, 1), operand('f16', { 131, 190 }, 2), kernels.view(C, 'f16', { 90, 190 })
      local threads = C.device_threads(0)
      if threads > 0 then C.device_threads(1) end
      local size = C.kernel_matmul_workspace(out.view, a.view, b.view, 0)
      local workspace = kernels.view(C, 'u8', { tonumber(size) + 1 })
      if threads > 0 then C.device_threads(7) end
      kernels.check(C, C.kernel_matmul(out.view, a.view, b.view, nil, C.KERNEL_NO_ACTIVATION, 1, 0, workspace.memory, size, nil))
      if threads > 0 then C.device_threads(threads) end
      assert.equal(0xa5, workspace:raw()[tonumber(size)])
      expect('f16', a, b, out:values(), {}, 'f16 of seven threads')
    end)

    it('is done in the order of a stream that is captured', function()
      local stream, graph = ffi.new 'void *[1]', ffi.new 'void *[1]'
      kernels.check(C, C.device_stream_new(stream))
      local a, b, out = operand('f32', { 2, 3 }, 1), operand('f32', { 3, 2 }, 2), kernels.view(C, 'f32', { 2, 2 })
      run(out, a, b)
      kernels.check(C, C.device_memset(out.memory, 0, 16, nil))
      kernels.check(C, C.device_synchronize())
      local size = C.kernel_matmul_workspace(out.view, a.view, b.view, 0)
      local workspace = kernels.view(C, 'u8', { tonumber(size) })
      kernels.check(C, C.device_capture_begin(stream[0]))
      kernels.check(C, C.kernel_matmul(out.view, a.view, b.view, nil, C.KERNEL_NO_ACTIVATION, 1, 0, workspace.memory, size,
        stream[0]))
      kernels.check(C, C.device_capture_end(stream[0], graph))
      assert.same({ 0, 0, 0, 0 }, out:values())
      kernels.check(C, C.device_graph_launch(graph[0], stream[0]))
      expect('f32', a, b, out:values(), {}, 'a graph')
      kernels.check(C, C.device_graph_free(graph[0]))
      kernels.check(C, C.device_stream_free(stream[0]))
    end)

    it('refuses what does not fit', function()
      local function status(out, a, b, more)
        more = more or {}
        return C.kernel_matmul(out.view, a.view, b.view, more.bias and more.bias.view, more.activation or C.KERNEL_NO_ACTIVATION,
          more.alpha or 1, more.flags or 0, nil, 0, nil)
      end
      local function of(dtype, ...) return kernels.view(C, dtype, { ... }) end
      local a, b, out = of('f32', 2, 3), of('f32', 3, 4), of('f32', 2, 4)
      assert.equal(C.KERNEL_BAD_SHAPE, status(out, a, of('f32', 4, 4)))
      assert.equal(C.KERNEL_BAD_SHAPE, status(of('f32', 3, 4), a, b))
      assert.equal(C.KERNEL_BAD_SHAPE, status(of('f32', 2, 3), a, b))
      assert.equal(C.KERNEL_BAD_SHAPE, status(of('f32', 2), a, of('f32', 3)))
      assert.equal(C.KERNEL_BAD_SHAPE, status(out, of('f32', 1, 2, 3), b))
      assert.equal(C.KERNEL_BAD_SHAPE, status(of('f32', 5, 2, 4), of('f32', 4, 2, 3), b))
      assert.equal(C.KERNEL_BAD_SHAPE, status(out, a, b, { bias = of('f32', 3) }))
      assert.equal(C.KERNEL_BAD_SHAPE, status(out, a, b, { bias = of('f32', 1, 4) }))
      assert.equal(C.KERNEL_BAD_DTYPE, status(out, a, of('f64', 3, 4)))
      assert.equal(C.KERNEL_BAD_DTYPE, status(of('f16', 2, 4), a, b))
      assert.equal(C.KERNEL_BAD_DTYPE, status(of('bool', 2, 4), of('bool', 2, 3), of('bool', 3, 4)))
      assert.equal(C.KERNEL_BAD_DTYPE, status(out, a, b, { bias = of('f16', 4) }))
      assert.equal(C.KERNEL_BAD_OPERATION, status(out, a, b, { activation = C.KERNEL_EXP }))
      assert.equal(C.KERNEL_BAD_OPERATION, status(out, a, b, { activation = -2 }))
      assert.equal(C.KERNEL_BAD_ARGUMENT, status(out, a, b, { flags = 4 }))
      local i = { of('i32', 2, 4), of('i32', 2, 3), of('i32', 3, 4) }
      assert.equal(C.KERNEL_BAD_DTYPE, status(i[1], i[2], i[3], { activation = C.KERNEL_RELU }))
      assert.equal(C.KERNEL_BAD_ARGUMENT, status(i[1], i[2], i[3], { alpha = 2 }))
      if ffi.string(C.kernel_matmul_library()) ~= 'portable' then
        assert.equal(C.KERNEL_BAD_WORKSPACE, status(of('f16', 2, 4), operand('f16', { 2, 3 }, 1, 'neither'), of('f16', 3, 4)))
      end
    end)
  end)
end

describe('OpenBLAS', function()
  it('has one thread, for ours share the work out', function()
    ffi.cdef 'int openblas_get_num_threads(void);'
    local name = ffi.string(kernels.libraries()[1].C.kernel_matmul_library())
    assert.truthy(name:find '^OpenBLAS')
    assert.equal(1, ffi.load('libopenblas.so.0').openblas_get_num_threads())
  end)
end)

describe('the portable kernel', function()
  it('stands in where OpenBLAS is not there', function()
    local script = os.tmpname()
    local file = assert(io.open(script, 'w'))
    file:write [[
      package.path = arg[1]
      local kernels = require 'spec.cuda.kernels'
      local C = kernels.libraries()[1].C
      local function of(...) return kernels.view(C, 'f32', ...) end
      local a, b, out = of({ 2, 2 }, { 1, 2, 3, 4 }), of({ 2, 1 }, { 5, 6 }), of { 2, 1 }
      assert(C.kernel_matmul_workspace(out.view, a.view, b.view, 0) == 0)
      kernels.check(C, C.kernel_matmul(out.view, a.view, b.view, nil, -1, 1, 0, nil, 0, nil))
      print(require('ffi').string(C.kernel_matmul_library()), C.kernel_matmul_used_library(), unpack(out:values()))
    ]]
    file:close()
    local pipe = io.popen(("FARSIDE_OPENBLAS=/nowhere/libopenblas.so luajit %s '%s' 2>&1"):format(script, package.path))
    local said = pipe:read '*a'
    pipe:close()
    os.remove(script)
    assert.equal('portable\t0\t17\t39\n', said)
  end)
end)
