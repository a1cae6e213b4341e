--- How the command line shows things: tables, numbers, colours where a person looks.
local native = require 'farside.native'

local M = {}

local CODES = { red = '31', green = '32', yellow = '33', bold = '1', dim = '2' }
local STATES = { ready = 'green', serving = 'green', starting = 'yellow', draining = 'yellow', waiting = 'yellow',
  backoff = 'yellow', failed = 'red', lost = 'red' }

--- Whether a descriptor gets colours.
function M.has_colours(descriptor)
  local wish = os.getenv('NO_COLOR')
  return native.is_terminal(descriptor) and (wish == nil or wish == '') and os.getenv('TERM') ~= 'dumb'
end

--- A painter: `paint('red', text)`; text as it is where there are no colours.
function M.painter(descriptor)
  if not M.has_colours(descriptor) then return function(_, text) return text end end
  return function(colour, text)
    local code = CODES[colour]
    return code and ('\27[%sm%s\27[0m'):format(code, text) or text
  end
end

function M.colour_of(state)
  return STATES[state] or 'dim'
end

--- What a terminal would take for an order is shown in words.
function M.plain(text)
  return (text:gsub('[%z\1-\8\11-\31\127]', function(c) return ('\\x%02x'):format(c:byte()) end))
end

local UNITS = { { 1e12, 'T' }, { 1e9, 'G' }, { 1e6, 'M' }, { 1e3, 'k' } }

--- A number below 1000 with three digits, never as 1e+03.
function M.three(number)
  return (number >= 100 and '%.0f' or '%.3g'):format(number)
end

--- 1234567 -> 1.23M
function M.short(number)
  for _, unit in ipairs(UNITS) do
    if number >= unit[1] then return M.three(number / unit[1]) .. unit[2] end
  end
  return M.three(number)
end

--- Seconds as a person says them.
function M.duration(seconds)
  if seconds < 60 then return ('%d s'):format(seconds) end
  if seconds < 3600 then return ('%d min'):format(seconds / 60) end
  if seconds < 86400 then return ('%d h %d min'):format(seconds / 3600, seconds / 60 % 60) end
  return ('%d d %d h'):format(seconds / 86400, seconds / 3600 % 24)
end

--- Seconds, also a few or a part of one, with three digits.
function M.span(seconds)
  if seconds >= 60 then return M.duration(seconds) end
  if seconds >= 1 then return M.three(seconds) .. ' s' end
  if seconds >= 1e-3 then return M.three(seconds * 1e3) .. ' ms' end
  return M.three(seconds * 1e6) .. ' us'
end

local function width(text)
  return #text:gsub('[\128-\191]', '')
end

--- Rows of texts as lines with columns under `heads`. A cell may be { text, colour }; `right` holds numbers of columns that
--- are numbers.
function M.columns(heads, rows, right, paint)
  local widths = {}
  local function text_of(cell) return type(cell) == 'table' and cell[1] or cell end
  for i, head in ipairs(heads) do
    widths[i] = width(head)
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], width(text_of(row[i]))) end
  end
  local function line_of(row, colour)
    local parts = {}
    for i, cell in ipairs(row) do
      local text = text_of(cell)
      local gap = (' '):rep(widths[i] - width(text))
      local painted = type(cell) == 'table' and cell[2] or colour
      local shown = painted and paint(painted, text) or text
      parts[i] = right[i] and gap .. shown or shown .. (i < #row and gap or '')
    end
    return table.concat(parts, '  ')
  end
  local lines = { line_of(heads, 'bold') }
  for _, row in ipairs(rows) do lines[#lines + 1] = line_of(row) end
  return lines
end

return M
