--- The benchmark: how much workload per second a worker does of one function, before it takes calls.
--
-- Warm-up, then rounds. A round is `benchmark_concurrency` calls, of which at most `concurrency` run at once, with inputs
-- drawn anew for each round and repeated until it has taken 2 ms. The score is the median of the rounds. Of a function
-- with batch the inputs are elements, which fill batches: one, unless benchmark_concurrency says more or less.
local batch = require 'farside.batch'
local check = require 'farside.check'
local fault = require 'farside.cuda.fault'
local future = require 'farside.future'
local native = require 'farside.native'
local yield = require 'farside.yield'

local M = {}

local RUNS = 10
local CONCURRENCY = 10
local ROUND_SECONDS = 0.002

--- Whole numbers of 1..n, apart from math.random: the user's own sequence stays as it is.
local function new_dice()
  local state = math.floor(native.now() * 1e6) % 2147483646 + 1
  return function(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
end

local function generate(remote)
  local input = remote.options.benchmark_generator()
  if type(input) ~= 'table' then
    error(('%sbenchmark_generator: expected a table of parameters, got %s'):format(remote.position,
      check.describe(input)), 0)
  end
  local problem = remote.unknown_parameter(remote, input)
  if problem then error(('%sbenchmark_generator: %s'):format(remote.position, problem), 0) end
  return input
end

--- How many calls a round has: those of a function with batch fill one.
local function calls_of(remote)
  return remote.options.benchmark_concurrency or remote.options.batch and batch.size(remote.options) or CONCURRENCY
end

--- The arguments of the calls of one pass, and their workload together.
local function draw(remote, dice)
  local dataset = remote.options.benchmark_dataset
  local inputs, workload = {}, 0
  for i = 1, calls_of(remote) do
    local input = dataset and dataset[dice(#dataset)] or generate(remote)
    local values, count = remote:positional(input)
    values.n = count
    inputs[i] = values
    workload = workload + remote:workload(unpack(values, 1, count))
  end
  return inputs, workload
end

--- Calls a function with inputs from `first` to `last`, which are one unless it has batch.
local function call(remote, inputs, first, last)
  if not remote.options.batch then return remote:here(unpack(inputs[first], 1, inputs[first].n)) end
  local list = {}
  for i = first, last do list[#list + 1] = inputs[i] end
  for _, result in ipairs(batch.run(remote, list)) do
    local failed, value = batch.failure(result)
    if failed then error(value, 0) end
  end
end

--- Calls a function with all of the inputs, `concurrency` times at once.
local function call_all(remote, inputs)
  local next_input, step = 1, remote.options.batch and batch.size(remote.options) or 1
  local function work()
    yield.act_as_call()
    while next_input <= #inputs do
      local first = next_input
      next_input = math.min(#inputs + 1, first + step)
      call(remote, inputs, first, next_input - 1)
    end
  end
  local concurrency = math.min(remote:concurrency(), math.ceil(#inputs / step))
  if concurrency == 1 then return work() end
  local futures = {}
  for i = 1, concurrency do futures[i] = future.spawn(work) end
  future.all(futures)
end

--- One round: workload per second.
local function round(remote, dice)
  local inputs, workload = draw(remote, dice)
  local start, passes, seconds = native.now(), 0
  repeat
    call_all(remote, inputs)
    fault.settle()
    passes = passes + 1
    seconds = native.now() - start
  until seconds >= ROUND_SECONDS
  return passes * workload / seconds
end

local function median(numbers)
  table.sort(numbers)
  local middle = #numbers / 2
  if middle % 1 ~= 0 then return numbers[middle + 0.5] end
  return (numbers[middle] + numbers[middle + 1]) / 2
end

--- Runs the benchmark of a function that has one, in a coroutine of Farside's. Raises what the function raises.
---@param is_over (fun(): boolean)? asked between rounds: whether the worker shall end
---@return number? score nil when it is over
function M.run(remote, is_over)
  local dice = new_dice()
  if remote.options.benchmark_warmup ~= false then round(remote, dice) end
  local scores = {}
  for i = 1, remote.options.benchmark_runs or RUNS do
    if is_over and is_over() then return nil end
    scores[i] = round(remote, dice)
    local score = scores[i]
    if score ~= score or score == math.huge then
      error(('%sthe benchmark of %s: expected a finite score, got %g'):format(remote.position, remote.name, score), 0)
    end
  end
  return median(scores)
end

return M
