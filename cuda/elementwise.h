// Runs a function object over the elements of views of one shape: out[i] = f(in[i]...).
//
// On a GPU a thread takes a pack: 16 bytes of neighbours in the innermost dimension, as one load,
// one store; operands that do not step there are loaded once. Views whose memory does not allow
// that go element by element, in one kernel for all operations of a dtype, which chooses the
// operation at run time. On the processor a thread takes runs of neighbours.
#pragma once

#include <type_traits>
#include <utility>

#include "launch.h"

// Where the units of work lie. Unit u is (u modulo size[0], ...), and size[0] counts units of the
// innermost dimension.
template <int N>
struct plan {
  uint32_t units;
  uint32_t rest;  // elements behind the last unit, where there is one dimension only
  int32_t rank;
  int32_t inner;  // elements of the innermost dimension
  struct divider size[kMaxRank];
  int64_t stride[N][kMaxRank];  // from unit to unit
  int64_t step[N];              // from element to element within a unit
};

// A unit is `width` elements.
template <int N>
static void plan_make(plan<N> *p, const layout<N> &l, int64_t width) {
  p->rank = l.rank;
  p->inner = static_cast<int32_t>(l.shape[0]);
  const int64_t units = kSerial ? ceil_div(l.shape[0], width) : l.shape[0] / width;
  p->rest = kSerial ? 0 : static_cast<uint32_t>(l.shape[0] % width);
  p->units = static_cast<uint32_t>(units);
  for (int d = 0; d < l.rank; ++d) {
    if (d > 0) p->units *= static_cast<uint32_t>(l.shape[d]);
    p->size[d] = divider_of(static_cast<uint32_t>(d > 0 ? l.shape[d] : units > 0 ? units : 1));
    for (int n = 0; n < N; ++n) p->stride[n][d] = l.stride[n][d] * (d > 0 ? 1 : width);
  }
  for (int n = 0; n < N; ++n) p->step[n] = l.stride[n][0];
}

// Offsets of a unit in each operand. Returns the unit's place in the innermost dimension.
template <int N>
static __device__ __forceinline__ uint32_t plan_at(const plan<N> &p, uint32_t unit,
                                                   int64_t (&offset)[N]) {
  for (int n = 0; n < N; ++n) offset[n] = 0;
  uint32_t rest = unit, inner = 0;
  for (int d = 0; d < p.rank; ++d) {
    const uint32_t above = d + 1 < p.rank ? divide(rest, p.size[d]) : 0;
    const uint32_t here = rest - above * p.size[d].by;
    for (int n = 0; n < N; ++n) offset[n] += here * p.stride[n][d];
    if (d == 0) inner = here;
    rest = above;
  }
  return inner;
}

// The type of an input that an operation does not have.
struct none {};

template <class A, class B, class C>
constexpr int inputs_of =
    !std::is_same<A, none>::value + !std::is_same<B, none>::value + !std::is_same<C, none>::value;

template <int N, class F, class A, class B, class C>
static __device__ __forceinline__ auto call(const F &f, const A &a, const B &b, const C &c) {
  if constexpr (N == 0) return f();
  if constexpr (N == 1) return f(a);
  if constexpr (N == 2) return f(a, b);
  if constexpr (N == 3) return f(a, b, c);
}

template <int V, class T>
static __device__ __forceinline__ pack<T, V> load_pack(const T *from, bool steps) {
  pack<T, V> made = {};
  if constexpr (!std::is_same<T, none>::value) {
    if (steps || V == 1) return *reinterpret_cast<const pack<T, V> *>(from);
    const T value = *from;
    for (int i = 0; i < V; ++i) made.at[i] = value;
  }
  return made;
}

// Element i, or nothing of an input that is not there.
template <class T>
static __device__ __forceinline__ T element(const T *from, int64_t i) {
  if constexpr (std::is_same<T, none>::value)
    return none();
  else
    return from[i];
}

// Offset and step of operand n, or 0 if there is none.
template <int n, int N>
static __device__ __forceinline__ int64_t operand(const int64_t (&of)[N]) {
  if constexpr (n < N) return of[n];
  return 0;
}

