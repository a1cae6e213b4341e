// The role of a client, and what else people type: `farside run SCRIPT`, --help, --version. The
// commands are Lua (lua/farside/cli).
#pragma once

/// Returns the exit code.
int run_main(int count, char **arguments);
