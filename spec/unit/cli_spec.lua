local call = require 'farside.cli.call'
local json = require 'farside.cli.json'
local metrics = require 'farside.cli.metrics'
local ps = require 'farside.cli.ps'
local report = require 'farside.simulate.report'
local native = require 'farside.native'
local text = require 'farside.cli.text'
local why = require 'farside.cli.why'

local function plain(_, shown)
  return shown
end

describe('farside call', function()
  local AREA = { name = 'area', parameters = { 'width', 'height', 'unit' } }

  local function arguments(words, option)
    local values, count = call.arguments(AREA, { arguments = words, json = option and { option } })
    if not values then return nil, count end
    local shown = {}
    for i = 1, count do shown[i] = values[i] == nil and 'nil' or json.encode(values[i]) end
    return table.concat(shown, ' ')
  end

  it('takes arguments by name in any order, and leaves out others', function()
    assert.equal('2 3', arguments { 'height=3', 'width=2' })
    assert.equal('nil nil "m"', arguments { 'unit=m' })
  end)

  it('takes arguments by position', function()
    assert.equal('2 3 "m"', arguments { '2', '3', 'm' })
    assert.equal('', arguments {})
  end)

  it('reads values as JSON where they look like it, and as text else', function()
    assert.equal('-2.5 true null', arguments { '-2.5', 'true', 'null' })
    assert.equal('"5" [1,{"a":2}] "true story"', arguments { '"5"', '[1, {"a": 2}]', 'true story' })
    assert.equal('"1.2.3" "007" "2024-01-01"', arguments { '1.2.3', '007', '2024-01-01' })
  end)

  it('takes all of them as a JSON object or list', function()
    assert.equal('2 nil "m"', arguments({}, '{"unit": "m", "width": 2}'))
    assert.equal('2 3', arguments({}, '[2, 3]'))
  end)

  it('takes --json alone for the output only', function()
    assert.equal('2', arguments({}, 'width=2'))
  end)

  it('says what is wrong with them', function()
    assert.equal("expected names of parameters (width, height, unit), got 'widht'; did you mean 'width'?",
      select(2, arguments { 'widht=2' }))
    assert.equal('expected all arguments by name, or all by position, got both', select(2, arguments { '2', 'height=3' }))
    assert.equal('expected at most 3 arguments (width, height, unit), got 4', select(2, arguments { '1', '2', '3', '4' }))
    assert.equal("argument '[1': JSON: expected ',' or ']' at character 3, got the end", select(2, arguments { '[1' }))
    assert.equal('--json: JSON: expected a key in quotes at character 2, got the end', select(2, arguments({}, '{')))
    assert.equal('expected arguments in --json or as words, got both', select(2, arguments({ '2' }, '[2]')))
    assert.equal("expected each parameter once, got 'width' again", select(2, arguments { 'width=2', 'width=2' }))
    assert.equal("expected each parameter once, got 'width' again", select(2, arguments { 'width=null', 'width=2' }))
  end)

  it('says how text is given that looks like an argument by name', function()
    assert.equal("expected names of parameters (width, height, unit), got 'a'; text that looks like NAME=VALUE is given as JSON, "
      .. [['"a=\"b\""']], select(2, arguments { 'width=2', 'a="b"' }))
    local _, problem = call.arguments({ name = 'echo', parameters = {}, is_open = true }, { arguments = { 'a=b' } })
    assert.equal("expected names of parameters (it names none), got 'a'; text that looks like NAME=VALUE is given as JSON, "
      .. [['"a=b"']], problem)
    assert.equal('"a=b"', arguments { '"a=b"' })
  end)

  it('prints text as it is and all else as JSON', function()
    assert.equal('a b\n25\n{\n  "x": 1\n}\n', call.render({ 'a b', 25, { x = 1 } }, 3, false))
    assert.equal('["a b",25,null]\n', call.render({ 'a b', 25 }, 3, true))
    assert.equal('', call.render({}, 0, false))
    local tensor = require 'farside.tensor'
    local t, none = tensor.from { { 1, 2.5 }, { 0 / 0, -1 / 0 } }, tensor.empty { 2, 0 }
    assert.equal(tostring(t) .. '\n{\n  "t": [true,false]\n}\n', call.render({ t, { t = tensor.from { true, false } } }, 2, false))
    assert.equal('[[[1,2.5],["NaN","-Infinity"]],{"t":[[],[]]},7,4620693217682128896]\n', call.render({ t, { t = none },
      tensor.full({}, 7), tensor.from({ 2 ^ 62 }, 'i64'):sum() + 2 ^ 53 }, 4, true))
  end)
end)

