local fake = require 'spec.support.fake_native'

local SCRIPT = [[
local farside = require 'farside'
local app = farside.deployment { name = 'd' }
local count = app.remote { benchmark_dataset = { { n = 2 } } } (function(n) return n end)
return { app = app, count = count }
]]

--- Lets the calls of a handle have items: { at = seconds from now, values... } each.
local function give(native, items)
  local handle = native.handle
  local wait, done, cancel, start, awaited = handle.wait, handle.done, handle.cancel, native.time, false
  local function is_there()
    return items[1] and start + items[1].at <= native.time
  end
  function handle.item()
    awaited = not is_there()
    if is_there() then return true, unpack(table.remove(items, 1)) end
  end
  function handle.news()
    if not (awaited and is_there()) then return nil end
    awaited = false
    return handle.last, true
  end
  function handle:done()
    return items[1] and 0 or done(self), awaited and is_there() and 1 or 0
  end
  function handle:cancel(call)
    while items[1] do table.remove(items) end
    cancel(self, call)
  end
  function handle:wait(call, timeout)
    local at = awaited and items[1] and math.max(0, start + items[1].at - native.time) or math.huge
    timeout = math.min(at, timeout or math.huge)
    return wait(self, call, timeout < math.huge and timeout or nil)
  end
end

describe('a stream', function()
  local farside, native, d

  before_each(function()
    farside, native = fake.load 'client'
    d = fake.require('deploy', SCRIPT)
    native.answers.count = function(n)
      if n == 'bad' then error('bad', 0) end
      return n
    end
    d.count(1)
    native.latency = 5
  end)

  it('hands out all values of each item as it comes, then ends', function()
    give(native, { { at = 1, 'a', 2 }, { at = 1, false }, { at = 4, 'c' } })
    local start, rows = native.time, {}
    for v, w in d.count:stream(3) do rows[#rows + 1] = { v, w, native.time - start } end
    assert.same({ { 'a', 2, 1 }, { false, nil, 1 }, { 'c', nil, 4 } }, rows)
    assert.equal(5, native.time - start)
  end)

  it('yields in a coroutine of Farside, so that others go on', function()
    give(native, { { at = 1, 'item' }, { at = 3, 'item' } })
    local log = {}
    farside.run(function()
      local reader = farside.spawn(function()
        for v in d.count:stream(3) do log[#log + 1] = v end
      end)
      farside.sleep(2)
      log[#log + 1] = 'slept'
      reader:await()
    end)
    assert.same({ 'item', 'slept', 'item' }, log)
  end)

  it('raises the error of its call after its items, at each further step anew', function()
    give(native, { { at = 1, 'item' } })
    local stream = d.count:stream('bad')
    assert.equal('item', stream())
    for _ = 1, 2 do
      local ok, err = pcall(stream)
      assert.same({ false, 'bad' }, { ok, err.message })
    end
    assert.equal('farside.stream: failed', tostring(stream))
  end)

  it('sends its window and what else belongs to the call', function()
    d.count:stream(1)
    assert.same({ stream = 262144 }, native.calls[2].timeout)
    local limited = d.count:with { timeout = 2, window = 5, on_progress = print }
    limited:stream(1)
    assert.same({ timeout = 2, stream = 5, progress = true }, native.calls[3].timeout)
    limited:with { window = 6 }:stream(1)
    assert.equal(6, native.calls[4].timeout.stream)
  end)

  it('is cancelled when it is left, once the process waits', function()
    give(native, { { at = 0, 1 }, { at = 0, 2 }, { at = 0, 3 } })
    local function leave()
      for v in d.count:stream(3) do if v == 2 then break end end
    end
    leave()
    assert.same({}, native.cancelled)
    farside.sleep(0.3)
    assert.same({ 2 }, native.cancelled)
  end)

  it('makes nobody collect garbage while it is read', function()
    local items = {}
    for i = 1, 100 do items[i] = { at = i / 25, i } end
    give(native, items)
    local globals = getfenv(require('farside.stream').new)  -- busted has others
    local collections, collect = 0, globals.collectgarbage
    globals.collectgarbage = function(...) collections = collections + 1 return collect(...) end
    local ok = pcall(function() for _ in d.count:stream(3) do farside.sleep(0.01) end end)
    globals.collectgarbage = collect
    assert.same({ true, 0 }, { ok, collections })
  end)

  it('says what is wrong with its options and arguments', function()
    for text, func in pairs {
      ['window: expected a whole number from 1 to 67108864'] = function() d.count:with { window = 0 } end,
      ['on_progress: expected a function'] = function() d.count:with { on_progress = 5 } end,
      ['at most 1 argument'] = function() d.count:stream(1, 2) end,
      ['write f:stream(...)'] = function() d.count.stream(1) end,
    } do
      local ok, err = pcall(func)
      assert.falsy(ok)
      assert.truthy(tostring(err):find(text, 1, true), tostring(err))
    end
  end)
end)
