// Tensors. What one is, Lua knows: a function there gives type, address, sizes and what keeps the
// elements where they are; another one makes a tensor of those.
#include <assert.h>
#include <lauxlib.h>
#include <string.h>

#include "../core/pack.h"
#include "../core/payload.h"
#include "../core/tensor.h"
#include "codec_state.h"

enum {
  PADDING = TENSOR_ALIGN - 1,  // bytes before and behind the elements together
  TAKEN = 4,                   // what comes before the sizes: type, address, bytes, keeper
  STACK = TAKEN + TENSOR_RANK + 4,
  MESSAGE = 200,
};

// ---- what Lua says ----

// codec.tensors(metatable, take, give)
static int l_tensors(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  struct codec *codec = codec_push(L);
  lua_getfenv(L, -1);
  codec->tensor_mark = lua_topointer(L, 1);
  for (int i = 1; i <= 3; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, CODEC_SLOT_TENSOR + i - 1);
  }
  return 0;
}

void codec_push_tensors(lua_State *L) {
  lua_pushcfunction(L, l_tensors);
}

// ---- encoding ----

// Reads what `take` has returned, from stack index `at` on. False: it is no tensor.
static bool read_taken(lua_State *L, int at, struct tensor *tensor) {
  int rank = lua_gettop(L) - at - TAKEN + 1;
  if (rank < 0 || rank > TENSOR_RANK) return false;
  tensor->type = (enum tensor_type)lua_tointeger(L, at);
  tensor->rank = (uint32_t)rank;
  for (int i = 0; i < rank; i++) {
    double size = lua_tonumber(L, at + TAKEN + i);
    if (!(size >= 0 && size <= (double)TENSOR_ELEMENTS)) return false;
    tensor->sizes[i] = (uint64_t)size;
  }
  tensor->elements = (const unsigned char *)(uintptr_t)lua_tonumber(L, at + 1);
  return !tensor_measure(tensor, &tensor->size) && (double)tensor->size == lua_tonumber(L, at + 2);
}

static void pack_head(struct buffer *buffer, const struct tensor *tensor, unsigned padding) {
  unsigned char head[TENSOR_LARGEST_HEAD + PADDING] = {0};
  size_t size = tensor_write(tensor, 0, padding, head);
  pack_ext_head(buffer, EXT_TENSOR, size + tensor->size + padding);
  buffer_append(buffer, head, size);
}

static void refer(struct encoder *encoder, const struct tensor *tensor, int keeper) {
  static const unsigned char padding[PADDING];
  pack_head(encoder->buffer, tensor, PADDING);
  lua_pushvalue(encoder->L, keeper);
  codec_refer(encoder, (const char *)tensor->elements, tensor->size,
              TENSOR_HEADER + TENSOR_SIZE * tensor->rank);
  buffer_append(encoder->buffer, padding, PADDING);
}

static int encode(struct encoder *encoder, int taken) {
  struct tensor tensor;
  if (!read_taken(encoder->L, taken, &tensor))
    return codec_refuse_type(encoder, "table", "is a tensor whose fields were changed");
  int result = codec_charge(encoder, 0, CODEC_COST_TENSOR + tensor.size,
                            tensor.size + TENSOR_LARGEST_HEAD + PACK_LARGEST_HEAD + PADDING);
  if (result) return result;
  assert(tensor.elements || !tensor.size);  // one that is larger has no address
  if (codec_may_refer(encoder, tensor.size)) {
    refer(encoder, &tensor, taken + TAKEN - 1);
  } else {
    pack_head(encoder->buffer, &tensor, 0);
    buffer_append(encoder->buffer, tensor.elements, tensor.size);
  }
  return 0;
}

int codec_encode_tensor(struct encoder *encoder, int index) {
  lua_State *L = encoder->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, STACK)) return codec_refuse_memory(encoder);
  codec_push_slot(L, CODEC_SLOT_TENSOR_TAKE);
  lua_pushvalue(L, index);
  lua_pushinteger(L, CODEC_BODY);
  if (lua_pcall(L, 2, LUA_MULTRET, 0)) {
    const char *problem = lua_tostring(L, -1);
    return codec_refuse_type(encoder, "table", "is a tensor that cannot be read: %.*s", MESSAGE,
                             problem ? problem : luaL_typename(L, -1));
  }
  int result = encode(encoder, top + 1);
  if (!result) lua_settop(L, top);
  return result;
}

void codec_align_tensors(struct encoder *encoder) {
  size_t before = 0;  // bytes of the references passed
  for (int i = 0; i < encoder->reference_count; i++) {
    struct codec_reference *reference = &encoder->references[i];
    if (reference->head) {
      size_t padding = -(reference->offset + before) % TENSOR_ALIGN;
      unsigned char *head = encoder->buffer->bytes + reference->offset - reference->head;
      head[2] = (unsigned char)padding;
      head[3] = (unsigned char)(PADDING - padding);
      reference->offset += padding;
    }
    before += reference->size;
  }
}

// ---- decoding ----

static int l_holder_gc(lua_State *L) {
  struct payload **place = lua_touserdata(L, 1);
  payload_unref(*place);
  *place = NULL;
  return 0;
}

// Pushes what keeps the payload.
static void push_holder(lua_State *L, struct payload *payload) {
  struct payload **place = lua_newuserdata(L, sizeof(struct payload *));
  *place = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_holder_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  *place = payload_ref(payload);
}

// The module says what a tensor is when it is loaded. False: an error is pushed.
static bool push_give(lua_State *L) {
  codec_push_slot(L, CODEC_SLOT_TENSOR_GIVE);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "farside.tensor");
  if (lua_pcall(L, 1, 0, 0)) return false;
  codec_push_slot(L, CODEC_SLOT_TENSOR_GIVE);
  return true;
}

int codec_decode_tensor(lua_State *L, struct payload *payload, const unsigned char *bytes,
                        size_t size) {
  struct tensor tensor;
  if (!lua_checkstack(L, STACK)) {
    lua_pushliteral(L, "the Lua stack is too small for the values");
    return -1;
  }
  if (!push_give(L)) {
    const char *problem = lua_tostring(L, -1);
    lua_pushfstring(L, "a tensor came, and there are none here: %s", problem ? problem : "?");
    return -1;
  }
  tensor_read(&tensor, bytes, size);
  size_t misplaced = (uintptr_t)tensor.elements % tensor_element_size((unsigned)tensor.type);
  lua_pushinteger(L, (lua_Integer)tensor.type);
  lua_pushnumber(L, (lua_Number)(uintptr_t)tensor.elements);
  lua_pushnumber(L, (lua_Number)tensor.size);
  if (tensor.size >= CODEC_REFER && !misplaced)
    push_holder(L, payload);
  else
    lua_pushnil(L);  // it is copied
  for (uint32_t i = 0; i < tensor.rank; i++) lua_pushnumber(L, (lua_Number)tensor.sizes[i]);
  lua_call(L, TAKEN + (int)tensor.rank, 1);
  return 0;
}
