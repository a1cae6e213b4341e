// The calls of a worker: each is a coroutine that begins in xpcall, entered by executor_call_start,
// resumed by Lua's scheduler, answered when it ends.
//
// One that blocks - below a callback of gsub, where a coroutine cannot yield - keeps its place on
// the C stack while the scheduler runs others above it. `current` says which of them runs.
#include <lauxlib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/error.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "../io/page.h"
#include "../io/warden.h"
#include "codec.h"
#include "executor_state.h"
#include "vm.h"

void executor_push(lua_State *L, int reference) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
}

static void cancel(struct executor *executor, lua_State *L, struct running *running,
                   enum cancel_reason reason) {
  static const char *const names[] = {
      [CANCEL_CLIENT] = "client", [CANCEL_DEADLINE] = "deadline", [CANCEL_SHUTDOWN] = "shutdown"};
  running->is_cancelled = true;
  executor_push(L, executor->callbacks.cancel);
  executor_push(L, executor->pool);
  lua_rawgeti(L, -1, running->anchor);
  lua_remove(L, -2);
  lua_pushstring(L, names[reason]);
  if (!vm_call(L, 2, 0)) return;
  fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
}

bool executor_protect(struct executor *executor, lua_State *L, int step, struct running *running) {
  executor->work = running;
  executor_push(L, executor->steps[step]);
  if (!lua_pcall(L, 0, 0, 0)) return true;
  lua_pop(L, 1);
  return false;
}

// ---- coroutines ----

static void new_coroutine(struct executor *executor, lua_State *L, struct running *running) {
  executor_push(L, executor->pool);
  lua_State *co = lua_newthread(L);
  executor_push(L, executor->callbacks.ours);
  lua_pushvalue(L, -2);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  running->anchor = luaL_ref(L, -2);
  running->co = co;
  lua_pop(L, 1);
}

static struct running *occupy(struct executor *executor, const struct message *call) {
  struct running *running = executor->spare;
  if (running)
    executor->spare = running->next;
  else
    running = xcalloc(1, sizeof *running);
  running->call = *call;
  executor_stream_begin(running);
  running->next = executor->running;
  executor->running = running;
  return running;
}

// One that has waited is known to the scheduler and is not used again, nor one whose function has
// changed the globals of its coroutine, nor one that ended in an error: it is dead.
static bool is_reusable(const struct executor *executor, const struct running *running) {
  return running->co && running->status == 0 && !running->has_yielded &&
         lua_topointer(running->co, LUA_GLOBALSINDEX) ==
             lua_topointer(executor->L, LUA_GLOBALSINDEX);
}

static void release(struct executor *executor, struct running *running) {
  struct running **at = &executor->running;
  while (*at != running) at = &(*at)->next;
  *at = running->next;
  executor_batch_free(running->members);
  running->members = NULL;
  if (running->co && running->status == 0) lua_settop(running->co, 0);
  if (is_reusable(executor, running)) {
    running->is_cancelled = running->is_claimed = running->asks = false;
    running->next = executor->spare;
    executor->spare = running;
    return;
  }
  if (running->co) {
    executor_push(executor->L, executor->pool);
    luaL_unref(executor->L, -1, running->anchor);
    lua_pop(executor->L, 1);
  }
  free(running);
}

// ---- who runs ----

void executor_call_block(struct executor *executor) {
  struct running *active = executor->active;
  if (!active || warden_leave(executor->warden)) return;
  active->is_claimed = true;
  if (!active->is_safe) executor->tainted = true;
}

void executor_call_unblock(struct executor *executor) {
  struct running *active = executor->active;
  if (!active) return;
  if (active->asks) warden_patient(executor->warden, active->call.sequence);
  warden_enter(executor->warden, active->call.sequence);
  if (active->is_claimed) warden_claim(executor->warden);
}

static void step_in(struct executor *executor, struct running *running) {
  executor_call_block(executor);
  running->outer = executor->active;
  executor->active = running;
  executor_call_unblock(executor);
}

// ---- the end of a call ----

uint32_t executor_calls_of(const struct running *running, const struct message **calls) {
  *calls = running->members ? running->members->calls : &running->call;
  return running->members ? running->members->count : 1;
}

// Answers all of them; takes over the body.
static void answer(struct executor *executor, const struct running *running, enum message_type type,
                   int64_t elapsed, struct payload *body) {
  const struct message *calls;
  uint32_t count = executor_calls_of(running, &calls);
  for (uint32_t i = 0; i < count; i++)
    executor_answer(executor, &calls[i], type, elapsed, payload_ref(body));
  payload_unref(body);
}

