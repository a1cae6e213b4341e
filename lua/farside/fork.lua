--- Forks of this process that a function or script makes, by way of the FFI or a module in C. The router and its workers,
-- or the worker's connections, stay with the process that was there before:
--
--     what uses them raises in the fork: calls, app.yield, farside.sleep, farside.spawn
--     where Farside would go on - a coroutine of its own returns, raises or yields - the fork ends
--     os.exit ends it, and calls no handlers that were meant for the process before it
--
-- A fork made before a client's first call has none of this in it: it may become a client of its own.
local Error = require 'farside.error'
local native = require 'farside.native'

local M = {}

local OK, FAILED = 0, 1

local owner  -- the handle or the executor

--- From now on forks of this process are known.
function M.watch(with)
  owner = with
end

--- Whether this process is a fork of the one that has the handle or the executor.
function M.is_here()
  return owner ~= nil and owner:is_forked()
end

local function refuse()
  local place = Error.traceback(2):match('\n\t(.-:%d+: )') or ''
  error(Error.new { name = 'Unsupported', executed = 'no', where = 'sdk', feature = 'Farside in a fork',
    message = place .. ('this process is a fork: expected Farside to be used by the %s that was forked, got a use of it in '
      .. 'the fork, which may compute, write to a pipe or a file and end by os.exit'):format(
        native.role == 'worker' and 'worker' or 'process') }, 0)
end

--- Raises in a fork.
function M.check()
  if M.is_here() then refuse() end
end

local function say(err, traceback)
  local described = Error.describe(err, traceback)
  io.stderr:write(('farside: a fork of this %s ended with an error: %s\n%s'):format(
    native.role == 'worker' and 'worker' or 'process', described.message,
    described.traceback and described.traceback ~= '' and described.traceback .. '\n' or ''))
end

--- Ends the fork that this process is: what it ran has returned, or has raised `err`.
function M.leave(ok, err, traceback)
  if not ok then pcall(say, err, traceback) end
  native.leave(ok and OK or FAILED)
end

native.on_fork(refuse)

return M
