--- Operations that are as fast as memory is: each case is the kernel, the plain loop that does the same, the bytes that have to
-- be moved, and how far the two may be apart (as a part of the larger ones, with sums in f32 in another order or one by one).
local ROUNDED, SUMMED, SUMMED_IN_ORDER = 1e-6, 2e-4, 4e-3

--- @param rows number of `columns` numbers
return function(C, plain, arrays, rows, columns)
  local count = rows * columns
  local flat, matrix, of_rows, of_columns = { count }, { rows, columns }, { rows, 1 }, { 1, columns }
  local cases = {}

  -- make() returns own, loop, out, bytes: what launches the kernel, what does it plainly, the array both make, and the traffic.
  local function case(name, tolerance, make)
    cases[#cases + 1] = { name = name, tolerance = tolerance, aim = 0.85, make = make }
  end

  local function elementwise(name, tolerance, inputs, own, loop, dtype, out_dtype)
    case(name, tolerance, function()
      local out, views, hosts = arrays:empty(out_dtype or dtype or 'f32', count), {}, {}
      local bytes = out.bytes
      for i = 1, inputs do
        local input = arrays:numbers(dtype or 'f32', count)
        views[i], hosts[i] = input:view(flat), input.host
        bytes = bytes + input.bytes
      end
      local view = out:view(flat)
      return function() return own(view, views[1], views[2]) end, function() loop(out.host, hosts[1], hosts[2]) end, out, bytes
    end)
  end

  local function unary(name, op, loop, tolerance)
    elementwise(name, tolerance or 0, 1, function(out, a) return C.kernel_unary(op, out, a, nil) end,
      function(out, a) loop(out, a, count) end)
  end

  local function binary(name, op, loop, dtype, out_dtype)
    elementwise(name, 0, 2, function(out, a, b) return C.kernel_binary(op, out, a, b, nil) end,
      function(out, a, b) loop(out, a, b, count) end, dtype, out_dtype)
  end

  -- Of rows: kernel(out view, in view, workspace, its size), loop(out, in) of host arrays.
  local function reduction(name, op, loop, tolerance, dtype, shape)
    case(name, tolerance, function()
      local kept = shape == of_rows and rows or columns
      local input, out = arrays:numbers('f32', count), arrays:empty(dtype or 'f32', kept)
      local view, result = input:view(matrix), out:view(shape)
      local size = C.kernel_reduce_workspace(op, result, view)
      local workspace = arrays:empty('u8', math.max(tonumber(size), 1))
      return function() return C.kernel_reduce(op, result, view, workspace.device, size, nil) end,
        function() loop(out.host, input.host, rows, columns) end, out, input.bytes
    end)
  end

  local function by_rows(name, own, loop)
    case(name, SUMMED, function()
      local input, out = arrays:numbers('f32', count), arrays:empty('f32', count)
      local weight, bias = arrays:numbers('f32', columns), arrays:numbers('f32', columns)
      local view, result = input:view(matrix), out:view(matrix)
      local weights, biases = weight:view { columns }, bias:view { columns }
      return function() return own(result, view, weights, biases) end,
        function() loop(out.host, input.host, weight.host, bias.host) end, out, input.bytes + out.bytes
    end)
  end

  binary('a + b', C.KERNEL_ADD, plain.plain_add)
  binary('a + b, bf16', C.KERNEL_ADD, plain.plain_add_bf16, 'bf16')
  elementwise('a * 2.5', 0, 1, function(out, a) return C.kernel_binary_scalar(C.KERNEL_MUL, out, a, 2.5, 0, nil) end,
    function(out, a) plain.plain_scale(out, a, 2.5, count) end)
  case('a + row', 0, function()
    local a, row, out = arrays:numbers('f32', count), arrays:numbers('f32', columns), arrays:empty('f32', count)
    local view, of_row, result = a:view(matrix), row:view { columns }, out:view(matrix)
    return function() return C.kernel_binary(C.KERNEL_ADD, result, view, of_row, nil) end,
      function() plain.plain_add_row(out.host, a.host, row.host, rows, columns) end, out, a.bytes + out.bytes
  end)
  binary('a < b', C.KERNEL_LT, plain.plain_less, 'f32', 'bool')
  case('where(c, a, b)', 0, function()
    local a, b = arrays:numbers('f32', count), arrays:numbers('f32', count)
    local condition, out = arrays:empty('bool', count), arrays:empty('f32', count)
    plain.plain_less(condition.host, a.host, b.host, count)
    condition:upload()
    local chosen, x, y, result = condition:view(flat), a:view(flat), b:view(flat), out:view(flat)
    return function() return C.kernel_where(result, chosen, x, y, nil) end,
      function() plain.plain_where(out.host, condition.host, a.host, b.host, count) end, out, condition.bytes + 3 * a.bytes
  end)
  unary('relu', C.KERNEL_RELU, plain.plain_relu)
  unary('exp', C.KERNEL_EXP, plain.plain_exp, ROUNDED)
  unary('gelu', C.KERNEL_GELU, plain.plain_gelu, ROUNDED)
  elementwise('f32 to i32', 0, 1, function(out, a) return C.kernel_copy(out, a, nil) end,
    function(out, a) plain.plain_to_i32(out, a, count) end, 'f32', 'i32')
  case('transpose', 0, function()
    local input, out = arrays:numbers('f32', count), arrays:empty('f32', count)
    local view, result = input:view({ columns, rows }, { 1, columns }), out:view { columns, rows }
    return function() return C.kernel_copy(result, view, nil) end,
      function() plain.plain_transpose(out.host, input.host, rows, columns) end, out, 2 * input.bytes
  end)

  reduction('sum of rows', C.KERNEL_SUM, plain.plain_sum, SUMMED, 'f32', of_rows)
  reduction('sum of columns', C.KERNEL_SUM, plain.plain_sum_columns, SUMMED_IN_ORDER, 'f32', of_columns)
  case('sum of all', SUMMED, function()
    local input, out = arrays:numbers('f32', count), arrays:empty('f32', 1)
    local view, result = input:view(flat), out:view { 1 }
    local size = C.kernel_reduce_workspace(C.KERNEL_SUM, result, view)
    local workspace = arrays:empty('u8', math.max(tonumber(size), 1))
    return function() return C.kernel_reduce(C.KERNEL_SUM, result, view, workspace.device, size, nil) end,
      function() plain.plain_sum(out.host, input.host, 1, count) end, out, input.bytes
  end)
  reduction('max of rows', C.KERNEL_REDUCE_MAX, plain.plain_max, 0, 'f32', of_rows)
  reduction('argmax of rows', C.KERNEL_ARGMAX, plain.plain_argmax, 0, 'i64', of_rows)
  reduction('logsumexp of rows', C.KERNEL_LOGSUMEXP, plain.plain_logsumexp, SUMMED, 'f32', of_rows)

  by_rows('softmax', function(out, a) return C.kernel_softmax(out, a, 1, 0, nil) end,
    function(out, a) plain.plain_softmax(out, a, rows, columns) end)
  by_rows('log softmax', function(out, a) return C.kernel_softmax(out, a, 1, 1, nil) end,
    function(out, a) plain.plain_log_softmax(out, a, rows, columns) end)
  by_rows('layer norm', function(out, a, weight, bias) return C.kernel_layernorm(out, a, weight, bias, 1e-5, nil) end,
    function(out, a, weight, bias) plain.plain_layernorm(out, a, weight, bias, rows, columns) end)
  by_rows('rms norm', function(out, a, weight) return C.kernel_rmsnorm(out, a, weight, 1e-5, nil) end,
    function(out, a, weight) plain.plain_rmsnorm(out, a, weight, rows, columns) end)

  return cases
end
