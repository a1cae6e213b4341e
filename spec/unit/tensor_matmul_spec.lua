-- Matrix products of tensors on the processor and on a made-up device. What the kernels compute is held against an oracle in
-- spec/cuda; here it is what the method does with shapes, views, options and mistakes.
local devices = require 'spec.support.devices'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:5'

local function refused(what, ...)
  local ok, problem = pcall(...)
  assert.is_false(ok)
  assert.truthy(problem:find(what, 1, true), problem)
  assert.truthy(problem:find('tensor_matmul_spec.lua', 1, true), problem)
end

for _, device in ipairs { 'cpu', DEVICE } do
  local function of(values, dtype) return tensor.from(values, dtype):to(device) end

  describe('on ' .. device .. ' matmul', function()
    it('multiplies matrices', function()
      for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8' } do
        local product = of({ { 1, 2, 3 }, { 4, 5, 6 } }, dtype):matmul(of({ { 1, 0 }, { 0, 1 }, { 1, 1 } }, dtype))
        assert.same({ { 4, 5 }, { 10, 11 } }, product:table())
        assert.equal(dtype, product.dtype)
        assert.equal(device, product.device)
      end
    end)

    it('takes a vector as a row to the left and as a column to the right', function()
      local x, m = of { 1, 2 }, of { { 1, 2, 3 }, { 4, 5, 6 } }
      assert.same({ 9, 12, 15 }, x:matmul(m):table())
      assert.same({ 9, 12, 15 }, m:transpose():matmul(x):table())
      local dot = x:matmul(x)
      assert.same({}, dot.shape)
      assert.equal(5, dot:item())
      local many = of { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } }, { { 0, 0 }, { 1, 1 } } }
      assert.same({ { 5, 11 }, { 17, 23 }, { 0, 3 } }, many:matmul(x):table())
      assert.same({ { 7, 10 }, { 19, 22 }, { 2, 2 } }, x:matmul(many):table())
    end)

    it('stretches the dimensions in front', function()
      local a, b = of { { { 1, 2 } }, { { 3, 4 } } }, of { { 1, 0 }, { 1, 1 } }
      assert.same({ { { 3, 2 } }, { { 7, 4 } } }, a:matmul(b):table())
      assert.same({ 3, 2, 1, 2 }, tensor.ones({ 3, 1, 1, 2 }, 'f32', device):matmul(tensor.ones({ 2, 2, 2 }, 'f32', device)).shape)
      assert.same({ 0, 1, 2 }, a:slice(1, 3, 2):matmul(b).shape)
    end)

    it('takes views as they lie', function()
      local a = of { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }
      assert.same({ { 30, 70 }, { 70, 174 } }, a:matmul(a:transpose()):table())
      assert.same({ { 10, 26 }, { 26, 74 } }, a:slice(2, 1, -1, 2):matmul(a:slice(2, 1, -1, 2):transpose()):table())
      assert.same({ { 2, 2, 2 }, { 2, 2, 2 } }, tensor.ones({ 2, 2 }, 'f16', device):matmul(
        tensor.ones({ 1, 1 }, 'f16', device):expand { 2, 3 }):table())
    end)

    it('adds up nothing to zeros', function()
      local product = tensor.zeros({ 2, 0 }, 'f32', device):matmul(tensor.zeros({ 0, 2 }, 'f32', device), { bias = of { 1, -1 },
        activation = 'relu' })
      assert.same({ { 1, 0 }, { 1, 0 } }, product:table())
    end)

    it('scales, adds a bias and applies an activation', function()
      local x, w = of { { 1, -2 } }, of { { 1, 0, 2 }, { 0, 1, 2 } }
      assert.same({ { 2, -4, -4 } }, x:matmul(w, { scale = 2 }):table())
      assert.same({ { 2, 0, 1 } }, x:matmul(w, { bias = of { 1, 2, 3 } }):table())
      assert.same({ { 1, 0, 0 } }, x:matmul(w, { activation = 'relu' }):table())
      for _, activation in ipairs { 'relu', 'gelu', 'gelu_tanh', 'silu', 'sigmoid', 'tanh', 'softplus' } do
        local sums = x:matmul(w, { bias = of { 1, 2, 3 }, scale = 0.5 })
        local expected = sums[activation](sums):table()[1]
        local got = x:matmul(w, { bias = of { 1, 2, 3 }, scale = 0.5, activation = activation, precision = 'tf32' }):table()[1]
        for i = 1, 3 do assert.near(expected[i], got[i], 1e-6, activation) end
      end
      assert.same({ { 6, 6 } }, of({ { 1, 2 } }, 'i32'):matmul(of({ { 1, 2 }, { 2, 2 } }, 'i32'), { bias = of({ 1, 0 }, 'i32') }):table())
    end)

    it('refuses what it cannot multiply, and says why', function()
      local m = of { { 1, 2, 3 }, { 4, 5, 6 } }
      local function call(a, b, options) return function() return a:matmul(b, options) end end
      refused('as many columns to the left as rows to the right, got {2, 3} and {2, 3}: 3 and 2', call(m, m))
      refused('fit each other', call(tensor.ones({ 2, 1, 1 }, 'f32', device), tensor.ones({ 3, 1, 1 }, 'f32', device)))
      refused('expected a tensor, got the number 3', call(m, 3))
      refused('at least one dimension, got a tensor {} of f32; a * b', call(m, of(3)))
      refused('tensors of one dtype, got a tensor {2, 3} of f32 and a tensor {2, 3} of f16', call(m, m:to 'f16'))
      refused('expected numbers, got a tensor {2, 3} of bool', call(m:to 'bool', m:to 'bool'))
      refused("activation: expected one of 'relu'", call(m, m:transpose(), { activation = 'softmax' }))
      refused("precision: expected one of 'f32', 'tf32'", call(m, m:transpose(), { precision = 'f16' }))
      refused("did you mean 'bias'", call(m, m:transpose(), { bais = m }))
      refused('bias: expected a tensor {2} of f32', call(m, m:transpose(), { bias = of { 1, 2, 3 } }))
      refused('bias: expected a tensor', call(m, m:transpose(), { bias = 1 }))
      refused('floats beside the option activation, got a tensor {2, 3} of i32',
        call(m:to 'i32', m:transpose():to 'i32', { activation = 'relu' }))
      refused('expected a tensor before the colon', function() return m.matmul(1, m) end)
    end)
  end)
end

describe('matmul', function()
  it('wants both on one device', function()
    local x = tensor.ones { 2, 2 }
    refused(('tensors on one device, got cpu and %s'):format(DEVICE), function() return x:matmul(x:to(DEVICE)) end)
  end)

  it('tells what multiplies', function()
    assert.truthy(tensor.matmul_library():find '^OpenBLAS %d')
    assert.equal(tensor.matmul_library(), tensor.matmul_library 'cpu')
    refused("expected a device ('cpu' or 'cuda:0'), got the string \"gpu\"", function() return tensor.matmul_library 'gpu' end)
  end)

  it('gives its workspace back', function()
    local x = tensor.ones({ 64, 64 }, 'f16')
    collectgarbage()
    local before = tensor.memory().used
    for _ = 1, 3 do x:matmul(x) end
    collectgarbage()
    assert.equal(before, tensor.memory().used)
  end)
end)
