// Seeded chance of the simulator: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
// number generators") and the distributions made of it. What is drawn for one thing does not move
// what is drawn for another, as each has a stream of its own.
#pragma once

#include <math.h>
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

static inline struct chance chance_stream(uint64_t seed, uint64_t number) {
  struct chance chance = {seed ^ (number * UINT64_C(0xd6e8feb86659fd93))};
  chance.state = chance_next(&chance);
  return chance;
}

/// Above 0, below 1.
static inline double chance_uniform(struct chance *chance) {
  return ((double)(chance_next(chance) >> 12) + 0.5) * 0x1p-52;
}

/// 0 .. count - 1
static inline uint32_t chance_below(struct chance *chance, uint32_t count) {
  return (uint32_t)(((chance_next(chance) >> 32) * count) >> 32);
}

static inline double chance_exponential(struct chance *chance, double mean) {
  return -mean * log(chance_uniform(chance));
}

/// Mean 0, variance 1: the polar method (Marsaglia, Bray 1964).
static inline double chance_normal(struct chance *chance) {
  double x, y, square;
  do {
    x = 2 * chance_uniform(chance) - 1;
    y = 2 * chance_uniform(chance) - 1;
    square = x * x + y * y;
  } while (square >= 1);
  return x * sqrt(-2 * log(square) / square);
}

/// Of this mean; sigma is that of its logarithm.
static inline double chance_lognormal(struct chance *chance, double mean, double sigma) {
  if (!(sigma > 0)) return mean;
  return mean * exp(sigma * chance_normal(chance) - sigma * sigma / 2);
}

/// Of this mean; `shape` is above 1: the smaller, the heavier the tail.
static inline double chance_pareto(struct chance *chance, double mean, double shape) {
  return mean * (shape - 1) / shape * exp(-log(chance_uniform(chance)) / shape);
}
