--- farside why CALL_ID: which workers there were for a call, what was predicted of each, and which one was taken.
local json = require 'farside.cli.json'
local native = require 'farside.native'
local routers = require 'farside.cli.routers'
local text = require 'farside.cli.text'

local M = {}

local STDOUT, USAGE = 1, 64

M.description = 'Shows why a call went where it went: the workers that could have had it, their scores, how long each would ' ..
  'have kept it waiting, when it was predicted to end there, and the reason of the choice. A router that is served keeps ' ..
  'that of its latest 10,000 calls. What it does not know is ?, in JSON null. The id stands in farside.call().id, and in the ' ..
  'field call_id of errors.'
M.epilog = [[
Example:
   farside why 3f1c9a70e2b84d550000000000100000]]

function M.declare(parser)
  parser:argument('call', 'The id of the call: 32 hexadecimal digits.'):argname 'CALL_ID'
  routers.declare(parser)
  parser:flag('--json', 'As JSON.')
end

local HEADS = { 'WORKER', 'ROOM', 'STANDING', 'WAIT', 'ROUND TRIP', 'SCORE', 'ENDS IN', '' }
local RIGHT = { true, false, false, true, true, true, true }

local function known(value)
  if value == native.null then return nil end
  return value
end

local function span_of(value)
  return known(value) and text.span(value) or '?'
end

local function rows_of(why)
  local rows = {}
  for i, worker in ipairs(why.workers) do
    rows[i] = { tostring(worker.place), worker.free and 'free' or 'busy', worker.standing, text.span(worker.wait),
      span_of(worker.round_trip), known(worker.score) and text.short(worker.score) .. '/s' or '?', span_of(worker.ends),
      worker.place == why.place and (why.state == 'waits' and 'awaited' or 'taken') or '' }
  end
  return rows
end

--- How long a call ran that a worker had: what the worker said, or what alone is known without that.
local function time_of(why)
  local predicted = known(why.predicted) and text.span(why.predicted) or 'none'
  if not why.took then return ('it was sent there %s ago, predicted were %s'):format(text.span(why.since_sent), predicted) end
  local ran = known(why.ran) and 'it ran for ' .. text.span(why.ran)
    or ('it ended %s after it was sent there, how long it ran there is not known'):format(text.span(why.since_sent))
  return ('%s; predicted were %s; it took %s in all'):format(ran, predicted, text.span(why.took))
end

--- What a router says of a call, for a person.
function M.render(why, paint)
  local lines = { ("%s of '%s' %s: attempt %d, workload %s"):format(why['function'], routers.full_name {
    name = why.deployment, tag = why.tag }, why.state, why.attempt, text.short(why.workload)) }
  if why.error then lines[1] = lines[1] .. ', ' .. why.error end
  if why.waited_because then lines[#lines + 1] = ('it waited for %s: %s'):format(text.span(why.waited), why.waited_because) end
  if why.state == 'waits' then
    lines[#lines + 1] = ('it waits since %s: %s'):format(text.span(why.waited), why.because)
  elseif not why.given then
    lines[#lines + 1] = ('no worker had it in %s: %s'):format(text.span(why.waited), why.because)
  else
    lines[#lines + 1] = ('worker %d: %s'):format(why.place, why.because)
  end
  if why.given then lines[#lines + 1] = time_of(why) end
  if #why.workers > 0 then
    lines[#lines + 1] = ('the best of %d workers at that time:'):format(why.candidates)
    for _, line in ipairs(text.columns(HEADS, rows_of(why), RIGHT, paint)) do lines[#lines + 1] = '  ' .. line end
  end
  return table.concat(lines, '\n') .. '\n'
end

function M.run(given)
  if not given.call:find '^%x+$' or #given.call ~= 32 then
    return USAGE, ("call: expected the 32 hexadecimal digits of a call's id, got '%s'"):format(given.call)
  end
  local all, problems = routers.all(given)
  if not all then return routers.NOBODY, problems end
  if #all == 0 then return routers.nobody(all, problems, given) end
  local why, code, problem
  for _, router in ipairs(all) do
    local found, failed, reason = routers.ask({ router = router }, 'why', { call = given.call })
    why, code, problem = why or found, failed, reason
  end
  routers.close(all)
  if not why then return code, problem end
  io.write(given.json and json.encode(why, true) .. '\n' or M.render(why, text.painter(STDOUT)))
end

return M
