// What the files of the executor share: the worker's state and the calls that were entered. Not for
// others.
#pragma once

#include <lua.h>
#include <pthread.h>

#include "../core/buffer.h"
#include "../core/credit.h"
#include "../core/message.h"
#include "../io/fork.h"
#include "../io/wait.h"
#include "executor.h"
#include "interrupt.h"

// The calls of a batch that have not been answered, in order.
struct members {
  struct message *calls;  // their bodies only until they are read
  uint32_t count, capacity;
  uint32_t at;            // what a step is about
  bool is_read, is_good;  // what it says of that; of the list of results
  int64_t elapsed;
};

// A call that was entered and has not ended; or a batch of them, then `call` is the last one, but
// with the most time.
struct running {
  struct message call;  // its body only until it is entered
  lua_State *co;
  int anchor;     // keeps `co` alive: its place in the pool's table
  int arguments;  // on the stack of `co`, before it is entered; negative: it was refused
  int status;     // of the last lua_resume
  int64_t entered;
  bool has_yielded;
  bool is_cancelled;        // Lua was told
  bool is_claimed;          // by the warden: its own results are not answered
  bool is_safe;             // its function may be interrupted and leaves the worker as it was
  bool asks;                // whether it is cancelled
  struct members *members;  // NULL: it is no batch
  struct credit credit;     // of its stream
  bool awaits_credit;       // Lua does
  bool has_progress;        // that was not sent yet
  double n, total;          // it
  int64_t progress_at;      // when some was sent
  struct running *outer;    // while it runs: the call below it on the C stack, which blocks
  struct running *next;
};

// What gathers to be written is the executor's, but when it has left it to the warden, should it lie
// for long.
enum out_owner { OUT_OWN, OUT_LEFT, OUT_WARDEN };
// A call that was handed ahead and waits until those before it have ended.
struct held {
  struct message call;
  struct held *next;
};

// Steps that may run out of memory, called under protection.
enum { STEP_PREPARE, STEP_ANSWER, STEP_READ, STEP_CHECK, STEP_REPLY, STEPS };

struct executor {
  struct fork_mark *mark;
  lua_State *L;
  struct interrupt interrupt;
  pthread_t thread;
  struct warden *warden;
  struct page *page;
  int data;
  struct reader *reader;
  struct buffer out;
  _Atomic int out_owner;  // enum out_owner: who may touch it
  int64_t gathers;        // answers: since when, while calls follow one another
  int64_t written;        // when an item, or progress, was
  int waiting;            // calls that await credit
  struct wait wait;
  struct executor_callbacks callbacks;
  uint64_t last;   // sequence that came
  uint64_t begun;  // sequence that was begun, or dropped: they are in order
  struct held *held, **held_end;
  uint64_t epoch;         // of the router
  struct client *client;  // of the calls that functions make
  uint32_t generation;
  struct running *running, *spare;
  struct running *active;     // the one that runs now
  struct running *work;       // what a step is about
  struct members *gathering;  // a batch that is not whole
  int pool;                   // registry references: coroutines by anchor;
  int xpcall;                 // the function;
  int steps[STEPS];           // the functions
  void *reserve;              // memory for the time when there is none
  int measure_fd;
  bool rests;  // nothing came for long, and the memory it kept is given back
  bool router_gone, tainted;
  bool has_grown;  // above the max_rss of a function, and has said so
  int fault;       // exit code: its GPU has failed, and nothing is answered any more; 0: it has not
};

enum {
  EXIT_USAGE = 64,
  EXIT_INTERNAL = 70,
  EXIT_GPU_FAULT = 81,
  EXIT_GPU_LOST = 82,
  EXIT_TAINTED = 83,
  EXIT_ROUTER_GONE = 84,
  EXIT_GROWN = 85
};

/// Ends the process without calling anybody: user code may have left threads and handlers behind.
__attribute__((noreturn)) void executor_exit(int code);

/// Pushes a callback or a table that Lua has given.
void executor_push(lua_State *L, int reference);

// ---- answers (executor_answer.c) ----

/// Queues an answer to `call`; takes over the body. Large ones are written at once.
void executor_answer(struct executor *executor, const struct message *call, enum message_type type,
                     int64_t elapsed, struct payload *body);

