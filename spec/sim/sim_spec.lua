--- The router's own object files against simulated clients and workers; each planted bug is a build of its own.
local BUILD = os.getenv('FARSIDE_BUILD') or 'build'
local ALL = '--seeds 1-200 --steps 100000'

-- What is never seen is not simulated.
local SEEN = {
  'RemoteError', 'Cancelled', 'DeadlineExceeded', 'NoSuchDeployment', 'NoSuchFunction', 'Overloaded', 'NotReady',
  'Draining', 'DeploymentFailed', 'WorkerLost', 'PoisonCall', 'Internal', 'DuplicateId', 'Unsupported',
  'calls attached', 'outcomes given again',
  'items', 'credit', 'progress', 'streams overdrawn',
  'results', 'dispatched', 'batches', 'requeued', 'tried again',
  'not tried again for want of budget', 'answers nobody asked for', 'messages of dead workers', 'started',
  'recycled', 'canaries', 'deployments failed', 'killed', 'killed after their grace', 'killed for their silence',
}

-- Output and exit code; LuaJIT's popen does not tell the code. A router that goes round in circles is stopped.
local function execute(command)
  local pipe = assert(io.popen('timeout 600 ' .. command .. ' 2>&1; code=$?; echo; echo $code'))
  local text = pipe:read('*a')
  pipe:close()
  local output, code = text:match('^(.-)\n(%d+)\n$')
  return output, tonumber(code)
end

local function simulate(name, arguments)
  return execute(("'%s/sim/%s' %s"):format(BUILD, name, arguments))
end

-- The names in plants.txt.
local function plants()
  local lines = assert(io.open('spec/sim/plants.txt')):read('*a')
  return ('\n' .. lines):gmatch('\n(%l[%w_]*)')
end

local function other_compiler()
  local version = execute("grep -m1 CMAKE_C_COMPILER: '" .. BUILD .. "/CMakeCache.txt'")
  return version:find('clang') and 'gcc' or 'clang-14'
end

describe('the simulation', function()
  it('finds nothing in 200 seeds of 100,000 steps, and sees all that can happen', function()
    local text, code = simulate('simulate', ALL)
    assert.equal(0, code, text)
    for _, name in ipairs(SEEN) do
      assert.truthy(text:find(' ' .. name .. '\n', 1, true), name .. ' was never seen:\n' .. text)
      assert.falsy(text:find(' 0 ' .. name .. '\n', 1, true), name .. ' was never seen:\n' .. text)
    end
  end)

  it('does the same twice', function()
    local arguments = '--seeds 7-12 --steps 20000 --hashes'
    local text = simulate('simulate', arguments)
    assert.truthy(text:find('seed 7 %x+'))
    assert.equal(text, (simulate('simulate', arguments)))
  end)

  it('does the same with another compiler', function()
    local compiler = other_compiler()
    if not execute('which ' .. compiler):find('%S') then pending(compiler .. ' is not there') end
    local program = os.tmpname()
    local output, code = execute(('%s -std=gnu11 -O1 host/core/*.c spec/sim/*.c -o %s -lm'):format(compiler, program))
    assert.equal(0, code, output)
    local arguments = '--seeds 7-12 --steps 20000 --hashes'
    local text = execute(program .. ' ' .. arguments)
    os.remove(program)
    assert.equal((simulate('simulate', arguments)), text)
  end)

  for bug in plants() do
    it('finds the planted bug ' .. bug, function()
      local text, code = simulate('simulate_' .. bug, ALL)
      assert.equal(1, code, text)
      assert.truthy(text:find('seed %d+, step %d+'), text)
      assert.truthy(text:find('simulate %-%-steps %d+ %-%-trace %d+'), text)
    end)
  end
end)
