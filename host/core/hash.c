#include "hash.h"

#include <endian.h>
#include <string.h>

static uint64_t rotate(uint64_t x, unsigned bits) {
  return (x << bits) | (x >> (64 - bits));
}

static void mix(uint64_t v[4]) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

static void take_word(struct hash *hash, uint64_t word) {
  hash->v[3] ^= word;
  mix(hash->v);
  hash->v[0] ^= word;
}

void hash_begin(struct hash *hash, uint64_t key0, uint64_t key1) {
  *hash = (struct hash){
      .v = {key0 ^ UINT64_C(0x736f6d6570736575), key1 ^ UINT64_C(0x646f72616e646f6d),
            key0 ^ UINT64_C(0x6c7967656e657261), key1 ^ UINT64_C(0x7465646279746573)}};
}

static void take_byte(struct hash *hash, unsigned char byte) {
  hash->word |= (uint64_t)byte << (8 * (hash->size & 7));
  if ((++hash->size & 7) != 0) return;
  take_word(hash, hash->word);
  hash->word = 0;
}

void hash_add(struct hash *hash, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  for (; size && (hash->size & 7); size--) take_byte(hash, *at++);
  for (; size >= 8; size -= 8, at += 8, hash->size += 8) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    take_word(hash, le64toh(word));
  }
  for (; size; size--) take_byte(hash, *at++);
}

uint64_t hash_end(struct hash *hash) {
  take_word(hash, hash->word | hash->size << 56);
  hash->v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) mix(hash->v);
  return hash->v[0] ^ hash->v[1] ^ hash->v[2] ^ hash->v[3];
}
