// Reductions over any dimensions.
//
// A view is taken apart into the dimensions that are kept and those that are reduced. Then
//   rows      a warp or a block reduces each row; neighbours in memory are loaded as packs
//   columns   where neighbours in memory belong to different results: a thread has a column
// Where there are fewer rows than the device can work on at once, each is split over several
// blocks, which leave what they found in the workspace for a second, small kernel.
#include "exponential.h"
#include "team.h"

// What is carried along: an index with its value, or a maximum with the sum of exponentials
// relative to it.
template <class V>
struct found {
  V value;
  int64_t at;
};
template <class V>
struct scaled {
  V most, sum;
};

template <class V>
static __device__ __forceinline__ found<V> lane_xor(found<V> x, int with) {
  return {lane_xor(x.value, with), lane_xor(x.at, with)};
}
template <class V>
static __device__ __forceinline__ scaled<V> lane_xor(scaled<V> x, int with) {
  return {lane_xor(x.most, with), lane_xor(x.sum, with)};
}

template <class T>
static __device__ __forceinline__ T lowest(bool highest) {
  if constexpr (number<T>::is_float) {
    return highest ? T(INFINITY) : T(-INFINITY);
  } else if constexpr (sizeof(T) == 8) {
    return highest ? INT64_MAX : INT64_MIN;
  } else if constexpr (sizeof(T) == 4) {
    return highest ? INT32_MAX : INT32_MIN;
  } else {
    return highest ? 255 : 0;
  }
}

