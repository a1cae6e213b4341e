--- The rows of the bench as text, and in spec/bench/RESULTS.md.
local results = require 'spec.bench.results'

local M = {}

M.HEAD = ('%-30s %10s %10s %12s %9s  %s'):format('', 'us', 'limit us', 'GB/s', 'ratio', 'aim')

local function aim_of(row)
  return row.aim and ('%s %g'):format(row.relation, row.aim) or ''
end

local function rate_of(row)
  if row.flops then return ('%.0f GFlop/s'):format(row.flops / 1e9) end
  return row.rate and ('%.1f'):format(row.rate / 1e9) or ''
end

--- A row as it is printed.
function M.line(row)
  return ('%-30s %10.2f %10.2f %12s %9.2f  %-8s %s'):format(row.name, row.seconds * 1e6, row.limit * 1e6, rate_of(row), row.ratio,
    aim_of(row), row.missed and 'MISSED' or '')
end

--- What the rows are held against, in words.
function M.limits(on_gpu, multiplier)
  if on_gpu then
    return ('The limit is the time in which the card copies as many bytes as the operation has to move; of products, %s with kernels '
      .. 'of their own for bias and activation.'):format(multiplier)
  end
  return ('The limit is a plain loop in C, compiled with -O3 (spec/bench/cuda/plain.c), in processor time, one thread; of products, %s.')
    :format(multiplier)
end

local function section_of(limits, rows)
  local lines = { limits .. ' The ratio is the median of rounds in which both took turns.', '',
    '| | us | limit us | GB/s | ratio | aim |', '|---|--:|--:|--:|--:|---|' }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = ('| %s | %.2f | %.2f | %s | %.2f | %s%s |'):format(row.name, row.seconds * 1e6, row.limit * 1e6, rate_of(row),
      row.ratio, aim_of(row), row.missed and ', missed' or '')
  end
  return table.concat(lines, '\n') .. '\n'
end

--- Puts the rows into a file in place of those of the same device, or behind all others.
---@param path string? spec/bench/RESULTS.md without it
function M.write(device, on_gpu, limits, rows, path)
  results.write(('cuda: %s%s'):format(device, on_gpu and '' or ' (no GPU: the CPU library)'), section_of(limits, rows), path)
end

return M
