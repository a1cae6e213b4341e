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
local new_place = ffi.typeof 'void *[1]'

local host = Pool.new {
  keep = KEEP,
  allocate = function(bytes)
    local place = new_place()
    if ffi.C.posix_memalign(place, ALIGN, bytes) == 0 then return place[0] end
  end,
  free = ffi.C.free,
}

-- device -> address of a stream as a number -> pool; 'pinned' is a stream of its own kind
local pools = {}

local function number_of(stream)
  return tonumber(ffi.cast('uintptr_t', stream))
end

--- The device's memory in the order of a stream.
local function new_stream_pool(backend, stream)
  local library, place = backend.library, new_place()
  return Pool.new {
    keep = math.huge,
    allocate = function(bytes)
      backend:enter()
      if library.device_malloc(place, bytes, stream) == 0 then return place[0] end
      library.device_last_error()
      library.device_trim(0)
      if library.device_malloc(place, bytes, stream) == 0 then return place[0] end
      library.device_last_error()
    end,
    free = function(address) library.device_free(address, stream) end,
    -- What other streams were given comes before what this one is given next.
    wait = function(others)
      for _, other in pairs(others) do
        backend:check(library.device_event_new(place, 0), 'making an event')
        local event = place[0]
        local status = library.device_event_record(event, other)
        if status == 0 then status = library.device_stream_wait(stream, event) end
        library.device_event_free(event)
        backend:check(status, 'waiting for a stream')
      end
    end,
  }
end

--- Memory of the host that the device copies from and to by itself.
local function new_pinned_pool(backend)
  local library, place = backend.library, new_place()
  return Pool.new {
    keep = KEEP,
    allocate = function(bytes)
      backend:enter()
      if library.device_host_malloc(place, bytes) == 0 then return place[0] end
      library.device_last_error()
    end,
    free = function(address) library.device_host_free(address) end,
    wait = function(streams)
      for _, stream in pairs(streams) do
        backend:check(library.device_stream_synchronize(stream), 'waiting for a stream')
      end
    end,
  }
end

local function pool_of(device, key, new, ...)
  pools[device] = pools[device] or {}
  pools[device][key] = pools[device][key] or new(...)
  return pools[device][key]
end

--- Raises where there is no memory, as any Lua code does that runs out of it; the pool has freed what it could.
local function out_of_memory(device, bytes, pool)
  error(('out of memory on %s: a tensor of %.0f bytes; %.0f are in use by others'):format(device, bytes, pool.used), 0)
end

local function take(pool, device, bytes)
  local pointer, used_on = pool:take(bytes)
  if not pointer then out_of_memory(device, bytes, pool) end
  return { pointer = pointer, bytes = bytes, device = device, used_on = used_on }
end

--- Memory for so many bytes, not filled.
---@return table storage { pointer = uint8_t *, bytes =, device = }
function M.new(device, bytes)
  if device == 'cpu' then return take(host, device, bytes) end
  local backend = backends.of(device)
  local stream = backend:stream()
  local key = number_of(stream)
  local storage = take(pool_of(device, key, new_stream_pool, backend, stream), device, bytes)
  storage.stream = key
  return storage
end

--- Memory of the host which a device reaches without a copy in between.
function M.pinned(device, bytes)
  local backend = backends.of(device)
  return take(pool_of(device, 'pinned', new_pinned_pool, backend), 'cpu', bytes)
end

--- Notes that a stream is given work with the storage, if it is not the one that it belongs to.
function M.touch(storage, stream)
  local key = number_of(stream)
  if storage.used_on and storage.stream ~= key then storage.used_on[key] = stream end
end

--- Memory of the host that `keeper` keeps.
function M.adopt(pointer, bytes, keeper)
  return { pointer = host:adopt(pointer, bytes), bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Memory that `keeper` maps from a file, which counts as no tensor's.
function M.map(pointer, bytes, keeper)
  return { pointer = pointer, bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Bytes in use by tensors of a device, in memory that waits for the next, and in use at most so far.
function M.memory(device)
  local sum = { used = 0, cached = 0, peak = 0 }
  for _, pool in pairs(device == 'cpu' and { host } or pools[device] or {}) do
    for key in pairs(sum) do sum[key] = sum[key] + pool[key] end
  end
  return sum
end

--- Gives memory that waits for the next tensor back to the system.
function M.trim(device)
  for _, pool in pairs(device == 'cpu' and { host } or pools[device] or {}) do pool:trim(0) end
end

--- Forgets the pools of a device: of one that specs made up.
function M.forget(device)
  M.trim(device)
  pools[device] = nil
end

return M
