// A simulated world around the cores of router and client: virtual time, and all chance from one
// seed.
//
//   world.c      draws a world from a seed, lives through it, ends it
//   event.c      what happens next; the trace
//   clients.c    clients: some well-behaved, some not
//   processes.c  workers' processes: slow, dying, answering twice or for others
//   shell.c      stands where host/io stands: brings events to the router, carries out its actions
//   streams.c    items, credit and progress: who says them, what is true, what may be passed on
//   records.c    what is known about each call
//   truth.c      knows what really happened
//   batches.c    what both of them know about batches
//   keys.c       idempotency keys: what is one run, what is kept
//   judge.c      holds each action of the router against that
//   ahead.c      the same for calls that are handed ahead
//   counts.c     what the router has to have counted in the end
//   ended.c      what is told of calls that have ended
//   finish.c     routers that end in the middle of their work
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../../host/core/autoscale.h"
#include "../../host/core/client.h"
#include "../../host/core/credit.h"
#include "../../host/core/error.h"
#include "../../host/core/limits.h"
#include "../../host/core/message.h"
#include "../../host/core/payload.h"
#include "../../host/core/router.h"
#include "ahead.h"
#include "chance.h"
#include "finish.h"
#include "over.h"
#include "standings.h"

#define MICROSECONDS(n) ((int64_t)(n)*1000)
#define MILLISECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_MILLISECOND)
#define SECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_SECOND)

enum {
  CLIENTS = 8,
  DEPLOYMENTS = 3,
  FUNCTIONS = 4,
  WORKERS = 8,  // of one deployment
  SEATS = DEPLOYMENTS * (WORKERS + 1),
  HELD = 128,  // calls that a process can have; the router gives it 16 at most, or 101 short ones
  TIMES = 16,
  CHARGES = 5,
  STARTS = 64,  // more than are allowed in a minute
  KEYS = 4,     // of one function
  BUDGET = 10,
  RING = 50,
};

// ---- what happens ----

enum happening {
  // events
  CLIENT_ACTS,
  CLIENT_SENDS,  // its message reaches the router
  CLIENT_GETS,
  WORKER_GETS,
  WORKER_SENDS,  // its message reaches the router
  WORKER_LOADED,
  WORKER_ENTERS,
  WORKER_ENDS,    // a call
  WORKER_YIELDS,  // an item
  CLIENT_READS,
  WORKER_DIES,
  WORKER_LOST_SEEN,  // the router is told that a process has ended
  TICK,
  // what else is in the trace
  CLIENT_COMES,
  CLIENT_GOES,
  ROUTER_STARTS,
  ROUTER_KILLS,
  ROUTER_LOGS,
  ROUTER_DRAINS,
  DEPLOYMENT_ENDS,
  ROUTER_FINISHES,
  FAULTS_STOP,
  HAPPENINGS
};

struct event {
  int64_t at;
  enum happening kind;
  uint32_t who, generation;  // a seat and its process, or a client and its incarnation
  uint64_t sequence;
  struct message message;
};

struct moment {
  int64_t at;
  enum happening kind;
  uint32_t who, generation, type;  // type: of the message, if any
  uint64_t call, sequence;
};

// ---- the truth about one call ----

enum where { AT_CLIENT, IN_QUEUE, IN_SLOT, AT_END, ATTACHED };  // to a run

// The run that a key stands for, in flight or with an outcome that is kept so long.
struct key {
  struct record *run;
  int64_t kept_until;  // 0: in flight
};

enum reader { READS_AT_ONCE, READS_SLOWLY, READS_NEVER };

