--- The handle of one remote function: what `app.remote{...}(f)` returns and a caller calls.
--
--     square(5)                        on a worker; yields in a coroutine of Farside's, blocks anywhere else
--     square:named { x = 5 }           the same, by names of parameters
--     square:spawn(5)                  at once; returns a future
--     generate:stream('a')             its results one by one, in a loop (stream.lua)
--     square:map { 5, 6 }              an iterator over many calls, several at a time (map.lua)
--     square:with { timeout = 2 }(5)   a handle whose calls have another deadline, in seconds
--     square:here(5)                   the plain function, in this process
local Error = require 'farside.error'
local batch = require 'farside.batch'
local check = require 'farside.check'
local future = require 'farside.future'
local map = require 'farside.map'
local stream = require 'farside.stream'

local Remote = {}
Remote.__index = Remote

-- What `with` has made -> the handle it was made of. Not a field: the names of handles are looked for in tables.
local bases = setmetatable({}, { __mode = 'k' })

local DEFAULT_WORKLOAD = 100
local WINDOW, MAX_WINDOW = 256 * 1024, 64 * 1024 * 1024
local MAX_TIMEOUT = 24 * 3600
local MAX_CONCURRENCY = 1024
local MAX_BENCHMARK = 1000000

-- Definition --------------------------------------------------------------------------------------------------------

local function a_dataset(value)
  if type(value) ~= 'table' or #value == 0 then return 'a list of at least one table' end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  if count ~= #value then return 'a list of tables, without holes or other keys' end
end

local function some_names(value)
  if type(value) ~= 'table' or #value == 0 then return 'a list of names of errors or classes' end
  for i = 1, #value do
    if type(value[i]) ~= 'string' or not value[i]:match('^[%w_.]+$') then return 'a list of names of errors or classes' end
  end
end

local function a_device(value)
  if type(value) == 'boolean' or value == 'cpu' then return end
  if type(value) ~= 'string' or not value:find '^cuda:%d+$' then return "true, 'cpu' or a GPU like 'cuda:0'" end
end

--- The options of app.remote.
Remote.OPTIONS = {
  name = check.name,
  benchmark_dataset = a_dataset,
  benchmark_generator = check.a 'function',
  benchmark_runs = check.integer(1, MAX_BENCHMARK),
  benchmark_concurrency = check.integer(1, MAX_CONCURRENCY),
  benchmark_warmup = check.a 'boolean',
  workload_calculator = check.a 'function',
  timeout = check.number(0, MAX_TIMEOUT, true),
  queue_timeout = check.number(0, MAX_TIMEOUT, true),   -- of calls that give none: seconds they may wait for a worker
  max_queue_time = check.number(0, MAX_TIMEOUT, true),  -- a call that is predicted to wait longer is refused at once
  concurrency = check.integer(1, MAX_CONCURRENCY),
  interrupt_safe = check.a 'boolean',    -- interrupted, it leaves its worker fit for the next call
  max_calls = check.integer(1, 2 ^ 31),  -- a process that has run so many calls of it is replaced
  max_rss = check.size,                  -- one that has more resident after a call of it is replaced
  idempotent = check.a 'boolean',
  batch = check.a 'table',  -- see batch.lua
  device = a_device,  -- where tensors among its arguments arrive; true: on the device of its worker
  retry_on = some_names,  -- errors after which an idempotent call is tried again: their names, or registered classes
}

--- Checks the options of app.remote as far as that can be done without the function.
---@return string? problem
function Remote.check_options(options)
  local problem = check.options('app.remote', options, Remote.OPTIONS)
  if problem then return problem end
  if options.benchmark_dataset and options.benchmark_generator then
    return 'app.remote: expected benchmark_dataset or benchmark_generator, got both'
  end
  problem = options.batch and batch.check_options(options)
  if problem then return problem end
  if options.retry_on and not options.idempotent then
    return 'app.remote: retry_on: expected idempotent = true beside it, for such calls run more than once'
  end
  for i, input in ipairs(options.benchmark_dataset or {}) do
    if type(input) ~= 'table' then
      return ('app.remote: benchmark_dataset[%d]: expected a table of parameters, got %s')
        :format(i, check.describe(input))
    end
  end
  return nil
