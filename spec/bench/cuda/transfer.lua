--- Bytes to the device: on a GPU a pinned tensor's way there beside the plain copy of pinned memory, on the processor the library's
-- copy beside memcpy.
local tensor = require 'farside.tensor'

return function(C, plain, arrays, on_gpu, quick)
  local bytes = quick and 4096 or on_gpu and 2 ^ 28 or 2 ^ 25
  local case = { name = on_gpu and 'pinned tensor to the device' or 'copy', tolerance = 0, aim = 0.9 }

  function case.make()
    local array = arrays:numbers('f32', bytes / 4)
    if not on_gpu then
      return function() return C.device_copy(array.device, array.host, bytes, nil) end,
        function() plain.plain_copy(array.host, array.device, bytes) end, array, 2 * bytes
    end
    local pinned = tensor.from(require 'ffi'.string(array.host, bytes), 'f32', { bytes / 4 }):pin()
    -- What of the tensor there is is checked by bringing it back.
    return function()
      local there = pinned:to 'cuda:0'
      if not case.checked then
        case.checked = there:to 'cpu':string() == pinned:string()
        arrays:check(case.checked and 0 or C.KERNEL_BAD_ARGUMENT)
      end
      return 0
    end, function() arrays:check(C.device_copy(array.device, array.host, bytes, nil)) end, array, bytes
  end
  case.limit_is_loop = true
  return { case }
end
