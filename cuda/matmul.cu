// Matrix products: which way they go, and the portable kernel.
//
// A block computes a tile of the output. For each step along k it brings the parts of both operands
// that the tile needs to shared memory, converted to what is added up. Each thread holds the sums
// of a few rows and columns: on a GPU in registers, of one small tile; on the processor the only
// thread of a block has many, whose operands lie in panels that the vector unit reads in order.
#include "matmul.h"

// In what products are added up. Unsigned numbers wrap around.
template <class T, class Enable = void>
struct sums {
  using type = uint32_t;
};
template <class T>
struct sums<T, std::enable_if_t<number<T>::is_float>> {
  using type = wide<T>;
};
template <>
struct sums<int64_t, void> {
  using type = uint64_t;
};

// Sizes for sums of type W.
template <class W>
struct tile {
  static constexpr int kRows = 4;                                      // of a thread's tile
  static constexpr int kColumns = kSerial ? 64 / int{sizeof(W)} : 4;   // likewise
  static constexpr int kDown = 64;                                     // rows of a block's tile
  static constexpr int kAcross = kSerial ? 512 / int{sizeof(W)} : 64;  // columns of it
  static constexpr int kDeep = kSerial ? 128 : 16;                     // of one step along k
  static constexpr int kWide = kAcross / kColumns;                     // tiles side by side
  static constexpr int kThreads = kSerial ? 1 : kBlock;
  static constexpr int kEach = kDown / kRows * kWide / kThreads;  // tiles of a thread
  static constexpr int kPad = kSerial ? 0 : 4;  // so that a column is not in one bank of memory
  static constexpr unsigned kShared = sizeof(W) * kDeep * (kDown + kAcross + 2 * kPad);
};

// Where element (i, k) of an operand's part lies in shared memory; R rows, or columns, of it are
// neighbours for a thread. On the processor they make a panel.
template <class W, int R, int SIDE>
static __device__ __forceinline__ int place(int i, int k) {
  using t = tile<W>;
  return kSerial ? (i / R * t::kDeep + k) * R + i % R : k * (SIDE + t::kPad) + i;
}

// Brings `there` of SIDE rows, `deep` elements of each, from memory. What is not there is 0 on a GPU,
// where each step is as deep as the next; on the processor it is anything, and not stored.
// Neighbouring threads read neighbours, whichever way these lie.
template <class W, int R, int SIDE, class T>
static __device__ __forceinline__ void bring(W *to, const T *from, int64_t step, int64_t along,
                                             int there, int deep) {
  using t = tile<W>;
  if constexpr (kSerial) {
    if (step == 1) {
      for (int k = 0; k < deep; ++k) {
        for (int i = 0; i < there; ++i) {
          to[place<W, R, SIDE>(i, k)] = static_cast<W>(load(from[i + k * along]));
        }
      }
    } else {
      for (int i = 0; i < there; ++i) {
        W *row = to + place<W, R, SIDE>(i, 0);
        for (int k = 0; k < deep; ++k)
          row[k * R] = static_cast<W>(load(from[i * step + k * along]));
      }
    }
  } else {
    const bool by_k = along == 1;
    for (int e = static_cast<int>(threadIdx.x); e < SIDE * t::kDeep; e += t::kThreads) {
      const int i = by_k ? e / t::kDeep : e % SIDE, k = by_k ? e % t::kDeep : e / SIDE;
      W x = W(0);
      if (i < there && k < deep) x = static_cast<W>(load(from[i * step + k * along]));
      to[place<W, R, SIDE>(i, k)] = x;
    }
  }
}

#ifdef SIMT_SERIAL
// c += a * b of one small tile, over panels. In vectors of so many bytes, which the compiler does
// not find by itself: as many columns at a time as there are registers for.
template <class W, int BYTES>
static __attribute__((always_inline)) inline void multiply_vectors(W *c, const W *a, const W *b,
                                                                   int deep) {
  using t = tile<W>;
  constexpr int kLanes = BYTES / int{sizeof(W)};
  typedef W lanes __attribute__((vector_size(BYTES)));
  typedef W in_memory __attribute__((vector_size(BYTES), aligned(1), may_alias));
  for (int first = 0; first < t::kColumns; first += 2 * kLanes) {
    lanes left[t::kRows], right[t::kRows];
#pragma GCC unroll 8
    for (int i = 0; i < t::kRows; ++i) {
      const W *from = c + i * t::kColumns + first;
      left[i] = *reinterpret_cast<const in_memory *>(from);
      right[i] = *reinterpret_cast<const in_memory *>(from + kLanes);
    }
    for (int k = 0; k < deep; ++k) {
      const W *row = b + k * t::kColumns + first;
      const lanes y = *reinterpret_cast<const in_memory *>(row);
      const lanes z = *reinterpret_cast<const in_memory *>(row + kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < t::kRows; ++i) {
        left[i] += a[k * t::kRows + i] * y;
        right[i] += a[k * t::kRows + i] * z;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < t::kRows; ++i) {
      W *to = c + i * t::kColumns + first;
      *reinterpret_cast<in_memory *>(to) = left[i];
      *reinterpret_cast<in_memory *>(to + kLanes) = right[i];
    }
  }
}

#ifdef __x86_64__
template <class W>
__attribute__((target("avx2"))) static void multiply_avx2(W *c, const W *a, const W *b, int deep) {
  multiply_vectors<W, 32>(c, a, b, deep);
}
#endif

// Sums are the same to the bit whatever the processor has.
template <class W>
static void multiply_panels(W *c, const W *a, const W *b, int deep) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return multiply_avx2(c, a, b, deep);
#endif
  multiply_vectors<W, 16>(c, a, b, deep);
}
#endif

