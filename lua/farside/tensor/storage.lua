--- Where the elements of tensors lie: memory of the host, of a device, or of somebody else.
local Pool = require 'farside.tensor.pool'
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
int posix_memalign(void **memory, size_t alignment, size_t size);
void free(void *memory);
]]

local ALIGN = 64
local KEEP = 256 * 1024 ^ 2  -- bytes of the host's memory that wait for the next tensor

local host = Pool.new {
  keep = KEEP,
  allocate = function(bytes)
    local place = ffi.new 'void *[1]'
    if ffi.C.posix_memalign(place, ALIGN, bytes) == 0 then return place[0] end
  end,
  free = ffi.C.free,
}

--- Raises where there is no memory, as any Lua code does that runs out of it; the pool has freed what it could.
local function out_of_memory(device, bytes, pool)
  error(('out of memory on %s: a tensor of %.0f bytes; %.0f are in use by others'):format(device, bytes, pool.used), 0)
end

--- Memory for so many bytes, not filled.
---@return table storage { pointer = uint8_t *, bytes =, device = }
function M.new(device, bytes)
  local pointer = host:take(bytes)
  if not pointer then out_of_memory(device, bytes, host) end
  return { pointer = pointer, bytes = bytes, device = device }
end

--- Memory of the host that `keeper` keeps.
function M.adopt(pointer, bytes, keeper)
  return { pointer = host:adopt(pointer, bytes), bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Memory that `keeper` maps from a file, which counts as no tensor's.
function M.map(pointer, bytes, keeper)
  return { pointer = pointer, bytes = bytes, device = 'cpu', keeper = keeper }
end

--- Bytes in use by tensors, in memory that waits for the next, and in use at most so far.
function M.memory()
  return { used = host.used, cached = host.cached, peak = host.peak }
end

--- Gives memory that waits for the next tensor back to the system.
function M.trim()
  host:trim(0)
end

return M
