--- The deploy script of the checks of farside.h.
local farside = require 'farside'
local app = farside.deployment { name = 'embed' }

local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x)
  return x * x
end)

local nap = app.remote(function(seconds)
  farside.sleep(seconds)
end)

local count = app.remote(function(n)
  for i = 1, n do
    app.yield(i)
    farside.progress(i, n)
  end
end)

return { app = app, square = square, nap = nap, count = count }
