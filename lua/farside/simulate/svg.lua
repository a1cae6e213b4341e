--- A picture of a simulation: load, workers, queue and latency over time, one below the other.
local M = {}

local WIDTH, LEFT, RIGHT, TOP = 960, 70, 150, 56
local PANEL, GAP = 130, 34

local INK, GRID, PAPER = '#333', '#e4e4e4', '#fff'

local function escape(text)
  return (text:gsub('[&<>]', { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;' }))
end

-- Ends of a scale, and the number of its steps.
local ENDS = { { 1, 4 }, { 1.5, 3 }, { 2, 4 }, { 3, 3 }, { 4, 4 }, { 5, 5 }, { 6, 3 }, { 8, 4 }, { 10, 5 } }

--- The end of a scale that holds `value`, and how many steps it has.
local function scale(value)
  if value <= 0 then return 1, 1 end
  local power = 10 ^ math.floor(math.log10(value))
  for _, one in ipairs(ENDS) do
    if value <= one[1] * power * 1.000001 then return one[1] * power, one[2] end
  end
  return 10 * power, 5
end

local function short(value)
  if value == 0 then return '0' end
  if value >= 10000 then return ('%gk'):format(value / 1000) end
  return ('%.4g'):format(value)
end

local function clock(seconds, span)
  if span > 3 * 3600 then return ('%d:%02d'):format(math.floor(seconds / 3600), math.floor(seconds / 60) % 60) end
  if span > 600 then return ('%g min'):format(seconds / 60) end
  return ('%g s'):format(seconds)
end

local function time_step(span)
  for _, step in ipairs { 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400 } do
    if span / step <= 9 then return step end
  end
  return 10 ^ math.ceil(math.log10(span / 9))
end

--- One panel. `series`: { name =, color =, fill = boolean, values = {...} }; those that are filled stand on each other.
local function panel(out, times, span, top, title, series, unit)
  local function add(...) out[#out + 1] = (...):format(select(2, ...)) end
  local inner = WIDTH - LEFT - RIGHT
  local most, stacked = 0, {}
  for i in ipairs(times) do
    stacked[i] = 0
    for _, one in ipairs(series) do
      if one.fill then stacked[i] = stacked[i] + one.values[i] end
      most = math.max(most, one.fill and stacked[i] or one.values[i])
    end
  end
  local limit, steps = scale(most)
  local function x(seconds) return LEFT + inner * seconds / span end
  local function y(value) return top + PANEL - PANEL * value / limit end
  add('<text x="%d" y="%d" font-weight="bold">%s</text>', LEFT, top - 8, escape(title))
  for step = 0, steps do
    local value = limit * step / steps
    add('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>', LEFT, y(value), LEFT + inner, y(value), GRID)
    add('<text x="%d" y="%.1f" text-anchor="end">%s%s</text>', LEFT - 6, y(value) + 4, short(value), unit)
  end
  local floor = {}
  for i in ipairs(times) do floor[i] = 0 end
  for number, one in ipairs(series) do
    local points = {}
    for i, at in ipairs(times) do
      local value = one.values[i] + (one.fill and floor[i] or 0)
      -- A count holds since the sample before.
      if one.fill then points[#points + 1] = ('%.1f,%.1f'):format(x(times[i - 1] or 0), y(value)) end
      points[#points + 1] = ('%.1f,%.1f'):format(x(at), y(value))
    end
    if one.fill then
      for i = #times, 1, -1 do
        points[#points + 1] = ('%.1f,%.1f'):format(x(times[i]), y(floor[i]))
        points[#points + 1] = ('%.1f,%.1f'):format(x(times[i - 1] or 0), y(floor[i]))
        floor[i] = floor[i] + one.values[i]
      end
      add('<polygon points="%s" fill="%s" stroke="none"/>', table.concat(points, ' '), one.color)
    else
      add('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>', table.concat(points, ' '), one.color)
    end
    local row = top + 12 + 20 * (number - 1)
    add('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>', LEFT + inner + 14, row - 10, one.color)
    add('<text x="%d" y="%d">%s</text>', LEFT + inner + 32, row, escape(one.name))
  end
  add('<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s"/>', LEFT, top + PANEL, LEFT + inner, top + PANEL, INK)
  local step, at = time_step(span), 0
  while at <= span * 1.0001 do
    add('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>', x(at), top + PANEL, x(at), top + PANEL + 4, INK)
    add('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', x(at), top + PANEL + 17, clock(at, span))
    at = at + step
  end
end

local function column(samples, field)
  local values = {}
  for i, sample in ipairs(samples) do
    values[i] = type(field) == 'function' and field(sample, samples[i - 1]) or sample[field]
  end
  return values
end

--- A number a second.
local function rate(key)
  return function(sample, before) return sample[key] / (sample.at - (before and before.at or 0)) end
end

--- Returns the text of an SVG file.
---@param result table of a simulation with samples
---@param options { title: string }
function M.draw(result, options)
  local samples = result.samples
  local times = column(samples, 'at')
  local span = math.max(times[#times] or 0, 1e-9)
  local panels = {
    { 'calls a second', '', {
      { name = 'come', color = '#1f77b4', values = column(samples, rate 'arrived') },
      { name = 'end', color = '#2ca02c', values = column(samples, rate 'ended') },
      { name = 'of them in errors', color = '#d62728', values = column(samples, rate 'failed') },
    } },
    { 'workers', '', {
      { name = 'active', color = '#4c9f70', fill = true, values = column(samples, 'active') },
      { name = 'starting', color = '#f2b134', fill = true, values = column(samples, 'starting') },
      { name = 'parked', color = '#b8c4d6', fill = true, values = column(samples, 'parked') },
    } },
    { 'calls that wait', '', {
      { name = 'waiting', color = '#8c564b', fill = true, values = column(samples, 'waiting') },
    } },
    { 'latency', ' s', {
      { name = '99 %', color = '#d62728', values = column(samples, 'p99') },
      { name = '50 %', color = '#1f77b4', values = column(samples, 'p50') },
    } },
  }
  local height = TOP + #panels * (PANEL + GAP + 20)
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" '
      .. 'font-size="12" fill="%s">'):format(WIDTH, height, WIDTH, height, INK),
    ('<rect width="%d" height="%d" fill="%s"/>'):format(WIDTH, height, PAPER),
    ('<text x="%d" y="22" font-size="14">%s</text>'):format(LEFT, escape(options.title)),
  }
  for i, one in ipairs(panels) do
    panel(out, times, span, TOP + (i - 1) * (PANEL + GAP + 20), one[1], one[3], one[2])
  end
  out[#out + 1] = '</svg>\n'
  return table.concat(out, '\n')
end

return M
