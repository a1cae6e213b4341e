// Growing bytes: what a frame or a value is written into before it is sent.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buffer {
  unsigned char *bytes;
  size_t size;
  size_t capacity;
  bool failed;  // memory ran out: nothing more is appended, and the content is of no use
};

/// An empty buffer owns nothing; the zeroed struct is one.
#define BUFFER_EMPTY ((struct buffer){0})

/// Makes room for `size` more bytes. False, with `failed` set, when memory ran out.
bool buffer_reserve(struct buffer *buffer, size_t size);

/// Appends a copy of `size` bytes; after a failure it does nothing.
void buffer_append(struct buffer *buffer, const void *bytes, size_t size);

/// Removes the first `size` bytes.
void buffer_consume(struct buffer *buffer, size_t size);

/// Forgets the content, keeps the memory.
void buffer_clear(struct buffer *buffer);

/// Frees the memory and leaves an empty buffer.
void buffer_free(struct buffer *buffer);
