#include "cublaslt.h"

#ifdef FARSIDE_CUBLASLT

#include <cublasLt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"

namespace cublaslt {

namespace {

static_assert(sizeof(question) == 10 * 8 + 10 * 4, "no gaps, whose bytes would be anything");

constexpr int kAnswers = 512;  // shapes that are kept; each has one place, where the last one stays
constexpr int kDevices = 64;

// What the library takes for a question, made once.
struct answer {
  bool asked, found;
  question asked_for;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, out;
  cublasLtMatmulAlgo_t algorithm;
  uint64_t scratch;  // bytes that it uses
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // guards the two tables
answer answers[kAnswers];
cublasLtHandle_t handles[kDevices];

pthread_once_t once = PTHREAD_ONCE_INIT;
const library *opened;

}  // namespace

struct library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescCreate) operation_create;
  decltype(&cublasLtMatmulDescDestroy) operation_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  char name[48];
};

static library functions;

template <class F>
static bool find(void *file, const char *name, F *function) {
  void *found = dlsym(file, name);
  memcpy(function, &found, sizeof found);
  return found != nullptr;
}

// The major version that it was compiled for: others differ in their types.
static void *open_file() {
  char name[64];
  snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
  void *file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
#ifdef FARSIDE_CUDA_LIBRARIES
  if (!file) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", FARSIDE_CUDA_LIBRARIES, name);
    file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
#endif
  return file;
}

static void open_once() {
  void *file = open_file();
  if (!file) return;
  library &f = functions;
  if (!find(file, "cublasLtCreate", &f.create) || !find(file, "cublasLtGetVersion", &f.version) ||
      !find(file, "cublasLtMatmul", &f.matmul) ||
      !find(file, "cublasLtMatmulAlgoGetHeuristic", &f.heuristic) ||
      !find(file, "cublasLtMatmulDescCreate", &f.operation_create) ||
      !find(file, "cublasLtMatmulDescDestroy", &f.operation_destroy) ||
      !find(file, "cublasLtMatmulDescSetAttribute", &f.operation_set) ||
      !find(file, "cublasLtMatmulPreferenceCreate", &f.preference_create) ||
      !find(file, "cublasLtMatmulPreferenceDestroy", &f.preference_destroy) ||
      !find(file, "cublasLtMatmulPreferenceSetAttribute", &f.preference_set) ||
      !find(file, "cublasLtMatrixLayoutCreate", &f.layout_create) ||
      !find(file, "cublasLtMatrixLayoutDestroy", &f.layout_destroy) ||
      !find(file, "cublasLtMatrixLayoutSetAttribute", &f.layout_set)) {
    return;
  }
  const unsigned version = static_cast<unsigned>(f.version());
  snprintf(f.name, sizeof f.name, "cuBLASLt %u.%u.%u", version / 10000, version / 100 % 100,
           version % 100);
  opened = &functions;
}

const library *get() {
  pthread_once(&once, open_once);
  return opened;
}

const char *name_of(const library *library) {
  return library->name;
}

int32_t epilogue_of(int activation, bool bias) {
  switch (activation) {
    case KERNEL_NO_ACTIVATION:
      return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    case KERNEL_RELU:
      return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case KERNEL_GELU_TANH:  // theirs is the approximation
      return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
      return NO_EPILOGUE;
  }
}

static cudaDataType_t type_of(int dtype) {
  static const cudaDataType_t types[] = {CUDA_R_64F, CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF};
  return types[dtype];
}

static void forget(const library &f, answer *kept) {
  if (kept->operation) f.operation_destroy(kept->operation);
  if (kept->a) f.layout_destroy(kept->a);
  if (kept->b) f.layout_destroy(kept->b);
  if (kept->out) f.layout_destroy(kept->out);
  *kept = {};
}

// A matrix of rows * columns that lie by rows, or by columns if transposed, with the rows as
// columns.
static bool make_layout(const library &f, cublasLtMatrixLayout_t *made, int dtype, int64_t rows,
                        int64_t columns, int64_t ld, bool transposed, int32_t batch,
                        int64_t stride) {
  if (f.layout_create(made, type_of(dtype), static_cast<uint64_t>(transposed ? rows : columns),
                      static_cast<uint64_t>(transposed ? columns : rows), ld)) {
    return false;
  }
  return !f.layout_set(*made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch) &&
         !f.layout_set(*made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride);
}

static bool make_operation(const library &f, answer *made, const question &q) {
  const cublasComputeType_t compute = q.dtype == KERNEL_F64 ? CUBLAS_COMPUTE_64F
                                      : q.tf32              ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                            : CUBLAS_COMPUTE_32F;
  const cudaDataType_t scale = q.dtype == KERNEL_F64 ? CUDA_R_64F : CUDA_R_32F;
  const int32_t first = q.transposed_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const int32_t second = q.transposed_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasLtEpilogue_t epilogue = static_cast<cublasLtEpilogue_t>(q.epilogue);
  return !f.operation_create(&made->operation, compute, scale) &&
         !f.operation_set(made->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first) &&
         !f.operation_set(made->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second) &&
         !f.operation_set(made->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                          sizeof epilogue);
}

