local farside = require 'farside'
local app = farside.deployment { name = 'square' }

local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x)
  return x * x
end)

return { app = app, square = square }
