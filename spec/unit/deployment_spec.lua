local fake = require 'spec.support.fake_native'

local HEAD = "local farside = require 'farside'\nlocal app = farside.deployment { name = 'd' }\n"
local SQUARE = 'local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)\n'

local ALL = '; expected one of batch, benchmark_concurrency, benchmark_dataset, benchmark_generator, benchmark_runs, '
  .. 'benchmark_warmup, concurrency, device, idempotent, interrupt_safe, max_calls, max_queue_time, max_rss, name, queue_timeout, retry_on, timeout, workload_calculator'

local native

local function fresh(role)
  native = select(2, fake.load(role))
end

local function clear_hook()
  debug.sethook()
end

--- Requires a script of a head and a body; returns what it returns, or nil and its error.
local function deploy(body, head)
  local ok, result = pcall(fake.require, 'deploy', (head or HEAD) .. body)
  if ok then return result end
  return nil, result
end

local function error_of(body, head)
  return select(2, deploy(body, head))
end

describe('a deploy script', function()
  before_each(function() fresh 'client' end)
  after_each(clear_hook)

  -- { what is wrong, body from line 3 on, message }
  local mistakes = {
    { 'an option with a typo', 'app.remote { benchmark_datset = {} }',
      "deploy.lua:3: app.remote: unknown option 'benchmark_datset'; did you mean 'benchmark_dataset'?" },
    { 'an option nobody knows', 'app.remote { gpu = 1 }', "deploy.lua:3: app.remote: unknown option 'gpu'" .. ALL },
    { 'a device with a typo', 'app.remote { devcie = true }',
      "deploy.lua:3: app.remote: unknown option 'devcie'; did you mean 'device'?" },
    { 'a device that is none', 'app.remote { device = "gpu" }',
      "deploy.lua:3: app.remote: device: expected true, 'cpu' or a GPU like 'cuda:0', got the string \"gpu\"" },
    { 'an option by position', 'app.remote { 5 }', 'deploy.lua:3: app.remote: unknown option the number 1' .. ALL },
    { 'no options', 'app.remote(5)', 'deploy.lua:3: app.remote: expected a table of options, got the number 5' },
    { 'a C function', 'app.remote(print)',
      'deploy.lua:3: app.remote: expected a Lua function, got a function written in C' },
    { 'no function behind the options', 'app.remote {} (5)',
      'deploy.lua:3: app.remote: expected a Lua function, got the number 5' },
    { 'no function behind the attribute', '\nlocal x = app.remote({}, "f") .. 5',
      'deploy.lua:4: app.remote: expected a Lua function, got the number 5' },
    { 'a handle as the function', SQUARE .. 'app.remote {} (square)',
      'deploy.lua:4: app.remote: expected a Lua function, got a function that is remote already' },
    { 'a handle alone', SQUARE .. 'app.remote(square)',
      'deploy.lua:4: app.remote: expected a Lua function, got a function that is remote already' },
    { 'two functions for one table of options', 'local r = app.remote {}\nr(function() end)\nr(function() end)',
      'deploy.lua:5: app.remote: expected one function, got another' },
    { 'options without a function', SQUARE .. 'app.remote {}',
      'deploy.lua:4: app.remote: expected a function after the options, got none' },
    { 'dataset and generator', 'app.remote { benchmark_dataset = { {} }, benchmark_generator = function() end }',
      'deploy.lua:3: app.remote: expected benchmark_dataset or benchmark_generator, got both' },
    { 'retry_on of a function that may run once', "app.remote { retry_on = { 'Busy' } }",
      'deploy.lua:3: app.remote: retry_on: expected idempotent = true beside it, for such calls run more than once' },
    { 'retry_on that is a name', "app.remote { idempotent = true, retry_on = 'Busy' }",
      'deploy.lua:3: app.remote: retry_on: expected a list of names of errors or classes, got the string "Busy"' },
    { 'an empty dataset', 'app.remote { benchmark_dataset = {} }',
      'deploy.lua:3: app.remote: benchmark_dataset: expected a list of at least one table, got a table' },
    { 'a dataset that is no list', 'app.remote { benchmark_dataset = { {}, x = {} } }',
      'deploy.lua:3: app.remote: benchmark_dataset: expected a list of tables, without holes or other keys, got a '
      .. 'table' },
    { 'a dataset of numbers', 'app.remote { benchmark_dataset = { {}, 5 } }',
      'deploy.lua:3: app.remote: benchmark_dataset[2]: expected a table of parameters, got the number 5' },
    { 'a dataset with a wrong key', 'app.remote { benchmark_dataset = { { x = 2 }, { y = 2 } } } (\nfunction(x) end)',
      "deploy.lua:4: app.remote: benchmark_dataset[2]: expected names of parameters (x), got 'y'" },
    { 'a dataset with a mistyped key', 'app.remote { benchmark_dataset = { { witdh = 2 } } } (function(width) end)',
      "deploy.lua:3: app.remote: benchmark_dataset[1]: expected names of parameters (width), got 'witdh'; did you mean "
      .. "'width'?" },
    { 'a dataset with values by position', 'app.remote { benchmark_dataset = { { 2 } } } (function(x) end)',
      'deploy.lua:3: app.remote: benchmark_dataset[1]: expected names of parameters (x), got the number 1' },
    { 'a key for a function without parameters', 'app.remote { benchmark_dataset = { { x = 2 } } } (function() end)',
      "deploy.lua:3: app.remote: benchmark_dataset[1]: got 'x', but the function has no parameters" },
    { 'runs of zero', 'app.remote { benchmark_runs = 0 }',
      'deploy.lua:3: app.remote: benchmark_runs: expected a whole number from 1 to 1000000, got the number 0' },
    { 'runs of a half', 'app.remote { benchmark_runs = 1.5 }',
      'deploy.lua:3: app.remote: benchmark_runs: expected a whole number from 1 to 1000000, got the number 1.5' },
    { 'a warm-up of 1', 'app.remote { benchmark_warmup = 1 }',
      'deploy.lua:3: app.remote: benchmark_warmup: expected a boolean, got the number 1' },
    { 'a concurrency of 2000', 'app.remote { concurrency = 2000 }',
      'deploy.lua:3: app.remote: concurrency: expected a whole number from 1 to 1024, got the number 2000' },
    { 'a timeout of 0', 'app.remote { timeout = 0 }',
      'deploy.lua:3: app.remote: timeout: expected a number above 0 and at most 86400, got the number 0' },
    { 'a timeout of NaN', 'app.remote { timeout = 0/0 }',
      'deploy.lua:3: app.remote: timeout: expected a number above 0 and at most 86400, got the number nan' },
    { 'a calculator that is none', 'app.remote { workload_calculator = 100 }',
      'deploy.lua:3: app.remote: workload_calculator: expected a function, got the number 100' },
    { 'a name with a space', 'app.remote { name = "a b" }', 'deploy.lua:3: app.remote: name: expected a name of '
      .. 'letters, digits, "_", "." and "-", got the string "a b"' },
    { 'no benchmark', 'local f, g = app.remote(function() end), app.remote(function() end)',
      "deploy.lua:2: deployment 'd': expected a function with benchmark_dataset or benchmark_generator, got only f, "
      .. 'g' },
    { 'no function', '',
      "deploy.lua:2: deployment 'd': expected a function with benchmark_dataset or benchmark_generator, got no "
      .. 'function' },
    { 'a context that is none', 'app.context() (5)',
      'deploy.lua:3: app.context: expected a table with enter(self, ...), got the number 5' },
    { 'a context without enter', 'app.context() {}', 'deploy.lua:3: app.context: enter: expected a function, got nil' },
    { 'a context with a wrong exit', 'app.context() { enter = function() end, exit = 5 }',
      'deploy.lua:3: app.context: exit: expected a function, got the number 5' },
    { 'a context twice', 'local C = { enter = function() end }\napp.context() (C)\napp.context() (C)',
      'deploy.lua:5: app.context: expected each class once, got this one again; the first is at deploy.lua:4' },
    { 'a class without a name', 'app.class({}, {})', 'deploy.lua:3: app.class: name: expected a name of letters, '
      .. 'digits, "_", "." and "-", got a table' },
    { 'a class that is none', "app.class('P', 5)", "deploy.lua:3: app.class: 'P': expected a table, got the number 5" },
    { 'a class name twice', "app.class('P', {})\napp.class('P', {})",
      "deploy.lua:4: app.class: expected a new name, got 'P' a second time" },
    { 'a word the app does not have', 'app.remot {}', "deploy.lua:3: app has no remot; did you mean 'remote'?" },
  }
  for _, mistake in ipairs(mistakes) do
    it('with ' .. mistake[1] .. ' is refused with file and line', function()
      assert.equal(mistake[3], error_of(mistake[2]))
    end)
  end

  local deployments = {
    { 'no name', 'farside.deployment {}', "deploy.lua:1: farside.deployment: expected name = '...', got none" },
    { 'a mistyped option', 'farside.deployment { nmae = "x" }',
      "deploy.lua:1: farside.deployment: unknown option 'nmae'; did you mean 'name'?" },
    { 'a parameter of the autoscaler', 'farside.deployment { name = "x", max_workers = 2 }',
      "deploy.lua:1: farside.deployment: unknown option 'max_workers'; it is one of app.configure_autoscaling { max_workers = ... }" },
    { 'a ttl of text', 'farside.deployment { name = "x", ttl = "1" }',
      'deploy.lua:1: farside.deployment: ttl: expected a number above 0, got the string "1"' },
    { 'no table', 'farside.deployment "x"',
      'deploy.lua:1: farside.deployment: expected a table of options, got the string "x"' },
  }
  for _, mistake in ipairs(deployments) do
    it('whose deployment has ' .. mistake[1] .. ' is refused with file and line', function()
      assert.equal(mistake[3], error_of(mistake[2], "local farside = require 'farside'; "))
    end)
  end

  it('may not declare a name and tag twice', function()
    assert.equal("deploy.lua:4: farside.deployment: expected a name and tag used once, got 'd', 'default' again; the "
      .. 'first is at deploy.lua:2', error_of(SQUARE .. "farside.deployment { name = 'd' }"))
    assert.is_nil(error_of(SQUARE .. "local b = farside.deployment { name = 'd', tag = 'b' }\n"
      .. 'local cube = b.remote { benchmark_dataset = { {} } } (function() end)'))
  end)

  it('may be loaded again after it has failed', function()
    assert.truthy(error_of('error("not now")'))
    assert.is_nil(error_of(SQUARE))
    assert.equal(1, #require('farside.deployment').of_file('deploy.lua'))
  end)

  it('takes a colon for a dot', function()
    assert.is_nil(error_of('local f = app:remote { benchmark_dataset = { {} } } (function() end)\nreturn app:status()'))
  end)

  it('is complete when it has returned', function()
    local app = deploy(SQUARE .. 'return app')
    local ok, err = pcall(app.remote, {})
    assert.is_false(ok)
    assert.truthy(err:find("expected before the first call, farside.run, app.ensure_ready or the end of the script, "
      .. "got it after: deployment 'd' is complete", 1, true))
  end)

  it('is complete after a function that made it where no file is loaded, and says so', function()
    local err = error_of("local app = coroutine.wrap(function()\nlocal app = farside.deployment { name = 'd' }\n"
      .. "local f = app.remote { benchmark_dataset = { {} } } (function() end)\nreturn app\nend)()\napp.remote {}",
      "local farside = require 'farside'\n")
    assert.truthy(err:find('deploy.lua:7: app.remote: expected inside the function that called farside.deployment at '
      .. 'deploy.lua:3, got it after that has returned', 1, true), err)
    assert.truthy(err:find("deployment 'd' is complete; call farside.deployment in the script itself", 1, true), err)
  end)

  it('is complete after farside.run', function()
    assert.truthy(error_of(SQUARE .. 'farside.run(function() end)\napp.remote {}')
      :find('deploy.lua:5: app.remote: expected before', 1, true))
  end)
end)

describe('a deployment that a function makes', function()
  before_each(function() fresh 'client' end)
  after_each(function()
    local hook = debug.gethook()
    clear_hook()
    package.loaded.maker, package.preload.maker = nil, nil
    assert.is_nil(hook)
  end)

  local HELPER = "local farside = require 'farside'\nlocal function make(name)\n"
    .. "local app = farside.deployment { name = name }\n"
    .. "local ping = app.remote { benchmark_dataset = { {} } } (function() end)\nreturn app\nend\n"

  --- The names of its functions.
  local function names_of(name)
    local found = {}
    for i, remote in ipairs(require('farside.deployment').find(name, 'default').functions) do found[i] = remote.name end
    return found
  end

  it('is complete when the script has returned', function()
    local app = deploy("local app = make 'd'\nlocal f = app.remote(function() end)\nreturn app", HELPER)
    assert.same({ 'ping', 'f' }, names_of 'd')
    assert.is_false(pcall(app.remote, {}))
  end)

  it('is complete after farside.run in the script', function()
    deploy("local app = make 'd'\nlocal f = app.remote(function() end)\nfarside.run(function() end)\nlocal g = f\nf = nil",
      HELPER)
    assert.same({ 'ping', 'f' }, names_of 'd')
  end)

  it('is complete after farside.run in that function', function()
    deploy("local function main()\nlocal app = farside.deployment { name = 'd' }\n" .. SQUARE
      .. "farside.run(function() end)\napp.ensure_ready()\nend\nmain()", "local farside = require 'farside'\n")
    assert.same({ 'square' }, names_of 'd')
  end)

  it('has contexts with the names they have there', function()
    deploy("local function make()\nlocal app = farside.deployment { name = 'd' }\n" .. SQUARE
      .. "local Model = { enter = function() end }\napp.context() (Model)\nreturn app\nend\nlocal app = make()\n"
      .. "local Words = { enter = function() end }\napp.context() (Words)", "local farside = require 'farside'\n")
    local contexts = require('farside.deployment').find('d', 'default').contexts.list
    assert.same({ 'Model', 'Words' }, { contexts[1].name, contexts[2].name })
  end)

  it('may be one of several', function()
    deploy("local a, b = make 'a', make 'b'\nlocal f, g = a.remote(function() end), b.remote(function() end)", HELPER)
    assert.same({ { 'ping', 'f' }, { 'ping', 'g' } }, { names_of 'a', names_of 'b' })
  end)

  it('may be made in a protected call', function()
    deploy("local _, app = pcall(make, 'd')\nlocal f = app.remote(function() end)", HELPER)
    assert.same({ 'ping', 'f' }, names_of 'd')
  end)

  it('of another module is of the script that calls it', function()
    package.preload.maker = loadstring(HELPER .. 'return make', '@maker.lua')
    local f = deploy("local app = require 'maker' ('d')\nlocal f = app.remote(function() end)\nreturn f",
      "local farside = require 'farside'\n")
    assert.same({ 'ping', 'f' }, names_of 'd')
    f:spawn()
    local start = native.deployed[1].start
    assert.same({ start.cwd .. '/deploy.lua', 'deploy' }, { start.file, start.module })
  end)

  it('names in its errors what has no name', function()
    assert.equal("deploy.lua:8: this remote function has no name: expected a local of the script, a key of the table it "
      .. "returns, a global or name = '...', got none of them", error_of("make('d').remote(function() end)\nreturn {}",
      HELPER .. '\n'))
  end)
end)

describe('configure_autoscaling', function()
  before_each(function() fresh 'client' end)
  after_each(clear_hook)

  local mistakes = {
    { 'max_worker = 2', "unknown option 'max_worker'; did you mean 'max_workers'?" },
    { 'max_workers = 0', 'max_workers: expected a whole number from 1 to 1024, got the number 0' },
    { 'max_workers = "2"', 'max_workers: expected a whole number from 1 to 1024, got the string "2"' },
    { 'min_load = -1', 'min_load: expected a number of at least 0, got the number -1' },
    { 'target_util = 0', 'target_util: expected a number above 0 and at most 1, got the number 0' },
    { 'target_util = 1.1', 'target_util: expected a number above 0 and at most 1, got the number 1.1' },
    { 'cold_workers = -1', 'cold_workers: expected a whole number from 0 to 1024, got the number -1' },
    { 'cold_workers = 17', 'cold_workers: expected at most max_workers (16), got 17' },
    { 'min_cold_load = 1/0', 'min_cold_load: expected a number of at least 0, got the number inf' },
    { 'cold_mult = 0.5', 'cold_mult: expected a number of at least 1, got the number 0.5' },
    { 'max_queue_time = 0', 'max_queue_time: expected a number above 0, got the number 0' },
    { 'target_queue_time = 0', 'target_queue_time: expected a number above 0, got the number 0' },
    { 'inactivity_timeout = true', 'inactivity_timeout: expected a number, got true' },
  }
  for _, mistake in ipairs(mistakes) do
    it('refuses ' .. mistake[1], function()
      assert.equal('deploy.lua:3: app.configure_autoscaling: ' .. mistake[2],
        error_of(('app.configure_autoscaling { %s }'):format(mistake[1])))
    end)
  end

  it('merges over calls', function()
    assert.is_nil(error_of(SQUARE .. 'app.configure_autoscaling { max_workers = 3, inactivity_timeout = -1 }\n'
      .. 'app.configure_autoscaling { min_load = 5 }'))
    assert.same({ max_workers = 3, min_load = 5, target_util = 0.9, cold_workers = 0, min_cold_load = 0,
      cold_mult = 2.5, max_queue_time = 30, target_queue_time = 10, inactivity_timeout = -1 },
      require('farside.deployment').find('d', 'default').scaling)
  end)

  it('changes nothing when one of its parameters is wrong', function()
    error_of(SQUARE .. 'app.configure_autoscaling { min_load = 5, max_workers = 0 }')
    assert.equal(1, require('farside.deployment').find('d', 'default').scaling.min_load)
  end)

  it('bounds the workers that are started', function()
    native.cores = 8
    local square = deploy(SQUARE .. 'app.configure_autoscaling { max_workers = 3 }\nreturn square')
    square:spawn(1)
    assert.equal(3, native.deployed[1].workers)
    assert.is_nil(native.deployed[1].scaling)
  end)

  it('lets the load decide how many there are once it says more than a limit', function()
    native.cores = 8
    local square = deploy(SQUARE .. 'app.configure_autoscaling { cold_workers = 9 }\n'
      .. 'app.configure_autoscaling { min_load = 7 }\nreturn square')
    square:spawn(1)
    local plan = native.deployed[1].scaling
    assert.same({ 8, 8, 7, 8 }, { plan.max_workers, plan.cold_workers, plan.min_load, plan.start_burst })
  end)

  it('has one worker on each GPU, and more only for who sets max_workers', function()
    native.cores, native.devices = 8, 2
    deploy(SQUARE .. 'return square'):spawn(1)
    assert.equal(2, native.deployed[1].workers)
    fresh 'client'
    native.cores, native.devices = 8, 2
    deploy(SQUARE .. 'app.configure_autoscaling { max_workers = 5 }\nreturn square'):spawn(1)
    assert.equal(5, native.deployed[1].workers)
  end)
end)

describe('a deployment on a client', function()
  before_each(function() fresh 'client' end)
  after_each(clear_hook)

  it('starts nothing before the first call', function()
    deploy(SQUARE)
    assert.equal(0, native.opened)
    assert.same({ state = 'not started', queued = 0, running = 0, calls = 0, workers = {} },
      require('farside.deployment').find('d', 'default'):status())
  end)

  it('gives workers what they need to load the same script', function()
    local square = deploy(SQUARE .. 'return square')
    square:spawn(1)
    local start = native.deployed[1].start
    assert.same({ 'd', 'default', 'deploy' }, { start.name, start.tag, start.module })
    assert.equal(start.cwd .. '/deploy.lua', start.file)
    assert.same({ package.path, package.cpath }, { start.path, start.cpath })
    assert.equal('/', start.cwd:sub(1, 1))
  end)

  it('names no module for a script that was not required', function()
    local square = loadstring(HEAD .. SQUARE .. 'return square', '@deploy.lua')('deploy')
    square:spawn(1)
    assert.is_nil(native.deployed[1].start.module)
  end)

  it('refuses a script that is in no file', function()
    local square = loadstring(HEAD .. SQUARE .. 'return square', '=text')()
    local ok, err = pcall(square, 1)
    assert.is_false(ok)
    assert.equal('ConfigError: text:2: a deployment must be declared in a file: workers load it too [executed=no]',
      tostring(err))
  end)

  it('agrees with its workers on a manifest', function()
    local square = deploy(SQUARE .. [[
      local C = { enter = function() end }
      app.context() (C)
      app.class('Point', {})
      app.class('Line', {})
      local join = app.remote { timeout = 2, concurrency = 4, idempotent = true } (function(a, b, ...) end)
      local all = app.remote(function(...) end)
      return square]])
    square:spawn(1)
    assert.equal(table.concat({
      'deployment d default',
      'function square(x) concurrency=1 timeout=none idempotent=false benchmark=true',
      'function join(a, b, ...) concurrency=4 timeout=2 idempotent=true benchmark=false',
      'function all(...) concurrency=1 timeout=none idempotent=false benchmark=false',
      'class Line',
      'class Point',
      'context C',
      '',
    }, '\n'), native.deployed[1].manifest)
    assert.same({ concurrency = 4, timeout = 2, idempotent = true, benchmarked = false },
      native.deployed[1].functions[2])
  end)

  it('shows scores by the names of the functions', function()
    local app, square = unpack(deploy(SQUARE .. 'return { app, square }'))
    square:spawn(1)
    native.status = { state = 'ready', queued = 0, running = 1, workers = { { place = 0, pid = 7, state = 'ready',
      calls = 3, scores = { [0] = 12.5 } } } }
    local status = app.status()
    assert.same({ square = 12.5 }, status.workers[1].scores)
    assert.equal(7, status.workers[1].pid)
  end)

  it('waits in ensure_ready until a worker is ready', function()
    local app = deploy(SQUARE .. 'return app')
    native.ready_at = native.time + 3
    app.ensure_ready()
    assert.equal(1003, native.time)
  end)

  it('reports in ensure_ready what has changed', function()
    local app = deploy(SQUARE .. 'return app')
    native.ready_at = native.time + 1
    native.status = { state = 'starting', queued = 0, running = 0, workers = {} }
    local seen = {}
    app.ensure_ready { on_progress = function(status)
      seen[#seen + 1] = status.state
      native.status = { state = 'loading', queued = 0, running = 0, workers = {} }
    end }
    assert.same({ 'starting', 'loading' }, seen)
  end)

  it('raises NotReady in ensure_ready when the time has passed', function()
    local app = deploy(SQUARE .. 'return app')
    native.ready_at = math.huge
    native.status = { state = 'starting', queued = 0, running = 0, workers = { {} },
      failure = { name = 'WorkerLost', message = 'it died', executed = 'no' } }
    local ok, err = pcall(app.ensure_ready, { timeout = 2 })
    assert.is_false(ok)
    assert.is_true(err:is 'NotReady')
    assert.equal('no', err.executed)
    assert.is_true(err.last_error:is 'WorkerLost')
    assert.equal("no worker of 'd' became ready within 2 s; state: starting, last error: WorkerLost: it died "
      .. '[executed=no]', err.message)
  end)

  it('raises DeploymentFailed with its cause in ensure_ready', function()
    local app = deploy(SQUARE .. 'return app')
    native.failure = { name = 'RemoteError', message = 'no disk', executed = 'no' }
    local ok, err = pcall(app.ensure_ready)
    assert.is_false(ok)
    assert.is_true(err:is 'DeploymentFailed')
    assert.equal('no disk', err.cause.message)
    assert.equal('DeploymentFailed: the workers of the deployment cannot be started [executed=no]; cause: no disk',
      tostring(err))
  end)

  it('checks the options of ensure_ready', function()
    assert.equal("deploy.lua:3: app.ensure_ready: unknown option 'timeot'; did you mean 'timeout'?",
      error_of('app.ensure_ready { timeot = 3 }'))
  end)

  it('tells a terminal after half a second what a call waits for', function()
    local square = deploy(SQUARE .. 'return square')
    native.answers.square = function(x) return x end
    native.terminal, native.latency = true, 4
    native.status = { state = 'starting', queued = 1, running = 0, workers = { { state = 'starting' } } }
    local text = fake.stderr_of(function() square(1) end)
    assert.equal("farside: 'd': 0 of 1 workers ready, 1 calls waiting (0.5 s)\n"
      .. "farside: 'd': 0 of 1 workers ready, 1 calls waiting (1.5 s)\n"
      .. "farside: 'd': 0 of 1 workers ready, 1 calls waiting (3.5 s)\n", text)
  end)
end)

describe('a deploy script in a worker', function()
  before_each(function() fresh 'worker' end)
  after_each(clear_hook)

  it('runs nothing of farside.run and ensure_ready', function()
    local ran = false
    _G.farside_spec_mark = function() ran = true end
    finally(function() _G.farside_spec_mark = nil end)
    assert.is_nil(error_of(SQUARE .. 'app.ensure_ready()\nfarside.run(function() farside_spec_mark() end)'))
    assert.is_false(ran)
  end)

  it('is complete after farside.run and ensure_ready, as on a client', function()
    for _, call in ipairs { 'app.ensure_ready()', 'farside.run(function() end)' } do
      fresh 'worker'
      local err = error_of(SQUARE .. call .. '\napp.remote {}')
      assert.truthy(err:find('deploy.lua:5: app.remote: expected before', 1, true), err)
    end
  end)

  it('may not call a remote function while it is loaded', function()
    assert.equal('deploy.lua:4: client code in the deploy script: put it into farside.run(function() ... end) or a '
      .. 'file of its own', error_of(SQUARE .. 'print(square(5))'))
  end)
end)
