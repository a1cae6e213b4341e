--- What a worker does, from its start to its end; called by the executor.
--
--     read the files, load the deploy script  ->  enter contexts  ->  benchmark  ->  ready, calls  ->  drain: exit contexts
--
-- The exit code says how far it came; before an end that nobody asked for the router is told why.
local Contexts = require 'farside.context'
local Error = require 'farside.error'
local attributes = require 'farside.attributes'
local batch = require 'farside.batch'
local benchmark = require 'farside.benchmark'
local bundle = require 'farside.bundle'
local deployments = require 'farside.deployment'
local fault = require 'farside.cuda.fault'
local fork = require 'farside.fork'
local future = require 'farside.future'
local native = require 'farside.native'
local yield = require 'farside.yield'

local M = {}

local DRAINED, BUNDLE_REJECTED, BENCHMARK_FAILED, CONTEXT_FAILED = 0, 65, 69, 71

-- Loading -----------------------------------------------------------------------------------------------------------

local function exit_is_no_way_out(code)
  if fork.is_here() then native.leave(code) end
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

--- Has the files of the deployment loaded as its router knows them. Returns nil, or the fields of an error: they differ.
local function keep_files(start)
  if not start.bundle then return nil end
  local source_of, changed = bundle.verify(start.file, start.bundle)
  if changed then return changed end
  attributes.keep(source_of)
end

--- Loads the script and returns the deployment it declares.
local function load(start)
  package.path, package.cpath = start.path or package.path, start.cpath or package.cpath
  attributes.install()
  rawset(os, 'exit', exit_is_no_way_out)
  yield.replace_plain()
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

--- Compiles the kernels that the script has given. Returns true, or false, the error and its traceback.
local function build_kernels()
  local modules = package.loaded['farside.cuda.module']
  if not modules then return true end
  return guarded(modules.build_waiting)
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

--- What the executor has to know of each function.
local function rules_of(deployment)
  local rules = {}
  for i, remote in ipairs(deployment.functions) do
    rules[i] = { interrupt_safe = remote.options.interrupt_safe == true, max_rss = remote:max_rss() or 0 }
  end
  return rules
end

local Raised = {}
local NO_MEMORY = 'not enough memory'

--- What becomes of an error while its stack is there: the message handler of every call. That there is no memory is known
-- by its text.
local function with_traceback(err)
  if getmetatable(err) == Raised or err == NO_MEMORY then return err end
  return setmetatable({ err = err, traceback = Error.traceback(2) }, Raised)
end

local function describe_raised(raised, registry)
  if getmetatable(raised) == Raised then return Error.describe(raised.err, raised.traceback, registry) end
  return Error.describe(raised, nil, registry)
end

--- Ends a fork that a call has made, where the call ends.
local function leave_fork(ok, raised)
  if getmetatable(raised) == Raised then return fork.leave(ok, raised.err, raised.traceback) end
  fork.leave(ok, raised)
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

-- Devices -------------------------------------------------------------------------------------------------------------

local function finish(co, sequence, ok, ...)
  yield.makers[co] = nil  -- another call may get it
  if not fork.is_here() then fault.settle_call(sequence, true) end
  if ok then return ... end
  error((...), 0)
end

--- The function for a worker that uses a GPU: it has ended when what it has given to the GPU is done, and seen to be good.
-- Else its faults would be those of the next call.
local function settled(executor, func)
  return function(...)
    local co, sequence = coroutine.running(), executor:sequence()
    yield.makers[co] = sequence  -- whatever is given to the GPU asks for it
    return finish(co, sequence, xpcall(func, with_traceback, ...))
  end
end

--- The same for calls that were running when a GPU was used for the first time: they began as ones that use none.
local function settle_late(sequence)
  local ok, problem = pcall(fault.settle_call, sequence, true)
  if not ok then return problem end
end

--- Called when a GPU is used for the first time, before there are functions or in a call of one.
local function use_devices(executor, entries)
  if next(entries) == nil then return end
  for i, func in pairs(entries) do entries[i] = settled(executor, func) end
  executor:settles(settle_late)
end

--- The functions the executor calls, by number.
local function fill(executor, entries, deployment)
  for i, remote in ipairs(deployment.functions) do
    local func = remote:entry()
    entries[i - 1] = fault.is_used and settled(executor, func) or func
  end
end

local function look_at_device(executor)
  if executor:device() > 0 then require('farside.cuda.probe').run(executor) end
end

--- Takes calls until the worker shall end and none is left.
local function serve(executor)
  repeat
    local goes_on = executor:turn(future.delay())
    future.collect()
    future.run_ready()
  until goes_on == false
end

--- Tells the router why the worker ends before it was ready, unless it knows already. Returns the exit code.
local function give_up(executor, code, phase, err, fields)
  if fault.mark then return code end  -- which the executor knows better
  local device_code, device_phase = fault.ending(err)
  code = device_code or code
  executor:goodbye(code, device_phase or phase, fields)
  return code
end

--- Enters the contexts; what they have given to a device has to be good. Returns true; or false, the error and its fields.
local function enter_all(contexts, registry)
  local entered, err, context, trace = contexts:enter_all()
  if not entered then return false, err, Contexts.describe(err, context, trace, registry) end
  local ok, problem, where = guarded(fault.settle)
  return ok, problem, not ok and describe_failure(problem, where, registry) or nil
end

--- Runs a worker. Returns its exit code.
---@param executor userdata
---@param start table what Deployment:start gave
function M.main(executor, start)
  local entries = {}
  future.serve(executor)
  yield.serve(executor)
  fault.serve(executor, function() use_devices(executor, entries) end)
  local changed = keep_files(start)
  if changed then return give_up(executor, BUNDLE_REJECTED, 'bundle', changed, changed) end
  local ok, deployment, traceback = guarded(load, start)
  if fork.is_here() then fork.leave(ok, deployment, traceback) end
  if not ok then
    return give_up(executor, BUNDLE_REJECTED, 'bundle', deployment, describe_failure(deployment, traceback, nil))
  end
  deployments.phase = 'preparing'
  local registry = deployment:class_registry()
  local contexts = deployment.contexts

  local looked, problem, where = guarded(look_at_device, executor)
  if looked then looked, problem, where = build_kernels() end
  if not looked then
    return give_up(executor, CONTEXT_FAILED, 'context', problem, describe_failure(problem, where, registry))
  end
  local entered, err, fields = enter_all(contexts, registry)
  if not entered then
    local code = give_up(executor, CONTEXT_FAILED, 'context', err, fields)
    contexts:exit_all(err)
    return code
  end

  local scores, failure, trace, remote = measure(executor, deployment)
  if not scores and not remote then
    contexts:exit_all(nil)
    return DRAINED
  elseif not scores then
    local code = give_up(executor, BENCHMARK_FAILED, 'benchmark', failure, describe_benchmark(failure, trace, remote, registry))
    contexts:exit_all(failure)
    return code
  end

  fill(executor, entries, deployment)
  executor:open {
    ours = future.ours,
    makers = yield.makers,
    cancel = future.cancel,
    credit = yield.credit,
    trace = with_traceback,
    describe = function(raised) return describe_raised(raised, registry) end,
    problem = function(results, count) return describe_bad(results, count, registry) end,
    forked = leave_fork,
    failure = function(result) return describe_failed(result, registry) end,
    registry = registry,
    entries = entries,
    rules = rules_of(deployment),
  }
  deployments.phase = 'serving'
  executor:ready(deployment:manifest(), scores)
  serve(executor)
  contexts:exit_all(fault.mark)
  return DRAINED
end

return M
