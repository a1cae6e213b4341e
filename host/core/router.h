// The router: admits calls, keeps them until a worker has a free slot, gives each to the worker
// where it ends first, and sees to it that each ends exactly once. It also decides when workers are
// started, given up and killed.
//
// Pure: events and the time go in, actions come out. It knows neither sockets nor processes nor
// clocks; peers are numbers that the shell chose. Nothing here depends on addresses or on chance
// beyond the seed: the same events give the same actions.
//
//   shell                                         router
//   router_deployment(...)                   -->  a deployment; its first workers are wanted
//   action START worker, generation          <--
//   router_message(worker, READY ...)        -->
//   router_message(client, CALL ...)         -->  admit, queue, assign
//   action SEND to worker, CALL sequence     <--
//   router_message(worker, RESULT sequence)  -->
//   action SEND to client, RESULT            <--
//
// After every event the shell takes all actions with router_next, then asks router_deadline when to
// call router_tick at the latest.
//
// A call is in one of three places: the queue; a slot of a worker (its client waits); or an
// abandoned slot (the client has its answer already, deadline or cancel, and the slot is free only
// when the worker says so or dies).
//
// What proves that a function was not entered: the call was never sent, or the worker gave it back,
// or the worker died and the last sequence in its shared page is smaller, or it was recalled.
// Sequences grow over the router's life, and a worker enters calls in the order it got them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "message.h"

struct autoscale_options;
struct payload;
struct router;

enum { ROUTER_NONE = UINT32_MAX };

/// A call that has ended, as a record of what came: see router_tell_ended.
struct router_ended {
  struct call_id id;  // of a run that several share (router_key.h): the router's own
  uint32_t deployment, function;
  uint32_t worker;          // in the router, the last that had it; ROUTER_NONE: none has it
  enum error_name outcome;  // ERROR_NAMES: it has its results
  int64_t arrived;
  int64_t wait;  // from then until it was given to that worker, or until its end if to none
  int64_t run;   // in its function; negative: not known
  double workload;
};

struct router_options {
  uint64_t seed;      // jitter of back-off, keys of tables
  uint64_t epoch;     // of this router's life: random bits from the shell
  int64_t heartbeat;  // between pings; 0: no pings
  uint32_t heartbeat_misses;
  int64_t ahead;  // predicted time of calls in front of one that is handed ahead, at most; 0: none
                  // is (router_ahead.c), for workers without a shared page
};

struct router_function {
  uint32_t concurrency;   // calls, or batches, a worker runs at once, 1..LIMIT_CONCURRENCY
  uint32_t batch_size;    // calls a worker runs as one, 2..LIMIT_BATCH / concurrency; 0: one by one
  int64_t batch_wait;     // how long one waits for others while a worker is free
  int64_t timeout;        // of calls that give none, 0: the default deadline
  int64_t queue_timeout;  // of calls that give none, 0: their deadline
  int64_t max_queue_time;  // a call that would wait longer is refused, 0: none is
  bool idempotent;
  bool benchmarked;
  uint64_t max_calls;    // of a worker's process, which is then replaced between calls; 0: no limit
  uint64_t max_rss;      // bytes; a worker says itself when it has more after a call; 0: no limit
  const char *retry_on;  // names of errors after which an idempotent call is tried again, separated
                         // by commas; NULL: none; copied
};

struct router_deployment_options {
  const char *name;                         // copied
  const struct router_function *functions;  // copied
  uint32_t function_count;
  const char *manifest;  // what a worker's READY must repeat; copied
  size_t manifest_size;
  struct payload *start;                    // body of START, the router takes a reference
  uint32_t workers;                         // how many to keep; with `scaling` of no meaning
  const struct autoscale_options *scaling;  // NULL: `workers` are kept, whatever the load; copied
  int64_t max_queue_time;  // predicted wait at which a worker is full: no call waits for it while
                           // another one is free; 0: that of `scaling`, or 30 s
};

