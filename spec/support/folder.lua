--- A folder for a spec file, which is the home of caches meanwhile:
--
--     local folder = Folder.new()   -- sets XDG_CACHE_HOME
--     folder:close()                -- sets it back and removes the folder
local ffi = require 'ffi'

-- busted loads this file anew for each spec file; declarations stay.
pcall(ffi.cdef, 'int setenv(const char *name, const char *value, int replace); int unsetenv(const char *name);')

local M = {}
M.__index = M

--- Sets a variable of this process, or removes it.
function M.set_variable(name, value)
  if value then ffi.C.setenv(name, value, 1) else ffi.C.unsetenv(name) end
end

function M.new()
  local pipe = io.popen 'mktemp -d'
  local path = pipe:read '*l'
  pipe:close()
  local self = setmetatable({ path = path, _before = os.getenv 'XDG_CACHE_HOME' }, M)
  M.set_variable('XDG_CACHE_HOME', path)
  return self
end

--- What a shell command prints, with `$folder`.
function M:run(command)
  local pipe = io.popen(("folder='%s'; %s"):format(self.path, command))
  local text = pipe:read '*a'
  pipe:close()
  return (text:gsub('\n$', ''))
end

--- The names of the compiled kernels in it.
function M:kernels()
  local names = {}
  for name in self:run('ls $folder/farside/kernels 2>/dev/null | grep -vx lock'):gmatch '[^\n]+' do names[#names + 1] = name end
  return names
end

function M:close()
  M.set_variable('XDG_CACHE_HOME', self._before)
  os.execute(("rm -rf '%s'"):format(self.path))
end

return M
