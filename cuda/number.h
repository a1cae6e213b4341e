// The element types of views: what each is in memory, in which type it is computed, and how one
// becomes another, alike on a GPU and on the processor.
#pragma once

#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "kernels.h"
#include "simt.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};
// One byte that holds 0 or 1. Not bool itself: a byte from elsewhere that is neither would be
// undefined as a bool.
struct truth {
  uint8_t byte;
};

template <class To, class From>
__device__ __host__ __forceinline__ To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// A float of `mantissa` bits and largest exponent `bias`, to nearest, ties to even, from the bits
// of a double. One rounding: by way of f32 there would be two.
template <int mantissa, int bias>
__device__ __host__ inline uint16_t narrow(double from) {
  const uint64_t bits = bits_of<uint64_t>(from), sign = bits >> 63 << 15;
  const uint64_t magnitude = bits & ~(1ull << 63);
  const uint64_t infinity = (2ull * bias + 1) << mantissa;
  if (magnitude > 0x7ffull << 52)
    return static_cast<uint16_t>(sign | infinity | 1ull << (mantissa - 1));
  const int exponent = static_cast<int>(magnitude >> 52) - 1023;
  if (exponent > bias) return static_cast<uint16_t>(sign | infinity);
  if (exponent < -bias - mantissa) return static_cast<uint16_t>(sign);
  // What is below the least normal number loses one more bit for each power of two.
  const int lost = 52 - mantissa + (exponent < 1 - bias ? 1 - bias - exponent : 0);
  const uint64_t whole = (magnitude & ((1ull << 52) - 1)) | 1ull << 52;
  uint64_t kept = whole >> lost;
  const uint64_t rest = whole & ((1ull << lost) - 1), half = 1ull << (lost - 1);
  kept += rest > half || (rest == half && (kept & 1));
  // A carry out of the mantissa makes the exponent one larger, up to infinity, by plain addition.
  if (exponent >= 1 - bias) kept += static_cast<uint64_t>(exponent + bias - 1) << mantissa;
  return static_cast<uint16_t>(sign | kept);
}

__device__ __host__ __forceinline__ float widen(f16 from) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(from.bits));
#else
  // The exponent is moved to where f32 has it, then scaled by a multiplication, which makes
  // subnormal numbers right too.
  const uint32_t low = (from.bits & 0x7fffu) << 13, sign = (from.bits & 0x8000u) << 16;
  const float scaled = bits_of<float>(low) * 0x1p112f;
  const uint32_t special = low >= 0x7c00u << 13 ? 0x7f800000u : 0;
  return bits_of<float>(bits_of<uint32_t>(scaled) | special | sign);
#endif
}
__device__ __host__ __forceinline__ float widen(bf16 from) {
  return bits_of<float>(static_cast<uint32_t>(from.bits) << 16);
}

