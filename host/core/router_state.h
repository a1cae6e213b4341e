// What the files of the router share: its state, and the steps that call each other. Private to
// router*.c.
//
//   router.c          events of clients, time, actions, status
//   router_call.c     where a call is and how it ends
//   router_fair.c     clients, their shares of a deployment, overload
//   router_recycle.c  which places are wanted: a worker is replaced by one that is ready first
//   router_scale.c    how many places are wanted, and which workers are parked
//   router_gpu.c      workers whose GPU has failed, or is full
//   router_retry.c    further attempts, and calls that kill their workers
//   router_key.c      calls with an idempotency key, and what they share
//   router_assign.c   slots, and which waiting call gets one
//   router_eject.c    workers that are at fault get no calls for a while
//   router_outlook.c  what a call can expect of each worker
//   router_score.c    how fast each worker is
//   router_batch.c    calls that a worker runs as one
//   router_ahead.c    short calls that are given to a worker before it has a slot
//   router_worker.c   a place and the processes that stand in it
//   router_loss.c     what operators are told of processes that have ended
//   router_metrics.c  what is counted; router_metrics_text.c writes it for Prometheus
//   router_ended.c    who is told of calls that have ended
//   router_failed.c   deployments whose workers do not become ready
//   router_finish.c   the end: what waits is given back, what runs goes on
//   router_stream.c   items, credit and progress pass through
#pragma once

#include "balance.h"
#include "credit.h"
#include "error.h"
#include "limits.h"
#include "message.h"
#include "payload.h"
#include "queue.h"
#include "router.h"
#include "router_metrics.h"
#include "router_score.h"
#include "router_why.h"
#include "table.h"
#include "timer.h"

enum timer_kind {
  TIMER_CALL,
  TIMER_WORKER,
  TIMER_HEARTBEAT,
  TIMER_DEPLOYMENT,
  TIMER_KEYS,
  TIMER_RECALL,
  TIMER_PROBATION,
  TIMER_SCALE
};

// CALL_ATTACHED: it waits for what another one, its run, will end in; see router_key.h.
enum call_state { CALL_QUEUED, CALL_DELAYED, CALL_RUNNING, CALL_ABANDONED, CALL_ATTACHED };

// The attempts of a call that failed.
struct trials {
  uint32_t count;
  struct trial of[LIMIT_TRIALS];
};

// Calls of one function that were given to a worker in the same instant, and run there as one.
struct batch {
  uint32_t members;   // that stand in its slot
  uint32_t living;    // of them: not abandoned
  uint64_t sequence;  // of the last one, by which the worker knows the batch
  double workload;    // together; members that were left out do not count
  double predicted;   // of those that stand in its slot
  struct call
      *bearer;     // the living one with the latest deadline; it owns the calls made in the batch
  bool is_learnt;  // its time was counted
  struct batch *next;  // free ones
};

// The calls of a function with batch that wait.
struct gathering {
  int64_t goes_at;  // when they go to a free worker, full or not
  int64_t busy_at;  // those that came until then have waited for a worker
};

struct call {
  struct queue_item item;        // first, so that an item is its call
  struct timer timer;            // deadline, or the end of a pause; once abandoned: of grace
  struct call *older, *newer;    // all calls, in the order they were admitted
  struct call *previous, *next;  // in the worker's slots or its key, oldest first
  enum call_state state;
  uint32_t peer, deployment, function, worker, attempt, flags;
  uint8_t priority;
  uint32_t attempts;          // at most
  uint32_t children;          // calls made in it that have not ended
  bool started;               // the worker has said so
  bool is_counted;            // in flight, see router_metrics.h
  bool ahead;                 // sent as one that is handed ahead
  enum cancel_reason ending;  // it is to end so when it is known whether it can be withdrawn; or 0
  bool ran;                   // an attempt before this one did, for certain
  uint32_t deaths;            // workers that died of it
  uint32_t resent;            // how often it came back without having been entered
  struct trials *trials;      // NULL: none has failed
  struct call_id id;
  uint64_t sequence;  // of the latest dispatch
  int64_t admitted, sent, deadline;
  int64_t queue_deadline;      // until then it may wait for a worker; at most `deadline`
  struct call_id parent;       // the call in which it was made; zero: none
  double workload, predicted;  // seconds on its worker
  int64_t tag;                 // its place in the order, without its priority
  struct share *share;         // whose part of the queue it is in
  double work;  // seconds there, as its function has taken of late; 0: not known to be short
  struct payload *body;
  struct credit credit;  // of its stream
  bool has_items;        // its client got some
  struct keyed *key;     // NULL: none, or one that is of no more interest
  struct batch *batch;   // in which it stands in a slot, or NULL
  uint32_t why;          // its latest record in the ring of decisions, from 1; 0: none
};

