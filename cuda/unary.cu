// Functions of one input.
#include "activation.h"
#include "elementwise.h"
#include "exponential.h"

template <class T>
static __device__ __forceinline__ T inverse_root(T x) {
#ifdef __CUDA_ARCH__
  return rsqrt(x);
#else
  return T(1) / sqrt(x);
#endif
}

template <class T>
static __device__ __forceinline__ T float_op(int op, T x) {
  switch (op) {
    case KERNEL_NEG:
      return -x;
    case KERNEL_ABS:
      return fabs(x);
    case KERNEL_SIGN:
      return x > 0 ? T(1) : x < 0 ? T(-1) : x;
    case KERNEL_SQUARE:
      return x * x;
    case KERNEL_FLOOR:
      return floor(x);
    case KERNEL_CEIL:
      return ceil(x);
    case KERNEL_TRUNC:
      return trunc(x);
    case KERNEL_ROUND:
      return rint(x);
    case KERNEL_SQRT:
      return sqrt(x);
    case KERNEL_RSQRT:
      return inverse_root(x);
    case KERNEL_RECIPROCAL:
      return T(1) / x;
    case KERNEL_EXP:
      return exponential(x);
    case KERNEL_EXPM1:
      return expm1(x);
    case KERNEL_LOG:
      return log(x);
    case KERNEL_LOG2:
      return log2(x);
    case KERNEL_LOG10:
      return log10(x);
    case KERNEL_LOG1P:
      return log1p(x);
    case KERNEL_SIN:
      return sin(x);
    case KERNEL_COS:
      return cos(x);
    case KERNEL_TAN:
      return tan(x);
    case KERNEL_ASIN:
      return asin(x);
    case KERNEL_ACOS:
      return acos(x);
    case KERNEL_ATAN:
      return atan(x);
    case KERNEL_SINH:
      return sinh(x);
    case KERNEL_COSH:
      return cosh(x);
    case KERNEL_TANH:
      return tanh(x);
    case KERNEL_ERF:
      return erf(x);
    case KERNEL_SIGMOID:
      return sigmoid(x);
    case KERNEL_RELU:
      return relu(x);
    case KERNEL_GELU:
      return gelu(x);
    case KERNEL_GELU_TANH:
      return gelu_tanh(x);
    case KERNEL_SILU:
      return x * sigmoid(x);
    default:
      return softplus(x);
  }
}

template <class T>
static __device__ __forceinline__ bool float_test(int op, T x) {
  const T difference = x - x;  // 0 of a finite number, else NaN
  if (op == KERNEL_ISNAN) return !(x == x);
  return op == KERNEL_ISFINITE ? difference == 0 : x == x && !(difference == 0);
}

template <class T>
static __device__ __forceinline__ bool is_below_zero(T x) {
  if constexpr (std::is_signed<T>::value) return x < 0;
  return false;
}

template <class T>
static __device__ __forceinline__ T integer_op(int op, T x) {
  const uint64_t bits = static_cast<uint64_t>(x);
  switch (op) {
    case KERNEL_NEG:
      return static_cast<T>(0 - bits);
    case KERNEL_ABS:
      return is_below_zero(x) ? static_cast<T>(0 - bits) : x;
    case KERNEL_SIGN:
      return static_cast<T>((x != 0) - 2 * is_below_zero(x));
    case KERNEL_SQUARE:
      return static_cast<T>(bits * bits);
    default:
      return static_cast<T>(~bits);
  }
}

constexpr bool is_test(int op) {
  return op >= KERNEL_ISNAN;
}

template <class T>
constexpr bool is_defined(int op) {
  if (std::is_same<T, truth>::value) return op == KERNEL_NOT;
  return number<T>::is_float ? op != KERNEL_NOT : op <= KERNEL_NOT;
}

template <class O, class T>
static __device__ __forceinline__ O unary_op(int op, wide<T> x) {
  if constexpr (!std::is_same<O, T>::value) {
    return convert<O>(float_test(op, x));
  } else if constexpr (number<T>::is_float) {
    return convert<O>(float_op(op, x));
  } else if constexpr (std::is_same<T, truth>::value) {
    return convert<O>(!x);
  } else {
    return integer_op(op, x);
  }
}

template <class O, class T>
static __device__ SIMT_ONCE O any_op(int op, wide<T> x) {
  return unary_op<O, T>(op, x);
}

// Those with a kernel of their own: a few instructions each, or of one line of the processor's
// vector unit. The others take so long that a choice at run time is nothing beside it.
template <class T>
constexpr bool is_fast(int op) {
  if (kFaithful) return false;
  return op <= KERNEL_NOT || op == KERNEL_SQRT || op == KERNEL_RECIPROCAL || op == KERNEL_RELU ||
         op == KERNEL_EXP || op == KERNEL_GELU_TANH || op == KERNEL_SILU ||
         (kSerial && op == KERNEL_SIGMOID);
}

template <int OP, class O, class T>
struct unary_fn {
  int op;
  __device__ O operator()(T a) const {
    if constexpr (OP == kAny) return any_op<O, T>(op, load(a));
    return unary_op<O, T>(OP, load(a));
  }
  auto in_f32() const {
    return unary_fn<OP, float, float>{op};
  }
};

template <int OP, class O, class T>
static int run(int op, const struct kernel_view *out, const struct kernel_view *in, void *stream) {
  return map<O, T, none, none>(unary_fn<OP, O, T>{op}, unary_fn<kAny, O, T>{op}, stream, out, in);
}

int kernel_unary(int op, const struct kernel_view *out, const struct kernel_view *in,
                 void *stream) {
  if (op < 0 || op >= KERNEL_UNARY_OPS) return KERNEL_BAD_OPERATION;
  return with_dtype(in->dtype, everything(), [&](auto from) {
    using T = element_of<decltype(from)>;
    if (!is_defined<T>(op)) return int{KERNEL_BAD_DTYPE};
    if (out->dtype != (is_test(op) ? KERNEL_BOOL : in->dtype)) return int{KERNEL_BAD_DTYPE};
    if constexpr (number<T>::is_float) {
      if (is_test(op)) return run<kAny, truth, T>(op, out, in, stream);
    }
    if (!is_fast<T>(op)) return run<kAny, T, T>(op, out, in, stream);
    return with_operation<0, KERNEL_SILU + 1>(op, [&](auto operation) -> int {
      constexpr int OP = std::decay_t<decltype(operation)>::value;
      if constexpr (is_fast<T>(OP) && is_defined<T>(OP)) return run<OP, T, T>(op, out, in, stream);
      return KERNEL_BAD_OPERATION;
    });
  });
}
