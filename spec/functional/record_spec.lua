-- What a served router records is what the simulator reads.
local host = require 'spec.support.host'
local read_file = require 'farside.read_file'

local DEPLOY = [[
local farside = require 'farside'
local app = farside.deployment { name = 'recorded' }
app.configure_autoscaling { max_workers = 1 }
local square = app.remote { benchmark_dataset = { { x = 2 } }, workload_calculator = function(x) return 10 * x end } (function(x)
  farside.sleep(0.02)
  return x * x
end)
local bad = app.remote(function() error 'bad' end)
return { app = app, square = square, bad = bad }
]]

local CLIENT = [[
package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path
local deploy = require 'deploy'
for i = 1, 5 do assert(deploy.square(i) == i * i) end
assert(not pcall(deploy.bad))
]]

describe('farside serve --record', function()
  after_each(host.clean)

  it('writes the calls that came, and farside simulate runs them again', function()
    local script, client = host.script('deploy.lua', DEPLOY), host.script('client.lua', CLIENT)
    local path = host.folder() .. '/calls.csv'
    local options = { env = { XDG_RUNTIME_DIR = host.folder() }, cwd = host.folder() }
    local server = host.spawn({ host.farside, 'serve', '--record', path, script }, options)
    server:wait_for 'is served at unix:(%S+)'
    local run = host.spawn({ host.farside, 'run', client }, options)
    run:wait()
    assert.equal(0, run.code, run.err)
    server:kill(15)
    server:wait()
    local text = read_file(path)
    assert.equal('arrival,deployment,function,workload,service,wait,worker,outcome', text:match('^[^\n]*'))
    for i = 1, 5 do
      local service = text:match(('\n[%%d.]+,recorded,square,%d,([%%d.]+),[%%d.]+,0,ok\n'):format(10 * i))
      assert.is_true(tonumber(service) >= 0.02, text)
    end
    assert.truthy(text:find('\n[%d.]+,recorded,bad,100,[%d.]*,[%d.]+,0,RemoteError\n'), text)
    local again = host.run_program { host.farside, 'simulate', script, '--trace', path, '--fixed', '--workers', '1x1000', '--json' }
    assert.equal(0, again.code, again.err)
    assert.truthy(again.out:find('"calls":6,', 1, true), again.out)
    local busy = tonumber(again.out:match('"busy_seconds":([%d.]+)'))
    assert.is_true(busy >= 0.1 and busy < 1, again.out)
  end)

  it('goes on serving when its file may not become larger', function()
    local script = host.script('deploy.lua', (DEPLOY:gsub('farside.sleep%(0.02%)', '')))
    local client = host.script('client.lua', CLIENT:gsub('1, 5', '1, 3000'))
    local path = host.folder() .. '/calls.csv'
    local options = { env = { XDG_RUNTIME_DIR = host.folder() }, cwd = host.folder() }
    local limited = { 'sh', '-c', 'ulimit -f 128; exec "$@"', 'sh', host.farside, 'serve', '--record', path, script }
    local server = host.spawn(limited, options)
    server:wait_for 'is served at unix:(%S+)'
    for _ = 1, 2 do
      local run = host.spawn({ host.farside, 'run', client }, options)
      run:wait()
      assert.equal(0, run.code, run.err)
    end
    server:kill(15)
    assert.equal(0, server:wait().code, server.err)
    assert.equal(64 * 1024, #read_file(path))
    assert.truthy(server.err:find('cannot be written any more: File too large', 1, true), server.err)
  end)
end)
