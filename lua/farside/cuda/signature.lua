--- Reads from the source of kernels, in CUDA C, how each is called: the names and types of its parameters.
--
-- This is no compiler. It knows comments, literals and the parts of the language that a parameter list is made of, and reads
-- the text before the preprocessor does: what a macro makes of it stays unknown. A parameter whose type it does not know
-- (a struct, a typedef, a template) is of the kind 'other', which takes cdata alone.
local types = require 'farside.cuda.types'

local M = {}

-- Text without what is no code -------------------------------------------------------------------------------------------

local function blank(text)
  return (text:gsub('[^\n]', ' '))
end

--- Whether the quote at `at` separates digits: 1'000.
local function is_separator(source, at)
  local word = source:sub(math.max(at - 40, 1), at - 1):match "[%w_']+$"
  return word ~= nil and word:find '^%d' ~= nil and source:find('^%x', at + 1) ~= nil
end

--- Where a literal that begins with the quote at `at` ends: with its quote, or before the end of the line.
local function end_of_literal(source, at)
  local quote, i = source:sub(at, at), at + 1
  while i <= #source do
    local c = source:sub(i, i)
    if c == '\\' then
      i = i + 1
    elseif c == quote then
      return i
    elseif c == '\n' then
      return i - 1
    end
    i = i + 1
  end
  return #source
end

local function end_of_line(source, at)
  repeat
    local newline = source:find('\n', at, true)
    if not newline then return #source end
    at = newline + 1
  until not source:find('^\\\r?\n', newline - 1) and not source:find('^\\\r\n', newline - 2)
  return at - 2
end

--- The end of the comment or literal that begins at `at`, if one does.
local function end_of_no_code(source, at)
  local two = source:sub(at, at + 1)
  if two == '//' then return end_of_line(source, at) end
  if two == '/*' then return select(2, source:find('*/', at + 2, true)) or #source end
  if source:find('^"', at) then
    local delimiter = source:sub(math.max(at - 1, 1), at - 1) == 'R' and source:match('^"([^ ()\\\n]*)%(', at)
    if delimiter then return select(2, source:find(')' .. delimiter .. '"', at, true)) or #source end
    return end_of_literal(source, at)
  end
  if source:find("^'", at) then return is_separator(source, at) and at or end_of_literal(source, at) end
  if source:find('^#', at) and source:sub(1, at - 1):match '[^\n]*$':find '^[ \t]*$' then return end_of_line(source, at) end
end

