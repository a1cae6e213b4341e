--- NumPy's `.npy`: one tensor in a file. The format is described in NumPy's documentation of numpy.lib.format.
--
--     "\147NUMPY" | major, minor | u16 or u32 length of the header | header | elements
--
-- The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local files = require 'farside.tensor.file'
local misuse = require 'farside.tensor.misuse'
local shapes = require 'farside.tensor.shape'

local M = {}

local MAGIC = '\147NUMPY'
local ALIGN = 64
local MAX_HEADER = 64 * 1024

local NAMES = { f64 = '<f8', f32 = '<f4', f16 = '<f2', i64 = '<i8', i32 = '<i4', u8 = '|u1', bool = '|b1' }
local DTYPES = {}
for name, descr in pairs(NAMES) do DTYPES[descr] = name end

local KNOWN = '<f8, <f4, <f2, <i8, <i4, |u1, |b1'

-- Reading -------------------------------------------------------------------------------------------------------------

-- The header's text with the place that is read: { text =, at =, file =, start = offset of the text }
local Header = {}
Header.__index = Header

function Header:refuse(expected)
  self.file:refuse(self.start + self.at - 1, 'expected %s in the header, got %s', expected, files.shown(self.text, self.at))
end

--- Takes what a pattern matches, after blanks; refuses anything else.
function Header:take(pattern, expected)
  local _, last, capture = self.text:find('^[ \t]*' .. pattern, self.at)
  if not last then self:refuse(expected) end
  self.at = last + 1
  return capture
end

function Header:next_is(character)
  return self.text:match('^[ \t]*(.)', self.at) == character
end

function Header:shape()
  self:take('%(', 'a shape like (2, 3)')
  local shape = {}
  while not self:next_is ')' do
    shape[#shape + 1] = tonumber(self:take('(%d+)L?', 'a size'))
    if not self:next_is ')' then self:take(',', '"," or ")"') end
  end
  self:take('%)', '")"')
  return shape
end

local FIELDS = {
  descr = function(header) return header:take("'([^']*)'", 'a type of elements like ' .. "'<f4'") end,
  fortran_order = function(header) return header:take('(%a+)', 'True or False') end,
  shape = Header.shape,
}

function Header:fields()
  local fields = {}
  self:take('{', '"{"')
  while not self:next_is '}' do
    local key = self:take("'([%a_]*)'", "one of the keys 'descr', 'fortran_order', 'shape'")
    if not FIELDS[key] or fields[key] ~= nil then
      self.at = self.at - #key - 2
      self:refuse("each of the keys 'descr', 'fortran_order', 'shape' once")
    end
    self:take(':', '":"')
    fields[key] = FIELDS[key](self)
    if not self:next_is '}' then self:take(',', '"," or "}"') end
  end
  self:take('}[ \t]*\n?$', 'nothing behind "}"')
  return fields
end

--- The header's text and the offset of the elements.
local function read_header(file)
  if file:read(0, math.min(6, file.size), 'the magic of .npy') ~= MAGIC then
    file:refuse(0, 'expected the magic of .npy ("\\147NUMPY"), got %s',
      files.shown(file:read(0, math.min(6, file.size), 'it'), 1))
  end
  local major = file:number(6, 1, 'the version')
  if major < 1 or major > 3 then file:refuse(6, 'expected version 1, 2 or 3 of the format, got %d', major) end
  local width = major == 1 and 2 or 4
  local length = file:number(8, width, "the header's length")
  if length > MAX_HEADER then file:refuse(8, 'expected a header of at most %d bytes, got %.0f', MAX_HEADER, length) end
  local text = file:read(8 + width, length, 'the header')
  return setmetatable({ text = text, at = 1, file = file, start = 8 + width }, Header), 8 + width + length
end

--- Loads a file as a tensor that lies in it.
function M.load(path)
  local file = files.map(path)
  local header, offset = read_header(file)
  local fields = header:fields()
  local function refuse(problem, ...) file:refuse(header.start, problem, ...) end
  for key in pairs(FIELDS) do
    if fields[key] == nil then refuse("expected the key '%s' in the header, got none", key) end
  end
  local name = DTYPES[fields.descr]
  if not name then refuse('expected elements of one of the types %s, got %s', KNOWN,
      files.shown(fields.descr, 1)) end
  if fields.fortran_order ~= 'True' and fields.fortran_order ~= 'False' then
    refuse('expected True or False as fortran_order, got %s', files.shown(fields.fortran_order, 1))
  end
  local shape, problem = shapes.check(fields.shape)
  if not shape then refuse('%s', problem) end
  local dtype = dtypes.types[name]
  local bytes = shapes.count(shape) * dtype.size
  if file.size - offset ~= bytes then
    file:refuse(offset, 'expected %.0f bytes of elements for %s of %s, got %.0f', bytes, shapes.describe(shape), name,
      file.size - offset)
  end
  if fields.fortran_order == 'False' then return file:tensor(offset, dtype, shape, shapes.strides(shape), bytes) end
  local backwards, strides = {}, {}
  for i = 1, #shape do backwards[i] = shape[#shape + 1 - i] end
  for i, stride in ipairs(shapes.strides(backwards)) do strides[#shape + 1 - i] = stride end
  return file:tensor(offset, dtype, shape, strides, bytes)
end

-- Writing -------------------------------------------------------------------------------------------------------------

--- Saves a tensor.
function M.save(path, tensor)
  if not Tensor.is(tensor) then misuse('%s: expected a tensor, got %s', path, check.describe(tensor)) end
  local descr = NAMES[tensor.dtype]
  if not descr then
    misuse('%s: .npy has no %s; convert with t:to \'f32\', or save as .safetensors', path, tensor.dtype)
  end
  local host = Tensor.in_order_on_host(tensor, 'tensor.save')
  local sizes = table.concat(host.shape, ', ') .. (#host.shape == 1 and ',' or '')
  local text = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(descr, sizes)
  local length = math.ceil((10 + #text + 1) / ALIGN) * ALIGN - 10
  text = text .. (' '):rep(length - #text - 1) .. '\n'
  files.write(path, function(put)
    put(MAGIC .. '\1\0' .. string.char(length % 256, math.floor(length / 256)) .. text)
    put(Tensor.bytes_of(host))
  end)
end

return M
