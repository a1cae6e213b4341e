--- NVRTC itself, where it is: from source to PTX and to a GPU's own code, for which no GPU is needed.
local nvrtc = require 'farside.cuda.nvrtc'

describe('NVRTC', function()
  local compiler, problem = nvrtc.find()
  if not compiler then
    it('compiles kernels', function() pending('there is no NVRTC here: ' .. problem) end)
    return
  end

  local SAXPY = [[
extern "C" __global__ void saxpy(float *y, float a, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
]]
  local newest = compiler.architectures[#compiler.architectures]

  it('tells its version and what it compiles for', function()
    assert.truthy(compiler.version:find '^%d+%.%d+$')
    assert.is_true(#compiler.architectures > 0)
    assert.truthy(compiler:architecture_for(math.floor(newest / 10), newest % 10):find('^sm_' .. newest .. 'a?$'))
    assert.equal('compute_' .. newest, compiler:architecture_for(99, 0))
    assert.is_nil(compiler:architecture_for(1, 0))
  end)

  it('makes PTX', function()
    local code = assert(compiler:compile(SAXPY, 'saxpy.cu', 'compute_' .. newest, {}))
    assert.truthy(code:find('.target sm_' .. newest, 1, true))
    assert.truthy(code:find('.entry saxpy(', 1, true))
    assert.truthy(code:find('%.param[^\n]*saxpy_param_3'))
    assert.equal('\0', code:sub(-1))
  end)

  it('makes a CUBIN', function()
    local code = assert(compiler:compile(SAXPY, 'saxpy.cu', 'sm_' .. newest, {}))
    assert.equal('\127ELF', code:sub(1, 4))
    assert.truthy(code:find('.text.saxpy', 1, true))
  end)

  it('knows what the processor knows without an #include, and the usual headers', function()
    local code, log = compiler:compile([[
#include <stdint.h>
#include <math.h>
#include <cstdio>
#include <assert.h>
extern "C" __global__ void k(double *out, int64_t n, uint8_t m, size_t s, const float4 *v) {
  extern __shared__ float shared[];
  assert(n > 0);
  out[0] = INFINITY + NAN + M_PI + FLT_MAX + DBL_EPSILON + INT_MAX + INT_MIN + UINT_MAX + LLONG_MAX + n + m + s;
  shared[threadIdx.x] = min(3, 4) + max(2.5f, 1.0f) + __ldg(&v->x) + rsqrtf(4) + __saturatef(7) + __popc(255) + __brev(1);
  __syncthreads();
  out[1] = shared[0] + make_float2(1, 2).y + __shfl_xor_sync(0xffffffff, shared[1], 1);
}]], 'k.cu', 'sm_' .. newest, {})
    assert(code, log)
  end)

  -- What is tried on the processor is a GPU's too.
  for _, file in ipairs { 'spec/unit/cuda_module_spec.lua', 'spec/unit/cuda_half_spec.lua', 'examples/mandelbrot/deploy.lua' } do
    it('compiles the kernels of ' .. file, function()
      local handle = assert(io.open(file))
      local text = handle:read '*a'
      handle:close()
      local source = text:match '\nlocal SOURCE = %[%[\n(.-)%]%]' or text:match 'cuda%.module %[%[\n(.-)%]%]'
      if source:find('cuda_fp16', 1, true) and not compiler:compile('#include <cuda_fp16.h>', 'k.cu', 'sm_' .. newest, {}) then
        pending 'the headers of the CUDA toolkit are not here'
      end
      local code, log = compiler:compile(source, 'k.cu', 'sm_' .. newest, {})
      assert(code, log)
      for name in pairs(require('farside.cuda.signature').read(source).by_name) do
        if name ~= 'special' then assert.truthy(code:find('.text.' .. name .. '\0', 1, true), name) end
      end
    end)
  end

  it("compiles what includes the toolkit's own headers", function()
    if not compiler:compile('#include <cuda_fp16.h>', 'k.cu', 'sm_' .. newest, {}) then
      pending 'the headers of the CUDA toolkit are not here'
    end
    for _, header in ipairs { 'cuda_bf16.h', 'mma.h', 'cuda_pipeline.h', 'cooperative_groups.h', 'cuda/atomic' } do
      local code, log = compiler:compile(('#include <stdint.h>\n#include <%s>\n%s'):format(header, SAXPY), 'k.cu', 'sm_' .. newest, {})
      assert(code, log)
    end
  end)

  it('knows what a device alone has', function()
    local source = 'extern "C" __global__ void k() { asm volatile("wgmma.fence.sync.aligned;"); }'
    for _, architecture in ipairs(compiler.architectures) do
      local own = compiler:architecture_for(math.floor(architecture / 10), architecture % 10)
      local code, log = compiler:compile(architecture == 90 and source or SAXPY, 'k.cu', own, {})
      assert(code, log)
    end
  end)

  it('is given macros', function()
    local source = 'extern "C" __global__ void k(int *x) { *x = N; }'
    assert.truthy(compiler:compile(source, 'k.cu', 'compute_' .. newest, { '-DN=1234567' }):find('1234567', 1, true))
    assert.is_nil(compiler:compile(source, 'k.cu', 'compute_' .. newest, {}))
  end)

  it('says what is wrong by lines of the source, which are told with those of the script', function()
    local diagnostics = require 'farside.cuda.diagnostics'
    local line = debug.getinfo(1, 'l').currentline + 1
    local source = [[
extern "C" __global__ void bad(float *x) {
  x[0] = oops;

  x[1] = 2 +;
}]]
    local code, log = compiler:compile(source, 'bad.cu', 'sm_' .. newest, {})
    assert.is_nil(code)
    local what = { name = 'bad.cu', source = source,
      origin = { path = 'spec/unit/cuda_nvrtc_spec.lua', name = 'deploy.lua', line = line } }
    assert.equal(table.concat({
      'bad.cu is not compiled by NVRTC:',
      ('deploy.lua:%d: identifier "oops" is undefined (line 2 of bad.cu)'):format(line + 2),
      '    x[0] = oops;',
      ('deploy.lua:%d: expected an expression (line 4 of bad.cu)'):format(line + 4),
      '    x[1] = 2 +;',
    }, '\n'), diagnostics.describe(what, 'NVRTC', log))
  end)

  it('says which header is not there, and which option it does not know', function()
    local _, log = compiler:compile('#include "none.h"\n', 'k.cu', 'sm_' .. newest, {})
    local diagnostics = require 'farside.cuda.diagnostics'
    local told = diagnostics.describe({ name = 'k.cu', source = '#include "none.h"\n' }, 'NVRTC', log)
    assert.equal('k.cu is not compiled by NVRTC:\nk.cu:1: cannot open source file "none.h"\n    #include "none.h"', told)
    _, log = compiler:compile(SAXPY, 'k.cu', 'sm_' .. newest, { '--no-such-option' })
    assert.truthy(log:find 'no%-such%-option', log)
  end)
end)
