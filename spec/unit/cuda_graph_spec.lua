--- Graphs, on the processor and on a made-up device: the processor's library under the name of a CUDA device.
local collect = require 'spec.support.garbage'
local Folder = require 'spec.support.folder'
local backends = require 'farside.tensor.backend'
local cuda = require 'farside.cuda'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE = 'cuda:7'

local SOURCE = [[
extern "C" __global__ void scale(float *y, const float *x, float by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = by * x[i];
}]]

describe('a graph', function()
  local folder

  setup(function()
    folder = Folder.new()
    backends.put(DEVICE, assert(libraries.open 'cpu'))
  end)

  teardown(function()
    collectgarbage()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
    folder:close()
  end)

  for _, device in ipairs { 'cpu', DEVICE } do
    describe('on ' .. device, function()
      it('computes when it is replayed, with what its tensors then hold', function()
        local x = tensor.from({ 1, 2, 3 }):to(device)
        local graph, y = cuda.graph(function() return x * 2 + 1 end, device)
        graph:replay()
        assert.same({ 3, 5, 7 }, y:table())
        x:set(tensor.from { 10, 20, 30 })
        assert.same({ 3, 5, 7 }, y:table())
        graph:replay()
        assert.same({ 21, 41, 61 }, y:table())
      end)

      it('launches nothing while it is captured', function()
        local x = tensor.zeros({ 3 }, 'f32', device)
        local graph = cuda.graph(function() x:set(x + 1) end, device)
        assert.same({ 0, 0, 0 }, x:table())
        for _ = 1, 3 do graph:replay() end
        assert.same({ 3, 3, 3 }, x:table())
      end)

      it("holds users' own kernels", function()
        local kernels = cuda.module(SOURCE)
        local x, y = tensor.from({ 1, 2, 3 }):to(device), tensor.zeros({ 3 }, 'f32', device)
        local by = 2
        local graph = cuda.graph(function()
          kernels.scale { grid = 1, block = 32 } (y, x, by, 3)
          kernels.scale { grid = 1, block = 32 } (y, y, by, 3)
        end, device)
        by = 100  -- numbers are those of the capture
        assert.same({ 0, 0, 0 }, y:table())
        graph:replay()
        assert.same({ 4, 8, 12 }, y:table())
      end)

      it('keeps what it writes to, also what nobody else refers to', function()
        local x = tensor.ones({ 1000 }, 'f32', device)
        local graph, y = cuda.graph(function() return ((x + 1) * 3 - 2):sum() end, device)
        local others = {}
        for round = 1, 5 do
          collectgarbage()
          for i = 1, 20 do others[20 * round + i] = tensor.full({ 1000 }, round, 'f32', device) end
          graph:replay()
          assert.equal(4000, y:item())
        end
        for round = 1, 5 do
          for i = 1, 20 do assert.equal(1000 * round, others[20 * round + i]:sum():item()) end
        end
      end)

      it('keeps the tensors that it reads', function()
        local held = {}
        local function read() return held.x + 1 end
        local function capture()
          held.x = tensor.full({ 1000 }, 5, 'f32', device)
          return cuda.graph(read, device)
        end
        local graph, y = capture()
        held.x = nil
        collect()
        local others = {}
        for i = 1, 300 do others[i] = tensor.full({ 1000 }, 7, 'f32', device) end
        graph:replay()
        assert.equal(6000, y:sum():item())
        assert.equal(7000, others[300]:sum():item())
      end)

      it('gives its memory back when it is garbage', function()
        collectgarbage()
        local before = tensor.memory(device).used
        do
          local x = tensor.ones({ 100000 }, 'f32', device)
          local graph = cuda.graph(function() return x + 1 end, device)
          graph:replay()
          assert.is_true(tensor.memory(device).used >= before + 800000)
        end
        collect()
        cuda.graph(function() end, device)
        assert.is_true(tensor.memory(device).used < before + 100000)
      end)

      it('is none when the function raises, and operations go on as before', function()
        local x = tensor.ones({ 3 }, 'f32', device)
        local thrown = {}
        local ok, problem = pcall(cuda.graph, function()
          x:set(x + 1)
          error(thrown)
        end, device)
        assert.same({ false, true }, { ok, problem == thrown })
        assert.same({ 1, 1, 1 }, x:table())
        assert.same({ 2, 2, 2 }, (x + 1):table())
        local graph, y = cuda.graph(function() return x * 5 end, device)
        graph:replay()
        assert.same({ 5, 5, 5 }, y:table())
      end)

      it('returns all that the function returns', function()
        local x = tensor.ones({ 2 }, 'f32', device)
        local graph, y, nothing, z = cuda.graph(function() return x + 1, nil, x + 2 end, device)
        graph:replay()
        assert.same({ 2, 2 }, y:table())
        assert.is_nil(nothing)
        assert.same({ 3, 3 }, z:table())
        assert.equal(1, select('#', cuda.graph(function() end, device)))
      end)

      it('is captured beside others, and beside who computes at once, where functions wait', function()
        local x = tensor.ones({ 3 }, 'f32', device)
        local graphs, results = {}, {}
        local function capture(by)
          return coroutine.create(function()
            graphs[by], results[by] = cuda.graph(function()
              local y = x * by
              coroutine.yield()
              return y:copy():set(y + 1)
            end, device)
          end)
        end
        local first, second = capture(10), capture(20)
        assert(coroutine.resume(first))
        assert(coroutine.resume(second))
        local computed = tensor.full({ 2 }, 5, 'f32', device):copy():table()
        assert(coroutine.resume(first))
        assert(coroutine.resume(second))
        assert.same({ 5, 5 }, computed)
        for by, graph in pairs(graphs) do
          graph:replay()
          assert.same({ by + 1, by + 1, by + 1 }, results[by]:table())
        end
      end)

      it('says that elements are not there before it is replayed', function()
        local x, one = tensor.ones({ 3 }, 'f32', device), tensor.from({ 1 }, 'i64'):to(device)
        for method, look in pairs {
          item = function() return x:sum():item() end,
          table = function() return (x + 1):table() end,
          string = function() return (x + 1):string() end,
          [device == 'cpu' and 't[i]' or 'item'] = function() return (x + 1)[1] end,
          take = function() return x:take(one) end,
        } do
          local ok, problem = pcall(cuda.graph, look, device)
          assert.is_false(ok)
          assert.truthy(problem:find(method .. ' of a tensor', 1, true), problem)
          assert.truthy(problem:find('while a graph is written down', 1, true), problem)
        end
        cuda.graph(function()
          local payload, err = require('farside.native').encode(nil, x + 1)
          assert.is_nil(payload)
          assert.truthy(err.message:find('no elements while a graph is written down', 1, true), err.message)
        end, device)
        local shown, graph, y
        graph, y = cuda.graph(function()
          local sum = (x + 1):sum()
          shown = tostring(sum)
          return x:take(one, 1, { checked = false }) + sum
        end, device)
        graph:replay()
        assert.truthy(shown:find('of a graph that is written down', 1, true), shown)
        assert.same({ 7 }, y:table())
        assert.truthy(tostring(y):find('[7]', 1, true))
      end)

      it('is given up when its function waits in a coroutine that is let go of', function()
        local x = tensor.ones({ 3 }, 'f32', device)
        local function abandon()
          local thread = coroutine.create(function()
            cuda.graph(function()
              local y = x + 1
              coroutine.yield()
              return y
            end, device)
          end)
          assert(coroutine.resume(thread))
        end
        collectgarbage()
        local before = tensor.memory(device).used
        for _ = 1, 3 do
          abandon()
          for _ = 1, 4 do
            collectgarbage()
            local graph, y = cuda.graph(function() return x * 3 end, device)
            graph:replay()
            assert.same({ 3, 3, 3 }, y:table())
            local stream = cuda.stream(device)
            assert.same({ 2, 2, 2 }, stream:use(function() return (x * 2):table() end))
            stream:synchronize()
          end
        end
        collect()
        cuda.graph(function() end, device)
        assert.is_true(tensor.memory(device).used <= before + 1024)
      end)

      it('saves and sends nothing that is not there yet', function()
        local x = tensor.ones({ 2, 3 }, 'f32', device)
        local path = folder.path .. '/x'
        for _, extension in ipairs { '.npy', '.safetensors' } do
          for _, make in ipairs { function() return x + 1 end, function() return x:transpose() end } do
            local ok, problem = pcall(cuda.graph, function()
              local made = make()
              tensor.save(path .. extension, extension == '.npy' and made or { w = made })
            end, device)
            assert.is_false(ok)
            assert.truthy(problem:find('while a graph is written down', 1, true), problem)
            assert.equal('', folder:run 'ls $folder/x.* 2>/dev/null')
          end
        end
        local ok, problem = pcall(cuda.graph, function() return x:transpose():string() end, device)
        assert.is_false(ok)
        assert.truthy(problem:find('while a graph is written down', 1, true), problem)
        if device ~= 'cpu' then
          ok, problem = pcall(cuda.graph, function() return x:to 'cpu' end, device)
          assert.is_false(ok)
          assert.truthy(problem:find("to 'cpu' of a tensor {2, 3}: expected elements that are there", 1, true), problem)
        end
        assert.same({ 2, 2, 2 }, (x + 1)[1]:table())
      end)

      it('refuses what would not be a part of it, and the next one is captured as ever', function()
        local x, kernels = tensor.ones({ 3 }, 'f32', device), cuda.module(SOURCE)
        local stream, event, other = cuda.stream(device), cuda.event(device), cuda.graph(function() end, device)
        for expected, refused in pairs {
          ['use: expected no other stream while a graph is written down'] = function() stream:use(function() return x * 7 end) end,
          ['record: expected no event while a graph is written down'] = function() event:record() end,
          ['replay: expected no graph while another one is written down'] = function() other:replay() end,
          ['kernel scale: stream: expected none while a graph is written down'] = function()
            kernels.scale { grid = 1, block = 32, stream = stream } (x, x, 5, 3)
          end,
        } do
          local ok, problem = pcall(cuda.graph, function()
            x:set(x + 1)
            refused()
          end, device)
          assert.is_false(ok)
          assert.truthy(problem:find(expected, 1, true), problem)
          assert.truthy(problem:find('^spec/unit/cuda_graph_spec%.lua:%d+: '), problem)
          assert.same({ 1, 1, 1 }, x:table())
          local graph, y = cuda.graph(function() return x * 5 end, device)
          graph:replay()
          assert.same({ 5, 5, 5 }, y:table())
        end
      end)

      it('keeps memory of the FFI that its launches use', function()
        local kernels, y = cuda.module(SOURCE), tensor.zeros({ 1000 }, 'f32', device)
        local collected = false
        local function capture()
          local x = ffi.gc(ffi.new('float[1000]', 2), function() collected = true end)
          return cuda.graph(function() kernels.scale { grid = 32, block = 32 } (y, x, 3, 1000) end, device)
        end
        local graph = capture()
        collect()
        assert.is_false(collected)
        graph:replay()
        assert.equal(6000, y:sum():item())
      end)

      it('may be empty, and is replayed on another stream', function()
        local x = tensor.zeros({ 1 }, 'f32', device)
        cuda.graph(function() end, device):replay()
        local graph = cuda.graph(function() x:set(x + 1) end, device)
        local stream = cuda.stream(device)
        stream:use(function() graph:replay() end)
        stream:synchronize()
        assert.same({ 1 }, x:table())
      end)

      it('is not captured inside of another one, which is captured nevertheless', function()
        local x, inner = tensor.zeros({ 1 }, 'f32', device), nil
        local outer = cuda.graph(function()
          inner = cuda.graph(function() x:set(x + 10) end, device)
          x:set(x + 1)
        end, device)
        outer:replay()
        assert.same({ 1 }, x:table())
        inner:replay()
        assert.same({ 11 }, x:table())
      end)
    end)
  end

  it('is freed while others become garbage', function()
    local cpu, freed, late = assert(libraries.open 'cpu'), 0, {}
    local functions = {
      device_graph_free = function(handle)
        late[#late] = nil
        collectgarbage()
        freed = freed + 1
        return cpu.device_graph_free(handle)
      end,
    }
    backends.put('cuda:8', setmetatable(functions, { __index = function(_, name) return cpu[name] end }))
    local function make() return (cuda.graph(function() end, 'cuda:8')) end
    for i = 1, 4 do late[i] = make() end
    for _ = 1, 3 do make() end
    for _ = 1, 3 do
      collect()
      make()
    end
    assert.is_true(freed >= 8, freed .. ' freed')
    backends.put('cuda:8', nil)
  end)

  it('refuses what is no function and no device', function()
    for expected, arguments in pairs {
      ['cuda.graph: expected a function, got nil'] = {},
      ["cuda.graph: expected a device ('cpu' or 'cuda:0'), got the string \"gpu\""] = { function() end, 'gpu' },
    } do
      local ok, problem = pcall(cuda.graph, unpack(arguments))
      assert.is_false(ok)
      assert.truthy(problem:find(expected, 1, true), problem)
    end
    local ok, problem = pcall(cuda.graph(function() end).replay)
    assert.is_false(ok)
    assert.truthy(problem:find('expected a graph before the colon: write g:replay(), got nil', 1, true), problem)
  end)
end)
