--- Graphs: launches that are written down once and then given to the device together, as often as one likes.
--
--     local graph, y = cuda.graph(function() return (x * 2 + 1):exp() end)
--     x:set(new)       -- the graph reads what is in its tensors when it is replayed
--     graph:replay()   -- y holds the result of it
--
-- While it is written down nothing is computed, so the function cannot look at elements of what it makes, and all goes to the
-- graph's own stream: no other one can be used, nor an event recorded, nor another graph replayed. The graph keeps
-- every tensor that its launches use. The function may wait: others of this worker go on meanwhile, on their own streams.
local Stream = require 'farside.cuda.stream'
local backends = require 'farside.tensor.backend'
local check = require 'farside.check'
local ffi = require 'ffi'
local misuse = require 'farside.tensor.misuse'
local storages = require 'farside.tensor.storage'

local Graph = {}
Graph.__index = Graph
Graph.__name = 'farside.cuda.graph'

local place = ffi.new 'void *[1]'

-- Handles of those that are garbage. A finalizer runs at any time, also while another graph is captured, when a device may not
-- be spoken to.
local garbage = {}

--- Ends a capture; returns the status and the graph's handle.
local function finish(backend, stream)
  place[0] = nil
  if backend.kind == 'cuda' then backend.library.device_set(backend.index) end  -- others may have chosen another one
  local status = backend.library.device_capture_end(stream, place)
  return status, place[0]
end

local function give_up(backend, stream)
  local _, handle = finish(backend, stream)
  backend.library.device_last_error()
  if handle ~= nil then backend.library.device_graph_free(handle) end
end

-- Captures that nobody will end: the function waits in a coroutine that is garbage. The stream is kept here until it can be
-- given to somebody else.
local abandoned = {}

local function free_garbage()
  -- What becomes garbage meanwhile is put behind the rest.
  while #garbage > 0 do
    local one = table.remove(garbage)
    one.library.device_graph_free(one.handle)
  end
  while #abandoned > 0 do
    local one = table.remove(abandoned)
    give_up(one.backend, one.stream._handle)
    storages.abandoned(one.backend, one.stream._handle)
  end
end

local function pack(...)
  return { n = select('#', ...), ... }
end

local function call_on(backend, stream, func)
  local before = backend:own_stream()
  backend:use_stream(stream)
  local results
  local ok, keeper = pcall(storages.captured, backend, stream, function() results = pack(func()) end)
  backend:use_stream(before)
  return ok, keeper, results
end

--- Writes down what a function launches, on the first GPU, or the processor without one, unless a device is named. Returns the graph, and what the function
-- returns. An error in the function ends the capture and is raised.
---@param func function
---@param device string? 'cuda:0'
function Graph.new(func, device)
  if type(func) ~= 'function' then misuse('cuda.graph: expected a function, got %s', check.describe(func)) end
  local name, problem = backends.device(device or backends.preferred())
  if not name then misuse('cuda.graph: %s', problem) end
  local backend = backends.of(name)
  local stream = Stream.for_capture(backend)
  local handle = stream._handle
  free_garbage()
  backend:choose()
  backend:check(backend.library.device_capture_begin(handle), 'capturing a graph')
  local guard = ffi.gc(ffi.new 'uint8_t[1]', function() abandoned[#abandoned + 1] = { backend = backend, stream = stream } end)
  local ok, keeper, results = call_on(backend, handle, func)
  ffi.gc(guard, nil)
  if not ok then
    give_up(backend, handle)
    error(keeper, 0)
  end
  local status, made = finish(backend, handle)
  backend:check(status, 'capturing a graph')
  local library = backend.library
  return setmetatable({
    device = name,
    _backend = backend,
    _handle = made,
    _keeper = keeper,
    _func = func,  -- with what it refers to
    _stream = stream,
    _guard = ffi.gc(ffi.new 'uint8_t[1]', function() garbage[#garbage + 1] = { library = library, handle = made } end),
  }, Graph), unpack(results, 1, results.n)
end

--- Gives what is written down to the device, on the stream of the coroutine that calls this. Does not wait.
function Graph:replay()
  if type(self) ~= 'table' or getmetatable(self) ~= Graph then
    misuse('expected a graph before the colon: write g:replay(), got %s', check.describe(self))
  end
  if storages.is_capturing() then misuse 'replay: expected no graph while another one is written down, of which it cannot be a part' end
  local backend = self._backend
  local stream = backend:enter()
  storages.replayed(self._keeper, stream)
  backend:check(backend.library.device_graph_launch(self._handle, stream), 'replaying a graph')
end

function Graph:__tostring()
  return ('farside.cuda.graph on %s'):format(self.device)
end

return Graph
