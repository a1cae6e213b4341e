local collect = require 'spec.support.garbage'
local ffi = require 'ffi'
local tensor = require 'farside.tensor'

local function matrix()
  return tensor.from { { 1, 2, 3 }, { 4, 5, 6 } }
end

-- The message of an error without its position.
local function message(func, ...)
  local ok, problem = pcall(func, ...)
  assert.is_false(ok)
  return (problem:gsub('^[^ ]*: ', ''))
end

describe('a tensor', function()
  it('is made of nested lists', function()
    local made = matrix()
    assert.same({ 2, 3 }, made.shape)
    assert.equal('f32', made.dtype)
    assert.equal('cpu', made.device)
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, made:table())
  end)

  it('is made of bytes and gives them back', function()
    local bytes = ffi.string(ffi.new('double[4]', 1, 2, 3, 4), 32)
    local made = tensor.from(bytes, 'f64', { 2, 2 })
    assert.same({ { 1, 2 }, { 3, 4 } }, made:table())
    assert.equal(bytes, made:string())
  end)

  it('is made of an FFI array and of an FFI pointer, as a copy', function()
    local array = ffi.new('int32_t[6]', 1, 2, 3, 4, 5, 6)
    local whole, part = tensor.from(array, 'i32'), tensor.from(ffi.cast('int32_t *', array), 'i32', { 2, 2 })
    array[0] = 9
    assert.same({ 1, 2, 3, 4, 5, 6 }, whole:table())
    assert.same({ { 1, 2 }, { 3, 4 } }, part:table())
  end)

  it('may have no dimensions and no elements', function()
    assert.equal(5, tensor.from(5):item())
    assert.same({}, tensor.from(5).shape)
    assert.equal(0, tensor.zeros({ 3, 0, 2 }):count())
    assert.same({ {}, {}, {} }, tensor.zeros({ 3, 0, 2 }):table())
    assert.equal('', tensor.zeros({ 0 }):string())
  end)

  it('is zeros, ones, one value or a range', function()
    assert.same({ { 0, 0 } }, tensor.zeros({ 1, 2 }, 'i64'):table())
    assert.same({ true, true }, tensor.ones({ 2 }, 'bool'):table())
    assert.same({ 2.5, 2.5 }, tensor.full({ 2 }, 2.5):table())
    assert.same({ 1, 2, 3 }, tensor.arange(1, 3):table())
    assert.same({ 1, 0.5, 0 }, tensor.arange(1, 0, -0.5):table())
    assert.same({}, tensor.arange(1, 0):table())
    assert.equal(11, tensor.arange(0, 1, 0.1):count())
  end)

  it('guesses the type of booleans and of 64-bit integers', function()
    assert.equal('bool', tensor.from({ true, false }).dtype)
    assert.equal('i64', tensor.from({ 5LL }).dtype)
  end)

  it('is a text that people can read', function()
    assert.equal('tensor {2, 3} f32\n[[1, 2, 3],\n [4, 5, 6]]', tostring(matrix()))
    assert.equal('tensor {} bool\ntrue', tostring(tensor.from(true)))
    assert.equal('tensor {300} i32\n[  1,   2,   3, ..., 298, 299, 300]', tostring(tensor.arange(1, 300, 1, 'i32')))
    assert.equal('tensor {2, 1, 2} f64\n[[[-0.5,    1]],\n\n [[ 100,  inf]]]',
      tostring(tensor.from({ { { -0.5, 1 } }, { { 100, 1 / 0 } } }, 'f64')))
  end)

  it('is a text with all digits of integers', function()
    assert.equal('tensor {2} i32\n[12345678,       -7]', tostring(tensor.from({ 12345678, -7 }, 'i32')))
    assert.equal('tensor {2} i64\n[9007199254740992, 9007199254740993]',
      tostring(tensor.from({ 2 ^ 53, 9007199254740993LL }, 'i64')))
  end)

  it('is written to by positions', function()
    local made = matrix()
    made[1] = 0
    made[2][-1] = 9
    made:slice(2, 1, 1)[2] = tensor.from { 8 }
    assert.same({ { 0, 0, 0 }, { 8, 5, 9 } }, made:table())
    assert.same({ { 1, 1, 1 }, { 1, 1, 1 } }, made:fill(1):table())
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, made:set(matrix()):table())
  end)
end)

