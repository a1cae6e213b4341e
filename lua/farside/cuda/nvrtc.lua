--- NVRTC, the compiler of CUDA C: from source to what a GPU runs, without a GPU and without files.
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
int nvrtcVersion(int *major, int *minor);
const char *nvrtcGetErrorString(int status);
int nvrtcGetNumSupportedArchs(int *count);
int nvrtcGetSupportedArchs(int *list);
int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers, const char *const *texts,
                       const char *const *names);
int nvrtcDestroyProgram(void **program);
int nvrtcCompileProgram(void *program, int count, const char *const *options);
int nvrtcGetProgramLogSize(void *program, size_t *size);
int nvrtcGetProgramLog(void *program, char *log);
int nvrtcGetPTXSize(void *program, size_t *size);
int nvrtcGetPTX(void *program, char *ptx);
int nvrtcGetCUBINSize(void *program, size_t *size);
int nvrtcGetCUBIN(void *program, char *cubin);
]]

local COMPILE_FAILED = 6  -- NVRTC_ERROR_COMPILATION

-- What a source may use without an #include, as simt_module.h has it on the processor. Integers of 64 bits are long long, as
-- the toolkit's own headers have them where NVRTC reads these.
M.PRELUDE = [[
#pragma once
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef long ptrdiff_t;
typedef int64_t intptr_t;
typedef uint64_t uintptr_t;
#define INT_MAX 2147483647
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX 0xffffffffu
#define LLONG_MAX 9223372036854775807LL
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define DBL_MAX 1.7976931348623157e+308
#define DBL_MIN 2.2250738585072014e-308
#define DBL_EPSILON 2.2204460492503131e-16
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_E 2.7182818284590452354
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
#define M_LN2 0.69314718055994530942
]]

local PRELUDE_NAME = 'farside_prelude.h'

-- Headers of C that hold nothing beyond that.
local HEADERS = { PRELUDE_NAME, 'stdint.h', 'stddef.h', 'math.h', 'float.h', 'limits.h', 'stdio.h', 'stdlib.h', 'string.h',
  'assert.h', 'cstdint', 'cstddef', 'cmath', 'cfloat', 'climits', 'cstdio', 'cstdlib', 'cstring',
  'cassert' }

local Compiler = {}
Compiler.__index = Compiler

local opened = {}

--- Opens the library in a file, or of a name that the system's loader finds.
---@return table? compiler { version = '13.0', architectures = { 75, 80, 90 } }
---@return string? err
function M.open(path)
  if opened[path] then return opened[path] end
  local ok, library = pcall(ffi.load, path)
  if not ok then return nil, tostring(library) end
  local major, minor, count = ffi.new 'int[1]', ffi.new 'int[1]', ffi.new 'int[1]'
  if library.nvrtcVersion(major, minor) ~= 0 or library.nvrtcGetNumSupportedArchs(count) ~= 0 then
    return nil, path .. ' does not tell its version'
  end
  local list, architectures = ffi.new('int[?]', math.max(count[0], 1)), {}
  if library.nvrtcGetSupportedArchs(list) ~= 0 then return nil, path .. ' does not tell what it compiles for' end
  for i = 1, count[0] do architectures[i] = list[i - 1] end
  local compiler = setmetatable({ version = ('%d.%d'):format(major[0], minor[0]), architectures = architectures,
    _library = library }, Compiler)
  opened[path] = compiler
  return compiler
end