struct record {
  struct record *older, *newer;  // those the router knows, by deployment, in the order of serving
  struct call_id id;
  uint32_t number, client, deployment, function;
  enum where where;
  bool idempotent, default_deadline, default_timeout;
  bool answered;         // the router has sent its outcome, or nobody is there to get it
  bool lost;             // its worker was lost: the outcome has to say so
  bool owed;             // the outcome has to come in this step
  bool cancelled;        // its client has asked for it
  bool never;            // an outcome said that the function was not entered
  bool result;           // the outcome was a result
  bool heard;            // it has reached its client
  bool told;             // its client has taken it
  bool ended;            // the router has told of its end
  int refusal;           // the enum error_name with which it has to be refused, or -1
  uint32_t incarnation;  // of its client
  int64_t admitted, deadline, queue_deadline, answered_at;
  int64_t order;
  uint32_t attempts;      // at most
  struct record *parent;  // the running call in which it was made, or NULL
  bool has_children;
  double workload;
  uint32_t worker, generation, attempt;  // of the latest dispatch
  bool ahead;                            // it was
  int64_t sent_at;
  double work;  // what it was to take there at least, nanoseconds
  uint64_t sequence;
  uint64_t batch;    // sequence of the first one that was dispatched with it
  bool stood_back;   // it has waited while its worker was busy
  uint32_t spent;    // attempts that may have entered
  uint32_t deaths;   // processes that died of it alone
  uint32_t died_on;  // seats on which an attempt failed, a bit each
  uint32_t resent;   // how often it came back without having been entered
  bool poison;       // it has to end as such
  bool given_back;   // it waited when the router finished
  uint8_t priority;
  uint32_t behind;       // calls of others, no more urgent, that were served while it waited alone
  int64_t paused_until;  // in the queue: until then it may wait for its next attempt
  uint32_t entries;      // real ones

  bool is_run;                     // of a key, not a call of a client
  struct key *key;                 // of a run
  struct record *run;              // whose outcome it gets
  struct record *attached, *next;  // to a run
  struct payload *outcome;         // of a run: what its worker gave, or the first was told
  uint32_t flags;
  enum reader reader;
  struct credit credit;     // what is out
  uint64_t passed, taken;   // items: by the router, by its client
  uint64_t yielded;         // progress: the latest that the router has passed on
  bool overdrawn, is_deaf;  // its worker has; its client wants no more items
};

// ---- clients ----

struct person {
  struct client *client;
  bool connected;
  uint32_t incarnation;
  int64_t latency, last_sent, last_got;
  int64_t gap;                       // between acts
  uint32_t rush;                     // further acts at once
  uint32_t calls;                    // that the router has not forgotten
  uint32_t queued[DEPLOYMENTS];      // of those
  struct record *only[DEPLOYMENTS];  // the one that is queued, if there is just one since it came
  struct record **records;           // in the order of the calls
  uint32_t record_count, record_capacity;
  struct record **index;  // by call number: a hash table, NULL: free
  uint32_t index_capacity;
};

// ---- workers' processes ----

struct held {
  struct record *record;
  uint64_t sequence;
  uint64_t batch;  // sequence of the last of its batch
  bool is_one;     // its function takes batches
  uint32_t attempt;
  bool ahead, looked, claimed, entered, cancelled;
  int64_t entered_at;
  struct credit credit;
  uint64_t yielded;     // items
  uint32_t items_left;  // to be yielded before it ends
  bool waits;           // for credit
  int64_t gap;          // between items
};

// What really stands in a place.
struct process {
  bool alive;
  uint32_t generation;
  int64_t data_in, control_in, data_out, control_out;  // arrival of the last message on each
  int64_t paused_until;
  bool deaf;      // answers no pings
  bool stubborn;  // ends no call when told to
  bool leaving;   // enters nothing more
  bool doomed;    // its death is planned
  uint32_t slowness;
  bool broken;                     // all its answers say so
  uint64_t entered, entered_safe;  // the shared page; as it was when the oldest message that has
                                   // not arrived was sent
  uint64_t entering, recalled;     // also on the page
  uint64_t withdrawn[64];
  uint32_t under_way;  // messages that have not arrived
  uint64_t seen;       // the highest sequence that came
  struct held held[HELD];
  uint32_t held_count;
  uint64_t cancels[HELD];  // for calls that have not come yet
  uint32_t cancel_count;
  bool entry_planned;
  enum lost_reason reason;
  int code;
};

