--- farside call FUNCTION ...: one call of a function that a router serves, without its deploy script.
local ffi = require 'ffi'
local Error = require 'farside.error'
local check = require 'farside.check'
local files = require 'farside.cli.file'
local future = require 'farside.future'
local json = require 'farside.cli.json'
local native = require 'farside.native'
local routers = require 'farside.cli.routers'

local M = {}

if not pcall(function() return ffi.C.setenv end) then
  ffi.cdef 'int setenv(const char *name, const char *value, int overwrite);'
end

local WORKLOAD = 100  -- the deploy script's calculator is not here

M.description = 'Calls a function of a served deployment and prints its results, one a line: text as it is, tensors as ' ..
  'print shows them, anything else as JSON. An argument is NAME=VALUE or, by position, VALUE; a VALUE that is a number, ' ..
  'true, false, null, or starts with ", [ or {, is read as JSON. @FILE is what is in the file: of .npy a tensor, of ' ..
  '.safetensors tensors by name, of .json a value, else text. All else is text. Behind -- no word is an option.'
M.epilog = [[
Examples:
   farside call square x=5
   farside call square 5
   farside call square -- -5
   farside call square --json '{"x": 5}'
   farside call square --json '[5]'
   farside call nearest query=@query.npy
   farside call scale x=@x.npy by=2 --output scaled.npy]]

function M.declare(parser)
  parser:argument('function', 'Its name.'):argname 'FUNCTION'
  parser:argument('arguments', 'By name or by position.'):args '*':argname 'ARGUMENT'
  parser:option('--json', 'The arguments as a JSON object or list; the results are a JSON list, tensors in it lists of their ' ..
    'elements.'):args '?':argname 'JSON'
  parser:option('--timeout', 'How long the call may take.'):argname 'SECONDS':convert(function(word)
    local seconds = tonumber(word)
    if not seconds or seconds ~= seconds or seconds <= 0 then return nil, ("--timeout: expected seconds, got '%s'"):format(word) end
    return seconds
  end)
  parser:option('-o --output', 'Writes the result to a file instead: to .npy a tensor, to .safetensors tensors by name, to any other ' ..
    'what would be printed.'):argname 'FILE'
  routers.declare(parser)
end

-- Arguments ---------------------------------------------------------------------------------------------------------

local function value_of(word)
  if word:find '^@' then
    local value, problem = files.read(word:sub(2))
    if problem then return nil, ("argument '%s': %s"):format(word, problem) end
    return value
  end
  local is_json = word:find('^["%[{]') or word == 'true' or word == 'false' or word == 'null' or word:find('^-?%d[%d.eE+-]*$')
  if not is_json then return word end
  local value, problem = json.decode(word)
  if problem then
    if not word:find('^["%[{]') then return word end  -- 1.2.3, 007
    return nil, ("argument '%s': %s"):format(word, problem)
  end
  return value
end

local function is_parameter(described, name)
  for _, parameter in ipairs(described.parameters) do
    if parameter == name then return true end
  end
  return false
end

--- Values by name, in the order of the parameters. Without them, what is wrong, and whether it looks like a slip of the pen.
local function place(described, named)
  local values, count = {}, 0
  for i, parameter in ipairs(described.parameters) do
    if named[parameter] ~= nil then values[i], count = named[parameter], i end
  end
  for _, name in ipairs(check.sorted_keys(named)) do
    if not is_parameter(described, name) then
      local nearest = check.nearest(name, described.parameters)
      return nil, ("expected names of parameters (%s), got '%s'%s"):format(#described.parameters > 0
        and table.concat(described.parameters, ', ') or 'it names none', name,
        nearest and check.suggest(name, described.parameters) or ''), nearest ~= nil
    end
  end
  return values, count
end

local function from_json(described, text)
  local value, problem = json.decode(text)
  if problem then return nil, '--json: ' .. problem end
  if type(value) ~= 'table' or value == native.null then return nil, '--json: expected an object or a list' end
  if text:find('^%s*%[') then return value, #value end
  return place(described, value)
end

-- A word that was meant as text, as it has to be typed.
local function as_text(words, described)
  for _, word in ipairs(words) do
    if not is_parameter(described, word:match('^[^=]*')) then
      return ("; text that looks like NAME=VALUE is given as JSON, '%s'"):format(json.encode(word))
    end
  end
end

local function from_words(described, words)
  local named, values, count, has_names = {}, {}, 0, false
  for _, word in ipairs(words) do
    local name, rest = word:match('^([%a_][%w_]*)=(.*)$')
    local value, problem = value_of(name and rest or word)
    if problem then return nil, problem end
    if name and named[name] ~= nil then return nil, ("expected each parameter once, got '%s' again"):format(name) end
    if name then
      named[name], has_names = value, true
    else
      count = count + 1
      values[count] = value
    end
  end
  if not has_names then return values, count end
  if count > 0 then return nil, 'expected all arguments by name, or all by position, got both' end
  local placed, most, is_slip = place(described, named)
  if not placed and not is_slip then most = most .. as_text(words, described) end
  return placed, most
