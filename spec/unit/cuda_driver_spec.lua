--- Users' kernels on a GPU that is not there: what NVRTC and the driver are asked, by stubs of both (spec/support/stub_driver.c).
-- Tensors of the device are in memory of the processor, whose library is made to say that it is CUDA's.
local Folder = require 'spec.support.folder'
local backends = require 'farside.tensor.backend'
local cuda = require 'farside.cuda'
local drivers = require 'farside.cuda.driver'
local fault = require 'farside.cuda.fault'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local nvrtc = require 'farside.cuda.nvrtc'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local BUILD = os.getenv 'FARSIDE_BUILD' or 'build'
local STUB = ('%s/spec/libstub_driver.so'):format(BUILD:sub(1, 1) == '/' and BUILD or './' .. BUILD)
local DEVICE = 'cuda:5'

pcall(ffi.cdef, [[
const char *stub_log(void);
void stub_clear(void);
void stub_fail(const char *function, int code);
void stub_fail_with_log(const char *log);
void stub_parameters(const char *name, int count, const int *bytes);
void stub_shared(const char *name, int bytes);
]])

local SOURCE = [[
extern "C" __global__ void saxpy(float *y, float a, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
extern "C" __global__ void missing(int n) {}
extern "C" __global__ void large(int n) {}
]]

describe("a module of a user's kernels on a GPU", function()
  local stub, folder, capability, library, x, y
  local variables = { FARSIDE_CUDA_DRIVER = STUB, FARSIDE_NVRTC = STUB }

  setup(function()
    stub = ffi.load(STUB)
    local cpu = assert(libraries.open 'cpu')
    library = setmetatable({
      device_kind = function() return 'cuda' end,
      device_describe = function(_, properties)
        properties.major, properties.minor = capability[1], capability[2]
        ffi.copy(properties.name, 'Stub 9000')
        return 0
      end,
    }, { __index = function(_, name) return cpu[name] end })
  end)

  teardown(function()
    x, y = nil, nil
    collectgarbage()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
  end)

  before_each(function()
    folder = Folder.new()
    for name, value in pairs(variables) do Folder.set_variable(name, value) end
    capability = { 9, 0 }
    backends.put(DEVICE, library)
    x, y = tensor.ones({ 300 }, 'f32', DEVICE), tensor.ones({ 300 }, 'f32', DEVICE)
    stub.stub_clear()
    stub.stub_parameters('saxpy', 4, ffi.new('int[4]', 8, 4, 8, 4))
    stub.stub_parameters('large', 1, ffi.new('int[1]', 4))
  end)

  after_each(function()
    for name in pairs(variables) do Folder.set_variable(name, nil) end
    folder:close()
  end)

  --- What was called since the last time, without what depends on the order of specs.
  local function log()
    local lines = {}
    for line in ffi.string(stub.stub_log()):gmatch '[^\n]+' do
      if not line:find '^cuInit' and not line:find '^cuCtx' and not line:find '^cuDevice' then lines[#lines + 1] = line end
    end
    stub.stub_clear()
    return lines
  end

  local function launch(options, size)
    local mod = cuda.module(SOURCE, options)
    mod.saxpy(size or { grid = 2, block = 256 })(y, 2, x, 300)
    return mod
  end

  local function address(t)
    return ('%x'):format(tonumber(ffi.cast('uintptr_t', t:data())))
  end

  local OPTIONS = '--gpu-architecture=%s --std=c++17 --pre-include=farside_prelude.h'

  it('is compiled for the device, loaded and launched', function()
    launch { name = 'saxpy.cu' }
    local options = OPTIONS:format 'sm_90a'
    assert.same({
      ('nvrtcCreateProgram saxpy.cu %d stdint.h'):format(#SOURCE),
      'nvrtcCompileProgram ' .. options,
      'nvrtcDestroyProgram',
      'cuThreadExchangeStreamCaptureMode 2',
      'cuModuleLoadDataEx ' .. options,
      'cuThreadExchangeStreamCaptureMode 1',
      ('cuLaunchKernel saxpy 2,1,1 256,1,1 0 - %s 40000000 %s 12c'):format(address(y), address(x)),
    }, log())
  end)

  it('is compiled once for all processes, and loaded once in each', function()
    launch()
    log()
    launch()
    assert.equal(1, #log())
    backends.put(DEVICE, library)  -- as it is in another process
    local mod = launch()
    assert.same({ 'cuThread', 'cuModule', 'cuThread', 'cuLaunch' }, (function()
      local words = {}
      for i, line in ipairs(log()) do words[i] = line:match '^cu%u%l+' end
      return words
    end)())
    mod.saxpy { grid = { 1, 2, 3 }, block = { 4, 5, 6 }, shared = 100 } (y, 0.5, x, -1)
    assert.same({ ('cuLaunchKernel saxpy 1,2,3 4,5,6 100 - %s 3f000000 %s ffffffff'):format(address(y), address(x)) }, log())
    assert.equal(1, #folder:kernels())
  end)

  it('is compiled anew for other options, and for another device', function()
    launch()
    launch { options = { '-DN=1', '--use_fast_math' } }
    capability = { 8, 0 }
    backends.put(DEVICE, library)
    launch()
    local compiled = {}
    for _, line in ipairs(log()) do compiled[#compiled + 1] = line:match '^nvrtcCompileProgram (.*)' end
    assert.same({ OPTIONS:format 'sm_90a', OPTIONS:format 'sm_90a' .. ' -DN=1 --use_fast_math', OPTIONS:format 'sm_80' }, compiled)
    assert.equal(3, #folder:kernels())
  end)

  it('is PTX of an older architecture for a device that this NVRTC does not know', function()
    capability = { 12, 0 }
    launch()
    assert.equal('nvrtcCompileProgram ' .. OPTIONS:format 'compute_90', log()[2])
    assert.truthy(folder:kernels()[1]:find '%.ptx$')
    capability = { 5, 0 }
    backends.put(DEVICE, library)
    local ok, problem = pcall(launch)
    assert.same({ false, 'kernel.cu: NVRTC 13.0 does not compile for Stub 9000, of compute capability 5.0' }, { ok, problem })
  end)

  it('is put on the stream that is named, or on that of the coroutine', function()
    local stream = cuda.stream(DEVICE)
    local mod = launch()
    log()
    mod.saxpy { grid = 1, block = 1, stream = stream } (y, 2, x, 1)
    stream:use(function() mod.saxpy { grid = 1, block = 1 } (y, 2, x, 1) end)
    mod.saxpy { grid = 1, block = 1 } (y, 2, x, 1)
    local streams = {}
    for i, line in ipairs(log()) do streams[i] = line:match '1,1,1 1,1,1 0 (%S+)' end
    assert.same({ 'stream', 'stream', '-' }, streams)
  end)

  it('asks for shared memory beyond 48 KiB once', function()
    local there = cuda.module(SOURCE, { device = DEVICE })
    there.large { grid = 1, block = 1, shared = 49152 } (1)
    there.large { grid = 1, block = 1, shared = 100000 } (1)
    there.large { grid = 1, block = 1, shared = 90000 } (1)
    local calls = {}
    for _, line in ipairs(log()) do calls[#calls + 1] = line:match '^(cuFuncSetAttribute.*)' or line:match '^(cuLaunch.*)' end
    assert.same({ 'cuLaunchKernel large 1,1,1 1,1,1 49152 - 1', 'cuFuncSetAttribute large 8 100000',
      'cuLaunchKernel large 1,1,1 1,1,1 100000 - 1', 'cuLaunchKernel large 1,1,1 1,1,1 90000 - 1' }, calls)
  end)

  it('counts the arrays of the source among the 48 KiB', function()
    stub.stub_shared('large', 16384)
    local there = cuda.module(SOURCE, { device = DEVICE })
    there.large { grid = 1, block = 1, shared = 32768 } (1)
    there.large { grid = 1, block = 1, shared = 32769 } (1)
    stub.stub_shared('large', 0)
    local calls = {}
    for _, line in ipairs(log()) do calls[#calls + 1] = line:match '^(cuFuncSetAttribute.*)' or line:match '^(cuLaunch.*)' end
    assert.same({ 'cuLaunchKernel large 1,1,1 1,1,1 32768 - 1', 'cuFuncSetAttribute large 8 32769',
      'cuLaunchKernel large 1,1,1 1,1,1 32769 - 1' }, calls)
  end)

  it('says what the compiler says, by lines of the source', function()
    stub.stub_fail_with_log('saxpy.cu(3): error: identifier "oops" is undefined\n    oops\n    ^\n\n'
      .. 'saxpy.cu(2): warning #177-D: variable "z" was declared but never referenced\n\n1 error detected.\n')
    local ok, problem = pcall(launch, { name = 'saxpy.cu' })
    assert.is_false(ok)
    assert.truthy(problem:find('^saxpy%.cu is not compiled by NVRTC 13%.0 for sm_90a:\n%S*cuda_driver_spec%.lua:%d+: '
      .. 'identifier "oops" is undefined %(line 3 of saxpy%.cu%)\n    if %(i < n%) y%[i%] = a %* x%[i%] %+ y%[i%];$'), problem)
    assert.same({}, folder:kernels())
    log()
    launch { name = 'saxpy.cu' }
  end)

  for case, expected in pairs {
    ['cuModuleLoadDataEx 200'] = 'loading compiled kernels (ptxas: no) on cuda:5: ',
    ['nvrtcCreateProgram 1'] = 'NVRTC: making a program: NVRTC_ERROR',
    ['nvrtcCompileProgram 5'] = 'kernel.cu is not compiled by NVRTC 13.0 for sm_90a:\nNVRTC_ERROR_INVALID_OPTION',
    ['cuModuleGetFunction 400'] = 'looking for kernel ',
    ['cuCtxGetCurrent 201'] = 'asking for the context on cuda:5: ',
    ['cuLaunchKernel 701'] = 'kernel saxpy on cuda:5: ',
  } do
    it('raises what is wrong with ' .. case, function()
      local name, code = case:match '(%S+) (%d+)'
      stub.stub_fail(name, tonumber(code))
      local ok, problem = pcall(launch)
      assert.is_false(ok)
      assert.truthy(tostring(problem):find(expected, 1, true), tostring(problem))
      launch()
    end)
  end

  it('has failed for good when the device has', function()
    for _, name in ipairs { 'cuModuleLoadDataEx', 'cuLaunchKernel' } do
      stub.stub_fail(name, 700)
      local ok, problem = pcall(launch)
      local mark = fault.mark
      fault.mark = nil -- luacheck: ignore
      assert.same({ false, 700, 'cuda:5', true }, { ok, problem.cuda_code, problem.device, mark == problem })
    end
  end)

  it('tells kernels that are not among what was compiled', function()
    local ok, problem = pcall(function() cuda.module(SOURCE, { device = DEVICE }).missing { grid = 1, block = 1 } (5) end)
    assert.is_false(ok)
    assert.truthy(problem:find('kernel missing is not among what the compiler has made of kernel.cu: its line 5 is left out by '
      .. 'an #if', 1, true), problem)
  end)

  it('tells parameters that were not read as the compiler has them', function()
    stub.stub_parameters('saxpy', 3, ffi.new('int[3]', 8, 4, 8))
    local ok, problem = pcall(launch)
    assert.same({ false, 'kernel.cu: kernel saxpy has 3 parameters to the compiler and 4 as its text was read: '
      .. '(float *y, float a, const float *x, int n)' }, { ok, problem })
  end)

  it('is loaded while a graph is captured', function()
    local mod = cuda.module(SOURCE)
    cuda.graph(function() mod.saxpy { grid = 1, block = 1 } (y, 2, x, 1) end, DEVICE)
    local launched = log()
    assert.truthy(launched[#launched]:find '^cuLaunchKernel saxpy 1,1,1 1,1,1 0 stream ')
  end)

  it('says what is missing where there is no driver or no NVRTC', function()
    Folder.set_variable('FARSIDE_CUDA_DRIVER', '/nowhere/libcuda.so')
    local ok, problem = pcall(launch)
    assert.is_false(ok)
    assert.truthy(problem:find('kernel.cu: the driver cannot be opened: /nowhere/libcuda.so', 1, true), problem)
    Folder.set_variable('FARSIDE_CUDA_DRIVER', STUB:gsub('libstub', './libstub'))  -- one that was not opened yet
    for code, said in pairs { [209] = 'no kernel image is available for execution on the device (209)',
      [999] = 'an error of unknown name (999)' } do
      stub.stub_fail('cuInit', code)
      ok, problem = pcall(launch)
      assert.same({ false, 'kernel.cu: the driver cannot be opened: it does not start: ' .. said }, { ok, problem })
    end
    Folder.set_variable('FARSIDE_CUDA_DRIVER', STUB)
    Folder.set_variable('FARSIDE_NVRTC', '/nowhere/libnvrtc.so')
    ok, problem = pcall(launch)
    assert.is_false(ok)
    assert.truthy(problem:find('kernel.cu: kernels are compiled by NVRTC, which is not there: /nowhere/libnvrtc.so', 1, true), problem)
  end)

  it('takes the NVRTC of an older driver', function()
    Folder.set_variable('FARSIDE_NVRTC', nil)
    local opened, of_toolkit = {}, {}
    local open = nvrtc.open
    nvrtc.open = function(name) -- luacheck: ignore
      if name:find '/' then of_toolkit[name] = #opened else opened[#opened + 1] = name end
      return nil, 'no'
    end
    local _, problem = nvrtc.find(12)
    nvrtc.find(11)
    nvrtc.find()
    nvrtc.open = open
    assert.same({ 'libnvrtc.so.12', 'libnvrtc.so.11.2', 'libnvrtc.so.11.2', 'libnvrtc.so.13', 'libnvrtc.so.12',
      'libnvrtc.so.11.2' }, opened)
    assert.equal(4, of_toolkit['/usr/local/cuda/lib64/libnvrtc.so.13'])  -- behind the one of the loader
    assert.equal('expected one of libnvrtc.so.12, libnvrtc.so.11.2; install NVRTC of the CUDA toolkit, or name its file in '
      .. 'FARSIDE_NVRTC', problem)
    assert.truthy(drivers.find())
  end)
end)
