local probe = require 'codec_probe'

local SMALLEST = 16 * 1024

local serial = 0
local function large(size)
  serial = serial + 1
  return ('%08d'):format(serial) .. ('x'):rep((size or SMALLEST) - 8)
end

local function joined(registry, ...)
  probe.own(false)
  local payload = assert(probe.encode(registry, ...))
  probe.own(true)
  assert.equal(1, payload:parts())
  return payload:tostring()
end

local function referred(registry, ...)
  probe.own(true)
  return assert(probe.encode(registry, ...))
end

describe('a payload with an owner', function()
  after_each(function()
    collectgarbage()
    probe.released()
    probe.own(false)
  end)

  it('is one part when all is small', function()
    assert.equal(1, referred(nil, large(SMALLEST - 1)):parts())
  end)

  it('refers to large strings between its own bytes', function()
    local first, second = large(), large(100000)
    local payload = referred(nil, first, 1, { second })
    assert.equal(4, payload:parts())
    assert.equal(joined(nil, first, 1, { second }), payload:tostring())
  end)

  it('copies the strings for which it has no parts', function()
    local strings = {}
    for i = 1, 20 do strings[i] = large() end
    local payload = referred(nil, strings)
    assert.equal(15, payload:parts())
    assert.equal(joined(nil, strings), payload:tostring())
  end)

  it('is right where heads grow before the strings', function()
    local registry, Point = probe.new_registry(), {}
    registry:add('Point', Point)
    local wide = {}
    for i = 1, 20 do wide['key' .. i] = i end
    wide.text = large()
    wide.inner = setmetatable({ text = large(), pad = ('y'):rep(300) }, Point)
    local value = { large(), wide, setmetatable({ large() }, Point) }
    local payload = referred(registry, value)
    assert.is_true(payload:parts() >= 8)
    assert.equal(joined(registry, value), payload:tostring())
  end)

  it('keeps its strings while nothing else does', function()
    local expected = joined(nil, large())
    serial = serial - 1
    local payload = referred(nil, large())
    collectgarbage()
    for _ = 1, 50 do large() end
    assert.equal(expected, payload:tostring())
  end)

  it('tells its owner once when it goes', function()
    local before = probe.released()
    local payload = referred(nil, large(), large())
    collectgarbage()
    assert.equal(before, probe.released())
    assert.equal(2 * 2, payload:parts())
    payload = nil -- luacheck: ignore
    collectgarbage()
    assert.equal(before + 1, probe.released())
  end)

  it('lets its strings go when it goes', function()
    collectgarbage()
    probe.released()
    local before = collectgarbage('count')
    for _ = 1, 100 do
      referred(nil, large(100000))
      collectgarbage()
      probe.released()
    end
    collectgarbage()
    assert.is_true(collectgarbage('count') - before < 1000)
  end)

  it('keeps nothing of what is refused', function()
    collectgarbage()
    local before = collectgarbage('count')
    for _ = 1, 100 do
      assert.is_nil(probe.encode(nil, large(100000), print))
    end
    collectgarbage()
    assert.is_true(collectgarbage('count') - before < 1000)
  end)
end)

describe('a finalizer', function()
  it('may use the codec while it is in use', function()
    local done, wrong = 0, 0
    local function finalize()
      local values = {}
      for i = 1, 100 do values[i] = i + 0.25 end
      local ok, received = probe.decode(nil, probe.encode(nil, values, 'finalizer'))
      done = done + 1
      if not ok or received[100] ~= 100.25 then wrong = wrong + 1 end
    end
    local value = {}
    for i = 1, 60 do value[i] = i + 0.5 end
    local bytes = probe.encode(nil, { value, 5LL, value, 'x' }):tostring()
    for _ = 1, 3000 do
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = finalize
      proxy = nil -- luacheck: ignore
      if probe.encode(nil, { value, 5LL, value, 'x' }):tostring() ~= bytes then wrong = wrong + 1 end
      local _, received = probe.decode(nil, bytes)
      for i = 1, 60 do
        if received[1][i] ~= value[i] or received[3][i] ~= value[i] then wrong = wrong + 1 end
      end
    end
    -- None is left for the end, when the module may be gone already.
    collectgarbage()
    assert.equal(3000, done)
    assert.equal(0, wrong)
  end)
end)