// The sums of one thread's tile number `at` go on with what is in shared memory.
template <class W>
static __device__ __forceinline__ void multiply(W (&c)[tile<W>::kRows][tile<W>::kColumns],
                                                const W *a, const W *b, int down, int across,
                                                int deep) {
  using t = tile<W>;
  a += place<W, t::kRows, t::kDown>(down * t::kRows, 0);
  b += place<W, t::kColumns, t::kAcross>(across * t::kColumns, 0);
#ifdef SIMT_SERIAL
  multiply_panels(&c[0][0], a, b, deep);
#else
  (void)deep;  // the rest of a step is 0
#ifdef __CUDACC__
#pragma unroll
#endif
  for (int k = 0; k < t::kDeep; ++k) {
    W x[t::kRows], y[t::kColumns];
    for (int i = 0; i < t::kRows; ++i) x[i] = a[k * (t::kDown + t::kPad) + i];
    for (int j = 0; j < t::kColumns; ++j) y[j] = b[k * (t::kAcross + t::kPad) + j];
    for (int i = 0; i < t::kRows; ++i) {
      for (int j = 0; j < t::kColumns; ++j) c[i][j] += x[i] * y[j];
    }
  }
#endif
}

// Where a block's tile begins.
struct corner {
  int64_t row, column;
};

template <int ACT, class T, class W>
static __device__ __forceinline__ void store(const W (&c)[tile<W>::kRows][tile<W>::kColumns],
                                             const product &p, const corner &from, T *out,
                                             const T *bias) {
  using t = tile<W>;
  for (int i = 0; i < t::kRows; ++i) {
    if (from.row + i >= p.m) break;
    for (int j = 0; j < t::kColumns; ++j) {
      const int64_t column = from.column + j;
      if (column >= p.n) break;
      const W added = bias ? static_cast<W>(load(bias[column * p.bias_step])) : W(0);
      const W x = finish<ACT>(c[i][j], static_cast<W>(p.alpha), added, p.activation);
      out[(from.row + i) * p.out.row + column * p.out.column] = convert<T>(x);
    }
  }
}

template <int ACT, class T>
static __global__ void __launch_bounds__(256)
    multiply_tiles(product p, T *out, const T *a, const T *b, const T *bias) {
  using W = typename sums<T>::type;
  using t = tile<W>;
  SIMT_SHARED(W, shared);
  W *const of_a = shared, *const of_b = shared + t::kDeep * (t::kDown + t::kPad);
  const uint64_t side_by_side = static_cast<uint64_t>((p.n + t::kAcross - 1) / t::kAcross);
  const uint64_t each = side_by_side * static_cast<uint64_t>((p.m + t::kDown - 1) / t::kDown);
  const uint64_t tiles = each * p.batch.units;
  for (uint64_t number = blockIdx.x; number < tiles; number += gridDim.x) {
    int64_t at[3];
    plan_at(p.batch, static_cast<uint32_t>(number / each), at);
    const corner from = {static_cast<int64_t>(number % each / side_by_side) * t::kDown,
                         static_cast<int64_t>(number % each % side_by_side) * t::kAcross};
    const int down = static_cast<int>(p.m - from.row < t::kDown ? p.m - from.row : t::kDown);
    const int across =
        static_cast<int>(p.n - from.column < t::kAcross ? p.n - from.column : t::kAcross);
    const T *rows = a + at[1] + from.row * p.a.row;
    const T *columns = b + at[2] + from.column * p.b.column;
    W c[t::kEach][t::kRows][t::kColumns] = {};
    for (int64_t k = 0; k < p.k; k += t::kDeep) {
      const int deep = static_cast<int>(p.k - k < t::kDeep ? p.k - k : t::kDeep);
      __syncthreads();  // what the step before brought may still be read
      bring<W, t::kRows, t::kDown>(of_a, rows + k * p.a.column, p.a.row, p.a.column, down, deep);
      bring<W, t::kColumns, t::kAcross>(of_b, columns + k * p.b.row, p.b.column, p.b.row, across,
                                        deep);
      __syncthreads();
      for (int e = 0; e < t::kEach; ++e) {
        const int mine = e * t::kThreads + static_cast<int>(threadIdx.x);
        const int y = mine / t::kWide, x = mine % t::kWide;
        if (kSerial && (y * t::kRows >= down || x * t::kColumns >= across)) continue;
        multiply<W>(c[e], of_a, of_b, y, x, deep);
      }
    }
    for (int e = 0; e < t::kEach; ++e) {
      const int mine = e * t::kThreads + static_cast<int>(threadIdx.x);
      const corner my = {from.row + mine / t::kWide * t::kRows,
                         from.column + mine % t::kWide * t::kColumns};
      store<ACT>(c[e], p, my, out + at[0], bias);
    }
  }
}