static void answer_memory(struct executor *executor, const struct running *running, bool entered) {
  const struct message *calls;
  uint32_t count = executor_calls_of(running, &calls);
  for (uint32_t i = 0; i < count; i++) executor_answer_memory(executor, &calls[i], entered);
}

static void answer_cancelled(struct executor *executor, const struct running *running,
                             enum cancel_reason reason) {
  const struct message *calls;
  uint32_t count = executor_calls_of(running, &calls);
  for (uint32_t i = 0; i < count; i++) executor_answer_cancelled(executor, &calls[i], reason);
}

// Step: pushes the error table of what lies on top of the coroutine, by describe(raised).
static void push_described(struct executor *executor, lua_State *L, lua_State *co) {
  executor_push(L, executor->callbacks.describe);
  lua_pushvalue(co, -1);
  lua_xmove(co, L, 1);
  if (!vm_call(L, 1, 1)) return;
  lua_createtable(L, 0, 4);
  lua_pushfstring(L, "the function raised an error that cannot be described: %s",
                  lua_tostring(L, -2));
  lua_setfield(L, -2, "message");
  lua_pushliteral(L, "RemoteError");
  lua_setfield(L, -2, "name");
  lua_pushliteral(L, "yes");
  lua_setfield(L, -2, "executed");
  lua_pushliteral(L, "error");
  lua_setfield(L, -2, "kind");
  lua_remove(L, -2);
}

void executor_set_origin(lua_State *L, const char *executed) {
  lua_pushstring(L, executed);
  lua_setfield(L, -2, "executed");
  lua_pushliteral(L, "worker");
  lua_setfield(L, -2, "where");
}

// Encodes the results, which lie above the `true` of xpcall. NULL: the error table of a refusal is
// pushed.
static struct payload *encode_results(struct executor *executor, lua_State *L, lua_State *co) {
  int count = lua_gettop(co) - 1;
  if (count > CODEC_VALUES) count = CODEC_VALUES + 1;  // what is refused in any case
  luaL_checkstack(L, count + LUA_MINSTACK, "too many results");
  executor_push(L, executor->callbacks.registry);
  int registry = lua_gettop(L);
  lua_settop(co, 1 + count);
  lua_xmove(co, L, count);
  struct payload *body = codec_encode(L, registry + 1, count, registry, 0, "result");
  if (!body) executor_set_origin(L, "yes");
  return body;
}

static bool has_returned(const struct running *running) {
  return running->status == 0 && lua_toboolean(running->co, 1);
}

static int l_answer(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  struct running *running = executor->work;
  int64_t elapsed = wait_now() - running->entered;
  struct payload *body = NULL;
  if (has_returned(running)) {
    body = encode_results(executor, L, running->co);
    if (body) {
      answer(executor, running, MESSAGE_RESULT, elapsed, body);
      return 0;
    }
  } else {
    push_described(executor, L, running->co);
  }
  body = executor_error_body(executor, L);
  answer(executor, running, MESSAGE_ERROR, elapsed, body);
  return 0;
}

// LuaJIT collects no garbage when memory runs out: nothing would succeed any more.
static bool is_out_of_memory(const struct running *running) {
  if (running->status == LUA_ERRMEM) return true;
  if (has_returned(running)) return false;
  const char *text = lua_type(running->co, -1) == LUA_TSTRING ? lua_tostring(running->co, -1) : "";
  return !strcmp(text, "not enough memory");
}

static void answer_ended(struct executor *executor, lua_State *L, struct running *running) {
  if (running->members && has_returned(running))
    executor_batch_answer(executor, L, running);
  else if (is_out_of_memory(running) || !executor_protect(executor, L, STEP_ANSWER, running))
    answer_memory(executor, running, true);
}

static void answer_interrupted(struct executor *executor, const struct running *running) {
  const struct message *calls;
  uint32_t count = executor_calls_of(running, &calls);
  for (uint32_t i = 0; i < count; i++) executor_answer_interrupted(executor, &calls[i]);
}

// Its results become the error that the device had for it.
static void spoil(lua_State *L, struct running *running) {
  lua_settop(running->co, 0);
  lua_pushboolean(running->co, 0);
  lua_xmove(L, running->co, 1);
}

static void settle(struct executor *executor, lua_State *L, struct running *running) {
  if (!executor->callbacks.settle || executor->fault) return;
  executor_push(L, executor->callbacks.settle);
  lua_pushnumber(L, (lua_Number)running->call.sequence);
  if (vm_call(L, 1, 1)) fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  if (!lua_isnil(L, -1) && has_returned(running))
    spoil(L, running);
  else
    lua_pop(L, 1);
}

