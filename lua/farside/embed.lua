--- A deploy script for a program in C (farside.h): loads it and starts its workers.
local attributes = require 'farside.attributes'
local deployments = require 'farside.deployment'
local future = require 'farside.future'
require 'farside'

local M = {}

--- Runs a deploy script as the main file.
---@param path string
---@return userdata handle
---@return integer deployment its number
---@return string[] names of its functions, in the order of their numbers
function M.load(path)
  local chunk, problem = attributes.loadfile(path)
  if not chunk then error(problem, 0) end
  local returned = chunk()
  local found = deployments.of_file(path)
  if #found ~= 1 then error(('%s: expected one deployment, got %d'):format(path, #found), 0) end
  local deployment = found[1]
  deployment.returned = returned
  deployment:start()
  local names = {}
  for i, remote in ipairs(deployment.functions) do names[i] = remote.name end
  return future.handle(), deployment.number, names
end

return M
