-- client.lua CALLS SECONDS: so many calls in flight for so long. Prints the share of the workers' capacity that was used.
package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path

local farside = require 'farside'
local deploy = require 'deploy'

local calls, seconds = tonumber(arg[1]), tonumber(arg[2])

farside.run(function()
  deploy.app.ensure_ready()
  while #deploy.app.status().workers < 2 or deploy.app.status().workers[1].state ~= 'ready'
    or deploy.app.status().workers[2].state ~= 'ready' do
    farside.sleep(0.02)
  end
  local start = farside.now() + 0.5
  local finish, done = start + seconds, 0
  local loops = {}
  for i = 1, calls do
    loops[i] = farside.spawn(function()
      while farside.now() < finish do
        local amount = deploy.work(1)
        local now = farside.now()
        if now >= start and now < finish then done = done + amount end
      end
    end)
  end
  farside.all(loops)
  print(done / seconds / deploy.capacity)
end)
