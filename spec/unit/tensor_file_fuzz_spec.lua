-- Files by chance, the same in each run: valid ones, each way to be wrong, and bytes that were changed. Whatever comes in is
-- loaded as it says, or refused in one line that tells where.
local bit = require 'bit'
local tensor = require 'farside.tensor'

local ROUNDS = 2000
local LONGEST = 400  -- characters of a message behind the path

local folder, path

setup(function()
  local pipe = io.popen 'mktemp -d'
  folder = pipe:read '*l'
  pipe:close()
end)

teardown(function() os.execute("rm -rf '" .. folder .. "'") end)

-- ---- chance ----

local Chance = {}
Chance.__index = Chance

local function new_chance(seed)
  return setmetatable({ state = bit.tobit(seed * 2654435761 + 1) }, Chance)
end

--- A whole number from 0 to count - 1.
function Chance:below(count)
  local x = self.state
  x = bit.bxor(x, bit.lshift(x, 13))
  x = bit.bxor(x, bit.rshift(x, 17))
  x = bit.bxor(x, bit.lshift(x, 5))
  self.state = x
  return bit.rshift(x, 1) % count
end

function Chance:one_of(list)
  return list[self:below(#list) + 1]
end

function Chance:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:below(i) + 1
    list[i], list[j] = list[j], list[i]
  end
  return list
end

function Chance:bytes(count)
  local bytes = {}
  for i = 1, count do bytes[i] = string.char(self:below(256)) end
  return table.concat(bytes)
end

function Chance:shape()
  local shape = {}
  for i = 1, self:below(5) do shape[i] = self:one_of { 0, 1, 1, 2, 3, 7 } end
  return shape
end

-- ---- what happens to a file ----

local function load(extension, bytes)
  path = ('%s/by_chance.%s'):format(folder, extension)
  os.remove(path)  -- some file systems write to the disk what is put in place of other content
  local file = assert(io.open(path, 'wb'))
  file:write(bytes)
  file:close()
  return pcall(tensor.load, path)
end

local function check_refusal(seed, bytes, problem)
  assert.equal('string', type(problem), 'seed ' .. seed)
  local where, rest = problem:match('^%S+: at byte (%d+): (.*)$')
  assert(where, ('seed %d: %s'):format(seed, problem))
  assert(problem:sub(1, #path) == path and tonumber(where) <= #bytes + 1, ('seed %d: %s'):format(seed, problem))
  assert(#rest < LONGEST and not rest:find '[%c\128-\255]', ('seed %d: %s'):format(seed, problem))
end

local SIZES = { f64 = 8, f32 = 4, f16 = 2, bf16 = 2, i64 = 8, i32 = 4, u8 = 1, bool = 1 }

local function count(shape)
  local product = 1
  for _, size in ipairs(shape) do product = product * size end
  return product
end

local function elements_of(chance, dtype, shape)
  local bytes = chance:bytes(count(shape) * SIZES[dtype])
  return dtype == 'bool' and bytes:gsub('.', function(byte) return string.char(byte:byte() % 2) end) or bytes
end

--- Each round a valid file, then the same with one thing wrong.
local function check_rounds(extension, make, defects)
  local names = {}
  for name in pairs(defects) do names[#names + 1] = name end
  table.sort(names)
  for seed = 1, ROUNDS do
    local chance = new_chance(seed)
    local file = make(chance)
    local ok, loaded = load(extension, file:bytes())
    assert(ok, ('seed %d: %s'):format(seed, tostring(loaded)))
    file:check(loaded, 'seed ' .. seed)

    local name = chance:one_of(names)
    local wrong = defects[name](chance, file) or file:bytes()
    local accepted, problem = load(extension, wrong)
    assert(not accepted, ('seed %d: %s was loaded'):format(seed, name))
    check_refusal(seed, wrong, problem)
  end
end

-- ---- .npy ----

local Npy = {}
Npy.__index = Npy

local DESCR = { f64 = '<f8', f32 = '<f4', f16 = '<f2', i64 = '<i8', i32 = '<i4', u8 = '|u1', bool = '|b1' }

local function new_npy(chance)
  local dtype, shape = chance:one_of { 'f64', 'f32', 'f16', 'i64', 'i32', 'u8', 'bool' }, chance:shape()
  local sizes = {}
  for i, size in ipairs(shape) do sizes[i] = size .. chance:one_of { '', '', 'L' } end
  local blank = chance:one_of { '', ' ', '  ', '\t' }
  local fields = {
    { 'descr', "'" .. DESCR[dtype] .. "'" },
    { 'fortran_order', 'False' },
    { 'shape', '(' .. table.concat(sizes, ',' .. blank) .. ((#sizes == 1 or #sizes > 1 and chance:below(2) == 0) and ',' or '') .. ')' },
  }
  return setmetatable({
    version = chance:below(3) + 1,
    dtype = dtype,
    shape = shape,
    fields = chance:shuffle(fields),
    blank = blank,
    ending = chance:one_of { '\n', '     \n', '', '  ' },
    elements = elements_of(chance, dtype, shape),
  }, Npy)
end

function Npy:field(name)
  for _, field in ipairs(self.fields) do
    if field[1] == name then return field end
  end
end

function Npy:header()
  local parts = {}
  for i, field in ipairs(self.fields) do parts[i] = ("'%s':%s%s"):format(field[1], self.blank, field[2]) end
  return '{' .. table.concat(parts, ',' .. self.blank) .. (self.comma or '') .. '}' .. self.ending
end

function Npy:bytes(header, length)
  header = header or self:header()
  length = length or #header
  local digits = string.char(length % 256, math.floor(length / 256) % 256)
  if self.version > 1 then digits = digits .. string.char(math.floor(length / 65536) % 256, math.floor(length / 2 ^ 24) % 256) end
  return '\147NUMPY' .. string.char(self.version) .. '\0' .. digits .. header .. self.elements
end

function Npy:check(loaded, where)
  assert.same({ self.dtype, self.shape, self.elements }, { loaded.dtype, loaded.shape, loaded:string() }, where)
end

local function change(name, values)
  return function(chance, file) file:field(name)[2] = chance:one_of(values) end
end

local NPY_DEFECTS = {
  magic = function(chance, file)
    local at = chance:below(6) + 1
    local bytes = file:bytes()
    return bytes:sub(1, at - 1) .. '\0' .. bytes:sub(at + 1)
  end,
  version = function(chance, file)
    local bytes = file:bytes()
    return bytes:sub(1, 6) .. string.char(chance:one_of { 0, 4, 255 }) .. bytes:sub(8)
  end,
  cut = function(chance, file)
    local bytes = file:bytes()
    return bytes:sub(1, chance:below(#bytes))
  end,
  more = function(chance, file) return file:bytes() .. chance:bytes(1 + chance:below(9)) end,
  length = function(chance, file)
    return file:bytes(nil, chance:one_of { 0, 1, #file:header() - #file.ending - 1, #file:header() + #file.elements + 1, 65535 })
  end,
  descr = change('descr', { "'>f8'", "'|O'", "'<f3'", "'f8'", "''", "'<c16'", "'<U4'", '[]', '<f8', 'None', "'" }),
  order = change('fortran_order', { 'true', '0', 'None', "'True'", '', '()' }),
  shape = change('shape', { '', '3', '(', '(,)', '(1,,2)', '(-1,)', '(1.5,)', '(1e9,)', '(0x10,)', '[2]', '(None,)', '(1 2)',
    '(140737488355329,)', '(99999999,99999999)', '(4294967296,4294967296,0)', '(18446744073709551617,)',
    '(' .. ('9'):rep(400) .. ',)', '(' .. ('1,'):rep(9) .. ')', '(' .. ('1,'):rep(9000) .. ')', '(2,' }),
  one_more = function(_, file) file:field('shape')[2] = '(' .. count(file.shape) + 1 .. ',)' end,
  no_field = function(chance, file) table.remove(file.fields, chance:below(3) + 1) end,
  twice = function(chance, file) file.fields[4] = file.fields[chance:below(3) + 1] end,
  other_field = function(chance, file)
    table.insert(file.fields, chance:below(4) + 1, { chance:one_of { 'shap', '', 'Descr', '__class__' }, '1' })
  end,
  behind = function(chance, file) file.ending = chance:one_of { 'x', '\n\n', '\n{}', '}', '\0' } end,
  comma = function(chance, file) file.comma = chance:one_of { ',,', ';', ' 1', '\0' } end,
}

describe('a .npy file by chance', function()
  it('is loaded as it says; with one thing wrong it is refused', function()
    check_rounds('npy', new_npy, NPY_DEFECTS)
  end)
end)

-- ---- safetensors ----

local Safetensors = {}
Safetensors.__index = Safetensors

local NAMES = { f64 = 'F64', f32 = 'F32', f16 = 'F16', bf16 = 'BF16', i64 = 'I64', i32 = 'I32', u8 = 'U8', bool = 'BOOL' }
local LITERALS = { { 'w', 'w' }, { 'layers.0.w', 'layers.0.w' }, { '\\u0041b', 'Ab' }, { '\\n\\t\\\\', '\n\t\\' }, { 'ä€😀', 'ä€😀' },
  { '\\ud83d\\ude00', '😀' }, { '', '' }, { ('n'):rep(300), ('n'):rep(300) } }

local function new_safetensors(chance)
  local self = setmetatable({ entries = {}, elements = '', metadata = chance:below(2) == 0 and '{"a":"b"}' or nil,
    blank = chance:one_of { '', ' ', '\r\n' }, ending = (' '):rep(chance:below(9)) }, Safetensors)
  local literals = chance:shuffle { unpack(LITERALS) }
  for i = 1, chance:below(5) + 1 do
    local dtype, shape = chance:one_of(tensor.dtypes), chance:shape()
    local elements = elements_of(chance, dtype, shape)
    self.entries[i] = {
      literal = literals[i][1],
      name = literals[i][2],
      dtype = dtype,
      shape = shape,
      elements = elements,
      fields = chance:shuffle {
        { 'dtype', '"' .. NAMES[dtype] .. '"' },
        { 'shape', '[' .. table.concat(shape, ',') .. ']' },
        { 'data_offsets', ('[%d,%d]'):format(#self.elements, #self.elements + #elements) },
      },
    }
    self.elements = self.elements .. elements
  end
  self.entries = chance:shuffle(self.entries)
  return self
end

local function field_of(entry, name)
  for _, field in ipairs(entry.fields) do
    if field[1] == name then return field end
  end
end

function Safetensors:header()
  local parts = {}
  if self.metadata then parts[1] = '"__metadata__":' .. self.metadata end
  for _, entry in ipairs(self.entries) do
    local fields = {}
    for i, field in ipairs(entry.fields) do fields[i] = ('"%s":%s%s'):format(field[1], self.blank, field[2]) end
    parts[#parts + 1] = ('"%s"%s:{%s}'):format(entry.literal, self.blank, table.concat(fields, ',' .. self.blank))
  end
  return '{' .. table.concat(parts, ',' .. self.blank) .. '}' .. self.ending
end

function Safetensors:bytes(header, length)
  header = header or self:header()
  length = length or #header
  local digits = {}
  for i = 0, 7 do digits[i + 1] = string.char(math.floor(length / 256 ^ i) % 256) end
  return table.concat(digits) .. header .. self.elements
end

function Safetensors:check(loaded, where)
  local left = {}
  for name in pairs(loaded) do left[name] = true end
  for _, entry in ipairs(self.entries) do
    local found = loaded[entry.name]
    assert.same({ entry.dtype, entry.shape, entry.elements }, { found.dtype, found.shape, found:string() }, where)
    left[entry.name] = nil
  end
  assert.is_nil(next(left), where)
end

local function change_field(name, values)
  return function(chance, file) field_of(chance:one_of(file.entries), name)[2] = chance:one_of(values) end
end

local SAFETENSORS_DEFECTS = {
  cut = function(chance, file)
    local bytes = file:bytes()
    return bytes:sub(1, chance:below(#bytes))
  end,
  more = function(chance, file) return file:bytes() .. chance:bytes(1 + chance:below(9)) end,
  length = function(chance, file)
    local header = file:header()
    return file:bytes(header, chance:one_of { 0, 1, #header - #file.ending - 1, #header + #file.elements + 1, 2 ^ 31, 2 ^ 53, 2 ^ 63 })
  end,
  dtype = change_field('dtype', { '"I8"', '"f32"', '""', '5', '[]', '{}', 'null', '"F32', '"' .. ('F'):rep(900) .. '"' }),
  shape = change_field('shape', { '[-1]', '[1.5]', '[1e3]', '[01]', '5', '{}', '"[1]"', 'null', '[[1]]', '[true]', '[1,]', '[1 2]',
    '[140737488355329]', '[4294967296,4294967296]', '[18446744073709551616]', '[' .. ('1,'):rep(8) .. '1]',
    '[' .. ('1,'):rep(5000) .. '1]', ('['):rep(5000), '[1' }),
  offsets = change_field('data_offsets', { '[0]', '[]', '[0,1,2]', '[3,1]', '[9007199254740993,9007199254740993]', '5', '{}', '[0,"4"]',
    '[999999,999999]', '[4294967296,4294967296]' }),
  gap = function(chance, file)
    local entry = chance:one_of(file.entries)
    local first, last = field_of(entry, 'data_offsets')[2]:match '(%d+),(%d+)'
    -- Without elements it may lie between any two others.
    local by = 1 + chance:below(9) + (entry.elements == '' and #file.elements or 0)
    field_of(entry, 'data_offsets')[2] = ('[%d,%d]'):format(first + by, last + by)
  end,
  no_field = function(chance, file) table.remove(chance:one_of(file.entries).fields, chance:below(3) + 1) end,
  twice = function(chance, file)
    local fields = chance:one_of(file.entries).fields
    fields[4] = fields[chance:below(3) + 1]
  end,
  other_field = function(chance, file)
    table.insert(chance:one_of(file.entries).fields, 1, { chance:one_of { 'Shape', '', 'strides', ('x'):rep(700) }, '[1]' })
  end,
  same_name = function(chance, file) table.insert(file.entries, chance:one_of(file.entries)) end,
  name = function(chance, file)
    chance:one_of(file.entries).literal = chance:one_of { '\\x', '\\u12', '\\ud800', '\\udc00x', '\1', '\n', '"', '\\' }
  end,
  metadata = function(chance, file) file.metadata = chance:one_of { '5', '[]', '{"a":1}', '{"a":{}}', '"a"', '{', '{"a":"b","a":"b"}' } end,
  behind = function(chance, file) file.ending = chance:one_of { 'x', '{}', '}', '\0', ',' } end,
}

describe('a .safetensors file by chance', function()
  it('is loaded as it says; with one thing wrong it is refused', function()
    check_rounds('safetensors', new_safetensors, SAFETENSORS_DEFECTS)
  end)
end)

-- ---- bytes that were changed ----

describe('a damaged file', function()
  -- Bytes are changed, left out or put in at places by chance. What is loaded lies in the file.
  local function damage(extension, make)
    local loaded = 0
    for seed = 1, ROUNDS do
      local chance = new_chance(seed)
      local damaged = make(chance):bytes()
      for _ = 0, chance:below(3) do
        local at, kind = chance:below(math.min(#damaged, 260)) + 1, chance:below(4)
        local piece = kind == 0 and '' or kind == 1 and tostring(chance:below(10 ^ (1 + chance:below(9)))) or chance:bytes(1)
        damaged = damaged:sub(1, at - 1) .. piece .. damaged:sub(kind == 3 and at or at + 1)
      end
      local ok, result = load(extension, damaged)
      if ok then
        loaded = loaded + 1
        for _, found in pairs(tensor.is(result) and { result } or result) do
          assert(#found:string() == found:count() * SIZES[found.dtype] and #found:string() <= #damaged, 'seed ' .. seed)
          if found.dtype == 'bool' then assert(not found:string():find '[^%z\1]', 'seed ' .. seed) end
        end
      else
        check_refusal(seed, damaged, result)
      end
    end
    assert.is_true(loaded > 0 and loaded < ROUNDS)
  end

  it('of NumPy is loaded or refused, never more', function() damage('npy', new_npy) end)

  it('of safetensors is loaded or refused, never more', function() damage('safetensors', new_safetensors) end)
end)
