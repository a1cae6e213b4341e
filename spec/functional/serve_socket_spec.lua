local host = require 'spec.support.host'
local read_file = require 'farside.read_file'

local kDeploy = [[
local app = require('farside').deployment { name = 'square' }
app.configure_autoscaling { max_workers = 1 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
return { app = app, square = square }
]]

local function start(...)
  local command = { host.farside, 'serve', host.script('deploy.lua', kDeploy), ... }
  return host.spawn(command, { env = { XDG_RUNTIME_DIR = host.folder() }, cwd = host.folder() })
end

-- That it does not listen there, and says so.
local function expect_refused(path, words)
  local process = start('--listen', 'unix:' .. path)
  assert.equal(78, process:wait().code)
  assert.truthy(process.err:find(words, 1, true), process.err)
end

describe('the socket of a served router', function()
  after_each(host.clean)

  it('is not put in the place of a file that is no socket', function()
    local path = host.script('notes', 'of value')
    expect_refused(path, 'is expected to be a socket or nothing, and is something else')
    assert.equal('of value', read_file(path))
    assert.is_nil(read_file(path .. '.lock'))
  end)

  it('is not put in the place of a symbolic link', function()
    local path = host.folder() .. '/link'
    host.script('link.txt', 'of value')
    os.execute(("ln -s link.txt '%s'"):format(path))
    expect_refused(path, 'is expected to be a socket or nothing, and is something else')
    assert.equal('of value', read_file(path))
  end)

  it('has no lock that is a file of something else', function()
    local path = host.folder() .. '/flake'
    host.script('flake.lock', '{ "nodes": {} }\n')
    expect_refused(path .. '.sock', 'is expected to hold the number of a process')
    assert.equal('{ "nodes": {} }\n', read_file(path .. '.lock'))
  end)

  it('takes a lock over that a killed router has left', function()
    local path = host.folder() .. '/left'
    host.script('left.lock', '12345\n')
    local process = start('--listen', 'unix:' .. path .. '.sock')
    process:wait_for 'is (served) at'
    assert.equal(process.pid .. '\n', read_file(path .. '.lock'))
  end)

  it('is not somewhere else when its path is too long', function()
    local path = host.folder() .. '/' .. ('x'):rep(120)
    expect_refused(path, ('is expected to have at most 107 bytes, got %d'):format(#path))
  end)

  it('is left alone by another router that ends, whose own was removed before', function()
    local first = start()
    local path = first:wait_for 'is served at unix:(%S+)'
    local lock = path:gsub('sock$', 'lock')
    assert(os.remove(path))
    assert(os.remove(lock))
    local second = start()
    second:wait_for 'is (served) at'
    first:kill(15)
    assert.equal(0, first:wait().code)
    assert.equal(second.pid .. '\n', read_file(lock))
    assert.equal(0, os.execute(("test -S '%s'"):format(path)))
    second:kill(15)
    assert.equal(0, second:wait().code)
    assert.is_nil(read_file(lock))
    assert.not_equal(0, os.execute(("test -e '%s'"):format(path)))
  end)
end)
