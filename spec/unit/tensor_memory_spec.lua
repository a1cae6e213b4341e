-- The memory of a device that is nearly full, of streams that hand tensors to each other, and of what is pinned: on a made-up
-- device, whose calls are written down. It has 1 MiB, and keeps what is freed until it is trimmed, as CUDA's pool does.
local backends = require 'farside.tensor.backend'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE, MIB = 'cuda:6', 2 ^ 20
local OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700

local cpu = assert(libraries.open 'cpu')

local device  -- what the device has done

local function address(pointer)
  return tonumber(ffi.cast('uintptr_t', pointer))
end

local library = setmetatable({}, {
  __index = function(self, name)
    local real = cpu[name]
    self[name] = name:find '^device_' and function(...)
      device.calls[#device.calls + 1] = { name, ... }
      return real(...)
    end or real
    return self[name]
  end,
})

function library.device_malloc(place, size, stream)
  device.mallocs = device.mallocs + 1
  if device.fault then return device.fault end
  size = tonumber(size)
  if device.live + device.kept + size > MIB then return OUT_OF_MEMORY end
  local status = cpu.device_malloc(place, size, stream)
  device.live = device.live + size
  device.sizes[address(place[0])] = size
  return status
end

function library.device_free(pointer, stream)
  local size = device.sizes[address(pointer)] or 0
  device.live, device.kept = device.live - size, device.kept + size
  device.sizes[address(pointer)] = nil
  return cpu.device_free(pointer, stream)
end

function library.device_trim(keep)
  device.kept = 0
  return cpu.device_trim(keep)
end

-- Names of the calls since the last time, without the choice of the device.
local function calls()
  local names = {}
  for _, call in ipairs(device.calls) do
    if call[1] ~= 'device_set' then names[#names + 1] = call[1] end
  end
  device.calls = {}
  return names
end

local function bytes(count)
  return tensor.empty({ count }, 'u8', DEVICE)
end

local place = ffi.new 'void *[1]'

local function new_stream()
  assert(cpu.device_stream_new(place) == 0)
  return place[0]
end

-- Calls a function with another stream in use.
local function on(stream, func)
  local backend = backends.of(DEVICE)
  backend:use_stream(stream)
  local result = func()
  backend:use_stream(nil)
  return result
end

before_each(function()
  collectgarbage()
  device = { calls = {}, sizes = {}, live = 0, kept = 0, mallocs = 0, fault = nil }
  backends.put(DEVICE, library)
end)

after_each(function()
  device.fault = nil
  collectgarbage()
  storages.forget(DEVICE)
  backends.put(DEVICE, nil)
end)

describe('the memory of a device', function()
  it('is counted: in use, kept for the next, in use at most at once', function()
    local a = bytes(4096) -- luacheck: ignore
    local b = on(new_stream(), function() return bytes(8192) end)
    assert.same({ used = 12288, cached = 0, peak = 12288 }, tensor.memory(DEVICE))
    a = nil -- luacheck: ignore
    collectgarbage()
    assert.same({ used = 8192, cached = 4096, peak = 12288 }, tensor.memory(DEVICE))
    local c = on(new_stream(), function() return bytes(2048) end)
    assert.same({ used = 10240, cached = 4096, peak = 12288 }, tensor.memory(DEVICE))
    tensor.trim(DEVICE)
    assert.same({ used = 10240, cached = 0, peak = 12288 }, tensor.memory(DEVICE))
    assert.same({ 8192, 2048, 0 }, { b:count(), c:count(), device.kept })
  end)

  it('is counted apart from what is pinned for it on the host', function()
    local there = tensor.ones({ 1000 }, 'f32', DEVICE)
    local before, on_host = tensor.memory(DEVICE), tensor.memory()
    local pinned = there:to 'cpu'
    assert.same(before, tensor.memory(DEVICE))
    assert.equal(on_host.used + 4096, tensor.memory().used)
    assert.equal(1, pinned[1000])
  end)

  it('that garbage holds is handed out before the device is asked twice', function()
    local a = bytes(600 * 1024)
    local first = address(a:data())
    a = nil -- luacheck: ignore
    local b = bytes(600 * 1024)
    assert.equal(first, address(b:data()))
    assert.equal(2, device.mallocs)
  end)

  it('that waits for tensors of another size, or of another stream, is given back when there is no other', function()
    for _, stream in ipairs { false, new_stream() } do
      on(stream or nil, function() return bytes(700 * 1024) end)
      collectgarbage()
      assert.is_true(tensor.memory(DEVICE).cached >= 700 * 1024)
      device.mallocs = 0
      local b = bytes(900 * 1024)
      assert.equal(900 * 1024, b:count())
      assert.equal(2, device.mallocs)
      b = nil -- luacheck: ignore
      collectgarbage()
      tensor.trim(DEVICE)
    end
  end)

  it('that there is none of raises what the device said, once it was asked twice, and smaller tensors can be made', function()
    local kept = bytes(512 * 1024)
    local backend, seen = backends.of(DEVICE), {}
    function backend.check(self, status, what)
      if status ~= 0 then seen[#seen + 1] = status end
      return getmetatable(self).check(self, status, what)
    end
    device.mallocs = 0
    local ok, problem = pcall(bytes, 600 * 1024)
    assert.is_false(ok)
    assert.truthy(tostring(problem):find('a tensor of 614400 bytes beside 524288 in use on cuda:6: out of memory', 1, true))
    assert.same({ OUT_OF_MEMORY }, seen)
    assert.equal(2, device.mallocs)
    assert.equal(256 * 1024, bytes(256 * 1024):count())
    assert.equal(512 * 1024, kept:count())
    local memory = tensor.memory(DEVICE)
    assert.is_true(memory.used <= MIB and memory.peak <= MIB)
  end)

  it('is not looked for again when the device says that something else is wrong', function()
    device.fault = ILLEGAL_ADDRESS
    local statuses, backend = {}, backends.of(DEVICE)
    function backend.check(_, status)
      if status == 0 then return end
      statuses[#statuses + 1] = status
      error('the device is lost', 0)
    end
    local ok, problem = pcall(bytes, 1024)
    assert.same({ false, 'the device is lost', { ILLEGAL_ADDRESS } }, { ok, problem, statuses })
    assert.equal(1, device.mallocs)
  end)
end)

describe('a stream', function()
  it('gets memory that was used on another one behind an event, without a wait', function()
    local other = new_stream()
    local x = bytes(4096)
    local first = address(x:data())
    local y = on(other, function() return x + 1 end)
    x = nil -- luacheck: ignore
    collectgarbage()
    calls()
    local again = bytes(4096)
    assert.equal(first, address(again:data()))
    assert.same({ 'device_event_new', 'device_event_record', 'device_stream_wait', 'device_event_free' }, calls())
    assert.equal(4096, y:count())
  end)

  it('gets memory that was used on the stream of the device itself in the same way', function()
    local other = new_stream()
    local x = on(other, function() return bytes(4096) end)
    local first = address(x:data())
    local y = x + 1
    x = nil -- luacheck: ignore
    collectgarbage()
    calls()
    local again = on(other, function() return bytes(4096) end)
    assert.equal(first, address(again:data()))
    local waits = {}
    for _, call in ipairs(device.calls) do
      if call[1] == 'device_event_record' then waits[1] = call[3] == nil end
      if call[1] == 'device_stream_wait' then waits[2] = call[2] == other end
      assert.is_nil(call[1]:find 'synchronize')
    end
    assert.same({ true, true }, waits)
    assert.equal(4096, y:count())
  end)

  it('gets memory that only it has used as it is', function()
    local x = bytes(4096) + 1
    x = x + 1 -- luacheck: ignore
    x = nil -- luacheck: ignore
    collectgarbage()
    calls()
    local mallocs = device.mallocs
    bytes(4096)
    assert.same({}, calls())
    assert.equal(mallocs, device.mallocs)
  end)
end)

describe('memory that is pinned', function()
  it('is used again without a wait when the copy from the device is done', function()
    local there = tensor.ones({ 1000 }, 'f32', DEVICE)
    local host = there:to 'cpu'
    local first = address(host:data())
    host = nil -- luacheck: ignore
    collectgarbage()
    calls()
    host = there:to 'cpu'
    assert.equal(first, address(host:data()))
    assert.same({ 'device_copy', 'device_stream_synchronize' }, calls())
  end)

  it('waits for what the device copies from it', function()
    local there = tensor.ones({ 1000 }, 'f32', DEVICE)
    local host = there:to 'cpu'
    local first, again = address(host:data()), host:to(DEVICE)
    host = nil -- luacheck: ignore
    collectgarbage()
    calls()
    host = there:to 'cpu'
    assert.equal(first, address(host:data()))
    assert.same({ 'device_stream_synchronize', 'device_copy', 'device_stream_synchronize' }, calls())
    assert.equal(1, again[1])
  end)
end)
