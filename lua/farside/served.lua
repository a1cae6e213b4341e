--- What a client asks the router that serves one of its deployments: how the workers there are.
local native = require 'farside.native'

local M = {}

local TIMEOUT = 1  -- seconds; a router that does not answer is not waited for

local operators = {}  -- address -> connection

local function request(address, name, options)
  local operator, err = operators[address], nil
  if not operator then
    operator, err = native.operator(address, TIMEOUT)
    operators[address] = operator
  end
  if not operator then return nil, err end
  local value
  value, err = operator:request(name, options, TIMEOUT)
  return value, err
end

--- A request by a connection that is kept; a router that was restarted is asked by a new one.
local function ask(address, name, options)
  local value, err = request(address, name, options)
  if value ~= nil then return value end
  if operators[address] then operators[address]:close() end
  operators[address] = nil
  if err and err.name == 'RouterLost' then value = request(address, name, options) end
  return value
end

--- The status of a deployment as its router sees it, or nil: it does not answer.
---@param address string "unix:PATH"
---@param name string
---@param tag string
function M.status(address, name, tag)
  local router = ask(address, 'status', {})
  for _, deployment in ipairs(router and router.deployments or {}) do
    if deployment.name == name and deployment.tag == tag then return deployment end
  end
  return nil
end

return M
