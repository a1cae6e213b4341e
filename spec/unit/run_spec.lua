local fake = require 'spec.support.fake_native'

describe('farside run', function()
  local native, path, arg_before

  before_each(function()
    path = os.tmpname()
    arg_before = _G.arg
    _G.spec_log = {}
  end)

  after_each(function()
    os.remove(path)
    debug.sethook()
    _G.arg, _G.spec_log = arg_before, nil
  end)

  --- Runs a script of this text. Returns the exit code and what stderr got, with FILE for the script's path.
  local function run(text, ...)
    local args = { path, ... }
    native = select(2, fake.load 'client')
    native.answers.square = function(x)
      if type(x) ~= 'number' then
        error({ name = 'RemoteError', message = 'not a number', executed = 'yes',
          traceback = 'stack traceback:\n\tTHERE' })
      end
      return x * x
    end
    local file = assert(io.open(path, 'w'))
    file:write(text)
    file:close()
    local code
    local stderr = fake.stderr_of(function() code = require('farside.cli.run')(args) end)
    return code, (stderr:gsub(path:gsub('%p', '%%%0'), 'FILE'))
  end

  local SQUARE = "local farside = require 'farside'\nlocal app = farside.deployment { name = 'd' }\n"
    .. 'app.remote<benchmark_dataset = { { x = 2 } }> local function square(x) return x * x end\n'

  it('runs a script with attributes and closes the handle', function()
    local code, stderr = run(SQUARE .. 'spec_log[1] = square(5)')
    assert.same({ 0, '' }, { code, stderr })
    assert.equal(25, _G.spec_log[1])
    assert.is_true(native.handle.closed)
  end)

  it('gives the script its arguments', function()
    run('spec_log = { arg[0], arg[1], arg[2], select("#", ...), ... }', 'a', 'b')
    assert.same({ path, 'a', 'b', 2, 'a', 'b' }, _G.spec_log)
  end)

  it('says what an error was and where, without frames of Farside, and ends with 1', function()
    local code, stderr = run('local function f()\n  error("no")\nend\nf()\nreturn 1')
    assert.equal(1, code)
    assert.equal("farside: FILE:2: no\nstack traceback:\n\tFILE:2: in function 'f'\n\tFILE:4: in main chunk\n",
      (stderr:match('^(.-in main chunk\n)')))
    assert.is_nil(stderr:find('cli/run.lua', 1, true))
  end)

  it('shows the remote traceback, then the local one', function()
    local code, stderr = run(SQUARE .. 'square("a")\nreturn 1')
    assert.equal(1, code)
    assert.truthy(stderr:find('farside: not a number [RemoteError, executed=yes]\nremote stack traceback:\n\tTHERE\n'
      .. 'stack traceback:\n\tFILE:4: in main chunk\n', 1, true), stderr)
  end)

  it('shows where in farside.run an error was', function()
    local _, stderr = run(SQUARE .. 'farside.run(function()\n  square("a")\n  return 1\nend)')
    assert.truthy(stderr:find('FILE:5: in function <FILE:4>', 1, true), stderr)
  end)

  it('closes the handle after an error too', function()
    run(SQUARE .. 'square(5) error("no")')
    assert.is_true(native.handle.closed)
  end)

  it('shows errors that are no strings', function()
    local _, stderr = run('error(setmetatable({}, { __tostring = function() return "own text" end }))')
    assert.truthy(stderr:find('farside: own text\n', 1, true))
    _, stderr = run('error(setmetatable({}, { __tostring = function() error("x") end }))')
    assert.truthy(stderr:find('farside: (the error is a table)\n', 1, true))
    _, stderr = run('error()')
    assert.truthy(stderr:find('farside: nil\n', 1, true))
  end)

  it('says in one line that a script cannot be read or is no Lua', function()
    local code, stderr = run('local x =')
    assert.same({ 1, "farside: FILE:1: unexpected symbol near '<eof>'\n" }, { code, stderr })
    os.remove(path)
    fake.load 'client'
    stderr = fake.stderr_of(function() code = require('farside.cli.run') { '/nowhere/x.lua' } end)
    assert.same({ 1, 'farside: cannot open /nowhere/x.lua: No such file or directory\n' }, { code, stderr })
  end)

  it('says in one line that it was interrupted', function()
    local code, stderr = run('error("interrupted!", 0)')
    assert.same({ 130, 'farside: interrupted\n' }, { code, stderr })
  end)

  it('says how it is used', function()
    fake.load 'client'
    local code
    local stderr = fake.stderr_of(function() code = require('farside.cli.run') {} end)
    assert.same({ 64, 'farside: usage: farside run SCRIPT [arguments]\n' }, { code, stderr })
  end)

  it('lets a C program load a script', function()
    run('')
    local file = assert(io.open(path, 'w'))
    file:write(SQUARE .. 'local cube = app.remote(function() end)')
    file:close()
    local handle, number, names = require('farside.embed').load(path)
    assert.same({ native.handle, 0, { 'square', 'cube' } }, { handle, number, names })
  end)

  it('tells a C program that a script declares no deployment', function()
    run('')
    local ok, err = pcall(require('farside.embed').load, path)
    assert.is_false(ok)
    assert.equal(path .. ': expected one deployment, got 0', err)
  end)
end)
