--- The parameters of app.configure_autoscaling: their ranges and what they are when nobody sets them.
local check = require 'farside.check'
local native = require 'farside.native'

local M = {}

local MAX_WORKERS = 1024

M.OPTIONS = {
  max_workers = check.integer(1, MAX_WORKERS),
  min_load = check.number(0),
  target_util = check.number(0, 1, true),
  cold_workers = check.integer(0, MAX_WORKERS),
  min_cold_load = check.number(0),
  cold_mult = check.number(1),
  max_queue_time = check.number(0, nil, true),
  target_queue_time = check.number(0, nil, true),
  inactivity_timeout = check.number(),
}

--- The defaults of local workers; without inactivity_timeout it is not applied.
function M.defaults()
  return {
    max_workers = 16,
    min_load = 1,
    target_util = 0.9,
    cold_workers = 0,
    min_cold_load = 0,
    cold_mult = 2.5,
    max_queue_time = 30,
    target_queue_time = 10,
  }
end

--- Merges options into a set of parameters, all or none of them.
---@return string? problem
function M.merge(parameters, options)
  local problem = check.options('app.configure_autoscaling', options, M.OPTIONS)
  if problem then return problem end
  local cold = options.cold_workers or parameters.cold_workers
  local most = options.max_workers or parameters.max_workers
  if cold > most then
    return ('app.configure_autoscaling: cold_workers: expected at most max_workers (%d), got %d'):format(most, cold)
  end
  for name, value in pairs(options) do parameters[name] = value end
  return nil
end

--- Whether options of app.configure_autoscaling say that the load decides how many workers there are: a limit does not.
function M.follows_load(options)
  for name in pairs(options) do
    if name ~= 'max_workers' then return true end
  end
  return false
end

--- At most so many workers stand on this machine: one on each GPU, or on each core where there are none. Who sets
--- max_workers may have more than one on a GPU.
local function most_workers(parameters, is_set)
  local devices, cores = native.usable_devices(), native.usable_cores()
  local room = devices == 0 and cores or is_set and math.max(devices, cores) or devices
  return math.min(parameters.max_workers, room)
end

--- What a router is told: how many workers, and what decides their number, nil if they are as many all the time.
---@param follows boolean the load decides
---@param is_set boolean somebody has set max_workers
function M.plan(parameters, follows, is_set)
  local most = most_workers(parameters, is_set)
  if not follows then return most, nil end
  local plan = {}
  for name, value in pairs(parameters) do plan[name] = value end
  plan.max_workers = most
  plan.cold_workers = math.min(parameters.cold_workers, most)
  plan.start_burst = most  -- a process costs nothing by itself
  return most, plan
end

return M
