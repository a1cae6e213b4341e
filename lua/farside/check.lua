--- Checks of what users pass: what a value is in words, the nearest word to a typo, tables of options.
local M = {}

local MAX_SHOWN = 40  -- characters of a string in a message

--- Whether a value is a tensor; the class is there if there is one.
function M.is_tensor(value)
  local Tensor = package.loaded['farside.tensor.class']
  return Tensor ~= nil and Tensor.is(value)
end

--- Names a value for a message: `the number 3`, `the string "abc"`, `a table`, `a tensor`.
function M.describe(value)
  local kind = type(value)
  if kind == 'nil' or kind == 'boolean' then return tostring(value) end
  if kind == 'number' then return 'the number ' .. tostring(value) end
  if kind ~= 'string' then return M.is_tensor(value) and 'a tensor' or 'a ' .. kind end
  local shown = #value > MAX_SHOWN and value:sub(1, MAX_SHOWN) .. '...' or value
  return 'the string ' .. ('%q'):format(shown)
end

--- Returns `file:line: ` of the function at `level` (1 is the caller), '' where that is not known.
function M.where(level)
  local info = debug.getinfo(level + 1, 'Sl')
  if not info or info.currentline < 0 then return '' end
  return ('%s:%d: '):format(info.short_src, info.currentline)
end

--- Returns `file:line: ` of a function's definition.
function M.where_defined(func)
  local info = debug.getinfo(func, 'S')
  return ('%s:%d: '):format(info.short_src, info.linedefined)
end

--- Edits that make one word of another: insert, delete, replace, swap two neighbours.
local function distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local previous = row
    row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local least = math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        least = math.min(least, before[j - 2] + 1)
      end
      row[j] = least
    end
    before = previous
  end
  return row[#b]
end

--- Returns the word of a list that a mistyped one most likely stands for, or nil.
function M.nearest(word, words)
  if type(word) ~= 'string' then return nil end
  local best, least = nil, math.max(1, math.floor(#word / 3)) + 1
  for _, candidate in ipairs(words) do
    local edits = distance(word:lower(), candidate:lower())
    if edits < least and edits < #word then best, least = candidate, edits end
  end
  if best or #word < 4 then return best end
  for _, candidate in ipairs(words) do
    if candidate:find(word, 1, true) then return candidate end
  end
  return nil
end

--- Says in what way a word is none of a list, which is sorted for that: `; did you mean 'x'?` or the whole list.
function M.suggest(word, words)
  local nearest = M.nearest(word, words)
  if nearest then return ("; did you mean '%s'?"):format(nearest) end
  if #words == 0 then return '' end
  return '; expected one of ' .. table.concat(words, ', ')
end

function M.sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- Checks a table of options. `rules` holds for each name a function that returns what it expects when a value is none.
---@param what string who asks: 'app.remote'
---@return string? problem for error(problem, 2)
function M.options(what, options, rules)
  if type(options) ~= 'table' then
    return ('%s: expected a table of options, got %s'):format(what, M.describe(options))
  end
  for name, value in pairs(options) do
    local rule = rules[name]
    if not rule then
      local shown = type(name) == 'string' and "'" .. name .. "'" or M.describe(name)
      return ('%s: unknown option %s%s'):format(what, shown, M.suggest(name, M.sorted_keys(rules)))
    end
    local expected = rule(value)
    if expected then return ('%s: %s: expected %s, got %s'):format(what, name, expected, M.describe(value)) end
  end
  return nil
end

-- Rules -------------------------------------------------------------------------------------------------------------

function M.a(kind)
  return function(value)
    if type(value) ~= kind then return 'a ' .. kind end
  end
end

--- A number of a range; both ends may be left out. `over` excludes the low end.
function M.number(low, high, over)
  local words = { 'a number' }
  if low then words[#words + 1] = (over and 'above ' or 'of at least ') .. low end
  if high then words[#words + 1] = (low and 'and at most ' or 'of at most ') .. high end
  local expected = table.concat(words, ' ')
  return function(value)
    if type(value) ~= 'number' or value ~= value or value == math.huge or value == -math.huge then return expected end
    if low and (value < low or over and value == low) or high and value > high then return expected end
  end
end

local UNITS = { B = 1, KiB = 2 ^ 10, MiB = 2 ^ 20, GiB = 2 ^ 30, TiB = 2 ^ 40 }

--- The bytes that a number, or a text like '500MiB', stands for; nil if it is neither.
function M.bytes(value)
  if type(value) == 'string' then
    local number, unit = value:match('^(%d+%.?%d*) ?(%a*)$')
    if not number or not UNITS[unit] then return nil end
    value = math.floor(tonumber(number) * UNITS[unit])
  end
  if type(value) == 'number' and value % 1 == 0 and value > 0 and value <= 2 ^ 53 then return value end
  return nil
end

--- A number of bytes, or text with its unit.
function M.size(value)
  if not M.bytes(value) then return "a number of bytes, or text like '500MiB' or '2GiB'" end
end

function M.integer(low, high)
  local expected = ('a whole number from %d to %d'):format(low, high)
  return function(value)
    if type(value) ~= 'number' or value % 1 ~= 0 or value < low or value > high then return expected end
  end
end

--- A name that stands in messages, in file names and in lines of the manifest.
function M.name(value)
  if type(value) ~= 'string' or #value > 128 or not value:find('^[%w_\128-\255][%w_.%-\128-\255]*$') then
    return 'a name of letters, digits, "_", "." and "-"'
  end
end

return M
