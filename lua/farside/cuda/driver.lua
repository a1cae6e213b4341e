--- The driver of NVIDIA's GPUs, libcuda.so.1: loads compiled kernels and launches them, in the context that the library of
-- kernels uses too.
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuGetErrorString(int status, const char **text);
int cuCtxGetCurrent(void **context);
int cuCtxSetCurrent(void *context);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuThreadExchangeStreamCaptureMode(int *mode);
int cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options, void **values);
int cuModuleGetFunction(void **function, void *module, const char *name);
int cuFuncGetAttribute(int *value, int attribute, void *function);
int cuFuncSetAttribute(void *function, int attribute, int value);
int cuFuncGetParamInfo(void *function, size_t i, size_t *offset, size_t *size);
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra);
]]

local INVALID_VALUE = 1          -- CUDA_ERROR_INVALID_VALUE
local NOT_FOUND = 500            -- CUDA_ERROR_NOT_FOUND
local RELAXED = 2                -- CU_STREAM_CAPTURE_MODE_RELAXED
local ERROR_LOG, ERROR_LOG_SIZE = 5, 6  -- CU_JIT_ERROR_LOG_BUFFER, ..._SIZE_BYTES
local OWN_SHARED = 1             -- CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: of arrays whose sizes are in the source
local MOST_SHARED = 8            -- CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
local SHARED_WITHOUT_ASKING = 48 * 1024  -- bytes, of both together
local LOG_BYTES = 8192

local Driver = {}
Driver.__index = Driver

local opened = {}

--- What is wrong with the start of a driver; nil: nothing.
local function problem_of(library, status)
  if status == 0 then return nil end
  local text = ffi.new 'const char *[1]'
  local is_known = library.cuGetErrorString(status, text) == 0 and text[0] ~= nil
  return ('it does not start: %s (%d)'):format(is_known and ffi.string(text[0]) or 'an error of unknown name', status)
end

--- Opens the driver in a file, or of a name that the system's loader finds.
---@return table? driver { version = 13000 }
---@return string? err
function M.open(path)
  if opened[path] then return opened[path] end
  local ok, library = pcall(ffi.load, path)
  if not ok then return nil, tostring(library) end
  local version = ffi.new 'int[1]'
  local problem = problem_of(library, library.cuInit(0)) or problem_of(library, library.cuDriverGetVersion(version))
  if problem then return nil, problem end
  opened[path] = setmetatable({ library = library, version = version[0] }, Driver)
  return opened[path]
end

--- Opens the driver of this machine. FARSIDE_CUDA_DRIVER names another file.
function M.find()
  return M.open(os.getenv 'FARSIDE_CUDA_DRIVER' or 'libcuda.so.1')
end

--- Makes the primary context of a device current, as the runtime has done it where it has worked already.
local function enter(library, backend)
  local context = ffi.new 'void *[1]'
  backend:check(library.cuCtxGetCurrent(context), 'asking for the context')
  if context[0] ~= nil then return end
  backend:check(library.cuDevicePrimaryCtxRetain(context, backend.index), 'opening the device')
  backend:check(library.cuCtxSetCurrent(context[0]), 'opening the device')
end

local function load(library, backend, image)
  local module, log = ffi.new 'void *[1]', ffi.new('char[?]', LOG_BYTES)
  local options = ffi.new('int[2]', ERROR_LOG, ERROR_LOG_SIZE)
  local values = ffi.new('void *[2]', log, ffi.cast('void *', LOG_BYTES - 1))
  local status = library.cuModuleLoadDataEx(module, image, 2, options, values)
  if status ~= 0 then
    local text = ffi.string(log):gsub('%s+$', '')
    backend:check(status, 'loading compiled kernels' .. (text ~= '' and (' (%s)'):format(text) or ''))
  end
  return module[0]
end

--- Loads what was compiled, PTX with a zero byte behind it, to a device. It stays loaded. Also while a stream is captured.
---@param backend table the device, which raises errors as its own
---@return ffi.cdata* module
function Driver:load(backend, image)
  local library = self.library
  enter(library, backend)
  local mode = ffi.new('int[1]', RELAXED)
  backend:check(library.cuThreadExchangeStreamCaptureMode(mode), 'loading compiled kernels')
  local ok, module = pcall(load, library, backend, image)
  library.cuThreadExchangeStreamCaptureMode(mode)
  if not ok then error(module, 0) end
  return module
end

local Kernel = {}
Kernel.__index = Kernel

--- The sizes of a kernel's parameters, one more than `count` of them at most; nil: this driver, one before 12.4, does not tell.
local function sizes_of(library, handle, count)
  local is_there = pcall(function() return library.cuFuncGetParamInfo end)
  if not is_there then return nil end
  local sizes, offset, size = {}, ffi.new 'size_t[1]', ffi.new 'size_t[1]'
  while #sizes <= count do
    local status = library.cuFuncGetParamInfo(handle, #sizes, offset, size)
    if status == INVALID_VALUE then break end  -- there are no more
    if status ~= 0 then return nil end
    sizes[#sizes + 1] = tonumber(size[0])
  end
  return sizes
end

--- A kernel of a module that is loaded to a device; nil: it has none of this name.
---@param count number of parameters that are expected
---@return table? kernel { sizes = of the parameters, where the driver tells them }
function Driver:kernel(backend, module, name, count)
  local handle = ffi.new 'void *[1]'
  local status = self.library.cuModuleGetFunction(handle, module, name)
  if status == NOT_FOUND then return nil end
  backend:check(status, 'looking for kernel ' .. name)
  local own = ffi.new 'int[1]'
  backend:check(self.library.cuFuncGetAttribute(own, OWN_SHARED, handle[0]), 'looking for kernel ' .. name)
  return setmetatable({ library = self.library, handle = handle[0], shared = SHARED_WITHOUT_ASKING - own[0],
    sizes = sizes_of(self.library, handle[0], count) }, Kernel)
end

--- Launches it. `shape`: uint32_t[6], the grid's and the block's; `arguments`: void *[], pointers to them.
---@return number status as the runtime has it
function Kernel:launch(shape, shared, stream, arguments)
  local library = self.library
  if shared > self.shared then
    local status = library.cuFuncSetAttribute(self.handle, MOST_SHARED, shared)
    if status ~= 0 then return status end
    self.shared = shared
  end
  return library.cuLaunchKernel(self.handle, shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shared, stream,
    arguments, nil)
end

return M
