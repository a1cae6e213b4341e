--- farside logs: what workers print.
local json = require 'farside.cli.json'
local native = require 'farside.native'
local routers = require 'farside.cli.routers'
local text = require 'farside.cli.text'

local M = {}

local STDOUT = 1

M.description = 'Shows the last lines that the workers of a deployment have printed (64 KiB of each are kept) and what the ' ..
  'router says of them; with -f also what comes from then on, until the router ends or you interrupt.'
M.epilog = [[
Examples:
   farside logs
   farside logs -f 2]]

function M.declare(parser)
  parser:argument('worker', 'Only this one, by its number in farside ps.'):args '?':argname 'WORKER'
    :convert(function(word)
      local number = word:match('^%d+$') and tonumber(word)
      if not number then return nil, ("expected the number of a worker, got '%s'"):format(word) end
      return number
    end)
  parser:flag('-f --follow', 'Go on with what comes.')
  routers.declare(parser)
  parser:flag('--json', 'A JSON object a line: deployment, worker, text.')
end

--- One line of a log.
function M.render(line, worker, deployment, as_json, paint)
  if as_json then return json.encode { deployment = deployment, worker = worker, text = line } .. '\n' end
  return paint('dim', worker and ('worker %d: '):format(worker) or 'router: ') .. text.plain(line) .. '\n'
end

local function show(operator, given, paint, timeout)
  local line, worker, deployment = operator:next_line(timeout)
  if line then
    io.write(M.render(line, worker ~= native.null and worker or nil, deployment, given.json, paint))
    return true
  end
  return false, worker
end

-- Why no line of a worker can be there, or nil. One that has ended may have left some.
local function no_worker(deployment, place)
  if not place then return nil end
  local there = {}
  for i, worker in ipairs(deployment.workers) do
    if worker.place == place then return nil end
    there[i] = ('%d'):format(worker.place)
  end
  return ('there is no worker %d, and no line of one that was; workers that there are: %s'):format(place,
    #there > 0 and table.concat(there, ', ') or 'none')
end

function M.run(given)
  local entry, code, problem = routers.one(given)
  if not entry then return code, problem end
  local operator, paint = entry.router.operator, text.painter(STDOUT)
  local done
  done, code, problem = routers.ask(entry, 'logs', { worker = given.worker, follow = given.follow })
  if not done then return code, problem end
  local has_lines = false
  while show(operator, given, paint, 0) do has_lines = true end
  io.flush()
  problem = not has_lines and no_worker(entry.deployment, given.worker)
  if problem and not given.follow then
    operator:close()
    return 1, problem
  end
  if problem then io.stderr:write('farside: logs: ', problem, '; it may come\n') end
  local ended
  while given.follow and not ended do
    local more
    more, ended = show(operator, given, paint)
    if more then io.flush() end
  end
  operator:close()
  if ended and ended.name == 'Cancelled' then return 130 end
end

return M
