local record = require 'spec.bench.cuda.record'

local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

local function output_of(command)
  local pipe = assert(io.popen(command .. ' 2>&1; code=$?; echo; echo $code'))
  local text = pipe:read('*a')
  pipe:close()
  local output, code = text:match('^(.-)\n(%d+)\n$')
  return output, tonumber(code)
end

-- The bench with the loops of another folder.
local function run_bench(build, arguments)
  return output_of(("env FARSIDE_BUILD='%s' LUA_PATH='lua/?.lua;lua/?/init.lua;?.lua;;' LUA_CPATH='%s/lua/?.so;;' luajit spec/bench/cuda.lua %s")
    :format(build, BUILD, arguments))
end

local function text_of(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

describe('spec/bench/run cuda', function()
  local folder

  before_each(function() folder = io.popen('mktemp -d'):read('*l') end)
  after_each(function() os.execute(("rm -r '%s'"):format(folder)) end)

  -- Where a sanitizer watches each kernel, all of them would take minutes; those have specs of their own.
  local sanitized = io.open(BUILD .. '/bin/luajit')
  if sanitized then sanitized:close() end
  local it_measures = sanitized and pending or it

  it_measures('holds each kernel against a plain loop, and finds them right', function()
    local output, code = run_bench(BUILD, '--quick')
    assert.equal(0, code, output)
    assert.truthy(output:find('%d+ of %d+ below what was aimed at; 0 wrong'), output)
    for _, name in ipairs { 'a + b', 'sum of columns', 'softmax', 'top 64', 'matmul f32', 'copy', 'launch through the FFI' } do
      assert.truthy(output:find('\n' .. name, 1, true), output)
    end
  end)

  it_measures('searches from end to end, and shows the call apart', function()
    local output, code = run_bench(BUILD, 'vector_search')
    assert.equal(0, code, output)
    assert.truthy(output:find('\nvector_search, end to end .*\nvector_search, the call alone .*\n0 of 2 below'), output)
  end)

  it('says which result is wrong, and ends with 1', function()
    local text, count = text_of('spec/bench/cuda/plain.c'):gsub('out%[i%] = a%[i%] %+ b%[i%];', 'out[i] = a[i] + 1.001f * b[i];')
    assert.equal(1, count)
    assert(os.execute(("mkdir '%s/bench'"):format(folder)))
    local file = assert(io.open(folder .. '/plain.c', 'w'))
    file:write(text)
    file:close()
    local output, code = output_of(("cc -shared -fPIC -Ispec/bench/cuda '%s/plain.c' -o '%s/bench/libplain.so' -lm"):format(folder, folder))
    assert.equal(0, code, output)
    output, code = run_bench(folder, "--quick 'a + b'")
    assert.equal(1, code, output)
    assert.truthy(output:find('WRONG: a + b: it differs from the plain loop by', 1, true), output)
    assert.truthy(output:find('; 1 wrong', 1, true), output)
  end)

  it('refuses what is not an option', function()
    local output, code = run_bench(BUILD, '--fast')
    assert.equal(64, code)
    assert.equal('--fast is not an option: cuda [--quick] [--record] [NAME]\n', output)
  end)

  it('records a device in place of what was recorded for it before', function()
    local path = folder .. '/RESULTS.md'
    local function write(device, on_gpu, name)
      record.write(device, on_gpu, 'The limit.', { { name = name, seconds = 2e-6, limit = 1e-6, ratio = 0.5, relation = '>=', aim = 0.85, missed = true } },
        path)
    end
    write('a processor', false, 'before')
    local first = text_of(path)
    write('a card', true, 'there')
    write('a processor', false, 'after')
    local text = text_of(path)
    assert.falsy(text:find('before', 1, true))
    assert.equal(first:gsub('before', 'after'), text:sub(1, #first - 1))
    assert.truthy(text:find('\n\n## cuda: a card\n', 1, true))
    assert.truthy(text:find('| there | 2.00 | 1.00 |  | 0.50 | >= 0.85, missed |\n$'))
    write('a card', true, 'there')
    assert.equal(text, text_of(path))
  end)
end)
