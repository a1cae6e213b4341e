local farside = require 'farside'
local app = farside.deployment { name = 'bench-call' }

app.configure_autoscaling { max_workers = tonumber(os.getenv('BENCH_WORKERS') or 16) }

local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x)
  return x * x
end)

local square_many = app.remote { concurrency = 64 } (function(x)
  return x * x
end)

local echo = app.remote(function(bytes)
  return bytes
end)

return { app = app, square = square, square_many = square_many, echo = echo }
