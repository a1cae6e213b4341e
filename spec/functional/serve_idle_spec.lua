--- A router that is served while nothing goes on in it, and one whose workers do not become ready.
local host = require 'spec.support.host'
local wire = require 'spec.support.wire'

local function environment()
  return { XDG_RUNTIME_DIR = host.folder(), FARSIDE_ROUTER = false, NO_COLOR = false }
end

local function serve(name, text)
  local process = host.spawn({ host.farside, 'serve', host.script(name, text) },
    { env = environment(), cwd = host.folder() })
  return process, process:wait_for 'is served at unix:(%S+)'
end

describe('farside serve', function()
  after_each(host.clean)

  it('answers at once who has spoken before it looks, also when nothing else goes on', function()
    local process, path = serve('idle.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'idle' }
      app.configure_autoscaling { max_workers = 1, min_load = 0, inactivity_timeout = 0.1 }
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      return { app = app, square = square }
    ]])
    host.eventually(function() return #host.workers(process.pid) == 0 end, 10, 'all workers have ended')
    for _ = 1, 3 do
      process:kill(19)  -- SIGSTOP
      local peer = assert(wire.connect(path))
      peer:hello({}, wire.OPERATOR)
      process:kill(18)  -- SIGCONT
      assert.is_truthy(peer:await(wire.WELCOME, 2))
      peer:close()
    end
  end)

  it('says why no worker becomes ready, to whom has started it and to callers', function()
    local process = serve('failing.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'failing' }
      app.configure_autoscaling { max_workers = 1 }
      local Model = {}
      function Model:enter() error('no weights', 0) end
      app.context()(Model)
      local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
      return { app = app, square = square }
    ]])
    process:wait_for('%[failing%] has failed, as no worker becomes ready; the last failure: context Model: no weights', 20)
    for _ = 1, 3 do
      local call = host.run_program({ host.farside, 'call', 'square', 'x=5' }, { env = environment(), seconds = 4 })
      assert.equal(1, call.code)
      assert.truthy(call.err:find('DeploymentFailed', 1, true), call.err)
      assert.truthy(call.err:find('no weights', 1, true), call.err)
    end
  end)
end)
