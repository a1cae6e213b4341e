-- Deploy script and client in one: workers load this file too, and there farside.run does nothing.
local farside = require 'farside'
local app = farside.deployment { name = 'primes' }

local count_primes = app.remote { benchmark_dataset = { { first = 1, last = 1000 } } } (function(first, last)
  local count = 0
  for n = math.max(first, 2), last do
    local is_prime = true
    for divisor = 2, math.sqrt(n) do
      if n % divisor == 0 then
        is_prime = false
        break
      end
    end
    if is_prime then count = count + 1 end
  end
  return count
end)

farside.run(function()
  local BLOCK, LAST = 10000, 100000
  local counts = {}
  for first = 1, LAST, BLOCK do
    counts[#counts + 1] = count_primes:spawn(first, first + BLOCK - 1)
  end
  local sum = 0
  for _, count in ipairs(farside.all(counts)) do
    sum = sum + count
  end
  print(('%d primes up to %d'):format(sum, LAST))
end)
