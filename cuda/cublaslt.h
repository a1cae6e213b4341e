// cuBLASLt, opened at run time, with the algorithms that it named kept by shape.
#pragma once

#include <stdint.h>

#if __has_include(<cublasLt.h>)
#define FARSIDE_CUBLASLT 1
#endif

namespace cublaslt {

// What an algorithm is chosen by. Without gaps between its fields, and compared as bytes. Sizes and
// strides are those of row-major matrices.
struct question {
  int64_t m, n, k, ld_a, ld_b, ld_out, stride_a, stride_b, stride_out;
  int64_t scratch;  // bytes that the algorithm may use
  int32_t device, dtype, tf32, transposed_a, transposed_b, batch, epilogue;
  int32_t align_a, align_b, align_out;  // bytes
};

constexpr int32_t NO_EPILOGUE = 1;  // CUBLASLT_EPILOGUE_DEFAULT

struct library;

// Opened at the first call; NULL where it is not there.
const struct library *get();
const char *name_of(const struct library *library);

// The epilogue for an activation, with a bias or without; NO_EPILOGUE if there is none, or nothing
// to be done.
int32_t epilogue_of(int activation, bool bias);

// Bytes of q.scratch that the algorithm for a question without an epilogue uses.
uint64_t scratch_for(const struct library &library, const question &q);
// out = epilogue(alpha * a @ b). KERNEL_NO_LIBRARY: it has no algorithm for this.
int multiply(const struct library &library, const question &q, double alpha, void *out,
             const void *a, const void *b, const void *bias, void *scratch, void *stream);

}  // namespace cublaslt
