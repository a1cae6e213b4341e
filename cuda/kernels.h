// The kernels' C interface. Two libraries have it: libfarside_cuda.so, made by nvcc, and
// libfarside_cpu.so, made by g++ of the same sources. Lua takes the declarations between the two
// marker lines as they are (through kernel_declarations, so that a library and its declarations
// cannot differ); hence no preprocessor there.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- declarations begin

/// Every function that returns int returns 0, a positive code of the CUDA runtime, or one of these.
/// None of them prints, ends the process or, if it is named kernel_*, allocates or waits. What was
/// launched on a stream is done in that stream's order; the CPU library has done it all when a
/// function returns, unless the stream is being captured.
enum kernel_status {
  KERNEL_OK = 0,
  KERNEL_BAD_DTYPE = -1,      ///< the operation is not defined for these element types
  KERNEL_BAD_SHAPE = -2,      ///< the shapes do not fit each other, or a rank is not 0 to 8
  KERNEL_BAD_OPERATION = -3,  ///< no such operation
  KERNEL_BAD_WORKSPACE = -4,  ///< the workspace is smaller than the function that goes with it says
  KERNEL_BAD_ARGUMENT = -5,   ///< another argument is out of its range
  KERNEL_NO_LIBRARY =
      -6,  ///< a library that is opened at run time is not there, or lacks a function
};

enum kernel_dtype {
  KERNEL_F64,
  KERNEL_F32,
  KERNEL_F16,
  KERNEL_BF16,
  KERNEL_I64,
  KERNEL_I32,
  KERNEL_U8,
  KERNEL_BOOL,  ///< one byte, 0 or 1
  KERNEL_DTYPES
};

/// Elements in memory that somebody else owns. Strides count elements, may be 0 and negative. Two
/// elements of an output must not share memory; an input may be the very same view as the output of
/// an elementwise operation, but must not overlap it otherwise. `data` is aligned to its element.
struct kernel_view {
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[8];
  int64_t stride[8];
};

// ---- Elementwise. Inputs are broadcast to the shape of the output, aligned at the last dimension.
// Inputs of one operation have one dtype and the output has it too, where nothing else is said. f16
// and bf16 are computed in f32 and rounded once.

enum kernel_unary_op {
  KERNEL_NEG,  // numbers; integers wrap around
  KERNEL_ABS,
  KERNEL_SIGN,
  KERNEL_SQUARE,
  KERNEL_NOT,    // bitwise for integers, logical for bool; no floats
  KERNEL_FLOOR,  // from here on floats only
  KERNEL_CEIL,
  KERNEL_TRUNC,
  KERNEL_ROUND,  // half to even
  KERNEL_SQRT,
  KERNEL_RSQRT,
  KERNEL_RECIPROCAL,
  KERNEL_EXP,
  KERNEL_EXPM1,
  KERNEL_LOG,
  KERNEL_LOG2,
  KERNEL_LOG10,
  KERNEL_LOG1P,
  KERNEL_SIN,
  KERNEL_COS,
  KERNEL_TAN,
  KERNEL_ASIN,
  KERNEL_ACOS,
  KERNEL_ATAN,
  KERNEL_SINH,
  KERNEL_COSH,
  KERNEL_TANH,
  KERNEL_ERF,
  KERNEL_SIGMOID,
  KERNEL_RELU,
  KERNEL_GELU,       // x/2 * (1 + erf(x / sqrt 2))
  KERNEL_GELU_TANH,  // the usual approximation of it
  KERNEL_SILU,
  KERNEL_SOFTPLUS,
  KERNEL_ISNAN,  // from here on the output is bool
  KERNEL_ISINF,
  KERNEL_ISFINITE,
  KERNEL_UNARY_OPS
};

int kernel_unary(int op, const struct kernel_view *out, const struct kernel_view *in, void *stream);

enum kernel_binary_op {
  KERNEL_ADD,  // numbers; integers wrap around
  KERNEL_SUB,
  KERNEL_MUL,
  KERNEL_DIV,       // floats only
  KERNEL_FLOORDIV,  // towards minus infinity; an integer divided by 0 is 0
  KERNEL_MOD,       // a - floordiv(a, b) * b, as Lua has it; an integer modulo 0 is 0
  KERNEL_POW,       // of integers: wraps around; a negative exponent gives 0 but for 1 and -1
  KERNEL_MIN,       // NaN if one is NaN
  KERNEL_MAX,
  KERNEL_ATAN2,  // floats only
  KERNEL_AND,    // bitwise for integers, logical for bool; no floats
  KERNEL_OR,
  KERNEL_XOR,
  KERNEL_EQ,  // from here on any dtype, and the output is bool
  KERNEL_NE,
  KERNEL_LT,
  KERNEL_LE,
  KERNEL_GT,
  KERNEL_GE,
  KERNEL_BINARY_OPS
};

