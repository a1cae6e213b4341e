--- spec/bench/run codec: what the codec costs beside others that serialize Lua values, and beside msgpack-c, which
-- has no Lua values to read or make. Microseconds, the median of the rounds; the codecs take turns within a round.
-- Farside's is called from C, as calls do it, with large strings referred to; its decoding contains the scan that bytes
-- from a peer go through. The others return strings and are called from a loop that LuaJIT may compile.
-- Aims: encode + decode a third of lua-mpack's and of lua-messagepack's; for doubles at most twice string.buffer's.
local probe = require 'codec_probe'

local ROUNDS = 9
local SAMPLE_S = 0.02

-- ---- codecs ----

local function encoded(value)
  probe.own(false)
  local payload = assert(probe.encode(nil, value))
  probe.own(true)
  return payload
end

local codecs = {
  { name = 'farside', encode = probe.time_encode, decode = probe.time_decode, encoded = encoded },
}

-- `encode(value, count)` and `decode(encoded, count)` do it so many times.
local function add(name, encode, decode)
  codecs[#codecs + 1] = {
    name = name,
    encode = function(value, count)
      for _ = 1, count do encode(value) end
    end,
    decode = function(bytes, count)
      for _ = 1, count do decode(bytes) end
    end,
    encoded = encode,
  }
end

local function optional(name, module)
  local found, codec = pcall(require, module)
  if not found then return print(name .. ' is not installed: left out') end
  add(name, codec.encode or codec.pack, codec.decode or codec.unpack)
end

optional('lua-mpack', 'mpack')
optional('lua-messagepack', 'MessagePack')
optional('string.buffer', 'string.buffer')

-- ---- values ----

local function doubles()
  local values = {}
  for i = 1, 1000 do values[i] = math.sqrt(i) + 1 / i end
  return values
end

local function records()
  local values = {}
  for i = 1, 100 do
    values[i] = {
      id = i, name = 'name' .. i, email = 'user' .. i .. '@example.com', age = i % 80, score = i * 1.37,
      active = i % 2 == 0, city = 'city' .. i % 10, zip = 10000 + i, balance = i * 100.25, note = 'note ' .. i,
    }
  end
  return values
end

-- Strings must be new each time: Lua finds one that exists by its content.
local serial = 0
local function text()
  serial = serial + 1
  return ('%012d'):format(serial) .. ('x'):rep(2 ^ 20 - 12)
end

local workloads = {
  { name = '{x = 2}', make = function() return { x = 2 } end, batch = 1 },
  { name = '1000 doubles', make = doubles, batch = 1 },
  { name = '100 records', make = records, batch = 1 },
  { name = '1 MiB string', make = text, batch = 16 },
}

-- ---- clock ----

-- Seconds per call of `f` over the inputs, each of them used `count` times.
local function clock(f, inputs, count)
  collectgarbage()
  local start = os.clock()
  for i = 1, #inputs do f(inputs[i], count) end
  return (os.clock() - start) / (count * #inputs)
end

local function calibrate(f, inputs)
  if #inputs > 1 then return 1 end
  local count = 1
  while clock(f, inputs, count) * count < SAMPLE_S do count = count * 2 end
  return count
end

local function make_inputs(workload, convert)
  local inputs = {}
  for i = 1, workload.batch do
    local value = workload.make()
    inputs[i] = convert and convert(value) or value
  end
  return inputs
end

local function measure(entry, workload, row)
  local inputs = make_inputs(workload)
  row.encode_count = row.encode_count or calibrate(entry.encode, inputs)
  table.insert(row.encode, clock(entry.encode, inputs, row.encode_count) * 1e6)
  inputs = make_inputs(workload, entry.encoded)
  row.bytes = #inputs[1]
  row.decode_count = row.decode_count or calibrate(entry.decode, inputs)
  table.insert(row.decode, clock(entry.decode, inputs, row.decode_count) * 1e6)
end

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

-- ---- msgpack-c ----

-- Microseconds to pack and to unpack the bytes as msgpack-c's own objects; nil when the program is not built.
local function msgpack_c(bytes)
  local program = (os.getenv('FARSIDE_BUILD') or 'build') .. '/bench/codec_msgpack'
  local file = io.open(program, 'rb')
  if not file then return nil end
  file:close()
  local path = os.tmpname()
  file = assert(io.open(path, 'wb'))
  file:write(bytes)
  file:close()
  local pipe = assert(io.popen(program .. ' ' .. path))
  local encode, decode = pipe:read('*n', '*n')
  pipe:close()
  os.remove(path)
  return encode, decode
end

-- ---- tables ----

local function print_row(name, bytes, encode, decode, own)
  print(('  %-16s %8d %10.3f %10.3f %10.3f %8.2f'):format(name, bytes, encode, decode, encode + decode,
    (encode + decode) / own))
end

local function run(workload)
  local rows = {}
  for i in ipairs(codecs) do rows[i] = { encode = {}, decode = {} } end
  for _ = 1, ROUNDS do
    for i, entry in ipairs(codecs) do measure(entry, workload, rows[i]) end
  end
  print(('\n%-18s %8s %10s %10s %10s %8s'):format(workload.name, 'bytes', 'us encode', 'us decode', 'us both',
    '/farside'))
  local own
  for i, entry in ipairs(codecs) do
    local encode, decode = median(rows[i].encode), median(rows[i].decode)
    own = own or encode + decode
    print_row(entry.name, rows[i].bytes, encode, decode, own)
  end
  local bytes = encoded(workload.make()):tostring()
  local encode, decode = msgpack_c(bytes)
  if encode then print_row('msgpack-c', #bytes, encode, decode, own) else print('  msgpack-c        not built') end
end

for _, workload in ipairs(workloads) do run(workload) end
