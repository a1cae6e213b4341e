--- What is computed with each row of a tensor of floats: softmax along any dimension, and norms along the last one.
--
--     scores:softmax()                                     along the last dimension
--     scores:log_softmax(1)                                along the first one
--     x:layernorm { weight = w, bias = b, epsilon = 1e-5 } all three may be left out
--     x:rmsnorm { weight = w }
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local misuse = require 'farside.tensor.misuse'
local ops = require 'farside.tensor.ops'
local shapes = require 'farside.tensor.shape'

local methods = Tensor.methods

local EPSILON = 1e-5

--- Checks that it is a tensor of floats with rows.
local function check_rows(self, method)
  Tensor.check_self(self, method)
  ops.check_kind(method, self, 'float')
  if #self.shape == 0 then Tensor.fail(self, method, 'expected at least one dimension') end
end

local function softmax(self, method, given, logarithm)
  check_rows(self, method)
  local axis = Tensor.check_axis(self, method, given == nil and -1 or given)
  local backend, stream = ops.enter(self)
  local out = Tensor.empty(self.device, self._dtype, { unpack(self.shape) })
  local status = backend.library.kernel_softmax(ops.view(1, out, stream), ops.view(2, self, stream), axis - 1, logarithm,
    stream)
  backend:check(status, method)
  return out
end

--- exp(x) over its sum along a dimension, the last without another.
function methods:softmax(axis)
  return softmax(self, 'softmax', axis, 0)
end

--- The logarithm of softmax, also of what softmax rounds to 0.
function methods:log_softmax(axis)
  return softmax(self, 'log_softmax', axis, 1)
end

local function tensor_rule(value)
  if not Tensor.is(value) then return 'a tensor' end
end

local RULES = {
  layernorm = { weight = tensor_rule, bias = tensor_rule, epsilon = check.number(0) },
  rmsnorm = { weight = tensor_rule, epsilon = check.number(0) },
}

--- Checks a vector that goes with the last dimension.
local function check_vector(self, method, name, vector)
  if not vector then return end
  local length = self.shape[#self.shape]
  if vector.dtype ~= self.dtype or vector.device ~= self.device or #vector.shape ~= 1 or vector.shape[1] ~= length then
    Tensor.fail(self, method, ('%s: expected a tensor {%d} of %s on %s, got one %s of %s on %s'):format(name, length,
      self.dtype, self.device, shapes.describe(vector.shape), vector.dtype, vector.device))
  end
end

--- Checks what a norm is called with; returns its options.
local function options_of(self, method, options)
  check_rows(self, method)
  if options == nil then options = {} end
  local problem = check.options(method, options, RULES[method])
  if problem then misuse('%s', problem) end
  check_vector(self, method, 'weight', options.weight)
  check_vector(self, method, 'bias', options.bias)
  return options
end

--- (x - mean) / sqrt(variance + epsilon) * weight + bias along the last dimension.
function methods:layernorm(options)
  options = options_of(self, 'layernorm', options)
  local weight, bias = options.weight, options.bias
  local backend, stream = ops.enter(self)
  local out = Tensor.empty(self.device, self._dtype, { unpack(self.shape) })
  local status = backend.library.kernel_layernorm(ops.view(1, out, stream), ops.view(2, self, stream),
    weight and ops.view(3, weight, stream), bias and ops.view(4, bias, stream), options.epsilon or EPSILON, stream)
  backend:check(status, 'layernorm')
  return out
end

--- x / sqrt(mean of x * x + epsilon) * weight along the last dimension.
function methods:rmsnorm(options)
  options = options_of(self, 'rmsnorm', options)
  local weight = options.weight
  local backend, stream = ops.enter(self)
  local out = Tensor.empty(self.device, self._dtype, { unpack(self.shape) })
  local status = backend.library.kernel_rmsnorm(ops.view(1, out, stream), ops.view(2, self, stream),
    weight and ops.view(3, weight, stream), options.epsilon or EPSILON, stream)
  backend:check(status, 'rmsnorm')
  return out
end
