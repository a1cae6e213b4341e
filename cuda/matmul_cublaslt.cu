// Matrix products by cuBLASLt, which is opened at run time.
//
// cuBLASLt counts by columns: the output's rows are its columns, and so a product of a and b is to
// it one of b and a. Bias and activation are part of its kernel where it has one for them, else they
// are added by a kernel of ours. What it was asked for a shape, and the algorithm that it named, are
// kept; making that allocates, as does opening the library.
#include "cublaslt.h"
#include "matmul.h"

#ifdef FARSIDE_CUBLASLT

namespace {

using cublaslt::library;
using cublaslt::question;

constexpr uint64_t kAlign = 256;
constexpr uint64_t kScratch =
    32 << 20;  // bytes that an algorithm may use, as is advised for Hopper

uint64_t aligned(uint64_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

// A view of the same shape in row-major order, of memory that is still to be given.
struct kernel_view packed(const struct kernel_view &view) {
  struct kernel_view made = view;
  int64_t step = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    made.stride[i] = step;
    step *= view.shape[i];
  }
  made.data = nullptr;
  return made;
}

uint64_t bytes_of(const struct kernel_view &view) {
  return aligned(static_cast<uint64_t>(view_count(&view)) *
                 static_cast<uint64_t>(dtype_size(view.dtype)));
}

bool lies(const struct kernel_view &v) {
  const int r = v.rank;
  struct dense unused;
  const struct matrix x = {nullptr, v.stride[r - 2], v.stride[r - 1]};
  return is_dense(x, v.shape[r - 2], v.shape[r - 1], INT32_MAX, &unused);
}

bool lies_in_rows(const struct kernel_view &v) {
  const int r = v.rank;
  struct dense d;
  const struct matrix x = {nullptr, v.stride[r - 2], v.stride[r - 1]};
  return is_dense(x, v.shape[r - 2], v.shape[r - 1], INT32_MAX, &d) && !d.transposed;
}

// The three views as they are multiplied: those that do not lie so that BLAS takes them are in the
// workspace.
struct operands {
  struct kernel_view out, a, b;
  bool copy_out, copy_a, copy_b;
  uint64_t bytes;  // of those
};

operands operands_of(const struct kernel_view *out, const struct kernel_view *a,
                     const struct kernel_view *b) {
  operands o = {*out, *a, *b, !lies_in_rows(*out), !lies(*a), !lies(*b), 0};
  if (o.copy_out) o.out = packed(*out), o.bytes += bytes_of(o.out);
  if (o.copy_a) o.a = packed(*a), o.bytes += bytes_of(o.a);
  if (o.copy_b) o.b = packed(*b), o.bytes += bytes_of(o.b);
  return o;
}

// Bias and activation on what the product has left in the output.
template <class T>
struct epilogue_fn {
  int activation;
  __device__ T operator()(T sum) const {
    return convert<T>(activate(activation, load(sum)));
  }
  __device__ T operator()(T sum, T bias) const {
    return convert<T>(activate(activation, load(sum) + load(bias)));
  }
};

int run_epilogue(const struct kernel_view *out, const struct kernel_view *bias, int activation,
                 void *stream) {
  return with_dtype(out->dtype, floats(), [&](auto of) {
    using T = element_of<decltype(of)>;
    const epilogue_fn<T> f = {activation};
    if (bias) return map<T, T, T, none>(f, f, stream, out, out, bias);
    return map<T, T, none, none>(f, f, stream, out, out);
  });
}

// Fills in what is asked of the library about one strided batch. False: it does not take it so.
bool question_of(question *made, const product &p, int flags) {
  question q = {};
  struct dense a, b, out;
  if (!is_dense(p.a, p.m, p.k, INT32_MAX, &a) || !is_dense(p.b, p.k, p.n, INT32_MAX, &b) ||
      !is_dense(p.out, p.m, p.n, INT32_MAX, &out) || out.transposed) {
    return false;
  }
  q.dtype = p.dtype;
  q.tf32 = (flags & KERNEL_TF32) != 0 && p.dtype == KERNEL_F32;
  q.m = p.m;
  q.n = p.n;
  q.k = p.k;
  q.ld_a = a.ld;
  q.ld_b = b.ld;
  q.ld_out = out.ld;
  q.transposed_a = a.transposed;
  q.transposed_b = b.transposed;
  q.batch = p.batch.rank > 0 ? p.batch.size[0].by : 1;
  q.stride_out = p.batch.stride[0][0];
  q.stride_a = p.batch.stride[1][0];
  q.stride_b = p.batch.stride[2][0];
  *made = q;
  return true;
}

// Bytes to which an address, and what lies at all of its strides, is aligned, up to 16.
int32_t alignment_of(const void *data, const product &p, int operand) {
  uint64_t bits = reinterpret_cast<uintptr_t>(data) | 16;
  for (int d = 0; d < p.batch.rank; ++d) {
    bits |= static_cast<uint64_t>(p.batch.stride[operand][d]) *
            static_cast<uint64_t>(dtype_size(p.dtype));
  }
  return static_cast<int32_t>(bits & (~bits + 1));
}

const char *offset(const void *data, int64_t elements, int dtype) {
  return static_cast<const char *>(data) + elements * dtype_size(dtype);
}

// Offsets of the matrices of one product.
void offsets_of(const plan<3> &batch, uint32_t unit, int64_t (&at)[3]) {
  for (int64_t &one : at) one = 0;
  for (int d = 0; d < batch.rank; ++d) {
    for (int i = 0; i < 3; ++i) at[i] += unit % batch.size[d].by * batch.stride[i][d];
    unit /= batch.size[d].by;
  }
}

// Launches the product: one call for each index of the outer dimensions of the batch.
int multiply(const library &lt, const product &p, const question &q, void *scratch, void *stream) {
  const uint32_t inner = static_cast<uint32_t>(q.batch);
  for (uint32_t unit = 0; unit < p.batch.units; unit += inner) {
    int64_t at[3];
    offsets_of(p.batch, unit, at);
    const int status =
        cublaslt::multiply(lt, q, p.alpha, const_cast<char *>(offset(p.out.data, at[0], p.dtype)),
                           offset(p.a.data, at[1], p.dtype), offset(p.b.data, at[2], p.dtype),
                           p.bias, scratch, stream);
    if (status) return status;
  }
  return KERNEL_OK;
}

// Puts the views in the workspace that have no place yet, and copies the inputs there.
int place_operands(operands *o, const struct kernel_view *a, const struct kernel_view *b,
                   char *workspace, void *stream) {
  if (o->copy_out) o->out.data = workspace, workspace += bytes_of(o->out);
  if (o->copy_a) {
    o->a.data = workspace, workspace += bytes_of(o->a);
    const int status = kernel_copy(&o->a, a, stream);
    if (status) return status;
  }
  if (o->copy_b) {
    o->b.data = workspace;
    return kernel_copy(&o->b, b, stream);
  }
  return KERNEL_OK;
}

// The product of the operands where they lie now, and what is asked about it.
int prepare(product *p, question *q, const operands &o, int flags) {
  int64_t count = 0;
  const int status = product_make(p, &count, &o.out, &o.a, &o.b);
  if (status) return status;
  if (!question_of(q, *p, flags)) return KERNEL_NO_LIBRARY;
  q->align_out = alignment_of(p->out.data, *p, 0);
  q->align_a = alignment_of(p->a.data, *p, 1);
  q->align_b = alignment_of(p->b.data, *p, 2);
  q->epilogue = cublaslt::NO_EPILOGUE;
  return KERNEL_OK;
}

// With the library's epilogue if it has one for all that is wanted; *fused says whether it had.
int multiply_fused(const library &lt, product *p, question *q, const product &given, bool *fused,
                   void *scratch, void *stream) {
  const bool bias_lies = given.bias_step == 1 && reinterpret_cast<uintptr_t>(given.bias) % 16 == 0;
  const int32_t epilogue = cublaslt::epilogue_of(given.activation, given.bias != nullptr);
  if (epilogue != cublaslt::NO_EPILOGUE && (!given.bias || bias_lies)) {
    q->epilogue = epilogue;
    p->bias = given.bias;
    *fused = true;
    const int status = multiply(lt, *p, *q, scratch, stream);
    if (status != KERNEL_NO_LIBRARY) return status;
  }
  q->epilogue = cublaslt::NO_EPILOGUE;
  p->bias = nullptr;
  *fused = false;
  return multiply(lt, *p, *q, scratch, stream);
}

}  // namespace

