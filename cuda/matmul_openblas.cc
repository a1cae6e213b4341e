// Matrix products by OpenBLAS.
//
// The output is cut into parts, about one for each thread, and a thread calls OpenBLAS for each of
// its parts, so that no threads but our own are at work, and bias and activation are added while a
// part is near. Operands that BLAS cannot take as they lie, halves and views with other strides,
// are converted piece by piece to the thread's slot of the workspace:
//
//   part of the output, rows x columns, a step of `deep` along k at a time:
//     piece of a  rows x deep  ->  slot     (or where it is)
//     piece of b  deep x columns ->  slot   (or where it is)
//     sums += a * b                         in the slot, or in the output itself
#include <limits.h>

#include "matmul.h"
#include "openblas.h"

namespace {

constexpr int kPart = 256;  // rows, columns and depth of pieces, where some are to be converted

// How a product is cut up.
struct cut {
  int64_t rows, columns, deep;  // of a part
  int64_t down, across;         // parts
  struct dense a, b, out;
  bool a_lies, b_lies, out_lies;     // so that BLAS takes it
  int64_t slot_a, slot_b, slot_out;  // elements in a slot
  unsigned threads;
};

int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Multiples of a vector's length, so that only the last part ends in the middle of one.
int64_t rounded(int64_t size, int64_t whole) {
  const int64_t up = (size + 15) / 16 * 16;
  return up < whole ? up : whole;
}

// Products that are worth another thread. Where one operand is a vector they are as many as there
// are elements to be read, which takes longer.
int64_t worth_a_thread(const product &p) {
  return p.m == 1 || p.n == 1 ? 1 << 16 : 1 << 19;
}

// Sets down and across so that there are at least `parts`, as near to squares as that goes.
void share_out(cut *c, const product &p, int64_t parts) {
  int64_t best = INT64_MAX;
  for (int64_t down = 1; down <= parts; ++down) {
    const int64_t across = ceil_div(parts, down);
    if (down > p.m || across > p.n) continue;
    // What the parts read in all, and those that are too many.
    const int64_t cost = p.m * across + p.n * down + (down * across - parts) * (p.m + p.n);
    if (cost >= best) continue;
    best = cost;
    c->down = down;
    c->across = across;
  }
}

template <class T>
cut cut_of(const product &p) {
  cut c = {};
  constexpr bool is_wide = std::is_same<T, wide<T>>::value;
  c.a_lies = is_dense(p.a, p.m, p.k, INT_MAX, &c.a) && is_wide;
  c.b_lies = is_dense(p.b, p.k, p.n, INT_MAX, &c.b) && is_wide;
  c.out_lies = is_dense(p.out, p.m, p.n, INT_MAX, &c.out) && is_wide && !c.out.transposed;
  const double products = static_cast<double>(p.m) * static_cast<double>(p.n) *
                          static_cast<double>(p.k) * p.batch.units;
  const double worth = products / static_cast<double>(worth_a_thread(p));
  const int64_t threads = simt::threads();
  c.threads =
      static_cast<unsigned>(worth < 1                              ? 1
                            : worth < static_cast<double>(threads) ? static_cast<int64_t>(worth)
                                                                   : threads);
  c.down = c.across = 1;
  if (p.batch.units < c.threads) share_out(&c, p, ceil_div(c.threads, p.batch.units));
  c.rows = rounded(ceil_div(p.m, c.down), p.m);
  c.columns = rounded(ceil_div(p.n, c.across), p.n);
  c.deep = p.k;
  if (!c.a_lies || !c.b_lies || !c.out_lies) {
    c.rows = least(c.rows, kPart);
    c.columns = least(c.columns, kPart);
    if (!c.a_lies || !c.b_lies) c.deep = least(c.deep, kPart);
  }
  c.down = ceil_div(p.m, c.rows);
  c.across = ceil_div(p.n, c.columns);
  c.slot_a = c.a_lies ? 0 : c.rows * c.deep;
  c.slot_b = c.b_lies ? 0 : c.deep * c.columns;
  c.slot_out = c.out_lies ? 0 : c.rows * c.columns;
  return c;
}

// A piece as BLAS is given it.
template <class W>
struct piece {
  const W *at;
  int ld;
  bool transposed;
};

// Converts a piece to `to`, in the order in which it lies.
template <class W, class T>
piece<W> convert_piece(W *to, const T *from, const matrix &x, int64_t rows, int64_t columns) {
  const bool transposed = magnitude_of(x.row) < magnitude_of(x.column);
  const int64_t outer = transposed ? columns : rows, inner = transposed ? rows : columns;
  const int64_t step = transposed ? x.column : x.row, along = transposed ? x.row : x.column;
  for (int64_t i = 0; i < outer; ++i) {
    const T *line = from + i * step;
    W *made = to + i * inner;
    if (along == 1) {
      for (int64_t j = 0; j < inner; ++j) made[j] = load(line[j]);
    } else {
      for (int64_t j = 0; j < inner; ++j) made[j] = load(line[j * along]);
    }
  }
  return {to, static_cast<int>(inner), transposed};
}

template <class W, class T>
piece<W> piece_of(bool lies, const dense &d, W *slot, const T *from, const matrix &x, int64_t rows,
                  int64_t columns) {
  if constexpr (std::is_same<W, T>::value) {
    if (lies) return {from, static_cast<int>(d.ld), d.transposed};
  }
  (void)lies;
  return convert_piece(slot, from, x, rows, columns);
}

template <class W>
openblas::gemm<W> gemm_of(const openblas::library &blas) {
  if constexpr (std::is_same<W, float>::value) return blas.sgemm;
  if constexpr (std::is_same<W, double>::value) return blas.dgemm;
}
template <class W>
openblas::gemv<W> gemv_of(const openblas::library &blas) {
  if constexpr (std::is_same<W, float>::value) return blas.sgemv;
  if constexpr (std::is_same<W, double>::value) return blas.dgemv;
}

// out = alpha * a * b + beta * out, a of m x k, b of k x n. BLAS's product of matrices first puts
// both in another order, which takes far longer than to multiply by a vector.
template <class W>
void multiply(const openblas::library &blas, int m, int n, int k, W alpha, const piece<W> &a,
              const piece<W> &b, W beta, W *out, int ld) {
  using namespace openblas;
  if (n == 1) {
    gemv_of<W>(blas)(ROW_MAJOR, a.transposed ? TRANSPOSED : AS_IT_IS, a.transposed ? k : m,
                     a.transposed ? m : k, alpha, a.at, a.ld, b.at, b.transposed ? 1 : b.ld, beta,
                     out, ld);
  } else if (m == 1) {
    gemv_of<W>(blas)(ROW_MAJOR, b.transposed ? AS_IT_IS : TRANSPOSED, b.transposed ? n : k,
                     b.transposed ? k : n, alpha, b.at, b.ld, a.at, a.transposed ? a.ld : 1, beta,
                     out, 1);
  } else {
    gemm_of<W>(blas)(ROW_MAJOR, a.transposed ? TRANSPOSED : AS_IT_IS,
                     b.transposed ? TRANSPOSED : AS_IT_IS, m, n, k, alpha, a.at, a.ld, b.at, b.ld,
                     beta, out, ld);
  }
}

// Bias, activation, and the way to where the part belongs. alpha is in the sums.
template <int ACT, class T, class W>
void store(const product &p, const W *sums, int64_t ld, T *out, const T *bias, int64_t rows,
           int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const W *from = sums + i * ld;
    T *to = out + i * p.out.row;
    if (p.out.column == 1 && (!bias || p.bias_step == 1)) {
#pragma GCC ivdep
      for (int64_t j = 0; j < columns; ++j) {
        const W added = bias ? static_cast<W>(load(bias[j])) : W(0);
        to[j] = convert<T>(finish<ACT>(from[j], W(1), added, p.activation));
      }
    } else {
      for (int64_t j = 0; j < columns; ++j) {
        const W added = bias ? static_cast<W>(load(bias[j * p.bias_step])) : W(0);
        to[j * p.out.column] = convert<T>(finish<ACT>(from[j], W(1), added, p.activation));
      }
    }
  }
}

