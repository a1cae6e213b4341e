local host = require 'spec.support.host'

-- A deployment in which something goes on at every instant: a context that takes time, a benchmark, calls, an exit that takes time.
local kClient = [[
local ffi = require 'ffi'
ffi.cdef 'int usleep(unsigned us);'
local farside = require 'farside'
local app = farside.deployment { name = 'end' }
app.configure_autoscaling { max_workers = 2 }
local Model = {}
Model.__index = Model
function Model:enter() farside.sleep(0.05) return self end
function Model:exit() farside.sleep(0.05) end
app.context()(Model)
local f = app.remote { benchmark_dataset = { { s = 0 } } } (function(s) ffi.C.usleep(s * 1e6) return s end)
farside.run(function()
  io.write('started\n') io.flush()
  f(0)
  io.write('ready\n') io.flush()
  for _ = 1, tonumber(arg[1]) do f(0.02) end
end)
]]

local function processes_of(pid)
  local list = host.workers(pid)
  list[#list + 1] = pid
  return list
end

local function all_gone(pids)
  for _, pid in ipairs(pids) do
    if host.alive(pid) then return false end
  end
  return true
end

-- What lies in the folder where served routers have their sockets.
local function socket_files(folder)
  local pipe = io.popen(("find '%s' -type s"):format(folder))
  local text = pipe:read '*a'
  pipe:close()
  return text
end

describe('however a client ends', function()
  after_each(host.clean)

  it('C1: no process is left after two seconds: ten are killed at ten instants', function()
    local script, folder = host.script('client.lua', kClient), host.folder()
    local seed = os.time()
    math.randomseed(seed)
    for i = 1, 10 do
      local process = host.start(script, { args = { i % 2 == 0 and '5' or '1000' }, env = { XDG_RUNTIME_DIR = folder } })
      local wait = i <= 3 and 0 or i <= 6 and math.random() * 0.25 or nil
      if wait then
        process:wait_for 'started'
        host.pause(wait)
      else
        process:wait_for 'ready'
        host.pause(math.random() * 0.3)
      end
      if not process:_reap(1) then
        local pids = processes_of(process.pid)
        process:kill(i % 3 == 0 and 15 or 9)
        host.eventually(function() return all_gone(pids) end, 2, ('client %d of seed %d leaves no process'):format(i, seed))
      end
    end
    assert.equal('', socket_files(folder))
  end)

  it('contexts exit when it ends in order, and no process is left when it has', function()
    local script = host.script('client.lua', kClient:gsub("farside.sleep%(0.05%) end\napp", "io.stderr:write('left\\n') end\napp"))
    local process = host.start(script, { args = { '1' } })
    process:wait_for 'ready'
    local pids = host.workers(process.pid)
    process:wait(10)
    assert.equal(0, process.code)
    assert.truthy(all_gone(pids))
    assert.equal(#pids, select(2, process.err:gsub('left\n', '')))
  end)

  it('C13: os.exit in the middle of calls leaves nothing either', function()
    local script = host.script('client.lua', kClient:gsub("for _ = 1.*", "f:spawn(5) os.exit(3) end)"))
    local process = host.start(script, { args = { '1' } })
    process:wait_for 'ready'
    local pids = host.workers(process.pid)
    process:wait(10)
    assert.equal(3, process.code)
    host.eventually(function() return all_gone(pids) end, 2, 'no worker is left')
  end)

  it('an interrupt in the middle of a call ends in one message and leaves no process', function()
    local script = host.script('client.lua', kClient:gsub("f%(0.02%)", "f(5)"))
    local process = host.start(script, { args = { '1' } })
    process:wait_for 'ready'
    local pids = host.workers(process.pid)
    host.pause(0.1)
    process:kill(2)
    process:wait(10)
    assert.truthy(process.err:match 'interrupted', process.err)
    assert.is_nil(process.err:match 'interrupted.*interrupted')
    assert.truthy(process.code == 130 or process.signal == 2, tostring(process.code))
    host.eventually(function() return all_gone(pids) end, 2, 'no worker is left')
  end)
end)
