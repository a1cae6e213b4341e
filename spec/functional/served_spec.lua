-- Clients of a router that is a process of its own.
local host = require 'spec.support.host'
local program = require 'spec.support.program'
local wire = require 'spec.support.wire'

local kDeploy = [[
local ffi = require 'ffi'
pcall(ffi.cdef, 'int usleep(unsigned us); int getpid(void);')
local farside = require 'farside'
local part = require 'part'
local app = farside.deployment { name = 'served' }
app.configure_autoscaling { max_workers = 2 }

local function append(path, text)
  local file = io.open(path, 'a')
  file:write(text)
  file:close()
end

local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return part.multiply(x, x) end)
local nap = app.remote(function(s) ffi.C.usleep(s * 1e6) return 'slept' end)
local note = app.remote(function(path, s)
  append(path, 'entered\n')
  farside.sleep(s)
  append(path, 'done\n')
end)
local count = app.remote(function(n)
  for i = 1, n do app.yield(i) end
  return n
end)
local steps = app.remote(function(n)
  for i = 1, n do farside.progress(i, n) end
  return n
end)
local length = app.remote(function(bytes) return #bytes end)
local pid = app.remote(function() return ffi.C.getpid() end)
return { app = app, square = square, nap = nap, note = note, count = count, steps = steps, length = length, pid = pid }
]]
local kPart = 'return { multiply = function(a, b) return a * b end }'

local function environment(changes)
  local env = { XDG_RUNTIME_DIR = host.folder() .. '/run', LUA_PATH = host.folder() .. '/?.lua;;' }
  for name, value in pairs(changes or {}) do env[name] = value end
  return env
end

local function write_scripts(part)
  os.execute(("mkdir -p '%s/run' && chmod 700 '%s/run'"):format(host.folder(), host.folder()))
  host.script('part.lua', part or kPart)
  return host.script('deploy.lua', kDeploy)
end

-- A router that serves, and where.
local function serve(part)
  local script = write_scripts(part)
  local process = host.spawn({ host.farside, 'serve', script }, { env = environment(), cwd = host.folder() })
  process.path = process:wait_for 'is served at unix:(%S+)'
  return process
end

local kHead = "io.stdout:setvbuf 'no'\nlocal farside = require 'farside'\nlocal d = require 'deploy'\n"

local function start(text, changes)
  return host.start(host.script('client.lua', kHead .. text), { env = environment(changes) })
end

local function run(text, changes)
  local process = start(text, changes)
  process:wait(20)
  return process
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read '*a' or ''
  if file then file:close() end
  return text
end

