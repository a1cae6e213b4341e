--- safetensors: tensors by name in a file, as Hugging Face describes it (github.com/huggingface/safetensors).
--
--     u64 length of the header | header | elements
--
-- The header is JSON: {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}},
-- with offsets from the end of the header. The elements of all tensors fill the rest, without gaps or overlaps.
local Tensor = require 'farside.tensor.class'
local check = require 'farside.check'
local dtypes = require 'farside.tensor.dtype'
local files = require 'farside.tensor.file'
local json = require 'farside.tensor.json'
local misuse = require 'farside.tensor.misuse'
local shapes = require 'farside.tensor.shape'

local M = {}

local METADATA = '__metadata__'
local ALIGN = 8
local MAX_HEADER = 100 * 1000 * 1000

local NAMES = { f64 = 'F64', f32 = 'F32', f16 = 'F16', bf16 = 'BF16', i64 = 'I64', i32 = 'I32', u8 = 'U8', bool = 'BOOL' }
local DTYPES = {}
for name, other in pairs(NAMES) do DTYPES[other] = name end

local KNOWN = 'F64, F32, F16, BF16, I64, I32, U8, BOOL'

-- Reading -------------------------------------------------------------------------------------------------------------

--- The header as an object, and the offset behind it.
local function read_header(file)
  local length = file:number(0, 8, "the header's length")
  if length > MAX_HEADER then file:refuse(0, 'expected a header of at most %d bytes, got %.0f', MAX_HEADER, length) end
  local text = file:read(8, length, 'the header')
  local object = json.object(text, function(at, expected)
    file:refuse(8 + at - 1, 'expected %s in the header, got %s', expected, files.shown(text, at))
  end)
  return object, 8 + length
end

local function is_list(value)
  if type(value) ~= 'table' or value.keys then return false end
  for _, number in ipairs(value) do
    if type(number) ~= 'number' then return false end
  end
  return true
end

--- Checks what the header says of one tensor: { dtype, shape, first, last }.
local function read_entry(key, entry, refuse)
  local name = files.named(key)
  if type(entry) ~= 'table' or not entry.keys then refuse('expected an object for %s', name) end
  local fields = entry.values
  for _, field in ipairs(entry.keys) do
    if field ~= 'dtype' and field ~= 'shape' and field ~= 'data_offsets' then
      refuse('expected dtype, shape and data_offsets for %s, got %s', name, files.named(field))
    end
  end
  local dtype = dtypes.types[DTYPES[fields.dtype]]
  if not dtype then
    refuse('expected one of the dtypes %s for %s, got %s', KNOWN, name,
      type(fields.dtype) == 'string' and files.named(fields.dtype) or check.describe(fields.dtype))
  end
  if not is_list(fields.shape) then refuse('expected a list of sizes as shape of %s', name) end
  local shape, problem = shapes.check(fields.shape)
  if not shape then refuse('shape of %s: %s', name, problem) end
  local offsets = fields.data_offsets
  if not is_list(offsets) or #offsets ~= 2 then refuse('expected two numbers as data_offsets of %s', name) end
  local bytes = shapes.count(shape) * dtype.size
  if offsets[2] - offsets[1] ~= bytes then
    refuse('expected data_offsets of %s that are %.0f bytes apart, for %s of %s, got %.0f and %.0f', name, bytes,
      shapes.describe(shape), dtype.name, offsets[1], offsets[2])
  end
  return { name = key, dtype = dtype, shape = shape, first = offsets[1], last = offsets[2] }
end

--- The elements fill what is behind the header.
local function check_layout(file, start, entries)
  local sorted = {}
  for i, entry in ipairs(entries) do sorted[i] = entry end
  table.sort(sorted, function(a, b)
    if a.first ~= b.first then return a.first < b.first end
    return a.last < b.last
  end)
  local at = 0
  for _, entry in ipairs(sorted) do
    if entry.first ~= at then
      file:refuse(start + at, 'expected the elements of a tensor, got %s %s at %.0f', entry.first > at and
        'a gap before' or 'an overlap with', files.named(entry.name), start + entry.first)
    end
    at = entry.last
  end
  local more = start + at - file.size
  if more > 0 then file:refuse(file.size, 'expected %.0f more bytes of elements, got the end of the file', more) end
  if more < 0 then
    file:refuse(start + at, 'expected the end of the file, got %.0f bytes that belong to no tensor', -more)
  end
