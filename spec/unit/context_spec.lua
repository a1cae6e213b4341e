local fake = require 'spec.support.fake_native'

describe('contexts', function()
  local farside, native, contexts, log

  before_each(function()
    farside, native = fake.load 'worker'
    require('farside.future').serve(fake.executor(native))
    contexts = require('farside.context').new()
    log = {}
  end)

  --- Adds a class of a name whose enter and exit are logged.
  local function add(name, enter, exit)
    local class = { name = name }
    function class:enter(...)
      log[#log + 1] = '+' .. name
      return enter and enter(self, ...)
    end
    function class:exit(err)
      log[#log + 1] = '-' .. name
      self.err = err
      return exit and exit(self, err)
    end
    assert.is_nil(contexts:add(class, { n = 2, 'a', nil }, 'deploy.lua:3: '))
    return class
  end

  local function get(class)
    local value = contexts:get(class)
    return value
  end

  --- What get raises, with its caller on line 1 of client.lua.
  local function error_of_get(class)
    local chunk = loadstring('local get, class = ... local x = get(class) return x', '@client.lua')
    local ok, err = pcall(chunk, get, class)
    assert.is_false(ok)
    return err
  end

  it('are what enter returns, else the instance', function()
    local A = add('A', function() return 5 end)
    local B = add('B')
    assert.is_true(contexts:enter_all())
    assert.equal(5, get(A))
    assert.equal('B', get(B).name)
    assert.are_not.equal(B, get(B))
  end)

  it('get their arguments, and have the methods of their class', function()
    local seen
    local A = add('A', function(self, ...)
      seen = { select('#', ...), ... }
      self.value = self:double(21)
    end)
    function A:double(x) return self == seen or 2 * x end
    contexts:enter_all()
    assert.same({ 2, 'a' }, seen)
    assert.equal(42, get(A).value)
  end)

  it('are entered side by side', function()
    for _, name in ipairs { 'A', 'B', 'C' } do add(name, function() farside.sleep(2) end) end
    contexts:enter_all()
    assert.equal(1002, native.time)
  end)

  it('exit in the reverse order of having been entered', function()
    add('A', function() farside.sleep(2) end)
    add('B', function() farside.sleep(1) end)
    contexts:enter_all()
    contexts:exit_all()
    assert.same({ '+A', '+B', '-A', '-B' }, log)
  end)

  it('may ask for one another', function()
    local B
    local A = add('A', function() return 'A of ' .. get(B) end)
    B = add('B', function() farside.sleep(1) return 'B' end)
    assert.is_true(contexts:enter_all())
    assert.equal('A of B', get(A))
    contexts:exit_all()
    assert.same({ '+A', '+B', '-A', '-B' }, log)
  end)

  it('that wait for each other are an error that names them', function()
    local A, B, C
    A = add('A', function() return get(B) end)
    B = add('B', function() return get(C) end)
    C = add('C', function() return get(A) end)
    local ok, err, context = contexts:enter_all()
    assert.is_false(ok)
    assert.equal('contexts wait for each other: C -> A -> B -> C', err)
    assert.equal('C', context.name)
  end)

  it('that ask for themselves are an error too', function()
    local A
    A = add('A', function() return get(A) end)
    assert.equal('contexts wait for each other: A -> A', (select(2, contexts:enter_all())))
  end)

  it('report the first cause when one fails, with its traceback', function()
    local B
    add('A', function() return get(B) end)
    B = add('B', assert(loadstring('error("no disk")', '@deploy.lua')))
    local ok, err, context, traceback = contexts:enter_all()
    assert.is_false(ok)
    assert.equal('deploy.lua:1: no disk', err)
    assert.equal('B', context.name)
    local fields = require('farside.context').describe(err, context, traceback, native.new_registry())
    assert.same({ 'RemoteError', 'context B: deploy.lua:1: no disk', 'no', 'worker' },
      { fields.name, fields.message, fields.executed, fields.where })
  end)

  it('exit with the error when another one failed, even slower ones', function()
    local A = add('A')
    add('B', function() error('no', 0) end)
    local C = add('C', function() farside.sleep(1) end)
    local ok, err = contexts:enter_all()
    assert.is_false(ok)
    local a, c = get(A), get(C)
    contexts:exit_all(err)
    assert.same({ '+A', '+B', '+C', '-C', '-A' }, log)
    assert.same({ 'no', 'no' }, { a.err, c.err })
  end)

  it('W10: exit though another exit fails, which is reported', function()
    add('A')
    add('B', nil, function() error('stuck', 0) end)
    contexts:enter_all()
    local text = fake.stderr_of(function() contexts:exit_all() end)
    assert.same({ '+A', '+B', '-B', '-A' }, log)
    assert.equal('farside: exit of context B failed: stuck\n', text)
  end)

  it('exit once', function()
    add('A')
    contexts:enter_all()
    contexts:exit_all()
    contexts:exit_all()
    assert.same({ '+A', '-A' }, log)
  end)

  it('that are not registered are an error that names them', function()
    local expected = 'client.lua:1: get_context: expected a class registered with app.context, got '
    assert.equal(expected .. 'Model', error_of_get { name = 'Model' })
    assert.equal(expected .. 'a table', error_of_get {})
    assert.equal(expected .. 'nil', error_of_get(nil))
  end)

  it('that are not entered are an error that names them', function()
    local A = add('A')
    assert.equal('client.lua:1: get_context: context A is not entered: contexts are entered on workers alone',
      error_of_get(A))
    contexts:enter_all()
    contexts:exit_all()
    assert.equal('client.lua:1: get_context: context A is not entered: it is exited', error_of_get(A))
  end)

  it('have the names of their variables in the script', function()
    contexts:add({ enter = function() end }, { n = 0 }, 'deploy.lua:3: ')
    contexts:add({ enter = function() end }, { n = 0 }, 'deploy.lua:4: ')
    local first = contexts.list[1].class
    contexts:name(function(class) return class == first and 'Model' or nil end)
    assert.same({ 'Model', 'context 2' }, { contexts.list[1].name, contexts.list[2].name })
  end)
end)
