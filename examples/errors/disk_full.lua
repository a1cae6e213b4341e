--- A class of errors, for the deploy script and its callers.
local DiskFull = {}
DiskFull.__index = DiskFull

function DiskFull.new(path, missing)
  return setmetatable({ path = path, missing = missing }, DiskFull)
end

function DiskFull:__tostring()
  return ('%s: the disk is full, %d bytes are missing'):format(self.path, self.missing)
end

return DiskFull
