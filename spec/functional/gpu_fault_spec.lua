-- What becomes of calls and workers when GPUs fail, with GPUs that are not there and fail as they are told (spec/cuda/stub.cc).
local host = require 'spec.support.host'

local STUB = host.build .. '/spec/stub'

local kDeploy = [[
local farside = require 'farside'
local tensor = require 'farside.tensor'
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal);'
local app = farside.deployment { name = 'gpu' }
app.configure_autoscaling { max_workers = WORKERS }

local x
app.context() {
  enter = function() x = tensor.ones({ 4 }, 'f32', 'cuda:0') end,
  exit = function(_, err) print('context exited: ' .. tostring(err)) end,
}

local options = { concurrency = 4 }
local where = app.remote { concurrency = 4, benchmark_dataset = { {} } } (function()
  return ffi.C.getpid(), os.getenv 'CUDA_VISIBLE_DEVICES'
end)
local fine = app.remote(options)(function() return (x + 1):sum():item(), ffi.C.getpid() end)
local exp = app.remote(options)(function() return x:exp():table(), ffi.C.getpid() end)
local caught = app.remote(options)(function() return (pcall(function() return x:exp():table() end)) end)
local not_waited_for = app.remote(options)(function() return x:exp().device end)
local raised = app.remote(options)(function()
  local y = x:exp()
  error('of its own: ' .. y.device)
end)
local stubborn = app.remote(options)(function()
  pcall(function() return x:exp():table() end)
  while true do end
end)
local full = app.remote(options)(function() return tensor.empty({ 2 ^ 45 }, 'u8', 'cuda:0').device end)
local nap = app.remote(options)(function() farside.sleep(3) return 'slept' end)
local twice = app.remote { idempotent = true } (function()
  return x:exp():table()[1] > 2, farside.call().attempt, os.getenv 'CUDA_VISIBLE_DEVICES'
end)
return { app = app, where = where, fine = fine, exp = exp, caught = caught, not_waited_for = not_waited_for, raised = raised,
  stubborn = stubborn, full = full, nap = nap, twice = twice }
]]

-- How soon a worker is gone is measured here: the thread sanitizer is not to hold it for a second more.
local TSAN = (os.getenv 'TSAN_OPTIONS' or '') .. ':atexit_sleep_ms=0'

local function environment(script, devices)
  return { FARSIDE_KERNELS = STUB, KERNEL_STUB = script, CUDA_VISIBLE_DEVICES = devices or '0', NO_COLOR = '1',
    TSAN_OPTIONS = TSAN }
end

-- A program that runs workers and says on stderr how they ended.
local function teller()
  local path = host.script('teller', ('#!/bin/sh\n"%s" "$@"\ncode=$?\necho "exit code $code" >&2\nexit $code\n'):format(
    host.farside))
  os.execute('chmod +x ' .. path)
  return path
end

--- Runs a client of the deploy script; options: script (of the GPUs), devices, workers, deploy (changes it), tells (exit codes).
local function run(options, text)
  local deploy = (options.deploy or kDeploy):gsub('WORKERS', tostring(options.workers or 1))
  local env = environment(options.script, options.devices)
  if options.tells then env.FARSIDE_BIN = teller() end
  local process = host.run(host.client(deploy, ('farside.run(function()\n%s\nend)'):format(text)), { env = env })
  assert.equal(0, process.code, process.out .. process.err)
  return process
end

local function prints(expected, options, text)
  local process = run(options, text)
  assert.equal(expected, process.out, process.err)
  return process
end

local kFields = [[
local function fields(ok, e)
  if ok then return 'ok', tostring(e) end
  return e.name, e.executed, e.kind or e.cuda_code, e.cuda_name, e.device, e.sticky
end
]]

