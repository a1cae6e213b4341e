// Compiled with -O3 for any processor, as the library of kernels is.
#include "plain.h"

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double plain_now(int own) {
  struct timespec now;
  clock_gettime(own ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// ---- Inputs and comparison.

void plain_numbers(float *out, int64_t count, uint64_t seed) {
  uint64_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out[i] = (float)(state >> 40) * 0x1p-21f - 4;
  }
}

static float from_bf16(uint16_t bits) {
  const uint32_t word = (uint32_t)bits << 16;
  float made;
  memcpy(&made, &word, sizeof made);
  return made;
}

static uint16_t to_bf16(float from) {
  uint32_t word;
  memcpy(&word, &from, sizeof word);
  return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

void plain_to_bf16(uint16_t *out, const float *in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_bf16(in[i]);
}

double plain_difference_f32(const float *expected, const float *got, int64_t count) {
  double most = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double size = fabs((double)expected[i]);
    const double by = fabs((double)got[i] - (double)expected[i]) / (size > 1 ? size : 1);
    if (!(by <= most)) most = by == by ? by : INFINITY;
  }
  return most;
}

double plain_difference_bf16(const uint16_t *expected, const uint16_t *got, int64_t count) {
  double most = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float a = from_bf16(expected[i]), b = from_bf16(got[i]);
    most = plain_difference_f32(&a, &b, 1) > most ? plain_difference_f32(&a, &b, 1) : most;
  }
  return most;
}

double plain_difference_bytes(const void *expected, const void *got, int64_t size) {
  return memcmp(expected, got, (size_t)size) == 0 ? 0 : INFINITY;
}

// ---- The memory.

void plain_copy(void *out, const void *in, int64_t size) {
  memcpy(out, in, (size_t)size);
}

// ---- Element by element.

void plain_add(float *out, const float *a, const float *b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

void plain_add_bf16(uint16_t *out, const uint16_t *a, const uint16_t *b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_bf16(from_bf16(a[i]) + from_bf16(b[i]));
}

void plain_scale(float *out, const float *in, float by, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] * by;
}

void plain_add_row(float *out, const float *in, const float *row, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[i * columns + j] = in[i * columns + j] + row[j];
  }
}

void plain_relu(float *out, const float *in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] < 0 ? 0 : in[i];
}

void plain_exp(float *out, const float *in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = expf(in[i]);
}

void plain_gelu(float *out, const float *in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = 0.5f * in[i] * erfcf(-in[i] * 0.70710678f);
}

void plain_less(uint8_t *out, const float *a, const float *b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] < b[i];
}

void plain_where(float *out, const uint8_t *condition, const float *a, const float *b,
                 int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = condition[i] ? a[i] : b[i];
}

void plain_to_i32(int32_t *out, const float *in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = (int32_t)in[i];
}

void plain_transpose(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[j * rows + i] = in[i * columns + j];
  }
}

// ---- Reductions.

void plain_sum(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < columns; ++j) sum += in[i * columns + j];
    out[i] = (float)sum;
  }
}

void plain_sum_columns(float *out, const float *in, int64_t rows, int64_t columns) {
  memset(out, 0, (size_t)columns * sizeof *out);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[j] += in[i * columns + j];
  }
}

void plain_max(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    float most = in[i * columns];
    for (int64_t j = 1; j < columns; ++j) {
      if (in[i * columns + j] > most) most = in[i * columns + j];
    }
    out[i] = most;
  }
}

void plain_argmax(int64_t *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    int64_t at = 0;
    for (int64_t j = 1; j < columns; ++j) {
      if (row[j] > row[at]) at = j;
    }
    out[i] = at;
  }
}

void plain_logsumexp(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    float most = row[0], sum = 0;
    for (int64_t j = 1; j < columns; ++j) most = row[j] > most ? row[j] : most;
    for (int64_t j = 0; j < columns; ++j) sum += expf(row[j] - most);
    out[i] = most + logf(sum);
  }
}

// ---- Rows.

void plain_softmax(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    float *to = out + i * columns, most = row[0], sum = 0;
    for (int64_t j = 1; j < columns; ++j) most = row[j] > most ? row[j] : most;
    for (int64_t j = 0; j < columns; ++j) sum += to[j] = expf(row[j] - most);
    for (int64_t j = 0; j < columns; ++j) to[j] /= sum;
  }
}

