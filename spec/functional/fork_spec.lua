--- A fork that user code makes of a process of Farside's never goes on as one.
local host = require 'spec.support.host'

local kHead = [[
local ffi = require 'ffi'
ffi.cdef 'int fork(void); int getpid(void); int getppid(void); int waitpid(int pid, int *status, int options);'
local farside = require 'farside'
local path = arg and arg[1] or os.getenv 'FORK_FILE'

-- Runs `child` in a fork, or goes on there without one; returns how that has ended: its exit code, or minus the signal.
local function forked(child)
  local pid = ffi.C.fork()
  if pid == 0 then
    if child then child() end
    return nil
  end
  local status = ffi.new 'int[1]'
  assert(ffi.C.waitpid(pid, status, 0) == pid)
  local signal = status[0] % 128
  return signal > 0 and -signal or math.floor(status[0] / 256)
end

local function note(...)
  local file = assert(io.open(path, 'a'))
  file:write(table.concat({ ... }, ' '), '\n')
  file:close()
end
]]

local kApp = [[
local app = farside.deployment { name = 'fork' }
app.configure_autoscaling { max_workers = 1 }
]]

local file

local function run(text, options)
  file = host.folder() .. '/notes'
  options = options or {}
  options.env = { FORK_FILE = file }
  local script = host.script('one.lua', kHead .. kApp .. text)
  return host.run(script, options)
end

local function notes()
  local found = io.open(file)
  if not found then return '' end
  local text = found:read '*a'
  found:close()
  return text
end

-- A function that forks when its argument is true, one that says who answers, and a client that calls both.
local function run_forking(child)
  return run([[
    local first = app.remote { name = 'first', benchmark_dataset = { { x = false } } } (function(x)
      local code
      if x then
        code = forked(]] .. child .. [[)
        if code == nil then return 'the fork' end
      end
      return ffi.C.getpid(), code
    end)
    local who = app.remote { name = 'who' } (function() return ffi.C.getpid() end)
    farside.run(function()
      local pid, code = first(true)
      local others = 0
      for _ = 1, 30 do
        if who() ~= pid then others = others + 1 end
      end
      print(code, others, first(false) == pid)
    end)
  ]])
end

