--- farside simulate SCRIPT [options]: calls, workers and their costs in virtual time, decided by the router itself.
local attributes = require 'farside.attributes'
local check = require 'farside.check'
local deployment = require 'farside.deployment'
local json = require 'farside.cli.json'
local native = require 'farside.native'
local report = require 'farside.simulate.report'
local scaling = require 'farside.scaling'
local svg = require 'farside.simulate.svg'
local words = require 'farside.simulate.words'

local OK, FAILED, USAGE = 0, 1, 64
local SAMPLES = 300       -- of the picture
local STEP_SECONDS = 3600 -- of virtual time, between two looks at whether somebody interrupts
local DAY = 86400
local MOST_SEED = 2 ^ 53

local M = {}

M.description = 'Runs the calls of a trace, or made-up ones, through the router in virtual time, with the functions and ' ..
  'the scaling parameters that a deploy script declares, and tells how long calls waited and what the workers cost.'
M.epilog = [[
Rates are calls a second or, as in 70%, a share of what the workers can do. Of more workers than max_workers
only so many run at once, the first ones, unless all of them are there by --fixed or --compare.
Speeds are workload a second. The same seed gives the same output.

Examples:
   farside simulate deploy.lua --trace calls.csv --workers 4x100,2x25 --set target_util=0.8
   farside simulate deploy.lua --arrivals diurnal:20 --workload lognormal:100:1.5 --svg day.svg
   farside simulate deploy.lua --workers 2x100,2x400 --compare all]]

local function declare_calls(parser)
  parser:group('Calls',
    parser:option('--trace', 'A CSV file with the columns arrival, function, workload, service: calls that came once. '
      .. 'farside serve --record writes such files.'):argname 'FILE',
    parser:option('--arrivals', 'even:RATE, poisson:RATE, diurnal:RATE[:SWING[:PERIOD]], burst:LOW:HIGH:LENGTH:PERIOD, '
      .. 'square:LOW:HIGH:PERIOD or closed:CALLS; poisson:70% without it.'):argname 'SHAPE',
    parser:option('--seconds', 'How long calls come: 600, a day for diurnal ones, all of a trace.'):argname 'N',
    parser:option('--workload', 'constant:MEAN, uniform:MEAN, exponential:MEAN, lognormal:MEAN:SIGMA or pareto:MEAN:SHAPE; '
      .. 'constant:100 without it.'):argname 'SHAPE',
    parser:option('--functions', 'Which are called how often, as in square:3,cube:1; the first one without it.')
      :argname 'LIST',
    parser:option('--told-wrong', 'Each workload is told so much too high or too low; 0.3 is 30 %.'):argname 'SHARE',
    parser:flag('--told-alike', 'All workloads are told as their mean, as without a workload_calculator.'),
    parser:option('--noise', 'Of the time that a call takes: sigma of its logarithm.'):argname 'SIGMA',
    parser:option('--reference', "The speed at which a trace's service times were measured; that of the first kind without it.")
      :argname 'SPEED')
end

local function declare_workers(parser)
  parser:group('Workers',
    parser:option('--workers', 'COUNTxSPEED,...; each may have :start=SECONDS :spread=SIGMA :rtt=SECONDS :faults=SHARE '
      .. ':deaths=AN_HOUR. Without it max_workers of speed 100.'):argname 'KINDS',
    parser:option('--start', 'Seconds from the start of a worker until it is ready, for kinds that do not say it; 5.')
      :argname 'SECONDS',
    parser:option('--slow', 'As in 3:20@300: worker 3, from 0 on, takes 20 times as long from 300 s on. May be given again.')
      :count '*':argname 'CHANGE',
    parser:flag('--fixed', 'All workers are there all the time; without it the autoscaler decides.'),
    parser:option('--set', 'A parameter of app.configure_autoscaling, other than the script says. May be given again.')
      :count '*':argname 'NAME=VALUE')
end

function M.declare(parser)
  parser:argument('script', 'The deploy script.'):argname 'SCRIPT'
  parser:option('--deployment', 'Which one, if the script declares several.'):argname 'NAME'
  declare_calls(parser)
  declare_workers(parser)
  parser:group('Results',
    parser:option('--compare', 'Policies side by side, all workers there: farside, round_robin, least_connections, '
      .. 'least_connections_weighted, power_of_two, or all.'):argname 'LIST',
    parser:option('--from', 'Calls that come before are not counted.'):argname 'SECONDS',
    parser:option('--seed', 'Another one, other chances; 1.'):argname 'N',
    parser:option('--svg', 'Draws workers, queue and latency over time, of the first policy.'):argname 'FILE',
    parser:flag('--json', 'As JSON: a list, one element a policy.'))