__device__ __host__ __forceinline__ f16 to_f16(float from) {
#ifdef __CUDA_ARCH__
  return {__half_as_ushort(__float2half_rn(from))};
#else
  const uint32_t bits = bits_of<uint32_t>(from), sign = bits >> 16 & 0x8000u,
                 magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x47800000u) {  // 65536 and more, infinity, NaN
    return {static_cast<uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u))};
  }
  if (magnitude < 0x38800000u) {  // below the least normal f16: the addition shifts and rounds
    const float shifted = bits_of<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (bits_of<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return {static_cast<uint16_t>(sign | (magnitude - 0x38000000u + 0xfffu + odd) >> 13)};
#endif
}
__device__ __host__ __forceinline__ bf16 to_bf16(float from) {
  const uint32_t bits = bits_of<uint32_t>(from);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

// What a type is computed in.
template <class T>
struct number {
  using wide = T;
  static constexpr bool is_float = false;
};
template <>
struct number<float> {
  using wide = float;
  static constexpr bool is_float = true;
};
template <>
struct number<double> {
  using wide = double;
  static constexpr bool is_float = true;
};
template <>
struct number<f16> {
  using wide = float;
  static constexpr bool is_float = true;
};
template <>
struct number<bf16> {
  using wide = float;
  static constexpr bool is_float = true;
};
template <>
struct number<truth> {
  using wide = bool;
  static constexpr bool is_float = false;
};
// The processor has no arithmetic for these, and takes most of its time to convert them.
template <class T>
constexpr bool is_half = std::is_same<T, f16>::value || std::is_same<T, bf16>::value;
template <class T>
using wide = typename number<T>::wide;

__device__ __host__ __forceinline__ float load(f16 x) {
  return widen(x);
}
__device__ __host__ __forceinline__ float load(bf16 x) {
  return widen(x);
}
__device__ __host__ __forceinline__ bool load(truth x) {
  return x.byte != 0;
}
template <class T>
__device__ __host__ __forceinline__ T load(T x) {
  return x;
}

// From a float towards zero, kept within the bounds.
template <class To, class From>
__device__ __host__ __forceinline__ To truncate(From x, From least, From above, To lowest,
                                                To highest) {
  if (!(x == x)) return 0;
  if (x <= least) return lowest;
  if (x >= above) return highest;
  return static_cast<To>(x);
}

// convert<To>(x): x is of a type that things are computed in; the result is of one that is kept in
// memory.
template <class To>
struct converter;
template <>
struct converter<double> {
  template <class From>
  static __device__ __host__ __forceinline__ double from(From x) {
    return static_cast<double>(x);
  }
};
template <>
struct converter<float> {
  template <class From>
  static __device__ __host__ __forceinline__ float from(From x) {
    return static_cast<float>(x);
  }
};
template <>
struct converter<f16> {
  static __device__ __host__ __forceinline__ f16 from(float x) {
    return to_f16(x);
  }
  template <class From>
  static __device__ __host__ __forceinline__ f16 from(From x) {
    return {narrow<10, 15>(static_cast<double>(x))};
  }
};
template <>
struct converter<bf16> {
  static __device__ __host__ __forceinline__ bf16 from(float x) {
    return to_bf16(x);
  }
  // Where a double would round, so that there were two roundings, what it has no bits for is left in
  // the last one that it has. An f16 is infinite there.
  static __device__ __host__ __forceinline__ bf16 from(int64_t x) {
    const bool whole = x >= -(1ll << 53) && x <= 1ll << 53;
    const int64_t lost = x & 0x7ff, kept = x - lost;
    return {narrow<7, 127>(static_cast<double>(whole ? x : lost ? kept | 0x800 : kept))};
  }
  template <class From>
  static __device__ __host__ __forceinline__ bf16 from(From x) {
    return {narrow<7, 127>(static_cast<double>(x))};
  }
};
template <>
struct converter<int64_t> {
  static __device__ __host__ __forceinline__ int64_t from(double x) {
    return truncate<int64_t>(x, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX);
  }
  static __device__ __host__ __forceinline__ int64_t from(float x) {
    return truncate<int64_t>(x, -0x1p63f, 0x1p63f, INT64_MIN, INT64_MAX);
  }
  template <class From>
  static __device__ __host__ __forceinline__ int64_t from(From x) {
    return static_cast<int64_t>(x);
  }
};
template <>
struct converter<int32_t> {
  static __device__ __host__ __forceinline__ int32_t from(double x) {
    return truncate<int32_t>(x, -0x1p31, 0x1p31, INT32_MIN, INT32_MAX);
  }
  static __device__ __host__ __forceinline__ int32_t from(float x) {
    return truncate<int32_t>(x, -0x1p31f, 0x1p31f, INT32_MIN, INT32_MAX);
  }
  template <class From>
  static __device__ __host__ __forceinline__ int32_t from(From x) {
    return static_cast<int32_t>(x);
  }
};
template <>
struct converter<uint8_t> {
  static __device__ __host__ __forceinline__ uint8_t from(double x) {
    return truncate<uint8_t>(x, 0.0, 256.0, 0, 255);
  }
  static __device__ __host__ __forceinline__ uint8_t from(float x) {
    return truncate<uint8_t>(x, 0.0f, 256.0f, 0, 255);
  }
  template <class From>
  static __device__ __host__ __forceinline__ uint8_t from(From x) {
    return static_cast<uint8_t>(x);
  }
};
template <>
struct converter<truth> {
  template <class From>
  static __device__ __host__ __forceinline__ truth from(From x) {
    return {static_cast<uint8_t>(x != 0)};
  }
};
template <class To, class From>
__device__ __host__ __forceinline__ To convert(From x) {
  return converter<To>::from(x);
}

// ---- From a dtype to a type: calls f(type<T>()) with the one of the list that the dtype names.

template <class T>
struct type {
  using element = T;
};
template <class Tag>
using element_of = typename std::decay_t<Tag>::element;
template <int N>
struct constant {
  static constexpr int value = N;
};

template <class T>
constexpr int dtype_of() {
  return -1;
}
template <>
constexpr int dtype_of<double>() {
  return KERNEL_F64;
}
template <>
constexpr int dtype_of<float>() {
  return KERNEL_F32;
}
template <>
constexpr int dtype_of<f16>() {
  return KERNEL_F16;
}
template <>
constexpr int dtype_of<bf16>() {
  return KERNEL_BF16;
}
template <>
constexpr int dtype_of<int64_t>() {
  return KERNEL_I64;
}
template <>
constexpr int dtype_of<int32_t>() {
  return KERNEL_I32;
}
template <>
constexpr int dtype_of<uint8_t>() {
  return KERNEL_U8;
}
template <>
constexpr int dtype_of<truth>() {
  return KERNEL_BOOL;
}

template <class... T>
struct types {};
using floats = types<double, float, f16, bf16>;
using integers = types<int64_t, int32_t, uint8_t>;
using numbers = types<double, float, f16, bf16, int64_t, int32_t, uint8_t>;
using everything = types<double, float, f16, bf16, int64_t, int32_t, uint8_t, truth>;

template <class F, class... T>
int with_dtype(int dtype, types<T...>, const F &f) {
  int status = KERNEL_BAD_DTYPE;
  (void)((dtype == dtype_of<T>() && (status = f(type<T>()), true)) || ...);
  return status;
}

// Calls f(type<T>()) with an unsigned integer of the dtype's size, for where only bytes are moved.
template <class F>
int with_size(int dtype, const F &f) {
  switch (dtype) {
    case KERNEL_U8:
    case KERNEL_BOOL:
      return f(type<uint8_t>());
    case KERNEL_F16:
    case KERNEL_BF16:
      return f(type<uint16_t>());
    case KERNEL_F32:
    case KERNEL_I32:
      return f(type<uint32_t>());
    default:
      return f(type<uint64_t>());
  }
}

inline int dtype_size(int dtype) {
  static const int sizes[] = {8, 4, 2, 2, 8, 4, 1, 1};
  return sizes[dtype];
}
