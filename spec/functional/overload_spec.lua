-- More calls than workers can take, of several clients: a remote function that calls others is a client of its own.
local host = require 'spec.support.host'

local function prints(expected, workers, functions, client)
  local process = host.run(host.script('one.lua', ([[
local farside = require 'farside'
local app = farside.deployment { name = 'overload' }
app.configure_autoscaling { max_workers = %d }
local nap = app.remote { benchmark_dataset = { { s = 0 } } } (function(s) farside.sleep(s) return farside.now() end)
]]):format(workers) .. functions .. '\nfarside.run(function()\nnap(0)\n' .. client .. '\nend)'))
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('with too many calls', function()
  after_each(host.clean)

  it('C4: a call of another client does not wait behind a flood', function()
    prints('true\ttrue\n', 2, [[
      local outer = app.remote { concurrency = 8 } (function()
        farside.sleep(0.2)
        local before = farside.now()
        nap(0)
        return farside.now() - before
      end)]], [[
      app.ensure_ready()
      local light = outer:spawn()
      local flood = {}
      for i = 1, 200 do flood[i] = nap:spawn(0.02) end
      local waited = light:await()
      local left = 0
      for i = 1, 200 do if not flood[i]:done() then left = left + 1 end end
      print(waited < 0.5, left > 100)
    ]])
  end)

  it('a function with max_queue_time refuses what would wait longer', function()
    prints('Overloaded\tno\tdeployment\ttrue\ttrue\n', 1, [[
      local slow = app.remote { benchmark_dataset = { {} }, benchmark_runs = 1, max_queue_time = 0.5 } (function()
        farside.sleep(0.2)
      end)]], [[
      app.ensure_ready()
      local calls, refused = {}, 0
      local last
      for i = 1, 10 do calls[i] = slow:spawn() end
      for i = 1, 10 do
        local ok, e = pcall(calls[i].await, calls[i])
        if not ok then refused, last = refused + 1, e end
      end
      print(last.name, last.executed, last.scope, last.retry_after > 0, refused >= 4 and refused < 9)
    ]])
  end)

  it('a function with queue_timeout ends calls that have waited so long', function()
    prints('DeadlineExceeded\tno\tqueue\n', 1, [[
      local slow = app.remote { queue_timeout = 0.1 } (function() farside.sleep(0.4) end)]], [[
      local first = slow:spawn()
      local ok, e = pcall(slow)
      first:await()
      print(e.name, e.executed, e.phase)
    ]])
  end)
end)
