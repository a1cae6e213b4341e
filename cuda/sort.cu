// Rows in order.
//
// On a GPU a row of up to 32 is sorted by a warp in registers, and one of up to kNear by a block in
// shared memory (K. Batcher, Sorting Networks and their Applications). A longer one is sorted by its
// keys' bytes, the least first, in tiles that blocks take: a pass counts each tile's bytes, finds out
// where those of each value go, and moves the entries there. No pass changes the order of equals.
//
// The processor's thread sorts a row in the same way, without tiles.
#include <algorithm>

#include "order.h"

constexpr uint32_t kNear = kFaithful ? 512 : 2048;

// ---- A warp, a block.

template <class T>
static __global__ void __launch_bounds__(256)
    sort_by_warp(selection s, const T *in, T *values, void *indices) {
  const turn mine = turn_of<kWarp>(s.rows.units);
  for (uint32_t round = 0; round < mine.rounds; ++round) {
    const uint32_t row = mine.first + round * mine.step, lane = static_cast<uint32_t>(mine.lane);
    const bool is_there = row < mine.end;
    int64_t at[3] = {0, 0, 0};
    if (is_there) plan_at(s.rows, row, at);
    entry<key_of<T>> x = no_entry<key_of<T>>();
    if (is_there && lane < s.length) {
      x = entry_of(to_key(in[at[2] + lane * s.in_step], s.descending), lane);
    }
    x = warp_order(x, mine.lane);
    if (is_there && lane < s.k) put_entry(s, at, lane, x, in, values, indices);
  }
}

// `size` is the power of two that the length fits in.
template <class T>
static __global__ void __launch_bounds__(256)
    sort_by_block(selection s, uint32_t size, const T *in, T *values, void *indices) {
  using E = entry<key_of<T>>;
  __shared__ E near[kNear];
  for (uint32_t row = blockIdx.x; row < s.rows.units; row += gridDim.x) {
    int64_t at[3];
    plan_at(s.rows, row, at);
    // No barrier: those of the row before are read by the thread that writes here.
    for (uint32_t i = threadIdx.x; i < size; i += kBlock) {
      near[i] = i < s.length ? entry_of(to_key(in[at[2] + i * s.in_step], s.descending), i)
                             : no_entry<key_of<T>>();
    }
    for (uint32_t span = 2; span <= size; span *= 2) {
      for (uint32_t with = span / 2; with > 0; with /= 2) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < size / 2; i += kBlock) {
          const uint32_t low = 2 * i - (i & (with - 1)), high = low + with;
          const E a = near[low], b = near[high];
          if (before(b, a) == ((low & span) == 0)) {
            near[low] = b;
            near[high] = a;
          }
        }
      }
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < s.k; i += kBlock) {
      const E x = near[i];
      put_entry(s, at, i, x, in, values, indices);
    }
  }
}

// ---- Tiles of long rows. Rows from `row` on are sorted in one go, `rows` of them, as many as the
// workspace holds.

constexpr uint32_t kValues = 256;  // of a byte

struct tiling {
  uint32_t row, rows;
  uint32_t tiles;  // of each row
};

template <class K>
constexpr uint32_t kItems = kFaithful        ? 2
                            : sizeof(K) == 8 ? 8
                                             : 16;  // of a thread
template <class K>
constexpr uint32_t kTile = kItems<K> *kBlock;

template <class K>
static __device__ __forceinline__ uint32_t byte_of(entry<K> x, int shift) {
  return static_cast<uint32_t>(key_in(x) >> shift) & (kValues - 1);
}

template <class T>
static __global__ void __launch_bounds__(256)
    sort_load(selection s, tiling t, const T *in, entry<key_of<T>> *out) {
  for (uint32_t block = blockIdx.x; block < t.rows * t.tiles; block += gridDim.x) {
    const uint32_t row = block / t.tiles, first = block % t.tiles * kTile<key_of<T>>;
    int64_t at[3];
    plan_at(s.rows, t.row + row, at);
    for (uint32_t j = threadIdx.x; j < kTile<key_of<T>>; j += kBlock) {
      const uint32_t i = first + j;
      if (i >= s.length) break;
      out[static_cast<int64_t>(row) * s.length + i] =
          entry_of(to_key(in[at[2] + i * s.in_step], s.descending), i);
    }
  }
}

