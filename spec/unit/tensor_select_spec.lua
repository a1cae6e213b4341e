-- Choosing and ordering, on the processor and on a made-up device. What the kernels do is held against an oracle in spec/cuda; here
-- it is what a method does with dimensions, types, devices and mistakes.
local cuda = require 'farside.cuda'
local devices = require 'spec.support.devices'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:5'
local nan = 0 / 0

local function lists(...)
  local all = { ... }
  for i, t in ipairs(all) do all[i] = t:table() end
  return all
end

for _, device in ipairs { 'cpu', DEVICE } do
  describe('on ' .. device .. ' a tensor', function()
    local function matrix()
      return tensor.from({ { 3, 1, 2 }, { 4, 6, 5 } }):to(device)
    end

    it('tells its largest elements and where they are', function()
      local values, places = matrix():topk(2)
      assert.same({ device, 'f32', device, 'i64' }, { values.device, values.dtype, places.device, places.dtype })
      assert.same({ { { 3, 2 }, { 6, 5 } }, { { 1, 3 }, { 2, 3 } } }, lists(values, places))
      assert.same({ { { 1 }, { 4 } }, { { 2 }, { 1 } } }, lists(matrix():topk(1, 2, { largest = false })))
      assert.same({ { { 4, 6, 5 } }, { { 2, 2, 2 } } }, lists(matrix():topk(1, 1)))
      assert.same({ { { 3, 1, 2 } }, { { 1, 1, 1 } } }, lists(matrix():topk(1, -2, { largest = false })))
      assert.same({ 2, 0 }, matrix():topk(0).shape)
    end)

    it('is sorted along a dimension, with the places of the elements', function()
      assert.same({ { { 1, 2, 3 }, { 4, 5, 6 } }, { { 2, 3, 1 }, { 1, 3, 2 } } }, lists(matrix():sort()))
      assert.same({ { { 4, 6, 5 }, { 3, 1, 2 } }, { { 2, 2, 2 }, { 1, 1, 1 } } }, lists(matrix():sort(1, { descending = true })))
      assert.same({ { 1, 3, 2 }, { 2, 3, 1 } }, matrix():argsort(-1, { descending = true }):table())
      assert.same({ { 2, 1 }, { 3, 3 }, { 1, 2 } }, matrix():transpose():argsort(1):table())
    end)

    it('keeps the order of equals, and has NaN as its largest number', function()
      local x = tensor.from({ 2, nan, 1, 2, -math.huge, nan, 1 }):to(device)
      assert.same({ 5, 3, 7, 1, 4, 2, 6 }, x:argsort():table())
      assert.same({ 2, 6, 1, 4, 3, 7, 5 }, x:argsort(1, { descending = true }):table())
      local _, places = x:topk(3)
      assert.same({ 2, 6, 1 }, places:table())
      _, places = x:topk(3, 1, { largest = false })
      assert.same({ 5, 3, 7 }, places:table())
    end)

    it('of any type is ordered, also when it is long', function()
      for _, dtype in ipairs { 'f64', 'f16', 'bf16', 'i64', 'i32', 'u8' } do
        local x = tensor.arange(1, 200, 1, dtype, device)
        assert.same({ 200, 199, 198 }, (x:topk(3)):table())
        assert.same({ 200, 199, 198 }, x:argsort(1, { descending = true }):slice(1, 1, 3):table())
      end
      assert.same({ true, true, false }, (tensor.from { true, false, true }:to(device):sort(1, { descending = true })):table())
      local long = tensor.random(3):uniform({ 30000 }, { device = device })
      local sorted = long:sort()
      assert.is_true(sorted:slice(1, 1, -2):le(sorted:slice(1, 2, -1)):all():item())
      assert.equal(long:min():item(), sorted[1])
      assert.equal(long:argmax():item(), select(2, long:topk(100))[1])
    end)

    it('gives the parts at places along a dimension', function()
      local x = matrix()
      assert.same({ { 4, 6, 5 }, { 3, 1, 2 }, { 4, 6, 5 } }, x:take({ 2, 1, 2 }):table())
      assert.same({ { 2, 3 }, { 5, 4 } }, x:take({ 3, 1 }, 2):table())
      assert.same({ { 2, 3 }, { 5, 4 } }, x:take(tensor.from({ 3, 1 }, 'i32'):to(device), -1):table())
      local square = tensor.from({ { 1, 2 }, { 2, 2 } }, 'i64'):to(device)
      assert.same({ 2, 2, 3 }, x:take(square).shape)
      assert.same({ { 1, 6 }, { 6, 6 } }, x:take(square:transpose(), 1):slice(3, 2, 2):reshape { 2, 2 }:table())
      assert.same({ 0, 3 }, x:take({}).shape)
      assert.same({ 2, 5 }, x:take(tensor.from(3, 'i64'):to(device), 2):table())
    end)

    it('gives each row elements at places of its own', function()
      local x = matrix()
      local sorted, places = x:sort()
      assert.same(sorted:table(), x:gather(2, places):table())
      assert.same({ { 4, 1, 5 } }, x:gather(1, tensor.from({ { 2, 1, 2 } }, 'i32'):to(device)):table())
      assert.same({ { 2, 2 }, { 5, 5 } }, x:gather(2, tensor.from({ { 3, 3 } }, 'i64'):to(device)):table())
      assert.same({ { 1 }, { 2 } }, x[1]:unsqueeze(1):gather(2, tensor.from({ { 2 }, { 3 } }, 'i64'):to(device)):table())
    end)

    it('is chosen from in a graph, where places are not checked', function()
      local x, places = matrix(), tensor.from({ 2, 1 }, 'i64'):to(device)
      local graph, taken = cuda.graph(function() return x:take(places, 1, { checked = false }):topk(2, 2) end, device)
      graph:replay()
      assert.same({ { 6, 5 }, { 3, 2 } }, taken:table())
      x[1] = 9
      places:fill(1)
      graph:replay()
      assert.same({ { 9, 9 }, { 9, 9 } }, taken:table())
      local ok, problem = pcall(cuda.graph, function() return x:take(places) end, device)
      assert.is_false(ok)
      assert.truthy(problem:find('take of a tensor {2, 3}: expected { checked = false } while a graph is written down', 1, true))
    end)

    it('is not left by places that lead out of it', function()
      local x = matrix()
      assert.has_error(function() x:take { 1, 3 } end)
      assert.has_error(function() x:gather(1, tensor.from({ { 0, 1, 1 } }, 'i64'):to(device)) end)
      assert.same({ { 3, 1, 2 }, { 0, 0, 0 } }, x:take({ 1, 3 }, 1, { checked = false }):table())
    end)
  end)
