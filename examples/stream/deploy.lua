local farside = require 'farside'
local app = farside.deployment { name = 'stream' }

local TEXT = 'the far side of the moon never faces the earth and the near side of the moon always sees the'

-- The model: which words follow a word.
local Chain = {}

function Chain:enter(text)
  local last
  for word in text:gmatch('%a+') do
    self[last or ''] = self[last or ''] or {}
    table.insert(self[last or ''], word)
    last = word
  end
end

app.context(TEXT)(Chain)

-- One word after the other, each as soon as it is known.
app.remote<
  benchmark_dataset = { { prompt = 'the', words = 5, seed = 1 } },
  concurrency = 8,
  workload_calculator = function(_, words) return words end
>
local function generate(prompt, words, seed)
  local chain, last = app.get_context(Chain), prompt
  for i = 1, words do
    local choices = chain[last]
    if not choices then error(('no word follows %q'):format(last)) end
    seed = seed * 16807 % 2147483647
    last = choices[seed % #choices + 1]
    app.yield(last)
    farside.progress(i, words)
  end
end

return { app = app, generate = generate }
