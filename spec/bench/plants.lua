--- plants [--record]: searches each planted bug within 10,000 worlds, and says which world shows it and how long that took.
-- With --record the worlds are written into spec/sim/plants.txt, which spec/sim/sim_spec.lua lives through again.
local plants = require 'spec.support.plants'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'
local SPANS = { 'seconds 120', 'steps 100000' }
local SEEDS = 10000

-- A part of the sentence that is the same whichever call it is about.
local function part_of(sentence)
  local longest = ''
  for part in sentence:gmatch('[^%d]+') do
    part = part:match('^%s*(.-)%s*$')
    if #part > #longest then longest = part end
  end
  return longest
end

local function seconds()
  local pipe = assert(io.popen('date +%s.%N'))
  local text = pipe:read('*l')
  pipe:close()
  return tonumber(text)
end

local function search(plant)
  for _, span in ipairs(SPANS) do
    local start = seconds()
    local _, code, seed, sentence =
      plants.simulate(BUILD, 'simulate_' .. plant.name, ('--%s --seeds 1-%d'):format(span, SEEDS))
    if seed then
      print(('%-20s %-13s seed %-6d %6.1f s  %s'):format(plant.name, span, seed, seconds() - start, sentence))
      plant.span, plant.seed, plant.sentence = span, seed, part_of(sentence)
      return true
    end
    print(('%-20s %-13s not found  %6.1f s  (exit code %d)'):format(plant.name, span, seconds() - start, code))
  end
  return false
end

local all, missed = plants.read(), 0
for _, plant in ipairs(all) do
  if not search(plant) then missed = missed + 1 end
end
if arg[1] == '--record' then plants.write(all) end
print(('%d of %d planted bugs found'):format(#all - missed, #all))
os.exit(missed == 0 and 0 or 1)
