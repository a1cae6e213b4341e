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
local byte_pointer = ffi.typeof 'uint8_t *'

--- How large a block for so many bytes is: at most an eighth more.
local function block_size(bytes)
  if bytes <= SMALLEST then return SMALLEST end
  local _, exponent = math.frexp(bytes)
  local step = math.max(2 ^ (exponent - 4), SMALLEST)
  return math.ceil(bytes / step) * step
end

--- `source.allocate(bytes)` returns an address (cdata) or nil; `source.free(address)` gives one back.
--- `source.keep`: bytes that are kept at most.
function Pool.new(source)
  local self = setmetatable({
    _source = source,
    _free = {},     -- size -> list of addresses
    used = 0,       -- bytes in blocks that are handed out
    cached = 0,     -- bytes in blocks that wait for the next
    peak = 0,       -- the most bytes that were handed out at once
    _handed = 0,    -- bytes handed out since the collector ran
    _allowed = HANDED,
    _closed = false,
  }, Pool)
  -- When the state ends all finalizers run, in no known order: blocks that come later are freed at once.
  self._guard = ffi.gc(ffi.new 'uint8_t[1]', function()
    self._closed = true
    self:trim(0)
  end)
  return self
end

--- Gives blocks back to the source until no more than `keep` bytes are cached.
function Pool:trim(keep)
  for size, list in pairs(self._free) do
    while #list > 0 and self.cached > keep do
      self._source.free(table.remove(list))
      self.cached = self.cached - size
    end
  end
end

function Pool:_give_back(address, size)
  self.used = self.used - size
  if self._closed or self.cached + size > self._source.keep then return self._source.free(address) end
  local list = self._free[size]
  if not list then
    list = {}
    self._free[size] = list
  end
  list[#list + 1] = address
  self.cached = self.cached + size
end

function Pool:_reuse(size)
  local list = self._free[size]
  local address = list and list[#list]
  if not address then return nil end
  list[#list] = nil
  self.cached = self.cached - size
  return address
end

function Pool:_collect()
  collectgarbage()
  self._handed, self._allowed = 0, math.max(HANDED, self.used / 2)
end

--- Counts bytes that are handed out.
local function hand_out(self, size)
  self.used = self.used + size
  self._handed = self._handed + size
  if self.used > self.peak then self.peak = self.used end
end

local function take(self, size)
  local address = self:_reuse(size)
  if address then return address end
  if self._handed + size > self._allowed then
    self:_collect()
    address = self:_reuse(size)
    if address then return address end
  end
  address = self._source.allocate(size)
  if address then return address end
  self:_collect()
  address = self:_reuse(size)
  if address then return address end
  self:trim(0)
  return self._source.allocate(size)
end

--- A pointer to so many bytes, which gives them back when it is collected; nil: there is no memory left.
function Pool:take(bytes)
  local size = block_size(bytes)
  local address = take(self, size)
  if not address then return nil end
  hand_out(self, size)
  return ffi.gc(ffi.cast(byte_pointer, address), function() self:_give_back(address, size) end)
end

--- Counts memory of somebody else until the pointer that is returned is collected.
function Pool:adopt(pointer, bytes)
  if self._handed + bytes > self._allowed then self:_collect() end
  hand_out(self, bytes)
  return ffi.gc(ffi.cast(byte_pointer, pointer), function() self.used = self.used - bytes end)
end

return Pool
