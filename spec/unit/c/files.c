// Checks of host/core/files.c.
#include "../../../host/core/files.h"

#include <stdlib.h>
#include <string.h>

#include "../../../host/core/cursor.h"
#include "../../../host/core/error.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/pack.h"
#include "../../../host/core/payload.h"
#include "../../../host/core/scan.h"
#include "check.h"

static const char kMessage[] = "it runs " FILES_OTHER "; end it";

static struct payload *payload_of(struct buffer *body) {
  struct payload *payload = payload_copy(body->bytes, body->size);
  EXPECT(payload && !body->failed);
  buffer_free(body);
  return payload;
}

// A body [{...}] of pairs of path and digest.
static struct payload *files_of(const char *const *pairs, size_t count) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, count);
  for (size_t i = 0; i < 2 * count; i++) pack_text(&body, pairs[i]);
  return payload_of(&body);
}

static void begin(struct error_writer *writer) {
  error_begin(writer, ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO, false, "router");
  error_message(writer, "%s", kMessage);
}

// What a router says, as it comes out of a client's reader.
static struct payload *refusal_of(struct payload *mine) {
  struct error_writer writer;
  size_t used;
  begin(&writer);
  struct payload *error = files_end(&writer, mine), *received = payload_join(error);
  payload_unref(error);
  EXPECT_EQUAL(0, scan_body(received->bytes, received->size, &scan_body_limits, &used));
  return received;
}

// The field of an error; whether there is one.
static bool field_of(const struct payload *error, const char *key, struct cursor *value) {
  size_t count, used;
  EXPECT_EQUAL(0, scan_body(error->bytes, error->size, &scan_body_limits, &used));
  struct cursor map = cursor_of(error->bytes, error->size);
  EXPECT(cursor_array(&map, &count) && count == 1);
  return cursor_find(map, key, value);
}

static void expect_text(struct cursor *value, const char *expected) {
  const unsigned char *text;
  size_t size;
  EXPECT(cursor_str(value, &text, &size) || cursor_bin(value, &text, &size));
  if (size != strlen(expected) || memcmp(text, expected, size))
    printf("expected %s, got %.*s\n", expected, (int)size, (const char *)text);
  EXPECT(size == strlen(expected) && !memcmp(text, expected, size));
}

static void expect_files(const struct payload *error, const char *const *texts, size_t count) {
  struct cursor value;
  size_t found;
  EXPECT(!field_of(error, "digests", &value));
  EXPECT(field_of(error, "files", &value) && cursor_array(&value, &found));
  EXPECT_EQUAL(count, found);
  for (size_t i = 0; i < count; i++) expect_text(&value, texts[i]);
}

static void expect_message(const struct payload *error, const char *expected) {
  struct cursor value;
  EXPECT(field_of(error, "message", &value));
  expect_text(&value, expected);
}

// It is not known which ones; all else is as it was.
static void expect_unknown(const struct payload *error) {
  struct cursor value;
  EXPECT(!field_of(error, "digests", &value) && !field_of(error, "files", &value));
  EXPECT(field_of(error, "name", &value));
  expect_text(&value, "DeploymentChanged");
  expect_message(error, kMessage);
}

static void names_what_differs(void) {
  const char *const of_client[] = {"d", "333", "c", "22222222", "a", "0123456789", "b", "11111111"};
  const char *const of_router[] = {"b", "11111111ffff", "c", "2222222f", "d", "333", "e", "4"};
  const char *const expected[] = {"a (added)", "c (changed)", "d (changed)", "e (missing)"};
  struct payload *yours = files_of(of_client, 4), *mine = files_of(of_router, 4);
  struct payload *error = files_explain(refusal_of(mine), yours);
  struct cursor value;
  expect_files(error, expected, 4);
  expect_message(
      error, "it runs " FILES_OTHER ": a (added), c (changed), d (changed), e (missing); end it");
  EXPECT(field_of(error, "where", &value));
  expect_text(&value, "router");
  EXPECT_EQUAL(1, mine->references);
  payload_unref(error);
  payload_unref(yours);
  payload_unref(mine);
}

// Files 0 to `count` - 1, but `without`; the digest of `changed` is another one.
static struct payload *many(uint32_t count, uint32_t without, uint32_t changed, bool backwards) {
  struct buffer body = BUFFER_EMPTY;
  char path[64], digest[20];
  pack_array(&body, 1);
  pack_map(&body, count - 1);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t number = backwards ? count - 1 - i : i;
    if (number == without) continue;
    snprintf(path, sizeof path, "model/part%06u.lua", number);
    snprintf(digest, sizeof digest, "%016x", number + (number == changed));
    pack_text(&body, path);
    pack_text(&body, digest);
  }
  return payload_of(&body);
}

