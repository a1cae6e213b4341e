// Lets one kernel source compile with nvcc for a GPU and with a C++17 compiler for the processor.
//
// On the processor a thread of a block is a fiber. __syncthreads switches to the next one; a warp's
// exchange waits for the lanes it names. Blocks are taken by the threads of a pool, each of which
// runs one block at a time, so that a shared variable is a static of the thread that runs the
// block. What threads of a block do to each other's data is seen by the address and the thread
// sanitizer: a missing __syncthreads is a data race at the line of the kernel.
//
//   thread 0 runs as a fiber;  it ends without a barrier: the others run as a plain loop
//                              it meets a barrier:        the others become fibers too
//
// A block of one thread has no fiber at all. Barriers that some threads of a block do not reach end
// the process, with a message that names kernel, thread and barrier. A library made with this header
// is not to be unloaded (link with -z nodelete): the pool's threads sleep in it.
//
//   SIMT_LAUNCH(kernel, grid, block, shared bytes, stream, arguments...);
//       a template with commas goes in parentheses
//   SIMT_SHARED(float, row);
//       dynamic shared memory, as a pointer
#pragma once

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define SIMT_LAUNCH(kernel, grid, block, shared, stream, ...) \
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#define SIMT_SHARED(type, name)                                 \
  extern __shared__ __align__(16) unsigned char simt_dynamic[]; \
  type *name = reinterpret_cast<type *>(simt_dynamic)

/// The status of the last launch of this thread.
static inline int simt_last_error() {
  return static_cast<int>(cudaGetLastError());
}

#else  // the processor

#include "simt_run.h"
#include "simt_stream.h"

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))

namespace simt {

// ---- What kernels read and call.

SIMT_UNSEEN inline uint3 thread_index() {
  return here.thread;
}
SIMT_UNSEEN inline uint3 block_index() {
  return here.at;
}
SIMT_UNSEEN inline dim3 block_size() {
  return here.block;
}
SIMT_UNSEEN inline dim3 grid_size() {
  return here.grid;
}
SIMT_UNSEEN inline char *dynamic_memory() {
  return here.dynamic;
}
SIMT_UNSEEN inline unsigned lane() {
  return here.current % kWarpSize;
}
SIMT_UNSEEN inline bool single() {
  return here.size == 1;
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8, "a lane exchanges up to eight bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

// The value of the lane `from`, or the own one where the warp has no such lane.
template <class T>
T shuffle(uint32_t mask, T value, int from) {
  if (single()) return value;
  uint64_t bits = warp_exchange(mask, to_bits(value), false, static_cast<unsigned>(from)).value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t ballot(uint32_t mask, bool vote) {
  if (single()) return vote;
  return warp_exchange(mask, 0, vote, 0).votes;
}

// An argument of this type does not take part in deducing T.
template <class T>
struct same_type {
  using type = T;
};
template <class T>
using same = typename same_type<T>::type;

template <class T, class F>
T atomic_update(T *at, F next) {
  T before, after;
  __atomic_load(at, &before, __ATOMIC_RELAXED);
  do {
    after = next(before);
  } while (
      !__atomic_compare_exchange(at, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}

}  // namespace simt

#define threadIdx (simt::thread_index())
#define blockIdx (simt::block_index())
#define blockDim (simt::block_size())
#define gridDim (simt::grid_size())
#define warpSize 32

#define SIMT_LAUNCH(kernel, grid, block, shared, stream, ...) \
  simt::start(#kernel, kernel, grid, block, shared, stream, ##__VA_ARGS__)
#define SIMT_SHARED(type, name) type *name = reinterpret_cast<type *>(simt::dynamic_memory())

/// The status of the last launch of this thread.
static inline int simt_last_error() {
  int error = simt::error_of_launch;
  simt::error_of_launch = 0;
  return error;
}

inline void __syncthreads(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
  simt::barrier({file, line});
}
inline void __syncwarp(uint32_t mask = ~0u) {
  simt::ballot(mask, true);
}
inline void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block() {}
inline int __popc(uint32_t bits) {
  return __builtin_popcount(bits);
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int from, int width = 32) {
  int lane = static_cast<int>(simt::lane());
  return simt::shuffle(mask, value, lane / width * width + (from & (width - 1)));
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  int lane = static_cast<int>(simt::lane()), from = lane - static_cast<int>(by);
  return simt::shuffle(mask, value, from < lane / width * width ? lane : from);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32) {
  int lane = static_cast<int>(simt::lane()), from = lane + static_cast<int>(by);
  return simt::shuffle(mask, value, from >= lane / width * width + width ? lane : from);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int with, int width = 32) {
  int lane = static_cast<int>(simt::lane()), from = lane ^ with;
  return simt::shuffle(mask, value, from >= lane / width * width + width ? lane : from);
}
inline uint32_t __ballot_sync(uint32_t mask, int vote) {
  return simt::ballot(mask, vote != 0);
}
inline int __any_sync(uint32_t mask, int vote) {
  return simt::ballot(mask, vote != 0) != 0;
}
inline int __all_sync(uint32_t mask, int vote) {
  return simt::ballot(mask, vote == 0) == 0;
}

template <class T>
T atomicAdd(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return static_cast<T>(before + value); });
}
template <class T>
T atomicMin(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return value < before ? value : before; });
}
template <class T>
T atomicMax(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return value > before ? value : before; });
}
template <class T>
T atomicExch(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T) { return value; });
}
template <class T>
T atomicCAS(T *at, simt::same<T> compare, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return before == compare ? value : before; });
}
template <class T>
T atomicOr(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return static_cast<T>(before | value); });
}
template <class T>
T atomicAnd(T *at, simt::same<T> value) {
  return simt::atomic_update(at, [=](T before) { return static_cast<T>(before & value); });
}

#endif
