--- Where the elements of tensors lie: memory of the host, of a device, or of somebody else.
--
-- Memory of a device belongs to the stream that was used when it was taken: it goes back to that stream's pool and is handed
-- out to the next tensor there without waiting. A tensor that was used on other streams too says so (`touch`), and then its
-- memory is used again behind what those have been given until then.
local Pool = require 'farside.tensor.pool'
local backends = require 'farside.tensor.backend'
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
int posix_memalign(void **memory, size_t alignment, size_t size);
void free(void *memory);
]]

local ALIGN = 64
local KEEP = 256 * 1024 ^ 2  -- bytes of the host's memory that wait for the next tensor
local OUT_OF_MEMORY = 2      -- the CUDA runtime's code
local new_place = ffi.typeof 'void *[1]'

-- device -> address of a stream as a number -> pool; 'pinned' is a stream of its own kind
local pools = {}
-- device -> counts of its pools; memory that is pinned for a device is the host's
local counts = {}

local function counts_of(device)
  counts[device] = counts[device] or Pool.new_counts()
  return counts[device]
end

local host = Pool.new({
  keep = KEEP,
  allocate = function(bytes)
    local place = new_place()
    if ffi.C.posix_memalign(place, ALIGN, bytes) == 0 then return place[0] end
  end,
  free = function(address) ffi.C.free(address) end,
  make_room = function() M.trim 'cpu' end,
}, counts_of 'cpu')

local function number_of(stream)
  return tonumber(ffi.cast('uintptr_t', stream))
end

local function pool_of(device, key, new, ...)
  pools[device] = pools[device] or {}
  pools[device][key] = pools[device][key] or new(...)
  return pools[device][key]
end

--- The address in `place`; nil if the device had no memory. What else a status says is raised.
local function allocated(backend, status, place)
  if status == 0 then return place[0] end
  if status ~= OUT_OF_MEMORY then backend:check(status, 'taking memory') end
  backend.library.device_last_error()
  return nil
end

--- Makes `stream` go on behind what other streams were given.
local function order(backend, others, stream)
  local library, place = backend.library, new_place()
  backend:choose()
  for _, other in pairs(others) do
    backend:check(library.device_event_new(place, 0), 'making an event')
    local event = place[0]
    local status = library.device_event_record(event, other or nil)
    if status == 0 then status = library.device_stream_wait(stream, event) end
    library.device_event_free(event)
    backend:check(status, 'waiting for a stream')
  end
end

--- The device's memory in the order of a stream.
local function new_stream_pool(backend, stream)
  local library, place = backend.library, new_place()
  return Pool.new({
    keep = math.huge,
    allocate = function(bytes)
      backend:choose()
      return allocated(backend, library.device_malloc(place, bytes, stream), place)
    end,
    free = function(address)
      if backend.kind == 'cuda' then library.device_set(backend.index) end
      library.device_free(address, stream)
    end,
    wait = function(others) order(backend, others, stream) end,
    make_room = function() M.trim(backend.name) end,
  }, counts_of(backend.name))
end

--- Memory of the host that the device copies from and to by itself.
local function new_pinned_pool(backend)
  local library, place = backend.library, new_place()
  return Pool.new({
    keep = KEEP,
    allocate = function(bytes)
      backend:choose()
      return allocated(backend, library.device_host_malloc(place, bytes), place)
    end,
    free = function(address) library.device_host_free(address) end,
    wait = function(streams)
      backend:choose()
      for _, stream in pairs(streams) do
        backend:check(library.device_stream_synchronize(stream or nil), 'waiting for a stream')
      end
    end,
    make_room = function() M.trim 'cpu' end,
  }, counts_of 'cpu')
end

--- Gives a block of memory that is set apart to the device's own stream. Called by finalizers too, and so without a word to
-- the device: whoever is handed it next waits for what has used it.
local function hand_over(backend, block, used_on)
  for key, other in pairs(used_on) do block.used_on[key] = other end
  pool_of(backend.name, 0, new_stream_pool, backend, nil):give(block)
end

jit.off(hand_over)  -- as Pool.trim is

