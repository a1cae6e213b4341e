--- Users' kernels on a GPU: compiled by NVRTC for the device at hand, loaded and launched by the driver.
local cache = require 'farside.cuda.cache'
local diagnostics = require 'farside.cuda.diagnostics'
local drivers = require 'farside.cuda.driver'
local ffi = require 'ffi'
local headers = require 'farside.cuda.headers'
local nvrtc = require 'farside.cuda.nvrtc'

local M = {}

local function describe(backend)
  local properties = ffi.new 'struct device_properties'
  backend:check(backend.library.device_describe(backend.index, properties), 'describing the device')
  return properties
end

--- What a source is compiled to, from the cache where it is there.
local function code_of(what, compiler, architecture)
  local extension = architecture:find '^sm_' and 'cubin' or 'ptx'
  local key = cache.key('nvrtc', compiler.version, architecture, nvrtc.PRELUDE, what.name, what.source,
    headers.texts(what.source, what.options), unpack(what.options))
  local function make()
    local kept = cache.get(key, extension)
    if kept then return kept end
    local code, log = compiler:compile(what.source, what.name, architecture, what.options)
    if not code then
      error(diagnostics.describe(what, ('NVRTC %s for %s'):format(compiler.version, architecture), log), 0)
    end
    cache.put(key, extension, code)
    return code
  end
  return cache.get(key, extension) or cache.alone(key, make)
end

--- Compiles a source and loads its kernels.
---@param what table { name =, source =, signature =, options = list, origin = }
---@param backend table the device on which its kernels are to run
---@return table kernels by name
function M.build(what, backend)
  backend:choose()
  local driver, problem = drivers.find()
  if not driver then error(('%s: the driver cannot be opened: %s'):format(what.name, problem), 0) end
  local compiler
  compiler, problem = nvrtc.find(math.floor(driver.version / 1000))
  if not compiler then
    error(('%s: kernels are compiled by NVRTC, which is not there: %s'):format(what.name, problem), 0)
  end
  local device = describe(backend)
  local architecture = compiler:architecture_for(device.major, device.minor)
  if not architecture then
    error(('%s: NVRTC %s does not compile for %s, of compute capability %d.%d'):format(what.name, compiler.version,
      ffi.string(device.name), device.major, device.minor), 0)
  end
  local module = driver:load(backend, code_of(what, compiler, architecture))
  local kernels = {}
  for name, kernel in pairs(what.signature.by_name) do
    kernels[name] = driver:kernel(backend, module, name, #kernel.parameters)
  end
  return kernels
end

return M
