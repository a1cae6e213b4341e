// The role of a client, and what else people type: `farside run SCRIPT`, --help, --version. The
// commands are Lua (lua/farside/cli).
#pragma once

#include <stdbool.h>

struct lua_State;

/// Returns the exit code.
int run_main(int count, char **arguments);

/// From now on SIGINT raises nothing in the Lua code of `L` any more: it stays blocked, for who waits
/// for it; and a reader of stdout that goes does not end the process. Nothing where this process was
/// not started by run_main.
void run_release_signals(struct lua_State *L);

/// This process is a fork of the one that was started by run_main, made by a script.
bool run_is_forked(struct lua_State *L);
