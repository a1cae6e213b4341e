--- Users' own kernels in remote functions, on workers without a GPU, and on those with one that is a stub, as its driver and
-- NVRTC are: a launch there computes nothing.
local host = require 'spec.support.host'

local DEPLOY = [[
local farside = require 'farside'
local cuda = require 'farside.cuda'
local tensor = require 'farside.tensor'
local app = farside.deployment { name = 'kernels' }
app.configure_autoscaling { max_workers = 1 }

local kernels = cuda.module [=[
extern "C" __global__ void scale(float *x, float by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= by;
}
extern "C" __global__ void broken() {}
]=]

local scale = app.remote { device = true, benchmark_dataset = { { x = tensor.arange(1, 4, 1, 'f32') } } } (function(x)
  kernels.scale { grid = math.ceil(x:count() / 64), block = 64 } (x, 3, x:count())
  return x
end)
local broken = app.remote(function() kernels.broken { grid = 1, block = 1 } () end)
]]

local STUB_DRIVER = host.build .. '/spec/libstub_driver.so'
local GPU = { FARSIDE_KERNELS = host.build .. '/spec/stub', CUDA_VISIBLE_DEVICES = '0', FARSIDE_CUDA_DRIVER = STUB_DRIVER,
  FARSIDE_NVRTC = STUB_DRIVER }

describe("a user's kernel on workers", function()
  local cache, compiler, counted

  -- A compiler that notes each time that it is called.
  before_each(function()
    counted = host.script('counted', '')
    cache = counted:gsub('[^/]*$', 'cache')
    compiler = host.script('compiler', ('#!/bin/sh\necho >>%s\nexec c++ "$@"\n'):format(counted))
    os.execute('chmod +x ' .. compiler)
  end)

  after_each(function()
    host.clean()
    os.execute(("rm -rf '%s'"):format(cache))
  end)

  local function run(text, variables, workers)
    local script = host.script('client.lua', DEPLOY:gsub('max_workers = 1', 'max_workers = ' .. (workers or 1)) .. text)
    local env = { XDG_CACHE_HOME = cache, CXX = compiler, NO_COLOR = '1' }
    for name, value in pairs(variables or {}) do env[name] = value end
    local process = host.run(script, { env = env })
    local compiled = 0
    for _ in io.lines(counted) do compiled = compiled + 1 end
    return process, compiled
  end

  it('is compiled there, once for all that come later', function()
    for _ = 1, 2 do
      local process, compiled = run [[
        farside.run(function() print(scale(tensor.arange(1, 5, 1, 'f32')):string() ==
          tensor.from({ 3, 6, 9, 12, 15 }, 'f32'):string()) end)]]
      assert.same({ 'true\n', 0, 1 }, { process.out, process.code, compiled })
      local said = 'no GPU: user kernels are compiled for the processor by ' .. compiler .. '; for development only'
      local _, count = process.err:gsub(said:gsub('%p', '%%%0'), '')
      assert.equal(1, count, process.err)
    end
  end)

  it('is compiled by one of the workers that start together', function()
    local process, compiled = run([[
      farside.run(function()
        app.ensure_ready()
        while app.status().ready < 2 do farside.sleep(0.01) end
        local list, good = {}, 0
        for i = 1, 30 do list[i] = tensor.full({ 3 }, i, 'f32') end
        for i, y in scale:map(list) do good = good + (y:sum():item() == 9 * i and 1 or 0) end
        print(good)
      end)]], {}, 2)
    assert.same({ '30\n', 0, 1 }, { process.out, process.code, compiled }, process.err)
  end)

  it('is compiled by NVRTC and launched by the driver where there is a GPU', function()
    local process, compiled = run([[
      farside.run(function() print(scale(tensor.arange(1, 3, 1, 'f32'))) end)]], GPU)
    assert.same({ 'tensor {3} f32\n[1, 2, 3]', '', 0, 0 }, { (process.out:gsub('\n$', '')), process.err, process.code, compiled })
    local pipe = io.popen(('ls %s/farside/kernels | grep -vx lock'):format(cache))
    local names = pipe:read '*a'
    pipe:close()
    assert.truthy(names:find '^%x+%.cubin\n$', names)
  end)

  it('that breaks the GPU ends the call in GpuFault, and its worker', function()
    local with_fault = { STUB_DRIVER_FAIL = 'cuLaunchKernel:broken 700' }
    for name, value in pairs(GPU) do with_fault[name] = value end
    local process = run([[
      farside.run(function()
        local ok, err = pcall(broken)
        print(ok, err.name, err.cuda_code, err.device)
      end)]], with_fault)
    assert.equal('false\tGpuFault\t700\tcuda:0\n', process.out, process.err)
  end)

  it('that some threads of a block leave without its barrier ends the call in an error that names kernel and barrier', function()
    local process = run [[
      local diverging = cuda.module([=[
        extern "C" __global__ void skips(int *x) {
          if (threadIdx.x == 5) return;
          __syncthreads();
          *x = 1;
        }]=], { name = 'skips.cu' })
      local skip = app.remote(function() diverging.skips { grid = 1, block = 32 } (tensor.zeros({ 1 }, 'i32')) end)
      farside.run(function()
        local ok, err = pcall(skip)
        print(ok, err.name, err.signal, err.message)
      end)]]
    local words = 'simt: kernel skips, block (0,0,0), thread (0,0,0): waits at a barrier, without which ended thread (5,0,0) '
      .. '(the barrier: skips.cu:3)'
    assert.equal(('false\tWorkerLost\t6\tworker 0 was ended by signal 6 while it had the call; it said: %s\n'):format(words),
      process.out, process.err)
    assert.truthy(process.err:find(('[kernels w0] %s\n'):format(words), 1, true), process.err)
  end)

  it('is not compiled on a client that loads the script', function()
    local process, compiled = run "farside.run(function() print(kernels.scale) end)"
    assert.same({ 'kernel scale(float *x, float by, int n)\n', '', 0, 0 }, { process.out, process.err, process.code, compiled })
  end)

  it('that is not compiled is told to the caller, by the line of the script', function()
    local process = run [[
      cuda.module [=[
        extern "C" __global__ void bad(float *x) {
          *x = oops;
        }]=]
      farside.run(function()
        local ok, err = pcall(scale, tensor.zeros { 1 })
        print(ok, err.name, err.cause.message)
      end)]]
    assert.truthy(process.out:find('^false\tDeploymentFailed\tkernel%.cu is not compiled by '), process.out .. process.err)
    assert.truthy(process.out:find("client%.lua:22: 'oops' was not declared in this scope %(line 2 of kernel%.cu%)\n    %*x = oops;\n"),
      process.out)
  end)
end)
