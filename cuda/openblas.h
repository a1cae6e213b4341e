// OpenBLAS, opened at run time.
#pragma once

namespace openblas {

// The values of CBLAS that are used.
enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };

template <class W>
using gemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k, W alpha,
                      const W *a, int lda, const W *b, int ldb, W beta, W *c, int ldc);
template <class W>
using gemv = void (*)(int order, int transpose, int m, int n, W alpha, const W *a, int lda,
                      const W *x, int step_x, W beta, W *y, int step_y);

struct library {
  gemm<float> sgemm;
  gemm<double> dgemm;
  gemv<float> sgemv;
  gemv<double> dgemv;
  char name[96];
};

// Opened at the first call, with one thread for each call of it; NULL where it is not there.
const struct library *get();

}  // namespace openblas
