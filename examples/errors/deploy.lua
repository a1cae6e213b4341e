local DiskFull = require 'disk_full'
local farside = require 'farside'
local app = farside.deployment { name = 'errors' }

-- Objects of registered classes travel, also when they are thrown.
app.class('DiskFull', DiskFull)

local ROOM = 1000

local save = app.remote { benchmark_dataset = { { path = '/tmp/x', bytes = 10 } } } (function(path, bytes)
  if bytes > ROOM then error(DiskFull.new(path, bytes - ROOM)) end
  return bytes
end)

local nap = app.remote(function(seconds)
  farside.sleep(seconds)
end)

return { app = app, save = save, nap = nap }
