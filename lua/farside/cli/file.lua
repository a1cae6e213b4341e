--- Files as arguments and results of farside call: `x=@query.npy`, `--output FILE`. What a file holds is told by its ending.
--
--     .npy           a tensor
--     .safetensors   tensors by name
--     .json          (read only) any value
--     another one    text as it is; written: what would be printed
local check = require 'farside.check'
local json = require 'farside.cli.json'
local read_file = require 'farside.read_file'

local M = {}

local TENSORS = { npy = true, safetensors = true }

local function ending_of(path)
  return path:match '%.([%a]+)$'
end

--- Calls a function of tensors, which blames the line of its caller: here there is none.
local function attempt(func, ...)
  return coroutine.resume(coroutine.create(func), ...)
end

local function read_json(path, text)
  local value, problem = json.decode(text)
  if problem then return nil, ('%s: %s'):format(path, problem) end
  return value
end

-- Why a file cannot be read, or nil.
local function unreadable(path)
  local file, problem = io.open(path, 'rb')
  if not file then return ("%s; text that begins with @ is given as JSON, '\"@%s\"'"):format(problem, path) end
  local _, reason = file:read(0)
  file:close()
  return reason and ('%s: %s'):format(path, reason)
end

--- The value in a file; nil and what is wrong with it.
function M.read(path)
  local is_tensor = TENSORS[ending_of(path)]
  local text = not is_tensor and read_file(path)
  local problem = not text and unreadable(path)
  if problem then return nil, problem end
  if is_tensor then
    local ok, value = attempt(require('farside.tensor').load, path)
    if not ok then return nil, tostring(value) end
    return value
  end
  if ending_of(path) == 'json' then return read_json(path, text) end
  return text
end

local function write_text(path, text)
  local file, problem = io.open(path, 'wb')
  if not file then return false, problem end
  local written, reason = file:write(text)
  local closed, why = file:close()
  if written and closed then return true end
  return false, ('%s: cannot be written: %s'):format(path, reason or why)
end

--- Writes the results of a call; `text()` is what would be printed. Returns true, or false and what is wrong.
function M.write(path, results, count, text)
  local ending, result = ending_of(path), results[1]
  if not TENSORS[ending] then return write_text(path, text()) end
  if count ~= 1 then return false, ('%s: expected one result, got %d'):format(path, count) end
  if ending == 'npy' and not check.is_tensor(result) then
    return false, ('%s: expected a tensor as result, got %s'):format(path, check.describe(result))
  end
  if check.is_tensor(result) and ending == 'safetensors' then result = { result = result } end
  local ok, problem = attempt(require('farside.tensor').save, path, result)
  return ok, not ok and tostring(problem) or nil
end

return M
