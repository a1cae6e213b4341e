--- Compiled kernels, kept on disk for the next process: files named by the SHA-256 of all that went into them, in
-- ${XDG_CACHE_HOME:-~/.cache}/farside/kernels. Each ends with the checksum of what stands before it: one that was cut short or
-- changed counts as not there. A cache that cannot be used is no error, and a file that came to be is whole: it is written under
-- another name first.
local native = require 'farside.native'
local read_file = require 'farside.read_file'

local M = {}

local WORD = 'farside '                      -- before the checksum
local TRAILER = #WORD + 64                   -- bytes
local number = 0

--- The name of what is made of these texts, in their order.
function M.key(...)
  local parts = { ... }
  for i = 1, select('#', ...) do parts[i] = #parts[i] .. ':' .. parts[i] end
  return native.sha256(table.concat(parts))
end

local function path_of(key, extension)
  local folder = native.cache_folder()
  return folder and ('%s/%s.%s'):format(folder, key, extension)
end

--- What is kept under a key; nil: nothing that is whole.
---@return string? bytes
---@return string? path of the file, which has a checksum behind the bytes
function M.get(key, extension)
  local path = path_of(key, extension)
  local text = path and read_file(path)
  if not text or #text < TRAILER then return nil end
  local bytes = text:sub(1, -TRAILER - 1)
  if text:sub(-TRAILER) ~= WORD .. native.sha256(bytes) then return nil end
  return bytes, path
end

local function own_pid()
  local file = io.open '/proc/self/stat'
  local pid = file and file:read '*n' or 0
  if file then file:close() end
  return pid
end

local function write(path, ...)
  local file = io.open(path, 'wb')
  if not file then return false end
  local written = file:write(...)
  return file:close() and written ~= nil
end

--- Keeps bytes under a key. Returns the path of the file, nil if there is no place for it.
function M.put(key, extension, bytes)
  local path = path_of(key, extension)
  if not path then return nil end
  number = number + 1
  local temporary = ('%s.%d.%d'):format(path, own_pid(), number)
  if write(temporary, bytes, WORD, native.sha256(bytes)) and os.rename(temporary, path) then return path end
  os.remove(temporary)
  return nil
end

return M
