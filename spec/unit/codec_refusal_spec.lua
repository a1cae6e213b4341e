local ffi = require 'ffi'
local native = require 'farside.native'

local array = native.array

-- The refusal of values as arguments with the names x, y.
local function refuse(...)
  local payload, refusal = native.encode_as('argument', { 'x', 'y' }, nil, ...)
  assert.is_nil(payload)
  return refusal
end

local function refuse_result(...)
  local payload, refusal = native.encode_as('result', nil, nil, ...)
  assert.is_nil(payload)
  return refusal
end

local function nest(depth, innermost)
  local value = innermost
  for _ = 1, depth do value = { value } end
  return value
end

describe('a value that cannot travel', function()
  local coroutine_ = coroutine.create(function() end)

  it('is named by its path', function()
    local refusal = refuse({ items = { 1, 2, { fn = print } } })
    assert.same({
      name = 'NotSerializable', side = 'argument', type = 'function', executed = 'no',
      path = 'argument x.items[3].fn', message = 'argument x.items[3].fn is a function',
    }, refusal)
  end)

  local cases = {
    { 'argument x is a function', print },
    { 'argument x is a thread', coroutine_ },
    { 'argument x is a userdata', io.stdout },
    { 'argument x is a userdata', ffi.cast('void *', 1) and newproxy() },
    { 'argument x is a cdata of type int [3]', ffi.new('int[3]') },
    { 'argument x is a cdata of type double', ffi.new('double', 1) },
    { 'argument x is a cdata of type void *', ffi.cast('void *', 0) },
    { 'argument x has the metatable of no registered class', setmetatable({}, {}) },
    { 'argument x.a has the metatable of no registered class', { a = setmetatable({}, {}) } },
    { 'argument x is marked as an array and has other keys', array { x = 1 } },
    { 'argument x[2] is marked as an array and has other keys', { 1, array { 1, nil, 3 } } },
    { 'argument x["a b"] is a function', { ['a b'] = print } },
    { 'argument x["\\"\\195\\164\\000"] is a function', { ['"ä\0'] = print } },
    { 'argument x[true] is a function', { [true] = print } },
    { 'argument x[1.5] is a function', { [1.5] = print } },
    { 'argument x[-3] is a function', { [-3] = print } },
    { 'argument x[2].y is a function', { 1, { y = print } } },
    { 'argument x has a key that is a table', { [{}] = 1 } },
    { 'argument x.a has a key that is a function', { a = { [print] = 1 } } },
    { 'argument x has a key that is a cdata', { [1LL] = 1 } },
    { 'argument x has a key that is a userdata', { [native.null] = 1 } },
  }
  for _, case in ipairs(cases) do
    it('is told: ' .. case[1], function()
      local refusal = refuse(case[2])
      assert.equal(case[1], refusal.message)
      assert.equal('NotSerializable', refusal.name)
      assert.equal(refusal.path, refusal.message:sub(1, #refusal.path))
    end)
  end

  it('has its place as its name where it has none', function()
    assert.equal('argument y is a function', refuse(1, print).message)
    assert.equal('argument 3.a is a function', refuse(1, 2, { a = print }).message)
    assert.equal('argument 1 is a function', select(2, native.encode(nil, print)).message)
  end)

  it('is a result, with its place if there are several', function()
    assert.equal('result.items[3] is a function', refuse_result({ items = { 1, 2, print } }).message)
    assert.equal('result is a function', refuse_result(print).message)
    local refusal = refuse_result(1, { a = print })
    assert.equal('result 2.a is a function', refusal.message)
    assert.equal('result', refusal.side)
    assert.equal('yes', refusal.executed)
  end)

  it('is a cycle, with what it goes back to', function()
    local t = {}
    t.self = { a = t }
    assert.equal('argument x.self.a is a cycle (back to x)', refuse(t).message)
    assert.equal('argument x.in.self.a is a cycle (back to x.in)', refuse({ ['in'] = t }).message)
    assert.equal('argument 3.self.a is a cycle (back to argument 3)', refuse(1, 2, t).message)
    assert.equal('result.self.a is a cycle (back to result)', refuse_result(t).message)
  end)

  it('leaves the path short', function()
    local refusal = refuse({ [('k'):rep(1000)] = nest(60, print) })
    assert.is_true(#refusal.message < 512)
    assert.truthy(refusal.path:find('...', 1, true))
  end)

  it('is found among many numbers', function()
    local value = {}
    for i = 1, 1000 do value[i] = i + 0.5 end
    value[700] = print
    assert.equal('argument x[700] is a function', refuse(value).message)
  end)

  it('is found inside an object', function()
    local registry, Point = native.new_registry(), {}
    registry:add('Point', Point)
    local object = setmetatable({ x = { print } }, Point)
    local _, refusal = native.encode_as('result', nil, registry, { object })
    assert.equal('result[1].x[1] is a function', refusal.message)
  end)

  it('does not keep the next one from travelling', function()
    refuse({ ('x'):rep(1000), print })
    assert.equal('\145\1', native.encode(nil, 1):tostring())
  end)
end)

describe('a value that is too large', function()
  it('may be nested 63 deep: the body is a level too', function()
    assert.truthy(native.encode(nil, nest(63)))
    local refusal = refuse(nest(64))
    assert.equal('ArgumentTooLarge', refusal.name)
    assert.equal('levels', refusal.unit)
    assert.equal(64, refusal.limit)
    assert.equal(65, refusal.size)
    assert.equal('argument x' .. ('[1]'):rep(63) .. ' is nested too deeply: expected at most 64 levels, got 65', refusal.message)
    assert.equal('ResultTooLarge', refuse_result(nest(64)).name)
  end)

  it('counts an object as two levels', function()
    local registry, Point = native.new_registry(), {}
    registry:add('Point', Point)
    local object = setmetatable({}, Point)
    assert.is_true(native.decode(registry, native.encode(registry, nest(61, object)):tostring()))
    assert.is_nil(native.encode(registry, nest(62, object)))
  end)

  it('has a body of at most 64 MiB with a header', function()
    local refusal = refuse(1, ('x'):rep(64 * 1024 * 1024))
    assert.equal('ArgumentTooLarge', refusal.name)
    assert.equal(('argument y makes the message too long: expected at most 67104768 bytes, got %d; '
      .. 'pass it in parts, by several calls, or have a context or the function load it from a file'):format(refusal.size), refusal.message)
    local message = refuse_result(('x'):rep(64 * 1024 * 1024)).message
    assert.equal('yield it in parts, as a stream (app.yield), or write it to a file and return the name', message:match('; (.*)$'))
    assert.equal('bytes', refusal.unit)
    assert.equal(64 * 1024 * 1024 - 4096, refusal.limit)
    assert.is_true(refusal.size > 64 * 1024 * 1024)
  end)

  it('may consist of several strings', function()
    local half = ('x'):rep(33 * 1024 * 1024)
    assert.truthy(refuse({ half, half }).message:find('argument x[2] makes the message too long', 1, true))
  end)

  it('has a bound on what it costs in Lua', function()
    -- 200 times the same 20,000 empty tables: a small message, and 320 MB of tables.
    local many, value = {}, {}
    for i = 1, 20000 do many[i] = {} end
    for i = 1, 200 do value[i] = many end
    local refusal = refuse(value)
    assert.equal('ArgumentTooLarge', refusal.name)
    assert.equal('bytes in Lua', refusal.unit)
    assert.truthy(refusal.message:find('^argument x%[%d+%]%[%d+%] needs too much memory in Lua: expected at most %d+ bytes in Lua, got %d+; pass it in parts'))
  end)

  it('has a bound on the number of values', function()
    local many, value = {}, {}
    for i = 1, 80000 do many[i] = i % 100 end
    for i = 1, 110 do value[i] = many end
    local refusal = refuse(value)
    assert.equal('values', refusal.unit)
    assert.truthy(refusal.message:find('^argument x%[100%] holds too many values: expected at most %d+ values, got %d+; pass it in parts'))
  end)
end)

describe('bytes that are no body', function()
  local function reason(bytes)
    local ok, refusal = native.decode(nil, bytes)
    assert.is_false(ok)
    assert.equal('BadFrame', refusal.name)
    return refusal.reason
  end

  it('are refused with the reason', function()
    assert.equal('type', reason('\1'))
    assert.equal('length', reason('\146\1'))
    assert.equal('trailing', reason('\145\1\1'))
    assert.equal('utf8', reason('\145\161\255'))
    assert.equal('ext', reason('\145\212\2\0'))
    assert.equal('key', reason('\145\129\192\1'))
  end)

  it('hold a key once only', function()
    local twice = {
      '\145\130\161a\1\161a\2',      -- text
      '\145\130\161a\1\196\1a\2',    -- text, bytes
      '\145\130\1\1\1\2',            -- numbers
      '\145\130\1\1\203\63\240\0\0\0\0\0\0\2',
      '\145\130\195\1\195\2',        -- booleans
      '\145\130\203\128\0\0\0\0\0\0\0\1\0\2',
      '\145\131\161a\1\1\1\161a\2',  -- text, a number, text
    }
    for _, bytes in ipairs(twice) do assert.equal('key', reason(bytes)) end
  end)

  it('hold a key once only in a large map too', function()
    local keys = {}
    for i = 1, 20 do keys[i] = ('\163%03d\1'):format(i) end
    assert.is_true(native.decode(nil, '\145\222\0\20' .. table.concat(keys)))
    keys[20] = keys[3]
    assert.equal('key', reason('\145\222\0\20' .. table.concat(keys)))
  end)

  it('hold at most 4096 values', function()
    assert.is_true(native.decode(nil, '\220\16\0' .. ('\1'):rep(4096)))
    assert.equal('cost', reason('\220\16\1' .. ('\1'):rep(4097)))
  end)
end)
