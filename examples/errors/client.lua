package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local DiskFull = require 'disk_full'
local deploy = require 'deploy'

print('saved', deploy.save('/var/data', 800))

-- An object that the function throws: its class, its fields and its text arrive.
local ok, err = pcall(deploy.save, '/var/data', 1200)
print(ok, err)
print('a DiskFull', err:is(DiskFull), err:is 'DiskFull')
print('fields', err.path, err.missing)
print('the object', getmetatable(err.data) == DiskFull)
print('raised in the function', err.traceback:find('deploy.lua:11', 1, true) ~= nil)

-- What the function itself runs into, as text with its position.
ok, err = pcall(deploy.save, '/var/data', {})
print(ok, err.message:match('deploy.lua.*'))

-- What Farside refuses, and says so before anything is sent.
ok, err = pcall(deploy.save, '/var/data', print)
print(ok, err.name, err.executed)

-- A call that takes too long.
ok, err = pcall(deploy.nap:with { timeout = 0.2 }, 60)
print(ok, err.name, err:is 'Unavailable')
