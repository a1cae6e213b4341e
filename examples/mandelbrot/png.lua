-- Pictures as PNG, by libpng.
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
typedef struct {
  void *opaque;
  uint32_t version, width, height, format, flags, colormap_entries, warning_or_error;
  char message[64];
} png_image;
int png_image_write_to_memory(png_image *image, void *memory, size_t *bytes, int to_8_bit, const void *pixels,
                              int32_t row_stride, const void *colormap);
]]

local VERSION, RGB = 1, 2

local libpng

--- The bytes of a PNG of a picture, a tensor {height, width, 3} of u8 on the host.
function M.encode(picture)
  libpng = libpng or ffi.load 'libpng16.so.16'
  local pixels = picture:contiguous()
  local height, width = unpack(pixels.shape)
  local image = ffi.new('png_image', { version = VERSION, width = width, height = height, format = RGB })
  local room = pixels:count() + pixels:count() / 8 + height + 4096  -- more than what cannot be compressed takes
  local memory, bytes = ffi.new('uint8_t[?]', room), ffi.new('size_t[1]', room)
  if libpng.png_image_write_to_memory(image, memory, bytes, 0, pixels:data(), 0, nil) == 0 then
    error('a PNG cannot be made: ' .. ffi.string(image.message), 0)
  end
  return ffi.string(memory, bytes[0])
end

return M