// What the router has been told about a place, and what follows from it.
struct seat {
  uint32_t deployment, generation;
  bool standing;  // from START until the end of the process was told
  bool ready, killed, given_up, draining, leaving, tainted;
  bool wanted;               // a process is to stand here
  bool parked, told_parked;  // as of the end of the latest step; as the shell was told
  bool retiring;             // another one is there in its stead: it gets nothing more
  uint64_t mark;             // not 0: it is to be recycled, the smaller the sooner
  int64_t left_at;           // when it said that it goes, or was told to
  bool other_manifest;       // it has told one
  bool hopeless;             // the next process would fail in the same way
  bool charged;              // the latest end counts for a crash loop
  int64_t started_at, ready_at, emptied_at, ping_at;
  uint64_t finished, starts, runs[FUNCTIONS];
  uint32_t bad_answers, unanswered;
  uint64_t pings;
  bool start_owed;               // in this step
  uint64_t recalled, withdrawn;  // calls up to this sequence; the highest sequence
  uint32_t back_step;            // in which a call was withdrawn last
  int64_t moved_at;              // when the first in line has left it last
  struct times {                 // of one function
    int64_t of[TIMES];           // the latest, by number modulo TIMES
    uint32_t count;
  } times[FUNCTIONS];
  struct trust trust;
  struct record *slots[HELD];
  uint32_t slot_count;   // calls in `slots`
  uint32_t batch_count;  // batches of them: what takes a slot
};

// What became of the calls of one function.
struct counts {
  uint64_t admitted, refused, results, errors[ERROR_NAMES];
  uint64_t vanished;  // with their client
  uint64_t dispatched, retried, requeued;
};

struct app {
  int64_t emptied_at;  // when its last ready worker was given up
  uint32_t function_count, worker_count, first_worker;
  uint32_t retiree, substitute;  // seats, of one recycling at a time; ROUTER_NONE: none
  uint64_t marks;
  struct router_function functions[FUNCTIONS];
  int64_t service[FUNCTIONS];  // for a workload of 1
  struct counts counts[FUNCTIONS];
  bool scored;
  char manifest[64];
  struct record *oldest, *newest;
  uint32_t queued, running, ready;
  bool was_ready, failed, over;  // over: see over.h
  int64_t charges[CHARGES];
  uint32_t charge_count;
  bool scaled;  // the number of workers follows the load, worker_count is the most
  struct autoscale_options scaling;
  int64_t starts[STARTS];  // for the load, a ring
  uint32_t start_count;
  int64_t sized_at[WORKERS + 1];  // when a start for the load has made it so large
  uint32_t failures;              // charges since a worker was ready
  int64_t none_since;             // calls wait and no worker is wanted; 0: it is not so
  struct second {
    int64_t at;
    uint32_t calls, retries;
  } seconds[BUDGET];                       // the latest, by second modulo their number
  int64_t canary_at, canary_gap, over_at;  // canary: latest start of one that failed, or failure
  int64_t storm_from, storm_until;         // ages in which no process becomes ready
  struct record *waiting;                  // the oldest in the queue, while a worker could take it
  uint32_t waiting_seat;
  double waiting_end;  // seconds that the call would have taken there, at most
  int64_t waiting_since;
};

// Chances of one in so many; 0: never.
struct rates {
  uint32_t start_refused, start_dies, start_hangs, other_manifest, goodbye_first, grows;
  uint32_t short_life, dies_unentered, dies_in_call, slow, hangs, raises, twice, for_others,
      wrong_epoch, given_back, overdraws, item_late, item_strange, says_started, deaf, paused,
      stubborn, taints, zombie, flood, breaks;
  uint32_t cancel, vanish, nests, limits, mischief, burst, rush, default_timeout, quick_timeout,
      streams, keys, burst_latency;
};

// How long a world lives: so many steps, which is for worlds under load, or so many seconds of
// virtual time, which go by between the events too.
struct life {
  const char *program;  // to be named in advice
  uint32_t steps, seconds;
  bool traced;  // print what happens
};

struct statistics {
  uint64_t ejected, ejected_slow, needed_ejected, trusted_again;
  uint64_t outcomes[32];                                  // by enum error_name
  uint64_t attached, given_again, ended_waiting, needed;  // needed: admitted while it finishes
  uint64_t events[HAPPENINGS], steps;
  int64_t lived;  // virtual nanoseconds
  uint64_t items, credits, overdrawn, progress;
  uint64_t results, retried, refused_retries, requeued, dispatched;
  uint64_t ahead, recalled, withdrawn, late_backs;
  uint64_t batches;  // of more than one call
  uint64_t kills, starts, recycled, canaries, failed, over, zombies, bad_answers, grace_kills,
      heartbeat_kills, reserved, scale_starts, stopped, parked, unparked;
};

