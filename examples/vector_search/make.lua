-- Makes the vectors that are searched, the same ones each time: directions by chance, of length 1. The processor does it, so
-- that the memory of the GPU is the workers'.
local tensor = require 'farside.tensor'

return function(file, shape)
  local vectors = tensor.random(42):normal(shape)
  tensor.save(file, vectors / (vectors * vectors):sum { 2, keep = true }:sqrt())
end
