local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); void _exit(int code); int usleep(unsigned us);'
local farside = require 'farside'
local native = require 'farside.native'
]]

local function start(text, options)
  return host.start(host.script('one.lua', kHead .. text), options)
end

local function run(text, options)
  local process = start(text, options)
  process:wait(20)
  return process
end

describe('workers', function()
  after_each(host.clean)

  it('are processes of their own and run two slow calls at the same time', function()
    local process = run [[
      local app = farside.deployment { name = 'overlap' }
      app.configure_autoscaling { max_workers = 2 }
      local nap = app.remote { benchmark_dataset = { { s = 0 } } } (function(s)
        local from = native.now()
        ffi.C.usleep(s * 1e6)
        return ffi.C.getpid(), from, native.now()
      end)
      farside.run(function()
        app.ensure_ready()
        while app.status().workers[2].state ~= 'ready' do farside.sleep(0.01) end
        local a, b = nap:spawn(0.2), nap:spawn(0.2)
        local pid1, from1, to1 = a:await()
        local pid2, from2, to2 = b:await()
        print(pid1 ~= pid2, pid1 ~= ffi.C.getpid(), from1 < to2 and from2 < to1)
      end)
    ]]
    assert.same({ 'true\ttrue\ttrue\n', 0 }, { process.out, process.code })
  end)

  it('are started in the number that was asked for, at most one a usable core', function()
    local process = run [[
      local app = farside.deployment { name = 'number' }
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { x = 1 } } } (function(x) return x end)
      farside.run(function() f(1) print(#app.status().workers) end)
    ]]
    assert.equal('1\n', process.out)
  end)

  it('W1: that die in a call end it within 50 ms in WorkerLost, with the signal, and are replaced', function()
    local process = run [[
      local app = farside.deployment { name = 'death' }
      app.configure_autoscaling { max_workers = 1 }
      local die = app.remote { benchmark_dataset = { { signal = 0 } } } (function(signal)
        if signal == 0 then return ffi.C.getpid() end
        if signal < 0 then ffi.C._exit(-signal) end
        ffi.C.kill(ffi.C.getpid(), signal)
        ffi.C.usleep(1e6)
      end)
      farside.run(function()
        local first = die(0)
        local before = native.now()
        local ok, e = pcall(die, 9)
        print(ok, e.name, e.reason, e.signal, e.executed, native.now() - before < 0.05)
        local second = die(0)
        local ok, e = pcall(die, -7)
        print(ok, e.name, e.reason, e.exit_code, e.executed)
        print(first ~= second, die(0) ~= second)
      end)
    ]]
    assert.equal('false\tWorkerLost\tsignal\t9\tmaybe\ttrue\nfalse\tWorkerLost\texit\t7\tmaybe\ntrue\ttrue\n', process.out)
    assert.equal(0, process.code)
  end)

  it('that die before they had entered a call give it to another one', function()
    local process = run [[
      local app = farside.deployment { name = 'again' }
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { x = 0 } } } (function(x)
        if x == 1 then ffi.C.usleep(300000) end
        return ffi.C.getpid()
      end)
      farside.run(function()
        local pid = f(0)
        ffi.C.kill(pid, 19) -- it stops; the call lies in its socket
        local future = f:spawn(0)
        farside.sleep(0.1)
        ffi.C.kill(pid, 9)
        print(future:await() ~= pid)
      end)
    ]]
    assert.equal('true\n', process.out)
  end)

  it('W17: that die of an idempotent call try it three times, and refuse it then', function()
    local ledger_path = host.folder() .. '/ledger'
    local process = run([[
      package.path = ']] .. host.source .. [[/?.lua;' .. package.path
      local ledger = require('spec.support.ledger').open(']] .. ledger_path .. [[')
      local app = farside.deployment { name = 'idempotent' }
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { x = 0 } }, idempotent = true } (function(x)
        if x == 0 then return end
        ledger:add(1)
        ffi.C.kill(ffi.C.getpid(), 9)
        ffi.C.usleep(1e6)
      end)
      farside.run(function()
        local ok, e = pcall(f, 1)
        print(e.name, e.executed, ledger:count(1), e.attempt, #e.attempts, e.attempts[3].outcome)
        local ok, e = pcall(f, 1)
        print(e.name, e.executed, ledger:count(1), e['until'] > 590, #e.fingerprint)
        print(pcall(f, 0))
      end)
    ]])
    assert.equal('PoisonCall\tmaybe\t3\t3\t3\tsignal 9\nPoisonCall\tno\t3\ttrue\t16\ntrue\n', process.out)
  end)

  it('W17: that die of calls with the same arguments, each made once, are spared the next ones', function()
    local process = run [[
      local app = farside.deployment { name = 'poison' }
      local f = app.remote { benchmark_dataset = { { x = 0 } } } (function(x)
        if x == 1 then ffi.C._exit(3) end
        return x
      end)
      farside.run(function()
        for i = 1, 5 do
          local ok, e = pcall(f, 1)
          print(e.name, e.executed)
        end
        print(f(2))
      end)
    ]]
    assert.equal(('WorkerLost\tmaybe\n'):rep(2) .. 'PoisonCall\tmaybe\n' .. ('PoisonCall\tno\n'):rep(2) .. '2\n', process.out)
  end)

  it('whose function raises an error it lists in retry_on are asked again', function()
    local ledger_path = host.folder() .. '/ledger'
    local process = run([[
      package.path = ']] .. host.source .. [[/?.lua;' .. package.path
      local ledger = require('spec.support.ledger').open(']] .. ledger_path .. [[')
      local app = farside.deployment { name = 'again' }
      local Busy = app.class('Busy', {})
      local f = app.remote { benchmark_dataset = { { id = 0, failures = 1 } }, benchmark_runs = 1, idempotent = true, retry_on = { 'Busy' } } (function(id, failures)
        if id == 0 then return end
        ledger:add(id)
        if ledger:count(id) <= failures then error(setmetatable({}, Busy)) end
        return farside.call().attempt
      end)
      farside.run(function()
        print(f(1, 0), f(2, 1), f(3, 2))
        local ok, e = pcall(f, 4, 3)
        print(ok, e:is('Busy'), e.executed, ledger:count(4))
      end)
    ]])
    assert.equal('1\t2\t3\nfalse\ttrue\tyes\t3\n', process.out, process.err)
  end)

  it('W11: that cannot become ready fail the deployment with the cause', function()
    local process = run [[
      local app = farside.deployment { name = 'loop' }
      local f = app.remote { benchmark_dataset = { { x = 0 } } } (function(x) ffi.C._exit(3) end)
      local ok, e = pcall(f, 1)
      print(ok, e.name, e.executed, e.cause and e.cause.name, e.cause and e.cause.exit_code)
      local before = native.now()
      local ok, e = pcall(f, 1)
      print(e.name, native.now() - before < 0.1)
      print(app.status().state)
    ]]
    assert.equal('false\tDeploymentFailed\tno\tWorkerLost\t3\nDeploymentFailed\ttrue\nfailed\n', process.out)
    assert.equal(0, process.code)
  end)

  it('are ready only after their contexts were entered and the benchmark has run', function()
    local process = run [[
      local app = farside.deployment { name = 'order' }
      app.configure_autoscaling { max_workers = 1 }
      local events = {}
      local Model = {}
      Model.__index = Model
      function Model:enter(name) farside.sleep(0.05) events[#events + 1] = 'entered ' .. name return self end
      function Model:exit() io.stderr:write('context left\n') end
      app.context('m1')(Model)
      local f = app.remote { benchmark_dataset = { { x = 0 } }, benchmark_runs = 2 } (function(x)
        assert(app.get_context(Model))
        if x == 0 then events[#events + 1] = 'benchmark' end
        return table.concat(events, ','):match '^[^,]*,[^,]*'
      end)
      farside.run(function() print(f(1)) end)
    ]]
    assert.equal('entered m1,benchmark\n', process.out)
    assert.truthy(process.err:match '%[order w0%] context left\n', process.err)
  end)

  it('print to the stderr of the client, each line under the name of its worker', function()
    local process = run [[
      local app = farside.deployment { name = 'talk' }
      app.configure_autoscaling { max_workers = 1 }
      local say = app.remote { benchmark_dataset = { { x = 0 } } } (function(x)
        if x == 1 then print 'to stdout' io.stderr:write 'to stderr\n' io.write 'no newline' end
      end)
      farside.run(function() say(1) end)
    ]]
    assert.equal('', process.out)
    assert.truthy(process.err:find('[talk w0] to stdout\n', 1, true), process.err)
    assert.truthy(process.err:find('[talk w0] to stderr\n', 1, true), process.err)
    assert.truthy(process.err:find('[talk w0] no newline', 1, true), process.err)
  end)

  it('W18: refuse os.exit', function()
    local process = run [[
      local app = farside.deployment { name = 'exit' }
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { x = 0 } } } (function(x) if x == 1 then os.exit(0) end return 'alive' end)
      farside.run(function()
        local ok, e = pcall(f, 1)
        print(e.name, e.executed, f(0))
      end)
    ]]
    assert.equal('RemoteError\tyes\talive\n', process.out)
  end)
