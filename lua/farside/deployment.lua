--- What a deploy script declares: functions, contexts, classes, scaling. The same on clients and workers.
--
-- A deployment is complete when its chunk returns (the file that is being loaded when farside.deployment is called; the
-- function that calls it, where none is), or before that when farside.run, app.ensure_ready or a first call need it: its
-- functions get their names then, and no more may be added. Where a function of the file makes it, those that are locals
-- there have these names. Client and worker run the same lines, so they come to the same names.
local Contexts = require 'farside.context'
local Error = require 'farside.error'
local Remote = require 'farside.remote'
local batch = require 'farside.batch'
local bundle = require 'farside.bundle'
local check = require 'farside.check'
local ffi = require 'ffi'
local future = require 'farside.future'
local names = require 'farside.names'
local native = require 'farside.native'
local scaling = require 'farside.scaling'
local served = require 'farside.served'
local yield = require 'farside.yield'

ffi.cdef 'char *getcwd(char *buffer, size_t size);'

local M = {}

local Deployment = {}
Deployment.__index = Deployment

local READY_TIMEOUT = 720
local READY_STEP = 0.05     -- other coroutines get their turn that often while one waits in ensure_ready
local PROGRESS_FIRST = 0.5
local PROGRESS_MOST = 10
local STDERR = 2

--- What a worker does: 'loading' its deploy script, 'preparing' contexts and benchmark, then 'serving'. nil on clients.
M.phase = native.role == 'worker' and 'loading' or nil

local declared = {}  -- 'name\0tag' -> deployment
local list = {}      -- the same, in order

-- Declaration -------------------------------------------------------------------------------------------------------

local function check_open(self, what)
  if self.complete and self.has_returned then
    return ("%s: expected inside the function that called farside.deployment at %s, got it after that has returned: it "
      .. "is called where no file is being loaded, so deployment '%s' is complete; call farside.deployment in the script itself, "
      .. 'or in a function that the script calls while it is loaded'):format(what, self.position:gsub(': $', ''), self.name)
  end
  if self.complete then
    return ("%s: expected before the first call, farside.run, app.ensure_ready or the end of the script, got it after: "
      .. "deployment '%s' is complete"):format(what, self.name)
  end
  return nil
end

