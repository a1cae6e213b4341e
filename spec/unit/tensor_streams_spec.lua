-- Tensors that come and go on several streams of a device that does its work late, in an order drawn by lot: whatever memory is
-- handed out too early is written to while somebody still reads it, and then a number is wrong.
local backends = require 'farside.tensor.backend'
local cuda = require 'farside.cuda'
local ffi = require 'ffi'
local late = require 'spec.cuda.late'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE = 'cuda:6'
local RUNS, STEPS = 6, 400
local COUNTS = { 1000, 1001 }  -- of a size that is soon used again

local function new_dice(seed)
  local state = seed
  return function(n)
    state = state * 48271 % 2147483647
    return state % n + 1
  end
end

local function check(data, count, value)
  for i = 0, count - 1 do
    if data[i] ~= value then error(('element %d of %d is %d instead of %d'):format(i + 1, count, data[i], value)) end
  end
end

-- Each tensor has one number everywhere, which it is expected to keep: { t =, value =, stream =, count = }. Streams go by their
-- place in a list, for LuaJIT takes a pointer and `false` for equal.
local function new_world(seed)
  local dice = new_dice(seed)
  local device = late.new(assert(libraries.open 'cpu'), dice)
  backends.put(DEVICE, device.library)
  local backend, place = backends.of(DEVICE), ffi.new 'void *[1]'
  local streams = { false }
  for i = 2, 3 do
    device.library.device_stream_new(place)
    streams[i] = place[0]
  end
  return { dice = dice, device = device, backend = backend, streams = streams, there = {}, here = {}, counted = 0 }
end

-- Runs `func` on a stream, behind what the tensors it reads have to wait for.
local function on(world, stream, inputs, func)
  local library, place, streams = world.device.library, ffi.new 'void *[1]', world.streams
  for _, one in ipairs(inputs) do
    if one.stream ~= stream then
      library.device_event_new(place)
      library.device_event_record(place[0], streams[one.stream] or nil)
      library.device_stream_wait(streams[stream] or nil, place[0])
    end
  end
  world.backend:use_stream(streams[stream] or nil)
  local result = func()
  world.backend:use_stream(nil)
  return result
end

-- Keeps a tensor on the device, and has it looked at when its stream has come so far: also if it is garbage by then.
local function keep(world, t, value, stream)
  local data, count = t:data(), t:count()
  world.device.put(world.streams[stream] or nil, function() check(data, count, value) end)
  table.insert(world.there, { t = t, value = value, stream = stream, count = count })
end

