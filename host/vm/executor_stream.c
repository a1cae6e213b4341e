// What a call says before it ends: the items of a stream, and how far it is.
//
//   app.yield -> executor_yield -> item -> `out` --write--> router
//                     ^ no credit left: Lua waits, until executor_stream_credit lets it go on
//
// A single item goes out at once. One that follows within a millisecond gathers with others; who
// gathers asks the warden to look after a millisecond, so that nothing lies for longer however long
// the function computes.
#include <lauxlib.h>
#include <stdio.h>

#include "../core/limits.h"
#include "../core/payload.h"
#include "../io/warden.h"
#include "codec.h"
#include "executor_state.h"
#include "vm.h"

static const int64_t kGather = NANOSECONDS_PER_MILLISECOND;
static const int64_t kProgress =
    50 * NANOSECONDS_PER_MILLISECOND;  // between two messages of a call

enum { GATHERED = 32 * 1024 };

// The call for which L says something: that of the sequence at index 2, or the one that runs.
static struct running *find(struct executor *executor, lua_State *L) {
  if (lua_isnoneornil(L, 2)) return executor->active;
  uint64_t sequence = (uint64_t)lua_tonumber(L, 2);
  struct running *running = executor->active;
  if (running && running->call.sequence == sequence) return running;
  running = executor->running;
  while (running && running->call.sequence != sequence) running = running->next;
  return running;
}

static struct message about(const struct message *call, enum message_type type) {
  return (struct message){.type = (uint8_t)type,
                          .id = call->id,
                          .attempt = call->attempt,
                          .epoch = call->epoch,
                          .sequence = call->sequence};
}

// ---- gathering ----

static void send_soon(struct executor *executor, struct message *message, int64_t now) {
  executor_send(executor, message);
  if (!executor->out.size) {
    executor->written = now;  // a large one went out
  } else if (now - executor->written >= kGather || executor->out.size >= GATHERED) {
    executor_flush(executor);
    executor->written = now;
  } else {
    executor_leave(executor);
  }
}

// ---- items ----

static void set_waiting(struct executor *executor, struct running *running, bool waits) {
  if (running->awaits_credit == waits) return;
  running->awaits_credit = waits;
  executor->waiting += waits ? 1 : -1;
}

static int refuse(lua_State *L, const char *why) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, why);
  return 2;
}

int executor_yield(struct executor *executor, lua_State *L) {
  int count = lua_gettop(L) - 2;
  struct running *running = find(executor, L);
  if (!running) return refuse(L, "outside");
  if (running->members) return refuse(L, "batch");
  if (!(running->call.flags & CALL_STREAM)) return refuse(L, "plain");
  if (!credit_left(&running->credit)) {
    executor_flush(executor);
    set_waiting(executor, running, true);
    lua_pushnumber(L, (lua_Number)running->call.sequence);
    return 1;
  }
  executor_push(L, executor->callbacks.registry);
  struct message message = about(&running->call, MESSAGE_ITEM);
  message.body = codec_encode(L, 3, count, lua_gettop(L), 0, "item");
  if (!message.body) {
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
  }
  credit_spend(&running->credit, message.body->size);
  send_soon(executor, &message, wait_now());
  lua_pushboolean(L, 1);
  return 1;
}

// Lets those go on that wait for the credit of a call.
static void wake(struct executor *executor, lua_State *L, struct running *running) {
  set_waiting(executor, running, false);
  executor_push(L, executor->callbacks.credit);
  lua_pushnumber(L, (lua_Number)running->call.sequence);
  if (!vm_call(L, 1, 0)) return;
  fprintf(stderr, "farside: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
}

void executor_stream_credit(struct executor *executor, lua_State *L,
                            const struct message *message) {
  struct running *running = executor->running;
  while (running && running->call.sequence != message->sequence) running = running->next;
  if (!running) return;
  credit_give(&running->credit, message->credit);
  if (running->awaits_credit && credit_left(&running->credit)) wake(executor, L, running);
}

// ---- progress ----

static void send_progress(struct executor *executor, struct running *running, int64_t now) {
  const struct message *calls;
  uint32_t count = executor_calls_of(running, &calls);
  running->has_progress = false;
  running->progress_at = now;
  for (uint32_t i = 0; i < count; i++) {
    if (!(calls[i].flags & CALL_PROGRESS)) continue;
    struct message message = about(&calls[i], MESSAGE_PROGRESS);
    message.n = running->n;
    message.total = running->total;
    send_soon(executor, &message, now);
  }
}

bool executor_progress(struct executor *executor, lua_State *L, double n, double total) {
  struct running *running = find(executor, L);
  if (!running) return false;
  if (!(running->call.flags & CALL_PROGRESS)) return true;
  running->has_progress = true;
  running->n = n;
  running->total = total;
  int64_t now = wait_now();
  if (now - running->progress_at >= kProgress) send_progress(executor, running, now);
  return true;
}

// ---- the beginning and the end of a call ----

void executor_stream_begin(struct running *running) {
  running->credit = credit_of(running->call.credit);
  running->awaits_credit = running->has_progress = false;
  running->progress_at = 0;
}

void executor_stream_end(struct executor *executor, lua_State *L, struct running *running) {
  if (running->has_progress && !running->is_claimed) send_progress(executor, running, wait_now());
  if (running->awaits_credit) wake(executor, L, running);
}

int executor_sequence(struct executor *executor, lua_State *L) {
  if (!executor->active) return 0;
  lua_pushnumber(L, (lua_Number)executor->active->call.sequence);
  return 1;
}
