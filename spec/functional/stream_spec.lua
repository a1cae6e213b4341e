local host = require 'spec.support.host'

local HEAD = [[
local ffi = require 'ffi'
ffi.cdef 'int getpid(void); int kill(int pid, int signal);'
local farside = require 'farside'
local app = farside.deployment { name = 'streams' }
app.configure_autoscaling { max_workers = 1 }
local made = 0                -- items in this process, also those of its benchmark
local function busy(seconds)  -- without giving anybody a turn
  local start = farside.now()
  repeat until farside.now() - start >= seconds
end
local count = app.remote { concurrency = 16, benchmark_dataset = { { n = 3 } } } (function(n, size)
  for i = 1, n do
    app.yield(i, size and ('x'):rep(size))
    made = made + 1
  end
end)
local produced = app.remote { concurrency = 16 } (function() return made end)
local any = app.remote { concurrency = 16 } (function(code, ...) return loadstring('local app, farside, busy = ...; '
  .. 'return function(...) ' .. code .. ' end')(app, farside, busy)(...) end)
local alone = app.remote(function() return ffi.C.getpid() end)
local endless = app.remote(function() local i = 0 while true do i = i + 1 app.yield(i) end end)
local fatal = app.remote { idempotent = true } (function(n)
  for i = 1, n do app.yield(i) end
  farside.sleep(0.05)
  ffi.C.kill(ffi.C.getpid(), 9)
end)
local function settled()     -- items made, once no more come
  local before, now = -1, produced()
  while now ~= before do farside.sleep(0.05) before, now = now, produced() end
  return now
end
]]

local function run(text)
  return host.run(host.script('one.lua', HEAD .. 'farside.run(function()\n' .. text .. '\nend)'))
end

local function prints(expected, text)
  local process = run(text)
  assert.same({ expected, 0 }, { process.out, process.code }, process.err)
end

