--- What computes: a library of kernels and one of its devices, by the name that tensors have for it.
--
--     'cpu'      libfarside_cpu.so, in memory of the host
--     'cuda:0'   libfarside_cuda.so; 'cuda' is short for it
local check = require 'farside.check'
local fault = require 'farside.cuda.fault'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local said = require 'farside.yield'

local M = {}

local Backend = {}
Backend.__index = Backend

local backends = {}  -- by name
local running = coroutine.running
local MAIN = {}      -- stands for the main thread, which is no coroutine

-- Owners of work that is no call's: of the process, and of a plain coroutine of which is not known for which call it runs.
local PROCESS, UNKNOWN = {}, {}

local function new_backend(name, kind, index, library)
  return setmetatable({
    name = name,
    kind = kind,
    index = index,
    library = library,
    spare_streams = {},  -- for the next that are asked for
    spare_captures = {},
    spare_events = {},
    _streams = nil,      -- by coroutine, where one uses another stream than the device's own; nil: none does
    _captures = {},      -- by their addresses, streams on which graphs are captured and nothing else
    _is_used = false,    -- it has worked
    -- For each call (its sequence, or an owner of the above) the streams that it gave something since it was settled, by their
    -- addresses, where the device's own one is `false`; and how often it did.
    _busy = {},
  }, Backend)
end

--- Raises the error of a status that is not 0. `what` names the operation.
function Backend:check(status, what)
  if status ~= 0 then fault.raise(self.library, self.name, status, what, self._is_used) end
end

local function first_use(self)
  local free, total = ffi.new 'uint64_t[1]', ffi.new 'uint64_t[1]'
  self:check(self.library.device_memory(free, total), 'asking for its memory')
  self._is_used = true
  fault.use(tonumber(free[0]))
end

--- Makes the device the current one of this thread.
function Backend:choose()
  if self.kind ~= 'cuda' then return end
  self:check(self.library.device_set(self.index), 'choosing the device')
  if not self._is_used then first_use(self) end
end

--- What the coroutine that runs was told to use; nil: nothing.
function Backend:own_stream()
  return self._streams and self._streams[running() or MAIN]
end

--- The stream that work of this coroutine is put on; NULL is the device's own.
Backend.stream = Backend.own_stream

local function owner_of(call)
  if call == nil then return UNKNOWN end
  return call or PROCESS
end

-- A coroutine may outlive its call; then what it does is for nobody.
local function new_busy(self, owner)
  if type(owner) == 'number' and not said.is_running(owner) then owner = PROCESS end
  local busy = self._busy[owner] or { given = 0, streams = {} }
  self._busy[owner] = busy
  return busy
end

--- Tells of a stream (void *) that graphs are captured on it and nothing else: it never has anything to do, and while one is
-- captured whoever asks it or waits for it would end that.
function Backend:is_for_captures(stream)
  self._captures[tonumber(ffi.cast('uintptr_t', stream))] = true
end

--- Makes the device the current one of this thread and returns the stream on which work is about to be put.
function Backend:enter()
  if self.kind ~= 'cuda' then return self:own_stream() end
  self:choose()
  local stream = self:own_stream()
  local key = stream == nil and 0 or tonumber(ffi.cast('uintptr_t', stream))
  if self._captures[key] then return stream end
  local owner = owner_of(said.call_of(running()))
  local busy = self._busy[owner] or new_busy(self, owner)
  busy.given = busy.given + 1
  busy.streams[key] = stream or false
  return stream
end

--- The coroutine that runs computes on another stream from now on: `stream` (void *) is one of the library's, nil the own one
-- of the device. Those it starts do not.
function Backend:use_stream(stream)
  self._streams = self._streams or setmetatable({}, { __mode = 'k' })
  self._streams[running() or MAIN] = stream
  if next(self._streams) == nil then self._streams = nil end
end

-- What is given while this waits is for the next one to wait for. Until the end of the wait it is for whoever asks.
local function settle(self, owner, wait, ...)
  local busy = self._busy[owner]
  if not busy then return end
  local given, streams = busy.given, {}
  for key, stream in pairs(busy.streams) do streams[key] = stream end
  for _, stream in pairs(streams) do wait(self, stream or nil, ...) end
  if busy.given == given and self._busy[owner] == busy then self._busy[owner] = nil end
end

--- Calls wait(self, stream, ...) for each stream that a call, by its sequence, has given something since it was settled, and for
-- those of which it may be.
function Backend:settle(call, wait, ...)
  settle(self, owner_of(call), wait, ...)
  if call then settle(self, UNKNOWN, wait, ...) end
end

--- The same for all that were given something by anybody so far. Each call settles its own nevertheless.
function Backend:settle_all(wait)
  local streams = {}
  for _, busy in pairs(self._busy) do
    for key, stream in pairs(busy.streams) do streams[key] = stream end
  end
  for _, stream in pairs(streams) do wait(self, stream or nil) end
end

--- Forgets a call that has ended.
function Backend:forget(call)
  if call then self._busy[call] = nil end
end

--- What opens a device; or nil, what is wrong and, if it is that there is no such device, the error of that.
local function open(name)
  local index = name:match '^cuda:(%d+)$'
  local library, problem = libraries.open(index and 'cuda' or 'cpu')
  if not library then return nil, problem end
  if not index then return new_backend(name, 'cpu', 0, library) end
  local count = ffi.new 'int32_t[1]'
  library.device_count(count)
  if tonumber(index) < count[0] then return new_backend(name, 'cuda', tonumber(index), library) end
  local absence = fault.of_absence(library, name, count[0], library.device_last_reason())
  return nil, absence.message, absence
end

--- The name of a device in full, or nil and what is wrong.
function M.device(value)
  if value == 'cuda' then value = 'cuda:0' end
  if value == 'cpu' or type(value) == 'string' and value:find '^cuda:%d+$' then return value end
  return nil, ("expected a device ('cpu' or 'cuda:0'), got %s"):format(check.describe(value))
end

--- What computes on a device; nil and why nothing does.
function M.find(name)
  local backend = backends[name]
  if backend then return backend end
  local problem, absence
  backend, problem, absence = open(name)
  backends[name] = backend
  return backend, problem, absence
end

local preferred  -- once it was asked for

--- The device that is meant where none is named: the first GPU, or the processor where there is none.
function M.preferred()
  preferred = preferred or M.find 'cuda:0' and 'cuda:0' or 'cpu'
  return preferred
end

--- Those that were asked for so far, by name.
function M.in_use()
  return backends
end

--- The same; raises.
function M.of(name)
  local backend, problem, absence = M.find(name)
  if not backend then error(absence or problem, 0) end
  return backend
end

--- Lets a library stand for a device: for specs of what happens on devices where there is none.
function M.put(name, library)
  preferred = nil
  backends[name] = library and new_backend(name, 'cuda', 0, library) or nil
end

return M
