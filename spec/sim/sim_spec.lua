--- The router's own object files against simulated clients and workers; each planted bug is a build of its own.
local plants = require 'spec.support.plants'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'
local HASHED = '--seeds 7-12 --seconds 120 --hashes'
local SEARCHED = '--seeds 1-200 --steps 100000'

-- What is never seen is not simulated.
local SEEN = {
  'RemoteError', 'Cancelled', 'DeadlineExceeded', 'NoSuchDeployment', 'NoSuchFunction', 'Overloaded', 'NotReady',
  'Draining', 'DeploymentFailed', 'WorkerLost', 'PoisonCall', 'Internal', 'DuplicateId', 'Unsupported',
  'calls attached', 'outcomes given again', 'handed ahead', 'recalled', 'withdrawn', 'given back after a recall',
  'started for load', 'parked', 'taken from the park', 'stopped for want of load',
  'ended as the router did while they waited', 'made by others as the router ended',
  'items', 'credit', 'progress', 'streams overdrawn',
  'results', 'dispatched', 'batches', 'requeued', 'tried again',
  'not tried again for want of budget', 'answers nobody asked for', 'messages of dead workers', 'started',
  'ejected', 'ejected for slowness', 'ejections ended early', 'trusted again',
  'recycled', 'canaries', 'deployments failed', 'deployments ended', 'killed', 'killed after their grace', 'killed for their silence',
}

local function simulate(name, arguments)
  return plants.simulate(BUILD, name, arguments)
end

local function other_compiler()
  local version = plants.execute("grep -m1 CMAKE_C_COMPILER: '" .. BUILD .. "/CMakeCache.txt'")
  return version:find('clang') and 'gcc' or 'clang-14'
end

describe('the simulation', function()
  it('finds nothing in 1,000 worlds of 120 s and 60 of 100,000 steps, and sees all that can happen', function()
    local seen = {}
    for _, arguments in ipairs { '--seeds 1-1000 --seconds 120', '--seeds 1-60 --steps 100000' } do
      local text, code = simulate('simulate', arguments)
      assert.equal(0, code, text)
      for count, name in text:gmatch('(%d+) ([^\n]+)') do seen[name] = (seen[name] or 0) + tonumber(count) end
    end
    for _, name in ipairs(SEEN) do
      assert.is_true((seen[name] or 0) > 0, 'the simulation is blind: it has never seen ' .. name)
    end
    for name, count in pairs(seen) do
      assert.is_true(count > 0, 'the simulation is blind: it has never seen ' .. name)
    end
  end)

  it('does the same twice', function()
    local arguments = HASHED
    local text = simulate('simulate', arguments)
    assert.truthy(text:find('seed 7 %x+'))
    assert.equal(text, (simulate('simulate', arguments)))
  end)

  it('does the same with another compiler', function()
    local compiler = other_compiler()
    if not plants.execute('which ' .. compiler):find('%S') then pending(compiler .. ' is not there') end
    local program = os.tmpname()
    local output, code = plants.execute(('%s -std=gnu11 -O1 host/core/*.c spec/sim/*.c -o %s -lm'):format(compiler, program))
    assert.equal(0, code, output)
    local arguments = HASHED
    local text = plants.execute(program .. ' ' .. arguments)
    os.remove(program)
    assert.equal((simulate('simulate', arguments)), text)
  end)

  for _, plant in ipairs(plants.read()) do
    it('finds the planted bug ' .. plant.name, function()
      local world = plant.seed and ('--%s --seeds %d-%d'):format(plant.span, plant.seed, plant.seed)
      local text, code, seed, sentence = simulate('simulate_' .. plant.name, world or SEARCHED)
      assert.truthy(seed and code == 1,
        'not found; search it again with: spec/bench/run plants --record\n' .. text)
      assert.truthy(text:find(('sim/simulate_%s %%-%%-%%l+ %%d+ %%-%%-trace %d'):format(plant.name, seed)), text)
      if not world then return end
      assert.truthy(sentence:find(plant.sentence, 1, true),
        'another sentence; search it again with: spec/bench/run plants --record\n' .. text)
      text, code = simulate('simulate', world)
      assert.equal(0, code, 'the router without the bug fails in the same world:\n' .. text)
    end)
  end
end)
