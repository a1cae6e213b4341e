-- Workers are killed all the time; the ledger that the functions write says afterwards whether the client was told
-- the truth: see spec/bench/chaos/client.lua.
local host = require 'spec.support.host'

local function chaos(settings)
  local env = { CHAOS_ROOT = host.source, CHAOS_LEDGER = host.folder() .. '/ledger' }
  for name, value in pairs(settings) do env['CHAOS_' .. name] = tostring(value) end
  local process = host.run(host.source .. '/spec/bench/chaos/client.lua', { seconds = 120, env = env })
  local numbers = {}
  for name, number in process.out:gmatch('(%w+)\t(%S+)\n') do numbers[name] = tonumber(number) end
  assert.equal(0, process.code, process.err)
  assert.equal(0, numbers.untruths, process.out)
  return numbers
end

describe('100,000 calls, with a worker killed after every 500', function()
  after_each(host.clean)

  it('W1: each have one outcome, run at most once, and are said to have run only if they did', function()
    local numbers = chaos { CALLS = 100000, EVERY = 500 }
    assert.equal(100000, numbers.ended)
    assert.equal(100000, numbers.ok + numbers.no + numbers.maybe + numbers.yes)
    assert.is_true(numbers.kills > 100)
    for _, executed in ipairs { 'no', 'maybe', 'yes' } do
      assert.is_true(numbers[executed] >= 50, 'there are few errors with executed = ' .. executed)
    end
    -- Besides the 600 that shall fail a death costs one call at most, the one that ran.
    assert.is_true(numbers.ok >= 100000 - 600 - numbers.kills)
  end)
end)

describe('20,000 idempotent calls, with a worker killed after every 1,000', function()
  after_each(host.clean)

  it('all end in their results, after three attempts at most', function()
    local numbers = chaos { CALLS = 20000, EVERY = 1000, IDEMPOTENT = 1 }
    assert.equal(20000, numbers.ok)
    assert.is_true(numbers.kills >= 15)
  end)
end)
