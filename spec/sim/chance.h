// All that is random in the simulation: splitmix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators").
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct chance {
  uint64_t state;
};

static inline uint64_t chance_next(struct chance *chance) {
  uint64_t x = chance->state += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/// 0 .. count - 1
static inline uint32_t chance_below(struct chance *chance, uint32_t count) {
  return (uint32_t)(((chance_next(chance) >> 32) * count) >> 32);
}

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
