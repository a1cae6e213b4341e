local Tensor = require 'farside.tensor.class'
local ffi = require 'ffi'
local native = require 'farside.native'
local probe = require 'codec_probe'
local tensor = require 'farside.tensor'

local LARGE = 16 * 1024  -- bytes from which on elements are not copied

local function hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

local function travel(...)
  local payload = assert(native.encode(nil, ...))
  return select(2, native.decode(nil, payload:tostring()))
end

local function address(pointer)
  return tonumber(ffi.cast('uintptr_t', pointer))
end

--- A payload whose elements are not copied, as calls make them.
local function refer(...)
  require('farside.tensor.wire').install(probe, Tensor)
  probe.own(true)
  local payload = assert(probe.encode(nil, ...))
  probe.own(false)
  return payload
end

describe('a tensor in a body', function()
  it('is its type, its sizes and its elements', function()
    local payload = native.encode(nil, tensor.from({ { 1 }, { -2 } }, 'i32'))
    assert.equal('91c71c02' .. '06020000' .. '0200000000000000' .. '0100000000000000' .. '01000000' .. 'feffffff',
      hex(payload:tostring()))
  end)

  it('arrives with type, shape and elements', function()
    for _, dtype in ipairs(tensor.dtypes) do
      for _, shape in ipairs { {}, { 0 }, { 1 }, { 7 }, { 2, 0, 3 }, { 3, 1, 2 }, { 1, 2, 1, 2, 1, 2, 1, 2 }, { 97, 103 } } do
        local sent = tensor.zeros(shape, dtype)
        local bytes = ffi.cast('uint8_t *', sent:data())
        for i = 0, sent:count() * sent._dtype.size - 1 do bytes[i] = dtype == 'bool' and i % 2 or i * 7 end
        local got = travel(sent)
        assert.same({ dtype, sent.shape, 'cpu' }, { got.dtype, got.shape, got.device })
        assert.is_true(sent:string() == got:string(), dtype .. ' #' .. #shape)
      end
    end
  end)

  it('has booleans that are 0 or 1, whatever its sender has', function()
    for _, count in ipairs { 3, LARGE } do
      local sent = tensor.zeros({ count }, 'bool')
      sent:data()[1], sent:data()[2] = 1, 255
      local payload = refer(sent)
      for _, bytes in ipairs { payload, payload:tostring() } do
        local _, got = probe.decode(nil, bytes)
        assert.equal('\0\1\1' .. ('\0'):rep(count - 3), got:string())
      end
      assert.equal(255, sent:data()[2])
    end
  end)

  it('may lie in tables, beside other values, more than once', function()
    local one = tensor.arange(1, 5000)
    local got, text, again = travel({ deep = { one, { one } } }, 'text', one)
    assert.equal(5000, got.deep[1][5000])
    assert.equal(5000, got.deep[2][1][5000])
    assert.equal('text', text)
    assert.equal(5000, again[5000])
    got.deep[1][1] = 7
    assert.equal(1, again[1])
  end)

  it('is sent in order where it is a view', function()
    local view = tensor.arange(1, 20000):reshape({ 100, 200 }):transpose():slice(1, 3, -1, 5)
    local got = travel(view)
    assert.same(view.shape, got.shape)
    assert.is_true(got:is_contiguous())
    assert.same(view:table(), got:table())
  end)

  it('is referred to where it is large, at a multiple of 64 bytes', function()
    local wide = {}
    for i = 1, 20 do wide['key' .. i] = i end
    wide.matrix = tensor.arange(1, LARGE / 4)
    local small, text, large = tensor.arange(1, 5), ('t'):rep(LARGE), tensor.arange(1, LARGE)
    local payload = refer('x', small, wide, text, large:slice(1, 2, -1))
    assert.is_true(payload:parts() >= 5)
    local body = payload:tostring()
    local first = ffi.string(large:slice(1, 2, -1):data(), 64)
    assert.equal(0, (body:find(first, #body - LARGE * 4 - 200, true) - 1) % 64)
    local matrix = ffi.string(wide.matrix:data(), 64)
    assert.equal(0, (body:find(matrix, 1, true) - 1) % 64)
    local ok, x, a, b, c, d = native.decode(nil, body)
    assert.same({ true, 'x', small:table(), text }, { ok, x, a:table(), c })
    assert.same(wide.matrix:table(), b.matrix:table())
    assert.same(large:slice(1, 2, -1):table(), d:table())
  end)

  it('is what is sent, not what becomes of it, until the payload is released', function()
    local before = probe.released()
    local payload = refer(tensor.arange(1, LARGE))
    for _ = 1, 5 do
      collectgarbage()
      tensor.zeros({ LARGE })
    end
    local _, got = native.decode(nil, payload:tostring())
    assert.same({ 1, LARGE }, { got[1], got[-1] })
    payload = nil -- luacheck: ignore
    collectgarbage()
    assert.is_true(probe.released() > before)
  end)

  it('lies in the payload where it is large, which lives as long', function()
    local payload = native.encode(nil, tensor.arange(1, LARGE), tensor.arange(1, 10))
    local before = collectgarbage 'count'
    local _, large, small = native.decode(nil, payload)
    local _, again = native.decode(nil, payload)
    assert.is_true(collectgarbage 'count' - before < LARGE / 1024)
    large[1] = 99
    assert.equal(99, again[1])  -- two readings of one payload share the bytes
    assert.equal(0, address(large:data()) % 16)
    payload, again = nil, nil -- luacheck: ignore
    local part = large:slice(1, -2, -1)
    large = nil -- luacheck: ignore
    for _ = 1, 20 do
      collectgarbage()
      native.encode(nil, tensor.zeros { LARGE })
    end
    assert.same({ LARGE - 1, LARGE }, part:table())
    assert.equal(10, small[10])
  end)

  it('counts in the memory of tensors as long as it is there', function()
    collectgarbage()
    local before = tensor.memory().used
    local got = { native.decode(nil, native.encode(nil, tensor.arange(1, LARGE))) }
    collectgarbage()
    assert.equal(before + 4 * LARGE, tensor.memory().used)
    assert.equal(2, #got)
    got = nil -- luacheck: ignore
    collectgarbage()
    assert.equal(before, tensor.memory().used)
  end)

  it('is copied where it does not lie for its type', function()
    local bytes = native.encode(nil, tensor.arange(1, LARGE)):tostring()
    -- A string of one byte before it: the elements' place moves.
    local moved = '\146\161x' .. bytes:sub(2)
    local _, x, got = native.decode(nil, moved)
    assert.equal('x', x)
    assert.equal(0, address(got:data()) % 4)
    assert.same({ 1, 2, LARGE }, { got[1], got[2], got[-1] })
  end)
end)

describe('a tensor that cannot travel', function()
  it('is refused by its size, naming the path', function()
    local payload, refusal = native.encode_as('argument', { 'x' }, nil, { weights = tensor.zeros({ 2 ^ 24 + 1 }) })
    assert.is_nil(payload)
    assert.equal('ArgumentTooLarge', refusal.name)
    assert.equal('argument x.weights', refusal.path)
    assert.equal('bytes', refusal.unit)
  end)

  it('is refused before its elements are put in order', function()
    local peak = tensor.memory('cpu').peak
    for elements = 27, 45, 6 do
      local payload, refusal = native.encode_as('argument', { 'x' }, nil, tensor.zeros({ 1 }):expand { 2 ^ elements })
      assert.is_nil(payload)
      assert.same({ 'ArgumentTooLarge', 'bytes', 67104768 }, { refusal.name, refusal.unit, refusal.limit })
      assert.is_true(refusal.size > 2 ^ elements * 4, refusal.size)
    end
    assert.is_true(tensor.memory('cpu').peak < peak + 2 ^ 20)
  end)

  it('is refused where its fields were changed, naming the path', function()
    for _, change in ipairs {
      function(made) rawset(made, 'shape', { 2 ^ 60 }) end,
      function(made) made.shape[1] = 5 end,
      function(made) rawset(made, 'shape', { -1 }) end,
      function(made) rawset(made, 'shape', 'x') end,
      function(made) rawset(made, '_storage', nil) end,
      function(made) rawset(made, '_dtype', { code = 77, size = 4 }) end,
    } do
      local made = tensor.zeros { 4 }
      change(made)
      local payload, refusal = native.encode(nil, { made })
      assert.is_nil(payload)
      assert.same({ 'NotSerializable', 'argument 1[1]' }, { refusal.name, refusal.path })
    end
  end)

  it('is refused where its content is none', function()
    local body = native.encode(nil, tensor.arange(1, 4)):tostring()
    for at, value in pairs { [5] = 99, [6] = 3, [7] = 1, [8] = 64, [9] = 5 } do
      local ok, refusal = native.decode(nil, body:sub(1, at - 1) .. string.char(value) .. body:sub(at + 1))
      assert.is_false(ok)
      assert.same({ 'BadFrame', 'ext' }, { refusal.name, refusal.reason })
    end
  end)

  it('is no key of a map', function()
    local _, refusal = native.encode(nil, { [tensor.zeros { 1 }] = 1 })
    assert.same({ 'NotSerializable', 'argument 1 has a key that is a tensor' }, { refusal.name, refusal.message })
  end)
end)