describe('a GPU', function()
  after_each(host.clean)

  for row, code in pairs { G1 = { 700, 'cudaErrorIllegalAddress' }, G2 = { 710, 'cudaErrorAssert' } } do
    it(row .. ': that has failed for good ends the call in GpuFault, the worker exits with 81, and another one serves', function()
      local process = prints(('GpuFault\tmaybe\t%d\t%s\tcuda:0\ttrue\ntrue\ttrue\n8\ttrue\n'):format(unpack(code)),
        { script = 'kernel_unary=' .. code[1], tells = true }, kFields .. [[
        local pid = d.where()
        local started = farside.now()
        print(fields(pcall(d.exp)))
        local seconds = farside.now() - started
        local sum, now = d.fine()
        print(now ~= pid, seconds < 1)
        print(sum, select(2, d.fine()) == now)
      ]])
      assert.truthy(process.err:find('exit code 81', 1, true), process.err)
      assert.truthy(process.err:find('context exited: exp on cuda:0: ', 1, true), process.err)
    end)
  end

  it('G1: that has failed is not hidden by a pcall, nor by a call that does not end', function()
    prints('GpuFault\tmaybe\t719\ntrue\nGpuFault\tmaybe\t719\ntrue\n',
      { script = 'kernel_unary=719' }, kFields .. [[
      local function short(...)
        local name, executed, code = fields(...)
        print(name, executed, code)
      end
      short(pcall(d.caught))
      print(d.fine() == 8)
      local started = farside.now()
      short(pcall(d.stubborn))
      print(farside.now() - started < 1.5)
    ]])
  end)

  it('G1: that has failed ends the calls beside it too, and those that were not entered run elsewhere', function()
    prints('GpuFault\nGpuFault\nGpuFault\n8\ttrue\n8\ttrue\n', { script = 'kernel_unary=700' }, [[
      local pid = d.where()
      local calls = { d.nap:spawn(), d.nap:spawn(), d.exp:spawn(), d.fine:spawn(), d.fine:spawn() }
      for i = 1, 3 do print(select(2, pcall(calls[i].await, calls[i])).name) end
      for i = 4, 5 do
        local ok, sum, now = pcall(calls[i].await, calls[i])
        if ok then print(sum, true) else print(8, sum.name == 'GpuFault') end
      end
    ]])
  end)

  local kTwo = [[
      d.app.ensure_ready()
      while d.app.status().ready < 2 do farside.sleep(0.01) end
      local a, b = d.twice:spawn(), d.twice:spawn()  -- one on each
      for _, call in ipairs { a, b } do
        local ok, e, attempt, device = pcall(call.await, call)
        if not ok then print(e.name, e.executed, #e.attempts, e.attempts[1].outcome)
        elseif attempt > 1 then print(e, attempt, device) end
      end
  ]]

  it('G1: that has failed under an idempotent call has it tried on another one', function()
    prints('true\t2\t1\n', { script = 'devices=2 kernel_unary@0=700', devices = '0,1', workers = 2 }, kTwo)
  end)

  it('G1: that has failed under an idempotent call has it tried once, no more', function()
    prints('GpuFault\tmaybe\t2\tGpuFault\n',
      { script = 'devices=2 kernel_unary@0=700 kernel_unary@1#2=700', devices = '0,1', workers = 2 }, kTwo)
  end)

  it('G3: that has no memory left raises in the call, and the worker goes on; after three in a row it is replaced', function()
    local process = prints('RemoteError\tyes\tgpu_memory\tcudaErrorMemoryAllocation\tcuda:0\tnil\ntrue\ntrue\n', { script = '' },
      kFields .. [[
      local pid = d.where()
      print(fields(pcall(d.full)))
      local same = true
      for _ = 1, 2 do
        pcall(d.full)
        same = same and d.where() == pid
      end
      print(same)
      for _ = 1, 3 do pcall(d.full) end
      local until_when = farside.now() + 10
      while d.where() == pid and farside.now() < until_when do farside.sleep(0.01) end
      print(d.where() ~= pid)
    ]])
    assert.truthy(process.err:find('is replaced by worker %d: its GPU had no memory for three calls in a row'), process.err)
  end)

  it('G4: that is given what it cannot do raises in the call, and the worker goes on', function()
    prints('RemoteError\tyes\tgpu\tcudaErrorInvalidConfiguration\tcuda:0\tnil\ntrue\nfalse\n8\ttrue\n',
      { script = 'kernel_unary=9' }, kFields .. [[
      local pid = d.where()
      local ok, e = pcall(d.exp)
      print(fields(ok, e))
      print(e.message:find('exp on cuda:0: invalid configuration argument', 1, true) ~= nil)
      print(d.caught())
      local sum, same = d.fine()
      print(sum, same == pid)
    ]])
  end)

  it('G5: that is lost is given to no worker any more, and others go on', function()
    local process = prints('GpuFault\tmaybe\t220\tcudaErrorNvlinkUncorrectable\tcuda:0\ttrue\n2\t1\n',
      { script = 'devices=2 kernel_unary@0=220', devices = '0,1', workers = 2, tells = true }, kFields .. [[
      d.app.ensure_ready()
      while d.app.status().ready < 2 do farside.sleep(0.01) end
      local a, b = d.exp:spawn(), d.exp:spawn()  -- one on each
      for _, call in ipairs { a, b } do
        local ok, e = pcall(call.await, call)
        if not ok then print(fields(ok, e)) end
      end
      while d.app.status().ready < 2 do farside.sleep(0.01) end
      local pids, devices, count, all = {}, {}, 0, {}
      for i = 1, 40 do all[i] = d.where:spawn() end
      for _, call in ipairs(all) do
        local pid, device = call:await()
        if not pids[pid] then count = count + 1 end
        pids[pid], devices[device] = true, true
      end
      print(count, table.concat((function() local l = {} for k in pairs(devices) do l[#l + 1] = k end return l end)(), ','))
    ]])
    assert.truthy(process.err:find('exit code 82', 1, true), process.err)
    assert.truthy(process.err:find('device 0 of this machine is lost: it is given to no worker any more', 1, true), process.err)
  end)

  it('G5: that is the last one and is lost lets the deployment fail, and ps says why', function()
    prints('GpuFault\nDeploymentFailed\tno\tno_device\ntrue\nno_device\t2\n', { script = 'kernel_unary=214' }, [[
      d.where()
      print(select(2, pcall(d.exp)).name)
      local _, e = pcall(d.fine)
      print(e.name, e.executed, e.phase)
      print(tostring(e.cause):find('no GPU of this machine is left', 1, true) ~= nil)
      print(d.app.status().workers[1].state, d.app.status().workers[1].starts)
    ]])
  end)

  it('G6: with broken memory never returns the result of the call', function()
    prints('GpuFault\tmaybe\t214\tcudaErrorECCUncorrectable\tcuda:0\ttrue\n', { script = 'kernel_unary=later:214' },
      kFields .. 'print(fields(pcall(d.not_waited_for)))')
  end)

  local kHang = kDeploy:gsub("'farside.tensor'\n", "%0require('farside.cuda.probe').patience = 0.3\n", 1)

  it('G7: whose kernel does not end is freed by the death of the worker, and is lost if it does not answer then', function()
    local path = host.script('script', 'kernel_unary=endless')
    local process = prints('DeadlineExceeded\ttrue\nDeploymentFailed\tno_device\n', { script = '@' .. path, deploy = kHang }, ([[
      local pid = d.where()
      local _, e = pcall(d.exp:with { timeout = 0.2 })
      local until_when = farside.now() + 10
      while d.where() == pid and farside.now() < until_when do farside.sleep(0.01) end
      print(e.name, d.where() ~= pid)
      local file = io.open('%s', 'w')
      file:write('device_malloc=hang')
      file:close()
      require('ffi').C.kill((d.where()), 9)
      _, e = pcall(d.fine)
      print(e.name, e.phase)
    ]]):format(path))
    assert.truthy(process.err:find('device 0 of this machine is lost', 1, true), process.err)
  end)

  for what, options in pairs {
    ['in exclusive use by another'] = { script = 'device_set=46' },
    hidden = { script = 'devices=1', devices = '' },
    ['that is none'] = { script = 'reason=100' },
  } do
    it('G8: ' .. what .. ' ends the worker with 78 before it is ready, and it is not started again and again', function()
      options.tells = true
      local process = prints('DeploymentFailed\tno\tno_device\nno_device\t1\n', options, [[
        local _, e = pcall(d.fine)
        print(e.name, e.executed, e.phase)
        print(d.app.status().workers[1].state, d.app.status().workers[1].starts)
      ]])
      assert.truthy(process.err:find('exit code 78', 1, true), process.err)
    end)
  end

  it('G9: whose driver is too old ends the worker with 78, and both versions are named', function()
    local process = prints('DeploymentFailed\tunsupported\ttrue\nunsupported\t1\n', { script = 'reason=35', tells = true }, [[
      local _, e = pcall(d.fine)
      print(e.name, e.phase, tostring(e):find('the driver is for CUDA 12.4, the library needs 12.6', 1, true) ~= nil)
      print(d.app.status().workers[1].state, d.app.status().workers[1].starts)
    ]])
    assert.truthy(process.err:find('exit code 78', 1, true), process.err)
  end)

  it('G10: whose memory a dead worker still has is waited for', function()
    local path = host.script('script', 'free@0=1000000000')
    prints('0\ttrue\n', { script = '@' .. path, deploy = kHang:gsub('patience = 0.3', 'patience = 5') }, ([[
      local function free(bytes)
        local file = io.open('%s', 'w')
        file:write('free@0=' .. bytes)
        file:close()
      end
      local pid = d.where()
      free(300000000)
      require('ffi').C.kill(pid, 9)
      local call = d.where:spawn()
      farside.sleep(0.3)
      local ready = d.app.status().ready
      free(990000000)
      print(ready, call:await() ~= pid)
    ]]):format(path))
  end)

  it('G10: whose memory does not come back is used as it is, and that is said', function()
    local path = host.script('script', 'free@0=1000000000')
    local process = prints('true\n', { script = '@' .. path, deploy = kHang }, ([[
      local pid = d.where()
      local file = io.open('%s', 'w')
      file:write('free@0=300000000')
      file:close()
      require('ffi').C.kill(pid, 9)
      print(d.where() ~= pid)
    ]]):format(path))
    local said = 'cuda:0: 286 MiB are free, 954 MiB were before the last worker; going on'
    assert.truthy(process.err:find(said, 1, true), process.err)
  end)

  for _, name in ipairs { 'not_waited_for', 'raised' } do
    it(('G11: that fails after its function has %s is blamed on no other call'):format(name == 'raised' and 'raised' or
      'returned'), function()
      prints('GpuFault\t719\n8\ttrue\n', { script = 'kernel_unary=later:719' }, ([[
        local pid = d.where()
        local _, e = pcall(d.%s)
        print(e.name, e.cuda_code)
        local sum, other = d.fine()
        print(sum, other ~= pid)
      ]]):format(name))
    end)
  end

  it('G11: that is used for the first time in a call is waited for, too', function()
    local deploy = kDeploy:gsub("enter = function%(%) x = ", 'enter = function() end, first = function() x = ')
      :gsub('return x:exp%(%).device end', "x = tensor.ones({ 4 }, 'f32', 'cuda:0') return x:exp().device end", 1)
    prints('GpuFault\t719\ntrue\n', { script = 'kernel_unary=later:719', deploy = deploy }, [[
      local pid = d.where()
      local _, e = pcall(d.not_waited_for)
      print(e.name, e.cuda_code)
      print(d.where() ~= pid)
    ]])
  end)

  it('G11: that fails under a context fails its worker, not the first call', function()
    local deploy = kDeploy:gsub("x = tensor.ones%({ 4 }, 'f32', 'cuda:0'%)", '%0:exp()', 1)
    local process = run({ script = 'kernel_unary=later:719', deploy = deploy, tells = true }, [[
      local _, e = pcall(d.where)
      print(e.name, e.executed, e.cause.name, e.cause.cuda_code)
    ]])
    assert.equal('DeploymentFailed\tno\tGpuFault\t719\n', process.out, process.err)
    assert.equal(5, select(2, process.err:gsub('ended with exit code 81', '')), process.err)
  end)

  it('G12: that the client uses too is nothing to its workers, which are processes of their own', function()
    prints('1\t8\ttrue\nGpuFault\n', { script = 'kernel_unary#3=700' }, [[
      local tensor = require 'farside.tensor'
      local mine = tensor.ones({ 1 }, 'f32', 'cuda:0')
      mine:exp():log()
      local values, pid = d.exp()
      print(#values / 4, (d.fine()), d.exp() ~= nil)
      print(select(2, pcall(d.exp)).name)
    ]])
  end)

  it('is waited for in a call while other calls of the worker run', function()
    prints('true\ttrue\n', { script = 'kernel_unary=busy:300' }, [[
      d.where()
      local started = farside.now()
      local slow = d.exp:spawn()
      d.where()
      local quick = farside.now() - started
      slow:await()
      print(quick < 0.25, farside.now() - started >= 0.3)
    ]])
  end)

  it('keeps the slot of a call that is cancelled until it is done', function()
    prints('DeadlineExceeded\ttrue\ttrue\n', { script = 'kernel_unary=busy:1500' }, [[
      local _, pid = d.fine()
      local started = farside.now()
      local _, e = pcall(d.exp:with { timeout = 0.5 })
      local early = farside.now() - started < 1.3
      while d.app.status().workers[1].in_flight > 0 do farside.sleep(0.005) end
      print(e.name, early and farside.now() - started >= 1.5, d.where() == pid)
    ]])
  end)

  it('that has failed is counted, and the worker is shown without one', function()
    local env = environment('kernel_unary=214')
    env.XDG_RUNTIME_DIR = host.folder()
    local function farside(...) return host.run_program({ host.farside, ... }, { env = env }) end
    local router = host.spawn({ host.farside, 'serve', host.script('deploy.lua', (kDeploy:gsub('WORKERS', '1'))) },
      { env = env, cwd = host.folder() })
    router:wait_for 'is served at unix:(%S+)'
    assert.equal(0, farside('call', 'where').code)
    assert.truthy(farside('call', 'exp').err:find('GpuFault', 1, true))
    host.eventually(function() return farside('ps').out:find('no_device', 1, true) end, 10, 'no_device in ps')
    local metrics = farside('metrics').out
    assert.truthy(metrics:find('farside_worker_deaths_total{[^\n]*reason="gpu_lost"} 1\n'), metrics)
    assert.truthy(metrics:find('outcome="GpuFault"} 1\n', 1, true), metrics)
    router:wait_for '(the GPU of worker 0 is lost, and goes to no worker any more: exp on cuda:0: uncorrectable ECC error)'
    assert.truthy(farside('ps').out:find('no GPU of this machine is left', 1, true))
    router:kill()
    router:wait()
  end)
end)

-- What is good only when the device has said so, before the result: items, scores, contexts.
local kItems = [[
local farside = require 'farside'
local tensor = require 'farside.tensor'
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal);'
local app = farside.deployment { name = 'items' }
app.configure_autoscaling { max_workers = 1 }

local x
app.context() { enter = function() x = FIRST end }

local options = { concurrency = 4 }
local launches = {
  itself = function() return x:exp() end,
  spawned = function() farside.spawn(function() x:exp() end):await() end,
  wrapped = function() coroutine.wrap(function() x:exp() end)() end,
  wrapped_in_spawned = function() farside.spawn(function() coroutine.wrap(function() x:exp() end)() end):await() end,
  caught = function() pcall(function() x:exp():table() end) end,
}
local items = app.remote { concurrency = 4, interrupt_safe = true } (function(how)
  x = x or tensor.ones({ 4 }, 'f32', 'cuda:0')
  launches[how]()
  app.yield 'an item'
end)
local beside = app.remote(options)(function()
  local y = x:exp()
  local first = farside.spawn(function() app.yield 'of the first' end)
  app.yield 'of the second'
  first:await()
  return y.device
end)
local returns = app.remote(options)(function(how)
  launches[how]()
  return 'a result'
end)
local quick = app.remote { concurrency = 4, benchmark_dataset = { {} } } (function() return 'quick', ffi.C.getpid() end)
return { app = app, items = items, beside = beside, returns = returns, quick = quick }
]]
local kFirst = "tensor.ones({ 4 }, 'f32', 'cuda:0')"

local kRead = [[
local function read(...)
  local ok, e = pcall(function(...) for item in d.items:stream(...) do print(item) end end, ...)
  print(ok or e.name)
end
-- The GPU of the worker that said this has something to do for ever.
local function kill(word, pid)
  print(word)
  require('ffi').C.kill(pid, 9)
end
]]

describe('an item of a stream', function()
  after_each(host.clean)

  for how, words in pairs {
    itself = 'it', spawned = 'a coroutine that it has started', wrapped = 'a plain coroutine',
    wrapped_in_spawned = 'a plain coroutine of one that it has started',
  } do
    it(('is not sent when what %s has given to the GPU has failed'):format(words), function()
      prints('GpuFault\n', { script = 'kernel_unary=later:719', deploy = kItems:gsub('FIRST', kFirst) },
        kRead .. ("read '%s'"):format(how))
    end)

    it(('is not sent when that of %s has failed in the call that uses the GPU first'):format(words), function()
      prints('GpuFault\n', { script = 'kernel_unary=later:719', deploy = kItems:gsub('FIRST', 'nil') },
        kRead .. ("read '%s'"):format(how))
    end)

    it(('is no more than a result, which is not sent either when that of %s has failed'):format(words), function()
      prints('GpuFault\n', { script = 'kernel_unary=later:719', deploy = kItems:gsub('FIRST', kFirst) },
        ("print(select(2, pcall(d.returns, '%s')).name)"):format(how))
    end)
  end

  it('is not sent after a failure that the function has caught', function()
    prints('GpuFault\n', { script = 'kernel_unary=719', deploy = kItems:gsub('FIRST', kFirst) }, kRead .. "read 'caught'")
  end)

  it('is not sent while another one of its call waits for the GPU', function()
    prints('GpuFault\n', { script = 'kernel_unary=endless device_event_query#300=719', deploy = kItems:gsub('FIRST', kFirst) }, [[
      local ok, e = pcall(function() for item in d.beside:stream() do print(item) end end)
      print(ok or e.name)
    ]])
  end)

  it('is waited for while other calls of the worker run', function()
    prints('quick\n', { script = 'kernel_unary=endless', deploy = kItems:gsub('FIRST', kFirst) }, kRead .. [[
      farside.spawn(read, 'itself')
      while d.app.status().workers[1].in_flight == 0 do farside.sleep(0.001) end
      kill(d.quick())
    ]])
  end)

  it('is given up when its call is cancelled, and what the GPU has to do is waited for then', function()
    prints('DeadlineExceeded\ttrue\nan item\ntrue\n', { script = 'kernel_unary#1=busy:1000',
      deploy = kItems:gsub('FIRST', kFirst) }, kRead .. [[
      d.quick()
      local started = farside.now()
      local ok, e = pcall(function() for item in d.items:with({ timeout = 0.5 }):stream('itself') do print(item) end end)
      while d.app.status().workers[1].in_flight > 0 do farside.sleep(0.005) end
      print(e.name, farside.now() - started >= 1)
      read 'itself'
    ]])
  end)
end)

describe('a call', function()
  after_each(host.clean)

  it('waits for its own work alone, also when the GPU was used for the first time in a call', function()
    prints('an item\ntrue\nquick\n', { script = 'kernel_unary#2=endless', deploy = kItems:gsub('FIRST', 'nil') },
      kRead .. [[
      read 'itself'
      farside.spawn(read, 'itself')
      while d.app.status().workers[1].in_flight == 0 do farside.sleep(0.001) end
      kill(d.quick())
    ]])
  end)
end)

describe('before a worker is ready', function()
  after_each(host.clean)

  local kMeasured = [[
local farside = require 'farside'
local tensor = require 'farside.tensor'
local app = farside.deployment { name = 'measured' }
app.configure_autoscaling { max_workers = 1 }
local x
app.context() { enter = function() x = tensor.ones({ 4 }, 'f32', 'cuda:0') ENTER end }
local f = app.remote { OPTIONS benchmark_dataset = { {} }, benchmark_concurrency = 2, benchmark_runs = 2 } (function()
  RUN
  return 1
end)
return { app = app, f = f }
]]

  local function measured(body, enter, options)
    return (kMeasured:gsub('RUN', body):gsub('ENTER', enter or ''):gsub('OPTIONS', options or ''))
  end

  local kGone = 'farside.spawn(function() x:exp() end):await() collectgarbage() collectgarbage()'
  local kCaught = 'pcall(function() x:exp():table() end)'

  for what, deploy in pairs {
    ['of a coroutine that is gone leaves the benchmark without a score'] = measured(kGone, nil, 'concurrency = 2,'),
    ['that is caught leaves the benchmark without a score'] = measured(kCaught),
    ['that is caught fails the contexts'] = measured('', kCaught),
  } do
    it('a failure of the GPU ' .. what, function()
      prints('DeploymentFailed\tGpuFault\t719\n', { script = 'kernel_unary=later:719', deploy = deploy }, [[
        local _, e = pcall(d.f)
        print(e.name, e.cause.name, e.cause.cuda_code)
      ]])
    end)
  end

  it('the benchmark measures what the GPU does, and not only how soon it is told', function()
    prints('true\n', { script = 'kernel_unary=busy:20', deploy = measured('x:exp()') }, [[
      d.f()
      local score = d.app.status().workers[1].scores.f  -- 100 a call, of which two take 20 ms
      print(score <= 10001)
    ]])
  end)
end)

describe('a status of a device', function()
  local fault = require 'farside.cuda.fault'

  it('is recoverable, sticky, or means that the device is lost or absent', function()
    local classes = {
      memory = { 2 },
      sticky = { 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911 },
      lost = { 214, 220 },
      no_device = { 3, 46, 100, 101, 102, 802, 999 },
      unsupported = { 35, 36, 209, 222, 803, 804 },
      other = { 1, 9, 400, 701, 720, 900, -1, -6 },
    }
    for class, codes in pairs(classes) do
      for _, code in ipairs(codes) do assert.equal(class, fault.classify(code), code) end
    end
    assert.equal('lost', fault.classify(46, true))
    assert.equal('sticky', fault.classify(999, true))
  end)
end)
