--- Top-k, sort, and rows by their places: cases as those of streaming.lua. Of each row of the input, so many bytes are read once.
return function(C, plain, arrays, rows, columns)
  local count = rows * columns
  local matrix = { rows, columns }
  local cases = {}

  -- own(values, indices, input, workspace, its size), loop(values, indices, input).
  local function by_rows(name, aim, kept, workspace_of, own, loop)
    cases[#cases + 1] = { name = name, tolerance = 0, aim = aim, make = function()
      local input = arrays:numbers('f32', count)
      local values, indices = arrays:empty('f32', rows * kept), arrays:empty('i64', rows * kept)
      local view, value_view, index_view = input:view(matrix), values:view { rows, kept }, indices:view { rows, kept }
      local size = workspace_of(value_view, index_view, view)
      local workspace = arrays:empty('u8', math.max(tonumber(size), 1))
      return function() return own(value_view, index_view, view, workspace.device, size) end,
        function() loop(values.host, indices.host, input.host) end, values, input.bytes, indices
    end }
  end

  for _, k in ipairs { 1, 10, 64 } do
    by_rows('top ' .. k, 0.5, k, C.kernel_topk_workspace,
      function(values, indices, input, workspace, size) return C.kernel_topk(values, indices, input, 1, 0, workspace, size, nil) end,
      function(values, indices, input) plain.plain_topk(values, indices, input, k, rows, columns) end)
  end
  by_rows('sort', nil, columns, C.kernel_sort_workspace,
    function(values, indices, input, workspace, size) return C.kernel_sort(values, indices, input, 0, 0, workspace, size, nil) end,
    function(values, indices, input) plain.plain_sort(values, indices, input, rows, columns) end)

  cases[#cases + 1] = { name = 'take rows', tolerance = 0, make = function()
    local input, out, places = arrays:numbers('f32', count), arrays:empty('f32', count), arrays:empty('i64', rows)
    for i = 0, rows - 1 do places.host[i] = (i * 7919 + 13) % rows end
    places:upload()
    local view, result, index = input:view(matrix), out:view(matrix), places:view { rows }
    return function() return C.kernel_take(result, view, index, 0, 0, nil, nil) end,
      function() plain.plain_take(out.host, input.host, places.host, rows, columns) end, out, 2 * input.bytes
  end }
  return cases
end
