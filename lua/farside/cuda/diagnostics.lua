--- What compilers say of a user's kernels, told with the lines of the user's own text: those of the source string, and those
-- of the script in which it stands, where it can be found there.
local read_file = require 'farside.read_file'

local M = {}

local MOST = 8             -- errors that are told
local MOST_BYTES = 4000    -- of a log that is shown as it is

local function lines_of(text)
  local lines = {}
  for line in (text:gsub('\r\n?', '\n') .. '\n'):gmatch '(.-)\n' do lines[#lines + 1] = line end
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

--- An error in a line of a log: the file, the line there and the words. NVRTC writes name(3): error: ..., others
-- name:3:5: error: ...
local function error_of(line)
  local file, number, message = line:match '^([^%s].-)%((%d+)%): [cathsropi ]*error[ %w#-]*: (.*)$'
  if not file then file, number, message = line:match '^([^%s].-):(%d+):%d*:? ?[fatl ]*error: (.*)$' end
  if file then return { file = file, line = tonumber(number), message = message } end
end

--- What a linker says is missing, which has no line.
local function missing_of(line)
  local name = line:match "undefined reference to [`'](.-)'?$" or line:match 'undefined symbol: (.*)$'
    or line:match "Unresolved extern function '(.-)'"
  if name then return { message = ('%s is declared and called, and defined nowhere'):format(name) } end
end

--- The line of the source from which a compiler came to an error in another file, if this line of a log says so: an #include, or
-- what a template is made for.
local function way_of(line, name)
  local _, last = line:find('from ' .. name, 1, true)
  local included = last and line:match('^:(%d+)', last + 1)
  if included then return tonumber(included) end
  if line:sub(1, #name) ~= name then return nil end
  return tonumber(line:match('^:(%d+):%d*:? *required from', #name + 1)
    or line:match('^:(%d+):%d*: note: in instantiation', #name + 1))
end

--- The errors in a log, in their order: those of the source have a line of it as `own`.
local function errors_of(log, name)
  local errors, way = {}, nil
  for _, line in ipairs(lines_of(log)) do
    local found = error_of(line) or missing_of(line)
    if found then
      if found.file == name then found.own = found.line else found.own = way end
      errors[#errors + 1] = found
      way = nil
    else
      local number, latest = way_of(line, name), errors[#errors]
      way = way or number
      -- Some say behind an error how they came to it.
      if number and latest and latest.file and not latest.own and line:find(' note: ', 1, true) then
        latest.own, way = number, nil
      end
    end
  end
  return errors
end

--- One error as it is told, in one line or two.
local function tell(found, what, source, name_line)
  local place, own = what.name, nil
  if found.own then place, own = name_line(found.own) end
  local notes = {}
  if own then notes[1] = ('line %d of %s'):format(own, what.name) end
  if found.file and found.file ~= what.name then
    -- Headers of Farside's own lie in a temporary folder.
    local file = ('%s:%d'):format(found.file:match 'farside%-%w+/(simt[%w_.]*)$' or found.file, found.line)
    if found.own then notes[#notes + 1] = 'in ' .. file else place = file end
  end
  local text = ('%s: %s%s'):format(place, found.message, #notes > 0 and (' (%s)'):format(table.concat(notes, ', ')) or '')
  local line = found.own and source[found.own] and source[found.own]:match '^%s*(.-)%s*$' or ''
  return line ~= '' and ('%s\n    %s'):format(text, line) or text
end

--- The message for a log.
---@param what table name, source, origin
---@param by string who compiled for what: 'NVRTC 13.0 for sm_90'
function M.describe(what, by, log)
  local errors = errors_of(log, what.name)
  if #errors == 0 then
    log = #log > MOST_BYTES and log:sub(1, MOST_BYTES) .. '...' or log
    return ('%s is not compiled by %s:\n%s'):format(what.name, by, (log:gsub('%s+$', '')))
  end
  local name_line, source, told = namer(what.name, what.source, what.origin), lines_of(what.source), {}
  for i = 1, math.min(#errors, MOST) do told[i] = tell(errors[i], what, source, name_line) end
  if #errors > MOST then told[#told + 1] = ('and %d more'):format(#errors - MOST) end
  return ('%s is not compiled by %s:\n%s'):format(what.name, by, table.concat(told, '\n'))
end

return M
