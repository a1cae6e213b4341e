package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local deploy = require 'deploy'

local TEXTS = {
  'The moon is the only natural satellite of the earth, and the earth is never far from the moon.',
  'The far side of the moon never faces the earth; the near side always faces it.',
  'A day on the moon is as long as its month: the moon turns once as it circles the earth.',
}

local function add(totals, counts)
  for word, count in pairs(counts) do
    totals[word] = (totals[word] or 0) + count
  end
end

farside.run(function()
  local parts = {}
  for i, text in ipairs(TEXTS) do
    parts[i] = deploy.count_words:spawn(text)
  end

  local totals, words = {}, {}
  for _, counts in ipairs(farside.all(parts)) do
    add(totals, counts)
  end
  for word in pairs(totals) do
    words[#words + 1] = word
  end
  table.sort(words, function(a, b)
    if totals[a] ~= totals[b] then return totals[a] > totals[b] end
    return a < b
  end)
  for i = 1, 5 do
    print(totals[words[i]], words[i])
  end
end)