--- What is made while a graph is captured. The memory is taken on the device's own stream: what a stream that is being captured
-- is asked for would be a part of the graph. Nor may that wait for others: who has used a block meanwhile is waited for by replays.
local function new_apart_pool(backend, state)
  local library, place = backend.library, new_place()
  return Pool.new({
    keep = math.huge,
    allocate = function(bytes)
      backend:choose()
      return allocated(backend, library.device_malloc(place, bytes, nil), place)
    end,
    free = function(_, block) hand_over(backend, block, state.used_on) end,
    wait = function(others)
      if not state.is_open then return end
      for key, other in pairs(others) do state.behind[key] = other end
    end,
    make_room = function() M.trim(backend.name) end,
    is_kept = true,
  }, counts_of(backend.name))
end

--- Raises where there is no memory, though what waited for the next tensor was given back and garbage was collected. The caller
-- may catch it and go on.
local function out_of_memory(backend, bytes, used)
  local what = ('a tensor of %.0f bytes beside %.0f in use'):format(bytes, used)
  if backend then backend:check(OUT_OF_MEMORY, what) end
  error(what .. ' on the host: out of memory', 0)
end

-- For each coroutine that captures a graph its device and stream, as a number, and what its launches use. The function that is
-- captured may wait; others that go on meanwhile compute as they always do, or capture a graph of their own.
local captures = setmetatable({}, { __mode = 'k' })
local open = 0   -- captures that have begun and not ended
local running = coroutine.running
local MAIN = {}  -- stands for the main thread, which is no coroutine

local function own_capture()
  if open == 0 then return nil end  -- coroutine.running is not compiled
  return captures[running() or MAIN]
end

--- Whether the coroutine that runs captures a graph.
function M.is_capturing()
  return own_capture() ~= nil
end

--- Whether the elements of a storage are not to be known yet: to the coroutine that captures the graph which makes them.
function M.is_unknown(storage)
  local capture = own_capture()
  if not capture or capture.device ~= storage.device then return false end
  return storage.device ~= 'cpu' or capture.made[storage] ~= nil
end

local function take(pool, backend, device, bytes)
  local pointer, used_on = pool:take(bytes)
  if not pointer then out_of_memory(backend, bytes, pool.counts.used) end
  return { pointer = pointer, bytes = bytes, device = device, used_on = used_on }
end

--- Memory for so many bytes, not filled.
---@return table storage { pointer = uint8_t *, bytes =, device = }
function M.new(device, bytes)
  if device == 'cpu' then
    local storage = take(host, nil, device, bytes)
    storage.used_on = nil  -- a device that copies from there has done so when it says so
    local capture = own_capture()
    if capture then capture.kept[storage], capture.made[storage] = true, true end
    return storage
  end
  local backend = backends.of(device)
  local stream = backend:stream()
  local key = number_of(stream)
  local pool = pool_of(device, key, new_stream_pool, backend, stream)
  local storage = take(pool, backend, device, bytes)
  storage.stream, storage.is_apart = key, pool.is_apart
  return storage
end

--- Memory of the host which a device reaches without a copy in between.
function M.pinned(device, bytes)
  local backend = backends.of(device)
  return take(pool_of(device, 'pinned', new_pinned_pool, backend), nil, 'cpu', bytes)
end

--- Notes that a stream is given work with the storage, if it is not the one that it belongs to. What is captured is no work of
-- that stream but of those on which the graph is replayed: M.replayed tells of it.
function M.touch(storage, stream)
  local key, capture = number_of(stream), own_capture()
  if capture and capture.key == key then
    if not storage.is_apart then capture.kept[storage] = true end
    return
  end
  if storage.used_on and storage.stream ~= key then storage.used_on[key] = stream or false end
end

