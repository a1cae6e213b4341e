--- What a deploy script calls the values it makes: its locals, the keys of the table it returns, globals.
local check = require 'farside.check'

local M = {}

local STACK_CHECK = 256  -- events between looks whether the chunk is still there

-- Scopes ------------------------------------------------------------------------------------------------------------

--- Reads the locals of the function at `level`. `tables` are those a name may be a key of: with `returns`, what stands
-- in the first free slot too, where `return {...}` has made its table.
local function read_scope(level, thread, returns)
  local scope = { locals = {}, tables = {} }
  local i = 1
  while true do
    local name, value
    if thread then name, value = debug.getlocal(thread, level, i) else name, value = debug.getlocal(level + 1, i) end
    if not name then break end
    local is_temporary = name:sub(1, 1) == '('
    if is_temporary and not returns then break end
    if type(value) == 'table' then scope.tables[#scope.tables + 1] = value end
    if is_temporary then break end
    scope.locals[#scope.locals + 1] = { name = name, value = value }
    i = i + 1
  end
  return scope
end

--- The scope of a chunk that is being run, by the thread that runs or by `thread`; nil when it is not found there.
function M.scope_of(chunk, thread)
  if thread and (thread == coroutine.running() or coroutine.status(thread) == 'dead') then thread = nil end
  local level = thread and 0 or 1
  while true do
    local info
    if thread then info = debug.getinfo(thread, level, 'f') else info = debug.getinfo(level, 'f') end
    if not info then return nil end
    if info.func == chunk then
      local scope = read_scope(level, thread, false)  -- a tail call would move the levels
      return scope
    end
    level = level + 1
  end
end

local function keys_of(value, tables)
  local found, seen = {}, {}
  for _, candidate in ipairs(tables) do
    for key, field in next, candidate do
      if rawequal(field, value) and type(key) == 'string' and not seen[key] then
        seen[key] = true
        found[#found + 1] = key
      end
    end
  end
  table.sort(found)
  return found
end

--- The name of a value in a scope, by the rules in their order: local, key of a table, global.
---@return string? name
---@return string? problem
function M.find(value, scope, globals)
  for _, variable in ipairs(scope.locals) do
    if rawequal(variable.value, value) then return variable.name end
  end
  for _, tables in ipairs { scope.tables, { globals } } do
    local keys = keys_of(value, tables)
    if #keys == 1 then return keys[1] end
    if #keys > 1 then return nil, ("got several, '%s'"):format(table.concat(keys, "', '")) end
  end
  return nil, 'got none of them'
end

-- The end of a chunk ------------------------------------------------------------------------------------------------

local Watch = {}
Watch.__index = Watch

function Watch:stop()
  if self.over then return end
  self.over = true
  if debug.gethook() == self.hook then debug.sethook(self.previous, self.mask, self.count) end
end

local EVENT_MASKS = { call = 'c', ['tail call'] = 'c', ['return'] = 'r', ['tail return'] = 'r', line = 'l' }

local function wants(watch, event)
  if event == 'count' then return watch.count > 0 end
  return watch.mask:find(EVENT_MASKS[event], 1, true) ~= nil
end

--- Tells whether a chunk has left the stack by an error or a tail call, which hooks do not tell. Where that cannot be
-- seen (a chunk of the main thread, looked for from a coroutine) it has not.
local function has_left(watch)
  if watch.thread then
    return coroutine.status(watch.thread) == 'dead' or not M.scope_of(watch.chunk, watch.thread)
  end
  return not coroutine.running() and not M.scope_of(watch.chunk)
end

--- Calls `on_return` with a chunk's scope when it returns; an error it raises goes to whoever runs the chunk. The same for
-- the first return of the function `inner`, if there is one, by `on_inner`. A hook set before goes on working. A hook of C's
-- cannot be chained with: nothing is watched then.
function M.watch(chunk, on_return, inner, on_inner)
  local previous, mask, count = debug.gethook()
  local watch = setmetatable({ chunk = chunk, thread = coroutine.running(), previous = previous, mask = mask or '',
    count = count or 0 }, Watch)
  if type(previous) == 'string' then
    watch.over = true
    return watch
  end

  local events = 0
  function watch.hook(event, line)
    if event == 'return' and not watch.over then
      events = events + 1
      local func = debug.getinfo(2, 'f').func
      if func == chunk then
        watch:stop()
        on_return(read_scope(2, nil, true))
      elseif func == inner then
        inner = nil
        on_inner(read_scope(2, nil, true))
      elseif events % STACK_CHECK == 0 and has_left(watch) then
        watch:stop()
      end
    end
    -- As a tail call, so that the other hook finds at level 2 what it would find without this one.
    if previous and wants(watch, event) then return previous(event, line) end
  end

  local all = watch.mask:find('r', 1, true) and watch.mask or watch.mask .. 'r'
  debug.sethook(watch.hook, all, watch.count)
  return watch
end

--- The level of the file that is being loaded when the function at `level` is called: of the next file up the stack, or
-- beyond functions in C, which may be those of a program that calls back, of the function's own file. nil: there is none.
local function level_of_file(level)
  local source, is_near = debug.getinfo(level + 1, 'S').source, true
  while true do
    local info = debug.getinfo(level + 1, 'S')
    if not info then return nil end
    if info.what == 'main' and (is_near or info.source == source) then return level end
    is_near = is_near and info.what ~= 'C'
    level = level + 1
  end
end

--- Runs the chunk of the file `path`, which stays known where the chunk ends in a tail call.
function M.run_file(chunk, path)
  local returned = chunk()
  return returned, path
end

--- The file that is being loaded where a tail call (`return make()`) has left no frame of it on the stack: require knows its
-- module, and M.run_file its path. Returns the level of the function in its place, the file and the module's name.
local function left_by_tail_call(level)
  local info = debug.getinfo(level + 1, 'fS')
  while info and info.what == 'Lua' and info.func ~= M.run_file do
    level = level + 1
    info = debug.getinfo(level + 1, 'fS')
  end
  if not info then return nil end
  if info.func == M.run_file then
    local _, path = debug.getlocal(level + 1, 2)
    return level - 1, path
  end
  local _, name = debug.getlocal(level + 1, 1)
  local file = info.func == require and type(name) == 'string' and package.searchpath(name, package.path)
  if file then return level - 1, file, name end
end

--- Whoever calls at `level`, with what a deployment needs to know of the file that is being loaded: `chunk` is what runs
-- it, and `maker` the function in it that calls. Where no file is being loaded the function stands for it.
function M.caller(level)
  local info = debug.getinfo(level + 1, 'fS')
  if not info or info.what == 'C' then return nil end
  local at, file, module = left_by_tail_call(level + 1)
  at = at or level_of_file(level + 1)
  local chunk = at and debug.getinfo(at, 'fS') or info
  local _, first = debug.getlocal(at or level + 1, -1)
  local above = debug.getinfo((at or level + 1) + 1, 'f')
  local is_module = not file and type(first) == 'string' and above ~= nil and above.func == require
  return {
    chunk = chunk.func,
    maker = chunk.func ~= info.func and info.func or nil,
    is_file = at ~= nil,
    file = file or chunk.source:match('^@(.*)$'),
    module = is_module and first or module,
    position = check.where(level + 1),
  }
end

return M
