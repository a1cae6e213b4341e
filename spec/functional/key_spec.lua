-- Idempotency keys: each entry into a function is a line of a file, which also tells what a killed worker did.
local host = require 'spec.support.host'

local kDeploy = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'
local farside = require 'farside'
local app = farside.deployment { name = 'keys' }
app.configure_autoscaling { max_workers = 2 }
local function enter()
  local file = io.open(os.getenv 'LEDGER', 'a')
  file:write('entered\n')
  file:close()
end
local function count()
  local n, file = 0, io.open(os.getenv 'LEDGER')
  for _ in (file or { lines = function() return function() end end }):lines() do n = n + 1 end
  return n
end
local function wait_for(n)
  while count() < n do farside.sleep(0.002) end
end
local pay = app.remote { concurrency = 8 } (function(s, what) enter() farside.sleep(s) return what, count() end)
local fail = app.remote(function(what) enter() error { what = what } end)
local function die() enter() ffi.C.kill(ffi.C.getpid(), 9) ffi.C.usleep(1e6) end
local once = app.remote(die)
local again = app.remote { idempotent = true } (function() if count() < 1 then die() end enter() return count() end)
local outer = app.remote { concurrency = 8 } (function(key) return pay:with { idempotency_key = key } (0.1, 'nested') end)
local itself
itself = app.remote { concurrency = 8 } (function() return itself:with { idempotency_key = 'me' } () end)
local warm = app.remote { benchmark_dataset = { {} } } (function() end)
local function key(k) return pay:with { idempotency_key = k } end
]]

local function prints(expected, client)
  local process = host.run(host.script('one.lua', kDeploy .. 'farside.run(function()\nwarm()\n' .. client .. '\nend)'),
    { env = { LEDGER = host.folder() .. '/ledger' } })
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('calls with an idempotency_key', function()
  after_each(host.clean)

  it('C6: run once and have one outcome, in flight and afterwards', function()
    prints('x\t1\t21\n', [[
      local futures = {}
      for i = 1, 20 do futures[i] = key 'k' :spawn(0.1, 'x') end
      local what, entries = key 'k' (0.1, 'x')
      local all = 1
      for i = 1, 20 do
        local w, n = futures[i]:await()
        if w == what and n == entries then all = all + 1 end
      end
      print(what, count(), all)
    ]])
  end)

  it('C6: take tables with the same content for the same arguments, whatever their order', function()
    prints('1\n', [[
      local a, b = {}, {}
      for i = 1, 70 do b['other' .. i] = i end  -- it stays larger, and is walked through in another order
      for i = 1, 70 do b['other' .. i] = nil end
      for i = 1, 40 do a['key' .. i], b['key' .. 41 - i] = i, 41 - i end
      key 'k' (0, { a, items = { 1, 2, { b = a } } })
      key 'k' (0, { b, items = { 1, 2, { b = b } } })
      print(count())
    ]])
  end)

  it('C7: are refused where the arguments are others, and the first is unaffected', function()
    prints('DuplicateId\tno\ttrue\tx\t1\n', [[
      local first = key 'k' :spawn(0.1, 'x')
      local ok, e = pcall(key 'k', 0.1, 'y')
      print(e.name, e.executed, tostring(e):find('idempotency_key', 1, true) ~= nil, first:await())
    ]])
  end)

  it('are others where key or function differ', function()
    prints('3\n', [[
      key 'a' (0, 'x') key 'b' (0, 'x')
      pcall(fail:with { idempotency_key = 'a' }, 'x')
      print(count())
    ]])
  end)

  it('C14: get the error of the function again, with what it raised', function()
    prints('RemoteError\tyes\tbad\nRemoteError\tyes\tbad\n1\n', [[
      for _ = 1, 2 do
        local ok, e = pcall(fail:with { idempotency_key = 'k' }, 'bad')
        print(e.name, e.executed, e.data.what)
      end
      print(count())
    ]])
  end)

  it('C14: do not run again after their worker was lost, which may have run them', function()
    prints('WorkerLost\tmaybe\nWorkerLost\tmaybe\n1\n', [[
      for _ = 1, 2 do
        local ok, e = pcall(once:with { idempotency_key = 'k' })
        print(e.name, e.executed)
      end
      print(count())
    ]])
  end)

  it('C14: of an idempotent function are tried again as any others, once for all', function()
    prints('2\t2\t2\n', [[
      local first, second = again:with { idempotency_key = 'k' }:spawn(), again:with { idempotency_key = 'k' }:spawn()
      print(first:await(), second:await(), count())
    ]])
  end)

  it('are cancelled one by one', function()
    prints('Cancelled\tyes\tx\t1\n', [[
      local first, second = key 'k' :spawn(0.2, 'x'), key 'k' :spawn(0.2, 'x')
      wait_for(1)
      first:cancel()
      local ok, e = pcall(first.await, first)
      print(e.name, e.executed, second:await())
    ]])
  end)

  it('keep their own deadlines', function()
    prints('DeadlineExceeded\tyes\tx\t1\n', [[
      local hurried, patient = key 'k' :with { timeout = 0.15 } :spawn(0.4, 'x'), key 'k' :spawn(0.4, 'x')
      local ok, e = pcall(hurried.await, hurried)
      print(e.name, e.executed, patient:await())
    ]])
  end)

  it('may be made in remote functions, and join those of clients', function()
    prints('nested\t1\nnested\t1\nnested\t1\n', [[
      local a, b, c = outer:spawn 'k', outer:spawn 'k', key 'k' :spawn(0.1, 'nested')
      print(a:await()) print(b:await()) print(c:await())
    ]])
  end)

  it('end in an error where one would wait for itself', function()
    prints('true\n', [[
      local ok, e = pcall(itself:with { idempotency_key = 'me', timeout = 5 })
      print(tostring(e):find('would wait for itself', 1, true) ~= nil)
    ]])
  end)
end)
