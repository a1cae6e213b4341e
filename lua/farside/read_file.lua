--- All bytes of a file; nil: it cannot be read, or is a folder.
---@param path string
---@return string?
return function(path)
  local file = io.open(path, 'rb')
  local bytes = file and file:read '*a'
  if file then file:close() end
  return bytes
end
