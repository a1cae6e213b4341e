// Views made ready for kernels, on the side of the caller: shapes are compared, inputs broadcast,
// dimensions joined where memory allows it, so that most views become one row or a few, and the
// launch split where an index would not fit 31 bits.
#pragma once

#include "kernels.h"
#include "number.h"

constexpr int kMaxRank = 8;

static inline bool view_ok(const struct kernel_view *view) {
  if (!view || view->rank < 0 || view->rank > kMaxRank) return false;
  for (int i = 0; i < view->rank; ++i) {
    if (view->shape[i] < 0) return false;
  }
  return true;
}

static inline bool dtype_ok(const struct kernel_view *view) {
  return view->dtype >= 0 && view->dtype < KERNEL_DTYPES;
}

static inline int64_t view_count(const struct kernel_view *view) {
  int64_t count = 1;
  for (int i = 0; i < view->rank; ++i) count *= view->shape[i];
  return count;
}

static inline bool same_shape(const struct kernel_view *a, const struct kernel_view *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; ++i) {
    if (a->shape[i] != b->shape[i]) return false;
  }
  return true;
}

static inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Division of numbers below 2^31 by one that is known at the launch: a multiplication and a shift
// (T. Granlund, P. Montgomery, Division by Invariant Integers using Multiplication).
struct divider {
  uint32_t by, factor, shift;
};

static inline struct divider divider_of(uint32_t by) {
  uint32_t shift = 0;
  while (shift < 32 && (1ull << shift) < by) ++shift;
  uint64_t factor = ((1ull << 32) * ((1ull << shift) - by)) / by + 1;
  return {by, static_cast<uint32_t>(factor), shift};
}

static __device__ __forceinline__ uint32_t divide(uint32_t x, const struct divider &d) {
#ifdef __CUDA_ARCH__
  return (__umulhi(x, d.factor) + x) >> d.shift;
#else
  return static_cast<uint32_t>(((uint64_t{x} * d.factor >> 32) + x) >> d.shift);
#endif
}

// N operands over one shape, the output first. Dimension 0 is the innermost: the one in which the
// output's stride is least. Strides count elements.
template <int N>
struct layout {
  int rank;
  int64_t shape[kMaxRank];
  int64_t stride[N][kMaxRank];
};

template <int N>
static int64_t layout_count(const layout<N> &l) {
  int64_t count = 1;
  for (int i = 0; i < l.rank; ++i) count *= l.shape[i];
  return count;
}

template <int N>
static void layout_swap(layout<N> *l, int i, int j) {
  int64_t kept = l->shape[i];
  l->shape[i] = l->shape[j];
  l->shape[j] = kept;
  for (int n = 0; n < N; ++n) {
    kept = l->stride[n][i];
    l->stride[n][i] = l->stride[n][j];
    l->stride[n][j] = kept;
  }
}

template <int N>
static bool layout_joins(const layout<N> &l, int inner, int outer) {
  for (int n = 0; n < N; ++n) {
    if (l.stride[n][outer] != l.stride[n][inner] * l.shape[inner]) return false;
  }
  return true;
}

static inline int64_t magnitude_of(int64_t x) {
  return x < 0 ? -x : x;
}

// Orders dimensions by the output's stride, unless their order counts, and joins those that lie one
// behind the other in all operands.
template <int N>
static void layout_simplify(layout<N> *l, bool ordered) {
  for (int i = 1; i < l->rank && !ordered; ++i) {
    for (int j = i; j > 0 && magnitude_of(l->stride[0][j]) < magnitude_of(l->stride[0][j - 1]);
         --j) {
      layout_swap(l, j, j - 1);
    }
  }
  int last = 0;
  for (int i = 1; i < l->rank; ++i) {
    if (layout_joins(*l, last, i)) {
      l->shape[last] *= l->shape[i];
      continue;
    }
    ++last;
    if (last != i) layout_swap(l, last, i);
  }
  if (l->rank > 0) l->rank = last + 1;
}

// views[0] is the output; the others are broadcast to its shape. `ordered` keeps the row-major
// order of the output's elements.
template <int N>
static int layout_make(layout<N> *l, const struct kernel_view *const (&views)[N],
                       bool ordered = false) {
  for (int n = 0; n < N; ++n) {
    if (!view_ok(views[n]) || views[n]->rank > views[0]->rank) return KERNEL_BAD_SHAPE;
  }
  const struct kernel_view *out = views[0];
  l->rank = 0;
  for (int i = out->rank - 1; i >= 0; --i) {
    for (int n = 1; n < N; ++n) {
      int j = i - (out->rank - views[n]->rank);
      if (j >= 0 && views[n]->shape[j] != out->shape[i] && views[n]->shape[j] != 1)
        return KERNEL_BAD_SHAPE;
    }
    if (out->shape[i] == 1) continue;
    l->shape[l->rank] = out->shape[i];
    for (int n = 0; n < N; ++n) {
      int j = i - (out->rank - views[n]->rank);
      bool steps = j >= 0 && views[n]->shape[j] == out->shape[i];
      l->stride[n][l->rank] = steps ? views[n]->stride[j] : 0;
    }
    ++l->rank;
  }
  if (l->rank == 0) {
    l->rank = 1;
    l->shape[0] = 1;
    for (int n = 0; n < N; ++n) l->stride[n][0] = 1;
  }
  layout_simplify(l, ordered);
  return KERNEL_OK;
}

// Calls f(part of the layout, the offset of each operand in elements) for parts of fewer than 2^30
// elements.
template <int N, class F>
static int layout_parts(const layout<N> &l, const int64_t (&offset)[N], const F &f) {
  int64_t count = layout_count(l);
  if (count == 0) return KERNEL_OK;
  if (count < 1 << 30) return f(l, offset);
  // The outermost, so that parts follow each other in row-major order.
  int outer = l.rank - 1;
  while (l.shape[outer] == 1) --outer;
  layout<N> part = l;
  part.shape[outer] = l.shape[outer] / 2;
  if (part.shape[outer] > 64) part.shape[outer] -= part.shape[outer] % 64;
  int status = layout_parts(part, offset, f);
  if (status) return status;
  int64_t second[N];
  for (int n = 0; n < N; ++n) second[n] = offset[n] + part.shape[outer] * l.stride[n][outer];
  part.shape[outer] = l.shape[outer] - part.shape[outer];
  return layout_parts(part, second, f);
}
