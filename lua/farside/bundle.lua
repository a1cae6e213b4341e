--- What a deployment consists of: its deploy script and the Lua files that the script requires, each with a hash, and one
-- hash over all, by which a client and a router that serves it see whether they run the same code.
--
-- Workers start at any time, and load the files as they are then. So each reads them once, before it loads any, compares
-- them with what its router has known from the beginning, and loads what it has read: what it runs is what was compared,
-- also where a function requires a file later. If they differ the worker ends; others go on with what they have.
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
local LISTED, NAMED = 100, 5  -- files in an error, and in its message

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
local function find(name, folder, search)
  if is_farsides(name) then return nil end
  local path = package.searchpath(name, search)
  if not path then return nil end
  path = plain(path)
  if starts_with(path, folder) then return path, path:sub(#folder + 1) end
  if is_systems(path) then return nil end
  return path, name
end

--- package.path where the working directory is of no meaning.
local function absolute(search, cwd)
  return (search:gsub('[^;]+', function(template)
    return template:sub(1, 1) ~= '/' and cwd .. '/' .. template or nil
  end))
end

--- All files of a deployment, by the names they have there: { [name] = { size =, hash =, path =, source = } }.
---@param script string its path
---@param cwd string the working directory
---@param search string? where the script's modules are looked for; package.path
function M.files(script, cwd, search)
  script, search = plain(script, cwd), absolute(search or package.path, cwd)
  local folder, base = script:match '^(.*/)([^/]*)$'
  local files, queue, first = {}, { { path = script, name = base } }, 1
  while queue[first] and first <= FILES_MOST do
    local path, name = queue[first].path, queue[first].name
    local source = not files[name] and read_file(path)
    first = first + 1
    if source then
      local counted = M.counted(source)
      files[name] = { size = #counted, hash = native.sha256(counted), path = path, source = source }
      for _, module in ipairs(M.required(source)) do
        local found, called = find(module, folder, search)
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

local function shown(files)
  local hashes = {}
  for name, file in pairs(files) do hashes[name] = file.hash:sub(1, SHOWN) end
  return hashes
end

--- The hash of a deployment, and what the hashes of its files begin with, by name: enough to tell which one changed.
---@return string hash
---@return table<string, string> hashes
function M.of(script, cwd)
  local files = M.files(script, cwd)
  return M.hash(files), shown(files)
end

-- In a worker -------------------------------------------------------------------------------------------------------

--- Names and what became of each, in order: what is in only one of two tables of hashes, or differs.
local function differences(before, now)
  local names, what = {}, {}
  for name, hash in pairs(now) do
    if before[name] ~= hash then what[name] = before[name] and 'changed' or 'added' end
  end
  for name in pairs(before) do what[name] = what[name] or not now[name] and 'missing' or nil end
  for name in pairs(what) do names[#names + 1] = name end
  table.sort(names)
  return names, what
end

local function describe(expected, hash, names, what)
  local files, named = {}, {}
  for i = 1, math.min(#names, LISTED) do files[i] = ('%s (%s)'):format(names[i], what[names[i]]) end
  for i = 1, math.min(#names, NAMED) do named[i] = what[names[i]] == 'changed' and names[i] or files[i] end
  if #names > NAMED then named[#named + 1] = ('%d others'):format(#names - NAMED) end
  return {
    name = 'DeploymentChanged', executed = 'no', where = 'worker', yours = hash, mine = expected.hash, files = files,
    message = ('%s %s changed since the router began, which serves what it read then: put %s back, or %s'):format(
      table.concat(named, ', '), #names == 1 and 'has' or 'have', #names == 1 and 'it' or 'them', expected.renew),
  }
end

--- Reads the files of a deployment as its router did, and compares them with what that found.
---@param script string its path
---@param expected table hash, files, cwd, path: what the router found, and where; renew: how it is begun anew
---@return function? source_of gives what is in a file of the deployment, by its path; nil: they differ
---@return table? problem the fields of an error
function M.verify(script, expected)
  local files = M.files(script, expected.cwd, expected.path)
  local hash = M.hash(files)
  if hash ~= expected.hash then return nil, describe(expected, hash, differences(expected.files, shown(files))) end
  local sources = {}
  for _, file in pairs(files) do sources[file.path] = file.source end
  return function(path) return sources[plain(path, expected.cwd)] end
end

return M
