--- The user's own headers that a source includes: what is compiled depends on them as on the source.
local read_file = require 'farside.read_file'

local M = {}

local MOST = 1000  -- files

--- The folders in which compilers look: the working directory, and those that options name.
local function folders_of(options)
  local folders = { '.' }
  for _, option in ipairs(options) do
    local folder = option:match '^%-I%s*(.+)$' or option:match '^%-%-include%-path=(.+)$'
    if folder then folders[#folders + 1] = folder end
  end
  return folders
end

--- The texts of all files that a source includes, and these in turn, with their paths: what is found beside the file or in one of
-- the folders. Includes that an #if leaves out count too, those whose name a macro makes do not.
---@param options string[] for the compiler
---@return string
function M.texts(source, options)
  local folders, parts, seen, count = folders_of(options), {}, {}, 0
  local function visit(text, own)
    for name in text:gmatch '#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]' do
      local paths = name:find '^/' and { name } or { own .. '/' .. name }
      for i, folder in ipairs(name:find '^/' and {} or folders) do paths[i + 1] = folder .. '/' .. name end
      for _, path in ipairs(paths) do
        local found = not seen[path] and count < MOST and read_file(path)
        seen[path] = true
        if found then
          count = count + 1
          parts[#parts + 1] = ('%s:%d:%s'):format(path, #found, found)
          visit(found, path:match '^(.*)/' or '/')
        end
      end
    end
  end
  visit(source, '.')
  return table.concat(parts)
end

return M
