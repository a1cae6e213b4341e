--- What argparse makes of the commands: parsers, their help, and one tree of all for the man page and completions.
local argparse = require 'farside.cli.argparse'
local cli = require 'farside.cli'
local words_of = require 'farside.cli.words'

local M = {}

local WIDTH = 100

local HELP = {}  -- what asks for help throws

local function add_help(parser)
  parser:flag('-h --help', 'Show this and end.'):action(function() error(HELP, 0) end)
  parser:help_max_width(WIDTH):usage_max_width(WIDTH):help_vertical_space(0):help_description_margin(26)
end

--- The options of a command that reads its own words, from its help.
local function declare_text(parser, text)
  local seen = {}
  for name in text:gmatch('\n%s+(%-%-[%l-]+)') do
    if not seen[name] and name ~= '--help' then
      seen[name] = true
      parser:option(name)
    end
  end
end

local function declare(parser, name, command, summary)
  local text = words_of[name]
  if type(command) == 'table' and command.declare then
    parser:description(command.description or summary)
    if command.epilog then parser:epilog(command.epilog) end
    command.declare(parser)
  elseif type(command) == 'table' and command.help then
    declare_text(parser, command.help)
  elseif text then
    parser:description(text.description):epilog(text.epilog)
    text.declare(parser)
  end
end

local function new(name)
  return argparse(name):add_help(false)
end

--- A parser of the words behind one command.
function M.of_command(name, command)
  local parser = new('farside ' .. name)
  declare(parser, name, command)
  add_help(parser)
  return parser
end

--- A parser of everything, which is read by no one but those who write help.
function M.tree()
  local root = new('farside'):description(words_of.description):require_command(false)
  for _, entry in ipairs(cli.COMMANDS) do
    local name, summary = entry[1], entry[2]
    local sub = root:command(name):add_help(false):summary(summary)
    sub._is_help_command = name == 'help'
    if words_of[name] then
      declare(sub, name, nil, summary)
    else
      local command = require('farside.cli.' .. name)
      sub._text = type(command) == 'table' and command.help or nil
      declare(sub, name, command, summary)
    end
    add_help(sub)
  end
  root:flag('-V --version', 'Show the version and end.')
  add_help(root)
  return root
end

--- Reads words. Returns what was given; or nil, what is wrong; or nil, nil, the help that was asked for.
function M.read(parser, words)
  local ok, result = pcall(parser._parse, parser, words, function(_, problem) error({ problem = problem }, 0) end)
  if ok then return result end
  if result == HELP then return nil, nil, parser:get_help() .. '\n' end
  if type(result) == 'table' and result.problem then return nil, result.problem end
  error(result, 0)
end

function M.help_of(name)
  local command = not words_of[name] and require('farside.cli.' .. name)
  if type(command) == 'table' and command.help then return command.help end
  return M.of_command(name, command):get_help() .. '\n'
end

--- The commands, each in a line.
function M.overview()
  local lines = { 'Usage: farside COMMAND [arguments]', '', words_of.description, '' }
  for _, entry in ipairs(cli.COMMANDS) do lines[#lines + 1] = ('  %-12s%s'):format(entry[1], entry[2]) end
  lines[#lines + 1] = ''
  lines[#lines + 1] = "'farside COMMAND --help' explains a command; 'farside --version' tells the version."
  return table.concat(lines, '\n') .. '\n'
end

return M
