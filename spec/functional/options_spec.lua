-- What a call may be told with f:with{...}, and what a function knows of the call it runs for.
local host = require 'spec.support.host'

local function prints(expected, workers, functions, client)
  local process = host.run(host.script('one.lua', ([[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'
local farside = require 'farside'
local app = farside.deployment { name = 'options' }
app.configure_autoscaling { max_workers = %d }
local pid = app.remote { benchmark_dataset = { {} } } (function() return ffi.C.getpid() end)
local nap = app.remote(function(s) farside.sleep(s) return farside.now() end)
]]):format(workers) .. functions .. '\nfarside.run(function()\npid()\n' .. client .. '\nend)'))
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('a call with', function()
  after_each(host.clean)

  it('queue_timeout ends when it has waited so long, and may run longer than that', function()
    prints('DeadlineExceeded\tno\tqueue\ttrue\ttrue\n', 1, '', [[
      local first = nap:spawn(0.4)
      local before = farside.now()
      local ok, e = pcall(nap:with { queue_timeout = 0.1, timeout = 5 }, 0)
      local took = farside.now() - before
      first:await()
      print(e.name, e.executed, e.phase, took < 0.3, nap:with { queue_timeout = 0.1 } (0.2) > 0)
    ]])
  end)

  it('priority overtakes those that came before', function()
    prints('true\n', 1, '', [[
      local first = nap:spawn(0.2)
      local low, high = nap:spawn(0.01), nap:with { priority = 5 }:spawn(0.01)
      first:await()
      print(high:await() < low:await())
    ]])
  end)

  it('retries tries again when its worker dies, and the function knows the attempt', function()
    prints('WorkerLost\t2\n', 1, [[
      local die = app.remote(function(times)
        if farside.call().attempt <= times then
          ffi.C.kill(ffi.C.getpid(), 9)
          ffi.C.usleep(1e6)
        end
        return farside.call().attempt
      end)]], [[
      local ok, e = pcall(die, 1)
      print(e.name, die:with { retries = 1 } (1))
    ]])
  end)

  it('several options keeps them when more are added, and refuses unknown ones', function()
    prints('DeadlineExceeded\tfalse\ttrue\n', 1, '', [[
      local hurried = nap:with { timeout = 0.1 }:with { priority = 3 }
      local ok, e = pcall(hurried, 1)
      local refused, problem = pcall(nap.with, nap, { timeuot = 1 })
      print(e.name, refused, problem:match "did you mean 'timeout'" ~= nil)
    ]])
  end)
end)

describe('a remote function', function()
  after_each(host.clean)

  it('knows the id, the attempt and the deadline of its call; a client has none', function()
    prints('nil\ttrue\t1\ttrue\n', 1, [[
      local who = app.remote(function() local c = farside.call() return c.id, c.attempt, c.deadline - farside.now() end)]], [[
      local id, attempt, left = who:with { timeout = 7 } ()
      print(farside.call(), #id == 32, attempt, left > 6 and left <= 7)
    ]])
  end)

  it('has the id that its error names as call_id', function()
    prints('true\ttrue\n', 1, "local fails = app.remote(function() error(farside.call().id, 0) end)", [[
      local ok, e = pcall(fails)
      local slow, late = pcall(nap:with { timeout = 0.05 }, 1)
      print(e.call_id == e.message, #late.call_id == 32 and late.call_id ~= e.call_id)
    ]])
  end)

  it('calls others, which get no more time than it has', function()
    prints('true\t49\n', 2, [[
      local square = app.remote(function(x) return x * x end)
      local left = app.remote(function() return farside.call().deadline - farside.now() end)
      local outer = app.remote(function(x) return left:with { timeout = 100 } (), square(x) end)]], [[
      local seconds, squared = outer:with { timeout = 3 } (7)
      print(seconds <= 3, squared)
    ]])
  end)

  it('takes the calls it made with it when it ends', function()
    prints('DeadlineExceeded\ttrue\n', 2, [[
      local outer = app.remote(function() return nap(30) end)]], [[
      local ok, e = pcall(outer:with { timeout = 0.2 })
      local a, b = nap:spawn(0.05), nap:spawn(0.05)
      local before = farside.now()
      a:await() b:await()
      print(e.name, farside.now() - before < 1)
    ]])
  end)

  it('stands behind the coroutines it starts: they know its call, and their calls end with it', function()
    prints('true\ttrue\nCancelled\ttrue\n', 2, [[
      local left = app.remote(function() return farside.call().deadline - farside.now() end)
      local outer = app.remote { concurrency = 8 } (function()
        local own, same = farside.call().id
        local seconds = farside.spawn(function()
          farside.sleep(0.01)
          same = farside.call().id == own
          return left:with { timeout = 100 } ()
        end):await()
        return same, seconds
      end)
      local waits = app.remote { concurrency = 8 } (function() farside.spawn(function() nap(30) end):await() end)]], [[
      local same, seconds = outer:with { timeout = 3 } ()
      print(same, seconds <= 3)
      local future = waits:spawn()
      farside.sleep(0.1)
      future:cancel()
      local ok, e = pcall(future.await, future)
      local before = farside.now()
      farside.all { nap:spawn(0), nap:spawn(0) }
      print(e.name, farside.now() - before < 1)
    ]])
  end)

  it('calls others below a callback of sort, where it cannot yield', function()
    prints('3\t2\t1\n', 2, [[
      local square = app.remote(function(x) return x * x end)
      local order = app.remote(function(list)
        table.sort(list, function(a, b) return square(a) > square(b) end)
        return unpack(list)
      end)]], 'print(order { 1, 3, 2 })')
  end)
end)
