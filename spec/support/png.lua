--- Reads pictures as the PNG specification says, apart from the library that has made them: chunks, their sums, zlib, filters.
local ffi = require 'ffi'

if not pcall(ffi.typeof, 'spec_zlib_size') then ffi.cdef [[
typedef unsigned long spec_zlib_size;
unsigned long crc32(unsigned long sum, const char *bytes, unsigned int count);
int uncompress(unsigned char *to, spec_zlib_size *room, const char *from, spec_zlib_size count);
]] end

local zlib = ffi.load 'libz.so.1'

local M = {}

local function number(bytes, at)
  local a, b, c, d = bytes:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

--- The chunks in order, each { type =, body = }; their sums must be right and IEND the last.
local function chunks_of(bytes)
  assert(bytes:sub(1, 8) == '\137PNG\r\n\26\n', 'no PNG')
  local chunks, at = {}, 9
  repeat
    local size, kind = number(bytes, at), bytes:sub(at + 4, at + 7)
    local body = bytes:sub(at + 8, at + 7 + size)
    assert(#body == size, 'a chunk is cut off')
    assert(tonumber(zlib.crc32(0, kind .. body, size + 4)) == number(bytes, at + 8 + size), kind .. ': wrong sum')
    chunks[#chunks + 1] = { type = kind, body = body }
    at = at + 12 + size
  until kind == 'IEND'
  assert(at == #bytes + 1, 'bytes behind IEND')
  return chunks
end

local function paeth(a, b, c)
  local p = a + b - c
  local pa, pb, pc = math.abs(p - a), math.abs(p - b), math.abs(p - c)
  if pa <= pb and pa <= pc then return a end
  return pb <= pc and b or c
end

local FILTERS = {
  [0] = function() return 0 end,
  function(a) return a end,
  function(_, b) return b end,
  function(a, b) return math.floor((a + b) / 2) end,
  paeth,
}

--- Undoes the filter of one row of bytes, which stands before it. `width` is that of a pixel.
local function unfilter(row, above, count, width)
  local filter = assert(FILTERS[row[0]], 'no such filter')
  for i = 1, count do
    local left = i > width and row[i - width] or 0
    local up = above and above[i] or 0
    row[i] = (row[i] + filter(left, up, above and i > width and above[i - width] or 0)) % 256
  end
end

--- A picture in 8 bits of red, green and blue, not interlaced: { width =, height =, pixel = function(x, y) }, which counts from 0
--- and returns three numbers.
function M.read(bytes)
  local chunks, data = chunks_of(bytes), {}
  assert(chunks[1].type == 'IHDR' and chunks[1].body:sub(9) == '\8\2\0\0\0', 'of another kind')
  for _, chunk in ipairs(chunks) do
    if chunk.type == 'IDAT' then data[#data + 1] = chunk.body end
  end
  local width, height = number(chunks[1].body, 1), number(chunks[1].body, 5)
  local step = 3 * width + 1
  local size = ffi.new('spec_zlib_size[1]', step * height)
  local rows, packed = ffi.new('uint8_t[?]', step * height), table.concat(data)
  assert(zlib.uncompress(rows, size, packed, #packed) == 0 and size[0] == step * height, 'its pixels cannot be unpacked')
  for y = 0, height - 1 do unfilter(rows + y * step, y > 0 and rows + (y - 1) * step, step - 1, 3) end
  return {
    width = width,
    height = height,
    pixel = function(x, y)
      local at = y * step + 1 + 3 * x
      return rows[at], rows[at + 1], rows[at + 2]
    end,
  }
end

return M
