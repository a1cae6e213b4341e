local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int usleep(unsigned us);'
local farside = require 'farside'
local native = require 'farside.native'
local app = farside.deployment { name = 'safe' }
app.configure_autoscaling { max_workers = 1 }
local ends, took = 0, 0
local safe = { interrupt_safe = true }
local pid = app.remote { benchmark_dataset = { {} } } (function() return ffi.C.getpid(), ends, took end)
local spin = app.remote(safe)(function() local n = 0 while true do n = n + 1 end end)
local stubborn = app.remote(safe)(function() while true do pcall(function() while true do end end) end end)
local nested = app.remote(safe)(function()
  while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end
end)
local blocks = app.remote(safe)(function()
  return ('x'):gsub('x', function() while true do farside.sleep(0.001) end end)
end)
local stuck = app.remote(safe)(function() return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40)) end)
local asks = app.remote(safe)(function()
  local cancelled, n, start = farside.call().cancelled, 0, native.now()
  while not cancelled() do n = n + 1 end
  ends, took = ends + 1, native.now() - start
end)
local asks_unsafe = app.remote(function()
  local cancelled = farside.call().cancelled
  while not cancelled() do pcall(function() while not cancelled() do end end) end
end)
local waits = app.remote(function()
  local cancelled = farside.call().cancelled
  local before = cancelled()
  pcall(farside.sleep, 60)
  if not before and cancelled() then ends = ends + 1 end
end)
local spawns = app.remote(function()
  local cancelled = farside.call().cancelled
  farside.spawn(function()
    farside.sleep(0.01)
    while not cancelled() do end
    ends = ends + 1
  end)
  farside.sleep(60)
end)
local beside = app.remote { interrupt_safe = true, concurrency = 2 } (function(s, loops)
  farside.sleep(s)
  while loops do end
  return ffi.C.getpid()
end)
local function late(f, ...)
  local ok, e = pcall(f:with { timeout = 0.15 }, ...)
  return not ok and e.name
end
]]

local function prints(expected, text)
  local process = host.run(host.script('one.lua', kHead .. 'farside.run(function()\n' .. text .. '\nend)'))
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('a call of an interrupt_safe function', function()
  after_each(host.clean)

  it('W3: is interrupted at its deadline and its worker goes on', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', [[
      local before = pid()
      local name, start = late(spin), native.now()
      local same = pid() == before
      print(name, same, native.now() - start < 0.5)
    ]])
  end)

  it('is interrupted by cancel, again and again, and the worker goes on', function()
    prints('true\t1\n', [[
      local before = pid()
      for _ = 1, 30 do
        local future = spin:spawn()
        farside.sleep(0.01)
        future:cancel()
      end
      print(pid() == before, app.status().workers[1].starts)
    ]])
  end)

  it('is interrupted where it swallows errors, in coroutines of its own, and where it blocks', function()
    prints('DeadlineExceeded\tDeadlineExceeded\tDeadlineExceeded\ttrue\n', [[
      local before = pid()
      print(late(stubborn), late(nested), late(blocks), pid() == before)
    ]])
  end)

  it('is interrupted alone, without the calls beside it', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', [[
      local before = pid()
      local long = beside:spawn(0.5, false)
      print(late(beside, 0.02, true), long:await() == before, pid() == before)
    ]])
  end)

  it('W4: is killed with its worker after the grace where it is stuck in C', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', [[
      local before = pid()
      local name, start = late(stuck), native.now()
      local other = pid() ~= before
      local took = native.now() - start
      print(name, other, took > 1.5 and took < 3)
    ]])
  end)

  it('that asks cancelled() ends by itself', function()
    prints('DeadlineExceeded\ttrue\t1\ttrue\n', [[
      local before = pid()
      local name = late(asks)
      local after, ends, took = pid()
      print(name, after == before, ends, took > 0.1 and took < 0.4)
    ]])
  end)
end)

describe('cancelled()', function()
  after_each(host.clean)

  it('is true in a function that is not interrupt_safe as well, whose worker is replaced', function()
    prints('DeadlineExceeded\ttrue\n', [[
      local before = pid()
      print(late(asks_unsafe), pid() ~= before)
    ]])
  end)

  it('is true after a wait that the cancel has ended, and the worker stays', function()
    prints('DeadlineExceeded\ttrue\t1\n', [[
      local before = pid()
      local name = late(waits)
      local after, ends = pid()
      print(name, after == before, ends)
    ]])
  end)

  it('is true in a coroutine that the call has started', function()
    prints('DeadlineExceeded\ttrue\t1\n', [[
      local before = pid()
      local name = late(spawns)
      local after, ends = pid()
      print(name, after == before, ends)
    ]])
  end)
end)
