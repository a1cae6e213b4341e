// The main thread of a worker: reads calls from its data connection, runs each in a coroutine,
// answers.
//
//   data connection --> reader --> CALL --> coroutine of the pool --> entry --> RESULT --> one write
//   control connection <--> warden (warden.h), who cancels and interrupts
//
// Calls are entered in the order in which they came; the shared page says how far. Lua drives:
// dispatch.lua calls executor:turn until it says that the worker shall end (bind_executor.c). A
// call that waits is a suspended coroutine, resumed by Lua's scheduler through executor_resume.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct executor;
struct lua_State;
struct payload;

/// The role `farside worker`, from its first to its last moment. Returns the exit code. The
/// descriptors are taken over.
int executor_main(int data, int control, int page);

// What bind_executor.c binds.

/// What concerns a worker of the options of a function.
struct executor_rule {
  bool interrupt_safe;
  uint64_t max_rss;  // bytes; 0: no limit
};

/// Registry references of what Lua gave to executor:open; and a rule for each function, which the
/// executor takes over.
struct executor_callbacks {
  int ours, makers, cancel, credit, trace, describe, registry, entries, problem, failure, forked;
  int settle;  // 0 until executor_settles
  struct executor_rule *rules;
};
void executor_open(struct executor *executor, const struct executor_callbacks *callbacks);

/// This process is a fork of the worker, made by a function: it takes no calls, and may use nothing
/// of the executor.
bool executor_is_forked(const struct executor *executor);

/// Sends READY, or GOODBYE with a phase's name; takes over the body.
void executor_ready(struct executor *executor, struct payload *body);
void executor_goodbye(struct executor *executor, int code, const char *phase, struct payload *body);

/// The GPU has failed: what was answered before goes out, nothing is answered any more, and the
/// process ends within a second, with EXIT_GPU_LOST if it `is_lost`. Takes over the body, for the
/// router. Nothing when it has failed before.
void executor_fault(struct executor *executor, bool is_lost, struct payload *body);

/// From now on the Lua function on top of L, popped, is called with the sequence of a call before
/// it is answered; it returns what is wrong, or nil.
void executor_settles(struct executor *executor, struct lua_State *L);

/// The process ends as one whose GPU is lost at this instant, whatever it does then; INT64_MAX: it
/// does not. Takes over the body.
void executor_suspects(struct executor *executor, int64_t at, struct payload *body);

/// What the router knows of the GPU: bytes that the last worker there had free before it took any,
/// 0: it does not matter; and whether that one did not end in order.
uint64_t executor_device(const struct executor *executor, bool *is_suspect);
/// What this one finds.
void executor_device_free(struct executor *executor, uint64_t bytes);

/// The error table on top of L, popped, as a body; where its data cannot travel, without it.
struct payload *executor_error_body(struct executor *executor, struct lua_State *L);

/// One turn: waits at most until `until`, starts what came, sends what is answered. False: the
/// worker shall end, and no call is left.
bool executor_turn(struct executor *executor, struct lua_State *L, int64_t until);

/// Waits until `until`, a cancel, or the end of a nested call. A call that runs is meanwhile
/// one that waits.
void executor_pause(struct executor *executor, struct lua_State *L, int64_t until);

/// Resumes the coroutine `co`, on whose stack its `arguments` lie, as lua_resume. What it yields or
/// raises lies there then; the results of a call do not.
int executor_resume(struct executor *executor, struct lua_State *L, struct lua_State *co,
                    int arguments);

/// The worker shall end.
bool executor_draining(const struct executor *executor);

/// Takes or gives the lock that lets one worker at a time measure on this machine. A drain ends the
/// wait for it.
void executor_measure(struct executor *executor, bool begin);

// Calls that functions make, as a client's handle has them (bind_client.c): each pushes what its
// method returns and returns how many. `L` holds what the method got.
int executor_nested_call(struct executor *executor, struct lua_State *L);
void executor_nested_cancel(struct executor *executor, uint64_t call);
int executor_nested_done(const struct executor *executor, struct lua_State *L);
int executor_nested_take(struct executor *executor, struct lua_State *L, uint64_t call);
int executor_nested_next(struct executor *executor, struct lua_State *L);
int executor_nested_item(struct executor *executor, struct lua_State *L, uint64_t call);
int executor_nested_news(struct executor *executor, struct lua_State *L);
int executor_nested_wait(struct executor *executor, struct lua_State *L, uint64_t call,
                         int64_t until);

// What app.yield and farside.progress do (executor_stream.c). At index 2 lies the sequence of the
// call that is meant, or nil: the one that runs.

/// Sends the values from index 3 on as an item. Pushes true; or a sequence: the `credit` callback
/// will be called with it, and then it may be tried again; or false and "outside", "plain" or an
/// error table. Returns how many.
int executor_yield(struct executor *executor, struct lua_State *L);
/// Notes how far a call is, and says so now and then. False: there is no such call.
bool executor_progress(struct executor *executor, struct lua_State *L, double n, double total);
/// Pushes the sequence of the call that runs; nothing when none does. Returns how many.
int executor_sequence(struct executor *executor, struct lua_State *L);
/// Whether a call has begun, and not ended.
bool executor_call_runs(struct executor *executor, uint64_t sequence);

/// Pushes id, attempt, deadline (seconds on the monotonic clock) and the function `cancelled` of the
/// call that runs; nothing when none does. Returns how many.
int executor_current(struct executor *executor, struct lua_State *L);
