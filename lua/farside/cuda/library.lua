--- Finds and opens the libraries of kernels: libfarside_cuda.so for GPUs and libfarside_cpu.so for the processor, which have one
--- interface. A library brings its declarations along, so that they always fit it.
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
const char *kernel_declarations(void);
long readlink(const char *path, char *target, size_t size);
]]

local declared
local opened = {}

local function folder_of(path)
  return path and path:match('^(.*)/[^/]*$')
end

local function executable_folder()
  local target = ffi.new('char[4096]')
  local size = tonumber(ffi.C.readlink('/proc/self/exe', target, 4096))
  return size > 0 and folder_of(ffi.string(target, size)) or nil
end

--- The folders that are looked into, in this order: $FARSIDE_KERNELS, that of the executable, that of farside.native.
local function folders()
  local found = {}
  found[#found + 1] = os.getenv('FARSIDE_KERNELS')
  found[#found + 1] = executable_folder()
  found[#found + 1] = folder_of(package.searchpath('farside.native', package.cpath))
  return found
end

local function exists(path)
  local file = io.open(path, 'rb')
  if file then file:close() end
  return file ~= nil
end

local function absolute(path)
  return path:find('/', 1, true) and path or './' .. path
end

--- Opens the library in a file. It stays open, and so does what it has allocated.
---@return table? library its functions and constants
---@return string? err
function M.open_file(path)
  if opened[path] then return opened[path] end
  local ok, library = pcall(ffi.load, absolute(path))
  if not ok then return nil, tostring(library) end
  local text = ffi.string(library.kernel_declarations())
  if not declared then
    ffi.cdef(text)
    declared = text
  elseif text ~= declared then
    return nil, path .. ' is of another version than the library of kernels opened before'
  end
  opened[path] = library
  return library
end

--- Opens the library of a kind.
---@param kind 'cuda' | 'cpu'
---@return table? library
---@return string? err
function M.open(kind)
  local name = ('libfarside_%s.so'):format(kind)
  local tried = folders()
  for _, folder in ipairs(tried) do
    local path = folder .. '/' .. name
    if exists(path) then return M.open_file(path) end
  end
  return nil, ('%s is not in %s; build it%s, or name its folder in FARSIDE_KERNELS'):format(name,
    table.concat(tried, ' nor in '), kind == 'cuda' and ' with -DENABLE_CUDA=ON' or '')
end

local function devices(library)
  local count = ffi.new('int32_t[1]')
  return library.device_count(count) == 0 and count[0] or 0
end

--- Opens what the machine has: the library for GPUs where there is one, else the processor's.
---@return table? library
---@return string? err
function M.find()
  local cuda = M.open('cuda')
  if cuda and devices(cuda) > 0 then return cuda end
  return M.open('cpu')
end

return M