void plain_log_softmax(float *out, const float *in, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    float most = row[0], sum = 0;
    for (int64_t j = 1; j < columns; ++j) most = row[j] > most ? row[j] : most;
    for (int64_t j = 0; j < columns; ++j) sum += expf(row[j] - most);
    const float down = most + logf(sum);
    for (int64_t j = 0; j < columns; ++j) out[i * columns + j] = row[j] - down;
  }
}

void plain_layernorm(float *out, const float *in, const float *weight, const float *bias,
                     int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    float mean = 0, square = 0;
    for (int64_t j = 0; j < columns; ++j) mean += row[j];
    mean /= (float)columns;
    for (int64_t j = 0; j < columns; ++j) square += (row[j] - mean) * (row[j] - mean);
    const float scale = 1 / sqrtf(square / (float)columns + 1e-5f);
    for (int64_t j = 0; j < columns; ++j) {
      out[i * columns + j] = (row[j] - mean) * scale * weight[j] + bias[j];
    }
  }
}

void plain_rmsnorm(float *out, const float *in, const float *weight, int64_t rows,
                   int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    const float *row = in + i * columns;
    float square = 0;
    for (int64_t j = 0; j < columns; ++j) square += row[j] * row[j];
    const float scale = 1 / sqrtf(square / (float)columns + 1e-5f);
    for (int64_t j = 0; j < columns; ++j) out[i * columns + j] = row[j] * scale * weight[j];
  }
}

// ---- Choice and order.

// By insertion into those found so far.
void plain_topk(float *values, int64_t *indices, const float *in, int64_t k, int64_t rows,
                int64_t columns) {
  for (int64_t i = 0; i < rows; ++i, values += k, indices += k, in += columns) {
    int64_t found = 0;
    for (int64_t j = 0; j < columns; ++j) {
      if (found == k && !(in[j] > values[k - 1])) continue;
      int64_t at = found < k ? found++ : k - 1;
      for (; at > 0 && in[j] > values[at - 1]; --at) {
        values[at] = values[at - 1];
        indices[at] = indices[at - 1];
      }
      values[at] = in[j];
      indices[at] = j;
    }
  }
}

struct entry {
  float value;
  int32_t index;
};

static int compare_entries(const void *a, const void *b) {
  const struct entry *x = a, *y = b;
  if (x->value != y->value) return x->value < y->value ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

void plain_sort(float *values, int64_t *indices, const float *in, int64_t rows, int64_t columns) {
  struct entry *entries = malloc((size_t)columns * sizeof *entries);
  if (!entries) abort();
  for (int64_t i = 0; i < rows; ++i, values += columns, indices += columns, in += columns) {
    for (int64_t j = 0; j < columns; ++j) entries[j] = (struct entry){in[j], (int32_t)j};
    qsort(entries, (size_t)columns, sizeof *entries, compare_entries);
    for (int64_t j = 0; j < columns; ++j) {
      values[j] = entries[j].value;
      indices[j] = entries[j].index;
    }
  }
  free(entries);
}

void plain_take(float *out, const float *in, const int64_t *places, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    memcpy(out + i * columns, in + places[i] * columns, (size_t)columns * sizeof *out);
  }
}

// ---- Matrix products.

typedef void gemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                  const float *a, int a_step, const float *b, int b_step, float beta, float *out,
                  int out_step);

static gemm *sgemm;

int plain_gemm_open(void) {
  const char *name = getenv("FARSIDE_OPENBLAS");
  void *library = dlopen(name ? name : "libopenblas.so.0", RTLD_NOW);
  if (!library) return 1;
  sgemm = (gemm *)dlsym(library, "cblas_sgemm");
  void (*set_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
  if (!sgemm || !set_threads) return 1;
  set_threads(1);
  return 0;
}

void plain_gemm(float *out, const float *a, const float *b, int size) {
  enum { ROW_MAJOR = 101, AS_IT_IS = 111 };
  sgemm(ROW_MAJOR, AS_IT_IS, AS_IT_IS, size, size, size, 1, a, size, b, size, 0, out, size);
}

void plain_bias_relu(float *out, const float *bias, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const float x = out[i * columns + j] + bias[j];
      out[i * columns + j] = x < 0 ? 0 : x;
    }
  }
}

// ---- Launches, of whichever library `launch` is a function of.

double plain_launches(launch_unary *launch, int own, int64_t count, int op,
                      const struct kernel_view *out, const struct kernel_view *in, void *stream) {
  const double start = plain_now(own);
  for (int64_t i = 0; i < count; ++i) launch(op, out, in, stream);
  return plain_now(own) - start;
}
