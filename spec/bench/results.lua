--- spec/bench/RESULTS.md: a section for each bench and machine, which holds the last run there.
local native = require 'farside.native'

local PATH = 'spec/bench/RESULTS.md'
local INTRODUCTION = [[
# Results of benches

Each section is written by the bench that it names, with `--record`, and holds the last run on that device.
]]

local M = {}

-- Text by the headings in it: the first part has none.
local function split(text)
  local parts = { { lines = {} } }
  for line in (text .. '\n'):gmatch '([^\n]*)\n' do
    if line:find '^## ' then parts[#parts + 1] = { heading = line, lines = {} } end
    table.insert(parts[#parts].lines, line)
  end
  return parts
end

--- Puts a section into the file in place of the one of that name, or behind all others.
function M.write(name, body, path)
  path = path or PATH
  local heading = '## ' .. name
  local file = io.open(path)
  local parts = split(file and file:read '*a' or INTRODUCTION)
  if file then file:close() end
  local texts, own = {}, heading .. '\n\n' .. body
  for i, part in ipairs(parts) do
    texts[i] = part.heading == heading and own or table.concat(part.lines, '\n'):match '^(.-)\n*$' .. '\n'
    if part.heading == heading then own = nil end
  end
  texts[#texts + 1] = own
  file = assert(io.open(path, 'w'))
  file:write(table.concat(texts, '\n'))
  file:close()
end

local function processor()
  local file = io.open '/proc/cpuinfo'
  local text = file and file:read '*a' or ''
  if file then file:close() end
  return ('%s, %d usable cores'):format(text:match 'model name%s*:%s*([^\n]+)' or 'a processor', native.usable_cores())
end

--- A bench whose results are what it prints.
---@param words string[] the bench's arguments; `--record` among them is taken out
---@return fun(...) print
---@return fun(name) record writes what was printed as the section of the bench, if that is asked for
function M.of_printed(words)
  local lines, asked = {}, false
  for i = #words, 1, -1 do
    if words[i] == '--record' then asked = table.remove(words, i) ~= nil end
  end
  local function tell(line)
    lines[#lines + 1] = line
    print(line)
  end
  local function record(name)
    if asked then M.write(name .. ': ' .. processor(), '```\n' .. table.concat(lines, '\n') .. '\n```\n') end
  end
  return tell, record
end

return M
