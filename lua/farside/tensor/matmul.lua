--- Matrix products, by cuBLASLt or OpenBLAS where it is there.
--
--     a:matmul(b)                                      {..., m, k} times {..., k, n} is {..., m, n}
--     a:matmul(b:transpose())                          a view of rows or of columns is used where it lies
--     x:matmul(w, { bias = b, activation = 'gelu' })   done while the sums are at hand
--     x:matmul(w, { precision = 'tf32' })              f32 on a GPU: faster, with 10 bits of fraction
--
-- Dimensions in front are stretched as those of elementwise operations are. A tensor of one dimension is a row to the left and
-- a column to the right, and the result lacks that dimension, as in NumPy.
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'

local M = {}

local methods = Tensor.methods

local MOST = 2 ^ 31 - 1  -- of each size, and of products

local ACTIVATIONS = { 'relu', 'gelu', 'gelu_tanh', 'silu', 'sigmoid', 'tanh', 'softplus' }
local PRECISIONS = { 'f32', 'tf32' }

local function one_of(values)
  local is_one = {}
  for _, value in ipairs(values) do is_one[value] = true end
  local expected = "'" .. table.concat(values, "', '") .. "'"
  return function(value)
    if not is_one[value] then return 'one of ' .. expected end
  end
end

local function tensor_rule(value)
  if not Tensor.is(value) then return 'a tensor' end
end

local RULES = {
  bias = tensor_rule,
  activation = one_of(ACTIVATIONS),
  precision = one_of(PRECISIONS),
  scale = check.number(),
}

local function check_operands(a, b)
  Tensor.check_self(a, 'matmul')
  if not Tensor.is(b) then Tensor.fail(a, 'matmul', 'expected a tensor, got ' .. check.describe(b)) end
  ops.check_kind('matmul', a, 'number')
  if a.device ~= b.device then ops.refuse('matmul', 'tensors on one device, got %s and %s', a.device, b.device) end
  if a.dtype ~= b.dtype then
    ops.refuse('matmul', 'tensors of one dtype, got %s and %s; t:to(dtype) converts', ops.name_of(a), ops.name_of(b))
  end
  for _, operand in ipairs { a, b } do
    if #operand.shape == 0 then
      ops.refuse('matmul', 'tensors of at least one dimension, got %s; a * b multiplies elements', ops.name_of(operand))
    end
  end
end

--- The operands with at least two dimensions.
local function matrices_of(a, b)
  return #a.shape == 1 and a:unsqueeze(1) or a, #b.shape == 1 and b:unsqueeze(-1) or b
end

--- The shape of the result of two matrices, or of many.
local function shape_of(a, b, left, right)
  local k, rows = left.shape[#left.shape], right.shape[#right.shape - 1]
  if k ~= rows then
    ops.refuse('matmul', 'as many columns to the left as rows to the right, got %s and %s: %d and %d',
      shapes.describe(a.shape), shapes.describe(b.shape), k, rows)
  end
  local front = shapes.broadcast({ unpack(left.shape, 1, #left.shape - 2) }, { unpack(right.shape, 1, #right.shape - 2) })
  if not front then
    ops.refuse('matmul', 'dimensions in front of the last two that fit each other, got %s and %s', shapes.describe(a.shape),
      shapes.describe(b.shape))
  end
  local m, n = left.shape[#left.shape - 1], right.shape[#right.shape]
  if math.max(m, n, k, shapes.count(front)) > MOST then
    ops.refuse('matmul', 'sizes below 2^31, got %s and %s', shapes.describe(a.shape), shapes.describe(b.shape))
  end
  front[#front + 1], front[#front + 2] = m, n
  return front
end

local function options_of(a, options, columns)
  local problem = check.options('matmul', options, RULES)
  if problem then misuse('%s', problem) end
  if a._dtype.kind ~= 'float' then
    for _, name in ipairs { 'activation', 'precision', 'scale' } do
      if options[name] ~= nil then ops.refuse('matmul', 'floats beside the option %s, got %s', name, ops.name_of(a)) end
    end
  end
  local bias = options.bias
  if bias and (bias.dtype ~= a.dtype or bias.device ~= a.device or #bias.shape ~= 1 or bias.shape[1] ~= columns) then
    Tensor.fail(a, 'matmul', ('bias: expected a tensor {%d} of %s on %s, got one %s of %s on %s'):format(columns, a.dtype,
      a.device, shapes.describe(bias.shape), bias.dtype, bias.device))
  end
  return options
end

local function launch(out, left, right, options)
  local backend, stream = ops.enter(out)
  local library = backend.library
  local to, x, y = ops.view(1, out, stream), ops.view(2, left, stream), ops.view(3, right, stream)
  local bias = options.bias and ops.view(4, options.bias, stream) or nil
  local activation = options.activation and ffi.C['KERNEL_' .. options.activation:upper()] or ffi.C.KERNEL_NO_ACTIVATION
  local flags = options.precision == 'tf32' and ffi.C.KERNEL_TF32 or 0
  local bytes = tonumber(library.kernel_matmul_workspace(to, x, y, flags))
  local workspace = bytes > 0 and storages.new(out.device, bytes) or nil
  local status = library.kernel_matmul(to, x, y, bias, activation, options.scale or 1, flags, workspace and workspace.pointer,
    bytes, stream)
  backend:check(status, 'matmul')
end

local NO_OPTIONS = {}

--- The product of two matrices, or of many in the last two dimensions. options:
--- bias        a tensor of one dimension, added to each row
--- activation  'relu', 'gelu', 'gelu_tanh', 'silu', 'sigmoid', 'tanh' or 'softplus', applied to the sums behind the bias
--- scale       a number by which the product is multiplied before the bias
--- precision   'tf32': a GPU may round f32 to 10 bits of fraction; 'f32' as without it
--- Floats of 16 bits are added in f32. Integers wrap around.
function methods:matmul(other, options)
  check_operands(self, other)
  local left, right = matrices_of(self, other)
  local shape = shape_of(self, other, left, right)
  options = options == nil and NO_OPTIONS or options_of(self, options, shape[#shape])
  local out = Tensor.empty(self.device, self._dtype, shape)
  launch(out, left, right, options)
  if #other.shape == 1 then out = out:squeeze(-1) end
  if #self.shape == 1 then out = out:squeeze(#other.shape == 1 and -1 or -2) end
  return out
end

--- What multiplies floats on a device, as in 'OpenBLAS 0.3.21 Cooperlake', 'cuBLASLt 13.1.0' or 'portable'.
function M.library(device)
  return ffi.string(backends.of(device).library.kernel_matmul_library())
end

return M
