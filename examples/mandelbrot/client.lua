-- client.lua [x y span [file]]: around which point, how much of the plane from left to right, where the picture goes.
package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local deploy = require 'deploy'

local WIDTH, HEIGHT = 960, 640

farside.run(function()
  local x, y, span = tonumber(arg[1] or -0.7), tonumber(arg[2] or 0), tonumber(arg[3] or 3.3)
  if not x or not y or not span then error('expected three numbers: x y span', 0) end
  local path = arg[4] or 'mandelbrot.png'
  deploy.app.ensure_ready()
  local start = farside.now()
  local bytes = deploy.draw(x, y, span, WIDTH, HEIGHT)
  local file = assert(io.open(path, 'wb'))
  assert(file:write(bytes))
  assert(file:close())
  print(('%s: %d x %d pixels, %d KiB, in %.2f s'):format(path, WIDTH, HEIGHT, #bytes / 1024, farside.now() - start))
end)
