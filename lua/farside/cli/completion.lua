--- farside completion SHELL: what a shell has to know to complete words.
local M = {}

M.description = 'Prints completions for a shell.'
M.epilog = [[
Examples:
   farside completion bash > ~/.local/share/bash-completion/completions/farside
   farside completion zsh > "${fpath[1]}/_farside"]]

function M.declare(parser)
  parser:argument('shell', 'bash or zsh.'):choices { 'bash', 'zsh' }:argname 'SHELL'
end

--- Without the shells' own names for files where a word of a fixed list is expected.
function M.text(shell)
  local tree = require('farside.cli.parser').tree()
  return shell == 'bash' and tree:get_bash_complete() or tree:get_zsh_complete()
end

function M.run(given)
  io.write(M.text(given.shell))
end

return M