// How long the calls of a function take on a worker: seconds, with what they cost beside it.
struct pace {
  double mean, workload;  // smoothed
  double peak;            // the longest of late
  uint32_t samples;
};

struct worker {
  enum worker_state state;
  uint32_t number, deployment, generation;
  struct timer timer;  // start, back-off or drain limit, by state
  struct timer heartbeat;
  uint32_t unanswered;  // pings
  uint64_t pings;
  bool killed;                // KILL was given for this generation
  bool leaving;               // it said it will go
  bool tainted;               // the same, because a call was interrupted
  bool wanted;                // a process is to stand in this place
  bool parked;                // READY, and given no calls; see router_scale.c
  bool lacks_gpu;             // the process before found none, and that was said
  uint32_t process;           // what a person knows it by; 0: nobody has said
  bool retiring;              // DRAINING, and told so only when its last call has ended
  uint64_t mark;              // not 0: it is to be recycled, the smaller the sooner
  uint64_t mark_limit;        // why: so many calls, or bytes
  uint64_t mark_bytes;        // that it has; 0: the limit is one of calls
  const char *mark_why;       // NULL, or why else; a static text
  uint32_t memory_errors;     // calls in a row for which its GPU had no memory
  struct call *first, *last;  // slots in use
  uint32_t in_flight, slots;  // slots: the least concurrency of the functions in flight
  double backlog;             // seconds predicted for all in flight
  double round_trip;          // seconds, smoothed
  int64_t answered_at;        // when that was measured last
  double *scores;             // per function: workload per second, 0: not known
  struct lessons *lessons;    // per function
  uint32_t degraded;          // functions of which it is slower than it was
  double speed;               // logarithm: of its benchmarks, to be compared with those of others
  uint32_t measured;          // how many functions these are
  struct pace *paces;         // per function
  double work;                // of all in flight
  int64_t moved;              // when the first in line has left it last
  struct timer recall;
  bool recalling;     // until router_worker_recalled
  uint64_t recalled;  // none above this sequence was ever taken back
  uint64_t entered;   // the shared page, as last reported
  uint32_t bad_answers;
  enum worker_standing standing;
  uint32_t faults;         // in a row
  uint32_t good_calls;     // on probation
  uint32_t ejections;      // so far
  int64_t trusted_at;      // again, after the latest
  struct timer probation;  // when that begins
  bool charged;            // its place waits, or starts, after a failure of the deployment's
  uint32_t quick_deaths;   // in a row, without one finished call
  int64_t started_at, ready_at;
  uint64_t finished;        // by this generation
  uint64_t *runs;           // per function, the same
  uint64_t calls, starts;   // by all
  struct payload *goodbye;  // why it will end
  char *said;               // "; it said: " and what it printed last; or NULL
  enum phase phase;
  struct worker_metrics *metrics;
};

enum { CRASH_LOOP = 5, BUDGET_SECONDS = 10 };

// Calls and retries of the last seconds, by second modulo their number.
struct budget {
  int64_t second;  // the latest
  uint32_t calls[BUDGET_SECONDS], retries[BUDGET_SECONDS];
  uint32_t all_calls, all_retries;
};

