--- A `farside.native` without processes, and a fresh Farside on top of it: for specs of the Lua side.
-- Time is the fake's own: it passes only while somebody waits, so nothing sleeps.
--
--     local farside, native = fake.load 'client'
--     native.answers.square = function(x) return x * x end     -- what the workers would run
--     native.latency = 2                                        -- seconds that a call takes, or a function of its arguments
--     native.limit = 4                                          -- calls that may be in flight
local M = {}

local function pack(...)
  return { n = select('#', ...), ... }
end

local REFUSED = { ['function'] = true, thread = true, userdata = true }

--- What the codec would not take: path and type, or nil.
local function refuse(value, path, classes)
  if value == M.null then return nil end
  if REFUSED[type(value)] then return path, type(value) end
  if type(value) ~= 'table' then return nil end
  local class = getmetatable(value)
  if class and not (classes and classes[class]) then return path, 'table with an unregistered metatable' end
  for key, field in next, value do
    local at, kind = refuse(field, ('%s.%s'):format(path, tostring(key)), classes)
    if at then return at, kind end
  end
  return nil
end

local function text_of(value)
  if type(value) ~= 'table' then return tostring(value) end
  local parts = {}
  for key, field in next, value do parts[#parts + 1] = tostring(key) .. '=' .. text_of(field) end
  return '{' .. table.concat(parts, ',') .. '}'
end

local function new_registry()
  local registry = { classes = {}, names = {} }
  function registry:add(name, class)
    self.classes[class] = name
    self.names[#self.names + 1] = name
  end
  return registry
end

local function encode(registry, ...)
  local parts = {}
  for i = 1, select('#', ...) do
    local value = select(i, ...)
    local path, kind = refuse(value, 'value ' .. i, registry and registry.classes)
    if path then
      return nil, { name = 'NotSerializable', executed = 'no', path = path, type = kind,
        message = ('%s is a %s'):format(path, kind) }
    end
    parts[i] = text_of(value)
  end
  local text = table.concat(parts, ',')
  local payload = newproxy(true)
  local class = getmetatable(payload)
  class.__index, class.__len = { tostring = function() return text end }, function() return #text end
  return payload
end

-- The client's handle -----------------------------------------------------------------------------------------------

local Handle = {}
Handle.__index = Handle

function Handle:deploy(deployment)
  self.native.deployed[#self.native.deployed + 1] = deployment
  return #self.native.deployed - 1
end

local function outcome_of(native, deployment, number, ...)
  local name, index = nil, 0
  for found in deployment.manifest:gmatch('\nfunction ([^(]+)') do
    if index == number then name = found end
    index = index + 1
  end
  local answer = native.answers[name]
  if not answer then return { n = 2, false, { name = 'NoSuchFunction', message = 'no answer', executed = 'no' } } end
  local results = pack(pcall(answer, ...))
  if not results[1] and type(results[2]) ~= 'table' then
    results[2] = { name = 'RemoteError', message = results[2], executed = 'yes',
      traceback = 'stack traceback:\n\tthere' }
  end
  return results
end

function Handle:call(number, func, timeout, workload, _, ...)
  local native = self.native
  local deployment = native.deployed[number + 1]
  local payload, refusal = encode(deployment.registry, ...)
  if not payload then return nil, refusal end
  if native.limit and #self.flying >= native.limit then
    return nil, { name = 'Overloaded', executed = 'no', scope = 'client', message = 'too many calls' }
  end
  local latency = type(native.latency) == 'function' and native.latency(...) or native.latency
  self.last = self.last + 1
  native.calls[self.last] = { func = func, timeout = timeout, workload = workload, n = select('#', ...), ... }
  self.flying[#self.flying + 1] = { number = self.last, at = native.time + latency,
    outcome = outcome_of(native, deployment, func, ...) }
  return self.last
end

function Handle:cancel(number)
  local native = self.native
  native.cancelled[#native.cancelled + 1] = number
  for _, call in ipairs(self.flying) do
    if call.number == number and call.at > native.time then
      call.at = native.time
      call.outcome = { n = 2, false, { name = 'Cancelled', executed = 'no', by = 'client', message = 'cancelled' } }
    end
  end
end

--- Index of a call that has ended: of that number, or the first.
local function ended(self, number)
  for i, call in ipairs(self.flying) do
    if call.at <= self.native.time and (not number or call.number == number) then return i end
  end
  return nil
end

function Handle:wait(number, timeout)
  local native = self.native
  native.waits = native.waits + 1
  if native.on_wait then native.on_wait() end
  if ended(self, number) then return 'done' end
  if ended(self) then return 'other' end
  local at = timeout and native.time + timeout or math.huge
  for _, call in ipairs(self.flying) do at = math.min(at, call.at) end
  assert(at < math.huge, 'a wait without end')
  native.time = math.max(native.time, at)
  if ended(self, number) then return 'done' end
  return ended(self) and 'other' or 'timeout'
end

local function take(self, index)
  if not index then return nil end
  local outcome = table.remove(self.flying, index).outcome
  return outcome
end

function Handle:take(number)
  local outcome = take(self, ended(self, number))
  if outcome then return unpack(outcome, 1, outcome.n) end
end

function Handle:next()
  local index = ended(self)
  local number = index and self.flying[index].number
  local outcome = take(self, index)
  if outcome then return number, unpack(outcome, 1, outcome.n) end
end

function Handle:done()
  local count = 0
  for _, call in ipairs(self.flying) do
    if call.at <= self.native.time then count = count + 1 end
  end
  return count, 0
end

function Handle:ready(_, timeout)
  local native = self.native
  if native.time >= native.ready_at then
    if native.failure then return 'failed', native.failure end
    return 'ready'
  end
  native.time = math.min(native.ready_at, native.time + timeout)
  return 'timeout'
end

function Handle:status()
  return self.native.status
end

function Handle.is_forked()
  return false
end

function Handle:close()
  self.closed = true
end

-- The worker's executor ---------------------------------------------------------------------------------------------

local Executor = {}
Executor.__index = Executor

--- An executor that will take the given calls, { number, arguments... } each, and then drain.
function M.executor(native, calls)
  return setmetatable({ native = native, calls = calls or {}, log = {}, running = {}, answers = {} }, Executor)
end

function Executor.is_forked()
  return false
end

function Executor:open(options)
  self.options = options
end

function Executor:ready(manifest, scores)
  self.log[#self.log + 1] = 'ready'
  self.manifest, self.scores = manifest, scores
end

function Executor:goodbye(code, phase, err)
  self.log[#self.log + 1] = 'goodbye'
  self.said = { code = code, phase = phase, err = err }
end

function Executor:measure(on)
  self.log[#self.log + 1] = on and 'measure' or 'measured'
end

--- Nothing is known of a GPU.
function Executor.device()
  return 0, false
end

function Executor:draining()
  return self.drained == true
end

--- Calls of its own functions that have ended, and news of others: none are made.
function Executor.done()
  return 0, 0
end

function Executor.sequence()
  return nil
end

function Executor:pause(timeout)
  assert(timeout, 'a pause without end')
  self.native.time = self.native.time + timeout
end

function Executor:resume(co, ...)
  local results = pack(coroutine.resume(co, ...))
  local call = self.running[co]
  if call and coroutine.status(co) == 'dead' then
    self.running[co] = nil
    local answer = pack(select(2, unpack(results, 1, results.n)))
    if not answer[1] then answer[2] = self.options.describe(answer[2]) end
    self.answers[call] = answer
  end
  return unpack(results, 1, results.n)
end

function Executor:turn(timeout)
  local call = table.remove(self.calls, 1)
  if call then
    local entry, trace = self.options.entries[call[1]], self.options.trace
    local co = coroutine.create(function(...) return xpcall(entry, trace, ...) end)
    self.options.ours[co] = true
    self.running[co] = call
    self:resume(co, unpack(call, 2, table.maxn(call)))
    return true
  end
  if not next(self.running) then return false end
  if self.on_idle then self.on_idle(self) end
  self.native.time = self.native.time + (timeout or 1)
  return true
end

-- Loading -----------------------------------------------------------------------------------------------------------

local loaders = { unpack(package.loaders) }

--- Loads Farside anew, in a role, on a new fake.
---@return table farside
---@return table native
function M.load(role)
  for name in pairs(package.loaded) do
    if name == 'farside' or name:find('^farside%.') then package.loaded[name] = nil end
  end
  for i = #package.loaders, 1, -1 do package.loaders[i] = loaders[i] end
  local native = { role = role, version = 'fake', time = 1000, latency = 0, ready_at = 0, waits = 0, cores = 2,
    deployed = {}, calls = {}, answers = {}, cancelled = {}, null = M.null, opened = 0 }
  function native.now() return native.time end
  function native.usable_cores() return native.cores end
  function native.usable_devices() return native.devices or 0 end
  function native.is_terminal() return native.terminal == true end
  function native.sha256(bytes) return ('%016x'):format(#bytes) end
  function native.on_fork() end
  function native.array(t) return t end
  function native.map(t) return t end
  native.new_registry, native.encode = new_registry, encode
  function native.open()
    native.opened = native.opened + 1
    native.handle = setmetatable({ native = native, flying = {}, last = 0 }, Handle)
    return native.handle
  end
  package.loaded['farside.native'] = native
  return require 'farside', native
end

--- Makes a module of a text, as if it stood in a file NAME.lua, and requires it.
function M.require(name, text)
  package.loaded[name] = nil
  package.preload[name] = assert(require('farside.attributes').load(text, name .. '.lua'))
  return require(name)
end

--- What is written to stderr while a function runs.
function M.stderr_of(func)
  local written = {}
  local stderr = io.stderr
  io.stderr = { write = function(_, ...) written[#written + 1] = table.concat({ ... }) end }  -- luacheck: ignore
  local ok, err = pcall(func)
  io.stderr = stderr  -- luacheck: ignore
  if not ok then error(err, 0) end
  return table.concat(written)
end

M.null = setmetatable({}, { __tostring = function() return 'null' end })

return M
