-- Functions with `device = true` on workers. Where there is no GPU, the processor's library stands for one, with memory of its
-- own: tensors are copied there and back as on a GPU.
local host = require 'spec.support.host'

local kDeploy = [[
local farside = require 'farside'
local tensor = require 'farside.tensor'
local backends = require 'farside.tensor.backend'
if tensor.device() == 'cpu' then backends.put('cuda:0', assert(require('farside.cuda.library').open 'cpu')) end
local app = farside.deployment { name = 'devices' }

-- Its benchmark fails where what is measured is not on the device.
local double = app.remote { device = true, benchmark_dataset = { { x = tensor.ones { 3 } } } } (function(x)
  assert(x.device == 'cuda:0' and tensor.device() == 'cuda:0', x.device)
  return x * 2
end)

-- Results are on the device, in tables too.
local where = app.remote { device = true } (function(x, options)
  local w = options.layers[1].w
  return { places = { x.device, w.device, options.name }, deep = { sum = (x + w):sum() } }
end)

local host = app.remote { device = 'cpu' } (function(x) return x.device end)

local plain = app.remote(function(x) return x.device end)

local rows = app.remote { device = true } (function(x)
  for i = 1, x.shape[1] do app.yield(x[i], x[i].device) end
end)

local sums = app.remote { device = true, batch = { max_size = 4 } } (function(list)
  local results = {}
  for i, arguments in ipairs(list) do results[i] = { arguments[1].device, arguments[1]:sum() } end
  return results
end)

local far = app.remote { device = 'cuda:99' } (function(x) return x.device end)

local full = app.remote(function() return tensor.empty({ 2 ^ 45 }, 'u8', tensor.device()) end)

-- What a function catches it can go on after.
local careful = app.remote(function(count)
  local ok, e = pcall(tensor.empty, { count }, 'u8', tensor.device())
  if ok then return 'all' end
  return e.kind, tensor.ones({ 4 }, 'f32', tensor.device()):sum()
end)

return { app = app, full = full, careful = careful, double = double, where = where, host = host, plain = plain, rows = rows, sums = sums, far = far }
]]

local function prints(expected, text)
  host.prints(expected, kDeploy, "local tensor = require 'farside.tensor'\n" .. text)
end

describe('a function with a device', function()
  after_each(host.clean)

  it('gets tensors there, and its results come back to the host', function()
    prints('cpu\ttensor {2, 2} f32\n[[2, 4],\n [6, 8]]\n', [[
      local got = d.double(tensor.from { { 1, 2 }, { 3, 4 } })
      print(got.device, got)
    ]])
  end)

  it('gets those in tables too, as others do not', function()
    prints('cuda:0\tcuda:0\tlinear\ncpu\t14\ncpu\ncpu\n', [[
      local got = d.where(tensor.ones { 4 }, { name = 'linear', layers = { { w = tensor.full({ 4 }, 2.5) } } })
      print(unpack(got.places))
      print(got.deep.sum.device, got.deep.sum:item())
      print(d.host(tensor.ones { 1 }))
      print(d.plain(tensor.ones { 1 }))
    ]])
  end)

  it('may stream, run as a batch, and run in place', function()
    prints('3\tcuda:0\n7\tcuda:0\ncuda:0\t6\ncuda:0\t8\ncuda:0\n', [[
      local farside = require 'farside'
      for row, place in d.rows:stream(tensor.from { { 1, 2 }, { 3, 4 } }) do print(row:sum():item(), place) end
      farside.run(function()
        local a, b = d.sums:spawn(tensor.full({ 3 }, 2)), d.sums:spawn(tensor.full({ 2 }, 4))
        for _, got in ipairs { a:await(), b:await() } do print(got[1], got[2]:item()) end
      end)
      print(d.double:here(tensor.ones { 1 }).device)
    ]])
  end)

  it('that its worker does not have raises in the call, and the worker goes on', function()
    prints('RemoteError\tyes\ttrue\ncpu\n', [[
      local _, e = pcall(d.far, tensor.ones { 1 })
      print(e.name, e.executed, tostring(e):find('cuda:99', 1, true) ~= nil or tostring(e):find('libfarside_cuda', 1, true) ~= nil)
      print(d.host(tensor.ones { 1 }))
    ]])
  end)

  it('whose device has no memory left raises in the call, and the worker goes on', function()
    prints('RemoteError\tyes\tgpu_memory\t2\tcuda:0\ntrue\n4\tgpu_memory\ntrue\n', [[
      d.double(tensor.ones { 1 })
      local before = d.app.status().workers[1].pid
      local _, e = pcall(d.full)
      print(e.name, e.executed, e.kind, e.cuda_code, e.device)
      print(tostring(e):find('35184372088832 bytes', 1, true) ~= nil)
      local kind, sum = d.careful(2 ^ 45)
      print(sum:item(), kind)
      print(d.app.status().workers[1].pid == before)
    ]])
  end)
end)
