--- Where compiled kernels are kept between processes.
local Folder = require 'spec.support.folder'
local cache = require 'farside.cuda.cache'
local native = require 'farside.native'

describe('the cache of kernels', function()
  local folder

  before_each(function() folder = Folder.new() end)
  after_each(function() folder:close() end)

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
    ['was changed'] = 'printf y | dd of=$f conv=notrunc status=none',
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
