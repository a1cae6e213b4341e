// What is random in the simulation of faults, beside the simulator's own chance.
#pragma once

#include <stdbool.h>

#include "../../host/simulate/chance.h"

/// True once in `count` times; never with 0.
static inline bool chance_one_in(struct chance *chance, uint32_t count) {
  return count && chance_below(chance, count) == 0;
}

/// 0 .. most
static inline int64_t chance_time(struct chance *chance, int64_t most) {
  return (int64_t)(chance_next(chance) % ((uint64_t)most + 1));
}

/// Between `least` and 2 * `least` * 2^doublings, every magnitude as likely.
static inline int64_t chance_magnitude(struct chance *chance, int64_t least, uint32_t doublings) {
  int64_t base = least << chance_below(chance, doublings + 1);
  return base + chance_time(chance, base);
}
