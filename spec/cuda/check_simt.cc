// Checks of cuda/simt.h and of the device layer of the processor: named like those of spec/unit/c,
// and run by the same support. What ends the process is looked at in a child.
#include <sys/wait.h>

#include <vector>

#include "kernels.h"
#include "simt.h"

struct check {
  const char *name;
  void (*run)();
};

#define EXPECT(condition)                                            \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                       \
    }                                                                \
  } while (0)

static unsigned volume(dim3 d) {
  return d.x * d.y * d.z;
}

static __device__ unsigned thread_number() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
static __device__ unsigned block_number() {
  return blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
}

// ---- Blocks and barriers.

static __global__ void count_threads(unsigned *counts) {
  const unsigned block = blockDim.x * blockDim.y * blockDim.z;
  atomicAdd(&counts[block_number() * block + thread_number()], 1u);
}

static const dim3 kBlocks[] = {{1},    {2},       {31},     {33},      {1000},
                               {1024}, {7, 5, 3}, {32, 32}, {1, 1, 64}};

static void runs_each_thread_once() {
  for (dim3 block : kBlocks) {
    for (dim3 grid : {dim3(1), dim3(65), dim3(3, 2, 4)}) {
      std::vector<unsigned> counts(volume(block) * volume(grid));
      SIMT_LAUNCH(count_threads, grid, block, 0, nullptr, counts.data());
      EXPECT(simt_last_error() == 0);
      for (unsigned count : counts) EXPECT(count == 1);
    }
  }
}

// Each thread passes a number on to the next one, as often as there are threads in a block.
static __global__ void pass_on(unsigned *out, unsigned rounds) {
  __shared__ unsigned row[1024];
  const unsigned size = blockDim.x * blockDim.y * blockDim.z, mine = thread_number();
  row[mine] = mine;
  for (unsigned i = 0; i < rounds; ++i) {
    __syncthreads();
    const unsigned seen = row[(mine + 1) % size];
    __syncthreads();
    row[mine] = seen;
  }
  out[block_number() * size + mine] = row[mine];
}

static void barriers_hold_all() {
  for (dim3 block : kBlocks) {
    const unsigned size = volume(block), rounds = 5;
    std::vector<unsigned> out(3 * size);
    SIMT_LAUNCH(pass_on, 3, block, 0, nullptr, out.data(), rounds);
    for (unsigned i = 0; i < out.size(); ++i) EXPECT(out[i] == (i % size + rounds) % size);
  }
}

// Some threads have ended when the others meet lanes and nobody meets a barrier any more.
static __global__ void ends_early(unsigned *out) {
  __syncthreads();
  if (threadIdx.x >= 32) return;
  out[threadIdx.x] = __shfl_xor_sync(~0u, threadIdx.x, 1);
}

static void threads_may_end_before_others() {
  unsigned out[32] = {};
  SIMT_LAUNCH(ends_early, 1, 100, 0, nullptr, out);
  for (unsigned i = 0; i < 32; ++i) EXPECT(out[i] == (i ^ 1));
}

// ---- Shared memory.

static __global__ void fill_shared(unsigned *out, unsigned count) {
  SIMT_SHARED(unsigned, row);
  __shared__ unsigned long long sum;
  if (threadIdx.x == 0) sum = reinterpret_cast<uintptr_t>(row) % 16;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) row[i] = i * (blockIdx.x + 1);
  __syncthreads();
  unsigned long long mine = 0;
  for (unsigned i = threadIdx.x; i < count; i += blockDim.x) mine += row[count - 1 - i];
  atomicAdd(&sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sum == (blockIdx.x + 1ull) * count * (count - 1ull) / 2;
  }
}

static void shared_memory_is_of_the_block() {
  simt::threads(4);
  for (unsigned bytes : {16u, 1000u, 227u * 1024, 64u}) {
    std::vector<unsigned> out(40);
    SIMT_LAUNCH(fill_shared, 40, 48, bytes, nullptr, out.data(), bytes / 4);
    EXPECT(simt_last_error() == 0);
    for (unsigned fine : out) EXPECT(fine == 1);
  }
}

// ---- Atomics.

struct numbers {
  int i;
  unsigned u, bits, rest, cas;
  unsigned long long l, most, least;
  float f;
  double d;
  int low, high;
  unsigned last, before;
};

