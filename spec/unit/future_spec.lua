local collect = require 'spec.support.garbage'
local fake = require 'spec.support.fake_native'

describe('a future', function()
  local farside, native, square

  before_each(function()
    farside, native = fake.load 'client'
    square = fake.require('deploy', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'd' }
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      return square]])
    native.answers.square = function(x)
      if x < 0 then error({ name = 'RemoteError', message = 'negative', executed = 'yes' }) end
      return x * x
    end
    native.latency = 1
  end)

  it('returns its results at each await', function()
    local future = farside.spawn(function() return 1, nil, 3, nil end)
    assert.equal(4, select('#', future:await()))
    assert.same({ 1, nil, 3 }, { future:await() })
  end)

  it('raises its error at each await', function()
    local future = square:spawn(-1)
    for _ = 1, 2 do
      local ok, err = pcall(future.await, future)
      assert.is_false(ok)
      assert.equal('negative', err.message)
    end
  end)

  it('keeps the text and position of a string error', function()
    local future = farside.spawn(assert(loadstring('\nerror("no")', '@there.lua')))
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    assert.equal('there.lua:2: no', err)
    local trace = require('farside.future').trace_of(err)
    assert.equal('stack traceback:\n\tthere.lua:2: in main chunk', trace:match('^(.-)\n\t%S+spec') or trace)
  end)

  it('keeps any error value', function()
    local future = farside.spawn(error, nil)
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    assert.is_nil(err)
    assert.is_true(future:done())
  end)

  it('raises DeadlineExceeded when an await takes too long, and goes on', function()
    for _, run in ipairs { farside.run, function(f) return f() end } do
      local future = square:spawn(5)
      local ok, err = pcall(run, function() return future:await(0.25) end)
      assert.is_false(ok)
      assert.is_true(err:is 'DeadlineExceeded')
      assert.same({ 'maybe', 'sdk', 250 }, { err.executed, err.phase, err.waited_ms })
      assert.equal(25, future:await(1))
    end
    assert.equal(1002, native.time)
  end)

  it('is awaited at once with a timeout of 0 when it is done', function()
    assert.equal(1, farside.spawn(function() return 1 end):await(0))
  end)

  it('can be awaited by many', function()
    local future = square:spawn(5)
    local waiters = {}
    for i = 1, 3 do waiters[i] = farside.spawn(function() return future:await() + i end) end
    assert.same({ 26, 27, 28 }, farside.all(waiters))
  end)

  it('is not kept when it is dropped', function()
    local weak = setmetatable({ square:spawn(5) }, { __mode = 'v' })
    farside.sleep(2)
    collect()
    assert.is_nil(weak[1])
    assert.equal(0, native.handle:done())
  end)

  it('is not kept by the waits that have timed out', function()
    local future = farside.spawn(function() farside.sleep(100) end)
    farside.run(function()
      for _ = 1, 10 do pcall(future.await, future, 0.1) end
    end)
    assert.same({}, future._waiters)
  end)

  it('leaves no timer behind when it is done before the timeout', function()
    farside.run(function() square:spawn(5):await(100) end)
    assert.is_nil(require('farside.future').delay())
  end)

  it('wakes its waiter once when it ends at the very end of the timeout', function()
    farside.run(function()
      local future = farside.spawn(function() farside.sleep(1) end)
      future:await(1)
      farside.sleep(5)
    end)
    assert.equal(1006, native.time)
  end)

  it('has the number of its call as text, and none when it is no call', function()
    local first, second = square:spawn(5), square:spawn(6)
    assert.equal('string', type(first:id()))
    assert.is_true(first:id() ~= second:id())
    assert.is_nil(farside.spawn(function() end):id())
  end)

  it('ends in Cancelled when it is cancelled, and only then', function()
    local future, done = square:spawn(5), square:spawn(6)
    future:cancel()
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    assert.is_true(err:is 'Cancelled')
    assert.equal(1000, native.time)
    assert.equal(36, done:await())
    done:cancel()
    assert.equal(36, done:await())
    assert.equal(1, #native.cancelled)
  end)

  it('of farside.spawn refuses to be cancelled, at the line of the call', function()
    local ok, err = pcall(assert(loadstring('local future = ... return 1, future:cancel()', '@client.lua')),
      farside.spawn(function() end))
    assert.is_false(ok)
    assert.equal('client.lua:1: cancel: expected the future of a call, got one of farside.spawn', err)
  end)

  it('says where a wrong timeout is', function()
    local chunk = loadstring('local future = ... return 1, future:await("1")', '@client.lua')
    local ok, err = pcall(chunk, square:spawn(5))
    assert.is_false(ok)
    assert.equal('client.lua:1: await: expected seconds of at least 0, got the string "1"', err)
  end)

  it('is an error to await when nothing can end it', function()
    local future
    future = farside.spawn(function()
      farside.sleep(1)
      return future:await()
    end)
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    assert.equal('no call, timer or coroutine is left that could end this wait', err)
  end)
end)

