-- Every error that calls of local workers can end in, made by its real cause; `executed` is held against a ledger that
-- the functions write.
--
-- Reached here: RemoteError Cancelled DeadlineExceeded BadArguments NotSerializable ArgumentTooLarge ResultTooLarge
-- Overloaded NotReady DeploymentFailed WorkerLost Unsupported ConfigError. UnknownClass and NoSuchFunction can be caused
-- only by a program in C (embed_spec.lua); BadFrame, FrameTooLarge and VersionMismatch by bytes (frame_spec.lua);
-- GpuFault by a GPU that fails (gpu_fault_spec.lua).
-- Not reachable without a served router, a cluster or a GPU: NoSuchDeployment DuplicateId Unauthenticated
-- PermissionDenied QuotaExceeded DeploymentChanged Draining WorkerOutOfMemory PoisonCall RouterLost
-- ConnectFailed SlowReader Corrupt BundleRejected EngineError Internal Unknown.
local host = require 'spec.support.host'
local ledgers = require 'spec.support.ledger'

local function head(ledger)
  return [[
package.path = ']] .. host.source .. [[/?.lua;' .. package.path
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'
local farside = require 'farside'
local ledger = require('spec.support.ledger').open(']] .. ledger .. [[')
local app = farside.deployment { name = 'errors' }
app.configure_autoscaling { max_workers = 1 }
local kEntered = 1
local function enter() ledger:add(kEntered) end
]]
end

-- Runs `functions` and then `client` in farside.run; returns what the client's `e` was, as a table of strings, and how
-- often a function was entered.
local function error_of(functions, client)
  local path = host.folder() .. '/ledger'
  local process = host.run(host.script('one.lua', head(path) .. functions .. [[

local first = app.remote { benchmark_dataset = { {} }, name = 'first' } (function() return ffi.C.getpid() end)
farside.run(function()
  first()
  local ok, e
]] .. client .. [[

  if ok then print 'no error' os.exit(0) end
  for _, field in ipairs { 'name', 'executed', 'retryable', 'where', 'kind', 'path', 'side', 'phase', 'parameter', 'reason', 'class', 'feature', 'scope', 'message' } do
    print(field .. '=' .. tostring(e[field]))
  end
  os.exit(0)
end)]]))
  local fields = {}
  for key, value in process.out:gmatch '(%w+)=([^\n]*)' do fields[key] = value end
  assert.truthy(fields.name, process.out .. process.err)
  return fields, ledgers.open(path):count(1)
end

local function check(expected, functions, client)
  local fields, entered = error_of(functions, client)
  for key, value in pairs(expected) do
    if key ~= 'entered' then assert.equal(value, fields[key], key .. ' of ' .. fields.name .. ': ' .. fields.message) end
  end
  if fields.executed == 'no' then assert.equal(0, entered) end
  if fields.executed == 'yes' then assert.truthy(entered > 0) end
  if expected.entered then assert.equal(expected.entered, entered) end
end

