--- Users' kernels where there is no GPU, for development: compiled by the system's C++ compiler, with the headers that the
-- library of kernels brings along, into a library whose kernels run on the processor's threads.
local cache = require 'farside.cuda.cache'
local diagnostics = require 'farside.cuda.diagnostics'
local ffi = require 'ffi'
local headers = require 'farside.cuda.headers'
local native = require 'farside.native'
local read_file = require 'farside.read_file'

local M = {}

local FLAGS = '-std=c++17 -O2 -w -fPIC -shared -pthread -fvisibility=hidden -fno-exceptions -fno-rtti -fno-math-errno '
  .. '-fno-trapping-math -ffp-contract=off -Wl,-z,nodelete -Wl,-z,defs'

-- Headers of CUDA's, and which of ours stands in for them.
local STAND_INS = { ['cuda_fp16.h'] = 'simt_half.h', ['cuda_bf16.h'] = 'simt_half.h' }

local COMPILERS = { 'c++', 'g++', 'clang++' }

-- The source, as the compiler gets it ----------------------------------------------------------------------------------

--- Puts the registration of each kernel behind its body, where the same #if counts, and writes dynamic shared memory in the
-- words of simt.h. No line moves.
local function rewrite(source, signature)
  local edits = {}
  for _, kernel in ipairs(signature.kernels) do
    -- No macro, so that what is wrong here is told of this line.
    edits[#edits + 1] = { first = kernel.body_end + 1, last = kernel.body_end,
      text = (' static const simt::registration simt_registration_of_%s("%s", &%s);'):format(kernel.name, kernel.name, kernel.name) }
  end
  for _, array in ipairs(signature.arrays) do
    local lines = source:sub(array.first, array.last):gsub('[^\n]', '')
    local form = array.inside and 'SIMT_SHARED(%s, %s);' or 'static const simt::dynamic_array<%s> %s;'
    edits[#edits + 1] = { first = array.first, last = array.last, text = form:format(array.type, array.name) .. lines }
  end
  table.sort(edits, function(a, b) return a.first < b.first end)
  local parts, at = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = source:sub(at, edit.first - 1)
    parts[#parts + 1] = edit.text
    at = edit.last + 1
  end
  parts[#parts + 1] = source:sub(at)
  return table.concat(parts)
end
M.rewrite = rewrite

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- What options for NVRTC are to another compiler: folders of headers as its arguments, quoted, and macros as lines, which
-- count behind our own headers alone.
local function translate(options)
  local arguments, lines = {}, {}
  for _, option in ipairs(options) do
    local letter, value = option:match '^%-([DUI])%s*(.+)$'
    if not letter then
      local word
      word, value = option:match '^%-%-([%a-]+)=(.+)$'
      letter = ({ ['define-macro'] = 'D', ['undefine-macro'] = 'U', ['include-path'] = 'I' })[word]
    end
    if letter == 'I' then
      arguments[#arguments + 1] = quote('-I' .. value)
    elseif letter == 'U' then
      lines[#lines + 1] = '#undef ' .. value
    elseif letter == 'D' then
      local name, text = value:match '^([^=]+)=(.*)$'
      lines[#lines + 1] = ('#define %s %s'):format(name or value, text or '1')
    end
  end
  return table.concat(arguments, ' '), table.concat(lines, '\n')
end

-- Compiling ------------------------------------------------------------------------------------------------------------

-- What is preloaded into this process is not meant for others. Errors are to be in plain English.
local function shell(command)
  local status = os.execute('unset LD_PRELOAD; export LC_ALL=C; ' .. command)
  return status == 0 or status == true
end

--- The command of the compiler: $CXX, or the first that there is; nil: none is.
local function find_compiler()
  local own = os.getenv 'CXX'
  if own and own:find '%S' then return own end
  for _, name in ipairs(COMPILERS) do
    if shell(('command -v %s >/dev/null 2>&1'):format(name)) then return name end
  end
end

local function write(path, text)
  local file = assert(io.open(path, 'wb'))
  assert(file:write(text))
  assert(file:close())
end

--- The names of the headers that the library brings.
local function header_names(library)
  local names, i = {}, 0
  while library.kernel_header_name(i) ~= nil do
    i = i + 1
    names[i] = ffi.string(library.kernel_header_name(i - 1))
  end
  return names
end

local function header_texts(library)
  local texts = {}
  for i, name in ipairs(header_names(library)) do texts[i] = ffi.string(library.kernel_header(name)) end
  return table.concat(texts)
end

--- Calls work(folder, path) with a new folder, which is removed with all that has been made by path(name).
local function in_folder(work)
  local folder, problem = native.temporary_folder()
  if not folder then error('kernels are compiled in a temporary folder: ' .. problem, 0) end
  local made = {}
  local function path(name)
    made[#made + 1] = folder .. '/' .. name
    return made[#made]
  end
  local ok, result = pcall(work, folder, path)
  for _, name in ipairs(made) do os.remove(name) end
  os.remove(folder)
  if not ok then error(result, 0) end
  return result
end

--- Compiles in a folder; returns the path of the library there.
local function compile(what, library, compiler, folder, path)
  for _, name in ipairs(header_names(library)) do write(path(name), ffi.string(library.kernel_header(name))) end
  for name, ours in pairs(STAND_INS) do write(path(name), ('#include "%s"\n'):format(ours)) end
  local arguments, macros = translate(what.options)
  write(path 'kernels.cc', ('#include "simt_module.h"\n%s\n#line 1 "%s"\n%s\n'):format(macros, what.name,
    rewrite(what.source, what.signature)))
  local made, log = path 'kernels.so', path 'log'
  local command = ('%s %s %s -I%s -o %s %s >%s 2>&1'):format(compiler, FLAGS, arguments, quote(folder), quote(made),
    quote(folder .. '/kernels.cc'), quote(log))
  if not shell(command) then error(diagnostics.describe(what, compiler, read_file(log) or ''), 0) end
  return made
end

--- Opens a compiled library; nil: it is gone, or cannot be opened there.
local function try_open(path)
  local ok, made = pcall(ffi.load, path)
  return ok and made or nil, made
end

local function open_kept(key)
  local _, path = cache.get(key, 'so')
  return path and try_open(path)
end

local function build(what, library, key)
  local compiler = find_compiler()
  if not compiler then
    error(('%s: there is no GPU, and no C++ compiler to compile its kernels for the processor with: install one '
      .. '(apt-get install g++), or name one in CXX'):format(what.name), 0)
  end
  return in_folder(function(folder, path)
    local made = compile(what, library, compiler, folder, path)
    local kept = cache.put(key, 'so', assert(read_file(made)))
    local opened, problem = kept and try_open(kept)
    if not opened then opened, problem = try_open(made) end
    if not opened then error(('%s: compiled for the processor it cannot be opened: %s'):format(what.name, problem), 0) end
    return opened
  end)
end

local told = false

local function tell()
  if told then return end
  told = true
  io.stderr:write(('farside: no GPU: user kernels are compiled for the processor by %s; for development only\n')
    :format(find_compiler() or 'a C++ compiler'))
end

local Kernel = {}
Kernel.__index = Kernel

--- Launches it. `shape`: uint32_t[6], the grid's and the block's; `arguments`: void *[], pointers to them.
---@return number status of the library
function Kernel:launch(shape, shared, stream, arguments)
  return self.entry.launch(self.entry, shape, shared, stream, arguments)
end

--- What a compiled library holds, by name: { sizes = of the parameters, launch = }.
local function kernels_of(made)
  local kernels, entry = {}, made.kernel_entries()
  while entry ~= nil do
    local sizes = {}
    for i = 1, entry.parameters do sizes[i] = tonumber(entry.sizes[i - 1]) end
    kernels[ffi.string(entry.name)] = setmetatable({ entry = entry, sizes = sizes, library = made }, Kernel)
    entry = entry.next
  end
  return kernels
end

--- Compiles a source, or takes what was made of it before.
---@param what table { name =, source =, signature =, options = list, origin = }
---@param backend table the device on which its kernels are to run
---@return table kernels by name
function M.build(what, backend)
  tell()
  local library = backend.library
  local key = cache.key('processor', FLAGS, jit.arch, os.getenv 'CXX' or '', header_texts(library), what.name, what.source,
    headers.texts(what.source, what.options), unpack(what.options))
  return kernels_of(open_kept(key) or cache.alone(key, function() return open_kept(key) or build(what, library, key) end))
end

return M
