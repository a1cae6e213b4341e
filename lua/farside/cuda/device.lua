--- The devices of this machine, as users see them.
local backends = require 'farside.tensor.backend'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local misuse = require 'farside.tensor.misuse'

local M = {}

-- 12040 is 12.4, as CUDA has it.
local function version(number)
  if number == 0 then return nil end
  return ('%d.%d'):format(math.floor(number / 1000), math.floor(number % 1000 / 10))
end

local function describe(library, index, name)
  local properties = ffi.new 'struct device_properties'
  local status = library.device_describe(index, properties)
  if status ~= 0 then error(('%s: %s'):format(name, ffi.string(library.device_error_text(status))), 0) end
  return {
    device = name,
    name = ffi.string(properties.name),
    memory = tonumber(properties.memory),
    compute = properties.major > 0 and ('%d.%d'):format(properties.major, properties.minor) or nil,
    multiprocessors = properties.multiprocessors,
    driver = version(properties.driver_version),
    runtime = version(properties.runtime_version),
  }
end

--- The GPUs that this process may use, in the order of their numbers: { device = 'cuda:0', name =, memory = bytes in all,
-- compute = '9.0', multiprocessors =, driver = '12.4', runtime = '12.4' }. Without any an empty list, and why there are none.
---@return table devices
---@return string? reason
function M.list()
  local library, problem = libraries.open 'cuda'
  if not library then return {}, problem end
  local count = ffi.new 'int32_t[1]'
  library.device_count(count)
  if count[0] == 0 then
    local reason = library.device_last_reason()
    return {}, reason ~= 0 and ffi.string(library.device_error_text(reason)) or 'there is no GPU'
  end
  local devices = {}
  for i = 0, count[0] - 1 do devices[i + 1] = describe(library, i, 'cuda:' .. i) end
  return devices
end

--- One device by its name, also 'cpu': without compute, driver and runtime.
function M.describe(name)
  local device, problem = backends.device(name)
  if not device then misuse('cuda.device: %s', problem) end
  local backend = backends.of(device)
  return describe(backend.library, backend.index, device)
end

--- Bytes free and in all on a device, of the first GPU unless one is named.
function M.memory(name)
  local device, problem = backends.device(name or backends.preferred())
  if not device then misuse('cuda.memory: %s', problem) end
  local backend = backends.of(device)
  local free, total = ffi.new 'uint64_t[1]', ffi.new 'uint64_t[1]'
  backend:choose()
  backend:check(backend.library.device_memory(free, total), 'asking for its memory')
  return tonumber(free[0]), tonumber(total[0])
end

return M
