--- What is computed with tensors: each method checks what it is given, makes the result and launches one kernel (kernels.h).
--
-- Shapes of two tensors are broadcast: sizes of 1, and dimensions that one does not have in front, are stretched. Both have one
-- dtype; a number beside a tensor takes that of the tensor. Nothing is converted behind the caller's back: t:to 'f32' does it.
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'
local wait = require 'farside.cuda.wait'

local M = {}

local methods = Tensor.methods

-- Kernels see tensors through these; a launch copies what it needs of them.
local views

--- Fills in the view of a number for a launch, with the shape of the tensor.
local function view(number, tensor, stream)
  Tensor.check_bounds(tensor)
  local result = views[number]
  local shape, strides = tensor.shape, tensor._strides
  result.data = tensor:data()
  result.dtype = tensor._dtype.code - 1
  result.rank = #shape
  for i = 1, #shape do
    result.shape[i - 1] = shape[i]
    result.stride[i - 1] = strides[i]
  end
  if not Tensor.is_plain(tensor) then storages.touch(tensor._storage, stream) end
  return result
end
M.view = view

--- What computes on the device of a tensor, ready for a launch, and its stream.
local function enter(tensor)
  local backend = backends.of(tensor.device)
  if not views then
    views = {}
    for i = 1, 6 do views[i] = ffi.new 'struct kernel_view' end
  end
  return backend, backend:enter()
end
M.enter = enter

local function name_of(tensor)
  return ('a tensor %s of %s'):format(shapes.describe(tensor.shape), tensor.dtype)
end

local function refuse(method, expected, ...)
  misuse('%s: expected %s', method, expected:format(...))
end
M.refuse, M.name_of = refuse, name_of

local KINDS = {
  any = { float = true, integer = true, bool = true },
  number = { float = true, integer = true },
  float = { float = true },
  whole = { integer = true, bool = true },
  bool = { bool = true },
}
local WORDS = { number = 'numbers', float = "floats (t:to 'f32' converts)", whole = 'whole numbers or booleans',
  bool = "booleans (t:ne(0) makes them)" }

local function check_kind(method, tensor, kind)
  if not KINDS[kind][tensor._dtype.kind] then refuse(method, '%s, got %s', WORDS[kind], name_of(tensor)) end
end
M.check_kind = check_kind

-- One tensor ----------------------------------------------------------------------------------------------------------

-- The number of an operation in kernels.h is that of its line there; `kind` is what it takes.
local UNARY = {
  { 'number', 'neg', 'abs', 'sign', 'square' },
  { 'whole', 'invert' },
  { 'float', 'floor', 'ceil', 'trunc', 'round', 'sqrt', 'rsqrt', 'reciprocal', 'exp', 'expm1', 'log', 'log2', 'log10',
    'log1p', 'sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'sinh', 'cosh', 'tanh', 'erf', 'sigmoid', 'relu', 'gelu',
    'gelu_tanh', 'silu', 'softplus' },
  { 'float', 'isnan', 'isinf', 'isfinite', result = 'bool' },
}
local UNARY_NAMES = { invert = 'NOT' }

local function unary(self, method, kind, constant, result)
  Tensor.check_self(self, method)
  check_kind(method, self, kind)
  local backend, stream = enter(self)
  local out = Tensor.empty(self.device, result or self._dtype, { unpack(self.shape) })
  local status = backend.library.kernel_unary(ffi.C[constant], view(1, out, stream), view(2, self, stream), stream)
  backend:check(status, method)
  return out
end

-- Two tensors, or a tensor and a number -------------------------------------------------------------------------------

