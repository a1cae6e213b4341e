local program = require 'spec.support.program'
local prometheus = require 'spec.support.prometheus'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

local function text()
  local pipe = io.popen(("'%s/unit/check_router_metrics' --text"):format(BUILD))
  local all = pipe:read('*a')
  pipe:close()
  return all
end

describe('what the router counts', function()
  program.checks('check_router_metrics')

  it('is text that a strict reader takes, with histograms that add up', function()
    local families = prometheus.parse(text())
    assert.equal('histogram', families.farside_call_run_seconds.type)
    local app = { deployment = 'odd "name"\\', tag = 'default' }
    assert.equal(families.farside_calls_total.samples[1].labels.deployment, app.deployment)
    local ended = prometheus.sum(families, 'farside_calls_total', app)
    local admitted = prometheus.sum(families, 'farside_calls_admitted_total', app)
    local refused = prometheus.sum(families, 'farside_calls_refused_total', app)
    assert.equal(admitted + refused, ended + prometheus.sum(families, 'farside_calls_in_flight', app))
    assert.is_true(ended > 20)
  end)

  it('is the same text each time', function() assert.equal(text(), text()) end)

  describe('is refused by that reader where', function()
    local good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c"} 1\n'
    for name, bad in pairs {
      ['a label is not closed'] = (good:gsub('c"', 'c')),
      ['a sample comes twice'] = good .. 'a_total{b="c"} 2\n',
      ['there is no type'] = (good:gsub('# TYPE[^\n]*\n', '')),
      ['an escape is unknown'] = (good:gsub('"c"', '"\\x"')),
      ['a value is none'] = (good:gsub(' 1\n', ' one\n')),
      ['a decimal point is a comma'] = (good:gsub(' 1\n', ' 1,5\n')),
      ['a family is in two parts'] = good .. '# HELP b x\n# TYPE b gauge\nb 1\na_total{b="d"} 1\n',
      ['the last line has no end'] = good:sub(1, -2),
      ['buckets are not cumulative'] = '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    } do
      it(name, function()
        prometheus.parse(good)
        assert.is_false((pcall(prometheus.parse, bad)))
      end)
    end
  end)
end)
