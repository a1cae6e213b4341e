// Finds what belongs to a call id: open addressing, keyed with a secret so that peers cannot choose
// ids that collide.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct table_entry {
  struct call_id id;
  void *value;  // NULL: empty
};

struct table {
  struct table_entry *entries;
  size_t capacity;  // a power of two
  size_t count;
  uint64_t key;
};

/// An empty table. Ends the process when memory runs out, here and where it grows.
void table_init(struct table *table, uint64_t key);
void table_close(struct table *table);

/// Adds `value`, which is not NULL, under an id that is not there.
void table_add(struct table *table, struct call_id id, void *value);
/// The value under `id`, or NULL.
void *table_find(const struct table *table, struct call_id id);
/// Removes and returns it, or NULL.
void *table_remove(struct table *table, struct call_id id);
