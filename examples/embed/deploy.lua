local farside = require 'farside'
local app = farside.deployment { name = 'embed' }

local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x)
  return x * x
end)

local nap = app.remote(function(seconds)
  farside.sleep(seconds)
end)

return { app = app, square = square, nap = nap }