/// It ended before its function was entered.
void executor_answer_cancelled(struct executor *executor, const struct message *call,
                               enum cancel_reason reason);

/// It was claimed, and its worker goes on: so the router learns that its slot is free.
void executor_answer_interrupted(struct executor *executor, const struct message *call);

/// The same without any memory of Lua's: there was none for the call's values.
void executor_answer_memory(struct executor *executor, const struct message *call, bool entered);

/// Queues any message; takes over the body.
void executor_send(struct executor *executor, struct message *message);

/// Leaves what is queued to the warden, who writes it in a millisecond unless that is done before.
void executor_leave(struct executor *executor);
/// On the warden's thread: writes what was left.
void executor_look(void *owner);

/// Writes what is queued, waiting until the router takes it.
void executor_flush(struct executor *executor);

// ---- calls handed ahead (executor_ahead.c) ----

/// Whether a call that came has to wait. Then it is kept, and its body with it.
bool executor_ahead_hold(struct executor *executor, const struct message *call);

/// Takes the next one that waits, if it may begin now; its body is the caller's.
bool executor_ahead_next(struct executor *executor, struct message *call);

/// Whether executor_ahead_next would give one.
bool executor_ahead_ready(const struct executor *executor);

/// The executor turns to this call. False: the router has taken it back, it is not to be entered.
bool executor_ahead_claim(struct executor *executor, const struct message *call);

// ---- calls (executor_call.c) ----

/// Prepares the state for calls. May raise.
void executor_call_open(struct executor *executor);

/// Runs a call until it ends or waits. The body stays the caller's.
void executor_call_start(struct executor *executor, lua_State *L, const struct message *message);

/// Whether the call `sequence` is cancelled, or has ended.
bool executor_call_cancelled(struct executor *executor, lua_State *L, uint64_t sequence);

/// The call in which the coroutine L runs, also if a coroutine of the call has started it; NULL:
/// none, or it has ended.
struct running *executor_call_of(struct executor *executor, lua_State *L);

/// Tells Lua of the calls that are cancelled while they wait. Returns how many there were.
int executor_call_cancels(struct executor *executor, lua_State *L);

/// Cancels all that wait, because the router is gone.
void executor_call_cancel_all(struct executor *executor, lua_State *L);

/// After a call of `function`: tells the router if the process has more than that allows.
void executor_check_size(struct executor *executor, uint32_t function);

/// The call that runs is about to block, or goes on.
void executor_call_block(struct executor *executor);
void executor_call_unblock(struct executor *executor);

// ---- streams (executor_stream.c) ----

/// A call begins; its message is in it.
void executor_stream_begin(struct running *running);
/// It is about to be answered.
void executor_stream_end(struct executor *executor, lua_State *L, struct running *running);
/// CREDIT has come.
void executor_stream_credit(struct executor *executor, lua_State *L, const struct message *message);
/// Calls a step for `running`. False: there was no memory for it.
bool executor_protect(struct executor *executor, lua_State *L, int step, struct running *running);

/// The calls that run as this one: several in a batch. Returns how many.
uint32_t executor_calls_of(const struct running *running, const struct message **calls);

/// Sets the fields of the error table on top of L that say where it comes from.
void executor_set_origin(lua_State *L, const char *executed);

// ---- batches (executor_batch.c) ----

/// Adds a call. Returns the batch, owned by the caller, when it is whole, else NULL.
struct members *executor_batch_add(struct executor *executor, const struct message *call);
void executor_batch_free(struct members *members);

/// A cancel of a call in a batch that is not whole. False: it is of another one.
bool executor_batch_cancel(struct executor *executor, uint64_t sequence, enum cancel_reason reason);

/// Reads the arguments into the list on top of the coroutine. False: no call is left.
bool executor_batch_fill(struct executor *executor, lua_State *L, struct running *running);

/// Answers the calls of one that has returned.
void executor_batch_answer(struct executor *executor, lua_State *L, struct running *running);

/// Steps.
int executor_batch_read(lua_State *L);
int executor_batch_check(lua_State *L);
int executor_batch_reply(lua_State *L);

// ---- calls that functions make (executor_nested.c) ----

/// The end, an item or progress of one; takes over the body. False: the message is something else.
bool executor_nested_message(struct executor *executor, struct message *message);

/// Ends are awaited.
bool executor_nested_pending(const struct executor *executor);
