// Functions that are applied to what layers of a network compute: by kernel_unary, and by
// kernel_matmul where its result is still at hand.
#pragma once

#include "launch.h"

template <class T>
static __device__ __forceinline__ T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

// erfc instead of 1 + erf, which cancels where x is far below 0.
template <class T>
static __device__ __forceinline__ T gelu(T x) {
  return T(0.5) * x * erfc(-x * T(0.70710678118654752440));
}

template <class T>
static __device__ __forceinline__ T gelu_tanh(T x) {
  return x * sigmoid(T(1.59576912160573071176) * (x + T(0.044715) * x * x * x));
}

template <class T>
static __device__ __forceinline__ T softplus(T x) {
  return (x > 0 ? x : T(0)) + log1p(exp(-fabs(x)));
}

template <class T>
static __device__ __forceinline__ T relu(T x) {
  return x < 0 ? T(0) : x;
}

constexpr bool is_activation(int op) {
  return op == KERNEL_NO_ACTIVATION || op == KERNEL_TANH || op == KERNEL_SIGMOID ||
         op == KERNEL_RELU || op == KERNEL_GELU || op == KERNEL_GELU_TANH || op == KERNEL_SILU ||
         op == KERNEL_SOFTPLUS;
}

// One that is known at run time only. Not into each loop that calls it: the call is nothing beside
// an exponential.
template <class T>
static __device__ SIMT_ONCE T activate(int op, T x) {
  switch (op) {
    case KERNEL_TANH:
      return tanh(x);
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
    case KERNEL_SOFTPLUS:
      return softplus(x);
    default:
      return x;
  }
}
