-- farside simulate: what is typed, what is printed.
local host = require 'spec.support.host'

local DEPLOY = [[
local farside = require 'farside'
local app = farside.deployment { name = 'shapes' }
app.configure_autoscaling { max_workers = 4 }
app.remote { name = 'square', benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
app.remote { name = 'cube', timeout = 20 } (function(x) return x * x * x end)
farside.run(function() error 'client code must not run' end)
]]

local function simulate(...)
  return host.run_program { host.farside, 'simulate', host.script('deploy.lua', DEPLOY), ... }
end

local function says(expected, ...)
  local process = simulate(...)
  assert.truthy(process.err:find(expected, 1, true), process.err)
  assert.equal(64, process.code)
end

describe('farside simulate', function()
  after_each(host.clean)

  it('prints the same twice, and the costs to stderr', function()
    local arguments = { '--fixed', '--workers', '2x100,2x25:deaths=5:faults=0.01', '--workload', 'lognormal:100:1.5', '--functions',
      'square:2,cube', '--noise', '0.2', '--told-wrong', '0.3' }
    local first, second = simulate(unpack(arguments)), simulate(unpack(arguments))
    assert.same({ 0, 0 }, { first.code, second.code }, first.err)
    assert.equal(first.out, second.out)
    assert.truthy(first.out:find("'shapes', poisson:70%: 600 s, 4 workers of together 250 workload a second, seed 1", 1, true))
    assert.truthy(first.out:find('\nwait +mean +[%d.]+ m?s\n'), first.out)
    assert.truthy(first.err:find('farside: %d+ s simulated in [%d.]+ s %(%d+ a second%), [%d.]+ us a call\n'))
    assert.is_not.equal(first.out, simulate('--seed', '2', unpack(arguments)).out)
  end)

  it('tells of those workers alone that max_workers lets run', function()
    local arguments = { '--arrivals', 'even:1', '--workers', '1x100,1x300,14x200', '--seconds', '10' }
    local few = simulate('--set', 'max_workers=2', unpack(arguments))
    assert.truthy(few.out:find("'shapes', even:1: 10 s, 2 workers of together 400 workload a second at most, seed 1\n" ..
      'max_workers is 2: of 16 workers no more run at once, the first ones; all may with --set max_workers=16\n\n', 1, true), few.out)
    local all = simulate('--set', 'max_workers=16', unpack(arguments))
    assert.truthy(all.out:find("10 s, 16 workers of together 3200 workload a second at most, seed 1\n\n", 1, true), all.out)
    local fixed = simulate('--fixed', unpack(arguments))
    assert.truthy(fixed.out:find("10 s, 16 workers of together 3200 workload a second, seed 1\n\n", 1, true), fixed.out)
    local json = simulate('--json', unpack(arguments))
    assert.same({ '[', 'max_workers is 4: of 16 workers' }, { json.out:sub(1, 1), json.err:match('^max_workers is 4: of 16 workers') })
  end)

  it('takes a share of what those workers can do that may run', function()
    local run = simulate('--arrivals', 'even:50%', '--workers', '16x200', '--seconds', '100', '--json')
    assert.truthy(run.out:find('"calls":400,', 1, true), run.out)  -- half of 4 workers that do 2 a second
  end)

  it('compares policies, with --json for programs', function()
    local process = simulate('--compare', 'all', '--seconds=100', '--json')
    assert.equal(0, process.code, process.err)
    local policies = {}
    for policy in process.out:gmatch('"policy":"([%w_]+)"') do policies[#policies + 1] = policy end
    assert.same({ 'farside', 'round_robin', 'least_connections', 'least_connections_weighted', 'power_of_two' }, policies)
    assert.truthy(process.out:find('"wait":{"count":%d+,"max":[%d.]+,"mean":[%d.]+,"p50":[%d.]+,'))
    assert.equal('[', process.out:sub(1, 1))
  end)

  it('reads a trace, as spreadsheets write it too, and counts from its first call', function()
    local trace = host.script('calls.csv', '\239\187\191arrival,function,workload,service\r\n1000,square,100,\r\n1003,cube,,2\n# nothing\n\n1001.5,square,50\n')
    local process = simulate('--trace', trace, '--fixed', '--workers', '1x100', '--json')
    assert.equal(0, process.code, process.err)
    assert.truthy(process.out:find('"calls":3,', 1, true))
    assert.truthy(process.out:find('"busy_seconds":3.5,', 1, true), process.out)
    assert.truthy(process.out:find('"seconds":5,', 1, true), process.out)
  end)

  it('passes over the calls of other deployments in a trace', function()
    local trace = host.script('calls.csv', 'arrival,deployment,function\n0,shapes,square\n1,colours,red\n2,shapes,cube\n')
    local process = simulate('--trace', trace, '--fixed', '--json')
    assert.truthy(process.out:find('"calls":2,', 1, true), process.err)
  end)

  it('draws a picture', function()
    local path = host.folder() .. '/picture.svg'
    assert.equal(0, simulate('--fixed', '--arrivals', 'burst:1:5:30:100', '--svg', path).code)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    assert.truthy(text:find('^<svg xmlns="http://www.w3.org/2000/svg"') and text:find('</svg>\n$'))
    for _, word in ipairs { 'calls a second', 'workers', 'active', 'starting', 'parked', 'calls that wait', 'latency' } do
      assert.truthy(text:find('>' .. word .. '<', 1, true), word)
    end
    assert.is_nil(text:find('nan') or text:find('inf'))
  end)

  for expected, arguments in pairs {
    ["simulate: unknown option '--worker'\nDid you mean '--workers'?"] = { '--worker', '2' },
    ['simulate: --workers: expected COUNTxSPEED'] = { '--workers', '2y100' },
    ['[:deaths=AN_HOUR],..., got the string "2x100:rtt=far"'] = { '--workers', '2x100:rtt=far' },
    ['simulate: --arrivals: expected one of burst:RATE:HIGH:LENGTH:PERIOD, closed:CLOSED,'] = { '--arrivals', 'rain:5' },
    ['simulate: --arrivals: expected poisson:RATE, got the string "poisson:-5"'] = { '--arrivals', 'poisson:-5' },
    ['simulate: --workload: expected a shape of pareto above 1'] = { '--workload', 'pareto:100:1' },
    ["simulate: --functions: there is no function 'squre'; did you mean 'square'?"] = { '--functions', 'squre' },
    ["simulate: --compare: there is no policy 'round-robin'; did you mean 'round_robin'?"] = { '--compare', 'round-robin' },
    ['simulate: --set: target_util: expected a number above 0 and at most 1, got the number 2'] = { '--set', 'target_util=2' },
    ["simulate: --set: unknown option 'target_utl'; did you mean 'target_util'?"] = { '--set', 'target_utl=0.5' },
    ['simulate: --slow: expected a worker from 0 to 3, got 4'] = { '--slow', '4:20@300' },
    ['simulate: --seconds: expected a number of at least 0, got the string "long"'] = { '--seconds', 'long' },
    ['simulate: --seed: expected a whole number from 0 to 9007199254740992, got the string "1.5"'] = { '--seed', '1.5' },
    ["simulate: option '--seed' requires an argument"] = { '--seed' },
  } do
    it('says what is wrong: ' .. expected, function() says(expected, unpack(arguments)) end)
  end

  for text, expected in pairs {
    ['arrival,function\n0,square\n1,squre\n'] = ":3: function: expected a function of the deployment: square, cube, got 'squre'",
    ['arrival,function,workload\n0,square,many\n'] = ":2: workload: expected a number from 0 to 1e12, got 'many'",
    ['function,workload\nsquare,1\n'] = ":1: names of columns: expected one that is 'arrival', got 'function'",
    ['arrival,workload\n0,1\n'] = ":1: names of columns: expected one that is 'function', as the deployment has several, got 'arrival'",
    ['arrival,function,arrival\n0,square,1\n'] = ":1: names of columns: expected each once, got 'arrival'",
    ['0,square,100,-1\n'] = ":1: service: expected seconds, at least 0, or nothing, got '-1'",
    ['function,arrival\n\nsquare\n'] = ":3: arrival: expected as many columns as the first line has, got 'square'",
    ['# nothing\n'] = ":1: calls: expected lines with 'arrival,function,workload,service', got ''",
  } do
    it('says where a trace is wrong: ' .. expected, function()
      local trace = host.script('calls.csv', text)
      local process = simulate('--trace', trace)
      assert.same({ 64, ('farside: simulate: %s%s\n'):format(trace, expected) }, { process.code, process.err })
    end)
  end

  it('says that there is no such trace, script or deployment', function()
    says('farside: simulate: /nowhere.csv: No such file', '--trace', '/nowhere.csv')
    local none = host.run_program { host.farside, 'simulate', host.script('none.lua', 'return 1') }
    assert.same({ 1, true }, { none.code, none.err:find('none.lua: expected a deployment, got none', 1, true) ~= nil })
    local nowhere = host.run_program { host.farside, 'simulate' }
    assert.same({ 64, true }, { nowhere.code, nowhere.err:find("missing argument 'script'", 1, true) ~= nil })
  end)
end)
