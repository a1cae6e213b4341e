--- farside run SCRIPT [arguments]: runs a Lua file whose modules may have attributes.
local Error = require 'farside.error'
local attributes = require 'farside.attributes'
local future = require 'farside.future'

local OK, FAILED, USAGE, INTERRUPTED = 0, 1, 64, 130

local function is_interrupt(err)
  return type(err) == 'string' and err:find('interrupted!?$') ~= nil
end

local function text_of(err)
  if Error.is_error(err) then return Error.report(err) end
  local ok, text = pcall(tostring, err)
  return ok and type(text) == 'string' and text or ('(the error is a %s)'):format(type(err))
end

--- The message of an error nobody caught: its text, the remote traceback, and where it passed in this process.
local function message_of(err)
  if is_interrupt(err) then return err end
  local traceback = future.trace_of(err) or ''
  if traceback == '' then traceback = Error.traceback(2) end
  return text_of(err) .. (traceback ~= '' and '\n' .. traceback or '')
end

local function say(message)
  io.stdout:flush()
  io.stderr:write('farside: ', message, '\n')
end

--- Runs a script, or says why it cannot be run.
local function run(script, ...)
  local chunk, problem = attributes.loadfile(script)
  if not chunk then
    say(problem)
    return FAILED
  end
  local arguments, count = { ... }, select('#', ...)
  local ok, message = xpcall(function() chunk(unpack(arguments, 1, count)) end, message_of)
  if ok then return OK end
  if is_interrupt(message) then
    say('interrupted')
    return INTERRUPTED
  end
  say(message)
  return FAILED
end

--- Called by the executable.
---@param args string[] the script and its arguments
---@return integer exit code
return function(args)
  local script = args[1]
  if not script then
    say('usage: farside run SCRIPT [arguments]')
    return USAGE
  end
  attributes.install()
  _G.arg = { [0] = script, unpack(args, 2) }
  local code = run(script, unpack(args, 2))
  local ok, problem = pcall(future.close)
  if ok then return code end
  say(text_of(problem))
  return code == OK and FAILED or code
end
