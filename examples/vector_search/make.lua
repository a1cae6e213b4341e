-- Makes the vectors that are searched, the same ones each time: directions by chance, of length 1.
local tensor = require 'farside.tensor'

return function(file, shape)
  local vectors = tensor.random(42):normal(shape, { device = tensor.device() })
  tensor.save(file, vectors / (vectors * vectors):sum { 2, keep = true }:sqrt())
end
