--- What it costs to make a launch that has next to nothing to do: from Lua through the FFI, and as a tensor's method, beside the
-- same launch from C. And to bring bytes to the device, beside the plain copy of pinned memory.
local tensor = require 'farside.tensor'

local function median(values)
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

-- Calls found(row) for each that is_wanted(name).
return function(C, plain, arrays, on_gpu, quick, is_wanted, found)
  local rounds, count = quick and 1 or 21, quick and 10 or on_gpu and 500 or 20000 -- a GPU's queue takes a thousand
  local own_time = on_gpu and 0 or 1

  -- Seconds of a launch from C and of one by `own`, in turn.
  local function add(name, aim, own)
    if not is_wanted(name) then return end
    local input, out = arrays:numbers('f32', 4), arrays:empty('f32', 4)
    local a, result = input:view { 4 }, out:view { 4 }
    local of_own, of_limit, ratios = {}, {}, {}
    for i = 1, rounds + 2 do
      arrays:check(C.device_synchronize())
      of_limit[i] = plain.plain_launches(C.kernel_unary, own_time, count, C.KERNEL_RELU, result, a, nil) / count
      arrays:check(C.device_synchronize())
      local start = plain.plain_now(own_time)
      own(count, result, a)
      of_own[i] = (plain.plain_now(own_time) - start) / count
      ratios[i] = of_own[i] / of_limit[i]
    end
    found { name = name, seconds = median(of_own), limit = median(of_limit), ratio = median(ratios), relation = '<=', aim = aim }
    arrays:free()
  end

  add('launch through the FFI', 1.3, function(n, out, a)
    for _ = 1, n do C.kernel_unary(C.KERNEL_RELU, out, a, nil) end
  end)
  local t = tensor.ones({ 4 }, 'f32', on_gpu and 'cuda:0' or 'cpu')
  add("launch as a tensor's method", nil, function(n)
    for _ = 1, n do t:relu() end
  end)
end