--- Keeps memory that is no tensor's as long as a graph, if one is captured: a launch in it uses it.
function M.keep(memory)
  local capture = own_capture()
  if capture then capture.others[#capture.others + 1] = memory end
end

--- Notes that all work with a storage is done.
function M.settle(storage)
  for key in pairs(storage.used_on or {}) do storage.used_on[key] = nil end
end

--- Calls a function while a graph is captured on `stream`, a stream of the device's. Tensors that are made on it meanwhile have
-- memory of their own, which nobody else is handed as long as the keeper is kept: a graph writes to it on each replay, also
-- where the tensor is garbage by then. M.replayed tells the keeper of each stream that it is replayed on.
---@return table keeper
---@return any result of the function
function M.apart(backend, stream, func, ...)
  local key, state = number_of(stream), { used_on = {}, behind = { [0] = false }, is_open = true }
  local before = pool_of(backend.name, key, new_stream_pool, backend, stream)
  local pool = new_apart_pool(backend, state)
  pool.is_apart, pool.before = true, before
  pools[backend.name][key] = pool
  local ok, result = pcall(func, ...)
  pools[backend.name][key], state.is_open = before, false
  if not ok then
    pool:close()
    error(result, 0)
  end
  return { backend = backend, used_on = state.used_on, behind = state.behind, guard = pool:guard() }, result
end

local function call_apart(backend, stream, func)
  if backend.kind == 'cpu' then return {}, func() end
  return M.apart(backend, stream, func)
end

--- The same, and the keeper keeps what is used in launches on the stream, and memory of the host that is taken meanwhile.
---@return table keeper
---@return any result of the function
function M.captured(backend, stream, func)
  local owner = running() or MAIN
  local before, kept, others = captures[owner], {}, {}
  captures[owner] = { device = backend.name, key = number_of(stream), kept = kept, made = {}, others = others }
  open = open + 1
  local ok, keeper, result = pcall(call_apart, backend, stream, func)
  captures[owner], open = before, open - 1
  if not ok then error(keeper, 0) end
  keeper.kept, keeper.others = kept, others
  return keeper, result
end

--- Ends what M.captured has begun on a stream and does not end, since its coroutine is garbage.
function M.abandoned(backend, stream)
  open = open - 1
  local of_device, key = pools[backend.name] or {}, number_of(stream)
  local pool = of_device[key]
  if not pool or not pool.is_apart then return end
  of_device[key] = pool.before
  pool:close()
end

--- Notes that a graph with the memory of a keeper is about to be replayed on a stream, which gets there behind the stream on
-- which the memory was taken, and those that have used it before it was captured to its end.
function M.replayed(keeper, stream)
  for storage in pairs(keeper.kept or {}) do M.touch(storage, stream) end
  if not keeper.used_on then return end
  local key = number_of(stream)
  if keeper.used_on[key] == nil then
    local others = {}
    for other, handle in pairs(keeper.behind) do
      if other ~= key then others[other] = handle end
    end
    order(keeper.backend, others, stream)
  end
  keeper.used_on[key] = stream or false
end

--- Memory of the host that `keeper` keeps.
function M.adopt(pointer, bytes, keeper)
  return { pointer = host:adopt(pointer, bytes), bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Memory that `keeper` maps from a file, which counts as no tensor's.
function M.map(pointer, bytes, keeper)
  return { pointer = pointer, bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Bytes in use by tensors of a device, in memory that waits for the next, and in use at most at once so far.
function M.memory(device)
  local found = counts_of(device)
  return { used = found.used, cached = found.cached, peak = found.peak }
end

--- The pools of one memory: streams have their own, and what is pinned for any device is the host's.
local function each_pool(device, visit)
  if device == 'cpu' then visit(host) end
  for of, list in pairs(pools) do
    for key, pool in pairs(list) do
      if (key == 'pinned' and 'cpu' or of) == device and not pool.is_apart then visit(pool) end
    end
  end
end

--- Waits for the streams of a device. While a graph is captured it cannot be waited for as a whole.
local function synchronize(backend)
  local library = backend.library
  if open == 0 then return backend:check(library.device_synchronize(), 'waiting for the device') end
  for key, pool in pairs(pools[backend.name]) do
    if key ~= 'pinned' and not pool.is_apart then
      backend:check(library.device_stream_synchronize(ffi.cast('void *', key)), 'waiting for a stream')
    end
  end
end

--- Gives memory that waits for the next tensor back to the system. What is a device's goes there when its streams have come
-- to where it was given back.
function M.trim(device)
  each_pool(device, function(pool) pool:trim(0) end)
  local backend = device ~= 'cpu' and pools[device] and backends.of(device)
  if not backend then return end
  backend:choose()
  synchronize(backend)
  backend:check(backend.library.device_trim(0), 'giving memory back')
end

--- Forgets the pools of a device: of one that specs made up.
function M.forget(device)
  M.trim(device)
  M.trim 'cpu'
  pools[device], counts[device] = nil, nil
end

return M