describe('a fork of a worker', function()
  after_each(host.clean)

  it('ends by os.exit with its code, and answers no calls', function()
    local process = run_forking 'function() os.exit(7) end'
    assert.same({ '7\t0\ttrue\n', '', 0 }, { process.out, process.err, process.code })
  end)

  it('ends by os.exit(false) with 1, and by os.exit() with 0', function()
    assert.equal('1\t0\ttrue\n', run_forking('function() os.exit(false) end').out)
    assert.equal('0\t0\ttrue\n', run_forking('function() os.exit() end').out)
  end)

  it('ends with 0 where its function returns', function()
    local process = run_forking 'nil'
    assert.same({ '0\t0\ttrue\n', '', 0 }, { process.out, process.err, process.code })
  end)

  it('ends with 1 and a line where its function raises, which nobody else is told', function()
    local process = run_forking "function() error 'no such thing' end"
    assert.same({ '1\t0\ttrue\n', 0 }, { process.out, process.code })
    assert.truthy(process.err:match 'a fork of this worker ended with an error: [^\n]*one%.lua:%d+: no such thing', process.err)
    assert.truthy(process.err:match 'stack traceback:\n[^\n]*one%.lua:%d+:', process.err)
  end)

  it('keeps what it has written', function()
    local process = run_forking "function() io.write 'half a line' os.exit(0) end"
    assert.equal(1, select(2, process.err:gsub('half a line', '')), process.err)
  end)

  it('keeps what it has written to files that it leaves open', function()
    for _, ending in ipairs { 'os.exit(0)', '', "error 'no such thing'" } do
      run_forking(([[function() left = io.open(path, 'w') left:write 'all of it' %s end]]):format(ending))
      assert.equal('all of it', notes(), ending)
    end
  end)

  it('is told by whatever it uses of Farside that it is a fork', function()
    local process = run [[
      local other
      local uses = {
        call = function() other() end,
        spawn_call = function() other:spawn() end,
        stream = function() other:stream() end,
        yield = function() app.yield(1) end,
        sleep = function() farside.sleep(0) end,
        progress = function() farside.progress(1) end,
        spawn = function() farside.spawn(function() end) end,
        run = function() farside.run(function() end) end,
        id = function() farside.call() end,
        blocking = function() (' '):gsub(' ', function() farside.sleep(0.001) end) end,
      }
      other = app.remote { name = 'other', concurrency = 2 } (function() return 1 end)
      local f = app.remote { name = 'f', concurrency = 2, benchmark_dataset = { { x = false } } } (function(x)
        if not x then return end
        other()
        local call = farside.call()
        uses.cancelled = call.cancelled
        local future = other:spawn()
        uses.await = function() future:await() end
        local code = forked(function()
          for name, use in pairs(uses) do
            local ok, err = pcall(use)
            note(name, tostring(ok), tostring(err):match '[%w_]+%.lua:%d+: this process is a fork' and 'told' or tostring(err))
          end
          os.exit(3)
        end)
        return code, future:await()
      end)
      farside.run(function() print(f(true)) end)
    ]]
    assert.same({ '3\t1\n', '', 0 }, { process.out, process.err, process.code })
    local count = 0
    for line in notes():gmatch '[^\n]+' do
      assert.truthy(line:match '^[%w_]+ false told$', line)
      count = count + 1
    end
    assert.equal(12, count)
  end)

  it('ends where a coroutine of its call returns, and the others of it do not run there', function()
    local process = run [[
      local f = app.remote { name = 'f', benchmark_dataset = { { x = false } } } (function(x)
        if not x then return end
        local before = ffi.C.getpid()
        local beside = farside.spawn(function()
          farside.sleep(0.001)
          note(tostring(ffi.C.getpid() == before))
        end)
        local code = farside.spawn(function()
          farside.sleep(0.001)
          return forked()
        end):await()
        beside:await()
        return code
      end)
      farside.run(function() print(f(true)) end)
    ]]
    assert.same({ '0\n', '', 0 }, { process.out, process.err, process.code })
    assert.equal('true\n', notes())
  end)

  it('ends when it is made while the script is loaded or a context is entered, and the worker takes calls', function()
    local process = run [[
      local Context = {}
      Context.__index = Context
      function Context:enter()
        note('context', tostring(forked() or 'fork'))
        return 1
      end
      app.context()(Context)
      local f = app.remote { name = 'f', benchmark_dataset = { { x = 1 } } } (function(x) return x end)
      if require('farside.native').role == 'worker' then note('script', tostring(forked() or 'fork')) end
      farside.run(function() print(f(1)) end)
    ]]
    assert.same({ '1\n', '', 0 }, { process.out, process.err, process.code })
    local lines = {}
    for line in notes():gmatch '[^\n]+' do lines[#lines + 1] = line end
    assert.same({ 'script fork', 'script 0', 'context fork', 'context 0' }, lines)
  end)

  it('leaves programs that a function starts as they are', function()
    local process = run [[
      local f = app.remote { name = 'f', benchmark_dataset = { { x = 1 } } } (function(x)
        local pipe = io.popen('echo ' .. x)
        local said = pipe:read '*a'
        pipe:close()
        return said, os.execute('exit 3') ~= 0
      end)
      farside.run(function() print(f(5)) end)
    ]]
    assert.same({ '5\n\ttrue\n', 0 }, { process.out, process.code }, process.err)
  end)
end)

describe('a fork of a client', function()
  after_each(host.clean)

  local kFunctions = [[
    io.stdout:setvbuf 'line'
    local f = app.remote { name = 'f', benchmark_dataset = { { x = 1 } } } (function(x) return x, ffi.C.getpid() end)
  ]]

  it('ends where a function of farside.run returns or raises, and the workers stay', function()
    local process = run(kFunctions .. [[
      farside.run(function()
        local _, pid = f(1)
        print(farside.spawn(forked):await())
        print(farside.spawn(forked, function() error 'no such thing' end):await())
        print(select(2, f(2)) == pid)
      end)
      print 'after'
    ]])
    assert.same({ '0\n1\ntrue\nafter\n', 0 }, { process.out, process.code }, process.err)
    assert.truthy(process.err:match 'a fork of this process ended with an error: [^\n]*one%.lua:%d+: no such thing', process.err)
  end)

  it('ends by os.exit, and at the end of the script', function()
    local process = run(kFunctions .. [[
      if require('farside.native').role == 'worker' then return end
      local _, pid = f(1)
      print(forked(function() os.exit(7) end))
      print(forked(function() os.exit(8, true) end))
      local code = forked()
      if not code then return end
      print(code, select(2, f(2)) == pid)
    ]])
    assert.same({ '7\n8\n0\ttrue\n', '', 0 }, { process.out, process.err, process.code })
  end)

  it('keeps what it has written to files that it leaves open', function()
    local process = run(kFunctions .. [[
      if require('farside.native').role == 'worker' then return end
      f(1)
      local function write(text)
        left = io.open(path, 'a')
        left:write(text, '\n')
      end
      print(forked(function() write 'os.exit' os.exit(0) end))
      print(forked(function() write 'and its state' os.exit(0, true) end))
      local code = forked()
      if not code then return write 'the end' end
      print(code)
    ]])
    assert.same({ '0\n0\n0\n', '', 0 }, { process.out, process.err, process.code })
    assert.equal('os.exit\nand its state\nthe end\n', notes())
  end)

  it('is told by a call that it is one', function()
    local process = run(kFunctions .. [[
      if require('farside.native').role == 'worker' then return end
      f(1)
      print(forked(function()
        for _, use in ipairs { f, app.ensure_ready, app.status, function() farside.sleep(0) end } do
          local ok, err = pcall(use, nil)
          print(ok, err.name, (tostring(err):match 'this process is a fork'))
        end
        f(1)
      end))
    ]])
    local told = 'false\tUnsupported\tthis process is a fork\n'
    assert.same({ told:rep(4) .. '1\n', 0 }, { process.out, process.code }, process.err)
    assert.truthy(process.err:match '^farside: [^\n]*one%.lua:%d+: this process is a fork', process.err)
  end)

  it('that was made before the first call may be a client of its own', function()
    if io.open(host.build .. '/bin/luajit') then return pending 'starts threads in a fork, which no sanitizer follows' end
    local process = run(kFunctions .. [[
      if require('farside.native').role == 'worker' then return end
      local code = forked()
      if not code then
        print((f(1)))
        return
      end
      print(code, (f(2)))
    ]])
    assert.same({ '1\n0\t2\n', '', 0 }, { process.out, process.err, process.code })
  end)
end)

describe('a fork of a router', function()
  after_each(host.clean)

  it('that a deploy script makes ends with that, and one router serves it', function()
    file = host.folder() .. '/notes'
    local script = host.script('one.lua', kHead .. kApp .. [[
      app.remote { name = 'f', benchmark_dataset = { { x = 1 } } } (function(x) return x end)
      if require('farside.native').role == 'client' then note('ended', tostring(forked() or 'fork')) end
    ]])
    local process = host.spawn({ host.farside, 'serve', '--listen', 'unix:' .. host.folder() .. '/socket', script },
      { env = { FORK_FILE = file } })
    process:wait_for '(is served at)'
    process:kill(15)
    process:wait()
    assert.equal('ended fork\nended 0\n', notes())
    assert.equal(1, select(2, process.err:gsub('is served at', '')), process.err)
  end)
end)
