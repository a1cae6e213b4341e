// What CUDA C knows beyond C++ without an #include: vectors, and functions of numbers. Those that a
// GPU computes roughly (__expf) are computed exactly here. Part of simt_module.h.
#pragma once

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>

#include "simt.h"

// ---- Vectors.

#define SIMT_VECTORS(type, name, two, four)                       \
  struct name##1 {                                                \
    type x;                                                       \
  };                                                              \
  struct alignas(two) name##2 {                                   \
    type x, y;                                                    \
  };                                                              \
  struct alignas(four) name##4 {                                  \
    type x, y, z, w;                                              \
  };                                                              \
  inline name##1 make_##name##1(type x) {                         \
    return {x};                                                   \
  }                                                               \
  inline name##2 make_##name##2(type x, type y) {                 \
    return {x, y};                                                \
  }                                                               \
  inline name##3 make_##name##3(type x, type y, type z) {         \
    return {x, y, z};                                             \
  }                                                               \
  inline name##4 make_##name##4(type x, type y, type z, type w) { \
    return {x, y, z, w};                                          \
  }
#define SIMT_VECTORS_AND_3(type, name, two, four) \
  struct name##3 {                                \
    type x, y, z;                                 \
  };                                              \
  SIMT_VECTORS(type, name, two, four)

SIMT_VECTORS_AND_3(signed char, char, 2, 4)
SIMT_VECTORS_AND_3(unsigned char, uchar, 2, 4)
SIMT_VECTORS_AND_3(short, short, 4, 8)
SIMT_VECTORS_AND_3(unsigned short, ushort, 4, 8)
SIMT_VECTORS_AND_3(int, int, 8, 16)
SIMT_VECTORS(unsigned, uint, 8, 16)  // simt_run.h has uint3
SIMT_VECTORS_AND_3(long, long, 16, 16)
SIMT_VECTORS_AND_3(unsigned long, ulong, 16, 16)
SIMT_VECTORS_AND_3(long long, longlong, 16, 16)
SIMT_VECTORS_AND_3(unsigned long long, ulonglong, 16, 16)
SIMT_VECTORS_AND_3(float, float, 8, 16)
SIMT_VECTORS_AND_3(double, double, 16, 16)

// ---- Words of declarations.

#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __managed__
#define __builtin_align__(n) __attribute__((aligned(n)))

// ---- Functions. Of floats min and max are those of C: a NaN gives way to a number.

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) {
    return sizeof(T) == 4 ? static_cast<T>(fminf(static_cast<float>(a), static_cast<float>(b)))
                          : static_cast<T>(fmin(a, b));
  } else {
    return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
  }
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) {
    return sizeof(T) == 4 ? static_cast<T>(fmaxf(static_cast<float>(a), static_cast<float>(b)))
                          : static_cast<T>(fmax(a, b));
  } else {
    return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
  }
}

inline float rsqrtf(float x) {
  return 1 / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1 / sqrt(x);
}
inline float rcbrtf(float x) {
  return 1 / cbrtf(x);
}
inline float fdividef(float x, float y) {
  return x / y;
}
inline float sinpif(float x) {
  return static_cast<float>(sin(M_PI * fmod(x, 2.0)));
}
inline float cospif(float x) {
  return static_cast<float>(cos(M_PI * fmod(x, 2.0)));
}
inline float normcdff(float x) {
  return 0.5f * erfcf(x * -static_cast<float>(M_SQRT1_2));
}
inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1) : 0;
}