uint64_t library_matmul_workspace(const struct product &, const struct kernel_view *out,
                                  const struct kernel_view *a, const struct kernel_view *b,
                                  int flags) {
  const library *lt = cublaslt::get();
  if (!lt) return 0;
  const operands o = operands_of(out, a, b);
  product p = {};
  question q;
  if (prepare(&p, &q, o, flags)) return 0;
  q.scratch = kScratch;
  return o.bytes + aligned(cublaslt::scratch_for(*lt, q));
}

int library_matmul(const struct product &given, const struct kernel_view *out,
                   const struct kernel_view *a, const struct kernel_view *b,
                   const struct kernel_view *bias, int flags, void *workspace,
                   uint64_t workspace_size, void *stream) {
  const library *lt = cublaslt::get();
  if (!lt) return KERNEL_NO_LIBRARY;
  operands o = operands_of(out, a, b);
  if (workspace_size < o.bytes) return KERNEL_BAD_WORKSPACE;
  char *memory = static_cast<char *>(workspace);
  int status = place_operands(&o, a, b, memory, stream);
  if (status) return status;
  product p = {};
  question q;
  status = prepare(&p, &q, o, flags);
  if (status) return status;
  p.alpha = given.alpha;
  q.scratch = static_cast<int64_t>(workspace_size - o.bytes);
  bool fused = false;
  status = multiply_fused(*lt, &p, &q, given, &fused, memory + o.bytes, stream);
  if (status) return status;
  if (!fused && (bias || given.activation != KERNEL_NO_ACTIVATION)) {
    status = run_epilogue(&o.out, bias, given.activation, stream);
  }
  return !status && o.copy_out ? kernel_copy(out, &o.out, stream) : status;
}

const char *library_matmul_name(void) {
  const library *lt = cublaslt::get();
  return lt ? cublaslt::name_of(lt) : nullptr;
}

#else  // compiled without cublasLt.h

uint64_t library_matmul_workspace(const struct product &, const struct kernel_view *,
                                  const struct kernel_view *, const struct kernel_view *, int) {
  return 0;
}

int library_matmul(const struct product &, const struct kernel_view *, const struct kernel_view *,
                   const struct kernel_view *, const struct kernel_view *, int, void *, uint64_t,
                   void *) {
  return KERNEL_NO_LIBRARY;
}

const char *library_matmul_name(void) {
  return nullptr;
}

#endif
