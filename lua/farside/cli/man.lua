--- farside man: the man page, in troff, from the text of --help. The build writes it with this.
local cli = require 'farside.cli'
local native = require 'farside.native'
local words_of = require 'farside.cli.words'

local M = {}

local function escape(text)
  text = text:gsub('\\', '\\e'):gsub('%-', '\\-'):gsub("'", '\\(aq'):gsub('`', '\\(ga'):gsub('%^', '\\(ha'):gsub('~', '\\(ti')
  return (('\n' .. text):gsub('\n%.', '\n\\&.'):sub(2))
end

local function add(lines, format, ...)
  local values = { ... }
  for i, value in ipairs(values) do values[i] = escape(tostring(value)) end
  lines[#lines + 1] = format:format(unpack(values))
end

--- Text that stays as it is written.
local function verbatim(lines, text)
  lines[#lines + 1] = '.PP\n.nf'
  lines[#lines + 1] = escape((text:gsub('%s+$', '')))
  lines[#lines + 1] = '.fi'
end

local function option(lines, element)
  local names, argument = {}, nil
  for i, name in ipairs(element._aliases) do names[i] = ('\\fB%s\\fR'):format(escape(name)) end
  if element._maxargs > 0 then argument = element:_get_default_argname() end
  if type(element._argname) == 'string' then argument = element._argname end
  lines[#lines + 1] = '.TP\n' .. table.concat(names, ', ') .. (argument and ' ' .. ('\\fI%s\\fR'):format(escape(argument)) or '')
  if element._description then add(lines, '%s', element:_get_description()) end
end

local function argument(lines, element)
  local name = type(element._argname) == 'string' and element._argname or element._name
  lines[#lines + 1] = ('.TP\n\\fI%s\\fR'):format(escape(name))
  if element._description then add(lines, '%s', element:_get_description()) end
end

local function section(lines, command)
  if command._text then
    verbatim(lines, command._text)
    return
  end
  local usage = command:get_usage():gsub('^Usage: ', ''):gsub('%s+', ' ')
  add(lines, '.PP\n\\fB%s\\fR', usage)
  add(lines, '.PP\n%s', command._description)
  for _, element in ipairs(command._arguments) do argument(lines, element) end
  for _, element in ipairs(command._options) do
    if element._name ~= '-h' and not element._hidden then option(lines, element) end
  end
  if command._epilog then verbatim(lines, command._epilog) end
end

local function pairs_of(lines, list)
  for _, entry in ipairs(list) do add(lines, '.TP\n\\fB%s\\fR\n%s', entry[1], entry[2]) end
end

--- The page.
function M.text()
  local tree = require('farside.cli.parser').tree()
  local lines = {}
  add(lines, '.TH FARSIDE 1 "" "farside %s" "User Commands"', native.version)
  add(lines, '.SH NAME\nfarside \\- remote functions for Lua')
  add(lines, '.SH SYNOPSIS\n.B farside\n.I COMMAND\n[arguments]')
  add(lines, '.SH DESCRIPTION\n%s', words_of.description)
  add(lines, '.SH COMMANDS')
  for i, command in ipairs(tree._commands) do
    add(lines, '.SS farside %s', cli.COMMANDS[i][1])
    section(lines, command)
  end
  add(lines, '.SH EXIT STATUS')
  pairs_of(lines, cli.EXITS)
  add(lines, '.SH ENVIRONMENT')
  pairs_of(lines, words_of.environment)
  return table.concat(lines, '\n') .. '\n'
end

function M.declare() end
M.description = 'Prints the man page in troff.'

function M.run()
  io.write(M.text())
end

return M
