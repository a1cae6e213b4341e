-- Functions that run many calls as one, with real workers.
local host = require 'spec.support.host'

local DEPLOY = [[
local farside = require 'farside'
local ffi = require 'ffi'
ffi.cdef 'int getpid(void);'
local app = farside.deployment { name = 'batch' }
app.configure_autoscaling { max_workers = 1 }
local DiskFull = app.class('DiskFull', {})
local runs = 0

local function answer(list)
  runs = runs + 1
  local results = {}
  for i, element in ipairs(list) do
    local what = element[1]
    if what == 'bad' then results[i] = farside.error('no good')
    elseif what == 'disk' then results[i] = farside.error(setmetatable({ path = '/' }, DiskFull))
    elseif what == 'print' then results[i] = { print }
    else results[i] = { size = #list, run = runs, n = element.n, what = what, second = element[2] } end
  end
  return results
end

local embed = app.remote { batch = { max_size = 8, max_wait = 0.1 }, benchmark_dataset = { { 'a' }, { 'b', 2 } },
  benchmark_runs = 1 } (answer)
local patient = app.remote { batch = { max_size = 4, max_wait = 60 } } (function(list)
  farside.sleep(0.2)
  return answer(list)
end)
local wrong = app.remote { batch = { max_size = 2, max_wait = 0.1 } } (function(list)
  local what = list[1][1]
  if what == 'raise' then error('all of it') end
  if what == 'error' then return farside.error('x') end
  return what == 'short' and { 1 } or what == 'long' and { 1, 2, 3 } or what
end)
local gaps = app.remote { batch = { max_size = 3, max_wait = 0.1 } } (function() return { nil, 2, nil, n = 3 } end)
local spin = app.remote { batch = { max_size = 2, max_wait = 0.1 } } (function(list)
  local stop = farside.now() + list[1][1]
  while farside.now() < stop do end
  return { ffi.C.getpid(), ffi.C.getpid() }
end)
local deadly = app.remote { batch = { max_size = 3, max_wait = 0.1 }, idempotent = true } (function(list)
  for _, element in ipairs(list) do
    if element[1] == 'die' then ffi.C.kill(ffi.C.getpid(), 9) end
  end
  return list
end)
ffi.cdef 'int kill(int pid, int signal);'
local once = app.remote { batch = { max_size = 2, max_wait = 0.1 } } (function()
  ffi.C.kill(ffi.C.getpid(), 9)
end)
local says = app.remote { batch = { max_size = 2, max_wait = 0.1 } } (function(list)
  farside.progress(3, 4)
  local ok, err = pcall(app.yield, 1)
  return { tostring(err), tostring(err), n = #list }
end)
local pid = app.remote { concurrency = 4 } (function() return ffi.C.getpid() end)
local held = app.remote { concurrency = 4 } (function(seconds)
  local stop = farside.now() + seconds
  while farside.now() < stop do end
end)
local beside = app.remote { batch = { max_size = 8, max_wait = 0.01 }, concurrency = 4 } (answer)
local outer = app.remote { batch = { max_size = 2, max_wait = 0.1 }, concurrency = 4 } (function(list)
  local call = farside.call()
  for i, element in ipairs(list) do list[i] = { pid:with { timeout = 5 }(), element[1], call.attempt, call.deadline } end
  return list
end)
return { app = app, embed = embed, patient = patient, wrong = wrong, gaps = gaps, spin = spin, deadly = deadly,
  once = once, says = says, held = held, beside = beside, pid = pid, outer = outer }
]]

local HEAD = [[
package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path
local farside = require 'farside'
local d = require 'deploy'
d.app.ensure_ready()
local function spawn(f, ...)
  local futures = {}
  for i = 1, select('#', ...) do futures[i] = f:spawn((select(i, ...))) end
  return futures
end
local function outcome(future)
  local ok, result = pcall(future.await, future)
  return ok, result
end
]]

local function prints(expected, text)
  host.script('deploy.lua', DEPLOY)
  local process = host.run(host.script('client.lua', HEAD .. text))
  assert.same({ out = expected, code = 0 }, { out = process.out, code = process.code }, process.err)
end

describe('a function with batch', function()
  after_each(host.clean)

  it('gets calls that come together as one list', function()
    prints('5\t1\t1\n5\t1\t5\n', [[
      local futures = spawn(d.embed, 1, 2, 3, 4, 5)
      local first, last = futures[1]:await(), futures[5]:await()
      print(first.size, first.run - first.run + 1, first.what)
      print(last.size, last.run - first.run + 1, last.what)
    ]])
  end)

  it('gets all arguments of each, also nils', function()
    prints('3\tnil\n0\tnil\n', [[
      local one, two = d.embed:spawn('x', nil, nil), d.embed:spawn()
      for _, future in ipairs { one, two } do
        local result = future:await()
        print(result.n, result.second)
      end
    ]])
  end)

  it('runs at once when there are enough of them', function()
    prints('4\ttrue\n', [[
      local start = farside.now()
      local futures = spawn(d.patient, 1, 2, 3, 4)
      print(futures[4]:await().size, farside.now() - start < 10)
    ]])
  end)

  it('does not wait for more when its worker was busy', function()
    prints('2\ttrue\n', [[
      local start = farside.now()
      local futures = spawn(d.patient, 1, 2, 3, 4, 5, 6)
      print(futures[6]:await().size, farside.now() - start < 10)
    ]])
  end)

  it('does not wait longer than a call may', function()
    prints('1\ttrue\n', [[
      local start = farside.now()
      print(d.patient:with { timeout = 20 }(1).size, farside.now() - start < 10)
    ]])
  end)

  it('fails one element alone by farside.error', function()
    prints('1\n2\nRemoteError\tyes\tdeploy.lua:14: no good\ttrue\n4\n', [[
      local futures = spawn(d.embed, 1, 2, 'bad', 4)
      for _, future in ipairs(futures) do
        local ok, result = outcome(future)
        if ok then
          print(result.what)
        else
          print(result.name, result.executed, result.message:match('[^/]*$'), result.traceback:find('deploy.lua:14') ~= nil)
        end
      end
    ]])
  end)

  it('fails one element alone by an object of a class', function()
    prints('false\ttrue\t/\n1\n', [[
      local futures = spawn(d.embed, 'disk', 1)
      local ok, err = outcome(futures[1])
      print(ok, err:is('DiskFull'), err.path)
      print(futures[2]:await().what)
    ]])
  end)

  it('fails one element alone that cannot travel', function()
    prints('NotSerializable\tyes\tresult[1] is a function\n1\n', [[
      local futures = spawn(d.embed, 'print', 1)
      local _, err = outcome(futures[1])
      print(err.name, err.executed, err.message)
      print(futures[2]:await().what)
    ]])
  end)

  it('fails all that run together by what it raises, once', function()
    prints('RemoteError\tyes\ttrue\nRemoteError\tyes\ttrue\n', [[
      for _, future in ipairs(spawn(d.wrong, 'raise', 'other')) do
        local _, err = outcome(future)
        print(err.name, err.executed, err.message:find('deploy.lua:30: all of it') ~= nil)
      end
    ]])
  end)

  it('fails all when it returns no list of as many results', function()
    local said = 'a function with batch: expected a list of 2 results, got '
    local expected = {}
    for i, got in ipairs { 'a list of 1', 'a list of 3', 'nil', 'the number 5', 'an error' } do
      expected[i] = ('RemoteError\tyes\t%s%s\n'):format(said, got):rep(2)
    end
    prints(table.concat(expected), [[
      for _, what in ipairs { 'short', 'long', 'nil', 5, 'error' } do
        if what == 'nil' then what = nil end
        local one, two = d.wrong:spawn(what), d.wrong:spawn(0)
        for _, future in ipairs { one, two } do
          local _, err = outcome(future)
          print(err.name, err.executed, err.message)
        end
      end
    ]])
  end)

  it('may return nothing for an element, if it says how many there are', function()
    prints('nil\n2\nnil\n', [[
      for _, future in ipairs(spawn(d.gaps, 1, 2, 3)) do print(future:await()) end
    ]])
  end)

  it('goes on when one of its calls is cancelled or late, on the same worker', function()
    prints('Cancelled\ntrue\nDeadlineExceeded\ntrue\n', [[
      local before = d.pid()
      local one, two = d.spin:spawn(0.5), d.spin:spawn(0)
      farside.sleep(0.2)
      two:cancel()
      print(select(2, outcome(two)).name)
      print(one:await() == before)
      one, two = d.spin:with { timeout = 0.3 }:spawn(3), d.spin:spawn(0)
      print(select(2, outcome(one)).name)
      print(two:await() == before)
    ]])
  end)

  it('leaves out a call that is cancelled before it runs', function()
    prints('Cancelled\n1\t2\n', [[
      local before = d.held:spawn(0.4)
      local one, two = d.beside:spawn(1), d.beside:spawn(2)
      farside.sleep(0.15)
      one:cancel()
      print(select(2, outcome(one)).name)
      local result = two:await()
      print(result.size, result.what)
    ]])
  end)

  it('does not run when all are cancelled before it does', function()
    prints('Cancelled\nCancelled\n1\n', [[
      local first = d.beside('x').run
      local before = d.held:spawn(0.4)
      local one, two = d.beside:spawn(1), d.beside:spawn(2)
      farside.sleep(0.15)
      two:cancel()
      one:cancel()
      print(select(2, outcome(one)).name)
      print(select(2, outcome(two)).name)
      before:await()
      print(d.beside('y').run - first)
    ]])
  end)

  it('answers a call whose arguments cannot be read, and runs for the others', function()
    prints('UnknownClass\tno\n2\t1\n2\t3\n', [[
      local Ghost = {}
      debug.getfenv(require('farside.future').handle())[0]:add('Ghost', Ghost)  -- no worker knows it
      local futures = spawn(d.embed, 1, setmetatable({}, Ghost), 3)
      local _, err = outcome(futures[2])
      print(err.name, err.executed)
      for i = 1, 3, 2 do
        local result = futures[i]:await()
        print(result.size, result.what)
      end
    ]])
  end)

  it('is interrupted when all of its calls are cancelled', function()
    prints('Cancelled\nCancelled\ntrue\n', [[
      local start = farside.now()
      local one, two = d.spin:spawn(60), d.spin:spawn(0)
      farside.sleep(0.2)
      two:cancel()
      one:cancel()
      print(select(2, outcome(one)).name)
      print(select(2, outcome(two)).name)
      d.pid()
      print(farside.now() - start < 10)
    ]])
  end)

  it('W1: ends each of its calls when the worker dies', function()
    prints('WorkerLost\tmaybe\nWorkerLost\tmaybe\n', [[
      for _, future in ipairs(spawn(d.once, 1, 2)) do
        local _, err = outcome(future)
        print(err.name, err.executed)
      end
    ]])
  end)

  it('W17: is not refused for the one among its calls that kills workers', function()
    prints('1\nfalse\n3\n', [[
      local futures = spawn(d.deadly, 1, 'die', 3)
      print(futures[1]:await()[1])
      print((outcome(futures[2])))
      print(futures[3]:await()[1])
    ]])
  end)

  it('makes calls, several batches at once', function()
    prints('true\t1\t1\ttrue\ntrue\t2\t1\ttrue\ntrue\t3\t1\ttrue\n', [[
      local client = require('ffi').C.getpid()
      for _, future in ipairs(spawn(d.outer:with { timeout = 9 }, 1, 2, 3)) do
        local result = future:await()
        print(result[1] ~= client, result[2], result[3], result[4] > farside.now() and result[4] < farside.now() + 9)
      end
    ]])
  end)

  it('runs here with a list of one', function()
    prints('1\tq\nfalse\tdeploy.lua:14: no good\nfalse\ttrue\n', [[
      print(d.embed:here('q').size, d.embed:here('q').what)
      local ok, err = pcall(d.embed.here, d.embed, 'bad')
      print(ok, err:match('[^/]*$'))
      ok, err = pcall(d.wrong.here, d.wrong, 5)
      print(ok, err:find('expected a list of 1 result, got the number 5', 1, true) ~= nil)
    ]])
  end)

  it('says its progress to all who wait for it, and cannot stream', function()
    prints('3 of 4\t3 of 4\tapp.yield: expected a function without batch\tstream: expected a function without batch\n', [[
      local seen = {}
      local loud = d.says:with { on_progress = function(n, total) seen[#seen + 1] = n .. ' of ' .. total end }
      local one, two = loud:spawn(1), loud:spawn(2)
      local text = two:await()
      one:await()
      farside.sleep(0)
      print(seen[1], seen[2], text:match('app.yield: [^:]*'), select(2, pcall(d.says.stream, d.says)):match('stream: [^,]*'))
    ]])
  end)

  it('is measured by whole batches', function()
    prints('true\t8\n', [[
      print(d.app.status().workers[1].scores.embed > 0, d.embed('x').run > 0 and 8)
    ]])
  end)

  it('may be written with an attribute', function()
    local process = host.run(host.script('attribute.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'attribute' }
      app.remote<batch = { max_size = 3, max_wait = 0.1 }, benchmark_dataset = { { 1 } }>
      local function twice(list)
        for i, element in ipairs(list) do list[i] = 2 * element[1] end
        return list
      end
      farside.run(function() print(twice(4)) end)
    ]]))
    assert.same({ '8\n', 0 }, { process.out, process.code }, process.err)
  end)
end)
