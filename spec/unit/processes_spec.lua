local processes = require 'spec.support.processes'

local MARK = 'processes_spec'

-- Starts a process whose parent ends at once; gives its process id.
local function start_orphan(environment)
  local pipe = io.popen(environment .. ' setsid sleep 60 >/dev/null & echo $!')
  local pid = tonumber(pipe:read('*l'))
  pipe:close()
  finally(function() processes.kill(pid) end)
  return pid
end

local function commands_by_pid(mark)
  local commands = {}
  for _, process in ipairs(processes.of_run(mark)) do
    commands[process.pid] = process.command
  end
  return commands
end

-- Looks until the process is known by the mark as what it is: it has it only from its last exec.
local function wait_for(pid, mark)
  local deadline = os.time() + 5
  repeat
    local command = commands_by_pid(mark)[pid]
  until command == 'sleep 60' or os.time() > deadline
  return commands_by_pid(mark)[pid]
end

describe('the processes of a run', function()
  it('are known by their mark when their parent is gone', function()
    local pid = start_orphan('env -i FARSIDE_SPEC_RUN=' .. MARK)
    assert.equal('sleep 60', wait_for(pid, MARK))
  end)

  it('are known as children without a mark', function()
    local pipe = io.popen('exec env -i sleep 60')
    local found
    repeat
      found = processes.of_run(nil)
    until #found == 1 and found[1].command == 'sleep 60'
    processes.kill(found[1].pid)
    pipe:close()
  end)

  it('do not include those with another mark', function()
    local pid = start_orphan('env -i FARSIDE_SPEC_RUN=' .. MARK .. '2')
    wait_for(pid, MARK .. '2')
    assert.is_nil(commands_by_pid(MARK)[pid])
  end)

  it('do not include this process', function()
    assert.is_nil(commands_by_pid(os.getenv('FARSIDE_SPEC_RUN'))[processes.self()])
  end)

  it('do not include one that has ended', function()
    local pid = start_orphan('env -i FARSIDE_SPEC_RUN=' .. MARK)
    wait_for(pid, MARK)
    processes.kill(pid)
    local deadline = os.time() + 5
    while commands_by_pid(MARK)[pid] and os.time() < deadline do end
    assert.is_nil(commands_by_pid(MARK)[pid])
  end)
end)
