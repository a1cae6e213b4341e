local host = require 'spec.support.host'

describe('the benchmark of a worker', function()
  after_each(host.clean)

  it('scores a function that sleeps 10 ms at about 100 calls a second, and ten times that with ten at once', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'scores' }
      app.configure_autoscaling { max_workers = 1 }
      local one = app.remote { benchmark_dataset = { { s = 0.01 } }, benchmark_runs = 3 } (function(s) farside.sleep(s) end)
      local ten = app.remote { benchmark_dataset = { { s = 0.01 } }, benchmark_runs = 3, concurrency = 10 } (function(s) farside.sleep(s) end)
      farside.run(function()
        app.ensure_ready()
        local scores = app.status().workers[1].scores
        print(scores.one, scores.ten)
      end)
    ]]))
    local one, ten = process.out:match '^(%S+)\t(%S+)\n$'
    one, ten = tonumber(one), tonumber(ten)
    assert.truthy(one and one > 9000 and one < 10000, process.out .. process.err)
    assert.truthy(ten > 80000 and ten < 100000, process.out)
  end)

  it('draws every item of the dataset', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'draws' }
      app.configure_autoscaling { max_workers = 1 }
      local seen = {}
      local f = app.remote { benchmark_dataset = { { x = 1 }, { x = 2 }, { x = 3 } } } (function(x)
        if x ~= 0 then seen[x] = true return end
        return seen[1], seen[2], seen[3]
      end)
      farside.run(function() print(f(0)) end)
    ]]))
    assert.equal('true\ttrue\ttrue\n', process.out, process.err)
  end)
end)

describe('routing', function()
  after_each(host.clean)

  it('gives a worker that is ten times slower less than 15 % of 1,024 calls', function()
    local lock = host.folder() .. '/first'
    local process = host.run(host.script('one.lua', [[
      local ffi = require 'ffi'
      ffi.cdef 'int getpid(void); int mkdir(const char *path, int mode); int usleep(unsigned us);'
      local farside = require 'farside'
      local app = farside.deployment { name = 'slow' }
      app.configure_autoscaling { max_workers = 2 }
      local native = require 'farside.native'
      local nap = 500
      if native.role == 'worker' and ffi.C.mkdir(']] .. lock .. [[', 448) ~= 0 then nap = 5000 end
      local f = app.remote { benchmark_dataset = { {} } } (function() ffi.C.usleep(nap) return nap end)
      farside.run(function()
        app.ensure_ready()
        while app.status().workers[1].state ~= 'ready' or app.status().workers[2].state ~= 'ready' do farside.sleep(0.01) end
        local slow, futures = 0, {}
        local function work() for _ = 1, 16 do if f() == 5000 then slow = slow + 1 end end end
        for i = 1, 64 do futures[i] = farside.spawn(work) end
        farside.all(futures)
        print(slow)
      end)
    ]]))
    local slow = tonumber(process.out)
    assert.truthy(slow and slow > 0 and slow < 150, process.out .. process.err)
  end)
end)
