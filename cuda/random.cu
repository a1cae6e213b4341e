// Random numbers that depend on a seed and an element's number alone: Philox 4x32 with ten rounds
// (J. Salmon, M. Moraes, R. Dror, D. Shaw, Parallel Random Numbers: As Easy as 1, 2, 3).
//
// Both libraries make the same numbers to the bit. So nothing here calls a function of a
// mathematics library, and the compilers are told not to fuse a multiplication with an addition:
// what is left are operations that IEEE 754 defines exactly.
#include "elementwise.h"

struct words {
  uint32_t at[4];
};

static __device__ __forceinline__ uint32_t high_product(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}

// `sequence` tells those of one seed apart.
static __device__ __forceinline__ words philox(uint64_t seed, uint64_t number, uint32_t sequence) {
  words w = {{static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), sequence, 0}};
  uint32_t key = static_cast<uint32_t>(seed), other = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint32_t a = w.at[0], c = w.at[2];
    w = {{high_product(0xcd9e8d57u, c) ^ w.at[1] ^ key, 0xcd9e8d57u * c,
          high_product(0xd2511f53u, a) ^ w.at[3] ^ other, 0xd2511f53u * a}};
    key += 0x9e3779b9u;
    other += 0xbb67ae85u;
  }
  return w;
}

// The natural logarithm of a positive normal number: of its mantissa by the series of the inverse
// hyperbolic tangent, with as many terms as the type has digits for.
template <class W>
static __device__ __forceinline__ W logarithm(W x) {
  constexpr bool is_double = sizeof(W) == 8;
  using bits = std::conditional_t<is_double, uint64_t, uint32_t>;
  constexpr int kMantissa = is_double ? 52 : 23, kBias = is_double ? 1023 : 127;
  const bits all = bits_of<bits>(x);
  int exponent = static_cast<int>(all >> kMantissa) - kBias;
  W m = bits_of<W>((all & ((bits{1} << kMantissa) - 1)) | static_cast<bits>(kBias) << kMantissa);
  if (m > W(1.41421356237309505)) {
    m = m * W(0.5);
    exponent += 1;
  }
  const W s = (m - W(1)) / (m + W(1)), square = s * s;
  constexpr int kTerms = is_double ? 12 : 6;
  W sum = 0;
  for (int k = kTerms; k-- > 0;) sum = sum * square + W(1) / W(2 * k + 1);
  return static_cast<W>(exponent) * W(0.69314718055994530942) + W(2) * s * sum;
}

// Cosine (first) and sine of 2 pi x, for x of 0 to 1: Taylor's series around the nearest quarter.
template <class W>
static __device__ __forceinline__ void turn_to(W x, W *cosine, W *sine) {
  const W quarters = x * W(4);
  const int quarter = static_cast<int>(quarters + W(0.5));
  const W angle = (quarters - static_cast<W>(quarter)) * W(1.57079632679489661923);
  const W square = angle * angle;
  constexpr int kTerms = sizeof(W) == 8 ? 10 : 6;
  W c = 1, s = 1;
  for (int k = kTerms; k > 0; --k) {
    c = W(1) - c * square / W((2 * k - 1) * (2 * k));
    s = W(1) - s * square / W((2 * k) * (2 * k + 1));
  }
  s = s * angle;
  const W x0 = quarter % 2 ? s : c, y0 = quarter % 2 ? c : s;
  *cosine = quarter % 4 == 1 || quarter % 4 == 2 ? -x0 : x0;
  *sine = quarter % 4 == 2 || quarter % 4 == 3 ? -y0 : y0;
}

// Number k of the uniform numbers in [0, 1) that four words make: four floats or two doubles.
template <class W>
static __device__ __forceinline__ W uniform(const words &w, int k) {
  if constexpr (sizeof(W) == 8) {
    const uint64_t bits = static_cast<uint64_t>(w.at[2 * k]) << 32 | w.at[2 * k + 1];
    return static_cast<W>(bits >> 11) * W(0x1p-53);
  } else {
    return static_cast<W>(w.at[k] >> 8) * W(0x1p-24);
  }
}

// Normal numbers come in pairs (G. Box, M. Muller). The radius is of a uniform number in (0, 1].
template <class W>
static __device__ __forceinline__ W normal(const words &w, int k) {
  const W unit = sizeof(W) == 8 ? W(0x1p-53) : W(0x1p-24);
  const W radius = sqrt(W(-2) * logarithm<W>(uniform<W>(w, k / 2 * 2) + unit));
  W cosine, sine;
  turn_to<W>(uniform<W>(w, k / 2 * 2 + 1), &cosine, &sine);
  return radius * (k % 2 ? sine : cosine);
}