static bool set_bias(const library &f, const answer &kept, const void *bias) {
  return !bias ||
         !f.operation_set(kept.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
}

// What fails for another reason than that the library has no algorithm may do so for once, as while
// a graph is captured: it is asked again next time.
static bool choose(const library &f, cublasLtHandle_t handle, answer *made, const question &q) {
  cublasLtMatmulPreference_t wish;
  if (f.preference_create(&wish)) return false;
  const size_t most = static_cast<size_t>(q.scratch);
  const uint32_t a = static_cast<uint32_t>(q.align_a), b = static_cast<uint32_t>(q.align_b),
                 out = static_cast<uint32_t>(q.align_out);
  cublasLtMatmulHeuristicResult_t result = {};
  int count = 0;
  const bool wished =
      !f.preference_set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most) &&
      !f.preference_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b) &&
      !f.preference_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a) &&
      !f.preference_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out, sizeof out) &&
      !f.preference_set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out, sizeof out);
  cublasStatus_t status = CUBLAS_STATUS_INTERNAL_ERROR;
  if (wished) {
    status = f.heuristic(handle, made->operation, made->b, made->a, made->out, made->out, wish, 1,
                         &result, &count);
  }
  f.preference_destroy(wish);
  made->asked = status == CUBLAS_STATUS_SUCCESS || status == CUBLAS_STATUS_NOT_SUPPORTED ||
                status == CUBLAS_STATUS_INVALID_VALUE;
  made->algorithm = result.algo;
  made->scratch = result.workspaceSize;
  return status == CUBLAS_STATUS_SUCCESS && count == 1 && result.state == CUBLAS_STATUS_SUCCESS;
}

static void ask(const library &f, cublasLtHandle_t handle, answer *made, const question &q,
                const void *bias) {
  forget(f, made);
  made->asked = true;
  made->asked_for = q;
  made->found =
      make_operation(f, made, q) && set_bias(f, *made, bias) &&
      make_layout(f, &made->a, q.dtype, q.m, q.k, q.ld_a, q.transposed_a, q.batch, q.stride_a) &&
      make_layout(f, &made->b, q.dtype, q.k, q.n, q.ld_b, q.transposed_b, q.batch, q.stride_b) &&
      make_layout(f, &made->out, q.dtype, q.m, q.n, q.ld_out, false, q.batch, q.stride_out) &&
      choose(f, handle, made, q);
}

// FNV-1a.
static uint64_t hash_of(const question &q) {
  unsigned char bytes[sizeof q];
  memcpy(bytes, &q, sizeof q);
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash ^ hash >> 32;
}

// The answer to a question on the current device, NULL if there is none. The lock is held.
static answer *find_answer(const library &f, question q, const void *bias, int *status) {
  int device = 0;
  *status = static_cast<int>(cudaGetDevice(&device));
  if (*status) return nullptr;
  *status = KERNEL_NO_LIBRARY;
  if (device >= kDevices || (!handles[device] && f.create(&handles[device]))) return nullptr;
  q.device = device;
  answer *kept = &answers[hash_of(q) % kAnswers];
  if (!kept->asked || memcmp(&kept->asked_for, &q, sizeof q) != 0) {
    ask(f, handles[device], kept, q, bias);
  }
  return kept->found ? kept : nullptr;
}

uint64_t scratch_for(const library &f, const question &q) {
  int status;
  pthread_mutex_lock(&lock);
  const answer *found = find_answer(f, q, nullptr, &status);
  const uint64_t scratch = found ? found->scratch : 0;
  pthread_mutex_unlock(&lock);
  return scratch;
}

static int launch(const library &f, const answer &found, double alpha, void *out, const void *a,
                  const void *b, void *scratch, void *stream) {
  const float single = static_cast<float>(alpha), zero = 0;
  const double none = 0;
  const bool is_double = found.asked_for.dtype == KERNEL_F64;
  const cublasStatus_t status =
      f.matmul(handles[found.asked_for.device], found.operation,
               is_double ? static_cast<const void *>(&alpha) : &single, b, found.b, a, found.a,
               is_double ? static_cast<const void *>(&none) : &zero, out, found.out, out, found.out,
               &found.algorithm, scratch, found.scratch, static_cast<cudaStream_t>(stream));
  if (status == CUBLAS_STATUS_SUCCESS) return KERNEL_OK;
  const cudaError_t error = cudaGetLastError();
  return error ? static_cast<int>(error) : int{KERNEL_NO_LIBRARY};
}

int multiply(const library &f, const question &q, double alpha, void *out, const void *a,
             const void *b, const void *bias, void *scratch, void *stream) {
  int status;
  pthread_mutex_lock(&lock);
  const answer *found = find_answer(f, q, bias, &status);
  if (found && set_bias(f, *found, bias)) {
    status = launch(f, *found, alpha, out, a, b, scratch, stream);
  }
  pthread_mutex_unlock(&lock);
  return status;
}

}  // namespace cublaslt

#endif
