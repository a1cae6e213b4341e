// Refusals of the encoder: which value, by its path, and why.
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec_state.h"

enum { PATH = 320, PATH_KEY = 48, MESSAGE = 640 };

// Text that is cut where it ends. All of it is ASCII, so any place is good.
struct text {
  size_t size;
  char bytes[PATH];
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(text->bytes + text->size, PATH - text->size, format, arguments);
  va_end(arguments);
  if (written > 0) text->size += (size_t)written;
  if (text->size < PATH) return;
  text->size = PATH - 1;
  memcpy(text->bytes + PATH - 4, "...", 4);
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_identifier(const char *bytes, size_t size) {
  if (!size || size > PATH_KEY || !is_letter(bytes[0])) return false;
  for (size_t i = 1; i < size; i++)
    if (!is_letter(bytes[i]) && !is_digit(bytes[i])) return false;
  return true;
}

static void add_string_key(struct text *text, const char *key, size_t size) {
  if (is_identifier(key, size)) {
    add(text, ".%.*s", (int)size, key);
    return;
  }
  add(text, "[\"");
  for (size_t i = 0; i < size && i < PATH_KEY; i++) {
    unsigned char c = (unsigned char)key[i];
    if (c == '"' || c == '\\')
      add(text, "\\%c", c);
    else if (c < ' ' || c > '~')
      add(text, "\\%03u", c);
    else
      add(text, "%c", c);
  }
  add(text, size > PATH_KEY ? "...\"]" : "\"]");
}

static void add_key(struct text *text, lua_State *L, const struct codec_level *level) {
  if (!level->key) {
    if (level->index) add(text, "[%d]", level->index);
    return;
  }
  size_t size;
  const char *string;
  switch (lua_type(L, level->key)) {
    case LUA_TSTRING:
      string = lua_tolstring(L, level->key, &size);
      add_string_key(text, string, size);
      break;
    case LUA_TNUMBER:
      add(text, "[%.14g]", lua_tonumber(L, level->key));
      break;
    default:
      add(text, "[%s]", lua_toboolean(L, level->key) ? "true" : "false");
  }
}

// `x`, when the value has a name.
static bool add_name(struct text *text, const struct encoder *encoder) {
  lua_State *L = encoder->L;
  if (!encoder->names) return false;
  lua_rawgeti(L, encoder->names, encoder->value + 1);
  size_t size = 0;
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
  bool is_named = name && is_identifier(name, size);
  if (is_named) add(text, "%s", name);
  lua_pop(L, 1);
  return is_named;
}

// The path of the value in the first `levels` of the tables around it. A value has the side before
// its name and always before its number, except that a single result needs none.
static void add_path(struct text *text, const struct encoder *encoder, int levels, bool has_side) {
  struct text name = {0};
  if (add_name(&name, encoder))
    add(text, has_side ? "%s %s" : "%.0s%s", encoder->side, name.bytes);
  else if (encoder->count == 1 && strcmp(encoder->side, "argument"))
    add(text, "%s", encoder->side);
  else
    add(text, "%s %d", encoder->side, encoder->value + 1);
  for (int i = 0; i < levels; i++) add_key(text, encoder->L, &encoder->levels[i]);
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

// Pushes what every refusal has.
static void push_refusal(struct encoder *encoder, const char *name, const struct text *path,
                         const char *what) {
  lua_State *L = encoder->L;
  char message[MESSAGE];
  snprintf(message, sizeof message, "%s %s", path->bytes, what);
  lua_createtable(L, 0, 8);
  set_string(L, "name", name);
  set_string(L, "message", message);
  set_string(L, "path", path->bytes);
  set_string(L, "side", encoder->side);
  set_string(L, "executed", strcmp(encoder->side, "argument") ? "yes" : "no");
}

int codec_refuse_type(struct encoder *encoder, const char *type, const char *format, ...) {
  char what[MESSAGE / 5];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  struct text path = {0};
  add_path(&path, encoder, encoder->level_count, true);
  push_refusal(encoder, "NotSerializable", &path, what);
  set_string(encoder->L, "type", type);
  return -1;
}

int codec_refuse_size(struct encoder *encoder, double size, double limit, const char *unit,
                      const char *text, const char *advice) {
  struct text path = {0};
  char what[MESSAGE / 2];
  add_path(&path, encoder, encoder->level_count, true);
  bool is_argument = !strcmp(encoder->side, "argument");
  if (size > limit)
    snprintf(what, sizeof what, "%s: expected at most %.0f %s, got %.0f%s%s", text, limit, unit,
             size, advice ? "; " : "", advice ? advice : "");
  else
    snprintf(what, sizeof what, "%s", text);
  push_refusal(encoder, is_argument ? "ArgumentTooLarge" : "ResultTooLarge", &path, what);
  set_number(encoder->L, "size", size);
  set_number(encoder->L, "limit", limit);
  set_string(encoder->L, "unit", unit);
  return -1;
}

int codec_refuse_cycle(struct encoder *encoder, int ancestor) {
  struct text back = {0};
  add_path(&back, encoder, ancestor, false);
  return codec_refuse_type(encoder, "table", "is a cycle (back to %.80s)", back.bytes);
}
