--- What is typed behind `farside simulate`: words to the options of a simulation, each checked.
local check = require 'farside.check'

local M = {}

local function fail(what, expected, got)
  return nil, ('%s: expected %s, got %s'):format(what, expected, check.describe(got))
end

local function split(text, separator)
  local parts = {}
  for part in (text .. separator):gmatch('(.-)%' .. separator) do parts[#parts + 1] = part end
  return parts
end

--- A number from the text of one, or nil.
function M.number(text, low, high, over)
  local value = tonumber(text)
  return value and not check.number(low, high, over)(value) and value or nil
end

-- Calls -------------------------------------------------------------------------------------------------------------

-- Each parameter: { name, default }, without a default it is needed. A rate may be '70%' of the workers' capacity.
local SHAPES = {
  even = { { 'rate' } },
  poisson = { { 'rate' } },
  diurnal = { { 'rate' }, { 'swing', 0.8 }, { 'period', 86400 } },
  burst = { { 'rate' }, { 'high' }, { 'length' }, { 'period' } },
  square = { { 'rate' }, { 'high' }, { 'period' } },
  closed = { { 'closed' } },
}
local IS_RATE = { rate = true, high = true }

local WORKLOADS = {
  constant = { { 'mean', 100 } },
  uniform = { { 'mean', 100 } },
  exponential = { { 'mean', 100 } },
  lognormal = { { 'mean', 100 }, { 'spread', 1 } },
  pareto = { { 'mean', 100 }, { 'spread', 2.5 } },
}

local function form_of(name, parameters)
  local words = { name }
  for _, parameter in ipairs(parameters) do
    local word = parameter[1]:upper()
    words[#words + 1] = parameter[2] and ('[:%s]'):format(word) or ':' .. word
  end
  return table.concat(words)
end

local function forms(rules)
  local list = {}
  for _, name in ipairs(check.sorted_keys(rules)) do list[#list + 1] = form_of(name, rules[name]) end
  return table.concat(list, ', ')
end

--- 'lognormal:100:1.5' -> { shape = 'lognormal', mean = 100, spread = 1.5 }
local function read_form(what, text, rules)
  local parts = split(text, ':')
  local name = parts[1]
  local parameters = rules[name]
  if not parameters then return fail(what, 'one of ' .. forms(rules), text) end
  local found = { shape = name }
  for i, parameter in ipairs(parameters) do
    local word = parts[i + 1]
    local key, percent = parameter[1], word and word:match('^(.*)%%$')
    if word == nil or word == '' then
      found[key] = parameter[2]
    elseif percent and IS_RATE[key] then
      found[key .. '_share'] = M.number(percent, 0)
    else
      found[key] = M.number(word, 0)
    end
    if not found[key] and not found[key .. '_share'] then return fail(what, form_of(name, parameters), text) end
  end
  if #parts > #parameters + 1 then return fail(what, form_of(name, parameters), text) end
  return found
end

function M.arrivals(text)
  local found, problem = read_form('--arrivals', text, SHAPES)
  if not found then return nil, problem end
  if found.shape == 'diurnal' and found.swing > 1 then return fail('--arrivals', 'a swing of at most 1', text) end
  if found.period == 0 then return fail('--arrivals', 'a period above 0', text) end
  if found.length and found.length > found.period then return fail('--arrivals', 'a length of at most the period', text) end
  if found.closed and (found.closed < 1 or found.closed % 1 ~= 0) then return fail('--arrivals', 'closed:CALLS', text) end
  return found
end

function M.workload(text)
  local found, problem = read_form('--workload', text, WORKLOADS)
  if not found then return nil, problem end
  if found.shape == 'pareto' and found.spread <= 1 then return fail('--workload', 'a shape of pareto above 1', text) end
  if found.mean == 0 then return fail('--workload', 'a mean above 0', text) end
  return found
end

--- 'square:3,cube:1' -> how often each of the functions `names` is called, together 1.
function M.shares(text, names)
  local shares, total = {}, 0
  for i in ipairs(names) do shares[i] = 0 end
  for _, part in ipairs(split(text, ',')) do
    local name, weight = part:match('^(.-):(.*)$')
    name, weight = name or part, M.number(weight or '1', 0)
    local index
    for i, known in ipairs(names) do
      if known == name then index = i end
    end
    if not index then
      return nil, ("--functions: there is no function '%s'%s"):format(name, check.suggest(name, { unpack(names) }))
    end
    if not weight then return fail('--functions', 'FUNCTION:WEIGHT,...', part) end
    shares[index], total = shares[index] + weight, total + weight
  end
  if total == 0 then return fail('--functions', 'a weight above 0', text) end
  for i, share in ipairs(shares) do shares[i] = share / total end
  return shares
end

-- Workers -----------------------------------------------------------------------------------------------------------

local KIND = 'COUNTxSPEED[:start=SECONDS][:spread=SIGMA][:rtt=SECONDS][:faults=SHARE][:deaths=AN_HOUR],...'
local KIND_KEYS = { start = 'start', spread = 'spread', rtt = 'round_trip', faults = 'faults', deaths = 'deaths' }

--- '4x100,2x25:start=60' -> kinds; what they do not say is as in `common`.
function M.workers(text, common)
  local kinds, count = {}, 0
  for _, part in ipairs(split(text, ',')) do
    local words = split(part, ':')
    local many, speed = words[1]:match('^(%d+)x(.+)$')
    local kind = { count = M.number(many, 1, 1024), speed = M.number(speed, 0, nil, true) }
    if not kind.count or not kind.speed then return fail('--workers', KIND, part) end
    for key, value in pairs(common) do kind[key] = value end
    for i = 2, #words do
      local key, value = words[i]:match('^(%l+)=(.*)$')
      local name = KIND_KEYS[key or '']
      kind[name or ''] = M.number(value, 0, name == 'faults' and 1 or nil)
      if not name or not kind[name] then return fail('--workers', KIND, part) end
    end
    count = count + kind.count
    kinds[#kinds + 1] = kind
  end
  if count > 1024 then return fail('--workers', 'at most 1024 workers', text) end
  return kinds, count
end

--- '3:20@300' -> worker 3 takes 20 times as long from 300 s on.
function M.slow(text)
  local worker, factor, at = text:match('^(%d+):(.+)@(.+)$')
  local change = { worker = tonumber(worker), factor = M.number(factor, 0, nil, true), at = M.number(at, 0) }
  if change.worker and change.factor and change.at then return change end
  return fail('--slow', 'WORKER:FACTOR@SECONDS', text)
end

-- Policies ----------------------------------------------------------------------------------------------------------

M.POLICIES = { 'farside', 'round_robin', 'least_connections', 'least_connections_weighted', 'power_of_two' }

function M.policies(text)
  local list = {}
  for _, name in ipairs(text == 'all' and M.POLICIES or split(text, ',')) do
    local known = false
    for _, policy in ipairs(M.POLICIES) do known = known or policy == name end
    if not known then
      return nil, ("--compare: there is no policy '%s'%s"):format(name, check.suggest(name, { unpack(M.POLICIES) }))
    end
    list[#list + 1] = name
  end
  return list
end

return M
