-- Workers are killed all the time; the ledger that the functions write says afterwards whether the client was told
-- the truth.
local host = require 'spec.support.host'

describe('100,000 calls, with a worker killed after every 500', function()
  after_each(host.clean)

  it('each have one outcome, run at most once, and are said to have run only if they did', function()
    local process = host.run(host.script('one.lua', [[
      package.path = ']] .. host.source .. [[/?.lua;' .. package.path
      local ffi = require 'ffi'
      ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'
      local farside = require 'farside'
      local ledger = require('spec.support.ledger').open(']] .. host.folder() .. [[/ledger')
      local app = farside.deployment { name = 'chaos' }
      app.configure_autoscaling { max_workers = 2 }
      local enter = app.remote { benchmark_dataset = { { id = 0 } } } (function(id)
        ledger:add(id)
        if id % 1000 == 7 then ffi.C.kill(ffi.C.getpid(), 9) ffi.C.usleep(1000000) end
        return -id
      end)

      local calls, flights, last, ended = 100000, 64, 0, 0
      local outcomes = { ok = 0, no = 0, maybe = 0, yes = 0 }
      local wrong = {}
      local function check(id, ok, result)
        ended = ended + 1
        local outcome = ok and 'ok' or result.executed
        outcomes[outcome] = outcomes[outcome] + 1
        local entries = ledger:count(id)
        if entries > 1 then wrong[#wrong + 1] = id .. ' was entered ' .. entries .. ' times' end
        if ok and (result ~= -id or entries ~= 1) then wrong[#wrong + 1] = id .. ' has a result that is not its own' end
        if outcome == 'no' and entries > 0 then wrong[#wrong + 1] = id .. ' ran and is said not to have' end
        if outcome == 'yes' and entries == 0 then wrong[#wrong + 1] = id .. ' did not run and is said to have' end
      end

      math.randomseed(5)
      local kills = 0
      local function kill_one()
        local alive = {}
        for _, worker in ipairs(app.status().workers) do
          if worker.state == 'ready' then alive[#alive + 1] = worker.pid end
        end
        if #alive == 0 then return end
        ffi.C.kill(alive[math.random(#alive)], 9)
        kills = kills + 1
      end

      local function fly()
        while last < calls do
          last = last + 1
          local id = last
          check(id, pcall(enter, id))
          if ended % 500 == 0 then kill_one() end
        end
      end
      farside.run(function()
        app.ensure_ready()
        local futures = {}
        for i = 1, flights do futures[i] = farside.spawn(fly) end
        farside.all(futures)
        print(ended, #wrong, wrong[1], outcomes.ok + outcomes.no + outcomes.maybe + outcomes.yes)
        print(kills > 100, outcomes.maybe >= 100, outcomes.ok > 99000)
      end)
    ]]), { seconds = 120 })
    assert.equal('100000\t0\tnil\t100000\ntrue\ttrue\ttrue\n', process.out, process.err)
    assert.equal(0, process.code)
  end)
end)
