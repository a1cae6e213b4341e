#include "files.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "error.h"
#include "limits.h"
#include "pack.h"
#include "payload.h"
#include "scan.h"

enum {
  DIGITS = 8,    // of a file's digest that have to be there
  LISTED = 100,  // files in an error
  NAMED = 5,     // of them in its message
  PATH = 200,    // bytes of one there
  NAMES = 640,   // of all of them in the message
};

// The map in a body [{...}] of one part.
static bool find_map(const struct payload *body, struct cursor *map) {
  size_t count;
  if (!body || body->count != 1) return false;
  *map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  return cursor_array(map, &count) && count && cursor_type(map) == CURSOR_MAP;
}

// ---- the router's side ----

static void release(void *owner, uint64_t anchor) {
  (void)anchor;
  payload_unref(owner);
}

struct payload *files_end(struct error_writer *writer, struct payload *files) {
  struct cursor map;
  bool fits = find_map(files, &map) && map.end - map.at <= LIMIT_FILES;
  if (fits) error_value(writer, "digests");  // which lies in a part of its own
  struct payload *error = error_end(writer);
  if (!fits) return error;
  size_t size = (size_t)(map.end - map.at);
  error->parts[error->count++] = (struct part){map.at, size};
  error->size += size;
  error->release = release;
  error->owner = payload_ref(files);
  return error;
}

// ---- files by path ----

struct file {
  const unsigned char *path, *digest;
  size_t path_size, digest_size;
};

// Each path once.
struct files {
  struct file *memory;  // twice as many as there are
  struct file *items;
  size_t count;
};

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

static int compare(const struct file *a, const struct file *b) {
  int order = memcmp(a->path, b->path, least(a->path_size, b->path_size));
  if (order) return order;
  return (a->path_size > b->path_size) - (a->path_size < b->path_size);
}

static void merge(struct file *to, const struct file *from, size_t first, size_t middle,
                  size_t end) {
  size_t a = first, b = middle;
  for (size_t i = first; i < end; i++) {
    bool is_first = b == end || (a < middle && compare(&from[a], &from[b]) <= 0);
    to[i] = from[is_first ? a++ : b++];
  }
}

// Bottom-up, so that the time is bounded whatever a peer sends; files of one path keep their order.
static void sort(struct files *files) {
  struct file *from = files->memory, *to = from + files->count;
  for (size_t width = 1; width < files->count; width *= 2) {
    for (size_t first = 0; first < files->count; first += 2 * width)
      merge(to, from, first, least(first + width, files->count),
            least(first + 2 * width, files->count));
    struct file *sorted = to;
    to = from;
    from = sorted;
  }
  files->items = from;
}

static void drop_doubles(struct files *files) {
  size_t count = 0;
  for (size_t i = 0; i < files->count; i++)
    if (!count || compare(&files->items[count - 1], &files->items[i]))
      files->items[count++] = files->items[i];
  files->count = count;
}

// False: it is none, and was passed over. A path that is no UTF-8 travels as bytes.
static bool read_text(struct cursor *map, const unsigned char **text, size_t *size) {
  if (cursor_str(map, text, size) || cursor_bin(map, text, size)) return true;
  cursor_skip(map);
  return false;
}

// The next pair of a map. False: it is none of texts.
static bool read_file(struct cursor *map, struct file *file) {
  bool is_path = read_text(map, &file->path, &file->path_size);
  bool is_digest = read_text(map, &file->digest, &file->digest_size);
  return is_path && is_digest;
}

// False: it is no map, or there is no memory.
static bool read_files(struct cursor map, struct files *files) {
  size_t count;
  *files = (struct files){0};
  if (!cursor_map(&map, &count)) return false;
  files->memory = malloc((2 * count + 1) * sizeof *files->memory);
  if (!files->memory) return false;
  for (; count; count--) files->count += read_file(&map, &files->memory[files->count]);
  sort(files);
  drop_doubles(files);
  return true;
}

// ---- what differs ----

struct list {
  struct buffer items;  // texts, the first LISTED
  size_t count;         // of all
  char names[NAMES];    // the first NAMED, in a sentence
};

static void list_file(struct list *list, const struct file *file, const char *what) {
  char text[PATH + 32];
  if (list->count++ >= LISTED) return;
  size_t size = scan_cut(file->path, file->path_size, PATH);
  memcpy(text, file->path, size);
  size += (size_t)snprintf(text + size, sizeof text - size, " (%s)", what);
  error_pack(&list->items, text, size, sizeof text);
  if (list->count > NAMED) return;
  size_t at = strlen(list->names);
  snprintf(list->names + at, NAMES - at, "%s%s", at ? ", " : "", text);
}

static bool is_same(const struct file *a, const struct file *b) {
  size_t size = least(a->digest_size, b->digest_size);
  return size >= DIGITS && !memcmp(a->digest, b->digest, size);
}

