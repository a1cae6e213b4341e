--- Error objects: what a caller catches when a call fails.
-- The codec gives errors as plain tables; Error.new makes objects of them. In a worker, Error.describe makes such a
-- table of whatever a function raised.
local check = require 'farside.check'
local fault = require 'farside.cuda.fault'
local native = require 'farside.native'

local Error = {}

local MAX_MESSAGE = 1024
local MAX_TRACEBACK = 16 * 1024
local MAX_DATA = 64 * 1024
local MAX_CAUSES = 8

-- Names and the numbers gRPC has for their kinds.
local CODES = {
  RemoteError = 2, Cancelled = 1, DeadlineExceeded = 4, BadArguments = 3, NotSerializable = 3, UnknownClass = 3,
  ArgumentTooLarge = 8, ResultTooLarge = 8, NoSuchDeployment = 5, NoSuchFunction = 12, DuplicateId = 6,
  Unauthenticated = 16, PermissionDenied = 7, Overloaded = 8, QuotaExceeded = 8, DeploymentChanged = 9, NotReady = 14,
  Draining = 14, DeploymentFailed = 9, WorkerLost = 14, WorkerOutOfMemory = 8, GpuFault = 13, PoisonCall = 10,
  RouterLost = 14, ConnectFailed = 14, SlowReader = 8, BadFrame = 3, FrameTooLarge = 8, Corrupt = 15,
  VersionMismatch = 9, Unsupported = 12, BundleRejected = 9, EngineError = 14, ConfigError = 9, Internal = 13,
  Unknown = 2,
}

local function set(words)
  local members = {}
  for word in words:gmatch('%S+') do members[word] = true end
  return members
end

local FAMILIES = {
  Unavailable = set 'NotReady Draining WorkerLost RouterLost ConnectFailed EngineError',
  Refused = set 'Overloaded QuotaExceeded DeploymentChanged NotReady Draining DeploymentFailed',  -- if it did not run
  ResourceExhausted = set [[ArgumentTooLarge ResultTooLarge Overloaded QuotaExceeded WorkerOutOfMemory SlowReader
    FrameTooLarge]],
  BadRequest = set 'BadArguments NotSerializable UnknownClass NoSuchDeployment NoSuchFunction DuplicateId BadFrame',
  Auth = set 'Unauthenticated PermissionDenied',
  Fault = set 'WorkerOutOfMemory GpuFault PoisonCall Corrupt Internal',
}

local RETRYABLE = set 'Overloaded NotReady Draining ConnectFailed'
local RETRYABLE_UNLESS_RUN = set 'DeadlineExceeded RouterLost'

-- class -> the name it is registered under, of all apps.
local class_names = setmetatable({}, { __mode = 'k' })

--- Lets `e:is('Name')` know a registered class.
function Error.name_class(class, name)
  class_names[class] = name
end

function Error.is_error(value)
  return type(value) == 'table' and getmetatable(value) == Error
end

-- Making them -------------------------------------------------------------------------------------------------------

local function is_retryable(fields)
  if RETRYABLE[fields.name] then return true end
  return RETRYABLE_UNLESS_RUN[fields.name] ~= nil and fields.executed == 'no'
end

--- Makes an error object of a table of fields, which it keeps. `depth` is that of a cause.
function Error.new(fields, depth)
  if Error.is_error(fields) then return fields end
  if type(fields) ~= 'table' then fields = { name = 'Internal', message = tostring(fields) } end
  if not CODES[fields.name] then
    fields.original_name, fields.original_code = fields.name, fields.code
    fields.name, fields.code = 'Unknown', nil
  end
  fields.code = fields.code or CODES[fields.name]
  fields.executed = fields.executed or 'maybe'
  fields.message = fields.message or fields.original_name or fields.name
  if fields.retryable == nil then fields.retryable = is_retryable(fields) end
  depth = depth or 1
  if type(fields.cause) == 'table' and depth <= MAX_CAUSES then fields.cause = Error.new(fields.cause, depth + 1) end
  return setmetatable(fields, Error)
end

-- Asking them -------------------------------------------------------------------------------------------------------