describe('farside.run', function()
  local farside, native

  before_each(function()
    farside, native = fake.load 'client'
  end)

  it('returns the results of its function', function()
    assert.same({ 1, nil, 3 }, { farside.run(function(...) return ... end, 1, nil, 3) })
  end)

  it('raises the error of its function', function()
    local thrown = {}
    local ok, err = pcall(farside.run, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
  end)

  it('can be nested', function()
    assert.equal(3, farside.run(function() return farside.run(function() farside.sleep(1) return 3 end) end))
  end)

  it('refuses what is no function, at the line of the call', function()
    local ok, err = pcall(assert(loadstring("require('farside').run(5)", '@client.lua')))
    assert.is_false(ok)
    assert.equal('client.lua:1: run: expected a function, got the number 5', err)
  end)

  it('lets coroutines sleep side by side', function()
    local order = {}
    farside.run(function()
      local futures = {}
      for i = 3, 1, -1 do
        futures[#futures + 1] = farside.spawn(function()
          farside.sleep(i)
          order[#order + 1] = i
        end)
      end
      farside.all(futures)
    end)
    assert.same({ 1, 2, 3 }, order)
    assert.equal(1003, native.time)
  end)

  it('gives others a turn at a plain yield', function()
    local order = {}
    farside.run(function()
      local other = farside.spawn(function()
        order[#order + 1] = 'a'
        coroutine.yield()
        order[#order + 1] = 'c'
      end)
      order[#order + 1] = 'b'
      other:await()
    end)
    assert.same({ 'a', 'b', 'c' }, order)
  end)
end)

describe('farside.all', function()
  local farside

  before_each(function()
    farside = fake.load 'client'
  end)

  it('returns the first results under their keys', function()
    local function value(x) return farside.spawn(function() farside.sleep(1) return x, 'more' end) end
    assert.same({ 1, 2, x = 3 }, farside.all { value(1), value(2), x = value(3) })
  end)

  it('raises the error that is first in the list', function()
    local function fail(x, seconds) return farside.spawn(function() farside.sleep(seconds) error(x, 0) end) end
    local ok, err = pcall(farside.all, { fail('a', 2), fail('b', 1) })
    assert.is_false(ok)
    assert.equal('a', err)
  end)

  it('refuses what is no future, at the line of the call', function()
    local ok, err = pcall(assert(loadstring("require('farside').all { 5 }", '@client.lua')))
    assert.is_false(ok)
    assert.equal('client.lua:1: all: expected futures, got the number 5 under the key 1', err)
  end)
end)

--- Both kinds of code that wait: blocking, and in a coroutine of Farside's.
local function both_ways(farside, func)
  func()
  farside.run(func)
end

local function collected(weak)
  collect()
  return next(weak) == nil
end

describe('farside.any', function()
  local farside, native, later, fails

  before_each(function()
    farside, native = fake.load 'client'
    later = function(seconds, ...)
      local values, count = { ... }, select('#', ...)
      return farside.spawn(function() farside.sleep(seconds) return unpack(values, 1, count) end)
    end
    fails = function(seconds, err)
      return farside.spawn(function() farside.sleep(seconds) error(err, 0) end)
    end
  end)

  it('returns the key and the results of the first that ends well', function()
    both_ways(farside, function()
      local start = native.time
      assert.same({ 'x', 'fast', nil, 3 }, { farside.any { later(3, 'slow'), x = later(2, 'fast', nil, 3), fails(1, 'no') } })
      assert.equal(start + 2, native.time)
    end)
  end)

  it('returns the first of the list when some had ended before', function()
    local futures = { later(2, 'b'), later(1, 'a'), later(9, 'c') }
    farside.sleep(3)
    assert.same({ 1, 'b' }, { farside.any(futures) })
    assert.equal(1003, native.time)
  end)

  it('raises the error of the last when all fail', function()
    both_ways(farside, function()
      local ok, err = pcall(farside.any, { fails(2, 'last'), fails(1, 'first') })
      assert.is_false(ok)
      assert.equal('last', err)
    end)
  end)

  it('leaves nothing behind at those that go on', function()
    local loser = later(100)
    both_ways(farside, function()
      for _ = 1, 10 do farside.any { loser, later(1), loser } end
    end)
    assert.is_nil(loser._groups)
    assert.is_nil(loser._waiters)
  end)

  it('refuses an empty table and what is no future, at the line of the call', function()
    for text, message in pairs {
      ['{}'] = 'any: expected at least one future, got none',
      ['{ 5 }'] = 'any: expected futures, got the number 5 under the key 1',
      ['5'] = 'any: expected a table of futures, got the number 5',
    } do
      local ok, err = pcall(assert(loadstring(("return 1, require('farside').any(%s)"):format(text), '@client.lua')))
      assert.is_false(ok)
      assert.equal('client.lua:1: ' .. message, err)
    end
  end)
end)

describe('farside.as_completed', function()
  local farside, native, later

  before_each(function()
    farside, native = fake.load 'client'
    later = function(seconds)
      return farside.spawn(function() farside.sleep(seconds) return seconds end)
    end
  end)

  it('gives futures with their keys in the order in which they end', function()
    both_ways(farside, function()
      local keys, values = {}, {}
      for key, future in farside.as_completed { later(3), later(1), x = later(2) } do
        assert.is_true(future:done())
        keys[#keys + 1], values[#values + 1] = key, future:await()
      end
      assert.same({ 2, 'x', 1 }, keys)
      assert.same({ 1, 2, 3 }, values)
    end)
  end)

  it('gives those that had ended first, without a wait', function()
    local slow, a, b = later(5), later(2), later(1)
    farside.sleep(3)
    local futures = farside.as_completed { slow, a, b }
    assert.same({ 2, 3 }, { (futures()), (futures()) })
    assert.equal(1003, native.time)
    assert.equal(1, (futures()))
    assert.is_nil(futures())
    assert.is_nil(futures())
  end)

  it('gives a future that ended in an error, whose await raises', function()
    local _, future = farside.as_completed { farside.spawn(error, 'no', 0) } ()
    local ok, err = pcall(future.await, future)
    assert.is_false(ok)
    assert.equal('no', err)
  end)

  it('gives a future once for each of its keys', function()
    local future, keys = later(1), {}
    for key, found in farside.as_completed { a = future, b = future } do
      assert.equal(future, found)
      keys[key] = true
    end
    assert.same({ a = true, b = true }, keys)
  end)

  it('gives nothing for an empty table', function()
    assert.is_nil(farside.as_completed {} ())
  end)

  it('can be shared by coroutines', function()
    local futures, seen = farside.as_completed { later(1), later(2), later(3), later(4) }, {}
    farside.run(function()
      local readers = {}
      for i = 1, 3 do
        readers[i] = farside.spawn(function()
          for key in futures do seen[#seen + 1] = key end
        end)
      end
      farside.all(readers)
    end)
    assert.same({ 1, 2, 3, 4 }, seen)
  end)

  it('is not kept by futures that have not ended when its loop is left', function()
    local slow = later(100)
    local weak = setmetatable({}, { __mode = 'k' })
    for key in farside.as_completed { slow, later(1) } do
      weak[next(slow._groups)] = true
      if key == 2 then break end
    end
    assert.is_true(collected(weak))
    assert.is_nil(next(slow._groups))
  end)

  it('does not keep futures it has given', function()
    local weak = setmetatable({}, { __mode = 'k' })
    local function three()
      local list = { later(1), later(2), later(3) }
      for i = 1, 3 do weak[list[i]] = true end
      return farside.as_completed(list)
    end
    local futures = three()
    while futures() do end
    assert.is_true(collected(weak))
    assert.is_nil(futures())
  end)

  it('is for remote functions as well', function()
    local worker = fake.load 'worker'
    local future = require 'farside.future'
    future.serve(fake.executor(require 'farside.native'))
    local keys = {}
    local nap = function(seconds) return worker.spawn(function() worker.sleep(seconds) end) end
    for key in worker.as_completed { nap(2), nap(1) } do keys[#keys + 1] = key end
    assert.same({ 2, 1 }, keys)
    assert.equal(2, (worker.any { nap(2), nap(1) }))
  end)
end)

describe('farside.sleep', function()
  it('passes time outside of coroutines too', function()
    local farside, native = fake.load 'client'
    farside.sleep(2.5)
    assert.equal(1002.5, native.time)
    farside.sleep(0)
    assert.equal(1002.5, native.time)
  end)

  it('refuses what is no time, at the line of the call', function()
    fake.load 'client'
    local ok, err = pcall(assert(loadstring("require('farside').sleep(-1)", '@client.lua')))
    assert.is_false(ok)
    assert.equal('client.lua:1: sleep: expected seconds of at least 0, got the number -1', err)
  end)
end)

describe('a heap of timers', function()
  it('gives what is due in the order of the instants, then of adding', function()
    local timers = require('farside.timers').new()
    local entries = {}
    for i = 1, 200 do
      entries[i] = { i = i }
      timers:add(entries[i], (i * 7919) % 20)
    end
    for i = 1, 200, 3 do timers:remove(entries[i]) end
    timers:remove(entries[1])
    local last, count = { at = -1, i = 0 }, 0
    assert.is_nil(timers:pop(-1))
    for entry in function() return timers:pop(100) end do
      assert.is_true(entry.at > last.at or entry.at == last.at and entry.i > last.i)
      assert.is_true(entry.i % 3 ~= 1)
      last, count = entry, count + 1
    end
    assert.equal(133, count)
    assert.equal(0, timers.size)
  end)
end)