struct world {
  uint64_t seed;
  struct chance chance;
  int64_t now;
  const struct life *life;
  uint32_t step;
  int64_t span;  // how old it becomes, see world_age
  int64_t faults_until, calls_until, drain_at, finish_at, faults_stopped_at;
  bool faults, calling, draining, finishing;
  bool brisk;  // many calls of short functions

  struct router *router;
  uint64_t epoch;
  int64_t heartbeat, slack;  // slack: how late the shell is at most
  int64_t ahead;             // as router_options.ahead
  uint32_t misses;
  int64_t worker_latency;
  struct rates rates;
  struct app apps[DEPLOYMENTS];
  struct counts nowhere;
  struct person people[CLIENTS + 1];  // the last one is never there: runs are its
  struct key keys[DEPLOYMENTS][FUNCTIONS][KEYS];
  uint32_t app_count, people_count;
  struct process processes[SEATS];
  struct seat seats[SEATS];
  uint32_t seat_count;
  uint64_t sequence;          // of the latest dispatch
  int64_t arrival;            // of the latest call, each later than the one before
  uint32_t follow;            // calls of the batch that is being dispatched which are to come
  struct record *dispatched;  // the latest one

  struct record **chunks;  // all records
  uint32_t record_count, chunk_count;
  uint32_t owed, starts_owed;
  struct record *arriving;         // admitted or refused in this step
  const struct payload *relaying;  // body of the answer that is being brought to the router
  struct record *relayed;          // whose it is
  const struct payload *passing;   // body of the item that the router has to pass on in this step
  struct record *passed;           // whose item, or progress, it is
  struct record *credited;         // whose worker has to get `credit` bytes in this step
  uint32_t credit;
  bool tick;          // this step is one
  bool canary_lives;  // in this step a failed deployment came back

  struct heap_entry *heap;
  uint32_t heap_count, heap_capacity, order;
  struct event *pool;
  uint32_t pool_count, pool_capacity, free_count;
  uint32_t *free_events;
  struct moment ring[RING];
  uint64_t moments, hash;
  struct statistics *statistics;
};

// event.c
/// An event of `kind` at `at`; of those of the same instant the first one added comes first. Valid
/// until the next one is added.
struct event *event_add(struct world *world, int64_t at, enum happening kind, uint32_t who,
                        uint32_t generation);
/// Takes the next one. The caller owns the body of its message. False: nothing will happen.
bool event_next(struct world *world, struct event *event);
/// When it is, INT64_MAX: never.
int64_t event_at(const struct world *world);
void event_close(struct world *world);
const char *event_name(enum happening kind);
/// Adds to the trace; `message` may be NULL.
void trace(struct world *world, enum happening kind, uint32_t who, uint32_t generation,
           const struct message *message);
/// Says what is wrong, what happened last and how to see it again; ends the process.
__attribute__((noreturn, format(printf, 2, 3))) void violation(struct world *world,
                                                               const char *format, ...);
#define REQUIRE(world, condition, ...) ((condition) ? (void)0 : violation(world, __VA_ARGS__))

// world.c
/// Lives through the world of `seed` and its end; returns the hash of its trace.
uint64_t world_run(uint64_t seed, const struct life *life, struct statistics *statistics);
/// In steps, or in nanoseconds of virtual time.
int64_t world_age(const struct world *world);
/// When something that hangs now goes on: INT64_MAX, or soon after the faults have stopped.
int64_t world_wakes(struct world *world);
/// A fault of the kind that happens once in `one_in`, if faults happen now.
bool fault(struct world *world, uint32_t one_in);

// clients.c
/// Sends a message after the client's latency.
void client_sends(struct world *world, uint32_t number, uint32_t deployment,
                  struct message *message);
