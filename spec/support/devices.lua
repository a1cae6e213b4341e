--- A device that specs make up: the CPU library by another name. And how methods of tensors refuse what they cannot take.
local backends = require 'farside.tensor.backend'
local busted = require 'busted'
local libraries = require 'farside.cuda.library'
local luassert = require 'luassert'
local storages = require 'farside.tensor.storage'

local M = {}

--- Lets a name stand for a device while the specs of this block run.
function M.make_up(name)
  busted.setup(function() backends.put(name, assert(libraries.open 'cpu')) end)
  busted.teardown(function()
    collectgarbage()
    storages.forget(name)
    backends.put(name, nil)
  end)
  return name
end

--- A spec for each case { what it does, a function that raises, the text }; the error is at a line of a spec, none of Farside's.
function M.refuses(cases)
  for _, case in ipairs(cases) do
    busted.it(case[1] .. ', at the line that asked for it', function()
      local ok, problem = pcall(case[2])
      luassert.is_false(ok)
      local place, text = tostring(problem):match '^(%S+:%d+): (.*)$'
      luassert.equal(case[3], text or problem)
      luassert.truthy(place:find('^%.?/?spec/'), place)
    end)
  end
end

return M
