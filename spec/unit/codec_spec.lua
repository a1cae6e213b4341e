local ffi = require 'ffi'
local native = require 'farside.native'
local new_table = require 'table.new'

local null, array, map = native.null, native.array, native.map

local function hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

local function bytes_of(...)
  return hex(assert(native.encode(nil, ...)):tostring())
end

-- What arrives of the values: the registry, then the values.
local function travel(registry, ...)
  local payload = assert(native.encode(registry, ...))
  return select(2, native.decode(registry, payload:tostring()))
end

local function bits(number)
  return hex(ffi.string(ffi.new('double[1]', number), 8))
end

describe('a body', function()
  it('is an array of the values', function()
    assert.equal('90', bytes_of())
    assert.equal('93c001c0', bytes_of(nil, 1, nil))
  end)

  it('keeps the number of values, with nils in the middle and at the end', function()
    assert.equal(0, select('#', travel(nil)))
    assert.equal(4, select('#', travel(nil, nil, 'x', nil, nil)))
    assert.equal('x', (select(2, travel(nil, nil, 'x', nil, nil))))
  end)

  it('holds 4096 values and no more', function()
    local values = {}
    for i = 1, 4096 do values[i] = i end
    assert.equal(4096, select('#', travel(nil, unpack(values))))
    values[4097] = 0
    local _, refusal = native.encode(nil, unpack(values))
    assert.equal('ArgumentTooLarge', refusal.name)
    assert.equal('values', refusal.unit)
  end)
end)

describe('the bytes of', function()
  local goldens = {
    { 'nil', nil, 'c0' },
    { 'false', false, 'c2' },
    { 'true', true, 'c3' },
    { '0', 0, '00' },
    { '127', 127, '7f' },
    { '128', 128, 'cc80' },
    { '255', 255, 'ccff' },
    { '256', 256, 'cd0100' },
    { '65535', 65535, 'cdffff' },
    { '65536', 65536, 'ce00010000' },
    { '2^32 - 1', 2 ^ 32 - 1, 'ceffffffff' },
    { '2^32', 2 ^ 32, 'cb41f0000000000000' },
    { '2^53', 2 ^ 53, 'cb4340000000000000' },
    { '-1', -1, 'ff' },
    { '-32', -32, 'e0' },
    { '-33', -33, 'd0df' },
    { '-128', -128, 'd080' },
    { '-129', -129, 'd1ff7f' },
    { '-32768', -32768, 'd18000' },
    { '-32769', -32769, 'd2ffff7fff' },
    { '-2^31', -2 ^ 31, 'd280000000' },
    { '-2^31 - 1', -2 ^ 31 - 1, 'cbc1e0000000200000' },
    { '1.5', 1.5, 'cb3ff8000000000000' },
    { '-0', -0.0, 'cb8000000000000000' },
    { 'infinity', 1 / 0, 'cb7ff0000000000000' },
    { '-infinity', -1 / 0, 'cbfff0000000000000' },
    { 'a small int64', 1LL, 'd30000000000000001' },
    { 'a negative int64', -2LL, 'd3fffffffffffffffe' },
    { 'a uint64', 0xffffffffffffffffULL, 'cfffffffffffffffff' },
    { 'an empty string', '', 'a0' },
    { 'text', 'a\0b', 'a3610062' },
    { 'text of 31 bytes', ('x'):rep(31), 'bf' .. ('78'):rep(31) },
    { 'text of 32 bytes', ('x'):rep(32), 'd920' .. ('78'):rep(32) },
    { 'text of 256 bytes', ('x'):rep(256), 'da0100' .. ('78'):rep(256) },
    { 'text beyond ASCII', 'ä', 'a2c3a4' },
    { 'bytes that are no UTF-8', '\255', 'c401ff' },
    { 'an empty table', {}, '90' },
    { 'an array', { 1, 'a', { true } }, '9301a16191c3' },
    { 'a map', { x = 2 }, '81a17802' },
    { 'a map with an integral key', { [0] = 1 }, '810001' },
    { 'a map with a key of 2^40', { [2 ^ 40] = 1 }, '81cb427000000000000001' },
    { 'a map with a boolean key', { [true] = 1 }, '81c301' },
    { 'a map with a key that is no text', { ['\255'] = 1 }, '81c401ff01' },
    { 'null', null, 'c0' },
    { 'a table with null in it', { null, 1 }, '92c001' },
    { 'an empty marked array', array {}, '90' },
    { 'an empty marked map', map {}, '80' },
    { 'a sequence marked as a map', map { 5 }, '810105' },
  }
  for _, golden in ipairs(goldens) do
    it(golden[1] .. ' are ' .. golden[3]:sub(1, 22), function()
      assert.equal('91' .. golden[3], bytes_of(golden[2]))
    end)
  end

  it('text and bytes change where 64 KiB end', function()
    assert.equal('db00010000', bytes_of(('x'):rep(65536)):sub(3, 12))
    assert.equal('c600010001', bytes_of(('x'):rep(65537)):sub(3, 12))
  end)

  it('arrays and maps have a longer head from 16 on', function()
    local values, pairs_ = {}, {}
    for i = 1, 16 do values[i], pairs_['k' .. i] = true, true end
    assert.equal('dc0010c3', bytes_of(values):sub(3, 10))
    assert.equal('de0010', bytes_of(pairs_):sub(3, 8))
    for i = 17, 65536 do values[i], pairs_['k' .. i] = true, true end
    assert.equal('dd00010000c3', bytes_of(values):sub(3, 14))
    assert.equal('df00010000', bytes_of(pairs_):sub(3, 12))
  end)

  it('an object are its name and its fields', function()
    local registry, Point = native.new_registry(), {}
    registry:add('Point', Point)
    local payload = native.encode(registry, setmetatable({ x = 1 }, Point))
    assert.equal('91c70a01a5506f696e7481a17801', hex(payload:tostring()))
  end)
end)

