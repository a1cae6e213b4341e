--- examples/vector_search from end to end: what a call takes, beside the same search in the client's own process. The rest is the
-- call: the query's way to the worker, the results' way back.
return function(build)
  local pipe = assert(io.popen(("env FARSIDE_ROUTER=embedded '%s/farside' run spec/bench/cuda/search_client.lua 500"):format(build)))
  local call, work = pipe:read('*n', '*n')
  pipe:close()
  if not work then error('the search did not come to its end', 0) end
  return {
    { name = 'vector_search, end to end', seconds = call, limit = work, ratio = call / work, relation = '<=' },
    { name = 'vector_search, the call alone', seconds = call - work, limit = work, ratio = (call - work) / work, relation = '<=' },
  }
end
