--- Raises what a caller of tensors did wrong at the line where that stands, however many of these files lie between.

local function is_ours(source)
  return source:find('farside/tensor[/.]') ~= nil or source:find('farside/cuda/', 1, true) ~= nil
end

---@param problem string 'reshape: expected ..., got ...'; with more arguments a format
return function(problem, ...)
  if select('#', ...) > 0 then problem = problem:format(...) end
  local level = 2
  local info = debug.getinfo(level, 'S')
  while info and (is_ours(info.source) or info.what == 'C') do
    level = level + 1
    info = debug.getinfo(level, 'S')
  end
  error(problem, info and level or 0)
end
