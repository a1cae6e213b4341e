--- JSON for the command line (RFC 8259): what a shell can write and read of Farside's values.
--
--     JSON                 Farside
--     null                 farside.null
--     5, -1, 0.5, 1e3      a number; whole ones beyond 2^53 an int64 or uint64
--     [..], {..}           farside.array, farside.map, also empty
--
-- An empty table is what it is on the wire (host/vm/codec.h): a list, unless it is a farside.map.
-- The other way a string that is no UTF-8 becomes {"base64": "..."}; a number that is none, or infinite, its name in quotes.
local ffi = require 'ffi'
local check = require 'farside.check'
local json_string = require 'farside.json_string'
local native = require 'farside.native'

local M = {}

local MAX_DEPTH = 64
local SAFE = 2 ^ 53

-- Reading -----------------------------------------------------------------------------------------------------------

local function fail(state, expected)
  local got = state.text:sub(state.at, state.at)
  error({ problem = ('JSON: expected %s at character %d, got %s'):format(expected, state.at,
    got == '' and 'the end' or "'" .. got .. "'") }, 0)
end

local function skip(state)
  state.at = state.text:find('[^ \t\r\n]', state.at) or #state.text + 1
end

local function read_string(state)
  local value
  value, state.at = json_string.read(state.text, state.at, function(at, expected)
    state.at = at
    fail(state, expected)
  end)
  return value
end

local function whole(text)
  local is_negative, digits = text:sub(1, 1) == '-', text:match('%d+')
  local value = 0ULL
  for digit in digits:gmatch('%d') do value = value * 10ULL + tonumber(digit) end
  local most = is_negative and 9223372036854775808ULL or 18446744073709551615ULL
  if #digits > 20 or #digits == 20 and digits > '18446744073709551615' or value > most then return tonumber(text) end
  if is_negative then return -ffi.cast('int64_t', value) end
  return value <= 9223372036854775807ULL and ffi.cast('int64_t', value) or value
end

local function read_number(state)
  local text = state.text:match('^-?%d+%.?%d*[eE]?[+-]?%d*', state.at)
  local good = text and (text:find('^-?0$') or text:find('^-?[1-9]%d*$') or text:find('^-?%d+%.%d+$')
    or text:find('^-?%d+[eE][+-]?%d+$') or text:find('^-?%d+%.%d+[eE][+-]?%d+$'))
  if not good or text:find('^-?0%d') then fail(state, 'a value') end
  state.at = state.at + #text
  local number = tonumber(text)
  if number > -SAFE and number < SAFE or text:find('[.eE]') then return number end
  return whole(text)
end

local read_value

local function read_list(state, depth)
  local list, count = {}, 0
  state.at = state.at + 1
  skip(state)
  if state.text:sub(state.at, state.at) == ']' then
    state.at = state.at + 1
    return native.array(list)
  end
  while true do
    count = count + 1
    list[count] = read_value(state, depth)
    skip(state)
    local c = state.text:sub(state.at, state.at)
    if c ~= ',' and c ~= ']' then fail(state, "',' or ']'") end
    state.at = state.at + 1
    if c == ']' then return native.array(list) end
  end
end

local function read_map(state, depth)
  local map = {}
  state.at = state.at + 1
  skip(state)
  if state.text:sub(state.at, state.at) == '}' then
    state.at = state.at + 1
    return native.map(map)
  end
  while true do
    skip(state)
    if state.text:sub(state.at, state.at) ~= '"' then fail(state, 'a key in quotes') end
    local key = read_string(state)
    if map[key] ~= nil then fail(state, ("no second key '%s' before it"):format(key)) end
    skip(state)
    if state.text:sub(state.at, state.at) ~= ':' then fail(state, "':'") end
    state.at = state.at + 1
    map[key] = read_value(state, depth)
    skip(state)
    local c = state.text:sub(state.at, state.at)
    if c ~= ',' and c ~= '}' then fail(state, "',' or '}'") end
    state.at = state.at + 1
    if c == '}' then return native.map(map) end
  end
end

local WORDS = { { 'true', true }, { 'false', false }, { 'null', native.null } }

function read_value(state, depth)
  if depth > MAX_DEPTH then fail(state, ('at most %d levels'):format(MAX_DEPTH)) end
  skip(state)
  local c = state.text:sub(state.at, state.at)
  if c == '{' then return read_map(state, depth + 1) end
  if c == '[' then return read_list(state, depth + 1) end
  if c == '"' then return read_string(state) end
  for _, word in ipairs(WORDS) do
    if state.text:find('^' .. word[1] .. '%f[^%w_]', state.at) then
      state.at = state.at + #word[1]
      return word[2]
    end
  end
  return read_number(state)