// ---- On the caller's side.

template <class T>
static unsigned grid_of(const product &p) {
  using t = tile<typename sums<T>::type>;
  int64_t blocks = ceil_div(p.m, t::kDown) * ceil_div(p.n, t::kAcross) * p.batch.units;
#ifndef __CUDACC__
  const int64_t kProducts = 1 << 16;  // worth another thread of the processor
  const double worth = static_cast<double>(p.m) * static_cast<double>(p.n) *
                       static_cast<double>(p.k + 1) * p.batch.units / kProducts;
  const int64_t threads = simt::threads();
  if (kSerial && blocks > threads) blocks = threads;
  if (kSerial && static_cast<double>(blocks) > worth) blocks = static_cast<int64_t>(worth);
#endif
  if (blocks > kGridLimit) blocks = kGridLimit;
  return static_cast<unsigned>(blocks > 0 ? blocks : 1);
}

template <int ACT, class T>
static int launch(const product &p, void *stream) {
  using t = tile<typename sums<T>::type>;
  SIMT_LAUNCH((multiply_tiles<ACT, T>), grid_of<T>(p), t::kThreads, t::kShared, stream, p,
              static_cast<T *>(const_cast<void *>(p.out.data)), static_cast<const T *>(p.a.data),
              static_cast<const T *>(p.b.data), static_cast<const T *>(p.bias));
  return simt_last_error();
}

static int portable_matmul(const product &p, void *stream) {
  return with_dtype(p.dtype, numbers(), [&](auto of) {
    using T = element_of<decltype(of)>;
    if constexpr (number<T>::is_float) {
      if (p.activation != KERNEL_NO_ACTIVATION) return launch<kAnyActivation, T>(p, stream);
    }
    return launch<KERNEL_NO_ACTIVATION, T>(p, stream);
  });
}

static int epilogue_make(product *p, const struct kernel_view *out, const struct kernel_view *bias,
                         int activation, double alpha) {
  const bool is_float = out->dtype <= KERNEL_BF16;
  if (!is_activation(activation)) return KERNEL_BAD_OPERATION;
  if (!is_float && activation != KERNEL_NO_ACTIVATION) return KERNEL_BAD_DTYPE;
  if (!is_float && alpha != 1) return KERNEL_BAD_ARGUMENT;
  p->activation = activation;
  p->alpha = alpha;
  p->bias = nullptr;
  p->bias_step = 0;
  if (!bias) return KERNEL_OK;
  if (bias->dtype != out->dtype) return KERNEL_BAD_DTYPE;
  if (!view_ok(bias) || bias->rank != 1 || bias->shape[0] != p->n) return KERNEL_BAD_SHAPE;
  p->bias = bias->data;
  p->bias_step = bias->stride[0];
  return KERNEL_OK;
}

// Whether a product goes to the library if that is there.
static bool is_for_library(const product &p, int flags) {
  return !(flags & KERNEL_PORTABLE) && p.dtype <= KERNEL_BF16 && p.k > 0;
}

uint64_t kernel_matmul_workspace(const struct kernel_view *out, const struct kernel_view *a,
                                 const struct kernel_view *b, int flags) {
  product p = {};
  int64_t count = 0;
  if (product_make(&p, &count, out, a, b) || count == 0 || !is_for_library(p, flags)) return 0;
  return library_matmul_workspace(p, out, a, b, flags);
}

static thread_local int used_library;

int kernel_matmul(const struct kernel_view *out, const struct kernel_view *a,
                  const struct kernel_view *b, const struct kernel_view *bias, int activation,
                  double alpha, int flags, void *workspace, uint64_t workspace_size, void *stream) {
  used_library = 0;
  if (flags & ~(KERNEL_TF32 | KERNEL_PORTABLE)) return KERNEL_BAD_ARGUMENT;
  product p = {};
  int64_t count = 0;
  int status = product_make(&p, &count, out, a, b);
  if (!status) status = epilogue_make(&p, out, bias, activation, alpha);
  if (status || count == 0) return status;
  if (is_for_library(p, flags)) {
    status = library_matmul(p, out, a, b, bias, flags, workspace, workspace_size, stream);
    if (status != KERNEL_NO_LIBRARY) {
      used_library = 1;
      return status;
    }
  }
  return portable_matmul(p, stream);
}

const char *kernel_matmul_library(void) {
  const char *name = library_matmul_name();
  return name ? name : "portable";
}

int kernel_matmul_used_library(void) {
  return used_library;
}