static __global__ void touch(numbers *n) {
  const unsigned id = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&n->i, -1);
  atomicAdd(&n->u, 2u);
  atomicAdd(&n->l, 1ull << 33);
  atomicAdd(&n->f, 1.0f);
  atomicAdd(&n->d, 0.5);
  atomicMin(&n->low, -static_cast<int>(id));
  atomicMax(&n->high, static_cast<int>(id));
  atomicMin(&n->least, (1ull << 40) - id);
  atomicMax(&n->most, (1ull << 40) + id);
  atomicOr(&n->bits, 1u << id % 32);
  atomicAnd(&n->rest, ~(1u << id % 31));
  atomicAdd(&n->before, atomicExch(&n->last, id));
  unsigned seen = 0, taken;
  while ((taken = atomicCAS(&n->cas, seen, seen + 3)) != seen) seen = taken;
}

static void atomics_lose_nothing() {
  simt::threads(4);
  for (unsigned block : {1u, 64u}) {
    const unsigned grid = 20000 / block, count = grid * block;
    numbers n = {};
    n.rest = ~0u;
    n.least = ~0ull;
    SIMT_LAUNCH(touch, grid, block, 0, nullptr, &n);
    EXPECT(n.i == -static_cast<int>(count));
    EXPECT(n.u == 2 * count);
    EXPECT(n.l == (1ull << 33) * count);
    EXPECT(n.f == static_cast<float>(count));
    EXPECT(n.d == 0.5 * count);
    EXPECT(n.low == -static_cast<int>(count - 1) && n.high == static_cast<int>(count - 1));
    EXPECT(n.least == (1ull << 40) - (count - 1) && n.most == (1ull << 40) + count - 1);
    EXPECT(n.bits == ~0u && n.rest == 1u << 31);
    EXPECT(n.before + n.last == static_cast<unsigned>(uint64_t{count} * (count - 1) / 2));
    EXPECT(n.cas == 3 * count);
  }
}

// Nothing but one atomic, so that threads are in each other's way. Each number is found once.
static __global__ void take_turns(unsigned *last, unsigned long long *found, unsigned rounds) {
  unsigned long long sum = 0;
  for (unsigned i = 1; i <= rounds; ++i) sum += atomicExch(last, blockIdx.x * rounds + i);
  atomicAdd(found, sum);
}

static void atomics_are_not_divided() {
  simt::threads(4);
  const unsigned grid = 8, rounds = 400000, count = grid * rounds;
  unsigned last = 0;
  unsigned long long found = 0;
  SIMT_LAUNCH(take_turns, grid, 1, 0, nullptr, &last, &found, rounds);
  EXPECT(found + last == count * (count + 1ull) / 2);
}

static __global__ void tell_before(unsigned *out) {
  unsigned x = 5;
  out[0] = atomicAdd(&x, 2u) * 1000 + x;
  out[1] = atomicMin(&x, 3u) * 1000 + x;
  out[2] = atomicMax(&x, 9u) * 1000 + x;
  out[3] = atomicExch(&x, 6u) * 1000 + x;
  out[4] = atomicCAS(&x, 7u, 8u) * 1000 + x;
  out[5] = atomicCAS(&x, 6u, 8u) * 1000 + x;
  out[6] = atomicOr(&x, 3u) * 1000 + x;
  out[7] = atomicAnd(&x, 9u) * 1000 + x;
}

static void atomics_return_what_was() {
  unsigned out[8] = {};
  const unsigned expected[8] = {5007, 7003, 3009, 9006, 6006, 6008, 8011, 11009};
  SIMT_LAUNCH(tell_before, 1, 1, 0, nullptr, out);
  EXPECT(memcmp(out, expected, sizeof out) == 0);
}

// ---- Lanes of a warp.

struct lanes_seen {
  int at, last, up, down, across, narrow_at, narrow_up, narrow_down, narrow_xor, beyond;
  uint32_t ballot;
  int any, none, all, not_all;
};

