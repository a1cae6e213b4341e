#include "payload.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

struct payload *payload_new(size_t size) {
  if (size > PTRDIFF_MAX - sizeof(struct payload)) return NULL;
  struct payload *payload = malloc(sizeof *payload + size);
  if (!payload) return NULL;
  payload->references = 1;
  payload->count = 1;
  payload->size = size;
  payload->capacity = size;
  payload->release = NULL;
  payload->owner = NULL;
  payload->anchor = 0;
  payload->parts[0] = (struct part){payload->bytes, size};
  return payload;
}

struct payload *payload_copy(const void *bytes, size_t size) {
  struct payload *payload = payload_new(size);
  if (payload && size) memcpy(payload->bytes, bytes, size);
  return payload;
}

struct payload *payload_join(const struct payload *payload) {
  struct payload *copy = payload_new(payload->size);
  size_t at = 0;
  for (uint32_t i = 0; copy && i < payload->count; at += payload->parts[i++].size)
    if (payload->parts[i].size)
      memcpy(copy->bytes + at, payload->parts[i].bytes, payload->parts[i].size);
  return copy;
}

struct payload *payload_resize(struct payload *payload, size_t size) {
  assert(payload->references == 1 && payload->count == 1 &&
         payload->parts[0].bytes == payload->bytes);
  if (size > PTRDIFF_MAX - sizeof(struct payload)) return NULL;
  struct payload *resized = realloc(payload, sizeof *resized + size);
  if (!resized) return NULL;
  resized->size = size;
  resized->capacity = size;
  resized->parts[0] = (struct part){resized->bytes, size};
  return resized;
}

struct payload *payload_ref(struct payload *payload) {
  if (payload) payload->references++;
  return payload;
}

void payload_unref(struct payload *payload) {
  if (!payload) return;
  assert(payload->references > 0);
  if (--payload->references > 0) return;
  if (payload->release) payload->release(payload->owner, payload->anchor);
  free(payload);
}

uint64_t payload_hash(const struct payload *payload, uint64_t key0, uint64_t key1) {
  struct hash hash;
  hash_begin(&hash, key0, key1);
  for (uint32_t i = 0; payload && i < payload->count; i++)
    hash_add(&hash, payload->parts[i].bytes, payload->parts[i].size);
  return hash_end(&hash);
}