// A whole number of 0 to `range` inclusive, of 64 random bits: the high half of the product.
static __device__ __forceinline__ uint64_t whole(const words &w, int k, uint64_t range) {
  const uint64_t bits = static_cast<uint64_t>(w.at[2 * k]) << 32 | w.at[2 * k + 1];
  const uint64_t size = range + 1;  // 2^53 at most
  const uint64_t low = (bits & 0xffffffffu) * (size & 0xffffffffu) >> 32;
  const uint64_t middle = (bits >> 32) * (size & 0xffffffffu) + low;
  const uint64_t other = (bits & 0xffffffffu) * (size >> 32) + (middle & 0xffffffffu);
  return (bits >> 32) * (size >> 32) + (middle >> 32) + (other >> 32);
}

struct random_range {
  double a, b;
  int64_t least;
  uint64_t range;
};

template <int Kind, class T, class W>
static __device__ __forceinline__ T random_value(const words &w, int k, const random_range &r) {
  if constexpr (Kind == KERNEL_INTEGERS) {
    const int64_t value = r.least + static_cast<int64_t>(whole(w, k, r.range));
    return convert<T>(value);
  } else if constexpr (Kind == KERNEL_NORMAL) {
    return convert<T>(static_cast<W>(r.a) + static_cast<W>(r.b) * normal<W>(w, k));
  } else {
    const W a = static_cast<W>(r.a), b = static_cast<W>(r.b);
    const T x = convert<T>(a + (b - a) * uniform<W>(w, k));
    // Rounding may reach the upper bound, which does not belong to the range.
    return load(x) < b ? x : convert<T>(a);
  }
}

// A unit is a group of `PER` elements that come of the same words. No two kinds, and no two sizes of
// a group, share words: else a draw of one would meet again what the draw of another before it used.
template <int Kind, int PER, class T, class W>
static __global__ void __launch_bounds__(256)
    random_numbers(plan<1> p, uint32_t groups, T *out, uint64_t seed, uint64_t first,
                   random_range r) {
  constexpr uint32_t kSequence = 2 * Kind + (PER == 2);
  const share mine = share_of(groups);
  for (uint32_t group = mine.first; group < mine.end; group += mine.step) {
    const uint64_t number = first / PER + group;
    const words w = philox(seed, number, kSequence);
    for (int k = 0; k < PER; ++k) {
      const uint64_t element = number * PER + static_cast<uint64_t>(k) - first;
      if (element >= p.units) continue;  // also those before the first, which wrap around
      int64_t at[1];
      plan_at(p, static_cast<uint32_t>(element), at);
      out[at[0]] = random_value<Kind, T, W>(w, k, r);
    }
  }
}

template <int Kind, class T>
static int fill_random(const struct kernel_view *out, uint64_t seed, uint64_t offset,
                       const random_range &r, void *stream) {
  using W = std::conditional_t<std::is_same<T, double>::value, double, float>;
  constexpr int PER = Kind == KERNEL_INTEGERS || sizeof(W) == 8 ? 2 : 4;
  return map_numbered(out, [&](const plan<1> &p, int64_t place, int64_t before) {
    const uint64_t first = offset + static_cast<uint64_t>(before);
    const uint32_t groups = static_cast<uint32_t>((first % PER + p.units + PER - 1) / PER);
    SIMT_LAUNCH((random_numbers<Kind, PER, T, W>), grid_for(groups, PER), kBlock, 0, stream, p,
                groups, static_cast<T *>(out->data) + place, seed, first, r);
    return simt_last_error();
  });
}

int kernel_random(int kind, const struct kernel_view *out, uint64_t seed, uint64_t offset, double a,
                  double b, void *stream) {
  random_range r = {a, b, 0, 0};
  if (kind == KERNEL_INTEGERS) {
    if (!(a <= b) || !(b - a < 0x1p53) || !(fabs(a) <= 0x1p62) || a != floor(a) || b != floor(b)) {
      return KERNEL_BAD_ARGUMENT;
    }
    r.least = static_cast<int64_t>(a);
    r.range = static_cast<uint64_t>(b - a);
    return with_dtype(out->dtype, numbers(), [&](auto of) {
      return fill_random<KERNEL_INTEGERS, element_of<decltype(of)>>(out, seed, offset, r, stream);
    });
  }
  if (kind != KERNEL_UNIFORM && kind != KERNEL_NORMAL) return KERNEL_BAD_OPERATION;
  if (kind == KERNEL_UNIFORM && !(a < b)) return KERNEL_BAD_ARGUMENT;
  return with_dtype(out->dtype, floats(), [&](auto of) {
    using T = element_of<decltype(of)>;
    return kind == KERNEL_UNIFORM ? fill_random<KERNEL_UNIFORM, T>(out, seed, offset, r, stream)
                                  : fill_random<KERNEL_NORMAL, T>(out, seed, offset, r, stream);
  });
}
