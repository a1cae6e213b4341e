local fake = require 'spec.support.fake_native'

local SCRIPT = [[
local farside = require 'farside'
local app = farside.deployment { name = 'd' }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local join = app.remote(function(a, b, c) return a, b, c end)
local open = app.remote(function(a, ...) return a, ... end)
local none = app.remote(function() return 'here' end)
return { app = app, square = square, join = join, open = open, none = none }
]]

describe('a remote function', function()
  local farside, native, d

  before_each(function()
    farside, native = fake.load 'client'
    d = fake.require('deploy', SCRIPT)
    native.answers.square = function(x) return x * x end
    native.answers.join = function(...) return ... end
    native.answers.open = function(...) return select('#', ...), ... end
    native.answers.none = function() return 'there' end
  end)

  --- The error of a call made on line 1 of client.lua with the handles in scope.
  local function error_of(text)
    local chunk = setfenv(assert(loadstring(text, '@client.lua')), setmetatable(d, { __index = _G }))
    local ok, err = pcall(chunk)
    assert.is_false(ok)
    return err
  end

  it('returns what its worker returns', function()
    assert.equal(25, d.square(5))
  end)

  it('keeps the number of arguments and results, nils and all', function()
    assert.same({ 3, nil, nil }, { d.join(3, nil, nil) })
    assert.equal(3, select('#', d.join(nil, nil, nil)))
    assert.equal(3, native.calls[1].n)
  end)

  it('starts its deployment once', function()
    d.square(1)
    d.join(1)
    assert.equal(1, #native.deployed)
    assert.equal(1, native.opened)
  end)

  it('may get fewer arguments than parameters', function()
    assert.is_nil(d.join())
    assert.equal(0, native.calls[1].n)
  end)

  it('refuses more arguments than parameters, at the line of the call', function()
    local err = error_of('return 1, square(5, 6)')
    assert.is_true(err:is 'BadArguments')
    assert.equal('client.lua:1: square: expected at most 1 argument (x), got 2', err.message)
    assert.same({ 2, 'at most 1 argument (x)', '2', 'no', 'square' },
      { err.parameter, err.expected, err.got, err.executed, err['function'] })
    assert.equal('client.lua:1: none: expected at most 0 arguments, got 1', error_of('return 1, none(nil)').message)
    assert.equal('client.lua:1: join: expected at most 3 arguments (a, b, c), got 4',
      error_of('return 1, join:spawn(1, 2, 3, 4)').message)
    assert.same({}, native.calls)
  end)

  it('with ... takes any number of arguments', function()
    assert.same({ 4, 1, 2, 3, 4 }, { d.open(1, 2, 3, 4) })
  end)

  it('takes arguments by name', function()
    assert.same({ nil, 2, nil }, { d.join:named { b = 2 } })
    assert.equal(3, native.calls[1].n)
    assert.equal(49, d.square:named { x = 7 })
    assert.equal('there', d.none:named {})
  end)

  it('refuses names that are no parameters, at the line of the call', function()
    local err = error_of('return 1, square:named { y = 5 }')
    assert.is_true(err:is 'BadArguments')
    assert.equal("client.lua:1: square: expected names of parameters (x), got 'y'", err.message)
    assert.same({ 'y', 'names of parameters (x)' }, { err.parameter, err.expected })
    assert.equal('client.lua:1: square: expected a table of arguments by name, got the number 5',
      error_of('return 1, square:named(5)').message)
    assert.equal("client.lua:1: none: expected no arguments, got 'x', but the function has no parameters",
      error_of('return 1, none:named { x = 1 }').message)
  end)

  it('runs here on demand', function()
    assert.equal('here', d.none:here())
    assert.equal(0, native.opened)
  end)

  it('can be spawned and awaited', function()
    native.latency = 1
    local future = d.square:spawn(5)
    assert.is_false(future:done())
    assert.equal(25, future:await())
    assert.is_true(future:done())
    assert.equal(1001, native.time)
  end)

  it('has another deadline by with, and only that', function()
    assert.equal(25, d.square:with { timeout = 2 } (5))
    assert.equal(2, native.calls[1].timeout)
    assert.equal(36, d.square:with { timeout = 3 }:with { timeout = 4 }:spawn(6):await())
    assert.equal(4, native.calls[2].timeout)
    d.square(1)
    assert.is_false(native.calls[3].timeout)
    assert.equal("client.lua:1: with: unknown option 'timeuot'; did you mean 'timeout'?",
      error_of('square:with { timeuot = 1 }'))
    assert.equal('client.lua:1: with: timeout: expected a number, got the string "1"',
      error_of('square:with { timeout = "1" }'))
    assert.equal('client.lua:1: with: idempotency_key: expected a string of 1 to 255 bytes, got the number 7',
      error_of('square:with { idempotency_key = 7 }'))
    assert.truthy(error_of('square:with { idempotency_key = "" }'):find('a string of 1 to 255 bytes', 1, true))
    assert.truthy(error_of('square:with { idempotency_key = ("x"):rep(256) }'):find('a string of 1 to 255 bytes', 1, true))
    assert.truthy(error_of('square:with { idempotency_key = ("x"):rep(255) }:map { 1 }')
      :find('client.lua:1: map: expected a handle without idempotency_key', 1, true))
  end)

  it('says when a dot stands for a colon', function()
    assert.equal('client.lua:1: expected a colon: write f:spawn(...)', error_of('square.spawn(5)'))
    assert.equal('client.lua:1: expected a colon: write f:named(...)', error_of('return 1, square.named { x = 5 }'))
  end)

  it('raises before anything is sent what the codec refuses', function()
    local err = error_of('return square(print)')
    assert.is_true(err:is 'NotSerializable')
    assert.is_true(err:is 'BadRequest')
    assert.equal('NotSerializable: value 1 is a function [executed=no]', tostring(err))
    assert.equal('square', err['function'])
    assert.same({}, native.calls)
    assert.is_true(error_of('square:spawn(print)'):is 'NotSerializable')
  end)

  it('raises what its worker raised', function()
    native.answers.square = function()
      error({ name = 'WorkerLost', executed = 'maybe', message = 'gone', signal = 9 })
    end
    local err = error_of('return square(5)')
    assert.is_true(err:is 'WorkerLost')
    assert.equal(9, err.signal)
  end)

  it('yields in a coroutine of Farside', function()
    native.latency = 1
    local order = {}
    farside.run(function()
      local other = farside.spawn(function()
        table.insert(order, (d.square(3)))
      end)
      order[1] = 'spawned'
      table.insert(order, (d.square(4)))
      other:await()
    end)
    assert.same({ 'spawned', 9, 16 }, order)
    assert.equal(1001, native.time)
  end)

  it('blocks in the callbacks of Lua, while others go on', function()
    native.latency = 1
    local text, seen = nil, nil
    farside.run(function()
      local other = farside.spawn(function()
        farside.sleep(0.5)
        seen = native.time
      end)
      text = ('1 2 3'):gsub('%d', function(n) return d.square(tonumber(n)) end)
      other:await()
    end)
    assert.equal('1 4 9', text)
    assert.equal(1000.5, seen)
    assert.equal(1003, native.time)
  end)

  it("blocks in the user's own coroutines", function()
    local co = coroutine.wrap(function() return d.square(5) end)
    assert.equal(25, co())
  end)

  it('gets its result though others pump while it blocks', function()
    native.latency = 1
    local inner
    farside.spawn(function()
      farside.sleep(0.5)
      -- Blocks until 1001.5: meanwhile the outer call ends and is taken here.
      inner = ('5'):gsub('5', function() return d.square(5) end)
    end)
    assert.equal(36, d.square(6))
    assert.equal('25', inner)
    assert.equal(1001.5, native.time)
  end)

  it('waits again after a signal has come', function()
    local handle
    native.latency = 1
    d.square:spawn(1)
    handle = native.handle
    local wait, interrupts = handle.wait, 0
    handle.wait = function(...)
      interrupts = interrupts + 1
      if interrupts <= 2 then return 'interrupted' end
      return wait(...)
    end
    assert.equal(25, d.square(5))
  end)

  it('cannot be called by contexts and benchmarks on a worker', function()
    fake.load 'worker'
    d = fake.require('deploy', SCRIPT)
    require('farside.deployment').phase = 'preparing'
    local err = error_of('return 1, square(5)')
    assert.is_true(err:is 'Unsupported')
    assert.equal('no', err.executed)
    assert.equal('client.lua:1: contexts and benchmarks cannot make remote calls; f:here(...) runs a function in place',
      err.message)
  end)
end)

describe('the workload of a call', function()
  local native, d

  --- Calls with a calculator, twice, and returns the workload sent and what was reported.
  local function workload(calculator)
    local _
    _, native = fake.load 'client'
    d = fake.require('deploy', ([[
      local farside = require 'farside'
      local app = farside.deployment { name = 'd' }
      local work = app.remote { benchmark_dataset = { {} }, workload_calculator = %s } (function(n, m) end)
      return work]]):format(calculator))
    native.answers.work = function() end
    local text = fake.stderr_of(function()
      d(3, 4)
      d(3, 4)
    end)
    return native.calls[2].workload, text
  end

  it('is 100 without a calculator', function()
    assert.equal(100, (workload 'nil'))
  end)

  it('is what the calculator makes of the arguments', function()
    local value, text = workload 'function(n, m) return n * m end'
    assert.equal(12, value)
    assert.equal('', text)
    assert.equal(0, (workload 'function() return 0 end'))
  end)

  for got, calculator in pairs {
    ['the number -1'] = 'function() return -1 end',
    ['the number nan'] = 'function() return 0/0 end',
    ['the number inf'] = 'function() return 1/0 end',
    ['nil'] = 'function() end',
  } do
    it(('is 100 for %s, which is reported once'):format(got), function()
      local value, text = workload(calculator)
      assert.equal(100, value)
      assert.equal(('farside: deploy.lua:3: work: workload_calculator: expected a number of at least 0, got %s; such '
        .. 'calls count 100\n'):format(got), text)
    end)
  end

  it('is 100 for an error, which is reported once', function()
    local value, text = workload 'function() error("no") end'
    assert.equal(100, value)
    assert.truthy(text:find('it raised: deploy.lua:3: no; such calls count 100', 1, true))
    assert.equal(1, select(2, text:gsub('\n', '')))
  end)

  it('counts for spawned calls and those by name', function()
    workload 'function(n, m) return n + m end'
    d:spawn(1, 2)
    d:named { n = 5, m = 6 }
    assert.same({ 3, 11 }, { native.calls[3].workload, native.calls[4].workload })
  end)
end)
