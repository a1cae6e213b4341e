--- Results to come, and the scheduler of Farside's coroutines: the same on clients and workers.
--
-- A coroutine that Farside started (a key of `ours`) yields while it waits. Anything else - the main thread, the user's
-- own coroutines, callbacks of gsub or sort - blocks and pumps: it runs what is ready, then waits in C for whatever
-- comes first. Coroutines are resumed only from here, never while C waits.
--
--     client   handle:wait, then handle:next for each call that has ended
--     worker   executor:turn between calls (dispatch.lua), executor:pause inside one
local Error = require 'farside.error'
local Timers = require 'farside.timers'
local check = require 'farside.check'
local fork = require 'farside.fork'
local native = require 'farside.native'

local M = {}

local running, status, yield, is_yieldable = coroutine.running, coroutine.status, coroutine.yield, coroutine.isyieldable
local now = native.now

local WAITING = {}  -- what our coroutines yield: something will wake them
local BLOCKED = {}  -- stands in `waiting` for a call whose caller blocks

local ours = setmetatable({}, { __mode = 'k' })
local owners = setmetatable({}, { __mode = 'k' })     -- coroutine -> its future
local waits = setmetatable({}, { __mode = 'k' })      -- suspended coroutine -> its wait, which refers to it: both stay
local cancelled = setmetatable({}, { __mode = 'k' })  -- coroutine -> reason
local traces = setmetatable({}, { __mode = 'k' })     -- error object -> traceback
local last_trace = {}                                 -- the same for the last error that was no table

local timers = Timers.new()                           -- waits, and { run = function }
local ready = { first = 1, last = 0 }                 -- coroutines to resume, with their values
local ready_values = {}
local waiting = {}                                    -- place of a call -> coroutine, BLOCKED or a table with _ended
local waiting_count = 0
local PLACES = 2 ^ 20                                 -- a call's number modulo this is a small place of its own
local taken = {}                                      -- call of a BLOCKED -> its packed outcome
local dropped = {}                                    -- what finalizers have left to do

local handle, executor

--- The coroutines that Farside started. The executor adds those it makes for calls.
M.ours = ours

-- Processes ---------------------------------------------------------------------------------------------------------

--- The client's handle; opened when first needed.
function M.handle()
  if handle then return handle end
  local opened, err = native.open()
  if not opened then error(Error.new(err), 0) end
  handle = opened
  fork.watch(handle)
  return handle
end

--- Ends the client's handle in order: calls are cancelled, workers drained, their contexts exited.
function M.close()
  if handle then handle:close() end
end

--- The call that runs on this worker, or nil.
function M.current_call()
  if not executor then return nil end
  local id, attempt, deadline, is_cancelled = executor:current()
  return id and { id = id, attempt = attempt, deadline = deadline, cancelled = is_cancelled }
end

--- Makes this the scheduler of a worker. Its functions make calls through the executor, as a client does through its handle.
function M.serve(with)
  executor, handle = with, with
  fork.watch(with)
end

local resume_coroutine = function(co, ...)
  if executor then return executor:resume(co, ...) end
  return coroutine.resume(co, ...)
end

local function wait_in_c(timeout)
  if executor then executor:pause(timeout) else M.handle():wait(nil, timeout) end
end

-- Futures -----------------------------------------------------------------------------------------------------------

local Future = {}
Future.__index = Future

local function pack(...)
  return { n = select('#', ...), ... }
end

local function push_ready(co, values)
  ready.last = ready.last + 1
  ready[ready.last], ready_values[ready.last] = co, values
end

local function wake(wait, reason)
  if wait.reason then return end
  wait.reason = reason
  timers:remove(wait)
  push_ready(wait.co)
end

local function wake_all(future)
  local waiters = future._waiters
  future._waiters = nil
  for i = 1, waiters and #waiters or 0 do wake(waiters[i], 'settled') end
end

--- Wakes all coroutines that wait in `wait_on` for this table.
M.wake = wake_all

--- Ends a future: ok and results, or not ok and an error.
local function settle(future, ok, ...)
  if ok then future._results = pack(...) else future._error = (...) end
  future._state = ok and 'ok' or 'failed'
  wake_all(future)
  local groups = future._groups
  if not groups then return end
  future._groups = nil
  for group in pairs(groups) do group:_take(future) end
end

--- The future of a call: the call has ended.
function Future:_ended(ok, ...)
  if ok then return settle(self, true, ...) end
  settle(self, false, Error.new((...)))
end

-- Coroutines --------------------------------------------------------------------------------------------------------

--- Called where an error is raised: a coroutine that is dead does not know its line any more.
local function keep_trace(err)
  local trace = Error.traceback(2)
  if type(err) == 'table' then
    traces[err] = trace
  else
    last_trace = { err = err, trace = trace }
  end
  return err
