--- What may use what: the borders between the parts of host/, read off the compiled objects and the sources.
local BUILD = os.getenv('FARSIDE_BUILD') or 'build'

-- What the pure core may call: memory, strings, mathematics, and what compilers make of asserts and checks.
local PURE = {}
for name in ([[
  malloc calloc realloc free
  memcpy memmove memset memcmp bcmp memchr strlen strnlen strcmp strncmp strchr strrchr strstr strdup strndup strerror
  snprintf vsnprintf
  floor ceil fabs fmin fmax fmod frexp ldexp log log2 exp exp2 pow sqrt round trunc isnan isinf lround llround
  abort __assert_fail __stack_chk_fail _GLOBAL_OFFSET_TABLE_
]]):gmatch('%S+') do
  PURE[name] = true
end

local function lines_of(command)
  local pipe = io.popen(command)
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function objects(part)
  local found = lines_of(('find %s/host/CMakeFiles/farside_%s.dir -name "*.o"'):format(BUILD, part))
  assert.is_true(#found > 0, 'no objects of ' .. part)
  return table.concat(found, ' ')
end

-- memcpy is __memcpy_chk in a hardened build; a sanitizer brings functions of its own.
local function is_pure(symbol)
  local name = symbol:match('^__(.*)_chk$') or symbol
  return PURE[name] or name:find('^__[aut]b?san_') ~= nil
end

local function symbols(options, part)
  local found = {}
  for _, line in ipairs(lines_of(('nm %s %s'):format(options, objects(part)))) do
    local name = line:match('(%S+)$')
    if name and not name:find(':$') then found[name] = true end
  end
  return found
end

describe('the pure core', function()
  it('needs nothing but memory, string and math functions of libc', function()
    local defined, impure = symbols('--defined-only', 'core'), {}
    for name in pairs(symbols('--undefined-only', 'core')) do
      if not defined[name] and not is_pure(name) then impure[#impure + 1] = name end
    end
    assert.same({}, impure)
  end)
end)

describe('the simulator', function()
  it('needs nothing but the core and what that needs, and a cosine', function()
    local known, impure = symbols('--defined-only', 'core'), {}
    for name in pairs(symbols('--defined-only', 'simulate')) do known[name] = true end
    for name in pairs(symbols('--undefined-only', 'simulate')) do
      if not known[name] and not is_pure(name) and name ~= 'cos' then impure[#impure + 1] = name end
    end
    assert.same({}, impure)
  end)
end)

describe('the host', function()
  for _, part in ipairs { 'core', 'simulate', 'io', 'vm' } do
    it('has no mutable statics in ' .. part, function()
      local found = {}
      for _, line in ipairs(lines_of('objdump -t ' .. objects(part))) do
        local section, size, name = line:match('O (%S+)%s+(%x+) (%S.*)$')
        local writable = section and (section:find('^%.t?bss') or section:find('^%.t?data') or section == '*COM*')
        -- Constants that hold addresses are written by the loader alone.
        local constant = section and section:find('^%.data%.rel%.ro')
        local sanitizer = name and name:find('_*[aut]b?san')
        if writable and not constant and not sanitizer and tonumber(size, 16) > 0 then
          found[#found + 1] = name .. ' in ' .. section
        end
      end
      assert.same({}, found)
    end)
  end

  -- { headers, the only place that may include them }
  for _, border in ipairs {
    { 'lua.h|lauxlib.h|lualib.h|luajit.h', 'host/vm/' },
    { 'uv.h', 'host/io/' },
    { 'msgpack[a-z_/]*.h|msgpack/[a-z_/]*.h', 'host/core/pack.h' },
  } do
    local headers, place = unpack(border)
    it(('includes %s only in %s'):format(headers:match('^[%w.]+'), place), function()
      local found = {}
      local pattern = ('^ *# *include *[<"](%s)[>"]'):format((headers:gsub('%.h', '\\.h')))
      for _, file in ipairs(lines_of(("grep -rlE '%s' host"):format(pattern))) do
        if file:sub(1, #place) ~= place then found[#found + 1] = file end
      end
      assert.same({}, found)
    end)
  end
end)

describe('the library in Lua', function()
  -- A declaration holds in the whole process, and a second one that differs is an error far away from it.
  local DECLARING = {
    ['lua/farside/cuda/library.lua'] = true, -- the kernels, as their library declares them
    ['lua/farside/cuda/driver.lua'] = true, -- the driver of a GPU
    ['lua/farside/cuda/nvrtc.lua'] = true, -- the compiler of users' kernels
    -- functions of libc
    ['lua/farside/cli/call.lua'] = true,
    ['lua/farside/deployment.lua'] = true,
    ['lua/farside/tensor/file.lua'] = true,
    ['lua/farside/tensor/storage.lua'] = true,
  }

  it('declares C functions only in a few files', function()
    local found = {}
    for _, file in ipairs(lines_of('grep -rlw cdef lua')) do
      if not DECLARING[file] then found[#found + 1] = file end
    end
    assert.same({}, found)
  end)

  it('takes the declarations of kernels from their library alone', function()
    assert.same({ 'lua/farside/cuda/library.lua' }, lines_of('grep -rlw kernel_declarations lua'))
    assert.same({}, lines_of([[grep -rnE '\b(int|uint64_t|int32_t) (kernel|device)_[a-z_]+\(' lua]]))
  end)
end)
