--- Many calls of one function, several at a time: `for i, result in square:map(list, options) do`.
--
--     concurrency = 64      so many elements are read and not handed out yet, at most
--     ordered = true        results come in the order of the elements; false: in the order in which the calls end
--     on_error = 'raise'    the loop raises the error of a call; 'return': it goes on with i, nil, err
--     progress = false      a line on stderr, if that is a terminal: how many have ended, how fast, how long it will take
--
-- The source is a list, up to its first nil, or a function that returns the arguments of the next call, nil first at the
-- end. An error of that function is raised after the results of what it returned before. A map holds one slot for each
-- element that is read and not handed out; they are used again, so an element costs no table.
--
--     source --fill--> slot in flight --_ended--> slot that has ended --advance--> the loop
--
-- Calls in flight are cancelled when the loop raises, and some time after a loop that was left by `break`.
local Error = require 'farside.error'
local check = require 'farside.check'
local future = require 'farside.future'
local native = require 'farside.native'

local M = {}

local Map = {}
Map.__index = Map

local Slot = {}
Slot.__index = Slot

local Bar = {}
Bar.__index = Bar

local DEFAULT_CONCURRENCY = 64
local MOST_IN_FLIGHT = 1024              -- calls that a client may have in flight
local ONE, MANY, FAILED = 1, 2, 3        -- what the value of a slot is: a result, packed results, an error
local BAR_FIRST, BAR_EVERY = 0.5, 0.1    -- seconds
local STDERR = 2

-- Arguments ---------------------------------------------------------------------------------------------------------

local OPTIONS = {
  concurrency = check.integer(1, MOST_IN_FLIGHT),
  ordered = check.a 'boolean',
  on_error = function(value)
    if value ~= 'raise' and value ~= 'return' then return "'raise' or 'return'" end
  end,
  progress = check.a 'boolean',
}

local ipairs_step = ipairs {}

local function is_callable(value)
  local class = type(value) == 'table' and getmetatable(value)
  return type(value) == 'function' or type(class) == 'table' and rawget(class, '__call') ~= nil
end

--- Says what is wrong with the arguments of a map, or nil.
---@return string? problem
function M.check(source, options, ...)
  if not is_callable(source) and (type(source) ~= 'table' or check.is_tensor(source)) then
    return 'map: expected a list or an iterator function, got ' .. check.describe(source)
  end
  if source == next or source == ipairs_step or select('#', ...) > 0 then
    return 'map: expected a list or one function without arguments, got the values of pairs, ipairs or the like: '
      .. 'write a function that steps through them'
  end
  return options ~= nil and check.options('map', options, OPTIONS) or nil
end

-- The line of progress ----------------------------------------------------------------------------------------------

local function new_bar(name, total)
  local now = native.now()
  return setmetatable({ name = name, total = total, began = now, due = now + BAR_FIRST }, Bar)
end

local function clock(seconds)
  local minutes = math.floor(seconds / 60)
  if minutes < 60 then return ('%d:%02d'):format(minutes, seconds % 60) end
  return ('%d:%02d:%02d'):format(minutes / 60, minutes % 60, seconds % 60)
end