local BINARY = {
  { 'number', 'add', 'sub', 'mul', 'floordiv', 'mod', 'pow', 'minimum', 'maximum' },
  { 'float', 'div', 'atan2' },
  { 'whole', 'band', 'bor', 'bxor' },
  { 'any', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', result = 'bool' },
}
local BINARY_NAMES = { minimum = 'MIN', maximum = 'MAX', band = 'AND', bor = 'OR', bxor = 'XOR' }

--- The number that a value is beside a tensor; or a tensor of it where a double does not hold it.
local function scalar(method, tensor, value)
  local scratch = ffi.new(tensor._dtype.scratch)
  local expected = tensor._dtype.write(scratch, 0, value)
  if expected then
    refuse(method, '%s beside %s, got %s', expected, name_of(tensor), check.describe(value))
  end
  if type(value) == 'boolean' then return value and 1 or 0 end
  if type(value) == 'number' then return value end
  local one = Tensor.empty('cpu', tensor._dtype, {})
  tensor._dtype.write(one:data(), 0, value)
  return nil, one:to(tensor.device)
end

local function check_pair(method, a, b)
  if a.device ~= b.device then refuse(method, 'tensors on one device, got %s and %s', a.device, b.device) end
  if a.dtype ~= b.dtype then
    refuse(method, 'tensors of one dtype, got %s and %s; t:to(dtype) converts', name_of(a), name_of(b))
  end
end

local function with_number(self, method, constant, value, is_first, result)
  local number, one = scalar(method, self, value)
  if one then return nil, one end
  local backend, stream = enter(self)
  local out = Tensor.empty(self.device, result or self._dtype, { unpack(self.shape) })
  local status = backend.library.kernel_binary_scalar(ffi.C[constant], view(1, out, stream), view(2, self, stream), number,
    is_first and 1 or 0, stream)
  backend:check(status, method)
  return out
end

--- Adds a number to each element where it lies. Returns the tensor.
function M.add_in_place(self, number)
  local backend, stream = enter(self)
  local to = view(1, self, stream)
  backend:check(backend.library.kernel_binary_scalar(ffi.C.KERNEL_ADD, to, to, number, 0, stream), 'add')
  return self
end

local function pair(a, b, method, constant, result)
  check_pair(method, a, b)
  local shape = shapes.broadcast(a.shape, b.shape)
  if not shape then
    refuse(method, 'shapes that fit each other, got %s and %s', shapes.describe(a.shape), shapes.describe(b.shape))
  end
  local backend, stream = enter(a)
  local out = Tensor.empty(a.device, result or a._dtype, shape)
  local status = backend.library.kernel_binary(ffi.C[constant], view(1, out, stream), view(2, a, stream),
    view(3, b, stream), stream)
  backend:check(status, method)
  return out
end

local function binary(a, b, method, kind, constant, result)
  local first_is_number = not Tensor.is(a)
  local tensor, other = a, b
  if first_is_number then tensor, other = b, a end
  if not Tensor.is(tensor) then
    misuse('%s: expected a tensor before the colon, got %s', method, check.describe(a))
  end
  check_kind(method, tensor, kind)
  if Tensor.is(other) then return pair(a, b, method, constant, result) end
  local out, one = with_number(tensor, method, constant, other, first_is_number, result)
  if out then return out end
  if first_is_number then a = one else b = one end
  return pair(a, b, method, constant, result)
end

-- Copies, conversions -------------------------------------------------------------------------------------------------

--- Copies `from` to `to`, of the same shape and on the same device, with the conversion between their types.
local function copy_into(to, from)
  local backend, stream = enter(to)
  backend:check(backend.library.kernel_copy(view(1, to, stream), view(2, from, stream), stream), 'copy')
end

local function to_dtype(self, dtype)
  if dtype == self._dtype then return self end
  local out = Tensor.empty(self.device, dtype, { unpack(self.shape) })
  copy_into(out, self)
  return out
end

--- Copies a tensor's elements, which lie in order, from or to a device.
local function transfer(to, from, backend, stream)
  Tensor.check_bounds(from)
  local bytes = from:count() * from._dtype.size
  backend:check(backend.library.device_copy(to:data(), from:data(), bytes, stream), 'copy')
  storages.touch(to._storage, stream)
  storages.touch(from._storage, stream)
end

local function to_host(self)
  Tensor.check_known(self, "to 'cpu'")
  local source = self:contiguous()
  local backend, stream = enter(self)
  local bytes = source:count() * source._dtype.size
  local out = Tensor.new(storages.pinned(self.device, bytes), self._dtype, { unpack(self.shape) },
    shapes.strides(self.shape), 0)
  transfer(out, source, backend, stream)
  wait.stream(backend, stream)
  storages.settle(out._storage)
  return out
end

local function to_device(self, device)
  local source = Tensor.on_host(self):contiguous()
  local out = Tensor.empty(device, self._dtype, { unpack(self.shape) })
  local backend, stream = enter(out)
  transfer(out, source, backend, stream)
  return out
end

--- The tensor with its elements in another type, or on another device: itself where nothing is to be done. Whole numbers of
-- floats are cut towards zero, those that are too large become the largest there is.
function methods:to(what)
  Tensor.check_self(self, 'to')
  local dtype = Tensor.dtypes[what]
  if dtype then return to_dtype(self, dtype) end
  local device = backends.device(what)
  if not device then
    Tensor.fail(self, 'to', ("expected a device ('cpu' or 'cuda:0') or a dtype (%s), got %s"):format(
      table.concat(Tensor.dtype_names, ', '), check.describe(what)))
  end
  if device == self.device then return self end
  if device == 'cpu' then return to_host(self) end
  return to_device(self, device)
end

--- A copy in memory of the host from which the device copies without the processor: for what is sent there often.
function methods:pin(device)
  Tensor.check_self(self, 'pin')
  local name, problem = backends.device(device or 'cuda:0')
  if not name or name == 'cpu' then Tensor.fail(self, 'pin', problem or 'expected a CUDA device, got cpu') end
  local source = Tensor.on_host(self):contiguous()
  local bytes = source:count() * source._dtype.size
  local out = Tensor.new(storages.pinned(name, bytes), self._dtype, { unpack(self.shape) }, shapes.strides(self.shape), 0)
  Tensor.check_bounds(source)
  ffi.copy(out:data(), source:data(), bytes)
  return out
end

--- Copies elements to a view on a device.
function M.copy_on_device(to, from)
  copy_into(to, from)
end

--- Gives the elements of a view on a device a value. Returns nil or what is wrong.
function M.fill_on_device(self, value)
  local scratch = ffi.new(self._dtype.scratch)
  local expected = self._dtype.write(scratch, 0, value)
  if expected then
    return ('an element of a tensor of %s: expected %s, got %s'):format(self.dtype, expected, check.describe(value))
  end
  local backend, stream = enter(self)
  if type(value) == 'cdata' then
    local one = Tensor.empty('cpu', self._dtype, {})
    self._dtype.write(one:data(), 0, value)
    copy_into(self, one:to(self.device):expand(self.shape))
    return nil
  end
  if type(value) == 'boolean' then value = value and 1 or 0 end
  backend:check(backend.library.kernel_fill(view(1, self, stream), value, stream), 'fill')
end

--- Makes element i of a tensor on a device start + (i - 1) * step; the caller has checked that its type holds them.
function M.fill_range_on_device(self, start, step)
  local backend, stream = enter(self)
  backend:check(backend.library.kernel_arange(view(1, self, stream), start, step, stream), 'arange')
end

--- condition:where(a, b): the elements of a where the condition is true, else those of b.
function methods:where(a, b)
  Tensor.check_self(self, 'where')
  if self.dtype ~= 'bool' then Tensor.fail(self, 'where', 'expected bools as condition, got ' .. self.dtype) end
  if not Tensor.is(a) or not Tensor.is(b) then
    Tensor.fail(self, 'where', ('expected two tensors, got %s and %s'):format(check.describe(a), check.describe(b)))
  end
  if a.dtype ~= b.dtype or a.device ~= self.device or b.device ~= self.device then
    Tensor.fail(self, 'where', ('expected tensors of one dtype on %s, got %s on %s and %s on %s'):format(self.device,
      a.dtype, a.device, b.dtype, b.device))
  end
  local shape = shapes.broadcast(a.shape, b.shape)
  shape = shape and shapes.broadcast(shape, self.shape)
  if not shape then
    Tensor.fail(self, 'where', ('expected shapes that fit each other, got %s and %s'):format(shapes.describe(a.shape),
      shapes.describe(b.shape)))
  end
  local backend, stream = enter(self)
  local out = Tensor.empty(self.device, a._dtype, shape)
  local status = backend.library.kernel_where(view(1, out, stream), view(2, self, stream), view(3, a, stream),
    view(4, b, stream), stream)
  backend:check(status, 'where')
  return out
end

-- The tables above as methods and operators ---------------------------------------------------------------------------

for _, group in ipairs(UNARY) do
  local kind, result = group[1], Tensor.dtypes[group.result]
  for i = 2, #group do
    local method = group[i]
    local constant = 'KERNEL_' .. (UNARY_NAMES[method] or method:upper())
    methods[method] = function(self) return unary(self, method, kind, constant, result) end
  end
end

for _, group in ipairs(BINARY) do
  local kind, result = group[1], Tensor.dtypes[group.result]
  for i = 2, #group do
    local method = group[i]
    local constant = 'KERNEL_' .. (BINARY_NAMES[method] or method:upper())
    methods[method] = function(self, other) return binary(self, other, method, kind, constant, result) end
  end
end

Tensor.__add, Tensor.__sub, Tensor.__mul, Tensor.__div = methods.add, methods.sub, methods.mul, methods.div
Tensor.__mod, Tensor.__pow, Tensor.__unm = methods.mod, methods.pow, function(self) return methods.neg(self) end

return M
