-- What an operator is told of a router that is there and does not do what it is asked.
local host = require 'spec.support.host'

local kDeploy = [[
local app = require('farside').deployment { name = 'square' }
app.configure_autoscaling { max_workers = 1 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
return { app = app, square = square }
]]

local function spawn(...)
  return host.spawn({ host.farside, ... }, { env = { XDG_RUNTIME_DIR = host.folder(), FARSIDE_ROUTER = false },
    cwd = host.folder() })
end

local function serve()
  local router = spawn('serve', host.script('deploy.lua', kDeploy))
  router.path = router:wait_for 'is served at unix:(%S+)'
  return router
end

describe('an operator', function()
  after_each(host.clean)

  it('is told of a router that is stopped, and how it goes on', function()
    local router = serve()
    router:kill(19)
    host.eventually(function() return host.state(router.pid) == 'T' end, 10, 'it is stopped')
    local commands = {}
    for i, words in ipairs { { 'ps' }, { 'call', 'square', '5' }, { 'logs' }, { 'metrics' }, { 'stop' },
      { 'ps', '--router', 'unix:' .. router.path } } do
      commands[i] = spawn(unpack(words))
    end
    for _, command in ipairs(commands) do
      command:wait(30)
      assert.same({ 69, '' }, { command.code, command.out }, command.err)
      assert.truthy(command.err:find(('the router at unix:%s (process %d) has not answered within 5 s: it is stopped; ' ..
        'kill -CONT %d lets it go on'):format(router.path, router.pid, router.pid), 1, true), command.err)
    end
    router:kill(18)
  end)
end)
