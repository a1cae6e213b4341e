-- Examples that compute with tensors: what they print, and whether it is right.
local host = require 'spec.support.host'
local tensor = require 'farside.tensor'

-- A sanitizer sees the kernels at work in spec/cuda, and in the shape of a GPU: what trains and searches would take minutes.
local is_sanitized = io.open(host.build .. '/bin/luajit') ~= nil

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local bytes = file:read '*a'
  file:close()
  return bytes
end

local function example(name, options)
  options = options or {}
  options.seconds = 120
  local process = host.run_program({ host.source .. '/examples/run', name, unpack(options.arguments or {}) }, options)
  assert.equal(0, process.code, process.err)
  return process.out
end

--- Runs a client of an example's deploy script, `d`, and returns what it prints.
local function client(name, text)
  local process = host.run(host.script('client.lua', ([[
    package.path = '%s/examples/%s/?.lua;' .. package.path
    local farside = require 'farside'
    local tensor = require 'farside.tensor'
    local d = require 'deploy'
  ]]):format(host.source, name) .. text), { seconds = 60 })
  assert.equal(0, process.code, process.err)
  return process.out
end

describe('the example digits', function()
  after_each(host.clean)

  it('reads at least 95 of 100 digits that it was not trained with', function()
    local out = example 'digits'
    assert.truthy(out:match '\n4 %(%d+%.%d %%%) +9 %(', out)
    local right, count = out:match '(%d+) of (%d+) pictures right'
    assert.equal('359', count)
    assert.is_true(right / count >= 0.95, out)
  end)

  it('is trained again by its script, the same twice', function()
    if is_sanitized then pending 'takes too long in a build with a sanitizer' end
    local made = {}
    for i = 1, 2 do
      local path = host.folder() .. '/network.safetensors'
      local process = host.run(host.source .. '/examples/digits/train.lua', { args = { path }, seconds = 60 })
      assert.equal(0, process.code, process.err)
      assert.is_true(tonumber(process.out:match 'test: right about (%d+%.%d) %% of 359 others') >= 95, process.out)
      made[i] = tensor.load(path)
    end
    for name, shape in pairs { w1 = { 64, 64 }, b1 = { 64 }, w2 = { 64, 10 }, b2 = { 10 } } do
      assert.same(shape, made[1][name].shape)
      assert.equal(made[1][name]:string(), made[2][name]:string())
    end
  end)

  it('computes on the device of its worker alone', function()
    -- Where there is no GPU, the processor's library stands for one: tensors of both do not mix.
    local example_folder = host.source .. '/examples/digits/'
    host.script('deploy.lua', [[
      local backends = require 'farside.tensor.backend'
      if not backends.find 'cuda:0' then backends.put('cuda:0', assert(require('farside.cuda.library').open 'cpu')) end
    ]] .. read(example_folder .. 'deploy.lua'))
    host.script('network.safetensors', read(example_folder .. 'network.safetensors'))
    local process = host.run(host.script('client.lua', ([[
      package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. '%s?.lua;' .. package.path
      local infer = require('deploy').infer
      local test = require('data').load('%s').test
      for i = 1, 9 do io.write(infer(test.pixels[i]).digit == test.labels[i] and 'right ' or 'wrong ') end
    ]]):format(example_folder, example_folder)), { seconds = 60 })
    assert.equal(0, process.code, process.err)
    assert.is_true(select(2, process.out:gsub('right', '')) >= 8, process.out)
  end)

  it('refuses what is no picture, and reads those beside it', function()
    assert.equal('true\tfalse\texpected a tensor of 64 pixels, got one of 7\nfalse\texpected a tensor of 64 pixels, got a number\n',
      client('digits', [[
        farside.run(function()
          local good, short, none = d.infer:spawn(tensor.zeros({ 8, 8 }, 'u8')), d.infer:spawn(tensor.zeros { 7 }), d.infer:spawn(5)
          local function refusal(future)
            local ok, problem = pcall(future.await, future)
            return ok, tostring(problem):match 'expected[%w, ]*%w'
          end
          local guess = good:await()
          print(guess.digit >= 0 and guess.digit <= 9 and guess.probability > 0.1, refusal(short))
          print(refusal(none))
        end)
      ]]))
  end)
end)

describe('the example vector_search', function()
  if is_sanitized then return pending 'takes too long in a build with a sanitizer' end

  after_each(host.clean)

  it('finds the vector that a query was made of', function()
    local out = example 'vector_search'
    assert.truthy(out:match '^10+ vectors of %d+ dimensions\nnear vector (%d+):\n +%1  0%.%d+\n', out)
    assert.truthy(out:match 'came first 2000 times in 2000\n$', out)
  end)

  it('finds what a loop over all vectors finds', function()
    -- In doubles; f32 may put those the other way round whose scores differ by no more than this.
    assert.equal('the same\n', client('vector_search', [[
      local TOLERANCE, K = 1e-5, 10
      local file = io.open(d.file, 'rb')
      if file then file:close() else require 'make' (d.file, d.shape) end
      local vectors = tensor.load(d.file)
      local count, size = unpack(d.shape)
      local data = vectors:data()
      local queries = tensor.random(3):normal { 3, size }

      local function scores_of(query)
        local length, scores = 0, {}
        for j = 1, size do length = length + query[j] ^ 2 end
        for i = 0, count - 1 do
          local sum = 0
          for j = 1, size do sum = sum + data[i * size + j - 1] * query[j] end
          scores[i + 1] = sum / math.sqrt(length)
        end
        return scores
      end

      local function check(scores, found)
        assert(#found == K)
        local sorted, seen = { unpack(scores, 1, 0) }, {}
        for i, score in ipairs(scores) do sorted[i] = score end
        table.sort(sorted, function(a, b) return a > b end)
        for i, one in ipairs(found) do
          assert(not seen[one.index] and math.abs(one.score - scores[one.index]) < TOLERANCE)
          assert(math.abs(one.score - sorted[i]) < TOLERANCE)
          seen[one.index] = true
        end
      end

      farside.run(function()
        local many = d.search_many(queries, K)
        assert(#many == 3)
        for i = 1, 3 do
          local scores = scores_of(queries[i]:table())
          check(scores, d.search(queries[i]))
          check(scores, many[i])
        end
        print 'the same'
      end)
    ]]))
  end)

  it('looks through more queries than it compares at once', function()
    assert.equal('150\t7\n', client('vector_search', [[
      local queries = tensor.load(d.file):slice(1, 1, 150):contiguous()
      local found = d.search_many(queries, 7)
      for i = 1, 150 do assert(found[i][1].index == i and math.abs(found[i][1].score - 1) < 1e-5) end
      print(#found, #found[150])
    ]]))
  end)
end)
