-- What an operator is told of a router that is there and does not do what it is asked.
local host = require 'spec.support.host'

local kDeploy = [[
local farside = require 'farside'
local app = farside.deployment { name = 'square' }
app.configure_autoscaling { max_workers = 1 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local await = app.remote(function(path)
  print('awaits')
  while not io.open(path) do farside.sleep(0.01) end
  return 'came'
end)
return { app = app, square = square, await = await }
]]

local function spawn(...)
  return host.spawn({ host.farside, ... }, { env = { XDG_RUNTIME_DIR = host.folder(), FARSIDE_ROUTER = false },
    cwd = host.folder() })
end

local function run(...)
  return spawn(...):wait(30)
end

local function serve(name)
  local text = kDeploy:gsub("name = 'square'", ("name = '%s'"):format(name or 'square'))
  local router = spawn('serve', host.script((name or 'deploy') .. '.lua', text))
  router.path = router:wait_for 'is served at unix:(%S+)'
  return router
end

describe('an operator', function()
  after_each(host.clean)

  local function shows(part, ...)
    local command = run(...)
    assert.equal(0, command.code, command.err)
    assert.truthy(command.out:find(part, 1, true), command.out)
  end

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

  it('is shown the others beside a router that is stopped, and ends none of them unless it is named', function()
    local router, other = serve(), serve 'other'
    router:kill(19)
    host.eventually(function() return host.state(router.pid) == 'T' end, 10, 'it is stopped')
    local ps, as_json, stop = spawn 'ps', spawn('ps', '--json'), spawn 'stop'
    for _, command in ipairs { ps, as_json, stop } do
      command:wait(30)
      assert.truthy(command.err:find(('(process %d) has not answered'):format(router.pid), 1, true), command.err)
    end
    assert.same({ 0, 0, 69, '' }, { ps.code, as_json.code, stop.code, stop.out })
    assert.truthy(ps.out:find(('router %d,'):format(other.pid), 1, true), ps.out)
    assert.truthy(as_json.out:find(('"pid": %d,'):format(other.pid), 1, true), as_json.out)
    assert.truthy(stop.err:find('there are others, with other; choose one by its name', 1, true), stop.err)
    shows(('router %d has ended\n'):format(other.pid), 'stop', 'other')
    router:kill(18)
  end)

  -- A router that was told to end and cannot, before finish() is called: a call is in progress.
  local function drain()
    local router, path = serve(), host.folder() .. '/go_on'
    local call = spawn('call', 'await', path)
    host.eventually(function() return run('logs').out:find 'awaits' end, 20, 'the call runs')
    router:kill(15)
    router:wait_for 'ends: SIGTERM'
    return router, function()
      host.script('go_on', '')
      call:wait(30)
      assert.same({ 0, 'came\n' }, { call.code, call.out }, call.err)
      assert.equal(0, router:wait(30).code)
    end
  end

  it('is answered by a router that drains, and told so where it lets nothing in', function()
    local router, finish = drain()
    shows('square  draining  1 of 1 workers ready, 0 queued, 1 running', 'ps')
    shows('square  draining', 'ps', '--router', 'unix:' .. router.path)
    shows('worker 0: awaits', 'logs')
    shows('farside_calls_admitted_total', 'metrics')
    local call = run('call', 'square', '5')
    assert.same({ 69, '' }, { call.code, call.out })
    assert.truthy(call.err:find(("the router of 'square' (process %d) drains"):format(router.pid), 1, true), call.err)
    local stop = spawn('stop')
    host.eventually(function() return run('ps', '--json').out:find '"operators": 2' end, 20, 'it waits for the end')
    finish()
    assert.same({ 0, ('router %d has ended\n'):format(router.pid) }, { stop:wait(30).code, stop.out }, stop.err)
    call = run('call', 'square', '5')
    assert.same({ 69, "farside: call: no router is there; 'farside serve SCRIPT' starts one\n" }, { call.code, call.err })
    assert.same('', io.popen(('ls "%s/farside"'):format(host.folder())):read '*a')
  end)

  it('reaches the next router while the one before it drains', function()
    local router, finish = drain()
    local heir = serve()
    assert.equal(router.path, heir.path)
    shows('25\n', 'call', 'square', '5')
    shows(('(router %d,'):format(router.pid), 'ps')
    shows(('(router %d,'):format(heir.pid), 'ps')
    shows(('router %d has ended\n'):format(heir.pid), 'stop')
    finish()
  end)

  it('is asked which router is meant while one drains and another serves another deployment', function()
    local router, finish = drain()
    local other = serve 'other'
    for _, command in ipairs { 'stop', 'metrics', 'logs' } do
      local asked = run(command)
      assert.same({ 64, '' }, { asked.code, asked.out }, command)
      assert.truthy(asked.err:find('there are several', 1, true), asked.err)
    end
    shows('25\n', 'call', 'square', '5')
    assert.equal(69, run('call', '--deployment', 'square', 'square', '5').code)
    shows(('router %d was told to end\n'):format(router.pid), 'stop', '--no-wait', 'square')
    shows(('router %d has ended\n'):format(other.pid), 'stop', 'other')
    finish()
  end)
end)