// Arguments under which workers died.
struct suspect {
  uint64_t hash;
  size_t size;
  uint32_t function, deaths;
  int64_t since, until;  // the first death; the end of the quarantine, 0: none
};

// The calls of one function and priority in the queue.
struct level {
  uint8_t priority;
  uint32_t waiting;
  int64_t served;    // tag of the latest that went to a worker, or of the first since none waited
  int64_t furthest;  // tag that was given
};

struct deployment {
  char *name, *manifest;
  size_t manifest_size;
  struct router_function *functions;
  uint32_t function_count;
  uint32_t first_worker, ready;
  uint32_t worker_count;         // how many places are wanted; one more while one is recycled
  uint32_t place_count;          // all of its places, which are alike
  uint32_t retiree, substitute;  // workers; ROUTER_NONE: nobody is being recycled
  uint64_t marks;
  enum deployment_state state;
  bool was_ready;
  struct payload *start, *failure;
  enum phase failure_phase;
  int64_t failures[CRASH_LOOP];  // when, a ring
  uint32_t failure_count;        // over all; the ring's next place
  uint32_t failed_starts;        // in a row, for the back-off
  int64_t canary;                // when a failed deployment may try one worker again
  struct timer timer;            // look at the queue again
  struct queue queue;
  size_t queue_bytes;       // of calls in the queue, and of those in a pause
  uint32_t waiting_shares;  // clients that have calls in the queue
  double interval;          // nanoseconds between dispatches while calls wait; 0: not known
  int64_t dispatched_at;    // the last one, 0: none waited then
  uint32_t running, delayed;
  uint64_t calls, dropped;
  struct budget budget;
  struct suspect *suspects;  // NULL: there was none yet
  uint32_t suspect_count;
  int64_t quarantined;           // until when some of them are, at the latest
  unsigned char *skip;           // scratch, one a line
  struct gathering *gatherings;  // one a function
  struct noise *noises;          // one a function
  struct candidate *candidates;  // scratch, one a place
  uint32_t *places;              // scratch, one a place
  struct outlook *outlooks;      // one a place
  double *pace_of;               // seconds for a workload of one, 0: not known; by function, place
  double *paces;                 // the same where calls went of late, one a function
  double *scales;                // the same, by which those in the queue were placed
  uint32_t *stale, stale_count;  // places whose outlook has changed
  uint32_t on_probation;         // workers
  bool panics;                   // so many are ejected that it does not count
  uint32_t free_places;          // by their outlooks
  uint32_t outlook_concurrency;  // of the functions for which these hold
  double service;                // seconds that calls are predicted to take, smoothed
  double full;                   // seconds until a worker has room above which none waits for it
  struct scale *scale;           // NULL: so many workers as it was given
  struct keys *keys;             // NULL: no call had one yet
  struct levels {
    struct level *of;  // priorities that calls have had, mostly one
    uint32_t count;
  } * levels;  // one a function
  struct metrics *metrics;
};

// What a client has of a deployment.
struct share {
  uint32_t uses;                // by its client and its calls
  uint32_t waiting;             // calls in the queue
  int64_t tags[UINT8_MAX + 1];  // of its latest call of each priority
};

struct peer {
  uint32_t number;
  uint32_t calls;         // not ended, abandoned ones included: what still costs
  struct share **shares;  // by deployment; NULL: none yet
  uint32_t share_count;
};

struct router {
  struct router_options options;
  uint64_t random, sequence;
  int64_t now;      // of the event
  uint64_t runs;    // begun by router_key.c
  int64_t arrival;  // of the latest call, each later than the one before
  bool draining, finishing;
  uint64_t held;     // bytes: the bodies of all calls
  uint64_t pressed;  // what it may hold, while it takes no calls; 0: it takes them
  void (*ended)(void *owner, const struct router_ended *ended);  // NULL: nobody is told
  void *ended_owner;
  struct deployment **deployments;
  uint32_t deployment_count;
  struct worker **workers;
  uint32_t worker_count;
  struct table peers;  // by number
  struct table calls;  // by id
  struct call *oldest, *newest;
  struct call *free_calls;
  struct batch *free_batches;
  struct timers timers;
  struct action *actions;  // a ring
  size_t action_first, action_count, action_capacity;
  char *text;         // of the LOG action taken last
  struct whys *whys;  // NULL: no decisions are kept
};

