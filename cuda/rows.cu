// What is done to each row by itself: softmax, layer norm, root mean square norm.
//
// On a GPU a warp has a row of up to 4 KiB, a block one of up to 32 KiB: it is read once, kept in
// registers, and written once. A longer row, or one whose elements are no neighbours, is read again
// for each pass, out of the caches.
#include "exponential.h"
#include "team.h"

enum row_kind { SOFTMAX, LOG_SOFTMAX, LAYER_NORM, RMS_NORM };

struct row_options {
  int32_t length;
  int64_t out_step, in_step, weight_step, bias_step;
  double epsilon;
};

constexpr int kPacks = 8;  // that a thread holds

// A row of V * kPacks elements a lane at most.
template <int TEAM, int V, class T>
struct held_row {
  static constexpr bool kKeepsInOutput = false;
  static constexpr bool kVectorsNear = true;  // whether weight and bias step by one
  wide<T> x[V * kPacks];

  __device__ __forceinline__ held_row(const T *row, const row_options &o, int lane) {
    SIMT_UNROLL_ALL
    for (int k = 0; k < kPacks; ++k) {
      const int first = (k * TEAM + lane) * V;
      if (first >= o.length) break;
      const pack<T, V> p = *reinterpret_cast<const pack<T, V> *>(row + first);
      for (int j = 0; j < V; ++j) x[k * V + j] = load(p.at[j]);
    }
  }
  template <class F, class M>
  __device__ __forceinline__ wide<T> fold(const row_options &o, int lane, wide<T> c, const F &f,
                                          const M &merge) const {
    SIMT_UNROLL_ALL
    for (int k = 0; k < kPacks; ++k) {
      if ((k * TEAM + lane) * V >= o.length) break;
      for (int j = 0; j < V; ++j) c = merge(c, f(x[k * V + j]));
    }
    return c;
  }
  // Writes f(value, index).
  template <class F>
  __device__ __forceinline__ void write(T *out, const row_options &o, int lane, const F &f) const {
    SIMT_UNROLL_ALL
    for (int k = 0; k < kPacks; ++k) {
      const int first = (k * TEAM + lane) * V;
      if (first >= o.length) break;
      pack<T, V> p;
      for (int j = 0; j < V; ++j) p.at[j] = convert<T>(f(x[k * V + j], first + j));
      *reinterpret_cast<pack<T, V> *>(out + first) = p;
    }
  }
};

// A row that is read anew each time. Near: its elements are neighbours.
template <int TEAM, bool Near, class T>
struct read_row {
  // Whether what is computed on the way may be kept in the output, as it is there without rounding,
  // and read again by the only thread that there is.
  static constexpr bool kKeepsInOutput = kSerial && Near && !is_half<T>;
  static constexpr bool kVectorsNear = false;
  const T *row;

  __device__ __forceinline__ read_row(const T *from, const row_options &, int) : row(from) {}
  // The processor carries several along, which do not wait for each other.
  template <class F, class M>
  __device__ __forceinline__ wide<T> fold(const row_options &o, int lane, wide<T> c, const F &f,
                                          const M &merge) const {
    if constexpr (kSerial && Near) {
      constexpr int kAtOnce = 16;
      wide<T> all[kAtOnce];
      for (int k = 0; k < kAtOnce; ++k) all[k] = c;
      int i = 0;
      for (; i + kAtOnce <= o.length; i += kAtOnce) {
        for (int k = 0; k < kAtOnce; ++k) all[k] = merge(all[k], f(load(row[i + k])));
      }
      for (; i < o.length; ++i) all[0] = merge(all[0], f(load(row[i])));
      for (int step = 1; step < kAtOnce; step *= 2) {
        for (int k = 0; k < kAtOnce; k += 2 * step) all[k] = merge(all[k], all[k + step]);
      }
      return all[0];
    }
    SIMT_UNROLL
    for (int i = lane; i < o.length; i += TEAM) {
      c = merge(c, f(load(row[i * (Near ? 1 : o.in_step)])));
    }
    return c;
  }
  template <class F>
  __device__ __forceinline__ void write(T *out, const row_options &o, int lane, const F &f) const {
    SIMT_APART
    for (int i = lane; i < o.length; i += TEAM) {
      out[i * (Near ? 1 : o.out_step)] = convert<T>(f(load(row[i * (Near ? 1 : o.in_step)]), i));
    }
  }
};

template <class W>
static __device__ __forceinline__ W add(W a, W b) {
  return a + b;
}
// NaN if one is.
template <class W>
static __device__ __forceinline__ W most_of(W a, W b) {
  return a > b || !(a == a) ? a : b;
}

