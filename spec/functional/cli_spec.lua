local host = require 'spec.support.host'

local function farside(...)
  local process = host.spawn { host.farside, ... }
  process:wait()
  return process
end

local function first_line(text)
  return text:match('^[^\n]*')
end

local function output_of(command)
  local pipe = io.popen(command .. ' 2>&1')
  local text = pipe:read('*a')
  pipe:close()
  return text
end

local function commands()
  local list = {}
  for name in farside('--help').out:gmatch('\n  (%l+)  ') do list[#list + 1] = name end
  return list
end

describe('the command line', function()
  after_each(host.clean)

  it('lists its commands on stdout when asked, on stderr with exit code 64 when not', function()
    local help, bare = farside('--help'), farside()
    assert.same({ 0, '' }, { help.code, help.err })
    assert.same({ 64, '' }, { bare.code, bare.out })
    assert.equal(help.out, bare.err)
    assert.equal(help.out, farside('help').out)
    assert.truthy(help.out:find('run a Lua script', 1, true))
  end)

  it('explains each command in the same words with --help, -h and help', function()
    for _, name in ipairs(commands()) do
      local help = farside(name, '--help')
      assert.same({ 0, '' }, { help.code, help.err }, name)
      assert.truthy(help.out:lower():find('^usage: farside ' .. name), help.out)
      assert.equal(help.out, farside('help', name).out)
      assert.equal(help.out, farside(name, '-h').out)
    end
  end)

  it('suggests the command that was meant', function()
    local typo = farside('rnu')
    assert.same({ 64, '', "farside: unknown command 'rnu'; did you mean 'run'?\nTry 'farside --help'.\n" },
      { typo.code, typo.out, typo.err })
  end)

  it('fails where its output cannot be written', function()
    for _, words in ipairs { '--version', 'completion bash', 'run ' .. host.script('prints.lua', "print 'told'") } do
      assert.equal('farside: cannot write to stdout: No space left on device\n74\n',
        (output_of(('"%s" %s 2>&1 >/dev/full; echo $?'):format(host.farside, words)):gsub('stdout\n', 'stdout: No space left on device\n')))
    end
  end)

  it('ends when who reads its output has enough, and not when another pipe breaks', function()
    local endless = host.script('endless.lua', "while true do print 'on' end")
    assert.equal('on\n141\n', output_of(([[bash -c '"%s" run %s | head -1; echo ${PIPESTATUS[0]}']]):format(host.farside, endless)))
    local other = host.script('other.lua', "local p = io.popen('exec true', 'w') " ..
      "local ok, why repeat ok, why = p:write(('x'):rep(1e4)) until not ok print(why)")
    assert.equal('Broken pipe\n', output_of(('"%s" run %s'):format(host.farside, other)))
  end)

  it('says which option is unknown and where help is', function()
    local typo = farside('completion', '--shel')
    assert.equal(64, typo.code)
    assert.equal("farside: completion: unknown option '--shel'", first_line(typo.err))
    assert.truthy(typo.err:find("Try 'farside completion --help'.", 1, true))
    assert.equal("farside: unknown option '--jsno'", first_line(farside('--jsno').err))
  end)

  it('tells its version', function()
    assert.truthy(farside('--version').out:find('^farside %d+%.%d+%.%d+\n$'))
  end)

  it('gives a script all words behind it, also those that look like options', function()
    local script = host.script('words.lua', 'print(...)')
    assert.equal('--help\t-h\t--\t--version\n', host.run(script, { args = { '--help', '-h', '--', '--version' } }).out)
  end)

  it('leaves argparse to scripts that bring their own', function()
    local script = host.script('own.lua', "package.preload.argparse = function() return 'mine' end\n"
      .. "print(require 'argparse', package.loaded['farside.cli.argparse'])")
    assert.equal('mine\tnil\n', host.run(script).out)
  end)

  it('has a man page that troff takes without a warning', function()
    local path = host.script('farside.1', farside('man').out)
    if output_of('command -v groff') == '' then return pending('groff is not there') end
    assert.equal('', output_of(('groff -man -Tutf8 -ww -z %s'):format(path)))
    local text = output_of(('groff -man -Tascii -P-cbou %s'):format(path)):gsub('%s+', ' ')
    for _, name in ipairs(commands()) do assert.truthy(text:find(' farside ' .. name .. ' ', 1, true), name) end
    assert.truthy(text:find('EXIT STATUS 0 it was done', 1, true))
  end)

  it('says the same in the man page and with --help', function()
    local page = farside('man').out:gsub('\\%-', '-'):gsub('\\%(ga', '`'):gsub('%s+', ' ')
    local description = farside('run', '--help').out:match('\n\n(.-)\n\n'):gsub('%s+', ' ')
    assert.truthy(page:find(description, 1, true), description)
  end)

  describe('completes in bash', function()
    local function complete(...)
      local path = host.script('completion.bash', farside('completion', 'bash').out)
      local words = { ... }
      for i, word in ipairs(words) do words[i] = ("'%s'"):format(word) end
      return output_of(([[bash -c 'source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _farside; printf "%%s\n" "${COMPREPLY[@]}" | sort -u']])
        :format(path, table.concat(words, ' '):gsub("'", '"'), #words - 1)):gsub('\n$', '')
    end

    it('commands', function() assert.equal('run', (complete('farside', 'ru'))) end)

    it('commands to be explained', function() assert.equal('completion', (complete('farside', 'help', 'comp'))) end)

    it('options', function() assert.equal('--help', (complete('farside', 'run', '--h'))) end)

    it('options of a command that reads its words itself', function()
      assert.equal('--seconds\n--seed\n--set', (complete('farside', 'simulate', '--se')))
    end)
  end)

  it('has completions that zsh can read', function()
    local path = host.script('_farside', farside('completion', 'zsh').out)
    assert.truthy(farside('completion', 'zsh').out:find('^#compdef farside\n'))
    if output_of('command -v zsh') == '' then return pending('zsh is not there') end
    assert.equal('', output_of('zsh -n ' .. path))
  end)
end)
