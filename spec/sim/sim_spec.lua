-- The router's own object files against simulated clients and workers; each planted bug is a build of its own.
local build = os.getenv 'FARSIDE_BUILD' or 'build'

local function simulate(name, arguments)
  local pipe = assert(io.popen(('%s/sim/%s %s 2>&1; echo "exit $?"'):format(build, name, arguments)))
  local text = pipe:read '*a'
  pipe:close()
  return text, tonumber(text:match 'exit (%d+)\n$')
end

describe('the simulation', function()
  it('finds nothing in 200 seeds of 100,000 steps', function()
    local text, code = simulate('simulate', '--seeds 1-200 --steps 100000')
    assert.equal(0, code, text)
  end)

  it('does the same twice', function()
    assert.equal(simulate('simulate', '--seeds 7-9 --steps 20000'), simulate('simulate', '--seeds 7-9 --steps 20000'))
  end)

  for _, bug in ipairs { 'second_result', 'slot_kept', 'unready', 'lost_requeue', 'no_fence', 'deadline_forgotten' } do
    it('finds the planted bug ' .. bug, function()
      local text, code = simulate('simulate_' .. bug, '--seeds 1-200 --steps 100000')
      assert.equal(1, code, text)
      assert.truthy(text:match 'seed %d+, step %d+', text)
      assert.truthy(text:match 'simulate .*%-%-trace %d+', text)
    end)
  end
end)
