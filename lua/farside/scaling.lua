--- The parameters of app.configure_autoscaling: their ranges and what they are when nobody sets them.
local check = require 'farside.check'

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

return M