template <int Kind, int TEAM, class Row, class T>
static __device__ __forceinline__ void do_row(const Row &row, const row_options &o, int lane,
                                              T *out, bool is_there, const T *weight,
                                              const T *bias) {
  using W = wide<T>;
  if constexpr (Kind == SOFTMAX || Kind == LOG_SOFTMAX) {
    const auto same = [](W x) { return x; };
    W most = row.fold(o, lane, W(-INFINITY), same, most_of<W>);
    most = team_merge<TEAM>(most, most_of<W>);
    if constexpr (Kind == SOFTMAX && Row::kKeepsInOutput) {
      row.write(out, o, lane, [&](W x, int) { return exponential(x - most); });
      const Row made(out, o, lane);
      const W scale = W(1) / made.fold(o, lane, W(0), same, add<W>);
      made.write(out, o, lane, [&](W x, int) { return x * scale; });
      return;
    }
    W sum = row.fold(
        o, lane, W(0), [&](W x) { return exponential(x - most); }, add<W>);
    sum = team_merge<TEAM>(sum, add<W>);
    if (!is_there) return;
    if constexpr (Kind == SOFTMAX) {
      const W scale = W(1) / sum;
      row.write(out, o, lane, [&](W x, int) { return exponential(x - most) * scale; });
    } else {
      const W down = log(sum);
      row.write(out, o, lane, [&](W x, int) { return (x - most) - down; });
    }
  } else {
    W mean = 0;
    const W count = static_cast<W>(o.length);
    if constexpr (Kind == LAYER_NORM) {
      mean = row.fold(
          o, lane, W(0), [](W x) { return x; }, add<W>);
      mean = team_merge<TEAM>(mean, add<W>) / count;
    }
    W square = row.fold(
        o, lane, W(0), [&](W x) { return (x - mean) * (x - mean); }, add<W>);
    square = team_merge<TEAM>(square, add<W>);
    if (!is_there) return;
    const W scale = W(1) / sqrt(square / count + static_cast<W>(o.epsilon));
    row.write(out, o, lane, [&](W x, int i) {
      W y = (x - mean) * scale;
      if (weight) y *= load(weight[i * (Row::kVectorsNear ? 1 : o.weight_step)]);
      return bias ? y + load(bias[i * (Row::kVectorsNear ? 1 : o.bias_step)]) : y;
    });
  }
}

// V packs of a row that is held, or 0 for one that is read again.
template <int Kind, int TEAM, int V, bool Near, class T>
static __global__ void __launch_bounds__(256)
    each_row(plan<2> rows, row_options o, T *out, const T *in, const T *weight, const T *bias) {
  const turn mine = turn_of<TEAM>(rows.units);
  for (uint32_t round = 0; round < mine.rounds; ++round) {
    const uint32_t number = mine.first + round * mine.step;
    const bool is_there = number < mine.end;
    int64_t at[2] = {0, 0};
    // A team without a row goes through the first one with the others, and writes nothing.
    plan_at(rows, is_there ? number : 0, at);
    using Row =
        std::conditional_t<V != 0, held_row<TEAM, V != 0 ? V : 1, T>, read_row<TEAM, Near, T>>;
    const Row row(in + at[1], o, mine.lane);
    do_row<Kind, TEAM>(row, o, mine.lane, out + at[0], is_there, weight, bias);
  }
}

template <int Kind, class T>
static int launch_rows(const plan<2> &rows, const row_options &o, bool packed, T *out, const T *in,
                       const T *weight, const T *bias, void *stream) {
  constexpr int V = kPackBytes / static_cast<int>(sizeof(T));
  const unsigned warps = grid_for_rows<kWarp>(rows.units, o.length);
  const unsigned blocks = grid_for_rows<kBlock>(rows.units, o.length);
  if (!kSerial && packed && o.length <= kWarp * V * kPacks) {
    SIMT_LAUNCH((each_row < Kind, kWarp, kSerial ? 0 : V, true, T >), warps, kBlock, 0, stream,
                rows, o, out, in, weight, bias);
  } else if (!kSerial && packed && o.length <= kBlock * V * kPacks) {
    SIMT_LAUNCH((each_row < Kind, kBlock, kSerial ? 0 : V, true, T >), blocks, kBlock, 0, stream,
                rows, o, out, in, weight, bias);
  } else if (o.in_step == 1 && o.out_step == 1) {
    SIMT_LAUNCH((each_row<Kind, kBlock, 0, true, T>), blocks, kBlock, 0, stream, rows, o, out, in,
                weight, bias);
  } else {
    SIMT_LAUNCH((each_row<Kind, kWarp, 0, false, T>), warps, kBlock, 0, stream, rows, o, out, in,
                weight, bias);
  }
  return simt_last_error();
}

