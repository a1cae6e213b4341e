--- farside simulate SCRIPT [options]: calls, workers and their costs in virtual time, decided by the router itself.
local attributes = require 'farside.attributes'
local check = require 'farside.check'
local deployment = require 'farside.deployment'
local native = require 'farside.native'
local report = require 'farside.simulate.report'
local scaling = require 'farside.scaling'
local svg = require 'farside.simulate.svg'
local words = require 'farside.simulate.words'

local OK, FAILED, USAGE = 0, 1, 64
local SAMPLES = 300       -- of the picture
local STEP_SECONDS = 3600 -- of virtual time, between two looks at whether somebody interrupts
local DAY = 86400

local HELP = [==[
usage: farside simulate SCRIPT [options]

Runs the calls of a trace, or made-up ones, through the router in virtual time, with the functions and the scaling
parameters that the deploy script declares.

calls
  --trace FILE            a CSV file with the columns arrival, function, workload, service; `farside serve --record`
                          writes such files
  --arrivals SHAPE        even:RATE, poisson:RATE, diurnal:RATE[:SWING[:PERIOD]], burst:LOW:HIGH:LENGTH:PERIOD,
                          square:LOW:HIGH:PERIOD, closed:CALLS; a rate is calls a second or, as in 70%, a share of what
                          all workers can do (poisson:70%)
  --seconds N             of arrivals (600; a day for diurnal ones; all of a trace)
  --workload SHAPE        constant:100, uniform:MEAN, exponential:MEAN, lognormal:MEAN:SIGMA, pareto:MEAN:SHAPE
  --functions F:WEIGHT,.. which functions are called how often (the first one)
  --told-wrong SHARE      each workload is told so much too high or too low, 0.3 is 30 %
  --noise SIGMA           of the time that a call takes (0)
  --reference SPEED       of the worker on which the trace's service times were measured (that of the first kind)

workers
  --workers KINDS         COUNTxSPEED,..., a speed is workload a second (max_workers x 100); a kind may have
                          :start=SECONDS :spread=SIGMA :rtt=SECONDS :faults=SHARE :deaths=AN_HOUR
  --start SECONDS         from the start of a worker until it is ready, for kinds that do not say it (5)
  --slow W:FACTOR@SECONDS worker W, from 0 on, takes FACTOR times as long from then on; may be given again
  --fixed                 all workers are there all the time; without it the autoscaler decides
  --set NAME=VALUE        a scaling parameter, other than the script says; may be given again

results
  --compare POLICIES      farside, round_robin, least_connections, least_connections_weighted, power_of_two, or all, side
                          by side, with --fixed
  --from SECONDS          calls that come before that are not counted (0)
  --seed N                (1)
  --svg FILE              a picture of workers, queue and latency over time, of the first policy
  --json
]==]

local VALUES = {
  trace = true, arrivals = true, seconds = true, workload = true, functions = true, ['told-wrong'] = true, noise = true,
  reference = true, workers = true, start = true, slow = true, set = true, compare = true, from = true, seed = true,
  svg = true, deployment = true,
}
local FLAGS = { fixed = true, json = true, help = true }

