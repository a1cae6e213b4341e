local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'
local farside = require 'farside'
local native = require 'farside.native'
local app = farside.deployment { name = 'recycling' }
local kept = {}
local few = app.remote { benchmark_dataset = { { us = 0 } }, max_calls = 25 } (function(us)
  ffi.C.usleep(us)
  return ffi.C.getpid()
end)
local grow = app.remote { max_rss = '100MiB' } (function(mib)
  kept[#kept + 1] = ('x'):rep(mib * 2 ^ 20)
  return ffi.C.getpid()
end)
local together = app.remote { max_calls = 1, concurrency = 4 } (function(s) farside.sleep(s) return ffi.C.getpid() end)
]]

local function run(workers, text)
  local process = host.run(host.script('one.lua', kHead .. ('app.configure_autoscaling { max_workers = %d }\n'):format(workers)
    .. 'farside.run(function()\n' .. text .. '\nend)'))
  assert.equal(0, process.code, process.err)
  return process
end

describe('a worker', function()
  after_each(host.clean)

  it('W16: that has run max_calls is replaced, no call fails and no fewer workers are ready', function()
    local process = run(2, [[
      app.ensure_ready()
      local function ready()
        local count = 0
        for _, worker in ipairs(app.status().workers) do count = count + (worker.state == 'ready' and 1 or 0) end
        return count
      end
      while ready() < 2 do farside.sleep(0.01) end
      local pids, count, least = {}, 0, 2
      local function fly()
        for _ = 1, 200 do
          local pid = few(500)
          if not pids[pid] then pids[pid] = true count = count + 1 end
          least = math.min(least, ready())
        end
      end
      local futures = {}
      for i = 1, 4 do futures[i] = farside.spawn(fly) end
      farside.all(futures)
      print(count >= 3, least)
    ]])
    assert.equal('true\t2\n', process.out, process.err)
    assert.truthy(process.err:find('worker %d is replaced by worker %d: it has run max_calls = 25 calls'), process.err)
  end)

  it('W16: that has more resident than max_rss after a call is replaced', function()
    local process = run(1, [[
      local first = grow(1)
      local same = grow(1) == first
      grow(120)
      local start = native.now()
      while grow(1) == first and native.now() < start + 10 do farside.sleep(0.01) end
      print(same, grow(1) ~= first)
      while #app.status().workers > 1 do farside.sleep(0.01) end
      print(app.status().workers[1].state)
    ]])
    assert.equal('true\ttrue\nready\n', process.out, process.err)
    assert.truthy(process.err:find('MiB resident, max_rss is 100.0 MiB', 1, true), process.err)
  end)

  it('W16: that is replaced ends the calls it has', function()
    local process = run(1, [[
      local pid = few(0)
      local long = together:spawn(1)
      together(0)
      local start = native.now()
      while few(0) == pid and native.now() < start + 5 do farside.sleep(0.01) end
      print(few(0) ~= pid, long:done(), long:await() == pid)
    ]])
    assert.equal('true\tfalse\ttrue\n', process.out, process.err)
  end)

  it('W16: that dies while its replacement starts is replaced by that one', function()
    local process = run(1, [[
      local pid = few(0)
      for _ = 1, 24 do few(0) end
      ffi.C.kill(pid, 9)
      print(few(0) ~= pid, #app.status().workers)
    ]])
    assert.equal('true\t1\n', process.out, process.err)
  end)

  it('has limits that are numbers of calls and sizes', function()
    local process = host.run(host.script('one.lua', [[
      local app = require('farside').deployment { name = 'bad' }
      print(pcall(app.remote, { max_rss = '2 gigs' }))
      print(pcall(app.remote, { max_calls = 0 }))
    ]]))
    assert.truthy(process.out:find("max_rss: expected a number of bytes, or text like '500MiB' or '2GiB', got the string \"2 gigs\"",
      1, true), process.out)
    assert.truthy(process.out:find('max_calls: expected a whole number from 1', 1, true), process.out)
  end)
end)
