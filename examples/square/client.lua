-- Modules are looked for beside this file first, wherever it is called from.
package.path = arg[0]:gsub('[^/]*$', '?.lua;') .. package.path

local farside = require 'farside'
local deploy = require 'deploy'

print(deploy.square(5))

local CALLS = 20000
local start = farside.now()
local sum = 0
for x = 1, CALLS do
  sum = sum + deploy.square(x)
end
local seconds = farside.now() - start
print(('%d calls one after the other: sum %.0f, %.0f calls/s'):format(CALLS, sum, CALLS / seconds))