int kernel_binary(int op, const struct kernel_view *out, const struct kernel_view *a,
                  const struct kernel_view *b, void *stream);

/// op(in, value), or op(value, in) if `first` is not 0. The value is converted to the dtype of `in`
/// as kernel_copy converts from f64. An i64 that a double does not hold goes through kernel_binary
/// as a view of one element.
int kernel_binary_scalar(int op, const struct kernel_view *out, const struct kernel_view *in,
                         double value, int first, void *stream);

/// condition ? a : b; the condition is bool, the rest has any one dtype.
int kernel_where(const struct kernel_view *out, const struct kernel_view *condition,
                 const struct kernel_view *a, const struct kernel_view *b, void *stream);

/// Copies and converts between any two dtypes. Float to integer: towards zero, NaN becomes 0, what
/// is out of range the nearest bound. Integer to a smaller one: the low bits. To bool: x != 0. To a
/// smaller float: to nearest, ties to even.
int kernel_copy(const struct kernel_view *out, const struct kernel_view *in, void *stream);

/// Each element becomes the value, converted as kernel_copy converts from f64.
int kernel_fill(const struct kernel_view *out, double value, void *stream);

/// Element i in row-major order becomes start + i * step, computed in f64, or in i64 where the
/// output holds integers.
int kernel_arange(const struct kernel_view *out, double start, double step, void *stream);

enum kernel_random_kind {
  KERNEL_UNIFORM,   ///< floats in [a, b)
  KERNEL_NORMAL,    ///< floats of mean a and standard deviation b
  KERNEL_INTEGERS,  ///< numbers of a to b inclusive, whole; b - a < 2^53
};

/// Philox 4x32-10: element i in row-major order depends on seed, offset + i, kind, dtype, a and b
/// alone, so that a tensor may be made in parts, and is the same to the bit in both libraries.
int kernel_random(int kind, const struct kernel_view *out, uint64_t seed, uint64_t offset, double a,
                  double b, void *stream);

// ---- Reductions. `out` has the rank of `in`, and 1 where it is reduced; fewer than 2^31 elements
// are kept, and reduced into one. The order in which numbers are added does not depend on the
// threads there are.

enum kernel_reduce_op {
  KERNEL_SUM,      ///< of integers and bool: i64, wraps around
  KERNEL_PRODUCT,  ///< of integers: i64, wraps around
  KERNEL_MEAN,     ///< floats only; of nothing: NaN
  KERNEL_REDUCE_MIN,
  KERNEL_REDUCE_MAX,  ///< NaN if one is; of nothing: KERNEL_BAD_SHAPE
  KERNEL_ARGMIN,      ///< i64: the place in row-major order of what is reduced, the first of equals
  KERNEL_ARGMAX,      ///< NaN counts as the largest, and as the least for ARGMIN
  KERNEL_LOGSUMEXP,   ///< floats only; of nothing: minus infinity
  KERNEL_REDUCE_ANY,  ///< bool
  KERNEL_REDUCE_ALL,
  KERNEL_REDUCE_OPS
};

/// Bytes of workspace that kernel_reduce asks for.
uint64_t kernel_reduce_workspace(int op, const struct kernel_view *out,
                                 const struct kernel_view *in);
int kernel_reduce(int op, const struct kernel_view *out, const struct kernel_view *in,
                  void *workspace, uint64_t workspace_size, void *stream);

// ---- Rows. Floats; the output has the shape and the dtype of the input, and may be the same view.

/// Along the dimension `axis`, from 0; `logarithm` not 0: its logarithm.
int kernel_softmax(const struct kernel_view *out, const struct kernel_view *in, int axis,
                   int logarithm, void *stream);
/// (x - mean) / sqrt(variance + epsilon) * weight + bias along the last dimension. weight and bias
/// are NULL or have one dimension of its length, and the input's dtype.
int kernel_layernorm(const struct kernel_view *out, const struct kernel_view *in,
                     const struct kernel_view *weight, const struct kernel_view *bias,
                     double epsilon, void *stream);
/// x / sqrt(mean of x * x + epsilon) * weight along the last dimension.
int kernel_rmsnorm(const struct kernel_view *out, const struct kernel_view *in,
                   const struct kernel_view *weight, double epsilon, void *stream);

