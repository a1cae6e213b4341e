--- The simulator against the textbooks of queueing theory, and the calls that it makes.
local native = require 'farside.native'
local plants = require 'spec.support.plants'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'
local ONE = { { concurrency = 1, benchmarked = true } }

local function simulate(options)
  options.functions = options.functions or ONE
  options.policy = options.policy or 'farside'
  local simulation = native.simulation(options)
  assert.is_true(simulation:run(math.huge))
  return simulation:result()
end

-- Calls with exponential workloads of mean 1. Nobody is told which is small, so that they are served as they come.
local function poisson(rate, seconds, more)
  local arrivals = { shape = 'poisson', rate = rate, seconds = seconds, workload = 'exponential', mean = 1, told_alike = true }
  for name, value in pairs(more or {}) do arrivals[name] = value end
  return arrivals
end

--- Mean wait of M/M/c (Erlang 1917), and the share of calls that wait.
local function erlang(servers, rate)
  local term, sum = 1, 0
  for k = 0, servers - 1 do
    sum = sum + term
    term = term * rate / (k + 1)
  end
  term = term * servers / (servers - rate)
  local waits = term / (sum + term)
  return waits / (servers - rate), waits
end

local function near(expected, got, tolerance)
  assert.is_true(math.abs(got - expected) <= tolerance * expected, ('expected %g, got %g'):format(expected, got))
end

