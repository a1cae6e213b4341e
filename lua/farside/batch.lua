--- Functions that run many calls as one: `app.remote { batch = { max_size = 32, max_wait = 0.005 } }`.
--
-- Callers call such a function with the arguments of one element. On a worker it gets a list of elements, each a list of
-- arguments { n = count, ... }, and returns a list of as many results, one value each. An element of that list made by
-- farside.error fails its call alone.
local Error = require 'farside.error'
local check = require 'farside.check'

local M = {}

local MAX_CALLS = 1024  -- of one function on one worker
local SIZE, WAIT = 32, 0.005

local OPTIONS = {
  max_size = check.integer(2, MAX_CALLS),
  max_wait = check.number(0, 3600),
}

-- Options -----------------------------------------------------------------------------------------------------------

--- Checks the option `batch` of app.remote, which is a table.
---@return string? problem
function M.check_options(options)
  local problem = check.options('app.remote: batch', options.batch, OPTIONS)
  if problem then return problem end
  local size, concurrency = options.batch.max_size or SIZE, options.concurrency or 1
  if size * concurrency > MAX_CALLS then
    return ('app.remote: batch: expected max_size * concurrency of at most %d, got %d * %d'):format(MAX_CALLS, size,
      concurrency)
  end
  return nil
end

--- The function has to take a list.
---@return string? problem
function M.check_function(func)
  local info = debug.getinfo(func, 'u')
  if info.nparams <= 1 then return nil end
  return ('batch: expected a function of one parameter, the list of elements, got one of %d'):format(info.nparams)
end

function M.size(options)
  return options.batch.max_size or SIZE
end

function M.wait(options)
  return options.batch.max_wait or WAIT
end

--- What callers and workers must agree on.
function M.manifest(options)
  if not options.batch then return '' end
  return (' batch=%d/%g'):format(M.size(options), M.wait(options))
end

--- An element of a benchmark: its arguments by position.
---@return string? problem
---@return any key
function M.bad_input(input)
  for key in pairs(input) do
    if key ~= 'n' and (type(key) ~= 'number' or key < 1 or key % 1 ~= 0) then
      local shown = type(key) == 'string' and "'" .. key .. "'" or check.describe(key)
      return ('expected the arguments of an element by position (a function with batch has no names for them), got %s')
        :format(shown), key
    end
  end
  return nil
end

-- Results -----------------------------------------------------------------------------------------------------------

local Failure = {}

function Failure:__tostring()
  return 'farside.error: ' .. tostring(self.value)
end

--- farside.error(value): a result that fails its call as error(value) would. A string gets the place of the caller.
function M.error(value)
  if type(value) == 'string' then value = check.where(2) .. value end
  return setmetatable({ value = value, traceback = Error.traceback(2) }, Failure)
end

--- Whether a result is a failure; then the value raised and its traceback.
function M.failure(result)
  if getmetatable(result) == Failure then return true, result.value, result.traceback end
  return Error.is_error(result), result
end

--- What is wrong with what a function returned for a list of so many elements, or nil.
---@return string? problem
function M.bad_results(results, count)
  local got
  if type(results) ~= 'table' or M.failure(results) then
    got = M.failure(results) and 'an error' or check.describe(results)
  else
    local size = rawget(results, 'n')
    if type(size) ~= 'number' then size = #results end
    if size == count then return nil end
    got = ('a list of %d'):format(size)
  end
  return ('a function with batch: expected a list of %d result%s, got %s'):format(count, count == 1 and '' or 's', got)
end

--- Calls the function with a list of elements, in this process. Returns the list of results.
function M.run(remote, list)
  local results = remote:entry()(list)
  local problem = M.bad_results(results, #list)
  if problem then error(remote.position .. problem, 0) end
  return results
end

--- Calls it with one element and returns the result, or raises it.
function M.here(remote, ...)
  local result = M.run(remote, { { n = select('#', ...), ... } })[1]
  local failed, value = M.failure(result)
  if failed then error(value, 0) end
  return result
end

return M
