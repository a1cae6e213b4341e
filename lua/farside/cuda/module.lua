--- Users' own kernels: a source in CUDA C, and its kernels by their names.
--
--     local kernels = cuda.module [[
--     extern "C" __global__ void saxpy(float *y, float a, const float *x, int n) {
--       int i = blockIdx.x * blockDim.x + threadIdx.x;
--       if (i < n) y[i] = a * x[i] + y[i];
--     }]]
--     kernels.saxpy { grid = math.ceil(n / 256), block = 256 } (y, 2, x, n)
--
-- With a GPU it is compiled by NVRTC, without one by the system's C++ compiler: at the first launch, in a worker before the
-- contexts are entered. A client that loads the deploy script only reads the signatures.
local Arguments = require 'farside.cuda.arguments'
local Stream = require 'farside.cuda.stream'
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local diagnostics = require 'farside.cuda.diagnostics'
local ffi = require 'ffi'
local headers = require 'farside.cuda.headers'
local misuse = require 'farside.tensor.misuse'
local signatures = require 'farside.cuda.signature'
local storages = require 'farside.tensor.storage'

local M = {}

-- Of each module what it is made of: all of its own fields are kernels.
local made_of = setmetatable({}, { __mode = 'k' })
local waiting = {}  -- sources that were given while a worker loads its deploy script

local new_shape = ffi.typeof 'uint32_t[6]'

-- What stays loaded, by device and by all that it is made of: a module that is made in a function is loaded once, not again for each
-- call.
local loaded = setmetatable({}, { __mode = 'k' })

-- Compiling ------------------------------------------------------------------------------------------------------------

local function compiler_for(backend)
  local kind = ffi.string(backend.library.device_kind())
  return require(kind == 'cuda' and 'farside.cuda.gpu' or 'farside.cuda.processor')
end

