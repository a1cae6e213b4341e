// What the files of the simulator share. Private to host/simulate.
#pragma once

#include "../core/router.h"
#include "calendar.h"
#include "simulate.h"

enum { NOBODY = UINT32_MAX };

#define SECOND INT64_C(1000000000)
// Virtual time begins here: to the router 0 often means never.
#define ORIGIN SECOND

enum call_place { CALL_WAITS, CALL_RUNS, CALL_OVER };

// A call that has not ended, or is still on a worker.
struct simulated_call {
  int64_t arrived, begun, elapsed;  // begun: the run that is on, or was the last
  double workload, work;
  uint32_t function, client;
  uint32_t station;         // where it is or goes to
  uint32_t previous, next;  // of that station's calls; `next` of free ones too
  uint32_t serial;          // of those that have stood here, never 0
  uint32_t run;             // of its runs
  uint32_t holds;           // the client waits for it; a station or an answer on its way has it
  uint32_t attempt;
  uint64_t sequence;
  enum call_place place;
  bool has_begun;  // once
  bool counts;     // it came late enough
  bool is_there;   // at its station, not on the way
  bool ok;         // its answer is a result
};

enum station_state { STATION_NONE, STATION_STARTING, STATION_READY, STATION_PARKED };

struct station {
  const struct simulation_kind *kind;
  enum station_state state;
  int64_t since;  // it is in that state
  uint32_t generation;
  uint32_t first, last;  // its calls, in the order they came
  uint32_t next_up;      // the first that has not begun
  uint32_t count, running;
  uint32_t slots;    // least concurrency of those running
  double factor;     // how much slower it is than at first
  uint64_t entered;  // sequence of the latest call it has begun
  bool drains;
  double current;  // for weighted rotation
  struct simulation_worker tally;
};

struct simulation {
  struct simulation_options options;
  struct arrivals arrivals;
  struct arrival coming;
  bool comes;  // `coming` does
  int64_t now, horizon, measured_from, sample_every;
  struct calendar calendar;
  struct chance fate, choice;  // of workers; of policies
  struct simulated_call *calls;
  uint32_t call_count, call_capacity, free_call, living;
  uint32_t waiting, runs;  // calls
  struct station *stations;
  uint32_t station_count;
  // A peer's policy:
  uint32_t *unplaced;  // calls for which no worker was ready, oldest first
  uint32_t unplaced_count, unplaced_capacity, turn;
  // The router:
  struct router *router;
  uint32_t deployment;
  uint32_t *clients;  // calls of each
  uint32_t client_count;
  struct payload *arguments, *results, *fault;
  uint64_t epoch;
  // What is told:
  struct simulation_result result;
  struct simulation_sample *samples;
  uint32_t sample_capacity;
  struct histogram *lately;
  uint32_t arrived, ended, failed;  // since the last sample
};

// simulate.c
/// A call is over for its client; `error`: ERROR_NAMES when it has its results.
void simulation_over(struct simulation *simulation, uint32_t call, enum error_name error);
/// Forgets one of those who hold the call.
void simulation_let_go(struct simulation *simulation, uint32_t call);
void simulation_place(struct simulation *simulation, uint32_t call, enum call_place place);
static inline int64_t simulation_after(const struct simulation *simulation, double seconds) {
  return simulation->now + (int64_t)(seconds * 1e9 + 0.5);
}
static inline bool simulation_has_router(const struct simulation *simulation) {
  return simulation->options.policy == POLICY_FARSIDE;
}

// station.c
/// As many as the kinds have, and at least `least`: the rest are of the last kind.
void stations_open(struct simulation *simulation, uint32_t least);
/// A process of this generation starts; it is ready after `seconds`.
void station_start(struct simulation *simulation, uint32_t number, uint32_t generation,
                   double seconds);
double station_start_time(struct simulation *simulation, uint32_t number);
void station_ready(struct simulation *simulation, uint32_t number);
void station_park(struct simulation *simulation, uint32_t number, bool parked);
/// A call is sent to a worker, and stands in its queue once it is there.
void station_send(struct simulation *simulation, uint32_t number, uint32_t call);
void station_gets(struct simulation *simulation, uint32_t call, uint32_t run);
/// The call has run; its answer goes back.
void station_ends(struct simulation *simulation, uint32_t call, uint32_t run);
/// A call on a station is given up: it ends there at once, and its answer goes back.
void station_cancel(struct simulation *simulation, uint32_t call);
void station_dies(struct simulation *simulation, uint32_t number, uint32_t generation);
void station_changes(struct simulation *simulation, uint32_t number, double factor);
/// Counts the time it has been in its state.
void station_settle(struct simulation *simulation, uint32_t number);
/// A draining station without calls ends.
void station_may_end(struct simulation *simulation, uint32_t number);

// shell.c
void shell_open(struct simulation *simulation);
void shell_close(struct simulation *simulation);
void shell_arrives(struct simulation *simulation, uint32_t call);
void shell_answered(struct simulation *simulation, uint32_t call, uint32_t station,
                    uint32_t generation);
void shell_ready(struct simulation *simulation, uint32_t number);
void shell_lost(struct simulation *simulation, uint32_t number, uint32_t generation);
void shell_tick(struct simulation *simulation);

// policies.c
void policies_open(struct simulation *simulation);
void policies_arrives(struct simulation *simulation, uint32_t call);
void policies_answered(struct simulation *simulation, uint32_t call);
void policies_ready(struct simulation *simulation);
void policies_lost(struct simulation *simulation, uint32_t number);
/// `call` was on a station that died; `begun`: its function was entered.
void policies_orphan(struct simulation *simulation, uint32_t call, bool begun);
