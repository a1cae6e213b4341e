--- Half precision and bfloat16 in users' kernels on the processor, held against Lua's own rounding of doubles.
local Folder = require 'spec.support.folder'
local cuda = require 'farside.cuda'
local kernels = require 'spec.cuda.kernels'
local tensor = require 'farside.tensor'

local SOURCE = [[
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void narrow(__half *h, __nv_bfloat16 *b, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { h[i] = __float2half(x[i]); b[i] = __float2bfloat16(x[i]); }
}

extern "C" __global__ void widen(float *x, float *y, const __half *h, const __nv_bfloat16 *b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) { x[i] = __half2float(h[i]); y[i] = b[i]; }
}

extern "C" __global__ void compute(float *out, __half a, const __half *x, const __half2 *v) {
  __half y = a * x[0] + x[1];
  y += x[2];
  out[0] = y;
  out[1] = __hfma(a, x[0], x[1]);
  out[2] = hsqrt(x[3]) - -__hmax(a, x[0]);
  __half2 s = __hmul2(v[1], __floats2half2_rn(3, 5));
  out[3] = __low2float(s) + 100 * __half22float2(s).y;
  out[4] = x[0] < x[1] && __hgt(x[1], x[0]) && x[0] != x[1];
}
]]

describe("a user's kernel of half precision", function()
  local folder, mod

  setup(function()
    folder = Folder.new()
    mod = cuda.module(SOURCE)
  end)

  teardown(function() folder:close() end)

  it('rounds to the nearest, to even between two', function()
    local numbers = kernels.random(2000, -70000, 70000)
    for exponent = -150, 127 do
      for _, factor in ipairs { 1, 1 + 2 ^ -8, 1 + 2 ^ -11, 1 + 3 * 2 ^ -11, 2 - 2 ^ -12, -1.99951171875, -1.5 } do
        numbers[#numbers + 1] = kernels.round(factor * 2 ^ exponent, 'f32')
      end
    end
    for _, x in ipairs { 0, -0.0, math.huge, -math.huge, 65504, 65519.99609375, 65520, 2 ^ -24, 2 ^ -25, 3 * 2 ^ -26 } do
      numbers[#numbers + 1] = x
    end
    local count = #numbers
    local x, h, b = tensor.from(numbers), tensor.zeros({ count }, 'f16'), tensor.zeros({ count }, 'bf16')
    mod.narrow { grid = math.ceil(count / 256), block = 256 } (h, b, x, count)
    for i, number in ipairs(numbers) do
      local half, brain = kernels.round(number, 'f16'), kernels.round(number, 'bf16')
      if not kernels.same(half, h[i]) then error(('%.17g is %.17g in f16 instead of %.17g'):format(number, h[i], half)) end
      if not kernels.same(brain, b[i]) then error(('%.17g is %.17g in bf16 instead of %.17g'):format(number, b[i], brain)) end
    end
  end)

  it('has the value of each of them', function()
    local bits = {}
    for i = 0, 65535 do bits[i + 1] = string.char(i % 256, math.floor(i / 256)) end
    local text = table.concat(bits)
    local h, b = tensor.from(text, 'f16', { 65536 }), tensor.from(text, 'bf16', { 65536 })
    local x, y = tensor.zeros({ 65536 }), tensor.zeros({ 65536 })
    mod.widen { grid = 256, block = 256 } (x, y, h, b, 65536)
    for i = 1, 65536 do
      if not kernels.same(h[i], x[i]) then error(('%d is %.17g in f16 instead of %.17g'):format(i - 1, x[i], h[i])) end
      if not kernels.same(b[i], y[i]) then error(('%d is %.17g in bf16 instead of %.17g'):format(i - 1, y[i], b[i])) end
    end
  end)

  it('computes with them, each step rounded', function()
    local function half(x) return kernels.round(x, 'f16') end
    local a, x = half(0.1), { half(1 / 3), half(2.7), half(1000.5), half(2) }
    local out = tensor.zeros({ 5 })
    mod.compute { grid = 1, block = 1 } (out, 0.1, tensor.from(x, 'f16'), tensor.from({ 1, 2, half(0.7), 4 }, 'f16'))
    assert.same({
      half(half(half(a * x[1]) + x[2]) + x[3]),
      half(a * x[1] + x[2]),
      half(half(math.sqrt(2)) + x[1]),
      kernels.round(half(half(0.7) * 3) + 100 * 20, 'f32'),
      1,
    }, out:table())
  end)
end)
