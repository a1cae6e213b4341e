--- Loaded by busted before the specs: after each spec file no process that it started may be left.
-- A process that is on its way out has as long as Farside promises for its own: two seconds.
local busted = require 'busted'
local system = require 'system'
local processes = require 'spec.support.processes'

local GRACE_S = 2
local PAUSE_S = 0.01

local mark = os.getenv('FARSIDE_SPEC_RUN')

local function leftovers()
  local deadline = system.monotime() + GRACE_S
  local found = processes.of_run(mark)
  while #found > 0 and system.monotime() < deadline do
    system.sleep(PAUSE_S)
    found = processes.of_run(mark)
  end
  return found
end

busted.subscribe({ 'file', 'end' }, function(file)
  local lines = {}
  for _, process in ipairs(leftovers()) do
    lines[#lines + 1] = ('%d: %s'):format(process.pid, process.command)
    processes.kill(process.pid)
  end
  if #lines > 0 then
    error(('%s: processes are left over:\n%s'):format(file.name, table.concat(lines, '\n')), 0)
  end
  return nil, true
end)
