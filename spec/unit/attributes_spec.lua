local attributes = require('farside.attributes')

local function count_lines(text)
  return select(2, text:gsub('\n', ''))
end

--- An `app` whose handles keep what they were made of, in the order they were made.
local function fake_app()
  local handles = {}
  local mt = { __call = function(handle, ...) return handle.func(...) end }
  function mt.__concat(handle, func)
    handle.func = func
    return handle
  end
  local function remote(options, name)
    local handle = setmetatable({ options = options, name = name }, mt)
    handles[#handles + 1] = handle
    return handle
  end
  return { remote = remote }, handles
end

--- Runs a source with a fake app. Returns its globals, its handles, and what it returns.
local function run(source)
  local app, handles = fake_app()
  local env = setmetatable({ app = app, M = { a = {} } }, { __index = _G })
  return env, handles, assert(attributes.load(source, 'run.lua', env))()
end

describe('an attribute', function()
  local forms = {
    { 'function f', 'f' },
    { 'function M.f', 'M.f' },
    { 'function M.a.f', 'M.a.f' },
    { 'local function f', 'f' },
    { 'f = function', 'f' },
    { 'M.f = function', 'M.f' },
    { 'M.a.f = function', 'M.a.f' },
    { 'local f = function', 'f' },
  }
  for _, form in ipairs(forms) do
    it('makes a handle of ' .. form[1], function()
      local source = ('app.remote<benchmark_runs = 3>\n%s(x) return x * x end\nreturn %s'):format(form[1], form[2])
      local _, handles, f = run(source)
      assert.equal(1, #handles)
      assert.equal(handles[1], f)
      assert.equal('f', f.name)
      assert.same({ benchmark_runs = 3 }, f.options)
      assert.equal(25, f(5))
      assert.equal(2, debug.getinfo(f.func, 'S').linedefined)
    end)
  end

  it('is rewritten to a concatenation on its own lines', function()
    local source = 'app.remote<\n  x = 1, -- one\n>\n\nlocal function f(a) return a end\n'
    local text = 'local f; f = app.remote({\n  x = 1, -- one\n}, "f") ..\n\n function (a) return a end\n'
    assert.equal(text, attributes.rewrite(source, 'd.lua'))
  end)

  it('keeps comments and line ends between its tokens and those of the function', function()
    local source = 'app--[[a\n]].\nremote -- <\n<\n>--b\nfunction--[[c]]M\n.--d\nf\n(x) return x end\nreturn M.f'
    local text = assert(attributes.rewrite(source, 'd.lua'))
    assert.equal(count_lines(source), count_lines(text))
    local _, _, f = run(source)
    assert.equal('f', f.name)
    -- LuaJIT says that a function literal is defined where its parameters start.
    assert.equal(9, debug.getinfo(f.func, 'S').linedefined)
  end)

  it('may be empty', function()
    local _, _, f = run('app.remote<> function f() end return f')
    assert.same({}, f.options)
  end)

  it('takes any prefix of dotted names', function()
    local text = attributes.rewrite('a.b.c.remote<> function f() end', 'd.lua')
    assert.equal('f = a.b.c.remote({}, "f") .. function () end', text)
    text = attributes.rewrite('\195\169.remote<> function f() end', 'd.lua')
    assert.equal('f = \195\169.remote({}, "f") .. function () end', text)
  end)

  it('lets a local function see its own handle', function()
    local _, _, seen, f = run('app.remote<> local function f() return f end return f(), f')
    assert.equal(f, seen)
  end)

  it('keeps the scope of local f = function', function()
    local env, _, f = run('app.remote<> local f = function() return f end return f')
    assert.is_nil(rawget(env, 'f'))
    assert.is_nil(f())
  end)

  it('leaves globals global and locals local', function()
    assert.is_table(rawget(run('app.remote<> function f() end'), 'f'))
    assert.is_table(rawget(run('app.remote<> f = function() end'), 'f'))
    assert.is_nil(rawget(run('app.remote<> local function f() end'), 'f'))
    assert.is_nil(rawget(run('local f app.remote<> function f() end'), 'f'))
  end)

  it('may be followed by a line that starts with a parenthesis', function()
    for _, form in ipairs({ 'function f() end', 'local f = function() end', 'M.f = function() end' }) do
      local _, handles = run('local n = 0 app.remote<> ' .. form .. '\n(function() n = n + 1 end)() assert(n == 1)')
      assert.is_function(handles[1].func)
    end
  end)

  it('stands wherever a statement may start', function()
    local before = {
      '', ';', 'x = 5\n', 'x = 0xFFULL ', 'x = 2i ', 'x = 1e+3 ', 'x = 0x.8p-1 ', 'x = 1 .. .5 ',
      'while x do break ', "#!it's\n", 'x = "s"', "f's'", 'f[[s]]', 'x = [==[]]]==]',
      'x = y\n', 'x = nil ', 'x = true ', 'x = false ', 'f()', 'x = y[1]', 'f{}', 'local x ', 'goto done ',
      'x = function() end ', 'do end ', '::here::', 'x = ... ', 'repeat until x ', 'x = goto ', '#!luajit\n',
      '-- comment\n', '--[[ long ]]', '\239\187\191', '\239\187\191# first line\r\n',
    }
    for _, text in ipairs(before) do
      local source = text .. 'app.remote<> function g() end'
      assert.equal(text .. 'g = app.remote({}, "g") .. function () end', attributes.rewrite(source, 'd.lua'))
    end
  end)

  it('stands in every kind of block', function()
    local blocks = {
      'do %s end', 'if x then %s end', 'if x then elseif y then %s else %s end', 'while x do %s end',
      'for i = 1, 2 do %s end', 'for k in x do %s end', 'repeat %s until x', 'function f(a, ...) %s end',
      'x = { function() %s end; 1 }', 'f(function() %s end)', 'x[function() %s end] = 1',
      'while x do if y then break end %s end',
    }
    for _, block in ipairs(blocks) do
      local source = block:gsub('%%s', 'app.remote<> function g() end')
      local text = block:gsub('%%s', 'g = app.remote({}, "g") .. function () end')
      assert.equal(text, attributes.rewrite(source, 'd.lua'))
      assert(attributes.load(source, 'd.lua'))
    end
  end)

  it('stands inside a function of another attribute', function()
    local _, handles, f = run([[
      app.remote<g = function() app.remote<x = 1> local function inner() return 7 end return inner end>
      function f() return 8 end
      return f]])
    local inner = f.options.g()
    assert.same({ 'f', 'inner', 8, 7 }, { handles[1].name, handles[2].name, f(), inner() })
    assert.same({ x = 1 }, inner.options)
  end)

  it('ends at the first > outside of brackets and functions', function()
    local _, _, f = run([===[
      app.remote<a = (2 > 1), b = { 2 > 1 }, c = ({ 5 })[2 > 1 and 1], d = "a > b", e = 'a > \' b', f = [=[ > ]] ]=],
        -- a comment > b
        --[==[ a long one >
        ]] ]==]
        g = function(x)
          if x > 1 then while x > 2 do x = x - 1 end end
          for i = 1, 2 do if i > x then break end end
          repeat local y = x > 1 until y or true
          do local z = x > 1 end
          return function() return x > 1 end
        end, h = 2 >= 1, [ [[i]] ] = 1 .. ''> function f() end
      return f]===])
    local o = f.options
    assert.same({ true, { true }, 5, 'a > b', "a > ' b", ' > ]] ' }, { o.a, o.b, o.c, o.d, o.e, o.f })
    assert.same({ true, true, '1' }, { o.g(3)(), o.h, o.i })
  end)

  it('is not confused by escapes in strings', function()
    local values = { [["\">"]], [['\'>']], [["\\"]], '"\\\n>"', '"\\\r\n>"', '"\\z \n\n >"', [["\065\x3e\u{3e}>"]] }
    for _, value in ipairs(values) do
      local source = ('app.remote<s = %s>\nfunction f() end\nreturn f'):format(value)
      local _, _, f = run(source)
      assert.equal(loadstring('return ' .. value)(), f.options.s)
    end
  end)

  it('keeps carriage returns and a missing last line end', function()
    local source = 'app.remote<\r\nx = 1\r\n>\r\nlocal function f()\r\nend'
    local text = 'local f; f = app.remote({\r\nx = 1\r\n}, "f") ..\r\n function ()\r\nend'
    assert.equal(text, attributes.rewrite(source, 'd.lua'))
  end)

  it('keeps the lines of errors that come later', function()
    local chunk, err = attributes.load('app.remote<\n>\nfunction f()\nend\nx = = 1', 'd.lua')
    assert.is_nil(chunk)
    assert.matches('^d.lua:5: ', err)
  end)