enum router_action {
  ROUTER_SEND,  // `message` to `peer` (a client) or to `worker` when peer is ROUTER_NONE; the shell
                // owns one reference to the body
  ROUTER_START,   // start a process for `worker`, `generation`, of `deployment`
  ROUTER_KILL,    // end the process of `worker` at once
  ROUTER_PARK,    // `worker` will be given no calls until it is needed again
  ROUTER_UNPARK,  // it is
  ROUTER_RECALL,  // take back what was handed ahead to `worker` up to `message.sequence` and is not
                  // entered, then say so with router_worker_recalled
  ROUTER_WITHDRAW,  // the same for the one call `message.sequence`: router_worker_withdrawn
  ROUTER_LOG,       // `text`, one line for a person, until the next call of router_next
  ROUTER_CLOSE,     // close the connection of the client `peer`
};

struct action {
  enum router_action type;
  uint32_t peer;
  uint32_t deployment;
  uint32_t worker;      // number in the router, also its place
  uint32_t generation;  // of the process in that place, counts from 1
  struct message message;
  const char *text;
};

enum lost_reason { LOST_EXIT, LOST_SIGNAL, LOST_HEARTBEAT, LOST_START, LOST_FRAME };

enum worker_state {
  WORKER_NONE,
  WORKER_STARTING,
  WORKER_READY,
  WORKER_DRAINING,
  WORKER_BACKOFF,
  WORKER_LOST
};

enum deployment_state {
  DEPLOYMENT_STARTING,
  DEPLOYMENT_READY,
  DEPLOYMENT_FAILED,
  DEPLOYMENT_DRAINING
};

struct router *router_new(const struct router_options *options);
/// Frees all, also bodies of actions not taken.
void router_free(struct router *router);

/// Adds a deployment and wants its workers. Returns its number, or ROUTER_NONE when an option is
/// out of its limits.
uint32_t router_deployment(struct router *router, const struct router_deployment_options *options,
                           int64_t now);

/// A client connection `peer` is there (any number but ROUTER_NONE) / is gone: its queued calls are
/// dropped, its running ones cancelled.
void router_client(struct router *router, uint32_t peer, int64_t now);
void router_client_gone(struct router *router, uint32_t peer, int64_t now);

/// A message of a client; takes over its body. `deployment` is what the connection was opened for.
/// CALL, CANCEL and CREDIT; anything else is ignored.
void router_client_message(struct router *router, uint32_t peer, uint32_t deployment,
                           struct message *message, int64_t now);

/// A message of a worker's process; takes over its body. READY, RESULT, ERROR, GIVE_BACK, STARTED,
/// ITEM, PROGRESS, PONG, GOODBYE, SCORE, RECYCLE. One of another generation than the current one is
/// dropped and counted.
void router_worker_message(struct router *router, uint32_t worker, uint32_t generation,
                           struct message *message, int64_t now);

/// The process could not be started (LOST_START, `code` is an errno; ENODEV: no GPU is left for it),
/// or has ended and all it sent has been delivered before. `code`: exit code or signal number.
/// `entered`: the last sequence in its shared page (0: none was entered).
void router_worker_lost(struct router *router, uint32_t worker, uint32_t generation,
                        enum lost_reason reason, int code, uint64_t entered, int64_t now);

/// The number of the system for a process that was started, by which people know it.
void router_worker_process(struct router *router, uint32_t worker, uint32_t generation,
                           uint32_t process);

/// What a process printed last that has ended itself; before router_worker_lost, whose errors quote
/// it.
void router_worker_said(struct router *router, uint32_t worker, uint32_t generation,
                        const char *text);

/// What the shared page of a worker says now; before router_tick, so that errors can say whether a
/// function runs.
void router_worker_entered(struct router *router, uint32_t worker, uint32_t generation,
                           uint64_t entered);

/// ROUTER_RECALL was carried out: of the calls handed ahead those above `entering` will not be
/// entered, and wait again. Returns how many these are. Later the worker may give back one of them,
/// which is no mistake.
uint32_t router_worker_recalled(struct router *router, uint32_t worker, uint32_t generation,
                                uint64_t entering, int64_t now);

/// ROUTER_WITHDRAW was carried out; `taken`: that call will not be entered.
void router_worker_withdrawn(struct router *router, uint32_t worker, uint32_t generation,
                             uint64_t sequence, bool taken, int64_t now);

