--- What compilers say of a user's kernels, told with the lines of the user's own text: those of the source string, and those
-- of the script in which it stands, where it can be found there.
local read_file = require 'farside.read_file'

local M = {}

local MOST = 8             -- errors that are told
local MOST_BYTES = 4000    -- of a log that is shown as it is

local function lines_of(text)
  local lines = {}
  for line in (text .. '\n'):gmatch '(.-)\r?\n' do lines[#lines + 1] = line end
  return lines
end

-- Where the source stands ----------------------------------------------------------------------------------------------

local function read(path)
  local text = read_file(path)
  return text and text:gsub('\r\n?', '\n')
end

--- The line of a script before the first one of a source that stands in it word for word; nil: it does not stand there. Of
-- several places that counts which is nearest to the line of the call, which may be the first or the last of the source.
local function offset_in(text, source, line)
  local best, least
  local at, current = 1, 1  -- a position, and the line in which it is
  while true do
    local first, last = text:find(source, at, true)
    if not first then return best end
    local _, before = text:sub(at, first - 1):gsub('\n', '')
    local _, within = source:gsub('\n', '')
    current = current + before
    local distance = math.max(current - line, line - current - within, 0)
    if not least or distance < least then best, least = current - 1, distance end
    at, current = last + 1, current + within
  end
end

--- Notes who calls, at a level, so that the source can be looked for in that file when something is wrong with it.
function M.origin(level)
  local info = debug.getinfo(level + 1, 'Sl')
  local path = info and info.source:match '^@(.*)$'
  if not path or info.currentline < 1 then return nil end
  return { path = path, name = info.short_src, line = info.currentline }
end

--- Names a line of the source: 'deploy.lua:12' or 'saxpy.cu:3'.
local function namer(name, source, origin)
  local text = origin and read(origin.path)
  local offset = text and offset_in(text, (source:gsub('\r\n?', '\n')), origin.line)
  return function(line)
    if not offset then return ('%s:%d'):format(name, line) end
    return ('%s:%d'):format(origin.name, offset + line), line
  end
end

-- What the compiler says -----------------------------------------------------------------------------------------------

--- An error in a line of a log: the line of the source and the words. NVRTC writes name(3): error: ..., others
-- name:3:5: error: ...
local function error_of(line, name)
  if line:sub(1, #name) ~= name then return nil end
  local rest = line:sub(#name + 1)
  local number, message = rest:match '^%((%d+)%): [cathsropi ]*error[ %w#-]*: (.*)$'
  if not number then number, message = rest:match '^:(%d+):%d*:? ?[fatl ]*error: (.*)$' end
  return tonumber(number), message
end

--- The message for a log.
---@param what table name, source, origin
---@param by string who compiled for what: 'NVRTC 13.0 for sm_90'
function M.describe(what, by, log)
  local name_line = namer(what.name, what.source, what.origin)
  local source, told, count = lines_of(what.source), {}, 0
  for _, line in ipairs(lines_of(log)) do
    local number, message = error_of(line, what.name)
    if number then
      count = count + 1
      if count <= MOST then
        local place, own = name_line(number)
        told[#told + 1] = ('%s: %s%s'):format(place, message, own and (' (line %d of %s)'):format(own, what.name) or '')
        if source[number] then told[#told + 1] = '    ' .. source[number]:match '^%s*(.-)%s*$' end
      end
    end
  end
  if count == 0 then
    log = #log > MOST_BYTES and log:sub(1, MOST_BYTES) .. '...' or log
    return ('%s is not compiled by %s:\n%s'):format(what.name, by, (log:gsub('%s+$', '')))
  end
  if count > MOST then told[#told + 1] = ('and %d more'):format(count - MOST) end
  return ('%s is not compiled by %s:\n%s'):format(what.name, by, table.concat(told, '\n'))
end

return M