function Bar:draw(ended)
  local now = native.now()
  if now < self.due then return end
  self.due, self.drawn = now + BAR_EVERY, true
  local rate = ended / (now - self.began)
  local parts = { '\r', self.name, ': ', ended }
  if self.total then parts[#parts + 1] = (' of %d (%d %%)'):format(self.total, 100 * ended / self.total) end
  parts[#parts + 1] = (rate < 10 and ', %.2g/s' or ', %.0f/s'):format(rate)
  if self.total and ended > 0 then parts[#parts + 1] = ', ' .. clock((self.total - ended) / rate) .. ' left' end
  parts[#parts + 1] = '\27[K'
  io.stderr:write(table.concat(parts))
end

function Bar:erase()
  if self.drawn then io.stderr:write('\r\27[K') end
  self.drawn = nil
end

-- Calls -------------------------------------------------------------------------------------------------------------

local function pack(...)
  return { n = select('#', ...), ... }
end

local function take_slot(self)
  local count = self.free_count
  if count > 0 then
    self.free_count = count - 1
    return self.free[count]
  end
  local slot = setmetatable({ map = self }, Slot)
  self.slots[#self.slots + 1] = slot
  return slot
end

--- A slot has its outcome. The ring holds, ordered, all slots from when they are sent; else those that have ended.
local function arrived(self, slot)
  if not self.ordered then self.ring[self.ended % self.limit + 1] = slot end
  self.ended = self.ended + 1
  if not self._waiters then return end
  if not self.ordered or self.bar or slot.index == self.taken + 1 then future.wake(self) end
end

--- The scheduler calls it when the call of a slot has ended.
function Slot:_ended(ok, ...)
  if not ok then
    self.kind, self.value = FAILED, Error.new((...))
  elseif select('#', ...) == 1 then
    self.kind, self.value = ONE, (...)
  else
    self.kind, self.value = MANY, pack(...)
  end
  arrived(self.map, self)
end

--- Sends one element. Returns false when it must wait for others of the client to end.
local function submit(self, ...)
  local call, err = self.remote:_send(self.position, ...)
  if err and err.scope == 'client' and self.sent > self.taken then
    self.held = pack(...)
    return false
  end
  local slot = take_slot(self)
  if self.ordered then self.ring[self.sent % self.limit + 1] = slot end
  self.sent = self.sent + 1
  slot.index, slot.kind, slot.call = self.sent, nil, call
  slot._on_progress = self.remote._on_progress
  if call then
    future.deliver_to(call, slot)
  else
    slot.kind, slot.value = FAILED, err
    arrived(self, slot)
  end
  return true
end

local function submit_from_source(self, ok, first, ...)
  if ok and first ~= nil then return submit(self, first, ...) end
  self.exhausted = true
  if not ok then self.problem = { err = first } end
  return false
end

--- Reads and sends as many elements as may be on the way.
local function fill(self)
  local goes_on = true
  while goes_on and self.sent - self.taken < self.limit do
    local held = self.held
    if held then
      self.held = nil
      goes_on = submit(self, unpack(held, 1, held.n))
    elseif self.exhausted then
      return
    elseif self.source then
      goes_on = submit_from_source(self, pcall(self.source))
    else
      goes_on = submit_from_source(self, true, self.list[self.sent + 1])
    end
  end
end

-- The loop ----------------------------------------------------------------------------------------------------------

--- Ends a map at once.
function Map:drop()
  self.exhausted, self.held, self.over = true, nil, true
  if self.bar then self.bar:erase() end
  for _, slot in ipairs(self.slots) do
    if slot.call and not slot.kind then self.remote._handle:cancel(slot.call) end
  end
end

--- The slot whose outcome is the next for the loop, if it is there.
local function next_slot(self)
  local slot = self.ring[self.taken % self.limit + 1]
  if self.ordered then return self.sent > self.taken and slot.kind and slot end
  return self.ended > self.taken and slot
end

local function finish(self)
  self:drop()
  local problem = self.problem
  self.problem = nil
  if problem then error(problem.err, 0) end
  return nil
end

local function hand_out(self, slot)
  local index, kind, value = slot.index, slot.kind, slot.value
  slot.value = nil
  self.taken = self.taken + 1
  self.free_count = self.free_count + 1
  self.free[self.free_count] = slot
  if kind == ONE then return index, value end
  if kind == MANY then return index, unpack(value, 1, value.n) end
  if self.returns_errors then return index, nil, value end
  self:drop()
  error(value, 0)
end

local function advance(self)
  while not self.over do
    fill(self)
    if self.bar then self.bar:draw(self.ended) end
    local slot = next_slot(self)
    if slot then return hand_out(self, slot) end
    if self.sent == self.taken then return finish(self) end
    future.wait_on(self)
  end
  return nil
end

--- Makes the iterator. Nothing is read before it is called first.
---@param remote table that is connected
---@param position string where the user has called map
function M.new(remote, source, options, position)
  local is_list = type(source) == 'table' and not is_callable(source)
  local self = setmetatable({
    remote = remote,
    position = position,
    list = is_list and source or nil,
    source = not is_list and source or nil,
    limit = options.concurrency or DEFAULT_CONCURRENCY,
    ordered = options.ordered ~= false,
    returns_errors = options.on_error == 'return',
    sent = 0,   -- elements read and sent
    ended = 0,  -- of those, calls that have ended
    taken = 0,  -- of those, results that the loop has got
    ring = {},
    slots = {},
    free = {},
    free_count = 0,
  }, Map)
  if options.progress and native.is_terminal(STDERR) then self.bar = new_bar(remote.name, is_list and #source) end
  local guard = future.guard(self)
  return function() return advance(self, guard) end
end

return M
