// Operations of two inputs, or of an input and a number.
#include "elementwise.h"

template <class T>
static __device__ __forceinline__ T floor_mod(T a, T b) {
  const T rest = fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

template <class T>
static __device__ __forceinline__ T float_op(int op, T a, T b) {
  switch (op) {
    case KERNEL_ADD:
      return a + b;
    case KERNEL_SUB:
      return a - b;
    case KERNEL_MUL:
      return a * b;
    case KERNEL_DIV:
      return a / b;
    case KERNEL_FLOORDIV:
      return floor(a / b);
    case KERNEL_MOD:
      return floor_mod(a, b);
    case KERNEL_POW:
      return pow(a, b);
    case KERNEL_MIN:
      return a < b || !(a == a) ? a : b;
    case KERNEL_MAX:
      return a > b || !(a == a) ? a : b;
    default:
      return atan2(a, b);
  }
}

template <class T>
static __device__ T integer_power(T base, T exponent) {
  if constexpr (std::is_signed<T>::value) {
    if (exponent < 0) return base == 1 ? T(1) : base == T(-1) ? T(exponent % 2 ? -1 : 1) : T(0);
  }
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (uint64_t rest = static_cast<uint64_t>(exponent); rest; rest >>= 1) {
    if (rest & 1) result *= square;
    square *= square;
  }
  return static_cast<T>(result);
}

// Quotient and remainder of division towards minus infinity. The least number divided by -1 wraps
// around.
template <class T>
static __device__ __forceinline__ T floor_divide(T a, T b, bool remainder) {
  if (b == 0) return 0;
  if constexpr (!std::is_signed<T>::value) {
    return static_cast<T>(remainder ? a % b : a / b);
  } else {
    if (b == T(-1)) return remainder ? T(0) : static_cast<T>(0 - static_cast<uint64_t>(a));
    const T quotient = a / b, rest = a % b;
    const bool down = rest != 0 && (rest < 0) != (b < 0);
    if (remainder) return down ? rest + b : rest;
    return down ? quotient - 1 : quotient;
  }
}

template <class T>
static __device__ __forceinline__ T integer_op(int op, T a, T b) {
  // 32 bits for the small ones, so that the processor's loop stays narrow.
  using bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  const bits x = static_cast<bits>(a), y = static_cast<bits>(b);
  switch (op) {
    case KERNEL_ADD:
      return static_cast<T>(x + y);
    case KERNEL_SUB:
      return static_cast<T>(x - y);
    case KERNEL_MUL:
      return static_cast<T>(x * y);
    case KERNEL_FLOORDIV:
      return floor_divide(a, b, false);
    case KERNEL_MOD:
      return floor_divide(a, b, true);
    case KERNEL_POW:
      return integer_power(a, b);
    case KERNEL_MIN:
      return a < b ? a : b;
    case KERNEL_MAX:
      return a > b ? a : b;
    case KERNEL_AND:
      return static_cast<T>(x & y);
    case KERNEL_OR:
      return static_cast<T>(x | y);
    default:
      return static_cast<T>(x ^ y);
  }
}

template <class T>
static __device__ __forceinline__ bool compare(int op, T a, T b) {
  switch (op) {
    case KERNEL_EQ:
      return a == b;
    case KERNEL_NE:
      return a != b;
    case KERNEL_LT:
      return a < b;
    default:
      return a <= b;
  }
}

static __device__ __forceinline__ bool truth_op(int op, bool a, bool b) {
  return op == KERNEL_AND ? a && b : op == KERNEL_OR ? a || b : a != b;
}

constexpr __device__ __host__ bool is_comparison(int op) {
  return op >= KERNEL_EQ;
}

template <class T>
constexpr bool is_defined(int op) {
  if (is_comparison(op)) return true;
  if (std::is_same<T, truth>::value) return op == KERNEL_AND || op == KERNEL_OR || op == KERNEL_XOR;
  if (number<T>::is_float) return op < KERNEL_AND;
  return op != KERNEL_DIV && op != KERNEL_ATAN2;
}

template <class O, class T>
static __device__ __forceinline__ O binary_op(int op, wide<T> a, wide<T> b) {
  if constexpr (std::is_same<O, T>::value && std::is_same<T, truth>::value) {
    return convert<O>(is_comparison(op) ? compare(op, a, b) : truth_op(op, a, b));
  } else if constexpr (!std::is_same<O, T>::value) {
    return convert<O>(compare(op, a, b));
  } else if constexpr (number<T>::is_float) {
    return convert<O>(float_op(op, a, b));
  } else {
    return integer_op(op, a, b);
  }
}

// Those with a kernel of their own. The others take so long that a choice at run time is nothing
// beside it.
template <class T>
constexpr bool is_fast(int op) {
  if (kFaithful) return false;
  return op <= KERNEL_DIV || op == KERNEL_MIN || op == KERNEL_MAX || is_comparison(op);
}

template <class O, class T>
static __device__ SIMT_ONCE O any_op(int op, wide<T> a, wide<T> b) {
  return binary_op<O, T>(op, a, b);
}

template <int OP, class O, class T>
struct binary_fn {
  int op;
  __device__ O operator()(T a, T b) const {
    if constexpr (OP == kAny) return any_op<O, T>(op, load(a), load(b));
    return binary_op<O, T>(OP, load(a), load(b));
  }
  auto in_f32() const {
    return binary_fn<OP, std::conditional_t<is_half<O>, float, O>, float>{op};
  }
};

// a > b is b < a: comparisons need four operations only.
static bool turn(int *op) {
  if (*op != KERNEL_GT && *op != KERNEL_GE) return false;
  *op = *op == KERNEL_GT ? KERNEL_LT : KERNEL_LE;
  return true;
}

// Calls f(type of the output, type of the inputs, constant of the operation or kAny).
template <class F>
static int with_types(int op, int out_dtype, int dtype, const F &f) {
  return with_dtype(dtype, everything(), [&](auto in) {
    using T = element_of<decltype(in)>;
    if (is_comparison(op) && out_dtype != KERNEL_BOOL) return int{KERNEL_BAD_DTYPE};
    if (!is_comparison(op) && out_dtype != dtype) return int{KERNEL_BAD_DTYPE};
    if (op < 0 || op >= KERNEL_BINARY_OPS) return int{KERNEL_BAD_OPERATION};
    if (!is_defined<T>(op)) return int{KERNEL_BAD_DTYPE};
    if (!is_fast<T>(op)) {
      return is_comparison(op) ? f(type<truth>(), type<T>(), constant<kAny>())
                               : f(type<T>(), type<T>(), constant<kAny>());
    }
    return with_operation<0, KERNEL_LE + 1>(op, [&](auto operation) -> int {
      constexpr int OP = std::decay_t<decltype(operation)>::value;
      using R = std::conditional_t<is_comparison(OP), truth, T>;
      if constexpr (is_defined<T>(OP) && is_fast<T>(OP)) return f(type<R>(), type<T>(), operation);
      return KERNEL_BAD_OPERATION;
    });
  });
}

int kernel_binary(int op, const struct kernel_view *out, const struct kernel_view *a,
                  const struct kernel_view *b, void *stream) {
  if (a->dtype != b->dtype) return KERNEL_BAD_DTYPE;
  if (turn(&op)) return kernel_binary(op, out, b, a, stream);
  return with_types(op, out->dtype, a->dtype, [&](auto to, auto from, auto operation) {
    using O = element_of<decltype(to)>;
    using T = element_of<decltype(from)>;
    constexpr int OP = std::decay_t<decltype(operation)>::value;
    return map<O, T, T, none>(binary_fn<OP, O, T>{op}, binary_fn<kAny, O, T>{op}, stream, out, a,
                              b);
  });
}

int kernel_binary_scalar(int op, const struct kernel_view *out, const struct kernel_view *in,
                         double value, int first, void *stream) {
  const bool front = (first != 0) != turn(&op);
  return with_types(op, out->dtype, in->dtype, [&](auto to, auto from, auto operation) {
    using O = element_of<decltype(to)>;
    using T = element_of<decltype(from)>;
    constexpr int OP = std::decay_t<decltype(operation)>::value;
    const T number = convert<T>(value);
    return map<O, T, none, none>(with_number<binary_fn<OP, O, T>, T>{{op}, number, front},
                                 with_number<binary_fn<kAny, O, T>, T>{{op}, number, front}, stream,
                                 out, in);
  });
}