/// Time passed: deadlines, back-off, heartbeats, grace, recalls.
void router_tick(struct router *router, int64_t now);

/// When router_tick has something to do at the latest; INT64_MAX: never.
int64_t router_deadline(const struct router *router);

/// Takes the next action. False: none left.
bool router_next(struct router *router, struct action *action);

/// Tells `ended` of each call once, when it ends or is refused, until it is NULL. Of calls that
/// share a run it is told once. It may not call the router.
void router_tell_ended(struct router *router,
                       void (*ended)(void *owner, const struct router_ended *ended), void *owner);

/// The name of a function in its deployment's manifest, `*size` bytes without a 0; NULL: it says
/// none, or there is none.
const char *router_function_name(const struct router *router, uint32_t deployment,
                                 uint32_t function, size_t *size);
/// Bytes of arguments of calls that have not ended, and of outcomes that are kept for their keys.
uint64_t router_held(const struct router *router);
/// With a limit, in bytes: the process holds as much as it may, and new calls end in Overloaded,
/// scope "memory", until it is 0 again.
void router_press(struct router *router, uint64_t limit);
/// No more calls are admitted but those that calls in progress make; calls that wait end in Draining,
/// those that run go on.
void router_finish(struct router *router, int64_t now);
/// No call is left but abandoned ones.
bool router_finished(const struct router *router);

/// Nobody needs this deployment any more: its calls are cancelled, its workers are told to go and
/// none is started again.
void router_deployment_end(struct router *router, uint32_t deployment, int64_t now);

/// No more calls are admitted; the workers of all deployments are told to drain (those idle at
/// once).
void router_drain(struct router *router, int64_t now);
/// No process is left, and none will be started.
bool router_drained(const struct router *router);

/// What a person wants to know; copied out.
enum worker_standing {
  STANDING_TRUSTED,
  STANDING_EJECTED,   // it gets no calls for a while; see router_eject.c
  STANDING_PROBATION  // it gets one at a time
};

struct worker_status {
  enum worker_state state;
  uint32_t generation;
  uint32_t in_flight;  // slots in use
  uint64_t calls;      // ended here
  uint64_t starts;
  bool wanted;  // a process is to stand here
  enum worker_standing standing;
  bool parked;       // ready, and gets no calls until it is needed again
  enum phase phase;  // of its last process, when that said why it ends
};
/// Its state in a word: "no_device" and "unsupported" are those of one that waits, because there was
/// no GPU for it.
const char *worker_status_text(const struct worker_status *status);

enum { DECISION_SIZE = 160 };

struct deployment_status {
  enum deployment_state state;
  uint32_t workers, ready, functions;  // workers: how many are wanted; ready: also those parked
  uint32_t active, parked, starting;   // of them: ready and given calls; ready; neither yet
  uint32_t active_wanted;              // of `workers`, how many are to be given calls
  uint32_t queued, running;            // queued: also those that wait for their next attempt
  size_t queue_bytes;                  // of the bodies of those queued
  uint64_t calls;                      // admitted
  uint64_t dropped;                    // answers nobody asked for: late, fenced, twice
  uint32_t first_worker;               // its places are numbered from here on
  uint32_t places;                     // more than workers: one is spare, see router_recycle.c
  char decision[DECISION_SIZE];        // why so many are wanted, a sentence; "" without `scaling`
  struct payload *failure;  // why it fails, or why a worker did whose place was not taken again
                            // since: a body the caller owns; or NULL
  int64_t next_try;         // when the next process is started after a failure; 0: it is starting;
                            // INT64_MAX: there is none to come
};
bool router_deployment_status(const struct router *router, uint32_t deployment,
                              struct deployment_status *status, int64_t now);
/// DEPLOYMENT_DRAINING where there is none of that number.
enum deployment_state router_deployment_state(const struct router *router, uint32_t deployment);
bool router_worker_status(const struct router *router, uint32_t worker,
                          struct worker_status *status);
/// Workload per second of `function` on `worker`; 0: not known.
double router_score(const struct router *router, uint32_t worker, uint32_t function);
