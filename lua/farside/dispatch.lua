--- What a worker does, from its start to its end; called by the executor.
--
--     load the deploy script  ->  enter contexts  ->  benchmark  ->  ready, calls  ->  drain: exit contexts
--
-- The exit code says how far it came; before an end that nobody asked for the router is told why.
local Contexts = require 'farside.context'
local Error = require 'farside.error'
local attributes = require 'farside.attributes'
local batch = require 'farside.batch'
local benchmark = require 'farside.benchmark'
local deployments = require 'farside.deployment'
local future = require 'farside.future'
local yield = require 'farside.yield'

local M = {}

local DRAINED, BUNDLE_REJECTED, BENCHMARK_FAILED, CONTEXT_FAILED = 0, 65, 69, 71

-- Loading -----------------------------------------------------------------------------------------------------------

local function exit_is_no_way_out()
  error('os.exit in a worker: a function ends by returning or by an error', 2)
end

--- Runs the deploy script as the client did: required as a module, or as the main file.
local function run_script(start)
  local chunk, problem = attributes.loadfile(start.file)
  if not chunk then error(problem, 0) end
  if start.module then
    -- By way of require, so that `...`, package.loaded and what it says of loops are the same.
    package.preload[start.module] = chunk
    return require(start.module)
  end
  _G.arg = { [0] = start.file }
  return (chunk())
end

--- Loads the script and returns the deployment it declares.
local function load(start)
  package.path, package.cpath = start.path or package.path, start.cpath or package.cpath
  attributes.install()
  rawset(os, 'exit', exit_is_no_way_out)
  local returned = run_script(start)
  local deployment = deployments.find(start.name, start.tag or 'default')
  if not deployment then
    error(("%s: expected a deployment '%s' with tag '%s' as on the client, got none"):format(start.file, start.name,
      start.tag or 'default'), 0)
  end
  deployment.returned = returned
  deployment:finish()
  return deployment
end

--- pcall that keeps the traceback: returns true and a result, or false, the error and its traceback.
local function guarded(func, ...)
  local traceback
  local arguments, count = { ... }, select('#', ...)
  local ok, result = xpcall(function() return func(unpack(arguments, 1, count)) end, function(err)
    traceback = Error.traceback(2)
    return err
  end)
  return ok, result, traceback
end

-- Phases ------------------------------------------------------------------------------------------------------------

local function describe_failure(err, traceback, registry)
  local fields = Error.describe(err, traceback, registry)
  fields.executed, fields.where = 'no', 'worker'
  return fields
end

--- The scores of the functions with a benchmark by number, measured one after the other; nil when the worker shall end
-- before that. A function whose benchmark fails: nil, error, traceback, function.
local function measure_all(executor, deployment)
  local function is_over() return executor:draining() end
  local scores = {}
  for i, remote in ipairs(deployment.functions) do
    if remote:has_benchmark() then
      local running = future.spawn(benchmark.run, remote, is_over)
      local ok, score = pcall(running.await, running)
      if not ok then return nil, score, future.trace_of(score), remote end
      if not score then return nil end
      scores[i - 1] = score
    end
  end
  return scores
end

local function measure(executor, deployment)
  executor:measure(true)
  yield.counted = 0
  local scores, err, traceback, remote = measure_all(executor, deployment)
  yield.counted = nil
  executor:measure(false)
  return scores, err, traceback, remote
end

local function describe_benchmark(err, traceback, remote, registry)
  local fields = describe_failure(err, traceback, registry)
  fields.message = ('benchmark of %s: %s'):format(remote.name, fields.message):sub(1, 1024)
  return fields
end

--- The functions the executor calls, by number.
local function entries_of(deployment)
  local entries = {}
  for i, remote in ipairs(deployment.functions) do entries[i - 1] = remote:entry() end
  return entries
end

--- What the executor has to know of each function.
local function rules_of(deployment)
  local rules = {}
  for i, remote in ipairs(deployment.functions) do
    rules[i] = { interrupt_safe = remote.options.interrupt_safe == true, max_rss = remote:max_rss() or 0 }
  end
  return rules
end

local Raised = {}

--- What becomes of an error while its stack is there: the message handler of every call.
local function with_traceback(err)
  return setmetatable({ err = err, traceback = Error.traceback(2) }, Raised)
end

local function describe_raised(raised, registry)
  if getmetatable(raised) == Raised then return Error.describe(raised.err, raised.traceback, registry) end
  return Error.describe(raised, nil, registry)
end

--- What is wrong with the results of a batch as the fields of an error, or nil.
local function describe_bad(results, count, registry)
  local problem = batch.bad_results(results, count)
  return problem and Error.describe(problem, nil, registry)
end

--- A result of a batch that is an error, as its fields; nil: it is none.
local function describe_failed(result, registry)
  local failed, value, traceback = batch.failure(result)
  if failed then return Error.describe(value, traceback, registry) end
end

--- Takes calls until the worker shall end and none is left.
local function serve(executor)
  repeat
    local goes_on = executor:turn(future.delay())
    future.collect()
    future.run_ready()
  until goes_on == false
end

--- Runs a worker. Returns its exit code.
---@param executor userdata
---@param start table what Deployment:start gave
function M.main(executor, start)
  future.serve(executor)
  yield.serve(executor)
  local ok, deployment, traceback = guarded(load, start)
  if not ok then
    executor:goodbye(BUNDLE_REJECTED, 'bundle', describe_failure(deployment, traceback, nil))
    return BUNDLE_REJECTED
  end
  deployments.phase = 'preparing'
  local registry = deployment:class_registry()
  local contexts = deployment.contexts

  local entered, err, context, trace = contexts:enter_all()
  if not entered then
    executor:goodbye(CONTEXT_FAILED, 'context', Contexts.describe(err, context, trace, registry))
    contexts:exit_all(err)
    return CONTEXT_FAILED
  end

  local scores, problem, where, remote = measure(executor, deployment)
  if not scores and not remote then
    contexts:exit_all(nil)
    return DRAINED
  elseif not scores then
    executor:goodbye(BENCHMARK_FAILED, 'benchmark', describe_benchmark(problem, where, remote, registry))
    contexts:exit_all(problem)
    return BENCHMARK_FAILED
  end

  executor:open {
    ours = future.ours,
    makers = yield.makers,
    cancel = future.cancel,
    credit = yield.credit,
    trace = with_traceback,
    describe = function(raised) return describe_raised(raised, registry) end,
    problem = function(results, count) return describe_bad(results, count, registry) end,
    failure = function(result) return describe_failed(result, registry) end,
    registry = registry,
    entries = entries_of(deployment),
    rules = rules_of(deployment),
  }
  deployments.phase = 'serving'
  executor:ready(deployment:manifest(), scores)
  serve(executor)
  contexts:exit_all(nil)
  return DRAINED
end

return M
