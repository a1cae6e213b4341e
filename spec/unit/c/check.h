// What the check programs share. Each has named checks: without arguments it lists their names, with
// a name it runs that one and ends with 0, or says what it expected and ends with 1. A spec makes an
// `it` of each.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../host/core/buffer.h"
#include "../../../host/core/pack.h"

struct check {
  const char *name;  // reads on from the spec's `describe`
  void (*run)(void);
};

#define EXPECT(condition) \
  ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, 0, 0))

#define EXPECT_EQUAL(expected, got)                                                       \
  do {                                                                                    \
    long long check_expected = (long long)(expected), check_got = (long long)(got);       \
    if (check_expected != check_got)                                                      \
      check_failed(__FILE__, __LINE__, #got " == " #expected, check_expected, check_got); \
  } while (0)

__attribute__((noreturn)) static inline void check_failed(const char *file, int line,
                                                          const char *text, long long expected,
                                                          long long got) {
  printf("%s:%d: not so: %s", file, line, text);
  if (expected != got) printf(" (expected %lld, got %lld)", expected, got);
  printf("\n");
  exit(1);
}

static inline int check_main(int argc, char **argv, const struct check *checks, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (argc < 2) puts(checks[i].name);
    if (argc < 2 || strcmp(argv[1], checks[i].name)) continue;
    checks[i].run();
    return 0;
  }
  if (argc < 2) return 0;
  printf("no check is called %s\n", argv[1]);
  return 1;
}

#define CHECK_MAIN(checks)                                                    \
  int main(int argc, char **argv) {                                           \
    return check_main(argc, argv, checks, sizeof(checks) / sizeof *(checks)); \
  }

// ---- chance, the same in each run ----

struct chance {
  uint64_t state;  // not 0
};

static inline uint64_t chance_next(struct chance *chance) {
  chance->state ^= chance->state << 13;
  chance->state ^= chance->state >> 7;
  chance->state ^= chance->state << 17;
  return chance->state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline size_t chance_below(struct chance *chance, size_t count) {
  return (size_t)((chance_next(chance) >> 16) % count);
}

/// A number of any magnitude.
static inline uint64_t chance_number(struct chance *chance) {
  return chance_next(chance) >> chance_below(chance, 64);
}

/// Appends a msgpack value that a scan accepts, at most `depth` levels deep.
static inline void chance_value(struct chance *chance, struct buffer *out, int depth);

static inline void chance_key(struct chance *chance, struct buffer *out) {
  char text[8];
  switch (chance_below(chance, 4)) {
    case 0:
      return pack_bool(out, chance_below(chance, 2));
    case 1:
      return pack_int(out, (int64_t)chance_below(chance, 100000) - 50000);
    case 2:
      return pack_double(out, (double)chance_number(chance) / 3);
    default:
      snprintf(text, sizeof text, "k%zu", chance_below(chance, 1000));
      return pack_text(out, text);
  }
}

static inline void chance_container(struct chance *chance, struct buffer *out, int depth) {
  size_t count = chance_below(chance, chance_below(chance, 8) ? 4 : 40);
  size_t begin;
  switch (chance_below(chance, 4)) {
    case 0:
      pack_map(out, count);
      for (; count; count--) {
        chance_key(chance, out);
        chance_value(chance, out, depth - 1);
      }
      return;
    case 1:
      begin = pack_ext_begin(out, 1);
      pack_text(out, "Class");
      pack_map(out, 1);
      pack_text(out, "field");
      chance_value(chance, out, depth - 2);
      pack_ext_end(out, begin);
      return;
    default:
      pack_array(out, count);
      for (; count; count--) chance_value(chance, out, depth - 1);
      return;
  }
}

static inline void chance_value(struct chance *chance, struct buffer *out, int depth) {
  static const char text[] =
      "a longer text, so that all forms of length occur: \xc3\xa4 \xe2\x82\xac";
  unsigned char bytes[300] = {0};
  switch (chance_below(chance, depth > 1 ? 12 : 9)) {
    case 0:
      return pack_nil(out);
    case 1:
      return pack_bool(out, chance_below(chance, 2));
    case 2:
      return pack_uint(out, chance_number(chance));
    case 3:
      return pack_int(out, -(int64_t)(chance_number(chance) >> 1));
    case 4:
      return pack_int64_exact(out, (int64_t)chance_next(chance));
    case 5:
      return pack_uint64_exact(out, chance_next(chance));
    case 6:
      return pack_double(out, (double)chance_next(chance));
    case 7:
      return pack_str(out, text, chance_below(chance, 50));
    case 8:
      return pack_bin(out, bytes, chance_below(chance, sizeof bytes));
    default:
      return chance_container(chance, out, depth);
  }
}

/// Appends a body of some values.
static inline void chance_body(struct chance *chance, struct buffer *out) {
  size_t count = chance_below(chance, 5);
  pack_array(out, count);
  for (; count; count--) chance_value(chance, out, 6);
}