end

local function parameters_of(func)
  local names = {}
  for i = 1, debug.getinfo(func, 'u').nparams do names[i] = debug.getlocal(func, i) end
  return names
end

--- Says which key of a table of arguments is no parameter.
---@return string? problem
---@return any key
local function unknown_parameter(self, arguments)
  if self.options.batch then return batch.bad_input(arguments) end
  for key in pairs(arguments) do
    if not self._numbers[key] then
      local shown = type(key) == 'string' and "'" .. key .. "'" or check.describe(key)
      if #self._names == 0 then return ('got %s, but the function has no parameters'):format(shown), key end
      return ('expected names of parameters (%s), got %s%s'):format(table.concat(self._names, ', '), shown,
        check.nearest(key, self._names) and check.suggest(key, self._names) or ''), key
    end
  end
  return nil
end

local function check_dataset(self)
  for i, input in ipairs(self.options.benchmark_dataset or {}) do
    local problem = unknown_parameter(self, input)
    if problem then return ('benchmark_dataset[%d]: %s'):format(i, problem) end
  end
  return nil
end

--- The function as it is called. One with `device` gets its tensors there; the library of tensors is loaded when the first
-- call comes.
local function entry_of(func, device)
  if not device then return func end
  local entry
  return function(...)
    entry = entry or require('farside.tensor.arrival').bring(func, device)
    return entry(...)
  end
end

--- Makes the handle of a function. Options are checked, the function is a Lua function.
---@return table? handle
---@return string? problem with the place of the function
function Remote.new(deployment, func, options, name)
  -- The parameter of a function with batch is the list; those of its calls have no names.
  local names = options.batch and {} or parameters_of(func)
  local is_open = options.batch ~= nil or debug.getinfo(func, 'u').isvararg
  local self = setmetatable({
    name = name or options.name,
    options = options,
    position = check.where_defined(func),
    _deployment = deployment,
    _entry = entry_of(func, options.device),
    _names = names,
    _numbers = {},
    _is_open = is_open,
    _most = is_open and math.huge or #names,
    -- What most functions lack is false, not nil: a missing field would be looked for in the class too.
    _calculator = options.workload_calculator or false,
    _limits = false,
    _on_progress = false,
  }, Remote)
  for i, parameter in ipairs(names) do self._numbers[parameter] = i end
  local problem = options.batch and batch.check_function(func) or check_dataset(self)
  if problem then return nil, self.position .. 'app.remote: ' .. problem end
  return self
end

function Remote.is_remote(value)
  return type(value) == 'table' and getmetatable(value) == Remote
end

function Remote:has_benchmark()
  return (self.options.benchmark_dataset or self.options.benchmark_generator) ~= nil
end

--- What a worker calls.
function Remote:entry()
  return self._entry
end

--- Bytes, or nil.
function Remote:max_rss()
  return check.bytes(self.options.max_rss)
end

function Remote:concurrency()
  return self.options.concurrency or 1
end

--- What an operator is told of it.
function Remote:description()
  local options = self.options
  return {
    name = self.name,
    parameters = self._names,
    is_open = self._is_open,
    concurrency = self:concurrency(),
    timeout = options.timeout,
    idempotent = options.idempotent == true,
    benchmark = self:has_benchmark(),
    batch = options.batch ~= nil,
  }
end

--- The function's line of the manifest: what callers and workers must agree on.
function Remote:manifest()
  local parameters = table.concat(self._names, ', ')
  if self._is_open then parameters = parameters .. (parameters == '' and '...' or ', ...') end
  return ('function %s(%s) concurrency=%d timeout=%s idempotent=%s benchmark=%s%s'):format(self.name, parameters,
    self:concurrency(), tostring(self.options.timeout or 'none'), tostring(self.options.idempotent == true),
    tostring(self:has_benchmark()), batch.manifest(self.options))
end

--- Arguments by name as positional ones, with their number.
function Remote:positional(arguments)
  if self.options.batch then return arguments, arguments.n or #arguments end
  local values = {}
  for name, value in pairs(arguments) do values[self._numbers[name]] = value end
  return values, #self._names
end

Remote.unknown_parameter = unknown_parameter

