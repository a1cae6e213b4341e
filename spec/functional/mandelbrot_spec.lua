-- The example mandelbrot: what the user's own kernel has drawn, as a picture in a file.
local host = require 'spec.support.host'
local png = require 'spec.support.png'

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local bytes = file:read '*a'
  file:close()
  return png.read(bytes)
end

describe('the example mandelbrot', function()
  after_each(host.clean)

  -- How soon c leaves, up to a hundred steps.
  local function steps_of(cx, cy)
    local x, y = 0, 0
    for i = 1, 100 do
      x, y = x * x - y * y + cx, 2 * x * y + cy
      if x * x + y * y > 1e4 then return i end
    end
    return 100
  end

  it('draws a PNG in which the set is black and nothing else is', function()
    local process = host.run_program({ host.source .. '/examples/run', 'mandelbrot' }, { cwd = host.folder(), seconds = 120 })
    assert.equal(0, process.code, process.err)
    assert.truthy(process.out:match '^mandelbrot%.png: 960 x 640 pixels', process.out)
    local picture = read(host.folder() .. '/mandelbrot.png')
    assert.same({ 960, 640 }, { picture.width, picture.height })
    local black, coloured = 0, 0
    for y = 3, 639, 7 do
      for x = 3, 959, 7 do
        local cx, cy = -0.7 + (x + 0.5 - 480) * 3.3 / 960, -(y + 0.5 - 320) * 3.3 / 960
        local r, g, b = picture.pixel(x, y)
        if cx * cx + cy * cy < 0.0625 or (cx + 1) ^ 2 + cy * cy < 0.06 then
          assert.same({ 0, 0, 0 }, { r, g, b })
          black = black + 1
        elseif steps_of(cx, cy) < 9 then
          assert.is_true(r + g + b > 0 and b > r, ('%d %d: %d %d %d'):format(x, y, r, g, b))
          coloured = coloured + 1
        end
      end
    end
    assert.is_true(black > 500 and coloured > 2000, black .. ' ' .. coloured)
  end)

  it('draws what is asked for', function()
    local path = host.folder() .. '/heart.png'
    local process = host.run(host.script('client.lua', ([[
      package.path = '%s/examples/mandelbrot/?.lua;' .. package.path
      local file = io.open('%s', 'wb')
      file:write(require('deploy').draw(0, 0, 0.1, 33, 9))
      file:close()
    ]]):format(host.source, path)), { seconds = 60 })
    assert.equal(0, process.code, process.err)
    local picture = read(path)
    assert.same({ 33, 9, 0, 0, 0 }, { picture.width, picture.height, picture.pixel(32, 8) })
  end)
end)
