local farside = require 'farside'
local tensor = require 'farside.tensor'
local app = farside.deployment { name = 'digits' }

local PIXELS, BRIGHTEST = 64, 16

-- The weights that train.lua has found, from the file to the worker's device before its first call.
local Network = {}

function Network:enter(file)
  local folder = debug.getinfo(1, 'S').source:match('^@(.*/)') or './'
  self.weights = tensor.load(folder .. file, tensor.device())
end

-- For each row of pixels how likely it is which digit.
function Network:probabilities(x)
  local w = self.weights
  local hidden = x:matmul(w.w1, { bias = w.b1, activation = 'relu' })
  return hidden:matmul(w.w2, { bias = w.b2 }):softmax()
end

app.context('network.safetensors')(Network)

-- infer(pixels): which digit an 8 x 8 picture shows, { digit =, probability = }. Pictures that wait at the same time go through
-- the network as one matrix; one that is none fails alone.
local infer = app.remote {
  name = 'infer',
  batch = { max_size = 64 },
  benchmark_dataset = { { tensor.zeros({ PIXELS }, 'u8') } },
} (function(calls)
  local rows, results = tensor.zeros { #calls, PIXELS }, {}
  for i, arguments in ipairs(calls) do
    local pixels = arguments[1]
    if tensor.is(pixels) and pixels:count() == PIXELS then
      rows[i] = pixels:reshape { PIXELS }
    else
      local got = tensor.is(pixels) and 'one of ' .. pixels:count() or 'a ' .. type(pixels)
      results[i] = farside.error(('expected a tensor of %d pixels, got %s'):format(PIXELS, got))
    end
  end
  local chances = app.get_context(Network):probabilities(rows:to(tensor.device()) / BRIGHTEST)
  local best, places = chances:max(-1):to 'cpu', chances:argmax(-1):to 'cpu'
  for i = 1, #calls do
    results[i] = results[i] or { digit = places[i] - 1, probability = best[i] }
  end
  return results
end)

return { app = app, infer = infer }
