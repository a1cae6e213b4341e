package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local tensor = require 'farside.tensor'
local deploy = require 'deploy'

local function exists(path)
  local file = io.open(path, 'rb')
  if file then file:close() end
  return file ~= nil
end

if not exists(deploy.file) then require 'make' (deploy.file, deploy.shape) end

-- So many queries, each close to a vector drawn by chance; and which those are.
local function draw(rng, vectors, count)
  local places = rng:integers({ count }, { low = 1, high = deploy.shape[1], dtype = 'i64' })
  local noise = rng:normal({ count, deploy.shape[2] }, { deviation = 0.5 / math.sqrt(deploy.shape[2]) })
  return vectors:take(places) + noise, places
end

local function print_rate(what, count, start)
  print(('%s: %.0f queries/s'):format(what, count / (farside.now() - start)))
end

farside.run(function()
  local COUNT, K = 1000, 10
  print(('%d vectors of %d dimensions'):format(unpack(deploy.shape)))
  local queries, places = draw(tensor.random(1), tensor.load(deploy.file), COUNT)

  print(('near vector %d:'):format(places[1]))
  for _, found in ipairs(deploy.search(queries[1], 5)) do print(('%10d  %.4f'):format(found.index, found.score)) end

  local start, first = farside.now(), 0
  for i = 1, COUNT do
    if deploy.search(queries[i], K)[1].index == places[i] then first = first + 1 end
  end
  print_rate('one after the other', COUNT, start)

  start = farside.now()
  for i, found in ipairs(deploy.search_many(queries, K)) do
    if found[1].index == places[i] then first = first + 1 end
  end
  print_rate('all in one call', COUNT, start)
  print(('the vector behind a query came first %d times in %d'):format(first, 2 * COUNT))
end)