end

--- The value of a text; nil, problem.
function M.decode(text)
  local state = { text = text, at = 1 }
  local ok, value = pcall(function()
    local found = read_value(state, 0)
    skip(state)
    if state.at <= #text then fail(state, 'the end') end
    return found
  end)
  if ok then return value end
  if type(value) == 'table' and value.problem then return nil, value.problem end
  error(value, 0)
end

-- Writing -----------------------------------------------------------------------------------------------------------

local NAMES = { ['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }

local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

local function base64(bytes)
  local parts = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    for k = 3, 0, -1 do
      local digit = math.floor(word / 64 ^ k) % 64 + 1
      parts[#parts + 1] = ALPHABET:sub(digit, digit)
    end
    if not c then parts[#parts] = '=' end
    if not b then parts[#parts - 1] = '=' end
  end
  return table.concat(parts)
end

--- Whether a string is UTF-8, without surrogates or overlong forms.
function M.is_text(text)
  local at = 1
  while at <= #text do
    at = text:find('[\128-\255]', at)
    if not at then return true end
    local size = text:find('^[\194-\223][\128-\191]', at) and 2
      or (text:find('^\224[\160-\191][\128-\191]', at) or text:find('^[\225-\236\238\239][\128-\191][\128-\191]', at)
        or text:find('^\237[\128-\159][\128-\191]', at)) and 3
      or (text:find('^\240[\144-\191][\128-\191][\128-\191]', at) or text:find('^\244[\128-\143][\128-\191][\128-\191]', at)
        or text:find('^[\241-\243][\128-\191][\128-\191][\128-\191]', at)) and 4
    if not size then return false end
    at = at + size
  end
  return true
end

local function quote(text)
  if not M.is_text(text) then return '{"base64":"' .. base64(text) .. '"}' end
  return '"' .. text:gsub('[%c"\\\127]', function(c) return NAMES[c] or ('\\u%04x'):format(c:byte()) end) .. '"'
end

local function number(value)
  if value ~= value then return '"NaN"' end
  if value == math.huge then return '"Infinity"' end
  if value == -math.huge then return '"-Infinity"' end
  if value % 1 == 0 and value > -SAFE and value < SAFE then return ('%.0f'):format(value) end
  for digits = 15, 17 do
    local text = ('%%.%dg'):format(digits):format(value)
    if tonumber(text) == value then return text end
  end
end

local encode

local function is_list(value)
  local count = 0
  for key in pairs(value) do
    if type(key) ~= 'number' then return false end
    count = count + 1
  end
  return count == #value and (count > 0 or getmetatable(value) ~= getmetatable(native.map {}))
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and type(a) ~= 'boolean' then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function join(parts, open, close, indent, inner)
  if #parts == 0 then return open .. close end
  if not indent then return open .. table.concat(parts, ',') .. close end
  return open .. '\n' .. inner .. table.concat(parts, ',\n' .. inner) .. '\n' .. indent .. close
end

--- The elements of a tensor as nested lists, of what table() returns, of so many dimensions.
local function elements(value, rank)
  if rank == 0 then return encode(value) end
  local parts = {}
  for i, element in ipairs(value) do parts[i] = elements(element, rank - 1) end
  return '[' .. table.concat(parts, ',') .. ']'
end

function encode(value, indent)
  local kind = type(value)
  if check.is_tensor(value) then return elements(value:table(), value:rank()) end
  if value == nil or value == native.null then return 'null' end
  if kind == 'boolean' then return tostring(value) end
  if kind == 'number' then return number(value) end
  if kind == 'string' then return quote(value) end
  if kind == 'cdata' then return (tostring(value):gsub('U?LL$', '')) end
  if kind ~= 'table' then return quote(tostring(value)) end
  local parts, inner = {}, indent and indent .. '  '
  if is_list(value) then
    for i, element in ipairs(value) do parts[i] = encode(element, inner) end
    return join(parts, '[', ']', indent, inner)
  end
  for i, key in ipairs(sorted_keys(value)) do
    parts[i] = quote(tostring(key)) .. (indent and ': ' or ':') .. encode(value[key], inner)
  end
  return join(parts, '{', '}', indent, inner)
end

--- The text of a value, keys sorted, tensors as lists of their elements; `pretty`: over several lines.
function M.encode(value, pretty)
  return encode(value, pretty and '' or nil)
end

return M