describe('the simulator', function()
  for _, policy in ipairs { 'farside', 'round_robin', 'least_connections', 'least_connections_weighted', 'power_of_two' } do
    it('has the waits of M/M/1 with one worker: ' .. policy, function()
      local result = simulate { seed = 1, policy = policy, arrivals = poisson(0.7, 300000), kinds = { { count = 1, speed = 1 } } }
      near(0.7 / 0.3, result.wait.mean, 0.03)
      near(1 / 0.3, result.latency.mean, 0.03)
      -- The latency is exponential.
      near(math.log(100) / 0.3, result.latency.p99, 0.06)
      near(0.7, result.workers[1].busy / result.workers[1].ready, 0.01)
      near(0.7 * 300000, result.calls, 0.01)
    end)
  end

  it('has the waits of M/M/c with c workers that share the router\'s queue', function()
    local function wait(told_alike)
      return simulate { seed = 2, arrivals = poisson(3, 200000, { told_alike = told_alike }), kinds = { { count = 4, speed = 1 } } }.wait.mean
    end
    near((erlang(4, 3)), wait(true), 0.05)
    assert.is_true(wait(false) < erlang(4, 3))
  end)

  it('has the waits of M/M/c with the c slots of one worker', function()
    local wait = erlang(4, 3)
    local functions = { { concurrency = 4, benchmarked = true } }
    for _, policy in ipairs { 'farside', 'round_robin' } do
      local result = simulate { seed = 3, policy = policy, arrivals = poisson(3, 100000), functions = functions,
        kinds = { { count = 1, speed = 4 } } }
      near(wait, result.wait.mean, 0.05)
      near(0.75, result.workers[1].busy / result.workers[1].ready, 0.01)
    end
  end)

  it('has the waits of M/D/1', function()
    local arrivals = poisson(0.8, 200000, { workload = 'constant' })
    near(0.8 / 0.2 / 2, simulate { seed = 4, arrivals = arrivals, kinds = { { count = 1, speed = 1 } } }.wait.mean, 0.03)
  end)

  it('has the waits of M/G/1 with workloads that differ much (Pollaczek, Khinchine)', function()
    local square = math.exp(0.8 ^ 2)  -- mean square of a log-normal workload of mean 1
    local arrivals = poisson(0.5, 400000, { workload = 'lognormal', spread = 0.8 })
    near(0.5 * square / 2 / 0.5, simulate { seed = 5, arrivals = arrivals, kinds = { { count = 1, speed = 1 } } }.wait.mean, 0.05)
  end)

  it('waits as round robin over c queues does: each is E_c/M/1', function()
    -- Two queues: the wait is s / (1 - s), where s solves s = (r / (r + 1 - s))^2, for arrivals in two stages of rate r each.
    local rate, root = 1.6, 0.5
    for _ = 1, 200 do root = (rate / (rate + 1 - root)) ^ 2 end
    local result = simulate { seed = 6, policy = 'round_robin', arrivals = poisson(rate, 200000), kinds = { { count = 2, speed = 1 } } }
    near(root / (1 - root), result.wait.mean, 0.05)
  end)

  for name, more in pairs {
    constant = { workload = 'constant', mean = 3 },
    uniform = { workload = 'uniform', mean = 3 },
    exponential = { workload = 'exponential', mean = 3 },
    lognormal = { workload = 'lognormal', mean = 3, spread = 1 },
    pareto = { workload = 'pareto', mean = 3, spread = 2.5 },
  } do
    it('makes workloads of the mean that is asked for: ' .. name, function()
      local result = simulate { seed = 7, policy = 'round_robin', arrivals = poisson(100, 4000, more), kinds = { { count = 1, speed = 1000 } } }
      near(3, result.work_come / result.calls, 0.02)
    end)
  end

  for name, more in pairs {
    even = { shape = 'even', rate = 50 },
    poisson = { shape = 'poisson', rate = 50 },
    diurnal = { shape = 'diurnal', rate = 50, swing = 0.8, period = 1000 },
    burst = { shape = 'burst', rate = 25, high = 275, length = 100, period = 1000 },
    square = { shape = 'square', rate = 20, high = 80, period = 100 },
  } do
    it('makes as many calls as are asked for: ' .. name, function()
      local result = simulate { seed = 8, policy = 'round_robin', arrivals = poisson(50, 2000, more), kinds = { { count = 1, speed = 1000 } } }
      near(50 * 2000, result.calls, 0.02)
    end)
  end

  it('keeps a closed loop at the number of calls it has', function()
    local arrivals = poisson(0, 1000, { shape = 'closed', closed = 5 })
    local result = simulate { seed = 9, arrivals = arrivals, kinds = { { count = 2, speed = 1 } } }
    near(2, result.work_in_time / 1000, 0.02)
    near(5 / 2, result.latency.mean, 0.05)
  end)

  it('counts round trips', function()
    local arrivals = poisson(0.01, 100000, { workload = 'constant' })
    for _, policy in ipairs { 'farside', 'round_robin' } do
      local result = simulate { seed = 10, policy = policy, arrivals = arrivals, kinds = { { count = 1, speed = 1, round_trip = 0.5 } } }
      near(1.5, result.latency.p50, 0.005)
      near(0.25, result.wait.p50, 0.005)
    end
  end)

  it('lets calls fail and workers die', function()
    local kinds = { { count = 4, speed = 1, start = 10, spread = 0.3, faults = 0.05, deaths = 6 } }
    for _, policy in ipairs { 'farside', 'least_connections' } do
      local result = simulate { seed = 11, policy = policy, arrivals = poisson(2, 36000), kinds = kinds }
      local deaths, starts = 0, 0
      for _, worker in ipairs(result.workers) do deaths, starts = deaths + worker.deaths, starts + worker.starts end
      near(0.05, result.errors.RemoteError / result.calls, 0.05)
      near(4 * 6 * 10, deaths, 0.25)
      assert.equal(deaths + 4, starts)
      assert.is_true(result.errors.WorkerLost > deaths * 0.3 and result.errors.WorkerLost <= deaths)
      assert.equal(result.calls, result.ended)
    end
  end)

  it('ends calls at their deadlines', function()
    local result = simulate { seed = 12, arrivals = poisson(2, 1000), functions = { { concurrency = 1, timeout = 5 } },
      kinds = { { count = 1, speed = 1 } } }
    assert.is_true(result.errors.DeadlineExceeded > 500)
    assert.is_true(result.latency.max <= 5)
  end)

  it('slows a worker down when it is told to', function()
    local arrivals = poisson(0.001, 1000000, { workload = 'constant' })
    local result = simulate { seed = 13, policy = 'round_robin', arrivals = arrivals, kinds = { { count = 1, speed = 1 } },
      changes = { { worker = 0, at = 500000, factor = 20 } }, measured_from = 500100 }
    near(20, result.latency.p50, 0.01)
    near(500, result.calls, 0.2)
  end)

  it('tells workloads wrong, and the work stays as it is', function()
    local function run(wrong)
      return simulate { seed = 14, policy = 'round_robin', arrivals = poisson(1, 1000, { told_wrong = wrong }), kinds = { { count = 1, speed = 2 } } }
    end
    assert.same(run(0), run(0.3))
  end)

  it('comes to the same, bit for bit, twice and with another compiler', function()
    local program = BUILD .. '/unit/simulated'
    local text, code = plants.execute(program)
    assert.equal(0, code, text)
    assert.is_true(#text > 10000)
    assert.equal(text, (plants.execute(program)))
    local version = plants.execute("grep -m1 CMAKE_C_COMPILER: '" .. BUILD .. "/CMakeCache.txt'")
    local compiler = version:find('clang') and 'gcc' or 'clang-14'
    if not plants.execute('which ' .. compiler):find('%S') then pending(compiler .. ' is not there') end
    local other = os.tmpname()
    local output
    output, code = plants.execute(('%s -std=gnu11 -O1 -ffp-contract=off host/core/*.c host/simulate/*.c spec/unit/c/simulated.c -o %s -lm')
      :format(compiler, other))
    assert.equal(0, code, output)
    local again = plants.execute(other)
    os.remove(other)
    assert.equal(text, again)
  end)
end)

describe('the clairvoyant', function()
  local function find(options)
    return native.clairvoyant {
      arrivals = poisson(options.rate or 8, options.seconds or 3000, options.more), seed = 1, speed = 1, start = options.start or 30,
      wait = options.wait or 2,
    }
  end

  it('needs at least the time of all calls and their starts, and its schedule no less', function()
    local known = find {}
    near(8 * 3000 + 8 * 30, known.bound, 0.03)
    assert.is_true(known.schedule >= known.bound)
    assert.is_true(known.schedule <= 1.3 * known.bound, ('%g of %g'):format(known.schedule, known.bound))
    assert.is_true(known.p99 <= 2)
  end)

  it('needs fewer worker-seconds the longer calls may wait', function()
    local last = math.huge
    for _, wait in ipairs { 0, 1, 4, 16 } do
      local schedule = find { wait = wait }.schedule
      assert.is_true(schedule < last, ('%g s: %g, not below %g'):format(wait, schedule, last))
      last = schedule
    end
  end)

  it('lets equal calls that come equally far apart go one behind the other', function()
    -- Two a second, of half a second each: one worker does.
    local known = find { rate = 2, start = 0, wait = 0.01, more = { shape = 'even', workload = 'constant', mean = 0.499 } }
    assert.same({ 1, 1 }, { known.starts, known.most })
    near(3000, known.schedule, 0.001)
  end)
end)
