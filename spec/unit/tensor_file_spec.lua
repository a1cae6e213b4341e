local collect = require 'spec.support.garbage'
local ffi = require 'ffi'
local tensor = require 'farside.tensor'

local folder

local function path_of(name)
  return folder .. '/' .. name
end

local function write(name, bytes)
  local file = assert(io.open(path_of(name), 'wb'))
  file:write(bytes)
  file:close()
  return path_of(name)
end

local function read(name)
  local file = assert(io.open(path_of(name), 'rb'))
  local bytes = file:read '*a'
  file:close()
  return bytes
end

--- What a file of these bytes is refused with, behind its path.
local function refusal(name, bytes)
  local path = write(name, bytes)
  local ok, problem = pcall(tensor.load, path)
  assert.is_false(ok, 'it was loaded')
  assert.equal(path .. ': ', problem:sub(1, #path + 2))
  return problem:sub(#path + 3)
end

local function doubles(...)
  return ffi.string(ffi.new('double[?]', select('#', ...), ...), 8 * select('#', ...))
end

local function npy(header, elements)
  return '\147NUMPY\1\0' .. string.char(#header % 256, math.floor(#header / 256)) .. header .. elements
end

local function safetensors(header, elements)
  return string.char(#header % 256, math.floor(#header / 256), 0, 0, 0, 0, 0, 0) .. header .. elements
end

local function python(text)
  local pipe = io.popen(("python3 -c '%s' 2>&1"):format(text))
  local output = pipe:read '*a'
  pipe:close()
  return output
end

setup(function()
  local pipe = io.popen 'mktemp -d'
  folder = pipe:read '*l'
  pipe:close()
end)

teardown(function() os.execute("rm -rf '" .. folder .. "'") end)

describe('a .npy file', function()
  it('is read as it is written in its description', function()
    local path = write('a.npy', npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }     \n",
      doubles(1, 2, 3, 4.5)))
    local loaded = tensor.load(path)
    assert.same({ 'f64', { 2, 2 }, { { 1, 2 }, { 3, 4.5 } } }, { loaded.dtype, loaded.shape, loaded:table() })
  end)

  it('may have its keys in any order, its columns first, and no dimensions', function()
    local loaded = tensor.load(write('b.npy', npy("{'shape':(2,3),'fortran_order':True,'descr':'<f8'}",
      doubles(1, 4, 2, 5, 3, 6))))
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, loaded:table())
    assert.same({ 1, 2 }, loaded:strides())
    assert.equal(7, tensor.load(write('c.npy', npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n",
      doubles(7)))):item())
    assert.same({ 1, 2 }, tensor.load(write('d.npy', npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n",
      '\1\2'))):table())
  end)

  it('may be of version 2', function()
    local header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n"
    assert.same({ 3 }, tensor.load(write('e.npy', '\147NUMPY\2\0' .. string.char(#header, 0, 0, 0) .. header
      .. doubles(3))):table())
  end)

  it('is written with its elements at a multiple of 64 bytes', function()
    tensor.save(path_of 'f.npy', tensor.from({ { 1, 2 } }, 'f32'))
    local header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"
    assert.equal('\147NUMPY\1\0\118\0' .. header .. (' '):rep(118 - #header - 1) .. '\n'
      .. '\0\0\128\63\0\0\0\64', read 'f.npy')
  end)

  it('gives back what was saved, of each type and shape', function()
    for _, dtype in ipairs { 'f64', 'f32', 'f16', 'i64', 'i32', 'u8', 'bool' } do
      for _, shape in ipairs { {}, { 0 }, { 1 }, { 5 }, { 3, 0 }, { 2, 3, 4 } } do
        local saved = tensor.zeros(shape, dtype)
        for i = 0, saved:count() * saved._dtype.size - 1 do ffi.cast('uint8_t *', saved:data())[i] = i % 2 end
        tensor.save(path_of 'g.npy', saved)
        local loaded = tensor.load(path_of 'g.npy')
        assert.same({ dtype, saved.shape, saved:string() }, { loaded.dtype, loaded.shape, loaded:string() })
      end
    end
  end)

  it('saves a view in order', function()
    tensor.save(path_of 'h.npy', tensor.from({ { 1, 2 }, { 3, 4 } }):transpose())
    assert.same({ { 1, 3 }, { 2, 4 } }, tensor.load(path_of 'h.npy'):table())
  end)

  it('is not changed by writing to what was loaded', function()
    tensor.save(path_of 'i.npy', tensor.zeros { 4 })
    local before = read 'i.npy'
    local loaded = tensor.load(path_of 'i.npy')
    loaded:fill(9)
    assert.same({ 9, 9, 9, 9 }, loaded:table())
    assert.equal(before, read 'i.npy')
  end)

  it('is there as long as a view of it', function()
    tensor.save(path_of 'j.npy', tensor.arange(1, 5000))
    local view = tensor.load(path_of 'j.npy'):slice(1, 4000, 4001)
    collect()
    assert.same({ 4000, 4001 }, view:table())
  end)

  it('is refused with what is wrong and where', function()
    local good = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"
    local cases = {
      { '', 'at byte 0: expected a file with something in it, got an empty one' },
      { 'PK\3\4 a zip', 'at byte 0: expected the magic of .npy ("\\147NUMPY"), got "PK\\3\\4 a"' },
      { '\147NUMPY', 'at byte 6: expected 1 bytes of the version, got 0' },
      { '\147NUMPY\4\0', 'at byte 6: expected version 1, 2 or 3 of the format, got 4' },
      { '\147NUMPY\1\0\255', "at byte 8: expected 2 bytes of the header's length, got 1" },
      { '\147NUMPY\1\0\255\0{', 'at byte 10: expected 255 bytes of the header, got 1' },
      { '\147NUMPY\2\0\255\255\255\255{', 'at byte 8: expected a header of at most 65536 bytes, got 4294967295' },
      { npy(good, doubles(1)), 'at byte 68: expected 16 bytes of elements for {2} of f64, got 8' },
      { npy(good, doubles(1, 2, 3)), 'at byte 68: expected 16 bytes of elements for {2} of f64, got 24' },
      { npy(good:gsub('<f8', '>f8'), doubles(1, 2)),
        'at byte 10: expected elements of one of the types <f8, <f4, <f2, <i8, <i4, |u1, |b1, got ">f8"' },
      { npy(good:gsub('<f8', '|O'), doubles(1, 2)),
        'at byte 10: expected elements of one of the types <f8, <f4, <f2, <i8, <i4, |u1, |b1, got "|O"' },
      { npy(good:gsub('False', 'Maybe'), doubles(1, 2)), 'at byte 10: expected True or False as fortran_order, got "Maybe"' },
      { npy(good:gsub('2,', '2,-1'), doubles(1, 2)), 'at byte 63: expected a size in the header, got "-1), }\\10"' },
      { npy("{'descr': '<f8', 'descr': '<f8'}", ''), "at byte 27: expected each of the keys 'descr', 'fortran_order', "
        .. "'shape' once in the header, got \"'descr': '<f8'}\"" },
      { npy("{'descr': '<f8', 'shape': (1,)}", doubles(1)),
        "at byte 10: expected the key 'fortran_order' in the header, got none" },
      { npy(good .. 'x', doubles(1, 2)), 'at byte 65: expected nothing behind "}" in the header, got " }\\10x"' },
      { npy(good:gsub('2,', '140737488355329'), ''), 'at byte 10: expected a whole number of at least 0 as size of '
        .. 'dimension 1, got the number 1.4073748835533e+14' },
      { npy(good:gsub('2,', '99999999, 99999999'), ''),
        'at byte 10: expected at most 2^47 elements, got the shape {99999999, 99999999}' },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], refusal('bad.npy', case[1])) end
  end)

  it('is no folder, no pipe and nothing that is not there', function()
    os.execute(("mkdir '%s' && mkfifo '%s'"):format(path_of 'folder.npy', path_of 'pipe.npy'))
    local problems = { ['none.npy'] = 'cannot be opened: No such file', ['folder.npy'] = 'folder.npy: ',
      ['pipe.npy'] = 'got none that has a size' }
    for name, problem in pairs(problems) do
      local ok, message = pcall(tensor.load, path_of(name))
      assert.is_false(ok)
      assert.truthy(message:find(problem, 1, true))
    end
    assert.is_false(pcall(tensor.save, path_of 'nowhere/x.npy', tensor.zeros { 1 }))
    assert.is_false(pcall(tensor.save, path_of 'x.npy', tensor.zeros({ 1 }, 'bf16')))
  end)

  it('says that the disk is full, and not where in Farside it was noticed', function()
    local open, path = io.open, path_of 'full.npy'
    finally(function() rawset(io, 'open', open) end)
    rawset(io, 'open', function(name, mode)
      if mode == 'wbx' then return open('/dev/full', 'wb') end
      return open(name, mode)
    end)
    for _, count in ipairs { 1, 1000000 } do  -- noticed when it is closed, and before
      local ok, message = pcall(tensor.save, path, tensor.zeros { count })
      assert.same({ false, path .. ': cannot be written: No space left on device' }, { ok, message })
    end
  end)

  it('has booleans that are 0 or 1, whatever else stands in it', function()
    local path = write('bools.npy', npy("{'descr': '|b1', 'fortran_order': False, 'shape': (5,), }\n", '\0\1\2\255\1'))
    assert.equal('\0\1\1\1\1', tensor.load(path):string())
    assert.equal(4, tensor.load(path):sum():item())
    assert.equal('\0\2', read('bools.npy'):sub(-5, -5) .. read('bools.npy'):sub(-3, -3))
    assert.equal('\1\0', tensor.from('\3\0', 'bool'):string())
  end)

  it('is written whole or not at all, beside what others write', function()
    math.randomseed(7)
    local first = math.random()
    math.randomseed(7)
    tensor.save(path_of 'k.npy', tensor.zeros { 1 })
    assert.equal(first, math.random(), 'saving takes numbers from math.random')
    assert.is_nil(io.popen(("ls '%s' | grep new"):format(folder)):read '*l')
  end)

  it('is the same to NumPy', function()
    if python 'import numpy; print("there", end="")' ~= 'there' then pending 'needs python3 with numpy' end
    local names = { 'float64', 'float32', 'float16', 'int64', 'int32', 'uint8', 'bool' }
    local list = '("' .. table.concat(names, '", "') .. '")'
    assert.equal('', python(('import numpy as n\nfor t in %s: n.save("%s/" + t + ".npy", '
      .. 'n.asfortranarray(n.arange(6).reshape(2, 3).astype(t)))'):format(list, folder)))
    for _, name in ipairs(names) do
      local loaded = tensor.load(path_of(name .. '.npy'))
      assert.same(name == 'bool' and { { false, true, true }, { true, true, true } } or { { 0, 1, 2 }, { 3, 4, 5 } },
        loaded:table())
      tensor.save(path_of(name .. '.npy'), loaded:transpose())
    end
    assert.equal('', python(('import numpy as n\nfor t in %s: a = n.load("%s/" + t + ".npy"); assert a.dtype == t '
      .. 'and (a == n.arange(6).reshape(2, 3).astype(t).T).all(), a'):format(list, folder)))
  end)
end)

describe('a .safetensors file', function()
  it('is read as it is written in its description', function()
    local header = '{"__metadata__":{"format":"pt"},"w":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},'
      .. '"b":{"shape":[],"data_offsets":[16,17],"dtype":"BOOL"}}   '
    local loaded, metadata = tensor.load(write('a.safetensors', safetensors(header, doubles(1, 2) .. '\1')))
    assert.same({ { 1, 2 } }, loaded.w:table())
    assert.is_true(loaded.b:item())
    assert.same({ format = 'pt' }, metadata)
  end)

  it('is written with the widest elements first', function()
    tensor.save(path_of 'b.safetensors', { a = tensor.from({ 1, 2, 3 }, 'u8'), z = tensor.from({ 7 }, 'f64') },
      { note = 'a "b"\n' })
    local header = '{"__metadata__":{"note":"a \\"b\\"\\n"},"z":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},'
      .. '"a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}'
    header = header .. (' '):rep(-#header % 8)
    assert.equal(safetensors(header, doubles(7) .. '\1\2\3'), read 'b.safetensors')
  end)

  it('gives back what was saved', function()
    local saved = { ['ä "\\ \1'] = tensor.zeros { 0 }, scalar = tensor.from(5) }
    for i, dtype in ipairs(tensor.dtypes) do
      saved[dtype] = tensor.zeros({ i, 3 }, dtype)
      ffi.cast('uint8_t *', saved[dtype]:data())[i] = 1
    end
    tensor.save(path_of 'c.safetensors', saved, {})
    local loaded, metadata = tensor.load(path_of 'c.safetensors')
    assert.same({}, metadata)
    for name, value in pairs(saved) do
      assert.same({ name, value.dtype, value.shape, value:string() },
        { name, loaded[name].dtype, loaded[name].shape, loaded[name]:string() })
      loaded[name] = nil
    end
    assert.is_nil(next(loaded))
  end)

  it('reads escapes of JSON', function()
    local header = [[{"a\u00e4\u20ac\ud83d\ude00\/":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}]]
    local loaded = tensor.load(write('d.safetensors', safetensors(header, '\9')))
    assert.equal(9, loaded['aä€😀/'][1])
  end)

  it('is refused with what is wrong and where', function()
    local function entry(fields, elements) return safetensors('{"w":{' .. fields .. '}}', elements or doubles(1, 2)) end
    local cases = {
      { 'abc', "at byte 0: expected 8 bytes of the header's length, got 3" },
      { ('\255'):rep(8), 'at byte 0: expected a header of at most 100000000 bytes, got 18446744073709551616' },
      { '\9\0\0\0\0\0\0\0{}', 'at byte 8: expected 9 bytes of the header, got 2' },
      { safetensors('[]', ''), 'at byte 8: expected "{" in the header, got "[]"' },
      { safetensors('{}x', ''), 'at byte 10: expected nothing behind the object in the header, got "x"' },
      { safetensors('{"w', ''), 'at byte 11: expected the end of a string in the header, got its end' },
      { safetensors('{"w":' .. ('['):rep(100), ''), 'at byte 20: expected at most 8 levels in the header, got "' ..
        ('['):rep(16) .. '"' },
      { safetensors('{"w":[' .. ('0,'):rep(65) .. '0]}', ''), 'at byte 142: expected at most 64 values in a list in the '
        .. 'header, got "0,0]}"' },
      { safetensors('{"' .. ('w'):rep(500) .. '":5}', ''), 'at byte 512: expected an object for "' .. ('w'):rep(60) .. '"...' },
      { safetensors('{"w":5}', ''), 'at byte 13: expected an object for "w"' },
      { entry '"dtype":"F64","shape":[2],"data_offsets":[0,16],"dtype":"F64"',
        'at byte 62: expected each key once in the header, got "\\34dtype\\34:\\34F64\\34}}"' },
      { entry '"dtype":"I8","shape":[2],"data_offsets":[0,16]', 'at byte 13: expected one of the dtypes F64, F32, F16, BF16,'
        .. ' I64, I32, U8, BOOL for "w", got "I8"' },
      { entry '"dtype":"F64","shape":[2],"data_offsets":[0,8]', 'at byte 13: expected data_offsets of "w" that are 16 '
        .. 'bytes apart, for {2} of f64, got 0 and 8' },
      { entry '"dtype":"F64","shape":[2],"data_offsets":[16,0]', 'at byte 13: expected data_offsets of "w" that are 16 '
        .. 'bytes apart, for {2} of f64, got 16 and 0' },
      { entry '"dtype":"F64","shape":[-2],"data_offsets":[0,16]',
        'at byte 37: expected an object, a list, a string or a whole number in the header, got "-2],\\34data_offset"' },
      { entry '"dtype":"F64","shape":[2.5],"data_offsets":[0,16]',
        'at byte 37: expected a whole number of at most 2^53 in the header, got "2.5],\\34data_offse"' },
      { entry '"dtype":"F64","shape":{},"data_offsets":[0,16]', 'at byte 13: expected a list of sizes as shape of "w"' },
      { entry '"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,16]',
        'at byte 13: shape of "w": expected at most 2^47 elements, got the shape {4294967296, 4294967296}' },
      { entry '"dtype":"F64","shape":[2],"data_offsets":[8,24]',
        'at byte 63: expected the elements of a tensor, got a gap before "w" at 71' },
      { entry('"dtype":"F64","shape":[2],"data_offsets":[0,16]', doubles(1, 2) .. 'x'),
        'at byte 79: expected the end of the file, got 1 bytes that belong to no tensor' },
      { entry('"dtype":"F64","shape":[2],"data_offsets":[0,16]', doubles(1)),
        'at byte 71: expected 8 more bytes of elements, got the end of the file' },
      { entry '"dtype":"F64","shape":[2],"offsets":[0,16]',
        'at byte 13: expected dtype, shape and data_offsets for "w", got "offsets"' },
      { safetensors('{"__metadata__":{"a":1}}', ''), 'at byte 24: expected a text for "a" in __metadata__' },
    }
    for _, case in ipairs(cases) do assert.equal(case[2], refusal('bad.safetensors', case[1])) end
  end)

  it('may hold any number of tensors', function()
    local many = {}
    for i = 1, 9000 do many['t' .. i] = tensor.from(i % 251, 'u8') end
    tensor.save(path_of 'many.safetensors', many)
    local loaded = tensor.load(path_of 'many.safetensors')
    assert.equal(9000 % 251, loaded.t9000:item())
  end)

  it('is refused where two tensors overlap', function()
    local header = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}'
    assert.truthy(refusal('bad.safetensors', safetensors(header, 'abcdef')):find('an overlap with "b"', 1, true))
  end)

  it('saves nothing but tensors by name', function()
    local cases = {
      { tensor.zeros { 1 }, nil, 'expected a table of tensors by name' },
      { { tensor.zeros { 1 } }, nil, 'expected names of tensors, got the number 1' },
      { { a = 5 }, nil, 'expected a tensor as "a", got the number 5' },
      { { __metadata__ = tensor.zeros { 1 } }, nil, 'expected names of tensors, got the string "__metadata__"' },
      { { a = tensor.zeros { 1 } }, { b = 5 }, 'expected metadata of texts by text, got the number 5 for the string "b"' },
    }
    for _, case in ipairs(cases) do
      local ok, problem = pcall(function() tensor.save(path_of 'x.safetensors', case[1], case[2]) end)
      assert.is_false(ok)
      assert.truthy(problem:find('tensor_file_spec.lua:%d+: .*' .. path_of 'x.safetensors'), problem)
      assert.equal(case[3], problem:match('x%.safetensors: (.*)$'))
    end
  end)
end)
