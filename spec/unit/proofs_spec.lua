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
end)
