#include "buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

// An empty capacity makes the room checks of those who write directly fail as well.
static bool fail(struct buffer *buffer) {
  free(buffer->bytes);
  *buffer = (struct buffer){.failed = true};
  return false;
}

bool buffer_reserve(struct buffer *buffer, size_t size) {
  if (buffer->failed) return false;
  if (size <= buffer->capacity - buffer->size) return true;
  if (size > SIZE_MAX / 2 - buffer->size) return fail(buffer);
  size_t needed = buffer->size + size;
  size_t capacity = buffer->capacity < SMALLEST ? SMALLEST : buffer->capacity;
  while (capacity < needed) capacity *= 2;
  unsigned char *bytes = realloc(buffer->bytes, capacity);
  if (!bytes) return fail(buffer);
  buffer->bytes = bytes;
  buffer->capacity = capacity;
  return true;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size) {
  if (!size || !buffer_reserve(buffer, size)) return;
  memcpy(buffer->bytes + buffer->size, bytes, size);
  buffer->size += size;
}

void buffer_consume(struct buffer *buffer, size_t size) {
  if (buffer->failed || !size) return;
  buffer->size -= size;
  memmove(buffer->bytes, buffer->bytes + size, buffer->size);
}

void buffer_clear(struct buffer *buffer) {
  buffer->size = 0;
  buffer->failed = false;
}

void buffer_free(struct buffer *buffer) {
  free(buffer->bytes);
  *buffer = BUFFER_EMPTY;
}
