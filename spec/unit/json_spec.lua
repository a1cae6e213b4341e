local json = require 'farside.cli.json'
local native = require 'farside.native'

local function python(program, input)
  local path = os.tmpname()
  local file = assert(io.open(path, 'w'))
  file:write(input)
  file:close()
  local pipe = io.popen(("python3 -c '%s' <%s 2>&1"):format(program, path))
  local text = pipe:read('*a')
  pipe:close()
  os.remove(path)
  return text
end

local HAS_PYTHON = python('print(1)', '') == '1\n'

local TEXTS = {
  'null', 'true', 'false', '0', '-1', '0.5', '1e3', '-2.5E-3', '9007199254740993', '-9223372036854775808',
  '18446744073709551615', '""', '"a\\"b\\\\\\/\\b\\f\\n\\r\\t"', '"\\u00e9\\u20ac\\ud83d\\ude00"', '"é€😀"', '[]', '{}', '[[]]',
  '[1,"a",null,{"b":[true]}]', '{"a":{"b":{}},"c":[]}', ' [ 1 , 2 ] ', '{"a":2,"z":1}', '1e308', '0.1', '123456789.125',
}

local BAD = {
  '', ' ', 'nul', 'nullx', 'True', '01', '-', '+1', '.5', '1.', '1e', '"', '"a', '"\\x"', '"\\u12"', '"\\ud800"', '"\\udc00"',
  '"a\nb"', '[', '[1', '[1,', '[1,]', '[,1]', '{', '{"a"', '{"a":', '{"a":1,', '{"a":1,}', '{a:1}', "{'a':1}", '{"a":1 "b":2}',
  '[1] 2', '1 2', '{1:2}', 'NaN', 'Infinity', '0x10', '1,000', ']', '}', ':', '{"a":1,"a":2}',
}

describe('JSON of the command line', function()
  it('is what another implementation makes of the same values', function()
    if not HAS_PYTHON then return pending('python3 is not there') end
    local lines = {}
    for i, text in ipairs(TEXTS) do
      local value, problem = json.decode(text)
      assert.is_nil(problem, text)
      lines[i] = json.encode(value)
    end
    -- 1e3 is a whole number here.
    local program = 'import json,sys\ndef real(text):\n  x = float(text)\n  return int(x) if x % 1 == 0 and abs(x) < 2**53 else x\n'
      .. 'for line in sys.stdin: print(ascii(json.loads(line, parse_float=real)))'
    assert.equal(python(program, table.concat(TEXTS, '\n') .. '\n'), python(program, table.concat(lines, '\n') .. '\n'))
  end)

  it('refuses what another implementation refuses, and says where', function()
    for _, text in ipairs(BAD) do
      local value, problem = json.decode(text)
      assert.is_nil(value, text)
      assert.truthy(problem:find('^JSON: expected .+ at character %d+, got '), text)
    end
    assert.equal("JSON: expected ',' or ']' at character 4, got '2'", select(2, json.decode('[1 2]')))
  end)

  it('reads whole numbers exactly', function()
    assert.equal(9007199254740993LL, json.decode('9007199254740993'))
    assert.equal(-9223372036854775807LL - 1, json.decode('-9223372036854775808'))
    assert.equal(18446744073709551615ULL, json.decode('18446744073709551615'))
    assert.equal(18446744073709551616, json.decode('18446744073709551616'))
    assert.equal(5, json.decode('5'))
  end)

  it('tells empty lists from empty objects, both ways', function()
    assert.equal('[{},[]]', json.encode(json.decode('[{},[]]')))
  end)

  it('takes an empty table for a list, as the wire does', function()
    local _, list, map, plain = native.decode(nil, native.encode(nil, native.array {}, native.map {}, {}):tostring())
    assert.same({ '[]', '{}', '[]', '[]' }, { json.encode(list), json.encode(map), json.encode(plain), json.encode {} })
  end)

  it('has a place for what JSON does not know', function()
    assert.equal('["NaN","Infinity","-Infinity"]', json.encode { 0 / 0, math.huge, -math.huge })
    assert.equal('{"base64":"/wA="}', json.encode '\255\0')
    assert.equal('{"base64":"/wD/"}', json.encode '\255\0\255')
    assert.equal('{"base64":"7aCA"}', json.encode '\237\160\128')
    assert.equal('null', json.encode(native.null))
  end)

  it('keeps every double', function()
    for _, value in ipairs { 0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2 ^ 53, -2 ^ 60, 123456.789 } do
      assert.equal(value, tonumber((json.encode(value))))
    end
  end)

  it('goes no deeper than 64 levels', function()
    assert.truthy(json.decode(('['):rep(64) .. (']'):rep(64)))
    assert.truthy(select(2, json.decode(('['):rep(100000))):find('at most 64 levels', 1, true))
  end)

  it('is written over several lines for a person', function()
    assert.equal('{\n  "a": [\n    1,\n    2\n  ],\n  "b": []\n}', json.encode({ b = {}, a = { 1, 2 } }, true))
  end)
end)

-- Both readers have them: that of the command line and that of the headers of safetensors.
describe('a string of JSON', function()
  local json_string = require 'farside.json_string'

  local function read(text, at)
    return json_string.read(text, at or 1, function(where, expected) error({ where, expected }, 0) end)
  end

  it('has its escapes, also code points beyond 16 bits', function()
    assert.same({ 'a"\\/\b\f\n\r\tb', 21 }, { read [["a\"\\\/\b\f\n\r\tb" ]] })
    assert.equal('é€😀\0', (read [["\u00e9\u20AC\ud83d\uDE00\u0000"]]))
    assert.equal('\127é', (read '"\127é"'))
    assert.same({ '', 6 }, { read('[1,"",2]', 4) })
  end)

  it('is refused where it is none, and says where', function()
    for text, at in pairs { ['"'] = 2, ['"a'] = 3, ['"a\\'] = 4, ['"a\\x"'] = 4, ['"\\u12"'] = 4, ['"\\ud800"'] = 8,
      ['"\\udc00"'] = 8, ['"\\ud800\\u0041"'] = 8, ['"\\ud800\\n"'] = 8, ['"a\nb"'] = 3, ['"\0"'] = 2, ['"\31"'] = 2 } do
      local ok, why = pcall(read, text)
      assert.is_false(ok, text)
      assert.equal(at, why[1], text)
      assert.equal('string', type(why[2]))
    end
  end)
end)
