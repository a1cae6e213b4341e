-- Values by chance, the same in each run.
local bit = require 'bit'
local ffi = require 'ffi'
local native = require 'farside.native'

local ROUNDS = 3000

local Point, Line = {}, {}
local registry = native.new_registry()
registry:add('Point', Point)
registry:add('a longer name of a class', Line)

-- ---- chance ----

local Chance = {}
Chance.__index = Chance

local function new_chance(seed)
  return setmetatable({ state = bit.tobit(seed * 2654435761 + 1) }, Chance)
end

function Chance:bits()
  local x = self.state
  x = bit.bxor(x, bit.lshift(x, 13))
  x = bit.bxor(x, bit.rshift(x, 17))
  x = bit.bxor(x, bit.lshift(x, 5))
  self.state = x
  return x
end

--- An integer from 0 to count - 1.
function Chance:below(count)
  return bit.rshift(self:bits(), 1) % count
end

-- Made once: each time the declaration is read it is a new type, and there are no more than 65536.
local new_halves = ffi.typeof('union { uint32_t half[2]; double number; }')

function Chance:double()
  local halves = new_halves()
  halves.half[0], halves.half[1] = self:bits(), self:bits()
  if bit.band(halves.half[1], 0x7ff00000) == 0x7ff00000 then return 0 / 0 end
  return halves.number
end

function Chance:integer()
  return math.floor(2 ^ (self:below(400) / 10)) * (self:below(2) * 2 - 1)
end

