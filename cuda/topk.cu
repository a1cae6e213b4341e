// The first k of each row in order.
//
// On a GPU a row is read once. A warp keeps the k best that it has seen as a sorted list in its
// registers, and compares what it reads with the last of them; what comes before that is collected
// in shared memory, and merged into the list 32 at a time. After the first few thousand elements
// hardly anything is collected, so that the time is that of reading. A row that is long, where there
// are few of them, is split over blocks, which leave their lists in the workspace for a second, small
// kernel. More than kMost are taken from a sorted row.
//
// The processor's thread collects in the same way, and selects among what it has when its buffer is
// full.
#include <algorithm>

#include "order.h"

constexpr int kMost = 64;

// The list of a warp: entry i lies in register i / 32 of lane i % 32. `pending` are entries of the
// warp's buffer of 64 that have not been merged.
template <class K, int R>
struct best_list {
  entry<K> list[R];
  entry<K> limit;  // the last of the k: what does not come before it is of no use
  entry<K> *buffer;
  int pending, lane;
  uint32_t k;

  __device__ __forceinline__ best_list(entry<K> *of_warp, uint32_t many)
      : limit(no_entry<K>()),
        buffer(of_warp),
        pending(0),
        lane(static_cast<int>(threadIdx.x % kWarp)),
        k(many) {
    for (int r = 0; r < R; ++r) list[r] = no_entry<K>();
  }

  // Merges 32 entries that are in order.
  __device__ __forceinline__ void merge(entry<K> x) {
    list[R - 1] = warp_order_bitonic(lesser(list[R - 1], lane_xor(x, 31)), lane);
    if constexpr (R == 2) {
      const entry<K> low = list[0], high = list[1];
      const entry<K> from_high = lane_xor(high, 31), from_low = lane_xor(low, 31);
      list[0] = warp_order_bitonic(lesser(low, from_high), lane);
      list[1] = warp_order_bitonic(before(high, from_low) ? from_low : high, lane);
    }
    limit = lane_at(R == 2 && k <= 32 ? list[0] : list[R - 1], static_cast<int>((k - 1) % 32));
  }

  // Merges the buffer's first 32, of which `count` are there.
  __device__ __forceinline__ void flush(int count) {
    __syncwarp();
    const entry<K> x = lane < count ? buffer[lane] : no_entry<K>();
    const entry<K> rest = lane + 32 < pending ? buffer[lane + 32] : x;
    __syncwarp();
    pending = pending > 32 ? pending - 32 : 0;
    if (lane < pending) buffer[lane] = rest;
    merge(warp_order(x, lane));
  }

  // One entry of each lane.
  __device__ __forceinline__ void add(entry<K> x) {
    const bool passes = before(x, limit);
    const unsigned mask = __ballot_sync(~0u, passes);
    if (!mask) return;
    if (passes) buffer[pending + __popc(mask & ((1u << lane) - 1))] = x;
    pending += __popc(mask);
    if (pending >= 32) flush(32);
  }

  __device__ __forceinline__ void finish() {
    if (pending) flush(pending);
  }
};

// Merges the lists of a block's warps into that of the first. All threads take part.
template <int TEAM, class K, int R>
static __device__ __forceinline__ void merge_warps(best_list<K, R> *best) {
  if constexpr (TEAM > kWarp) {
    constexpr int kWarps = TEAM / kWarp;
    __shared__ entry<K> of_warps[kWarps / 2][32 * R];
    const int warp = static_cast<int>(threadIdx.x / kWarp);
    for (int step = kWarps / 2; step > 0; step /= 2) {
      __syncthreads();
      if (warp >= step && warp < 2 * step) {
        for (int r = 0; r < R; ++r) of_warps[warp - step][r * 32 + best->lane] = best->list[r];
      }
      __syncthreads();
      if (warp >= step) continue;
      for (int r = 0; r < R; ++r) {
        // Not as an argument: how that is read the thread sanitizer does not see.
        const entry<K> x = of_warps[warp][r * 32 + best->lane];
        best->merge(x);
      }
    }
  }
}

struct split {
  uint32_t parts;  // of each row
  uint32_t row, first, end;
};

