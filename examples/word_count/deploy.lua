local farside = require 'farside'
local app = farside.deployment { name = 'word_count' }

-- Each worker reads the list once, before its first call, and keeps it.
local StopWords = {}

function StopWords:enter(file)
  local folder = debug.getinfo(1, 'S').source:match('^@(.*/)') or './'
  self.words = {}
  for word in io.lines(folder .. file) do
    self.words[word] = true
  end
end

function StopWords:exit()
  self.words = nil
end

app.context('stop_words.txt')(StopWords)

-- How often each word occurs that is no stop word.
app.remote<
  benchmark_dataset = { { text = 'the quick brown fox jumps over the lazy dog' } },
  workload_calculator = function(text) return #text end
>
local function count_words(text)
  local stop_words = app.get_context(StopWords).words
  local counts = {}
  for word in text:lower():gmatch('%a+') do
    if not stop_words[word] then
      counts[word] = (counts[word] or 0) + 1
    end
  end
  return counts
end

return { app = app, count_words = count_words }
