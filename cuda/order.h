// The order in which elements are chosen and sorted. An element becomes a key, an unsigned integer
// that is ordered as the numbers are: -0 is 0, NaN is larger than all. A key and the element's
// place make an entry, of which no two are alike, so that equals keep their order in whichever way
// they are sorted.
#pragma once

#include "team.h"

template <class T>
using key_of = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
constexpr int kKeyBits = 8 * static_cast<int>(sizeof(T));
template <class T>
constexpr key_of<T> kKeyTop = key_of<T>{1} << (kKeyBits<T> - 1);
template <class T>
constexpr key_of<T> kKeyMask = kKeyTop<T> - 1 + kKeyTop<T>;

// The bits of infinity, beyond which a magnitude is NaN.
template <class T>
constexpr key_of<T> kInfinity = 0;
template <>
constexpr uint64_t kInfinity<double> = uint64_t{0x7ff} << 52;
template <>
constexpr uint32_t kInfinity<float> = 0x7f800000;
template <>
constexpr uint32_t kInfinity<f16> = 0x7c00;
template <>
constexpr uint32_t kInfinity<bf16> = 0x7f80;

// The unsigned integer of an element's size.
template <class T>
using bits_type =
    std::conditional_t<sizeof(T) == 8, uint64_t,
                       std::conditional_t<sizeof(T) == 4, uint32_t,
                                          std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;

template <class T>
static __device__ __forceinline__ key_of<T> to_key(T x, bool descending) {
  using K = key_of<T>;
  const K bits = bits_of<bits_type<T>>(x);
  K key = bits;
  if constexpr (number<T>::is_float) {
    const K magnitude = bits & (kKeyMask<T> >> 1);
    key = bits & kKeyTop<T> ? ~bits & kKeyMask<T> : bits | kKeyTop<T>;
    if (magnitude == 0) key = kKeyTop<T>;
    if (magnitude > kInfinity<T>) key = kKeyMask<T>;
  } else if constexpr (std::is_same<T, truth>::value) {
    key = bits != 0;
  } else if constexpr (sizeof(T) > 1) {
    key = bits ^ kKeyTop<T>;
  }
  return descending ? ~key & kKeyMask<T> : key;
}

// The element of a key. Which zero and which NaN it was is not to be seen in a key: those come from
// memory, where `from` is.
template <class T>
static __device__ __forceinline__ T of_key(key_of<T> key, bool descending, const T *from) {
  using K = key_of<T>;
  if (descending) key = ~key & kKeyMask<T>;
  if constexpr (number<T>::is_float) {
    if (key == kKeyTop<T> || key == kKeyMask<T>) return *from;
    const K bits = key & kKeyTop<T> ? key ^ kKeyTop<T> : ~key & kKeyMask<T>;
    return bits_of<T>(static_cast<bits_type<T>>(bits));
  } else if constexpr (sizeof(T) > 1) {
    return bits_of<T>(static_cast<bits_type<T>>(key ^ kKeyTop<T>));
  } else {
    return bits_of<T>(static_cast<bits_type<T>>(key));
  }
}

// ---- Entries: the least comes first. An entry of a narrow key is one word.

template <class K>
struct entry;
template <>
struct entry<uint32_t> {
  uint64_t word;
};
template <>
struct entry<uint64_t> {
  uint64_t word;
  uint32_t place;
};

static __device__ __forceinline__ entry<uint32_t> entry_of(uint32_t key, uint32_t place) {
  return {static_cast<uint64_t>(key) << 32 | place};
}
static __device__ __forceinline__ entry<uint64_t> entry_of(uint64_t key, uint32_t place) {
  return {key, place};
}

static __device__ __forceinline__ uint32_t key_in(entry<uint32_t> x) {
  return static_cast<uint32_t>(x.word >> 32);
}
static __device__ __forceinline__ uint64_t key_in(entry<uint64_t> x) {
  return x.word;
}
static __device__ __forceinline__ uint32_t place_in(entry<uint32_t> x) {
  return static_cast<uint32_t>(x.word);
}
static __device__ __forceinline__ uint32_t place_in(entry<uint64_t> x) {
  return x.place;
}

static __device__ __forceinline__ bool before(entry<uint32_t> a, entry<uint32_t> b) {
  return a.word < b.word;
}
static __device__ __forceinline__ bool before(entry<uint64_t> a, entry<uint64_t> b) {
  return a.word < b.word || (a.word == b.word && a.place < b.place);
}

// Comes behind all there can be: a row has fewer than 2^31 elements.
template <class K>
static __device__ __forceinline__ entry<K> no_entry() {
  return entry_of(static_cast<K>(~K{0}), ~0u);
}

