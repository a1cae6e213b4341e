// Counts of times by size: 128 classes for each power of two of nanoseconds, so that a quantile is
// right within 0.4 % however many times there are.
#pragma once

#include <stdint.h>

enum { HISTOGRAM_BITS = 7, HISTOGRAM_CLASSES = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS };

struct histogram {
  uint64_t count;
  double sum;    // seconds
  int64_t most;  // nanoseconds
  uint64_t classes[HISTOGRAM_CLASSES];
};

void histogram_add(struct histogram *histogram, int64_t nanoseconds);
/// Seconds at which `share` (0..1) of the times are or are less; 0 without any.
double histogram_quantile(const struct histogram *histogram, double share);
double histogram_mean(const struct histogram *histogram);