--- The metatables of an object, the most derived first. Bounded, for a chain may be a ring.
local function classes_of(object)
  local found = {}
  local class = getmetatable(object)
  while type(class) == 'table' and #found < MAX_CAUSES do
    found[#found + 1] = class
    local parent = rawget(class, '__index')
    if parent == class or type(parent) ~= 'table' then
      parent = getmetatable(class)
      parent = type(parent) == 'table' and rawget(parent, '__index') or nil
    end
    class = parent
  end
  return found
end

local methods = {}

--- Tells whether an error is of a name, of a family, or of a class (or its registered name) that was thrown remotely.
function methods:is(what)
  if what == Error then return true end
  if what == rawget(self, 'name') or what == rawget(self, 'type') then return what ~= nil end
  local family = FAMILIES[what]
  if family and family[rawget(self, 'name')] then
    return what ~= 'Refused' or rawget(self, 'executed') == 'no'
  end
  for _, class in ipairs(classes_of(rawget(self, 'data'))) do
    if class == what or class_names[class] == what then return what ~= nil end
  end
  return false
end

--- An error's own fields come first, then `is`, then what the thrown table has.
function Error.__index(self, key)
  local method = methods[key]
  if method then return method end
  local data = rawget(self, 'data')
  if type(data) == 'table' then return data[key] end
  return nil
end

-- Texts -------------------------------------------------------------------------------------------------------------

local function one_line(self)
  local message, name = tostring(rawget(self, 'message')), tostring(rawget(self, 'name'))
  local executed = tostring(rawget(self, 'executed'))
  local text
  if name == 'RemoteError' then
    text = ('%s [RemoteError, executed=%s]'):format(message, executed)
  else
    text = ('%s: %s [executed=%s]'):format(name, message, executed)
  end
  local id, cause = rawget(self, 'error_id'), rawget(self, 'cause')
  if id then text = ('%s (%s)'):format(text, tostring(id)) end
  local why = Error.is_error(cause) and tostring(rawget(cause, 'message'))
  if why and not message:find(why, 1, true) then text = ('%s; cause: %s'):format(text, why) end
  return text
end

--- An error's text with its remote traceback and those of its causes.
function Error.report(self)
  local lines = { one_line(self) }
  local err, depth = self, 0
  while Error.is_error(err) and depth < MAX_CAUSES do
    local traceback = rawget(err, 'traceback')
    if type(traceback) == 'string' and traceback ~= '' then
      lines[#lines + 1] = 'remote ' .. (traceback:gsub('^%s+', ''):gsub('^remote ', ''))
    end
    err, depth = rawget(err, 'cause'), depth + 1
  end
  return table.concat(lines, '\n')
end

local function is_of_a_library(func)
  for _, library in next, package.loaded do
    for _, value in next, type(library) == 'table' and library or {} do
      if rawequal(value, func) then return true end
    end
  end
  return false
end

-- A program that prints an error nobody caught, as the front end of luajit does, asks for its text from a C function
-- that is in no library, unlike print and pcall. There is no other way to show the remote traceback there.
local function asked_by_front_end()
  local caller = debug.getinfo(3, 'Sf')
  return caller and caller.what == 'C' and not is_of_a_library(caller.func)
end

function Error.__tostring(self)
  local ok, text = pcall(asked_by_front_end() and Error.report or one_line, self)
  return ok and text or 'Farside error'
end

-- Where Farside's own files are, as the names of their chunks say it.
local own_folder = debug.getinfo(1, 'S').source:gsub('error%.lua$', '')

--- The stack from `level` up (1 is the caller), without Farside's own frames, in the form of debug.traceback.
function Error.traceback(level)
  local lines = { 'stack traceback:' }
  level = level + 1
  while #lines < 30 do
    local info = debug.getinfo(level, 'Snl')
    if not info then break end
    if info.what ~= 'C' and info.source:sub(1, #own_folder) ~= own_folder then
      local name = info.what == 'main' and 'in main chunk' or info.name and ("in function '%s'"):format(info.name)
        or ('in function <%s:%d>'):format(info.short_src, info.linedefined)
      lines[#lines + 1] = ('\t%s:%d: %s'):format(info.short_src, info.currentline, name)
    end
    level = level + 1
  end
  return #lines > 1 and table.concat(lines, '\n') or ''
end

-- In a worker -------------------------------------------------------------------------------------------------------

local function cut(text, size)
  if #text <= size then return text end
  return (text:sub(1, size - 3):gsub('[\192-\255][\128-\191]*$', '')) .. '...'
end

--- The text of any value; its __tostring may raise or return anything.
local function text_of(value)
  local class = getmetatable(value)
  local has_text = type(class) == 'table' and rawget(class, '__tostring') ~= nil
  if type(value) == 'table' and not has_text then
    local message = rawget(value, 'message')
    return type(message) == 'string' and message or '(the error is a table)'
  end
  local ok, text = pcall(tostring, value)
  return ok and type(text) == 'string' and text or ('(the error is a %s whose __tostring fails)'):format(type(value))
end

local function kind_of(message)
  if message == 'not enough memory' then return 'memory' end
  if message == 'interrupted' then return 'interrupted' end
  if message:find('stack overflow', 1, true) or message:find('error in error handling', 1, true) then return 'stack' end
  return 'error'
end

local function fits(registry, value)
  local payload = native.encode(registry, value)
  return payload ~= nil and #payload <= MAX_DATA
end

--- What of a thrown value can travel: all of it, or those of its fields that can, together within the limit. A tensor is what it
-- is or nothing.
local function portable(registry, value)
  if fits(registry, value) then return value end
  if type(value) ~= 'table' or check.is_tensor(value) then return nil end
  local copy = {}
  for key, field in next, value do
    if type(key) == 'string' and fits(registry, field) then
      copy[key] = field
      if not fits(registry, copy) then copy[key] = nil end
    end
  end
  return next(copy) ~= nil and copy or nil
end

local function registered_name(value)
  if type(value) ~= 'table' then return nil end
  return class_names[getmetatable(value)]
end

--- An error object as fields that can travel, with its causes.
local function plain(registry, err, depth)
  local fields = {}
  for key, value in next, err do
    if key ~= 'cause' and fits(registry, value) then fields[key] = value end
  end
  local cause = rawget(err, 'cause')
  if Error.is_error(cause) and depth < MAX_CAUSES then fields.cause = plain(registry, cause, depth + 1) end
  return fields
end

--- Makes the fields of a RemoteError of what a function raised. Never raises.
---@param err any
---@param traceback string?
---@param registry any of the deployment's classes
function Error.describe(err, traceback, registry)
  local message = type(err) == 'string' and err or text_of(err)
  local fields = {
    name = 'RemoteError',
    code = CODES.RemoteError,
    message = cut(message, MAX_MESSAGE),
    executed = 'yes',
    retryable = false,
    where = 'function',
    kind = type(err) == 'string' and kind_of(err) or 'error',
    traceback = type(traceback) == 'string' and cut(traceback, MAX_TRACEBACK) or nil,
  }
  if Error.is_error(err) then
    fields.cause = plain(registry, err, 1)
  elseif fault.is(err) then
    fields.kind, fields.cuda_code, fields.cuda_name, fields.device = err.kind, err.cuda_code, err.cuda_name, err.device
  elseif type(err) ~= 'string' then
    fields.type = registered_name(err)
    fields.data = portable(registry, err)
  end
  return fields
end

return Error
