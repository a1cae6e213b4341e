// Farside for C programs: load a deploy script, call its functions on workers, get their results.
//
//   struct farside_options options = {.struct_size = sizeof options, .deploy = "deploy.lua"};
//   struct farside *farside;
//   if (farside_open(&options, &farside)) ...farside_problem(farside)...
//   farside_call(farside, "square", "\x91\x05", 2, 0, done, user, NULL);   // [5] as msgpack
//   ...
//   farside_close(farside);
//
// The router runs inside the calling process, workers are its children; unless `farside serve` runs
// one for this deployment, which is then used (FARSIDE_ROUTER: "embedded" or "unix:PATH" forces
// either). No signal handler is installed. Ended calls are reported by callbacks, on the thread
// that turns: a program with its own loop waits for farside_fd and calls farside_turn; in one that
// never asks for farside_fd a thread of Farside turns, and callbacks come on that thread, one at a
// time. A callback may call every function here but farside_close.
//
// What was opened before a fork is the parent's: in the child every function returns FARSIDE_INVALID,
// and farside_close does nothing. The child may open one of its own.
//
// A tensor among arguments or results is a msgpack extension of type 2. Its content: u8 type (1 f64,
// 2 f32, 3 f16, 4 bf16, 5 i64, 6 i32, 7 u8, 8 bool), u8 number of dimensions (0 to 8), u8 padding
// before the elements and u8 padding behind them (0 to 63 bytes of zeros), a little-endian u64 for
// the size of each dimension, padding, the elements in row-major order, little-endian, padding.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct farside;

struct farside_options {
  size_t struct_size;  // sizeof(struct farside_options): later versions add fields behind
  const char *deploy;  // path of the deploy script
};

enum farside_status {
  FARSIDE_OK = 0,
  FARSIDE_INVALID = -1,      // an argument, or the payload, is not what it must be
  FARSIDE_SCRIPT = -2,       // the deploy script could not be loaded
  FARSIDE_NO_FUNCTION = -3,  // the deployment has no function of that name
  FARSIDE_OVERLOADED = -4,   // too many calls of this client have not ended
  FARSIDE_MEMORY = -5,
  FARSIDE_SYSTEM = -6,  // the operating system refused; farside_problem says what
  FARSIDE_ENDED = -7,   // no call of that number is in flight
};

/// How a call ended. Everything it points to lives until the callback returns.
struct farside_result {
  size_t struct_size;
  uint64_t call;
  int ok;  // 1: `payload` is a msgpack array of the results; 0: an array of one map, the error
  const void *payload;
  size_t size;
  const char *error;     // the error's name ("DeadlineExceeded"), NULL if ok
  const char *message;   // a sentence for a person, NULL if ok
  const char *executed;  // "no", "maybe", "yes": whether the function ran
};

typedef void (*farside_callback)(void *user, const struct farside_result *result);

/// Loads the deploy script and starts its workers, or connects to the router that serves it; does
/// not wait for workers. On failure `*farside` is an object that can only be asked for its problem
/// and closed, or NULL when there was no memory for it.
int farside_open(const struct farside_options *options, struct farside **farside);

/// Calls `function`. `payload` is a msgpack array of its arguments, copied. `timeout` in seconds,
/// 0: the function's own. The callback is called exactly once, if FARSIDE_OK is returned; `*call`
/// (may be NULL) is the number for farside_cancel. Any thread.
int farside_call(struct farside *farside, const char *function, const void *payload, size_t size,
                 double timeout, farside_callback callback, void *user, uint64_t *call);

/// What is told of a call while it runs. `item` and `progress` may be NULL.
struct farside_listener {
  size_t struct_size;
  /// An item of the function's app.yield: `payload` is a msgpack array of its values and lives until
  /// the callback returns. The function runs ahead of it, as far as `window`. Not 0: enough; the call
  /// is cancelled.
  int (*item)(void *user, uint64_t call, const void *payload, size_t size);
  /// The latest farside.progress of the function; `total` is 0 if it is not known.
  void (*progress)(void *user, uint64_t call, double n, double total);
  farside_callback ended;  // after all items
  void *user;
  uint32_t window;  // bytes of items, 0: 256 KiB
};

/// As farside_call, and listens while the call runs; the listener is copied. With `item` it is a
/// call that streams: app.yield is an error in others.
int farside_listen(struct farside *farside, const char *function, const void *payload, size_t size,
                   double timeout, const struct farside_listener *listener, uint64_t *call);

/// Cancels a call; it still ends through its callback, with Cancelled unless it had ended. Any
/// thread.
int farside_cancel(struct farside *farside, uint64_t call);

/// A descriptor to poll for reading. From now on callbacks come only from farside_turn.
int farside_fd(struct farside *farside);

/// Does what there is to do without waiting: sends, receives, calls callbacks. Returns how many
/// were called.
int farside_turn(struct farside *farside);

/// Why farside_open failed, one text for a person; "" if it did not. Lives as long as the object.
const char *farside_problem(const struct farside *farside);

/// Cancels what is in flight (callbacks are called), lets the workers exit their contexts, ends
/// them, frees. NULL is allowed.
void farside_close(struct farside *farside);

#ifdef __cplusplus
}
#endif
