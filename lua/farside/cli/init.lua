--- The command line: farside COMMAND arguments. Each command is a file of this folder.
local check = require 'farside.check'
local native = require 'farside.native'

local USAGE = 64

local COMMANDS = { 'run', 'simulate' }

local HELP = [[
usage: farside COMMAND [arguments]

  farside run SCRIPT [arguments]   run a Lua script whose functions may be remote
  farside simulate SCRIPT          run a deployment's calls and workers in virtual time
  farside --version
  farside --help
]]

local function is_command(word)
  for _, name in ipairs(COMMANDS) do
    if name == word then return true end
  end
  return false
end

--- Called by the executable.
---@param words string[] what was typed behind `farside`
---@return integer exit code
return function(words)
  local word = words[1]
  if word == '--version' then
    print('farside ' .. native.version)
    return 0
  end
  if word == '--help' or word == '-h' then
    io.write(HELP)
    return 0
  end
  if is_command(word) then return require('farside.cli.' .. word) { unpack(words, 2) } end
  if not word then
    io.stderr:write(HELP)
  else
    local hint = check.suggest(word, COMMANDS)
    io.stderr:write(("farside: unknown command '%s'%s\n"):format(word, hint))
  end
  return USAGE
end