template <class T>
static __global__ void __launch_bounds__(256)
    sort_store(selection s, tiling t, const entry<key_of<T>> *sorted, const T *in, T *values,
               void *indices) {
  for (uint32_t block = blockIdx.x; block < t.rows * t.tiles; block += gridDim.x) {
    const uint32_t row = block / t.tiles, first = block % t.tiles * kTile<key_of<T>>;
    int64_t at[3];
    plan_at(s.rows, t.row + row, at);
    for (uint32_t j = threadIdx.x; j < kTile<key_of<T>>; j += kBlock) {
      const uint32_t i = first + j;
      if (i >= s.k) break;
      put_entry(s, at, i, sorted[static_cast<int64_t>(row) * s.length + i], in, values, indices);
    }
  }
}

// counts[tile of all rows][value]
template <class K>
static __global__ void __launch_bounds__(256)
    sort_count(uint32_t length, tiling t, int shift, const entry<K> *in, uint32_t *counts) {
  __shared__ uint32_t count[kValues];
  for (uint32_t tile = blockIdx.x; tile < t.rows * t.tiles; tile += gridDim.x) {
    const uint32_t first = tile % t.tiles * kTile<K>;
    const entry<K> *row = in + static_cast<int64_t>(tile / t.tiles) * length;
    count[threadIdx.x] = 0;
    __syncthreads();
    for (uint32_t j = 0; j < kItems<K>; ++j) {
      const uint32_t i = first + j * kBlock + threadIdx.x;
      if (i < length) atomicAdd(&count[byte_of(row[i], shift)], 1u);
    }
    __syncthreads();
    counts[static_cast<int64_t>(tile) * kValues + threadIdx.x] = count[threadIdx.x];
  }
}

// From how many a tile has of each value to where the first of them goes. A thread has a value, and
// a part of the row's tiles.
constexpr uint32_t kParts = kFaithful ? 2 : 4;

static __global__ void __launch_bounds__(1024) sort_places(tiling t, uint32_t *counts) {
  __shared__ uint32_t sums[kParts][kValues];
  __shared__ uint32_t below[kValues];
  const uint32_t value = threadIdx.x % kValues, part = threadIdx.x / kValues;
  const uint32_t first = static_cast<uint32_t>(uint64_t{t.tiles} * part / kParts);
  const uint32_t end = static_cast<uint32_t>(uint64_t{t.tiles} * (part + 1) / kParts);
  for (uint32_t row = blockIdx.x; row < t.rows; row += gridDim.x) {
    uint32_t *mine = counts + static_cast<int64_t>(row) * t.tiles * kValues + value;
    uint32_t sum = 0;
    SIMT_UNROLL
    for (uint32_t i = first; i < end; ++i) sum += mine[int64_t{i} * kValues];
    __syncthreads();
    sums[part][value] = sum;
    __syncthreads();
    uint32_t all = 0;
    if (part == 0) {
      for (uint32_t q = 0; q < kParts; ++q) all += sums[q][value];
      below[value] = all;
    }
    // Each adds what lies 1, 2, 4 ... values below it.
    for (uint32_t by = 1; by < kValues; by *= 2) {
      __syncthreads();
      const uint32_t lower = part == 0 && value >= by ? below[value - by] : 0;
      __syncthreads();
      if (part == 0) below[value] += lower;
    }
    __syncthreads();
    uint32_t place = value > 0 ? below[value - 1] : 0;
    for (uint32_t q = 0; q < part; ++q) place += sums[q][value];
    for (uint32_t i = first; i < end; ++i) {
      const uint32_t count = mine[int64_t{i} * kValues];
      mine[int64_t{i} * kValues] = place;
      place += count;
    }
  }
}

// Lanes that have the same byte as this one, of those in `there`.
static __device__ __forceinline__ unsigned lanes_alike(unsigned there, uint32_t byte) {
  unsigned alike = there;
  for (int bit = 0; bit < 8; ++bit) {
    const bool set = byte >> bit & 1;
    const unsigned with = __ballot_sync(~0u, set);
    alike &= set ? with : ~with;
  }
  return alike;
}