// ---- Elements from places along the dimension `axis`, from 0. Indices are i64 or i32 and count
// from `first`: 0, or 1 as Lua counts. One that leads out of the input is not followed: the element
// becomes 0, and *wrong, in the device's memory or NULL, the largest of it and what such indices
// were, less `first` and as unsigned integers. The caller has set it to 0, which it stays if all
// indices are good.

/// out[i, j, ...] = in[index[i, j, ...], j, ...], for another axis likewise. `out` has the shape of
/// `index`, which is the input's but for the axis.
int kernel_gather(const struct kernel_view *out, const struct kernel_view *in,
                  const struct kernel_view *index, int axis, int64_t first, uint64_t *wrong,
                  void *stream);
/// The parts of the input at the places that `index`, of one dimension, tells: its axis has as many
/// in `out`.
int kernel_take(const struct kernel_view *out, const struct kernel_view *in,
                const struct kernel_view *index, int axis, int64_t first, uint64_t *wrong,
                void *stream);

// ---- Choice and order along the last dimension, of fewer than 2^31 rows of fewer than 2^31
// elements. NaN counts as the largest, -0 as 0, and of equals the first comes first. `values` (of the
// input's dtype) and `indices` (i64 or i32) have the input's shape but for the last dimension, where
// they have no more: so many of each row are written. One of the two may be NULL. Indices are those
// of the input's last dimension, and the first is `first`: 0, or 1 as Lua counts. Workspaces are
// aligned to 16 bytes.

/// The largest, or the least with `largest` 0, in order. Any number; up to 64 in one pass over the
/// input.
uint64_t kernel_topk_workspace(const struct kernel_view *values, const struct kernel_view *indices,
                               const struct kernel_view *in);
int kernel_topk(const struct kernel_view *values, const struct kernel_view *indices,
                const struct kernel_view *in, int largest, int64_t first, void *workspace,
                uint64_t workspace_size, void *stream);

/// All in order: the least first, or the largest if `descending` is not 0. Of long rows as many are
/// sorted at a time as the workspace holds, which must be one; the function below says what is best.
uint64_t kernel_sort_workspace(const struct kernel_view *values, const struct kernel_view *indices,
                               const struct kernel_view *in);
int kernel_sort(const struct kernel_view *values, const struct kernel_view *indices,
                const struct kernel_view *in, int descending, int64_t first, void *workspace,
                uint64_t workspace_size, void *stream);

// ---- Matrix products. Workspaces are aligned to 64 bytes.

enum { KERNEL_NO_ACTIVATION = -1 };

enum kernel_matmul_flags {
  KERNEL_TF32 = 1,  ///< f32 may be rounded to tf32 (10 bits of fraction) where a GPU is faster so
  KERNEL_PORTABLE = 2,  ///< by the portable kernel, also where there is a library
};

/// Bytes of workspace that kernel_matmul asks for; it may refuse to do with less.
uint64_t kernel_matmul_workspace(const struct kernel_view *out, const struct kernel_view *a,
                                 const struct kernel_view *b, int flags);
/// activation(alpha * (a @ b) + bias): `a` is [..., m, k], `b` [..., k, n], `out` [..., m, n], and
/// the dimensions in front are broadcast to those of `out`; m, n, k and the number of products are
/// below 2^31. All have one dtype, but not bool. `bias` is NULL or has one dimension of n;
/// `activation` is KERNEL_NO_ACTIVATION, or KERNEL_TANH, SIGMOID, RELU, GELU, GELU_TANH, SILU or
/// SOFTPLUS. The sum of no products (k = 0) is 0.
///
/// Floats go to a library that is opened at the first call (which may allocate then, and once more
/// for each new shape): OpenBLAS, or cuBLASLt; where it is not there, and for integers, to the
/// portable kernel. f16 and bf16 are added up in f32 and rounded once; cuBLASLt rounds before an
/// activation that it does not have, too, which are all but RELU and GELU_TANH. Integers wrap
/// around and have neither activation nor alpha other than 1. Operands whose rows or whose columns
/// lie one element beside the other are used where they are, others copied to the workspace.
///
/// OpenBLAS is set to one thread for the whole process; products are shared out to the threads of
/// device_threads.
int kernel_matmul(const struct kernel_view *out, const struct kernel_view *a,
                  const struct kernel_view *b, const struct kernel_view *bias, int activation,
                  double alpha, int flags, void *workspace, uint64_t workspace_size, void *stream);