describe('farside ps', function()
  local DEPLOYMENT = {
    name = 'square', tag = 'default', state = 'ready', ready = 1, queued = 2, running = 1, calls = 120, clients = 1,
    workers = {
      { place = 0, state = 'ready', pid = 4712, in_flight = 1, calls = 120, starts = 1, scores = { square = 1234567 } },
      { place = 1, state = 'starting', in_flight = 0, calls = 0, starts = 3, scores = {} },
    },
  }

  local function render(paint)
    return ps.render({ { deployment = DEPLOYMENT, router = { pid = 4711, uptime = 3700 } } }, paint or plain)
  end

  it('shows a deployment and its workers in columns', function()
    assert.equal(table.concat({
      'square  ready  1 of 2 workers ready, 2 queued, 1 running, 120 calls, 1 client  (router 4711, up 1 h 1 min)',
      '  WORKER  STATE      PID  IN FLIGHT  CALLS  STARTS  SCORES',
      '       0  ready     4712          1    120       1  square 1.23M/s',
      '       1  starting     -          0      0       3  ', '' }, '\n'), render())
  end)

  it('colours states without moving columns', function()
    local coloured = render(function(colour, shown) return '<' .. colour .. '>' .. shown .. '</>' end)
    assert.truthy(coloured:find('<green>ready</>', 1, true))
    assert.equal(render(), (coloured:gsub('<.->', '')))
  end)

  it('tells how many are parked, and why so many are wanted', function()
    local scaled = { name = 'a', tag = 'default', state = 'ready', ready = 2, parked = 1, queued = 0, running = 0, calls = 0,
      clients = 2, workers = { DEPLOYMENT.workers[1], DEPLOYMENT.workers[1] }, decision = 'no load' }
    local shown = ps.render({ { deployment = scaled, router = { pid = 1, uptime = 5 } } }, plain)
    assert.truthy(shown:find('a  ready  2 of 2 workers ready (1 parked), 0 queued, 0 running, 0 calls, 2 clients', 1, true), shown)
    assert.truthy(shown:find('\n  scaling: no load\n', 1, true))
  end)

  it('tells a tag that is not the default one, and why a deployment fails', function()
    local failed = { name = 'a', tag = 'canary', state = 'failed', ready = 0, queued = 0, running = 0, calls = 0, clients = 0,
      workers = {}, failure = { message = 'no such file\27[2J' } }
    local shown = ps.render({ { deployment = failed, router = { pid = 1, uptime = 5 } } }, plain)
    assert.truthy(shown:find('a:canary  failed  0 of 0 workers ready', 1, true))
    assert.truthy(shown:find('\n  no such file\\x1b[2J\n', 1, true))
    failed.next_try = 11.2
    shown = ps.render({ { deployment = failed, router = { pid = 1, uptime = 5 } } }, plain)
    assert.truthy(shown:find('\n  no such file\\x1b[2J\n', 1, true))  -- a failed one says itself when it is tried again
    failed.state = 'ready'
    shown = ps.render({ { deployment = failed, router = { pid = 1, uptime = 5 } } }, plain)
    assert.truthy(shown:find('\n  no such file\\x1b[2J; the next try is in 12 s\n', 1, true))
  end)
end)