inline float __expf(float x) {
  return expf(x);
}
inline float __exp10f(float x) {
  return powf(10, x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __log2f(float x) {
  return log2f(x);
}
inline float __log10f(float x) {
  return log10f(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __sinf(float x) {
  return sinf(x);
}
inline float __cosf(float x) {
  return cosf(x);
}
inline float __tanf(float x) {
  return tanf(x);
}
inline void __sincosf(float x, float *s, float *c) {
  *s = sinf(x);
  *c = cosf(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}

inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return fmaf(x, y, z);
}
inline float __frcp_rn(float x) {
  return 1 / x;
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __frsqrt_rn(float x) {
  return static_cast<float>(1 / sqrt(static_cast<double>(x)));
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline double __dmul_rn(double x, double y) {
  return x * y;
}
inline double __fma_rn(double x, double y, double z) {
  return fma(x, y, z);
}

// ---- From one type to another.

namespace simt {

// What is out of range becomes the nearest bound and NaN 0, as a GPU has it.
template <class To, class From>
To to_integer(From x) {
  constexpr To least =
      std::is_signed<To>::value ? static_cast<To>(To{1} << (8 * sizeof(To) - 1)) : 0;
  constexpr To most = static_cast<To>(~least);
  if (!(x == x)) return 0;
  if (x <= static_cast<From>(least)) return least;
  if (x >= static_cast<From>(most)) return most;
  return static_cast<To>(x);
}

template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace simt

#define SIMT_TO_INTEGER(from, name, to, result) \
  inline result __##name##2##to##_rn(from x) {  \
    return simt::to_integer<result>(rint(x));   \
  }                                             \
  inline result __##name##2##to##_rz(from x) {  \
    return simt::to_integer<result>(trunc(x));  \
  }                                             \
  inline result __##name##2##to##_rd(from x) {  \
    return simt::to_integer<result>(floor(x));  \
  }                                             \
  inline result __##name##2##to##_ru(from x) {  \
    return simt::to_integer<result>(ceil(x));   \
  }
SIMT_TO_INTEGER(float, float, int, int)
SIMT_TO_INTEGER(float, float, uint, unsigned)
SIMT_TO_INTEGER(float, float, ll, long long)
SIMT_TO_INTEGER(float, float, ull, unsigned long long)
SIMT_TO_INTEGER(double, double, int, int)
SIMT_TO_INTEGER(double, double, uint, unsigned)
SIMT_TO_INTEGER(double, double, ll, long long)
SIMT_TO_INTEGER(double, double, ull, unsigned long long)

inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
}
inline double __int2double_rn(int x) {
  return x;
}

inline int __float_as_int(float x) {
  return simt::same_bits<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return simt::same_bits<unsigned>(x);
}
inline float __int_as_float(int x) {
  return simt::same_bits<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return simt::same_bits<float>(x);
}
inline long long __double_as_longlong(double x) {
  return simt::same_bits<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return simt::same_bits<double>(x);
}

// ---- Bits and whole numbers.

inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline int __clzll(long long x) {
  return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned long long __brevll(unsigned long long x) {
  unsigned long long reversed = 0;
  for (int i = 0; i < 64; ++i) reversed |= (x >> i & 1) << (63 - i);
  return reversed;
}
inline unsigned __brev(unsigned x) {
  return static_cast<unsigned>(__brevll(x) >> 32);
}
inline int __mulhi(int x, int y) {
  return static_cast<int>(static_cast<long long>(x) * y >> 32);
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline int __mul24(int x, int y) {
  return x * y;
}
inline unsigned __umul24(unsigned x, unsigned y) {
  return x * y;
}

// ---- Memory, and what is left of the threads.

template <class T>
T __ldg(const T *at) {
  return *at;
}
template <class T>
T __ldcs(const T *at) {
  return *at;
}
template <class T>
void __stcs(T *at, simt::same<T> value) {
  *at = value;
}

template <class T>
T atomicSub(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return static_cast<T>(before - value); });
}
template <class T>
T atomicXor(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return static_cast<T>(before ^ value); });
}
inline unsigned atomicInc(unsigned *at, unsigned most) {
  return simt::atomic_update(at, [=](unsigned before) { return before >= most ? 0 : before + 1; });
}
inline unsigned atomicDec(unsigned *at, unsigned most) {
  return simt::atomic_update(
      at, [=](unsigned before) { return before == 0 || before > most ? most : before - 1; });
}

inline void __threadfence_system() {
  __threadfence();
}
inline unsigned __activemask() {
  return ~0u;
}
[[noreturn]] inline void __trap() {
  simt::fail("traps");
}

namespace simt {

// How many threads of the block say yes, told to all of them.
inline int count_block(bool yes, place where) {
  static thread_local int count;
  barrier(where);
  if (here.current == 0) count = 0;
  barrier(where);
  count += yes;
  barrier(where);
  return count;
}

}  // namespace simt

inline int __syncthreads_count(int yes, const char *file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
  return simt::count_block(yes != 0, {file, line});
}
inline int __syncthreads_or(int yes, const char *file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
  return simt::count_block(yes != 0, {file, line}) != 0;
}
inline int __syncthreads_and(int yes, const char *file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
  return simt::count_block(yes == 0, {file, line}) == 0;
}
