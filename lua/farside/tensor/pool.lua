--- Memory of one kind that is kept when it is given back, so that the next tensor of about that size needs no system call, no
-- new pages and no wait for a device. What is on a device belongs to a stream: the pool of a stream hands out only what was
-- used on it, so who gets a block may use it behind the work of who had it before, without waiting.
--
-- A block goes back when its last tensor was collected as garbage. A collector that counts Lua's own bytes alone would not
-- see why it should hurry, so a pool has it run before it takes new memory when much was handed out since it last ran.
local ffi = require 'ffi'

local Pool = {}
Pool.__index = Pool

local SMALLEST = 512           -- bytes of the smallest block
local HANDED = 64 * 1024 ^ 2   -- bytes that are handed out without a run of the collector, at least
local byte_pointer, address_type = ffi.typeof 'uint8_t *', ffi.typeof 'uintptr_t'

--- How large a block for so many bytes is: at most an eighth more.
local function block_size(bytes)
  local step = SMALLEST
  while 16 * step <= bytes do step = 2 * step end
  return math.max(math.ceil(bytes / step), 1) * step
end

--- `source.allocate(bytes)` returns an address (cdata) or nil; `source.free(address, block)` gives one back.
--- `source.keep`: bytes that are kept at most. `source.wait(streams)`, if there is one, is called before a block is handed out
--- that was used on other streams, by their addresses as numbers. `source.make_room()`, if there is one, is called when there is
--- no memory left: it gives back what waits here and elsewhere. `source.is_kept`: somebody else keeps a guard.
---@param counts table? bytes { used =, cached =, peak = } of all pools of one memory
function Pool.new(source, counts)
  local self = setmetatable({
    _source = source,
    _free = {},     -- size -> list of blocks: { address =, number =, size =, used_on = }
    _out = {},      -- address as a number -> block that is handed out
    counts = counts or Pool.new_counts(),
    _cached = 0,    -- bytes in blocks that wait for the next
    _handed = 0,    -- bytes handed out since the collector ran
    _allowed = HANDED,
    _closed = false,
  }, Pool)
  -- One finalizer for all blocks, which finds the block by its address: a closure for each would not be compiled.
  local out = self._out
  self._finalizer = function(pointer)
    local number = tonumber(ffi.cast(address_type, pointer))
    local block = out[number]
    out[number] = nil
    self:_give_back(block, block.size)
  end
  if not source.is_kept then self._guard = self:guard() end
  return self
end

--- Gives back what waits here, and what comes later at once.
function Pool:close()
  self._closed = true
  self:trim(0)
end

--- Closes the pool when what is returned is garbage, or the state ends: then all finalizers run, in no known order. What the
-- pool refers to must not refer to it, or it lasts as long as the state.
function Pool:guard()
  return ffi.gc(ffi.new 'uint8_t[1]', function() self:close() end)
end

--- Bytes in blocks that are handed out, in blocks that wait for the next, and handed out at most at once.
function Pool.new_counts()
  return { used = 0, cached = 0, peak = 0 }
end

local function cache(self, bytes)
  self._cached = self._cached + bytes
  self.counts.cached = self.counts.cached + bytes
end

--- Gives blocks back to the source until no more than `keep` bytes are cached.
function Pool:trim(keep)
  for size, list in pairs(self._free) do
    while #list > 0 and self._cached > keep do
      local block = table.remove(list)
      cache(self, -size)
      if next(block.used_on) then self._source.wait(block.used_on) end
      self._source.free(block.address, block)
    end
  end
end

-- Compiled, a loop over pairs does not end in a state that is being closed (LuaJIT of 2022).
jit.off(Pool.trim)

-- Called by finalizers, which run at any time: a device is not spoken to here, unless it is too much.
function Pool:_give_back(block, size)
  self.counts.used = self.counts.used - size
  if self._closed or self._cached + size > self._source.keep then return self._source.free(block.address, block) end
  self:give(block)
end

--- Takes a block that another pool has no need for.
function Pool:give(block)
  if self._closed then return self._source.free(block.address, block) end
  local size = block.size
  local list = self._free[size]
  if not list then
    list = {}
    self._free[size] = list
  end
  list[#list + 1] = block
  cache(self, size)
end

function Pool:_reuse(size)
  local list = self._free[size]
  local block = list and list[#list]
  if not block then return nil end
  list[#list] = nil
  cache(self, -size)
  if next(block.used_on) then
    self._source.wait(block.used_on)
    block.used_on = {}
  end
  return block
end

function Pool:_allocate(size)
  local address = self._source.allocate(size)
  return address and {
    address = address,
    number = tonumber(ffi.cast(address_type, address)),
    size = size,
    used_on = {},
  }
end

function Pool:_collect()
  collectgarbage()
  self._handed, self._allowed = 0, math.max(HANDED, self.counts.used / 2)
end

--- Counts bytes that are handed out.
local function hand_out(self, size)
  local counts = self.counts
  counts.used = counts.used + size
  self._handed = self._handed + size
  if counts.used > counts.peak then counts.peak = counts.used end
end

local function take(self, size)
  local block = self:_reuse(size)
  if block then return block end
  if self._handed + size > self._allowed then
    self:_collect()
    block = self:_reuse(size)
    if block then return block end
  end
  block = self:_allocate(size)
  if block then return block end
  -- What garbage holds, or waits for the next, may be enough.
  self:_collect()
  block = self:_reuse(size)
  if block then return block end
  if self._source.make_room then self._source.make_room() else self:trim(0) end
  return self:_allocate(size)
end

--- A pointer to so many bytes, which gives them back when it is collected, and a table for the streams on which they are
-- used beside the pool's own; nil: there is no memory left.
function Pool:take(bytes)
  local size = block_size(bytes)
  local block = take(self, size)
  if not block then return nil end
  hand_out(self, size)
  self._out[block.number] = block
  return ffi.gc(ffi.cast(byte_pointer, block.address), self._finalizer), block.used_on
end

--- Counts memory of somebody else until the pointer that is returned is collected.
function Pool:adopt(pointer, bytes)
  if self._handed + bytes > self._allowed then self:_collect() end
  hand_out(self, bytes)
  return ffi.gc(ffi.cast(byte_pointer, pointer), function() self.counts.used = self.counts.used - bytes end)
end

return Pool
