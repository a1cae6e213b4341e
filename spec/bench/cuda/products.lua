--- Matrix products with an epilogue. On the processor the limit is OpenBLAS with a plain loop behind it; on a GPU it is the same
-- product without the epilogue, which cuBLASLt does, and kernels of their own for bias and activation.
-- Sums of so many products, and what is rounded to the type.
local CLOSE = { f32 = 1e-3, tf32 = 5e-3, bf16 = 2e-2 }

return function(C, plain, arrays, on_gpu, quick)
  if not on_gpu and plain.plain_gemm_open() ~= 0 then
    print('matrix products are left out: libopenblas.so.0 is not there')
    return {}
  end
  local size = quick and 64 or on_gpu and 4096 or 768
  local cases = {}

  local function product(out, a, b, bias, activation, flags)
    local bytes = C.kernel_matmul_workspace(out, a, b, flags)
    local workspace = arrays:empty('u8', math.max(tonumber(bytes), 1))
    return function() return C.kernel_matmul(out, a, b, bias, activation, 1, flags, workspace.device, bytes, nil) end
  end

  local function case(name, kind, epilogue)
    local dtype, flags = kind == 'bf16' and 'bf16' or 'f32', kind == 'tf32' and C.KERNEL_TF32 or kind == 'portable' and C.KERNEL_PORTABLE or 0
    cases[#cases + 1] = { name = name, tolerance = CLOSE[kind] or CLOSE.f32, aim = kind ~= 'portable' and (on_gpu and 1 or 0.95) or nil,
      flops = 2 * size ^ 3, limit_is_loop = true, make = function()
        local a, b, bias = arrays:numbers(dtype, size ^ 2), arrays:numbers(dtype, size ^ 2), arrays:numbers(dtype, size)
        local out, matrix = arrays:empty(dtype, size ^ 2), { size, size }
        local x, y, z, row = a:view(matrix), b:view(matrix), out:view(matrix), bias:view { size }
        local own = product(z, x, y, epilogue and row or nil, epilogue and C.KERNEL_RELU or C.KERNEL_NO_ACTIVATION, flags)
        if not on_gpu then
          return own, function()
            plain.plain_gemm(out.host, a.host, b.host, size)
            if epilogue then plain.plain_bias_relu(out.host, bias.host, size, size) end
          end, out, 3 * out.bytes
        end
        local apart = arrays:empty(dtype, size ^ 2)
        local w = apart:view(matrix)
        local multiply = product(w, x, y, nil, C.KERNEL_NO_ACTIVATION, flags)
        local function separately()
          arrays:check(multiply())
          if not epilogue then return end
          arrays:check(C.kernel_binary(C.KERNEL_ADD, w, w, row, nil))
          arrays:check(C.kernel_unary(C.KERNEL_RELU, w, w, nil))
        end
        separately()
        arrays:check(C.device_synchronize())
        arrays:check(C.device_copy(out.host, apart.device, out.bytes, nil))
        return own, separately, out, 3 * out.bytes
      end }
  end

  case('matmul f32', 'f32', false)
  case('matmul f32, bias, relu', 'f32', true)
  if on_gpu then
    case('matmul tf32, bias, relu', 'tf32', true)
    case('matmul bf16, bias, relu', 'bf16', true)
  else
    case('matmul f32, portable kernel', 'portable', false)
  end
  return cases
end
