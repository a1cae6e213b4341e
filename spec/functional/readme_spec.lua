-- What the README shows is run as it stands there.
local host = require 'spec.support.host'
local scaling = require 'farside.scaling'

local build = os.getenv 'FARSIDE_BUILD' or 'build'

local function readme()
  local file = assert(io.open 'README.md')
  local text = file:read '*a'
  file:close()
  return text
end

local function blocks(language)
  local found = {}
  for block in readme():gmatch('```' .. language .. '\n(.-)```') do found[#found + 1] = block end
  return found
end

local function output_of(command)
  local pipe = assert(io.popen(command .. ' 2>&1; echo "exit $?"'))
  local text = pipe:read '*a'
  pipe:close()
  return text
end

describe('the README', function()
  after_each(host.clean)

  local folder

  setup(function()
    local pipe = io.popen 'mktemp -d'
    folder = pipe:read '*l'
    pipe:close()
    for _, block in ipairs(blocks 'lua') do
      local name = assert(block:match '^%-%- (%S+%.lua)', 'a block of Lua begins with its file name')
      local file = assert(io.open(folder .. '/' .. name, 'w'))
      file:write(block)
      file:close()
    end
  end)

  teardown(function()
    os.execute('rm -rf ' .. folder)
  end)

  local function run(script)
    local program = output_of('realpath ' .. build .. '/farside'):match '^(%S+)'
    return output_of(('cd %s && %s run %s </dev/null'):format(folder, program, script))
  end

  it('has each parameter of app.configure_autoscaling with its default', function()
    local rows, defaults = {}, scaling.defaults()
    for name, default in readme():match('| of `app.configure_autoscaling`.-\n\n'):gmatch '\n| `([%w_]+)` | (%S+) |' do rows[name] = default end
    for name in pairs(scaling.OPTIONS) do
      assert.equal(tostring(defaults[name] or 'none'), rows[name], name)
      rows[name] = nil
    end
    assert.same({}, rows)
  end)

  it('shows a client that prints what its comments say', function()
    assert.equal('25\n100\nexit 0\n', run 'client.lua')
  end)

  it('shows an attribute that means the same', function()
    assert.equal('25\nexit 0\n', run 'attribute.lua')
  end)

  it('shows a stream that prints its words', function()
    assert.equal('far\nside\nexit 0\n', run 'words.lua')
  end)

  it('shows a call with tensors', function()
    assert.equal('20\tf32\nexit 0\n', run 'scale.lua')
  end)

  it('shows a function that computes where its worker has a device', function()
    assert.equal('3\tcpu\nexit 0\n', run 'guess.lua')
  end)

  it("shows a user's own kernel", function()
    local text = run 'saxpy.lua'
    assert.truthy(text:find '^41\n' or text:find '\n41\n', text)
  end)

  it('shows a batch in which one call fails alone', function()
    local text = run 'lengths.lua'
    assert.truthy(text:match('^4\tfalse\t[^\n]*lengths.lua:10: no text [^\n]*\nexit 0\n$'), text)
  end)

  it('names two commands, and the first prints 25', function()
    local commands = blocks 'sh'
    assert.same({ './examples/run square\n', './spec/run\n' }, commands)
    local text = output_of(commands[1]:gsub('\n', '') .. ' </dev/null')
    assert.truthy(text:match '^25\n' or text:match '\n25\n', text)
    assert.truthy(text:match 'exit 0\n$', text)
  end)

  it('shows simulations that run', function()
    local file = assert(io.open 'README.md')
    local text = file:read '*a'
    file:close()
    local deploy, trace = host.script('deploy.lua', text:match '```lua\n%-%- deploy%.lua\n(.-)```'), host.script('calls.csv', '0,square,100\n')
    local count = 0
    for words in text:gmatch '\n    farside (simulate [^\n#]+)' do
      words = words:gsub('deploy%.lua', deploy):gsub('calls%.csv', trace):gsub('day%.svg', host.folder() .. '/day.svg')
      local output = output_of(('%s %s --seconds 100'):format(host.farside, words))
      assert.truthy(output:find('\nworker%-seconds ') and output:match 'exit 0\n$', output)
      count = count + 1
    end
    assert.equal(3, count)
  end)

  it('lists only files that exist', function()
    local file = assert(io.open 'README.md')
    local text = file:read '*a'
    file:close()
    for path in text:gmatch '[%s`(](%l+/[%w_/]+%.%l+)' do
      local found = io.open(path)
      assert.truthy(found, path)
      found:close()
    end
  end)
end)
