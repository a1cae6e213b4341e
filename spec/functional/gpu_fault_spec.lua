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
local caught = app.remote(options)(function() return pcall(function() return x:exp():table() end) end)
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

local function environment(script, devices)
  return { FARSIDE_KERNELS = STUB, KERNEL_STUB = script, CUDA_VISIBLE_DEVICES = devices or '0', NO_COLOR = '1' }
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
        local sum, now = d.fine()
        print(now ~= pid, farside.now() - started < 1)
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
end)
