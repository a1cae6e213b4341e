--- The results of one call that come one by one: `for token in generate:stream(prompt) do`.
--
--     stream()         the next item, all its values; nil at the end. Items come first, then the error of the call, if any
--     stream:close()   cancels the call at once; who goes on reading gets Cancelled
--
-- The function on the worker runs ahead of the loop, as far as `window` bytes of items. A loop that is left by `break`
-- drops its stream: the call is cancelled when that is collected as garbage, which a process that waits sees to.
--
--     the loop -> Stream -> Feed <- future.lua's `waiting`, by the number of the call
--                    guard
local Error = require 'farside.error'
local future = require 'farside.future'

local M = {}

-- What the user has. Its feed does not refer to it, so it can become garbage while the call goes on.
local Stream = {}
Stream.__index = Stream

local Feed = {}
Feed.__index = Feed

local FIRST_LOOK, LONGEST_LOOK = 0.1, 10  -- seconds a stream lies unread until garbage is collected

-- News --------------------------------------------------------------------------------------------------------------

local function report(waiter, err)
  if waiter._reported then return end
  waiter._reported = true
  io.stderr:write(('farside: on_progress raised: %s\n'):format(tostring(err)))
end

-- In a coroutine of its own, so that it may wait, whoever pumps.
local function tell(waiter, n, total)
  future.spawn(function()
    local ok, err = pcall(waiter._on_progress, n, total)
    if not ok then report(waiter, err) end
  end)
end

--- Hands on what has come for calls that have not ended: the scheduler calls it.
function future.take_news(handle)
  while true do
    local call, has_item, n, total = handle:news()
    if not call then return end
    local waiter = future.waiter(call)
    if type(waiter) == 'table' then
      if n and waiter._on_progress then tell(waiter, n, total) end
      if has_item then
        waiter._news = true
        future.wake(waiter)
      end
    end
  end
end

-- Reading -----------------------------------------------------------------------------------------------------------

--- The scheduler calls it when the call has ended and all items were taken.
function Feed:_ended(ok, ...)
  if not ok then self._error = Error.new((...)) end
  self._over = true
  future.wake(self)
end

--- Nobody reads any more.
function Feed:drop()
  if not self._over then self._handle:cancel(self._call) end
end

local hand_out

local function wait(self)
  future.look()
  if self._over then
    if self._error then error(self._error, 0) end
    return nil
  end
  if not self._news then
    self._waits = true
    future.wait_on(self)
    self._waits = false
  end
  self._news = false
  return hand_out(self, self._handle:item(self._call))
end

function hand_out(self, ok, ...)
  if ok then
    self._taken = self._taken + 1
    return ...
  end
  if ok == nil then return wait(self) end
  self:drop()
  error(Error.new((...)), 0)
end

function Stream:__call()
  local feed = self._feed
  return hand_out(feed, feed._handle:item(feed._call))
end

--- Cancels the call.
function Stream:close()
  self._feed:drop()
end

function Stream:__tostring()
  return ('farside.stream: %s'):format(not self._feed._over and 'open' or self._feed._error and 'failed' or 'ended')
end

-- Streams nobody reads ----------------------------------------------------------------------------------------------

-- A stream that lies unread may have been forgotten, and only a collection can tell.
local function watch(feed, seconds)
  local taken = feed._taken
  future.after(seconds, function()
    if feed._over then return end
    local is_unread = feed._taken == taken and not feed._waits
    if is_unread then collectgarbage() end
    watch(feed, is_unread and math.min(2 * seconds, LONGEST_LOOK) or seconds)
  end)
end

--- The stream of a call that was just sent.
---@param handle userdata
---@param call number
---@param on_progress function?
function M.new(handle, call, on_progress)
  local feed = setmetatable({ _handle = handle, _call = call, _on_progress = on_progress, _taken = 0 }, Feed)
  future.deliver_to(call, feed)
  watch(feed, FIRST_LOOK)
  return setmetatable({ _feed = feed, _guard = future.guard(feed) }, Stream)
end

return M
