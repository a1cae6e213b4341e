local fake = require 'spec.support.fake_native'

describe('the benchmark', function()
  local farside, native, benchmark

  before_each(function()
    farside, native = fake.load 'worker'
    require('farside.future').serve(fake.executor(native))
    benchmark = require 'farside.benchmark'
  end)

  local function remote(options, func)
    return assert(require('farside.remote').new(nil, func, options, 'f'))
  end

  local function run(options, func)
    return farside.spawn(benchmark.run, remote(options, func)):await()
  end

  --- Work that takes some of the fake's seconds.
  local function busy(seconds)
    native.time = native.time + seconds
  end

  it('scores workload per second', function()
    local score = run({ benchmark_dataset = { {} } }, function() busy(0.01) end)
    assert.near(10000, score, 0.01)
  end)

  it('counts what the calculator says', function()
    local score = run({ benchmark_dataset = { { n = 3 } }, workload_calculator = function(n) return n end },
      function(n) busy(n / 6) end)
    assert.near(6, score, 1e-6)
  end)

  it('runs as many calls at once as the function takes', function()
    local score = run({ benchmark_dataset = { {} }, concurrency = 10 }, function() farside.sleep(0.01) end)
    assert.near(100000, score, 1)
    score = run({ benchmark_dataset = { {} }, concurrency = 5 }, function() farside.sleep(0.01) end)
    assert.near(50000, score, 1)
    score = run({ benchmark_dataset = { {} }, concurrency = 10, benchmark_concurrency = 2 }, function()
      farside.sleep(0.01)
    end)
    assert.near(20000, score, 1)
  end)

  it('makes a warm-up and the rounds it is told', function()
    local calls = 0
    local function count()
      calls = calls + 1
      busy(0.01)
    end
    run({ benchmark_dataset = { {} } }, count)
    assert.equal(110, calls)
    calls = 0
    run({ benchmark_dataset = { {} }, benchmark_runs = 3, benchmark_concurrency = 2, benchmark_warmup = false }, count)
    assert.equal(6, calls)
  end)

  it('repeats a round until it has taken 2 ms', function()
    local calls = 0
    run({ benchmark_dataset = { {} }, benchmark_runs = 1, benchmark_warmup = false }, function()
      calls = calls + 1
      busy(2 ^ -14)
    end)
    assert.equal(40, calls)
  end)

  it('takes the median round', function()
    local round = 0
    local score = run({ benchmark_dataset = { {} }, benchmark_runs = 3, benchmark_concurrency = 1,
      benchmark_warmup = false }, function()
      round = round + 1
      busy(({ 1, 100, 4 })[round])
    end)
    assert.near(25, score, 1e-6)
  end)

  it('draws from the whole dataset, at random', function()
    local seen, order = {}, {}
    run({ benchmark_dataset = { { x = 1 }, { x = 2 }, { x = 3 } } }, function(x)
      seen[x] = (seen[x] or 0) + 1
      order[#order + 1] = x
      busy(0.01)
    end)
    for x = 1, 3 do assert.is_true(seen[x] > 10) end
    assert.is_nil(table.concat(order):find(('123'):rep(10), 1, true))
  end)

  it("leaves the user's random numbers alone", function()
    math.randomseed(7)
    local expected = math.random()
    math.randomseed(7)
    run({ benchmark_dataset = { {}, {} } }, function() busy(0.01) end)
    assert.equal(expected, math.random())
  end)

  it('asks the generator for each input, outside of the time', function()
    local made = 0
    local score = run({ benchmark_runs = 2, benchmark_warmup = false, benchmark_generator = function()
      made = made + 1
      busy(5)
      return { b = made }
    end }, function(a, b)
      assert(a == nil and b > 0)
      busy(0.01)
    end)
    assert.equal(20, made)
    assert.near(10000, score, 0.01)
  end)

  it('fails with the error of the function', function()
    local thrown = {}
    local ok, err = pcall(run, { benchmark_dataset = { {} } }, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, err)
    ok = pcall(run, { benchmark_dataset = { {} }, concurrency = 4 }, function() error('x') end)
    assert.is_false(ok)
  end)

  it('fails when the generator makes no table of parameters', function()
    local function f(a, b) return a, b end
    local ok, err = pcall(run, { benchmark_generator = function() return { c = 1 } end }, f)
    assert.is_false(ok)
    assert.truthy(err:find("benchmark_generator: expected names of parameters (a, b), got 'c'", 1, true))
    ok, err = pcall(run, { benchmark_generator = function() return 5 end }, f)
    assert.is_false(ok)
    assert.truthy(err:find('benchmark_generator: expected a table of parameters, got the number 5', 1, true))
  end)

  it('fails when the score is no finite number', function()
    local ok, err = pcall(run, { benchmark_dataset = { {} }, workload_calculator = function() return 1e308 end },
      function() busy(0.01) end)
    assert.is_false(ok)
    assert.truthy(err:find('the benchmark of f: expected a finite score, got inf', 1, true))
  end)
end)