static __device__ __forceinline__ entry<uint32_t> lane_xor(entry<uint32_t> x, int with) {
  return {lane_xor(static_cast<unsigned long long>(x.word), with)};
}
static __device__ __forceinline__ entry<uint64_t> lane_xor(entry<uint64_t> x, int with) {
  return {lane_xor(static_cast<unsigned long long>(x.word), with), lane_xor(x.place, with)};
}
static __device__ __forceinline__ entry<uint32_t> lane_at(entry<uint32_t> x, int lane) {
  return {__shfl_sync(~0u, static_cast<unsigned long long>(x.word), lane)};
}
static __device__ __forceinline__ entry<uint64_t> lane_at(entry<uint64_t> x, int lane) {
  return {__shfl_sync(~0u, static_cast<unsigned long long>(x.word), lane),
          __shfl_sync(~0u, x.place, lane)};
}

// ---- A warp's 32 entries, one a lane.

template <class E>
static __device__ __forceinline__ E lesser(E a, E b) {
  return before(b, a) ? b : a;
}

template <class E>
static __device__ __forceinline__ E exchange(E x, int with, bool keep_lesser) {
  const E other = lane_xor(x, with);
  return before(other, x) == keep_lesser ? other : x;
}

// Puts entries that rise and then fall, or fall and then rise, into order.
template <class E>
static __device__ __forceinline__ E warp_order_bitonic(E x, int lane) {
  for (int with = 16; with > 0; with /= 2) x = exchange(x, with, (lane & with) == 0);
  return x;
}

template <class E>
static __device__ __forceinline__ E warp_order(E x, int lane) {
  for (int size = 2; size <= 32; size *= 2) {
    for (int with = size / 2; with > 0; with /= 2) {
      x = exchange(x, with, ((lane & with) == 0) == ((lane & size) == 0));
    }
  }
  return x;
}

// ---- Rows along the last dimension, and where what is found in them goes.

struct selection {
  plan<3> rows;  // values, indices, input
  uint32_t length, k;
  int64_t values_step, indices_step, in_step;
  int64_t first;  // number of the first place
  int32_t descending;
  int32_t narrow;  // indices are i32
};

// Writes what comes `rank`th in a row. `at` is where the row lies in each operand.
template <class T>
static __device__ __forceinline__ void put_entry(const selection &s, const int64_t (&at)[3],
                                                 uint32_t rank, entry<key_of<T>> x, const T *in,
                                                 T *values, void *indices) {
  const uint32_t place = place_in(x);
  if (values) {
    values[at[0] + rank * s.values_step] =
        of_key<T>(key_in(x), s.descending, in + at[2] + place * s.in_step);
  }
  if (!indices) return;
  const int64_t to = at[1] + rank * s.indices_step;
  if (s.narrow) {
    static_cast<int32_t *>(indices)[to] = static_cast<int32_t>(place + s.first);
  } else {
    static_cast<int64_t *>(indices)[to] = place + s.first;
  }
}

// Compares the views: `values` and `indices` have the input's shape, but k where it has the length.
static inline int selection_make(selection *s, const struct kernel_view *values,
                                 const struct kernel_view *indices, const struct kernel_view *in,
                                 int64_t first) {
  const struct kernel_view *shape = values ? values : indices;
  if (!shape || !view_ok(shape) || !view_ok(in) || in->rank < 1) return KERNEL_BAD_SHAPE;
  if (values && indices && (!view_ok(indices) || !same_shape(values, indices))) {
    return KERNEL_BAD_SHAPE;
  }
  if (shape->rank != in->rank) return KERNEL_BAD_SHAPE;
  const int last = in->rank - 1;
  if (in->shape[last] > INT32_MAX || shape->shape[last] > in->shape[last]) return KERNEL_BAD_SHAPE;
  if (!dtype_ok(in) || (values && values->dtype != in->dtype)) return KERNEL_BAD_DTYPE;
  if (indices && indices->dtype != KERNEL_I64 && indices->dtype != KERNEL_I32) {
    return KERNEL_BAD_DTYPE;
  }
  layout<3> l = {};
  for (int i = last - 1; i >= 0; --i) {
    if (shape->shape[i] != in->shape[i]) return KERNEL_BAD_SHAPE;
    if (in->shape[i] == 1) continue;
    l.shape[l.rank] = in->shape[i];
    l.stride[0][l.rank] = values ? values->stride[i] : 0;
    l.stride[1][l.rank] = indices ? indices->stride[i] : 0;
    l.stride[2][l.rank++] = in->stride[i];
  }
  layout_simplify(&l, true);
  if (!plan_elements(&s->rows, l)) return KERNEL_BAD_SHAPE;
  s->length = static_cast<uint32_t>(in->shape[last]);
  s->k = static_cast<uint32_t>(shape->shape[last]);
  s->values_step = values ? values->stride[last] : 0;
  s->indices_step = indices ? indices->stride[last] : 0;
  s->in_step = in->stride[last];
  s->first = first;
  s->narrow = indices && indices->dtype == KERNEL_I32;
  return KERNEL_OK;
}
