local host = require 'spec.support.host'

local kDeploy = [[
local farside = require 'farside'
local app = farside.deployment { name = 'calls' }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local echo = app.remote(function(...) return ... end)
local nap = app.remote { concurrency = 16 } (function(s) farside.sleep(s) return s end)
local pair = app.remote(function(first, second) return second, first end)
return { app = app, square = square, echo = echo, nap = nap, pair = pair }
]]

local function prints(expected, text)
  host.prints(expected, kDeploy, text)
end

describe('a call', function()
  after_each(host.clean)

  it('returns what the function returned on a worker', function()
    prints('25\n', 'print(d.square(5))')
  end)

  it('goes to functions of a deployment that a function of another module has made', function()
    host.script('maker.lua', [[
      local farside = require 'farside'
      return function(name)
        local app = farside.deployment { name = name }
        app.remote { name = 'ping', benchmark_dataset = { {} } } (function() return 'pong' end)
        return app
      end
    ]])
    host.prints('25\n', [[
      local app = require 'maker' 'made'
      local square = app.remote(function(x) return x * x end)
      return { app = app, square = square }
    ]], 'print(d.square(5))')
  end)

  it('goes to functions of a deployment that the script returns from a function of another module', function()
    host.script('maker.lua', [[
      local farside = require 'farside'
      return function(name)
        local app = farside.deployment { name = name }
        local square = app.remote { benchmark_dataset = { { x = 1 } } } (function(x) return x * x end)
        return { app = app, square = square }
      end
    ]])
    host.prints('25\n', "return require 'maker' 'made'", 'print(d.square(5))')
  end)

  it('takes arguments by name', function()
    prints('2\t1\n', 'print(d.pair:named { first = 1, second = 2 })')
  end)

  it('runs here with :here', function()
    prints('49\n', 'print(d.square:here(7))')
  end)

  it('keeps nils in the middle and at the end of arguments and results', function()
    prints('4\tnil\t2\tnil\tnil\n', 'print(select("#", d.echo(nil, 2, nil, nil)), d.echo(nil, 2, nil, nil))')
  end)

  it('returns no value when the function returns none', function()
    prints('0\n', 'print(select("#", d.echo()))')
  end)

  it('carries every kind of value both ways', function()
    prints('ok\n', [[
      local ffi = require 'ffi'
      local t = d.echo { 1, 2, { a = 'b', [3] = true, [1.5] = false }, 'x\0y', '\255\254', 2^53, -2^31, 0/0, 1/0 }
      assert(t[1] == 1 and t[3].a == 'b' and t[3][3] == true and t[3][1.5] == false)
      assert(t[4] == 'x\0y' and t[5] == '\255\254' and t[6] == 2^53 and t[7] == -2^31 and t[8] ~= t[8] and t[9] == 1/0)
      assert(1 / d.echo(-0) == -1/0)
      local big = d.echo(0x7fffffffffffffffLL)
      assert(ffi.istype('int64_t', big) and big == 0x7fffffffffffffffLL)
      assert(ffi.istype('uint64_t', d.echo(5ULL)))
      assert(d.echo({ farside.null })[1] == farside.null)
      local long = ('x'):rep(3000000)
      assert(d.echo(long) == long)
      print 'ok'
    ]])
  end)

  it('blocks in the main chunk and in a coroutine of the user, yields in one of Farside', function()
    prints('true\tmain\nown\nfalse\n', [[
      print(pcall(function() d.square(1) return 'main' end))
      coroutine.wrap(function() d.square(2) print 'own' end)()
      local order = {}
      farside.run(function()
        local a = farside.spawn(function() d.nap(0.05) order[#order + 1] = 'slow' end)
        local b = farside.spawn(function() d.nap(0) order[#order + 1] = 'fast' end)
        farside.all { a, b }
      end)
      print(order[1] == 'slow')
    ]])
  end)

  it('works inside the callbacks of gsub and sort', function()
    prints('4-9\t2\n', [[
      local text = ('2-3'):gsub('%d', function(x) return tostring(d.square(tonumber(x))) end)
      local list = { 1, 2 }
      table.sort(list, function(a, b) return d.square(a) > d.square(b) end)
      print(text, list[1])
    ]])
  end)

  it('may be one of many in flight whose futures are awaited in any order', function()
    prints('true\t338350\n', [[
      local futures, sum = {}, 0
      for i = 1, 100 do futures[i] = d.square:spawn(i) end
      futures[100]:await()
      local done = futures[100]:done()
      for i = 100, 1, -1 do sum = sum + futures[i]:await() end
      print(done, sum)
    ]])
  end)

  it('waits with all until each has ended', function()
    prints('1\t4\t9\n', [[
      print(unpack(farside.all { d.square:spawn(1), d.square:spawn(2), d.square:spawn(3) }))
    ]])
  end)

  it('gets the number of calls in flight that was promised, and no more', function()
    prints('1024\tOverloaded\tno\tclient\n', [[
      local futures, n = {}, 0
      local ok, e
      repeat
        ok, e = pcall(function() futures[n + 1] = d.nap:spawn(0.2) end)
        if ok then n = n + 1 end
      until not ok or n > 2000
      print(n, e.name, e.executed, e.scope)
      os.exit(0)
    ]])
  end)

  it('is refused before it is sent when an argument cannot travel', function()
    prints('NotSerializable\tno\ttrue\n', [[
      local ok, e = pcall(d.echo, { items = { 1, 2, { fn = print } } })
      print(e.name, e.executed, tostring(e):find('items[3].fn is a function', 1, true) ~= nil)
    ]])
  end)
end)

describe('a plain luajit', function()
  after_each(host.clean)

  it('runs the same client', function()
    host.script('deploy.lua', kDeploy)
    local script = host.script('client.lua', [[
      package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path
      print(require('deploy').square(5))
    ]])
    local process = host.run_program({ 'luajit', script }, {
      env = {
        LUA_PATH = host.source .. '/lua/?.lua;' .. host.source .. '/lua/?/init.lua;;',
        LUA_CPATH = host.build .. '/lua/?.so;;',
      },
    })
    assert.same({ '25\n', '', 0 }, { process.out, process.err, process.code })
  end)
end)
