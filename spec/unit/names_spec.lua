local fake = require 'spec.support.fake_native'

local HEAD = "local farside = require 'farside'\nlocal app = farside.deployment { name = 'd' }\n"
local REMOTE = 'app.remote { benchmark_dataset = { {} } } (function() end)\n'
local UNNAMED = 'deploy.lua:%d: this remote function has no name: expected a local of the script, a key of the table '
  .. "it returns, a global or name = '...', %s"

describe('a remote function', function()
  local farside, native

  before_each(function()
    farside, native = fake.load 'client'
  end)

  after_each(function()
    assert.is_nil(debug.gethook())
  end)

  --- Requires a deploy script; returns what it returns and the error it raises.
  local function deploy(body)
    local ok, result = pcall(fake.require, 'deploy', HEAD .. body)
    return ok and result, not ok and result
  end

  --- The names of the functions after the first use of the deployment.
  local function names()
    farside.run(function() end)
    local deployment = require('farside.deployment').find('d', 'default')
    deployment:start()
    local found = {}
    for _, remote in ipairs(deployment.functions) do found[#found + 1] = remote.name end
    return found
  end

  it('is named by the variable of its attribute', function()
    deploy('app.remote<benchmark_dataset = {{}}, name = "other">\nlocal function square() end\nlocal cube = square\n')
    assert.same({ 'square' }, names())
  end)

  it('is named by the option name before its local', function()
    deploy('local square = app.remote { name = "power", benchmark_dataset = { {} } } (function() end)')
    assert.same({ 'power' }, names())
  end)

  it('is named by the local of the chunk before the key of the table', function()
    deploy('local square = ' .. REMOTE .. 'return { other = square }')
    assert.same({ 'square' }, names())
  end)

  it('is named by the local that holds it when the chunk returns', function()
    deploy('local a, b\na = ' .. REMOTE .. 'b = a\na = nil\n')
    assert.same({ 'b' }, names())
  end)

  it('is named by the key in the table that is returned at once', function()
    deploy('return { square = ' .. REMOTE .. '}')
    assert.same({ 'square' }, names())
  end)

  it('is named by the key in a table that was built before', function()
    deploy('local M = {}\nM.square = ' .. REMOTE .. 'return M')
    assert.same({ 'square' }, names())
  end)

  it('is named by the key in a table that leaves the chunk by a tail call', function()
    deploy('return setmetatable({ square = ' .. REMOTE .. '}, {})')
    assert.same({ 'square' }, names())
  end)

  it('is named by a global', function()
    finally(function() _G.farside_spec_square = nil end)
    deploy('farside_spec_square = ' .. REMOTE)
    assert.same({ 'farside_spec_square' }, names())
  end)

  it('is named in a script that calls it before it has returned', function()
    native.answers.square = function(x) return x * x end
    local result = deploy('local square = app.remote { benchmark_dataset = { {} } } (function(x) return x end)\n'
      .. 'return { square(5) }')
    assert.same({ 25 }, result)
  end)

  it('is named in a script that calls it inside farside.run', function()
    native.answers.square = function(x) return x * x end
    local result = deploy('local square = app.remote { benchmark_dataset = { {} } } (function(x) return x end)\n'
      .. 'return { farside.run(function() return square(5) end) }')
    assert.same({ 25 }, result)
  end)

  it('is named in a script that runs in a coroutine', function()
    local chunk = loadstring(HEAD .. 'local square = ' .. REMOTE .. 'coroutine.yield()\n', '@deploy.lua')
    local co = coroutine.create(chunk)
    assert.is_true(coroutine.resume(co))
    assert.is_true(coroutine.resume(co))
    assert.same({ 'square' }, names())
  end)

  it('is named while a script waits in a coroutine', function()
    local chunk = loadstring(HEAD .. 'local square = ' .. REMOTE .. 'coroutine.yield()\n', '@deploy.lua')
    coroutine.resume(coroutine.create(chunk))
    assert.same({ 'square' }, names())
  end)

  it('without a name is an error at the end of loading, with its place', function()
    local _, err = deploy('do local hidden = ' .. REMOTE .. 'end\nreturn {}')
    assert.equal(UNNAMED:format(3, 'got none of them'), err)
  end)

  it('with two keys is an error that names them', function()
    local _, err = deploy('local M, N = {}, {}\nM.a = ' .. REMOTE .. 'N.b = M.a\nreturn M')
    assert.equal(UNNAMED:format(4, "got several, 'a', 'b'"), err)
  end)

  it('may not have the name of another one', function()
    local _, err = deploy('local a = ' .. REMOTE .. 'local b = app.remote { name = "a" } (function() end)')
    assert.equal("deploy.lua:4: a second remote function 'a': expected names used once, the first is at deploy.lua:3",
      err)
  end)
end)

describe('the watch for the end of the chunk', function()
  local LOCAL = "local square = app.remote { benchmark_dataset = { {} } } (function() end)\n"

  before_each(function()
    fake.load 'client'
  end)

  after_each(function()
    debug.sethook()
  end)

  it('is over when the chunk has returned', function()
    fake.require('deploy', HEAD .. LOCAL)
    assert.is_nil(debug.gethook())
  end)

  it('is over soon after the chunk has raised', function()
    pcall(fake.require, 'deploy', HEAD .. 'error("x")')
    local function f() end
    jit.off(f)
    for _ = 1, 1000 do f() end
    assert.is_nil(debug.gethook())
  end)

  it('keeps a hook that was set before, and its events', function()
    local lines, returns = {}, 0
    local function hook(event, line)
      local source = debug.getinfo(2, 'S').source
      if event == 'line' and source == '@deploy.lua' then lines[line] = true end
      if event == 'return' then returns = returns + 1 end
    end
    debug.sethook(hook, 'l')
    fake.require('deploy', HEAD .. LOCAL .. 'return square')
    local after, mask = debug.gethook()
    debug.sethook()
    assert.equal(hook, after)
    assert.equal('l', mask)
    assert.same({ true, true, true, true }, lines)
    assert.equal(0, returns)
  end)

  it('works for two deployments of one chunk', function()
    fake.require('deploy', HEAD .. LOCAL .. "local other = farside.deployment { name = 'e' }\n"
      .. 'local cube = other.remote { benchmark_dataset = { {} } } (function() end)\n')
    assert.is_nil(debug.gethook())
    local deployments = require 'farside.deployment'
    assert.equal('square', deployments.find('d', 'default').functions[1].name)
    assert.equal('cube', deployments.find('e', 'default').functions[1].name)
  end)

  it('works for a script that requires another one', function()
    package.preload.inner = loadstring("local farside = require 'farside'\n"
      .. "local app = farside.deployment { name = 'inner' }\n" .. LOCAL, '@inner.lua')
    package.loaded.inner = nil
    fake.require('deploy', HEAD .. "require 'inner'\n" .. LOCAL:gsub('square', 'cube'))
    local deployments = require 'farside.deployment'
    assert.equal('square', deployments.find('inner', 'default').functions[1].name)
    assert.equal('cube', deployments.find('d', 'default').functions[1].name)
  end)
end)