/// What multiplies floats, as in "OpenBLAS 0.3.21 Cooperlake", "cuBLASLt 13.0.2" or "portable"; a
/// static string. FARSIDE_OPENBLAS in the environment names another file than libopenblas.so.0.
const char *kernel_matmul_library(void);
/// 1 if the last kernel_matmul of this thread went to the library, 0 if to the portable kernel.
int kernel_matmul_used_library(void);

// ---- Device. The CPU library has one device, the processor.

struct device_properties {
  char name[128];
  uint64_t memory;  ///< bytes in all
  int32_t major;    ///< compute capability; 0 on the CPU
  int32_t minor;
  int32_t multiprocessors;  ///< on the CPU the threads that blocks run on
  int32_t driver_version;   ///< 1000 * major + 10 * minor, as CUDA has it; 0 on the CPU
  int32_t runtime_version;
};

/// "cuda" or "cpu".
const char *device_kind(void);
/// How many there are. 0 of them is no error, whatever the reason; device_last_reason tells it.
int device_count(int32_t *count);
/// The code that device_count met, 0 if there was none.
int device_last_reason(void);
/// Of the driver, 0 if there is none, and of the runtime: also where there is no device.
int device_versions(int32_t *driver, int32_t *runtime);
int device_describe(int32_t device, struct device_properties *properties);
int device_set(int32_t device);
int device_get(int32_t *device);
/// Waits for all streams of the current device.
int device_synchronize(void);
/// Bytes free and in all on the current device.
int device_memory(uint64_t *free_bytes, uint64_t *total);
/// Takes the last error of this thread out of the runtime; sticky ones stay.
int device_last_error(void);
/// Name and sentence of any status of this library, static strings.
const char *device_error_name(int status);
const char *device_error_text(int status);

/// Memory in the stream's order, from the device's pool, which keeps what is freed for the next
/// (until device_trim). Aligned to 256 bytes. Size 0 gives NULL.
int device_malloc(void **memory, uint64_t size, void *stream);
int device_free(void *memory, void *stream);
/// Gives the pool's unused memory beyond `keep` bytes back to the system.
int device_trim(uint64_t keep);
/// Memory of the host that the device reaches without a copy in between. Freeing waits for the
/// device.
int device_host_malloc(void **memory, uint64_t size);
int device_host_free(void *memory);
/// Between any two memories; asynchronous where both are the device's or pinned.
int device_copy(void *to, const void *from, uint64_t size, void *stream);
int device_memset(void *memory, int value, uint64_t size, void *stream);

/// Streams do not wait for the default stream (NULL), nor it for them.
int device_stream_new(void **stream);
int device_stream_free(void *stream);
int device_stream_synchronize(void *stream);
/// *done is 1 when all that was put on the stream is done, else 0.
int device_stream_query(void *stream, int32_t *done);
int device_stream_wait(void *stream, void *event);

/// `timing` 0 makes the cheaper sort that device_event_elapsed refuses.
int device_event_new(void **event, int timing);
int device_event_free(void *event);
int device_event_record(void *event, void *stream);
int device_event_query(void *event, int32_t *done);
int device_event_synchronize(void *event);
int device_event_elapsed(float *milliseconds, void *start, void *stop);

/// What is launched on the stream between begin and end does not run but becomes a graph.
int device_capture_begin(void *stream);
int device_capture_end(void *stream, void **graph);
int device_graph_launch(void *graph, void *stream);
int device_graph_free(void *graph);

/// How many threads the CPU library runs blocks on: 0 asks, more sets. Returns the number; 0 in the
/// CUDA library.
int32_t device_threads(int32_t threads);

// ---- Users' own kernels. A library that the processor runs is made of their source and
// simt_module.h; it has kernel_entries alone of all that is declared here.

/// A kernel that is launched by its name, with pointers to its arguments, as the CUDA driver does.
struct kernel_entry {
  const char *name;
  int32_t parameters;
  const uint64_t *sizes;  ///< of the parameters, in bytes
  /// `shape` is the grid's x, y, z and the block's. The arguments are copied before it returns.
  int (*launch)(const struct kernel_entry *entry, const uint32_t *shape, uint64_t shared,
                void *stream, void **arguments);
  const struct kernel_entry *next;
};

/// The first of such kernels of a library, NULL if it has none.
const struct kernel_entry *kernel_entries(void);
/// The text of a header of ours by its name ("simt_module.h"), with which the processor's compiler
/// makes such a library; NULL: it is none of them. Number i of their names from 0, or NULL.
const char *kernel_header(const char *name);
const char *kernel_header_name(int32_t i);

// ---- declarations end

/// The text between the marker lines above.
const char *kernel_declarations(void);

#ifdef __cplusplus
}
#endif