template <int ACT, class T>
void multiply_part(const openblas::library &blas, const product &p, const cut &c, wide<T> *slot,
                   uint64_t number) {
  using W = wide<T>;
  const uint64_t each = static_cast<uint64_t>(c.down * c.across);
  const int64_t part = static_cast<int64_t>(number % each);
  int64_t at[3];
  plan_at(p.batch, static_cast<uint32_t>(number / each), at);
  const int64_t row = part / c.across * c.rows, column = part % c.across * c.columns;
  const int64_t rows = least(c.rows, p.m - row), columns = least(c.columns, p.n - column);
  T *out = static_cast<T *>(const_cast<void *>(p.out.data)) + at[0] + row * p.out.row +
           column * p.out.column;
  const T *a = static_cast<const T *>(p.a.data) + at[1] + row * p.a.row;
  const T *b = static_cast<const T *>(p.b.data) + at[2] + column * p.b.column;
  const T *bias = static_cast<const T *>(p.bias);
  if (bias) bias += column * p.bias_step;
  W *sums = slot + c.slot_a + c.slot_b;
  int ld = static_cast<int>(columns);
  if constexpr (std::is_same<T, W>::value) {
    if (c.out_lies) sums = out, ld = static_cast<int>(c.out.ld);
  }
  for (int64_t k = 0; k < p.k; k += c.deep) {
    const int64_t deep = least(c.deep, p.k - k);
    const piece<W> of_a = piece_of(c.a_lies, c.a, slot, a + k * p.a.column, p.a, rows, deep);
    const piece<W> of_b =
        piece_of(c.b_lies, c.b, slot + c.slot_a, b + k * p.b.row, p.b, deep, columns);
    multiply<W>(blas, static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(deep),
                static_cast<W>(p.alpha), of_a, of_b, k > 0 ? W(1) : W(0), sums, ld);
  }
  if (c.out_lies && !bias && ACT == KERNEL_NO_ACTIVATION) return;
  store<ACT, T>(p, sums, ld, out, bias, rows, columns);
}

