--- Devices of this machine, and what tensors do not need but those who write for devices do. Without a GPU all of it works on
-- the processor, for development.
--
--     local cuda = require 'farside.cuda'
--     for _, gpu in ipairs(cuda.devices()) do print(gpu.device, gpu.name, gpu.memory, gpu.compute) end
local Event = require 'farside.cuda.event'
local Graph = require 'farside.cuda.graph'
local Stream = require 'farside.cuda.stream'
local backends = require 'farside.tensor.backend'
local devices = require 'farside.cuda.device'
local misuse = require 'farside.tensor.misuse'
local modules = require 'farside.cuda.module'
local wait = require 'farside.cuda.wait'

local M = {
  devices = devices.list,
  device = devices.describe,
  memory = devices.memory,
  stream = Stream.new,
  event = Event.new,
  module = modules.new,
  graph = Graph.new,
}

--- Waits until all that was put on the streams of a device so far is done: of all devices in use unless one is named. Other
-- calls of this worker go on meanwhile.
function M.synchronize(device)
  if device == nil then return wait.all() end
  local name, problem = backends.device(device)
  if not name then misuse('cuda.synchronize: %s', problem) end
  backends.of(name):settle_all(wait.stream)
end

return M
