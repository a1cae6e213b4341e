// Copies, conversions, choices by a condition, and values out of nothing.
#include "elementwise.h"

template <class O, class T>
struct convert_fn {
  __device__ O operator()(T a) const {
    return convert<O>(load(a));
  }
};

template <class T>
struct same_fn {
  __device__ T operator()(T a) const {
    return a;
  }
};

template <class T>
struct where_fn {
  __device__ T operator()(truth condition, T a, T b) const {
    return load(condition) ? a : b;
  }
};

template <class T>
struct fill_fn {
  T value;
  __device__ T operator()() const {
    return value;
  }
};

int kernel_copy(const struct kernel_view *out, const struct kernel_view *in, void *stream) {
  if (!dtype_ok(out) || !dtype_ok(in)) return KERNEL_BAD_DTYPE;
  if (out->dtype == in->dtype) {
    return with_size(out->dtype, [&](auto of) {
      using T = element_of<decltype(of)>;
      return map<T, T, none, none>(same_fn<T>(), same_fn<T>(), stream, out, in);
    });
  }
  return with_dtype(out->dtype, everything(), [&](auto to) {
    return with_dtype(in->dtype, everything(), [&](auto from) -> int {
      using O = element_of<decltype(to)>;
      using T = element_of<decltype(from)>;
      if constexpr (std::is_same<O, T>::value) return KERNEL_BAD_DTYPE;
      convert_fn<O, T> f;
      return map<O, T, none, none>(f, f, stream, out, in);
    });
  });
}

int kernel_where(const struct kernel_view *out, const struct kernel_view *condition,
                 const struct kernel_view *a, const struct kernel_view *b, void *stream) {
  if (!dtype_ok(out) || condition->dtype != KERNEL_BOOL) return KERNEL_BAD_DTYPE;
  if (a->dtype != out->dtype || b->dtype != out->dtype) return KERNEL_BAD_DTYPE;
  return with_size(out->dtype, [&](auto of) {
    using T = element_of<decltype(of)>;
    return map<T, truth, T, T>(where_fn<T>(), where_fn<T>(), stream, out, condition, a, b);
  });
}

int kernel_fill(const struct kernel_view *out, double value, void *stream) {
  return with_dtype(out->dtype, everything(), [&](auto to) {
    using T = element_of<decltype(to)>;
    fill_fn<T> f{convert<T>(value)};
    return map<T, none, none, none>(f, f, stream, out);
  });
}

// ---- Values that depend on an element's number. An element is a unit of the plan, in row-major
// order.

template <class T, class N>
static __global__ void __launch_bounds__(256)
    arange(plan<1> p, T *out, int64_t first, N start, N step) {
  const share mine = share_of(p.units);
  for (uint32_t unit = mine.first; unit < mine.end; unit += mine.step) {
    int64_t at[1];
    plan_at(p, unit, at);
    // By one rounding each: without it a fused multiplication would make other numbers on a GPU.
    N product = static_cast<N>(first + unit) * step;
#ifdef __CUDA_ARCH__
    if constexpr (std::is_same<N, double>::value)
      product = __dmul_rn(static_cast<N>(first + unit), step);
#endif
    out[at[0]] = convert<T>(start + product);
  }
}

int kernel_arange(const struct kernel_view *out, double start, double step, void *stream) {
  return with_dtype(out->dtype, numbers(), [&](auto to) {
    using T = element_of<decltype(to)>;
    using N = std::conditional_t<number<T>::is_float, double, int64_t>;
    return map_numbered(out, [&](const plan<1> &p, int64_t offset, int64_t first) {
      SIMT_LAUNCH((arange<T, N>), grid_for(p.units, 1), kBlock, 0, stream, p,
                  static_cast<T *>(out->data) + offset, first, convert<N>(start), convert<N>(step));
      return simt_last_error();
    });
  });
}
