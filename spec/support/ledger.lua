--- A file of counters that functions on workers and the spec share: what happened is there also when a process
--- was killed.
---
---   local ledger = require('spec.support.ledger').open(path)
---   ledger:add(id)        -- the function was entered once more for id (0..131071)
---   ledger:count(id)
---   ledger:complete(id)   -- it came to its end
---   ledger:completed(id)
local ffi = require 'ffi'

if not pcall(ffi.typeof, 'spec_ledger') then ffi.cdef [[
typedef struct { volatile uint16_t entries, ends; } spec_ledger;
int open(const char *path, int flags, ...);
int close(int fd);
int ftruncate(int fd, long size);
void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset);
]] end

local M = {}
M.__index = M

local kReadWriteCreate, kMode, kProtection, kShared, kIds = 0x42, 0x180, 3, 1, 131072

--- Opens the ledger at `path` for so many ids; it is made if it is not there.
---@param ids number?
function M.open(path, ids)
  local fd = ffi.C.open(path, kReadWriteCreate, ffi.cast('int', kMode))
  assert(fd >= 0, 'the ledger could not be opened: ' .. path)
  local size = ffi.sizeof 'spec_ledger' * (ids or kIds)
  assert(ffi.C.ftruncate(fd, size) == 0)
  local memory = ffi.C.mmap(nil, size, kProtection, kShared, fd, 0)
  assert(ffi.cast('intptr_t', memory) ~= -1, 'the ledger could not be mapped')
  ffi.C.close(fd)
  return setmetatable({ page = ffi.cast('spec_ledger *', memory) }, M)
end

function M:add(id)
  self.page[id].entries = self.page[id].entries + 1
end

function M:count(id)
  return tonumber(self.page[id].entries)
end

function M:complete(id)
  self.page[id].ends = self.page[id].ends + 1
end

function M:completed(id)
  return tonumber(self.page[id].ends)
end

return M
