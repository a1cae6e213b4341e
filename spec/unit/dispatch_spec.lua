local fake = require 'spec.support.fake_native'

local HEAD = "local farside = require 'farside'\nlocal app = farside.deployment { name = 'd' }\n"
local SQUARE = 'local square = app.remote { benchmark_dataset = { { x = 2 } }, benchmark_runs = 1 } (function(x) '
  .. 'spec_busy(0.01) return x * x end)\n'

describe('a worker', function()
  local native, executor, log, path, path_before, exit_before, yield_before

  before_each(function()
    path = os.tmpname()
    path_before, exit_before, yield_before = package.path, os.exit, coroutine.yield
    log = {}
    _G.spec_log = log
    _G.spec_busy = function(seconds) native.time = native.time + seconds end
  end)

  after_each(function()
    os.remove(path)
    debug.sethook()
    package.path = path_before
    rawset(os, 'exit', exit_before)
    rawset(coroutine, 'yield', yield_before)
    _G.spec_log, _G.spec_busy = nil, nil
    package.loaded.spec_deploy = nil
  end)

  --- Runs a worker whose deploy script has this body; it takes these calls, then drains. Returns its exit code.
  local function work(body, calls, module, head)
    local _
    _, native = fake.load 'worker'
    executor = fake.executor(native, calls)
    local file = assert(io.open(path, 'w'))
    file:write((head or HEAD) .. body)
    file:close()
    return require('farside.dispatch').main(executor, { name = 'd', tag = 'default', file = path, module = module,
      path = package.path, cpath = package.cpath, cwd = '/', hash = '' })
  end

  it('loads, measures, becomes ready, serves and drains', function()
    local call = { 0, 5 }
    assert.equal(0, work(SQUARE, { call }))
    assert.same({ 'measure', 'measured', 'ready' }, executor.log)
    assert.same({ n = 2, true, 25 }, executor.answers[call])
    assert.near(10000, executor.scores[0], 0.01)
  end)

  it('says the manifest that a client says', function()
    local body = SQUARE .. 'local C = { enter = function() end }\napp.context() (C)\n'
      .. 'local f = app.remote(function(...) end)\napp.class("P", {})'
    work(body)
    local manifest = executor.manifest
    native = select(2, fake.load 'client')
    fake.require('deploy', HEAD .. body)
    assert.equal(require('farside.deployment').find('d', 'default'):manifest(), manifest)
  end)

  it('loads a required script as a module', function()
    assert.equal(0, work(SQUARE .. 'spec_log[1], spec_log[2] = ..., package.loaded[...] ~= nil\nreturn { a = 1 }', nil,
      'spec_deploy'))
    assert.same({ 'spec_deploy', true }, log)
    assert.equal(1, package.loaded.spec_deploy.a)
  end)

  it('loads a script with attributes', function()
    assert.equal(0, work('app.remote<benchmark_dataset = {{}}>\nlocal function f() spec_busy(1) end\n'))
    assert.truthy(executor.manifest:find('function f()', 1, true))
  end)

  it('runs the functions of a script that is its own client', function()
    assert.equal(0, work(SQUARE .. 'app.ensure_ready()\nfarside.run(function() spec_log[1] = square(5) end)'))
    assert.same({}, log)
  end)

  it('names what a tail call returned', function()
    assert.equal(0, work('return setmetatable({ f = app.remote { benchmark_dataset = { {} } } (function() spec_busy(1) '
      .. 'end) }, {})'))
    assert.truthy(executor.manifest:find('function f()', 1, true))
  end)

  it('keeps sleeping calls apart', function()
    local slow, fast = { 0, 3 }, { 0, 1 }
    local code = work('local nap = app.remote { benchmark_dataset = { { s = 0.1 } }, concurrency = 2 } (\n'
      .. 'function(s)\n' .. 'farside.sleep(s)\nspec_log[#spec_log + 1] = s\nreturn s\nend)', { slow, fast })
    assert.equal(0, code)
    assert.same({ 3, 1 }, { executor.answers[slow][2], executor.answers[fast][2] })
    assert.same({ 1, 3 }, { log[#log - 1], log[#log] })
  end)

  it('describes what a function raises', function()
    local call = { 0, 'a' }
    work(SQUARE, { call })
    local fields = executor.answers[call][2]
    assert.same({ 'RemoteError', 'error', 'yes' }, { fields.name, fields.kind, fields.executed })
    assert.truthy(fields.message:find(':3: attempt to perform arithmetic on local \'x\'', 1, true), fields.message)
    assert.truthy(fields.traceback:find(':3>', 1, true), fields.traceback)
  end)

  it('ends a cancelled call at its wait, and at each further one', function()
    local call = { 1 }
    local body = SQUARE .. 'local nap = app.remote(function()\n'
      .. 'for i = 1, 2 do\nlocal ok, err = pcall(farside.sleep, 100)\nspec_log[i] = err.name\nend\nend)'
    local function work_and_cancel(reason)
      package.loaded.spec_deploy = nil
      local _
      _, native = fake.load 'worker'
      executor = fake.executor(native, { call })
      executor.on_idle = function(self)
        for co in pairs(self.running) do self.options.cancel(co, reason) end
      end
      local file = assert(io.open(path, 'w'))
      file:write(HEAD .. body)
      file:close()
      require('farside.dispatch').main(executor, { name = 'd', file = path })
    end
    work_and_cancel('deadline')
    assert.same({ 'DeadlineExceeded', 'DeadlineExceeded' }, log)
    work_and_cancel('client')
    assert.same({ 'Cancelled', 'Cancelled' }, log)
  end)

  it('says why its script cannot be loaded', function()
    -- { body, what the message has }
    for _, case in ipairs {
      { 'local x =', ":3: unexpected symbol near '<eof>'" },
      { 'error("no")', ':3: no' },
      { SQUARE .. 'os.exit(3)', ':4: os.exit in a worker' },
      { SQUARE .. 'square(5)', ':4: client code in the deploy script' },
      { 'local f = app.remote(function() end)', ':2: deployment \'d\': expected a function with benchmark_dataset' },
    } do
      assert.equal(65, work(case[1]))
      assert.same({ 65, 'bundle', 'no' }, { executor.said.code, executor.said.phase, executor.said.err.executed })
      assert.truthy(executor.said.err.message:find(case[2], 1, true), executor.said.err.message)
    end
  end)

  it('says that the script does not declare the deployment', function()
    assert.equal(65, work('', nil, nil, ''))
    assert.equal(path .. ": expected a deployment 'd' with tag 'default' as on the client, got none",
      executor.said.err.message)
  end)

  local CONTEXTS = [[
    local A = { enter = function() spec_log[#spec_log + 1] = '+A' end,
      exit = function(self, err) spec_log[#spec_log + 1] = '-A ' .. tostring(err) end }
    app.context() (A)
  ]]

  it('exits its contexts when it drains', function()
    assert.equal(0, work(SQUARE .. CONTEXTS))
    assert.same({ '+A', '-A nil' }, log)
  end)

  it('says which context failed and exits the others', function()
    assert.equal(71, work(SQUARE .. CONTEXTS .. 'local B = { enter = function() error("no disk", 0) end }\n'
      .. 'app.context() (B)'))
    assert.same({ 71, 'context' }, { executor.said.code, executor.said.phase })
    assert.equal('context B: no disk', executor.said.err.message)
    assert.same({ '+A', '-A no disk' }, log)
    assert.same({ 'goodbye' }, executor.log)
  end)

  it('says which benchmark failed, gives the machine back and exits its contexts', function()
    assert.equal(69, work(CONTEXTS .. 'local f = app.remote { benchmark_dataset = { {} } } (function()\n'
      .. 'error("x", 0) end)'))
    assert.same({ 69, 'benchmark', 'benchmark of f: x' },
      { executor.said.code, executor.said.phase, executor.said.err.message })
    assert.same({ 'measure', 'measured', 'goodbye' }, executor.log)
    assert.same({ '+A', '-A x' }, log)
  end)

  it('gives functions their contexts', function()
    local call = { 0, 1 }
    assert.equal(0, work([[
      local Words = {}
      function Words:enter(list) self.list = list end
      app.context { 'a', 'b' } (Words)
      local word = app.remote { benchmark_dataset = { { i = 1 } } } (function(i)
        spec_busy(0.01)
        return app.get_context(Words).list[i]
      end)]], { call }))
    assert.equal('a', executor.answers[call][2])
  end)
end)
