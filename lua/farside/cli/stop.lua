--- farside stop: lets a router finish.
local json = require 'farside.cli.json'
local native = require 'farside.native'
local routers = require 'farside.cli.routers'

local M = {}

local LONGEST = 60  -- seconds: a drain, contexts that exit, and some more

M.description = 'Lets a router end: nothing new is let in, calls in progress finish (30 s), workers exit their contexts. ' ..
  'Waits until it has.'
M.epilog = [[
Examples:
   farside stop
   farside stop square:canary]]

function M.declare(parser)
  parser:argument('deployment', 'The deployment whose router is to end, where there are several.'):args '?'
    :argname 'NAME[:TAG]'
  parser:option('--router', 'The router with this socket.'):argname 'unix:PATH'
  parser:flag('--no-wait', 'Only tell it.')
  parser:flag('--json', 'Say as JSON which process it was.')
end

local function wait_for_end(operator)
  local limit = native.now() + LONGEST
  while native.now() < limit do
    local line, err = operator:next_line(limit - native.now())
    if not line and err then return err.name ~= 'Cancelled' and true or nil, err end
  end
  return nil
end

function M.run(given)
  local router, code, problem = routers.one_router(given, true)
  if not router then return code, problem end
  local done
  done, code, problem = routers.ask({ router = router }, 'stop')
  if not done then return code, problem end
  local ended = given.no_wait or wait_for_end(router.operator)
  router.operator:close()
  if not ended then return 1, ('router %d has not ended within %d s'):format(router.status.pid, LONGEST) end
  if given.json then
    io.write(json.encode { pid = router.status.pid, ended = not given.no_wait }, '\n')
  else
    io.write(('router %d %s\n'):format(router.status.pid, given.no_wait and 'was told to end' or 'has ended'))
  end
end

return M