end

describe('a choice that cannot be', function()
  local x = tensor.from({ { 3, 1, 2 }, { 4, 6, 5 } })
  local cases = {
    { 'names how many there are', function() return x:topk(4) end,
      'topk of a tensor {2, 3}: expected a whole number from 0 to 3, the size of dimension 2, got the number 4' },
    { 'names what is no number', function() return x:topk('2', 1) end,
      'topk of a tensor {2, 3}: expected a whole number from 0 to 2, the size of dimension 1, got the string "2"' },
    { 'names a dimension that is not there', function() return x:sort(3) end,
      'sort of a tensor {2, 3}: expected a dimension from 1 to 2 or from -2 to -1, got the number 3' },
    { 'names what has no dimension', function() return tensor.from(1):argsort() end,
      'argsort of a tensor {}: expected at least one dimension, got none' },
    { 'names an option that is none', function() return x:sort(1, { ascending = true }) end,
      "sort of a tensor {2, 3}: expected descending as the only option, got the string \"ascending\"; did you mean 'descending'?" },
    { 'names options that are none', function() return x:topk(1, 1, true) end,
      'topk of a tensor {2, 3}: expected options like { largest = false }, got true' },
    { 'names an option of another type', function() return x:topk(1, 1, { largest = 0 }) end,
      'topk of a tensor {2, 3}: largest: expected true or false, got the number 0' },
    { 'names a place that is not there', function() return x:take { 1, 3 } end,
      'take of a tensor {2, 3}: expected places from 1 to 2 of dimension 1, got 3' },
    { 'names a place that is far away', function() return x:take(tensor.from({ 2LL ^ 61 }, 'i64'), 2) end,
      'take of a tensor {2, 3}: expected places from 1 to 3 of dimension 2, got 2305843009213693952' },
    { 'names a place from the end, which is none', function() return x:gather(2, tensor.from({ { -1 }, { 1 } }, 'i32')) end,
      'gather of a tensor {2, 3}: expected places from 1 to 3 of dimension 2, got -1' },
    { 'names places where there are none', function() return tensor.zeros { 0, 3 }:take { 1 } end,
      'take of a tensor {0, 3}: expected no places, for dimension 1 has none, got places {1}' },
    { 'names what is no place', function() return x:take { 1, 1.5 } end,
      'take of a tensor {2, 3}: place 2 of the list: expected a whole number from -2^63 to 2^63 - 1, got the number 1.5' },
    { 'names places of another type', function() return x:take(x) end,
      "take of a tensor {2, 3}: expected places of i64 or i32 (t:to 'i64' converts), got a tensor {2, 3} of f32" },
    { 'names places that are no tensor', function() return x:gather(1, 2) end,
      'gather of a tensor {2, 3}: expected a tensor of i64 or i32 with places, got the number 2' },
    { 'names places of another shape', function() return x:gather(1, tensor.zeros({ 2, 2 }, 'i64')) end,
      'gather of a tensor {2, 3}: expected places of its shape but for dimension 1, got {2, 2}' },
    { 'names places elsewhere', function() return x:take(tensor.ones({ 2 }, 'i64', DEVICE)) end,
      'take of a tensor {2, 3}: expected places on cpu, got a tensor {2} of i64 on cuda:5' },
    { 'names what is no tensor', function() return x.topk(3) end,
      'expected a tensor before the colon: write t:topk(...), got the number 3' },
  }
  devices.refuses(cases)
end)
