package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local generate = require('deploy').generate

farside.run(function()
  local words = { 'the' }
  for word in generate:stream('the', 8, 4) do words[#words + 1] = word end
  print(table.concat(words, ' '))

  -- Enough is enough: the call is cancelled.
  for word in generate:stream('moon', 1000000, 2) do
    if word == 'earth' then break end
  end

  -- Two at a time, and how far the longer one is.
  local function on_progress(n, total) io.stderr:write(('%d of %d\n'):format(n, total)) end
  local short = generate:stream('near', 3, 5)
  for word in generate:with { timeout = 10, on_progress = on_progress }:stream('near', 3, 6) do
    print(word, short())
  end
end)
