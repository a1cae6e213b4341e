local host = require 'spec.support.host'

local DEPLOY = [[
local farside = require 'farside'
local app = farside.deployment { name = 'forms' }
app.configure_autoscaling { max_workers = 2 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x)
  if x == 'bad' then error('no number', 0) end
  return x * x
end)
local nap = app.remote { concurrency = 16 } (function(s) farside.sleep(s) return s end)
local sum = app.remote(function(a, b) return a + b, a end)
local race = app.remote(function()
  local function later(s) return farside.spawn(function() farside.sleep(s) return s end) end
  local keys = {}
  for key, future in farside.as_completed { later(0.1), later(0), x = later(0.05) } do
    keys[#keys + 1] = key .. '=' .. future:await()
  end
  local key, value = farside.any { later(5), later(0) }
  return table.concat(keys, ' '), key, value
end)
local total = app.remote(function(most, ordered)
  local list, found = {}, 0
  for i = 1, most do list[i] = i end
  for i, y in square:map(list, { ordered = ordered, concurrency = 8 }) do
    assert(y == i * i)
    found = found + y
  end
  return found
end)
return { app = app, square = square, nap = nap, sum = sum, race = race, total = total }
]]

local function prints(expected, text)
  host.prints(expected, DEPLOY, text)
end

describe('a future of a call', function()
  after_each(host.clean)

  it('has an id of its own', function()
    prints('1000\n', [[
      local seen, count = {}, 0
      for _ = 1, 1000 do
        local future = d.square:spawn(2)
        if not seen[future:id()] then seen[future:id()], count = true, count + 1 end
        future:await()
      end
      print(count)
    ]])
  end)

  it('ends in Cancelled when it is cancelled', function()
    prints('Cancelled\n4\n', [[
      local future = d.nap:spawn(60)
      future:cancel()
      local ok, err = pcall(future.await, future)
      print(err.name)
      local done = d.square:spawn(2)
      done:await()
      done:cancel()
      print(done:await())
    ]])
  end)

  it('that is the first of any ends the wait', function()
    prints('fast\t0\nDeadlineExceeded\n', [[
      print(farside.any { d.nap:spawn(60), fast = d.nap:spawn(0) })
      local ok, err = pcall(farside.any, { d.nap:with { timeout = 0.05 }:spawn(60), d.square:spawn 'bad' })
      print(err.name)
    ]])
  end)

  it('comes in its turn from as_completed', function()
    prints('3 2 1\n3 2 1\n', [[
      local function main()
        d.nap(0)
        local keys = {}
        for key, future in farside.as_completed { d.nap:spawn(0.3), d.nap:spawn(0.15), d.nap:spawn(0) } do
          future:await()
          keys[#keys + 1] = key
        end
        print(table.concat(keys, ' '))
      end
      main()
      farside.run(main)
    ]])
  end)

  it('may be awaited in any order inside a remote function', function()
    prints('2=0 x=0.05 1=0.1\t2\t0\n', 'print(d.race())')
  end)

  it('does not leak when it is dropped', function()
    prints('true\n', [[
      local function many()
        for i = 1, 20000 do
          d.square:spawn(2)
          if i % 500 == 0 then d.square(3) end
        end
        collectgarbage()
        collectgarbage()
        return collectgarbage 'count'
      end
      many()
      local before = many()
      print(many() < before + 64)
    ]])
  end)
end)

describe('a map', function()
  after_each(host.clean)

  it('calls for each element of a list, in order and as they come, blocking and in a coroutine', function()
    prints(('2000\t2668667000\n'):rep(4), [[
      local list = {}
      for i = 1, 2000 do list[i] = i end
      local function main()
        for _, ordered in ipairs { true, false } do
          local count, sum = 0, 0
          for i, y in d.square:map(list, { ordered = ordered }) do
            assert(y == i * i and (not ordered or i == count + 1))
            count, sum = count + 1, sum + y
          end
          print(count, ('%.0f'):format(sum))
        end
      end
      main()
      farside.run(main)
    ]])
  end)

  it('takes all calls that a client may have in flight, and more beside others', function()
    prints('5000\n', [[
      local others, n = {}, 0
      for i = 1, 100 do others[i] = d.nap:spawn(0.05) end
      local function source() n = n + 1 if n <= 5000 then return n end end
      local count = 0
      for i, y in d.square:map(source, { concurrency = 1024 }) do
        assert(y == i * i)
        count = count + 1
      end
      farside.all(others)
      print(count)
    ]])
  end)

  it('passes several values of an iterator as arguments', function()
    prints('1\t11\t1\n2\t22\t2\n', [[
      local n = 0
      for i, total, a in d.sum:map(function() n = n + 1 if n <= 2 then return n, n * 10 end end) do print(i, total, a) end
    ]])
  end)

  it('raises the error of a call in the loop, or returns it', function()
    prints('1\t1\nRemoteError\tno number\n1\t1\nnil\tRemoteError\n3\t9\n', [[
      local list = { 1, 'bad', 3 }
      local ok, err = pcall(function() for i, y in d.square:map(list) do print(i, y) end end)
      print(err.name, err.message)
      for i, y, e in d.square:map(list, { on_error = 'return' }) do print(y and i, y or e.name) end
    ]])
  end)

  it('works inside a remote function', function()
    prints('338350\n338350\n', [[
      print(d.total(100, true))
      print(d.total(100, false))
    ]])
  end)

  it('cancels what is in flight when it raises', function()
    prints('RemoteError\nok\n', [[
      local napping = d.nap:with { timeout = 30 }
      local ok, err = pcall(function()
        for _ in napping:map({ 60, 'x', 60 }, { ordered = false }) do end
      end)
      print(err.name)
      repeat farside.sleep(0.01) until d.app.status().running == 0
      print 'ok'
    ]])
  end)

  it('cancels what is in flight some time after its loop was left', function()
    prints('1\nok\n', [[
      d.app.ensure_ready()
      for i in d.nap:map { 0, 60, 60, 60 } do
        print(i)
        break
      end
      collectgarbage()
      collectgarbage()
      repeat farside.sleep(0.01) until d.app.status().running == 0
      print 'ok'
    ]])
  end)
end)
