// Calls that remote functions make: the worker is a client of the router it works for, over its
// data connection.
//
// The router knows which call made which, gives a nested one no more time than its maker has, and
// cancels it when the maker ends.
#include <lauxlib.h>

#include "../core/client.h"
#include "../core/payload.h"
#include "bind_call.h"
#include "executor_state.h"

bool executor_nested_message(struct executor *executor, struct message *message) {
  if (message->type != MESSAGE_RESULT && message->type != MESSAGE_ERROR &&
      message->type != MESSAGE_ITEM && message->type != MESSAGE_PROGRESS)
    return false;
  client_message(executor->client, message, wait_now());
  return true;
}

bool executor_nested_pending(const struct executor *executor) {
  return client_pending(executor->client) > 0;
}

static void send(struct executor *executor, struct message *message) {
  message->epoch = executor->epoch;
  executor_send(executor, message);
}

int executor_nested_call(struct executor *executor, struct lua_State *L) {
  struct call_options options = {0};
  const struct running *maker = executor_call_of(executor, L);
  if (maker) options.parent = maker->call.id;
  executor_push(L, executor->callbacks.registry);
  struct payload *body = bind_call_begin(L, lua_gettop(L), &options);
  if (!body) return 2;
  struct message message;
  uint64_t call = 0;
  int result = client_call(executor->client, &options, body, wait_now(), &message, &call);
  if (!result) send(executor, &message);
  return bind_call_begun(L, result, call);
}

void executor_nested_cancel(struct executor *executor, uint64_t call) {
  struct message message;
  if (client_cancel(executor->client, call, &message)) send(executor, &message);
}

int executor_nested_done(const struct executor *executor, struct lua_State *L) {
  lua_pushnumber(L, (lua_Number)client_done(executor->client));
  lua_pushnumber(L, (lua_Number)client_told(executor->client));
  return 2;
}

static int push_ended(struct executor *executor, lua_State *L,
                      const struct completion *completion) {
  executor_push(L, executor->callbacks.registry);
  return bind_call_ended(L, lua_gettop(L), completion);
}

int executor_nested_take(struct executor *executor, struct lua_State *L, uint64_t call) {
  struct completion completion;
  if (!client_take(executor->client, call, &completion)) return 0;
  return push_ended(executor, L, &completion);
}

int executor_nested_next(struct executor *executor, struct lua_State *L) {
  struct completion completion;
  if (!client_next(executor->client, &completion)) return 0;
  int count = push_ended(executor, L, &completion);
  lua_pushnumber(L, (lua_Number)completion.call);
  lua_insert(L, -count - 1);
  return count + 1;
}

int executor_nested_item(struct executor *executor, struct lua_State *L, uint64_t call) {
  struct payload *body;
  struct message credit;
  uint64_t tag;
  if (!client_item(executor->client, call, &body, &tag, &credit)) return 0;
  if (credit.type) send(executor, &credit);
  executor_push(L, executor->callbacks.registry);
  return bind_call_item(L, lua_gettop(L), body);
}

int executor_nested_news(struct executor *executor, struct lua_State *L) {
  struct news news;
  return client_news(executor->client, &news) ? bind_call_news(L, &news) : 0;
}

static bool has_other(const struct executor *executor) {
  return client_done(executor->client) || client_told(executor->client);
}

int executor_nested_wait(struct executor *executor, struct lua_State *L, uint64_t call,
                         int64_t until) {
  executor_pause(executor, L,
                 client_ended(executor->client, call) || has_other(executor) ? 0 : until);
  if (client_ended(executor->client, call))
    lua_pushliteral(L, "done");
  else if (has_other(executor))
    lua_pushliteral(L, "other");
  else
    lua_pushliteral(L, "timeout");
  return 1;
}