template <int V, class F, class O, class A, class B, class C>
static __global__ void __launch_bounds__(256)
    map_packs(F f, plan<1 + inputs_of<A, B, C>> p, O *out, const A *a, const B *b, const C *c) {
  constexpr int N = 1 + inputs_of<A, B, C>;
  const share mine = share_of(p.units);
  for (uint32_t unit = mine.first; unit < mine.end; unit += mine.step) {
    int64_t at[N];
    plan_at(p, unit, at);
    const pack<A, V> x = load_pack<V>(a + operand<1>(at), operand<1>(p.step) != 0);
    const pack<B, V> y = load_pack<V>(b + operand<2>(at), operand<2>(p.step) != 0);
    const pack<C, V> z = load_pack<V>(c + operand<3>(at), operand<3>(p.step) != 0);
    pack<O, V> result;
    for (int i = 0; i < V; ++i) result.at[i] = call<N - 1>(f, x.at[i], y.at[i], z.at[i]);
    *reinterpret_cast<pack<O, V> *>(out + at[0]) = result;
  }
  // The rest is less than a pack: one element for each of the first threads.
  if (V > 1 && mine.first < p.rest) {
    const int64_t i = int64_t{p.units} * V + mine.first;
    out[i] = call<N - 1>(f, element(a, i * operand<1>(p.step)), element(b, i * operand<2>(p.step)),
                         element(c, i * operand<3>(p.step)));
  }
}

// A function of two as one of one: the other is a number.
template <class Two, class T>
struct with_number {
  Two two;
  T number;
  bool first;

  __device__ auto operator()(T a) const {
    return first ? two(number, a) : two(a, number);
  }
  auto in_f32() const {
    return with_number<decltype(two.in_f32()), float>{two.in_f32(), load(number), first};
  }
};

// ---- On the processor: one kernel for all operations, which calls the loop of one.

// A run of `length` elements; f is the function object, steps count elements.
using run_fn = void (*)(const void *f, const int64_t *step, int length, char *out, const char *a,
                        const char *b, const char *c);

// The bytes of a function object.
struct captured {
  alignas(8) unsigned char bytes[24];

  template <class F>
  explicit captured(const F &f) {
    static_assert(sizeof(F) <= sizeof bytes && std::is_trivially_copyable<F>::value, "it fits");
    memcpy(bytes, &f, sizeof f);
  }
};

// Offsets of the plan are bytes, its steps elements.
template <int N>
static __global__ void map_runs(run_fn run, captured f, plan<N> p, int width, char *out,
                                const char *a, const char *b, const char *c) {
  const share mine = share_of(p.units);
  for (uint32_t unit = mine.first; unit < mine.end; unit += mine.step) {
    int64_t at[N];
    const int first = static_cast<int>(plan_at(p, unit, at)) * width;
    const int length = first + width < p.inner ? width : p.inner - first;
    run(f.bytes, p.step, length, out + at[0], a + operand<1>(at), b + operand<2>(at),
        c + operand<3>(at));
  }
}

// The loop of an operation, with steps that the compiler knows, or -1 for those of the plan.
template <int S0, int S1, int S2, int S3, class F, class O, class A, class B, class C>
static __attribute__((noinline)) void run_of(const void *fn, const int64_t *step, int length,
                                             char *to, const char *x, const char *y,
                                             const char *z) {
  constexpr int N = inputs_of<A, B, C>;
  const F f = *static_cast<const F *>(fn);
  O *out = reinterpret_cast<O *>(to);
  const A *a = reinterpret_cast<const A *>(x);
  const B *b = reinterpret_cast<const B *>(y);
  const C *c = reinterpret_cast<const C *>(z);
  const int64_t s0 = S0 < 0 ? step[0] : S0, s1 = N > 0 && S1 < 0 ? step[1] : S1;
  const int64_t s2 = N > 1 && S2 < 0 ? step[2] : S2, s3 = N > 2 && S3 < 0 ? step[3] : S3;
  const A a0 = S1 == 0 ? element(a, 0) : A();
  const B b0 = S2 == 0 ? element(b, 0) : B();
#pragma GCC ivdep
  for (int i = 0; i < length; ++i) {
    out[i * s0] = call<N>(f, S1 == 0 ? a0 : element(a, i * s1), S2 == 0 ? b0 : element(b, i * s2),
                          element(c, i * s3));
  }
}

// The processor has no arithmetic for f16 and bf16: some are made f32, computed with the loop for
// f32, and made what they were. The output steps by one, inputs by one or not at all.
struct through_f32 {
  run_fn run;
  unsigned char f[16];
};

template <class T>
static __attribute__((noinline)) void widen_run(float *out, const T *in, int length) {
  for (int i = 0; i < length; ++i) out[i] = load(in[i]);
}
template <class T>
static __attribute__((noinline)) void narrow_run(T *out, const float *in, int length) {
  for (int i = 0; i < length; ++i) out[i] = convert<T>(in[i]);
}

