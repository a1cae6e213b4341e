local farside = require 'farside'
local tensor = require 'farside.tensor'
local app = farside.deployment { name = 'vector_search' }

-- How many vectors of how many dimensions: as many as a processor looks through quickly, or a GPU.
local SHAPE = tensor.device() == 'cpu' and { 10000, 64 } or { 1000000, 128 }
local FOLDER = debug.getinfo(1, 'S').source:match '^@(.*/)' or './'
local FILE = ('%svectors-%dx%d.npy'):format(FOLDER, SHAPE[1], SHAPE[2])

local QUERIES = 64  -- that are compared with all vectors at once: so many rows of scores are there at a time
local NEAREST = 10  -- without another k

-- The vectors, from the file to the worker's device before its first call. All have the length 1.
local Vectors = {}

function Vectors:enter(file)
  self.vectors = tensor.load(file, tensor.device())
end

-- For each row of queries the k nearest: their scores and their numbers.
function Vectors:nearest(queries, k)
  local unit = queries / (queries * queries):sum { 2, keep = true }:sqrt()
  local scores, places = unit:matmul(self.vectors:transpose()):topk(k or NEAREST)
  return scores:to 'cpu', places:to 'cpu'
end

app.context(FILE)(Vectors)

local function listed(scores, places)
  local list = {}
  for i = 1, scores.shape[1] do list[i] = { index = places[i], score = scores[i] } end
  return list
end

local rng = tensor.random(7)

-- search(query, k): the vectors nearest to one, by their angle to it: { { index =, score = the cosine }, ... }, the best first.
local search = app.remote {
  device = true,
  benchmark_generator = function() return { query = rng:normal { SHAPE[2] }, k = NEAREST } end,
} (function(query, k)
  local scores, places = app.get_context(Vectors):nearest(query:unsqueeze(1), k)
  return listed(scores[1], places[1])
end)

-- The same for each row of a matrix: a list of such lists.
local search_many = app.remote {
  device = true,
  benchmark_generator = function() return { queries = rng:normal { QUERIES, SHAPE[2] }, k = NEAREST } end,
  workload_calculator = function(queries) return queries.shape[1] end,
} (function(queries, k)
  local vectors, results = app.get_context(Vectors), {}
  for first = 1, queries.shape[1], QUERIES do
    local last = math.min(first + QUERIES - 1, queries.shape[1])
    local scores, places = vectors:nearest(queries:slice(1, first, last), k)
    for i = 1, scores.shape[1] do results[#results + 1] = listed(scores[i], places[i]) end
  end
  return results
end)

return { app = app, search = search, search_many = search_many, file = FILE, shape = SHAPE }