static __global__ void exchange(lanes_seen *out) {
  const int lane = static_cast<int>(threadIdx.x % 32), mine = static_cast<int>(threadIdx.x);
  lanes_seen s;
  s.at = __shfl_sync(~0u, mine, 3);
  s.last = __shfl_sync(~0u, mine, -1);
  s.up = __shfl_up_sync(~0u, mine, 2);
  s.down = __shfl_down_sync(~0u, mine, 3);
  s.across = __shfl_xor_sync(~0u, mine, 5);
  s.narrow_at = __shfl_sync(~0u, mine, 9, 8);
  s.narrow_up = __shfl_up_sync(~0u, mine, 1, 8);
  s.narrow_down = __shfl_down_sync(~0u, mine, 7, 8);
  s.narrow_xor = __shfl_xor_sync(~0u, mine, 9, 8);
  s.beyond = __shfl_down_sync(~0u, mine, 100);
  s.ballot = __ballot_sync(~0u, lane % 3 == 0);
  s.any = __any_sync(~0u, lane == 2);
  s.none = __any_sync(~0u, lane == 77);
  s.all = __all_sync(~0u, lane < 32);
  s.not_all = __all_sync(~0u, lane != 1);
  out[threadIdx.x] = s;
}

// Where a lane that the block does not have would be read, the value is not defined.
static void lanes_see_each_other() {
  for (int size : {32, 40, 3 * 32 + 5, 1024}) {
    std::vector<lanes_seen> out(static_cast<size_t>(size));
    SIMT_LAUNCH(exchange, 1, static_cast<unsigned>(size), 0, nullptr, out.data());
    for (int i = 0; i < size; ++i) {
      const lanes_seen &s = out[static_cast<size_t>(i)];
      const int first = i / 32 * 32, lane = i % 32, eight = i / 8 * 8;
      const int there = size - first < 32 ? size - first : 32;
      const auto is = [&](int got, int from) { return from - first >= there || got == from; };
      EXPECT(is(s.at, first + 3));
      EXPECT(is(s.last, first + 31));
      EXPECT(s.up == (lane < 2 ? i : i - 2));
      EXPECT(is(s.down, lane + 3 < 32 ? i + 3 : i));
      EXPECT(is(s.across, i ^ 5));
      EXPECT(is(s.narrow_at, eight + 1));
      EXPECT(s.narrow_up == (i == eight ? i : i - 1));
      EXPECT(is(s.narrow_down, i == eight ? i + 7 : i));
      EXPECT((lane ^ 9) < lane / 8 * 8 + 8 ? is(s.narrow_xor, i ^ 9) : s.narrow_xor == i);
      EXPECT(s.beyond == i);
      EXPECT(s.ballot == (0x49249249u & (there == 32 ? ~0u : (1u << there) - 1)));
      EXPECT(s.any && !s.none && s.all && !s.not_all);
    }
  }
}

template <class T>
static __global__ void exchange_wide(T *out) {
  out[threadIdx.x] = __shfl_xor_sync(~0u, static_cast<T>(threadIdx.x * 1.5), 1);
}

static void lanes_exchange_any_number() {
  double d[32];
  float f[32];
  long long l[32];
  unsigned char c[32];
  SIMT_LAUNCH(exchange_wide<double>, 1, 32, 0, nullptr, d);
  SIMT_LAUNCH(exchange_wide<float>, 1, 32, 0, nullptr, f);
  SIMT_LAUNCH(exchange_wide<long long>, 1, 32, 0, nullptr, l);
  SIMT_LAUNCH(exchange_wide<unsigned char>, 1, 32, 0, nullptr, c);
  for (int i = 0; i < 32; ++i) {
    const double other = (i ^ 1) * 1.5;
    EXPECT(d[i] == other && f[i] == static_cast<float>(other));
    EXPECT(l[i] == static_cast<long long>(other) && c[i] == static_cast<unsigned char>(other));
  }
}

// The halves of a warp do different things, a different number of times.
static __global__ void halves(int *out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int sum = 0;
  if (lane < 16) {
    for (int i = 0; i < 7; ++i) sum += __shfl_xor_sync(0x0000ffffu, lane, 1 + i);
  } else {
    for (int i = 0; i < 3; ++i) sum += __popc(__ballot_sync(0xffff0000u, lane % 2)) * (i + 1);
  }
  __syncwarp();
  out[threadIdx.x] = sum + __shfl_sync(~0u, 1000 * lane, 31);
}

static void halves_of_a_warp_go_their_ways() {
  int out[64];
  SIMT_LAUNCH(halves, 1, 64, 0, nullptr, out);
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32;
    int sum = 0;
    for (int n = 1; n <= 7 && lane < 16; ++n) sum += lane ^ n;
    if (lane >= 16) sum = 8 * 6;
    EXPECT(out[i] == sum + 31000);
  }
}

// ---- What cannot be.