static void end(struct executor *executor, lua_State *L, struct running *running) {
  settle(executor, L, running);
  executor_stream_end(executor, L, running);
  if (executor->fault) {
    // The router says how its calls end.
  } else if (!running->is_claimed) {
    answer_ended(executor, L, running);
  } else if (running->is_safe) {
    answer_interrupted(executor, running);
  }
  atomic_fetch_add_explicit(&executor->page->left, 1, memory_order_relaxed);
  executor_check_size(executor, running->call.function);
  release(executor, running);
}

// What a fork of this process does where the worker goes on: it ends, by forked(ok, raised).
static void end_fork(struct executor *executor, lua_State *L, struct running *running) {
  executor_push(L, executor->callbacks.forked);
  lua_pushboolean(L, has_returned(running));
  if (running->status == LUA_YIELD || !lua_gettop(running->co))
    lua_pushliteral(L, "it yields, and nobody would resume it");
  else
    lua_xmove(running->co, L, 1);
  if (vm_call(L, 2, 0)) fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  fork_leave(EXIT_INTERNAL);
}

// The call has ended, or waits. Answers as itself unless the warden has claimed it. While it answers
// no call runs, so that the one below is not interrupted here.
static void left(struct executor *executor, lua_State *L, struct running *running) {
  if (executor_is_forked(executor)) end_fork(executor, L, running);
  executor_call_block(executor);
  executor->active = running->outer;
  if (running->status != LUA_YIELD) {
    end(executor, L, running);
  } else {
    running->has_yielded = true;
    // The interrupt came too late for it: its wait ends.
    if (running->is_claimed && !running->is_cancelled) cancel(executor, L, running, CANCEL_CLIENT);
  }
  executor_call_unblock(executor);
}

// ---- the beginning of a call ----

static void refuse(struct executor *executor, lua_State *L, struct running *running) {
  running->arguments = -1;
  answer(executor, running, MESSAGE_ERROR, 0, executor_error_body(executor, L));
}

static void refuse_function(struct executor *executor, struct running *running) {
  struct error_writer writer;
  running->arguments = -1;
  error_begin(&writer, ERROR_NO_SUCH_FUNCTION, EXECUTED_NO, false, "worker");
  error_message(&writer, "the worker has no function %u", running->call.function);
  answer(executor, running, MESSAGE_ERROR, 0, error_end(&writer));
}

// Puts xpcall, the entry, its message handler and the arguments into the coroutine. It begins in
// xpcall, which may be yielded across, because a coroutine that has ended in an error no longer
// knows the line of its top frame.
static int l_prepare(lua_State *L) {
  struct executor *executor = lua_touserdata(L, lua_upvalueindex(1));
  struct running *running = executor->work;
  if (!running->co) new_coroutine(executor, L, running);
  executor_push(L, executor->callbacks.registry);
  executor_push(L, executor->xpcall);
  executor_push(L, executor->callbacks.entries);
  lua_rawgeti(L, -1, (int)running->call.function);
  lua_replace(L, -2);
  if (!lua_isfunction(L, -1)) return refuse_function(executor, running), 0;
  running->is_safe = executor->callbacks.rules[running->call.function].interrupt_safe;
  executor_push(L, executor->callbacks.trace);
  // [registry, xpcall, entry, trace, values...]
  if (running->members) {
    lua_createtable(L, (int)running->members->count, 0);
    running->arguments = 1;
  } else {
    running->arguments = codec_decode(L, running->call.body, 1);
  }
  if (running->arguments < 0) {
    executor_set_origin(L, "no");
    return refuse(executor, L, running), 0;
  }
  if (!lua_checkstack(running->co, running->arguments + LUA_MINSTACK))
    return luaL_error(L, "not enough memory");
  lua_xmove(L, running->co, 3 + running->arguments);
  return 0;
}

// The cancel may have come before the call, or just now.
static bool was_cancelled(struct executor *executor, const struct running *running,
                          enum cancel_reason *reason) {
  *reason = CANCEL_CLIENT;
  return warden_cancelled(executor->warden, running->call.sequence, reason) ||
         warden_stopping(executor->warden);
}

// In the order that proves after a death what has not run: the warden knows of it, then the page,
// then it runs.
static void enter(struct executor *executor, lua_State *L, struct running *running) {
  enum cancel_reason reason;
  running->entered = wait_now();
  step_in(executor, running);
  if (was_cancelled(executor, running, &reason)) {
    warden_leave(executor->warden);  // claimed or not: its function was not entered
    executor->active = running->outer;
    executor_call_unblock(executor);
    answer_cancelled(executor, running, reason);
    release(executor, running);
    return;
  }
  atomic_store_explicit(&executor->page->entered, running->call.sequence, memory_order_release);
  running->status = lua_resume(running->co, 2 + running->arguments);
  left(executor, L, running);
}

