--- Rewrites the attribute form of a remote function to plain Lua, token by token, with every line kept.
--
--     app.remote<benchmark_runs = 3>       local f; f = app.remote({benchmark_runs = 3}, "f") ..
--     local function f(x) return x end      function (x) return x end
--
-- What `app.remote(options, name)` returns has a __concat that takes the function. Concatenation needs no search for
-- the function's `end`, and a function literal is no prefix expression, so a next line that starts with `(` stays a
-- statement of its own. `name.remote <` cannot start a Lua statement, so no valid Lua program is ever changed.
local M = {}

local function set(words)
  local members = {}
  for word in words:gmatch('%S+') do members[word] = true end
  return members
end

-- `goto` is left out: LuaJIT takes it as a name too, and a name it is for everything here.
local KEYWORDS = set([[and break do else elseif end false for function if in local nil not or repeat return then true
  until while]])
local OPERATORS = set('... .. == ~= <= >= ::')

-- After these no expression can go on, so a name that follows one starts a statement.
local ENDS = set('name number string nil true false ... ) ] } end ; :: do then else repeat break')

-- What closes a block or bracket. `for` and `while` are closed through their `do`; an attribute is closed by `>`.
local CLOSERS = {
  ['function'] = 'end', ['if'] = 'end', ['do'] = 'end', ['repeat'] = 'until',
  ['('] = ')', ['['] = ']', ['{'] = '}',
}
local CLOSES = set('end until ) ] }')

-- Directly inside these stand expressions and no statements; the keywords after them never stand there.
local BRACKETS = set(') ] } >')
local STATEMENT_WORDS = set('break do else elseif for if in local repeat return then while')

-- Lexer -------------------------------------------------------------------------------------------------------------

--- Returns the last byte of the long bracket that opens at `first`, false if it never closes, nil if none opens.
local function long_bracket_end(source, first)
  local _, last, level = source:find('^%[(=*)%[', first)
  if not last then return nil end
  local _, close = source:find(']' .. level .. ']', last + 1, true)
  return close or false
end

--- Returns the last byte of the escape sequence at `first`, as far as it could hide a quote or a line end.
local function escape_end(source, first)
  local _, last = source:find('^\\z%s*', first)
  if last then return last end
  local pair = source:sub(first + 1, first + 2)
  return first + ((pair == '\r\n' or pair == '\n\r') and 2 or 1)
end

--- Returns the last byte of the quoted string at `first`, or nil if its line ends before it does.
local function quoted_end(source, first)
  local quote = source:sub(first, first)
  local stops = '[\\\r\n' .. quote .. ']'
  local i = source:find(stops, first + 1)
  while i do
    local char = source:sub(i, i)
    if char == quote then return i end
    if char ~= '\\' then return nil end
    i = source:find(stops, escape_end(source, i) + 1)
  end
  return nil
end

--- Returns where the first token can stand: after a byte order mark and a `#` line, which LuaJIT skips too.
local function header_end(source)
  local first = source:sub(1, 3) == '\239\187\191' and 4 or 1
  if source:sub(first, first) ~= '#' then return first end
  return source:find('[\r\n]', first) or #source + 1
end

