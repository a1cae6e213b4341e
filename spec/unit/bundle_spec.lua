local fake = require 'spec.support.fake_native'

describe('the bundle of a deployment', function()
  local bundle, root, path

  local function write(name, text)
    local file = assert(io.open(root .. '/' .. name, 'wb'))
    file:write(text)
    file:close()
  end

  before_each(function()
    local _, native = fake.load 'client'
    native.sha256 = function(bytes) return '#' .. bytes .. '#' end
    package.loaded['farside.bundle'] = nil
    bundle = require 'farside.bundle'
    root = os.tmpname()
    os.remove(root)
    os.execute(("mkdir -p '%s/app/ops' '%s/other' '%s/else'"):format(root, root, root))
    path, package.path = package.path, ('%s/app/?.lua;%s/other/?.lua;/usr/share/lua/5.1/?.lua'):format(root, root)
  end)

  after_each(function()
    package.path = path
    package.loaded['farside.bundle'] = nil
    os.execute(("rm -rf '%s'"):format(root))
  end)

  local function names_of(hashes)
    local names = {}
    for name in pairs(hashes) do names[#names + 1] = name end
    table.sort(names)
    return names
  end

  it('holds the script and what it requires, directly or not', function()
    write('app/deploy.lua', [[local farside = require 'farside'
      local one, two = require('one'), require "ops.two" -- twice: require 'one'
      local busted = require 'busted'  -- of the system
      local ffi = require 'ffi']])
    write('app/one.lua', 'return require [[three]]')
    write('app/ops/two.lua', "local m = {} function m.require(name) end m.require 'four' return m")
    write('other/three.lua', "return require 'deploy'")
    write('app/four.lua', '')
    local _, hashes = bundle.of(root .. '/app/deploy.lua', '/')
    assert.same({ 'deploy.lua', 'one.lua', 'ops/two.lua', 'three' }, names_of(hashes))
    assert.equal('#return require ', hashes['one.lua'])
  end)

  it('is the same wherever it lies and whatever was required before', function()
    write('app/deploy.lua', "require 'one'")
    write('app/one.lua', 'return 1')
    local hash, hashes = bundle.of(root .. '/app/deploy.lua', '/')
    os.execute(("cp '%s/app/'*.lua '%s/else'"):format(root, root))
    package.path = root .. '/other/.././else/?.lua'
    assert.same({ hash, hashes }, { bundle.of('deploy.lua', root .. '/else') })
    assert.same({ hash, hashes }, { bundle.of('../other/.././else/deploy.lua', root .. '/else') })
  end)

  it('does not count lines that ask for it', function()
    local counted = "local a = 1\nlocal b = 2\n"
    write('app/deploy.lua', counted)
    local before = bundle.of(root .. '/app/deploy.lua', '/')
    write('app/deploy.lua', "local a = 1\nlocal debug = true  -- farside: ignore \r\nlocal b = 2\n")
    assert.equal(before, (bundle.of(root .. '/app/deploy.lua', '/')))
    write('app/deploy.lua', "local a = 1\nlocal debug = true  -- farside: ignored\nlocal b = 2\n")
    assert.are_not.equal(before, (bundle.of(root .. '/app/deploy.lua', '/')))
  end)

  describe('in a worker', function()
    local expected

    before_each(function()
      write('app/deploy.lua', "require 'one'\nrequire 'three'\nrequire 'four'")
      write('app/one.lua', 'return 1 -- farside: ignore')
      write('other/three.lua', 'return 3')
      package.path = 'app/?.lua;' .. root .. '/other/?.lua'
      local hash, hashes = bundle.of('app/deploy.lua', root)
      expected = { hash = hash, files = hashes, cwd = root, path = package.path, renew = 'begin anew' }
    end)

    it('is looked for as the router has looked, and then known by paths', function()
      package.path = '/nowhere/?.lua'
      local source_of = assert(bundle.verify(root .. '/app/deploy.lua', expected))
      write('app/one.lua', 'return 2')
      assert.equal('return 1 -- farside: ignore', source_of(root .. '/other/../app/one.lua'))
      assert.equal('return 3', source_of 'other/three.lua')
      assert.is_nil(source_of 'app/four.lua')
    end)

    it('is refused where it differs, with what became of which file', function()
      write('app/deploy.lua', "require 'one' require 'three' require 'four'")
      write('app/four.lua', 'return 4')
      os.remove(root .. '/other/three.lua')
      local source_of, problem = bundle.verify(root .. '/app/deploy.lua', expected)
      assert.is_nil(source_of)
      assert.same({ 'DeploymentChanged', { 'deploy.lua (changed)', 'four.lua (added)', 'three (missing)' }, expected.hash },
        { problem.name, problem.files, problem.mine })
      assert.equal('deploy.lua, four.lua (added), three (missing) have changed since the router began, which serves what it '
        .. 'read then: put them back, or begin anew', problem.message)
    end)

    it('is refused with the names of a few files where many differ', function()
      local script = {}
      for i = 1, 200 do
        write(('app/f%03d.lua'):format(i), '')
        script[i] = ("require 'f%03d'"):format(i)
      end
      write('app/deploy.lua', table.concat(script, '\n'))
      local _, problem = bundle.verify(root .. '/app/deploy.lua', expected)
      assert.equal(100, #problem.files)
      assert.truthy(problem.message:find('^deploy.lua, f001.lua %(added%), .*f004.lua %(added%), 198 others have changed'),
        problem.message)
    end)
  end)

  it('is hashed with the lengths of all parts', function()
    local hash = bundle.hash { b = { size = 2, hash = 'xy' }, a = { size = 2 ^ 32 + 1, hash = 'z' } }
    assert.equal('#\0\0\0\16farside bundle 1\0\0\0\2\0\0\0\1a\0\0\0\1\0\0\0\1\0\0\0\1z\0\0\0\1b\0\0\0\0\0\0\0\2\0\0\0\2xy#', hash)
  end)
end)
