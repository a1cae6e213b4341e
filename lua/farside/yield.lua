--- What a remote function says before it returns: items of its stream (app.yield), and how far it is (farside.progress).
--
-- A call may say so from any coroutine that was started in it. Items that run ahead of their reader, as far as the
-- call's window, make app.yield wait as farside.sleep does: calls beside it go on. So does what the call has given to a GPU:
-- an item, as a result, is good only when that is done and seen to be good.
--
-- A plain coroutine.yield in a call has nobody to resume it: it is an error at its place. In coroutines of the user's own, and in
-- those of farside.spawn, it is what it is everywhere.
local check = require 'farside.check'
local fault = require 'farside.cuda.fault'
local future = require 'farside.future'
local native = require 'farside.native'

local M = {}

local running, now = coroutine.running, native.now

local executor
local makers = setmetatable({}, { __mode = 'k' })
local spawned = setmetatable({}, { __mode = 'k' })  -- coroutines that are no call's own
local waits = {}                                   -- sequence of a call that waits for credit -> who waits
local PATIENCE = 1                                 -- seconds after which one that blocks looks again

--- Coroutine that Farside has started in a call -> the call's sequence; false: in none. One of a call itself need not be there.
M.makers = makers

--- How many items a benchmark has yielded; nil when none runs. They go nowhere.
M.counted = nil

--- Makes this the voice of a worker.
function M.serve(with)
  executor = with
  future.on_spawn = function(co)
    spawned[co] = true
    local maker = running()
    local sequence = maker and makers[maker]
    if sequence == nil then sequence = executor:sequence() or false end
    makers[co] = sequence
  end
end

--- The coroutine that runs, which was spawned, calls functions as a call's own does: a benchmark's.
function M.act_as_call()
  spawned[running()] = nil
end

local PLAIN = 'coroutine.yield: expected a coroutine of the function\'s own, got the one of the call, which nobody would resume: '
  .. 'app.yield(value) hands on an item of a stream, farside.sleep(0) lets other calls run'

--- Takes the place of coroutine.yield in a worker.
function M.replace_plain()
  local plain = coroutine.yield
  rawset(coroutine, 'yield', function(...)
    local co = running()
    if co and future.ours[co] and not spawned[co] then error(PLAIN, 2) end
    return plain(...)
  end)
end

--- The sequence of the call in which a coroutine runs, which is the one that runs, or nil for the main thread; false: in none;
-- nil: it is not known, of a plain coroutine below one that Farside has started.
function M.call_of(co)
  local sequence = co and makers[co]
  if sequence == nil and executor then return executor:sequence() end
  return sequence
end

--- Whether a call has not ended.
function M.is_running(sequence)
  return executor ~= nil and executor:runs(sequence)
end

--- Credit has come for a call that waits for it, or it has ended. Called by the executor.
function M.credit(sequence)
  local owner = waits[sequence]
  waits[sequence] = nil
  if owner then future.wake(owner) end
end

local function wait_for_credit(sequence)
  local owner = waits[sequence] or {}
  waits[sequence] = owner
  future.wait_on(owner, now() + PATIENCE)
end

local PROBLEMS = {
  outside = 'app.yield: expected inside a call of a remote function on a worker, got it outside of one',
  batch = 'app.yield: expected a function without batch: calls that run together have no items of their own',
  plain = 'app.yield: the function was called without :stream, so nobody waits for its items; call f:stream(...)',
}

--- Nil, or why not: a text, or an error that was raised elsewhere.
local function say(sequence, ...)
  local sent, problem = executor:yield(sequence, ...)
  if sent == true then return nil end
  if sent then
    wait_for_credit(sent)
    return say(sent, ...)
  end
  if type(problem) == 'table' then return 'app.yield: ' .. problem.message end
  return PROBLEMS[problem]
end

--- Hands one item, of one or several values, to the loop that reads the call's stream. The user stands at `level`.
function M.yield(level, ...)
  local first = ...
  if first == nil or first == native.null then
    error('app.yield: expected a value, got nil: it would end the loop', level + 1)
  end
  if M.counted then
    fault.settle()
    M.counted = M.counted + 1
    return
  end
  local co = running()
  local sequence = co and makers[co]
  local problem
  if executor and sequence ~= false then
    if fault.is_used then fault.settle_call(M.call_of(co)) end
    problem = say(sequence, ...)
  else
    problem = PROBLEMS.outside
  end
  if problem then error(problem, level + 1) end
end

local function check_number(what, value, level)
  if type(value) == 'number' and value >= 0 and value < math.huge then return end
  error(('progress: %s: expected a number of at least 0, got %s'):format(what, check.describe(value)), level + 1)
end

--- Says how far the call is: `n`, of `total` if that is known. It reaches whoever called with { on_progress = f }, the
-- latest word at most every 50 ms and before the result. Outside of a call on a worker it does nothing. It does not wait for
-- a GPU: it says how far the function is.
function M.progress(n, total)
  check_number('n', n, 2)
  if total ~= nil then check_number('total', total, 2) end
  local co = running()
  local sequence = co and makers[co]
  if not executor or M.counted or sequence == false then return end
  executor:progress(sequence, n, total or 0)
end

return M