end

-- The deployment ----------------------------------------------------------------------------------------------------

local function load(given)
  local chunk, problem = attributes.loadfile(given.script)
  if not chunk then return nil, problem end
  deployment.phase = 'loading'  -- as in a worker: what farside.run holds is not run
  local ok, err = pcall(chunk)
  if not ok then return nil, tostring(err) end
  local found = deployment.of_file(given.script)
  local names = {}
  for i, one in ipairs(found) do
    if one.name == given.deployment or (not given.deployment and #found == 1) then
      one:finish()
      return one
    end
    names[i] = one.name
  end
  if #found == 0 then return nil, ('%s: expected a deployment, got none'):format(given.script) end
  return nil, ('%s: expected --deployment with one of %s'):format(given.script, table.concat(names, ', '))
end

local function read_file(path)
  local file, problem = io.open(path, 'rb')
  if not file then return nil, problem end
  local text = file:read('*a')
  file:close()
  if not text then return nil, path .. ': it cannot be read' end
  return text
end

-- Options -----------------------------------------------------------------------------------------------------------

--- One number among the options; nil, problem when it is none.
local function number(given, name, otherwise, low, over)
  if not given[name] then return otherwise end
  local value = words.number(given[name], low or 0, nil, over)
  if value then return value end
  return nil, ('--%s: expected %s, got %s'):format(name:gsub('_', '-'), check.number(low or 0, nil, over)(nil), check.describe(given[name]))
end

local function seed_of(given)
  if not given.seed then return 1 end
  local rule, value = check.integer(0, MOST_SEED), tonumber(given.seed)
  local expected = rule(value)
  if expected then return nil, ('--seed: expected %s, got %s'):format(expected, check.describe(given.seed)) end
  return value
end

local function set_scaling(parameters, list)
  for _, text in ipairs(list) do
    local name, value = text:match('^([%w_]+)=(.+)$')
    if not name or not tonumber(value) then
      return ('--set: expected NAME=NUMBER, got %s'):format(check.describe(text))
    end
    local problem = scaling.merge(parameters, { [name] = tonumber(value) })
    if problem then return (problem:gsub('^app%.configure_autoscaling', '--set')) end
  end
  return nil
end

--- What the first `most` of the workers can do together, and how many these are.
local function capacity_of(kinds, most)
  local capacity, count = 0, 0
  for _, kind in ipairs(kinds) do
    local some = math.min(kind.count, most - count)
    capacity, count = capacity + some * kind.speed, count + some
  end
  return capacity, count
end

--- Calls out of a file. Returns arrivals.
local function from_trace(given, name, names, kinds)
  local text, problem = read_file(given.trace)
  if not text then return nil, problem end
  local trace, count, seconds = native.read_trace(text, names, name)
  if not trace then return nil, ('%s:%d: %s'):format(given.trace, count, seconds) end
  local reference
  reference, problem = number(given, 'reference', kinds[1].speed, 0, true)
  if not reference then return nil, problem end
  return { shape = 'trace', workload = 'constant', trace = trace, reference = reference, seconds = 0, span = seconds }
end

--- Calls made by chance. Returns arrivals.
local function made_up(given, kinds, most)
  local arrivals, problem = words.arrivals(given.arrivals or 'poisson:70%')
  if not arrivals then return nil, problem end
  local workload
  workload, problem = words.workload(given.workload or 'constant:100')
  if not workload then return nil, problem end
  arrivals.told_alike = given.told_alike
  arrivals.workload, arrivals.mean, arrivals.spread = workload.shape, workload.mean, workload.spread
  local capacity = capacity_of(kinds, most)
  for _, key in ipairs { 'rate', 'high' } do
    local share = arrivals[key .. '_share']
    if share then arrivals[key] = share / 100 * capacity / arrivals.mean end
  end
  return arrivals
end

local function add_numbers(given, target, list)
  for _, entry in ipairs(list) do
    local name, key, otherwise = unpack(entry)
    local value, problem = number(given, name, otherwise)
    if not value then return problem end
    target[key] = value
  end
  return nil
end

local function read_kinds(given, parameters)
  local start, problem = number(given, 'start', 5)
  if not start then return nil, problem end
  local text = given.workers or ('%dx100'):format(parameters.max_workers)
  return words.workers(text, { start = start, spread = 0.2 })
end

local function read_changes(given, count)
  local changes = {}
  for i, text in ipairs(given.slow) do
    local change, problem = words.slow(text)
    if not change then return nil, problem end
    if change.worker >= count then return nil, ('--slow: expected a worker from 0 to %d, got %d'):format(count - 1, change.worker) end
    changes[i] = change
  end
  return changes
end

--- All options of the simulation of a deployment.
local function options_of(given, app)
  local parameters = {}
  for name, value in pairs(app.scaling) do parameters[name] = value end
  local problem = set_scaling(parameters, given.set)
  if problem then return nil, problem end
  local kinds, count = read_kinds(given, parameters)
  if not kinds then return nil, count end
  parameters.max_workers = math.min(parameters.max_workers, count)
  parameters.cold_workers = math.min(parameters.cold_workers, count)
  local is_scaled = not given.fixed and not given.compare
  local most = is_scaled and parameters.max_workers or count  -- that may run at once
  local names = {}
  for i, remote in ipairs(app.functions) do names[i] = remote.name end
  local arrivals
  if given.trace then
    arrivals, problem = from_trace(given, app.name, names, kinds)
  else
    arrivals, problem = made_up(given, kinds, most)
  end
  if not arrivals then return nil, problem end
  local options = { kinds = kinds, arrivals = arrivals, functions = app:function_options(), sample_count = given.svg and SAMPLES or 0 }
  local seconds = given.trace and arrivals.span or arrivals.shape == 'diurnal' and DAY or 600
  problem = add_numbers(given, arrivals, { { 'seconds', 'seconds', seconds }, { 'told_wrong', 'told_wrong', 0 }, { 'noise', 'noise', 0 } })
    or add_numbers(given, options, { { 'from', 'measured_from', 0 } })
  if problem then return nil, problem end
  options.seed, problem = seed_of(given)
  if not options.seed then return nil, problem end
  if arrivals.told_wrong >= 1 then return nil, '--told-wrong: expected a share below 1, got ' .. given.told_wrong end
  options.changes, problem = read_changes(given, most)
  if not options.changes then return nil, problem end
  if given.functions then
    options.shares, problem = words.shares(given.functions, names)
    if not options.shares then return nil, problem end
  end
  if is_scaled then options.scaling = parameters end
  return options
end

-- Running -----------------------------------------------------------------------------------------------------------

local function run(options, policy)
  options.policy = policy
  local began, until_second = native.now(), 0
  local simulation = native.simulation(options)
  repeat until_second = until_second + STEP_SECONDS until simulation:run(until_second)
  local result = simulation:result()
  return { policy = policy, result = result, summary = report.summary(result), took = native.now() - began }
end

--- To stderr: it is not the same twice.
local function tell_costs(runs)
  for _, one in ipairs(runs) do
    io.stderr:write(('%s: %.0f s simulated in %.2f s (%.0f a second), %.2f us a call\n'):format(one.policy, one.result.seconds,
      one.took, one.result.seconds / one.took, one.took / math.max(1, one.result.calls) * 1e6))
  end
end

--- The title; and a sentence about workers that never run, or nil.
local function describe(given, app, options)
  local scaled = options.scaling
  local _, all = capacity_of(options.kinds, math.huge)
  local capacity, count = capacity_of(options.kinds, scaled and scaled.max_workers or all)
  local title = ("'%s', %s: %g s, %d workers of together %g workload a second%s, seed %d"):format(app.name,
    given.trace or given.arrivals or 'poisson:70%', options.arrivals.seconds, count, capacity, scaled and ' at most' or '', options.seed)
  if count == all then return title end
  return title, ('max_workers is %d: of %d workers no more run at once, the first ones; all may with --set max_workers=%d'):format(count, all, all)
end

local function write_svg(path, one, title)
  local file, problem = io.open(path, 'wb')
  if not file then return '--svg: ' .. problem end
  file:write(svg.draw(one.result, { title = title }))
  file:close()
  return nil
end

function M.run(given)
  local app, problem = load(given)
  if not app then return FAILED, problem end
  local policies = { 'farside' }
  if given.compare then
    policies, problem = words.policies(given.compare)
    if not policies then return USAGE, problem end
  end
  local options
  options, problem = options_of(given, app)
  if not options then return USAGE, problem end
  local runs = {}
  for i, policy in ipairs(policies) do runs[i] = run(options, policy) end
  local title, note = describe(given, app, options)
  if given.json then
    local list = {}
    for i, one in ipairs(runs) do
      one.summary.policy, one.summary.errors = one.policy, native.map(one.summary.errors)
      list[i] = one.summary
    end
    io.write(json.encode(list), '\n')
    if note then io.stderr:write(note, '\n') end
  else
    io.write(title, '\n', note and note .. '\n' or '', '\n', report.text(runs))
  end
  io.stdout:flush()
  tell_costs(runs)
  if given.svg then
    problem = write_svg(given.svg, runs[1], title)
    if problem then return FAILED, problem end
  end
  return OK
end

return M
