local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int usleep(unsigned us);'
local farside = require 'farside'
local native = require 'farside.native'
local app = farside.deployment { name = 'deadlines' }
app.configure_autoscaling { max_workers = 1 }
local pid = app.remote { benchmark_dataset = { {} } } (function() return ffi.C.getpid() end)
local nap = app.remote(function(s) farside.sleep(s) return 'slept' end)
local spin = app.remote(function() local n = 0 while true do n = n + 1 end end)
local stubborn = app.remote(function() while true do pcall(function() while true do end end) end end)
local stuck = app.remote(function() return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40)) end)
local sleepy = app.remote { concurrency = 4 } (function(s) farside.sleep(s) return ffi.C.getpid() end)
local quick = app.remote { timeout = 0.1 } (function(s) farside.sleep(s) return 'in time' end)
]]

local function run(text)
  return host.run(host.script('one.lua', kHead .. 'farside.run(function()\n' .. text .. '\nend)'))
end

local function prints(expected, text)
  local process = run(text)
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('at its deadline', function()
  after_each(host.clean)

  it('a call has its error, not later', function()
    prints('DeadlineExceeded\tyes\trun\ttrue\n', [[
      pid()
      local before = native.now()
      local ok, e = pcall(nap:with { timeout = 0.2 }, 5)
      local took = native.now() - before
      print(e.name, e.executed, e.phase, took >= 0.2 and took < 0.25)
    ]])
  end)

  it('a function that waits in sleep is ended there and its worker stays', function()
    prints('true\n', [[
      local before = pid()
      pcall(nap:with { timeout = 0.1 }, 5)
      print(pid() == before)
    ]])
  end)

  it('W3: a running loop is interrupted and the worker replaced within the grace', function()
    prints('DeadlineExceeded\tyes\ttrue\ttrue\n', [[
      local before = pid()
      local ok, e = pcall(spin:with { timeout = 0.1 })
      local start = native.now()
      local after = pid()
      print(e.name, e.executed, after ~= before, native.now() - start < 1)
    ]])
  end)

  it('a function that swallows the interruption is interrupted all the same', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', [[
      local before = pid()
      local ok, e = pcall(stubborn:with { timeout = 0.1 })
      local start = native.now()
      print(e.name, pid() ~= before, native.now() - start < 1)
    ]])
  end)

  it('W4: a function that is stuck in C is killed after the grace of two seconds', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', [[
      local before = pid()
      local ok, e = pcall(stuck:with { timeout = 0.1 })
      local start = native.now()
      local after = pid()
      local took = native.now() - start
      print(e.name, after ~= before, took > 1.5 and took < 3)
    ]])
  end)

  it('a call that waits in the queue has not run', function()
    prints('DeadlineExceeded\tno\tqueue\n', [[
      pid()
      local first = nap:spawn(0.5)
      local ok, e = pcall(nap:with { timeout = 0.1 }, 0)
      print(e.name, e.executed, e.phase)
      first:await()
    ]])
  end)

  it('only the suspended call that is late ends, not its neighbours on the worker', function()
    prints('DeadlineExceeded\ttrue\n', [[
      local before = pid()
      local long, late = sleepy:spawn(0.4), sleepy:with { timeout = 0.1 }:spawn(5)
      local ok, e = pcall(late.await, late)
      print(e.name, long:await() == before)
    ]])
  end)

  it('the timeout of the function counts where the call gives none, and the call wins where it does', function()
    prints('DeadlineExceeded\tin time\n', [[
      pid()
      local ok, e = pcall(quick, 1)
      print(e.name, quick:with { timeout = 2 }(0.2))
    ]])
  end)

  it('C9: a timeout of zero or less is refused without sending', function()
    prints('DeadlineExceeded\tno\tsdk\n', [[
      pid()
      local ok, e = pcall(nap:with { timeout = 0 }, 0)
      print(e.name, e.executed, e.phase)
    ]])
  end)

  it('C11: a wait for a worker that never becomes ready says so', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'slow' }
      local Slow = {}
      Slow.__index = Slow
      function Slow:enter() farside.sleep(60) end
      app.context()(Slow)
      local f = app.remote { benchmark_dataset = { {} } } (function() end)
      farside.run(function()
        local ok, e = pcall(f:with { timeout = 0.3 })
        print(e.name, e.executed, e.state, e:is 'Unavailable')
      end)
    ]]))
    assert.same({ 'NotReady\tno\tstarting\ttrue\n', 0 }, { process.out, process.code }, process.err)
  end)

  it('await with a timeout gives up waiting, and the call goes on', function()
    prints('DeadlineExceeded\tslept\n', [[
      pid()
      local future = nap:spawn(0.3)
      local ok, e = pcall(future.await, future, 0.05)
      print(e.name, future:await())
    ]])
  end)
end)
