--- That the thread sanitizer sees a kernel that lacks a barrier. The real sources are compiled with each barrier made optional,
-- for f32 alone, so that it does not take long; then each is left out once.
local CXX = os.getenv('CXX') or 'c++'

-- Program, what it runs, the files whose barriers are left out, and how many lines of those a race is away at most.
local PROGRAMS = {
  { 'race.cc', 'of reductions', { 'team.h', 'reduce.cu' }, 5 },
  { 'race_select.cc', 'of top-k and sort', { 'topk.cu', 'sort.cu' }, 30 },
}
local FLAGS = '-std=c++17 -O0 -g1 -fsanitize=thread -fno-exceptions -fno-rtti -Wno-tsan'

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local text = file:read('*a')
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, 'wb'))
  file:write(text)
  file:close()
end

local function output_of(command)
  local pipe = assert(io.popen(command .. ' 2>&1; code=$?; echo; echo $code'))
  local text = pipe:read('*a')
  pipe:close()
  local output, code = text:match('^(.-)\n(%d+)\n$')
  return output, tonumber(code)
end

-- Each barrier becomes one that is met unless it is left out. Lines stay where they are.
local function make_optional(name, text, barriers)
  local number = 0
  local changed = text:gsub('([^\n]*)\n', function(line)
    number = number + 1
    local made, count = line:gsub('__syncthreads%(%);', ('if (left_out != %d) __syncthreads();'):format(#barriers + 1))
    if count > 0 then barriers[#barriers + 1] = { file = name, line = number } end
    return made .. '\n'
  end)
  return changed
end

for _, case in ipairs(PROGRAMS) do
  local source, kernels, sources, reach = unpack(case)

  describe('the thread sanitizer', function()
    local folder, program
    local barriers = {}

    -- The two ends of the first race that is reported, each { file, line }; nil if there is none.
    local function race(left_out, part)
      -- In a run with this sanitizer reports go into files that are looked at later.
      local output, code = output_of(("TSAN_OPTIONS='exitcode=66 halt_on_error=1' '%s' %d %s"):format(program, left_out, part or ''))
      if code ~= 66 then
        assert(code == 0, output)
        return nil
      end
      local ends = {}
      for file, line in output:gmatch('of size %d+ at [^\n]*:\n    #0 [^\n]*/([^/\n]+):(%d+) %(') do
        ends[#ends + 1] = { file, tonumber(line) }
      end
      assert(#ends == 2, output)
      return ends
    end

    setup(function()
      folder = io.popen('mktemp -d'):read('*l')
      program = folder .. '/race'
      os.execute(("cp cuda/*.h cuda/*.cu '%s'"):format(folder))
      local function change(name, f)
        local path = folder .. '/' .. name
        write(path, f(read(path)))
      end
      for _, name in ipairs(sources) do
        change(name, function(text) return make_optional(name, text, barriers) end)
      end
      change('number.h', function(text)
        local changed, count = text:gsub('\nusing (%l+) = types<[^>]*>;', '\nusing %1 = types<float>;')
        assert(count > 0)
        return changed
      end)
      local output, code = output_of(("%s %s -I'%s' spec/cuda/%s -o '%s'"):format(CXX, FLAGS, folder, source, program))
      assert(code == 0, output)
    end)

    teardown(function()
      os.execute(("rm -r '%s'"):format(folder))
    end)

    it('finds nothing in the kernels ' .. kernels .. ' as they are', function()
      assert.is_nil(race(0))
    end)

    it('finds each barrier ' .. kernels .. ' that is left out, at lines beside it', function()
      assert.is_true(#barriers >= 4)
      for number, barrier in ipairs(barriers) do
        local what = ('the barrier at %s:%d'):format(barrier.file, barrier.line)
        local ends = race(number, barrier.file) or error(what .. ' is not missed')
        for _, place in ipairs(ends) do
          local file, line = unpack(place)
          -- An atomic is where its line is.
          local is_beside = file == 'simt.h' or file == barrier.file and math.abs(line - barrier.line) <= reach
          assert(is_beside, ('%s is missed at %s:%d'):format(what, file, line))
        end
      end
    end)
  end)
end
