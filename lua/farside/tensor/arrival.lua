--- Brings the tensors among a function's arguments to a device: what `device = true` of app.remote stands for.
local Tensor = require 'farside.tensor.class'
local backends = require 'farside.tensor.backend'

local M = {}

--- A table like this one, of the same class.
local function copy_of(value)
  local copy = {}
  for key, field in next, value do copy[key] = field end
  debug.setmetatable(copy, debug.getmetatable(value))
  return copy
end

--- The value with its tensors on the device. A table that holds one at any depth is copied, for it may be the caller's own;
-- all others stay as they are. `seen`: what has become of the tables met so far, so that a ring of them has an end.
local function moved(value, device, seen)
  if type(value) ~= 'table' then return value end
  if Tensor.is(value) then return value:to(device) end
  if seen[value] then return seen[value] end
  seen[value] = value
  local copy
  for key, field in next, value do
    local there = type(field) == 'table' and moved(field, device, seen) or field
    if not rawequal(there, field) then
      copy = copy or copy_of(value)
      seen[value] = copy
      rawset(copy, key, there)
    end
  end
  return copy or value
end

--- The arguments with their tensors on a device, in tables too.
---@param device string in full: 'cpu' or 'cuda:0'
function M.move(device, ...)
  local values, count, seen = { ... }, select('#', ...), {}
  for i = 1, count do values[i] = moved(values[i], device, seen) end
  return unpack(values, 1, count)
end

--- The function for arguments that are anywhere.
---@param device string|true true: the device of this process
function M.bring(func, device)
  local name = device ~= true and backends.device(device)
  return function(...)
    return func(M.move(name or backends.preferred(), ...))
  end
end

return M
