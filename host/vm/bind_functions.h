// The functions of a deployment as Lua describes them, for the router.
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct router_function;

/// The field `key` of the table at `index`, which is no relative one; `otherwise` where it is nil.
double bind_number(lua_State *L, int index, const char *key, double otherwise);
bool bind_boolean(lua_State *L, int index, const char *key);

/// The list `functions` of the table at `index`, in a userdata that is left on the stack. Texts in
/// it belong to the table.
struct router_function *bind_functions(lua_State *L, int index, uint32_t *count);

struct router_deployment_options;

/// Reads the table at the stack index `spec` as what a deployment is started with: functions, name,
/// manifest, workers, scaling, start. What the options refer to stays on the stack above what was
/// there; `start` is one reference for the caller. Raises what is wrong with it.
void bind_deployment(lua_State *L, int spec, struct router_deployment_options *options);