end

local function read_metadata(object, refuse)
  if type(object) ~= 'table' or not object.keys then refuse('expected an object of texts as %s', METADATA) end
  for key, value in pairs(object.values) do
    if type(value) ~= 'string' then refuse('expected a text for %s in %s', files.named(key), METADATA) end
  end
  return object.values
end

--- Loads a file: its tensors by name, which lie in it, and its metadata.
---@return table<string, table> tensors
---@return table<string, string> metadata
function M.load(path)
  local file = files.map(path)
  local header, start = read_header(file)
  local entries, metadata = {}, {}
  for _, name in ipairs(header.keys) do
    local function refuse(problem, ...) file:refuse(8 + header.at[name] - 1, problem, ...) end
    if name == METADATA then
      metadata = read_metadata(header.values[name], refuse)
    else
      entries[#entries + 1] = read_entry(name, header.values[name], refuse)
    end
  end
  check_layout(file, start, entries)
  local tensors = {}
  for _, entry in ipairs(entries) do
    tensors[entry.name] = file:tensor(start + entry.first, entry.dtype, entry.shape, shapes.strides(entry.shape),
      entry.last - entry.first)
  end
  return tensors, metadata
end

-- Writing -------------------------------------------------------------------------------------------------------------

local function check_tensors(path, tensors)
  local names = {}
  if type(tensors) ~= 'table' or Tensor.is(tensors) then
    misuse('%s: expected a table of tensors by name', path)
  end
  for name, value in pairs(tensors) do
    if type(name) ~= 'string' or name == METADATA then
      misuse('%s: expected names of tensors, got %s', path, check.describe(name))
    end
    if not Tensor.is(value) then
      misuse('%s: expected a tensor as %q, got %s', path, name, check.describe(value))
    end
    names[#names + 1] = name
  end
  -- The widest elements come first, so that all lie as their types need it.
  table.sort(names, function(a, b)
    local wide, narrow = tensors[a]._dtype.size, tensors[b]._dtype.size
    if wide ~= narrow then return wide > narrow end
    return a < b
  end)
  return names
end

local function metadata_text(path, metadata)
  local parts = {}
  for _, key in ipairs(check.sorted_keys(metadata)) do
    if type(key) ~= 'string' or type(metadata[key]) ~= 'string' then
      misuse('%s: expected metadata of texts by text, got %s for %s', path, check.describe(metadata[key]),
        check.describe(key))
    end
    parts[#parts + 1] = json.quote(key) .. ':' .. json.quote(metadata[key])
  end
  return json.quote(METADATA) .. ':{' .. table.concat(parts, ',') .. '}'
end

--- Saves tensors by name.
---@param metadata table<string, string>?
function M.save(path, tensors, metadata)
  local names, parts, at = check_tensors(path, tensors), {}, 0
  if metadata then parts[1] = metadata_text(path, metadata) end
  for _, name in ipairs(names) do
    local tensor = tensors[name]
    local bytes = tensor:count() * tensor._dtype.size
    parts[#parts + 1] = ('%s:{"dtype":"%s","shape":[%s],"data_offsets":[%.0f,%.0f]}'):format(json.quote(name),
      NAMES[tensor.dtype], table.concat(tensor.shape, ','), at, at + bytes)
    at = at + bytes
  end
  local text = '{' .. table.concat(parts, ',') .. '}'
  text = text .. (' '):rep(-#text % ALIGN)
  files.write(path, function(put)
    local length = {}
    for i = 0, 7 do length[i + 1] = string.char(math.floor(#text / 256 ^ i) % 256) end
    put(table.concat(length) .. text)
    for _, name in ipairs(names) do
      local host = Tensor.in_order_on_host(tensors[name], 'tensor.save')
      put(Tensor.bytes_of(host))
    end
  end)
end

return M
