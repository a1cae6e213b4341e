-- Calls while workers are killed all the time; the ledger that the functions write says afterwards whether the client was
-- told the truth. Run by `farside run`, for the spec and for the bench:
--
--   CHAOS_LEDGER      the file of the ledger
--   CHAOS_CALLS       how many
--   CHAOS_EVERY       a worker is killed after so many calls have ended; 0: not by calls
--   CHAOS_PAUSE       a worker is killed every so many seconds; 0: not by time
--   CHAOS_WORK        microseconds that a function takes
--   CHAOS_IDEMPOTENT  1: the functions are idempotent, and nothing but their workers' deaths goes wrong
--
-- Of 1,000 calls one kills its own worker, one raises an error, and four are cancelled as soon as they are made.
-- Prints lines of a name and a number, and a line for each untruth.
package.path = os.getenv('CHAOS_ROOT') .. '/?.lua;' .. package.path

local ffi = require 'ffi'
local farside = require 'farside'
ffi.cdef 'int getpid(void); int kill(int pid, int signal); int usleep(unsigned us);'

local function setting(name, default)
  return tonumber(os.getenv('CHAOS_' .. name)) or default
end

local calls, every, pause, work = setting('CALLS', 100000), setting('EVERY', 0), setting('PAUSE', 0), setting('WORK', 0) * 1e-6
local idempotent = setting('IDEMPOTENT', 0) == 1
local ledger = require('spec.support.ledger').open(os.getenv 'CHAOS_LEDGER', calls + 1)

local app = farside.deployment { name = 'chaos' }
app.configure_autoscaling { max_workers = 2 }

local KILLS, RAISES, CANCELLED = 7, 11, 13 -- what a call does, by its id modulo 1,000, or 250 for the last

local enter = app.remote { benchmark_dataset = { { id = 0 } }, idempotent = idempotent } (function(id)
  local until_ = work > 0 and farside.now() + work
  ledger:add(id)
  if not idempotent and id % 1000 == KILLS then
    ffi.C.kill(ffi.C.getpid(), 9)
    ffi.C.usleep(1000000)
  end
  if not idempotent and id % 1000 == RAISES then error('as it shall') end
  while until_ and farside.now() < until_ do end
  ledger:complete(id)
  return -id
end)

local FLIGHTS = 64
local last, ended, kills = 0, 0, 0
local outcomes = { ok = 0, no = 0, maybe = 0, yes = 0 }
local latencies = ffi.new('float[?]', calls + 1)
local untruths = 0

local function untruth(text, ...)
  untruths = untruths + 1
  if untruths <= 10 then print(text:format(...)) end
end

local function check(id, ok, result)
  ended = ended + 1
  local outcome = ok and 'ok' or result.executed
  outcomes[outcome] = outcomes[outcome] + 1
  local entries, most = ledger:count(id), idempotent and 3 or 1
  if entries > most then untruth('%d was entered %d times', id, entries) end
  if ok and (result ~= -id or entries < 1 or ledger:completed(id) < 1) then untruth('%d has a result that is not its own', id) end
  if outcome == 'no' and entries > 0 then untruth('%d ran and is said not to have', id) end
  if outcome == 'yes' and entries == 0 then untruth('%d did not run and is said to have', id) end
  if idempotent and not ok then untruth('%d is idempotent and ended in %s', id, tostring(result)) end
end

local function kill_one()
  local ready = {}
  for _, worker in ipairs(app.status().workers) do
    if worker.state == 'ready' then ready[#ready + 1] = worker.pid end
  end
  if #ready == 0 then return end
  ffi.C.kill(ready[math.random(#ready)], 9)
  kills = kills + 1
end

local function call(id)
  if idempotent or id % 250 ~= CANCELLED then return pcall(enter, id) end
  local future = enter:spawn(id)
  future:cancel()
  return pcall(future.await, future)
end

local function fly()
  while last < calls do
    last = last + 1
    local id, before = last, farside.now()
    check(id, call(id))
    latencies[id] = farside.now() - before
    if every > 0 and ended % every == 0 then kill_one() end
  end
end

local function kill_by_time()
  while ended < calls do
    farside.sleep(pause)
    kill_one()
  end
end

local function percentile(share)
  local values = {}
  for id = 1, calls do values[id] = latencies[id] end
  table.sort(values)
  return values[math.ceil(calls * share)]
end

-- Seconds from the death of a worker that has served to the next one in its place being ready.
local function replacement()
  local samples = {}
  for i = 1, 15 do
    local futures = {}
    for k = 1, FLIGHTS do futures[k] = enter:spawn(0) end
    for k = 1, FLIGHTS do pcall(futures[k].await, futures[k]) end  -- the last kill may have hit one
    local worker = app.status().workers[1]
    local start = farside.now()
    ffi.C.kill(worker.pid, 9)
    repeat
      farside.sleep(0.001)
      local now = app.status().workers[1]
    until now.state == 'ready' and now.pid ~= worker.pid
    samples[i] = farside.now() - start
  end
  table.sort(samples)
  return samples[8]
end

math.randomseed(5)
farside.run(function()
  app.ensure_ready()
  local start = farside.now()
  local futures = {}
  for i = 1, FLIGHTS do futures[i] = farside.spawn(fly) end
  if pause > 0 then farside.spawn(kill_by_time) end
  farside.all(futures)
  local elapsed = farside.now() - start
  print('ended', ended)
  print('untruths', untruths)
  for _, name in ipairs { 'ok', 'no', 'maybe', 'yes' } do print(name, outcomes[name]) end
  print('kills', kills)
  print('rate', ended / elapsed)
  print('p99', percentile(0.99))
  if pause > 0 then print('replacement', replacement()) end
end)