// A warp has a stretch of the tile, 32 neighbours at a time, so that equals keep their order.
template <class K>
static __global__ void __launch_bounds__(256)
    sort_move(uint32_t length, tiling t, int shift, const entry<K> *in, const uint32_t *places,
              entry<K> *out) {
  constexpr uint32_t kWarps = kBlock / kWarp;
  __shared__ uint32_t counts[kWarps][kValues];
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (uint32_t tile = blockIdx.x; tile < t.rows * t.tiles; tile += gridDim.x) {
    const int64_t row = static_cast<int64_t>(tile / t.tiles) * length;
    const uint32_t first = tile % t.tiles * kTile<K> + warp * kItems<K> * kWarp + lane;
    __syncthreads();
    for (uint32_t w = 0; w < kWarps; ++w) counts[w][threadIdx.x] = 0;
    __syncthreads();
    entry<K> held[kItems<K>];
    uint32_t rank[kItems<K>];
    for (uint32_t j = 0; j < kItems<K>; ++j) {
      const uint32_t i = first + j * kWarp;
      const unsigned there = __ballot_sync(~0u, i < length);
      held[j] = i < length ? in[row + i] : no_entry<K>();
      const uint32_t byte = byte_of(held[j], shift);
      const unsigned alike = lanes_alike(there, byte), below = alike & ((1u << lane) - 1);
      const uint32_t seen = counts[warp][byte];
      rank[j] = seen + static_cast<uint32_t>(__popc(below));
      __syncwarp();
      if (i < length && !below) counts[warp][byte] = seen + static_cast<uint32_t>(__popc(alike));
      __syncwarp();
    }
    __syncthreads();
    uint32_t place = places[static_cast<int64_t>(tile) * kValues + threadIdx.x];
    for (uint32_t w = 0; w < kWarps; ++w) {
      const uint32_t count = counts[w][threadIdx.x];
      counts[w][threadIdx.x] = place;
      place += count;
    }
    __syncthreads();
    for (uint32_t j = 0; j < kItems<K>; ++j) {
      if (first + j * kWarp >= length) break;
      out[row + counts[warp][byte_of(held[j], shift)] + rank[j]] = held[j];
    }
  }
}

// ---- The processor.

#ifndef __CUDACC__

constexpr uint32_t kCompared = 96;  // of a row that is sorted by comparing

// Sorts by the bytes of keys, between `from` and `other`. Returns where the sorted ones are.
template <class T>
static SIMT_ONCE entry<key_of<T>> *sort_bytes(entry<key_of<T>> *from, entry<key_of<T>> *other,
                                              uint32_t length) {
  using E = entry<key_of<T>>;
  constexpr int kPasses = sizeof(T);
  uint32_t counts[kPasses][kValues] = {};
  for (uint32_t i = 0; i < length; ++i) {
    const key_of<T> key = key_in(from[i]);
    for (int p = 0; p < kPasses; ++p) ++counts[p][key >> (8 * p) & (kValues - 1)];
  }
  for (int p = 0; p < kPasses; ++p) {
    uint32_t *count = counts[p];
    if (count[byte_of(from[0], 8 * p)] == length) continue;
    uint32_t place = 0;
    for (uint32_t v = 0; v < kValues; ++v) {
      const uint32_t many = count[v];
      count[v] = place;
      place += many;
    }
    for (uint32_t i = 0; i < length; ++i) {
      const E x = from[i];
      other[count[byte_of(x, 8 * p)]++] = x;
    }
    std::swap(from, other);
  }
  return from;
}

template <class T>
static __global__ void sort_serially(selection s, const T *in, entry<key_of<T>> *memory, T *values,
                                     void *indices) {
  using E = entry<key_of<T>>;
  E *first = memory + uint64_t{2} * s.length * blockIdx.x, *second = first + s.length;
  const share mine = share_of(s.rows.units);
  for (uint32_t row = mine.first; row < mine.end; ++row) {
    int64_t at[3];
    plan_at(s.rows, row, at);
    for (uint32_t i = 0; i < s.length; ++i) {
      first[i] = entry_of(to_key(in[at[2] + i * s.in_step], s.descending), i);
    }
    E *sorted = first;
    if (s.length <= kCompared) {
      std::sort(first, first + s.length, [](E a, E b) { return before(a, b); });
    } else {
      sorted = sort_bytes<T>(first, second, s.length);
    }
    for (uint32_t i = 0; i < s.k; ++i) put_entry(s, at, i, sorted[i], in, values, indices);
  }
}

#endif

// ---- On the caller's side.

static bool is_wide(const struct kernel_view *in) {
  return dtype_size(in->dtype) == 8;
}

static uint32_t tiles_of(const selection &s, const struct kernel_view *in) {
  const uint32_t tile = is_wide(in) ? kTile<uint64_t> : kTile<uint32_t>;
  return (s.length + tile - 1) / tile;
}

// Bytes of the workspace that are needed for each row that is sorted at a time.
static uint64_t row_bytes(const selection &s, const struct kernel_view *in) {
  const uint64_t size = is_wide(in) ? sizeof(entry<uint64_t>) : sizeof(entry<uint32_t>);
  const uint64_t entries = 2 * s.length * size;
  if (kSerial) return entries;
  return s.length <= kNear ? 0 : entries + uint64_t{tiles_of(s, in)} * kValues * sizeof(uint32_t);
}