local function check_parameters(what, kernels)
  for name, kernel in pairs(what.signature.by_name) do
    local sizes = kernels[name] and kernels[name].sizes
    if sizes and #sizes ~= #kernel.parameters then
      error(('%s: kernel %s has %d parameters to the compiler and %d as its text was read: %s'):format(what.name, name, #sizes,
        #kernel.parameters, kernel.text), 0)
    end
  end
end

local function load(what, backend)
  local of_device = loaded[backend] or {}
  loaded[backend] = of_device
  local text = table.concat({ what.name, what.source, headers.texts(what.source, what.options), unpack(what.options) }, '\0')
  of_device[text] = of_device[text] or compiler_for(backend).build(what, backend)
  return of_device[text]
end

--- The kernels of a source, compiled for a device once.
local function built(what, backend)
  local kernels = what.built[backend.name]
  if not kernels then
    kernels = load(what, backend)
    check_parameters(what, kernels)
    what.built[backend.name] = kernels
  end
  return kernels
end

--- Compiles the sources that the deploy script has given, for the worker's device. Raises what a compiler says.
function M.build_waiting()
  for _, what in ipairs(waiting) do built(what, backends.of(what.device or backends.preferred())) end
  waiting = {}
end

-- Launching ------------------------------------------------------------------------------------------------------------

local Launch = {}
Launch.__index = Launch

--- Where a launch runs: where its first tensor on a GPU is, else on the module's device or the one that is preferred.
local function device_of(what, count, ...)
  if what.device then return what.device end
  for i = 1, count do
    local value = (select(i, ...))
    if Tensor.is(value) and value.device ~= 'cpu' then return value.device end
  end
  return backends.preferred()
end

local function touch(stream, count, ...)
  for i = 1, count do
    local value = (select(i, ...))
    if Tensor.is(value) then
      storages.touch(value._storage, stream)
    elseif type(value) == 'cdata' then
      storages.keep(value)
    end
  end
end

--- The stream on which a launch is put: the one it names, else that of the coroutine.
local function enter(self, backend)
  local named = self.stream
  if not named then return backend:enter() end
  if named.device ~= backend.name then
    misuse('kernel %s: stream: expected one of %s, got one of %s', self.kernel.name, backend.name, named.device)
  end
  if storages.is_capturing() then
    misuse('kernel %s: stream: expected none while a graph is written down, which has one of its own', self.kernel.name)
  end
  local before = backend:stream()
  backend:use_stream(named._handle)
  local stream = backend:enter()
  backend:use_stream(before)
  return stream
end

function Launch:__call(...)
  local kernel, what, count = self.kernel, self.what, select('#', ...)
  local device = device_of(what, count, ...)
  local arguments = what.arguments[kernel.name]
  -- Mistakes are told before anything is compiled.
  local known = what.built[device]
  local compiled = known and known[kernel.name]
  arguments:put(device, compiled and compiled.sizes, count, ...)
  local backend = backends.of(device)
  if not compiled then
    compiled = built(what, backend)[kernel.name]
    if not compiled then
      misuse('kernel %s is not among what the compiler has made of %s: its line %d is left out by an #if', kernel.name, what.name,
        kernel.line)
    end
    arguments:put(device, compiled.sizes, count, ...)
  end
  local stream = enter(self, backend)
  local status = compiled:launch(self.shape, self.shared, stream, arguments.pointers)
  arguments:clear()
  touch(stream, count, ...)
  if status ~= 0 then backend:check(status, 'kernel ' .. kernel.name) end
end

-- The size of a launch -------------------------------------------------------------------------------------------------

local AXES = { 'x', 'y', 'z' }
local MOST_GRID, MOST_BLOCK = { 2147483647, 65535, 65535 }, { 1024, 1024, 64 }
local MOST_THREADS = 1024       -- of a block
local MOST_SHARED = 227 * 1024  -- bytes, of any GPU

local function size_problem(option, value, axis, most)
  if type(value) == 'number' and value % 1 == 0 and value >= 1 and value <= most then return nil end
  return ('%s%s: expected a whole number from 1 to %d, got %s'):format(option, axis and '.' .. AXES[axis] or '', most,
    check.describe(value))
end

--- Writes a grid or a block, a number or a list of up to three, to a shape.
local function put_size(shape, at, option, value, most)
  if type(value) ~= 'table' then
    shape[at], shape[at + 1], shape[at + 2] = 1, 1, 1
    local problem = size_problem(option, value, nil, most[1])
    if problem then return problem end
    shape[at] = value
    return nil
  end
  for key in pairs(value) do
    if key ~= 1 and key ~= 2 and key ~= 3 then
      return ('%s: expected a number or a list of up to three, {x, y, z}, got a key %s'):format(option, check.describe(key))
    end
  end
  for axis = 1, 3 do
    local size = value[axis] == nil and axis > 1 and 1 or value[axis]
    local problem = size_problem(option, size, axis, most[axis])
    if problem then return problem end
    shape[at + axis - 1] = size
  end
end

local function anything() end

local function a_stream(value)
  if not Stream.is(value) then return 'a stream of cuda.stream()' end
end

local RULES = { grid = anything, block = anything, shared = check.integer(0, MOST_SHARED), stream = a_stream }

local Kernel = {}
Kernel.__index = Kernel

--- kernels.saxpy { grid =, block =, shared = bytes, stream = }: what launches the kernel when it is called with arguments, as
-- often as one likes.
function Kernel:__call(options, ...)
  local name = 'kernel ' .. self.kernel.name
  if Tensor.is(options) or select('#', ...) > 0 then
    misuse('%s: expected its size before its arguments, { grid = 1, block = 256 } (...), got %s', name,
      Tensor.is(options) and 'a tensor' or ('%d arguments'):format(1 + select('#', ...)))
  end
  local problem = check.options(name, options, RULES)
  local shape = new_shape()
  if not problem then
    problem = put_size(shape, 0, 'grid', options.grid, MOST_GRID) or put_size(shape, 3, 'block', options.block, MOST_BLOCK)
    problem = problem and ('%s: %s'):format(name, problem)
  end
  if not problem and shape[3] * shape[4] * shape[5] > MOST_THREADS then
    problem = ('%s: block: expected at most %d threads, got %d'):format(name, MOST_THREADS, shape[3] * shape[4] * shape[5])
  end
  local array = self.kernel.array
  if not problem and array and options.shared == nil then
    problem = ('%s: shared: expected the bytes of %s %s[] (extern __shared__ in line %d of %s), or 0 for a launch that does not '
      .. 'use it, got nil'):format(name, array.type, array.name, array.line, self.what.name)
  end
  if problem then misuse('%s', problem) end
  return setmetatable({ kernel = self.kernel, what = self.what, shape = shape, shared = options.shared or 0,
    stream = options.stream }, Launch)
end

function Kernel:__tostring()
  return ('kernel %s%s'):format(self.kernel.name, self.kernel.text)
end

-- Modules --------------------------------------------------------------------------------------------------------------

local Module = {}

--- A kernel by its name.
function Module:__index(name)
  local what = made_of[self]
  local kernel = what.signature.by_name[name]
  if not kernel then
    misuse('%s: there is no kernel %s%s', what.name, type(name) == 'string' and "'" .. name .. "'" or check.describe(name),
      check.suggest(name, check.sorted_keys(what.signature.by_name)))
  end
  what.arguments[name] = what.arguments[name] or Arguments.new(kernel)
  return setmetatable({ kernel = kernel, what = what }, Kernel)
end

function Module:__newindex(name)
  misuse('%s: expected nothing to be written to, got the field %s', made_of[self].name, check.describe(name))
end

function Module:__tostring()
  local what = made_of[self]
  return ('kernels of %s: %s'):format(what.name, table.concat(check.sorted_keys(what.signature.by_name), ', '))
end

local function a_list_of_texts(value)
  if type(value) ~= 'table' then return "a list of options for the compiler, { '-DN=16' }" end
  local count = 0
  for key, option in pairs(value) do
    count = count + 1
    if type(key) ~= 'number' or type(option) ~= 'string' or option:sub(1, 1) ~= '-' or option:find '%z' then
      return "a list of options for the compiler, { '-DN=16' }"
    end
  end
  if count ~= #value then return 'a list without holes' end
end

local function a_device(value)
  if not backends.device(value) then return "a device ('cpu' or 'cuda:0')" end
end

local OPTIONS = { name = check.name, options = a_list_of_texts, device = a_device }

--- Whether this process is a worker that loads its deploy script.
local function is_loading()
  local deployment = package.loaded['farside.deployment']
  return type(deployment) == 'table' and deployment.phase == 'loading'
end

--- cuda.module(source, { name = 'saxpy.cu', options = { '-DN=16' }, device = 'cpu' }): the kernels of a source by their names.
-- `name` stands in messages; without `device` a launch runs where its tensors are.
-- Who gives the same source again gets what is loaded already, with its __device__ variables.
function M.new(source, options)
  if type(source) ~= 'string' then misuse('cuda.module: expected the source of kernels as text, got %s', check.describe(source)) end
  local problem = options ~= nil and check.options('cuda.module', options, OPTIONS)
  if problem then misuse('%s', problem) end
  if source:find '%z' then misuse 'cuda.module: expected text, got a zero byte in it' end
  options = options or {}
  local name = options.name or 'kernel.cu'
  local signature
  signature, problem = signatures.read(source)
  if not signature then misuse('%s: %s', name, problem) end
  local what = {
    name = name,
    source = source,
    signature = signature,
    options = { unpack(options.options or {}) },
    device = options.device and backends.device(options.device),
    origin = diagnostics.origin(2),
    built = {},      -- kernels by device
    arguments = {},  -- by kernel
  }
  if is_loading() then waiting[#waiting + 1] = what end
  local module = setmetatable({}, Module)
  made_of[module] = what
  return module
end

return M