local function any(world, list)
  return list[world.dice(#list)], world.dice(#world.streams)
end

local ACTIONS = {}

function ACTIONS.make(world)
  local count, value = COUNTS[world.dice(#COUNTS)], world.dice(1000000)
  local stream = world.dice(#world.streams)
  local t = on(world, stream, {}, function() return tensor.full({ count }, value, 'i32', DEVICE) end)
  keep(world, t, value, stream)
end

function ACTIONS.combine(world)
  local a, stream = any(world, world.there)
  local b = a and any(world, world.there)
  if not a or a.count ~= b.count then return end
  local t = on(world, stream, { a, b }, function() return (a.t - b.t) % 1000003 end)
  keep(world, t, (a.value - b.value) % 1000003, stream)
end

function ACTIONS.count(world)
  local a, stream = any(world, world.there)
  if not a then return end
  world.counted = world.counted + 1
  local t = on(world, stream, { a }, function() return a.t * 0 + world.counted end)
  keep(world, t, world.counted, stream)
end

function ACTIONS.reduce(world)
  local a, stream = any(world, world.there)
  if not a then return end
  local t = on(world, stream, { a }, function() return a.t:reshape({ a.count, 1 }):max(2) end)
  keep(world, t, a.value, stream)
end

function ACTIONS.fetch(world)
  local a, stream = any(world, world.there)
  if not a then return end
  local t = on(world, stream, { a }, function() return a.t:to 'cpu' end)
  check(t:data(), a.count, a.value)
  table.insert(world.here, { t = t, value = a.value, count = a.count })
end

function ACTIONS.send(world)
  local a, stream = any(world, world.here)
  if not a then return end
  local t = on(world, stream, {}, function() return a.t:to(DEVICE) end)
  keep(world, t, a.value, stream)
end

function ACTIONS.drop(world)
  for _, list in ipairs { world.there, world.here } do
    while #list > 3 do table.remove(list, world.dice(#list)) end
  end
  collectgarbage()
end

function ACTIONS.trim(world)
  if world.dice(10) == 1 then tensor.trim(DEVICE) end
end

local NAMES = { 'make', 'make', 'combine', 'count', 'count', 'reduce', 'fetch', 'send', 'send', 'drop', 'drop', 'trim' }

describe('tensors on several streams', function()
  after_each(function()
    collectgarbage()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
  end)

  for seed = 1, RUNS do
    it('keep their elements until nobody reads them, seed ' .. seed, function()
      local world = new_world(seed * 7919)
      for _ = 1, STEPS do ACTIONS[NAMES[world.dice(#NAMES)]](world) end
      world.device.finish()
      for _, one in ipairs(world.there) do check(one.t:data(), one.count, one.value) end
      for _, one in ipairs(world.here) do check(one.t:data(), one.count, one.value) end
      assert.is_true(world.device.steps > STEPS)
    end)
  end
end)

describe('tensors of a graph', function()
  local world, library, x

  before_each(function()
    world = new_world(1)
    library = world.device.library
    x = on(world, 2, {}, function() return tensor.full({ 1000 }, 5, 'i32', DEVICE) end)
  end)

  after_each(function()
    x = nil
    collectgarbage()
    world.device.finish()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
  end)

  -- x * 3 is garbage afterwards.
  local function capture()
    local graph, y = cuda.graph(function() return x * 3 + 1 end, DEVICE)
    collectgarbage()
    return graph, y
  end

  local function make_others()
    local others = {}
    for i = 1, 8 do
      others[i] = on(world, i % 3 + 1, {}, function() return tensor.full({ 1000 }, 100 + i, 'i32', DEVICE) end)
    end
    return others
  end

  it('have memory that nobody else is handed, garbage or not', function()
    local graph, y = capture()
    local others = make_others()
    world.device.finish()
    for _ = 1, 2 do
      on(world, 3, {}, function() graph:replay() end)
      world.device.finish()
      check(y:data(), 1000, 16)
      for i, other in ipairs(others) do check(other:data(), 1000, 100 + i) end
    end
  end)

  it('share memory with each other where they come one after the other', function()
    local before = tensor.memory(DEVICE)
    local ones = tensor.ones({ 2 ^ 20 }, 'i32', DEVICE)
    local graph, y = cuda.graph(function()
      local sum = ones
      for _ = 1, 60 do sum = sum + 1 end
      return sum
    end, DEVICE)
    local after = tensor.memory(DEVICE)
    assert.is_true(after.used + after.cached - before.used - before.cached < 100 * 2 ^ 20)  -- of 240
    graph:replay()
    library.device_stream_synchronize(nil)
    check(y:data(), 2 ^ 20, 61)
  end)

  it('are there when a graph is replayed, on whatever stream', function()
    local graph, y = capture()
    local data = y:data()
    on(world, 3, { { stream = 2 } }, function() graph:replay() end)
    world.device.put(world.streams[3], function() check(data, 1000, 16) end)
    library.device_stream_synchronize(world.streams[3])
    check(data, 1000, 16)
  end)

  it('are captured beside others, who wait, take memory and give it back meanwhile', function()
    local made, graph, y
    for _ = 1, 3 do capture() end  -- whose stream is the next one's, and x was used there
    local function write()
      local first = x * 3
      made = first
      coroutine.yield()
      made, first = nil, nil -- luacheck: ignore
      collectgarbage()
      return x * 3 + 1
    end
    local thread = coroutine.create(function() graph, y = cuda.graph(write, DEVICE) end)
    assert(coroutine.resume(thread))
    local seen = on(world, 3, {}, function() return made + 1 end)
    for _ = 1, 4 do make_others() end
    cuda.synchronize(DEVICE)
    tensor.trim(DEVICE)
    assert.equal(103, make_others()[3]:to('cpu')[1])
    made = nil
    assert(coroutine.resume(thread))
    cuda.synchronize(DEVICE)
    local data = y:data()
    on(world, 2, {}, function() graph:replay() end)
    world.device.put(world.streams[2], function() check(data, 1000, 16) end)
    library.device_stream_synchronize(world.streams[2])
    check(data, 1000, 16)
    assert.equal(1000, seen:count())
  end)

  it('give it to others when the graph is garbage, behind its last replay', function()
    local graph, y = capture()
    on(world, 2, {}, function() graph:replay() end)
    local seen = y:data()
    world.device.put(world.streams[2], function() check(seen, 1000, 16) end)
    graph, y = nil, nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    local others, is_handed_out = {}, false
    for i = 1, 4 do
      others[i] = tensor.full({ 1000 }, 100 + i, 'i32', DEVICE)
      is_handed_out = is_handed_out or others[i]:data() == seen
    end
    assert.is_true(is_handed_out)
    library.device_stream_synchronize(nil)
    world.device.finish()
    for i, other in ipairs(others) do check(other:data(), 1000, 100 + i) end
  end)
end)
