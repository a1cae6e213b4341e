-- Operations on the processor and on a made-up device: the processor's library under the name of a CUDA device, with memory,
-- streams and copies of its own. What the kernels compute is held against an oracle in spec/cuda; here it is what a method does
-- with shapes, types, devices and mistakes.
local backends = require 'farside.tensor.backend'
local devices = require 'spec.support.devices'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE = 'cuda:7'
local library = assert(libraries.open 'cpu')

setup(function() backends.put(DEVICE, library) end)

teardown(function()
  collectgarbage()
  storages.forget(DEVICE)
  backends.put(DEVICE, nil)
end)

local function matrix(device)
  return tensor.from({ { 1, 2, 3 }, { 4, 5, 6 } }):to(device)
end

for _, device in ipairs { 'cpu', DEVICE } do
  describe('on ' .. device .. ' a tensor', function()
    it('is combined with another one, and with numbers on either side', function()
      local x = matrix(device)
      assert.equal(device, (x + x).device)
      assert.same({ { 2, 4, 6 }, { 8, 10, 12 } }, (x + x):table())
      assert.same({ { 0.5, 1, 1.5 }, { 2, 2.5, 3 } }, (x / 2):table())
      assert.same({ { 2, 1, 0 }, { -1, -2, -3 } }, (3 - x):table())
      assert.same({ { -1, -2, -3 }, { -4, -5, -6 } }, (-x):table())
      assert.same({ { 1, 0, 1 }, { 0, 1, 0 } }, (x % 2):table())
      assert.same({ { 1, 4, 9 }, { 16, 25, 36 } }, (x ^ 2):table())
      assert.same({ { 3, 3, 3 }, { 4, 5, 6 } }, x:maximum(3):table())
    end)

    it('is stretched to the shape of the other', function()
      local x = matrix(device)
      assert.same({ { 2, 4, 6 }, { 5, 7, 9 } }, (x + x[1]):table())
      assert.same({ { 0, 1, 2 }, { 0, 1, 2 } }, (x - x:slice(2, 1, 1)):table())
      assert.same({ 3, 2, 3 }, (x:transpose():unsqueeze(-1) * x[1]).shape)
      assert.same({ 0, 3 }, (x:slice(1, 2, 1) + x[1]).shape)
    end)

    it('is compared, and chosen from by that', function()
      local x = matrix(device)
      assert.same({ { false, false, true }, { true, true, true } }, x:ge(3):table())
      assert.same({ { -1, -2, 3 }, { 4, 5, 6 } }, x:ge(3):where(x, -x):table())
      assert.same({ { true, true, false }, { false, false, false } }, x:ge(3):invert():table())
      assert.same({ true, false }, tensor.from({ true, true }):to(device):bxor(tensor.from({ false, true }):to(device)):table())
    end)

    it('is a view to operations too', function()
      local x = matrix(device)
      assert.same({ { 2, 8 }, { 3, 9 }, { 4, 10 } }, (x:transpose() + x:slice(2, 1, 1):reshape { 2 }):table())
      assert.same({ { 2, 5 }, { 3, 6 } }, x:transpose():slice(1, -2, -1):copy():table())
      assert.same({ 4, 6 }, x[2]:slice(1, 1, -1, 2):abs():table())
    end)

    it('is converted between types', function()
      local x = tensor.from({ -1.9, 0, 0.5, 300 }):to(device)
      assert.same({ -1, 0, 0, 300 }, x:to('i32'):table())
      assert.same({ true, false, true, true }, x:to('bool'):table())
      assert.same({ 0, 0, 0, 255 }, x:to('u8'):table())
      assert.same({ -1.900390625, 0, 0.5, 300 }, x:to('f16'):table())
      assert.same({ -1.8984375, 0, 0.5, 300 }, x:to('bf16'):table())
      assert.equal(x, x:to 'f32')
      assert.equal(x, x:to(device))
    end)

    it('is written to', function()
      local x = matrix(device)
      x[1] = 7
      x:slice(2, 3, 3):fill(9)
      x[2]:set(tensor.from({ 1.5 }, 'f64'))
      assert.same({ { 7, 7, 9 }, { 1.5, 1.5, 1.5 } }, x:table())
      local whole = tensor.zeros({ 2 }, 'i64', device)
      whole:fill(9007199254740993LL)
      assert.is_true(whole[2] == 9007199254740993LL)
      assert.same({ 9007199254740992 }, (whole:slice(1, 1, 1) - 1):table())
      assert.is_true((whole + 2LL)[1] == 9007199254740995LL)
      assert.is_true((2 ^ 53 + whole)[1] == 18014398509481985LL)
    end)

    it('is written to from elements of its own, as if they had been copied before', function()
      local count = 1000
      local function range() return tensor.arange(1, count, 1, 'i32', device) end
      for _, by in ipairs { -500, -1, 1, 7, 500 } do
        local x, expected = range(), range():table()
        local from, to = math.max(1, 1 - by), math.max(1, 1 + by)
        x:slice(1, to, to + count - math.abs(by) - 1):set(x:slice(1, from, from + count - math.abs(by) - 1))
        for i = 0, count - math.abs(by) - 1 do expected[to + i] = from + i end
        assert.same(expected, x:table())
      end
      local square = range():slice(1, 1, 900):reshape { 30, 30 }
      local turned = square:transpose():table()
      assert.same(turned, square:set(square:transpose()):table())
      assert.same(turned[2], square:set(square[2]):table()[30])
    end)

    it('of i64 is rounded once to bf16', function()
      local x = tensor.from({ 4629700416936869889LL, 4629700416936869888LL, -4629700416936869889LL, 2LL ^ 53 + 1 }, 'i64')
      assert.same({ 2 ^ 62 + 2 ^ 55, 2 ^ 62, -2 ^ 62 - 2 ^ 55, 2 ^ 53 }, x:to(device):to('bf16'):table())
    end)

    it('is made there', function()
      assert.same({ 0, 0 }, tensor.zeros({ 2 }, 'f32', device):table())
      assert.same({ true }, tensor.ones({ 1 }, 'bool', device):table())
      assert.same({ 2, 2 }, tensor.full({ 2 }, 2, 'i32', device):table())
      assert.same({ 1, 2, 3 }, tensor.arange(1, 3, 1, 'u8', device):table())
      assert.equal(device, tensor.empty({ 2 }, 'f32', device).device)
    end)

    it('is a range of numbers there', function()
      assert.same(tensor.arange(0, 1, 0.1, 'f64'):table(), tensor.arange(0, 1, 0.1, 'f64', device):table())
      assert.same({ 2 ^ 40, 2 ^ 40 - 3, 2 ^ 40 - 6 }, tensor.arange(2 ^ 40, 2 ^ 40 - 7, -3, 'i64', device):table())
      assert.same({}, tensor.arange(1, 0, 1, 'f32', device):table())
      assert.same({ 5 }, tensor.arange(5, 5, 1, 'f16', device):table())
      for problem, range in pairs {
        ['element 2 of i32: expected a whole number from -2147483648 to 2147483647, got the number 1.5'] = { 1, 3, 0.5, 'i32' },
        ['element 2 of u8: expected a whole number from 0 to 255, got the number 256'] = { 255, 256, 1, 'u8' },
        ['element 1 of bool: expected true or false, got the number 1'] = { 1, 2, 1, 'bool' },
      } do
        local ok, text = pcall(tensor.arange, range[1], range[2], range[3], range[4], device)
        assert.is_false(ok)
        assert.truthy(text:find(problem, 1, true), text)
      end
    end)

    it('has an element that is read and an own text', function()
      local x = matrix(device)
      assert.equal(6, x[2][3])
      assert.equal(5, x[2]:slice(1, 2, 2):item())
      assert.truthy(tostring(x):find('tensor {2, 3} f32', 1, true))
      assert.truthy(tostring(x):find('[[1, 2, 3],\n [4, 5, 6]]', 1, true))
      assert.equal(device ~= 'cpu', tostring(x):find(' on ' .. DEVICE, 1, true) ~= nil)
    end)
  end)
