#pragma once

#include <lua.h>

/// Adds `simulation`, `read_trace` and `clairvoyant` to the table on top of the stack.
///
/// read_trace(text, names of functions, deployment) -> trace, count of calls, seconds; or nil, line,
/// problem
/// simulation{policy =, seed =, arrivals = {...}, kinds = {{...}...}, functions = {{...}...},
///            scaling = {...}, changes = {{...}...}, ...} -> simulation; the fields are those of
///            simulate.h; whoever calls it has checked them
/// simulation:run(seconds) -> whether it is over
/// simulation:result() -> a table, the fields are those of simulate.h
///
/// clairvoyant{arrivals = {...}, seed =, speed =, start =, wait =} -> a table as in clairvoyant.h
void bind_simulate(lua_State *L);