function Chance:text()
  local pieces = { 'a', 'bc', 'ä', '€', '😀', ' ', '\0', 'x7' }
  local text = {}
  for i = 1, self:below(self:below(10) == 0 and 200 or 12) do text[i] = pieces[self:below(#pieces) + 1] end
  return table.concat(text)
end

function Chance:bytes()
  local bytes = {}
  for i = 1, self:below(self:below(10) == 0 and 400 or 9) do bytes[i] = string.char(self:below(256)) end
  return table.concat(bytes)
end

-- ---- values ----

local function scalar(chance)
  local kind = chance:below(9)
  if kind == 0 then return chance:double()
  elseif kind <= 2 then return chance:integer()
  elseif kind <= 4 then return chance:text()
  elseif kind == 5 then return chance:bytes()
  elseif kind == 6 then return chance:below(2) == 0
  elseif kind == 7 then return native.null
  end
  return ffi.new(chance:below(2) == 0 and 'int64_t' or 'uint64_t', chance:bits()) * chance:bits()
end

local function key(chance)
  local kind = chance:below(6)
  if kind == 0 then return chance:integer()
  elseif kind == 1 then return chance:below(5)
  elseif kind == 2 then return chance:below(2) == 0
  elseif kind == 3 then return chance:bytes()
  end
  return chance:text()
end

local value

local function fill_map(chance, depth, into)
  for _ = 1, chance:below(chance:below(12) == 0 and 60 or 6) do
    into[key(chance)] = value(chance, depth - 1)
  end
  return into
end

local function fill_array(chance, depth, into)
  for i = 1, chance:below(chance:below(6) == 0 and 20 or 5) do into[i] = value(chance, depth - 1) end
  return into
end

local function numbers(chance)
  local into = {}
  for i = 1, 40 + chance:below(80) do
    into[i] = chance:below(3) == 0 and chance:double() or chance:integer()
  end
  if chance:below(3) == 0 then into[chance:below(#into) + 1] = chance:text() end
  return into
end

value = function(chance, depth)
  local kind = depth > 0 and chance:below(14) or 13
  if kind <= 1 then return fill_map(chance, depth, {})
  elseif kind <= 3 then return fill_array(chance, depth, {})
  elseif kind == 4 then return fill_map(chance, depth, setmetatable({}, chance:below(2) == 0 and Point or Line))
  elseif kind == 5 then return fill_map(chance, depth, native.map {})
  elseif kind == 6 then return numbers(chance)
  end
  return scalar(chance)
end

-- ---- comparison ----

local function bits(number)
  return ffi.string(ffi.new('double[1]', number), 8)
end

local function class(object)
  local metatable = getmetatable(object)
  return (metatable == Point or metatable == Line) and metatable or nil
end

local is_equal

local function is_equal_table(a, b)
  if class(a) ~= class(b) then return false end
  for k, v in pairs(a) do
    if not is_equal(v, rawget(b, k)) then return false end
  end
  for k in pairs(b) do
    if rawget(a, k) == nil then return false end
  end
  return true
end

-- Bits of numbers, types of cdata, classes of objects.
is_equal = function(a, b)
  if type(a) ~= type(b) then return false
  elseif type(a) == 'number' then return bits(a) == bits(b)
  elseif type(a) == 'cdata' then return tostring(ffi.typeof(a)) == tostring(ffi.typeof(b)) and a == b
  elseif type(a) == 'table' then return is_equal_table(a, b)
  end
  return a == b
end

describe('values by chance', function()
  local function check(seed, sent, ok, ...)
    assert.is_true(ok)
    assert.equal(#sent, select('#', ...))
    for i = 1, #sent do
      local received = select(i, ...)
      if received == nil then received = native.null end
      assert(is_equal(sent[i], received), 'seed ' .. seed)
    end
  end

  it('arrive as they left', function()
    for seed = 1, ROUNDS do
      local chance = new_chance(seed)
      local sent = {}
      for i = 1, chance:below(4) do sent[i] = value(chance, 5) end
      local payload = assert(native.encode(registry, unpack(sent)))
      -- Bytes, other than payloads, go through the scan.
      check(seed, sent, native.decode(registry, payload:tostring()))
    end
  end)

  it('are as long when they are sent on, but for what was marked as a map', function()
    for seed = 1, ROUNDS do
      local _, once = native.decode(registry, native.encode(registry, value(new_chance(seed), 5)))
      local bytes = native.encode(registry, once):tostring()
      local _, twice = native.decode(registry, bytes)
      assert.equal(#bytes, #native.encode(registry, twice), 'seed ' .. seed)
    end
  end)

  it('never make a decoder do more than refuse when their bytes are spoiled', function()
    for seed = 1, ROUNDS do
      local chance = new_chance(seed)
      local bytes = native.encode(registry, value(chance, 5)):tostring()
      local place = chance:below(#bytes) + 1
      local spoiled = bytes:sub(1, place - 1) .. string.char(chance:below(256)) .. bytes:sub(place + 1)
      local ok, result = native.decode(registry, spoiled)
      if ok then
        assert.truthy(native.encode(registry, result))
      else
        assert.equal('string', type(result.name))
      end
    end
  end)
end)

-- Values that other implementations write in the same form.
local function plain(chance, depth)
  local kind = depth > 0 and chance:below(8) or 2 + chance:below(6)
  local into = {}
  if kind == 0 then
    for i = 1, 1 + chance:below(20) do into[i] = plain(chance, depth - 1) end
    return into
  elseif kind == 1 then
    for _ = 1, 1 + chance:below(20) do into[chance:text()] = plain(chance, depth - 1) end
    return into
  elseif kind == 2 then return chance:below(2) == 0
  elseif kind == 3 then return chance:below(1000000) / 7 + 0.25
  elseif kind == 4 then return -chance:below(2 ^ 30) - 1
  elseif kind == 5 then return chance:below(2 ^ 30) * 4 + chance:below(4)
  end
  return chance:text()
end

describe('plain values by chance', function()
  it('have the bytes of lua-messagepack', function()
    local messagepack = require 'MessagePack'
    messagepack.set_string 'string'
    for seed = 1, ROUNDS do
      local sent = plain(new_chance(seed), 4)
      assert.equal('\145' .. messagepack.pack(sent), native.encode(nil, sent):tostring(), 'seed ' .. seed)
    end
  end)

  it('are read by lua-mpack', function()
    local mpack = require 'mpack'
    local unpack_ = mpack.decode or mpack.unpack
    for seed = 1, ROUNDS do
      local sent = plain(new_chance(seed), 4)
      local received = unpack_(native.encode(nil, sent):tostring())
      assert(is_equal({ sent }, received), 'seed ' .. seed)
    end
  end)
end)
