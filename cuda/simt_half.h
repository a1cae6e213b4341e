// Half precision and bfloat16 as CUDA's cuda_fp16.h and cuda_bf16.h have them, for users' kernels
// that are compiled for the processor: computed in float, rounded to nearest, ties to even.
#pragma once

#include "simt_math.h"

namespace simt {

// The bits of a float type of 16 bits: `mantissa` of them behind the sign and the exponent.
template <int mantissa>
struct half_bits {
  static constexpr int kBias = (1 << (14 - mantissa)) - 1;

  static uint16_t narrow(float from) {
    const uint32_t bits = same_bits<uint32_t>(from), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu, infinity = ((2u << (14 - mantissa)) - 1)
                                                              << mantissa;
    if (magnitude > 0x7f800000u) {
      return static_cast<uint16_t>(sign | infinity | 1u << (mantissa - 1));
    }
    const int exponent = static_cast<int>(magnitude >> 23) - 127;
    if (exponent > kBias) return static_cast<uint16_t>(sign | infinity);
    if (exponent < -kBias - mantissa) return static_cast<uint16_t>(sign);
    // Below the least normal number one more bit is lost for each power of two.
    const int below = exponent < 1 - kBias ? 1 - kBias - exponent : 0;
    const int lost = 23 - mantissa + below;
    const uint32_t whole = magnitude >> 23 ? (magnitude & 0x7fffffu) | 0x800000u : magnitude << 1;
    uint32_t kept = whole >> lost;
    const uint32_t rest = whole & ((1u << lost) - 1), middle = 1u << (lost - 1);
    kept += rest > middle || (rest == middle && (kept & 1));
    if (!below) kept += static_cast<uint32_t>(exponent + kBias - 1) << mantissa;
    return static_cast<uint16_t>(sign | kept);
  }

  static float widen(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, magnitude = bits & 0x7fffu;
    const uint32_t exponent = magnitude >> mantissa;
    const uint32_t fraction = magnitude & ((1u << mantissa) - 1);
    if (exponent == (2u << (14 - mantissa)) - 1) {
      return same_bits<float>(sign | 0x7f800000u | fraction << (23 - mantissa));
    }
    const float value = exponent == 0 ? ldexpf(static_cast<float>(fraction), 1 - kBias - mantissa)
                                      : ldexpf(static_cast<float>(fraction | 1u << mantissa),
                                               static_cast<int>(exponent) - kBias - mantissa);
    return sign ? -value : value;
  }
};

// A number of such a type. As in CUDA, one beside a float is neither computed as the one nor as the
// other until it is converted.
template <int mantissa>
struct small_float {
  uint16_t bits;

  small_float() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>>
  small_float(T x) : bits(half_bits<mantissa>::narrow(static_cast<float>(x))) {}
  operator float() const {
    return half_bits<mantissa>::widen(bits);
  }
};

template <int m>
struct alignas(4) small_float2 {
  small_float<m> x, y;
};

template <int m>
small_float<m> of_bits(uint16_t bits) {
  small_float<m> x;
  x.bits = bits;
  return x;
}

#define SIMT_SMALL_OPERATOR(op)                                         \
  template <int m>                                                      \
  small_float<m> operator op(small_float<m> a, small_float<m> b) {      \
    return static_cast<float>(a) op static_cast<float>(b);              \
  }                                                                     \
  template <int m>                                                      \
  small_float<m> &operator op##=(small_float<m> &a, small_float<m> b) { \
    return a = a op b;                                                  \
  }                                                                     \
  template <int m>                                                      \
  small_float2<m> operator op(small_float2<m> a, small_float2<m> b) {   \
    return {a.x op b.x, a.y op b.y};                                    \
  }
SIMT_SMALL_OPERATOR(+)
SIMT_SMALL_OPERATOR(-)
SIMT_SMALL_OPERATOR(*)
SIMT_SMALL_OPERATOR(/)

#define SIMT_SMALL_COMPARISON(op, name)                    \
  template <int m>                                         \
  bool operator op(small_float<m> a, small_float<m> b) {   \
    return static_cast<float>(a) op static_cast<float>(b); \
  }                                                        \
  template <int m>                                         \
  bool __h##name(small_float<m> a, small_float<m> b) {     \
    return a op b;                                         \
  }
SIMT_SMALL_COMPARISON(<, lt)
SIMT_SMALL_COMPARISON(<=, le)
SIMT_SMALL_COMPARISON(>, gt)
SIMT_SMALL_COMPARISON(>=, ge)
SIMT_SMALL_COMPARISON(==, eq)
SIMT_SMALL_COMPARISON(!=, ne)