void executor_call_start(struct executor *executor, lua_State *L, const struct message *message) {
  struct members *members = NULL;
  if (message->flags & CALL_BATCH && !(members = executor_batch_add(executor, message))) return;
  struct running *running = occupy(executor, message);
  running->members = members;
  if (!executor_protect(executor, L, STEP_PREPARE, running)) {
    answer_memory(executor, running, false);
    running->arguments = -1;
  }
  if (members && running->arguments >= 0 && !executor_batch_fill(executor, L, running))
    running->arguments = -1;
  running->call.body = NULL;
  if (running->arguments < 0)
    release(executor, running);
  else
    enter(executor, L, running);
}

// ---- waiting calls ----

static struct running *running_of(struct executor *executor, const lua_State *co) {
  struct running *running = executor->running;
  while (running && running->co != co) running = running->next;
  return running;
}

// A sequence that was begun is that of a call that waits, or has ended.
static bool was_begun(void *owner, uint64_t sequence) {
  return sequence <= ((struct executor *)owner)->begun;
}

static struct running *find(struct executor *executor, uint64_t sequence) {
  struct running *running = executor->active;
  if (running && running->call.sequence == sequence) return running;
  running = executor->running;
  while (running && running->call.sequence != sequence) running = running->next;
  return running;
}

struct running *executor_call_of(struct executor *executor, lua_State *L) {
  if (!executor->callbacks.makers) return executor->active;
  executor_push(L, executor->callbacks.makers);
  lua_pushthread(L);
  lua_rawget(L, -2);
  bool is_own = lua_isnil(L, -1), is_made = lua_isnumber(L, -1);
  uint64_t sequence = (uint64_t)lua_tonumber(L, -1);
  lua_pop(L, 2);
  if (is_own) return executor->active;
  return is_made ? find(executor, sequence) : NULL;
}

bool executor_call_runs(struct executor *executor, uint64_t sequence) {
  return find(executor, sequence) != NULL;
}

bool executor_call_cancelled(struct executor *executor, lua_State *L, uint64_t sequence) {
  struct running *running = find(executor, sequence);
  if (!running) return true;
  if (running == executor->active && running->is_safe && !running->asks) {
    running->asks = true;
    warden_patient(executor->warden, sequence);
  }
  enum cancel_reason reason;
  if (running != executor->active && warden_cancelled(executor->warden, sequence, &reason))
    cancel(executor, L, running, reason);
  return running->is_cancelled || running->is_claimed ||
         (running == executor->active && warden_stopping(executor->warden));
}

int executor_call_cancels(struct executor *executor, lua_State *L) {
  uint64_t sequence;
  enum cancel_reason reason;
  int count = 0;
  while (warden_next_cancel(executor->warden, was_begun, executor, &sequence, &reason)) {
    struct running *running = executor->running;
    while (running && running->call.sequence != sequence) running = running->next;
    if (!running) {
      executor_batch_cancel(executor, sequence, reason);
      continue;
    }
    cancel(executor, L, running, reason);
    count++;
  }
  return count;
}

void executor_call_cancel_all(struct executor *executor, lua_State *L) {
  for (struct running *running = executor->running; running; running = running->next)
    if (!running->is_cancelled) cancel(executor, L, running, CANCEL_SHUTDOWN);
}

int executor_resume(struct executor *executor, lua_State *L, lua_State *co, int arguments) {
  struct running *running = running_of(executor, co);
  enum cancel_reason reason;
  // A call that is not suspended is refused by lua_resume.
  if (!running || lua_status(co) != LUA_YIELD) return lua_resume(co, arguments);
  if (warden_cancelled(executor->warden, running->call.sequence, &reason))
    cancel(executor, L, running, reason);
  step_in(executor, running);
  int status = running->status = lua_resume(co, arguments);
  left(executor, L, running);
  return status;
}

// ---- life ----

static void on_release(void *owner, uint64_t anchor) {
  codec_release(((struct executor *)owner)->L, anchor);
}

void executor_call_open(struct executor *executor) {
  static const lua_CFunction steps[STEPS] = {
      [STEP_PREPARE] = l_prepare,          [STEP_ANSWER] = l_answer,
      [STEP_READ] = executor_batch_read,   [STEP_CHECK] = executor_batch_check,
      [STEP_REPLY] = executor_batch_reply,
  };
  lua_State *L = executor->L;
  lua_newtable(L);
  executor->pool = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_getglobal(L, "xpcall");
  executor->xpcall = luaL_ref(L, LUA_REGISTRYINDEX);
  for (int i = 0; i < STEPS; i++) {
    lua_pushlightuserdata(L, executor);
    lua_pushcclosure(L, steps[i], 1);
    executor->steps[i] = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  codec_set_owner(L, &(struct codec_owner){on_release, executor});
}
