--- A device that does its work late: a library for backends.put whose streams are queues, of which a step is taken now and then,
-- in an order drawn by lot that the rules of streams and events allow. What is not waited for goes wrong here, as on a GPU.
--
--     local device = late.new(cpu_library, dice)   -- dice(n): a whole number from 1 to n
--     backends.put('cuda:6', device.library)
--     device.put(stream, function() ... end)       -- a step of one's own
--     device.finish()
local ffi = require 'ffi'

local M = {}

local function number_of(pointer)
  return pointer == nil and 0 or tonumber(ffi.cast('uintptr_t', pointer))
end

--- The arguments of a launch as they are now: the caller fills its views anew for the next.
local function keep(...)
  local kept, count = { ... }, select('#', ...)
  for i = 1, count do
    if ffi.istype('struct kernel_view', kept[i]) then kept[i] = ffi.new('struct kernel_view', kept[i]) end
  end
  return kept, count
end

function M.new(real, dice)
  local self = { steps = 0, lag = 8 }  -- of so many calls one lets a step be taken
  local library, streams, order, events, handles = {}, {}, {}, {}, 0
  local captures, graphs = {}, {}  -- address of a stream -> what it is given meanwhile; the same of a graph's
  local known = {}  -- address -> memory of the device, or pinned: { size =, is_there = whether the stream has come so far }
  self.library = library

  local function queue_of(stream)
    local key = number_of(stream)
    if not streams[key] then
      streams[key] = { first = 1, last = 0 }
      order[#order + 1] = key
    end
    return streams[key]
  end

  -- A GPU refuses it, and ends the capture.
  local function check_not_captured(stream)
    assert(not captures[number_of(stream)], 'a stream is asked or waited for while a graph is captured on it')
  end

  local function put(stream, item)
    local captured = captures[number_of(stream)]
    if captured then
      captured[#captured + 1] = item
      return 0
    end
    local queue = queue_of(stream)
    queue.last = queue.last + 1
    queue[queue.last] = item
    return 0
  end

  --- Has a function called when a stream (nil: the device's own) has come so far.
  function self.put(stream, func) put(stream, { run = func }) end

  -- Takes the first item of a queue, if it can be taken: one that waits for an event may not yet.
  local function step(queue)
    local item = queue[queue.first]
    if not item or item.after and not item.after.done then return false end
    queue[queue.first] = nil
    queue.first = queue.first + 1
    self.steps = self.steps + 1
    if item.run then item.run() end
    if item.event then item.event.done = true end
    return true
  end

  local function step_anywhere()
    if #order == 0 then return false end
    local start = dice(#order)
    for i = 0, #order - 1 do
      if step(streams[order[(start + i - 1) % #order + 1]]) then return true end
    end
    return false
  end

  -- Takes as few steps as it can: those of other streams only where their events are waited for.
  local function until_done(queue, is_done)
    while not is_done() do
      if not step(queue) then until_done(queue[queue.first].after.queue, function() return queue[queue.first].after.done end) end
    end
    return 0
  end

  function self.finish()
    while step_anywhere() do end
  end

  -- Some of the work is done behind some of the calls.
  local function later(func)
    return function(...)
      local status = func(...)
      if dice(self.lag) == 1 then step_anywhere() end
      return status
    end
  end

  local function find(pointer)
    local at = number_of(pointer)
    for from, memory in pairs(known) do
      if at >= from and at < from + memory.size then return memory end
    end
  end

  -- Called when work is done, not when it is given.
  local function check_there(pointer)
    local memory = find(pointer)
    assert(memory and memory.is_there, 'memory is used before its stream has taken it, or after it was given back')
  end

  local function take(place, size)
    local status = real.device_malloc(place, size, nil)
    if status ~= 0 then return nil, status end
    local memory = { size = tonumber(size) }
    known[number_of(place[0])] = memory
    return memory, 0
  end

  function library.device_malloc(place, size, stream)
    assert(not captures[number_of(stream)], 'memory that a graph takes is not simulated')
    local memory, status = take(place, size)
    if memory then put(stream, { run = function() memory.is_there = true end }) end
    return status
  end

  function library.device_host_malloc(place, size)
    local memory, status = take(place, size)
    if memory then memory.is_there = true end
    return status
  end

  local function free(pointer)
    known[number_of(pointer)] = nil
    real.device_free(pointer, nil)
  end

  library.device_free = function(pointer, stream) return put(stream, { run = function() free(pointer) end }) end
  library.device_host_free = function(pointer)
    self.finish()
    free(pointer)
    return 0
  end

  -- What is neither the device's nor pinned is read before the call returns.
  library.device_copy = later(function(to, from, size, stream)
    size = tonumber(size)
    assert(find(to), 'a copy to memory that is not pinned is not simulated')
    local held = not find(from) and ffi.new('uint8_t[?]', size) or nil
    if held then ffi.copy(held, from, size) end
    return put(stream, { run = function()
      check_there(to)
      if not held then check_there(from) end
      ffi.copy(to, held or from, size)
    end })
  end)

  function library.device_stream_new(place)
    handles = handles + 1
    place[0] = ffi.cast('void *', handles)
    return 0
  end

  function library.device_event_new(place) return library.device_stream_new(place) end

  function library.device_event_free() return 0 end

  function library.device_event_record(event, stream)
    check_not_captured(stream)
    local record = { queue = queue_of(stream) }
    events[number_of(event)] = record
    return put(stream, { event = record })
  end

  library.device_stream_wait = later(function(stream, event)
    check_not_captured(stream)
    return put(stream, { after = events[number_of(event)] })
  end)

  local function is_empty(stream)
    local queue = queue_of(stream)
    return queue.first > queue.last
  end

  function library.device_stream_synchronize(stream)
    check_not_captured(stream)
    return until_done(queue_of(stream), function() return is_empty(stream) end)
  end

  function library.device_stream_query(stream, done)
    check_not_captured(stream)
    done[0] = is_empty(stream) and 1 or 0
    return 0
  end

  function library.device_event_query(event, done)
    step_anywhere()
    done[0] = events[number_of(event)].done and 1 or 0
    return 0
  end

  function library.device_event_synchronize(event)
    local record = events[number_of(event)]
    return until_done(record.queue, function() return record.done end)
  end

  function library.device_synchronize()
    assert(next(captures) == nil, 'a device is waited for while a graph is captured')
    self.finish()
    return 0
  end

  function library.device_capture_begin(stream)
    captures[number_of(stream)] = {}
    return 0
  end

  function library.device_capture_end(stream, place)
    library.device_stream_new(place)
    graphs[number_of(place[0])], captures[number_of(stream)] = captures[number_of(stream)], nil
    return 0
  end

  function library.device_graph_launch(graph, stream)
    for _, item in ipairs(graphs[number_of(graph)]) do put(stream, item) end
    return 0
  end

  function library.device_graph_free() return 0 end

  setmetatable(library, { __index = function(_, name)
    local func = real[name]
    if not name:find '^kernel_' or name:find '_workspace$' or name:find '^KERNEL' then return func end
    library[name] = later(function(...)
      local kept, count = keep(...)
      local stream = kept[count]
      kept[count] = nil
      return put(stream, { run = function()
        for i = 1, count do
          if ffi.istype('struct kernel_view', kept[i]) then check_there(kept[i].data) end
        end
        local status = func(unpack(kept, 1, count))
        assert(status == 0, name)
      end })
    end)
    return library[name]
  end })
  return self
end

return M
