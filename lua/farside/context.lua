--- Contexts: what a worker makes once, before its first call, and keeps: a model, a connection, a table of words.
--
-- All are entered in parallel, each in a coroutine. A context that asks for another one in its `enter` waits for it.
-- Those that were entered are always exited, the one entered last first.
local Error = require 'farside.error'
local check = require 'farside.check'
local future = require 'farside.future'

local Contexts = {}
Contexts.__index = Contexts

function Contexts.new()
  return setmetatable({ list = {}, by_class = {}, entered = {}, by_coroutine = {} }, Contexts)
end

-- Declaration -------------------------------------------------------------------------------------------------------

local function own_name(class)
  for _, key in ipairs { '__name', 'name' } do
    local name = rawget(class, key)
    if type(name) == 'string' then return name end
  end
  return nil
end

--- Checks a class and adds it.
---@param arguments table packed, for `enter`
---@return string? problem
function Contexts:add(class, arguments, position)
  if type(class) ~= 'table' then
    return 'app.context: expected a table with enter(self, ...), got ' .. check.describe(class)
  end
  if type(class.enter) ~= 'function' then
    return 'app.context: enter: expected a function, got ' .. check.describe(class.enter)
  end
  if class.exit ~= nil and type(class.exit) ~= 'function' then
    return 'app.context: exit: expected a function, got ' .. check.describe(class.exit)
  end
  local other = self.by_class[class]
  if other then
    return ('app.context: expected each class once, got this one again; the first is at %s')
      :format((other.position:gsub(': $', '')))
  end
  local context = { class = class, arguments = arguments, position = position, name = own_name(class), state = 'new' }
  self.list[#self.list + 1] = context
  self.by_class[class] = context
  return nil
end

--- Names those that do not say their own name. `name_of` finds the script's name for a class, or nil.
function Contexts:name(name_of)
  for number, context in ipairs(self.list) do
    context.name = context.name or name_of(context.class) or ('context %d'):format(number)
  end
end

-- In a worker -------------------------------------------------------------------------------------------------------

local function new_instance(class)
  return setmetatable({}, class.__index ~= nil and class or { __index = class })
end

local function enter(self, context)
  local instance = new_instance(context.class)
  local value = context.class.enter(instance, unpack(context.arguments, 1, context.arguments.n))
  if value == nil then value = instance end
  context.instance, context.value, context.state = instance, value, 'entered'
  self.entered[#self.entered + 1] = context
end

--- Enters all. Returns true, or false with the first error, its context and its traceback once every `enter` has ended.
function Contexts:enter_all()
  for _, context in ipairs(self.list) do
    context.state = 'entering'
    -- The coroutine is known before `enter` runs: spawn runs it at once.
    context.future = future.spawn(function()
      self.by_coroutine[coroutine.running()] = context
      enter(self, context)
    end)
  end
  local failed, err
  for _, context in ipairs(self.list) do
    local ok, problem = pcall(context.future.await, context.future)
    if not ok then
      context.state = 'failed'
      -- One that failed because it waits for another is not the cause.
      if not failed or failed.awaits == context then failed, err = context, problem end
    end
  end
  if failed then return false, err, failed, future.trace_of(err) end
  return true
end

local function report(context, err)
  io.stderr:write(('farside: exit of context %s failed: %s\n'):format(context.name or '?', tostring(err)))
end

--- Exits those that were entered. What one raises is reported and keeps no other from its exit.
---@param err any why, nil at an orderly end
function Contexts:exit_all(err)
  for i = #self.entered, 1, -1 do
    local context = self.entered[i]
    self.entered[i] = nil
    context.state = 'exited'
    if context.class.exit then
      local ending = future.spawn(context.class.exit, context.instance, err)
      local ok, problem = pcall(ending.await, ending)
      if not ok then report(context, problem) end
    end
  end
end

-- For users ---------------------------------------------------------------------------------------------------------

--- Follows who waits for whom. Returns the names of a ring that `context` would close by waiting for `other`, or nil.
local function ring(context, other)
  local names = { context.name or '?' }
  while other do
    names[#names + 1] = other.name or '?'
    if other == context then return table.concat(names, ' -> ') end
    other = other.awaits
  end
  return nil
end

local function await(self, context)
  local asker = self.by_coroutine[coroutine.running() or false]
  if not asker then return end
  local names = ring(asker, context)
  if names then error(('contexts wait for each other: %s'):format(names), 0) end
  asker.awaits = context
  local pending = context.future
  while not pending do  -- it is declared later and will be entered in this turn
    future.sleep(0)
    pending = context.future
  end
  local ok, err = pcall(pending.await, pending)
  if not ok then
    error(('context %s, which this one asks for, was not entered: %s'):format(context.name, tostring(err)), 0)
  end
end

local function name_of(class)
  return type(class) == 'table' and own_name(class) or check.describe(class)
end

--- The value of an entered context. The user stands at level 3.
function Contexts:get(class)
  local context = self.by_class[class]
  if not context then
    error(('get_context: expected a class registered with app.context, got %s'):format(name_of(class)), 3)
  end
  if context.state == 'entering' or context.state == 'new' then await(self, context) end
  if context.state ~= 'entered' then
    local state = context.state == 'new' and 'contexts are entered on workers alone' or 'it is ' .. context.state
    error(('get_context: context %s is not entered: %s'):format(context.name or name_of(class), state), 3)
  end
  return context.value
end

--- What a failed `enter` tells the router and the callers that wait.
function Contexts.describe(err, context, traceback, registry)
  local fields = Error.describe(err, traceback, registry)
  fields.message = ('context %s: %s'):format(context.name or '?', fields.message):sub(1, 1024)
  fields.executed, fields.where, fields.context = 'no', 'worker', context.name
  return fields
end

return Contexts
