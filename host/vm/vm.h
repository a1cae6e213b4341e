// A Lua state as Farside makes it: an allocator that keeps large blocks, Farside's Lua files,
// farside.native.
#pragma once

#include <lua.h>

enum vm_role { VM_CLIENT, VM_WORKER };

/// A new state, or NULL: no memory. `farside` can be required: from the source tree where the
/// executable lies in its build folder, else from what is packed into this program.
lua_State *vm_open(enum vm_role role);

/// Calls the function under its `arguments` on top of the stack, with a traceback. 0: its `results`
/// values replace it. Else one text does.
int vm_call(lua_State *L, int arguments, int results);

enum vm_role vm_role(lua_State *L);

/// Large blocks, up to 1 GiB in all, are kept by malloc from here on, for the whole process: pages
/// once touched are worth more than the memory. For processes that are Farside's own.
void vm_keep_blocks(void);
/// Gives what is kept back to the system.
void vm_give_blocks(void);