// The part that is `number`th of all. Parts begin at packs.
static __device__ __forceinline__ split part_of(uint32_t number, uint32_t parts, uint32_t length) {
  const uint64_t units = (length + 15) / 16;
  const uint32_t part = number % parts;
  const uint64_t end = units * (part + 1) / parts * 16;
  return {parts, number / parts, static_cast<uint32_t>(units * part / parts * 16),
          static_cast<uint32_t>(end < length ? end : length)};
}

// The elements that a lane loads at once.
constexpr int kHeld = 16;

// Elements from `first` to before `end`. Packed: they are neighbours, and aligned to packs. What is
// loaded is looked at in registers; only where something passes it is read once more, one by one.
template <int TEAM, bool Packed, class T, int R>
static __device__ __forceinline__ void find_best(const T *row, const selection &s, uint32_t first,
                                                 uint32_t end, best_list<key_of<T>, R> *best) {
  constexpr uint32_t V = Packed ? kPackBytes / sizeof(T) : 1;
  constexpr uint32_t kPacks = V >= kHeld ? 1 : V >= 4 ? kHeld / V : 4;
  constexpr uint32_t kStep = kWarp * V;  // what a warp loads as one
  const uint32_t lane = static_cast<uint32_t>(best->lane);
  const uint32_t warp = TEAM > kWarp ? threadIdx.x / kWarp : 0;
  const bool descending = s.descending != 0;
  for (uint32_t base = first + warp * kStep * kPacks; base < end;
       base += TEAM / kWarp * kStep * kPacks) {
    pack<T, V> held[kPacks];
    bool passes = false;
    const uint32_t mine = base + lane * V;
    if (base + kStep * kPacks <= end) {
      SIMT_UNROLL_ALL
      for (uint32_t p = 0; p < kPacks; ++p) {
        const T *from = row + (mine + p * kStep) * (Packed ? 1 : s.in_step);
        held[p] = *reinterpret_cast<const pack<T, V> *>(from);
      }
      SIMT_UNROLL_ALL
      for (uint32_t p = 0; p < kPacks; ++p) {
        SIMT_UNROLL_ALL
        for (uint32_t j = 0; j < V; ++j) {
          const auto x = entry_of(to_key(held[p].at[j], descending), mine + p * kStep + j);
          passes = passes || before(x, best->limit);
        }
      }
      if (!__any_sync(~0u, passes)) continue;
    }
    for (uint32_t n = 0; n < kPacks * V; ++n) {
      const uint32_t i = mine + n / V * kStep + n % V;
      best->add(i < end ? entry_of(to_key(row[i * s.in_step], descending), i)
                        : no_entry<key_of<T>>());
    }
  }
  best->finish();
}

// Writes the list's k to the part's place among `partial`, or to the outputs.
template <class T, int R>
static __device__ __forceinline__ void leave_best(const selection &s, uint32_t number,
                                                  uint32_t parts,
                                                  const best_list<key_of<T>, R> &best, const T *in,
                                                  entry<key_of<T>> *partial, T *values,
                                                  void *indices) {
  int64_t at[3];
  plan_at(s.rows, number / parts, at);
  for (int r = 0; r < R; ++r) {
    const uint32_t rank = static_cast<uint32_t>(r * 32 + best.lane);
    if (rank >= s.k) continue;
    if (parts > 1) {
      partial[static_cast<int64_t>(number) * s.k + rank] = best.list[r];
    } else {
      put_entry(s, at, rank, best.list[r], in, values, indices);
    }
  }
}

template <int TEAM, bool Packed, int R, class T>
static __global__ void __launch_bounds__(256)
    topk_rows(selection s, uint32_t parts, const T *in, entry<key_of<T>> *partial, T *values,
              void *indices) {
  using K = key_of<T>;
  __shared__ entry<K> buffers[kBlock / kWarp][64];
  const turn mine = turn_of<TEAM>(s.rows.units * parts);
  for (uint32_t round = 0; round < mine.rounds; ++round) {
    const uint32_t number = mine.first + round * mine.step;
    const bool is_there = number < mine.end;
    best_list<K, R> best(buffers[threadIdx.x / kWarp], s.k);
    if (is_there) {
      const split part = part_of(number, parts, s.length);
      int64_t at[3];
      plan_at(s.rows, part.row, at);
      find_best<TEAM, Packed>(in + at[2], s, part.first, part.end, &best);
    }
    merge_warps<TEAM>(&best);
    if (is_there && threadIdx.x % TEAM < kWarp) {
      leave_best(s, number, parts, best, in, partial, values, indices);
    }
  }
}

