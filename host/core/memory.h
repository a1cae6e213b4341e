// Memory for small things of fixed size: when even that runs out the process ends. Sizes that a
// user or a peer chose go to malloc and are refused instead.
#pragma once

#include <stdlib.h>

static inline void *xcalloc(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (!memory) __builtin_trap();
  return memory;
}

static inline void *xrealloc(void *old, size_t size) {
  void *memory = realloc(old, size);
  if (!memory) __builtin_trap();
  return memory;
}