--- The source with blanks in place of comments, literals and lines for the preprocessor; "C" stays.
function M.mask(source)
  local parts, at = {}, 1
  while true do
    local found = source:find('[/"\'#]', at)
    if not found then break end
    local last = end_of_no_code(source, found) or found
    parts[#parts + 1] = source:sub(at, found - 1)
    local text = source:sub(found, last)
    local is_code = found == last and text ~= '#' and text ~= "'" or text == '"C"'
    parts[#parts + 1] = is_code and text or blank(text)
    at = last + 1
  end
  parts[#parts + 1] = source:sub(at)
  return table.concat(parts)
end

--- The words and signs of a masked source, each { text =, first =, last = }.
local function tokens_of(masked)
  local tokens, at = {}, 1
  while true do
    local first = masked:find('%S', at)
    if not first then return tokens end
    local _, last = masked:find('^[%w_]+', first)
    if not last then _, last = masked:find('^"C"', first) end
    if not last then _, last = masked:find('^::', first) end
    last = last or first
    tokens[#tokens + 1] = { text = masked:sub(first, last), first = first, last = last }
    at = last + 1
  end
end

local CLOSING = { ['('] = ')', ['['] = ']', ['{'] = '}', ['<'] = '>' }

--- The number of the token that closes the bracket at `i`; nil: none does.
local function closing(tokens, i)
  local open, close, depth = tokens[i].text, CLOSING[tokens[i].text], 0
  for k = i, #tokens do
    if tokens[k].text == open then depth = depth + 1 end
    if tokens[k].text == close then
      depth = depth - 1
      if depth == 0 then return k end
    end
  end
end

local function is_word(token)
  return token ~= nil and token.text:find '^[%a_]' ~= nil
end

-- Parameters -----------------------------------------------------------------------------------------------------------

local QUALIFIERS = { const = true, volatile = true, restrict = true, __restrict__ = true, __restrict = true,
  __grid_constant__ = true, register = true }
local ATTRIBUTES = { __attribute__ = true, __align__ = true, alignas = true, __launch_bounds__ = true,
  __cluster_dims__ = true, __maxnreg__ = true, __block_size__ = true, __declspec = true }

--- The tokens of a parameter without qualifiers, attributes and its default.
local function plain_tokens(tokens, first, last)
  local kept, i = {}, first
  while i <= last do
    local text = tokens[i].text
    if text == '=' then break end
    if ATTRIBUTES[text] and i < last and tokens[i + 1].text == '(' then
      i = closing(tokens, i + 1) or last
    elseif text == '[' and i < last and tokens[i + 1].text == '[' then
      i = closing(tokens, i) or last
    elseif not QUALIFIERS[text] then
      kept[#kept + 1] = text
    end
    i = i + 1
  end
  return kept
end

--- Takes the words of a type from the front; nil where it is more than words.
local function take_type(list)
  if list[1] == '::' then table.remove(list, 1) end
  if list[1] == 'std' and list[2] == '::' then
    table.remove(list, 1)
    table.remove(list, 1)
  end
  local words = {}
  while list[1] and types.WORDS[list[1]] do words[#words + 1] = table.remove(list, 1) end
  if #words > 0 then return words end
  if list[1] and list[1]:find '^[%a_]' and list[2] ~= '::' and list[2] ~= '<' then return { table.remove(list, 1) } end
  return nil
end

local function name_of(list)
  for i = 1, #list - 2 do
    if list[i] == '(' and list[i + 1] == '*' and list[i + 2]:find '^[%a_]' then return list[i + 2] end
  end
  for i = #list, 1, -1 do
    if list[i]:find '^[%a_]' then return list[i] end
  end
end

local function text_between(masked, from, to)
  return (masked:sub(from, to):gsub('%s+', ' '))
end

--- Whether it is a pointer, or an array and so a pointer, as far as its words tell: a typedef or a template may be one too.
local function is_address(list)
  local has_sign = false
  for _, text in ipairs(list) do
    if text == '<' then return false end
    has_sign = has_sign or text == '*' or text == '['
  end
  return has_sign
end

local function parameter(masked, tokens, first, last)
  local text = text_between(masked, tokens[first].first, tokens[last].last)
  local list = plain_tokens(tokens, first, last)
  local result = { text = text, kind = 'other', is_pointer = is_address(list) }
  if list[1] == 'struct' or list[1] == 'class' or list[1] == 'union' or list[1] == 'enum' then
    if #list > 2 then result.name = name_of(list) end
    return result
  end
  local words = take_type(list)
  if not words then
    if #list > 1 then result.name = name_of(list) end
    return result
  end
  local stars = 0
  while list[1] == '*' do
    stars = stars + 1
    table.remove(list, 1)
  end
  result.name = name_of(list)
  local is_plain = #list == 0 or #list == 1 and result.name == list[1]
  if not is_plain and result.name == list[1] and list[2] == '[' then
    -- An array is a pointer here; one of arrays is a pointer to arrays.
    local brackets = 0
    for _, sign in ipairs(list) do brackets = brackets + (sign == '[' and 1 or 0) end
    stars, is_plain = stars + brackets, true
  elseif not is_plain and list[1] == '[' then
    stars, is_plain, result.name = stars + 1, list[#list] == ']', nil
  end
  if not is_plain or stars > 1 then return result end
  if stars == 1 then
    local is_void = #words == 1 and words[1] == 'void'
    result.type = not is_void and types.find(words) or nil
    if result.type or is_void then result.kind = 'pointer' end
    return result
  end
  result.type = types.find(words)
  if result.type and result.type.write then result.kind = 'scalar' else result.type = nil end
  return result
end

local DEEPER, HIGHER = { ['('] = true, ['['] = true, ['{'] = true, ['<'] = true },
  { [')'] = true, [']'] = true, ['}'] = true, ['>'] = true }

--- The parameters between two brackets.
local function parameters_of(masked, tokens, open, close)
  local list, first, depth = {}, open + 1, 0
  if close == open + 2 and tokens[first].text == 'void' then return list end
  for i = open + 1, close do
    local text = tokens[i].text
    if (text == ',' and depth == 0 or i == close) and i > first then
      list[#list + 1] = parameter(masked, tokens, first, i - 1)
      first = i + 1
    end
    if DEEPER[text] then depth = depth + 1 elseif HIGHER[text] then depth = depth - 1 end
  end
  return list
end

-- Kernels --------------------------------------------------------------------------------------------------------------

--- Reads what follows __global__. Returns the name, the number of the bracket behind it, that of its closing one, and whether
-- the type before or behind __global__ is void.
local function declarator(tokens, i)
  local name
  local is_void = tokens[i - 1] ~= nil and tokens[i - 1].text == 'void'
  i = i + 1
  while tokens[i] do
    local text = tokens[i].text
    if ATTRIBUTES[text] and tokens[i + 1] and tokens[i + 1].text == '(' then
      i = closing(tokens, i + 1)
      if not i then return nil end
    elseif text == '[' then
      i = closing(tokens, i)
      if not i then return nil end
    elseif text == '(' then
      return name, i, closing(tokens, i), is_void
    elseif is_word(tokens[i]) then
      name, is_void = text, is_void or text == 'void'
    else
      return nil
    end
    i = i + 1
  end
end

--- The number of the bracket with which the body begins; nil: this is a declaration only.
local function body_of(tokens, i)
  while tokens[i] and tokens[i].text ~= '{' do
    if tokens[i].text == ';' or tokens[i].text == '}' then return nil end
    i = i + 1
  end
  return tokens[i] and i
end

local function line_of(source, position)
  local _, count = source:sub(1, position - 1):gsub('\n', '\n')
  return count + 1
end
M.line_of = line_of

local Reader = {}
Reader.__index = Reader

--- Reads the declaration of a kernel at a token; returns the last token of it that needs no second look.
function Reader:kernel(i)
  local tokens = self.tokens
  local name, open, close, is_void = declarator(tokens, i)
  if not name or not close then return i end
  local body = body_of(tokens, close + 1)
  if not body then return close end
  local last = closing(tokens, body)
  local line = line_of(self.masked, tokens[i].first)
  if self.template or not self:is_c() then
    self.others[#self.others + 1] = { name = name, line = line, template = self.template }
    return close
  end
  if not is_void then
    self.problem = self.problem or ('line %d: kernel %s: expected the type void'):format(line, name)
  end
  self.kernels[#self.kernels + 1] = {
    name = name,
    line = line,
    parameters = parameters_of(self.masked, tokens, open, close),
    text = text_between(self.masked, tokens[open].first, tokens[close].last),
    body_end = last and tokens[last].last or #self.masked,
  }
  return close
end

function Reader:is_c()
  if self.external then return true end
  for _, scope in ipairs(self.scopes) do
    if scope == 'extern' then return true end
  end
  return false
end

--- Notes dynamic shared memory: extern __shared__ float s[];
function Reader:shared(i)
  local tokens = self.tokens
  local stop = i
  while tokens[stop] and tokens[stop].text ~= ';' do stop = stop + 1 end
  if not tokens[stop] or not self.external_word then return end
  local at = stop
  while at > i and tokens[at].text ~= '[' do at = at - 1 end
  if at <= i + 1 or tokens[at + 1].text ~= ']' then return end
  local first = i + 1
  while ATTRIBUTES[tokens[first].text] and tokens[first + 1].text == '(' do first = (closing(tokens, first + 1) or at) + 1 end
  if first >= at - 1 then return end
  self.arrays[#self.arrays + 1] = {
    first = tokens[self.external_word].first,
    last = tokens[stop].last,
    type = text_between(self.masked, tokens[first].first, tokens[at - 2].last),
    name = tokens[at - 1].text,
    line = line_of(self.masked, tokens[i].first),
    inside = self.body ~= nil,
    body = self.body,  -- in which it is declared
  }
end

-- Functions that use dynamic shared memory ---------------------------------------------------------------------------

--- The name of what the body that begins at a token belongs to: a function, else a class.
function Reader:name_of_body(i)
  local tokens, first = self.tokens, i
  while first > 1 and not tokens[first - 1].text:find '^[;{}]$' do first = first - 1 end
  local at, word = first, nil
  while at < i do
    local text = tokens[at].text
    if text == '(' or text == ':' then return word end
    if text == '<' then
      at = closing(tokens, at) or at
    elseif (ATTRIBUTES[text] or text == 'decltype') and tokens[at + 1].text == '(' then
      at = closing(tokens, at + 1) or at
    elseif is_word(tokens[at]) and text ~= 'final' then
      word = text
    end
    at = at + 1
  end
  return word
end

--- Which bodies use dynamic shared memory: those that declare it, name what is declared outside of all, or name another that
-- uses it. Returns an array by the name of each of them; a name that several have uses it if all of them do.
function Reader:users_of_shared()
  local tokens, outside, uses = self.tokens, {}, {}
  for _, array in ipairs(self.arrays) do
    if array.body then array.body.array = array else outside[array.name] = array end
  end
  local is_new = #self.arrays > 0
  while is_new do
    is_new = false
    for _, body in ipairs(self.bodies) do
      for i = body.first, body.array and 0 or body.last or #tokens do
        body.array = body.array or outside[tokens[i].text] or uses[tokens[i].text]
      end
      if body.name and body.array and not uses[body.name] then
        uses[body.name] = body.array
        is_new = true
      end
    end
  end
  for _, body in ipairs(self.bodies) do
    if body.name and not body.array then uses[body.name] = nil end
  end
  return uses
end

function Reader:run()
  local tokens, i = self.tokens, 1
  while tokens[i] do
    local text = tokens[i].text
    if text == 'extern' then
      self.external_word = i
      if tokens[i + 1] and tokens[i + 1].text == '"C"' then self.external = true end
    elseif text == 'template' then
      self.template = true
    elseif text == 'namespace' then
      self.namespace = true
    elseif text == '__global__' then
      i = self:kernel(i)
    elseif text == '__shared__' then
      self:shared(i)
    elseif text == '{' then
      local opener = self.external and tokens[i - 1].text == '"C"' and 'extern' or self.namespace and 'namespace' or 'other'
      self.scopes[#self.scopes + 1] = opener
      if opener == 'other' and not self.body then
        self.body = { name = self:name_of_body(i), first = i, depth = #self.scopes }
        self.bodies[#self.bodies + 1] = self.body
      end
    elseif text == '}' then
      if self.body and self.body.depth == #self.scopes then
        self.body.last = i
        self.body = nil
      end
      self.scopes[#self.scopes] = nil
    end
    if text == '{' or text == '}' or text == ';' then
      self.external, self.template, self.namespace, self.external_word = false, false, false, nil
    end
    i = i + 1
  end
end

local function say_none(others)
  local other = others[1]
  if not other then return 'expected at least one kernel, extern "C" __global__ void name(...) { ... }, got none' end
  if other.template then
    return ('line %d: kernel %s is a template, which has no name to launch it by: write extern "C" __global__ functions '
      .. 'that call it'):format(other.line, other.name)
  end
  return ('line %d: kernel %s is known by its name if it is declared extern "C": write extern "C" __global__ void %s(...)')
    :format(other.line, other.name, other.name)
end

--- Reads a source. Returns nil and what is wrong if it has no kernel that can be launched by its name, or two of one name.
---@return table? signature { kernels = { { name =, line =, parameters = { { name =, text =, kind =, type = } },
-- array = dynamic shared memory that it uses } }, ... }
---@return string? problem
function M.read(source)
  local masked = M.mask(source)
  local reader = setmetatable({
    masked = masked,
    tokens = tokens_of(masked),
    scopes = {},
    kernels = {},
    others = {},  -- kernels that have no plain name
    arrays = {},  -- dynamic shared memory
    bodies = {},  -- of functions and classes, the outermost
  }, Reader)
  reader:run()
  if reader.problem then return nil, reader.problem end
  if #reader.kernels == 0 then return nil, say_none(reader.others) end
  local by_name, uses = {}, reader:users_of_shared()
  for _, kernel in ipairs(reader.kernels) do
    local other = by_name[kernel.name]
    if other and other.text ~= kernel.text then
      return nil, ('kernel %s is defined in line %d as %s and in line %d as %s: expected one list of parameters, since the '
        .. 'source is read before its #if'):format(kernel.name, other.line, other.text, kernel.line, kernel.text)
    end
    by_name[kernel.name] = other or kernel
    kernel.array = uses[kernel.name]
  end
  return { kernels = reader.kernels, by_name = by_name, arrays = reader.arrays }
end

return M
