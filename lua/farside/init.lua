--- Farside: remote functions for Lua. This is the table that users get.
require('farside.attributes').install()

local Error = require 'farside.error'
local batch = require 'farside.batch'
local check = require 'farside.check'
local deployment = require 'farside.deployment'
local future = require 'farside.future'
local native = require 'farside.native'
local yield = require 'farside.yield'

local M = {
  version = native.version,
  deployment = deployment.new,
  Error = Error,
  error = batch.error,  -- a result of a function with batch that fails its call alone
  all = future.all,
  any = future.any,
  as_completed = future.as_completed,
  sleep = future.sleep,
  progress = yield.progress,
  now = native.now,  -- seconds of a clock that only goes forward
  null = native.null,
  array = native.array,
  map = native.map,
}

local function check_function(what, func)
  if type(func) == 'function' then return end
  error(('%s: expected a function, got %s'):format(what, check.describe(func)), 3)
end

--- Runs a function in a coroutine of Farside's and returns its results: calls and sleeps in it yield to the others.
-- In a worker that loads the deploy script nothing is run, so a script may hold its client's code too.
function M.run(func, ...)
  check_function('run', func)
  deployment.finish_running()
  if deployment.phase == 'loading' then return end
  return future.spawn(func, ...):await()
end

--- Inside a remote function: the call it runs for, as { id =, attempt =, deadline = seconds as of farside.now(),
-- cancelled = function }; elsewhere nil. With the id a function can make its own outside effects idempotent.
--
-- call.cancelled() tells, at the price of an atomic load, whether the call was cancelled, its deadline has passed, or it
-- has ended; also in coroutines of its own and after waits. A loop that it asks may end by itself: a function declared
-- interrupt_safe has a second for that before it is interrupted. Any other, and one that has never asked, is interrupted
-- at once; what is not done two seconds after the cancel is killed.
function M.call()
  return future.current_call()
end

--- Starts a function in a coroutine of Farside's, in this process; returns a future of its results.
function M.spawn(func, ...)
  check_function('spawn', func)
  return future.spawn(func, ...)
end

return M