static inline struct deployment *call_deployment(const struct router *router,
                                                 const struct call *call) {
  return router->deployments[call->deployment];
}

/// Whose slot the call has, or NULL.
static inline struct worker *call_worker(const struct router *router, const struct call *call) {
  return call->worker == ROUTER_NONE ? NULL : router->workers[call->worker];
}

/// What calls with the same arguments have in common, and nobody can find others for.
static inline uint64_t router_content(const struct router *router, const struct payload *body) {
  return payload_hash(body, router->options.epoch, router->options.seed);
}

static inline double to_seconds(int64_t nanoseconds) {
  return (double)nanoseconds / (double)NANOSECONDS_PER_SECOND;
}

// router.c
struct action *router_act(struct router *router, enum router_action type);
/// The same for ROUTER_SEND; takes over the body.
struct action *router_send(struct router *router, const struct message *message);
void router_log(struct router *router, uint32_t deployment, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// Sends a message to the client of `call`, or to all that are attached to a run; takes over the
/// body.
void router_answer(struct router *router, struct call *call, enum message_type type,
                   int64_t elapsed, struct payload *body);
/// The arguments of `call` are not needed any more.
static inline void router_drop_body(struct router *router, struct call *call) {
  router->held -= call->body ? call->body->size : 0;
  payload_unref(call->body);
  call->body = NULL;
}
/// Uniform in [0, 1).
double router_random(struct router *router);

// router_fair.c
struct peer *router_peer(const struct router *router, uint32_t number);
void router_peer_add(struct router *router, uint32_t number);
/// Takes a peer out, for router_peer_free. NULL: it is not there.
struct peer *router_peer_remove(struct router *router, uint32_t number);
void router_peer_free(struct peer *peer);
/// Gives a new call its place in the order.
void router_fair_tag(struct router *router, struct peer *peer, struct call *call, int64_t now);
/// Gives a call the place of another one.
void router_fair_same(struct call *call, const struct call *other);
void router_fair_forget(struct call *call);
/// The call comes into the queue / leaves it / leaves it for a worker.
void router_fair_waits(struct router *router, struct call *call);
void router_fair_leaves(struct router *router, struct call *call);
void router_fair_dispatched(struct router *router, const struct call *call, int64_t now);
/// The error with which a call is refused for want of room, or NULL: then there is room for it.
struct payload *router_fair_refusal(struct router *router, struct peer *peer, uint32_t number,
                                    const struct message *message, int64_t now);

// router_call.c
struct call *router_call_new(struct router *router);
/// Puts a new call, or one that comes back from a worker, into the queue.
void router_call_queue(struct router *router, struct call *call);
/// The default deadline of a call begins, if it has one.
void router_call_start_clock(struct router *router, struct call *call, int64_t now);
/// Whether the function was entered, as far as that is known now.
enum executed router_call_executed(const struct router *router, const struct call *call);
/// Forgets a call that has been answered and is in no slot.
void router_call_free(struct router *router, struct call *call);
/// Takes a call out of the queue or its slot.
void router_call_detach(struct router *router, struct call *call, int64_t now);
/// Answers with an error and forgets the call, wherever it is. Takes over the body.
void router_call_fail(struct router *router, struct call *call, struct payload *error, int64_t now);
/// Answers the client of a running call; its slot stays taken until the worker lets go or its grace
/// has passed.
void router_call_abandon(struct router *router, struct call *call, enum cancel_reason reason,
                         struct payload *error, int64_t now);
/// The deadline, or the end of grace, of a call.
void router_call_timer(struct router *router, struct call *call, int64_t now);
/// Ends a call whose deadline has passed, or by cancel.
void router_call_end(struct router *router, struct call *call, enum cancel_reason reason,
                     int64_t now);
void router_call_cancel(struct router *router, struct call *call, enum cancel_reason reason,
                        int64_t now);
/// The call was on a worker that is gone; `alone`: of its calls no other can have been entered.
void router_call_lost(struct router *router, struct call *call, enum lost_reason reason, int code,
                      bool alone, int64_t now);
/// Whether the worker of the call may have entered it, as far as its page and its words say.
bool router_call_entered(const struct router *router, const struct call *call);
/// An answer of a worker: RESULT, ERROR, GIVE_BACK, STARTED. Takes over the body.
void router_call_answered(struct router *router, struct worker *worker, struct message *message,
                          int64_t now);

/// The call of `worker` that a message of its is about, or NULL.
struct call *router_call_find(struct router *router, struct worker *worker,
                              const struct message *message);
/// A worker has said what nobody asked for: it may do so a few times.
void router_call_unexpected(struct router *router, struct worker *worker);
/// Adds what every error of a call says.
void router_write_call(struct error_writer *writer, struct router *router, const struct call *call);

// router_retry.c
/// A call was admitted: the budget grows.
void router_retry_admitted(struct deployment *deployment, int64_t now);
/// Queues a call, now or after a pause, that a worker had and did not enter. It is in no slot.
void router_retry_unentered(struct router *router, struct call *call, int64_t now);
/// Notes how the attempt of a running call ended.
void router_retry_note(struct call *call, const char *outcome, int64_t now);
/// The same. True: it was taken out of its slot and will be
/// tried again; false: it may not.
bool router_retry_again(struct router *router, struct call *call, const char *outcome, int64_t now);
/// The same for a worker's answer, if it is an error that the function wants tried again.
bool router_retry_error(struct router *router, struct call *call, const struct message *message,
                        int64_t now);
/// Whether this is an error with one of these names, separated by commas; or of such a type.
bool router_retry_is_named(const struct message *message, const char *names);
/// The pause of a call is over.
void router_retry_timer(struct router *router, struct call *call, int64_t now);
/// Ends all calls in a pause with DeploymentFailed.
void router_retry_fail_all(struct router *router, struct deployment *deployment, int64_t now);
/// Whether an attempt of it ended so.
bool router_retry_was(const struct call *call, const char *outcome);
/// Whether an attempt failed in this place. Another one that is free is taken first.
bool router_retry_failed_on(const struct call *call, uint32_t worker);
/// A worker has died of this call alone. True: it is poison.
bool router_retry_killed(struct router *router, struct call *call, int64_t now);
/// A result: its arguments kill nobody. To be called while there are suspects.
void router_retry_acquit(struct router *router, const struct call *call);
/// The error with which a poison call is refused, or NULL.
struct payload *router_retry_refusal(struct router *router, struct deployment *deployment,
                                     const struct message *message, int64_t now);
/// The error of a call that has just turned out to be poison.
struct payload *router_retry_poison(struct router *router, const struct call *call, int64_t now);

// router_ended.c
/// Tells of a call, before it is answered; there has to be somebody to tell.
void router_ended(struct router *router, const struct call *call, enum message_type type,
                  int64_t elapsed, const struct payload *body);

// router_stream.c
/// ITEM or PROGRESS of a worker. Takes over the body.
void router_stream_message(struct router *router, struct worker *worker, struct message *message,
                           int64_t now);
/// CREDIT of the client of `call`.
void router_stream_credit(struct router *router, struct call *call, uint32_t bytes);

// router_assign.c
/// Gives waiting calls to workers as long as that can be done.
void router_dispatch(struct router *router, struct deployment *deployment, int64_t now);
/// It is ready and may be given calls.
bool router_may_serve(const struct router *router, const struct worker *worker);

// router_ahead.c
/// The worker has calls behind the one in its slot.
static inline bool router_has_ahead(const struct worker *worker) {
  return worker->first != worker->last && worker->last->ahead;
}
/// How many calls it runs or may run at this moment.
static inline uint32_t router_slots_used(const struct worker *worker) {
  return router_has_ahead(worker) ? 1 : worker->in_flight;
}
/// A call has ended there with this time in its function.
void router_ahead_learn(struct worker *worker, const struct call *call, enum message_type type,
                        int64_t elapsed);
/// Seconds that `call` is expected to take there; 0: nobody knows that it is short.
double router_ahead_work(const struct router *router, const struct worker *worker,
                         const struct call *call);
/// The worker to which `call`, the oldest that waits, may be handed ahead: none has a slot for it,
/// or it waits for `awaited` (a place in the deployment, or ROUTER_NONE). NULL: it has to wait.
struct worker *router_ahead_choose(const struct router *router, const struct deployment *deployment,
                                   const struct call *call, uint32_t awaited, int64_t now);
/// A call was handed ahead to `worker`.
void router_ahead_sent(struct router *router, struct worker *worker);
/// A call that may be ended without having been entered is asked back first. False: it is to be
/// ended at once.
bool router_ahead_withdraw(struct router *router, struct call *call, enum cancel_reason reason);
void router_ahead_timer(struct router *router, struct worker *worker, int64_t now);

// router_batch.c
static inline bool router_batches(const struct deployment *deployment, const struct call *call) {
  return deployment->functions[call->function].batch_size > 0;
}
/// A call has come into the queue.
void router_batch_queued(struct deployment *deployment, const struct call *call);
/// Whether the oldest call of a function, which a free worker would take if `is_free`, waits for
/// others; then `*until` is lowered to the instant at which it goes. Without a free one it waits for
/// a worker, and will not wait for others after that.
bool router_batch_gathers(struct deployment *deployment, const struct call *call, bool is_free,
                          int64_t now, int64_t *until);
/// How many go if `call` goes, which is one where it is of a function without batch.
uint32_t router_batch_count(const struct deployment *deployment, const struct call *call,
                            int64_t now);
/// The one after `call` in the same batch; NULL where the line ends.
struct call *router_batch_next(const struct call *call, int64_t now);
/// The workload of what goes if `call` goes.
double router_batch_workload(const struct deployment *deployment, const struct call *call,
                             int64_t now);
/// The first call behind those that go if `call` goes, or NULL.
struct call *router_batch_behind(const struct deployment *deployment, struct call *call,
                                 int64_t now);
/// Those that were left behind when a batch went may wait for others.
void router_batch_went(struct deployment *deployment, uint32_t function, int64_t now);
struct batch *router_batch_new(struct router *router);
/// `call` was given its sequence and its slot is that of the batch.
void router_batch_join(struct batch *batch, struct call *call);
/// The deadline of a running call was moved.
void router_batch_widened(struct router *router, const struct call *call);
/// It is in its slot no more. Returns whether the slot is free.
bool router_batch_leave(struct router *router, struct worker *worker, struct call *call,
                        int64_t now);
/// It was abandoned. False: none is left for whom the batch would go on.
bool router_batch_abandon(struct router *router, struct call *call, enum cancel_reason reason,
                          int64_t now);
/// The call that owns those made in `call`, which may be NULL.
struct call *router_batch_bearer(struct call *call);
void router_batch_free(struct router *router);

// router_recycle.c
/// A call has ended on `worker`.
void router_recycle_count(struct router *router, struct worker *worker, const struct call *call,
                          int64_t now);
/// It is to be replaced for another reason, a static text.
void router_recycle_for(struct router *router, struct worker *worker, const char *why, int64_t now);
/// RECYCLE: `worker` says that it has grown.
void router_recycle_report(struct router *router, struct worker *worker,
                           const struct message *message, int64_t now);
/// Starts the next replacement if one is due and can be.
void router_recycle_next(struct router *router, struct deployment *deployment, int64_t now);
/// `worker` is ready: whom it replaces gets no more calls.
void router_recycle_ready(struct router *router, struct worker *worker, int64_t now);
/// The process of `worker` has ended: says anew which places are wanted.
void router_recycle_lost(struct router *router, struct worker *worker);
/// A slot of `worker` is free: if it retires and that was its last call, it is told to go.
void router_recycle_vacated(struct router *router, struct worker *worker, int64_t now);

// router_gpu.c
/// It said that its GPU has failed / that there is none for it, before it ended.
bool router_gpu_failed(const struct worker *worker);
bool router_gpu_missing(const struct worker *worker);
/// It has said why it ends: if that is its GPU, operators are told.
void router_gpu_told(struct router *router, const struct worker *worker);
/// The error of a call that it had entered then; it is in its slot still.
struct payload *router_gpu_fault(struct router *router, struct call *call);
/// It has answered a call.
void router_gpu_answered(struct router *router, struct worker *worker,
                         const struct message *message, int64_t now);

// router_scale.c
struct autoscale_options;
struct scale *router_scale_new(uint32_t deployment, uint32_t function_count,
                               const struct autoscale_options *options, int64_t now);
void router_scale_free(struct scale *scale);
void router_scale_timer(struct router *router, struct timer *timer, int64_t now);
/// Something has happened after which there may be too few workers, or too many: a step is due.
void router_scale_soon(struct router *router, struct deployment *deployment, int64_t now);
/// A call, or its next attempt, waits: it is work. If no worker is active one will be, at once where
/// one is parked; then the call may have ended when this returns.
void router_scale_offered(struct router *router, const struct call *call, int64_t now);
void router_scale_ready(struct router *router, struct worker *worker, int64_t now);
/// There may be more workers than now.
bool router_scale_may_grow(const struct deployment *deployment);
/// Fills in what it says of active, parked and starting workers, and of the last decision.
void router_scale_status(const struct router *router, const struct deployment *deployment,
                         struct deployment_status *status);

// router_worker.c
void router_worker_start(struct router *router, struct worker *worker, int64_t now);
void router_worker_timer(struct router *router, struct worker *worker, int64_t now);
void router_worker_heartbeat(struct router *router, struct worker *worker, int64_t now);
void router_worker_kill(struct router *router, struct worker *worker);
void router_worker_drain(struct router *router, struct worker *worker, int64_t now);
/// No more calls for it. When its last one has ended it is told so, and has its time for that.
void router_worker_retire(struct router *router, struct worker *worker, int64_t now);
/// Fills a message for the current process of `worker` and queues it; takes over the body.
void router_worker_send(struct router *router, const struct worker *worker,
                        const struct message *message);

// router_loss.c
enum { LOSS_SIZE = 440, CALL_TEXT = 160 };
/// "call ID of NAME", for a person.
const char *router_call_text(const struct router *router, const struct call *call,
                             char text[CALL_TEXT]);
/// How the process of `worker`, with its state and calls still, has ended; "": not to be told.
void router_loss_describe(const struct router *router, struct worker *worker,
                          enum lost_reason reason, int code, char *text, size_t size);
/// Tells it, if it is to be told, now that it is known what comes next. `heir`: the worker that was
/// started to replace it, or ROUTER_NONE.
void router_loss_tell(struct router *router, const struct worker *worker, uint32_t heir,
                      const char *text, int64_t now);

// router_why.c, only where decisions are kept
/// `call` was looked at, with the first `count` of deployment->candidates, and waits, for a place in
/// the deployment or ROUTER_NONE.
void router_why_waits(struct router *router, struct call *call, uint32_t count,
                      enum why_reason reason, uint32_t awaited, int64_t now);
/// The same; it is about to be given to `place`. WHY_EARLIEST: the candidates tell why.
void router_why_given(struct router *router, struct call *call, uint32_t count, uint32_t place,
                      enum why_reason reason, int64_t now);
/// It was, and what its function takes there is predicted.
void router_why_predicted(struct router *router, const struct call *call);
void router_why_ended(struct router *router, struct call *call, enum message_type type,
                      const struct payload *body, int64_t elapsed);
