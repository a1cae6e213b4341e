#include "histogram.h"

#include <math.h>

enum { HALF = 1 << HISTOGRAM_BITS };

static uint32_t class_of(uint64_t value) {
  if (value < HALF) return (uint32_t)value;
  uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_BITS;
  return (shift << HISTOGRAM_BITS) + (uint32_t)(value >> shift);
}

// The middle of a class.
static double value_of(uint32_t class) {
  if (class < 2 * HALF) return class;
  uint32_t shift = (class >> HISTOGRAM_BITS) - 1;
  double low = (double)(HALF + class % HALF);
  return ldexp(low + 0.5, (int)shift);
}

void histogram_add(struct histogram *histogram, int64_t nanoseconds) {
  if (nanoseconds < 0) nanoseconds = 0;
  histogram->classes[class_of((uint64_t)nanoseconds)]++;
  histogram->count++;
  histogram->sum += (double)nanoseconds * 1e-9;
  if (nanoseconds > histogram->most) histogram->most = nanoseconds;
}

double histogram_quantile(const struct histogram *histogram, double share) {
  uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
  if (!wanted) wanted = 1;
  for (uint32_t i = 0; i < HISTOGRAM_CLASSES; i++) {
    seen += histogram->classes[i];
    if (seen >= wanted) return value_of(i) * 1e-9;
  }
  return 0;
}

double histogram_mean(const struct histogram *histogram) {
  return histogram->count ? histogram->sum / (double)histogram->count : 0;
}