static void names_the_few_among(uint32_t count) {
  uint32_t last = count - 1;
  struct payload *yours = many(count, 1, last, false), *mine = many(count, 7, count, true);
  struct payload *error = files_explain(refusal_of(mine), yours);
  char changed[64];
  snprintf(changed, sizeof changed, "model/part%06u.lua (changed)", last);
  const char *const expected[] = {"model/part000001.lua (missing)", "model/part000007.lua (added)",
                                  changed};
  expect_files(error, expected, 3);
  payload_unref(error);
  payload_unref(yours);
  payload_unref(mine);
}

static void names_the_few_among_many(void) {
  names_the_few_among(300);
  names_the_few_among(3000);
  names_the_few_among(100000);  // in no time that grows with the square of it
}

static void lists_a_hundred(void) {
  struct payload *yours = many(2000, 1, 0, false), *mine = files_of(NULL, 0);
  struct payload *error = files_explain(refusal_of(mine), yours);
  struct cursor value;
  size_t count;
  EXPECT(field_of(error, "files", &value) && cursor_array(&value, &count));
  EXPECT_EQUAL(100, count);
  expect_text(&value, "model/part000000.lua (added)");
  expect_message(error, "it runs " FILES_OTHER
                        ": model/part000000.lua (added), model/part000002.lua (added), "
                        "model/part000003.lua (added), model/part000004.lua (added), "
                        "model/part000005.lua (added) and 1994 others; end it");
  payload_unref(error);
  payload_unref(yours);
  payload_unref(mine);
}

static void says_nothing_of_equal_ones(void) {
  struct payload *files = many(50, 1, 2, false), *same = many(50, 1, 2, true);
  struct payload *error = files_explain(refusal_of(files), same);
  expect_files(error, NULL, 0);
  expect_message(error, kMessage);
  payload_unref(error);
  payload_unref(files);
  payload_unref(same);
}

static void takes_any_path(void) {
  char longest[300] = "";
  memset(longest, 'x', sizeof longest - 1);
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 4);
  pack_bin(&body, "\xff.lua", 5);  // no UTF-8
  pack_text(&body, "00000000");
  pack_text(&body, longest);
  pack_text(&body, "00000000");
  pack_text(&body, "");
  pack_text(&body, "00000000");
  pack_text(&body, "a");
  pack_text(&body, "");
  struct payload *yours = payload_of(&body), *mine = files_of(NULL, 0);
  struct payload *error = files_explain(refusal_of(mine), yours);
  char cut[220];
  snprintf(cut, sizeof cut, "%.200s (added)", longest);
  const char *const expected[] = {" (added)", "a (added)", cut, "\xff.lua (added)"};
  expect_files(error, expected, 4);
  payload_unref(error);
  payload_unref(yours);
  payload_unref(mine);
}

static void takes_the_first_of_two_of_a_path(void) {
  const char *const of_client[] = {"a", "11111111", "b", "22222222", "a", "33333333"};
  const char *const of_router[] = {"a", "11111111", "b", "22222222", "b", "33333333"};
  struct payload *yours = files_of(of_client, 3), *mine = files_of(of_router, 3);
  struct payload *error = files_explain(refusal_of(mine), yours);
  expect_files(error, NULL, 0);
  payload_unref(error);
  payload_unref(yours);
  payload_unref(mine);
}

static void passes_over_what_is_no_file(void) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 5);
  pack_uint(&body, 1);
  pack_text(&body, "00000000");
  pack_text(&body, "a");
  pack_array(&body, 2);
  pack_map(&body, 1);
  pack_text(&body, "d");
  pack_text(&body, "00000000");
  pack_nil(&body);
  pack_bool(&body, true);
  pack_bool(&body, true);
  pack_text(&body, "b");
  pack_text(&body, "00000000");
  pack_text(&body, "c");
  pack_nil(&body);
  const char *const of_client[] = {"a", "00000000", "b", "00000000", "c", "00000000"};
  const char *const of_other[] = {"a (added)", "c (added)"};
  const char *const of_same[] = {"a (missing)", "c (missing)"};
  struct payload *odd = payload_of(&body), *plain = files_of(of_client, 3);
  struct payload *error = files_explain(refusal_of(odd), plain);
  expect_files(error, of_other, 2);
  payload_unref(error);
  error = files_explain(refusal_of(plain), odd);
  expect_files(error, of_same, 2);
  payload_unref(error);
  payload_unref(odd);
  payload_unref(plain);
}

