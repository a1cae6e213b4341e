--- Help of farside as a whole, and of the commands that read their words themselves: see parser.lua.
local M = {}

M.description = 'Remote functions for Lua: a function marked in a deploy script runs on worker processes.'

M.run = {
  description = 'Runs a Lua script. Its modules may mark functions as remote, also with app.remote<...>; the first call ' ..
    'starts the workers, the end of the script ends them. All words behind SCRIPT go to the script, in `arg` and `...`.',
  epilog = 'Example:\n   farside run examples/square/client.lua',
  declare = function(parser)
    parser:argument('script', 'The Lua file.'):argname 'SCRIPT'
    parser:argument('arguments', 'What the script gets.'):args '*'
  end,
}

M.help = {
  description = 'Explains a command; without one, lists them.',
  epilog = 'Example:\n   farside help call',
  declare = function(parser)
    parser:argument('command', 'Which one.'):args '?'
  end,
}

--- What the environment does to any command.
M.environment = {
  { 'FARSIDE_ROUTER', '`unix:PATH` of the router to use; `embedded`: scripts start their own.' },
  { 'XDG_RUNTIME_DIR', 'Where the folder farside/ with the sockets of served deployments is; /tmp/farside-UID without it.' },
  { 'NO_COLOR', 'Set to anything: no colours.' },
}

return M
