package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local data = require 'data'
local infer = require('deploy').infer

local SHADES = ' .:-=+*#%@'

-- Row y of a picture in letters, two a pixel.
local function row_of(pixels, y)
  local letters = {}
  for x = 1, 8 do
    local shade = math.floor(pixels[8 * (y - 1) + x] / 16 * (#SHADES - 1)) + 1
    letters[x] = SHADES:sub(shade, shade):rep(2)
  end
  return table.concat(letters)
end

local test = data.load(arg[0]:match '^.*/' or './').test
local pictures = {}
for i = 1, test.labels.shape[1] do pictures[i] = test.pixels[i] end

farside.run(function()
  local SHOWN = 4
  for y = 1, 8 do
    local rows = {}
    for i = 1, SHOWN do rows[i] = row_of(pictures[i], y) end
    print(table.concat(rows, '   '))
  end
  local guesses = {}
  for i = 1, SHOWN do
    local guess = infer(pictures[i])
    guesses[i] = ('%-16s'):format(('%d (%.1f %%)'):format(guess.digit, 100 * guess.probability))
  end
  print(table.concat(guesses, '   '))

  local right, start = 0, farside.now()
  for i, guess in infer:map(pictures) do
    if guess.digit == test.labels[i] then right = right + 1 end
  end
  local seconds = farside.now() - start
  print(('%d of %d pictures right, %.1f %%, %.0f pictures/s'):format(right, #pictures, 100 * right / #pictures, #pictures / seconds))
end)
