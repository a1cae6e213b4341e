--- Programs in C that the specs run; each holds named checks (see spec/unit/c/check.h).
local busted = require 'busted'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

local M = {}

-- Output and exit code; LuaJIT's popen does not tell the code.
local function execute(name, argument, environment)
  local variables = ''
  for variable, value in pairs(environment or {}) do variables = variables .. ("%s='%s' "):format(variable, value) end
  local command = ("%s'%s/unit/%s' %s 2>&1; code=$?; echo; echo $code"):format(variables, BUILD, name, argument)
  local pipe = assert(io.popen(command))
  local text = pipe:read('*a')
  pipe:close()
  local output, code = text:match('^(.-)\n(%d+)\n$')
  return output, tonumber(code)
end

--- Makes an `it` of each check of a program; to be called inside a `describe`.
---@param name string
---@param environment table<string, string>? variables it is run with
function M.checks(name, environment)
  local list, code = execute(name, '')
  if code ~= 0 then
    busted.it('is built as ' .. name, function() error(list) end)
    return
  end
  for check in list:gmatch('[^\n]+') do
    busted.it(check, function()
      local output, result = execute(name, "'" .. check .. "'", environment)
      if result ~= 0 then error(output, 0) end
    end)
  end
end

return M