#ifndef __CUDACC__
template <class T>
static int sort_serial(const selection &s, const struct kernel_view *view, const T *in,
                       void *workspace, uint64_t size, T *values, void *indices, void *stream) {
  unsigned grid = grid_for(s.rows.units, s.length);
  if (grid > size / row_bytes(s, view)) grid = static_cast<unsigned>(size / row_bytes(s, view));
  SIMT_LAUNCH((sort_serially<T>), grid, 1, 0, stream, s, in,
              static_cast<entry<key_of<T>> *>(workspace), values, indices);
  return simt_last_error();
}
#endif

// Elements that are worth being sorted at a time.
constexpr uint32_t kTogether = kFaithful ? 4096 : 1 << 25;

static uint32_t rows_together(const selection &s) {
  const uint32_t rows = s.length < kTogether ? kTogether / s.length : 1;
  return rows < s.rows.units ? rows : s.rows.units;
}

static unsigned blocks_for(uint64_t blocks) {
  const uint64_t most = kGridLimit;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

// Sorts as many rows at a time as the workspace holds.
template <class T>
static int sort_tiles(const selection &s, const struct kernel_view *view, const T *in,
                      void *workspace, uint64_t size, T *values, void *indices, void *stream) {
  using K = key_of<T>;
  uint64_t most = size / row_bytes(s, view);
  if (most > rows_together(s)) most = rows_together(s);
  tiling t = {0, 0, tiles_of(s, view)};
  for (; t.row < s.rows.units; t.row += t.rows) {
    const uint64_t left = s.rows.units - t.row;
    t.rows = static_cast<uint32_t>(left < most ? left : most);
    const uint64_t entries = uint64_t{t.rows} * s.length;
    entry<K> *from = static_cast<entry<K> *>(workspace), *to = from + entries;
    uint32_t *counts = reinterpret_cast<uint32_t *>(to + entries);
    const unsigned grid = blocks_for(uint64_t{t.rows} * t.tiles);
    SIMT_LAUNCH((sort_load<T>), grid, kBlock, 0, stream, s, t, in, from);
    for (int shift = 0; shift < kKeyBits<T>; shift += 8) {
      SIMT_LAUNCH((sort_count<K>), grid, kBlock, 0, stream, s.length, t, shift, from, counts);
      SIMT_LAUNCH(sort_places, blocks_for(t.rows), kParts * kValues, 0, stream, t, counts);
      SIMT_LAUNCH((sort_move<K>), grid, kBlock, 0, stream, s.length, t, shift, from, counts, to);
      entry<K> *sorted = to;
      to = from;
      from = sorted;
    }
    SIMT_LAUNCH((sort_store<T>), grid, kBlock, 0, stream, s, t, from, in, values, indices);
  }
  return simt_last_error();
}

template <class T>
static int sort_rows(const selection &s, const struct kernel_view *view, const T *in,
                     void *workspace, uint64_t size, T *values, void *indices, void *stream) {
  if constexpr (kSerial) {
    return sort_serial(s, view, in, workspace, size, values, indices, stream);
  } else if (s.length <= 32) {
    SIMT_LAUNCH((sort_by_warp<T>), grid_for_rows<kWarp>(s.rows.units, s.length), kBlock, 0, stream,
                s, in, values, indices);
  } else if (s.length <= kNear) {
    uint32_t power = 64;
    while (power < s.length) power *= 2;
    SIMT_LAUNCH((sort_by_block<T>), blocks_for(s.rows.units), kBlock, 0, stream, s, power, in,
                values, indices);
  } else {
    return sort_tiles(s, view, in, workspace, size, values, indices, stream);
  }
  return simt_last_error();
}

uint64_t kernel_sort_workspace(const struct kernel_view *values, const struct kernel_view *indices,
                               const struct kernel_view *in) {
  selection s;
  if (selection_make(&s, values, indices, in, 0) || s.k == 0 || s.rows.units == 0) return 0;
  return row_bytes(s, in) * (kSerial ? grid_for(s.rows.units, s.length) : rows_together(s));
}

int kernel_sort(const struct kernel_view *values, const struct kernel_view *indices,
                const struct kernel_view *in, int descending, int64_t first, void *workspace,
                uint64_t workspace_size, void *stream) {
  selection s;
  int status = selection_make(&s, values, indices, in, first);
  if (status) return status;
  if (s.rows.units == 0 || s.k == 0) return KERNEL_OK;
  if (workspace_size < row_bytes(s, in)) return KERNEL_BAD_WORKSPACE;
  s.descending = descending != 0;
  return with_dtype(in->dtype, everything(), [&](auto of) {
    using T = element_of<decltype(of)>;
    return sort_rows(s, in, static_cast<const T *>(in->data), workspace, workspace_size,
                     values ? static_cast<T *>(values->data) : nullptr,
                     indices ? indices->data : nullptr, stream);
  });
}
