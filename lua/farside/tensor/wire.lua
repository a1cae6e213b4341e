--- How the codec (host/vm/codec_tensor.c) reads tensors and makes them: it knows bytes, this file knows what a tensor is.
local dtypes = require 'farside.tensor.dtype'
local ffi = require 'ffi'
local shapes = require 'farside.tensor.shape'
local storages = require 'farside.tensor.storage'

local M = {}

local byte_pointer = ffi.typeof 'uint8_t *'

local function address_of(pointer)
  return tonumber(ffi.cast('uintptr_t', pointer))
end

--- Tells a codec of the class.
function M.install(codec, Tensor)
  --- Type, address and size of the elements, what keeps them there, the shape. Those of one that has more than `most` bytes
  -- are not fetched, nor put in order: it is too large to be sent.
  local function take(self, most)
    if storages.is_unknown(self._storage) then error('it has no elements while a graph is written down', 0) end
    Tensor.check_bounds(self)
    local bytes = self:count() * self._dtype.size
    if bytes > most then return self._dtype.code, 0, bytes, self, unpack(self.shape) end
    local host = Tensor.on_host(self):contiguous()
    if storages.is_unknown(host._storage) then error('it has no elements in order while a graph is written down', 0) end
    return host._dtype.code, address_of(host:data()), host:count() * host._dtype.size, host, unpack(host.shape)
  end

  --- A tensor of the elements at an address, which `keeper` keeps there; without one they are copied.
  local function give(code, address, bytes, keeper, ...)
    local dtype, shape = dtypes.types[dtypes.by_code[code]], { ... }
    local pointer = ffi.cast(byte_pointer, ffi.cast('uintptr_t', address))
    local is_bool = dtype.name == 'bool'
    -- The bytes that are kept may be others' too: what is to be changed is copied.
    if keeper and not (is_bool and dtypes.first_odd(pointer, bytes)) then
      return Tensor.new(storages.adopt(pointer, bytes, keeper), dtype, shape, shapes.strides(shape), 0)
    end
    local made = Tensor.empty('cpu', dtype, shape)
    ffi.copy(made:data(), pointer, bytes)
    if is_bool then dtypes.make_bools(made:data(), bytes) end
    return made
  end

  codec.tensors(Tensor, take, give)
end

return M
