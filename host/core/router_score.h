// What calls can expect of workers: how fast they are, when they have room, whether they are trusted.
// Private to router*.c, see router_state.h.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "router.h"

struct call;
struct deployment;
struct worker;

// The latest lessons that were all off to the same side; see router_score.c.
struct drift {
  double sum;        // in units of the noise
  double off, most;  // natural logarithms: together, and the one furthest off
  uint32_t count;
};

// What is known about a function on a worker beside its score.
struct lessons {
  double level;   // natural logarithm of workload per second, of the median call
  double before;  // the same as it was before the worker became slow
  double latest;  // lesson
  struct drift faster, slower;
  int64_t at;          // of the latest
  int64_t slow_since;  // the first lesson of those that show that it is slower, or seem to
  uint32_t weight;     // of the level, in lessons
  uint32_t count;      // by this process
  uint32_t confirmed;  // trials in a row that found it degraded
  bool degraded;       // well below what it was before
  bool measured;       // by a benchmark
};

// How far the lessons of a function are scattered.
struct noise {
  double variance;  // of natural logarithms
  uint32_t lessons;
};

// What a call can expect of a place; see router_outlook.c.
struct outlook {
  int64_t begun, ends;  // of what has to end before there is room: since when, until when
  double beside;        // seconds of work that will be in front of the call even then
  double round_trip;
  int64_t answered_at;  // when that was measured
  double cold;          // how much slower its first calls are taken to be
  bool serves, free;    // it may be given calls; at once
  bool many;            // `ends` is that of one of several calls
  bool doubted;         // it is slower than it was
  bool stale;           // it has to be looked at again
  uint8_t standing;     // enum why_standing
};

// router_outlook.c
void router_outlook_open(struct deployment *deployment,
                         const struct router_deployment_options *options);
void router_outlook_close(struct deployment *deployment);
/// Something has happened to a worker that calls have to know.
void router_outlook_changed(struct router *router, const struct worker *worker);
/// Looks at all that has changed, for functions of this concurrency. Returns how many places could be
/// given a call at once.
uint32_t router_outlook_refresh(const struct router *router, struct deployment *deployment,
                                uint32_t concurrency, int64_t now);
/// Seconds until there is room for a call, and of the work that will be in front of it.
double router_outlook_wait(const struct outlook *outlook, int64_t now);
/// Fills deployment->candidates, and their places, after a refresh; without those where `avoiding`
/// failed, if it is not NULL. `reserved` is not free. Returns how many they are.
uint32_t router_outlook_candidates(const struct router *router, struct deployment *deployment,
                                   uint32_t function, const struct call *avoiding,
                                   uint32_t reserved, int64_t now);

// router_eject.c
/// A worker has answered with RESULT or ERROR; `learnt`: its time was a lesson.
void router_eject_answered(struct router *router, struct worker *worker, uint32_t function,
                           const struct message *message, bool learnt, int64_t now);
/// It has done what no call can be to blame for.
void router_eject_fault(struct router *router, struct worker *worker, int64_t now);
/// It is ready, or is no more: whether ejections count depends on how many are.
void router_eject_weigh(struct router *router, struct deployment *deployment);
/// The time of its ejection is over.
void router_eject_timer(struct router *router, struct worker *worker, int64_t now);
/// Its ejection ends now: calls wait that nobody else can run.
void router_eject_needed(struct router *router, struct worker *worker, int64_t now);

// router_score.c
/// A new process stands there: nothing is known about it.
void router_score_forget(const struct router *router, struct worker *worker);
/// The worker has measured a function.
void router_score_measured(const struct router *router, struct worker *worker, uint32_t function,
                           double score);
/// It has measured all it will: what it has not is expected to be as on others.
void router_score_ready(const struct router *router, struct worker *worker);
/// A call of so much workload took so long there, in its function.
void router_score_learn(const struct router *router, struct worker *worker, uint32_t function,
                        double workload, double seconds, int64_t now);
/// Workload per second; 0: not known. Unlike worker->scores, a worker that has become slow is not
/// held to be so for ever.
double router_score_now(const struct worker *worker, uint32_t function, int64_t now);