-- Workload ----------------------------------------------------------------------------------------------------------

local function report_workload(self, got)
  if self._reported then return end
  self._reported = true
  io.stderr:write(('farside: %s%s: workload_calculator: expected a number of at least 0, %s; such calls count %d\n')
    :format(self.position, self.name or 'function', got, DEFAULT_WORKLOAD))
end

--- The workload of a call: what the calculator says; 100 without one, or if it says nothing sensible.
function Remote:workload(...)
  if not self._calculator then return DEFAULT_WORKLOAD end
  local ok, value = pcall(self._calculator, ...)
  if not ok then
    report_workload(self, 'it raised: ' .. tostring(value))
  elseif type(value) ~= 'number' or not (value >= 0 and value < math.huge) then
    report_workload(self, 'got ' .. check.describe(value))
  else
    return value
  end
  return DEFAULT_WORKLOAD
end

-- Calls -------------------------------------------------------------------------------------------------------------

--- What goes with each call: nothing, a timeout, or a table for C.
local function limits_of(options)
  if next(options) == nil then return false end
  if next(options) == 'timeout' and next(options, 'timeout') == nil then return options.timeout end
  return {
    timeout = options.timeout,
    queue_timeout = options.queue_timeout,
    attempts = options.retries and options.retries + 1,
    priority = options.priority,
    key = options.idempotency_key,
    progress = options.on_progress ~= nil,
  }
end

--- The same for a call that streams.
local function stream_limits(options)
  local limits = limits_of(options)
  if type(limits) ~= 'table' then limits = { timeout = limits or nil } end
  limits.stream = options.window or WINDOW
  return limits
end

local function bad(self, fields, position)
  fields.name, fields.executed, fields.where, fields['function'] = 'BadArguments', 'no', 'sdk', self.name
  fields.message = ('%s%s: expected %s, got %s'):format(position, self.name, fields.expected, fields.got)
  return Error.new(fields)
end

-- Called by functions that users call: the user stands at level 3.
local function bad_arguments(self, fields)
  error(bad(self, fields, check.where(3)), 0)
end

local function too_many(self, count)
  local parameters = #self._names == 1 and '1 argument' or #self._names .. ' arguments'
  local names = #self._names > 0 and (' (%s)'):format(table.concat(self._names, ', ')) or ''
  return { parameter = #self._names + 1, expected = ('at most %s%s'):format(parameters, names),
    got = tostring(count) }
end

local function refused(self, fields)
  fields['function'] = fields['function'] or self.name
  return Error.new(fields)
end

--- Makes the handle ready for calls. Called by the methods that users call: Deployment:connect counts on that.
local function connect(self)
  local base = bases[self] or self
  base._deployment:connect()
  if base ~= self then
    self._handle, self._deployment_number, self._number = base._handle, base._deployment_number, base._number
  end
end

function Remote:__call(...)
  if not self._number then connect(self) end
  if select('#', ...) > self._most then bad_arguments(self, too_many(self, select('#', ...))) end
  local workload = self._calculator and self:workload(...) or DEFAULT_WORKLOAD
  local call, refusal = self._handle:call(self._deployment_number, self._number, self._limits, workload, self._names,
    ...)
  if call and self._on_progress then return future.of_call(call, self._on_progress):await() end
  if call then return future.result(call) end
  error(refused(self, refusal), 0)
end

local function check_self(self, method)
  if not Remote.is_remote(self) then error(('expected a colon: write f:%s(...)'):format(method), 3) end
end

--- Calls with arguments by the names of the parameters.
function Remote:named(arguments)
  check_self(self, 'named')
  if type(arguments) ~= 'table' then
    bad_arguments(self, { expected = 'a table of arguments by name', got = check.describe(arguments) })
  end
  local problem, key = unknown_parameter(self, arguments)
  if problem then
    bad_arguments(self, { parameter = tostring(key), expected = problem:match('^expected (.-), got ') or 'no arguments',
      got = problem:match('got (.*)$') })
  end
  if not self._number then connect(self) end
  local values, count = self:positional(arguments)
  return self(unpack(values, 1, count))
end

