--- Files of a deployment that change while its router goes on: no worker runs other code than the router says.
local host = require 'spec.support.host'

local kDeploy = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void);'
local farside = require 'farside'
local part = require 'part'
local app = farside.deployment { name = 'changing' }
app.configure_autoscaling { max_workers = WORKERS, min_load = 1e12 }
local version = app.remote { benchmark_dataset = { {} } } (function() return part.version end)
local pid = app.remote(function() return ffi.C.getpid() end)
local late = app.remote(function() return require 'late' end)
return { app = app, version = version, pid = pid, late = late }
]]
local kPart, kOther = "return { version = 'v1' }", "return { version = 'v2' }"
local kChanged = 'part.lua has changed since the router began, which serves what it read then: put it back, or '

local function environment()
  return { XDG_RUNTIME_DIR = host.folder(), FARSIDE_ROUTER = false, NO_COLOR = false, LUA_PATH = host.folder() .. '/?.lua;;' }
end

local function write_scripts(workers)
  host.script('part.lua', kPart)
  host.script('late.lua', "return 'late v1'")
  return host.script('deploy.lua', (kDeploy:gsub('WORKERS', workers)))
end

local function farside(...)
  return host.run_program({ host.farside, ... }, { env = environment() })
end

local function serve(workers)
  local router = host.spawn({ host.farside, 'serve', write_scripts(workers) }, { env = environment(), cwd = host.folder() })
  router:wait_for 'is served at'
  host.eventually(function() return farside('ps').out:find(('%d of %d workers ready'):format(workers, workers)) end, 10,
    'workers are ready')
  return router
end

local function kill(pid)
  assert.equal(0, os.execute(('kill -9 %d'):format(pid)))
end

describe('a worker that starts when files have changed', function()
  after_each(host.clean)

  it('is not ready and says which; those of the right code serve, and the next one where they are put back', function()
    local router = serve(2)
    host.script('part.lua', kOther)
    kill(tonumber(farside('call', 'pid').out))
    router:wait_for('%[changing%] worker %d %(process %d+%) ended with exit code 65 before it was ready: ' .. kChanged
      .. 'end farside serve and serve again; the next one is started in 0%.2 s\n')
    for _ = 1, 3 do assert.equal('v1\n', farside('call', 'version').out) end
    host.eventually(function() return farside('ps').out:find('1 of 2 workers ready.*\n  [^\n]*' .. kChanged) end, 10, 'ps says why')
    assert.truthy(farside('logs').out:find(kChanged))
    host.script('part.lua', kPart)
    host.eventually(function() return farside('ps').out:find '2 of 2 workers ready' end, 70, 'the place is taken again')
    kill(tonumber(farside('call', 'pid').out))
    assert.equal('v1\n', farside('call', 'version').out)
  end)

  it('ends a try that is soon made again where it was the only one: calls wait, and what failed is past then', function()
    local router = serve(1)
    host.script('part.lua', kOther)
    kill(tonumber(farside('call', 'pid').out))
    router:wait_for(kChanged .. '[^\n]*; the next one is started in 0%.2 s\n')
    host.script('part.lua', kPart)
    assert.equal('v1\n', farside('call', 'version').out)
    assert.is_nil(farside('ps').out:find(kChanged, 1, true))
    assert.is_nil(router.err:find 'no worker becomes ready')
  end)

  it('fails the deployment of a client that has its router in itself', function()
    write_scripts(1)
    local client = host.run(host.script('client.lua', [[
      local d = require 'deploy'
      local file = io.open(arg[1], 'w')
      file:write(arg[2])
      file:close()
      local ok, err = pcall(d.version)
      print(ok, err.name, err.phase, err.cause.name, unpack(err.cause.files))
    ]]), { env = environment(), args = { host.folder() .. '/part.lua', kOther } })
    assert.equal('false\tDeploymentFailed\tbundle\tDeploymentChanged\tpart.lua (changed)\n', client.out, client.err)
    assert.truthy(client.err:find(kChanged .. 'start this client anew;'), client.err)
  end)

  it('runs what was compared, also where a function requires it later', function()
    serve(1)
    host.script('late.lua', "return 'late v2'")
    assert.equal('late v1\n', farside('call', 'late').out)
  end)

  it('finds the same files where the client has changed package.path since', function()
    write_scripts(1)
    os.execute(("mkdir '%s/else'"):format(host.folder()))
    local client = host.run(host.script('client.lua', [[
      local d = require 'deploy'
      package.path = package.path .. ';' .. arg[1] .. '/else/?.lua'
      print(d.version())
    ]]), { env = environment(), args = { host.folder() } })
    assert.equal('v1\n', client.out, client.err)
  end)
end)
