-- Reductions on the processor and on a made-up device, against sums in Lua's doubles.
local devices = require 'spec.support.devices'
local kernels = require 'spec.cuda.kernels'
local shapes = require 'farside.tensor.shape'
local tensor = require 'farside.tensor'

local DEVICE = devices.make_up 'cuda:6'
local F32 = 1e-5  -- of a sum of some hundred numbers up to 4

-- What becomes of a list of numbers.
local ORACLE = {}

function ORACLE.sum(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x end
  return sum
end

function ORACLE.mean(list) return ORACLE.sum(list) / #list end

function ORACLE.product(list)
  local product = 1
  for _, x in ipairs(list) do product = product * x end
  return product
end

function ORACLE.min(list) return math.min(unpack(list)) end

function ORACLE.max(list) return math.max(unpack(list)) end

function ORACLE.argmin(list)
  for i, x in ipairs(list) do
    if x == ORACLE.min(list) then return i end
  end
end

function ORACLE.argmax(list)
  for i, x in ipairs(list) do
    if x == ORACLE.max(list) then return i end
  end
end

function ORACLE.logsumexp(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + math.exp(x) end
  return math.log(sum)
end

--- Applies an oracle to row-major values over some dimensions: the results, row-major.
local function expected(name, values, shape, axes)
  local reduced, groups, order = {}, {}, {}
  for _, axis in ipairs(axes) do reduced[axis] = true end
  for i = 0, shapes.count(shape) - 1 do
    local rest, key, step = i, 0, 1
    for d = #shape, 1, -1 do
      if not reduced[d] then key, step = key + rest % shape[d] * step, step * shape[d] end
      rest = math.floor(rest / shape[d])
    end
    if not groups[key] then
      groups[key] = {}
      order[#order + 1] = key
    end
    table.insert(groups[key], values[i + 1])
  end
  table.sort(order)
  local results = {}
  for i, key in ipairs(order) do results[i] = ORACLE[name](groups[key]) end
  return results
end

local function flat(t)
  return t:contiguous():reshape({ -1 }):table()
end

-- Of a shape whose numbers are between -1.5 and 1.5, some of them equal.
local function numbers(shape, dtype, device)
  local values = kernels.random(shapes.count(shape), -1.5, 1.5, 3)
  for i, x in ipairs(values) do values[i] = math.floor(x * 64) / 64 end
  return tensor.from(values, 'f64', shape):to(dtype):to(device)
end

for _, device in ipairs { 'cpu', DEVICE } do
  describe('on ' .. device .. ' a tensor', function()
    for name in pairs(ORACLE) do
      it('is reduced by ' .. name .. ' over any dimensions', function()
        for _, dtype in ipairs { 'f32', 'f64' } do
          local t = numbers({ 3, 5, 7 }, dtype, device)
          for _, axes in ipairs { { 1 }, { 2 }, { 3 }, { 1, 2 }, { 1, 3 }, { 3, 2 }, { 1, 2, 3 } } do
            local got = t[name](t, axes)
            kernels.near(expected(name, flat(t), t.shape, axes), flat(got), F32, F32, name)
            assert.equal(device, got.device)
            assert.equal(name:find '^arg' and 'i64' or dtype, got.dtype)
            assert.equal(3 - #axes, #got.shape)
          end
          local turned = t:permute { 3, 1, 2 }:slice(1, 2, -1, 2)
          kernels.near(expected(name, flat(turned), turned.shape, { 1, 3 }), flat(turned[name](turned, { -1, 1 })), F32, F32,
            name .. ' of a view')
        end
      end)
    end

    it('keeps the dimensions where it shall, and fits beside itself then', function()
      local t = numbers({ 4, 6 }, 'f32', device)
      assert.same({ 4, 1 }, t:sum({ 2, keep = true }).shape)
      assert.same({ 1, 1 }, t:max({ keep = true }).shape)
      assert.same({ 6 }, t:max({ 1, keep = false }).shape)
      assert.same({}, t:max().shape)
      local centred = t - t:mean { 2, keep = true }
      for _, x in ipairs(flat(centred:mean(2))) do assert.is_true(math.abs(x) < F32) end
    end)

    it('is reduced over all without a dimension, and over one as a number', function()
      local t = tensor.from({ { 1, 2, 3 }, { 4, 5, 6 } }):to(device)
      assert.equal(21, t:sum():item())
      assert.same({ 5, 7, 9 }, t:sum(1):table())
      assert.same({ 6, 15 }, t:sum(-1):table())
      assert.equal(5, tensor.from(5):to(device):sum():item())
      assert.equal(1, tensor.from(5):to(device):argmax():item())
    end)

    it('tells places from 1, the first of equals', function()
      local t = tensor.from({ { 1, 3, 3 }, { 0, 0, -1 } }):to(device)
      assert.same({ 2, 1 }, t:argmax(2):table())
      assert.equal(2, t:argmax():item())
      assert.equal(6, t:argmin():item())
      assert.same({ 2, 2, 2 }, t:argmin(1):table())
      assert.equal(2, tensor.from({ 1, 0 / 0, 3 }):to(device):argmax():item())
    end)

    it('of integers has a sum that wraps around', function()
      for _, count in ipairs { 6, 100006 } do
        local x = tensor.full({ count }, 0, 'i64')
        x:slice(1, -6, -1):fill(2 ^ 62)
        assert.is_true(x:to(device):sum():item() == -9223372036854775807LL - 1)
      end
    end)

    it('of integers and booleans has a sum of i64', function()
      local bytes = tensor.full({ 300 }, 255, 'u8', device)
      assert.same({ 'i64', 76500 }, { bytes:sum().dtype, bytes:sum():item() })
      assert.same({ 'u8', 255 }, { bytes:max().dtype, bytes:max():item() })
      local truths = tensor.from({ { true, false }, { true, true } }):to(device)
      assert.same({ 2, 1 }, truths:sum(1):table())
      assert.same({ true, false }, truths:all(1):table())
      assert.equal(true, truths:any():item())
      assert.equal('bool', truths:any().dtype)
      assert.same({ 6, -120 }, { tensor.from({ 1, 2, 3 }, 'i32'):to(device):product():item(),
        tensor.from({ -4, 5, 6 }, 'i64'):to(device):product():item() })
    end)

    it('of nothing has the sum 0 and the product 1, and no extreme', function()
      local none = tensor.zeros({ 2, 0 }, 'f32', device)
      assert.same({ 0, 0 }, none:sum(2):table())
      assert.same({ 1, 1 }, none:product(2):table())
      assert.same({}, none:max(1):table())
      assert.equal(-math.huge, none:logsumexp():item())
      assert.is_true(none:mean():item() ~= none:mean():item())
      assert.same({ true, true }, none:to('bool'):all(2):table())
    end)

    it('that is long takes its workspace from the memory of tensors', function()
      local t = tensor.ones({ 3, 200003 }, 'f32', device)
      collectgarbage()
      local before = tensor.memory(device).used
      local got = t:sum(2)
      assert.same({ 200003, 200003, 200003 }, got:table())
      assert.equal(600009, t:sum():item())
      assert.is_true(math.abs((t * 0):logsumexp():item() - math.log(600009)) < F32)
      got = nil -- luacheck: ignore
      collectgarbage()
      assert.equal(before, tensor.memory(device).used)
    end)
  end)
end

describe('a reduction that cannot be', function()
  local t = tensor.zeros({ 2, 3 })
  local cases = {
    { 'names a dimension that is none', function() t:sum(3) end,
      'sum of a tensor {2, 3}: expected a dimension from 1 to 2 or from -2 to -1, got the number 3' },
    { 'names one in a list', function() t:mean { 1, 'x' } end,
      'mean of a tensor {2, 3}: expected a dimension from 1 to 2 or from -2 to -1, got the string "x"' },
    { 'names one that comes twice', function() t:sum { 1, -2 } end,
      'sum of a tensor {2, 3}: expected each dimension once, got dimension 1 twice' },
    { 'says how all are asked for', function() t:sum {} end,
      'sum of a tensor {2, 3}: expected at least one dimension in the list; all without a list' },
    { 'suggests an option', function() t:sum { 1, kep = true } end,
      "sum of a tensor {2, 3}: expected a list of dimensions like {1, 2} and keep, got the key 'kep'; did you mean 'keep'?" },
    { 'names an option of another kind', function() t:sum { 1, keep = 1 } end,
      'sum of a tensor {2, 3}: keep: expected true or false, got the number 1' },
    { 'says where the option belongs', function() t:sum(1, { keep = true }) end,
      'sum of a tensor {2, 3}: expected one argument, as in t:sum{1, keep = true}, got a table behind it' },
    { 'asks for an element where there is none', function() tensor.zeros({ 2, 0 }):max(2) end,
      'max of a tensor {2, 0}: expected at least one element for each result, got none' },
    { 'names what it takes', function() t:to('i32'):mean() end,
      "mean: expected floats (t:to 'f32' converts), got a tensor {2, 3} of i32" },
    { 'names booleans', function() t:any() end,
      'any: expected booleans (t:ne(0) makes them), got a tensor {2, 3} of f32' },
    { 'names what stands before the colon', function() t.sum(1) end,
      'expected a tensor before the colon: write t:sum(...), got the number 1' },
    { 'names sizes that are too many', function() tensor.zeros({ 1 }):expand({ 2 ^ 31 }):sum() end,
      'sum of a tensor {2147483648}: expected fewer than 2^31 results of fewer than 2^31 elements each, got 1 of 2147483648' },
  }
  devices.refuses(cases)
end)
