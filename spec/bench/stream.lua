-- Items of streams against plain C that sends as many messages of the same size: spec/bench/run stream [ITEMS]
local build = os.getenv('FARSIDE_BUILD') or 'build'
local kItems = tonumber(arg[1] or 1000000)
local kSmall = 40 -- bytes on the wire of an item that is a small number
local kTries = 3

local function run(placement, command)
  local pipe = assert(io.popen((placement == 'one' and 'taskset -c 0 ' or '') .. command))
  local line = pipe:read '*l'
  pipe:close()
  assert(line, 'no answer from: ' .. command)
  return line
end

-- Messages per second of plain C.
local function bare(placement, items, size)
  local line = run(placement, ('%s/bench/bare items %d %d'):format(build, items, size))
  return tonumber(line:match '(%S+)%s+%S+$')
end

local function farside(placement, streams, items, bytes)
  local rates = {}
  for i = 1, kTries do
    rates[i] = tonumber(run(placement, ('%s/farside run spec/bench/stream/client.lua %d %d %d'):format(build, streams,
      items, bytes)))
  end
  table.sort(rates)
  return rates[math.ceil(kTries / 2)]
end

print(('%-58s %12s %12s'):format('', 'items/s', 'of bare'))
for _, placement in ipairs { 'free', 'one' } do
  local base = bare(placement, kItems, kSmall)
  print(('%-58s %12.0f'):format(('bare, messages of %d bytes, %s'):format(kSmall, placement), base))
  for _, streams in ipairs { 1, 8, 64 } do
    local rate = farside(placement, streams, kItems, 0)
    local aim = streams == 1 and placement == 'free' and '   aim 500000' or ''
    print(('%-58s %12.0f %12.3f%s'):format(('farside, small numbers, %d stream(s), %s'):format(streams, placement), rate,
      rate / base, aim))
  end
  local items = math.ceil(kItems / 10)
  base = bare(placement, items, 10000)
  local rate = farside(placement, 1, items, 10000)
  print(('%-58s %12.0f %12.3f'):format(('farside, strings of 10,000 bytes, 1 stream, %s'):format(placement), rate, rate / base))
end