end

describe('a tensor on a device', function()
  it('is copied there and back', function()
    local x = matrix 'cpu'
    local there = x:transpose():to(DEVICE)
    assert.equal(DEVICE, there.device)
    assert.is_true(there:is_contiguous())
    assert.same(x:transpose():table(), there:to('cpu'):table())
    assert.same(x:transpose():string(), there:transpose():transpose():string())
    assert.same(x:table(), x:pin(DEVICE):to(DEVICE):table())
  end)

  it('travels as one of the host', function()
    local native = require 'farside.native'
    local payload = assert(native.encode(nil, { matrix(DEVICE):transpose() }))
    local _, got = native.decode(nil, payload:tostring())
    assert.same({ 'cpu', { { 1, 4 }, { 2, 5 }, { 3, 6 } } }, { got[1].device, got[1]:table() })
  end)

  it('has memory that is used again without asking the device', function()
    collectgarbage()
    local before = tensor.memory(DEVICE)
    local x = tensor.zeros({ 1000 }, 'f32', DEVICE)
    local address = ffi.cast('uintptr_t', x:data())
    assert.is_true(tensor.memory(DEVICE).used >= before.used + 4000)
    x = nil -- luacheck: ignore
    collectgarbage()
    assert.equal(before.used, tensor.memory(DEVICE).used)
    assert.is_true(ffi.cast('uintptr_t', tensor.zeros({ 1000 }, 'f32', DEVICE):data()) == address)
    collectgarbage()
    tensor.trim(DEVICE)
    assert.equal(0, tensor.memory(DEVICE).cached)
  end)

  it('has memory that belongs to the stream on which it was made', function()
    local place = ffi.new 'void *[1]'
    library.device_stream_new(place)
    local stream, backend = place[0], backends.of(DEVICE)
    local x = tensor.zeros({ 3000 }, 'f32', DEVICE)
    local address = ffi.cast('uintptr_t', x:data())
    backend:use_stream(stream)
    assert.is_true(next(x._storage.used_on) == nil)
    local y = x + 1
    assert.is_true(next(x._storage.used_on) ~= nil)  -- its own stream waits for this one before it is used again
    assert.is_true(next(y._storage.used_on) == nil)
    x = nil -- luacheck: ignore
    collectgarbage()
    assert.is_false(ffi.cast('uintptr_t', tensor.zeros({ 3000 }, 'f32', DEVICE):data()) == address)
    backend:use_stream(nil)
    local z = tensor.zeros({ 3000 }, 'f32', DEVICE)
    assert.is_true(ffi.cast('uintptr_t', z:data()) == address)
    assert.is_true(next(z._storage.used_on) == nil)
    assert.equal(1, y[1])
  end)
end)