describe('the error', function()
  after_each(host.clean)

  it('RemoteError: the function raised', function()
    check({ name = 'RemoteError', executed = 'yes', kind = 'error', where = 'function', entered = 1 },
      "local f = app.remote(function() enter() error 'broken' end)", 'ok, e = pcall(f)')
  end)

  it('W15: RemoteError: a stack without end', function()
    check({ name = 'RemoteError', executed = 'yes', kind = 'stack' },
      "local f = app.remote(function() enter() local function g(n) return 1 + g(n + 1) end return g(1) end)", 'ok, e = pcall(f)')
  end)

  it('C2: Cancelled: a call that waits', function()
    check({ name = 'Cancelled', executed = 'no' }, [[
      local nap = app.remote(function() farside.sleep(0.3) end)
      local f = app.remote(function() enter() end)]], [[
      local a = nap:spawn()
      local b = f:spawn()
      b:cancel()
      ok, e = pcall(b.await, b)
      a:await()]])
  end)

  it('C2: Cancelled: a call that runs', function()
    check({ name = 'Cancelled', executed = 'yes' },
      'local f = app.remote(function() enter() farside.sleep(5) end)', [[
      local a = f:spawn()
      while ledger:count(kEntered) == 0 do farside.sleep(0.01) end
      a:cancel()
      ok, e = pcall(a.await, a)]])
  end)

  it('DeadlineExceeded: in the queue', function()
    check({ name = 'DeadlineExceeded', executed = 'no', phase = 'queue' }, [[
      local nap = app.remote(function() farside.sleep(0.4) end)
      local f = app.remote(function() enter() end)]], [[
      local a = nap:spawn()
      ok, e = pcall(f:with { timeout = 0.1 })
      a:await()]])
  end)

  it('DeadlineExceeded: while it runs', function()
    check({ name = 'DeadlineExceeded', executed = 'yes', phase = 'run' },
      'local f = app.remote(function() enter() farside.sleep(5) end)', 'ok, e = pcall(f:with { timeout = 0.2 })')
  end)

  it('C12: BadArguments: more arguments than parameters', function()
    check({ name = 'BadArguments', executed = 'no', where = 'sdk' }, 'local f = app.remote(function(x) enter() end)', 'ok, e = pcall(f, 1, 2)')
  end)

  it('NotSerializable: an argument', function()
    check({ name = 'NotSerializable', executed = 'no', side = 'argument', path = 'argument x.fn' },
      'local f = app.remote(function(x) enter() end)', 'ok, e = pcall(f, { fn = print })')
  end)

  it('NotSerializable: a result', function()
    check({ name = 'NotSerializable', executed = 'yes', side = 'result', entered = 1 },
      'local f = app.remote(function() enter() return { items = { print } } end)', 'ok, e = pcall(f)')
  end)

  it('ArgumentTooLarge', function()
    check({ name = 'ArgumentTooLarge', executed = 'no' }, 'local f = app.remote(function(x) enter() end)',
      "ok, e = pcall(f, ('x'):rep(65 * 1024 * 1024))")
  end)

  it('ResultTooLarge', function()
    check({ name = 'ResultTooLarge', executed = 'yes', entered = 1 },
      "local f = app.remote(function() enter() return ('x'):rep(65 * 1024 * 1024) end)", 'ok, e = pcall(f)')
  end)

  it('Overloaded: too many calls of one client', function()
    check({ name = 'Overloaded', executed = 'no', scope = 'client', retryable = 'true' },
      'local f = app.remote { concurrency = 1024 } (function() farside.sleep(1) end)', [[
      for _ = 1, 1024 do f:spawn() end
      ok, e = pcall(f)]])
  end)

  it('WorkerLost: the worker died in the call', function()
    check({ name = 'WorkerLost', executed = 'maybe', reason = 'signal', entered = 1 },
      'local f = app.remote(function() enter() ffi.C.kill(ffi.C.getpid(), 6) ffi.C.usleep(1e6) end)', 'ok, e = pcall(f)')
  end)

  it('Overloaded: calls that wait for each other on too few workers', function()
    check({ name = 'RemoteError', executed = 'yes', entered = 1 }, [[
      local g = app.remote(function() end)
      local f = app.remote(function() enter() return g() end)]], [[
      ok, e = pcall(f)
      local cause = e.cause
      assert(cause and cause.name == 'Overloaded' and cause.scope == 'workers' and cause.executed == 'no', tostring(e))]])
  end)

  it('Unsupported: a remote call in a benchmark', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'errors' }
      local g = app.remote(function() end)
      local f = app.remote { benchmark_dataset = { {} } } (function() g() end)
      farside.run(function()
        local ok, e = pcall(f)
        print(e.name, e.cause.cause.name, e.cause.cause.executed)
      end)
    ]]))
    assert.equal('DeploymentFailed\tUnsupported\tno\n', process.out, process.err)
  end)

  it('ConfigError: the executable is not found', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'errors' }
      local f = app.remote { benchmark_dataset = { {} } } (function() end)
      farside.run(function()
        local ok, e = pcall(f)
        print(e.name, e.executed)
      end)
    ]]), { env = { FARSIDE_BIN = '/nowhere/farside' } })
    assert.equal('ConfigError\tno\n', process.out, process.err)
  end)

  it('C11: DeploymentFailed and NotReady: no worker becomes ready', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'errors' }
      local f = app.remote { benchmark_dataset = { {} } } (function() error 'unfit' end)
      farside.run(function()
        local ok, e = pcall(f:with { timeout = 0.05 })
        print(e.name, e.executed)
        local ok, e = pcall(f)
        print(e.name, e.executed, e.phase)
      end)
    ]]))
    assert.equal('NotReady\tno\nDeploymentFailed\tno\tbenchmark\n', process.out, process.err)
  end)
end)

describe('a thrown value', function()
  after_each(host.clean)

  it('arrives whole: its class, fields, text, place and remote traceback', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'thrown' }
      app.configure_autoscaling { max_workers = 1 }
      local DiskFull = {}
      DiskFull.__index = DiskFull
      DiskFull.__tostring = function(self) return 'disk ' .. self.disk .. ' is full' end
      app.class('DiskFull', DiskFull)
      local f = app.remote { benchmark_dataset = { { x = 0 } } } (function(x)
        if x == 1 then error(setmetatable({ disk = 'sda', free = 0 }, DiskFull)) end
        if x == 2 then error { code = 7 } end
        if x == 3 then error 'plain' end
      end)
      farside.run(function()
        local _, e = pcall(f, 1)
        print(e.name, e.disk, e.free, e:is(DiskFull), e:is 'DiskFull', getmetatable(e.data) == DiskFull)
        print(tostring(e):match '^disk sda is full' ~= nil, e.traceback:match 'one%.lua:9:' ~= nil)
        local _, e = pcall(f, 2)
        print(e.data.code)
        local _, e = pcall(f, 3)
        print(e.message:match 'one%.lua:11: plain$' ~= nil, e.traceback ~= nil)
      end)
    ]]))
    assert.same({ 'RemoteError\tsda\t0\ttrue\ttrue\ttrue\ntrue\ttrue\n7\ntrue\ttrue\n', 0 }, { process.out, process.code }, process.err)
  end)
end)