describe('a value that travels', function()
  it('keeps the bits of a number', function()
    for _, number in ipairs { 0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, 0.1, 2 ^ 53 + 2, 1 / 0, -1 / 0,
      2 ^ 31, -2 ^ 31, 2 ^ 32, 2 ^ 63 } do
      assert.equal(bits(number), bits((travel(nil, number))))
    end
  end)

  it('is NaN after NaN, whatever its bits', function()
    for _, hidden in ipairs { 'cb7ff8000000000000', 'cbfff8000000000001', 'cbffffffffffffffff',
      'cb7ff0000000000001' } do
      local bytes = ('91' .. hidden):gsub('..', function(byte) return string.char(tonumber(byte, 16)) end)
      local _, number = native.decode(nil, bytes)
      assert.equal('number', type(number))
      assert.equal(bits(0 / 0), bits(number))
    end
  end)

  it('is cdata again only when it was', function()
    local signed, unsigned, number = travel(nil, -2LL ^ 60, 2ULL ^ 63, 2 ^ 40)
    assert.is_true(ffi.istype('int64_t', signed))
    assert.is_true(ffi.istype('uint64_t', unsigned))
    assert.is_true(signed == -2LL ^ 60)
    assert.is_true(unsigned == 2ULL ^ 63)
    assert.equal('number', type(number))
  end)

  it('reads a float of 32 bits', function()
    assert.equal(1.5, select(2, native.decode(nil, '\145\202\063\192\0\0')))
  end)

  it('keeps zeros and bytes that are no UTF-8 in strings', function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    local all = table.concat(bytes)
    assert.equal(all, (travel(nil, all)))
    assert.equal(('\0'):rep(70000), (travel(nil, ('\0'):rep(70000))))
  end)

  it('has null where a table held it, and nil on the outside', function()
    local value, outside = travel(nil, { null, x = null }, null)
    assert.equal(null, value[1])
    assert.equal(null, value.x)
    assert.is_nil(outside)
  end)

  it('keeps an empty map from becoming an array', function()
    local list, dictionary = travel(nil, {}, map {})
    assert.is_nil(getmetatable(list))
    assert.equal(getmetatable(map {}), getmetatable(dictionary))
    assert.equal('80', bytes_of(dictionary):sub(3))
  end)

  it('keeps the types of keys', function()
    local value = { [1] = 'a', [3] = 'b', ['1'] = 'c', [true] = 'd', [false] = 'e', [1.5] = 'f', [-1] = 'g' }
    assert.same(value, (travel(nil, value)))
  end)

  it('arrives twice when it is met twice', function()
    local shared = { 1 }
    local value = travel(nil, { shared, shared })
    assert.same({ { 1 }, { 1 } }, value)
    assert.are_not.equal(value[1], value[2])
  end)

  it('is an array however its keys came to be', function()
    local backwards = {}
    for i = 100, 1, -1 do backwards[i] = i end
    assert.equal('dc0064', bytes_of(backwards):sub(3, 8))
  end)

  it('is a map with a hole or any key besides 1..n', function()
    for _, spoil in ipairs { 0, -1, 101.5, 'x', true, 200 } do
      local value = {}
      for i = 1, 100 do value[i] = i + 0.5 end
      value[spoil] = 1
      assert.equal('de0065', bytes_of(value):sub(3, 8))
      assert.same(value, (travel(nil, value)))
    end
    assert.equal('820101' .. '0303', bytes_of({ 1, nil, 3 }):sub(3))
  end)

  it('is a map with a hole and as many keys as an array would have', function()
    local value = new_table(3, 1)
    value[1], value[3], value[1.5] = 'a', 'c', 'x'
    assert.same(value, (travel(nil, value)))
  end)

  it('is a map with another key anywhere among the hashed ones', function()
    -- Also behind the last number in the order of next, which depends on how many there are.
    for n = 48, 400 do
      local value = new_table(0, 512)
      value.other = true
      for i = n, 1, -1 do value[i] = i + 0.5 end
      assert.is_true(travel(nil, value).other)
    end
  end)

  it('is a map when a hole is among many numbers', function()
    local value = {}
    for i = 1, 100 do value[i] = i end
    value[50] = nil
    assert.equal('de0063', bytes_of(value):sub(3, 8))
  end)

  it('calls no metamethod on its way', function()
    local registry = native.new_registry()
    local Trap = {}
    for _, event in ipairs { '__index', '__newindex', '__len', '__pairs', '__call', '__eq', '__tostring', '__gc' } do
      Trap[event] = function() error('called ' .. event) end
    end
    registry:add('Trap', Trap)
    local object = setmetatable({}, Trap)
    rawset(object, 'x', 1)
    local arrived = travel(registry, object)
    assert.equal(Trap, getmetatable(arrived))
    assert.equal(1, rawget(arrived, 'x'))
  end)
end)