describe('farside why', function()
  local function render(changes)
    local told = { deployment = 'svc', tag = 'default', ['function'] = 'nap', state = 'ended with an error', given = true, attempt = 1,
      priority = 0, workload = 100, waited = 0, looks = 1, reason = 'only_free', because = 'no other had room', predicted = native.null,
      since_sent = 1.25, candidates = 1, place = 0, ran = native.null, took = 1.5, error = 'DeadlineExceeded',
      workers = { { place = 0, free = true, standing = 'healthy', wait = 0, round_trip = native.null, score = native.null,
        ends = native.null } } }
    for key, value in pairs(changes) do told[key] = value end
    if told.took == 0 then told.took, told.ran = nil, nil end
    return why.render(told, plain)
  end

  it('says of what nobody knows that it is not known', function()
    local shown = render {}
    assert.truthy(shown:find('\nit ended 1.25 s after it was sent there, how long it ran there is not known; predicted were none; ' ..
      'it took 1.5 s in all\n', 1, true), shown)
    assert.truthy(shown:find('\n +0  free  healthy   0 us           %?      %?        %?  taken\n'), shown)
  end)

  it('says how long a call ran if its worker has said it', function()
    local shown = render { ran = 0.0025, predicted = 0.002, state = 'ended with a result' }
    assert.truthy(shown:find('\nit ran for 2.5 ms; predicted were 2 ms; it took 1.5 s in all\n', 1, true), shown)
  end)

  it('says of a call that runs when it was sent to its worker', function()
    local shown = render { state = 'runs', took = 0, predicted = 0.002 }
    assert.truthy(shown:find('\nit was sent there 1.25 s ago, predicted were 2 ms\n', 1, true), shown)
  end)
end)

describe('text for a person', function()
  it('shortens numbers and durations', function()
    assert.same({ '0.5', '999', '1.23k', '45.6M', '7G', '1.2T' },
      { text.short(0.5), text.short(999), text.short(1234), text.short(45.6e6), text.short(7e9), text.short(1.2e12) })
    assert.same({ '5 s', '2 min', '1 h 1 min', '3 d 2 h' },
      { text.duration(5.9), text.duration(150), text.duration(3700), text.duration(3 * 86400 + 7300) })
  end)

  it('never says 1000 as 1e+03', function()
    assert.same({ '1000', '1000k', '1000 us', '1000 ms', '10.2 s' },
      { text.short(999.7), text.short(999700), text.span(0.0009997), text.span(0.9997), text.span(10.22) })
    local run = { policy = 'farside', summary = report.summary { calls = 1, failed = 0, errors = {}, seconds = 1, ended = 1,
      wait = { mean = 0.9997, p50 = 0.9997, p95 = 999.7, p99 = 2000 }, latency = { mean = 0, p50 = 0, p95 = 0, p99 = 0 },
      workers = {} } }
    local shown = report.text { run }
    assert.same({ '1000 ms', '1000 s', '2000 s' }, { shown:match 'p50 +(%S+ %S+)', shown:match 'p95 +(%S+ %S+)', shown:match 'p99 +(%S+ %S+)' })
  end)
end)

describe('farside metrics --json', function()
  it('has families, samples and labels of the text', function()
    local families = metrics.parse('# HELP a_total Some text.\n# TYPE a_total counter\n'
      .. 'a_total{b="c\\"d\\\\e\\nf",g="",h="i"} 5\n# HELP x y\n# TYPE x gauge\nx 0.5\n')
    assert.same({
      { name = 'a_total', help = 'Some text.', type = 'counter',
        samples = { { name = 'a_total', labels = { b = 'c"d\\e\nf', g = '', h = 'i' }, value = 5 } } },
      { name = 'x', help = 'y', type = 'gauge', samples = { { name = 'x', labels = {}, value = 0.5 } } },
    }, families)
  end)
end)