// Each operation: what is carried (of `wide`), one to begin with, with an element, two merged, the
// end.
template <class T>
struct sum_of {
  using wide_t = std::conditional_t<number<T>::is_float, wide<T>, int64_t>;
  using carried = wide_t;
  using result = std::conditional_t<number<T>::is_float, T, int64_t>;
  static __device__ carried begin() {
    return 0;
  }
  static __device__ carried with(carried c, wide<T> x, int64_t) {
    return merge(c, static_cast<carried>(x));
  }
  static __device__ carried merge(carried a, carried b) {
    if constexpr (number<T>::is_float) return a + b;
    return static_cast<carried>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
  static __device__ result end(carried c, double) {
    return convert<result>(c);
  }
};

template <class T>
struct mean_of : sum_of<T> {
  static __device__ T end(wide<T> c, double count) {
    return convert<T>(c / static_cast<wide<T>>(count));
  }
};

template <class T>
struct product_of : sum_of<T> {
  using carried = typename sum_of<T>::carried;
  static __device__ carried begin() {
    return 1;
  }
  static __device__ carried with(carried c, wide<T> x, int64_t) {
    return merge(c, static_cast<carried>(x));
  }
  static __device__ carried merge(carried a, carried b) {
    if constexpr (number<T>::is_float) return a * b;
    return static_cast<carried>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};

// `a` if it is further out than `b`, or NaN.
template <bool Highest, class V>
static __device__ __forceinline__ bool beyond(V a, V b) {
  return (Highest ? a > b : a < b) || !(a == a);
}

template <bool Highest, class T>
struct extreme_of {
  using carried = wide<T>;
  using result = T;
  static __device__ carried begin() {
    return lowest<carried>(!Highest);
  }
  static __device__ carried with(carried c, wide<T> x, int64_t) {
    return merge(c, x);
  }
  static __device__ carried merge(carried a, carried b) {
    return beyond<Highest>(a, b) ? a : b;
  }
  static __device__ result end(carried c, double) {
    return convert<T>(c);
  }
};

template <bool Highest, class T>
struct place_of {
  using carried = found<wide<T>>;
  using result = int64_t;
  static __device__ carried begin() {
    return {lowest<wide<T>>(!Highest), INT64_MAX};
  }
  static __device__ carried with(carried c, wide<T> x, int64_t at) {
    return merge(c, {x, at});
  }
  // Of equals, and of several NaN, the first.
  static __device__ carried merge(carried a, carried b) {
    const bool equal = a.value == b.value || (!(a.value == a.value) && !(b.value == b.value));
    if (equal) return a.at < b.at ? a : b;
    return beyond<Highest>(a.value, b.value) ? a : b;
  }
  static __device__ result end(carried c, double) {
    return c.at;
  }
};

template <class T>
struct logsumexp_of {
  using carried = scaled<wide<T>>;
  using result = T;
  static __device__ carried begin() {
    return {lowest<wide<T>>(false), 0};
  }
  static __device__ carried with(carried c, wide<T> x, int64_t) {
    return merge(c, {x, 1});
  }
  static __device__ carried merge(carried a, carried b) {
    if (a.most == b.most) return {a.most, a.sum + b.sum};  // also where both are infinite
    const carried high = beyond<true>(a.most, b.most) ? a : b;
    const carried low = beyond<true>(a.most, b.most) ? b : a;
    return {high.most, high.sum + low.sum * exponential(low.most - high.most)};
  }
  static __device__ result end(carried c, double) {
    return convert<T>(c.most + log(c.sum));
  }
};

template <bool All>
struct truth_of {
  using carried = int;
  using result = truth;
  static __device__ carried begin() {
    return All;
  }
  static __device__ carried with(carried c, bool x, int64_t) {
    return All ? c && x : c || x;
  }
  static __device__ carried merge(carried a, carried b) {
    return All ? a && b : a || b;
  }
  static __device__ result end(carried c, double) {
    return convert<truth>(c);
  }
};

// ---- Kernels. kept: operands are the result and the input. A row is split in `splits` parts; part
// s of row m leaves what it carries in partial[m * splits + s], if there is more than one.

struct parts {
  uint32_t splits;
  uint32_t length;  // elements of a row
  double count;
};

// With a result there for each part, or else the end of it.
template <class Op, class R>
static __device__ __forceinline__ void leave(typename Op::carried c, const parts &p, uint32_t row,
                                             uint32_t split, typename Op::carried *partial, R *out,
                                             int64_t at) {
  if (p.splits > 1) {
    partial[static_cast<int64_t>(row) * p.splits + split] = c;
  } else {
    out[at] = Op::end(c, p.count);
  }
}

// Accumulators that a thread has: one for each element of a pack, so that they do not wait for each
// other.
template <class T>
constexpr int kLanes = kSerial ? 16 : kPackBytes / static_cast<int>(sizeof(T));

// Of neighbours from `first` to before `end`, aligned to packs, the part that lane `lane` of TEAM
// has.
template <class Op, int TEAM, class T>
static __device__ __forceinline__ typename Op::carried gather_packed(const T *row, uint32_t first,
                                                                     uint32_t end, int lane) {
  constexpr int V = kLanes<T>;
  typename Op::carried c[V];
  for (int k = 0; k < V; ++k) c[k] = Op::begin();
  SIMT_UNROLL
  for (uint32_t i = first + static_cast<uint32_t>(lane) * V; i + V <= end; i += TEAM * V) {
    if constexpr (kSerial) {
      for (int k = 0; k < V; ++k) c[k] = Op::with(c[k], load(row[i + k]), i + k);
    } else {
      const pack<T, V> x = *reinterpret_cast<const pack<T, V> *>(row + i);
      for (int k = 0; k < V; ++k) c[k] = Op::with(c[k], load(x.at[k]), i + k);
    }
  }
  const uint32_t rest = first + (end - first) / V * V + static_cast<uint32_t>(lane);
  if constexpr (kSerial) {
    for (uint32_t i = rest; i < end; ++i) c[0] = Op::with(c[0], load(row[i]), i);
  } else if (rest < end) {
    c[0] = Op::with(c[0], load(row[rest]), rest);
  }
  for (int step = 1; step < V; step *= 2) {
    for (int k = 0; k + step < V; k += 2 * step) c[k] = Op::merge(c[k], c[k + step]);
  }
  return c[0];
}

// Operations that the processor does with runs of neighbours, the extreme of which it finds with
// vector instructions first. with(c, row, first, end) is c with a run.
constexpr uint32_t kRun = 512;

template <class Op>
struct by_runs {
  static constexpr bool is_so = false;
};

// Where it is counts only if it is further out than all before.
template <bool Highest, class T>
struct by_runs<place_of<Highest, T>> {
  static constexpr bool is_so = kSerial;
  using carried = typename place_of<Highest, T>::carried;

