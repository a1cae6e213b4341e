-- call [SECONDS] [--record]: calls against plain C that moves the same bytes between the same number of processes.
--
-- Everything is measured in one run, the baseline first and last; a run in which the baseline moved by more than a fifth says so and is repeated.
local build = os.getenv('FARSIDE_BUILD') or 'build'
local native = require 'farside.native'
local print, record = require('spec.bench.results').of_printed(arg)

local kSeconds = tonumber(arg[1] or 1.5)
local kAsk, kAnswer = 62, 38 -- bytes on the wire of square(5) and of its result
local kBulk = 16 * 1024 * 1024
local kTries = 3

local function run(placement, command)
  local prefix = placement == 'one' and 'taskset -c 0 ' or ''
  local pipe = assert(io.popen(prefix .. command, 'r'))
  local line = pipe:read('*l')
  pipe:close()
  assert(line, 'no answer from: ' .. prefix .. command)
  local row = {}
  for number in line:gmatch('%S+') do row[#row + 1] = tonumber(number) end
  return { p50 = row[1], p99 = row[2], rate = row[3], bytes = row[4], workers = row[5] }
end

local function bare(placement, arguments)
  return run(placement, ('%s/bench/bare %s'):format(build, arguments))
end

local function farside(placement, arguments, workers)
  local limit = workers and ('BENCH_WORKERS=%d '):format(workers) or ''
  return run(placement, ('env FARSIDE_ROUTER=embedded %s%s/farside run spec/bench/call/client.lua %s'):format(limit, build, arguments))
end

local function print_row(name, row, ratios)
  print(('%-58s %9.2f %9.2f %9.0f %8.0f   %s'):format(name, row.p50, row.p99, row.rate, row.bytes / 1e6, ratios or ''))
end

local function first_result()
  local samples = {}
  for i = 1, 15 do
    local start = native.now()
    local pipe = assert(io.popen(('exec env BENCH_WORKERS=2 %s/farside run spec/bench/call/first.lua'):format(build)))
    assert(pipe:read('*l') == '25')
    samples[i] = (native.now() - start) * 1000
    pipe:close()
  end
  table.sort(samples)
  return samples[8], samples[15]
end

local function ping(placement)
  return bare(placement, ('ping %g %d %d'):format(kSeconds, kAsk, kAnswer))
end

local function epoll(placement, workers)
  return bare(placement, ('epoll %g %d %d %d'):format(kSeconds, workers, kAsk, kAnswer))
end

local function one_in_flight(base)
  for _, placement in ipairs { 'one', 'free' } do
    local row = farside(placement, ('one %g'):format(kSeconds))
    print_row(('farside, 1 in flight, %d worker(s), %s'):format(row.workers, placement), row,
      ('p50 %.2f x bare pinned (aim 1.3), p99 %.2f x its p50 (aim 2)'):format(row.p50 / base.p50, row.p99 / row.p50))
  end
end

local function one_call_a_worker()
  for _, placement in ipairs { 'one', 'free' } do
    local row = farside(placement, ('many %g'):format(kSeconds))
    local plain = epoll(placement, row.workers)
    print_row(('bare epoll, %d process(es), %s'):format(row.workers, placement), plain)
    print_row(('farside, 64 in flight, %d worker(s), one call each, %s'):format(row.workers, placement), row,
      ('%.2f of bare epoll (aim 0.6)'):format(row.rate / plain.rate))
    local mapped = farside(placement, ('map %g'):format(kSeconds))
    print_row(('farside, map of 100,000, %d worker(s), %s'):format(mapped.workers, placement), mapped,
      ('%.2f x the time of 64 in flight (aim 1.2)'):format(row.rate / mapped.rate))
  end
end

local function concurrent()
  for _, placement in ipairs { 'one', 'free' } do
    local row = farside(placement, ('concurrent %g'):format(kSeconds), 1)
    print_row(('farside, 64 in flight, 1 worker, concurrency 64, %s'):format(placement), row, 'aim 500000 calls/s')
  end
end

-- A function that costs a millisecond however much it is given.
local function batched()
  for _, placement in ipairs { 'one', 'free' } do
    local plain = farside(placement, ('slow %g'):format(kSeconds), 1)
    local row = farside(placement, ('batched %g'):format(kSeconds), 1)
    print_row(('farside, 64 in flight, 1 worker, 1 ms a run, %s'):format(placement), plain)
    print_row(('the same, batches of 32, %s'):format(placement), row, ('%.1f x without'):format(row.rate / plain.rate))
  end
end

local function bulk()
  for _, placement in ipairs { 'one', 'free' } do
    local plain = bare(placement, ('bulk 60 %d'):format(kBulk))
    local row = farside(placement, ('bulk %g %d'):format(kSeconds, kBulk), 1)
    print_row(('bare, echo of 16 MiB, %s'):format(placement), plain)
    print_row(('farside, echo of a 16 MiB string, %s'):format(placement), row,
      ('%.2f of bare (aim 0.6)'):format(row.bytes / plain.bytes))
  end
end

-- A router in a process of its own, for as long as `measure` runs.
local function with_server(placement, workers, measure)
  local folder = io.popen('mktemp -d'):read '*l'
  local prefix = placement == 'one' and 'taskset -c 0 ' or ''
  local command = ("export XDG_RUNTIME_DIR='%s' BENCH_WORKERS=%d; %s%s/farside serve spec/bench/call/deploy.lua 2>'%s/log' & echo $!")
    :format(folder, workers, prefix, build, folder)
  local pid = io.popen(command):read '*l'
  local limit = native.now() + 20
  while os.execute(("grep -q 'is served at' '%s/log'"):format(folder)) ~= 0 do
    assert(native.now() < limit and os.execute('kill -0 ' .. pid) == 0, 'no router serves')
    os.execute 'sleep 0.05'
  end
  local ok, err = pcall(measure, function(arguments)
    return run(placement, ("env XDG_RUNTIME_DIR='%s' BENCH_WORKERS=%d %s/farside run spec/bench/call/client.lua %s"):format(folder, workers,
      build, arguments))
  end)
  os.execute('kill ' .. pid)
  while os.execute('kill -0 ' .. pid .. ' 2>/dev/null') == 0 do os.execute 'sleep 0.05' end
  os.execute(("rm -rf '%s'"):format(folder))
  assert(ok, err)
end

local function served(base)
  for _, placement in ipairs { 'one', 'free' } do
    for workers = 1, 2 do
      with_server(placement, workers, function(client)
        local row = client(('one %g'):format(kSeconds))
        print_row(('served, 1 in flight, %d worker(s), %s'):format(workers, placement), row,
          ('p50 %.2f x bare pinned (aim 2.75)'):format(row.p50 / base.p50))
        for _, what in ipairs { { 'many', 'one call each' }, { 'concurrent', 'concurrency 64' } } do
          local there = client(('%s %g'):format(what[1], kSeconds))
          local here = farside(placement, ('%s %g'):format(what[1], kSeconds), workers)
          print_row(('served, 64 in flight, %d worker(s), %s, %s'):format(workers, what[2], placement), there,
            ('%.2f of embedded (aim 1200000 calls/s)'):format(there.rate / here.rate))
        end
        if workers == 1 then
          local there = client(('bulk %g %d'):format(kSeconds, kBulk))
          print_row(('served, echo of a 16 MiB string, %s'):format(placement), there)
        end
      end)
    end
  end
end

local function measure()
  print(('%-58s %9s %9s %9s %8s'):format('', 'p50 us', 'p99 us', 'calls/s', 'MB/s'))
  local base = ping 'one'
  print_row('bare ping-pong, one', base)
  print_row('bare ping-pong, free', ping 'free')
  one_in_flight(base)
  one_call_a_worker()
  concurrent()
  served(base)
  batched()
  bulk()
  local median, worst = first_result()
  print(('farside run to the first result, 2 workers: median %.1f ms, worst of 15 %.1f ms (aim 40)'):format(median, worst))
  local again = ping 'one'
  print_row('bare ping-pong, one, again', again)
  return math.abs(again.p50 - base.p50) / base.p50
end

print(('waiting: %s; placement: one = all processes on core 0, free = not pinned; %d usable cores')
  :format(os.getenv('FARSIDE_WAIT') or 'spin', native.usable_cores()))
for try = 1, kTries do
  local moved = measure()
  if moved <= 0.2 then return record 'call' end
  print(('the baseline moved by %.0f %% in this run%s'):format(moved * 100, try < kTries and ': once more' or ''))
end
