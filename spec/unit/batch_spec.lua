local fake = require 'spec.support.fake_native'

describe('the option batch', function()
  local farside, native, batch

  before_each(function()
    farside, native = fake.load 'worker'
    require('farside.future').serve(fake.executor(native))
    batch = require 'farside.batch'
  end)

  local function remote(options, func)
    return require('farside.remote').new(nil, func, options, 'f')
  end

  local function echo(list)
    local results = {}
    for i, element in ipairs(list) do results[i] = element[1] end
    return results
  end

  local mistakes = {
    { 'a number', 5, 'app.remote: batch: expected a table, got the number 5' },
    { 'a mistyped word', { maxsize = 2 }, "app.remote: batch: unknown option 'maxsize'; did you mean 'max_size'?" },
    { 'a size of one', { max_size = 1 },
      'app.remote: batch: max_size: expected a whole number from 2 to 1024, got the number 1' },
    { 'a wait below 0', { max_wait = -1 },
      'app.remote: batch: max_wait: expected a number of at least 0 and at most 3600, got the number -1' },
  }
  for _, mistake in ipairs(mistakes) do
    it('refuses ' .. mistake[1], function()
      assert.equal(mistake[3], require('farside.remote').check_options { batch = mistake[2] })
    end)
  end

  it('refuses more calls on a worker than it can have', function()
    local check = require('farside.remote').check_options
    assert.equal('app.remote: batch: expected max_size * concurrency of at most 1024, got 32 * 33',
      check { batch = {}, concurrency = 33 })
    assert.is_nil(check { batch = {}, concurrency = 32 })
  end)

  it('refuses a function of several parameters and names in a dataset', function()
    local _, problem = remote({ batch = {} }, function(a, b) return a, b end)
    assert.truthy(problem:find('batch: expected a function of one parameter, the list of elements, got one of 2', 1, true))
    _, problem = remote({ batch = {}, benchmark_dataset = { { 'a' }, { x = 1 } } }, echo)
    assert.truthy(problem:find("benchmark_dataset[2]: expected the arguments of an element by position (a function with "
      .. "batch has no names for them), got 'x'", 1, true), problem)
  end)

  it('stands in the manifest', function()
    assert.equal('function f(...) concurrency=1 timeout=none idempotent=false benchmark=false batch=32/0.005',
      remote({ batch = {} }, echo):manifest())
    assert.truthy(remote({ batch = { max_size = 4, max_wait = 0 } }, echo):manifest():find(' batch=4/0', 1, true))
  end)

  it('calls the function with a list of one here', function()
    local size
    local f = remote({ batch = {} }, function(list)
      size = #list
      return { list[1].n }
    end)
    assert.equal(3, f:here(1, nil, nil))
    assert.equal(1, size)
  end)

  it('raises here what fails alone there', function()
    local thrown = { path = '/' }
    local f = remote({ batch = {} }, function() return { farside.error(thrown) } end)
    local ok, err = pcall(f.here, f, 1)
    assert.is_false(ok)
    assert.equal(thrown, err)
  end)

  it('measures batches, with the workload of all elements', function()
    local sizes = {}
    local function busy(list)
      sizes[#sizes + 1] = #list
      native.time = native.time + 0.01
      return echo(list)
    end
    local options = { batch = { max_size = 4 }, benchmark_dataset = { { 1 } }, benchmark_runs = 1, benchmark_warmup = false }
    local score = farside.spawn(require('farside.benchmark').run, remote(options, busy)):await()
    assert.same({ 4 }, sizes)
    assert.near(40000, score, 0.01)
    options.benchmark_concurrency, sizes = 6, {}
    farside.spawn(require('farside.benchmark').run, remote(options, busy)):await()
    assert.same({ 4, 2 }, sizes)
  end)

  it('fails a benchmark whose elements fail', function()
    local options = { batch = {}, benchmark_dataset = { { 1 } } }
    local running = farside.spawn(require('farside.benchmark').run, remote(options, function(list)
      local results = echo(list)
      results[2] = farside.error({ 'bad' })
      return results
    end))
    local ok, err = pcall(running.await, running)
    assert.same({ false, { 'bad' } }, { ok, err })
  end)

  it('knows failures from results', function()
    assert.is_false((batch.failure { value = 1 }))
    assert.is_true((batch.failure(farside.error())))
    assert.is_true((batch.failure(farside.Error.new { name = 'RemoteError' })))
  end)
end)