// ---- On the caller's side.

// Takes the dimension `axis` out of the views; the rest are the rows.
static int rows_make(plan<2> *rows, row_options *o, bool *packed, const struct kernel_view *out,
                     const struct kernel_view *in, int axis) {
  if (!view_ok(out) || !view_ok(in) || !same_shape(out, in)) return KERNEL_BAD_SHAPE;
  if (axis < 0 || axis >= in->rank || in->shape[axis] > INT32_MAX) return KERNEL_BAD_SHAPE;
  layout<2> l = {};
  for (int i = in->rank - 1; i >= 0; --i) {
    if (i == axis || in->shape[i] == 1) continue;
    l.shape[l.rank] = in->shape[i];
    l.stride[0][l.rank] = out->stride[i];
    l.stride[1][l.rank++] = in->stride[i];
  }
  layout_simplify(&l, false);
  if (!plan_elements(rows, l)) return KERNEL_BAD_SHAPE;
  o->length = static_cast<int32_t>(in->shape[axis]);
  o->out_step = out->stride[axis];
  o->in_step = in->stride[axis];
  const int64_t size = dtype_size(in->dtype), width = kPackBytes / size;
  *packed = o->out_step == 1 && o->in_step == 1 && o->length % width == 0 &&
            (reinterpret_cast<uintptr_t>(out->data) | reinterpret_cast<uintptr_t>(in->data)) %
                    kPackBytes ==
                0;
  for (int d = 0; d < l.rank; ++d) {
    *packed = *packed && l.stride[0][d] % width == 0 && l.stride[1][d] % width == 0;
  }
  return KERNEL_OK;
}

// Whether a vector fits the rows; its step is left in *step.
static bool vector_fits(const struct kernel_view *vector, const struct kernel_view *in,
                        int64_t *step) {
  *step = 0;
  if (!vector) return true;
  if (vector->rank != 1 || vector->shape[0] != in->shape[in->rank - 1]) return false;
  *step = vector->stride[0];
  return true;
}

template <int Kind>
static int run_rows(const struct kernel_view *out, const struct kernel_view *in,
                    const struct kernel_view *weight, const struct kernel_view *bias, int axis,
                    double epsilon, void *stream) {
  if (out->dtype != in->dtype || (weight && weight->dtype != in->dtype) ||
      (bias && bias->dtype != in->dtype)) {
    return KERNEL_BAD_DTYPE;
  }
  if (!dtype_ok(in)) return KERNEL_BAD_DTYPE;
  plan<2> rows;
  row_options o = {};
  bool packed;
  int status = rows_make(&rows, &o, &packed, out, in, axis);
  if (status) return status;
  if (!vector_fits(weight, in, &o.weight_step) || !vector_fits(bias, in, &o.bias_step)) {
    return KERNEL_BAD_SHAPE;
  }
  packed = packed && (!weight || o.weight_step == 1) && (!bias || o.bias_step == 1);
  o.epsilon = epsilon;
  return with_dtype(in->dtype, floats(), [&](auto of) {
    using T = element_of<decltype(of)>;
    if (rows.units == 0 || o.length == 0) return int{KERNEL_OK};
    return launch_rows<Kind, T>(rows, o, packed, static_cast<T *>(out->data),
                                static_cast<const T *>(in->data),
                                weight ? static_cast<const T *>(weight->data) : nullptr,
                                bias ? static_cast<const T *>(bias->data) : nullptr, stream);
  });
}

int kernel_softmax(const struct kernel_view *out, const struct kernel_view *in, int axis,
                   int logarithm, void *stream) {
  return logarithm ? run_rows<LOG_SOFTMAX>(out, in, nullptr, nullptr, axis, 0, stream)
                   : run_rows<SOFTMAX>(out, in, nullptr, nullptr, axis, 0, stream);
}

int kernel_layernorm(const struct kernel_view *out, const struct kernel_view *in,
                     const struct kernel_view *weight, const struct kernel_view *bias,
                     double epsilon, void *stream) {
  return run_rows<LAYER_NORM>(out, in, weight, bias, in->rank - 1, epsilon, stream);
}

int kernel_rmsnorm(const struct kernel_view *out, const struct kernel_view *in,
                   const struct kernel_view *weight, double epsilon, void *stream) {
  return run_rows<RMS_NORM>(out, in, weight, nullptr, in->rank - 1, epsilon, stream);
}
