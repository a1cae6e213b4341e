local collect = require 'spec.support.garbage'
local fake = require 'spec.support.fake_native'

local SCRIPT = [[
local farside = require 'farside'
local app = farside.deployment { name = 'd' }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local join = app.remote(function(a, b) return a, b end)
return { app = app, square = square, join = join }
]]

--- The results of a loop as a list of lists with the index first.
local function rows(...)
  local found = {}
  for i, a, b in ... do found[#found + 1] = { i, a, b } end
  return found
end

local function counter(most)
  local i = 0
  return function()
    i = i + 1
    if i <= most then return i end
  end
end

describe('a map', function()
  local farside, native, d, both

  before_each(function()
    farside, native = fake.load 'client'
    d = fake.require('deploy', SCRIPT)
    native.answers.square = function(x)
      if type(x) ~= 'number' or x < 0 then error({ name = 'RemoteError', message = 'bad', executed = 'yes' }) end
      return x * x
    end
    native.answers.join = function(...) return ... end
    -- The larger, the sooner.
    native.latency = function(x) return type(x) == 'number' and 1 + 1 / (1 + math.abs(x)) or 1 end
    both = function(func)
      func()
      farside.run(func)
    end
  end)

  local function in_flight() return #native.handle.flying end

  --- The error of a piece of code on line 1 of client.lua with the handles in scope.
  local function error_of(text)
    local chunk = setfenv(assert(loadstring(text, '@client.lua')), setmetatable(d, { __index = _G }))
    local ok, err = pcall(chunk)
    assert.is_false(ok)
    return err
  end

  it('gives index and result of each element of a list, in its order', function()
    both(function() assert.same({ { 1, 9 }, { 2, 25 }, { 3, 1 } }, rows(d.square:map { 3, 5, 1 })) end)
  end)

  it('gives results in the order in which they come when it is not ordered', function()
    both(function()
      assert.same({ { 2, 25 }, { 1, 9 }, { 3, 1 } }, rows(d.square:map({ 3, 5, 1 }, { ordered = false })))
    end)
  end)

  it('gives all of many in either order, with few at a time', function()
    local list, expected = {}, {}
    for i = 1, 200 do list[i], expected[i] = i * 37 % 11, (i * 37 % 11) ^ 2 end
    both(function()
      for _, ordered in ipairs { true, false } do
        local found, count = {}, 0
        for i, y in d.square:map(list, { concurrency = 7, ordered = ordered }) do found[i], count = y, count + 1 end
        assert.equal(200, count)
        assert.same(expected, found)
      end
    end)
  end)

  it('of nothing gives nothing', function()
    assert.same({}, rows(d.square:map {}))
    assert.same({}, rows(d.square:map(function() end)))
  end)

  it('takes a function whose values are the arguments', function()
    local i = 0
    local function pairs_of()
      i = i + 1
      if i <= 2 then return i, i * 10 end
    end
    assert.same({ { 1, 1, 10 }, { 2, 2, 20 } }, rows(d.join:map(pairs_of)))
  end)

  it('takes an iterator like that of gmatch and a table that can be called', function()
    assert.same({ { 1, 'a' }, { 2, 'b' } }, rows(d.join:map(('a b'):gmatch '%a')))
    local step = counter(2)
    assert.same({ { 1, 1 }, { 2, 4 } }, rows(d.square:map(setmetatable({}, { __call = function() return step() end }))))
  end)

  it('takes a source that makes calls itself', function()
    local step = counter(3)
    both(function()
      step = counter(3)
      assert.same({ { 1, 1 }, { 2, 16 }, { 3, 81 } }, rows(d.square:map(function()
        local x = step()
        return x and d.square(x)
      end, { concurrency = 2 })))
    end)
  end)

  it('does not call a source again after its end', function()
    local calls = 0
    rows(d.square:map(function()
      calls = calls + 1
      if calls < 3 then return 1 end
    end, { concurrency = 1 }))
    assert.equal(3, calls)
  end)

  it('keeps the number of results', function()
    native.answers.square = function(x)
      if x == 1 then return end
      if x == 2 then return nil end
      return nil, x, nil
    end
    local step, counts = d.square:map { 1, 2, 3 }, {}
    for i = 1, 3 do counts[i] = select('#', step()) end
    assert.same({ 1, 2, 4 }, counts)
  end)

  it('reads nothing before its first step, and never more ahead than its concurrency', function()
    for _, ordered in ipairs { true, false } do
      local read, taken = 0, 0
      local function source()
        read = read + 1
        assert.is_true(read - taken <= 5)
        if read <= 20 then return read end
      end
      local step = d.square:map(source, { concurrency = 5, ordered = ordered })
      assert.equal(0, read)
      for _ in step do taken = taken + 1 end
      assert.equal(20, taken)
    end
  end)

  it('has 64 calls in flight by default', function()
    native.latency = function(x) return x end
    d.square:map(counter(100))()
    assert.equal(63, in_flight())
  end)

  it('raises the error of a call where its turn is, and reads no further', function()
    both(function()
      local found, before = {}, #native.calls
      local ok, err = pcall(function()
        for i, y in d.square:map({ 1, -1, 3, 4, 5, 6 }, { concurrency = 3 }) do found[i] = y end
      end)
      assert.is_false(ok)
      assert.is_true(err:is 'RemoteError')
      assert.same({ 1 }, found)
      assert.equal(before + 4, #native.calls)
    end)
  end)

  it('cancels what is in flight when it raises, and gives no more', function()
    native.latency = function(x) return x < 0 and 1 or 10 end
    local step = d.square:map({ 1, -1, 3 }, { ordered = false })
    assert.is_false(pcall(step))
    assert.same({ 1, 3 }, native.cancelled)
    assert.is_nil(step())
    assert.equal(1001, native.time)
  end)

  it('returns errors in place of results when told so', function()
    both(function()
      for _, ordered in ipairs { true, false } do
        local found = rows(d.square:map({ 1, -1, 3 }, { on_error = 'return', ordered = ordered }))
        table.sort(found, function(a, b) return a[1] < b[1] end)
        assert.same({ 1, 1 }, found[1])
        assert.is_nil(found[2][2])
        assert.is_true(found[2][3]:is 'RemoteError')
        assert.same({ 3, 9 }, found[3])
      end
    end)
  end)

  it('treats what cannot be sent as an error of its element', function()
    local found = rows(d.join:map({ 'a', print, 'c' }, { on_error = 'return' }))
    assert.same({ { 1, 'a' }, { 3, 'c' } }, { found[1], found[3] })
    assert.is_true(found[2][3]:is 'NotSerializable')
    assert.is_true(select(2, pcall(rows, d.join:map { print })):is 'NotSerializable')
  end)

  it('names the line of the map when an element has too many arguments', function()
    local err = error_of('for _ in square:map(function() return 1, 2 end) do end')
    assert.is_true(err:is 'BadArguments')
    assert.equal('client.lua:1: square: expected at most 1 argument (x), got 2', err.message)
  end)

  it('raises an error of its source after the results of what came before', function()
    for _, on_error in ipairs { 'raise', 'return' } do
      local step, found = counter(2), {}
      local ok, err = pcall(function()
        for i, y in d.square:map(function() return step() or error('dry', 0) end, { on_error = on_error }) do found[i] = y end
      end)
      assert.is_false(ok)
      assert.equal('dry', err)
      assert.same({ 1, 4 }, found)
    end
  end)

  it('waits with further elements while the client has too many calls in flight', function()
    native.limit = 3
    both(function()
      for _, ordered in ipairs { true, false } do
        local other = d.square:spawn(0)
        local found = rows(d.square:map({ 1, 2, 3, 4, 5, 6, 7 }, { ordered = ordered }))
        table.sort(found, function(a, b) return a[1] < b[1] end)
        assert.equal(7, #found)
        for i = 1, 7 do assert.same({ i, i * i }, found[i]) end
        other:await()
      end
    end)
  end)

  it('fails when the client has too many calls in flight and none is its own', function()
    native.limit = 1
    d.square:spawn(1)
    assert.is_true(select(2, pcall(d.square:map { 2 })):is 'Overloaded')
  end)

  it('lets other coroutines go on', function()
    local order = {}
    farside.run(function()
      local other = farside.spawn(function()
        farside.sleep(1.1)
        order[#order + 1] = 'other'
      end)
      for i in d.square:map({ 1, 1, 1 }, { concurrency = 1 }) do order[#order + 1] = i end
      other:await()
    end)
    assert.same({ 'other', 1, 2, 3 }, order)
  end)

  it('can be shared by coroutines', function()
    local sum, step = 0, d.square:map({ 1, 2, 3, 4, 5, 6, 7 }, { concurrency = 2 })
    farside.run(function()
      local readers = {}
      for i = 1, 4 do
        readers[i] = farside.spawn(function()
          for _, y in step do
            sum = sum + y
            farside.sleep(0.1)
          end
        end)
      end
      farside.all(readers)
    end)
    assert.equal(140, sum)
  end)

  it('composes with with', function()
    rows(d.square:with { timeout = 2 }:with {}:map { 1, 2 })
    assert.equal(2, native.calls[2].timeout)
    assert.equal(9, d.square:with { timeout = 3 }:spawn(3):await())
    assert.equal(3, native.calls[3].timeout)
  end)

  it('whose loop was left cancels what is in flight once it is garbage', function()
    for i in d.square:map({ 9, 1, 2, 3, 4 }, { concurrency = 3 }) do
      if i == 1 then break end
    end
    assert.same({}, native.cancelled)
    collect()
    farside.sleep(0)
    assert.same({ 2, 3 }, native.cancelled)
  end)

  it('is not kept when its loop has ended or was left', function()
    local weak = setmetatable({}, { __mode = 'k' })
    for round = 1, 2 do
      local list = { 1, 2, 3 }
      weak[list] = true
      for i in d.square:map(list) do
        if round == 1 and i == 1 then break end
      end
    end
    collect()
    farside.sleep(5)
    collect()
    assert.is_nil(next(weak))
  end)

  it('is refused with what is no source or no option, at the line of the call', function()
    for text, message in pairs {
      ['square:map(5)'] = 'map: expected a list or an iterator function, got the number 5',
      ['square:map({}, { concurency = 5 })'] = "map: unknown option 'concurency'; did you mean 'concurrency'?",
      ['square:map({}, { concurrency = 0 })'] =
        'map: concurrency: expected a whole number from 1 to 1024, got the number 0',
      ['square:map({}, { on_error = "ignore" })'] =
        "map: on_error: expected 'raise' or 'return', got the string \"ignore\"",
      ['square.map({})'] = 'expected a colon: write f:map(...)',
      ['square:map(pairs {})'] = 'map: expected a list or one function without arguments, got the values of pairs, '
        .. 'ipairs or the like: write a function that steps through them',
      ['square:map(ipairs {})'] = 'map: expected a list or one function without arguments, got the values of pairs, '
        .. 'ipairs or the like: write a function that steps through them',
    } do
      assert.equal('client.lua:1: ' .. message, error_of('return 1, ' .. text))
    end
    assert.equal(0, #native.calls)
  end)
end)

describe('the progress of a map', function()
  local farside, native, square

  before_each(function()
    farside, native = fake.load 'client'
    square = fake.require('deploy', SCRIPT).square
    native.answers.square = function(x) return x * x end
    native.latency = 1
    square(1)
  end)

  local function written(options, source)
    local text = fake.stderr_of(function()
      for _ in square:map(source or { 1, 2, 3, 4 }, options) do end
    end)
    return (text:gsub("farside: 'd'[^\n]*\n", ''))
  end

  it('is a line that shows count, rate and time left, erased at the end', function()
    native.terminal = true
    local text = written { progress = true, concurrency = 1 }
    assert.equal('\rsquare: 1 of 4 (25 %), 1/s, 0:03 left\27[K', text:match '^\r[^\r]*')
    assert.equal('\r\27[K', text:match '\r[^\r]*$')
    assert.equal(4, select(2, text:gsub('\rsquare', '')))
  end)

  it('does without the time left when the number is not known', function()
    native.terminal = true
    assert.equal('\rsquare: 1, 1/s\27[K', written({ progress = true, concurrency = 1 }, counter(3)):match '^\r[^\r]*')
  end)

  it('shows fast and slow calls alike in plain numbers', function()
    native.terminal = true
    for latency, rate in pairs { [20] = '0.05', [0.0001] = '10000' } do
      native.latency = latency
      local count = latency < 1 and 20000 or 2
      assert.equal(rate, written({ progress = true, concurrency = 1 }, counter(count)):match ', (%S+)/s')
    end
  end)

  it('is erased when the loop raises', function()
    native.terminal = true
    native.answers.square = function(x)
      if x == 3 then error('no', 0) end
      return x
    end
    local text = fake.stderr_of(function()
      pcall(function() for _ in square:map({ 1, 2, 3, 4 }, { progress = true, concurrency = 1 }) do end end)
    end)
    assert.equal('\r\27[K', text:match '\r[^\r]*$')
  end)

  it('moves while the first result is still awaited', function()
    native.terminal = true
    native.latency = function(x) return x end
    for _, run in ipairs { function(f) f() end, farside.run } do
      local text
      run(function() text = written({ progress = true }, { 4, 1, 2, 3 }) end)
      assert.equal('\rsquare: 1 of 4 (25 %), 1/s, 0:03 left\27[K', text:match '^\r[^\r]*')
    end
  end)

  it('is not shown when it is not asked for, and not where there is no terminal', function()
    assert.equal('', written { progress = true })
    native.terminal = true
    assert.equal('', written())
  end)
end)