end)

describe('a source without attributes', function()
  local function assert_unchanged(source)
    local text = attributes.rewrite(source, 'd.lua')
    assert.equal(source, text)
  end

  it('keeps its comparisons', function()
    local comparisons = {
      'x = app.remote<5', 'return app.remote<y', 'return 1, app.remote<y', 'if app.remote < 3 then end',
      'if x then elseif app.remote<3 then end', 'while app.remote<3 do end', 'repeat until app.remote<3',
      'f(app.remote<3)', 'f(1, app.remote<3)', 'x = {app.remote<3}', 'x = {1; app.remote<3; app.remote<4}',
      'x = {1, app.remote<3}', 'x = {y = app.remote<3}', 'x = y[app.remote<3]', 'x = y and app.remote<3',
      'x = y or app.remote<3', 'x = not app.remote<3', 'local y = a, app.remote<b', 'x = -app.remote<3',
      'x = #app.remote<3', 'x = y == app.remote<3', 'x = y .. app.remote<3', 'x = 3 +\napp.remote<3',
      'x = 2^app.remote<3', 'x = y % app.remote<3', 'x = (app.remote<3) > 2', 'for k in app.remote<x do end',
      'for i = app.remote<x, 3 do end', 'x = f().app.remote<3', 'x = y[1].app.remote<3', 'x = y <= app.remote<3',
      'x = y ~= app.remote<3', 'x = y / app.remote<3 and z > 2', 'x = y * app.remote<3', 'x = y --[[]] + app.remote<3',
    }
    for _, source in ipairs(comparisons) do
      assert_unchanged(source)
      assert_unchanged(source .. ' -- app.remote<>')
      assert(loadstring(source))
    end
  end)

  it('keeps what only looks like an attribute', function()
    assert_unchanged('-- app.remote<> function f() end')
    assert_unchanged('--[==[\n]]app.remote<> function f() end\n]==]')
    assert_unchanged('x = [[\napp.remote<> function f() end\n]]')
    assert_unchanged('x = "\\\napp.remote<> function f() end"')
    assert_unchanged('# app.remote<> function f() end\nreturn 1')
    assert_unchanged('x = a.remotes<3 or remote<3')
    assert_unchanged('app.remote{}(f) if 1 < 2 then end')
    assert_unchanged('app.remote<=3')
    assert_unchanged('remote<> function f() end')
    assert_unchanged('app.remotely<> function f() end')
  end)

  it('is kept when it is empty, bytecode, or no Lua at all', function()
    assert_unchanged('')
    assert_unchanged('\239\187\191')
    assert_unchanged('#!/usr/bin/luajit')
    assert_unchanged(string.dump(loadstring('return app.remote < 3')))
    assert_unchanged('\27LJ app.remote<> function f() end')
    assert_unchanged('x = "unfinished app.remote<> function f() end')
    assert_unchanged('--[[ unfinished app.remote<> function f() end')
    assert_unchanged('end end app.remote<> function f() end')
    assert_unchanged('x = (1} app.remote<> function f() end')
    assert_unchanged('x = { local app.remote<> function f() end }')
  end)

  it('lets Lua report what is wrong in it', function()
    local chunk, err = attributes.load('\nx = app.remote<> function f() end', 'd.lua')
    assert.is_nil(chunk)
    assert.matches("^d.lua:2: unexpected symbol near '>'", err)
  end)
end)

