// Fuzzes host/core/files.c: the first value is the error of a router that need not be one of ours,
// the rest is what the client has.
//
// What comes out passes a scan and holds no digests; its files are as many as a plain search for
// each finds. What a client has as files can be told by a router, and differs in nothing from
// itself.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/cursor.h"
#include "../../host/core/error.h"
#include "../../host/core/files.h"
#include "../../host/core/limits.h"
#include "../../host/core/payload.h"
#include "../../host/core/scan.h"

enum { LISTED = 100, DIGITS = 8 };

static void expect(bool condition) {
  if (!condition) abort();
}

static bool is_body(const unsigned char *bytes, size_t size) {
  size_t used;
  return !scan_body(bytes, size, &scan_body_limits, &used);
}

static bool find_map(const struct payload *body, struct cursor *map) {
  size_t count;
  *map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  return cursor_array(map, &count) && count && cursor_type(map) == CURSOR_MAP;
}

// ---- a plain search ----

struct text {
  const unsigned char *bytes;
  size_t size;
};

static struct text read_text(struct cursor *at) {
  struct text text = {0};
  if (!cursor_str(at, &text.bytes, &text.size) && !cursor_bin(at, &text.bytes, &text.size))
    cursor_skip(at);
  return text;
}

// The place of the first file of that path; `count`: there is none.
static size_t find(struct cursor map, struct text path, size_t count, struct text *digest) {
  cursor_map(&map, &(size_t){0});
  for (size_t i = 0; i < count; i++) {
    struct text found = read_text(&map);
    *digest = read_text(&map);
    if (found.bytes && digest->bytes && found.size == path.size &&
        !memcmp(found.bytes, path.bytes, path.size))
      return i;
  }
  return count;
}

static bool is_same(struct text a, struct text b) {
  size_t size = a.size < b.size ? a.size : b.size;
  return size >= DIGITS && !memcmp(a.bytes, b.bytes, size);
}

// How many of `map` are not in `other`; `both`: or are another file there.
static size_t count_others(struct cursor map, struct cursor other, bool both) {
  struct cursor at = map, behind = other;
  size_t count, other_count, others = 0;
  expect(cursor_map(&at, &count) && cursor_map(&behind, &other_count));
  for (size_t i = 0; i < count; i++) {
    struct text path = read_text(&at), digest = read_text(&at), theirs = {0};
    struct text first;
    if (!path.bytes || !digest.bytes || find(map, path, count, &first) != i) continue;
    bool is_there = find(other, path, other_count, &theirs) < other_count;
    others += !is_there || (both && !is_same(digest, theirs));
  }
  return others;
}

// ---- the checks ----

static void expect_files(const struct payload *error, size_t count) {
  struct cursor map, files;
  size_t listed;
  expect(find_map(error, &map) && cursor_find(map, "files", &files));
  expect(cursor_array(&files, &listed) && listed == (count < LISTED ? count : LISTED));
  for (; listed; listed--) expect(read_text(&files).bytes != NULL);
}

static void explain(struct payload *error, const struct payload *mine) {
  struct cursor map, digests, own;
  bool has_digests = find_map(error, &map) && cursor_find(map, "digests", &digests);
  bool is_known = has_digests && cursor_type(&digests) == CURSOR_MAP && find_map(mine, &own);
  size_t count = 0;
  if (is_known) count = count_others(own, digests, true) + count_others(digests, own, false);
  struct payload *explained = files_explain(payload_ref(error), mine);
  expect(is_body(explained->bytes, explained->size));
  expect((explained == error) == !has_digests);
  if (is_known) expect_files(explained, count);
  expect(!has_digests || !find_map(explained, &map) || !cursor_find(map, "digests", &digests));
  payload_unref(explained);
}

static void tell(struct payload *mine) {
  struct error_writer writer;
  struct cursor map;
  error_begin(&writer, ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO, false, "router");
  error_message(&writer, FILES_OTHER);
  struct payload *error = files_end(&writer, mine), *received = payload_join(error);
  payload_unref(error);
  // One level more may be one too many; files have none.
  if (!is_body(received->bytes, received->size)) {
    payload_unref(received);
    return;
  }
  received = files_explain(received, mine);
  if (find_map(mine, &map)) expect_files(received, count_others(map, map, true));
  payload_unref(received);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t used;
  if (scan_value(data, size, &scan_body_limits, &used)) return 0;
  if (!is_body(data, used) || !is_body(data + used, size - used)) return 0;
  struct payload *error = payload_copy(data, used);
  struct payload *mine = payload_copy(data + used, size - used);
  explain(error, mine);
  tell(mine);
  expect(error->references == 1 && mine->references == 1);
  payload_unref(error);
  payload_unref(mine);
  return 0;
}