--- Returns where the next token starts, past white space and comments.
local function skip_gap(source, from)
  local i = source:find('%S', from)
  while i and source:find('^%-%-', i) do
    local last = long_bracket_end(source, i + 2)
    if last == false then return #source + 1 end
    i = source:find('%S', last and last + 1 or source:find('[\r\n]', i) or #source + 1)
  end
  return i or #source + 1
end

--- Returns kind and last byte of the token at `first`. The kind of keywords and signs is their text.
local function read_token(source, first)
  local _, last = source:find('^[%a_\128-\255][%w_\128-\255]*', first)
  if last then
    local word = source:sub(first, last)
    return KEYWORDS[word] and word or 'name', last
  end
  -- A sign in an exponent or a point in front makes tokens of its own here; the last one is a number all the same.
  _, last = source:find('^%d[%w_.\128-\255]*', first)
  if last then return 'number', last end

  local char = source:sub(first, first)
  if char == '"' or char == "'" then
    last = quoted_end(source, first) or false
  elseif char == '[' then
    last = long_bracket_end(source, first)
  end
  if last then return 'string', last end
  if last == false then return 'unfinished string', #source end

  for length = 3, 2, -1 do
    local sign = source:sub(first, first + length - 1)
    if #sign == length and OPERATORS[sign] then return sign, first + length - 1 end
  end
  return char, first
end

--- Returns the kinds, first and last bytes of all tokens as three lists; the last kind is 'eof'.
local function lex(source)
  local kinds, firsts, lasts = {}, {}, {}
  local n, first = 1, skip_gap(source, header_end(source))
  while first <= #source do
    kinds[n], lasts[n] = read_token(source, first)
    firsts[n] = first
    first = skip_gap(source, lasts[n] + 1)
    n = n + 1
  end
  kinds[n], firsts[n], lasts[n] = 'eof', first, first - 1
  return kinds, firsts, lasts
end

-- Messages ----------------------------------------------------------------------------------------------------------

--- Returns line and column of byte `at`, both from 1. Line ends are counted as LuaJIT counts them.
local function position(source, at)
  local line, start = 1, source:sub(1, 3) == '\239\187\191' and 4 or 1
  local first = source:find('[\r\n]')
  while first and first < at do
    local pair = source:sub(first, first + 1)
    line, start = line + 1, first + ((pair == '\r\n' or pair == '\n\r') and 2 or 1)
    first = source:find('[\r\n]', start)
  end
  return line, at - start + 1
end

local function text_of(scan, i)
  return scan.source:sub(scan.firsts[i], scan.lasts[i])
end

local function describe(scan, i)
  local kind = scan.kinds[i]
  if kind == 'eof' then return 'the end of the file' end
  if kind == 'string' or kind == 'unfinished string' then return 'a' .. (kind == 'string' and ' ' or 'n ') .. kind end
  return "'" .. text_of(scan, i) .. "'"
end

local function message(scan, i, expected, got)
  local line, column = position(scan.source, scan.firsts[i])
  return ('%s:%d:%d: expected %s, got %s'):format(scan.chunkname, line, column, expected, got or describe(scan, i))
end

-- Attributes --------------------------------------------------------------------------------------------------------

--- Returns the last token of the dotted names that start at token `i`.
local function names_end(kinds, i)
  while kinds[i + 1] == '.' and kinds[i + 2] == 'name' do i = i + 2 end
  return i
end

local function names_text(scan, first, last)
  local words = {}
  for i = first, last, 2 do words[#words + 1] = text_of(scan, i) end
  return table.concat(words, '.')
end

--- Returns the `<` of the attribute that starts at token `i`, or nil if none does.
local function attribute_sign(scan, i)
  if scan.kinds[i] ~= 'name' then return nil end
  local last = names_end(scan.kinds, i)
  if last == i or scan.kinds[last + 1] ~= '<' or text_of(scan, last) ~= 'remote' then return nil end
  return last + 1
end

local function starts_statement(scan, i)
  local before = scan.kinds[i - 1]
  return (before == nil or ENDS[before]) and not BRACKETS[scan.closers[#scan.closers]]
end

--- Reads the function that follows an attribute, from token `i` on.
---@return table? target `first`, `last`: the tokens that go away; `name`; `assign`: what stands before the call
---@return string? message
local function read_target(scan, i)
  local kinds = scan.kinds
  if attribute_sign(scan, i) then
    return nil, message(scan, i, 'one attribute for a function', 'a second attribute')
  end
  local first, is_local = i, kinds[i] == 'local'
  if is_local then i = i + 1 end
  local declared = kinds[i] == 'function'
  if declared then i = i + 1 end
  if kinds[i] ~= 'name' then
    return nil, message(scan, i, declared and 'a function with a name' or 'a function after an attribute')
  end

  local last = is_local and i or names_end(kinds, i)
  local names, following = names_text(scan, i, last), kinds[last + 1]
  if following == ',' then return nil, message(scan, last + 1, 'one variable after an attribute') end
  if following == ':' and declared then
    return nil, message(scan, last + 1, ("'(' after 'function %s' (a method cannot be remote)"):format(names))
  end
  if declared and following ~= '(' then
    return nil, message(scan, last + 1, ("'(' after 'function %s'"):format(names))
  end
  if not declared and following ~= '=' then
    return nil, message(scan, last + 1, ("'%s = function' after an attribute"):format(names))
  end
  if not declared and kinds[last + 2] ~= 'function' then
    return nil, message(scan, last + 2, ("'function' after '%s ='"):format(names))
  end

  local assign = names .. ' = '
  if is_local then assign = (declared and ('local %s; '):format(names) or 'local ') .. assign end
  return { first = first, last = declared and last or last + 1, name = text_of(scan, last), assign = assign }
end

--- Rewrites the attribute from token `opener` to its `>`, token `closer`, with the function after it.
---@return string? message
local function rewrite_attribute(scan, opener, closer)
  local target, err = read_target(scan, closer + 1)
  if not target then return err end
  local new, sign = scan.new, attribute_sign(scan, opener)
  new[opener] = target.assign .. text_of(scan, opener)
  new[sign - 1] = 'remote('  -- on the line of the name: Lua 5.1 refuses a call whose ( is on a later line
  new[sign] = '{'
  new[closer] = ('}, "%s") ..'):format(target.name)
  for i = target.first, target.last do
    if scan.kinds[i] ~= 'function' then new[i] = '' end
  end
  return nil
end

--- Tells whether token `i`, which does not close `inside`, is one that no Lua program has there.
local function is_misplaced(kinds, i, inside)
  local kind = kinds[i]
  if kind == 'eof' or kind == 'unfinished string' or CLOSES[kind] then return true end
  if not BRACKETS[inside] then return false end
  return STATEMENT_WORDS[kind] or kind == 'function' and kinds[i + 1] ~= '('
end

--- Returns the message about the misplaced token `i`, or nil outside of attributes, where Lua's own is as good.
local function unclosed(scan, i)
  local function opener(depth)
    local token = scan.openers[depth]
    local what = scan.closers[depth] == '>' and 'the attribute' or describe(scan, token)
    return ('%s of line %d'):format(what, (position(scan.source, scan.firsts[token])))
  end

  local innermost, depth = #scan.closers, #scan.closers
  while depth > 0 and scan.closers[depth] ~= '>' do depth = depth - 1 end
  if depth == 0 then return nil end
  local expected = ("'%s' to close %s"):format(scan.closers[innermost], opener(innermost))
  if depth < innermost then expected = expected .. ' in ' .. opener(depth) end
  return message(scan, i, expected)
end

local function push(scan, opener, closer)
  local depth = #scan.closers + 1
  scan.openers[depth], scan.closers[depth] = opener, closer
end

local function pop(scan)
  local depth = #scan.closers
  local opener = scan.openers[depth]
  scan.openers[depth], scan.closers[depth] = nil, nil
  return opener
end

--- Fills `scan.new` with the new text of the tokens that change. Stops where the source cannot be Lua any more: the
--- lines are kept, so Lua's own message about that place is right.
---@return string? message
local function scan_tokens(scan)
  local kinds = scan.kinds
  local i = 1
  while kinds[i] do
    local kind, inside = kinds[i], scan.closers[#scan.closers]
    local sign = starts_statement(scan, i) and attribute_sign(scan, i)
    if sign then
      push(scan, i, '>')
      i = sign
    elseif kind == inside then
      local opener = pop(scan)
      local err = kind == '>' and rewrite_attribute(scan, opener, i)
      if err then return err end
    elseif is_misplaced(kinds, i, inside) then
      return unclosed(scan, i)
    elseif CLOSERS[kind] then
      push(scan, i, CLOSERS[kind])
    end
    i = i + 1
  end
  return nil
end

local function assemble(scan)
  local pieces, from = {}, 1
  for i = 1, #scan.kinds do
    local text = scan.new[i]
    if text then
      pieces[#pieces + 1] = scan.source:sub(from, scan.firsts[i] - 1)
      pieces[#pieces + 1] = text
      from = scan.lasts[i] + 1
    end
  end
  pieces[#pieces + 1] = scan.source:sub(from)
  return table.concat(pieces)
end

--- Rewrites the attributes in a Lua source. A source without any, or bytecode, is returned as it is.
---@param source string
---@param chunkname string the file's name, for messages
---@return string? text nil for a wrong attribute
---@return string? message `file:line:column: expected ..., got ...`
function M.rewrite(source, chunkname)
  local is_bytecode = source:sub(1, 1) == '\27'
  local word = not is_bytecode and source:find('remote', 1, true)
  if not word or not source:find('<', word, true) then return source end

  local scan = { source = source, chunkname = chunkname, closers = {}, openers = {}, new = {} }
  scan.kinds, scan.firsts, scan.lasts = lex(source)
  local err = scan_tokens(scan)
  if err then return nil, err end
  if next(scan.new) == nil then return source end
  return assemble(scan)
end

-- Loading -----------------------------------------------------------------------------------------------------------

--- Loads a source that may have attributes.
---@param source string
---@param chunkname string the file's name
---@param env table? the function's environment, the global one by default
---@return function? chunk
---@return string? message
function M.load(source, chunkname, env)
  local text, err = M.rewrite(source, chunkname)
  if not text then return nil, err end
  local chunk
  chunk, err = loadstring(text, '@' .. chunkname)
  if not chunk then return nil, err end
  return env and setfenv(chunk, env) or chunk
end

local function read_file(path)
  local file, err = io.open(path, 'rb')
  if not file then return nil, 'cannot open ' .. err end
  local source
  source, err = file:read('*a')
  file:close()
  if not source then return nil, ('cannot read %s: %s'):format(path, err) end
  return source
end

local function unknown() end
local source_of = unknown

--- Has files loaded as `get(path)` has them, whatever has become of them since; those of which it has nothing are read.
function M.keep(get)
  source_of = get
end

--- Loads a file that may have attributes. A first line that starts with `#` is skipped, as LuaJIT does.
---@param path string
---@return function? chunk
---@return string? message
function M.loadfile(path)
  local source, err = source_of(path), nil
  if not source then source, err = read_file(path) end
  if not source then return nil, err end
  return M.load(source, path)
end

--- Finds a module along package.path. What is not found, or is neither kept nor has attributes, is left to the stock
--- searcher, so it is loaded, or reported missing, as ever.
local function searcher(name)
  local path = package.searchpath(name, package.path)
  local kept = path and source_of(path)
  local source = kept or path and read_file(path)
  if not source then return nil end
  local text, err = M.rewrite(source, path)
  if text == source and not kept then return nil end
  local chunk
  if text then chunk, err = loadstring(text, '@' .. path) end
  if not chunk then error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path, err), 0) end
  return chunk
end

--- Tells whether this is the stock searcher of Lua files: the C function whose answer follows package.path.
local function is_stock(loader)
  if type(loader) ~= 'function' or debug.getinfo(loader, 'S').what ~= 'C' then return false end
  local path = package.path
  package.path = '?.path'
  local ok, answer = pcall(loader, 'farside-probe')
  package.path = path
  return ok and type(answer) == 'string' and answer:find('farside-probe.path', 1, true) ~= nil
end

--- Makes `require` load files with attributes. Further calls change nothing.
function M.install()
  local place = #package.loaders + 1
  for i, loader in ipairs(package.loaders) do
    if loader == searcher then return end
    if is_stock(loader) then place = math.min(place, i) end
  end
  table.insert(package.loaders, place, searcher)
end

return M