end)

describe('a client that computes for long between spawn and await', function()
  after_each(host.clean)

  it('finds that all calls ran, a killed worker was replaced, and a talkative one was not blocked', function()
    local process = run([[
      local app = farside.deployment { name = 'busy' }
      app.configure_autoscaling { max_workers = 2 }
      local f = app.remote { benchmark_dataset = { { i = 0 } } } (function(i)
        if i == 1 then io.write(('x'):rep(63) .. '\n') for _ = 1, 16383 do io.write(('x'):rep(63) .. '\n') end end
        return ffi.C.getpid(), native.now()
      end)
      farside.run(function()
        app.ensure_ready()
        while app.status().workers[2].state ~= 'ready' do farside.sleep(0.01) end
        local victim = app.status().workers[2].pid
        local starts = app.status().workers[1].starts + app.status().workers[2].starts
        local futures = {}
        for i = 1, 100 do futures[i] = f:spawn(i) end
        local start, killed = native.now(), false
        local finish = start + 10

        local n = 0
        while native.now() < finish do
          n = n + 1
          if not killed and native.now() > start + 1 then killed = true ffi.C.kill(victim, 9) end
        end
        local late, lost = 0, 0
        for i = 1, 100 do
          local ok, pid, at = pcall(futures[i].await, futures[i])
          if not ok then lost = lost + 1 elseif at > finish - 1 then late = late + 1 end
        end
        local workers = app.status().workers
        print(lost, late, workers[2].state, workers[2].pid ~= victim, workers[1].starts + workers[2].starts - starts)
      end)
    ]])
    assert.equal('0\t0\tready\ttrue\t1\n', process.out)
    assert.equal(0, process.code)
  end)
end)