template <class O, class T, int Inputs>
static void run_through_f32(const void *fn, const int64_t *step, int length, char *to,
                            const char *a, const char *b, const char *) {
  constexpr int kAtOnce = 256;
  const through_f32 &via = *static_cast<const through_f32 *>(fn);
  float x[kAtOnce], y[kAtOnce], made[kAtOnce];
  O *out = reinterpret_cast<O *>(to);
  for (int first = 0; first < length; first += kAtOnce, out += kAtOnce) {
    const int n = length - first < kAtOnce ? length - first : kAtOnce;
    widen_run(x, reinterpret_cast<const T *>(a) + first * step[1], step[1] ? n : 1);
    if constexpr (Inputs > 1) {
      widen_run(y, reinterpret_cast<const T *>(b) + first * step[2], step[2] ? n : 1);
    }
    char *result = reinterpret_cast<char *>(is_half<O> ? static_cast<void *>(made) : out);
    via.run(via.f, step, n, result, reinterpret_cast<const char *>(x),
            reinterpret_cast<const char *>(y), nullptr);
    if constexpr (is_half<O>) narrow_run(out, made, n);
  }
}

// Of a number, the loop of the function of two, where the number is an input that does not step.
template <int S, bool First, class O, class T, class Two>
static void run_with_number(const void *fn, const int64_t *step, int length, char *out,
                            const char *a, const char *, const char *) {
  const auto &f = *static_cast<const with_number<Two, T> *>(fn);
  const char *number = reinterpret_cast<const char *>(&f.number);
  const int64_t steps[3] = {step[0], First ? 0 : step[1], First ? step[1] : 0};
  constexpr int kOfA = First && S > 0 ? 0 : S, kOfB = First || S < 0 ? S : 0, kOfC = S < 0 ? S : 0;
  run_of<S, kOfA, kOfB, kOfC, Two, O, T, T, none>(&f.two, steps, length, out, First ? number : a,
                                                  First ? a : number, nullptr);
}

template <class F>
struct loops {
  template <int S, class O, class A, class B, class C>
  static run_fn of(const F &) {
    return run_of<S, S, S, S, F, O, A, B, C>;
  }
};
template <class Two, class T>
struct loops<with_number<Two, T>> {
  template <int S, class O, class, class, class>
  static run_fn of(const with_number<Two, T> &f) {
    return f.first ? run_with_number<S, true, O, T, Two> : run_with_number<S, false, O, T, Two>;
  }
};

// The loop for a plan: `fast` where the output steps by one and each input by one or, one of two,
// not at all, else `any`.
template <class O, class A, class B, class C, class Fast, class Any, int N>
static run_fn run_for(const plan<N> &p, const Fast &fast, const Any &any, bool *known) {
  int still = 0, wild = p.step[0] != 1;
  for (int n = 1; n < N; ++n) {
    still += p.step[n] == 0;
    wild += p.step[n] != 0 && p.step[n] != 1;
  }
  *known = !wild && (!still || (N == 3 && still == 1));
  if (!*known) return loops<Any>::template of<-1, O, A, B, C>(any);
  if constexpr (N == 3) {
    if (p.step[2] == 0) return run_of<1, 1, 0, 0, Fast, O, A, B, C>;
    if (p.step[1] == 0) return run_of<1, 0, 1, 0, Fast, O, A, B, C>;
  }
  return loops<Fast>::template of<1, O, A, B, C>(fast);
}

template <class O, class A, class B, class C, class Fast, class Any, int N>
static void choose_run(const plan<N> &p, const Fast &fast, const Any &any, run_fn *run,
                       captured *f) {
  bool known;
  if constexpr (is_half<A> && !std::is_same<Fast, Any>::value) {
    using W = std::conditional_t<is_half<O>, float, O>;
    using B32 = std::conditional_t<std::is_same<B, none>::value, none, float>;
    const auto wide_fast = fast.in_f32();
    through_f32 via;
    static_assert(sizeof wide_fast <= sizeof via.f, "it fits");
    memcpy(via.f, &wide_fast, sizeof wide_fast);
    via.run = run_for<W, float, B32, none>(p, wide_fast, wide_fast, &known);
    if (known) {
      *run = run_through_f32<O, A, N - 1>;
      *f = captured(via);
      return;
    }
    *run = loops<Any>::template of<-1, O, A, B, C>(any);
  } else {
    *run = run_for<O, A, B, C>(p, fast, any, &known);
    if (known) {
      *f = captured(fast);
      return;
    }
  }
  *f = captured(any);
}

constexpr int larger(int a, int b) {
  return a > b ? a : b;
}

// Whether an operand can be read or written in packs of `width` elements.
template <class T, int N>
static bool packs_fit(const layout<N> &l, int n, const T *data, int width) {
  if (l.stride[n][0] != 1) return l.stride[n][0] == 0 && n > 0;
  if (reinterpret_cast<uintptr_t>(data) % (sizeof(T) * static_cast<unsigned>(width))) return false;
  for (int d = 1; d < l.rank; ++d) {
    if (l.stride[n][d] % width) return false;
  }
  return true;
}

