local fake = require 'spec.support.fake_native'

local farside, native, Error

local function fresh()
  farside, native = fake.load 'client'
  Error = farside.Error
end

describe('an error', function()
  before_each(fresh)

  it('gets the fields that every error has', function()
    local err = Error.new { name = 'WorkerLost', message = 'gone', executed = 'maybe' }
    assert.same({ 14, false }, { err.code, err.retryable })
    assert.is_true(Error.new { name = 'NotReady', executed = 'no' }.retryable)
    assert.is_true(Error.new { name = 'DeadlineExceeded', executed = 'no' }.retryable)
    assert.is_false(Error.new { name = 'DeadlineExceeded', executed = 'maybe' }.retryable)
    assert.equal('maybe', Error.new { name = 'Internal' }.executed)
  end)

  it('of an unknown name becomes Unknown and keeps the name', function()
    local err = Error.new { name = 'Melted', code = 99, message = 'hot' }
    assert.same({ 'Unknown', 'Melted', 99, 2 }, { err.name, err.original_name, err.original_code, err.code })
  end)

  it('is of its name and its families', function()
    local lost = Error.new { name = 'WorkerLost', executed = 'maybe' }
    assert.is_true(lost:is 'WorkerLost')
    assert.is_true(lost:is 'Unavailable')
    assert.is_false(lost:is 'Fault')
    assert.is_false(lost:is 'RemoteError')
    assert.is_false(lost:is(nil))
    assert.is_true(lost:is(Error))
    assert.is_true(Error.new { name = 'Overloaded', executed = 'no' }:is 'Refused')
    assert.is_false(Error.new { name = 'NotReady', executed = 'maybe' }:is 'Refused')
  end)

  it('says name, message and whether the function ran', function()
    local err = Error.new { name = 'Internal', message = 'our bug', executed = 'maybe', error_id = 'e7' }
    assert.equal('Internal: our bug [executed=maybe] (e7)', tostring(err))
    err = Error.new { name = 'RemoteError', message = 'deploy.lua:3: no', executed = 'yes' }
    assert.equal('deploy.lua:3: no [RemoteError, executed=yes]', tostring(err))
  end)

  it('says its cause once', function()
    local cause = { name = 'RemoteError', message = 'no disk', executed = 'yes' }
    local err = Error.new { name = 'DeploymentFailed', message = 'given up', executed = 'no', cause = cause }
    assert.equal('DeploymentFailed: given up [executed=no]; cause: no disk', tostring(err))
    assert.is_true(err.cause:is 'RemoteError')
    cause = { name = 'RemoteError', message = 'no disk', executed = 'yes' }
    err = Error.new { name = 'DeploymentFailed', message = 'given up: no disk', executed = 'no', cause = cause }
    assert.equal('DeploymentFailed: given up: no disk [executed=no]', tostring(err))
  end)

  it('has a text whatever is in its fields', function()
    local bad = setmetatable({}, { __tostring = function() error('no') end })
    local err = Error.new { name = 'Internal', message = bad }
    assert.equal('Farside error', tostring(err))
  end)

  it('shows the fields of what was thrown behind its own', function()
    local err = Error.new { name = 'RemoteError', message = 'full', executed = 'yes',
      data = { path = '/tmp', name = 'disk' } }
    assert.equal('/tmp', err.path)
    assert.same({ 'RemoteError', 'disk' }, { err.name, err.data.name })
    assert.is_nil(err.nothing)
    assert.is_nil(Error.new { name = 'Internal' }.nothing)
  end)

  it('is of the classes of what was thrown, by table and by name', function()
    local Base = {}
    Base.__index = Base
    local DiskFull = setmetatable({}, { __index = Base })
    DiskFull.__index = DiskFull
    Error.name_class(DiskFull, 'DiskFull')
    Error.name_class(Base, 'Base')
    local err = Error.new { name = 'RemoteError', message = 'm', data = setmetatable({}, DiskFull) }
    for _, what in ipairs { DiskFull, 'DiskFull', Base, 'Base', 'RemoteError' } do assert.is_true(err:is(what)) end
    assert.is_false(err:is 'Other')
    assert.is_false(err:is {})
  end)

  it('reports remote tracebacks, its own and those of its causes', function()
    local err = Error.new { name = 'DeploymentFailed', message = 'a', executed = 'no',
      traceback = 'stack traceback:\n\tx',
      cause = { name = 'RemoteError', message = 'b', executed = 'yes', traceback = 'stack traceback:\n\ty' } }
    assert.equal('DeploymentFailed: a [executed=no]; cause: b\nremote stack traceback:\n\tx\n'
      .. 'remote stack traceback:\n\ty', Error.report(err))
  end)

  it('that nobody catches shows its remote traceback in a plain luajit', function()
    local script = os.tmpname()
    local file = assert(io.open(script, 'w'))
    file:write([[
      package.path = './lua/?.lua;./lua/?/init.lua;./?.lua'
      local farside = require('spec.support.fake_native').load 'client'
      local err = farside.Error.new { name = 'RemoteError', message = 'm', executed = 'yes', traceback = 'THERE' }
      io.stderr:write(tostring(err), '|', ('%s'):format(err), '|')
      print(err)
      print(pcall(tostring, err))
      error(err)]])
    file:close()
    local pipe = io.popen(('luajit %s 2>&1'):format(script))
    local output = pipe:read('*a')
    pipe:close()
    os.remove(script)
    local line = 'm [RemoteError, executed=yes]'
    assert.truthy(output:find(line .. '|' .. line .. '|', 1, true), output)
    assert.truthy(output:find('luajit: ' .. line .. '\nremote THERE\nstack traceback:', 1, true), output)
    assert.equal(1, select(2, output:gsub('THERE', '')))
  end)
end)

