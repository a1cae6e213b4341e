-- What a new user gets wrong first: each ends in one clear message, with no process left behind.
local host = require 'spec.support.host'

local kHead = [[
local farside = require 'farside'
local app = farside.deployment { name = 'mistakes' }
app.configure_autoscaling { max_workers = 1 }
]]

local function run(text)
  return host.run(host.script('one.lua', kHead .. text))
end

-- Ends with 1 and a message that holds every pattern, once.
local function fails(text, ...)
  local process = run(text)
  assert.equal(1, process.code, process.err)
  for _, pattern in ipairs { ... } do
    assert.truthy(process.err:match(pattern), ('no "%s" in:\n%s'):format(pattern, process.err))
  end
  return process
end

describe('a new user who', function()
  after_each(host.clean)

  it('mistypes an option is told the right one, and where', function()
    fails("app.remote { benchmark_datset = { { x = 1 } } } (function(x) return x end)",
      'one%.lua:4:', 'benchmark_datset', 'did you mean .?benchmark_dataset')
  end)

  it('writes a dataset with a wrong key is told the parameters', function()
    fails("app.remote { benchmark_dataset = { { y = 1 } } } (function(x) return x end)", 'one%.lua:4:', '%f[%w]y%f[%W]', '%f[%w]x%f[%W]')
  end)

  it('passes a value the function chokes on sees its error with the remote traceback', function()
    local process = fails([[
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      farside.run(function() square('a') end)
    ]], "perform arithmetic on", 'one%.lua:4:', 'remote stack traceback:\n%s+%S+one%.lua:4:')
    assert.equal(1, select(2, process.err:gsub('perform arithmetic on', '')), process.err)
  end)

  it('passes a function as an argument is told before anything is sent', function()
    fails([[
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      farside.run(function() square(print) end)
    ]], 'argument x is a function', 'one%.lua:5:')
  end)

  it('passes too many arguments is told how many it takes', function()
    fails([[
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      farside.run(function() square(1, 2) end)
    ]], 'BadArguments', 'one%.lua:5:')
  end)

  it('pipes the script in is told that workers need a file', function()
    local script = host.script('one.lua', kHead .. [[
      local f = app.remote { benchmark_dataset = { {} } } (function() end)
      farside.run(function() f() end)
    ]])
    for _, command in ipairs { 'exec "$0" run /dev/stdin < "$1"', 'cat "$1" | "$0" run /dev/fd/0' } do
      local process = host.run_program { 'sh', '-c', command, host.farside, script }
      assert.equal(1, process.code)
      assert.truthy(process.err:find('2: a deployment must be declared in a file: workers load it too', 1, true), process.err)
    end
  end)

  it('writes coroutine.yield for app.yield is told so at once, at its line', function()
    local process = fails([[
      local items = app.remote { benchmark_dataset = { { n = 0 } }, timeout = 10 } (function(n)
        for i = 1, n do coroutine.yield(i) end
      end)
      farside.run(function() for i in items:stream(3) do print(i) end end)
    ]], 'RemoteError', 'one%.lua:5: coroutine%.yield: expected', 'app%.yield', 'farside%.sleep%(0%)',
      'remote stack traceback:\n%s+%S+one%.lua:5:')
    assert.equal('', process.out)
  end)

  it('writes coroutine.yield to let others run is told so in the benchmark', function()
    fails([[
      local f = app.remote { benchmark_dataset = { { x = 1 } }, concurrency = 2 } (function(x)
        farside.sleep(0)
        coroutine.yield()
        return x
      end)
      farside.run(function() f(1) end)
    ]], 'DeploymentFailed', 'one%.lua:6: coroutine%.yield: expected')
  end)

  it('yields in coroutines of the function\'s own may do so', function()
    local process = run [[
      local f = app.remote { benchmark_dataset = { { n = 2 } } } (function(n)
        local sum, beside = 0, false
        for i in coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end) do sum = sum + i end
        local other = farside.spawn(function()
          coroutine.yield()
          beside = true
        end)
        other:await()
        local co = coroutine.create(function() return 'given', coroutine.yield('taken') end)
        local _, taken = coroutine.resume(co)
        return sum, beside, taken, select(3, coroutine.resume(co, 'back'))
      end)
      farside.run(function() print(f(3)) end)
    ]]
    assert.same({ '6\ttrue\ttaken\tback\n', '', 0 }, { process.out, process.err, process.code })
  end)

  it('W8: has a benchmark that raises learns the reason', function()
    local process = fails([[
      local square = app.remote { benchmark_dataset = { { x = 'two' } } } (function(x) return x * x end)
      farside.run(function() square(2) end)
    ]], 'DeploymentFailed', 'benchmark', 'perform arithmetic on')
    assert.truthy(#process.err < 4000, process.err)
  end)

  it('W9: has a context whose enter fails learns the reason', function()
    fails([[
      local Model = {}
      Model.__index = Model
      function Model:enter() error 'no such model file' end
      app.context()(Model)
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      farside.run(function() square(2) end)
    ]], 'DeploymentFailed', 'context', 'no such model file')
  end)

  it('makes a syntax error gets the place', function()
    local process = host.run(host.script('bad.lua', 'local x = = 1\n'))
    assert.equal(1, process.code)
    assert.truthy(process.err:match 'bad%.lua:1:.*unexpected symbol', process.err)
  end)

  it('names a script that is not there gets its path', function()
    local process = host.run('/nowhere/at/all.lua')
    assert.equal(1, process.code)
    assert.truthy(process.err:match '/nowhere/at/all%.lua', process.err)
  end)

  it('calls in the deploy script is told where client code goes', function()
    local process = fails([[
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      print(square(5))
    ]], 'client code in the deploy script', 'farside%.run')
    assert.equal('', process.out)
  end)

  it('has no benchmark is told so before anything starts', function()
    fails("local f = app.remote(function(x) return x end)\nfarside.run(function() end) app.ensure_ready()", 'benchmark')
  end)

  it('mistypes a command is told the right one', function()
    local process = host.run_program { host.farside, 'rnu', 'x.lua' }
    assert.equal(64, process.code)
    assert.truthy(process.err:match "did you mean '?run", process.err)
  end)
end)
