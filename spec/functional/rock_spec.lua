--- The rock as luarocks makes it from the sources, in a tree of its own.
local lfs = require 'lfs'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'
local ROOT = lfs.currentdir()

local function run(command)
  local pipe = io.popen('(' .. command .. ') 2>&1; echo " $?"')
  local output, code = pipe:read('*a'):match('^(.*) (%d+)\n$')
  pipe:close()
  return tonumber(code), output
end

describe('the rock', function()
  -- What it builds has no sanitizer in it, so a build with one has nothing to learn here.
  if lfs.attributes(BUILD .. '/bin/luajit') then
    return pending('is not made in a build with a sanitizer')
  end

  local folder, tree

  -- The environment of a user who has the tree on luajit's path and nothing else.
  local function in_tree(command)
    local environment = ('env -i HOME=%s PATH=%s/bin:/usr/bin:/bin'):format(folder, tree)
    local paths = ("LUA_PATH='%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua;;' LUA_CPATH='%s/lib/lua/5.1/?.so;;'")
      :format(tree, tree, tree)
    return run(('cd %s && %s %s %s'):format(folder, environment, paths, command))
  end

  setup(function()
    local pipe = io.popen('mktemp -d')
    folder = pipe:read('*l')
    pipe:close()
    tree = folder .. '/tree'
    local code, output = run(table.concat({
      ('mkdir %s/source'):format(folder),
      ('cp -r CMakeLists.txt LICENSE host lua cuda rockspec %s/source'):format(folder),
      ('cd %s/source'):format(folder),
      -- No rock has to be fetched: the one server named here has none.
      ('CMAKE_GENERATOR=Ninja luarocks --lua-version 5.1 --only-server /nowhere --tree %s make rockspec/farside-scm-1.rockspec %s')
        :format(tree, 'LUA_INCDIR=/usr/include/luajit-2.1'),
      -- What is installed needs no sources.
      ('rm -r %s/source'):format(folder),
    }, ' && '))
    assert(code == 0, output)
  end)

  teardown(function()
    os.execute('rm -rf ' .. folder)
  end)

  it('lets a plain luajit call a remote function', function()
    local code, output = in_tree(('luajit %s/examples/square/client.lua'):format(ROOT))
    assert.equal(0, code, output)
    assert.truthy(output:find('25', 1, true), output)
  end)

  it('brings an executable that needs no path', function()
    local command = 'env -u LUA_PATH -u LUA_CPATH farside run %s/examples/square/client.lua'
    local code, output = in_tree(command:format(ROOT))
    assert.equal(0, code, output)
    assert.truthy(output:find('25', 1, true), output)
  end)
end)
