local host = require 'spec.support.host'
local wire = require 'spec.support.wire'

local kDeploy = [[
local ffi = require 'ffi'
pcall(ffi.cdef, 'int usleep(unsigned us); int getpid(void);')
local farside = require 'farside'
local app = farside.deployment { name = NAME }
app.configure_autoscaling { max_workers = 2, min_load = 1e12 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local nap = app.remote(function(s) ffi.C.usleep(s * 1e6) return 'slept' end)
local say = app.remote(function(text, n) for i = 1, n do print(text .. ' ' .. i) end return ffi.C.getpid() end)
local big = app.remote { concurrency = 8 } (function(size) return ('x'):rep(size) end)
local outer = app.remote(function(s) farside.sleep(s) return square(3) end)
return { app = app, square = square, nap = nap, say = say, big = big, outer = outer }
]]
local kSquare, kNap, kSay, kBig, kOuter = 0, 1, 2, 3, 4

local function script(name, file)
  return host.script(file or 'deploy.lua', (kDeploy:gsub('NAME', ("'%s'"):format(name))))
end

local function environment()
  return { XDG_RUNTIME_DIR = host.folder() }
end

-- A server of one deployment, and where it listens.
local function serve(name, options)
  options = options or {}
  local command = { host.farside, 'serve', script(name or 'square') }
  local process = host.spawn(command, { env = environment(), cwd = host.folder() })
  local path = process:wait_for 'is served at unix:(%S+)'
  if options.ready ~= false then
    host.eventually(function() return #host.workers(process.pid) > 0 end, 10, 'a worker is started')
  end
  return process, path
end

local function client(path, fields)
  local peer = assert(wire.connect(path))
  peer:hello(fields)
  local header, body = peer:await(wire.WELCOME)
  assert.is_truthy(header, body)
  return peer, body[1]
end

local function operator(path)
  local peer = assert(wire.connect(path))
  peer:hello({}, wire.OPERATOR)
  assert.is_truthy(peer:await(wire.WELCOME))
  local count = 0
  return peer, function(name, options)
    count = count + 1
    peer:send({ wire.REQUEST, count }, { name, wire.map(options or {}) })
    local _, body = peer:await(wire.REPLY)
    return body[1], body[2]
  end
end

-- The answer to call n: its type and its body.
local function answer(peer, n, seconds)
  while true do
    local header, body = peer:read(seconds or 15)
    if not header then return nil, body end
    if (header[1] == wire.RESULT or header[1] == wire.ERROR) and wire.number(header) == n then return header[1], body end
  end
end

local function all_gone(pids)
  for _, pid in ipairs(pids) do
    if host.alive(pid) then return false end
  end
  return true
end

local function exists(path)
  return os.execute(("test -e '%s'"):format(path)) == 0
end

describe('farside serve', function()
  after_each(host.clean)

  it('serves many clients from one router', function()
    local process, path = serve()
    local peers = {}
    for i = 1, 40 do peers[i] = client(path) end
    for round = 1, 5 do
      for i, peer in ipairs(peers) do peer:call(round, kSquare, { i }) end
      for i, peer in ipairs(peers) do
        local kind, body = answer(peer, round)
        assert.same({ wire.RESULT, { i * i } }, { kind, body })
      end
    end
    for _, peer in ipairs(peers) do peer:close() end
    process:kill(15)
    assert.equal(0, process:wait().code)
  end)

  it('says what it is to whom it lets in', function()
    local _, path = serve()
    local _, welcome = client(path, { name = 'square', tag = 'default', pid = 1 })
    assert.equal('square', welcome.name)
    assert.equal('default', welcome.tag)
    assert.truthy(welcome.manifest:find('function square(x)', 1, true))
  end)

  it('takes several deployments, each with a socket of its own', function()
    local process = host.spawn({ host.farside, 'serve', script('one', 'one.lua'), script('two', 'two.lua') },
      { env = environment(), cwd = host.folder() })
    local one = process:wait_for "'one' %(tag default%) is served at unix:(%S+)"
    local two = process:wait_for "'two' %(tag default%) is served at unix:(%S+)"
    assert.not_equal(one, two)
    for name, path in pairs { one = one, two = two } do
      local peer, welcome = client(path)
      assert.equal(name, welcome.name)
      peer:call(1, kSquare, { 4 })
      assert.equal(wire.RESULT, (answer(peer, 1)))
    end
    local _, welcome = client(one, { name = 'two' })
    assert.equal('two', welcome.name)
  end)

  it('listens where it is told to', function()
    local path = host.folder() .. '/here'
    local process = host.spawn({ host.farside, 'serve', '--listen', 'unix:' .. path, script 'square' },
      { env = environment(), cwd = host.folder() })
    process:wait_for 'is served at (unix:%S+/here)'
    local peer = client(path)
    peer:call(1, kSquare, { 3 })
    assert.same({ wire.RESULT, { 9 } }, { answer(peer, 1) })
  end)

  it('refuses a script that declares nothing, and one that is broken', function()
    local path = host.script('nothing.lua', 'return 1')
    local run = host.run_program { host.farside, 'serve', path }
    assert.equal(1, run.code)
    assert.truthy(run.err:find('expected a script that declares a deployment', 1, true), run.err)
    run = host.run_program { host.farside, 'serve', host.script('broken.lua', 'return (') }
    assert.equal(1, run.code)
    assert.equal(64, host.run_program({ host.farside, 'serve' }).code)
    assert.equal(64, host.run_program({ host.farside, 'serve', '--lisen', 'x' }).code)
  end)

  it('does not run the client code that a deploy script holds', function()
    local path = host.script('both.lua', kDeploy:gsub('NAME', "'both'"):gsub('return {',
      "farside.run(function() print('ran ' .. square(2)) end)\nreturn {"))
    local process = host.spawn({ host.farside, 'serve', path }, { env = environment(), cwd = host.folder() })
    process:wait_for 'is (served) at'
    process:kill(15)
    process:wait()
    assert.equal('', process.out)
  end)

  -- who may come ------------------------------------------------------------------------------------------------------

  it('S13: the folder is for its user alone, and so is the socket', function()
    local _, path = serve()
    local pipe = io.popen(("stat -c %%a '%s' '%s'"):format(path:match '^(.*)/', path))
    assert.equal('700\n600\n', pipe:read '*a')
    pipe:close()
  end)

  it('S13: refuses a folder that is open to others, and says what to do', function()
    os.execute(("mkdir -m 755 '%s/farside'"):format(host.folder()))
    local run = host.run_program({ host.farside, 'serve', script 'square' }, { env = environment(), cwd = host.folder() })
    assert.equal(78, run.code)
    assert.truthy(run.err:find('has mode 0755 where 0700 is expected; try: chmod 700', 1, true), run.err)
    assert.same({}, host.workers(run.pid))
  end)

  it('names the nearest deployment to one that it does not serve', function()
    local _, path = serve()
    local peer = wire.connect(path)
    peer:hello { name = 'sqare' }
    local _, body = peer:await(wire.ERROR)
    assert.equal('NoSuchDeployment', body[1].name)
    assert.equal('square', body[1].nearest)
    assert.same({ nil, 'closed' }, { peer:read() })
  end)

  it('tells a client of another version of the deployment which files it has', function()
    local _, path = serve()
    local _, welcome = client(path)
    assert.equal(64, #welcome.hash)
    local peer = wire.connect(path)
    peer:hello { name = 'square', tag = 'default', hash = ('0'):rep(64) }
    local _, body = peer:await(wire.ERROR)
    local err = body[1]
    assert.same({ 'DeploymentChanged', ('0'):rep(64), welcome.hash }, { err.name, err.yours, err.mine })
    assert.equal('deploy.lua', next(err.digests))
    assert.truthy(err.digests['deploy.lua']:find '^%x%x%x%x%x%x%x%x+$')
    assert.same({ nil, 'closed' }, { peer:read() })
    client(path, { name = 'square', hash = welcome.hash })
  end)

  it('P8: parts with a peer of another version in one sentence that names both', function()
    local process, path = serve()
    local peer = wire.connect(path)
    peer:write 'FARSIDE\n\7\9\0\0'
    peer:await(wire.WELCOME)
    process:wait_for('speaks versions 1 to (1) of the protocol, the peer 7 to 9')
    local other = client(path)
    other:call(1, kSquare, { 2 })
    assert.equal(wire.RESULT, (answer(other, 1)))
  end)

  it('closes a connection that says what its role may not, and says why', function()
    local process, path = serve()
    local peer = client(path)
    peer:send({ wire.REQUEST, 1 }, { 'stop' })
    local _, body = peer:await(wire.ERROR)
    assert.equal('BadFrame', body[1].name)
    assert.equal('a client sends CALL, CANCEL and CREDIT', body[1].message)
    assert.same({ nil, 'closed' }, { peer:read() })
    peer = wire.connect(path)
    peer:hello({}, 2)
    _, body = peer:await(wire.ERROR)
    assert.truthy(body[1].message:find('only clients and operators connect here', 1, true))
    assert.is_nil(process.code)
  end)

  it('outlives garbage, and serves on', function()
    local _, path = serve()
    math.randomseed(7)
    for i = 1, 60 do
      local peer = wire.connect(path)
      if i % 2 == 0 then peer:hello {} end
      local bytes = {}
      for j = 1, 300 do bytes[j] = string.char(math.random(0, 255)) end
      peer:write(table.concat(bytes))
      peer:close()
    end
    local peer = client(path)
    peer:call(1, kSquare, { 5 })
    assert.same({ wire.RESULT, { 25 } }, { answer(peer, 1) })
  end)

  it('ends a handshake that takes longer than 5 s, and one that is larger than 4 KiB at once', function()
    local _, path = serve()
    local slow, large = wire.connect(path), wire.connect(path)
    local began = host.now()
    large:write('FARSIDE\n\1\1\0\0\0\0\16\1')
    local header, why
    repeat header, why = large:read() until not header
    assert.equal('closed', why)
    assert.truthy(host.now() - began < 2)
    repeat header, why = slow:read(8) until not header
    assert.equal('closed', why)
    assert.truthy(host.now() - began > 4.5 and host.now() - began < 7)
  end)

  -- one router a deployment -------------------------------------------------------------------------------------------

  it('R10: a second router of the same deployment ends with 73 and names the first', function()
    local process = serve()
    local run = host.run_program({ host.farside, 'serve', script('square', 'again.lua') },
      { env = environment(), cwd = host.folder() })
    assert.equal(73, run.code)
    assert.truthy(run.err:find(("'square' (tag default) is served by process %d already"):format(process.pid), 1, true),
      run.err)
    run = host.run_program({ host.farside, 'serve', script('other', 'other.lua'), script('square', 'again.lua') },
      { env = environment(), cwd = host.folder() })
    assert.equal(73, run.code)
    assert.falsy(run.err:find 'is served at')
  end)

  it('R11: takes over the socket that a killed router has left; S10: no worker outlives that one', function()
    local process, path = serve()
    client(path):call(1, kNap, { 60 }, 100000)
    local workers = host.workers(process.pid)
    process:kill(9)
    process:wait()
    host.eventually(function() return all_gone(workers) end, 4, 'the workers are gone')
    assert.is_true(exists(path))
    local _, again = serve()
    assert.equal(path, again)
    local peer = client(path)
    peer:call(1, kSquare, { 6 })
    assert.same({ wire.RESULT, { 36 } }, { answer(peer, 1) })
  end)

  -- the load ----------------------------------------------------------------------------------------------------------

  it('has workers follow the load, and says how many are wanted and why', function()
    local text = kDeploy:gsub('NAME', "'load'"):gsub('min_load = 1e12', 'min_load = 1')
    local process = host.spawn({ host.farside, 'serve', host.script('deploy.lua', text) },
      { env = environment(), cwd = host.folder() })
    local _, request = operator(process:wait_for 'is served at unix:(%S+)')
    local status
    host.eventually(function()
      _, status = request 'status'
      return status.deployments[1].ready > 0 and (status.deployments[1].decision or ''):find 'min_load'
    end, 15, 'it has decided')
    status = status.deployments[1]
    assert.same({ 1, 0, 1, 1 }, { status.ready, status.parked, status.workers_wanted, status.active_wanted })
  end)

  -- the end -----------------------------------------------------------------------------------------------------------

  it('ends a deployment that had no client for its ttl, and itself with the last one', function()
    local text = kDeploy:gsub('name = NAME', "name = 'short', ttl = 1.5")
    local process = host.spawn({ host.farside, 'serve', host.script('deploy.lua', text) },
      { env = environment(), cwd = host.folder() })
    local path = process:wait_for 'is served at unix:(%S+)'
    local peer = client(path)
    host.pause(2)
    peer:call(1, kSquare, { 6 })
    assert.same({ wire.RESULT, { 36 } }, { answer(peer, 1) })
    local workers = host.workers(process.pid)
    peer:close()
    assert.equal(0, process:wait(15).code)
    assert.is_true(all_gone(workers))
    assert.is_false(exists(path))
    assert.truthy(process.err:find('ends: no client for its ttl of 1.5 s', 1, true), process.err)
  end)

  it('R3: SIGTERM lets calls in progress finish, gives the others back, and leaves nothing', function()
    local process, path = serve()
    local peer = client(path)
    for n = 1, 6 do peer:call(n, kNap, { 0.7 }) end
    local _, request = operator(path)
    host.eventually(function()
      local _, status = request 'status'
      return status.deployments[1].running == 2
    end, 15, 'two calls run')
    local workers = host.workers(process.pid)
    process:kill(15)
    assert.is_truthy(peer:await(wire.DRAIN))
    local ends = { [wire.RESULT] = 0, [wire.ERROR] = 0 }
    for _ = 1, 6 do
      local header, body = peer:read(10)
      ends[header[1]] = ends[header[1]] + 1
      if header[1] == wire.ERROR then assert.same({ 'Draining', 'no' }, { body[1].name, body[1].executed }) end
    end
    assert.same({ [wire.RESULT] = 2, [wire.ERROR] = 4 }, ends)
    assert.equal(0, process:wait(15).code)
    assert.is_true(all_gone(workers))
    assert.is_false(exists(path))
  end)

  it('R3: a call that comes while it ends is told so, and one that a call in progress makes is not', function()
    local process, path = serve()
    local peer = client(path)
    peer:call(1, kOuter, { 0.5 })
    local _, request = operator(path)
    host.eventually(function()
      local _, status = request 'status'
      return status.deployments[1].running == 1
    end, 15, 'it runs')
    process:kill(15)
    assert.is_truthy(peer:await(wire.DRAIN))
    peer:call(2, kSquare, { 1 })
    local kind, body = answer(peer, 2)
    assert.same({ wire.ERROR, 'Draining' }, { kind, body[1].name })
    assert.same({ wire.RESULT, { 9 } }, { answer(peer, 1) })
    assert.equal(0, process:wait(15).code)
  end)

  it('R3: a second signal ends it at once, and its workers', function()
    local process, path = serve()
    local peer = client(path)
    peer:call(1, kNap, { 60 }, 100000)
    local _, request = operator(path)
    host.eventually(function()
      local _, status = request 'status'
      return status.deployments[1].running == 1
    end, 15, 'it runs')
    local workers = host.workers(process.pid)
    process:kill(15)
    peer:await(wire.DRAIN)
    process:kill(2)
    assert.equal(128 + 2, process:wait(5).code)
    assert.is_true(all_gone(workers))
    assert.is_false(exists(path))
  end)

  it('C1: the calls of a client that goes are cancelled', function()
    local process, path = serve()
    local peer = client(path)
    for n = 1, 10 do peer:call(n, kNap, { 60 }, 100000) end
    local _, request = operator(path)
    local function busy(running, queued)
      return function()
        local _, status = request 'status'
        local of = status.deployments[1]
        return of.running == running and of.queued == queued and of
      end
    end
    host.eventually(busy(2, 8), 15, 'two run and eight wait')
    peer:close()
    assert.equal(0, host.eventually(busy(0, 0), 10, 'none is left').clients)
    assert.is_nil(process.code)
  end)

  -- operators ---------------------------------------------------------------------------------------------------------

  it('tells operators what is going on', function()
    local process, path = serve()
    local peer = client(path)
    peer:call(1, kSquare, { 2 })
    answer(peer, 1)
    local _, request = operator(path)
    local ok, status = request 'status'
    assert.is_true(ok)
    assert.same({ process.pid, 'serving', 2, 1 }, { status.pid, status.state, status.peers, status.operators })
    local of = status.deployments[1]
    assert.same({ 'square', 'default', 'ready', 1, path }, { of.name, of.tag, of.state, of.clients, of.path })
    assert.equal(1, of.calls)
    local pids = {}
    for _, worker in ipairs(of.workers) do
      if worker.pid then pids[#pids + 1] = worker.pid end
      if worker.state == 'ready' then assert.truthy(worker.scores.square > 0) end
    end
    table.sort(pids)
    assert.same(host.workers(process.pid), pids)
    local _, described = request 'describe'
    assert.same({ 'square', { 'x' } }, { described.functions[1].name, described.functions[1].parameters })
    local _, err = request('describe', { deployment = 'cube' })
    assert.equal('NoSuchDeployment', err.name)
    _, err = request 'reboot'
    assert.equal('Unsupported', err.name)
  end)

  it('stops when an operator asks for it', function()
    local process, path = serve()
    local _, request = operator(path)
    assert.same({ true, true }, { request 'stop' })
    assert.equal(0, process:wait(15).code)
  end)

  it('shows operators what workers print: what was kept, and what comes', function()
    local _, path = serve()
    local peer = client(path)
    peer:call(1, kSay, { 'early', 3 })
    answer(peer, 1)
    local reader, request = operator(path)
    local seen = {}
    host.eventually(function()
      reader:send({ wire.REQUEST, 9 }, { 'logs', wire.map {} })
      seen = {}
      while true do
        local header, body = reader:read()
        if header[1] == wire.REPLY then return #seen == 3 end
        seen[#seen + 1] = body[1]
        assert.equal('square', body[3])
      end
    end, 5, 'three lines were kept')
    assert.same({ 'early 1', 'early 2', 'early 3' }, seen)
    request('logs', { follow = true, worker = 99 })
    peer:call(2, kSay, { 'unseen', 1 })
    answer(peer, 2)
    request('logs', { follow = true })
    peer:call(3, kSay, { 'late', 1 })
    local _, body
    repeat _, body = reader:await(wire.LOG) until body[1] == 'late 1'
  end)

  it('serves the command line through the native operator', function()
    local process, path = serve()
    local text = host.script('op.lua', ([[
      local native = require 'farside.native'
      assert(native.sockets()[1] == native.socket_of('square', 'default'))
      local operator = assert(native.operator('unix:%s'))
      print(operator:welcome().name, operator:request('status').pid)
      local epoch = operator:request('status').epoch
      local none, err = operator:request('reboot')
      print(none, err.name)
      print(operator:next_line(0.05))
      print(operator:request('stop'))
      local lost = select(2, operator:next_line(20))
      print(lost.name, lost.epoch == epoch and #epoch)
      none, err = native.operator('/nowhere.sock')
      print(none, err.name, err.address)
    ]]):format(path))
    local run = host.run(text, { env = environment() })
    assert.equal(('square\t%d\nnil\tUnsupported\n\ntrue\nRouterLost\t16\nnil\tConnectFailed\t/nowhere.sock\n')
      :format(process.pid), run.out .. run.err)
    assert.equal(0, process:wait(15).code)
  end)

  it('records what calls come, for the simulator', function()
    local file = host.folder() .. '/calls.csv'
    local process = host.spawn({ host.farside, 'serve', '--record', file, script 'square' },
      { env = environment(), cwd = host.folder() })
    local peer = client(process:wait_for 'is served at unix:(%S+)')
    for n = 1, 3 do
      peer:call(n, kSquare, { n })
      answer(peer, n)
    end
    process:kill(15)
    assert.equal(0, process:wait(15).code)
    local lines = 0
    for line in io.lines(file) do lines = lines + (line:find('square', 1, true) and 1 or 0) end
    assert.truthy(lines >= 3, ('%d lines'):format(lines))
  end)

  -- pressure ----------------------------------------------------------------------------------------------------------

  it('C3: cuts a client that does not read; others notice nothing', function()
    local process, path = serve()
    local lazy, _ = client(path), client(path)
    for n = 1, 12 do lazy:call(n, kBig, { 16 * 1024 * 1024 }) end
    local worst = 0
    local _, request = operator(path)
    host.eventually(function()
      local began = host.now()
      local _, status = request 'status'
      worst = math.max(worst, host.now() - began)
      return status.slow_readers == 1
    end, 60, 'it is cut')
    process:wait_for('cut, (SlowReader)', 30)
    assert.truthy(worst < 1, ('a request beside it has taken %g s'):format(worst))
    local _, status = request 'status'
    assert.equal(1, status.deployments[1].clients)
  end)

  it('C3: reads nothing more from a client that does not read', function()
    local _, path = serve()
    local lazy = client(path)
    for n = 1, 6 do lazy:call(n, kBig, { 5 * 1024 * 1024 }) end
    local _, request = operator(path)
    host.eventually(function()
      local _, status = request 'status'
      return status.deployments[1].running + status.deployments[1].queued == 0
    end, 20, 'all six have ended')
    lazy:call(7, kSquare, { 1 })
    host.pause(0.3)
    local _, status = request 'status'
    assert.equal(6, status.deployments[1].calls)
    assert.equal(wire.RESULT, (answer(lazy, 7)))
  end)

  it('C4: in flight per client is limited, and others are served meanwhile', function()
    local _, path = serve()
    local greedy, other = client(path), client(path)
    local calls = {}
    for n = 1, 1100 do calls[n] = greedy:call_frame(n, kNap, { 0.001 }) end
    greedy:write(table.concat(calls))  -- faster than they end
    other:call(1, kSquare, { 3 })
    assert.equal(wire.RESULT, (answer(other, 1)))
    local refused = 0
    for _ = 1, 1100 do
      local _, body = greedy:read(15)
      local err = body[1]
      if type(err) == 'table' then
        assert.same({ 'Overloaded', 'client', 'no' }, { err.name, err.scope, err.executed })
        refused = refused + 1
      end
    end
    assert.truthy(refused > 0)
  end)

  it('C5: reads nothing for a while from a client that floods cancels; others are served at once', function()
    local _, path = serve()
    local greedy, other = client(path), client(path)
    greedy:call(1, kSquare, { 1 })
    other:call(1, kSquare, { 1 })
    assert.same({ wire.RESULT, wire.RESULT }, { (answer(greedy, 1)), (answer(other, 1)) })
    local flood = {}
    for n = 10, 3000 do flood[#flood + 1] = greedy:cancel_frame(n) end
    local began = host.now()
    greedy:write(table.concat(flood))
    other:call(2, kSquare, { 2 })
    assert.equal(wire.RESULT, (answer(other, 2)))
    assert.truthy(host.now() - began < 1)
    greedy:call(2, kSquare, { 2 })
    assert.equal(wire.RESULT, (answer(greedy, 2)))
    assert.truthy(host.now() - began > 0.5, ('%g s'):format(host.now() - began))
  end)

  it('R5: refuses who comes when descriptors run out, and serves the others', function()
    local command = ("ulimit -n 150; exec '%s' serve '%s'"):format(host.farside, script 'square')
    local process = host.spawn({ 'sh', '-c', command }, { env = environment(), cwd = host.folder() })
    local path = process:wait_for 'is served at unix:(%S+)'
    local peers, refused = {}, nil
    for i = 1, 150 do
      local peer = assert(wire.connect(path))
      peer:hello {}
      peers[i] = peer
      local header, body
      repeat header, body = peer:read(5) until not header or header[1] == wire.WELCOME or header[1] == wire.ERROR
      if header and header[1] == wire.ERROR then
        refused = body[1]
        break
      end
    end
    assert.same({ 'Overloaded', 'connections', 'no' }, { refused.name, refused.scope, refused.executed })
    peers[1]:call(1, kSquare, { 7 })
    assert.same({ wire.RESULT, { 49 } }, { answer(peers[1], 1) })
    for _, peer in ipairs(peers) do peer:close() end
    host.eventually(function()
      local peer = wire.connect(path)
      peer:hello {}
      local header = peer:await(wire.WELCOME)
      peer:close()
      return header
    end, 5, 'there is room again')
  end)
end)