// Launches one part. `any` does what `fast` does, and is what element by element runs with on a
// GPU.
template <class O, class A, class B, class C, class Fast, class Any, int N>
static int map_part(const Fast &fast, const Any &any, const layout<N> &l, O *out, const A *a,
                    const B *b, const C *c, void *stream) {
  plan<N> p;
  if constexpr (kSerial) {
    const int width = 4096;
    plan_make(&p, l, width);
    run_fn run;
    captured f(any);
    choose_run<O, A, B, C>(p, fast, any, &run, &f);
    const int64_t size[4] = {sizeof(O), sizeof(A), sizeof(B), sizeof(C)};
    for (int n = 0; n < N; ++n) {
      for (int d = 0; d < p.rank; ++d) p.stride[n][d] *= size[n];
    }
    SIMT_LAUNCH(map_runs<N>, grid_for(p.units, l.shape[0] < width ? l.shape[0] : width), 1, 0,
                stream, run, f, p, width, reinterpret_cast<char *>(out),
                reinterpret_cast<const char *>(a), reinterpret_cast<const char *>(b),
                reinterpret_cast<const char *>(c));
    return simt_last_error();
  } else {
    constexpr int V =
        kPackBytes / larger(larger(sizeof(O), sizeof(A)), larger(sizeof(B), sizeof(C)));
    const bool packs = (l.rank == 1 || l.shape[0] % V == 0) && packs_fit(l, 0, out, V) &&
                       (N < 2 || packs_fit(l, N < 2 ? 0 : 1, a, V)) &&
                       (N < 3 || packs_fit(l, N < 3 ? 0 : 2, b, V)) &&
                       (N < 4 || packs_fit(l, N < 4 ? 0 : 3, c, V));
    plan_make(&p, l, packs ? V : 1);
    if (packs) {
      SIMT_LAUNCH((map_packs<V, Fast, O, A, B, C>), grid_for(p.units, V), kBlock, 0, stream, fast,
                  p, out, a, b, c);
    } else {
      SIMT_LAUNCH((map_packs<1, Any, O, A, B, C>), grid_for(p.units, 1), kBlock, 0, stream, any, p,
                  out, a, b, c);
    }
    return simt_last_error();
  }
}

// out[i] = fast(in[i]...), of views that the caller has seen to have these types.
template <class O, class A, class B, class C, class Fast, class Any, class... View>
static int map(const Fast &fast, const Any &any, void *stream, const View *...views) {
  constexpr int N = sizeof...(View);
  static_assert(N == 1 + inputs_of<A, B, C>, "a view for each operand");
  const struct kernel_view *const all[N] = {views...};
  layout<N> l;
  int status = layout_make(&l, all);
  if (status) return status;
  const int64_t none_yet[N] = {};
  return layout_parts(l, none_yet, [&](const layout<N> &part, const int64_t(&offset)[N]) {
    O *out = static_cast<O *>(all[0]->data) + offset[0];
    const A *a = nullptr;
    const B *b = nullptr;
    const C *c = nullptr;
    if constexpr (N > 1) a = static_cast<const A *>(all[1]->data) + offset[1];
    if constexpr (N > 2) b = static_cast<const B *>(all[2]->data) + offset[2];
    if constexpr (N > 3) c = static_cast<const C *>(all[3]->data) + offset[3];
    return map_part<O, A, B, C>(fast, any, part, out, a, b, c, stream);
  });
}

// ---- From the number of an operation to a constant: calls f(constant<op>()), where First <= op <
// End.

constexpr int kAny = -1;  // stands for an operation that is known at run time only

template <int First, class F, int... Op>
static int with_operation(int op, const F &f, std::integer_sequence<int, Op...>) {
  int status = KERNEL_BAD_OPERATION;
  (void)((op == First + Op && (status = f(constant<First + Op>()), true)) || ...);
  return status;
}
template <int First, int End, class F>
static int with_operation(int op, const F &f) {
  return with_operation<First>(op, f, std::make_integer_sequence<int, End - First>());
}

// Calls f(plan, offset, number of the first element) for parts of a view in row-major order, where
// a unit is an element.
template <class F>
static int map_numbered(const struct kernel_view *out, const F &f) {
  const struct kernel_view *const views[1] = {out};
  layout<1> l;
  int status = layout_make(&l, views, true);
  if (status) return status;
  const int64_t start[1] = {0};
  int64_t first = 0;
  return layout_parts(l, start, [&](const layout<1> &part, const int64_t(&offset)[1]) {
    plan<1> p;
    plan_make(&p, part, 1);
    const int64_t number = first;
    first += p.units;
    return f(p, offset[0], number);
  });
}
