--- Events: marks on a stream, to wait for and to measure between.
--
--     local start, stop = cuda.event(), cuda.event()
--     start:record()
--     y = x:exp()
--     stop:record()
--     print(start:elapsed(stop))   -- milliseconds on the device; waits for `stop`
local Stream = require 'farside.cuda.stream'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local storages = require 'farside.tensor.storage'
local wait = require 'farside.cuda.wait'

local Event = {}
Event.__index = Event
Event.__name = 'farside.cuda.event'

local place = ffi.new 'void *[1]'
local milliseconds = ffi.new 'float[1]'

function Event.is(value)
  return type(value) == 'table' and getmetatable(value) == Event
end

local function check_self(self, method)
  if not Event.is(self) then
    misuse('expected an event before the colon: write e:%s(...), got %s', method, check.describe(self))
  end
end

--- Makes an event of a device, as cuda.stream does; it is not on any stream yet.
---@param device string? 'cuda:0'
function Event.new(device)
  local name, problem = backends.device(device or backends.preferred())
  if not name then misuse('cuda.event: %s', problem) end
  local backend = backends.of(name)
  backend:choose()
  backend:check(backend.library.device_event_new(place, 1), 'making an event')
  return setmetatable({
    device = name,
    _backend = backend,
    _event = ffi.gc(place[0], backend.library.device_event_free),
    _is_recorded = false,
  }, Event)
end

local function check_recorded(self, method)
  check_self(self, method)
  if not self._is_recorded then misuse('%s: expected an event that was recorded; e:record() does that', method) end
end

--- Puts the event behind what a stream was given so far: of the one that this coroutine uses, unless one is given.
function Event:record(stream)
  check_self(self, 'record')
  if stream ~= nil and not Stream.is(stream) then misuse('record: expected a stream, got %s', check.describe(stream)) end
  if stream and stream.device ~= self.device then
    misuse('record: expected a stream of %s, got one of %s', self.device, stream.device)
  end
  if not stream and storages.is_capturing() then
    misuse 'record: expected no event while a graph is written down: it is to be recorded before a replay and behind it'
  end
  local backend = self._backend
  local handle = stream and stream._handle or backend:enter()
  backend:choose()
  backend:check(backend.library.device_event_record(self._event, handle), 'recording an event')
  self._is_recorded = true
  return self
end

--- Waits until the event has come. Other calls go on meanwhile.
function Event:wait()
  check_recorded(self, 'wait')
  wait.event(self._backend, self._event)
end

--- Whether it has come.
function Event:done()
  check_recorded(self, 'done')
  local flag = ffi.new 'int32_t[1]'
  self._backend:choose()
  self._backend:check(self._backend.library.device_event_query(self._event, flag), 'asking an event')
  return flag[0] ~= 0
end

--- Milliseconds from this event to another one, as the device measured them. Waits until both have come.
function Event:elapsed(other)
  check_recorded(self, 'elapsed')
  if not Event.is(other) then misuse('elapsed: expected an event, got %s', check.describe(other)) end
  check_recorded(other, 'elapsed')
  if other.device ~= self.device then
    misuse('elapsed: expected an event of %s, got one of %s', self.device, other.device)
  end
  self:wait()
  other:wait()
  local backend = self._backend
  backend:check(backend.library.device_event_elapsed(milliseconds, self._event, other._event), 'elapsed')
  return tonumber(milliseconds[0])
end

function Event:__tostring()
  return ('farside.cuda.event on %s'):format(self.device)
end

return Event