  static carried with(carried c, const T *row, uint32_t first, uint32_t end) {
    const wide<T> most = gather_packed<extreme_of<Highest, T>, 1>(row, first, end, 0);
    const carried merged = place_of<Highest, T>::merge(c, {most, first});
    if (merged.at == c.at && c.at != INT64_MAX) return c;
    uint32_t i = first;
    while (i + 1 < end && !(load(row[i]) == most) && load(row[i]) == load(row[i])) ++i;
    return {most, i};
  }
};

template <class T>
struct by_runs<logsumexp_of<T>> {
  static constexpr bool is_so = kSerial;
  using carried = typename logsumexp_of<T>::carried;

  static carried with(carried c, const T *row, uint32_t first, uint32_t end) {
    const wide<T> most = gather_packed<extreme_of<true, T>, 1>(row, first, end, 0);
    constexpr int V = kLanes<T>;
    wide<T> sums[V] = {};
    // One that is as large counts 1, also where both are infinite.
    const auto term = [&](T x) { return load(x) == most ? 1 : exponential(load(x) - most); };
    uint32_t i = first;
    for (; i + V <= end; i += V) {
      for (int k = 0; k < V; ++k) sums[k] += term(row[i + k]);
    }
    for (; i < end; ++i) sums[0] += term(row[i]);
    for (int k = 1; k < V; ++k) sums[0] += sums[k];
    return logsumexp_of<T>::merge(c, {most, sums[0]});
  }
};

// Packed: elements are neighbours, and the row is aligned to packs.
template <class Op, int TEAM, bool Packed, class T>
static __device__ __forceinline__ typename Op::carried gather_row(const T *row, const plan<1> &r,
                                                                  uint32_t first, uint32_t end,
                                                                  int lane) {
  typename Op::carried c = Op::begin();
  if constexpr (Packed && by_runs<Op>::is_so) {
    for (uint32_t i = first; i < end; i += kRun) {
      c = by_runs<Op>::with(c, row, i, end - i < kRun ? end : i + kRun);
    }
    return c;
  } else if constexpr (Packed) {
    return gather_packed<Op, TEAM>(row, first, end, lane);
  } else {
    SIMT_UNROLL
    for (uint32_t i = first + static_cast<uint32_t>(lane); i < end; i += TEAM) {
      int64_t at[1];
      plan_at(r, i, at);
      c = Op::with(c, load(row[at[0]]), i);
    }
    return c;
  }
}

template <class Op, int TEAM, bool Packed, class T>
static __global__ void __launch_bounds__(256)
    reduce_rows(plan<2> kept, plan<1> reduced, parts p, const T *in, typename Op::carried *partial,
                typename Op::result *out) {
  const turn mine = turn_of<TEAM>(kept.units * p.splits);
  for (uint32_t round = 0; round < mine.rounds; ++round) {
    const uint32_t part = mine.first + round * mine.step;
    const bool is_there = part < mine.end;
    const uint32_t row = is_there ? part / p.splits : 0, split = is_there ? part % p.splits : 0;
    // Parts begin at whole packs.
    const uint64_t unit = kLanes<T>, units = (p.length + unit - 1) / unit;
    const uint32_t first = static_cast<uint32_t>(units * split / p.splits * unit);
    uint32_t end = static_cast<uint32_t>(units * (split + 1) / p.splits * unit);
    if (end > p.length) end = p.length;
    int64_t at[2];
    plan_at(kept, row, at);
    typename Op::carried c =
        gather_row<Op, TEAM, Packed>(in + at[1], reduced, first, is_there ? end : first, mine.lane);
    c = team_merge<TEAM>(c, Op::merge);
    if (is_there && mine.lane == 0) leave<Op>(c, p, row, split, partial, out, at[0]);
  }
}

// Columns: the innermost kept dimension has stride 1 in the input. A thread of a GPU has one column
// and every kHeight-th element of it; neighbouring lanes have neighbouring columns. The processor's
// thread has kWidth columns.
constexpr int kWidth = kSerial ? 2048 : 1;
constexpr int kAcross = kSerial ? 1 : 32;
constexpr int kHeight = kSerial ? 1 : 8;

template <class Op, class T>
static __global__ void __launch_bounds__(256)
    reduce_columns(plan<2> kept, plan<1> reduced, parts p, uint32_t columns, const T *in,
                   typename Op::carried *partial, typename Op::result *out) {
  using carried = typename Op::carried;
  // Strips are kAcross * kWidth columns of one outer index.
  const uint32_t width = kAcross * kWidth, across = (columns + width - 1) / width;
  const uint32_t strips = kept.units / columns * across * p.splits;
  const uint32_t x = threadIdx.x % kAcross, y = threadIdx.x / kAcross;
  uint32_t strip = blockIdx.x, strip_end = strips, strip_step = gridDim.x;
  if (kSerial) {
    const share mine = share_of(strips);
    strip = mine.first, strip_end = mine.end, strip_step = 1;
  }
  for (; strip < strip_end; strip += strip_step) {
    const uint32_t split = strip % p.splits, place = strip / p.splits;
    const uint32_t column = place % across * width + x * kWidth;
    const uint32_t row = place / across * columns + column;
    const int wide = column >= columns
                         ? 0
                         : static_cast<int>(columns - column < kWidth ? columns - column : kWidth);
    const uint32_t first =
        static_cast<uint32_t>(static_cast<uint64_t>(p.length) * split / p.splits);
    const uint32_t end =
        static_cast<uint32_t>(static_cast<uint64_t>(p.length) * (split + 1) / p.splits);
    int64_t at[2] = {0, 0};
    if (wide) plan_at(kept, row, at);
    carried c[kWidth];
    for (int k = 0; k < kWidth; ++k) c[k] = Op::begin();
    if (wide) {
      SIMT_UNROLL
      for (uint32_t i = first + y; i < end; i += kHeight) {
        int64_t down[1];
        plan_at(reduced, i, down);
        const T *from = in + at[1] + down[0];
        if (wide == kWidth) {
          for (int k = 0; k < kWidth; ++k) c[k] = Op::with(c[k], load(from[k]), i);
        } else {
          for (int k = 0; k < wide; ++k) c[k] = Op::with(c[k], load(from[k]), i);
        }
      }
    }
    if constexpr (kHeight > 1) {
      __shared__ carried all[kHeight][kAcross];
      __syncthreads();
      all[y][x] = c[0];
      __syncthreads();
      if (y > 0 || !wide) continue;
      for (int j = 1; j < kHeight; ++j) c[0] = Op::merge(c[0], all[j][x]);
    }
    for (int k = 0; k < wide; ++k) {
      if (k > 0) plan_at(kept, row + static_cast<uint32_t>(k), at);
      leave<Op>(c[k], p, row + static_cast<uint32_t>(k), split, partial, out, at[0]);
    }
  }
}

// Merges the parts of each row.
template <class Op>
static __global__ void __launch_bounds__(256)
    reduce_parts(plan<2> kept, parts p, const typename Op::carried *partial,
                 typename Op::result *out) {
  const turn mine = turn_of<kWarp>(kept.units);
  for (uint32_t round = 0; round < mine.rounds; ++round) {
    const uint32_t row = mine.first + round * mine.step;
    typename Op::carried c = Op::begin();
    if (row < mine.end) {
      const typename Op::carried *from = partial + static_cast<int64_t>(row) * p.splits;
      for (uint32_t i = static_cast<uint32_t>(mine.lane); i < p.splits; i += kWarp) {
        c = Op::merge(c, from[i]);
      }
    }
    c = warp_merge(c, Op::merge);
    if (row >= mine.end || mine.lane != 0) continue;
    int64_t at[2];
    plan_at(kept, row, at);
    out[at[0]] = Op::end(c, p.count);
  }
}

// ---- On the caller's side.

// How a reduction is done.
struct scheme {
  plan<2> kept;      // result, input
  plan<1> reduced;   // input
  uint32_t columns;  // 0: by rows
  bool packed;
  struct parts parts;
};

// Joins neighbouring dimensions, keeping their order.
template <int N>
static void join(layout<N> *l) {
  layout_simplify(l, true);
}

constexpr int64_t kBusy = kSerial ? 16 : kFaithful ? 8 : 1024;  // blocks that keep a device busy
constexpr int64_t kLeast = kSerial ? 1 << 15 : kFaithful ? 64 : 1 << 11;  // elements worth a block

// `width`: what a block does for each of `length`.
static uint32_t splits_for(int64_t blocks, int64_t length, int64_t width) {
  const int64_t least = ceil_div(kLeast, width);
  if (blocks >= kBusy || length < 2 * least) return 1;
  int64_t splits = kBusy / (blocks > 0 ? blocks : 1);
  if (splits > length / least) splits = length / least;
  return static_cast<uint32_t>(splits > 1 ? splits : 1);
}

static int scheme_make(struct scheme *s, const struct kernel_view *out,
                       const struct kernel_view *in) {
  if (!view_ok(out) || !view_ok(in) || out->rank != in->rank) return KERNEL_BAD_SHAPE;
  layout<2> kept = {};
  layout<1> reduced = {};
  for (int i = in->rank - 1; i >= 0; --i) {
    if (in->shape[i] == out->shape[i]) {
      if (in->shape[i] == 1) continue;
      kept.shape[kept.rank] = in->shape[i];
      kept.stride[0][kept.rank] = out->stride[i];
      kept.stride[1][kept.rank++] = in->stride[i];
    } else if (out->shape[i] == 1) {
      reduced.shape[reduced.rank] = in->shape[i];
      reduced.stride[0][reduced.rank++] = in->stride[i];
    } else {
      return KERNEL_BAD_SHAPE;
    }
  }
  join(&kept);
  join(&reduced);
  if (!plan_elements(&s->kept, kept) || !plan_elements(&s->reduced, reduced)) {
    return KERNEL_BAD_SHAPE;
  }
  const int64_t length = s->reduced.units, rows = s->kept.units;
  s->parts.length = static_cast<uint32_t>(length);
  s->parts.count = static_cast<double>(length);
  const bool by_columns = rows > 0 && kept.rank > 0 && kept.stride[1][0] == 1 && length > 1 &&
                          !(reduced.rank == 1 && reduced.stride[0][0] == 1);
  s->columns = by_columns ? static_cast<uint32_t>(kept.shape[0]) : 0;
  const int64_t size = dtype_size(in->dtype);
  s->packed = length > 0 && reduced.rank <= 1 && (reduced.rank == 0 || reduced.stride[0][0] == 1);
  if (!kSerial) {
    s->packed = s->packed && reinterpret_cast<uintptr_t>(in->data) % kPackBytes == 0;
    for (int d = 0; d < kept.rank; ++d) {
      s->packed = s->packed && kept.stride[1][d] * size % kPackBytes == 0;
    }
  }
  const int64_t strip = kAcross * kWidth;
  const int64_t blocks = by_columns ? rows / kept.shape[0] * ceil_div(kept.shape[0], strip)
                                    : ceil_div(rows, length > 1024 ? 1 : kBlock / kWarp);
  // A GPU's block takes the columns of a strip at once, the processor's one behind the other.
  s->parts.splits = splits_for(blocks, length, kSerial && by_columns ? strip : 1);
  return KERNEL_OK;
}

template <class Op, class T>
static int reduce(const struct scheme &s, const struct kernel_view *out,
                  const struct kernel_view *in, void *workspace, uint64_t size, void *stream) {
  using carried = typename Op::carried;
  using result = typename Op::result;
  if (s.kept.units == 0) return KERNEL_OK;
  carried *partial = static_cast<carried *>(workspace);
  const uint64_t parts = uint64_t{s.kept.units} * s.parts.splits;
  if (s.parts.splits > 1 && size < parts * sizeof(carried)) return KERNEL_BAD_WORKSPACE;
  const T *from = static_cast<const T *>(in->data);
  result *to = static_cast<result *>(out->data);
  const int64_t each = ceil_div(s.parts.length, s.parts.splits);
  if (s.columns) {
    const int64_t strips =
        s.kept.units / s.columns * ceil_div(s.columns, kAcross * kWidth) * s.parts.splits;
    const unsigned grid = kSerial
                              ? grid_for(strips, each * kWidth)
                              : static_cast<unsigned>(strips < kGridLimit ? strips : kGridLimit);
    SIMT_LAUNCH((reduce_columns<Op, T>), grid, kAcross * kHeight, 0, stream, s.kept, s.reduced,
                s.parts, s.columns, from, partial, to);
  } else if (s.packed && each > 1024) {
    SIMT_LAUNCH((reduce_rows<Op, kBlock, true, T>),
                grid_for_rows<kBlock>(static_cast<int64_t>(parts), each), kBlock, 0, stream, s.kept,
                s.reduced, s.parts, from, partial, to);
  } else if (s.packed) {
    SIMT_LAUNCH((reduce_rows<Op, kWarp, true, T>),
                grid_for_rows<kWarp>(static_cast<int64_t>(parts), each), kBlock, 0, stream, s.kept,
                s.reduced, s.parts, from, partial, to);
  } else {
    SIMT_LAUNCH((reduce_rows<Op, kWarp, false, T>),
                grid_for_rows<kWarp>(static_cast<int64_t>(parts), each), kBlock, 0, stream, s.kept,
                s.reduced, s.parts, from, partial, to);
  }
  if (s.parts.splits > 1) {
    SIMT_LAUNCH((reduce_parts<Op>), grid_for_rows<kWarp>(s.kept.units, s.parts.splits), kBlock, 0,
                stream, s.kept, s.parts, partial, to);
  }
  return simt_last_error();
}

// Calls f(type<operation>(), type<element>()).
template <class F>
static int with_reduction(int op, int dtype, const F &f) {
  if (op == KERNEL_REDUCE_ANY || op == KERNEL_REDUCE_ALL) {
    if (dtype != KERNEL_BOOL) return KERNEL_BAD_DTYPE;
    return op == KERNEL_REDUCE_ALL ? f(type<truth_of<true>>(), type<truth>())
                                   : f(type<truth_of<false>>(), type<truth>());
  }
  if (op == KERNEL_MEAN || op == KERNEL_LOGSUMEXP) {
    return with_dtype(dtype, floats(), [&](auto of) {
      using T = element_of<decltype(of)>;
      return op == KERNEL_MEAN ? f(type<mean_of<T>>(), of) : f(type<logsumexp_of<T>>(), of);
    });
  }
  if (op == KERNEL_SUM && dtype == KERNEL_BOOL) return f(type<sum_of<uint8_t>>(), type<uint8_t>());
  return with_dtype(dtype, numbers(), [&](auto of) -> int {
    using T = element_of<decltype(of)>;
    switch (op) {
      case KERNEL_SUM:
        return f(type<sum_of<T>>(), of);
      case KERNEL_PRODUCT:
        return f(type<product_of<T>>(), of);
      case KERNEL_REDUCE_MIN:
        return f(type<extreme_of<false, T>>(), of);
      case KERNEL_REDUCE_MAX:
        return f(type<extreme_of<true, T>>(), of);
      case KERNEL_ARGMIN:
        return f(type<place_of<false, T>>(), of);
      case KERNEL_ARGMAX:
        return f(type<place_of<true, T>>(), of);
      default:
        return KERNEL_BAD_OPERATION;
    }
  });
}

uint64_t kernel_reduce_workspace(int op, const struct kernel_view *out,
                                 const struct kernel_view *in) {
  struct scheme s;
  (void)op;
  if (scheme_make(&s, out, in) || s.parts.splits == 1) return 0;
  return uint64_t{s.kept.units} * s.parts.splits * sizeof(found<double>);
}

int kernel_reduce(int op, const struct kernel_view *out, const struct kernel_view *in,
                  void *workspace, uint64_t workspace_size, void *stream) {
  if (op < 0 || op >= KERNEL_REDUCE_OPS) return KERNEL_BAD_OPERATION;
  if (!dtype_ok(in)) return KERNEL_BAD_DTYPE;
  struct scheme s;
  int status = scheme_make(&s, out, in);
  if (status) return status;
  const bool extreme = op == KERNEL_REDUCE_MIN || op == KERNEL_REDUCE_MAX || op == KERNEL_ARGMIN ||
                       op == KERNEL_ARGMAX;
  if (extreme && s.parts.length == 0 && s.kept.units > 0) return KERNEL_BAD_SHAPE;
  return with_reduction(op, in->dtype, [&](auto operation, auto of) -> int {
    using Op = element_of<decltype(operation)>;
    using T = element_of<decltype(of)>;
    if (out->dtype != dtype_of<typename Op::result>()) return KERNEL_BAD_DTYPE;
    return reduce<Op, T>(s, out, in, workspace, workspace_size, stream);
  });
}
