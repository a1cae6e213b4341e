-- R7: a served router whose memory fills.
local host = require 'spec.support.host'
local wire = require 'spec.support.wire'

local kDeploy = [[
local farside = require 'farside'
local app = farside.deployment { name = 'memory' }
app.configure_autoscaling { max_workers = 1, min_load = 1e12 }
local size = app.remote { concurrency = 64, benchmark_dataset = { { text = '', s = 0 } } } (function(text, s) farside.sleep(s) return #text end)
local big = app.remote { concurrency = 8 } (function(n) return ('x'):rep(n) end)
return { app = app, size = size, big = big }
]]
local kSize, kBig = 0, 1
local MiB = 2 ^ 20

local function environment()
  return { XDG_RUNTIME_DIR = host.folder() }
end

local function serve(memory)
  local process = host.spawn({ host.farside, 'serve', '--memory', memory, host.script('deploy.lua', kDeploy) },
    { env = environment(), cwd = host.folder() })
  local path = process:wait_for 'is served at unix:(%S+)'
  return process, path
end

local function client(path)
  local peer = assert(wire.connect(path))
  peer:hello()
  assert.is_truthy(peer:await(wire.WELCOME))
  return peer
end

local function operator(path)
  local peer = assert(wire.connect(path))
  peer:hello({}, wire.OPERATOR)
  assert.is_truthy(peer:await(wire.WELCOME))
  local count = 0
  return function(name)
    count = count + 1
    peer:send({ wire.REQUEST, count }, { name, wire.map {} })
    local _, body = peer:await(wire.REPLY)
    return body[2]
  end
end

local function answer(peer, n)
  while true do
    local header, body = peer:read(20)
    if not header then return nil, body end
    if (header[1] == wire.RESULT or header[1] == wire.ERROR) and wire.number(header) == n then return header[1], body[1] end
  end
end

-- Calls of 1 MiB each that run for a while, until the router is at a step.
local function fill(peer, request, step)
  local text, n = ('x'):rep(MiB), 0
  while request('status').memory_step < step do
    n = n + 1
    peer:call(n, kSize, { text, 1.5 })
    peer:call(1000 + n, kSize, { '', 0 })  -- has come when it is answered
    answer(peer, 1000 + n)
  end
  return n
end

describe('R7: a router whose memory fills', function()
  after_each(host.clean)

  it('lets in no further clients at 80 %, takes no calls at 90 %, and goes on when it has room again', function()
    local process, path = serve '20MiB'
    local peer, request = client(path), operator(path)
    assert.equal(20 * MiB, request('status').memory_budget)
    assert.equal(0, request('status').memory_step)
    fill(peer, request, 1)
    local late = wire.connect(path)
    late:hello()
    local _, body = late:await(wire.ERROR)
    assert.same({ 'Overloaded', 'memory', 20 * MiB, true }, { body[1].name, body[1].scope, body[1].limit, body[1].retryable })
    operator(path)  -- who looks is let in
    fill(peer, request, 2)
    peer:call(2000, kSize, { '', 0 })
    local kind, err = answer(peer, 2000)
    assert.equal(wire.ERROR, kind)
    assert.same({ 'Overloaded', 'memory', 20 * MiB, 'no', true },
      { err.name, err.scope, err.limit, err.executed, err.retryable })
    assert.is_true(err.retry_after > 0)
    host.eventually(function() return request('status').memory_step == 0 end, 20, 'the calls have ended')
    peer:call(2001, kSize, { 'four', 0 })
    assert.same({ wire.RESULT, 4 }, { answer(peer, 2001) })
    client(path)
    process:wait_for 'no further clients are let in'
    process:wait_for 'no further calls are taken'
    process:wait_for 'clients and calls are let in'
  end)

  it('cuts who has most to read and does not, and spares the others', function()
    local process, path = serve '24MiB'
    local lazy, lazier, other, request = client(path), client(path), client(path), operator(path)
    lazy:call(1, kBig, { 6 * MiB })
    host.eventually(function() return request('status').memory > 5 * MiB end, 20, 'its result waits for it')
    lazier:call(1, kBig, { 10 * MiB })
    host.eventually(function() return request('status').memory > 14 * MiB end, 20, 'a larger one for the other')
    assert.equal(0, request('status').slow_readers)
    other:call(1, kBig, { 8 * MiB })
    host.eventually(function() return request('status').slow_readers >= 1 end, 20, 'one is cut')
    process:wait_for('cut, (SlowReader)', 10)
    local kind = answer(lazy, 1)
    assert.equal(wire.RESULT, kind)
    assert.is_nil((answer(lazier, 1)))
    other:call(2, kSize, { 'four', 0 })
    host.eventually(function() return request('status').memory_step < 3 end, 10, 'there is room again')
  end)

  it('says what it holds in its metrics', function()
    local _, path = serve '20MiB'
    client(path)
    local text = operator(path) 'metrics'
    assert.truthy(text:find '\nfarside_memory_budget_bytes 20971520\n')
    assert.truthy(tonumber(text:match '\nfarside_memory_bytes (%d+)\n') >= 0)
    assert.truthy(text:find '\nfarside_memory_step 0\n')
  end)

  it('takes sizes as a person writes them, and no others', function()
    for _, size in ipairs { '10KiB', '1X', '4G', 'MiB', '-1GiB', '0', '9999999999TiB' } do
      local run = host.run_program({ host.farside, 'serve', '--memory=' .. size, host.script('deploy.lua', kDeploy) },
        { env = environment(), cwd = host.folder() })
      assert.equal(64, run.code)
      assert.truthy(run.err:find('expected a size of 1MiB at least, such as 512MiB or 4GiB, got ' .. size, 1, true), run.err)
    end
  end)
end)
