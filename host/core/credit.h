// How far a stream may run ahead of its reader. Worker, router and client count in the same way, so
// that each can hold the one before it to it.
//
// The worker may send while what is out - sent and not given back - is below the window: so at most
// the window and one item more is out, whatever the size of the item, and a single large one always
// goes. The reader gives credit back as it consumes, in portions of half a window.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

struct credit {
  uint64_t window, out;  // bytes
};

/// `window` 0: the default; what is larger than the limit is cut.
static inline struct credit credit_of(uint32_t window) {
  if (!window) window = LIMIT_WINDOW_DEFAULT;
  return (struct credit){window < LIMIT_WINDOW ? window : LIMIT_WINDOW, 0};
}

/// What an item whose body has `size` bytes counts: an empty one takes memory too.
static inline uint64_t credit_cost(size_t size) {
  return (uint64_t)size + LIMIT_ITEM_COST;
}

/// The window as credit_of takes it.
static inline uint32_t credit_window(const struct credit *credit) {
  return credit->window == LIMIT_WINDOW_DEFAULT ? 0 : (uint32_t)credit->window;
}

static inline bool credit_left(const struct credit *credit) {
  return credit->out < credit->window;
}

static inline void credit_spend(struct credit *credit, size_t size) {
  credit->out += credit_cost(size);
}

/// Returns how much of `bytes` was out: nobody gets more back than was spent.
static inline uint32_t credit_give(struct credit *credit, uint32_t bytes) {
  if (bytes > credit->out) bytes = (uint32_t)credit->out;
  credit->out -= bytes;
  return bytes;
}
