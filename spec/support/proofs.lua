--- What the router and its autoscaler have to reach, as ratios within one run of the simulator. The bench prints them, the specs
--- run shorter ones.
local native = require 'farside.native'
local report = require 'farside.simulate.report'

local M = {}

local ONE = { { concurrency = 1, benchmarked = true } }

local function simulate(options)
  options.functions = ONE
  options.policy = options.policy or 'farside'
  options.seed = options.seed or 1
  local simulation = native.simulation(options)
  assert(simulation:run(math.huge))
  local result = simulation:result()
  local summary = report.summary(result)
  summary.result = result
  return summary
end

local function copy(options, more)
  local copied = {}
  for name, value in pairs(options) do copied[name] = value end
  for name, value in pairs(more) do copied[name] = value end
  return copied
end

--- One line: what, at least or at most so much, what was reached.
local function row(what, relation, asked, reached)
  local ok = relation == '>=' and reached >= asked or relation == '<=' and reached <= asked or relation == '<' and reached < asked
  return { what = what, relation = relation, asked = asked, reached = reached, ok = ok }
end

local function told(what, reached)
  return { what = what, reached = reached, ok = true }
end

-- 1 -----------------------------------------------------------------------------------------------------------------

M.CALLS = 16  -- in flight

--- Two workers of speed 1 and 4, saturated. Returns rows, and the share of their capacity that was used.
function M.saturated(seconds)
  local summary = simulate {
    arrivals = { shape = 'closed', closed = M.CALLS, seconds = seconds, workload = 'constant', mean = 1 },
    kinds = { { count = 1, speed = 200 }, { count = 1, speed = 50 } },
  }
  local share = summary.result.work_in_time / seconds / 250
  return { row('1 speeds 1 and 4, saturated: share of capacity, simulated', '>=', 0.95, share) }, share
end

-- 2 -----------------------------------------------------------------------------------------------------------------

--- Eight workers of four speeds against the peers that know less.
function M.uneven(seconds)
  local kinds = {}
  for i = 1, 4 do kinds[i] = { count = 2, speed = 2 ^ (i - 1) } end
  local function run(policy, wrong)
    return simulate {
      policy = policy, kinds = kinds,
      arrivals = { shape = 'poisson', rate = 0.7 * 30, seconds = seconds, workload = 'lognormal', mean = 1, spread = 1.5,
        told_wrong = wrong },
    }.latency
  end
  local least, weighted = run('least_connections', 0), run('least_connections_weighted', 0)
  local rows, right = {}, nil
  for _, wrong in ipairs { 0, 0.3 } do
    local own = run('farside', wrong)
    local what = wrong == 0 and '2 ' or '2 told 30 % wrong: '
    rows[#rows + 1] = row(what .. 'p99 of least connections', '<=', 0.35, own.p99 / least.p99)
    rows[#rows + 1] = row(what .. 'p99 of least connections weighted by speed', '<=', 0.65, own.p99 / weighted.p99)
    rows[#rows + 1] = row(what .. 'mean of least connections', '<=', 0.55, own.mean / least.mean)
    rows[#rows + 1] = row(what .. 'mean of least connections weighted by speed', '<=', 0.8, own.mean / weighted.mean)
    if right then
      rows[#rows + 1] = told('2 told 30 % wrong: p99 of told right', own.p99 / right.p99)
      rows[#rows + 1] = told('2 told 30 % wrong: mean of told right', own.mean / right.mean)
    end
    right = right or own
  end
  return rows
end

-- 3 -----------------------------------------------------------------------------------------------------------------

--- One of eight workers turns 20 times slower in the middle. Both runs are measured from then on.
function M.slower(seconds)
  local options = {
    kinds = { { count = 8, speed = 100 } },
    arrivals = { shape = 'poisson', rate = 0.6 * 8 * 100 / 20, seconds = seconds, workload = 'lognormal', mean = 20, spread = 1 },
    measured_from = seconds / 2,
  }
  local quiet = simulate(options)
  local slow = simulate(copy(options, { changes = { { worker = 3, at = seconds / 2, factor = 20 } } }))
  return {
    row('3 one of eight 20x slower: p99 of the quiet p99', '<=', 3, slow.latency.p99 / quiet.latency.p99),
    row('3 its share of calls afterwards', '<', 0.02, slow.shares[4]),
  }
end

-- 4 -----------------------------------------------------------------------------------------------------------------

local START = 30  -- seconds

--- From nothing to ten times min_load.
function M.burst()
  local target = 10
  local summary = simulate {
    kinds = { { count = 16, speed = 100, start = START } },
    scaling = { max_workers = 16, min_load = 100, target_queue_time = target },
    arrivals = { shape = 'burst', rate = 0, high = 20, length = 600, period = 700, seconds = 700, workload = 'exponential', mean = 50 },
  }
  return {
    row('4 burst from 0 to 10x min_load: p95 of the wait of target_queue_time and a start', '<=', 1,
      summary.wait.p95 / (target + START)),
    row('4 burst: errors', '<=', 0, summary.failed),
  }
end

-- What a wave costs that is shorter than the delay of scaling down.
local function summary_of_waves(waves, period)
  return simulate {
    kinds = { { count = 16, speed = 100, start = START } },
    scaling = { max_workers = 16, min_load = 100 },
    arrivals = { shape = 'square', rate = 4, high = 16, period = period, seconds = waves * period, workload = 'exponential', mean = 50 },
  }
end

--- What it starts and stops to find its size, in the first waves, is none of a wave.
function M.wave(waves)
  local period, first = 50, 5
  local before, summary = summary_of_waves(first, period), summary_of_waves(first + waves, period)
  local function each(up, down) return (summary[up] + summary[down] - before[up] - before[down]) / waves end
  return {
    row('4 square wave of 50 s: starts a wave', '<=', 1, each('starts', 'unparks')),
    row('4 square wave of 50 s: stops a wave', '<=', 1, each('stops', 'parks')),
  }
end

-- 5 -----------------------------------------------------------------------------------------------------------------

--- Diurnal traffic of ten workers on average, and what it costs. `day` is its length in seconds.
function M.diurnal(day)
  local mean, speed = 50, 100
  local arrivals = { shape = 'diurnal', rate = 10 * speed / mean, swing = 0.8, period = day, seconds = day, workload = 'lognormal',
    mean = mean, spread = 1 }
  local summary = simulate {
    kinds = { { count = 32, speed = speed, start = START } },
    scaling = { max_workers = 32, min_load = speed, cold_mult = 1 },
    arrivals = arrivals,
  }
  local known = native.clairvoyant { arrivals = arrivals, seed = 1, speed = speed, start = START, wait = 2 }
  return {
    row('5 a day: worker-seconds of a schedule that knows all calls', '<=', 1.25, summary.worker_seconds / known.schedule),
    told('5 a day: worker-seconds of the least that could be', summary.worker_seconds / known.bound),
    row('5 a day: p99 of the wait, seconds', '<', 2, summary.wait.p99),
    row('5 a day: errors', '<=', 0, summary.failed),
  }
end

return M
