--- Streams: what is put on one is done in its order, beside what is put on others.
--
--     local stream = cuda.stream()
--     stream:use(function() y = x:exp() end)   -- computed on the stream; this returns at once
--     stream:synchronize()                     -- waits; other calls of this worker go on
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local storages = require 'farside.tensor.storage'
local wait = require 'farside.cuda.wait'

local Stream = {}
Stream.__index = Stream
Stream.__name = 'farside.cuda.stream'

local place = ffi.new 'void *[1]'

function Stream.is(value)
  return type(value) == 'table' and getmetatable(value) == Stream
end

local function check_self(self, method)
  if not Stream.is(self) then
    misuse('expected a stream before the colon: write s:%s(...), got %s', method, check.describe(self))
  end
end

-- Memory of tensors belongs to the stream on which they were made, and may go back to it when the stream is garbage: no
-- stream is ever ended, the next one that is asked for gets it.
local function take_handle(backend, spare)
  local handle = spare[#spare]
  if handle then
    spare[#spare] = nil
    return handle
  end
  backend:choose()
  backend:check(backend.library.device_stream_new(place), 'making a stream')
  return place[0]
end

local function new(backend, spare)
  local handle = take_handle(backend, spare)
  return setmetatable({
    device = backend.name,
    _backend = backend,
    _handle = handle,
    _guard = ffi.gc(ffi.new 'uint8_t[1]', function() spare[#spare + 1] = handle end),
  }, Stream)
end

--- Makes a stream of a device; without a name of the first GPU, or of the processor where there is none.
---@param device string? 'cuda:0'
function Stream.new(device)
  local name, problem = backends.device(device or backends.preferred())
  if not name then misuse('cuda.stream: %s', problem) end
  local backend = backends.of(name)
  return new(backend, backend.spare_streams)
end

--- Makes one on which a graph is captured, apart from those that are given work: what has been there before may still be waited
-- for in the midst of a capture, which that would end.
function Stream.for_capture(backend)
  local stream = new(backend, backend.spare_captures)
  backend:is_for_captures(stream._handle)
  return stream
end

--- `later` (void *) goes on when what `earlier` was given so far is done.
local function order(backend, earlier, later)
  local library = backend.library
  backend:check(library.device_event_new(place, 0), 'making an event')
  local event = place[0]
  local status = library.device_event_record(event, earlier)
  if status == 0 then status = library.device_stream_wait(later, event) end
  library.device_event_free(event)
  backend:check(status, 'ordering two streams')
end

local function leave(backend, before, ok, ...)
  backend:use_stream(before)
  if ok then return ... end
  error((...), 0)
end

--- Calls a function whose operations, on tensors of the stream's device, are put on this stream: those of the coroutine that
-- calls it, not those of others which run while it waits. They begin when what the coroutine has put on its stream before is
-- done; who goes on there with what is made here has that one wait: stream:wait(other), or waits itself. Returns what the
-- function returns.
function Stream:use(func, ...)
  check_self(self, 'use')
  if type(func) ~= 'function' then misuse('use: expected a function, got %s', check.describe(func)) end
  if storages.is_capturing() then misuse 'use: expected no other stream while a graph is written down, which has one of its own' end
  local backend = self._backend
  backend:choose()
  local before = backend:own_stream()
  order(backend, backend:stream(), self._handle)
  backend:use_stream(self._handle)
  return leave(backend, before, pcall(func, ...))
end

--- What is put on this stream from now on begins when another stream, or an event, has come as far as it is told now. Does
-- not wait itself.
function Stream:wait(what)
  check_self(self, 'wait')
  local event = type(what) == 'table' and rawget(what, '_event')
  if not event and not Stream.is(what) then
    misuse('wait: expected a stream or an event, got %s', check.describe(what))
  end
  if what.device ~= self.device then
    misuse('wait: expected a stream or an event of %s, got one of %s', self.device, what.device)
  end
  local backend = self._backend
  backend:choose()
  if event then return backend:check(backend.library.device_stream_wait(self._handle, event), 'waiting for an event') end
  order(backend, what._handle, self._handle)
end

--- Waits until what was put on the stream so far is done, and raises the error of what failed. Other calls go on meanwhile.
function Stream:synchronize()
  check_self(self, 'synchronize')
  wait.stream(self._backend, self._handle)
end

--- Whether all that was put on the stream is done.
function Stream:done()
  check_self(self, 'done')
  local flag = ffi.new 'int32_t[1]'
  self._backend:choose()
  self._backend:check(self._backend.library.device_stream_query(self._handle, flag), 'asking a stream')
  return flag[0] ~= 0
end

function Stream:__tostring()
  return ('farside.cuda.stream on %s'):format(self.device)
end

return Stream