// A block is a thread, which has a slot.
template <int ACT, class T>
__global__ void multiply_parts(const openblas::library *blas, product p, cut c, wide<T> *slots) {
  const uint64_t parts = static_cast<uint64_t>(c.down * c.across) * p.batch.units;
  const uint64_t block = blockIdx.x, blocks = gridDim.x;
  wide<T> *slot = slots + static_cast<int64_t>(block) * (c.slot_a + c.slot_b + c.slot_out);
  for (uint64_t i = parts * block / blocks; i < parts * (block + 1) / blocks; ++i) {
    multiply_part<ACT, T>(*blas, p, c, slot, i);
  }
}

template <class T>
uint64_t slot_bytes(const cut &c) {
  return static_cast<uint64_t>(c.slot_a + c.slot_b + c.slot_out) * sizeof(wide<T>);
}

template <class T>
int run(const openblas::library *blas, const product &p, void *workspace, uint64_t size,
        void *stream) {
  const cut c = cut_of<T>(p);
  uint64_t blocks = c.threads;
  const uint64_t parts = static_cast<uint64_t>(c.down * c.across) * p.batch.units;
  if (blocks > parts) blocks = parts;
  // There may be more threads now than when the workspace was made.
  if (const uint64_t bytes = slot_bytes<T>(c)) {
    if (size < bytes) return KERNEL_BAD_WORKSPACE;
    if (blocks > size / bytes) blocks = size / bytes;
  }
  const unsigned grid = static_cast<unsigned>(blocks);
  wide<T> *slots = static_cast<wide<T> *>(workspace);
  if (p.activation == KERNEL_NO_ACTIVATION) {
    SIMT_LAUNCH((multiply_parts<KERNEL_NO_ACTIVATION, T>), grid, 1, 0, stream, blas, p, c, slots);
  } else if (p.activation == KERNEL_RELU) {
    SIMT_LAUNCH((multiply_parts<KERNEL_RELU, T>), grid, 1, 0, stream, blas, p, c, slots);
  } else {
    SIMT_LAUNCH((multiply_parts<kAnyActivation, T>), grid, 1, 0, stream, blas, p, c, slots);
  }
  return simt_last_error();
}

}  // namespace

uint64_t library_matmul_workspace(const struct product &p, const struct kernel_view *,
                                  const struct kernel_view *, const struct kernel_view *, int) {
  uint64_t bytes = 0;
  if (!openblas::get()) return 0;
  with_dtype(p.dtype, floats(), [&](auto of) {
    using T = element_of<decltype(of)>;
    const cut c = cut_of<T>(p);
    bytes = slot_bytes<T>(c) * c.threads;
    return int{KERNEL_OK};
  });
  return bytes;
}

int library_matmul(const struct product &p, const struct kernel_view *, const struct kernel_view *,
                   const struct kernel_view *, const struct kernel_view *, int, void *workspace,
                   uint64_t workspace_size, void *stream) {
  const openblas::library *blas = openblas::get();
  if (!blas) return KERNEL_NO_LIBRARY;
  return with_dtype(p.dtype, floats(), [&](auto of) {
    using T = element_of<decltype(of)>;
    return run<T>(blas, p, workspace, workspace_size, stream);
  });
}

const char *library_matmul_name(void) {
  const openblas::library *blas = openblas::get();
  return blas ? blas->name : nullptr;
}
