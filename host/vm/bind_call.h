// What the bindings of clients and workers share: how Lua begins a call and takes its end.
#pragma once

#include <lua.h>
#include <stdint.h>

#include "../core/message.h"

struct call_options;
struct completion;
struct news;
struct payload;

/// Reads what `:call(deployment, function, limits, workload, names, ...)` got, the object at index
/// 1: fills `options` and encodes the arguments. `limits` is false, a timeout in seconds, or a table
/// {timeout =, queue_timeout =, attempts =, priority =, key =, stream = window in bytes, progress =}.
/// `registry` is a stack index or 0. NULL: nil and an error table are pushed.
struct payload *bind_call_begin(lua_State *L, int registry, struct call_options *options);

/// Pushes what a call that the client's core refused (a client_result) returns: its number, or nil
/// and an error table; returns how many.
int bind_call_begun(lua_State *L, int result, uint64_t call);

/// Pushes the id of a call as a user sees it, 32 digits.
void bind_call_push_id(lua_State *L, struct call_id id);

/// Pushes true and the results, or false and the error table, which gets the `call_id`; takes over
/// the body. Returns how many.
int bind_call_ended(lua_State *L, int registry, const struct completion *completion);

/// Pushes true and the values of an item, or false and an error table; takes over the body. Returns
/// how many.
int bind_call_item(lua_State *L, int registry, struct payload *body);

/// Pushes the number of the call, whether an item is there, n and total (nil where they are not
/// known, or nothing is new). Returns how many.
int bind_call_news(lua_State *L, const struct news *news);

/// Pushes nil and {name =, message =, executed = "no", where = "sdk"}.
int bind_call_error(lua_State *L, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/// Seconds as nanoseconds, from 0 to the longest deadline.
int64_t bind_call_nanoseconds(double seconds);
