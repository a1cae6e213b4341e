// Launches on the processor, and the streams and graphs that hold them. Part of simt.h, which says
// what it is for.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "simt_run.h"

namespace simt {

// A stream does at once what is put on it, unless it is being captured: then that is
// kept in a graph.

struct work {
  void (*run)(work *);
  void (*free)(work *);
  work *next;
};

struct graph {
  work *first, **last;
};

struct stream {
  graph *captured;
};

inline void append(stream *s, work *w) {
  w->next = nullptr;
  *s->captured->last = w;
  s->captured->last = &w->next;
}

/// Runs `f` now, or keeps it if the stream is being captured.
template <class F>
void put(void *where, const F &f) {
  stream *s = static_cast<stream *>(where);
  if (!s || !s->captured) {
    f();
    return;
  }
  struct kept : work {
    F f;
    explicit kept(const F &g) : work(), f(g) {}
  };
  kept *k = new kept(f);
  k->run = [](work *w) { static_cast<kept *>(w)->f(); };
  k->free = [](work *w) { delete static_cast<kept *>(w); };
  append(s, k);
}

template <class... P, class... A>
void start(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
           void *where, A &&...arguments) {
  std::tuple<std::decay_t<P>...> values(static_cast<P>(arguments)...);
  put(where, [=] {
    auto call = [&] { std::apply(kernel, values); };
    using function = decltype(call);
    struct launch l = {
        name, grid, block, shared, [](const void *f) { (*static_cast<const function *>(f))(); },
        &call};
    run_grid(l);
  });
}

}  // namespace simt