// Merges the lists of each row's parts.
template <int R, class T>
static __global__ void __launch_bounds__(256)
    topk_parts(selection s, uint32_t parts, const T *in, const entry<key_of<T>> *partial, T *values,
               void *indices) {
  using K = key_of<T>;
  __shared__ entry<K> buffers[kBlock / kWarp][64];
  const uint32_t count = parts * s.k;
  for (uint32_t row = blockIdx.x; row < s.rows.units; row += gridDim.x) {
    best_list<K, R> best(buffers[threadIdx.x / kWarp], s.k);
    const entry<K> *from = partial + static_cast<int64_t>(row) * count;
    for (uint32_t base = threadIdx.x / kWarp * kWarp; base < count; base += kBlock) {
      const uint32_t i = base + static_cast<uint32_t>(best.lane);
      best.add(i < count ? from[i] : no_entry<K>());
    }
    best.finish();
    merge_warps<kBlock>(&best);
    if (threadIdx.x < kWarp) leave_best(s, row, 1, best, in, nullptr, values, indices);
  }
}

// ---- The processor.

// Entries that a thread collects, kFew at the most in order. No more than twice as many as are
// wanted: the sooner it selects among them, the sooner it has a good limit. More than kMost are
// collected in the workspace.
constexpr uint32_t kFew = 16;
constexpr uint32_t collected(uint32_t k) {
  return k <= kFew ? kFew : 2 * k;
}
static uint32_t in_workspace(uint32_t k) {
  return k <= kMost ? 0 : collected(k);
}

#ifndef __CUDACC__

constexpr uint32_t kRun = 32;  // elements that are compared at once

// What is compared with the limit, as the processor compares it fast: halves as integers that are
// ordered as they are, but for NaN and the two zeros.
template <class T>
static inline auto quick(T x) {
  if constexpr (is_half<T>) {
    const int16_t bits = static_cast<int16_t>(x.bits);
    return static_cast<int16_t>(bits ^ ((bits >> 15) & 0x7fff));
  } else if constexpr (std::is_same<T, truth>::value) {
    return x.byte;
  } else {
    return x;
  }
}

// An integer of the size of what is compared, so that the compiler counts in whole registers.
template <class T>
using flag_of =
    std::conditional_t<sizeof(T) == 8, int64_t,
                       std::conditional_t<sizeof(T) == 4, int32_t,
                                          std::conditional_t<sizeof(T) == 2, int16_t, int8_t>>>;

// Whether one of a run may come before the limit. True where it is not known.
template <class T>
static inline bool run_passes(const T *run, T limit, bool descending) {
  using F = flag_of<T>;
  F found = 0;
  const auto last = quick(limit);
  if (descending) {
    for (uint32_t i = 0; i < kRun; ++i) {
      const auto x = quick(run[i]);
      if constexpr (is_half<T>) {
        found |= static_cast<F>(
            -((x > last) | ((run[i].bits & 0x7fff) > static_cast<int>(kInfinity<T>))));
      } else {
        found |= static_cast<F>(-static_cast<F>(!(x <= last)));
      }
    }
  } else {
    if (!(last == last)) return true;
    for (uint32_t i = 0; i < kRun; ++i) {
      found |= static_cast<F>(-static_cast<F>(quick(run[i]) < last));
    }
  }
  return found != 0;
}

// Collects what comes before the k best so far. A few are kept in order.
template <class T>
struct collector {
  using E = entry<key_of<T>>;
  E *buffer;
  uint32_t room, k, count;
  E limit;

  collector(E *memory, uint32_t many)
      : buffer(memory), room(collected(many)), k(many), count(0), limit(no_entry<key_of<T>>()) {}

  void add(E x) {
    if (!before(x, limit)) return;
    if (k <= kFew) return insert(x);
    buffer[count++] = x;
    if (count == room) select();
  }
  void insert(E x) {
    uint32_t at = count < k ? count++ : k - 1;
    for (; at > 0 && before(x, buffer[at - 1]); --at) buffer[at] = buffer[at - 1];
    buffer[at] = x;
    if (count == k) limit = buffer[k - 1];
  }
  void select() {
    if (count <= k) return;
    std::nth_element(buffer, buffer + (k - 1), buffer + count,
                     [](E a, E b) { return before(a, b); });
    count = k;
    limit = buffer[k - 1];
  }
  void sort() {
    if (k <= kFew) return;
    select();
    std::sort(buffer, buffer + count, [](E a, E b) { return before(a, b); });
  }
};