template <int m>
small_float<m> operator-(small_float<m> a) {
  return of_bits<m>(a.bits ^ 0x8000);
}

// Functions of one and of two numbers, and the same of pairs.
#define SIMT_SMALL_UNARY(name, expression)     \
  template <int m>                             \
  small_float<m> name(small_float<m> a) {      \
    const float x = a;                         \
    return expression;                         \
  }                                            \
  template <int m>                             \
  small_float2<m> name##2(small_float2<m> a) { \
    return {name(a.x), name(a.y)};             \
  }
#define SIMT_SMALL_BINARY(name, expression)                       \
  template <int m>                                                \
  small_float<m> name(small_float<m> a, small_float<m> b) {       \
    const float x = a, y = b;                                     \
    return expression;                                            \
  }                                                               \
  template <int m>                                                \
  small_float2<m> name##2(small_float2<m> a, small_float2<m> b) { \
    return {name(a.x, b.x), name(a.y, b.y)};                      \
  }
// Found by their arguments.
SIMT_SMALL_UNARY(__hneg, -x)
SIMT_SMALL_UNARY(__habs, fabsf(x))
// clang-format off
#define SIMT_SMALL_NAMED(name, pair, expression)                              \
  template <int m> small_float<m> name(small_float<m> a) {                    \
    const float x = a;                                                        \
    return expression;                                                        \
  }                                                                           \
  template <int m> small_float2<m> pair(small_float2<m> a) {                  \
    return {name(a.x), name(a.y)};                                            \
  }
// clang-format on
SIMT_SMALL_NAMED(hexp, h2exp, expf(x))
SIMT_SMALL_NAMED(hlog, h2log, logf(x))
SIMT_SMALL_NAMED(hsqrt, h2sqrt, sqrtf(x))
SIMT_SMALL_NAMED(hrsqrt, h2rsqrt, 1 / sqrtf(x))
SIMT_SMALL_NAMED(hrcp, h2rcp, 1 / x)
SIMT_SMALL_NAMED(hsin, h2sin, sinf(x))
SIMT_SMALL_NAMED(hcos, h2cos, cosf(x))
SIMT_SMALL_BINARY(__hadd, x + y)
SIMT_SMALL_BINARY(__hsub, x - y)
SIMT_SMALL_BINARY(__hmul, x *y)
SIMT_SMALL_BINARY(__hdiv, x / y)
SIMT_SMALL_BINARY(__hmin, fminf(x, y))
SIMT_SMALL_BINARY(__hmax, fmaxf(x, y))

// The sum of a product of two and a third has more bits than a float: rounded twice, it is off by
// one unit in rare cases.
template <int m>
small_float<m> __hfma(small_float<m> a, small_float<m> b, small_float<m> c) {
  return fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c));
}
template <int m>
small_float2<m> __hfma2(small_float2<m> a, small_float2<m> b, small_float2<m> c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}

}  // namespace simt

using __half = simt::small_float<10>;
using half = __half;
using __half2 = simt::small_float2<10>;
using half2 = __half2;
using __nv_bfloat16 = simt::small_float<7>;
using nv_bfloat16 = __nv_bfloat16;
using __nv_bfloat162 = simt::small_float2<7>;
using nv_bfloat162 = __nv_bfloat162;

inline __half __float2half(float x) {
  return x;
}
inline __half __float2half_rn(float x) {
  return x;
}
inline float __half2float(__half x) {
  return x;
}
inline __half __ushort_as_half(unsigned short bits) {
  return simt::of_bits<10>(bits);
}
inline unsigned short __half_as_ushort(__half x) {
  return x.bits;
}
inline __half2 make_half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __halves2half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __half2half2(__half x) {
  return {x, x};
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {x, y};
}
inline __half2 __float22half2_rn(float2 x) {
  return {x.x, x.y};
}
inline float2 __half22float2(__half2 x) {
  return {x.x, x.y};
}
inline __half __low2half(__half2 x) {
  return x.x;
}
inline __half __high2half(__half2 x) {
  return x.y;
}
inline float __low2float(__half2 x) {
  return x.x;
}
inline float __high2float(__half2 x) {
  return x.y;
}

inline __nv_bfloat16 __float2bfloat16(float x) {
  return x;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  return x;
}
inline float __bfloat162float(__nv_bfloat16 x) {
  return x;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return simt::of_bits<7>(bits);
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
  return x.bits;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {x, y};
}
inline float2 __bfloat1622float2(__nv_bfloat162 x) {
  return {x.x, x.y};
}