static __global__ void some_skip_the_barrier() {
  if (threadIdx.x < 5) __syncthreads();
}
static __global__ void the_first_skips_the_barrier() {
  if (threadIdx.x > 0) __syncthreads();
}
static __global__ void one_stays_away(int *out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = __shfl_sync(~0u, 1, 0);
}
static __global__ void not_in_its_mask(int *out) {
  out[threadIdx.x] = __shfl_sync(0xffu, 1, 0);
}
static __global__ void masks_differ(int *out) {
  out[threadIdx.x] = __shfl_sync(threadIdx.x ? ~0u : ~2u, 1, 0);
}
static __global__ void barrier_against_lanes(int *out) {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    out[threadIdx.x] = __shfl_sync(~0u, 1, 0);
  }
}
static __global__ void overflows() {
  volatile char all[SIMT_STACK];
  for (size_t i = sizeof all; i-- > 0;) all[i] = 1;
  __syncthreads();
}

// How a child ends that does this, and what it says.
template <class F>
static int end_of(const F &f, char *said, size_t size) {
  int ends[2];
  EXPECT(pipe(ends) == 0);
  fflush(stdout);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    f();
    _exit(0);
  }
  close(ends[1]);
  size_t got = 0;
  for (ssize_t n; (n = read(ends[0], said + got, size - 1 - got)) > 0;)
    got += static_cast<size_t>(n);
  said[got] = 0;
  close(ends[0]);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  return status;
}

