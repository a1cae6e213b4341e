// The Lua files of Farside as they were when this program was built. The table is made by
// host/embed_lua.cmake.
#pragma once

#include <stddef.h>

struct embedded_lua {
  const char *name;            // as for require: "farside", "farside.remote"
  const unsigned char *bytes;  // the text; a zero byte follows it
  size_t size;                 // without that zero byte
};

/// In the order of their names' files; the last entry's name is NULL.
extern const struct embedded_lua farside_embedded_lua[];
