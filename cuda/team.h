// Threads that work on one row together: a warp, or a block. What each has found is merged in a
// fixed order, so that a result is the same each time.
#pragma once

#include "elementwise.h"

#ifdef __CUDACC__
#define SIMT_UNROLL _Pragma("unroll 4")
#define SIMT_UNROLL_ALL _Pragma("unroll")  // so that an array in it stays in registers
#define SIMT_APART SIMT_UNROLL
#else
#define SIMT_UNROLL
#define SIMT_UNROLL_ALL
#define SIMT_APART _Pragma("GCC ivdep")  // no turn of the loop reads what another one writes
#endif

// A lane's partner in a merge. Overloaded for what consists of several numbers.
template <class A>
static __device__ __forceinline__ A lane_xor(A value, int with) {
  return __shfl_xor_sync(~0u, value, with);
}

template <class A, class M>
static __device__ __forceinline__ A warp_merge(A value, const M &merge) {
  for (int with = kWarp / 2; with > 0; with /= 2) value = merge(value, lane_xor(value, with));
  return value;
}

// Every thread of the team gets the merged value. All threads of the block take part.
template <int TEAM, class A, class M>
static __device__ __forceinline__ A team_merge(A value, const M &merge) {
  value = warp_merge(value, merge);
  if constexpr (TEAM > kWarp) {
    constexpr int kWarps = TEAM / kWarp;
    __shared__ A of_warps[kWarps];
    const unsigned warp = threadIdx.x / kWarp;
    __syncthreads();  // those of a merge before may still be read
    if (threadIdx.x % kWarp == 0) of_warps[warp] = value;
    __syncthreads();
    value = of_warps[0];
    for (int i = 1; i < kWarps; ++i) value = merge(value, of_warps[i]);
  }
  return value;
}

// The rows of a launch go to teams: `first`, then every `step`th. All teams of a block do the same
// number of rounds, so that barriers in them are met by all; rows from `end` on are not there.
struct turn {
  uint32_t first, end, step, rounds;
  int lane;
};

template <int TEAM>
static __device__ __forceinline__ turn turn_of(uint32_t rows) {
  if (kSerial) {
    const share mine = share_of(rows);
    return {mine.first, mine.end, 1, mine.end - mine.first, 0};
  }
  const uint32_t teams = blockDim.x / TEAM, step = gridDim.x * teams;
  const uint32_t first = blockIdx.x * teams + threadIdx.x / TEAM;
  return {first, rows, step, (rows + step - 1) / step, static_cast<int>(threadIdx.x % TEAM)};
}

// The blocks for rows of `length`.
template <int TEAM>
static unsigned grid_for_rows(int64_t rows, int64_t length) {
  if (kSerial) return grid_for(rows, length);
  const int64_t blocks = ceil_div(rows, kBlock / TEAM);
  return static_cast<unsigned>(blocks < kGridLimit ? blocks > 0 ? blocks : 1 : kGridLimit);
}

// A plan for units that are single elements, of dimensions that are given innermost first.
template <int N>
static bool plan_elements(plan<N> *p, layout<N> l) {
  if (l.rank == 0) {
    l.rank = 1;
    l.shape[0] = 1;
    for (int n = 0; n < N; ++n) l.stride[n][0] = 0;
  }
  const int64_t count = layout_count(l);
  if (count >= 1ll << 31) return false;
  *p = {};
  if (count == 0) return true;  // sizes of 0 have no divider
  plan_make(p, l, 1);
  p->units = static_cast<uint32_t>(count);
  return true;
}
