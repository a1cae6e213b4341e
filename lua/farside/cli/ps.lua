--- farside ps: deployments, their workers, states, scores and load.
local json = require 'farside.cli.json'
local routers = require 'farside.cli.routers'
local text = require 'farside.cli.text'

local M = {}

local STDOUT = 1

M.description = 'Shows the deployments that are served for you, and their workers: states, calls in flight and ended, ' ..
  'scores (workload a second, by function).'
M.epilog = [[
Examples:
   farside ps
   farside ps --json | jq '.[].deployments[].workers[].state']]

function M.declare(parser)
  routers.declare(parser)
  parser:flag('--json', 'As JSON: a list of routers.')
end

local function score_text(scores)
  local names, parts = {}, {}
  for name in pairs(scores) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = ('%s %s/s'):format(name, text.short(scores[name])) end
  return table.concat(parts, ', ')
end

local HEADS = { 'WORKER', 'STATE', 'PID', 'IN FLIGHT', 'CALLS', 'STARTS', 'SCORES' }
local RIGHT = { true, false, true, true, true, true }

local function rows_of(workers)
  local rows = {}
  for i, worker in ipairs(workers) do
    rows[i] = { tostring(worker.place), { worker.state, text.colour_of(worker.state) },
      worker.pid and tostring(worker.pid) or '-', tostring(worker.in_flight), tostring(worker.calls),
      tostring(worker.starts), score_text(worker.scores) }
  end
  return rows
end

local function head_of(deployment, router, paint)
  local state = router.state == 'draining' and router.state or deployment.state
  local parked = (deployment.parked or 0) > 0 and (' (%d parked)'):format(deployment.parked) or ''
  return ('%s  %s  %d of %d workers ready%s, %d queued, %d running, %d calls, %d %s  (router %d, up %s)'):format(
    paint('bold', routers.full_name(deployment)), paint(text.colour_of(state), state),
    deployment.ready, #deployment.workers, parked, deployment.queued, deployment.running, deployment.calls, deployment.clients,
    deployment.clients == 1 and 'client' or 'clients', router.pid, text.duration(router.uptime))
end

--- Lines about deployments, { router =, deployment = } each, `router` being its status.
function M.render(found, paint)
  local lines = {}
  for i, entry in ipairs(found) do
    local deployment = entry.deployment
    if i > 1 then lines[#lines + 1] = '' end
    lines[#lines + 1] = head_of(deployment, entry.router, paint)
    if deployment.failure then
      local cause = deployment.failure.cause
      local why = tostring(deployment.failure.message) .. (cause and ': ' .. tostring(cause.message) or '')
      if deployment.next_try and deployment.state ~= 'failed' then  -- whose message says it
        why = ('%s; the next try is in %d s'):format(why, math.ceil(deployment.next_try))
      end
      lines[#lines + 1] = '  ' .. paint('red', text.plain(why))
    end
    if deployment.decision then lines[#lines + 1] = '  ' .. paint('dim', 'scaling: ' .. text.plain(deployment.decision)) end
    if #deployment.workers > 0 then
      for _, line in ipairs(text.columns(HEADS, rows_of(deployment.workers), RIGHT, paint)) do
        lines[#lines + 1] = '  ' .. line
      end
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

function M.run(given)
  local all, problems = routers.all(given)
  if not all then return routers.NOBODY, problems end
  local found, statuses = routers.deployments(all, given), {}
  for i, entry in ipairs(found) do found[i] = { router = entry.router.status, deployment = entry.deployment } end
  for i, router in ipairs(all) do statuses[i] = router.status end
  routers.close(all)
  if given.json then
    io.write(json.encode(statuses, true), '\n')
  end
  if #found == 0 and not (given.json and #all > 0) then return routers.nobody(all, problems, given) end
  if not given.json then io.write(M.render(found, text.painter(STDOUT))) end
  return 0, problems[1] and table.concat(problems, '\n')
end

return M
