// How Lua says how many workers there are to be: the parameters of app.configure_autoscaling.
#pragma once

#include <lua.h>

struct autoscale_options;

/// The field `scaling` of the table at the stack index `index`, in a userdata that is left on the
/// stack; what it does not hold has its default. NULL, with something left on the stack: there is
/// none. Raises what is out of its range.
const struct autoscale_options *bind_scaling(lua_State *L, int index);
