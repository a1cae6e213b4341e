// Plain loops that spec/bench/cuda.lua holds the kernels against on the processor: for each operation
// the one that would be written down first. Rows are `columns` numbers one behind the other. One
// thread; no errors. Lua takes this file as it is, without the lines that begin with #.
#pragma once

#include "../../../cuda/kernels.h"

/// Seconds. `own` not 0: that this thread has run, so that other processes do not count.
double plain_now(int own);

/// Numbers between -4 and 4, the same in each run.
void plain_numbers(float *out, int64_t count, uint64_t seed);
void plain_to_bf16(uint16_t *out, const float *in, int64_t count);

/// The largest difference, as a part of what was expected or, for less than 1, as it is; infinite
/// where one is not a number.
double plain_difference_f32(const float *expected, const float *got, int64_t count);
double plain_difference_bf16(const uint16_t *expected, const uint16_t *got, int64_t count);

/// 0 if all bytes are the same, else infinite.
double plain_difference_bytes(const void *expected, const void *got, int64_t size);
void plain_copy(void *out, const void *in, int64_t size);
void plain_add(float *out, const float *a, const float *b, int64_t count);
void plain_add_bf16(uint16_t *out, const uint16_t *a, const uint16_t *b, int64_t count);
void plain_scale(float *out, const float *in, float by, int64_t count);
void plain_add_row(float *out, const float *in, const float *row, int64_t rows, int64_t columns);
void plain_relu(float *out, const float *in, int64_t count);
void plain_exp(float *out, const float *in, int64_t count);
void plain_gelu(float *out, const float *in, int64_t count);
void plain_less(uint8_t *out, const float *a, const float *b, int64_t count);
void plain_where(float *out, const uint8_t *condition, const float *a, const float *b,
                 int64_t count);
void plain_to_i32(int32_t *out, const float *in, int64_t count);
void plain_transpose(float *out, const float *in, int64_t rows, int64_t columns);
void plain_sum(float *out, const float *in, int64_t rows, int64_t columns);
void plain_sum_columns(float *out, const float *in, int64_t rows, int64_t columns);
void plain_max(float *out, const float *in, int64_t rows, int64_t columns);
void plain_argmax(int64_t *out, const float *in, int64_t rows, int64_t columns);
void plain_logsumexp(float *out, const float *in, int64_t rows, int64_t columns);
void plain_softmax(float *out, const float *in, int64_t rows, int64_t columns);
void plain_log_softmax(float *out, const float *in, int64_t rows, int64_t columns);
void plain_layernorm(float *out, const float *in, const float *weight, const float *bias,
                     int64_t rows, int64_t columns);
void plain_rmsnorm(float *out, const float *in, const float *weight, int64_t rows, int64_t columns);

/// The k largest of each row in order, and their columns; the first of equals first.
void plain_topk(float *values, int64_t *indices, const float *in, int64_t k, int64_t rows,
                int64_t columns);
/// Each row with the least first; allocates.
void plain_sort(float *values, int64_t *indices, const float *in, int64_t rows, int64_t columns);
void plain_take(float *out, const float *in, const int64_t *places, int64_t rows, int64_t columns);

/// Opens OpenBLAS, and sets it to one thread. 0, or 1 if it is not there.
int plain_gemm_open(void);
/// out = a @ b, all square, by OpenBLAS.
void plain_gemm(float *out, const float *a, const float *b, int size);
void plain_bias_relu(float *out, const float *bias, int64_t rows, int64_t columns);

typedef int launch_unary(int op, const struct kernel_view *out, const struct kernel_view *in,
                         void *stream);
/// Seconds in which `count` launches are made, not done.
double plain_launches(launch_unary *launch, int own, int64_t count, int op,
                      const struct kernel_view *out, const struct kernel_view *in, void *stream);
