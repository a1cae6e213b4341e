-- Prints the median seconds of a search by a call, and of one in this process, in turn: search_client.lua COUNT
package.path = 'examples/vector_search/?.lua;' .. package.path

local farside = require 'farside'
local tensor = require 'farside.tensor'
local deploy = require 'deploy'

local COUNT, K = tonumber(arg[1]), 10

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

farside.run(function()
  local file = io.open(deploy.file, 'rb')
  if file then file:close() else require 'make' (deploy.file, deploy.shape) end
  local vectors = tensor.load(deploy.file, tensor.device())
  local queries = tensor.random(1):normal({ COUNT, deploy.shape[2] })
  deploy.search(queries[1], K)

  local function search(query)
    local there = query:unsqueeze(1):to(tensor.device())
    local unit = there / (there * there):sum { 2, keep = true }:sqrt()
    local scores, places = unit:matmul(vectors:transpose()):topk(K)
    scores, places = scores:to 'cpu', places:to 'cpu'
    local list = {}
    for i = 1, K do list[i] = { index = places[1][i], score = scores[1][i] } end
    return list
  end

  local by_call, here = {}, {}
  for i = 1, COUNT do
    local start = farside.now()
    local found = deploy.search(queries[i], K)
    local middle = farside.now()
    local same = search(queries[i])
    by_call[i], here[i] = middle - start, farside.now() - middle
    assert(found[1].index == same[1].index, 'the call found another vector')
  end
  print(median(by_call), median(here))
end)
