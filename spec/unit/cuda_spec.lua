-- Devices, streams and events on a made-up device: the processor's library under the name of a CUDA device. Where the device
-- has to take its time, some of its functions are replaced.
local backends = require 'farside.tensor.backend'
local cuda = require 'farside.cuda'
local farside = require 'farside'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local native = require 'farside.native'
local said = require 'farside.yield'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'
local wait = require 'farside.cuda.wait'

local DEVICE, OTHER = 'cuda:7', 'cuda:8'
local library = assert(libraries.open 'cpu')

--- The library with some functions replaced.
local function with(functions)
  return setmetatable(functions, { __index = library })
end

--- One whose work is done `seconds` after it was asked for the first time; `counts` says how often it is asked.
local function slow(seconds, counts)
  local at
  local function query(_, done)
    at = at or native.now() + seconds
    counts.queries = (counts.queries or 0) + 1
    done[0] = native.now() >= at and 1 or 0
    counts.done = counts.done or done[0] == 1 and native.now() or nil
    counts.due = at
    return 0
  end
  local function block() counts.blocked = (counts.blocked or 0) + 1 return 0 end
  return with { device_stream_query = query, device_event_query = query, device_event_synchronize = block,
    device_stream_synchronize = block }
end

local function address(stream)
  return stream ~= nil and tonumber(ffi.cast('uintptr_t', stream)) or 0
end