describe('a view', function()
  it('shares the memory', function()
    local made = matrix()
    made:transpose()[3][1] = 30
    made:reshape({ 6 })[4] = 40
    made[1][2] = 20
    assert.same({ { 1, 20, 30 }, { 40, 5, 6 } }, made:table())
  end)

  it('knows its strides', function()
    local made = tensor.zeros { 4, 3, 2 }
    assert.same({ 6, 2, 1 }, made:strides())
    assert.same({ 1, 2, 6 }, made:transpose(1, 3):strides())
    assert.same({ 12, 2, 1 }, made:slice(1, 1, -1, 2):strides())
    assert.is_false(made:transpose():is_contiguous())
    assert.is_true(made:transpose():contiguous():is_contiguous())
    assert.equal(made, made:contiguous())
  end)

  it('is a range of positions, counted from either end', function()
    local row = tensor.arange(1, 6)
    assert.same({ 2, 3 }, row:slice(1, 2, 3):table())
    assert.same({ 5, 6 }, row:slice(1, -2):table())
    assert.same({ 1, 3, 5 }, row:slice(1, 1, -1, 2):table())
    assert.same({}, row:slice(1, 5, 2):table())
    assert.same({ 1, 2, 3, 4, 5, 6 }, row:slice(1, -100, 100):table())
    assert.same({ { 2 }, { 5 } }, matrix():slice(2, 2, 2):table())
  end)

  it('has dimensions in another order, without some, with more', function()
    local made = tensor.arange(1, 24):reshape { 2, 3, 4 }
    assert.equal(made[2][3][1], made:permute({ 3, 1, 2 })[1][2][3])
    assert.same({ 2, 1, 3, 4 }, made:unsqueeze(2).shape)
    assert.same({ 2, 3, 4, 1 }, made:unsqueeze(-1).shape)
    assert.same({ 2, 3, 4 }, made:unsqueeze(2):squeeze().shape)
    assert.same({ 2, 3, 4 }, made:unsqueeze(2):squeeze(2).shape)
    assert.same({ { 1, 1 }, { 2, 2 } }, tensor.from({ { 1 }, { 2 } }):expand({ 2, 2 }):table())
    assert.same({ 3, 2, 1 }, tensor.from({ { 1 }, { 2 } }):expand({ 3, 2, 1 }).shape)
  end)

  it('is reshaped without a copy where its elements lie for it', function()
    local made = tensor.arange(1, 24):reshape { 4, 6 }
    local half = made:slice(2, 1, 3)
    assert.same({ 4, 3, 1 }, half:reshape({ 4, 3, 1 }).shape)
    assert.same({ { 1, 2, 3 }, { 7, 8, 9 } }, half:reshape({ 2, 2, 3 })[1]:table())
    assert.same({ 6, 4 }, made:reshape({ -1, 4 }).shape)
    assert.same(made:transpose():copy():table(), made:reshape({ 2, 2, 6 }):reshape({ 4, 6 }):transpose():table())
    assert.equal('reshape of a tensor {4, 3}: its elements do not lie so that {12} could share them; reshape t:contiguous()',
      message(half.reshape, half, { 12 }))
    assert.same({ 1, 2, 3, 7 }, half:contiguous():reshape({ 12 }):slice(1, 1, 4):table())
  end)

  it('agrees with positions computed one by one, whatever the shape', function()
    math.randomseed(7)
    for _ = 1, 200 do
      local shape, count = {}, 1
      for i = 1, math.random(0, 4) do
        shape[i] = math.random(1, 4)
        count = count * shape[i]
      end
      local made = tensor.arange(0, count - 1, 1, 'i32'):reshape(shape)
      for _ = 1, 3 do
        if #made.shape >= 2 then made = made:transpose(math.random(#made.shape), math.random(#made.shape)) end
        if #made.shape >= 1 then made = made:slice(math.random(#made.shape), 1, -1, math.random(2)) end
      end
      local expected, strides = {}, made:strides()
      local function walk(axis, offset)
        if axis > #made.shape then
          expected[#expected + 1] = offset
          return
        end
        for i = 0, made.shape[axis] - 1 do walk(axis + 1, offset + i * strides[axis]) end
      end
      walk(1, 0)
      assert.same(expected, made:contiguous():reshape({ -1 }):table())
    end
  end)
end)

describe('an element', function()
  it('keeps its value in each type that has it', function()
    for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16', 'i64', 'i32', 'u8' } do
      assert.same({ 0, 1, 2, 127 }, tensor.from({ 0, 1, 2, 127 }, dtype):table())
    end
    assert.same({ -1.5, 1 / 0, -1 / 0 }, tensor.from({ -1.5, 1 / 0, -1 / 0 }, 'bf16'):table())
  end)

  it('of floats may be given as a 64-bit integer', function()
    for _, dtype in ipairs { 'f64', 'f32', 'f16', 'bf16' } do
      assert.same({ -3, 4 }, tensor.from({ -3LL, 4ULL }, dtype):table())
    end
  end)

  it('is rounded to the nearest, to even between two, in 16-bit floats', function()
    local cases = {
      f16 = { { 2049, 2048 }, { 2051, 2052 }, { 65519, 65504 }, { 65520, 1 / 0 }, { 2 ^ -25, 0 }, { 2 ^ -24, 2 ^ -24 },
        { 2 ^ -25 * 1.001, 2 ^ -24 }, { 1 + 2 ^ -11, 1 }, { 1 + 2 ^ -11 + 2 ^ -40, 1 + 2 ^ -10 } },
      bf16 = { { 257, 256 }, { 259, 260 }, { 3.4e38, 1 / 0 }, { 3.38e38, 254 * 2 ^ 120 }, { 2 ^ -134, 0 },
        { 2 ^ -133, 2 ^ -133 }, { 1 + 2 ^ -8, 1 }, { 1 + 2 ^ -8 + 2 ^ -40, 1 + 2 ^ -7 } },
    }
    for dtype, list in pairs(cases) do
      for _, case in ipairs(list) do
        assert.equal(case[2], tensor.from(case[1], dtype):item())
        assert.equal(-case[2], tensor.from(-case[1], dtype):item())
      end
    end
  end)

  it('of 16 bits is written as it was read, whatever the bits', function()
    local all = ffi.new 'uint16_t[65536]'
    for _, dtype in ipairs { 'f16', 'bf16' } do
      for i = 0, 65535 do all[i] = i end
      local made = tensor.from(all, dtype)
      local again = tensor.from(made:table(), dtype)
      local data = again:data()
      for i = 0, 65535 do
        local value = made[i + 1]
        if value == value then assert(data[i] == i, dtype .. ' ' .. i) else assert(again[i + 1] ~= again[i + 1]) end
      end
    end
  end)

  it('that is no number is one that Lua can hold, whatever its bits', function()
    local halves = ffi.new('uint32_t[8]', 0xffffffff, 0xffffffff, 0, 0xfff90001, 1, 0x7ff00000, 0xffffffff, 0xfffe7fff)
    for _, dtype in ipairs { 'f64', 'f32' } do
      local made, count = tensor.from(halves, dtype), 0
      for i, value in ipairs(made:table()) do
        assert.equal('number', type(value))
        assert.equal(value ~= value, made[i] ~= made[i])
        count = count + (value ~= value and 1 or 0)
      end
      assert.equal(dtype == 'f64' and 4 or 6, count)
    end
  end)

  it('of 64 bits is exact, as cdata where no number holds it', function()
    assert.equal(2 ^ 53, tensor.from({ 2 ^ 53 }, 'i64')[1])
    assert.is_true(tensor.from({ 9007199254740993LL })[1] == 9007199254740993LL)
    assert.is_true(tensor.from({ -9223372036854775807LL - 1 })[1] == -9223372036854775807LL - 1)
  end)
end)

describe('a mistake with tensors', function()
  local made = matrix()
  local cases = {
    { 'names the shape', function() tensor.zeros { 2, 'x' } end,
      'tensor.zeros: expected a whole number of at least 0 as size of dimension 2, got the string "x"' },
    { 'names the dtypes', function() tensor.zeros({ 2 }, 'f33') end,
      'tensor.zeros: expected a dtype (f64, f32, f16, bf16, i64, i32, u8, bool), got the string "f33"' },
    { 'counts dimensions', function() tensor.zeros { 1, 1, 1, 1, 1, 1, 1, 1, 1 } end,
      'tensor.zeros: expected at most 8 dimensions, got 9' },
    { 'counts elements', function() tensor.zeros { 2 ^ 40, 0, 2 ^ 40 } end,
      'tensor.zeros: expected at most 2^47 elements, got the shape {1099511627776, 0, 1099511627776}' },
    { 'names the place of a ragged list', function() tensor.from { { { 1 }, { 2 } }, { { 3 }, 4 } } end,
      'tensor.from: value[2][2]: expected a list of 1 elements, got the number 4' },
    { 'names the place of a tensor in a list', function() tensor.from { made, made } end,
      'tensor.from: value[1]: expected a number, got a tensor' },
    { 'names the place of a tensor where a list stands beside it', function() tensor.from { {}, made } end,
      'tensor.from: value[2]: expected a list of 0 elements, got a tensor' },
    { 'sees a list that is in itself', function()
      local endless = {}
      endless[1] = endless
      tensor.from(endless)
    end, 'tensor.from: expected at most 8 dimensions, got 9' },
    { 'names the place of a bad element', function() tensor.from({ { 1, 1.5 } }, 'u8') end,
      'tensor.from: value[1][2]: expected a whole number from 0 to 255, got the number 1.5' },
    { 'counts bytes', function() tensor.from('abc', 'f32') end,
      'tensor.from: expected a multiple of 4 bytes for f32, got 3' },
    { 'counts bytes of a shape', function() tensor.from('abcd', 'f32', { 2 }) end,
      'tensor.from: expected 8 bytes for f32 {2}, got 4' },
    { 'counts elements of a shape', function() made:reshape { 4 } end,
      'reshape of a tensor {2, 3}: expected a shape of 6 elements, got {4} of 4' },
    { 'names the dimensions there are', function() made:slice(3) end,
      'slice of a tensor {2, 3}: expected a dimension from 1 to 2 or from -2 to -1, got the number 3' },
    { 'names the positions there are', function() return made[3] end,
      't[3]: expected a whole number from 1 to 2 or from -2 to -1 in a tensor {2, 3}' },
    { 'of fields is told', function() made.size = 3 end,
      'a tensor has no field the string "size" to write to; t[i] = value writes elements' },
    { 'of values is told', function() made:fill 'x' end,
      'an element of a tensor of f32: expected a number, got the string "x"' },
    { 'of several elements is told', function() made:item() end, 'item of a tensor {2, 3}: expected one element, got 6' },
    { 'of a dot for a colon is told', function() made.copy() end,
      'expected a tensor before the colon: write t:copy(...), got nil' },
    { 'of shapes is told', function() made:set(tensor.zeros { 4 }) end, 'expected a tensor whose shape fits {2, 3}, got {4}' },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. ', at the line that made it', function()
      local ok, problem = pcall(case[2])
      assert.is_false(ok)
      local place, text = problem:match('^(%S+:%d+): (.*)$')
      assert.equal(case[3], text)
      assert.truthy(place:find('tensor_spec.lua', 1, true))
    end)
  end
end)

describe('the memory of tensors', function()
  it('is used again when a tensor is garbage', function()
    collect()
    local before = tensor.memory()
    local made = tensor.zeros { 1000, 1000 }
    local address = tonumber(ffi.cast('uintptr_t', made:data()))
    assert.is_true(tensor.memory().used - before.used >= 4e6)
    assert.is_true(tensor.memory().peak >= tensor.memory().used)
    made = nil -- luacheck: ignore
    collectgarbage()
    assert.equal(before.used, tensor.memory().used)
    assert.is_true(tensor.memory().cached >= 4e6)
    assert.equal(address, tonumber(ffi.cast('uintptr_t', tensor.zeros({ 1000, 1000 }):data())))
    tensor.trim()
    assert.equal(0, tensor.memory().cached)
  end)

  it('does not grow in a loop that makes garbage', function()
    for _ = 1, 200 do tensor.zeros { 1000, 1000 } end
    local memory = tensor.memory()
    assert.is_true(memory.used + memory.cached < 200e6, ('%.0f bytes'):format(memory.used + memory.cached))
  end)

  it('that is not there is an error to catch', function()
    local ok, problem = pcall(tensor.zeros, { 2 ^ 45 })
    assert.is_false(ok)
    assert.truthy(problem:find('^a tensor of 140737488355328 bytes beside %d+ in use on the host: out of memory$'))
    assert.equal(3, tensor.arange(1, 3):count())
  end)

  it('is not left where somebody has changed a shape by hand', function()
    for name, use in pairs {
      table = function(t) t:table() end,
      string = function(t) t:string() end,
      fill = function(t) t:fill(1) end,
      set = function(t) t:set(tensor.ones { 1 }) end,
      copy = function(t) t:copy() end,
      print = tostring,
      read = function(t) return t[1e8] end,
      write = function(t) t[1e8] = 1 end,
      save = function(t) tensor.save(os.tmpname() .. '.npy', t) end,
      view = function(t) t:slice(1, 1e8, 1e8 + 5):table() end,
      send = function(t) error((select(2, require('farside.native').encode(nil, t))).message, 0) end,
    } do
      local t = tensor.ones { 2 }
      t.shape[1] = 1e9
      local ok, problem = pcall(use, t)
      assert.is_false(ok, name)
      assert.truthy(problem:find('its elements lie outside of its 8 bytes', 1, true), name .. ': ' .. problem)
    end
  end)

  it('lives as long as a view of it', function()
    local view = tensor.arange(1, 1000):slice(1, 500, 501)
    for _ = 1, 10 do tensor.arange(2, 1001) end
    collectgarbage()
    tensor.arange(3, 1002)
    assert.same({ 500, 501 }, view:table())
  end)
end)
