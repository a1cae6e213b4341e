--- A strict reader of Prometheus' text format, version 0.0.4, as its documentation describes it; what a scraper might take
--- amiss is an error.
local M = {}

local TYPES = { counter = true, gauge = true, histogram = true }

local function fail(number, message, line)
  error(('line %d: %s: %s'):format(number, message, line), 0)
end

local function number_of(text)
  if text == '+Inf' then return math.huge end
  if not text:find('^[+-]?%d') then return nil end
  return tonumber(text)
end

-- Reads `{a="b",...}`; returns the labels and what is behind them.
local function labels_of(text, number, line)
  local labels = {}
  if text:sub(1, 1) ~= '{' then return labels, text end
  local at = 2
  while true do
    local name, start = text:match('^([%a_][%w_]*)="()', at)
    if not name then fail(number, 'no label', line) end
    if labels[name] then fail(number, 'a label twice', line) end
    local value, i = {}, start
    while true do
      local c = text:sub(i, i)
      if c == '"' then break end
      if c == '' then fail(number, 'no end of a label', line) end
      if c == '\\' then
        i = i + 1
        local plain = ({ ['\\'] = '\\', ['"'] = '"', n = '\n' })[text:sub(i, i)]
        c = plain or fail(number, 'an unknown escape', line)
      end
      value[#value + 1] = c
      i = i + 1
    end
    labels[name] = table.concat(value)
    local sign = text:sub(i + 1, i + 1)
    at = i + 2
    if sign == '}' then return labels, text:sub(at) end
    if sign ~= ',' then fail(number, 'no comma between labels', line) end
  end
end

local function key_of(labels, without)
  local parts = {}
  for name, value in pairs(labels) do
    if name ~= without then parts[#parts + 1] = ('%s=%q'):format(name, value) end
  end
  table.sort(parts)
  return table.concat(parts, ',')
end

local function family_of(families, name)
  if families[name] then return families[name] end
  local stem = name:match('^(.*)_bucket$') or name:match('^(.*)_sum$') or name:match('^(.*)_count$')
  local family = stem and families[stem]
  return family and family.type == 'histogram' and family or nil
end

local function check_histogram(family)
  for key, histogram in pairs(family.histograms) do
    local bounds = histogram.bounds
    local where = ('%s{%s}'):format(family.name, key)
    assert(#bounds > 1 and bounds[#bounds].le == math.huge, where .. ' has no +Inf')
    for i = 2, #bounds do
      assert(bounds[i].le > bounds[i - 1].le, where .. ': bounds do not grow')
      assert(bounds[i].count >= bounds[i - 1].count, where .. ': buckets are not cumulative')
    end
    assert(histogram.count == bounds[#bounds].count, where .. ': _count is not the +Inf bucket')
    assert(histogram.sum and histogram.sum >= 0, where .. ' has no sum')
  end
end

local function add_to_histogram(family, name, labels, value)
  local key = key_of(labels, 'le')
  local histogram = family.histograms[key] or { bounds = {} }
  family.histograms[key] = histogram
  local part = name:sub(#family.name + 2)
  if part == 'bucket' then
    table.insert(histogram.bounds, { le = assert(number_of(labels.le or ''), 'a bucket without le'), count = value })
  else
    assert(part == 'sum' or part == 'count', 'a bare sample of a histogram: ' .. name)
    assert(not labels.le, 'le beside a bucket')
    histogram[part] = value
  end
end

--- Families by name: { name, type, help, samples = { { name, labels, value } }, histograms }.
---@param text string
function M.parse(text)
  assert(text:sub(-1) == '\n', 'the last line has no end')
  local families, current, number, seen = {}, nil, 0, {}
  for line in text:gmatch('([^\n]*)\n') do
    number = number + 1
    local what, name, rest = line:match('^# (%u+) ([%a_:][%w_:]*) (.*)$')
    if what == 'HELP' then
      if families[name] then fail(number, 'a family that came before', line) end
      current = { name = name, help = rest, samples = {}, histograms = {} }
      families[name] = current
    elseif what == 'TYPE' then
      if not current or current.name ~= name then fail(number, 'TYPE without its HELP', line) end
      if not TYPES[rest] then fail(number, 'no type', line) end
      current.type = rest
    else
      local metric, tail = line:match('^([%a_:][%w_:]*)(.*)$')
      if not metric then fail(number, 'no sample', line) end
      local family = family_of(families, metric)
      if not family or family ~= current or not family.type then fail(number, 'a sample outside of its family', line) end
      local labels, behind = labels_of(tail, number, line)
      local value = number_of(behind:match('^ (%S+)$') or '')
      if not value then fail(number, 'no value', line) end
      if family.type == 'counter' and not metric:find('_total$') then fail(number, 'a counter without _total', line) end
      local key = metric .. '{' .. key_of(labels) .. '}'
      if seen[key] then fail(number, 'the same sample twice', line) end
      seen[key] = true
      if family.type == 'histogram' then add_to_histogram(family, metric, labels, value) end
      table.insert(family.samples, { name = metric, labels = labels, value = value })
    end
  end
  for _, family in pairs(families) do check_histogram(family) end
  return families
end

--- The sum of the samples of a family whose labels hold `labels`.
function M.sum(families, name, labels)
  local sum = 0
  for _, sample in ipairs(assert(families[name], 'no family ' .. name).samples) do
    local fits = true
    for label, value in pairs(labels or {}) do fits = fits and sample.labels[label] == value end
    if fits then sum = sum + sample.value end
  end
  return sum
end

return M