void clients_open(struct world *world);
void clients_close(struct world *world);
void client_acts(struct world *world, const struct event *event);
void client_gets(struct world *world, struct event *event);
/// A message of the router reaches it; takes over the body.
void client_hears(struct world *world, uint32_t number, struct message *message);
/// Takes the completions of a client.
void client_checks(struct world *world, uint32_t number);
uint64_t clients_pending(const struct world *world);
void clients_cancel_all(struct world *world);

// processes.c
/// Sends a message after the worker's latency; of its data connection unless `control`.
void process_says(struct world *world, uint32_t number, struct message *message, bool control);
struct message process_about(struct world *world, const struct held *held, enum message_type type);
struct held *process_held(struct process *process, uint64_t sequence);
void process_start(struct world *world, uint32_t number, uint32_t generation);
void process_gets(struct world *world, struct event *event);
void process_loaded(struct world *world, const struct event *event);
void process_enters(struct world *world, const struct event *event);
void process_ends(struct world *world, const struct event *event);
void process_dies(struct world *world, uint32_t number, uint32_t generation,
                  enum lost_reason reason, int code);
/// Paused processes get and do nothing: the event comes again later.
bool process_paused(struct world *world, const struct event *event);
/// What the shared page says to a reader that gets all messages sent before.
uint64_t process_page(const struct process *process);

// shell.c
void shell_client_comes(struct world *world, uint32_t number);
void shell_client_goes(struct world *world, uint32_t number);
/// A message of a client arrives; takes over its body.
void shell_client_sends(struct world *world, uint32_t number, uint32_t deployment,
                        struct message *message);
void shell_worker_sends(struct world *world, struct event *event);
void shell_worker_lost(struct world *world, const struct event *event);
void shell_tick(struct world *world);
void shell_drain(struct world *world);
/// Carries out all actions of the router.
void shell_actions(struct world *world);

// streams.c
/// What a call of a client may have to do with streams.
void stream_draw(struct world *world, struct call_options *options);
/// Its client begins to read.
void stream_open(struct world *world, struct record *record, const struct call_options *options);
/// Takes what there is to read and the news of a client.
void stream_reads(struct world *world, const struct event *event);
void stream_checks(struct world *world, uint32_t client);
/// Credit that a client gives and should not.
void stream_greedy(struct world *world, struct record *record);
/// A function was entered: items are planned. False: it yields none.
bool stream_enters(struct world *world, uint32_t seat, struct held *held, int64_t time);
void stream_yields(struct world *world, const struct event *event);
void stream_gets_credit(struct world *world, uint32_t seat, const struct message *message);
/// An item, with credit or without.
void stream_says_item(struct world *world, uint32_t seat, struct held *held);
/// What no function of ours yields.
void stream_meddles(struct world *world, uint32_t seat, const struct held *held);
/// An item or progress arrives at the router / credit does.
void stream_truth(struct world *world, struct seat *seat, const struct message *message);
void stream_truth_credit(struct world *world, uint32_t client, const struct message *message);
/// The router passes on.
void stream_judge(struct world *world, const struct action *action);
void stream_judge_credit(struct world *world, const struct action *action);
void stream_judge_step(struct world *world);

// records.c
struct record *record_new(struct world *world, uint32_t client, struct call_id id);
/// One that no client finds.
struct record *record_add(struct world *world, uint32_t client, struct call_id id);
/// The call of a client that is connected, or NULL.
struct record *record_find(struct world *world, struct call_id id);
/// The call that these arguments belong to.
struct record *record_at(struct world *world, uint64_t number);
struct record *record_of(struct world *world, const struct payload *arguments);
struct app *record_app(struct world *world, const struct record *record);
void records_close(struct world *world);

// counts.c
/// Of the function of `record`; of none that counts, if there is none.
struct counts *counts_of(struct world *world, const struct record *record);
void counts_judge(struct world *world);

// ended.c
void ended_told(void *owner, const struct router_ended *ended);

// truth.c
void truth_arrives(struct world *world, struct record *record, struct message *message);
void truth_cancels(struct world *world, uint32_t client, const struct message *message);
void truth_leaves(struct world *world, uint32_t client);
void truth_entered(struct world *world, struct record *record);
void truth_worker_sends(struct world *world, const struct event *event);
void truth_lost(struct world *world, uint32_t number);
void truth_drains(struct world *world);
void truth_over(struct world *world, struct app *app);
/// The call in a slot that a message of its worker is about, or NULL.
struct record *truth_slot_of(struct world *world, const struct seat *seat,
                             const struct message *message);
