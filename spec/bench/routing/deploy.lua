-- Two workers, one four times as fast as the other: they sleep for as long as the work would take.
local ffi = require 'ffi'
local farside = require 'farside'
ffi.cdef 'int usleep(unsigned us); int mkdir(const char *path, unsigned mode); char *getenv(const char *name);'

local app = farside.deployment { name = 'two_speeds' }

local SLOW = 5 -- workload a second

-- Both are there before there is load.
app.configure_autoscaling { max_workers = 2, cold_workers = 2, min_load = 5 * SLOW }

-- The first one that comes is the fast one.
local Speed = { name = 'Speed' }
function Speed:enter()
  local first = ffi.C.mkdir(ffi.string(ffi.C.getenv 'BENCH_FOLDER') .. '/fast', 448) == 0
  self.speed = first and 4 * SLOW or SLOW
end
app.context()(Speed)

local work = app.remote {
  name = 'work', benchmark_dataset = { { amount = 1 } }, benchmark_runs = 3, benchmark_concurrency = 1, benchmark_warmup = false,
  workload_calculator = function(amount) return amount end,
} (function(amount)
  ffi.C.usleep(amount / app.get_context(Speed).speed * 1e6)
  return amount
end)

return { app = app, work = work, capacity = 5 * SLOW }
