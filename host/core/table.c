#include "table.h"

#include <stdbool.h>

#include "memory.h"

// The finalizer of MurmurHash3 (Appleby, public domain) over id and key, twice.
static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= UINT64_C(0xff51afd7ed558ccd);
  x ^= x >> 33;
  x *= UINT64_C(0xc4ceb9fe1a85ec53);
  return x ^ (x >> 33);
}

static size_t slot_of(const struct table *table, struct call_id id) {
  return mix(mix(id.counter ^ table->key) ^ id.session) & (table->capacity - 1);
}

static bool same(struct call_id a, struct call_id b) {
  return a.counter == b.counter && a.session == b.session;
}

void table_init(struct table *table, uint64_t key) {
  *table = (struct table){.capacity = 64, .key = key};
  table->entries = xcalloc(table->capacity, sizeof *table->entries);
}

void table_close(struct table *table) {
  free(table->entries);
  *table = (struct table){0};
}

static void insert(struct table *table, struct call_id id, void *value) {
  size_t slot = slot_of(table, id);
  while (table->entries[slot].value) slot = (slot + 1) & (table->capacity - 1);
  table->entries[slot] = (struct table_entry){id, value};
}

static void grow(struct table *table) {
  struct table_entry *old = table->entries;
  size_t capacity = table->capacity;
  table->capacity = 2 * capacity;
  table->entries = xcalloc(table->capacity, sizeof *table->entries);
  for (size_t i = 0; i < capacity; i++)
    if (old[i].value) insert(table, old[i].id, old[i].value);
  free(old);
}

void table_add(struct table *table, struct call_id id, void *value) {
  if (2 * (table->count + 1) > table->capacity) grow(table);
  insert(table, id, value);
  table->count++;
}

static size_t find(const struct table *table, struct call_id id) {
  size_t slot = slot_of(table, id);
  while (table->entries[slot].value && !same(table->entries[slot].id, id))
    slot = (slot + 1) & (table->capacity - 1);
  return slot;
}

void *table_find(const struct table *table, struct call_id id) {
  return table->entries[find(table, id)].value;
}

// Moves later entries of the same run back over the hole, so that no search ends too early.
static void close_hole(struct table *table, size_t hole) {
  size_t mask = table->capacity - 1;
  for (size_t slot = (hole + 1) & mask; table->entries[slot].value; slot = (slot + 1) & mask) {
    size_t home = slot_of(table, table->entries[slot].id);
    if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
    table->entries[hole] = table->entries[slot];
    hole = slot;
  }
  table->entries[hole].value = NULL;
}

void *table_remove(struct table *table, struct call_id id) {
  size_t slot = find(table, id);
  void *value = table->entries[slot].value;
  if (!value) return NULL;
  table->count--;
  close_hole(table, slot);
  return value;
}
