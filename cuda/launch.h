// How much of a launch one thread does, on a GPU and on the processor.
//
// The CPU library is compiled with SIMT_SERIAL: a block is one thread, a warp one lane, and a
// thread takes a long run of neighbours, which the compiler vectorises. The specs and the builds
// with sanitizers compile the same kernels without it, in the very shape that a GPU runs.
#pragma once

#include "number.h"
#include "simt.h"
#include "view.h"

#ifdef SIMT_SERIAL
constexpr bool kSerial = true;
#else
constexpr bool kSerial = false;
#endif

// The GPU's shape on the processor. Operations are not compiled one by one for it: what it is to
// show is the kernels' indexing.
#if !defined(__CUDACC__) && !defined(SIMT_SERIAL)
constexpr bool kFaithful = true;
#else
constexpr bool kFaithful = false;
#endif

// A function that the processor's compiler is to make once, not into each loop that calls it.
#ifdef __CUDACC__
#define SIMT_ONCE
#else
#define SIMT_ONCE __attribute__((noinline))
#endif

constexpr int kWarp = kSerial ? 1 : 32;
constexpr int kBlock = kSerial ? 1 : 256;
constexpr int kPackBytes = 16;  // what a thread of a GPU loads at once

#ifdef __CUDACC__
constexpr int64_t kGridLimit = 1 << 16;  // blocks; threads stride over what is beyond
#else
constexpr int64_t kGridLimit = kSerial ? 1 << 16 : 5;  // few, so that specs see threads stride
#endif

// Elements that are worth another thread of the processor.
constexpr int64_t kGrain = 1 << 15;

// Neighbours in memory that are loaded and stored as one word.
template <class T, int V>
struct alignas(sizeof(T) * V) pack {
  T at[V];
};

// The blocks for `units` of work of `size` elements each, when each of a GPU's threads takes one.
static inline unsigned grid_for(int64_t units, int64_t size) {
  int64_t blocks = ceil_div(units, kBlock);
  if (kSerial) {
#ifndef __CUDACC__
    int64_t threads = simt::threads();
    blocks = ceil_div(units * size, kGrain);
    if (blocks > threads) blocks = threads;
    if (blocks > units) blocks = units;
#endif
  }
  if (blocks > kGridLimit) blocks = kGridLimit;
  return static_cast<unsigned>(blocks > 0 ? blocks : 1);
}

// The units that this thread takes: on a GPU neighbouring threads take neighbouring units, on the
// processor each block takes one stretch.
struct share {
  uint32_t first, end, step;
};

static __device__ __forceinline__ share share_of(uint32_t units) {
  if (kSerial) {
    const uint64_t block = blockIdx.x, blocks = gridDim.x;
    return {static_cast<uint32_t>(units * block / blocks),
            static_cast<uint32_t>(units * (block + 1) / blocks), 1};
  }
  return {blockIdx.x * blockDim.x + threadIdx.x, units, gridDim.x * blockDim.x};
}