/// Puts a call elsewhere and keeps all counts.
void truth_move(struct world *world, struct record *record, enum where where);
/// It has to be answered in this step.
void truth_owe(struct world *world, struct record *record);
/// Which seat is to be recycled next, or ROUTER_NONE.
uint32_t truth_marked(const struct world *world, const struct app *app);
/// Before the router gets a tick.
void truth_ticks(struct world *world);

// batches.c
/// How many of a seat's slots are of the batch of `record`.
uint32_t batch_members(const struct seat *seat, const struct record *record);
/// Who owns the calls made in `record`: the last to be late of its batch's unanswered, or NULL.
struct record *batch_bearer(struct world *world, const struct record *record);
/// `record` was answered in a slot: what it has made goes on for its batch, or ends / the deadline
/// of a run there is later than it was: the calls of its batch may be its own now.
void batch_abandoned(struct world *world, struct record *record);
void batch_widened(struct world *world, struct record *run);
/// A call is dispatched; before its sequence is known.
void batch_dispatched(struct world *world, struct record *record, const struct action *action);
/// Its slot has been given up, and all who had it have waited for their grace.
bool batch_over(const struct world *world, const struct seat *seat, const struct record *record);
/// After a step: nobody waits for others who should not.
void batch_check_waiting(struct world *world, struct app *app);
// scale.c
/// Whether, and how, the number of workers of a deployment follows its load.
void scale_draw(const struct world *world, struct app *app);
/// How many workers it begins with.
uint32_t scale_first(const struct app *app);
/// A process is to be started that is no replacement / is there now.
void scale_started(struct world *world, struct app *app);
void scale_grown(struct world *world, struct app *app);
/// Learns whether the router wants a seat no more.
void scale_look(struct world *world, struct seat *seat);
/// After the actions of a step.
void scale_step(struct world *world, struct app *app);
/// ROUTER_PARK and ROUTER_UNPARK.
void scale_told(struct world *world, const struct action *action);
/// It was parked before this step, and is after it.
bool scale_parked(const struct world *world, uint32_t number);
bool scale_quiet(const struct world *world, const struct app *app);

// keys.c
/// What a call of a client may have to do with keys.
void key_draw(struct world *world, struct call_options *options);
/// A call arrives; its arguments are settled. False: it has no key.
bool key_admits(struct world *world, struct record *record, struct message *message);
/// What is attached to a run has to be answered in this step.
void key_owe(struct world *world, struct record *run);
void key_first_ready(struct record *run);
/// A worker has given the outcome of a run.
void key_answered(struct record *run, const struct message *message);
/// An attached call whose client is gone.
void key_vanishes(struct world *world, struct record *record);
/// The outcome of a run is given to a call / an attached call ends / one that came later does.
void key_relays(struct world *world, const struct record *record, const struct payload *body);
void key_outcome(struct world *world, struct record *record, const struct action *action);
void key_kept(struct world *world, struct record *record, const struct action *action);

// judge.c
/// The enum error_name of an error, or -1; `*executed` is -1 where it does not say.
int read_error(const struct payload *body, int *executed, bool *retryable);
/// Whether a process may get calls at all.
bool judge_serves(const struct world *world, const struct seat *seat);
bool judge_could_take(const struct world *world, const struct seat *seat,
                      const struct record *record);
/// All workers are ready (`but_for_ejected` idle ones), and all their calls have made others.
bool judge_deadlocked(const struct world *world, const struct app *app, bool but_for_ejected);
/// Actions of the router.
void judge_outcome(struct world *world, const struct action *action);
void judge_dispatched(struct world *world, const struct action *action);
void judge_pinged(struct world *world, const struct action *action);
void judge_drained(struct world *world, const struct action *action);
void judge_started(struct world *world, const struct action *action);
void judge_killed(struct world *world, const struct action *action);
/// After the actions of a step.
void judge_step(struct world *world);
/// All has ended as it should.
bool judge_quiet(const struct world *world);
void judge_unsettled(struct world *world, const char *when);