template <class F>
static void expect_abort(const char *expected, const F &f) {
  char said[8192];
  const int status = end_of(f, said, sizeof said);
  if (!strstr(said, expected)) printf("expected: %s\ngot: %s\n", expected, said);
  EXPECT(strstr(said, expected));
  EXPECT(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static int ignored[64];

static void names_threads_that_miss_a_barrier() {
  expect_abort(
      "simt: kernel some_skip_the_barrier, block (0,0,0), thread (0,0,0): waits at a barrier, "
      "without which ended thread (5,0,0) (the barrier: ",
      [] { SIMT_LAUNCH(some_skip_the_barrier, 1, 64, 0, nullptr); });
  expect_abort("simt: kernel the_first_skips_the_barrier, block (0,0,0), thread (",
               [] { SIMT_LAUNCH(the_first_skips_the_barrier, 1, dim3(4, 2), 0, nullptr); });
  expect_abort(
      "simt: kernel barrier_against_lanes, block (0,0,0), thread (40,0,0): waits for lanes",
      [] { SIMT_LAUNCH(barrier_against_lanes, 1, 64, 0, nullptr, ignored); });
}

static void names_lanes_that_do_not_come() {
  expect_abort(
      "simt: kernel one_stays_away, block (0,0,0), thread (0,0,0): waits for lanes of its warp "
      "that do not come, unlike thread (7,0,0)\n",
      [] { SIMT_LAUNCH(one_stays_away, 1, 32, 0, nullptr, ignored); });
  expect_abort(
      "simt: kernel not_in_its_mask, block (0,0,0), thread (8,0,0): is not in its own mask",
      [] { SIMT_LAUNCH(not_in_its_mask, 1, 32, 0, nullptr, ignored); });
  expect_abort("simt: kernel masks_differ, block (0,0,0), thread (2,0,0): names other lanes",
               [] { SIMT_LAUNCH(masks_differ, 1, 32, 0, nullptr, ignored); });
}

template <class F>
static void expect_fault(const F &f) {
  char said[8192];
  // A sanitizer's would write a report, which is a failure elsewhere.
  const int status = end_of([&] { signal(SIGSEGV, SIG_DFL), f(); }, said, sizeof said);
  EXPECT(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void a_stack_that_overflows_ends_the_process() {
  expect_fault([] { SIMT_LAUNCH(overflows, 1, 2, 0, nullptr); });
}

static __global__ void write_shared(unsigned *out, unsigned at) {
  SIMT_SHARED(unsigned, row);
  row[at] = 7;
  out[0] = row[at];
}

static void what_lies_behind_dynamic_shared_memory_ends_the_process() {
  unsigned out = 0;
  for (unsigned count = 4; count <= 227 * 256; count = count * 3 / 4 * 4) {
    SIMT_LAUNCH(write_shared, 1, 1, count * 4, nullptr, &out, count - 1);
    EXPECT(out == 7);
    expect_fault([&] { SIMT_LAUNCH(write_shared, 1, 1, count * 4, nullptr, &out, count); });
  }
  // Also with memory that a launch before had.
  expect_fault([&] { SIMT_LAUNCH(write_shared, 1, 1, 0, nullptr, &out, 0u); });
}

static void a_bad_configuration_is_told_and_forgotten() {
  unsigned count = 0;
  const int invalid_configuration = 9;  // of the CUDA runtime
  struct {
    dim3 grid, block;
    size_t shared;
  } bad[] = {{1, 1025, 0},
             {1, 0, 0},
             {0, 1, 0},
             {1, dim3(1, 1, 65), 0},
             {1, dim3(32, 33), 0},
             {1, 1, 228 * 1024},
             {dim3(1, 65536), 1, 0},
             {dim3(1, 1, 65536), 1, 0},
             {1u << 31, 1, 0},
             {1, dim3(1u << 16, 1u << 16, 2), 0}};
  for (const auto &b : bad) {
    SIMT_LAUNCH(count_threads, b.grid, b.block, b.shared, nullptr, &count);
    EXPECT(count == 0);
    EXPECT(simt_last_error() == invalid_configuration && simt_last_error() == 0);
  }
  SIMT_LAUNCH(count_threads, 1, 1, 0, nullptr, &count);
  EXPECT(count == 1 && simt_last_error() == 0);
}

// ---- Several threads that launch.

static void *launch_often(void *at) {
  std::vector<unsigned> counts(64 * 20);
  for (unsigned round = 1; round <= 50; ++round) {
    SIMT_LAUNCH(count_threads, 20, 64, 0, nullptr, counts.data());
    for (unsigned count : counts) {
      if (count != round) return nullptr;
    }
    SIMT_LAUNCH(count_threads, 1, 1025, 0, nullptr, counts.data());
    if (simt_last_error() != 9) return nullptr;
  }
  return at;
}

static void threads_may_launch_at_once() {
  simt::threads(3);
  pthread_t threads[4];
  static char fine;
  for (pthread_t &thread : threads) {
    EXPECT(pthread_create(&thread, nullptr, launch_often, &fine) == 0);
  }
  for (pthread_t &thread : threads) {
    void *got = nullptr;
    pthread_join(thread, &got);
    EXPECT(got == &fine);
  }
}

// ---- Graphs.

static __global__ void add_to(unsigned *at, unsigned by) {
  atomicAdd(at, by);
}
static __global__ void double_it(unsigned *at) {
  *at *= 2;
}

static void a_graph_does_what_was_launched() {
  void *stream, *graph = nullptr;
  unsigned value = 1, copy = 0, by = 3;
  EXPECT(device_stream_new(&stream) == 0);
  EXPECT(device_capture_begin(stream) == 0);
  SIMT_LAUNCH(add_to, 2, 1, 0, stream, &value, by);
  SIMT_LAUNCH(double_it, 1, 1, 0, stream, &value);
  EXPECT(device_copy(&copy, &value, sizeof value, stream) == 0);
  EXPECT(device_memset(&value, 0, 1, stream) == 0);
  by = 100;  // arguments are those of the launch
  EXPECT(value == 1 && copy == 0);
  SIMT_LAUNCH(add_to, 1, 1, 0, nullptr, &value, 1u);  // another stream is not captured
  EXPECT(value == 2);
  EXPECT(device_capture_end(stream, &graph) == 0);
  EXPECT(value == 2 && copy == 0);
  EXPECT(device_graph_launch(graph, stream) == 0);
  EXPECT(copy == 16 && value == 0);
  EXPECT(device_graph_launch(graph, nullptr) == 0);
  EXPECT(copy == 12 && value == 0);
  SIMT_LAUNCH(add_to, 1, 1, 0, stream, &value, 7u);  // no longer captured
  EXPECT(value == 7);
  EXPECT(device_graph_free(graph) == 0);
  EXPECT(device_stream_free(stream) == 0);
}

static void a_graph_keeps_memory_that_was_freed_meanwhile() {
  void *stream, *graph, *memory, *other;
  EXPECT(device_stream_new(&stream) == 0 && device_capture_begin(stream) == 0);
  EXPECT(device_malloc(&memory, 4096, stream) == 0);
  EXPECT(device_memset(memory, 5, 4096, stream) == 0);
  unsigned char seen[2] = {};
  EXPECT(device_copy(seen, memory, 2, stream) == 0);
  EXPECT(device_free(memory, stream) == 0);
  EXPECT(device_capture_end(stream, &graph) == 0);
  EXPECT(device_malloc(&other, 4096, stream) == 0);
  EXPECT(other != memory);
  EXPECT(device_graph_launch(graph, stream) == 0 && seen[0] == 5 && seen[1] == 5);
  EXPECT(device_graph_free(graph) == 0 && device_free(other, stream) == 0);
  EXPECT(device_stream_free(stream) == 0);
}

static void captures_are_refused_where_they_cannot_be() {
  void *stream, *graph = nullptr;
  int32_t done;
  EXPECT(device_stream_new(&stream) == 0);
  EXPECT(device_capture_begin(nullptr) != 0);
  EXPECT(device_capture_end(stream, &graph) != 0);
  EXPECT(device_capture_begin(stream) == 0);
  EXPECT(device_capture_begin(stream) != 0);
  EXPECT(device_stream_synchronize(stream) != 0);
  EXPECT(device_stream_query(stream, &done) != 0);
  EXPECT(device_capture_end(stream, &graph) == 0 && graph);
  EXPECT(device_graph_launch(graph, stream) == 0);  // an empty one
  EXPECT(device_graph_launch(nullptr, stream) != 0);
  EXPECT(device_stream_synchronize(stream) == 0);
  EXPECT(device_graph_free(graph) == 0);
  // A stream may end in the middle of a capture.
  EXPECT(device_capture_begin(stream) == 0);
  SIMT_LAUNCH(double_it, 1, 1, 0, stream, static_cast<unsigned *>(nullptr));
  EXPECT(device_stream_free(stream) == 0);
}

static void a_graph_does_not_touch_events() {
  void *stream, *graph, *event;
  int32_t done;
  EXPECT(device_stream_new(&stream) == 0 && device_capture_begin(stream) == 0);
  EXPECT(device_event_new(&event, 1) == 0 && device_event_record(event, stream) == 0);
  EXPECT(device_event_synchronize(event) == 907 && device_event_query(event, &done) == 907);
  EXPECT(device_event_record(event, nullptr) == 0 && device_event_synchronize(event) == 0);
  EXPECT(device_event_record(event, stream) == 0 && device_event_free(event) == 0);
  EXPECT(device_capture_end(stream, &graph) == 0 && device_graph_launch(graph, stream) == 0);
  EXPECT(device_graph_free(graph) == 0 && device_stream_free(stream) == 0);
}

static const check checks[] = {
    {"runs each thread of each block once, whatever the size", runs_each_thread_once},
    {"lets nobody pass a barrier before all are there", barriers_hold_all},
    {"lets threads end before others", threads_may_end_before_others},
    {"gives each block shared memory of its own", shared_memory_is_of_the_block},
    {"loses nothing in atomics of several threads", atomics_lose_nothing},
    {"divides no atomic", atomics_are_not_divided},
    {"returns from atomics what was there", atomics_return_what_was},
    {"lets lanes see each other, also in a warp that is not whole", lanes_see_each_other},
    {"exchanges any number between lanes", lanes_exchange_any_number},
    {"lets halves of a warp go their ways", halves_of_a_warp_go_their_ways},
    {"names kernel and thread where a barrier is missed", names_threads_that_miss_a_barrier},
    {"names kernel and thread where lanes do not come", names_lanes_that_do_not_come},
    {"ends where a kernel goes beyond its dynamic shared memory",
     what_lies_behind_dynamic_shared_memory_ends_the_process},
    {"ends where a stack overflows", a_stack_that_overflows_ends_the_process},
    {"tells once of a configuration that cannot be", a_bad_configuration_is_told_and_forgotten},
    {"serves several threads that launch at once", threads_may_launch_at_once},
    {"does in a graph what was launched while it was captured", a_graph_does_what_was_launched},
    {"keeps for a graph the memory that was freed meanwhile",
     a_graph_keeps_memory_that_was_freed_meanwhile},
    {"does not touch in a graph the events that were recorded meanwhile",
     a_graph_does_not_touch_events},
    {"refuses captures where they cannot be", captures_are_refused_where_they_cannot_be},
};

int main(int argc, char **argv) {
  for (const check &c : checks) {
    if (argc < 2) puts(c.name);
    if (argc < 2 || strcmp(argv[1], c.name) != 0) continue;
    c.run();
    return 0;
  }
  if (argc < 2) return 0;
  printf("no check is called %s\n", argv[1]);
  return 1;
}
