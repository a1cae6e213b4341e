// How blocks run on the processor: fibers, barriers, a pool of threads. Part of simt.h, which says
// what it is for.
#pragma once

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define SIMT_TSAN 1
#define SIMT_UNSEEN __attribute__((noinline, no_sanitize("thread")))
#else
#define SIMT_TSAN 0
#define SIMT_UNSEEN
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SIMT_ASAN 1
#else
#define SIMT_ASAN 0
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifndef SIMT_STACK
#define SIMT_STACK \
  (SIMT_ASAN || SIMT_TSAN ? 256 * 1024 : 64 * 1024)  // bytes of a fiber, a multiple of a page
#endif

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace simt {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr size_t kMaxShared = 227 * 1024;
constexpr size_t kSharedRoom = 256 * 1024, kSharedGuard = 64 * 1024;  // multiples of any page
constexpr size_t kSharedAlignment = 16;                               // what a GPU gives
constexpr unsigned kMaxDepth = 64;                                    // of a block
constexpr unsigned kMaxGrid = 65535;    // in its second and third dimension, 2^31 - 1 in the first
constexpr int kErrorConfiguration = 9;  // cudaErrorInvalidConfiguration

// ---- A fiber and the switch from one stack to another.

#ifdef __x86_64__
using context = void *;  // the stack pointer; what the call has to keep lies above it

__attribute__((naked, noinline)) inline void switch_context(context * /*from*/, context * /*to*/) {
  __asm__ volatile(
      "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "movq %rsp, (%rdi)\n\tmovq (%rsi), %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}

// The first switch to it returns into `entry`, with the stack aligned as after a call.
inline void make_context(context *made, char *stack, void (*entry)()) {
  void **top = reinterpret_cast<void **>(stack + SIMT_STACK) - 1;
  *top = nullptr;
  *--top = reinterpret_cast<void *>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  *made = top;
}
#else
using context = ucontext_t;

inline void switch_context(context *from, context *to) {
  swapcontext(from, to);
}

inline void make_context(context *made, char *stack, void (*entry)()) {
  getcontext(made);
  made->uc_stack.ss_sp = stack;
  made->uc_stack.ss_size = SIMT_STACK;
  made->uc_link = nullptr;
  makecontext(made, entry, 0);
}
#endif

enum state : unsigned char { RUNS, WAITS_FOR_BLOCK, WAITS_FOR_WARP, ENDED };

// A line of a source.
struct place {
  const char *file;
  int line;
};

struct fiber {
  context at;
  uint3 thread;
  enum state state;
  place barrier;  // where it waits
  void *shadow;   // of its stack, for the address sanitizer
  void *twin;     // for the thread sanitizer
};

// What lanes of a warp are in. A lane that waits has said which lanes it meets, and from which of
// them it wants the value; the last that comes gives each what it wants, so that nobody looks into
// what others have, who may be further on. Lanes that meet others are no part of it.
struct warp {
  uint32_t waiting, votes;
  uint32_t all_say;  // the mask of all that wait, or 0 if they have several
  uint32_t mask[kWarpSize], voted[kWarpSize];
  uint64_t value[kWarpSize], got[kWarpSize];
  unsigned char from[kWarpSize];
  char order;  // its address orders the lanes for the thread sanitizer
};

// ---- What one thread of the pool needs to run blocks.

struct launch {
  const char *kernel;
  dim3 grid, block;
  size_t shared;
  void (*call)(const void *);
  const void *argument;
};

struct host {
  const struct launch *launch;
  dim3 grid, block;
  uint3 at, thread;  // block and thread that run now
  unsigned size, current, waiting, ended, barriers;
  bool alone;          // threads run as a plain loop
  char *dynamic;       // shared memory of the launch
  char *dynamic_room;  // what it is taken from, or NULL
  unsigned made;       // fibers that have a stack
  char *stacks;
  fiber *fibers;
  warp *warps;
  context main;
  void *main_twin, *main_shadow;
  const void *main_stack;
  size_t main_stack_size;
  // Who is one barrier ahead must not be taken to be before those that still leave the last one,
  // hence two that take turns.
  char order_block[2], order_start, order_end;
};

inline thread_local host here;

// To the address sanitizer all of a thread's room for dynamic shared memory is out of bounds but for
// the `size` bytes in use, which begin at `used`. No `used`: nothing is.
#if SIMT_ASAN
inline void forbid(char *room, size_t size, const char *used = nullptr) {
  if (!room) return;
  if (used) __asan_poison_memory_region(room, kSharedRoom);
  __asan_unpoison_memory_region(used ? used : room, used ? size : kSharedRoom);
}
#else
inline void forbid(char *, size_t, const char * = nullptr) {}
#endif

// Frees what a thread has when it ends. Apart from `here`, which would be slower to reach if it had
// a destructor.
struct farewell {
  bool owns = false;
  ~farewell() {
    if (here.stacks) munmap(here.stacks, size_t{kMaxThreads} * SIMT_STACK);
#if SIMT_TSAN
    for (unsigned i = 0; i < here.made; ++i) __tsan_destroy_fiber(here.fibers[i].twin);
#endif
    free(here.fibers);
    free(here.warps);
    forbid(here.dynamic_room, 0);
    if (here.dynamic_room) munmap(here.dynamic_room, kSharedRoom + kSharedGuard);
  }
};

inline thread_local farewell at_end;
inline thread_local int error_of_launch;

#if SIMT_TSAN
inline void release(char *order) {
  __tsan_release(order);
}
inline void acquire(char *order) {
  __tsan_acquire(order);
}
#else
inline void release(char *) {}
inline void acquire(char *) {}
#endif

// Ends the process, with one line that says which thread does what. `where`: at which barrier, or
// NULL.
[[noreturn]] SIMT_UNSEEN inline void fail(const char *what, const place *where = nullptr) {
  host &h = here;
  uint3 t = h.thread;
  char barrier[300] = "";
  if (where) snprintf(barrier, sizeof barrier, " (the barrier: %s:%d)", where->file, where->line);
  fprintf(stderr, "simt: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): %s%s\n", h.launch->kernel,
          h.at.x, h.at.y, h.at.z, t.x, t.y, t.z, what, barrier);
  abort();
}

// The same for a thread that another one does otherwise than.
[[noreturn]] SIMT_UNSEEN inline void diverged(const char *what, unsigned other,
                                              const place *where = nullptr) {
  uint3 o = here.fibers ? here.fibers[other].thread : uint3{0, 0, 0};
  char text[200];
  snprintf(text, sizeof text, "%s thread (%u,%u,%u)", what, o.x, o.y, o.z);
  fail(text, where);
}

// From the fiber that runs to the one that runs the block.
SIMT_UNSEEN inline void leave_fiber() {
  host &h = here;
  fiber &f = h.fibers[h.current];
#if SIMT_TSAN
  __tsan_switch_to_fiber(h.main_twin, __tsan_switch_to_fiber_no_sync);
#endif
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(f.state == ENDED ? nullptr : &f.shadow, h.main_stack,
                                 h.main_stack_size);
#endif
  switch_context(&f.at, &h.main);
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(f.shadow, &h.main_stack, &h.main_stack_size);
#endif
}

// Runs a fiber until it waits or ends.
SIMT_UNSEEN inline void enter_fiber(unsigned i) {
  host &h = here;
  fiber &f = h.fibers[i];
  h.current = i;
  h.thread = f.thread;
#if SIMT_TSAN
  __tsan_switch_to_fiber(f.twin, __tsan_switch_to_fiber_no_sync);
#endif
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(&h.main_shadow, h.stacks + size_t{i} * SIMT_STACK, SIMT_STACK);
#endif
  switch_context(&h.main, &f.at);
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(h.main_shadow, nullptr, nullptr);
#endif
}

SIMT_UNSEEN inline void fiber_entry() {
  host &h = here;
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &h.main_stack, &h.main_stack_size);
#endif
  acquire(&h.order_start);
  h.launch->call(h.launch->argument);
  release(&h.order_end);
  h.fibers[h.current].state = ENDED;
  ++h.ended;
  leave_fiber();
  abort();  // an ended fiber is never entered again
}

inline uint3 thread_at(unsigned i, const dim3 &block) {
  return {i % block.x, i / block.x % block.y, i / block.x / block.y};
}

SIMT_UNSEEN inline void start_fiber(unsigned i) {
  host &h = here;
  fiber &f = h.fibers[i];
  f.state = RUNS;
  f.thread = thread_at(i, h.block);
  make_context(&f.at, h.stacks + size_t{i} * SIMT_STACK, fiber_entry);
  enter_fiber(i);
}

[[noreturn]] inline void out_of_memory() {
  fprintf(stderr, "simt: no memory for the stacks of a block\n");
  abort();
}

// Makes stacks for `size` threads. A page below each is unmapped, so that one that overflows ends
// the process.
SIMT_UNSEEN inline void make_fibers(unsigned size) {
  host &h = here;
  if (!h.stacks) {
    void *memory = mmap(nullptr, size_t{kMaxThreads} * SIMT_STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    h.fibers = static_cast<fiber *>(calloc(kMaxThreads, sizeof(fiber)));
    h.warps = static_cast<warp *>(calloc(kMaxThreads / kWarpSize, sizeof(warp)));
    if (memory == MAP_FAILED || !h.fibers || !h.warps) out_of_memory();
    h.stacks = static_cast<char *>(memory);
  }
  for (; h.made < size; ++h.made) {
    mprotect(h.stacks + size_t{h.made} * SIMT_STACK, 4096, PROT_NONE);
#if SIMT_TSAN
    h.fibers[h.made].twin = __tsan_create_fiber(0);
#endif
  }
}

// ---- Barriers.

SIMT_UNSEEN inline void barrier(place where) {
  host &h = here;
  if (h.size == 1) return;
  if (h.alone) diverged("waits at a barrier that was not met by", 0, &where);
  char *order = &h.order_block[h.barriers % 2];
  release(order);
  h.fibers[h.current].state = WAITS_FOR_BLOCK;
  h.fibers[h.current].barrier = where;
  ++h.waiting;
  leave_fiber();
  acquire(order);
}

struct exchanged {
  uint64_t value;
  uint32_t votes;
};

// Waits until all lanes of the mask are here. Returns the value of the lane `from`, or the own one
// if that is not in the mask, and who voted.
SIMT_UNSEEN inline exchanged warp_exchange(uint32_t mask, uint64_t value, bool vote,
                                           unsigned from) {
  host &h = here;
  if (h.alone && h.size > 1) diverged("meets lanes of its warp, which was not done by", 0);
  unsigned lane = h.current % kWarpSize, first = h.current - lane;
  unsigned there = h.size - first < kWarpSize ? h.size - first : kWarpSize;
  if (there < kWarpSize) mask &= (1u << there) - 1;  // lanes that the block does not have
  warp &w = h.warps[h.current / kWarpSize];
  if (!(mask >> lane & 1)) diverged("is not in its own mask in a meeting of lanes, unlike", first);
  if (!w.waiting) w.all_say = mask;
  if (w.all_say != mask) w.all_say = 0;
  uint32_t here_too = w.all_say ? w.waiting | 1u << lane : 1u << lane;
  for (unsigned i = 0; i < there && !w.all_say; ++i) {
    if (!((w.waiting & mask) >> i & 1)) continue;
    if (w.mask[i] == mask) {
      here_too |= 1u << i;
    } else if (w.mask[i] >> lane & 1) {
      // One that meets others first may still come, but this one waits for the other too.
      diverged("names other lanes in a meeting than", first + i);
    }
  }
  w.waiting |= 1u << lane;
  w.votes = (w.votes & ~(1u << lane)) | static_cast<uint32_t>(vote) << lane;
  w.mask[lane] = mask;
  w.value[lane] = value;
  w.from[lane] = static_cast<unsigned char>(from < there && mask >> from & 1 ? from : lane);
  release(&w.order);
  if (here_too == mask) {
    w.waiting &= ~mask;
    for (unsigned i = 0; i < there; ++i) {
      if (!(mask >> i & 1)) continue;
      w.got[i] = w.value[w.from[i]];
      w.voted[i] = w.votes & mask;
      h.fibers[first + i].state = RUNS;
    }
  } else {
    h.fibers[h.current].state = WAITS_FOR_WARP;
    leave_fiber();
  }
  acquire(&w.order);
  return {w.got[lane], w.voted[lane]};
}

// ---- Running a block and a grid.

// No fiber can go on: all wait for the block, or some never come.
SIMT_UNSEEN inline void open_barrier() {
  host &h = here;
  if (h.waiting == h.size) {
    h.waiting = 0;
    ++h.barriers;
    for (unsigned i = 0; i < h.size; ++i) h.fibers[i].state = RUNS;
    return;
  }
  unsigned waits = 0, ended = h.size;
  for (unsigned i = h.size; i-- > 0;) {
    if (h.fibers[i].state == ENDED) ended = i;
    if (h.fibers[i].state == WAITS_FOR_WARP) waits = i;
  }
  for (unsigned i = 0; i < h.size && h.fibers[waits].state == ENDED; ++i) waits = i;
  h.thread = h.fibers[waits].thread;
  if (h.fibers[waits].state == WAITS_FOR_WARP) {
    diverged("waits for lanes of its warp that do not come, unlike", ended < h.size ? ended : 0);
  }
  const place *where = &h.fibers[waits].barrier;
  if (ended < h.size) diverged("waits at a barrier, without which ended", ended, where);
  for (unsigned i = 0; i < h.size; ++i) {
    if (h.fibers[i].state != WAITS_FOR_BLOCK) ended = i;
  }
  diverged("waits at a barrier, unlike", ended, where);
}

SIMT_UNSEEN inline void run_fibers() {
  host &h = here;
  for (unsigned i = 1; i < h.size; ++i) start_fiber(i);
  while (h.ended < h.size) {
    bool moved = false;
    for (unsigned i = 0; i < h.size; ++i) {
      if (h.fibers[i].state != RUNS) continue;
      enter_fiber(i);
      moved = true;
    }
    if (!moved) open_barrier();
  }
}

SIMT_UNSEEN inline void run_block(uint3 at) {
  host &h = here;
  h.at = at;
  h.waiting = h.ended = h.current = 0;
  h.alone = h.size == 1;
  h.thread = {0, 0, 0};
  if (h.size == 1) {
    h.launch->call(h.launch->argument);
    return;
  }
  memset(h.warps, 0, (h.size + kWarpSize - 1) / kWarpSize * sizeof(warp));
  acquire(&h.order_end);
  release(&h.order_start);
  start_fiber(0);
  if (!SIMT_TSAN && h.fibers[0].state == ENDED) {
    h.alone = true;
    for (unsigned i = 1; i < h.size; ++i) {
      h.current = i;
      h.thread = thread_at(i, h.block);
      h.launch->call(h.launch->argument);
    }
    return;
  }
  run_fibers();
}

// Shared memory ends where memory begins that is not there: who goes beyond it ends the process, also
// where a launch gives none.
SIMT_UNSEEN inline void take_shared(size_t size) {
  host &h = here;
  if (size && !h.dynamic_room) {
    void *memory = mmap(nullptr, kSharedRoom + kSharedGuard, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) out_of_memory();
    h.dynamic_room = static_cast<char *>(memory);
    mprotect(h.dynamic_room + kSharedRoom, kSharedGuard, PROT_NONE);
  }
  if (!h.dynamic_room) return;
  size_t whole = (size + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
  h.dynamic = h.dynamic_room + kSharedRoom - whole;
  forbid(h.dynamic_room, size, h.dynamic);
}

// Sets this thread up for a launch, and runs blocks until none is left.
SIMT_UNSEEN inline void run_blocks(const struct launch &launch, uint64_t *next, uint64_t count) {
  host &h = here;
  h.launch = &launch;
  h.grid = launch.grid;
  h.block = launch.block;
  h.size = launch.block.x * launch.block.y * launch.block.z;
  at_end.owns = true;
  if (h.size > 1) make_fibers(h.size);
  take_shared(launch.shared);
#if SIMT_TSAN
  h.main_twin = __tsan_get_current_fiber();
#endif
  for (;;) {
    uint64_t i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    if (i >= count) break;
    run_block({static_cast<unsigned>(i % h.grid.x), static_cast<unsigned>(i / h.grid.x % h.grid.y),
               static_cast<unsigned>(i / h.grid.x / h.grid.y)});
  }
  acquire(&h.order_end);
}

// Threads that help a launch. Who launches runs blocks too, and waits only for helpers that have
// joined in.
struct pool {
  pthread_mutex_t turn =
      PTHREAD_MUTEX_INITIALIZER;  // one launch at a time is helped, others run alone
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // guards the rest
  pthread_cond_t wake = PTHREAD_COND_INITIALIZER, idle = PTHREAD_COND_INITIALIZER;
  const struct launch *launch = nullptr;
  uint64_t next = 0, count = 0, number = 0;
  unsigned started = 0, joined = 0, threads = 0;
};

inline pool helpers;

inline unsigned threads(unsigned set = 0) {
  if (set) __atomic_store_n(&helpers.threads, set < 256 ? set : 256, __ATOMIC_RELAXED);
  unsigned now = __atomic_load_n(&helpers.threads, __ATOMIC_RELAXED);
  if (now) return now;
  cpu_set_t cpus;
  int count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  now = static_cast<unsigned>(count < 256 ? count : 256);
  __atomic_store_n(&helpers.threads, now, __ATOMIC_RELAXED);
  return now;
}

inline void *help(void *) {
  pool &p = helpers;
  uint64_t seen = 0;
  pthread_mutex_lock(&p.lock);
  for (;;) {
    while (!p.launch || p.number == seen || p.joined + 1 >= threads()) {
      pthread_cond_wait(&p.wake, &p.lock);
    }
    seen = p.number;
    ++p.joined;
    const struct launch *launch = p.launch;
    pthread_mutex_unlock(&p.lock);
    run_blocks(*launch, &p.next, p.count);
    pthread_mutex_lock(&p.lock);
    --p.joined;
    pthread_cond_signal(&p.idle);
  }
  return nullptr;
}

// Starts threads that are not there yet. They take no signals: those are for the program's own
// threads.
inline void start_helpers(unsigned wanted) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  while (helpers.started < wanted && pthread_create(&thread, nullptr, help, nullptr) == 0) {
    pthread_detach(thread);
    ++helpers.started;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

inline void run_helped(const struct launch &launch, uint64_t count, unsigned wanted) {
  pool &p = helpers;
  pthread_mutex_lock(&p.lock);
  start_helpers(wanted);
  p.launch = &launch;
  p.next = 0;
  p.count = count;
  ++p.number;
  pthread_cond_broadcast(&p.wake);
  pthread_mutex_unlock(&p.lock);
  run_blocks(launch, &p.next, count);
  pthread_mutex_lock(&p.lock);
  p.launch = nullptr;
  while (p.joined) pthread_cond_wait(&p.idle, &p.lock);
  pthread_mutex_unlock(&p.lock);
}

// What a GPU would refuse is refused here too.
inline bool can_run(const struct launch &launch) {
  const dim3 &grid = launch.grid, &block = launch.block;
  const uint64_t size = uint64_t{block.x} * block.y * block.z;
  return grid.x >= 1 && grid.x <= 0x7fffffff && grid.y >= 1 && grid.y <= kMaxGrid && grid.z >= 1 &&
         grid.z <= kMaxGrid && size >= 1 && size <= kMaxThreads && block.z <= kMaxDepth &&
         launch.shared <= kMaxShared;
}

inline void run_grid(const struct launch &launch) {
  if (!can_run(launch)) {
    error_of_launch = kErrorConfiguration;
    return;
  }
  uint64_t count = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  unsigned wanted = threads() - 1;
  if (wanted > count - 1) wanted = static_cast<unsigned>(count - 1);
  if (wanted == 0 || pthread_mutex_trylock(&helpers.turn) != 0) {
    uint64_t next = 0;
    run_blocks(launch, &next, count);
    return;
  }
  run_helped(launch, count, wanted);
  pthread_mutex_unlock(&helpers.turn);
}

}  // namespace simt