template <class T>
static SIMT_ONCE void collect(const T *row, const selection &s, uint32_t first, uint32_t end,
                              collector<T> *into) {
  uint32_t i = first;
  const bool descending = s.descending != 0;
  const auto add = [&](uint32_t j) {
    into->add(entry_of(to_key(row[j * s.in_step], descending), j));
  };
  if (s.in_step == 1) {
    while (i + kRun <= end) {
      // The limit as an element lies where the limit's place says.
      const uint32_t place = place_in(into->limit);
      if (place == ~0u || run_passes(row + i, row[place], descending)) {
        for (uint32_t j = i; j < i + kRun; ++j) add(j);
      }
      i += kRun;
    }
  }
  for (; i < end; ++i) add(i);
}

template <class T>
static __global__ void topk_collect(selection s, uint32_t parts, const T *in,
                                    entry<key_of<T>> *partial, entry<key_of<T>> *memory, T *values,
                                    void *indices) {
  using E = entry<key_of<T>>;
  E near[collected(kMost)];
  const uint32_t room = collected(s.k);
  E *buffer = s.k > kMost ? memory + uint64_t{blockIdx.x} * room : near;
  const share mine = share_of(s.rows.units * parts);
  for (uint32_t number = mine.first; number < mine.end; ++number) {
    const split part = part_of(number, parts, s.length);
    int64_t at[3];
    plan_at(s.rows, part.row, at);
    collector<T> best(buffer, s.k);
    collect(in + at[2], s, part.first, part.end, &best);
    best.sort();
    for (uint32_t rank = 0; rank < s.k; ++rank) {
      const E x = rank < best.count ? best.buffer[rank] : no_entry<key_of<T>>();
      if (parts > 1) {
        partial[uint64_t{number} * s.k + rank] = x;
      } else {
        put_entry(s, at, rank, x, in, values, indices);
      }
    }
  }
}

template <class T>
static __global__ void topk_choose(selection s, uint32_t parts, const T *in,
                                   const entry<key_of<T>> *partial, T *values, void *indices) {
  entry<key_of<T>> near[collected(kMost)];
  const share mine = share_of(s.rows.units);
  for (uint32_t row = mine.first; row < mine.end; ++row) {
    collector<T> best(near, s.k);
    const uint32_t count = parts * s.k;
    for (uint32_t i = 0; i < count; ++i) best.add(partial[uint64_t{row} * count + i]);
    best.sort();
    int64_t at[3];
    plan_at(s.rows, row, at);
    for (uint32_t rank = 0; rank < s.k; ++rank) {
      put_entry(s, at, rank, best.buffer[rank], in, values, indices);
    }
  }
}

template <class T>
static int launch_collect(const selection &s, uint32_t parts, const T *in, void *workspace,
                          uint64_t size, T *values, void *indices, void *stream) {
  using E = entry<key_of<T>>;
  const int64_t units = int64_t{s.rows.units} * parts;
  E *memory = static_cast<E *>(workspace);
  unsigned grid = grid_for(units, s.length / parts);
  if (const uint64_t room = in_workspace(s.k) * sizeof(E)) {
    if (grid > size / room) grid = static_cast<unsigned>(size / room);
  }
  SIMT_LAUNCH((topk_collect<T>), grid, 1, 0, stream, s, parts, in, memory, memory, values, indices);
  if (parts > 1) {
    SIMT_LAUNCH((topk_choose<T>), grid_for(s.rows.units, parts * s.k), 1, 0, stream, s, parts, in,
                memory, values, indices);
  }
  return simt_last_error();
}

#endif

// ---- On the caller's side.

constexpr int64_t kBusy = kSerial ? 16 : kFaithful ? 8 : 1024;  // parts that keep a device busy
constexpr int64_t kLeast = kSerial ? 1 << 15 : kFaithful ? 256 : 1 << 13;  // elements worth a part

// Whether a row is sorted whole.
static bool sorts(const selection &s) {
  return s.k > kMost && (!kSerial || s.k > s.length / 8);
}

