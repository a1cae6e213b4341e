--- The results of simulations side by side.
local three = require('farside.cli.text').three

local M = {}

--- Sums over the workers, and what follows from them.
function M.summary(result)
  local sum = { ready = 0, starting = 0, parked = 0, busy = 0, starts = 0, stops = 0, deaths = 0, parks = 0, unparks = 0 }
  for _, worker in ipairs(result.workers) do
    for key, value in pairs(sum) do sum[key] = value + worker[key] end
  end
  local shares = {}
  for i, worker in ipairs(result.workers) do shares[i] = result.ended > 0 and worker.calls / result.ended or 0 end
  return {
    calls = result.calls,
    failed = result.failed,
    errors = result.errors,
    seconds = result.seconds,
    wait = result.wait,
    latency = result.latency,
    throughput = result.seconds > 0 and (result.ended - result.failed) / result.seconds or 0,
    utilisation = sum.ready > 0 and sum.busy / sum.ready or 0,
    worker_seconds = sum.ready + sum.starting + sum.parked,
    busy_seconds = sum.busy,
    parked_seconds = sum.parked,
    starts = sum.starts,
    stops = sum.stops,
    deaths = sum.deaths,
    parks = sum.parks,
    unparks = sum.unparks,
    shares = shares,
  }
end

-- As text -----------------------------------------------------------------------------------------------------------

local function seconds(value)
  if value == 0 then return '0' end
  if value < 1e-3 then return ('%.0f us'):format(value * 1e6) end
  if value < 1 then return three(value * 1e3) .. ' ms' end
  if value < 1000 then return three(value) .. ' s' end
  return ('%.0f s'):format(value)
end

local function count(value)
  local text = ('%.0f'):format(value)
  local grouped
  repeat
    text, grouped = text:gsub('^(%-?%d+)(%d%d%d)', '%1,%2')
  until grouped == 0
  return text
end

local function percent(value)
  return ('%.1f %%'):format(100 * value)
end

local function of(key, field)
  return function(summary) return seconds(summary[key][field]) end
end

local function errors(summary)
  local names = {}
  for name in pairs(summary.errors) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do names[i] = ('%s %s'):format(count(summary.errors[name]), name) end
  return #names > 0 and table.concat(names, ', ') or '0'
end

local ROWS = {
  { 'calls', function(s) return count(s.calls) end },
  { 'errors', errors },
  { 'calls a second', function(s) return ('%.4g'):format(s.throughput) end },
  { 'wait       mean', of('wait', 'mean') },
  { '           p50', of('wait', 'p50') },
  { '           p95', of('wait', 'p95') },
  { '           p99', of('wait', 'p99') },
  { 'latency    mean', of('latency', 'mean') },
  { '           p50', of('latency', 'p50') },
  { '           p95', of('latency', 'p95') },
  { '           p99', of('latency', 'p99') },
  { 'worker-seconds', function(s) return count(s.worker_seconds) end },
  { '  of them busy', function(s) return count(s.busy_seconds) end },
  { '  of them parked', function(s) return count(s.parked_seconds) end },
  { 'utilisation', function(s) return percent(s.utilisation) end },
  { 'starts', function(s) return count(s.starts) end },
  { 'stops', function(s) return count(s.stops) end },
  { 'deaths', function(s) return count(s.deaths) end },
  { 'parked, again active', function(s) return ('%s, %s'):format(count(s.parks), count(s.unparks)) end },
}

--- A table of one column for each of the runs { policy =, summary = }.
function M.text(runs)
  local columns = {}
  for i, run in ipairs(runs) do
    local column = { run.policy }
    local width = #run.policy
    for j, row in ipairs(ROWS) do
      column[j + 1] = row[2](run.summary)
      width = math.max(width, #column[j + 1])
    end
    column.width, columns[i] = width, column
  end
  local lines = {}
  for j = 0, #ROWS do
    local line = { ('%-20s'):format(j == 0 and '' or ROWS[j][1]) }
    for _, column in ipairs(columns) do line[#line + 1] = ('  %' .. column.width .. 's'):format(column[j + 1]) end
    lines[#lines + 1] = table.concat(line):gsub('%s+$', '')
  end
  return table.concat(lines, '\n') .. '\n'
end

return M