describe('a wrong attribute', function()
  local function assert_message(expected, source)
    local text, err = attributes.rewrite(source, 'd.lua')
    assert.is_nil(text)
    assert.equal(expected, err)
    local chunk, load_err = attributes.load(source, 'd.lua')
    assert.is_nil(chunk)
    assert.equal(expected, load_err)
  end

  it('stands before a method', function()
    assert_message("d.lua:2:11: expected '(' after 'function M' (a method cannot be remote), got ':'",
      'app.remote<>\nfunction M:f() end')
  end)

  it('stands before several targets', function()
    assert_message("d.lua:1:15: expected one variable after an attribute, got ','",
      'app.remote<> a, b = function() end')
    assert_message("d.lua:1:21: expected one variable after an attribute, got ','",
      'app.remote<> local a, b = function() end')
  end)

  it('stands before a second attribute', function()
    assert_message('d.lua:2:3: expected one attribute for a function, got a second attribute',
      'app.remote<>\n  app.remote<>\nfunction f() end')
  end)

  it('stands before what is no function', function()
    local cases = {
      { "1:14: expected a function after an attribute, got 'return'", 'return 1' },
      { "1:14: expected a function after an attribute, got '('", '(f)()' },
      { "1:14: expected a function after an attribute, got ';'", ';' },
      { "1:13: expected a function after an attribute, got the end of the file", '' },
      { "1:22: expected a function with a name, got '('", 'function() end' },
      { "1:15: expected 'f = function' after an attribute, got '('", 'f(1)' },
      { "1:15: expected 'f = function' after an attribute, got a string", 'f"x"' },
      { "1:15: expected 'M = function' after an attribute, got '['", 'M[1] = function() end' },
      { "1:21: expected 'f = function' after an attribute, got the end of the file", 'local f' },
      { "1:18: expected 'function' after 'f =', got '3'", 'f = 3' },
      { "1:24: expected 'function' after 'f =', got 'g'", 'local f = g' },
      { "1:30: expected '(' after 'function M', got '.'", 'local function M.f() end' },
    }
    for _, case in ipairs(cases) do
      local source = 'app.remote<> ' .. case[2]
      assert_message('d.lua:' .. case[1], #case[2] > 0 and source or 'app.remote<>')
    end
  end)

  it('is not closed', function()
    local cases = {
      { "2:1: expected '>' to close the attribute of line 1, got 'local'", 'a = 1\nlocal function f() end' },
      { "2:1: expected '>' to close the attribute of line 1, got 'function'", 'a = 1\nfunction f() end' },
      { "1:12: expected '>' to close the attribute of line 1, got the end of the file", '' },
      { "2:1: expected '>' to close the attribute of line 1, got the end of the file", '--[[ >\n' },
      { "1:14: expected '>' to close the attribute of line 1, got an unfinished string", 'a="> function f() end' },
      { "1:15: expected '>' to close the attribute of line 1, got ')'", 'a=1)> function f() end' },
      { "2:1: expected '}' to close '{' of line 1 in the attribute of line 1, got 'local'",
        'a = {1>\nlocal function f() end' },
      { "2:3: expected ')' to close '(' of line 2 in the attribute of line 1, got '}'", '\n(1}> f = function() end' },
      { "1:45: expected 'end' to close 'function' of line 1 in the attribute of line 1, got the end of the file",
        'g = function() > function f() end' },
      { "1:32: expected 'until' to close 'repeat' of line 1 in the attribute of line 1, got 'end'",
        'g=function() repeat end> f' },
    }
    for _, case in ipairs(cases) do
      local rest = case[2]
      assert_message('d.lua:' .. case[1], 'app.remote<' .. rest)
    end
  end)

  it('is closed too early by a comparison outside of brackets', function()
    assert_message("d.lua:1:18: expected a function after an attribute, got '2'",
      'app.remote<a = 3>2> function f() end')
    assert_message("d.lua:1:16: expected a function after an attribute, got '>'", 'app.remote<a=1>> function f() end')
  end)

  it('is reported at its line and column, whatever the line ends', function()
    for _, line_end in ipairs({ '\n', '\r\n', '\n\r', '\r' }) do
      local source = ('%s%sx = 1%s  app.remote<> return'):format(line_end, line_end, line_end)
      assert_message("d.lua:4:16: expected a function after an attribute, got 'return'", source)
    end
    assert_message("d.lua:1:14: expected a function after an attribute, got 'return'",
      '\239\187\191app.remote<> return')
  end)
end)

describe('every Lua file of this machine', function()
  local function read(path)
    local file = assert(io.open(path, 'rb'))
    local source = file:read('*a')
    file:close()
    return source
  end

  local function lua_files()
    local paths = {}
    local list = io.popen('find lua spec examples /usr/share/lua/5.1 -name "*.lua" 2>/dev/null')
    for path in list:lines() do paths[#paths + 1] = path end
    list:close()
    return paths
  end

  -- The attribute at the end is found only if every token before it was understood.
  it('is left alone, and an attribute behind it is found', function()
    local tail, new_tail = 'app.remote<> f = function() end', 'f = app.remote({}, "f") ..   function() end'
    local seen = 0
    for _, path in ipairs(lua_files()) do
      local source = read(path)
      if loadstring(source) then
        seen = seen + 1
        assert.is_true(attributes.rewrite(source, path) == source, path)
        assert.is_true(attributes.rewrite(source .. '\n;' .. tail, path) == source .. '\n;' .. new_tail, path)
      end
    end
    assert.is_true(seen > 0)
  end)
end)

describe('a generated program', function()
  --- Writes tokens with random gaps between them and knows the line it is at.
  local Writer = {}
  Writer.__index = Writer

  local GAPS = { ' ', ' ', ' ', '\t', '\n', '\r\n', ' -- app.remote<> >\n', ' --[==[ > ]]\n\n ]==] ', '--\n', '--[[]]' }
  local STRAY = {
    'x = 1 > 2', 'x = function() return app . remote < 5 end', 'x = { 1 ; function() return app.remote<3 end }',
    'x = [==[\napp.remote<> ]] ]==]', 'x = "\\\n>\\z\n  app.remote<>"', 'x = 0xep+1 > 1e-3', 'if x then x = nil end',
    'for i = 1 , 2 do x = i end', 'while x do x = nil end', 'repeat x = true until x', 'x = 2ULL > 1LL',
    'noop "a" { } ( 1 ) x = #noop', 'x = function(...) local _ = ... end',
  }

  local function new_writer()
    return setmetatable({ parts = {}, line = 1, number = 1000000, functions = {}, numbers = {}, count = 0 }, Writer)
  end

  function Writer:put(text)
    self.parts[#self.parts + 1] = text
    self.line = self.line + count_lines(text)
  end

  --- Writes tokens separated by spaces in `text`, each followed by a gap.
  function Writer:tokens(text)
    for token in text:gmatch('%S+') do
      self:put(token)
      self:put(GAPS[math.random(#GAPS)])
    end
  end

  --- Writes a number that no other place has, and keeps its line.
  function Writer:marker()
    self.number = self.number + 1
    self.numbers[self.number] = self.line
    self:tokens(tostring(self.number))
  end

  function Writer:option(depth)
    local choice = math.random(6)
    self:tokens('k' .. math.random(1000) .. ' =')
    if choice == 1 then self:tokens('{ {') self:marker() self:tokens('> 1 } , x = "" .. 2 > "1" }') end
    if choice == 2 then self:tokens('( 2 >') self:marker() self:tokens(')') end
    if choice == 3 then self:put('"\\">\\\n"') end
    if choice == 4 then self:put(' [=[ > \n]] ]=] ') end
    if choice == 5 then self:tokens('function ( a ) if a > 1 then return a > 2 end end') end
    if choice == 6 then
      self:tokens('function ( )')
      self:block(depth + 1)
      self:tokens('end')
    end
    self:tokens(math.random(2) == 1 and ',' or ';')
  end

  function Writer:attribute(depth)
    self.count = self.count + 1
    local name = 'f' .. self.count
    self:tokens('app . remote <')
    for _ = 1, math.random(0, 3) do self:option(depth) end
    self:tokens('>')
    local form = math.random(6)
    local left = { 'local', '', '', 'local ' .. name .. ' =', name .. ' =', 'M . a . ' .. name .. ' =' }
    local right = { name, 'M . ' .. name, name, '', '', '' }
    self:tokens(left[form])
    self:tokens('function ' .. right[form])
    local expected = { defined = self.line }  -- LuaJIT takes the line where the parameters start
    self:tokens('( ... ) local at =')
    expected.at = self.line
    self.functions[name] = expected
    self:tokens('line() ; local number =')
    self:marker()
    self:block(depth + 1)
    self:tokens('return at end')
    if math.random(3) == 1 then self:tokens('(noop)()') end
  end

  function Writer:block(depth)
    for _ = 1, math.random(0, 4 - depth) do
      if math.random(2) == 1 and depth < 3 then
        self:attribute(depth)
      else
        self:put(STRAY[math.random(#STRAY)])
        self:put(math.random(2) == 1 and '\n' or ' ')
      end
    end
  end

  local function generate(seed)
    math.randomseed(seed)
    local writer = new_writer()
    writer:attribute(0)
    writer:block(0)
    return writer, table.concat(writer.parts)
  end

  --- Calls every remote function and every generator, and so also meets those defined in them.
  local function call_all(source)
    local app, handles = fake_app()
    local noop = setmetatable({}, { __call = function(self) return self end })
    local env = { app = app, M = { a = {} }, noop = noop }
    function env.line() return debug.getinfo(2, 'l').currentline end
    assert(attributes.load(source, 'generated.lua', env))()
    local found, i = {}, 1
    while handles[i] do
      local handle = handles[i]
      for _, option in pairs(handle.options) do
        if type(option) == 'function' then option(3) end
      end
      found[handle.name] = { defined = debug.getinfo(handle.func, 'S').linedefined, at = handle.func() }
      i = i + 1
    end
    return found
  end

  it('loads, and every token and function stays on its line', function()
    for seed = 1, 300 do
      local writer, source = generate(seed)
      local text = assert(attributes.rewrite(source, 'generated.lua'))
      assert.equal(count_lines(source), count_lines(text))
      local seen, line = {}, 1
      for gap, number in text:gmatch('(.-)(1%d%d%d%d%d%d)') do
        line = line + count_lines(gap)
        seen[tonumber(number)] = line
      end
      assert.same(writer.numbers, seen, 'seed ' .. seed)
      assert.same(writer.functions, call_all(source), 'seed ' .. seed)
    end
  end)
end)

describe('a file', function()
  local prefix, path, loaders, made

  local function write(name, text)
    made[#made + 1] = prefix .. name .. '.lua'
    local file = assert(io.open(prefix .. name .. '.lua', 'wb'))
    file:write(text)
    file:close()
    return made[#made]
  end

  before_each(function()
    prefix, path, loaders, made = os.tmpname(), package.path, { unpack(package.loaders) }, {}
    package.path = prefix .. '?.lua;' .. package.path
  end)

  after_each(function()
    package.path = path
    for i = #package.loaders, 1, -1 do package.loaders[i] = nil end
    for i, loader in ipairs(loaders) do package.loaders[i] = loader end
    os.remove(prefix)
    for _, name in ipairs(made) do os.remove(name) end
    for _, name in ipairs({ 'with', 'plain', 'wrong', 'broken', 'bytecode' }) do package.loaded[name] = nil end
  end)

  local WITH = '#!/usr/bin/luajit\nlocal app = { remote = function(...) return setmetatable({ ... }, { __concat = ' ..
    'function(h, f) h.f = f return h end }) end }\napp.remote<x = 1>\nlocal function f() end\nreturn f, ...\n'
  local PLAIN = '#!/usr/bin/luajit\nlocal remote = 1 < 2\nreturn { name = ..., count = select("#", ...), ' ..
    'source = debug.getinfo(1, "S").source, line = debug.getinfo(1, "l").currentline }\n'

  it('is loaded with attributes and a first line for the shell', function()
    local name = write('with', WITH)
    local f = assert(attributes.loadfile(name))('argument')
    assert.equal('f', f[2])
    assert.same({ '@' .. name, 4 }, { debug.getinfo(f.f, 'S').source, debug.getinfo(f.f, 'S').linedefined })
  end)

  it('is refused with the messages of the stock loader when it cannot be read', function()
    for _, name in ipairs({ prefix .. 'missing.lua', '/' }) do
      local chunk, err = attributes.loadfile(name)
      assert.same({ select(2, loadfile(name)) }, { err })
      assert.is_nil(chunk)
    end
  end)

  it('is found by require once the searcher is installed', function()
    write('with', WITH)
    assert.has_error(function() require('with') end)
    attributes.install()
    local f = require('with')
    assert.equal('f', f[2])
    assert.equal(f, require('with'))
  end)

  it('is loaded by require as ever if it has no attributes', function()
    write('plain', PLAIN)
    local stock = require('plain')
    package.loaded.plain = nil
    attributes.install()
    assert.same(stock, require('plain'))
    assert.equal('@' .. prefix .. 'plain.lua', stock.source)
  end)

  it('is loaded by require as ever if it is bytecode', function()
    write('bytecode', string.dump(loadstring('return { app.remote < 3, ... }', '@there.lua')))
    attributes.install()
    local app = { remote = 2 }
    _G.app = app
    local result = require('bytecode')
    _G.app = nil
    assert.same({ true, 'bytecode' }, result)
  end)

  it('is reported by require with its line and column', function()
    local name = write('wrong', '\napp.remote<> return 1')
    attributes.install()
    local ok, err = pcall(require, 'wrong')
    assert.is_false(ok)
    assert.equal(("error loading module 'wrong' from file '%s':\n\t%s:2:14: expected a function after an attribute, " ..
      "got 'return'"):format(name, name), err)
  end)

  it('is reported by require as ever if its Lua is broken or if it is missing', function()
    write('broken', 'x = = 1')
    local broken, missing = { pcall(require, 'broken') }, { pcall(require, 'no.such.module') }
    attributes.install()
    assert.same(broken, { pcall(require, 'broken') })
    assert.same(missing, { pcall(require, 'no.such.module') })
    write('broken', 'app.remote<> f = function() end\nx = = 1')
    assert.matches("error loading module 'broken' from file .*broken.lua:2: unexpected symbol", select(2,
      pcall(require, 'broken')))
  end)

  it('is looked for just before the stock searcher, once, wherever that one stands', function()
    local function other() end
    table.insert(package.loaders, 1, other)
    table.insert(package.loaders, loaders[2])
    attributes.install()
    attributes.install()
    assert.equal(#loaders + 3, #package.loaders)
    assert.same({ other, loaders[1] }, { package.loaders[1], package.loaders[2] })
    assert.same({ loaders[2], loaders[3] }, { package.loaders[4], package.loaders[5] })
  end)
end)
