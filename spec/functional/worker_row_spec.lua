-- What becomes of workers whose user code, or somebody else, does them harm.
local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us); void abort(void); int setrlimit(int, const uint64_t *); void *signal(int, void *);'
local farside = require 'farside'
local native = require 'farside.native'
local app = farside.deployment { name = 'rows' }
app.configure_autoscaling { max_workers = 1 }
local function alive(pid) return ffi.C.kill(pid, 0) == 0 end
]]

local function run(text)
  return host.run(host.script('one.lua', kHead .. text), { seconds = 30 })
end

local function prints(expected, text)
  local process = run(text)
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
  return process
end

describe('workers', function()
  after_each(host.clean)

  it('W2: that crash or abort in C end their call in WorkerLost with the signal, and are replaced', function()
    prints('WorkerLost\tsignal\t11\tmaybe\nWorkerLost\tsignal\t6\tmaybe\ntrue\n', [[
      local f = app.remote { benchmark_dataset = { { how = 'well' } } } (function(how)
        ffi.C.setrlimit(4, ffi.new('uint64_t[2]'))  -- no core
        ffi.C.signal(11, nil)  -- a sanitizer would take it for a report
        if how == 'crash' then ffi.cast('int *', 8)[0] = 1 end
        if how == 'abort' then ffi.C.abort() end
        return ffi.C.getpid()
      end)
      farside.run(function()
        local first = f('well')
        for _, how in ipairs { 'crash', 'abort' } do
          local ok, e = pcall(f, how)
          print(e.name, e.reason, e.signal, e.executed)
        end
        print(f('well') ~= first)
      end)
    ]])
  end)

  it('W5: that are stopped for long are given up, and what they do later counts for nothing', function()
    prints('WorkerLost\theartbeat\tmaybe\ttrue\ttrue\tfalse\n', [[
      local f = app.remote { benchmark_dataset = { { us = 0 } } } (function(us) ffi.C.usleep(us) return ffi.C.getpid() end)
      farside.run(function()
        local pid = f(0)
        local future = f:spawn(200000)
        farside.sleep(0.05)
        ffi.C.kill(pid, 19)
        local start = native.now()
        local ok, e = pcall(future.await, future)
        local took = native.now() - start
        ffi.C.kill(pid, 18)
        print(e.name, e.reason, e.executed, took > 2 and took < 6, f(0) ~= pid, alive(pid))
      end)
    ]])
  end)

  it('W10: whose context does not exit are killed when their time is over', function()
    local process = run [[
      local Stuck = {}
      Stuck.__index = Stuck
      function Stuck:enter() end
      function Stuck:exit() io.stderr:write('exits as ' .. ffi.C.getpid() .. '\n') while true do ffi.C.usleep(1000) end end
      app.context()(Stuck)
      local f = app.remote { benchmark_dataset = { {} } } (function() return ffi.C.getpid() end)
      farside.run(function() print(f()) end)
    ]]
    local pid = tonumber(process.out)
    assert.truthy(process.err:find('exits as ' .. pid, 1, true), process.err)
    assert.falsy(io.open('/proc/' .. pid .. '/stat'))
  end)

  it('W19: take the processes they have started with them', function()
    prints('true\ttrue\tfalse\n', [[
      local f = app.remote { benchmark_dataset = { { go = false } } } (function(go)
        if not go then return ffi.C.getpid() end
        local pipe = io.popen('sleep 1000 >/dev/null & echo $!')
        return tonumber(pipe:read('*l'))
      end)
      farside.run(function()
        local pid, child = f(false), f(true)
        local was = alive(child)
        ffi.C.kill(pid, 9)
        local other = f(false) ~= pid
        local start = native.now()
        local function runs()
          local stat = io.open('/proc/' .. child .. '/stat')
          return stat ~= nil and not stat:read('*a'):find(') Z', 1, true)
        end
        while runs() and native.now() < start + 5 do farside.sleep(0.01) end
        print(was, other, runs())
      end)
    ]])
  end)

  it('W20: that flood their output are not held up by it, and lines are dropped with a word', function()
    local process = prints('true\n', [[
      local f = app.remote { benchmark_dataset = { { lines = 0 } } } (function(lines)
        local line = ('x'):rep(99) .. '\n'
        for _ = 1, lines do io.write(line) end
        return 'written'
      end)
      farside.run(function()
        f(0)
        local start = native.now()
        print(f(200000) == 'written' and native.now() - start < 10)
      end)
    ]])
    assert.truthy(process.err:find('dropped'), process.err:sub(-300))
  end)
end)
