-- One measurement in a process of its own: client.lua WHAT SECONDS, WHAT as at the end. Prints p50 us, p99 us, calls per second, bytes per second, workers.
package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path

local ffi = require 'ffi'
local farside = require 'farside'
local native = require 'farside.native'
local deploy = require 'deploy'

local what, seconds = arg[1], tonumber(arg[2] or 1)
local kMost = 4000000
local samples, count = ffi.new('float[?]', kMost), 0

local function percentile(share)
  local values = {}
  for i = 0, count - 1 do values[i + 1] = samples[i] end
  table.sort(values)
  return values[math.max(1, math.ceil(#values * share))]
end

local function report(elapsed, bytes)
  local rate = count / elapsed
  local workers = deploy.app.status().workers
  print(('%.2f %.2f %.0f %.0f %d'):format(percentile(0.50), percentile(0.99), rate, rate * bytes, #workers))
end

-- One call after the other.
local function one(f, argument, bytes)
  local now = native.now
  local warm = now() + 0.2
  while now() < warm do f(argument) end
  local start = now()
  local last, finish = start, start + seconds
  while last < finish and count < kMost do
    f(argument)
    local after = now()
    samples[count] = (after - last) * 1e6
    count = count + 1
    last = after
  end
  report(last - start, bytes)
end

-- `flights` coroutines, each with one call in flight.
local function many(f, flights)
  local now = native.now
  local start = now() + 0.2
  local finish = start + seconds
  local last = start
  local function fly()
    local before = now()
    while before < finish do
      f(5)
      local after = now()
      if before >= start and count < kMost then
        samples[count] = (after - before) * 1e6
        count = count + 1
        last = after
      end
      before = after
    end
  end
  farside.run(function()
    local futures = {}
    for i = 1, flights do futures[i] = farside.spawn(fly) end
    farside.all(futures)
  end)
  report(last - start, 1)
end

-- A map of 100,000 elements, again and again; the samples are times per element.
local function map(f)
  local elements = {}
  for i = 1, 100000 do elements[i] = i end
  local start = native.now()
  repeat
    local before = native.now()
    for i, result in f:map(elements) do assert(result == i * i) end
    samples[count] = (native.now() - before) * 1e6 / #elements
    count = count + 1
  until native.now() > start + seconds
  local rate = count * #elements / (native.now() - start)
  print(('%.2f %.2f %.0f %.0f %d'):format(percentile(0.50), percentile(0.99), rate, rate, #deploy.app.status().workers))
end

deploy.app.ensure_ready()
if what == 'one' then
  one(deploy.square, 5, 1)
elseif what == 'many' then
  many(deploy.square, 64)
elseif what == 'concurrent' then
  many(deploy.square_many, 64)
elseif what == 'slow' or what == 'batched' then
  many(deploy[what], 64)
elseif what == 'map' then
  map(deploy.square)
elseif what == 'bulk' then
  local bytes = tonumber(arg[3])
  one(deploy.echo, ('x'):rep(bytes), bytes)
end