describe('an operation that cannot be', function()
  local x = matrix 'cpu'
  local cases = {
    { 'names shapes', function() return x + tensor.zeros { 4 } end,
      'add: expected shapes that fit each other, got {2, 3} and {4}' },
    { 'names types', function() return x * x:to 'f64' end, 'mul: expected tensors of one dtype, got a tensor {2, 3} of f32 and '
      .. 'a tensor {2, 3} of f64; t:to(dtype) converts' },
    { 'names what it takes', function() return x:to('i32') / 2 end,
      "div: expected floats (t:to 'f32' converts), got a tensor {2, 3} of i32" },
    { 'names what is no number', function() return x + 'a' end,
      'add: expected a number beside a tensor {2, 3} of f32, got the string "a"' },
    { 'names a number that does not fit', function() return x:to('u8') + 256 end,
      'add: expected a whole number from 0 to 255 beside a tensor {2, 3} of u8, got the number 256' },
    { 'names devices', function() return x + x:to(DEVICE) end, 'add: expected tensors on one device, got cpu and cuda:7' },
    { 'names a device that is none', function() return x:to 'gpu' end, "to of a tensor {2, 3}: expected a device ('cpu' or "
      .. "'cuda:0') or a dtype (f64, f32, f16, bf16, i64, i32, u8, bool), got the string \"gpu\"" },
    { 'names a condition that is none', function() return x:where(x, x) end,
      'where of a tensor {2, 3}: expected bools as condition, got f32' },
  }
  devices.refuses(cases)
end)
