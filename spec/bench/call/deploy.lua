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

local function compute()
  local stop = farside.now() + 0.001
  while farside.now() < stop do end
end

local slow = app.remote(function(x)
  compute()
  return x
end)

local batched = app.remote { batch = {} } (function(list)
  compute()
  for i, element in ipairs(list) do list[i] = element[1] end
  return list
end)

return { app = app, square = square, square_many = square_many, echo = echo, slow = slow, batched = batched }
