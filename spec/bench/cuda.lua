--- cuda [--quick] [--record] [NAME]: the kernels as fractions of what the machine allows, measured in the same run. On a GPU, if there
-- is one: the time in which it copies as many bytes as an operation has to move. On the processor: the time of a plain loop in
-- C. One thread each. What a kernel makes is held against what the loop makes; only a wrong result makes the exit code 1. With
-- --record the table goes into spec/bench/RESULTS.md, under the name of the card or the processor. --quick measures nothing
-- well: it takes small arrays, once, and calls nobody. A NAME leaves out operations without it in their names.
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local Arrays = require 'spec.bench.cuda.arrays'
local launches = require 'spec.bench.cuda.launches'
local products = require 'spec.bench.cuda.products'
local record = require 'spec.bench.cuda.record'
local search = require 'spec.bench.cuda.search'
local selection = require 'spec.bench.cuda.selection'
local streaming = require 'spec.bench.cuda.streaming'
local transfer = require 'spec.bench.cuda.transfer'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

local options = { name = '' }
for _, word in ipairs(arg) do
  local name = word:match '^%-%-(.*)$'
  if name and name ~= 'quick' and name ~= 'record' then
    io.stderr:write(('%s is not an option: cuda [--quick] [--record] [NAME]\n'):format(word))
    os.exit(64)
  end
  if name then options[name] = true else options.name = word end
end

local function is_wanted(name)
  return name:find(options.name, 1, true) ~= nil
end

local function open_plain()
  local file = assert(io.open('spec/bench/cuda/plain.h'))
  local text = file:read('*a'):gsub('#[^\n]*', '')
  file:close()
  ffi.cdef(text)
  return ffi.load(('%s/bench/libplain.so'):format(BUILD:find('^/') and BUILD or './' .. BUILD))
end

local C = assert(libraries.find())
local plain = open_plain()
local on_gpu = ffi.string(C.device_kind()) == 'cuda'
C.device_threads(1)
local arrays = Arrays.new(C, plain)

-- On the processor all is done by this thread, and others may run beside it.
local own_time = on_gpu and 0 or 1

local ROUNDS = options.quick and 1 or 7
local LEAST_S = options.quick and 0 or (on_gpu and 0.02 or 0.01) -- that a measurement takes
local COLUMNS = 1024
local ROWS = options.quick and 16 or on_gpu and 2 ^ 16 or 2 ^ 13

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

-- Seconds per call of `f`, done so many times.
local function clock(f, count)
  arrays:check(C.device_synchronize())
  local start = plain.plain_now(own_time)
  for _ = 1, count do f() end
  arrays:check(C.device_synchronize())
  return (plain.plain_now(own_time) - start) / count
end

local function calibrate(f)
  local count = 1
  while clock(f, count) * count < LEAST_S do count = count * 2 end
  return count
end

-- Both in turn: whatever else the machine does then meets both. Returns seconds of each, and the second as a part of the first.
local function compare(own, limit)
  local own_count, limit_count = calibrate(own), calibrate(limit)
  local of_own, of_limit, ratios = {}, {}, {}
  for i = 1, ROUNDS do
    of_own[i], of_limit[i] = clock(own, own_count), clock(limit, limit_count)
    ratios[i] = of_limit[i] / of_own[i]
  end
  return median(of_own), median(of_limit), median(ratios)
end

local rows, wrong = {}, 0

local function add(row)
  if row.aim then row.missed = row.relation == '<=' and row.ratio > row.aim or row.relation == '>=' and row.ratio < row.aim end
  rows[#rows + 1] = row
  print(record.line(row))
end

local function copy_of(bytes)
  local from, to = arrays:empty('u8', bytes), arrays:empty('u8', bytes)
  return function() arrays:check(C.device_copy(to.device, from.device, bytes, nil)) end
end

local function check(case, out, what)
  local difference = out:difference()
  if difference <= case.tolerance then return end
  print(('WRONG: %s: %s differs from the plain loop by %g, and %g is allowed'):format(case.name, what, difference, case.tolerance))
  wrong = wrong + 1
end

local function run(case)
  local own, loop, out, bytes, places = case.make()
  arrays:check(own())
  if not (on_gpu and case.limit_is_loop) then loop() end
  check(case, out, 'it')
  if places then check(case, places, 'where it is') end
  local seconds, limit, ratio = compare(own, on_gpu and not case.limit_is_loop and copy_of(math.ceil(bytes / 2)) or loop)
  add { name = case.name, seconds = seconds, limit = limit, rate = not case.flops and bytes / seconds or nil,
    flops = case.flops and case.flops / seconds, ratio = ratio, relation = '>=', aim = case.aim }
  arrays:free()
end

local properties = ffi.new('struct device_properties')
arrays:check(C.device_describe(0, properties))
local device = ffi.string(properties.name)
local groups = {
  streaming(C, plain, arrays, ROWS, COLUMNS), selection(C, plain, arrays, ROWS, COLUMNS), products(C, plain, arrays, on_gpu, options.quick),
  transfer(C, plain, arrays, on_gpu, options.quick),
}
local limits = record.limits(on_gpu, ffi.string(C.kernel_matmul_library()))
print(('%s. %s'):format(device, limits))
print(record.HEAD)
for _, cases in ipairs(groups) do
  for _, case in ipairs(cases) do
    if is_wanted(case.name) then run(case) end
  end
end
launches(C, plain, arrays, on_gpu, options.quick, is_wanted, add)
if is_wanted 'vector_search' and not options.quick then
  for _, row in ipairs(search(BUILD)) do add(row) end
end

local missed = 0
for _, row in ipairs(rows) do missed = missed + (row.missed and 1 or 0) end
print(('%d of %d below what was aimed at; %d wrong'):format(missed, #rows, wrong))
if options.record then record.write(device, on_gpu, limits, rows) end
os.exit(wrong == 0 and 0 or 1)