end

local function body(func, ...)
  return xpcall(func, keep_trace, ...)
end

--- The traceback of the coroutine that ended in an error, or nil.
function M.trace_of(err)
  if type(err) == 'table' then return traces[err] end
  return err ~= nil and last_trace.err == err and last_trace.trace or nil
end

local function resumed(co, ok, ...)
  if status(co) ~= 'dead' then
    if (...) == WAITING then return end
    if fork.is_here() then fork.leave(false, 'it yields, and nobody would resume it') end
    -- A plain coroutine.yield() gives others a turn.
    push_ready(co)
    return
  end
  if fork.is_here() then fork.leave(ok and (...), (select(2, ...)), M.trace_of((select(2, ...)))) end
  local future = owners[co]
  if not future then return end
  owners[co] = nil
  if ok then return settle(future, ...) end
  settle(future, false, ...)
end

local function resume(co, ...)
  return resumed(co, resume_coroutine(co, ...))
end

local function resume_ready(co, values)
  if values then return resume(co, unpack(values, 1, values.n)) end
  return resume(co)
end

--- Returns a value; some time after that has become garbage, object:drop() is called. The object must not refer to it.
-- Finalizers run amid anything, so theirs does nothing but to leave word.
function M.guard(object)
  local guard = newproxy(true)
  getmetatable(guard).__gc = function() dropped[#dropped + 1] = object end
  return guard
end

local function drop_all()
  local objects = dropped
  dropped = {}
  for i = 1, #objects do objects[i]:drop() end
end

--- Runs the timers that are due and the coroutines that are ready. Returns whether there were any.
local function run()
  if dropped[1] then drop_all() end
  local any = false
  while timers.size > 0 do
    local entry = timers:pop(now())
    if not entry then break end
    any = true
    if entry.run then entry.run() else wake(entry, 'timeout') end
  end
  local last = ready.last
  while ready.first <= last do
    local first = ready.first
    local co, values = ready[first], ready_values[first]
    ready[first], ready_values[first] = nil, nil
    ready.first = first + 1
    any = true
    resume_ready(co, values)
  end
  return any
end
M.run_ready = run

--- Seconds until something is to be run here, or nil.
local function delay()
  if ready.first <= ready.last then return 0 end
  local first = timers[1]
  return first and math.max(0, first.at - now())
end
M.delay = delay

--- Calls a function after some seconds, out of whatever waits then.
function M.after(seconds, func)
  timers:add({ run = func }, now() + seconds)
end

local function cancel_error(reason)
  if reason == 'deadline' then
    return Error.new { name = 'DeadlineExceeded', message = 'the deadline of the call has passed', executed = 'yes',
      phase = 'run', where = 'worker' }
  end
  return Error.new { name = 'Cancelled', message = 'the call was cancelled', executed = 'yes', by = reason,
    where = 'worker' }
end

--- Ends a coroutine of a call at its wait; at each further one too, should it catch the error.
function M.cancel(co, reason)
  cancelled[co] = reason
  if waits[co] then wake(waits[co], 'cancelled') end
end

local function check_cancelled(co)
  if co and cancelled[co] then error(cancel_error(cancelled[co]), 0) end
end

--- The coroutine of ours that runs, if it can yield here: below a callback of gsub, sort or require it cannot.
local function yielding()
  local co = running()
  return co and ours[co] and is_yieldable() and co or nil
end

--- Whether a wait here lets others run: whoever has a plain wait of his own blocks where it does not.
function M.can_yield()
  return yielding() ~= nil
end

--- Suspends the coroutine of ours that runs, until the instant `at` or until `wake`. Returns why it goes on.
local function suspend(co, at, waiters)
  fork.check()
  check_cancelled(co)
  local wait = { co = co }
  waits[co] = wait
  if at then timers:add(wait, at) end
  if waiters then waiters[#waiters + 1] = wait end
  yield(WAITING)
  waits[co] = nil
  check_cancelled(co)
  return wait.reason, wait
end

-- Calls -------------------------------------------------------------------------------------------------------------

--- Hands on a call that has ended. `quietly`: its coroutine is not resumed now.
local function deliver(quietly, call, ok, ...)
  if not call then return false end
  local place = call % PLACES
  local waiter = waiting[place]
  waiting[place] = false
  if waiter then waiting_count = waiting_count - 1 end
  if waiter == BLOCKED then
    taken[call] = pack(ok, ...)
  elseif type(waiter) == 'thread' then
    if quietly then push_ready(waiter, pack(ok, ...)) else resume(waiter, ok, ...) end
  elseif waiter then
    waiter:_ended(ok, ...)
  end
  return true
end

--- Takes all calls that have ended; hands on news of others first (stream.lua).
local function collect(quietly)
  if not handle then return end
  local done, told = handle:done()
  if told > 0 then M.take_news(handle) end
  if done + told == 0 then return end
  while handle and deliver(quietly, handle:next()) do end
end

--- The same, but resumes nobody.
function M.look()
  collect(true)
end

--- Hands on the calls that have ended. Called between turns of a worker.
function M.collect()
  collect(false)
end

--- One step of code that blocks: runs what is ready, or waits, until the instant `at` at the latest.
local function pump(at)
  fork.check()
  if run() then return end
  local timeout = delay()
  if at then timeout = math.min(timeout or math.huge, math.max(0, at - now())) end
  if not timeout and waiting_count == 0 then
    error('no call, timer or coroutine is left that could end this wait', 0)
  end
  wait_in_c(timeout)
  collect(false)
  check_cancelled(running())
end
M.pump = pump

local function finish(ok, ...)
  if ok then return ... end
  error(Error.new((...)), 0)
end

local function await_call(call, waiter)
  waiting[call % PLACES] = waiter
  waiting_count = waiting_count + 1
end

--- Who waits for a call.
function M.waiter(call)
  return waiting[call % PLACES]
end

--- Lets waiter:_ended(ok, ...) be called with the outcome of a call that was just sent.
M.deliver_to = await_call

local function block_on_call(call)
  await_call(call, BLOCKED)
  while not taken[call] do
    if not run() and handle:wait(call, delay()) == 'done' then
      waiting[call % PLACES] = false
      waiting_count = waiting_count - 1
      return finish(handle:take(call))
    end
    collect(false)
  end
  local outcome = taken[call]
  taken[call] = nil
  return finish(unpack(outcome, 1, outcome.n))
end

--- Waits for a call that was just sent, and returns its results or raises its error.
function M.result(call)
  local co = yielding()
  if co then
    await_call(call, co)
    return finish(yield(WAITING))
  end
  if timers.size == 0 and ready.first > ready.last and not dropped[1] and handle:wait(call) == 'done' then
    return finish(handle:take(call))
  end
  return block_on_call(call)
end

--- The future of a call that was just sent.
function M.of_call(call, on_progress)
  local future = setmetatable({ _call = call, _on_progress = on_progress }, Future)
  await_call(call, future)
  collect(true)
  return future
end

-- What users call ---------------------------------------------------------------------------------------------------

local function check_seconds(what, seconds, level)
  if type(seconds) ~= 'number' or seconds ~= seconds or seconds < 0 then
    error(('%s: expected seconds of at least 0, got %s'):format(what, check.describe(seconds)), level + 1)
  end
end

local function forget(waiters, wait)
  for i = #waiters, 1, -1 do
    if waiters[i] == wait then table.remove(waiters, i) end
  end
end

--- Waits until wake(owner), until the instant `at` at the latest. Code that blocks returns at any change: look again.
local function wait_on(owner, at)
  local co = yielding()
  if not co then return pump(at) end
  owner._waiters = owner._waiters or {}
  local reason, wait = suspend(co, at, owner._waiters)
  if reason == 'timeout' and owner._waiters then forget(owner._waiters, wait) end
end
M.wait_on = wait_on

local function wait_for(future, at)
  repeat wait_on(future, at) until future._state or at and now() >= at
end

--- Waits for the results and returns them, or raises the error, at each await anew. With a timeout in seconds that
-- passes first it raises DeadlineExceeded: for this wait alone, the call itself goes on and may be awaited again.
---@param timeout number?
function Future:await(timeout)
  if timeout ~= nil then check_seconds('await', timeout, 2) end
  if not self._state then collect(true) end
  if not self._state then wait_for(self, timeout and now() + timeout) end
  if self._state == 'ok' then return unpack(self._results, 1, self._results.n) end
  if self._state == 'failed' then error(self._error, 0) end
  error(Error.new { name = 'DeadlineExceeded', executed = 'maybe', phase = 'sdk', where = 'sdk',
    message = ('no result within the %g s of this await; the call goes on'):format(timeout),
    waited_ms = timeout * 1000 }, 0)
end

--- Tells whether an await would return or raise at once.
function Future:done()
  if not self._state then collect(true) end
  return self._state ~= nil
end

--- The number of the call as text, unique in this process; nil for a future of farside.spawn, which is no call.
function Future:id()
  return self._call and ('%.0f'):format(self._call)
end

--- Cancels the call: it ends in Cancelled unless it has ended already. A future of farside.spawn cannot be cancelled.
function Future:cancel()
  if not self._call then error('cancel: expected the future of a call, got one of farside.spawn', 2) end
  if not self._state then handle:cancel(self._call) end
end

function Future:__tostring()
  return ('farside.future: %s'):format(self._state or 'pending')
end

function M.is_future(value)
  return type(value) == 'table' and getmetatable(value) == Future
end

--- Starts a function in a coroutine; it runs at once, up to its first wait.
function M.spawn(func, ...)
  fork.check()
  local future = setmetatable({}, Future)
  local co = coroutine.create(body)
  ours[co], owners[co] = true, future
  if M.on_spawn then M.on_spawn(co) end
  resume(co, func, ...)
  return future
end

local function check_futures(what, futures)
  if type(futures) ~= 'table' or M.is_future(futures) then
    error(('%s: expected a table of futures, got %s'):format(what, check.describe(futures)), 3)
  end
  for key, future in pairs(futures) do
    if not M.is_future(future) then
      error(('%s: expected futures, got %s under the key %s'):format(what, check.describe(future), tostring(key)), 3)
    end
  end
end

--- Waits for all futures of a table and returns a table with the first result of each under the same key. If some end
-- in errors, one is raised, of a list the first in its order; the others go on.
function M.all(futures)
  check_futures('all', futures)
  local results = {}
  for i, future in ipairs(futures) do results[i] = future:await() end
  for key, future in pairs(futures) do
    if results[key] == nil then results[key] = future:await() end
  end
  return results
end

-- Groups: the futures of a table in the order in which they end ------------------------------------------------------

-- Its futures refer to a group weakly: who drops it leaves nothing behind with those that have not ended.
local Group = {}
Group.__index = Group
local WEAK = { __mode = 'k' }

function Group:_push(key, future)
  self.last = self.last + 1
  self.ended_keys[self.last], self.ended[self.last] = key, future
end

function Group:_join(key, future)
  self.left = self.left + 1
  if future._state then return self:_push(key, future) end
  local keys = self.keys[future]
  if keys then
    keys[#keys + 1] = key
    return
  end
  self.keys[future] = { key }
  future._groups = future._groups or setmetatable({}, WEAK)
  future._groups[self] = true
end

--- A future of the group has ended.
function Group:_take(future)
  local keys = self.keys[future]
  self.keys[future] = nil
  for i = 1, #keys do self:_push(keys[i], future) end
  wake_all(self)
end

--- The futures that had ended before come first, those of the list in its order.
local function new_group(futures)
  local self = setmetatable({ keys = {}, ended_keys = {}, ended = {}, first = 1, last = 0, left = 0 }, Group)
  local count = 0
  for i, future in ipairs(futures) do
    self:_join(i, future)
    count = i
  end
  for key, future in pairs(futures) do
    local in_list = type(key) == 'number' and key % 1 == 0 and key >= 1 and key <= count
    if not in_list then self:_join(key, future) end
  end
  collect(true)
  return self
end

--- Waits for the next future to end; returns its key and itself, or nil after the last.
function Group:next()
  while self.first > self.last do
    if self.left == 0 then return nil end
    wait_on(self)
  end
  local first = self.first
  local key, future = self.ended_keys[first], self.ended[first]
  self.ended_keys[first], self.ended[first] = nil, nil
  self.first, self.left = first + 1, self.left - 1
  return key, future
end

--- Takes the group off the futures that have not ended.
function Group:leave()
  for future in pairs(self.keys) do
    local groups = future._groups
    groups[self] = nil
    if next(groups) == nil then future._groups = nil end
  end
end

--- Waits for the first future of a table that ends well and returns its key and its results; the others go on. If all
-- end in errors, that of the last is raised.
function M.any(futures)
  check_futures('any', futures)
  if next(futures) == nil then error('any: expected at least one future, got none', 2) end
  local group = new_group(futures)
  local failed
  for key, future in function() return group:next() end do
    if future._state == 'ok' then
      group:leave()
      return key, unpack(future._results, 1, future._results.n)
    end
    failed = future
  end
  error(failed._error, 0)
end

--- An iterator over the futures of a table in the order in which they end: `for key, future in as_completed(futures)`.
-- Each is done; its await returns or raises at once.
function M.as_completed(futures)
  check_futures('as_completed', futures)
  local group = new_group(futures)
  return function() return group:next() end
end

-- Time --------------------------------------------------------------------------------------------------------------

--- The same, through a cancel.
function M.outlast(seconds)
  local co, at = yielding(), now() + seconds
  if not co then return M.sleep(seconds) end
  fork.check()
  timers:add({ co = co }, at)
  yield(WAITING)
end

--- Lets some seconds pass: other coroutines, calls and timers go on meanwhile.
function M.sleep(seconds)
  check_seconds('sleep', seconds, 2)
  local co, at = yielding(), now() + seconds
  if co then
    suspend(co, at)
    return
  end
  repeat pump(at) until now() >= at
end

return M