local function add_function(self, func, options, name)
  local remote, problem = Remote.new(self, func, options, name)
  if not remote then return nil, problem end
  self.functions[#self.functions + 1] = remote
  return remote
end

--- Why a value cannot be made remote, or nil.
local function not_a_function(func)
  if type(func) == 'function' and debug.getinfo(func, 'S').what ~= 'C' then return nil end
  local got = type(func) == 'function' and 'a function written in C'
    or Remote.is_remote(func) and 'a function that is remote already' or check.describe(func)
  return 'app.remote: expected a Lua function, got ' .. got
end

--- What app.remote{...} returns: it waits for the function, as an argument or (the attribute form) behind `..`.
local Pending = {}

local function fulfil(pending, func)
  if pending.done then return nil, check.where(3) .. 'app.remote: expected one function, got another' end
  local problem = not_a_function(func)
  if problem then return nil, check.where(3) .. problem end
  pending.done = true
  return add_function(pending.deployment, func, pending.options, pending.name)
end

function Pending:__call(func)
  local remote, problem = fulfil(self, func)
  if not remote then error(problem, 0) end
  return remote
end

function Pending.__concat(pending, func)
  if getmetatable(pending) ~= Pending then error('app.remote: expected the function behind the options', 2) end
  local remote, problem = fulfil(pending, func)
  if not remote then error(problem, 0) end
  return remote
end

function Pending:__tostring()
  return ('app.remote{...} of %swithout its function'):format(self.position)
end

local api = {}

--- app.remote{options}(f), app.remote(f); the attribute form makes app.remote(options, 'name') .. f of itself.
function api.remote(self, options, name)
  local problem = check_open(self, 'app.remote')
  if not problem and type(options) == 'function' then
    problem = not_a_function(options)
    if not problem then
      local remote
      remote, problem = add_function(self, options, {}, nil)
      if not remote then error(problem, 0) end
      return remote
    end
  end
  problem = problem or Remote.is_remote(options) and not_a_function(options)
  problem = problem or Remote.check_options(options)
  if problem then error(problem, 2) end
  local pending = { deployment = self, options = options, name = name, position = check.where(2) }
  self.pending[#self.pending + 1] = pending
  return setmetatable(pending, Pending)
end

--- app.context(...)(class): the arguments go to `enter`. Returns the class.
function api.context(self, ...)
  local problem = check_open(self, 'app.context')
  if problem then error(problem, 2) end
  local arguments, position = { n = select('#', ...), ... }, check.where(2)
  return function(class)
    problem = self.contexts:add(class, arguments, position)
    if problem then error(problem, 2) end
    return class
  end
end

--- app.get_context(class): what its `enter` returned on this worker.
function api.get_context(self, class)
  local value = self.contexts:get(class)
  return value
end

--- app.yield(v, ...): in a function called by f:stream(...), hands an item to the loop there.
function api.yield(_, ...)
  yield.yield(2, ...)
end

--- app.class(name, class): its objects may travel. Returns the class.
function api.class(self, name, class)
  local problem = check_open(self, 'app.class')
  if not problem then
    local expected = check.name(name)
    if expected then problem = ('app.class: name: expected %s, got %s'):format(expected, check.describe(name)) end
  end
  if not problem and type(class) ~= 'table' then
    problem = ("app.class: '%s': expected a table, got %s"):format(name, check.describe(class))
  end
  if not problem and self.classes[name] then
    problem = ("app.class: expected a new name, got '%s' a second time"):format(name)
  end
  if problem then error(problem, 2) end
  self.classes[name] = class
  Error.name_class(class, name)
  return class
end

--- app.configure_autoscaling{...}: merges over calls.
function api.configure_autoscaling(self, options)
  local problem = self.number and 'app.configure_autoscaling: expected before the workers start, got after it'
  problem = problem or scaling.merge(self.scaling, options)
  if problem then error(problem, 2) end
  self.follows_load = self.follows_load or scaling.follows_load(options)
  self.limits_workers = self.limits_workers or options.max_workers ~= nil
end

-- Completion --------------------------------------------------------------------------------------------------------

local function current_folder()
  local size = 4096
  local buffer = ffi.new('char[?]', size)
  if ffi.C.getcwd(buffer, size) == nil then error('the working directory cannot be read', 0) end
  return ffi.string(buffer)
end

local function name_function(self, remote, scope)
  if remote.name then return end
  local name, got = names.find(remote, scope, getfenv(self.chunk))
  if not name then
    error(("%sthis remote function has no name: expected a local of the script, a key of the table it returns, "
      .. "a global or name = '...', %s"):format(remote.position, got), 0)
  end
  remote.name = name
end

local function check_functions(self)
  local first = {}
  local has_benchmark = false
  for _, remote in ipairs(self.functions) do
    local other = first[remote.name]
    if other then
      error(("%sa second remote function '%s': expected names used once, the first is at %s"):format(remote.position,
        remote.name, (other.position:gsub(': $', ''))), 0)
    end
    first[remote.name] = remote
    has_benchmark = has_benchmark or remote:has_benchmark()
  end
  if not has_benchmark then
    local found = check.sorted_keys(first)
    error(("%sdeployment '%s': expected a function with benchmark_dataset or benchmark_generator, got %s")
      :format(self.position, self.name, #found > 0 and 'only ' .. table.concat(found, ', ') or 'no function'), 0)
  end
end

--- Gives those their names that are locals of the function that makes the deployment, or keys of a table there.
local function name_in_maker(self, scope)
  for _, remote in ipairs(self.functions) do remote.name = remote.name or (names.find(remote, scope, {})) end
  for _, context in ipairs(self.contexts.list) do
    context.name = context.name or (names.find(context.class, scope, {}))
  end
end

local function complete(self, scope)
  self.watch:stop()
  local maker = self.maker and names.scope_of(self.maker, self.thread)
  if maker then name_in_maker(self, maker) end
  for _, pending in ipairs(self.pending) do
    if not pending.done then
      error(pending.position .. 'app.remote: expected a function after the options, got none', 0)
    end
  end
  for _, remote in ipairs(self.functions) do name_function(self, remote, scope) end
  self.contexts:name(function(class) return (names.find(class, scope, getfenv(self.chunk))) end)
  check_functions(self)
  if self.file and native.role ~= 'worker' then
    self.bundle = { cwd = current_folder(), path = package.path, renew = 'start this client anew' }
    self.bundle.hash, self.bundle.files = bundle.of(self.file, self.bundle.cwd)
  end
  self.complete = true
end

--- Completes a deployment, once. What is wrong with it is raised, each time anew.
---@param scope table? what is known of the chunk's locals
function Deployment:finish(scope)
  if self.complete then return end
  if not self.problem then
    scope = scope or names.scope_of(self.chunk, self.thread) or { locals = {}, tables = { self:returned_table() } }
    local ok, problem = pcall(complete, self, scope)
    if ok then return end
    self.problem = problem
  end
  error(self.problem, 0)
end

--- What the chunk returned, if that is a table and known: one that ended in a tail call was not seen to return.
function Deployment:returned_table()
  local value = self.returned
  if value == nil and self.module then value = package.loaded[self.module] end
  return type(value) == 'table' and value or nil
end

--- Completes those whose chunk is being run now: farside.run stands in a deploy script.
function M.finish_running()
  for _, deployment in ipairs(list) do
    local scope = not deployment.complete and names.scope_of(deployment.chunk, deployment.thread)
    if scope then deployment:finish(scope) end
  end
end

--- What client and worker must have in common, one item a line.
function Deployment:manifest()
  local lines = { ('deployment %s %s'):format(self.name, self.tag) }
  for _, remote in ipairs(self.functions) do lines[#lines + 1] = remote:manifest() end
  for _, name in ipairs(check.sorted_keys(self.classes)) do lines[#lines + 1] = 'class ' .. name end
  for _, context in ipairs(self.contexts.list) do lines[#lines + 1] = 'context ' .. context.name end
  return table.concat(lines, '\n') .. '\n'
end

--- The registry of its classes for the codec.
function Deployment:class_registry()
  local registry = native.new_registry()
  for _, name in ipairs(check.sorted_keys(self.classes)) do registry:add(name, self.classes[name]) end
  return registry
end

-- On a client -------------------------------------------------------------------------------------------------------

--- What a worker needs to load the same script.
local function start_of(self)
  return {
    name = self.name,
    tag = self.tag,
    file = self.file,
    module = self.module,
    path = package.path,
    cpath = package.cpath,
    cwd = current_folder(),
    bundle = self.bundle,
  }
end

local function options_of(remote)
  return {
    concurrency = remote:concurrency(),
    timeout = remote.options.timeout,
    queue_timeout = remote.options.queue_timeout,
    max_queue_time = remote.options.max_queue_time,
    idempotent = remote.options.idempotent == true,
    retry_on = remote.options.retry_on and table.concat(remote.options.retry_on, ','),
    benchmarked = remote:has_benchmark(),
    max_calls = remote.options.max_calls,
    max_rss = remote:max_rss(),
    batch_size = remote.options.batch and batch.size(remote.options),
    batch_wait = remote.options.batch and batch.wait(remote.options),
  }
end

--- What the router is told of its functions, in their order.
function Deployment:function_options()
  local functions = {}
  for i, remote in ipairs(self.functions) do functions[i] = options_of(remote) end
  return functions
end

local function progress(self, began, pause)
  local status = self:status()
  if status.state ~= 'starting' then return end
  local ready = 0
  for _, worker in ipairs(status.workers) do
    if worker.state == 'ready' then ready = ready + 1 end
  end
  io.stderr:write(("farside: '%s': %d of %d workers ready, %d calls waiting (%.1f s)\n"):format(self.name, ready,
    #status.workers, status.queued, native.now() - began))
  pause = math.min(2 * pause, PROGRESS_MOST)
  future.after(pause, function() progress(self, began, pause) end)
end

--- Lets calls of its functions go out by a handle.
function Deployment:number_functions(number, handle)
  for i, remote in ipairs(self.functions) do
    remote._handle, remote._deployment_number, remote._number = handle, number, i - 1
  end
end

-- A descriptor of this process is another thing, or nothing, in a worker.
local function is_descriptor(path)
  return path == '/dev/stdin' or path:find '^/dev/fd/' ~= nil or path:find '^/proc/%w+/fd/' ~= nil
end

--- What a router needs to know of it.
function Deployment:specification()
  self:finish()
  if not self.file or is_descriptor(self.file) then
    error(Error.new { name = 'ConfigError', executed = 'no', where = 'sdk', key = 'file',
      message = self.position .. 'a deployment must be declared in a file: workers load it too' }, 0)
  end
  local workers, plan = scaling.plan(self.scaling, self.follows_load, self.limits_workers)
  return {
    name = self.name,
    functions = self:function_options(),
    manifest = self:manifest(),
    tag = self.tag,
    hash = self.bundle.hash,
    files = self.bundle.files,
    start = start_of(self),
    workers = workers,
    scaling = plan,
    registry = self:class_registry(),
  }
end

--- Starts the workers, once.
function Deployment:start()
  if self.number then return end
  local specification = self:specification()
  local handle = future.handle()
  local number, router = handle:deploy(specification)
  if not number then error(Error.new(router), 0) end
  self.number, self.handle, self.router = number, handle, router
  self:number_functions(number, handle)
  if native.is_terminal(STDERR) then
    local began = native.now()
    future.after(PROGRESS_FIRST, function() progress(self, began, PROGRESS_FIRST) end)
  end
end

--- Makes the deployment's functions callable. Called by remote.lua for a function that a user called: that is level 4.
function Deployment:connect()
  if M.phase == 'loading' then
    error(check.where(4) .. 'client code in the deploy script: put it into farside.run(function() ... end) or a file '
      .. 'of its own', 0)
  end
  if M.phase == 'preparing' then
    error(Error.new { name = 'Unsupported', executed = 'no', where = 'sdk', feature = 'remote calls before a worker is ready',
      message = check.where(4) .. 'contexts and benchmarks cannot make remote calls; f:here(...) runs a function in place' }, 0)
  end
  if M.phase then
    self:number_functions(0, future.handle())
    return
  end
  self:start()
end

local READY_OPTIONS = { timeout = check.number(0), on_progress = check.a 'function' }

local function not_ready(self, seconds)
  local status = self:status()
  return Error.new { name = 'NotReady', executed = 'no', where = 'sdk', state = status.state, workers = #status.workers,
    last_error = status.failure,
    message = ("no worker of '%s' became ready within %g s; state: %s%s"):format(self.name, seconds, status.state,
      status.failure and ', last error: ' .. tostring(status.failure) or '') }
end

local function failed(err)
  if err and err.name == 'DeploymentFailed' then return Error.new(err) end
  return Error.new { name = 'DeploymentFailed', executed = 'no', where = 'router', cause = err,
    message = 'the workers of the deployment cannot be started' }
end

--- As handle:ready; a router elsewhere may have welcomed this client before a worker of its was ready.
local function await_ready(self, seconds)
  local state, err = self.handle:ready(self.number, seconds)
  if state ~= 'ready' or not self.router then return state, err end
  local status = self:status()
  if status.state == 'failed' then return 'failed', status.failure end
  if status.state ~= 'starting' then return 'ready' end
  future.sleep(math.min(READY_STEP, seconds))
  return 'timeout'
end

--- Tells whoever asked, if anything is new.
local function tell(self, on_progress, last)
  if not on_progress then return nil end
  local status = self:status()
  local parts = { status.state, status.queued, status.running }
  for _, worker in ipairs(status.workers) do parts[#parts + 1] = worker.state end
  local text = table.concat(parts, ' ')
  if text ~= last then on_progress(status) end
  return text
end

--- app.ensure_ready{timeout, on_progress}: starts the workers and waits until one is ready. Nothing on a worker.
function api.ensure_ready(self, options)
  local problem = options ~= nil and check.options('app.ensure_ready', options, READY_OPTIONS)
  if problem then error(problem, 2) end
  self:finish()
  if M.phase then return end
  self:start()
  local timeout = options and options.timeout or READY_TIMEOUT
  local on_progress = options and options.on_progress
  local deadline = native.now() + timeout
  local told
  repeat
    local left = math.max(0, deadline - native.now())
    local alone = not on_progress and not coroutine.running() and not future.delay()
    local state, err = await_ready(self, alone and left or math.min(READY_STEP, left))
    told = tell(self, on_progress, told)
    if state == 'ready' then return end
    if state == 'failed' then error(failed(err), 0) end
    future.pump(native.now())
  until state == 'timeout' and native.now() >= deadline
  error(not_ready(self, timeout), 0)
end

--- app.status(): what a person wants to know.
function Deployment:status()
  if not self.number then return { state = 'not started', queued = 0, running = 0, calls = 0, workers = {} } end
  local status = self.handle:status(self.number)
  if self.router and status.state == 'ready' then
    status = served.status(self.router, self.name, self.tag) or status
  end
  status.router = self.router
  status.failure = status.failure and Error.new(status.failure)
  for _, worker in ipairs(status.workers) do
    local scores = {}
    for number, score in pairs(worker.scores or {}) do
      local known = self.functions[tonumber(number) and number + 1]
      scores[known and known.name or number] = score
    end
    worker.scores = scores
  end
  return status
end

function api.status(self)
  return self:status()
end

-- farside.deployment ------------------------------------------------------------------------------------------------

local OPTIONS = {
  name = check.name,
  tag = check.name,
  version_label = check.a 'string',
  ttl = check.number(0, nil, true),
}

--- The table users get. Its functions are written with a dot; a colon does as well.
local function new_app(deployment)
  local app = {}
  for name, method in pairs(api) do
    app[name] = function(first, ...)
      if first == app then return method(deployment, ...) end
      return method(deployment, first, ...)
    end
  end
  return setmetatable(app, {
    __index = function(_, name)
      error(('app has no %s%s'):format(tostring(name), check.suggest(name, check.sorted_keys(api))), 2)
    end,
    __tostring = function() return ('farside.deployment: %s'):format(deployment.name) end,
  })
end

local function absolute(file)
  if not file or file:sub(1, 1) == '/' then return file end
  return current_folder() .. '/' .. file:gsub('^%./', '')
end

--- Forgets a deployment whose script has failed: it may be loaded again.
local function forget(deployment)
  for i = #list, 1, -1 do
    if list[i] == deployment then table.remove(list, i) end
  end
end

--- Parameters of the autoscaler among the options of a deployment, or nil.
local function misplaced(options)
  for _, name in ipairs(type(options) == 'table' and check.sorted_keys(scaling.OPTIONS) or {}) do
    if options[name] ~= nil then
      return ("farside.deployment: unknown option '%s'; it is one of app.configure_autoscaling { %s = ... }"):format(name, name)
    end
  end
  return nil
end

--- Declares a deployment; the caller's chunk is its deploy script.
function M.new(options)
  local problem = misplaced(options) or check.options('farside.deployment', options, OPTIONS)
  if not problem and options.name == nil then problem = "farside.deployment: expected name = '...', got none" end
  if problem then error(problem, 2) end
  local caller = names.caller(2)
  if not caller then
    error('farside.deployment: expected a call from a Lua file that keeps its result (local app = ...), got another', 2)
  end
  local tag = options.tag or 'default'
  local id = options.name .. '\0' .. tag
  local other = declared[id]
  if other and (other.complete or names.scope_of(other.chunk, other.thread)) then
    error(("farside.deployment: expected a name and tag used once, got '%s', '%s' again; the first is at %s")
      :format(options.name, tag, (other.position:gsub(': $', ''))), 2)
  end

  local self = setmetatable({
    name = options.name,
    tag = tag,
    version_label = options.version_label,
    ttl = options.ttl,
    position = caller.position,
    file = absolute(caller.file),
    module = caller.module,
    chunk = caller.chunk,
    maker = caller.maker,
    thread = coroutine.running(),
    functions = {},
    pending = {},
    classes = {},
    contexts = Contexts.new(),
    scaling = scaling.defaults(),
  }, Deployment)
  self.watch = names.watch(caller.chunk, function(scope)
    if not self.complete then self.has_returned = not caller.is_file end
    self:finish(scope)
  end, caller.maker, function(scope) name_in_maker(self, scope) end)
  forget(other)
  declared[id] = self
  list[#list + 1] = self
  return new_app(self)
end

--- The deployments that a file has declared.
function M.of_file(path)
  local found = {}
  for _, deployment in ipairs(list) do
    if deployment.file == absolute(path) then found[#found + 1] = deployment end
  end
  return found
end

--- The deployment of a name and tag that was declared in this process, or nil.
function M.find(name, tag)
  return declared[name .. '\0' .. tag]
end

return M
