--- Compiled kernels, kept on disk for the next process: files named by the SHA-256 of all that went into them, in
-- ${XDG_CACHE_HOME:-~/.cache}/farside/kernels. Each ends with the checksum of what stands before it: one that was cut short or
-- changed counts as not there, as do links and what others own or may write to. A cache that cannot be used is no error, and a
-- file that came to be is whole: it is written under another name first. Who loads a file that is removed meanwhile keeps it.
local native = require 'farside.native'

local M = {}

-- Bytes, of all files together: when a new one makes it more, those go that were not used for longest.
M.MOST_BYTES = 256 * 1024 * 1024
-- Seconds to wait for another process that makes the same; then it is taken to hang.
M.PATIENCE = 60

local WORD = 'farside '                      -- before the checksum
local TRAILER = #WORD + 64                   -- bytes
local LOCK_DIGITS = 12                       -- of a key, that number its lock: what a Lua number holds

--- The name of what is made of these texts, in their order.
function M.key(...)
  local parts = { ... }
  for i = 1, select('#', ...) do parts[i] = #parts[i] .. ':' .. parts[i] end
  return native.sha256(table.concat(parts))
end

local told = false

local function folder_of()
  local folder, why = native.cache_folder()
  if folder or told then return folder end
  told = true
  io.stderr:write(('farside: compiled kernels are not kept for the next process: %s\n'):format(why))
end

local function path_of(key, extension)
  local folder = folder_of()
  return folder and ('%s/%s.%s'):format(folder, key, extension), folder
end

--- What is kept under a key; nil: nothing that is whole.
---@return string? bytes
---@return string? path of the file, which has a checksum behind the bytes
function M.get(key, extension)
  local path = path_of(key, extension)
  local text = path and native.cache_read(path)
  if not text or #text < TRAILER then return nil end
  local bytes = text:sub(1, -TRAILER - 1)
  if text:sub(-TRAILER) ~= WORD .. native.sha256(bytes) then return nil end
  return bytes, path
end

--- Keeps bytes under a key. Returns the path of the file, nil if there is no place for it.
function M.put(key, extension, bytes)
  local path, folder = path_of(key, extension)
  if not path or not native.cache_write(path, bytes .. WORD .. native.sha256(bytes)) then return nil end
  native.cache_prune(folder, M.MOST_BYTES)
  return path
end

--- Calls make(), which looks for what is kept under a key and puts it there if it is not, while no other process does so for the
-- same key: of many that start together one compiles, the others find what it has made. One that ends, however it does, lets the
-- next go on; one that hangs is waited for M.PATIENCE. Returns what make() returns, and raises what it raises.
function M.alone(key, make)
  local folder = folder_of()
  local number = 1 + tonumber(key:sub(1, LOCK_DIGITS), 16)
  local lock = folder and native.cache_lock(folder, number, M.PATIENCE)
  local ok, result = pcall(make)
  if lock then native.cache_unlock(lock) end
  if not ok then error(result, 0) end
  return result
end

return M