end

--- The arguments of a call: values and their number; nil, problem.
function M.arguments(described, given)
  local words, text = {}, given.json and given.json[1]
  for i, word in ipairs(given.arguments) do words[i] = word end
  if text and not text:find('^%s*[%[{]') then  -- --json alone, then an argument
    table.insert(words, 1, text)
    text = nil
  end
  if text and #words > 0 then return nil, 'expected arguments in --json or as words, got both' end
  local values, count
  if text then
    values, count = from_json(described, text)
  else
    values, count = from_words(described, words)
  end
  if values and not described.is_open and count > #described.parameters then
    return nil, ('expected at most %d arguments (%s), got %d'):format(#described.parameters,
      table.concat(described.parameters, ', '), count)
  end
  return values, count
end

-- The call ----------------------------------------------------------------------------------------------------------

local function find(description, name)
  local names = {}
  for i, described in ipairs(description.functions) do
    if described.name == name then return i - 1, described end
    names[i] = described.name
  end
  return nil, ("'%s' has no function '%s'%s"):format(description.name, name, check.suggest(name, names))
end

--- Results as they are printed.
function M.render(results, count, as_json)
  local lines = {}
  for i = 1, count do
    local result = results[i]
    if result == nil then result = native.null end
    if not as_json and (type(result) == 'string' or check.is_tensor(result)) then
      lines[i] = tostring(result)
    else
      lines[i] = json.encode(result, not as_json)
    end
  end
  if as_json then return '[' .. table.concat(lines, ',') .. ']\n' end
  return count > 0 and table.concat(lines, '\n') .. '\n' or ''
end

local function join(entry, description, welcome)
  local functions = {}
  for i, described in ipairs(description.functions) do
    functions[i] = { concurrency = described.concurrency, timeout = described.timeout, idempotent = described.idempotent }
  end
  ffi.C.setenv('FARSIDE_ROUTER', 'unix:' .. entry.deployment.path, 1)
  local handle = future.handle()
  local number, err = handle:deploy { name = description.name, tag = description.tag, hash = description.hash,
    manifest = welcome.manifest, functions = functions, start = {}, workers = 1 }
  if not number then return nil, Error.report(Error.new(err)) end
  return handle, number
end

local function pack(...)
  return { n = select('#', ...), ... }
end

local function call(handle, deployment, number, described, given, values, count)
  local limits = given.timeout and { timeout = given.timeout } or false
  local sent, refusal = handle:call(deployment, number, limits, WORKLOAD, described.parameters, unpack(values, 1, count))
  if not sent then return nil, Error.report(Error.new(refusal)) end
  local outcome = pack(pcall(future.result, sent))
  if outcome[1] then return { unpack(outcome, 2, outcome.n) }, outcome.n - 1 end
  local err = outcome[2]
  if Error.is_error(err) then
    local which = err.call_id and ('\ncall %s; where it went: farside why %s'):format(err.call_id, err.call_id) or ''
    return nil, Error.report(err) .. which
  end
  error(err, 0)
end

local function serves(name)
  return function(entry)
    local description = routers.ask(entry, 'describe')
    return description and find(description, name) ~= nil
  end
end

--- Prints results, or writes them to a file. What cannot be written is printed: the call has run. Returns what is wrong.
local function give(results, count, given)
  local function text() return M.render(results, count, given.json ~= nil) end
  local written, problem
  if given.output then written, problem = files.write(given.output, results, count, text) end
  if not written then io.write(text()) end
  return problem and '--output: ' .. problem
end

function M.run(given)
  local entry, code, problem = routers.one(given, serves(given['function']))
  if not entry then return code, problem end
  if routers.is_draining(entry.router) then
    entry.router.operator:close()
    return routers.NOBODY, ("the router of '%s' (process %d) drains: calls in progress finish and no others are let in; " ..
      "'farside serve SCRIPT' starts another one"):format(routers.full_name(entry.deployment), entry.router.status.pid)
  end
  local description
  description, code, problem = routers.ask(entry, 'describe')
  local welcome = description and native.operator(entry.deployment.path)
  entry.router.operator:close()
  if not welcome then return code or 1, problem or 'the router has ended' end
  local number, described = find(description, given['function'])
  if not number then return 64, described end
  local values, count = M.arguments(described, given)
  if not values then return 64, count end
  local handle, deployment = join(entry, description, welcome:welcome())
  welcome:close()
  if not handle then return 1, deployment end
  local results
  results, problem = call(handle, deployment, number, described, given, values, count)
  if results then problem = give(results, problem, given) end
  future.close()
  if problem then return 1, problem end
end

return M