-- Arrays of numbers take another way from a certain length on.
describe('a long array', function()
  local function check(value)
    local arrived = travel(nil, value)
    assert.equal(#value, #arrived)
    for i = 1, #value do
      if type(value[i]) == 'number' then
        assert.equal(bits(value[i]), bits(arrived[i]))
      else
        assert.same(value[i], arrived[i])
      end
    end
  end

  local borders = { 0, -0.0, 1, 127, 128, 255, 256, 65535, 65536, 2 ^ 31 - 1, 2 ^ 31, 2 ^ 32 - 1, 2 ^ 32, -1, -32, -33,
    -128, -129, -32768, -32769, -2 ^ 31, -2 ^ 31 - 1, 1.5, 1 / 0, -1 / 0, 5e-324 }

  local function border_values(n)
    local value = {}
    for i = 1, n do value[i] = borders[i % #borders + 1] end
    return value
  end

  it('has the bytes that its values have alone', function()
    local value, alone = border_values(520), {}
    for i = 1, #value do alone[i] = bytes_of(value[i]):sub(3) end
    for _ = 1, 20 do assert.equal('91dc0208' .. table.concat(alone), bytes_of(value)) end
  end)

  it('arrives as it was, also when it is no longer only numbers', function()
    check(border_values(1000))
    for _, stranger in ipairs { 'x', true, null, { 1 }, 5LL } do
      for _, place in ipairs { 1, 2, 500, 1000 } do
        local value = border_values(1000)
        value[place] = stranger
        check(value)
      end
    end
  end)

  it('arrives as it was when nothing is compiled', function()
    jit.off()
    finally(jit.on)
    check(border_values(1000))
  end)

  it('has NaN for every hidden NaN', function()
    local hidden = { '\203\255\248\0\0\0\0\0\1', '\203\255\255\255\255\255\255\255\255', '\203\127\240\0\0\0\0\0\1' }
    for _, bytes in ipairs(hidden) do
      for _ = 1, 30 do
        local _, value = native.decode(nil, '\145\220\1\0' .. bytes:rep(256))
        for i = 1, 256 do assert.equal(bits(0 / 0), bits(value[i])) end
      end
    end
  end)

  it('keeps NaN and the infinities', function()
    local value = {}
    for i = 1, 300 do value[i] = ({ 0 / 0, 1 / 0, -1 / 0, 1.5 })[i % 4 + 1] end
    check(value)
  end)
end)

describe('a registered class', function()
  local registry, Point, Line
  before_each(function()
    registry, Point, Line = native.new_registry(), {}, {}
    Point.__index, Line.__index = Point, Line
    registry:add('Point', Point)
    registry:add('Line', Line)
  end)

  it('is the class of the object that arrives, inside others too', function()
    local line = setmetatable({ from = setmetatable({ x = 1 }, Point), to = setmetatable({}, Point) }, Line)
    local arrived = travel(registry, { line })
    assert.equal(Line, getmetatable(arrived[1]))
    assert.equal(Point, getmetatable(arrived[1].from))
    assert.equal(1, arrived[1].from.x)
    assert.equal(Point, getmetatable(arrived[1].to))
    assert.is_nil(next(arrived[1].to))
  end)

  it('keeps fields that look like an array, and a long content', function()
    local arrived = travel(registry, setmetatable({ 1, 2, 3, text = ('x'):rep(70000) }, Point))
    assert.same({ 1, 2, 3, text = ('x'):rep(70000) }, setmetatable(arrived, nil))
    assert.equal(Point, getmetatable(setmetatable(arrived, Point)))
  end)

  it('is refused by who does not know it', function()
    local payload = native.encode(registry, { setmetatable({}, Point) })
    for _, other in ipairs { native.new_registry(), false } do
      local ok, refusal = native.decode(other or nil, payload)
      assert.is_false(ok)
      assert.equal('UnknownClass', refusal.name)
      assert.equal('Point', refusal.class)
      assert.equal('the class "Point" is not registered here', refusal.message)
    end
  end)

  it('has one name, and a name one class', function()
    registry:add('Point', Point)
    assert.error_matches(function() registry:add('Point', {}) end, 'the class name "Point" is taken by another class')
    assert.error_matches(function() registry:add('Dot', Point) end,
      'this class is registered as "Point" already, and cannot be "Dot" too')
  end)

  it('needs a name and a table', function()
    assert.error_matches(function() registry:add('', {}) end, '1 to 255 bytes')
    assert.error_matches(function() registry:add('\255', {}) end, 'UTF%-8')
    assert.error_matches(function() registry:add(5, {}) end, 'string expected')
    assert.error_matches(function() registry:add('Point', 5) end, 'table expected')
    assert.error_matches(function() native.encode({}, 1) end, 'expected a registry')
  end)
end)

describe('a marker', function()
  it('gives a table that is nothing else yet', function()
    assert.equal('80', bytes_of(map()):sub(3))
    local value = {}
    assert.equal(value, array(value))
    assert.equal('80', bytes_of(map(value)):sub(3))
    assert.error_matches(function() array(setmetatable({}, {})) end, 'has a metatable')
    assert.error_matches(function() map(5) end, 'table expected')
  end)
end)
