// SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") of bytes that come in pieces.
// Who does not know the key cannot make two inputs of one hash.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash {
  uint64_t v[4];
  uint64_t word;  // the bytes that do not fill a word yet, lowest first
  uint64_t size;  // of all so far
};

void hash_begin(struct hash *hash, uint64_t key0, uint64_t key1);
void hash_add(struct hash *hash, const void *bytes, size_t size);
uint64_t hash_end(struct hash *hash);
