--- Files as memory, and files that come into being whole: what the readers and writers of formats share.
--
-- A file is mapped, not read: its pages come when elements are looked at, and writing to a tensor of it changes the memory
-- and never the file. Who makes a file shorter while it is mapped ends the process when it looks behind the new end (SIGBUS): in a
-- worker the call ends in WorkerLost. Files are replaced, as M.write does, not written over.
local ffi = require 'ffi'
local Tensor = require 'farside.tensor.class'
local dtypes = require 'farside.tensor.dtype'
local storages = require 'farside.tensor.storage'

local M = {}

ffi.cdef [[
int open(const char *path, int flags, ...);
int close(int fd);
int64_t lseek(int fd, int64_t offset, int whence);
void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset);
int munmap(void *address, size_t length);
char *strerror(int number);
int getpid(void);
]]

local READ_ONLY, NO_WAIT, CLOSE_ON_EXEC, END = 0, 0x800, 0x80000, 2  -- a pipe is to be refused, not to be waited for
local READ_WRITE, PRIVATE, NO_RESERVE = 3, 2, 0x4000  -- larger than memory is allowed: few pages are written to
local FAILED = ffi.cast('void *', -1)
local CHUNK = 1024 * 1024
local MAX_SIZE = 2 ^ 52
local MAX_NAME = 60
local EXISTS = 17

local C = ffi.C
local File = {}
File.__index = File

--- Raises with the file, the place and what is wrong there. Nobody's line is to blame, so the message begins with the path.
function File:refuse(offset, problem, ...)
  error(('%s: at byte %.0f: %s'):format(self.path, offset, problem:format(...)), 0)
end

local function quoted(bytes)
  return '"' .. bytes:gsub('[%c\128-\255"\\]', function(byte) return ('\\%d'):format(byte:byte()) end) .. '"'
end

--- Bytes of a file for a message: some, with quotation marks, without what a terminal would take for a command.
function M.shown(text, at)
  if at > #text then return 'its end' end
  return quoted(text:sub(at, at + 15))
end

--- A name that stands in a file, for a message: of a long one the beginning.
function M.named(text)
  return #text > MAX_NAME and quoted(text:sub(1, MAX_NAME)) .. '...' or quoted(text)
end

local function system_error(path, what)
  error(('%s: %s: %s'):format(path, what, ffi.string(C.strerror(ffi.errno()))), 0)
end

--- Maps a file that is there to be read. Closed, its mapping lives as long as tensors that lie in it.
---@return table file { path =, size =, bytes = const uint8_t * }
function M.map(path)
  local fd = C.open(path, READ_ONLY + NO_WAIT + CLOSE_ON_EXEC)
  if fd < 0 then system_error(path, 'cannot be opened') end
  local size = tonumber(C.lseek(fd, 0, END))
  local file = setmetatable({ path = path, size = size }, File)
  if size <= 0 or size > MAX_SIZE then
    C.close(fd)
    file:refuse(0, 'expected a file with something in it, got %s', size == 0 and 'an empty one' or 'none that has a size')
  end
  local address = C.mmap(nil, size, READ_WRITE, PRIVATE + NO_RESERVE, fd, 0)
  local failed = address == FAILED
  if failed then
    local number = ffi.errno()
    C.close(fd)
    ffi.errno(number)
    system_error(path, 'cannot be mapped')
  end
  C.close(fd)
  file._mapping = ffi.gc(address, function(mapped) C.munmap(mapped, size) end)
  file.bytes = ffi.cast('uint8_t *', address)
  return file
end

--- The bytes from `offset` on as a string; refused where the file is shorter.
function File:read(offset, count, what)
  if offset + count > self.size then
    self:refuse(offset, 'expected %.0f bytes of %s, got %.0f', count, what, math.max(self.size - offset, 0))
  end
  return ffi.string(self.bytes + offset, count)
end

--- The little-endian number of so many bytes.
function File:number(offset, count, what)
  local bytes, value = self:read(offset, count, what), 0
  for i = count, 1, -1 do value = value * 256 + bytes:byte(i) end
  return value
end

--- A tensor of elements that lie at an offset; the caller has checked that they do. Where they do not lie as their type
-- needs it they are copied.
function File:tensor(offset, dtype, shape, strides, bytes)
  local at = self.bytes + offset
  if dtype.name == 'bool' then dtypes.make_bools(at, bytes) end
  if offset % dtype.size == 0 then
    return Tensor.new(storages.map(at, bytes, self._mapping), dtype, shape, strides, 0)
  end
  local storage = storages.new('cpu', bytes)
  ffi.copy(storage.pointer, at, bytes)
  return Tensor.new(storage, dtype, shape, strides, 0)
end

-- Tells temporary names of this process apart. One that is there already, of whoever had this number before or of another
-- thread, is left alone.
local written = 0

--- Writes a file beside the path and puts it there when it is whole: a reader sees the old one or the new one.
---@param write function(put) which calls put(string) and put(pointer, bytes)
function M.write(path, write)
  local temporary, file, problem, number
  repeat
    written = written + 1
    temporary = ('%s.%d-%d.new'):format(path, C.getpid(), written)
    file, problem, number = io.open(temporary, 'wbx')
  until file or number ~= EXISTS
  if not file then error(('%s: cannot be written: %s'):format(path, problem), 0) end
  local function put_string(bytes)
    local done, why = file:write(bytes)
    if not done then error(why, 0) end  -- assert would say where in this file
  end
  local function put(bytes, count)
    if type(bytes) == 'string' then return put_string(bytes) end
    for at = 0, count - 1, CHUNK do put_string(ffi.string(bytes + at, math.min(CHUNK, count - at))) end
  end
  local ok, failure = pcall(write, put)
  local closed, reason = file:close()
  if ok and closed then ok, failure = os.rename(temporary, path) else os.remove(temporary) end
  if not ok or not closed then
    os.remove(temporary)
    error(('%s: cannot be written: %s'):format(path, tostring(failure or reason)), 0)
  end
end

return M
