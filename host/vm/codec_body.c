// From values on the stack to a payload: the encoder with the buffer it keeps between calls, and the
// large strings and tensors that a payload refers to.
#include <lauxlib.h>
#include <string.h>

#include "../core/payload.h"
#include "codec_state.h"

// What lies on the stack while an encoder runs, and what the first refusal needs.
enum { STACK = 24 };

// ---- payloads ----

// One part in the payload's own memory.
static struct payload *join(const struct encoder *encoder) {
  const struct buffer *buffer = encoder->buffer;
  struct payload *payload = payload_new(codec_body_size(encoder));
  if (!payload) return NULL;
  unsigned char *to = payload->bytes;
  size_t from = 0;
  for (int i = 0; i < encoder->reference_count; i++) {
    const struct codec_reference *reference = &encoder->references[i];
    memcpy(to, buffer->bytes + from, reference->offset - from);
    to += reference->offset - from;
    memcpy(to, reference->bytes, reference->size);
    to += reference->size;
    from = reference->offset;
  }
  memcpy(to, buffer->bytes + from, buffer->size - from);
  return payload;
}

static void add_part(struct payload *payload, const unsigned char *bytes, size_t size) {
  if (size) payload->parts[payload->count++] = (struct part){bytes, size};
}

// The strings stay where they are. No Lua runs from here on: nothing raises, so nothing leaks.
static struct payload *refer(const struct encoder *encoder, uint64_t anchor) {
  const struct buffer *buffer = encoder->buffer;
  struct payload *payload = payload_copy(buffer->bytes, buffer->size);
  if (!payload) return NULL;
  payload->count = 0;
  size_t from = 0;
  for (int i = 0; i < encoder->reference_count; i++) {
    const struct codec_reference *reference = &encoder->references[i];
    add_part(payload, payload->bytes + from, reference->offset - from);
    add_part(payload, (const unsigned char *)reference->bytes, reference->size);
    from = reference->offset;
  }
  add_part(payload, payload->bytes + from, buffer->size - from);
  payload->size = codec_body_size(encoder);
  payload->release = encoder->codec->owner.release;
  payload->owner = encoder->codec->owner.owner;
  payload->anchor = anchor;
  return payload;
}

static uint64_t anchor_strings(struct encoder *encoder) {
  lua_State *L = encoder->L;
  uint64_t anchor = ++encoder->codec->anchors;
  codec_push_slot(L, CODEC_SLOT_ANCHORS);
  lua_pushnumber(L, (lua_Number)anchor);
  lua_pushvalue(L, encoder->strings);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return anchor;
}

static struct payload *make_payload(struct encoder *encoder) {
  if (!encoder->reference_count) return payload_copy(encoder->buffer->bytes, encoder->buffer->size);
  codec_align_tensors(encoder);
  if (!encoder->codec->owner.release) return join(encoder);
  uint64_t anchor = anchor_strings(encoder);
  struct payload *payload = refer(encoder, anchor);
  if (!payload) codec_release(encoder->L, anchor);
  return payload;
}

// ---- the buffer between calls ----

// The codec's own one; or a new one on the stack while a finalizer encodes in the middle of another
// encoder, and after an error came through one.
static struct codec_scratch *take_scratch(lua_State *L, struct codec *codec) {
  struct codec_scratch *scratch = &codec->scratch;
  if (scratch->is_taken) {
    scratch = lua_newuserdata(L, sizeof *scratch);
    *scratch = (struct codec_scratch){0};
    codec_push_slot(L, CODEC_SLOT_SCRATCH);
    lua_setmetatable(L, -2);
  }
  scratch->is_taken = true;
  buffer_clear(&scratch->buffer);
  return scratch;
}

static void give_scratch(struct codec_scratch *scratch) {
  if (scratch->buffer.capacity > CODEC_KEEP) buffer_free(&scratch->buffer);
  scratch->is_taken = false;
}

int codec_scratch_gc(lua_State *L) {
  struct codec_scratch *scratch = lua_touserdata(L, 1);
  buffer_free(&scratch->buffer);
  return 0;
}

// ---- the encoder ----

struct payload *codec_encode(lua_State *L, int first, int count, int registry, int names,
                             const char *side) {
  int top = lua_gettop(L);
  luaL_checkstack(L, STACK, "to encode");
  struct encoder encoder;  // references and levels are filled in as they are used
  encoder.L = L;
  encoder.first = first;
  encoder.count = count;
  encoder.classes = registry ? top + 3 : 0;
  encoder.names = names;
  encoder.side = side;
  encoder.referred = 0;
  encoder.reference_count = 0;
  encoder.level_count = 0;
  encoder.codec = codec_push(L);
  lua_pushnil(L);
  encoder.strings = top + 2;
  if (registry) lua_getfenv(L, registry);
  struct codec_scratch *scratch = take_scratch(L, encoder.codec);
  encoder.buffer = &scratch->buffer;

  struct payload *payload = NULL;
  int result = codec_encode_values(&encoder);
  if (!result) {
    payload = make_payload(&encoder);
    if (!payload) result = codec_refuse_memory(&encoder);
  }
  give_scratch(scratch);
  if (result) {
    lua_replace(L, top + 1);
    top++;
  }
  lua_settop(L, top);
  return payload;
}
