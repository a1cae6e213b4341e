-- The pictures of data.safetensors in two parts: every fifth is kept back, to test with what no training has seen.
local tensor = require 'farside.tensor'

local M = {}

--- { train = { pixels = {1438, 64}, labels = {1438} }, test = { ... } }, of u8: pixels from 0 to 16, labels from 0 to 9.
function M.load(folder)
  local all = tensor.load(folder .. 'data.safetensors')
  local places = { train = {}, test = {} }
  for i = 1, all.labels.shape[1] do
    table.insert(i % 5 == 0 and places.test or places.train, i)
  end
  local parts = {}
  for name, list in pairs(places) do
    parts[name] = { pixels = all.pixels:take(list), labels = all.labels:take(list) }
  end
  return parts
end

return M
