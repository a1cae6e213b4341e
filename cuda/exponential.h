// The exponential function. The processor's of f32 is a few additions and multiplications, so that
// a loop of it becomes vector instructions; the C library's is a call for each number.
#pragma once

#include <math.h>

#include "number.h"

#ifndef __CUDA_ARCH__
// 2^n * e^r, where n is whole and r is at most ln(2) / 2 from 0; of e^r the series. Within 1.5 units
// of the last place; also subnormal results, infinities and NaN.
static __forceinline__ float exponential_f32(float x) {
  x = x > 89.0f ? 89.0f : x;  // infinite from there on
  x = x < -104.0f ? -104.0f : x;
  // Added to this a number is rounded to a whole one, in the low bits of the sum.
  constexpr float kRound = 0x1.8p23f;
  const float sum = x * 0x1.715476p0f + kRound, n = sum - kRound;
  // ln(2) in two parts, the first of so few bits that its product is exact.
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = r * r * p + r + 1.0f;
  // 2^n may be no f32 while the result is one: by two factors. Of NaN n is any number.
  const int32_t power = static_cast<int32_t>(bits_of<uint32_t>(sum) - bits_of<uint32_t>(kRound));
  const uint32_t half = static_cast<uint32_t>(power >> 1),
                 rest = static_cast<uint32_t>(power) - half;
  return p * bits_of<float>((half + 127) << 23) * bits_of<float>((rest + 127) << 23);
}
#endif

template <class T>
static __device__ __forceinline__ T exponential(T x) {
#ifndef __CUDA_ARCH__
  if constexpr (std::is_same<T, float>::value) return exponential_f32(x);
#endif
  return exp(x);
}
