-- Short calls are given to workers before these have slots: what that must not change for anybody.
local host = require 'spec.support.host'

local HEAD = [[
  package.path = ']] .. host.source .. [[/?.lua;' .. package.path
  local ffi = require 'ffi'
  ffi.cdef 'int usleep(unsigned us);'
  local farside = require 'farside'
  local app = farside.deployment { name = 'ahead' }
]]

local function run(text, options)
  return host.run(host.script('one.lua', HEAD .. text), options)
end

describe('short calls that are handed ahead', function()
  after_each(host.clean)

  it('never run beside others, and are not entered twice, when some of them wait or block for long', function()
    local process = run([[
      local ledger = require('spec.support.ledger').open(']] .. host.folder() .. [[/ledger', 20001)
      app.configure_autoscaling { max_workers = 1 }
      local inside, most = 0, 0
      local f = app.remote { benchmark_dataset = { { id = 0 } } } (function(id)
        inside = inside + 1
        most = math.max(most, inside)
        ledger:add(id)
        if id % 1000 == 999 then farside.sleep(0.02) end
        if id % 1000 == 499 then ffi.C.usleep(20000) end
        inside = inside - 1
        return id, most
      end)
      farside.run(function()
        local last, wrong, beside = 0, 0, 0
        local function fly()
          while last < 20000 do
            last = last + 1
            local id = last
            local result, seen = f(id)
            if result ~= id or ledger:count(id) ~= 1 then wrong = wrong + 1 end
            beside = math.max(beside, seen)
          end
        end
        local futures = {}
        for i = 1, 64 do futures[i] = farside.spawn(fly) end
        farside.all(futures)
        print(last, wrong, beside)
      end)
    ]])
    assert.equal('20000\t0\t1\n', process.out, process.err)
  end)

  -- All that was in front of the long one has its answer, all behind it runs on the other worker.
  it('do not wait for a long one on their worker while another worker is free', function()
    local process = run [[
      app.configure_autoscaling { max_workers = 2 }
      local f = app.remote { benchmark_dataset = { {} } } (function(us) if us then ffi.C.usleep(us) end return us end)
      farside.run(function()
        app.ensure_ready()
        while app.status().ready < 2 do farside.sleep(0.01) end
        local function many(count)
          local futures = {}
          for i = 1, count do futures[i] = f:spawn() end
          return futures
        end
        for _ = 1, 20 do farside.all(many(64)) end
        local late, ended = f:spawn(3000000), 0
        local start = farside.now()
        local futures = many(64)
        for i = 1, 64 do futures[i]:await() ended = ended + 1 end
        print(ended, farside.now() - start < 1.5)
        late:await()
      end)
    ]]
    assert.equal('64\ttrue\n', process.out, process.err)
  end)

  it('are as fast beside long calls of another function as these let them be', function()
    local process = run [[
      app.configure_autoscaling { max_workers = 2 }
      local short = app.remote { benchmark_dataset = { {} } } (function() return 1 end)
      local long = app.remote { benchmark_dataset = { {} } } (function() ffi.C.usleep(50000) return 1 end)
      farside.run(function()
        app.ensure_ready()
        while app.status().ready < 2 do farside.sleep(0.01) end
        for _ = 1, 100 do short() end
        local times, over = {}, false
        local function flood()
          while not over do
            local start = farside.now()
            short()
            times[#times + 1] = farside.now() - start
          end
        end
        local function slow() for _ = 1, 10 do long() end end
        local futures = {}
        for i = 1, 8 do futures[i] = farside.spawn(flood) end
        slow()
        over = true
        farside.all(futures)
        table.sort(times)
        print(#times > 1000, times[math.ceil(#times * 0.99)] < 0.04)
      end)
    ]]
    assert.equal('true\ttrue\n', process.out, process.err)
  end)

  it('are said not to have been executed when they are cancelled in time, and are not', function()
    local process = run([[
      local ledger = require('spec.support.ledger').open(']] .. host.folder() .. [[/ledger', 20001)
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { id = 0 } } } (function(id) ledger:add(id) return id end)
      farside.run(function()
        for id = 1, 100 do f(id) end
        local no, untrue = 0, 0
        for round = 1, 100 do
          local futures = {}
          for i = 1, 32 do futures[i] = f:spawn(100 + 32 * round + i) end
          -- The last ones first: the worker has not come to them yet, however slow this process is.
          for i = 32, 2, -2 do futures[i]:cancel() end
          for i = 1, 32 do
            local ok, err = pcall(futures[i].await, futures[i])
            if not ok and err.executed == 'no' then
              no = no + 1
              untrue = untrue + ledger:count(100 + 32 * round + i)
            end
          end
        end
        print(no > 100, untrue)
      end)
    ]])
    assert.equal('true\t0\n', process.out, process.err)
  end)

  it('W1: lose nothing of those before it to one that ends their worker', function()
    local process = run([[
      ffi.cdef 'int getpid(void); int kill(int pid, int signal);'
      app.configure_autoscaling { max_workers = 1 }
      local f = app.remote { benchmark_dataset = { { id = 0 } } } (function(id)
        if id == 20 then ffi.C.kill(ffi.C.getpid(), 9) ffi.C.usleep(1e6) end
        return id
      end)
      farside.run(function()
        for round = 1, 10 do
          for i = 1, 200 do f(-i) end
          local futures, ok, lost = {}, 0, 0
          for id = 1, 32 do futures[id] = f:spawn(id + (id == 20 and 0 or 1000 * round)) end
          for id = 1, 32 do
            local good, e = pcall(futures[id].await, futures[id])
            if good then ok = ok + 1 elseif e:is('Unavailable') or e:is('PoisonCall') then lost = lost + 1 end
          end
          if ok ~= 31 or lost ~= 1 then print(round, ok, lost) end
        end
        print('done')
      end)
    ]])
    assert.equal('done\n', process.out, process.err)
  end)
end)
