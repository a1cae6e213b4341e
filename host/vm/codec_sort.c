#include "codec_sort.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../core/cursor.h"
#include "../core/payload.h"
#include "../core/scan.h"

struct pair {
  const unsigned char *at;
  size_t size;
};

// No value is the beginning of another one, so two keys that differ decide.
static int compare(const void *a, const void *b) {
  const struct pair *left = a, *right = b;
  return memcmp(left->at, right->at, left->size < right->size ? left->size : right->size);
}

static bool sort_value(struct cursor *cursor);

static bool sort_values(struct cursor *cursor, size_t count) {
  for (; count; count--)
    if (!sort_value(cursor)) return false;
  return true;
}

// What the pairs hold is sorted first: they are compared as a whole.
static bool sort_pairs(struct cursor *cursor, size_t count) {
  unsigned char *start = (unsigned char *)(uintptr_t)cursor->at;
  struct pair *pairs = malloc((count + 1) * sizeof *pairs);
  size_t done = 0;
  for (; pairs && done < count; done++) {
    pairs[done].at = cursor->at;
    if (!sort_values(cursor, 2)) break;
    pairs[done].size = (size_t)(cursor->at - pairs[done].at);
  }
  size_t size = (size_t)(cursor->at - start);
  unsigned char *sorted = pairs && done == count ? malloc(size + 1) : NULL, *to = sorted;
  if (sorted) {
    qsort(pairs, count, sizeof *pairs, compare);
    for (size_t i = 0; i < count; to += pairs[i++].size) memcpy(to, pairs[i].at, pairs[i].size);
    memcpy(start, sorted, size);
  }
  free(pairs);
  free(sorted);
  return sorted != NULL;
}

static bool sort_value(struct cursor *cursor) {
  size_t count;
  int8_t number;
  struct cursor content;
  if (cursor_array(cursor, &count)) return sort_values(cursor, count);
  if (cursor_map(cursor, &count)) return sort_pairs(cursor, count);
  if (!cursor_ext(cursor, &number, &content)) return cursor_skip(cursor);
  return number != EXT_OBJECT || sort_values(&content, 2);  // name, fields
}

static struct payload *join(const struct payload *body) {
  struct payload *joined = payload_new(body->size);
  size_t done = 0;
  for (uint32_t i = 0; joined && i < body->count; i++) {
    memcpy(joined->bytes + done, body->parts[i].bytes, body->parts[i].size);
    done += body->parts[i].size;
  }
  return joined;
}

struct payload *codec_sort(struct payload *body) {
  struct payload *sorted = join(body);
  payload_unref(body);
  if (!sorted) return NULL;
  struct cursor cursor = cursor_of(sorted->bytes, sorted->size);
  if (sort_value(&cursor)) return sorted;
  payload_unref(sorted);
  return NULL;
}