--- Calls without waiting. What is refused before it is sent is raised here, all else by await.
function Remote:spawn(...)
  check_self(self, 'spawn')
  if not self._number then connect(self) end
  if select('#', ...) > self._most then bad_arguments(self, too_many(self, select('#', ...))) end
  local workload = self:workload(...)
  local call, refusal = self._handle:call(self._deployment_number, self._number, self._limits, workload, self._names,
    ...)
  if call then return future.of_call(call, self._on_progress) end
  error(refused(self, refusal), 0)
end

--- Calls a function that yields (app.yield) and returns its stream: `for token in generate:stream(prompt) do`. The
-- deadline holds for all of it.
function Remote:stream(...)
  check_self(self, 'stream')
  if self.options.batch then
    error(('stream: expected a function without batch, got %s, whose calls run together'):format(self.name), 2)
  end
  if not self._number then connect(self) end
  if select('#', ...) > self._most then bad_arguments(self, too_many(self, select('#', ...))) end
  self._stream_limits = self._stream_limits or stream_limits(self._with or {})
  local call, refusal = self._handle:call(self._deployment_number, self._number, self._stream_limits,
    self:workload(...), self._names, ...)
  if call then return stream.new(self._handle, call, self._on_progress) end
  error(refused(self, refusal), 0)
end

--- Sends a call for map.lua, which stands at `position`.
---@return number? call
---@return table? err
function Remote:_send(position, ...)
  if select('#', ...) > self._most then return nil, bad(self, too_many(self, select('#', ...)), position) end
  local workload = self._calculator and self:workload(...) or DEFAULT_WORKLOAD
  local call, refusal = self._handle:call(self._deployment_number, self._number, self._limits, workload, self._names,
    ...)
  if call then return call end
  return nil, refused(self, refusal)
end

--- Calls the function for each element of a list, or for what an iterator function returns each time (several values
-- are several arguments), and returns an iterator: `for i, result in square:map(list) do`. See map.lua for the options.
function Remote:map(source, options, ...)
  check_self(self, 'map')
  local problem = map.check(source, options, ...)
  if self._with and self._with.idempotency_key then
    problem = 'map: expected a handle without idempotency_key: a key stands for one call; '
      .. 'call f:with{ idempotency_key = ... } with a key of its own for each element'
  end
  if problem then error(problem, 2) end
  if not self._number then connect(self) end
  return map.new(self, source, options or {}, check.where(2))
end

--- Calls the function itself, in this process.
function Remote:here(...)
  check_self(self, 'here')
  if self.options.batch then return batch.here(self, ...) end
  return self._entry(...)
end

local MAX_KEY = 255

local function a_key(value)
  if type(value) ~= 'string' or #value < 1 or #value > MAX_KEY then return ('a string of 1 to %d bytes'):format(MAX_KEY) end
end

-- What is left of a budget may be nothing: such a call ends in DeadlineExceeded without being sent.
local WITH_OPTIONS = {
  timeout = check.number(),        -- seconds, all in all
  queue_timeout = check.number(),  -- seconds it may wait for a worker
  retries = check.integer(0, 10),  -- further attempts when a worker is lost: as if the function were idempotent
  priority = check.integer(0, 255), -- a level more is worth a second of waiting
  idempotency_key = a_key,         -- calls with the same one are one run
  on_progress = check.a 'function',       -- gets n and total of farside.progress(n, total)
  window = check.integer(1, MAX_WINDOW),  -- of a stream: bytes of items that lie unread until the function waits
}

--- A handle of the same function whose calls have other options; what is not given stays as it is.
function Remote:with(options)
  check_self(self, 'with')
  local problem = check.options('with', options, WITH_OPTIONS)
  if problem then error(problem, 2) end
  local copy = {}
  for key, value in pairs(self) do copy[key] = value end
  copy._with = {}
  for key, value in pairs(self._with or {}) do copy._with[key] = value end
  for key, value in pairs(options) do copy._with[key] = value end
  copy._limits, copy._stream_limits = limits_of(copy._with), nil
  copy._on_progress = copy._with.on_progress or false
  bases[copy] = bases[self] or self
  return setmetatable(copy, Remote)
end

function Remote:__tostring()
  return ('farside.remote: %s'):format(self.name or '?')
end

return Remote