static void leaves_out_too_many(void) {
  const char *const one[] = {"a", "00000000"};
  struct payload *yours = files_of(one, 1), *mine = many(LIMIT_FILES / 35, 1, 1, false);
  EXPECT(mine->size > LIMIT_FILES);
  struct payload *error = files_explain(refusal_of(mine), yours);
  expect_unknown(error);
  payload_unref(error);
  payload_unref(mine);
  payload_unref(yours);
}

// An error whose digests are the value in `digests`.
static struct payload *refusal_with(const struct buffer *digests) {
  struct error_writer writer;
  begin(&writer);
  buffer_append(error_value(&writer, "digests"), digests->bytes, digests->size);
  return error_end(&writer);
}

static void takes_no_digests_that_are_none(void) {
  static const char *const values[] = {"\xc0", "\x07", "\xa1x", "\x90", "\x91\x81\xa1x\xa1y"};
  const char *const one[] = {"a", "00000000"};
  struct payload *yours = files_of(one, 1), *error;
  for (int i = 0; i < 5; i++) {
    struct buffer digests = BUFFER_EMPTY;
    buffer_append(&digests, values[i], strlen(values[i]));
    error = files_explain(refusal_with(&digests), yours);
    expect_unknown(error);
    payload_unref(error);
    buffer_free(&digests);
  }
  // More than a router tells.
  struct payload *most = many(LIMIT_FILES / 35, 1, 1, false);
  struct buffer digests = BUFFER_EMPTY;
  buffer_append(&digests, most->bytes + 1, most->size - 1);
  error = files_explain(refusal_with(&digests), yours);
  expect_unknown(error);
  payload_unref(error);
  buffer_free(&digests);
  payload_unref(most);
  payload_unref(yours);
}

static void knows_nothing_without_files_of_its_own(void) {
  const char *const one[] = {"a", "00000000"};
  static const char *const bodies[] = {"\x90", "\x91\xa1x", "\x91\x90"};
  struct payload *mine = files_of(one, 1), *error = files_explain(refusal_of(mine), NULL);
  expect_unknown(error);
  payload_unref(error);
  for (int i = 0; i < 3; i++) {
    struct payload *yours = payload_copy(bodies[i], strlen(bodies[i]));
    error = files_explain(refusal_of(mine), yours);
    expect_unknown(error);
    payload_unref(error);
    // What the router has may be none as well.
    error = files_explain(refusal_of(yours), mine);
    expect_unknown(error);
    payload_unref(error);
    payload_unref(yours);
  }
  payload_unref(mine);
}

// Of a peer that is no router of ours: keys that are none, fields twice, a message that is none.
static void keeps_any_other_fields(void) {
  struct buffer body = BUFFER_EMPTY;
  const char *const one[] = {"a", "00000000"}, *const expected[] = {"a (added)"};
  pack_array(&body, 1);
  pack_map(&body, 7);
  pack_text(&body, "files");
  pack_text(&body, "all of them");
  pack_uint(&body, 5);
  pack_map(&body, 0);
  pack_text(&body, "message");
  pack_nil(&body);
  pack_text(&body, "digests");
  pack_map(&body, 0);
  pack_text(&body, "name");
  pack_text(&body, "DeploymentChanged");
  pack_text(&body, "digests");
  pack_uint(&body, 1);
  pack_text(&body, "retryable");
  pack_bool(&body, false);
  struct payload *yours = files_of(one, 1), *error = files_explain(payload_of(&body), yours);
  struct cursor value;
  bool is_retryable;
  expect_files(error, expected, 1);
  expect_message(error, ": a (added)");
  EXPECT(field_of(error, "retryable", &value) && cursor_bool(&value, &is_retryable));
  payload_unref(error);
  payload_unref(yours);
}

static void leaves_other_errors_alone(void) {
  struct error_writer writer;
  const char *const one[] = {"a", "00000000"};
  begin(&writer);
  struct payload *yours = files_of(one, 1), *error = files_end(&writer, NULL);
  EXPECT(files_explain(error, yours) == error);
  expect_unknown(error);
  payload_unref(error);
  payload_unref(yours);
}

static const struct check checks[] = {
    {"names what differs", names_what_differs},
    {"names the few that differ among many", names_the_few_among_many},
    {"lists a hundred, and counts the others", lists_a_hundred},
    {"says nothing of equal ones", says_nothing_of_equal_ones},
    {"takes any path", takes_any_path},
    {"takes the first of two files of one path", takes_the_first_of_two_of_a_path},
    {"passes over what is no file", passes_over_what_is_no_file},
    {"leaves out too many", leaves_out_too_many},
    {"takes no digests that are none", takes_no_digests_that_are_none},
    {"knows nothing without files of its own", knows_nothing_without_files_of_its_own},
    {"keeps any other fields", keeps_any_other_fields},
    {"leaves other errors alone", leaves_other_errors_alone},
};

CHECK_MAIN(checks)
