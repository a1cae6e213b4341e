// Checks of host/core/hash.c.
#include "../../../host/core/hash.h"

#include "check.h"

// Key and input are the bytes 0, 1, 2, ..., as in the vectors of SipHash's authors.
static uint64_t hash_of(size_t size, size_t piece) {
  unsigned char bytes[64];
  for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)i;
  struct hash hash;
  hash_begin(&hash, UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908));
  for (size_t at = 0; at < size; at += piece)
    hash_add(&hash, bytes + at, size - at < piece ? size - at : piece);
  return hash_end(&hash);
}

static void known(void) {
  EXPECT_EQUAL(UINT64_C(0xabac0158050fc4dc), hash_of(0, 1));
  EXPECT_EQUAL(UINT64_C(0xc9f49bf37d57ca93), hash_of(1, 1));
  EXPECT_EQUAL(UINT64_C(0xd3927d989bb11140), hash_of(7, 7));
  EXPECT_EQUAL(UINT64_C(0x369095118d299a8e), hash_of(8, 8));
  EXPECT_EQUAL(UINT64_C(0xd320d86d2a519956), hash_of(15, 15));
  EXPECT_EQUAL(UINT64_C(0x9d199062b7bbb3a8), hash_of(63, 63));
}

static void in_pieces(void) {
  for (size_t size = 0; size < 64; size++)
    for (size_t piece = 1; piece <= 64; piece++)
      EXPECT_EQUAL(hash_of(size, 64), hash_of(size, piece));
}

static const struct check checks[] = {
    {"is SipHash-1-3", known},
    {"is the same in whatever pieces the bytes come", in_pieces},
};
CHECK_MAIN(checks)