local function option_names()
  local names = check.sorted_keys(VALUES)
  for _, name in ipairs(check.sorted_keys(FLAGS)) do names[#names + 1] = name end
  for i, name in ipairs(names) do names[i] = '--' .. name end
  return names
end

--- Words to { script =, NAME = value, slow = {...}, set = {...} }.
local function read(args)
  local found = { slow = {}, set = {} }
  local i = 1
  while i <= #args do
    local word = args[i]
    local name, value = word:match('^%-%-([%w-]+)=(.*)$')
    name = name or word:match('^%-%-([%w-]+)$') or word == '-h' and 'help'
    if not name then
      if found.script then return nil, ("expected one script, got '%s' and '%s'"):format(found.script, word) end
      found.script = word
    elseif FLAGS[name] then
      found[name] = true
    elseif VALUES[name] then
      if not value then
        i = i + 1
        value = args[i]
      end
      if not value then return nil, ('--%s: expected a value, got none'):format(name) end
      if type(found[name]) == 'table' then
        table.insert(found[name], value)
      else
        found[name] = value
      end
    else
      return nil, ("unknown option '--%s'%s"):format(name, check.suggest('--' .. name, option_names()))
    end
    i = i + 1
  end
  return found
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
  return nil, ('--%s: expected %s, got %s'):format(name, check.number(low or 0, nil, over)(nil), check.describe(given[name]))
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

local function capacity_of(kinds)
  local capacity, count = 0, 0
  for _, kind in ipairs(kinds) do
    capacity, count = capacity + kind.count * kind.speed, count + kind.count
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
local function made_up(given, kinds)
  local arrivals, problem = words.arrivals(given.arrivals or 'poisson:70%')
  if not arrivals then return nil, problem end
  local workload
  workload, problem = words.workload(given.workload or 'constant:100')
  if not workload then return nil, problem end
  arrivals.workload, arrivals.mean, arrivals.spread = workload.shape, workload.mean, workload.spread
  local capacity = capacity_of(kinds)
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
  local names = {}
  for i, remote in ipairs(app.functions) do names[i] = remote.name end
  local arrivals
  if given.trace then
    arrivals, problem = from_trace(given, app.name, names, kinds)
  else
    arrivals, problem = made_up(given, kinds)
  end
  if not arrivals then return nil, problem end
  local options = { kinds = kinds, arrivals = arrivals, functions = app:function_options(), sample_count = given.svg and SAMPLES or 0 }
  local seconds = given.trace and arrivals.span or arrivals.shape == 'diurnal' and DAY or 600
  problem = add_numbers(given, arrivals, { { 'seconds', 'seconds', seconds }, { 'told-wrong', 'told_wrong', 0 }, { 'noise', 'noise', 0 } })
    or add_numbers(given, options, { { 'from', 'measured_from', 0 }, { 'seed', 'seed', 1 } })
  if problem then return nil, problem end
  if arrivals.told_wrong >= 1 then return nil, '--told-wrong: expected a share below 1, got ' .. given['told-wrong'] end
  options.changes, problem = read_changes(given, count)
  if not options.changes then return nil, problem end
  if given.functions then
    options.shares, problem = words.shares(given.functions, names)
    if not options.shares then return nil, problem end
  end
  if not given.fixed and not given.compare then options.scaling = parameters end
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

local function describe(given, app, options)
  local capacity, count = capacity_of(options.kinds)
  return ("'%s', %s: %g s, %d workers of together %g workload a second%s, seed %d\n\n"):format(app.name,
    given.trace or given.arrivals or 'poisson:70%', options.arrivals.seconds, count, capacity,
    options.scaling and ' at most' or '', options.seed)
end

local function write_svg(path, one, title)
  local file, problem = io.open(path, 'wb')
  if not file then return '--svg: ' .. problem end
  file:write(svg.draw(one.result, { title = title }))
  file:close()
  return nil
end

local function simulate(given)
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
  local title = describe(given, app, options)
  if given.json then
    local list = {}
    for i, one in ipairs(runs) do
      one.summary.policy = one.policy
      list[i] = one.summary
    end
    io.write(report.json(list), '\n')
  else
    io.write(title, report.text(runs))
  end
  io.stdout:flush()
  tell_costs(runs)
  if given.svg then
    problem = write_svg(given.svg, runs[1], title:gsub('%s+$', ''))
    if problem then return FAILED, problem end
  end
  return OK
end

--- Called by the executable.
---@param args string[] the words behind `simulate`
---@return integer exit code
local function main(_, args)
  local given, problem = read(args)
  if given and given.help then
    io.write(HELP)
    return OK
  end
  if given and not given.script then problem = 'expected a deploy script; farside simulate --help says more' end
  local code = USAGE
  if not problem then code, problem = simulate(given) end
  if problem then io.stderr:write('farside: simulate: ', problem, '\n') end
  return code
end

return setmetatable({ help = HELP }, { __call = main })
