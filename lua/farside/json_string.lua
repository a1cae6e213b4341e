--- Strings of JSON (RFC 8259), read strictly: known escapes only, surrogates in pairs, no control characters.
local M = {}

local ESCAPES = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xf0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

-- The code point behind "\u", of one group of digits or two, and the place behind it.
local function read_code(text, at, refuse)
  local digits = text:match('^%x%x%x%x', at) or refuse(at, 'four hexadecimal digits behind "\\u"')
  local code = tonumber(digits, 16)
  at = at + 4
  if code < 0xd800 or code > 0xdfff then return code, at end
  local low = code < 0xdc00 and text:match('^\\u([dD][c-fC-F]%x%x)', at) or refuse(at, 'both halves of a surrogate pair')
  return 0x10000 + (code - 0xd800) * 0x400 + tonumber(low, 16) - 0xdc00, at + 6
end

--- Reads the string whose first quotation mark stands at `at`. Returns it and the place behind its last one.
---@param refuse function(at, expected) raises; `at` counts from 1
function M.read(text, at, refuse)
  local parts = {}
  at = at + 1
  while true do
    local plain = text:match('^[^"\\%z\1-\31]*', at)
    parts[#parts + 1] = plain
    at = at + #plain
    local stop = text:sub(at, at)
    if stop == '"' then return table.concat(parts), at + 1 end
    if stop == '' then refuse(at, 'the end of a string') end
    if stop ~= '\\' then refuse(at, 'no control character in a string') end
    local escape = text:sub(at + 1, at + 1)
    if escape == 'u' then
      local code
      code, at = read_code(text, at + 2, refuse)
      parts[#parts + 1] = utf8(code)
    else
      parts[#parts + 1] = ESCAPES[escape] or refuse(at + 1, 'an escape like \\n')
      at = at + 2
    end
  end
end

return M