static uint32_t parts_for(const selection &s) {
  if (s.k > kMost || s.rows.units == 0) return 1;
  int64_t parts = kBusy / s.rows.units;
  if (parts > s.length / kLeast) parts = s.length / kLeast;
  return static_cast<uint32_t>(parts > 1 ? parts : 1);
}

static uint64_t entry_bytes(const struct kernel_view *in) {
  return dtype_size(in->dtype) == 8 ? sizeof(entry<uint64_t>) : sizeof(entry<uint32_t>);
}

static bool is_packed(const selection &s, const struct kernel_view *in) {
  const int64_t width = kPackBytes / dtype_size(in->dtype);
  bool packed = s.in_step == 1 && reinterpret_cast<uintptr_t>(in->data) % kPackBytes == 0;
  for (int d = 0; d < s.rows.rank; ++d) packed = packed && s.rows.stride[2][d] % width == 0;
  return packed;
}

template <bool Packed, int R, class T>
static void launch_topk(const selection &s, uint32_t parts, const T *in, entry<key_of<T>> *partial,
                        T *values, void *indices, void *stream) {
  const int64_t units = int64_t{s.rows.units} * parts, length = s.length / parts;
  if (length > (kFaithful ? 128 : 2048)) {
    SIMT_LAUNCH((topk_rows<kBlock, Packed, R, T>), grid_for_rows<kBlock>(units, length), kBlock, 0,
                stream, s, parts, in, partial, values, indices);
  } else {
    SIMT_LAUNCH((topk_rows<kWarp, Packed, R, T>), grid_for_rows<kWarp>(units, length), kBlock, 0,
                stream, s, parts, in, partial, values, indices);
  }
  if (parts > 1) {
    SIMT_LAUNCH((topk_parts<R, T>),
                static_cast<unsigned>(s.rows.units < kGridLimit ? s.rows.units : kGridLimit),
                kBlock, 0, stream, s, parts, in, partial, values, indices);
  }
}

uint64_t kernel_topk_workspace(const struct kernel_view *values, const struct kernel_view *indices,
                               const struct kernel_view *in) {
  selection s;
  if (selection_make(&s, values, indices, in, 0) || s.k == 0) return 0;
  if (sorts(s)) return kernel_sort_workspace(values, indices, in);
  const uint64_t parts = parts_for(s);
  if (parts > 1) return s.rows.units * parts * s.k * entry_bytes(in);
  return kSerial ? grid_for(s.rows.units, s.length) * in_workspace(s.k) * entry_bytes(in) : 0;
}

int kernel_topk(const struct kernel_view *values, const struct kernel_view *indices,
                const struct kernel_view *in, int largest, int64_t first, void *workspace,
                uint64_t workspace_size, void *stream) {
  selection s;
  int status = selection_make(&s, values, indices, in, first);
  if (status) return status;
  if (sorts(s)) {
    return kernel_sort(values, indices, in, largest, first, workspace, workspace_size, stream);
  }
  if (s.rows.units == 0 || s.k == 0) return KERNEL_OK;
  s.descending = largest != 0;
  const uint32_t parts = parts_for(s);
  const uint64_t least = parts > 1 ? s.rows.units * uint64_t{parts} * s.k
                         : kSerial ? in_workspace(s.k)
                                   : 0;
  if (workspace_size < least * entry_bytes(in)) return KERNEL_BAD_WORKSPACE;
  return with_dtype(in->dtype, everything(), [&](auto of) -> int {
    using T = element_of<decltype(of)>;
    const T *from = static_cast<const T *>(in->data);
    T *to = values ? static_cast<T *>(values->data) : nullptr;
    void *places = indices ? indices->data : nullptr;
    if constexpr (kSerial) {
      return launch_collect(s, parts, from, workspace, workspace_size, to, places, stream);
    } else {
      auto *partial = static_cast<entry<key_of<T>> *>(workspace);
      const bool packed = is_packed(s, in);
      if (s.k <= 32) {
        packed ? launch_topk<true, 1>(s, parts, from, partial, to, places, stream)
               : launch_topk<false, 1>(s, parts, from, partial, to, places, stream);
      } else {
        packed ? launch_topk<true, 2>(s, parts, from, partial, to, places, stream)
               : launch_topk<false, 2>(s, parts, from, partial, to, places, stream);
      }
      return simt_last_error();
    }
  });
}