static void list_all(struct list *list, const struct files *yours, const struct files *mine) {
  size_t i = 0, j = 0;
  while (i < yours->count || j < mine->count) {
    const struct file *a = &yours->items[i], *b = &mine->items[j];
    int order = i == yours->count ? 1 : j == mine->count ? -1 : compare(a, b);
    if (order < 0) list_file(list, a, "added");
    if (order > 0) list_file(list, b, "missing");
    if (!order && !is_same(a, b)) list_file(list, a, "changed");
    i += order <= 0;
    j += order >= 0;
  }
}

// `yours` is the client's. False: it can't be told.
static bool differ(struct list *list, struct cursor yours, struct cursor mine) {
  struct files of_client, of_router;
  bool is_client = read_files(yours, &of_client), is_router = read_files(mine, &of_router);
  if (is_client && is_router) list_all(list, &of_client, &of_router);
  free(of_client.memory);
  free(of_router.memory);
  return is_client && is_router && !list->items.failed;
}

// ---- the client's side ----

enum field { FIELD_OTHER, FIELD_DIGESTS, FIELD_FILES, FIELD_MESSAGE };

static bool is_text(const unsigned char *text, size_t size, const char *expected) {
  return size == strlen(expected) && !memcmp(text, expected, size);
}

// Passes the key of a field.
static enum field read_key(struct cursor *map) {
  const unsigned char *key;
  size_t size;
  if (!cursor_str(map, &key, &size)) {
    cursor_skip(map);
    return FIELD_OTHER;
  }
  if (is_text(key, size, "digests")) return FIELD_DIGESTS;
  if (is_text(key, size, "files")) return FIELD_FILES;
  return is_text(key, size, "message") ? FIELD_MESSAGE : FIELD_OTHER;
}

static size_t count_kept(struct cursor map) {
  size_t count = 0, kept = 0;
  for (cursor_map(&map, &count); count; count--) {
    enum field field = read_key(&map);
    kept += field == FIELD_OTHER || field == FIELD_MESSAGE;
    cursor_skip(&map);
  }
  return kept;
}

static void pack_message(struct buffer *out, struct cursor value, const struct list *list) {
  char text[LIMIT_ERROR_MESSAGE + 1] = "", named[sizeof text + NAMES + 64], others[40] = "";
  const unsigned char *bytes;
  size_t size;
  if (cursor_str(&value, &bytes, &size) || cursor_bin(&value, &bytes, &size))
    memcpy(text, bytes, least(size, LIMIT_ERROR_MESSAGE));
  const char *other = strstr(text, FILES_OTHER);
  size_t at = other ? (size_t)(other - text) + strlen(FILES_OTHER) : strlen(text);
  if (list->count > NAMED) snprintf(others, sizeof others, " and %zu others", list->count - NAMED);
  snprintf(named, sizeof named, "%.*s%s%s%s%s", (int)at, text, list->count ? ": " : "", list->names,
           others, text + at);
  error_pack(out, named, strlen(named), LIMIT_ERROR_MESSAGE);
}

static void pack_list(struct buffer *out, const struct list *list) {
  pack_text(out, "files");
  pack_array(out, least(list->count, LISTED));
  buffer_append(out, list->items.bytes, list->items.size);
}

// `list`: NULL: it can't be told which.
static struct payload *rewrite(struct cursor map, const struct list *list) {
  struct buffer out = BUFFER_EMPTY;
  size_t count = 0;
  pack_array(&out, 1);
  pack_map(&out, count_kept(map) + (list != NULL));
  for (cursor_map(&map, &count); count; count--) {
    const unsigned char *key = map.at;
    enum field field = read_key(&map);
    struct cursor value = map;
    bool is_named = field == FIELD_MESSAGE && list;
    cursor_skip(&map);
    if (field == FIELD_DIGESTS || field == FIELD_FILES) continue;
    buffer_append(&out, key, (size_t)((is_named ? value.at : map.at) - key));
    if (is_named) pack_message(&out, value, list);
  }
  if (list) pack_list(&out, list);
  struct payload *error = out.failed ? NULL : payload_copy(out.bytes, out.size);
  buffer_free(&out);
  return error;
}

struct payload *files_explain(struct payload *error, const struct payload *mine) {
  struct cursor map, digests, own, end;
  struct list list = {.items = BUFFER_EMPTY};
  if (!find_map(error, &map) || !cursor_find(map, "digests", &digests)) return error;
  end = digests;
  cursor_skip(&end);
  bool is_known =
      end.at - digests.at <= LIMIT_FILES && find_map(mine, &own) && differ(&list, own, digests);
  struct payload *explained = rewrite(map, is_known ? &list : NULL);
  buffer_free(&list.items);
  if (!explained) return error;
  payload_unref(error);
  return explained;
}