describe('the description of what a function raised', function()
  before_each(fresh)

  local function describe_error(err)
    return Error.describe(err, 'stack traceback:\n\t...', native.new_registry())
  end

  it('keeps the text of strings and tells their kind', function()
    local fields = describe_error('deploy.lua:3: no')
    assert.same({ 'RemoteError', 'deploy.lua:3: no', 'error', 'yes', 'function', false },
      { fields.name, fields.message, fields.kind, fields.executed, fields.where, fields.retryable })
    assert.equal('stack traceback:\n\t...', fields.traceback)
    assert.equal('memory', describe_error('not enough memory').kind)
    assert.equal('interrupted', describe_error('interrupted').kind)
    assert.equal('stack', describe_error('deploy.lua:3: stack overflow').kind)
    assert.equal('stack', describe_error('error in error handling').kind)
  end)

  it('takes tables along as data', function()
    local fields = describe_error { code = 5, message = 'full' }
    assert.same({ code = 5, message = 'full' }, fields.data)
    assert.equal('full', fields.message)
    assert.equal('(the error is a table)', describe_error({ code = 5 }).message)
    assert.same({ 'nil', nil }, { describe_error(nil).message, describe_error(nil).data })
    assert.same({ '5', 5 }, { describe_error(5).message, describe_error(5).data })
  end)

  it('starts with the own text of an object of a registered class', function()
    local DiskFull = { __tostring = function(self) return 'disk full: ' .. self.path end }
    Error.name_class(DiskFull, 'DiskFull')
    local registry = native.new_registry()
    registry:add('DiskFull', DiskFull)
    local fields = Error.describe(setmetatable({ path = '/tmp' }, DiskFull), '', registry)
    assert.same({ 'disk full: /tmp', 'DiskFull', '/tmp' }, { fields.message, fields.type, fields.data.path })
  end)

  it('keeps those fields that can travel', function()
    local fields = describe_error(setmetatable({ path = '/tmp', handle = io.stdout, big = ('x'):rep(70000) }, {}))
    assert.same({ path = '/tmp' }, fields.data)
    assert.is_nil(getmetatable(fields.data))
    assert.is_nil(describe_error({ handle = io.stdout }).data)
  end)

  it('survives a __tostring that raises, or returns no string', function()
    local expected = '(the error is a table whose __tostring fails)'
    assert.equal(expected, describe_error(setmetatable({}, { __tostring = function() error('x') end })).message)
    assert.equal(expected, describe_error(setmetatable({}, { __tostring = function() return {} end })).message)
  end)

  it('is bounded', function()
    local fields = Error.describe(('\195\164'):rep(1000), ('t'):rep(20000), native.new_registry())
    assert.is_true(#fields.message <= 1024)
    assert.truthy(fields.message:find('^[\195\164]+%.%.%.$'))
    assert.equal(0, (#fields.message - 3) % 2)
    assert.is_true(#fields.traceback <= 16384)
  end)

  it('makes an error object the cause', function()
    local err = Error.new { name = 'Unsupported', message = 'not yet', executed = 'no', feature = 'nested calls',
      cause = { name = 'Internal', message = 'deep' } }
    local fields = describe_error(err)
    assert.equal('Unsupported: not yet [executed=no]; cause: deep', fields.message)
    assert.same({ 'Unsupported', 'nested calls', 'Internal' },
      { fields.cause.name, fields.cause.feature, fields.cause.cause.name })
    assert.is_nil(getmetatable(fields.cause))
    assert.is_nil(fields.data)
  end)
end)
