-- A million calls while a worker is killed every 200 ms, beside a run in which none is killed; then the same with idempotent
-- functions. spec/bench/run chaos [CALLS]
local build = os.getenv('FARSIDE_BUILD') or 'build'
local kCalls = tonumber(arg[1] or 1000000)
local kWork = 60 -- microseconds of work in a call: so that a million takes long enough for hundreds of kills
local kSlots = 1 -- calls that a worker runs at once

local ledger = os.tmpname()

local function run(settings)
  local words = { ('env CHAOS_ROOT=. CHAOS_WORK=%d CHAOS_LEDGER=%s'):format(kWork, ledger) }
  for name, value in pairs(settings) do words[#words + 1] = ('CHAOS_%s=%s'):format(name, value) end
  words[#words + 1] = build .. '/farside run spec/bench/chaos/client.lua'
  os.remove(ledger)
  local pipe = assert(io.popen(table.concat(words, ' ')))
  local numbers = {}
  for line in pipe:lines() do
    local name, number = line:match('^(%w+)\t(%S+)$')
    if name then numbers[name] = tonumber(number) else print(line) end
  end
  pipe:close()
  os.remove(ledger)
  assert(numbers.untruths, 'the run did not come to its end')
  return numbers
end

local function print_row(name, numbers)
  local errors = numbers.no + numbers.maybe + numbers.yes
  print(('%-24s %9d %6d %8d %7d %7d %7d %9d %9.0f %8.2f'):format(name, numbers.ended, numbers.kills, numbers.ok, numbers.no,
    numbers.maybe, numbers.yes, numbers.untruths, numbers.rate, numbers.p99 * 1000))
  return errors
end

print(('%-24s %9s %6s %8s %7s %7s %7s %9s %9s %8s'):format('', 'calls', 'kills', 'results', 'no', 'maybe', 'yes', 'untruths',
  'calls/s', 'p99 ms'))
local quiet = run { CALLS = math.min(kCalls, 100000) }
print_row('nothing is killed', quiet)
local default = run { CALLS = kCalls, PAUSE = 0.2 }
print_row('a kill every 200 ms', default)
local idempotent = run { CALLS = kCalls, PAUSE = 0.2, IDEMPOTENT = 1 }
print_row('the same, idempotent', idempotent)

local own = math.floor(kCalls / 1000) -- calls that kill their own worker
print(('errors that say maybe: %d for %d deaths (aim: at most one a slot)'):format(default.maybe,
  (default.kills + own) * kSlots))
print(('p99 %.2f x the quiet one (aim 2)'):format(default.p99 / quiet.p99))
print(('a killed worker is replaced in %.0f ms, median of 15 (aim 100)'):format(default.replacement * 1000))