describe('a stream', function()
  after_each(host.clean)

  it('has the items in their order, however many', function()
    prints('1 2 3 4 5\ttrue\t200010000\n', [[
      local list, sum, sorted = {}, 0, true
      for i in count:stream(5) do list[#list + 1] = i end
      local last = 0
      for i in count:stream(20000) do sum, sorted, last = sum + i, sorted and i == last + 1, i end
      print(table.concat(list, ' '), sorted, sum)
    ]])
  end)

  it('has all values of an item, as they left', function()
    prints('false\tnil\ttwo\t40000\ntable\ttrue\n', [[
      for a, b, c, d in any:stream [=[ app.yield(false, nil, 'two', ('y'):rep(40000)) ]=] do print(a, b, c, #d) end
      for a, b in any:stream [=[ app.yield({ {} }, true) ]=] do print(type(a), b) end
    ]])
  end)

  it('of a function that never yields is empty', function()
    prints('nothing\n', [[
      for v in any:stream 'return 5' do print(v) end
      print 'nothing'
    ]])
  end)

  it('has its items first, then the error that the function raised', function()
    prints('1\n2\nRemoteError\tyes\ttrue\n', [[
      local ok, e = pcall(function()
        for v in any:stream [=[ app.yield(1) app.yield(2) error('enough') ]=] do print(v) end
      end)
      print(e.name, e.executed, e.message:find('enough', 1, true) ~= nil)
    ]])
  end)

  it('can be read outside of coroutines of Farside', function()
    local process = host.run(host.script('one.lua', HEAD .. [[
      if require('farside.native').role == 'worker' then return { app = app } end
      local sum = 0
      for i in count:stream(5000) do sum = sum + i end
      local own = coroutine.wrap(function() for i in count:stream(3) do coroutine.yield(i) end end)
      print(sum, own(), own(), own())
    ]]))
    assert.same({ '12502500\t1\t2\t3\n', 0 }, { process.out, process.code }, process.err)
  end)

  it('passes on a single item at once, and a second one while the function computes', function()
    prints('true\ttrue\n', [[
      local late = {}
      produced()
      for at in any:stream [=[ app.yield(farside.now()) app.yield(farside.now()) busy(0.3) ]=] do
        late[#late + 1] = farside.now() - at
      end
      print(late[1] < 0.2, late[2] < 0.2)
    ]])
  end)

  it('that is read slowly holds its function back, and loses nothing', function()
    prints('true\ttrue\t500\n', [[
      local base = settled()
      local stream, n = count:with { window = 20000 }:stream(500, 1000), 0
      for i = 1, 3 do assert(stream() == i) n = n + 1 end
      local before = settled() - base
      for i = 4, 23 do assert(stream() == i) n = n + 1 end
      local after = settled() - base
      for _ in stream do n = n + 1 end
      print(before <= 3 + 40, after - before <= 40 and after > before, n)
    ]])
  end)

  it('waits for its reader also where the function cannot yield, and a large item goes alone', function()
    prints('2000\t5\n', [[
      local n, large = 0, 0
      for _ in any:with { window = 1000 }:stream [=[
        ('x'):rep(2000):gsub('x', function() app.yield('a letter') end)
      ]=] do n = n + 1 end
      for _, s in count:with { window = 1 }:stream(5, 1000000) do large = large + #s / 1000000 end
      print(n, large)
    ]])
  end)

  it('has items of all coroutines of its call', function()
    prints('30\n', [[
      local sum = 0
      for v in any:with { window = 500 }:stream [=[
        local futures = {}
        for i = 1, 10 do futures[i] = farside.spawn(function() for k = 1, 3 do app.yield(1) farside.sleep(0.001) end end) end
        farside.all(futures)
      ]=] do sum = sum + v end
      print(sum)
    ]])
  end)

  it('goes on beside another one', function()
    prints('1 1 2 2 3 3\ttrue\n', [[
      local a, b, list, sums = count:stream(3), count:stream(3), {}, {}
      for i in a do list[#list + 1] = i list[#list + 1] = b() end
      for k = 1, 10 do
        sums[k] = farside.spawn(function()
          local sum = 0
          for i in count:with { window = 2000 }:stream(1000) do sum = sum + i end
          return sum
        end)
      end
      local all = true
      for _, sum in ipairs(farside.all(sums)) do all = all and sum == 500500 end
      print(table.concat(list, ' '), all)
    ]])
  end)

  it('can be made of another one in a remote function', function()
    local process = host.run(host.script('one.lua', [[
      local farside = require 'farside'
      local app = farside.deployment { name = 'nested' }
      app.configure_autoscaling { max_workers = 2 }
      local inner = app.remote { benchmark_dataset = { { n = 1 } } } (function(n) for i = 1, n do app.yield(i) end end)
      local outer = app.remote(function(n)
        for i in inner:with { window = 3000 }:stream(n) do app.yield(2 * i) end
      end)
      local first = app.remote(function() for i in inner:stream(1e6) do return i end end)
      farside.run(function()
        local sum = 0
        for i in outer:with { window = 3000 }:stream(2000) do sum = sum + i end
        print(sum, first())
        print(first(), first())
      end)
    ]]))
    assert.same({ '4002000\t1\n1\t1\n', 0 }, { process.out, process.code }, process.err)
  end)
end)

describe('a stream ends', function()
  after_each(host.clean)

  it('by break: the call is cancelled as soon as the process waits', function()
    prints('10\ttrue\n', [[
      local last
      for i in endless:stream() do last = i if i == 10 then break end end
      local start = farside.now()
      alone()  -- which needs the only worker
      print(last, farside.now() - start < 1.5)
    ]])
  end)

  it('by close, at once; who goes on reading gets Cancelled', function()
    prints('true\tCancelled\tfarside.stream: failed\n', [[
      local stream = endless:stream()
      stream() stream()
      local start = farside.now()
      stream:close()
      alone()
      local ok, e = pcall(stream)
      print(farside.now() - start < 1, e.name, tostring(stream))
    ]])
  end)

  it('at its deadline, which holds for all of it', function()
    prints('DeadlineExceeded\tyes\ttrue\ttrue\n', [[
      produced()
      local start, n = farside.now(), 0
      local ok, e = pcall(function() for i in endless:with { timeout = 0.3 }:stream() do n = n + 1 end end)
      local took = farside.now() - start
      print(e.name, e.executed, n > 0, took >= 0.3 and took < 1)
    ]])
  end)

  it('C14: with its worker, and is not tried again once an item has come', function()
    prints('1\n2\nWorkerLost\tyes\n', [[
      local ok, e = pcall(function() for i in fatal:stream(2) do print(i) end end)
      print(e.name, e.executed)
    ]])
  end)

  it('C3: one that is never read costs no more than its window, and slows no others', function()
    prints('true\ttrue\n', [[
      local streams, base = {}, settled()
      for i = 1, 8 do streams[i] = count:with { window = 50000 }:stream(1e6, 1000) end
      local most = settled() - base
      collectgarbage()
      local start = farside.now()
      for i = 1, 200 do produced() end
      print(most <= 8 * (50000 / 1320 + 2), farside.now() - start < 1)
      for _, stream in ipairs(streams) do stream:close() end
    ]])
  end)
end)

describe('app.yield', function()
  after_each(host.clean)

  it('says what is wrong, at the line of the user', function()
    local process = run [[
      local function shows(f, ...) local _, e = pcall(f, ...) print((type(e) == 'table' and e.message or e)) end
      shows(count, 3)
      shows(count.here, count, 3)
      shows(app.yield, 1)
      local function all(code) for _ in any:stream(code) do end end
      shows(all, 'app.yield(farside.null)')
      shows(all, 'app.yield(1, { f = print })')
      shows(all, 'farside.progress(-1)')
      shows(all, 'farside.progress(1, "x")')
    ]]
    assert.equal(0, process.code, process.err)
    local lines = {}
    for line in process.out:gmatch('[^\n]+') do lines[#lines + 1] = line end
    assert.truthy(lines[1]:find('one.lua:%d+: app.yield: the function was called without :stream'), process.out)
    assert.truthy(lines[2]:find('one.lua:%d+: app.yield: expected inside a call of a remote function'), process.out)
    assert.truthy(lines[3]:find('app.yield: expected inside a call of a remote function'), process.out)
    assert.truthy(lines[4]:find('app.yield: expected a value, got nil'), process.out)
    assert.truthy(lines[5]:find('app.yield: item 2.f is a function', 1, true), process.out)
    assert.truthy(lines[6]:find('progress: n: expected a number of at least 0, got the number -1', 1, true), process.out)
    assert.truthy(lines[7]:find('progress: total: expected a number of at least 0, got the string "x"', 1, true), process.out)
  end)
end)

describe('progress', function()
  after_each(host.clean)

  it('reaches whoever calls, spawns, maps or streams', function()
    prints('call 3 4\nspawn 3 nil\nmap 3 4\nmap 3 4\nstream 3 4\n', [[
      local function says(what) return { on_progress = function(n, total) print(what .. ' ' .. n .. ' ' .. tostring(total)) end } end
      local code = 'farside.progress(3, 4)'
      any:with(says 'call')(code)
      any:with(says 'spawn'):spawn('farside.progress(3)'):await()
      for _ in any:with(says 'map'):map { code, code } do end
      for _ in any:with(says 'stream'):stream(code) do end
    ]])
  end)

  it('comes every 50 ms at most while the function goes on, and the latest before the result', function()
    prints('true\ttrue\t300000\ttrue\n', [[
      local seen, first = {}, nil
      local options = { on_progress = function(n) seen[#seen + 1] = n first = first or farside.now() end }
      produced()
      local start = farside.now()
      any:with(options) [=[
        local start = farside.now()
        for n = 1, 300000 do farside.progress(n) if n % 1000 == 0 then busy(0.001) end end
      ]=]
      local took = farside.now() - start
      print(first - start < took / 2, #seen >= 3 and #seen <= took / 0.05 + 2, seen[#seen], seen[1] < 300000)
    ]])
  end)

  it('may be heard by a function that waits, and its errors are told once', function()
    local process = run [[
      local heard = 0
      local options = { on_progress = function() heard = heard + produced() + 1 error('deaf') end }
      any:with(options) [=[ for i = 1, 3 do farside.progress(i) farside.sleep(0.06) end ]=]
      farside.sleep(0.01)
      print(heard >= 2)
    ]]
    assert.same({ 'true\n', 0 }, { process.out, process.code }, process.err)
    local _, times = process.err:gsub('on_progress raised: [^\n]*deaf', '')
    assert.equal(1, times, process.err)
  end)

  it('is nothing where no call runs', function()
    prints('5\n', [[
      farside.progress(1, 2)
      print(any:here('farside.progress(1) return 5'))
    ]])
  end)
end)
