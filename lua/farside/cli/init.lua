--- The command line: farside COMMAND arguments. Each command is a file of this folder.
--
-- `run`, which has to start at once, and others that read their words themselves are functions of those words. The rest are
-- tables: `declare(command)` tells argparse what there is, in one text for --help, the man page and completions, and
-- `run(given)` does it. What a person has to know is on stdout or, when it went wrong, on stderr; exit codes are in EXITS.
local native = require 'farside.native'

local OK, FAILED, USAGE, INTERRUPTED = 0, 1, 64, 130

local M = {}

--- In the order in which they are shown.
M.COMMANDS = {
  { 'run', 'run a Lua script whose functions may be remote' },
  { 'serve', 'serve deployments to many clients' },
  { 'ps', 'show served deployments and their workers' },
  { 'call', 'call a function of a served deployment' },
  { 'logs', 'show what workers print' },
  { 'why', 'show why a call went to its worker' },
  { 'metrics', "print a router's metrics as Prometheus text" },
  { 'stop', 'let a router finish its calls and end' },
  { 'simulate', "run a deployment's calls and workers in virtual time" },
  { 'completion', 'print completions for a shell' },
  { 'help', 'explain a command' },
}

M.EXITS = {
  { 0, 'it was done' },
  { 1, 'it failed' },
  { 64, 'the command line was wrong' },
  { 69, 'no router is there, or it does not answer' },
  { 73, 'another process serves the deployment' },
  { 74, 'its output could not be written' },
  { 78, 'a setting, or what a router needs, is not as it has to be' },
  { 130, 'it was interrupted' },
}

--- Commands that are not shown: they serve the build.
local HIDDEN = { man = true }

local function names()
  local list = {}
  for i, command in ipairs(M.COMMANDS) do list[i] = command[1] end
  return list
end

function M.is_command(word)
  if HIDDEN[word] then return true end
  for _, command in ipairs(M.COMMANDS) do
    if command[1] == word then return true end
  end
  return false
end

local function say(problem, word)
  io.stdout:flush()
  io.stderr:write('farside: ', problem, "\nTry 'farside ", word and word .. ' ' or '', "--help'.\n")
  return USAGE
end

local function unknown(word)
  return say(("unknown command '%s'%s"):format(word, require('farside.check').suggest(word, names())))
end

-- What is raised here is a mistake of ours, or Ctrl-C.
local function trace(err)
  if type(err) == 'string' and err:find('interrupted!?$') then return 'interrupted' end
  return debug.traceback(tostring(err), 2)
end

--- Runs a command whose words argparse reads.
local function run_declared(name, command, words)
  local parser = require 'farside.cli.parser'
  local given, problem, help = parser.read(parser.of_command(name, command), words)
  if help then
    io.write(help)
    return OK
  end
  if problem then return say(('%s: %s'):format(name, problem), name) end
  local ok, code
  ok, code, problem = xpcall(function() return command.run(given) end, trace)
  if not ok then code, problem = FAILED, code end
  if not ok and problem == 'interrupted' then code = INTERRUPTED end
  if problem then
    io.stdout:flush()
    io.stderr:write('farside: ', name, ': ', problem, '\n')
  end
  return code or (problem and FAILED) or OK
end

local function asks_for_help(word)
  return word == '--help' or word == '-h'
end

local function show_help(word)
  if not word then
    io.write(require('farside.cli.parser').overview())
    return OK
  end
  if not M.is_command(word) then return unknown(word) end
  io.write(require('farside.cli.parser').help_of(word))
  return OK
end

local function run(name, words)
  if (name == 'run' or name == 'help') and asks_for_help(words[1]) then return show_help(name) end
  if name == 'help' then return show_help(words[1]) end
  local command = require('farside.cli.' .. name)
  if type(command) == 'table' and command.declare then return run_declared(name, command, words) end
  return command(words)
end

--- Called by the executable.
---@param words string[] what was typed behind `farside`
---@return integer exit code
local function main(_, words)
  local word = words[1]
  if not word then
    io.stderr:write(require('farside.cli.parser').overview())
    return USAGE
  end
  if word == '--version' or word == '-V' then
    print('farside ' .. native.version)
    return OK
  end
  if asks_for_help(word) then return show_help(words[2]) end
  if M.is_command(word) then return run(word, { unpack(words, 2) }) end
  if word:sub(1, 1) == '-' then return say(("unknown option '%s'"):format(word)) end
  return unknown(word)
end

return setmetatable(M, { __call = main })
