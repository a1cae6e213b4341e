// Reference-counted bytes that are passed on and never looked into: the arguments of a call, its
// results, its error.
//
// A payload is one or more parts that lie one behind the other on the wire. Small ones and all
// received ones have a single part in the payload's own memory. An encoder may leave large strings
// where they are and refer to them. Counts are not atomic: a payload belongs to the threads of one
// baton (or to one thread).
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { PAYLOAD_PARTS = 16 };

struct part {
  const unsigned char *bytes;
  size_t size;
};

struct payload {
  uint32_t references;
  uint32_t count;   // parts in use
  size_t size;      // of all parts together
  size_t capacity;  // of the payload's own memory
  /// Called once when the last reference goes, if set: whoever owns the foreign parts lets go of
  /// them.
  void (*release)(void *owner, uint64_t anchor);
  void *owner;
  uint64_t anchor;
  struct part parts[PAYLOAD_PARTS];
  unsigned char bytes[];  // own memory
};

/// A payload of one part of `size` bytes in its own memory, not yet filled, one reference. NULL: no
/// memory.
struct payload *payload_new(size_t size);

/// A copy of `bytes`. NULL: no memory.
struct payload *payload_copy(const void *bytes, size_t size);
/// A copy in one part, which belongs to the caller on whatever thread. NULL: no memory.
struct payload *payload_join(const struct payload *payload);

/// Gives a payload of one part in its own memory, held by one reference only, another size: what fits
/// stays, the rest is not filled. It may move. NULL: no memory, and `payload` is as before.
struct payload *payload_resize(struct payload *payload, size_t size);

/// Takes one more reference and returns `payload`. NULL is allowed.
struct payload *payload_ref(struct payload *payload);

/// A keyed hash of the bytes, however they lie in parts; see hash.h. NULL counts as empty.
uint64_t payload_hash(const struct payload *payload, uint64_t key0, uint64_t key1);

/// Drops one reference; the last one frees. NULL is allowed.
void payload_unref(struct payload *payload);
