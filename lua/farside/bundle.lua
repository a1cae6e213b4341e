--- What a deployment consists of: its deploy script and the Lua files that the script requires, each with a hash, and one
-- hash over all, by which a client and a router that serves it see whether they run the same code.
--
-- A file that belongs to it is the script, or is named as `require 'name'` by one that does and found along package.path:
-- under the script's folder or elsewhere, but not among the system's files, and not Farside's own. Names are taken from
-- the text, not from what was loaded, so that the files are the same ones whatever else a process has required; a name
-- that is computed is not seen. A line that ends in `-- farside: ignore` counts nowhere.
--
--     hash     = SHA-256 of the manifest
--     manifest = text 'farside bundle 1', u32 count, then by name: text name, u64 size, text hash of the file
--     text     = u32 length, bytes                                                 all numbers big-endian
local native = require 'farside.native'
local read_file = require 'farside.read_file'

local M = {}

local SYSTEM = { '/usr/', '/lib/', '/opt/' }
local FILES_MOST = 10000
local SHOWN = 16  -- digits of a file's hash; a router takes 8 or more

local function u32(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256, math.floor(n / 2 ^ 8) % 256, n % 256)
end

local function text(bytes)
  return u32(#bytes) .. bytes
end

--- A source without the lines that do not count.
function M.counted(source)
  if not source:find('-- farside: ignore', 1, true) then return source end
  local lines = {}
  for line in source:gmatch '[^\n]*\n?' do
    if not line:find '%-%- farside: ignore%s*$' then lines[#lines + 1] = line end
  end
  return table.concat(lines)
end

--- The modules that a source names in `require`, in order.
function M.required(source)
  local found = {}
  for at, rest in source:gmatch '%f[%w_]()require%s*%(?%s*()' do
    local name = source:match('^[\'"]([%w_%.%-/]+)[\'"]', rest) or source:match('^%[%[([%w_%.%-/]+)%]%]', rest)
    if name and not source:sub(at - 1, at - 1):find '[%.:]' then found[#found + 1] = name end
  end
  return found
end

local function starts_with(path, prefix)
  return path:sub(1, #prefix) == prefix
end

local function is_systems(path)
  for _, folder in ipairs(SYSTEM) do
    if starts_with(path, folder) then return true end
  end
  return false
end

local function is_farsides(name)
  return name == 'farside' or starts_with(name, 'farside.')
end

--- An absolute path without `.`, `..` and empty parts.
local function plain(path, cwd)
  if path:sub(1, 1) ~= '/' then path = cwd .. '/' .. path end
  local parts = {}
  for part in path:gmatch '[^/]+' do
    if part == '..' then parts[#parts] = nil elseif part ~= '.' then parts[#parts + 1] = part end
  end
  return '/' .. table.concat(parts, '/')
end

--- The file of a module, if it belongs to the deployment of a script in `folder`, and what it is called there.
local function find(name, folder, cwd)
  if is_farsides(name) then return nil end
  local path = package.searchpath(name, package.path)
  if not path then return nil end
  path = plain(path, cwd)
  if starts_with(path, folder) then return path, path:sub(#folder + 1) end
  if is_systems(path) then return nil end
  return path, name
end

--- All files of a deployment, by the names they have there: { [name] = { size =, hash = } }.
---@param script string its path
---@param cwd string the working directory
function M.files(script, cwd)
  script = plain(script, cwd)
  local folder, base = script:match '^(.*/)([^/]*)$'
  local files, queue, first = {}, { { path = script, name = base } }, 1
  while queue[first] and first <= FILES_MOST do
    local path, name = queue[first].path, queue[first].name
    local source = not files[name] and read_file(path)
    first = first + 1
    if source then
      local counted = M.counted(source)
      files[name] = { size = #counted, hash = native.sha256(counted) }
      for _, module in ipairs(M.required(source)) do
        local found, called = find(module, folder, cwd)
        if found then queue[#queue + 1] = { path = found, name = called } end
      end
    end
  end
  return files
end

--- The hash over files as M.files gives them.
function M.hash(files)
  local names = {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  local parts = { text 'farside bundle 1', u32(#names) }
  for _, name in ipairs(names) do
    local file = files[name]
    parts[#parts + 1] = text(name) .. u32(math.floor(file.size / 2 ^ 32)) .. u32(file.size) .. text(file.hash)
  end
  return native.sha256(table.concat(parts))
end

--- The hash of a deployment, and what the hashes of its files begin with, by name: enough to tell which one changed.
---@return string hash
---@return table<string, string> hashes
function M.of(script, cwd)
  local files = M.files(script, cwd)
  local hashes = {}
  for name, file in pairs(files) do hashes[name] = file.hash:sub(1, SHOWN) end
  return M.hash(files), hashes
end

return M
