-- One measurement in a process of its own: client.lua STREAMS ITEMS BYTES. Prints items per second, over all streams.
local farside = require 'farside'
local app = farside.deployment { name = 'bench-stream' }

app.configure_autoscaling { max_workers = 1 }

local count = app.remote { name = 'count', concurrency = 64, benchmark_dataset = { { n = 3 } } } (function(n, bytes)
  local text = bytes and ('x'):rep(bytes)
  for i = 1, n do app.yield(text or i) end
end)

farside.run(function()
  local streams, items, bytes = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
  if bytes == 0 then bytes = nil end
  for _ in count:stream(1000, bytes) do end
  local start = farside.now()
  local readers = {}
  for k = 1, streams do
    readers[k] = farside.spawn(function()
      local n = 0
      for _ in count:stream(items / streams, bytes) do n = n + 1 end
      return n
    end)
  end
  local got = 0
  for _, n in ipairs(farside.all(readers)) do got = got + n end
  print(got / (farside.now() - start))
end)
