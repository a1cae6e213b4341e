-- Workers that follow the load, with real processes.
local host = require 'spec.support.host'
local native = require 'farside.native'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int usleep(unsigned us); char *getenv(const char *name);'
local farside = require 'farside'
local app = farside.deployment { name = 'scaling' }
local function until_true(what)
  local limit = farside.now() + 15
  while not what() do
    assert(farside.now() < limit, 'it was not so within 15 s: ' .. require('farside.native').now())
    farside.sleep(0.01)
  end
end
]]

local function prints(expected, text, options)
  local process = host.start(host.script('one.lua', kHead .. text), options)
  process:wait(40)
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('workers that follow the load', function()
  after_each(host.clean)

  it('begin with one, become more when calls wait, and run them at the same time', function()
    if native.usable_cores() < 2 then return pending('it takes two cores') end
    prints('1\t2\ttrue\n', [[
      app.configure_autoscaling { max_workers = 2, cold_mult = 1, max_queue_time = 1 }
      local nap = app.remote { benchmark_dataset = { { s = 0.002 } }, workload_calculator = function(s) return 1000 * s end } (
        function(s) ffi.C.usleep(s * 1e6) return ffi.C.getpid() end)
      farside.run(function()
        app.ensure_ready()
        local before = app.status()
        local futures, pids, count = {}, {}, 0
        for i = 1, 40 do futures[i] = nap:spawn(0.1) end
        until_true(function() return app.status().active == 2 end)
        for i = 1, 40 do pids[futures[i]:await()] = true end
        for _ in pairs(pids) do count = count + 1 end
        print(before.wanted, count, app.status().decision ~= nil)
      end)
    ]])
  end)

  it('are parked when there is nothing to do, keep their process and contexts, and take a call at once', function()
    prints('1\t0\t1\ttrue\t1\t1\ttrue\n', [[
      app.configure_autoscaling { max_workers = 1, min_load = 0, cold_workers = 1, inactivity_timeout = 0.2 }
      local Count = app.context() { enter = function(self) return { entered = 1 } end }
      local pid = app.remote { benchmark_dataset = { {} } } (function()
        return ffi.C.getpid(), app.get_context(Count).entered
      end)
      farside.run(function()
        local before = pid()
        until_true(function() return app.status().active == 0 end)
        local parked = app.status()
        local began = farside.now()
        local again, entered = pid()
        print(parked.parked, parked.active, parked.ready, before == again, entered, app.status().active,
          farside.now() - began < 0.1)
      end)
    ]])
  end)

  it('A10: are none when there is nothing to do, and one as soon as a call comes', function()
    prints('0\t0\tready\ttrue\ntrue\n', [[
      app.configure_autoscaling { max_workers = 2, min_load = 0, inactivity_timeout = 0.2 }
      local Said = app.context() { enter = function() end, exit = function() end }
      local pid = app.remote { benchmark_dataset = { {} } } (function() return ffi.C.getpid() end)
      farside.run(function()
        local before = pid()
        until_true(function()
          local status = app.status()
          return status.ready == 0 and status.wanted == 0 and status.workers[1] == nil
        end)
        local status = app.status()
        print(status.wanted, status.ready, status.state, status.decision:find 'inactivity_timeout' ~= nil)
        local futures = {}
        for i = 1, 5 do futures[i] = pid:spawn() end
        local different = true
        for i = 1, 5 do different = different and futures[i]:await() ~= before end
        print(different)
      end)
    ]])
  end)

  it('A2: are not multiplied by a start that fails', function()
    prints('DeploymentFailed\ttrue\n', [[
      app.configure_autoscaling { max_workers = 2, min_load = 1e9 }
      local f = app.remote { benchmark_dataset = { { x = 1 } } } (function(x) error 'no' end)
      farside.run(function()
        local ok, e = pcall(f, 1)
        local starts = 0
        for _, worker in ipairs(app.status().workers) do starts = starts + worker.starts end
        print(e.name, starts <= 5)
      end)
    ]])
  end)

  it('stand one on each GPU, which alone they see', function()
    prints('2\n5,7\n', [[
      app.configure_autoscaling { min_load = 1e12 }
      local device = app.remote { benchmark_dataset = { {} } } (function()
        ffi.C.usleep(1000)
        return ffi.string(ffi.C.getenv 'CUDA_VISIBLE_DEVICES')
      end)
      farside.run(function()
        until_true(function() device() return app.status().active == 2 end)
        local futures, seen, list = {}, {}, {}
        for i = 1, 20 do futures[i] = device:spawn() end
        for i = 1, 20 do seen[futures[i]:await()] = true end
        for name in pairs(seen) do list[#list + 1] = name end
        table.sort(list)
        print(#app.status().workers)
        print(table.concat(list, ','))
      end)
    ]], { env = { CUDA_VISIBLE_DEVICES = '5,7' } })
  end)
end)
