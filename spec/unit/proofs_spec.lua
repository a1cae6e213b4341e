--- Short versions of what spec/bench/run routing proves.
local proofs = require 'spec.support.proofs'

local function holds(rows)
  for _, row in ipairs(rows) do
    assert.is_true(row.ok, ('%s: asked %s %g, reached %g'):format(row.what, row.relation, row.asked or 0, row.reached))
  end
end

describe('the router', function()
  it('uses two workers of different speed to the full', function() holds(proofs.saturated(100)) end)

  it('beats least connections on workers of different speed, also when workloads are told wrong', function()
    holds(proofs.uneven(5000))
  end)

  it('keeps calls off a worker that turns slow', function() holds(proofs.slower(2000)) end)

  it('starts workers for a burst in time', function() holds(proofs.burst()) end)

  it('does not start and stop workers with each wave of the load', function() holds(proofs.wave(40)) end)

  it('follows a day at little more than the cost of one who knows all calls', function() holds(proofs.diurnal(86400)) end)
end)
