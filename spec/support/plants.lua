--- spec/sim/plants.txt: the bugs that are planted in builds of the router, and the world in which the simulation finds each.
-- A line is a name, then `steps N` or `seconds N`, a seed, and a part of the sentence with which that world ends; or a name and
-- `-` as long as none is recorded.
local M = { path = 'spec/sim/plants.txt' }

function M.read()
  local plants = {}
  for line in io.lines(M.path) do
    local name, rest = line:match('^(%l[%w_]*)%s*(.*)$')
    if name then
      local span, seed, sentence = rest:match('^(%l+ %d+)%s+(%d+)%s+(.+)$')
      plants[#plants + 1] = { name = name, span = span, seed = tonumber(seed), sentence = sentence }
    end
  end
  return plants
end

--- Writes down what is known of each, below the comment that heads the file.
function M.write(plants)
  local lines = {}
  for line in io.lines(M.path) do
    if line:sub(1, 1) == '#' then lines[#lines + 1] = line end
  end
  for _, plant in ipairs(plants) do
    local found = plant.seed and ('%-13s %-5d %s'):format(plant.span, plant.seed, plant.sentence) or '-'
    lines[#lines + 1] = ('%-20s %s'):format(plant.name, found)
  end
  local file = assert(io.open(M.path, 'w'))
  file:write(table.concat(lines, '\n'), '\n')
  file:close()
end

--- Output and exit code; LuaJIT's popen does not tell the code. A router that goes round in circles is stopped.
function M.execute(command)
  local pipe = assert(io.popen('timeout 600 ' .. command .. ' 2>&1; code=$?; echo; echo $code'))
  local text = pipe:read('*a')
  pipe:close()
  local output, code = text:match('^(.-)\n(%d+)\n$')
  return output, tonumber(code)
end

--- Lives through worlds of a build: `name` is simulate or simulate_NAME. Returns output, exit code, and if a world ended wrong its
-- seed and the sentence that says why.
function M.simulate(build, name, arguments)
  local output, code = M.execute(("'%s/sim/%s' %s"):format(build, name, arguments))
  local seed, sentence = output:match('seed (%d+), step %d+, at [%d.]+ s: ([^\n]+)')
  return output, code, tonumber(seed), sentence
end

return M