describe('a device', function()
  setup(function() backends.put(DEVICE, library) end)
  teardown(function()
    collectgarbage()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
  end)

  it('is described by its name', function()
    local cpu = cuda.device 'cpu'
    assert.equal('cpu', cpu.device)
    assert.truthy(#cpu.name > 0 and cpu.memory > 2 ^ 28 and cpu.multiprocessors >= 1)
    assert.is_nil(cpu.compute)
    assert.is_nil(cpu.driver)
    local free, total = cuda.memory 'cpu'
    assert.truthy(free > 0 and free <= total and total == cpu.memory)
    assert.has_error(function() cuda.device 'gpu' end)
  end)

  it('is in the list if it is a GPU, and the list says why it is empty', function()
    local list, reason = cuda.devices()
    if #list == 0 then return assert.truthy(type(reason) == 'string' and #reason > 0) end
    for i, device in ipairs(list) do
      assert.equal('cuda:' .. i - 1, device.device)
      assert.truthy(device.compute:find '^%d+%.%d+$' and device.driver:find '^%d+%.%d+$', device.compute)
      assert.truthy(device.memory > 2 ^ 28 and #device.name > 0)
    end
  end)

  it('has streams for the work of one coroutine, across waits and errors', function()
    local backend = backends.of(DEVICE)
    local stream = cuda.stream(DEVICE)
    local function here() return address(backend:enter()) end
    assert.equal(0, here())
    local seen = {}
    farside.run(function()
      local other = farside.spawn(function()
        for i = 1, 3 do
          seen[i] = here()
          farside.sleep(0)
        end
      end)
      local a, b = stream:use(function(x)
        farside.sleep(0)
        assert.equal(address(stream._handle), here())
        assert.equal(0, cuda.stream(DEVICE):use(function() return 0 end))
        assert.equal(address(stream._handle), here())
        return x, nil
      end, 5)
      assert.same({ 5 }, { a, b })
      assert.equal(0, here())
      local ok, problem = pcall(stream.use, stream, function() error('no', 0) end)
      assert.same({ false, 'no' }, { ok, problem })
      assert.equal(0, here())
      other:await()
    end)
    assert.same({ 0, 0, 0 }, seen)
    local x = tensor.from({ 1, 2, 3 }):to(DEVICE)
    local y = stream:use(function() return x + 1 end)
    assert.equal(address(stream._handle), y._storage.stream)
    stream:synchronize()
    assert.same({ 2, 3, 4 }, y:table())
    assert.is_true(stream:done())
  end)

  it('has streams that wait for each other and for events', function()
    local calls = {}
    backends.put(OTHER, with {
      device_event_record = function(event, stream) calls[#calls + 1] = 'record ' .. address(stream)
        return library.device_event_record(event, stream) end,
      device_stream_wait = function(stream, event) calls[#calls + 1] = 'wait ' .. address(stream)
        return library.device_stream_wait(stream, event) end,
    })
    local a, b, event = cuda.stream(OTHER), cuda.stream(OTHER), cuda.event(OTHER)
    local one, two = address(a._handle), address(b._handle)
    assert.is_true(one ~= two)
    b:wait(a)
    event:record(a)
    b:wait(event)
    a:use(function() b:use(function() end) end)
    assert.same({ 'record ' .. one, 'wait ' .. two, 'record ' .. one, 'wait ' .. two, 'record 0', 'wait ' .. one,
      'record ' .. one, 'wait ' .. two }, calls)
    backends.put(OTHER, nil)
  end)

  it('has streams that are used again', function()
    collectgarbage()
    local handle = address(cuda.stream(DEVICE)._handle)
    collectgarbage()
    assert.equal(handle, address(cuda.stream(DEVICE)._handle))
  end)

  it('has events that measure', function()
    local start, stop = cuda.event(DEVICE), cuda.event(DEVICE)
    assert.has_error(function() start:wait() end)
    start:record()
    local x = tensor.zeros({ 100000 }, 'f32', DEVICE):exp()
    stop:record(cuda.stream(DEVICE))
    assert.truthy(start:elapsed(stop) > 0 and start:elapsed(stop) < 1000)
    assert.is_true(stop:done())
    assert.equal(100000, x:count())
  end)

  it('is waited for without holding up other coroutines', function()
    local counts = {}
    backends.put(OTHER, slow(0.05, counts))
    local turns, waiting = 0, true
    farside.run(function()
      local other = farside.spawn(function()
        while waiting do
          turns = turns + 1
          farside.sleep(0.001)
        end
      end)
      backends.of(OTHER):enter()
      cuda.synchronize()
      waiting = false
      other:await()
    end)
    assert.is_true(turns >= 3, turns)
    assert.truthy(counts.done >= counts.due)
    assert.is_nil(counts.blocked)
    backends.put(OTHER, nil)
  end)

  it('is settled by each call for itself', function()
    backends.put(OTHER, library)
    local backend, makers = backends.of(OTHER), require('farside.yield').makers
    local stream = cuda.stream(OTHER)
    local function settled(call)
      local seen = {}
      backend:settle(call, function(_, one, more) seen[#seen + 1] = address(one) .. tostring(more) end, '!')
      table.sort(seen)
      return seen
    end
    stub(said, 'is_running', function(call) return call ~= 3 end)
    farside.run(function()
      for i = 1, 3 do  -- the last one has ended
        farside.spawn(function()
          makers[coroutine.running()] = i
          backend:enter()
          if i == 2 then stream:use(function() backend:enter() end) end
        end)
      end
    end)
    said.is_running:revert()
    local all = {}
    backend:settle_all(function(_, one) all[#all + 1] = address(one) end)
    assert.equal(2, #all)
    assert.same({ '0!' }, settled(1))
    assert.same({}, settled(1))
    assert.same({}, settled(3))
    assert.same({ '0!' }, settled(false))
    backend:settle(2, function() backend:forget(2) end)
    assert.same({}, settled(2))
    backends.put(OTHER, nil)
  end)

  it('is settled anew by whoever asks while another one waits for it, or has given up', function()
    backends.put(OTHER, library)
    local backend, count = backends.of(OTHER), 0
    backend:enter()
    assert.is_false(pcall(backend.settle, backend, nil, function() error 'cancelled' end))
    backend:settle(nil, function()
      backend:settle(nil, function() count = count + 1 end)
    end)
    assert.equal(1, count)
    backend:enter()
    backend:settle(nil, function() backend:enter() end)
    backend:settle(nil, function() count = count + 1 end)
    backend:settle(nil, function() count = count + 1 end)
    assert.equal(2, count)
    backends.put(OTHER, nil)
  end)

  it('is waited for by the thread where nothing can yield', function()
    local counts = {}
    backends.put(OTHER, slow(3600, counts))
    local event = cuda.event(OTHER)
    event:record():wait()
    cuda.synchronize(OTHER)
    farside.run(function() ('x'):gsub('.', function() event:wait() end) end)
    assert.equal(3, counts.blocked)
    backends.put(OTHER, nil)
  end)

  it('is asked less often the longer it takes, and is not left waiting for long', function()
    assert.equal(0, wait.pause_after(20e-6))
    assert.equal(0, wait.pause_after(900e-6))
    assert.equal(0.01 / 32, wait.pause_after(0.01))
    assert.equal(0.5e-3, wait.pause_after(60))
  end)

  it('is named in what is wrong', function()
    local stream = cuda.stream(DEVICE)
    local function problem(func, ...) return (select(2, pcall(func, ...)):gsub('^%S+:%d+: ', '')) end
    assert.equal('expected a stream before the colon: write s:use(...), got the number 5', problem(stream.use, 5))
    assert.equal('use: expected a function, got nil', problem(stream.use, stream))
    assert.equal('wait: expected a stream or an event, got the number 5', problem(stream.wait, stream, 5))
    assert.equal('wait: expected a stream or an event of cuda:7, got one of cpu', problem(stream.wait, stream, cuda.stream 'cpu'))
    assert.equal('record: expected a stream of cuda:7, got one of cpu', problem(function()
      cuda.event(DEVICE):record(cuda.stream 'cpu')
    end))
    assert.equal("cuda.stream: expected a device ('cpu' or 'cuda:0'), got the number 3", problem(cuda.stream, 3))
  end)
end)
