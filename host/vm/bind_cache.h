// farside.native's part for the cache of compiled kernels, which is farside.cuda.cache's alone.
#pragma once

#include <lua.h>

/// Puts `cache_read`, `cache_write`, `cache_lock`, `cache_unlock` and `cache_prune` into the table on
/// top of the stack.
void bind_cache(lua_State *L);