describe('a client of a served router', function()
  after_each(host.clean)

  it('finds it by itself, and starts no worker', function()
    local router = serve()
    local client = start [[
      assert(d.square(5) == 25)
      print('at', d.app.status().router)
      io.read()
    ]]
    assert.equal('unix:' .. router.path, client:wait_for 'at%s+(%S+)')
    assert.same({}, host.workers(client.pid))
    client:wait()
    assert.equal(0, client.code, client.err)
  end)

  it('has the workers of its own without one, or where it is told to', function()
    write_scripts()
    assert.equal('nil', run('d.square(5) print(d.app.status().router)').out:match '%S+')
    local router = serve()
    local client = run('print(d.pid(), d.app.status().router)', { FARSIDE_ROUTER = 'embedded' })
    local pid, at = client.out:match '(%d+)%s+(%S+)'
    assert.equal('nil', at)
    for _, worker in ipairs(host.workers(router.pid)) do assert.not_equal(worker, tonumber(pid)) end
  end)

  it('goes nowhere but where it is told to', function()
    local router = serve()
    local client = run('d.square(5)', { FARSIDE_ROUTER = 'unix:' .. host.folder() .. '/nobody' })
    assert.equal(1, client.code)
    assert.truthy(client.err:find('ConnectFailed: no router can be reached at unix:' .. host.folder() .. '/nobody', 1, true),
      client.err)
    client = run('d.square(5)', { FARSIDE_ROUTER = 'tcp:127.0.0.1:9' })
    assert.truthy(client.err:find("ConfigError: FARSIDE_ROUTER: expected embedded or unix:PATH", 1, true), client.err)
    client = run('print(d.square(5))', { FARSIDE_ROUTER = 'unix:' .. router.path, XDG_RUNTIME_DIR = '/nonexistent' })
    assert.equal('25\n', client.out, client.err)
  end)

  it('may use a script that returns what a function of another module makes', function()
    write_scripts()
    host.script('maker.lua', ('return function()\n%s\nend'):format(kDeploy))
    local script = host.script('deploy.lua', "return require 'maker' ()")
    local router = host.spawn({ host.farside, 'serve', script }, { env = environment(), cwd = host.folder() })
    router:wait_for 'is served at'
    assert.equal('25\n', run('print(d.square(5))').out)
  end)

  it('is told which files have changed', function()
    serve()
    assert.equal('25\n', run('print(d.square(5))').out)  -- a worker has them as they were
    host.script('part.lua', kPart .. ' -- twice')
    local client = run 'd.square(5)'
    assert.equal(1, client.code)
    assert.truthy(client.err:find('DeploymentChanged', 1, true), client.err)
    assert.truthy(client.err:find("from other files than this client's: part.lua (changed); end it", 1, true), client.err)
    host.script('part.lua', kPart .. "\nlocal trace = true -- farside: ignore")
    client = run 'print(d.square(5))'
    assert.equal(1, client.code)  -- a line was added behind the last one, which had no end
    host.script('part.lua', 'local trace = true -- farside: ignore\n' .. kPart)
    client = run 'print(d.square(5))'
    assert.equal('25\n', client.out, client.err)
  end)

  local function file_of(i)
    return ('many/%s%d.lua'):format(('x'):rep(100), i)
  end

  -- A router that serves a deployment of so many further files; the first one is named and not there.
  local function serve_many(count)
    local parts = { kPart }
    write_scripts()
    os.execute(("mkdir '%s/many'"):format(host.folder()))
    for i = 1, count do
      parts[#parts + 1] = ("-- require '%s'"):format(file_of(i):gsub('%.lua$', ''):gsub('/', '.'))
      if i > 1 then host.script(file_of(i), 'return 1') end
    end
    return serve(table.concat(parts, '\n'))
  end

  for _, count in ipairs { 300, 3000 } do
    it(('is told which few of %d files differ'):format(count), function()
      serve_many(count)
      host.script(file_of(1), 'return 1')
      host.script(file_of(7), 'return 2')
      os.remove(host.folder() .. '/' .. file_of(count))
      local client = run 'local _, err = pcall(d.square, 5) print(err.name, unpack(err.files)) print(err.digests)'
      local expected = { file_of(1) .. ' (added)', file_of(7) .. ' (changed)', file_of(count) .. ' (missing)' }
      table.sort(expected)
      assert.equal('DeploymentChanged\t' .. table.concat(expected, '\t') .. '\nnil\n', client.out, client.err)
    end)
  end

  it('is told all of it before the connection ends, however late it reads; what it says meanwhile counts nowhere', function()
    local router = serve_many(3000)
    local peer = wire.connect(router.path)
    peer:hello { hash = ('0'):rep(64) }
    for n = 1, 3 do peer:call(n, 0, { 5 }) end
    local client = run 'print(d.square(5))'  -- others are served
    assert.equal('25\n', client.out, client.err)
    local _, body = peer:await(wire.ERROR)
    local count = 0
    for path, digits in pairs(body[1].digests) do
      assert.truthy(path:find '%.lua$' and digits:find '^%x+$')
      count = count + 1
    end
    assert.equal(3001, count)
    assert.same({ nil, 'closed' }, { peer:read() })
  end)

  it('calls, waits, streams, listens and cancels as with a router of its own', function()
    serve()
    local client = run [[
      d.app.ensure_ready()
      assert(d.app.status().state == 'ready')
      local futures = {}
      for i = 1, 200 do futures[i] = d.square:spawn(i) end
      for i, future in ipairs(futures) do assert(future:await() == i * i) end
      local sum = 0
      for v in d.count:stream(1000) do sum = sum + v end
      assert(sum == 500500)
      local last
      assert(d.steps:with { on_progress = function(n) last = n end } (10) == 10)
      assert(last == 10, last)
      local slow = d.nap:spawn(20)
      slow:cancel()
      local ok, err = pcall(slow.await, slow)
      assert(not ok and err.name == 'Cancelled', tostring(err))
      ok, err = pcall(d.nap:with { timeout = 0.1 }, 5)
      assert(not ok and err.name == 'DeadlineExceeded', tostring(err))
      ok, err = pcall(d.square, {})
      assert(not ok and err.executed == 'yes', tostring(err))
      assert(d.length(('x'):rep(20000000)) == 20000000)
      for i, v in d.square:map { 1, 2, 3 } do assert(v == i * i) end
      print 'all'
    ]]
    assert.equal('all\n', client.out, client.err)
  end)

  it('works in a plain luajit', function()
    serve()
    local client = host.run_program({ 'luajit', host.script('client.lua', kHead .. 'print(d.square(5), d.app.status().router)') },
      { env = environment { LUA_PATH = host.folder() .. '/?.lua;' .. host.source .. '/lua/?.lua;' .. host.source .. '/lua/?/init.lua;;',
        LUA_CPATH = host.build .. '/lua/?.so;;' } })
    assert.truthy(client.out:find '^25%s+unix:', client.err)
  end)

  it('is kept in touch while it computes', function()
    serve()
    local client = run [[
      d.app.ensure_ready()
      local future = d.square:spawn(5)
      local stop = farside.now() + 0.3
      while farside.now() < stop do end
      local before = farside.now()
      assert(future:await() == 25)
      assert(farside.now() - before < 0.1)
      local slow = d.nap:with { timeout = 0.1 } : spawn(0.2)
      stop = farside.now() + 0.5
      while farside.now() < stop do end
      assert(not pcall(slow.await, slow))
      print 'kept'
    ]]
    assert.equal('kept\n', client.out, client.err)
  end)

  for _, how in ipairs { 'is killed', 'exits' } do
    it(("C1, C13: %s with calls in flight: they are cancelled at the router"):format(how), function()
      serve()
      local notes = host.folder() .. '/notes'
      local client = start(([[
        d.app.ensure_ready()
        for _ = 1, 10 do d.note:spawn('%s', 10) end
        farside.sleep(0.05)
        print 'called'
        farside.sleep(%d)
        os.exit(0)
      ]]):format(notes, how == 'exits' and 0 or 60))
      host.eventually(function() return read(notes) ~= '' end, 10, 'a call has begun')
      client:wait_for 'called'
      if how == 'is killed' then client:kill(9) end
      client:wait()
      local after = run 'print(d.square(5))'
      assert.equal('25\n', after.out, after.err)
      assert.is_nil(read(notes):find 'done')
    end)
  end
end)

describe('a program in C with a served router', function()
  local variables = { EMBED_DEPLOY = host.source .. '/spec/support/embed.lua' }

  before_each(function()
    local folder = host.folder()
    variables.XDG_RUNTIME_DIR, variables.FARSIDE_BIN = folder, '/nonexistent'
    local router = host.spawn({ host.farside, 'serve', variables.EMBED_DEPLOY }, { env = { XDG_RUNTIME_DIR = folder } })
    router:wait_for 'is (served) at'
  end)
  after_each(host.clean)

  program.checks('check_embed', variables)
end)

describe('a router that goes', function()
  after_each(host.clean)

  local kWaits = [[
    d.app.ensure_ready()
    local futures = {}
    for i = 1, 4 do futures[i] = d.nap:spawn(%s) end
    print 'called'
    for i = 1, 4 do
      local ok, err = pcall(futures[i].await, futures[i])
      print(ok and 'ok' or err.name .. ' ' .. err.executed)
    end
    for i = 1, 3 do print(pcall(d.square, i)) end
  ]]

  it('R1: ends the calls in flight with maybe; those made later go to its successor', function()
    local router = serve()
    local client = start(kWaits:format '60')
    client:wait_for 'called'
    host.eventually(function() return #host.workers(router.pid) > 0 end, 10, 'workers')
    host.pause(0.2)
    router:kill(9)
    router:wait()
    client:wait_for(('RouterLost maybe\n'):rep(4), 2)
    serve()
    client:wait()
    assert.truthy(client.out:find 'true\t1\ntrue\t4\ntrue\t9\n', client.out .. client.err)
  end)

  it('R2: is told from its successor by the epoch in RouterLost', function()
    local epochs = {}
    for i = 1, 2 do
      local router = serve()
      local client = start [[
        d.app.ensure_ready()
        local future = d.nap:spawn(60)
        print('called', require('farside.native').operator(d.app.status().router):request('status').epoch)
        local ok, err = pcall(future.await, future)
        print(err.name, err.epoch)
        -- Nobody comes back: what was never sent names it too.
        ok, err = pcall(d.square:with { timeout = 0.1 }, 1)
        print(err.name, err.executed, err.epoch)
      ]]
      epochs[i] = client:wait_for 'called%s+(%x+)'
      router:kill(9)
      router:wait()
      client:wait()
      assert.equal(('RouterLost\t%s\nRouterLost\tno\t%s\n'):format(epochs[i], epochs[i]),
        client.out:match 'called[^\n]*\n(.*)', client.err)
    end
    assert.equal(16, #epochs[1])
    assert.not_equal(epochs[1], epochs[2])
  end)

  it('R3: finishes what runs; what waits there and what is made later goes to its successor', function()
    local router = serve()
    local client = start(kWaits:format '0.5')
    client:wait_for 'called'
    host.pause(0.2)
    router:kill(15)
    router:wait()
    assert.equal(0, router.code, router.err)
    serve()
    client:wait()
    assert.equal(('ok\n'):rep(4) .. 'true\t1\ntrue\t4\ntrue\t9\n', client.out:match 'called\n(.*)', client.err)
  end)
end)

describe('100,000 calls, with their router restarted again and again', function()
  after_each(host.clean)

  local kChaos = [[
package.path = '%s/?.lua;' .. package.path
local farside = require 'farside'
local ledger = require('spec.support.ledger').open('%s', 100001)
local app = farside.deployment { name = 'restarts' }
app.configure_autoscaling { max_workers = 2 }
local enter = app.remote { benchmark_dataset = { { id = 0 } } } (function(id)
  ledger:add(id)
  return -id
end)
local calls, last, ended, told = 100000, 0, 0, 0
local outcomes = { ok = 0, no = 0, maybe = 0, yes = 0 }
local function check(id, ok, result)
  ended = ended + 1
  local outcome = ok and 'ok' or result.executed
  outcomes[outcome] = outcomes[outcome] + 1
  local entries = ledger:count(id)
  if entries > 1 or ok and (result ~= -id or entries ~= 1) or outcome == 'no' and entries > 0 then
    print('untruth', id, entries, ok, tostring(result))
  end
  if ended >= told * 10000 then
    print('ended ' .. told * 10000 .. '.')
    io.stdout:flush()
    told = told + 1
  end
end
farside.run(function()
  local futures = {}
  for i = 1, 64 do
    futures[i] = farside.spawn(function()
      while last < calls do
        last = last + 1
        local id = last
        check(id, pcall(enter, id))
      end
    end)
  end
  farside.all(futures)
  for name, number in pairs(outcomes) do print(name .. '=' .. number) end
  print('finished ' .. ended)
end)
return { app = app }
]]

  it('R1, R2, R3: each have one outcome, run at most once, and are said not to have run only if so', function()
    local script = host.script('chaos.lua', kChaos:format(host.source, host.folder() .. '/ledger'))
    os.execute(("mkdir -p '%s/run' && chmod 700 '%s/run'"):format(host.folder(), host.folder()))
    local function restart()
      local router = host.spawn({ host.farside, 'serve', script }, { env = environment(), cwd = host.folder() })
      router:wait_for 'is served at (unix)'
      return router
    end
    local router = restart()
    local client = host.start(script, { env = environment { FARSIDE_ROUTER = false } })
    for i = 1, 8 do
      client:wait_for(('(ended %d%%.)'):format(i * 10000), 60)
      router:kill(i % 4 == 0 and 15 or 9)
      router:wait(20)
      router = restart()
    end
    client:wait(60)
    assert.equal(0, client.code, client.err)
    assert.is_nil(client.out:find 'untruth', client.out)
    assert.truthy(client.out:find 'finished 100000', client.out)
    local maybe, ok = tonumber(client.out:match 'maybe=(%d+)'), tonumber(client.out:match 'ok=(%d+)')
    assert.equal(100000, maybe + ok, client.out)
    assert.is_true(maybe <= 6 * 64, client.out)
  end)
end)
