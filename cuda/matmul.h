// A matrix product as the portable kernel and the libraries are given it: sizes, strides, where each
// of a batch lies, what is done to the sums.
#pragma once

#include "activation.h"
#include "elementwise.h"
#include "kernels.h"

// Elements of a matrix; strides count elements.
struct matrix {
  const void *data;
  int64_t row, column;
};

struct product {
  int64_t m, n, k;
  struct matrix a, b, out;
  const void *bias;  // or NULL
  int64_t bias_step;
  int32_t activation, dtype;
  double alpha;
  plan<3> batch;  // offsets of the output, a and b, in elements
};

// Rows or columns that lie one behind the other, as BLAS takes them: `ld` elements from one to the
// next. Columns if `transposed`.
struct dense {
  int64_t ld;
  bool transposed;
};

// Whether a matrix is so, with strides below `most`.
static inline bool is_dense(const struct matrix &x, int64_t rows, int64_t columns, int64_t most,
                            struct dense *found) {
  if ((columns <= 1 || x.column == 1) && (rows <= 1 || x.row >= columns)) {
    *found = {rows <= 1 ? (columns > 1 ? columns : 1) : x.row, false};
    return found->ld <= most;
  }
  if ((rows <= 1 || x.row == 1) && (columns <= 1 || x.column >= rows)) {
    *found = {columns <= 1 ? (rows > 1 ? rows : 1) : x.column, true};
    return found->ld <= most;
  }
  return false;
}

// The sizes of all three matrices and the steps of each.
static inline int matrices_make(product *p, const struct kernel_view *out,
                                const struct kernel_view *a, const struct kernel_view *b) {
  const struct kernel_view *const views[3] = {out, a, b};
  for (const struct kernel_view *view : views) {
    if (!view_ok(view) || view->rank < 2 || view->rank > out->rank) return KERNEL_BAD_SHAPE;
    if (!dtype_ok(view) || view->dtype == KERNEL_BOOL || view->dtype != out->dtype) {
      return KERNEL_BAD_DTYPE;
    }
  }
  struct matrix *const matrices[3] = {&p->out, &p->a, &p->b};
  for (int i = 0; i < 3; ++i) {
    const struct kernel_view *v = views[i];
    *matrices[i] = {v->data, v->stride[v->rank - 2], v->stride[v->rank - 1]};
  }
  p->m = out->shape[out->rank - 2];
  p->n = out->shape[out->rank - 1];
  p->k = a->shape[a->rank - 1];
  if (a->shape[a->rank - 2] != p->m || b->shape[b->rank - 2] != p->k ||
      b->shape[b->rank - 1] != p->n) {
    return KERNEL_BAD_SHAPE;
  }
  const int64_t most = INT32_MAX;
  return p->m > most || p->n > most || p->k > most ? KERNEL_BAD_SHAPE : KERNEL_OK;
}

// The dimensions in front. *count is the number of products.
static inline int batch_make(layout<3> *l, int64_t *count, const struct kernel_view *out,
                             const struct kernel_view *a, const struct kernel_view *b) {
  struct kernel_view front[3] = {*out, *a, *b};
  for (struct kernel_view &view : front) view.rank -= 2;
  *count = view_count(&front[0]);
  const struct kernel_view *const views[3] = {&front[0], &front[1], &front[2]};
  return layout_make(l, views);
}

// Rows of a batch that meet the same second matrix are rows of one product, if BLAS takes it so.
static inline void join_rows(struct product *p, layout<3> *l) {
  while (l->rank > 0 && l->stride[2][0] == 0 && p->m * l->shape[0] <= INT32_MAX) {
    const int64_t m = p->m * l->shape[0];
    struct matrix a = p->a, out = p->out;
    if (p->m == 1) {
      out.row = l->stride[0][0];
      a.row = l->stride[1][0];
    } else if (l->stride[0][0] != p->m * out.row || l->stride[1][0] != p->m * a.row) {
      return;
    }
    struct dense found;
    if (!is_dense(a, m, p->k, INT32_MAX, &found)) return;
    if (!is_dense(out, m, p->n, INT32_MAX, &found) || found.transposed) return;
    p->m = m;
    p->a = a;
    p->out = out;
    --l->rank;
    for (int d = 0; d < l->rank; ++d) {
      l->shape[d] = l->shape[d + 1];
      for (int n = 0; n < 3; ++n) l->stride[n][d] = l->stride[n][d + 1];
    }
  }
}

// *count is left at 0 where there is nothing to be done.
static inline int product_make(product *p, int64_t *count, const struct kernel_view *out,
                               const struct kernel_view *a, const struct kernel_view *b) {
  int status = matrices_make(p, out, a, b);
  if (status) return status;
  layout<3> l;
  status = batch_make(&l, count, out, a, b);
  if (status) return status;
  if (p->m == 0 || p->n == 0) *count = 0;
  if (*count == 0) return KERNEL_OK;
  join_rows(p, &l);
  p->dtype = out->dtype;
  if (l.rank == 0) {
    l.rank = 1;
    l.shape[0] = 1;
    for (int n = 0; n < 3; ++n) l.stride[n][0] = 0;
  }
  if (layout_count(l) > INT32_MAX) return KERNEL_BAD_SHAPE;
  plan_make(&p->batch, l, 1);
  p->batch.units = static_cast<uint32_t>(layout_count(l));
  return KERNEL_OK;
}

constexpr int kAnyActivation = -2;  // one that is known at run time only

// What is done to a sum before it is stored.
template <int ACT, class W>
static __device__ __forceinline__ W finish(W sum, W alpha, W bias, int activation) {
  sum = sum * alpha + bias;
  if constexpr (ACT == kAnyActivation) {
    return activate(activation, sum);
  } else if constexpr (ACT == KERNEL_RELU) {
    return relu(sum);
  } else {
    return sum;
  }
}

// ---- The library: matmul_openblas.cc on the processor, matmul_cublaslt.cu on a GPU. Both answer
// KERNEL_NO_LIBRARY where it is not there or has nothing for this product. `out`, `a` and `b` are
// what the product was made of; so is `bias`, which may be NULL.

uint64_t library_matmul_workspace(const struct product &p, const struct kernel_view *out,
                                  const struct kernel_view *a, const struct kernel_view *b,
                                  int flags);
int library_matmul(const struct product &p, const struct kernel_view *out,
                   const struct kernel_view *a, const struct kernel_view *b,
                   const struct kernel_view *bias, int flags, void *workspace,
                   uint64_t workspace_size, void *stream);
// Its name and version, or NULL.
const char *library_matmul_name(void);