--- Where the CUDA toolkit may be.
local function toolkits()
  local folders = {}
  for _, variable in ipairs { 'CUDA_PATH', 'CUDA_HOME' } do
    local folder = os.getenv(variable)
    if folder and folder ~= '' then folders[#folders + 1] = folder end
  end
  folders[#folders + 1] = '/usr/local/cuda'
  return folders
end

--- Opens one of a name that the system's loader finds, else of the toolkit, whose folder it may not know.
local function open_anywhere(name)
  local compiler = M.open(name)
  for _, folder in ipairs(toolkits()) do
    compiler = compiler or M.open(('%s/lib64/%s'):format(folder, name))
  end
  return compiler
end

--- Opens the one that fits a driver best: of its major version, else an older one, else any. FARSIDE_NVRTC names another.
---@param driver_major number? 13
---@return table? compiler
---@return string? err
function M.find(driver_major)
  local own = os.getenv 'FARSIDE_NVRTC'
  if own then return M.open(own) end
  local names = { 'libnvrtc.so.13', 'libnvrtc.so.12', 'libnvrtc.so.11.2' }
  if driver_major then
    for i, name in ipairs(names) do
      if tonumber(name:match 'so%.(%d+)') > driver_major then names[i] = nil end
    end
    local fitting = {}
    for i = 1, 3 do fitting[#fitting + 1] = names[i] end
    names = #fitting > 0 and fitting or { 'libnvrtc.so.11.2' }
  end
  for _, name in ipairs(names) do
    local compiler = open_anywhere(name)
    if compiler then return compiler end
  end
  return nil, ('expected one of %s; install NVRTC of the CUDA toolkit, or name its file in FARSIDE_NVRTC')
    :format(table.concat(names, ', '))
end

-- Compiling ------------------------------------------------------------------------------------------------------------

-- From compute capability 9.0 and NVRTC 12.0 on there is also what this architecture alone has, wgmma for one.
local function own_architecture(compiler, wanted)
  return ('sm_%d%s'):format(wanted, wanted >= 90 and tonumber(compiler.version) >= 12 and 'a' or '')
end

--- How to compile for a device: its own code if this version knows it, else PTX of an older architecture, which the driver
-- compiles on. nil: there is neither.
---@return string? architecture 'sm_90a' or 'compute_90'
function Compiler:architecture_for(major, minor)
  local wanted, best = 10 * major + minor, nil
  for _, architecture in ipairs(self.architectures) do
    if architecture == wanted then return own_architecture(self, wanted) end
    if architecture < wanted and (not best or architecture > best) then best = architecture end
  end
  return best and 'compute_' .. best
end

local function strings(list)
  return ffi.new('const char *[?]', math.max(#list, 1), list)
end

--- Folders with the toolkit's own headers, cuda_fp16.h among them, and what these include: from CUDA 13 on it is in cccl.
local function include_options()
  local options = {}
  for _, folder in ipairs(toolkits()) do
    local file = io.open(folder .. '/include/cuda_fp16.h', 'rb')
    if file then
      file:close()
      options[1] = ('--include-path=%s/include'):format(folder)
      options[2] = options[1] .. '/cccl'
      break
    end
  end
  return options
end

local function text_of(library, program, what)
  local size = ffi.new 'size_t[1]'
  if library['nvrtcGet' .. what .. 'Size'](program, size) ~= 0 then return nil end
  local buffer = ffi.new('char[?]', math.max(tonumber(size[0]), 1))
  if library['nvrtcGet' .. what](program, buffer) ~= 0 then return nil end
  return ffi.string(buffer, size[0])
end

local function check(library, status, what)
  if status == 0 then return end
  error(('NVRTC: %s: %s'):format(what, ffi.string(library.nvrtcGetErrorString(status))), 0)
end

local function compile(library, program, options, is_ptx)
  local status = library.nvrtcCompileProgram(program, #options, strings(options))
  local log = text_of(library, program, 'ProgramLog') or ''
  log = log:gsub('%z+$', '')
  if status == COMPILE_FAILED then return nil, log end
  if status ~= 0 then return nil, ('%s\n%s'):format(ffi.string(library.nvrtcGetErrorString(status)), log) end
  local code = text_of(library, program, is_ptx and 'PTX' or 'CUBIN')
  if not code then error('NVRTC: it has compiled and gives no code', 0) end
  return code
end

--- Compiles a source.
---@param architecture string 'sm_90': a CUBIN; 'compute_90': PTX
---@return string? code
---@return string? log what is wrong with the source
function Compiler:compile(source, name, architecture, own_options)
  local library = self._library
  local texts = {}
  for i, header in ipairs(HEADERS) do
    texts[i] = header == PRELUDE_NAME and M.PRELUDE or ('#include "%s"\n'):format(PRELUDE_NAME)
  end
  local options = include_options()
  options[#options + 1] = '--gpu-architecture=' .. architecture
  options[#options + 1] = '--std=c++17'
  options[#options + 1] = '--pre-include=' .. PRELUDE_NAME
  for _, option in ipairs(own_options) do options[#options + 1] = option end
  local program = ffi.new 'void *[1]'
  check(library, library.nvrtcCreateProgram(program, source, name, #HEADERS, strings(texts), strings(HEADERS)),
    'making a program')
  local ok, code, log = pcall(compile, library, program[0], options, architecture:find '^compute_' ~= nil)
  library.nvrtcDestroyProgram(program)
  if not ok then error(code, 0) end
  return code, log
end

return M
