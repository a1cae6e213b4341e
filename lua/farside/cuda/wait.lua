--- Waits for a device. In a coroutine of Farside's - every call of a remote function is one - others go on meanwhile: the
-- device is asked again and again, with pauses. Anywhere else the thread blocks until the device is done.
--
-- The pauses are a thirty-second of the time waited so far, and half a millisecond at most: a wait becomes so much longer by
-- them, and who waits for long costs little. A pause shorter than a sleeper needs to wake up is none at all: then others have
-- a turn.
local backends = require 'farside.tensor.backend'
local ffi = require 'ffi'
local future = require 'farside.future'
local native = require 'farside.native'

local M = {}

local SPIN = 10e-6      -- seconds in which nobody else has a turn: a turn takes about as long as a short transfer
local SHORTEST = 60e-6  -- seconds: a sleeper wakes up so much later
local SHARE, LONGEST = 1 / 32, 0.5e-3

local now = native.now
local done = ffi.new 'int32_t[1]'
local place = ffi.new 'void *[1]'

local function pause_after(seconds)
  local pause = math.min(seconds * SHARE, LONGEST)
  return pause < SHORTEST and 0 or pause
end
M.pause_after = pause_after

local function is_done(backend, query, object)
  backend:check(query(object, done), 'waiting for the device')
  return done[0] ~= 0
end

local function poll(backend, query, object, sleep)
  local start = now()
  local waited
  repeat
    if is_done(backend, query, object) then return end
    waited = now() - start
  until waited > SPIN
  repeat
    sleep(pause_after(waited))
    backend:choose()  -- whoever had a turn may have chosen another one
    waited = now() - start
  until is_done(backend, query, object)
end

--- Waits until an event (void *) of a device has come; `regardless` of a cancel, should the call be cancelled.
function M.event(backend, event, regardless)
  backend:choose()
  if future.can_yield() then
    return poll(backend, backend.library.device_event_query, event, regardless and future.outlast or future.sleep)
  end
  backend:check(backend.library.device_event_synchronize(event), 'waiting for the device')
end

local function take_event(backend)
  local events = backend.spare_events
  local event = events[#events]
  if event then
    events[#events] = nil
    return event
  end
  backend:check(backend.library.device_event_new(place, 0), 'making an event')
  return place[0]
end

--- Waits until what was put on a stream (void *) so far is done; what others put there meanwhile is not waited for.
function M.stream(backend, stream, regardless)
  if backend.kind == 'cpu' then return end
  local library = backend.library
  backend:choose()
  if not future.can_yield() then
    return backend:check(library.device_stream_synchronize(stream), 'waiting for the device')
  end
  if is_done(backend, library.device_stream_query, stream) then return end
  local event = take_event(backend)
  backend:check(library.device_event_record(event, stream), 'recording an event')
  local ok, problem = pcall(M.event, backend, event, regardless)
  backend.spare_events[#backend.spare_events + 1] = event
  if not ok then error(problem, 0) end
end

--- Waits until what was put on all streams of all devices so far is done.
function M.all()
  for _, backend in pairs(backends.in_use()) do backend:settle_all(M.stream) end
end

--- Waits for what a call, by its sequence, has put on streams so far. One that `ends` is waited for also when it was cancelled:
-- until then its slot is not free, for who comes next must not find the device held up, and a worker whose device never ends
-- is killed.
function M.call(sequence, ends)
  for _, backend in pairs(backends.in_use()) do
    backend:settle(sequence, M.stream, ends)
    if ends then backend:forget(sequence) end
  end
end

return M
