--- Where compiled kernels are kept between processes.
local Folder = require 'spec.support.folder'
local cache = require 'farside.cuda.cache'
local host = require 'spec.support.host'
local native = require 'farside.native'

describe('the cache of kernels', function()
  local folder
  local stderr, written = io.stderr, {}

  -- What is said on stderr is kept: it is said once in a process.
  setup(function() rawset(io, 'stderr', { write = function(_, text) written[#written + 1] = text end }) end)
  teardown(function() rawset(io, 'stderr', stderr) end)
  before_each(function() folder = Folder.new() end)
  after_each(function()
    host.clean()
    folder:close()
  end)

  local KEY = cache.key('source', 'sm_90')

  local function change(script)
    folder:run(('cd $folder/farside/kernels && f=%s.so && { %s; }'):format(KEY, script))
  end

  it('gives back what was put, with the file that holds it', function()
    assert.is_nil(cache.get(KEY, 'so'))
    local path = cache.put(KEY, 'so', 'bytes\0\n')
    assert.equal(('%s/farside/kernels/%s.so'):format(folder.path, KEY), path)
    assert.same({ 'bytes\0\n', path }, { cache.get(KEY, 'so') })
    assert.is_nil(cache.get(KEY, 'cubin'))
    assert.same({ KEY .. '.so' }, folder:kernels())
  end)

  it('holds an empty text', function()
    cache.put(KEY, 'so', '')
    assert.equal('', (cache.get(KEY, 'so')))
  end)

  it('tells keys apart by all of their parts and where each ends', function()
    local seen = {}
    for _, key in ipairs { cache.key('ab', 'c'), cache.key('a', 'bc'), cache.key 'abc', cache.key('ab', 'c', ''),
      cache.key('ab', 'd') } do
      assert.is_nil(seen[key])
      assert.truthy(key:find '^%x+$' and #key == 64)
      seen[key] = true
    end
  end)

  it('is folders of mode 0700', function()
    cache.put(KEY, 'so', 'x')
    assert.equal('700\n700', folder:run 'stat -c %a $folder/farside $folder/farside/kernels')
  end)

  for damage, script in pairs {
    ['was cut short'] = 'truncate -s 50 $f',
    ['was emptied'] = ': >$f',
    ['was changed'] = '{ printf y; tail -c +2 $f; } >new && cat new >$f && rm new',
    ['got longer'] = 'printf y >>$f',
    ['lost its checksum'] = 'truncate -s 200 $f',
  } do
    it('does not give back what ' .. damage .. ', and takes it anew', function()
      local bytes = ('x'):rep(200)
      cache.put(KEY, 'so', bytes)
      change(script)
      assert.is_nil(cache.get(KEY, 'so'))
      cache.put(KEY, 'so', bytes)
      assert.equal(bytes, (cache.get(KEY, 'so')))
    end)
  end

  for what, script in pairs {
    ['that others may write to'] = 'chmod 0666 $f',
    ['that a group may write to'] = 'chmod 0620 $f',
    ['that is a link'] = 'mv $f whole && ln -s whole $f',
    ['that is a fifo'] = 'rm $f && mkfifo $f',
    ['that is a folder'] = 'rm $f && mkdir $f',
  } do
    it('does not give back a file ' .. what, function()
      cache.put(KEY, 'so', 'x')
      change(script)
      assert.is_nil(cache.get(KEY, 'so'))
    end)
  end

  it('does not give back a file of somebody else', function()
    if folder:run 'id -u' ~= '0' then pending 'only root can give files away' end
    cache.put(KEY, 'so', 'x')
    change 'chown 65534 $f'
    assert.is_nil(cache.get(KEY, 'so'))
    assert.truthy(cache.put(KEY, 'so', 'x'))
    assert.equal('x', (cache.get(KEY, 'so')))
  end)

  it('writes files that others may not write to, whatever the umask', function()
    local process = host.run_program({ 'sh', '-c', 'umask 0; exec "$0" "$@"', host.farside, 'run', host.script('put.lua', [[
      local cache = require 'farside.cuda.cache'
      print((cache.put(cache.key 'k', 'so', 'bytes')))
      print((cache.get(cache.key 'k', 'so')))]]) }, { env = { XDG_CACHE_HOME = folder.path } })
    assert.equal('bytes', process.out:match '\n(.*)\n$', process.err)
    assert.equal('600', folder:run 'stat -c %a $folder/farside/kernels/*.so')
  end)

  it('is not used when others may write to it', function()
    cache.put(KEY, 'so', 'x')
    folder:run 'chmod 0777 $folder/farside/kernels'
    assert.is_nil(cache.get(KEY, 'so'))
    assert.is_nil(cache.put(KEY, 'so', 'x'))
    local _, why = native.cache_folder()
    assert.truthy(why:find('/farside/kernels: expected to belong to user %d+ and to be writable to nobody else, '
      .. 'got user %d+ and mode 0777'), why)
  end)

  it('is not used when it is a link', function()
    folder:run 'mkdir -m 0700 $folder/elsewhere $folder/farside && ln -s $folder/elsewhere $folder/farside/kernels'
    assert.is_nil(cache.put(KEY, 'so', 'x'))
    assert.equal('', folder:run 'ls $folder/elsewhere')
  end)

  it('is not used in a folder in which others may put another in its place, and says so once', function()
    folder:run 'chmod 0777 $folder'
    assert.is_nil(cache.put(KEY, 'so', 'x'))
    assert.is_nil(cache.get(KEY, 'so'))
    local _, why = native.cache_folder()
    assert.truthy(why:find('expected to belong to user %d+ or root and not to be writable to all, got user %d+ and mode 0777$'), why)
    assert.same({ 1, true }, { #written,
      written[1]:find('farside: compiled kernels are not kept for the next process: the folder ', 1, true) == 1 })
    folder:run 'chmod 1777 $folder'
    assert.truthy(cache.put(KEY, 'so', 'x'))
  end)

  describe('that has grown too large', function()
    local MOST = cache.MOST_BYTES
    after_each(function() cache.MOST_BYTES = MOST end)

    -- Puts files of 1 KiB that were last used so many days ago.
    local function put(days)
      for name, age in pairs(days) do
        local path = cache.put(cache.key(name), 'so', ('x'):rep(1024 - 72))
        folder:run(("touch -d '%d days ago' %s"):format(age, path))
      end
    end

    local function names()
      local found = {}
      for _, name in ipairs { 'a', 'b', 'c', 'd', 'e' } do
        if folder:run(('ls $folder/farside/kernels/%s.so 2>/dev/null'):format(cache.key(name))) ~= '' then found[#found + 1] = name end
      end
      return table.concat(found)
    end

    it('loses what was not used for longest', function()
      put { a = 3, b = 5, c = 1, d = 4 }
      cache.MOST_BYTES = 3 * 1024
      put { e = 0 }
      assert.equal('ace', names())
    end)

    it('knows what was used last', function()
      put { a = 3, b = 5, c = 1 }
      cache.get(cache.key 'b', 'so')
      cache.MOST_BYTES = 2 * 1024
      put { d = 0 }
      assert.equal('bd', names())
    end)

    it('keeps the newest even if that alone is too large', function()
      put { a = 3 }
      cache.MOST_BYTES = 100
      put { b = 0 }
      assert.equal('b', names())
    end)

    it('loses what processes have left that ended while they wrote, and nothing that is not its own', function()
      put { a = 3 }
      change 'touch -d "9 days ago" notes.txt && head -c 9999 /dev/zero >$f.Kx81ba && touch -d "9 days ago" $f.Kx81ba'
      cache.MOST_BYTES = 2 * 1024
      put { b = 0 }
      assert.equal('ab', names())
      assert.equal('notes.txt', folder:run 'cd $folder/farside/kernels && ls | grep -vx -e lock -e ".*\\.so"')
    end)

    it('stays as it is while another process removes files', function()
      put { a = 3 }
      cache.MOST_BYTES = 100
      local lock = native.cache_lock(folder.path .. '/farside/kernels', 0, 0)
      put { b = 0 }
      native.cache_unlock(lock)
      assert.equal('ab', names())
    end)
  end)

  describe('in which several make the same', function()
    local PATIENCE = cache.PATIENCE
    after_each(function() cache.PATIENCE = PATIENCE end)

    -- A process that makes it: says so, and goes on when there is a file `go`.
    local MAKER = [[
      local cache = require 'farside.cuda.cache'
      io.stdout:setvbuf 'no'
      local made = false
      local bytes = cache.alone(cache.key(arg[1]), function()
        local kept = cache.get(cache.key(arg[1]), 'so')
        if kept then return kept end
        made = true
        print 'makes'
        if arg[2] == 'hang' then os.execute 'while [ -d $XDG_CACHE_HOME ] && ! [ -e $XDG_CACHE_HOME/go ]; do sleep 0.01; done' end
        cache.put(cache.key(arg[1]), 'so', 'bytes')
        return 'bytes'
      end)
      print(bytes, made)]]

    local script
    before_each(function() script = host.script('maker.lua', MAKER) end)

    local function start(...)
      return host.start(script, { args = { ... }, env = { XDG_CACHE_HOME = folder.path } })
    end

    it('lets one make it, for which the others wait', function()
      local first = start('k', 'hang')
      first:wait_for 'makes'
      local others = { start 'k', start 'k' }
      local other_key = start 'other'  -- is not held up
      other_key:wait(20)
      folder:run 'touch $folder/go'
      first:wait(20)
      for _, other in ipairs(others) do
        other:wait(20)
        assert.equal('bytes\tfalse\n', other.out, other.err)
      end
      assert.same({ 'makes\nbytes\ttrue\n', 'makes\nbytes\ttrue\n' }, { first.out, other_key.out })
    end)

    it('goes on with the next when one is killed', function()
      local first = start('k', 'hang')
      first:wait_for 'makes'
      local second = start 'k'
      first:kill(9)
      second:wait(20)
      folder:run 'touch $folder/go'
      assert.equal('makes\nbytes\ttrue\n', second.out, second.err)
    end)

    it('goes on with the next when one raises', function()
      local problem = {}
      local ok, raised = pcall(cache.alone, KEY, function() error(problem) end)
      assert.same({ false, true }, { ok, raised == problem })
      cache.PATIENCE = 3600
      assert.equal(5, cache.alone(KEY, function() return 5 end))
    end)

    it('waits for one that hangs for a while only', function()
      local result = cache.alone(KEY, function()
        cache.PATIENCE = 0.02
        return cache.alone(KEY, function() return 'made nevertheless' end)
      end)
      assert.equal('made nevertheless', result)
    end)

    it('does without locks where there can be none', function()
      Folder.set_variable('XDG_CACHE_HOME', '/dev/null/cache')
      assert.equal(5, cache.alone(KEY, function() return 5 end))
      Folder.set_variable('XDG_CACHE_HOME', folder.path)
      folder:run 'mkdir -m 0700 -p $folder/farside/kernels/lock'
      assert.equal(5, cache.alone(KEY, function() return 5 end))
    end)
  end)

  it('is missed without an error where there can be none', function()
    Folder.set_variable('XDG_CACHE_HOME', '/dev/null/cache')
    assert.is_nil(cache.put(KEY, 'so', 'x'))
    assert.is_nil(cache.get(KEY, 'so'))
    Folder.set_variable('XDG_CACHE_HOME', '/' .. ('long/'):rep(1000))
    assert.is_nil(cache.put(KEY, 'so', 'x'))
  end)

  it('leaves nothing behind when a file cannot get its place', function()
    cache.put(KEY, 'so', 'x')
    change 'rm $f; mkdir $f; touch $f/inside'
    assert.is_nil(cache.put(KEY, 'so', 'x'))
    assert.same({ KEY .. '.so' }, folder:kernels())
  end)

  it('is in the home folder without XDG_CACHE_HOME, or with one that is no absolute path', function()
    local home = os.getenv 'HOME'
    Folder.set_variable('HOME', folder.path)
    for _, value in ipairs { false, 'relative', '' } do
      Folder.set_variable('XDG_CACHE_HOME', value or nil)
      assert.equal(folder.path .. '/.cache/farside/kernels', native.cache_folder())
    end
    Folder.set_variable('HOME', nil)
    assert.same({ nil, 'neither XDG_CACHE_HOME nor HOME names a folder' }, { native.cache_folder() })
    Folder.set_variable('HOME', home)
  end)
end)

describe('a temporary folder', function()
  it('is new, in TMPDIR, and of mode 0700', function()
    local folder, before = Folder.new(), os.getenv 'TMPDIR'
    Folder.set_variable('TMPDIR', folder.path)
    local one, two = native.temporary_folder(), native.temporary_folder()
    Folder.set_variable('TMPDIR', '/dev/null')
    local none, why = native.temporary_folder()
    Folder.set_variable('TMPDIR', before)
    assert.are_not.equal(one, two)
    assert.equal(folder.path, one:match '^(.*)/farside%-%w+$')
    assert.equal('700', folder:run(('stat -c %%a %s'):format(one)))
    assert.is_nil(none)
    assert.truthy(why:find('^the folder /dev/null/farside%-%w+: Not a directory$'), why)
    folder:close()
  end)
end)
