// Batches: calls that the router has sent together run as one, see core/router_batch.c.
//
//   CALL .. CALL --gather--> one coroutine --> function(list) --> a list of results --> each answered
//
// Its calls gather until the last one is here. Those that were cancelled meanwhile, and those whose
// arguments cannot be read, are answered and left out. Then the function is entered once, under the
// sequence of the last one: the shared page proves of all of them whether they ran, and a cancel of
// that sequence ends all.
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "../core/memory.h"
#include "../core/payload.h"
#include "../io/warden.h"
#include "codec.h"
#include "executor_state.h"
#include "vm.h"

// ---- gathering ----

struct members *executor_batch_add(struct executor *executor, const struct message *call) {
  struct members *members = executor->gathering;
  if (!members) members = executor->gathering = xcalloc(1, sizeof *members);
  if (members->count == members->capacity) {
    members->capacity = members->count + 1 + call->batch;
    members->calls = xrealloc(members->calls, members->capacity * sizeof *members->calls);
  }
  members->calls[members->count] = *call;
  members->calls[members->count++].body = payload_ref(call->body);
  if (call->batch) return NULL;
  executor->gathering = NULL;
  return members;
}

void executor_batch_free(struct members *members) {
  if (!members) return;
  for (uint32_t i = 0; i < members->count; i++) payload_unref(members->calls[i].body);
  free(members->calls);
  free(members);
}

static void leave_out(struct members *members, uint32_t at) {
  payload_unref(members->calls[at].body);
  members->count--;
  memmove(&members->calls[at], &members->calls[at + 1],
          (members->count - at) * sizeof *members->calls);
}

bool executor_batch_cancel(struct executor *executor, uint64_t sequence,
                           enum cancel_reason reason) {
  struct members *members = executor->gathering;
  for (uint32_t i = 0; members && i < members->count; i++) {
    if (members->calls[i].sequence != sequence) continue;
    executor_answer_cancelled(executor, &members->calls[i], reason);
    leave_out(members, i);
    return true;
  }
  return false;
}

// ---- arguments ----

// Step: the arguments of a call become the next element, { n = count, ... }, of the list on top of
// the coroutine.
int executor_batch_read(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  struct running *running = executor->work;
  struct members *members = running->members;
  const struct message *call = &members->calls[members->at];
  executor_push(L, executor->callbacks.registry);
  lua_pushvalue(running->co, -1);
  lua_xmove(running->co, L, 1);
  // [registry, list, values...]
  int count = codec_decode(L, call->body, 1);
  if (count < 0) {
    executor_set_origin(L, "no");
    executor_answer(executor, call, MESSAGE_ERROR, 0, executor_error_body(executor, L));
    return 0;
  }
  luaL_checkstack(L, 2, "not enough memory");
  lua_createtable(L, count, 1);
  lua_insert(L, 3);
  for (int i = count; i > 0; i--) lua_rawseti(L, 3, i);
  lua_pushinteger(L, count);
  lua_setfield(L, 3, "n");
  lua_rawseti(L, 2, (int)members->at + 1);
  members->is_read = true;
  return 0;
}

// The last one's cancel would be one of all, which the executor looks for when it enters them.
static bool is_cancelled(struct executor *executor, const struct running *running,
                         const struct message *call) {
  enum cancel_reason reason;
  if (call->sequence == running->call.sequence ||
      !warden_cancelled(executor->warden, call->sequence, &reason))
    return false;
  executor_answer_cancelled(executor, call, reason);
  return true;
}

static bool read_member(struct executor *executor, lua_State *L, struct running *running) {
  struct members *members = running->members;
  const struct message *call = &members->calls[members->at];
  if (is_cancelled(executor, running, call)) return false;
  members->is_read = false;
  if (!executor_protect(executor, L, STEP_READ, running))
    executor_answer_memory(executor, call, false);
  return members->is_read;
}

bool executor_batch_fill(struct executor *executor, lua_State *L, struct running *running) {
  struct members *members = running->members;
  struct message last = running->call;
  uint32_t all = members->count;
  last.remaining = 0;
  last.flags = 0;
  for (members->at = 0; members->at < members->count;) {
    if (!read_member(executor, L, running)) {
      leave_out(members, members->at);
      continue;
    }
    struct message *call = &members->calls[members->at++];
    payload_unref(call->body);
    call->body = NULL;
    last.id = call->id;
    last.attempt = call->attempt;
    last.flags |= call->flags & CALL_PROGRESS;
    if (call->remaining > last.remaining) last.remaining = call->remaining;
  }
  running->call = last;
  // Who sees in the page that the others were entered shall know already that these were not.
  if (members->count < all) executor_flush(executor);
  return members->count > 0;
}

// ---- results ----

// Step: says that the function has returned no list of as many results, by the error table it
// pushes; else it pushes nothing.
static bool push_problem(struct executor *executor, lua_State *L, const struct running *running) {
  executor_push(L, executor->callbacks.problem);
  if (lua_gettop(running->co) > 1)
    lua_pushvalue(running->co, 2);
  else
    lua_pushnil(running->co);
  lua_xmove(running->co, L, 1);
  lua_pushinteger(L, (lua_Integer)running->members->count);
  if (vm_call(L, 2, 1)) return true;
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

int executor_batch_check(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  struct running *running = executor->work;
  struct members *members = running->members;
  members->is_good = !push_problem(executor, L, running);
  if (members->is_good) return 0;
  struct payload *body = executor_error_body(executor, L);
  for (uint32_t i = 0; i < members->count; i++)
    executor_answer(executor, &members->calls[i], MESSAGE_ERROR, members->elapsed,
                    payload_ref(body));
  payload_unref(body);
  members->count = 0;
  return 0;
}

// Pushes the fields of the error that the result on top of L stands for. False: it is a result.
static bool push_failure(struct executor *executor, lua_State *L) {
  if (!lua_istable(L, -1) || !lua_getmetatable(L, -1)) return false;
  lua_pop(L, 1);
  executor_push(L, executor->callbacks.failure);
  lua_pushvalue(L, -2);
  if (!vm_call(L, 1, 1) && lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

// Step: answers a call with its element of the list.
int executor_batch_reply(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  struct running *running = executor->work;
  struct members *members = running->members;
  const struct message *call = &members->calls[members->at];
  executor_push(L, executor->callbacks.registry);
  lua_pushvalue(running->co, 2);
  lua_xmove(running->co, L, 1);
  lua_rawgeti(L, 2, (int)members->at + 1);
  // [registry, list, result]
  struct payload *body = NULL;
  if (!push_failure(executor, L)) {
    body = codec_encode(L, 3, 1, 1, 0, "result");
    if (!body) executor_set_origin(L, "yes");
  }
  enum message_type type = body ? MESSAGE_RESULT : MESSAGE_ERROR;
  if (!body) body = executor_error_body(executor, L);
  executor_answer(executor, call, type, members->elapsed, body);
  return 0;
}

void executor_batch_answer(struct executor *executor, lua_State *L, struct running *running) {
  struct members *members = running->members;
  members->elapsed = wait_now() - running->entered;
  members->is_good = false;
  if (!executor_protect(executor, L, STEP_CHECK, running)) {
    for (uint32_t i = 0; i < members->count; i++)
      executor_answer_memory(executor, &members->calls[i], true);
    return;
  }
  for (members->at = 0; members->at < members->count; members->at++)
    if (!executor_protect(executor, L, STEP_REPLY, running))
      executor_answer_memory(executor, &members->calls[members->at], true);
}
