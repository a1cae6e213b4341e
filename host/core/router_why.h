// Why a call went where it went: a ring of the latest decisions of a router, with what each was
// made of, and with what really happened then.
//
// A record begins when a call is looked at for the first time, and is filled in each time it is
// looked at again, until it is given to a worker. It lasts until as many others have begun; a
// retry of the call begins another one. A call with an idempotency key has that of the run it shares
// (router_key.h), and one of its own once it has ended.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct router;

enum { WHY_CANDIDATES = 8 };

enum why_reason {
  WHY_NO_SLOT,    // it waits: no worker that serves has room for it
  WHY_FASTER,     // it waits for a busy worker that is predicted to end it earlier than a free one
  WHY_GATHERS,    // it waits for others of its batch
  WHY_RESERVED,   // it waits: the worker that has room is kept for one that has waited longer
  WHY_PROBATION,  // it waits: the one that has room is on probation, and has a call
  WHY_PAUSES,     // it waits for its next attempt
  WHY_EARLIEST,   // given to the free worker on which it is predicted to end first
  WHY_ONLY_FREE,  // given to the only one that had room
  WHY_LEFT,   // given to a slower free one, which costs it little: the fast one is left to others
  WHY_OTHER,  // given to a free one of those on which it has not failed
  WHY_BATCH,  // given together with others
  WHY_AHEAD,  // handed to a busy one ahead of its turn, since it is short
  WHY_REASONS
};

/// "no_slot" and so on; one sentence for a person.
const char *why_name(enum why_reason reason);
const char *why_sentence(enum why_reason reason);

enum why_standing {
  WHY_HEALTHY,
  WHY_SLOW_START,  // its first calls find its caches cold
  WHY_SLOWER,      // it has become slower than it was
  WHY_TRIED,       // on probation: one call at a time
  WHY_EJECTED      // and given calls as most of the others are too
};

/// "healthy" and so on.
const char *why_standing_name(enum why_standing standing);

struct why_candidate {
  uint32_t place;
  bool free, known;  // known: how long it would take there
  uint8_t standing;  // enum why_standing
  float round_trip;  // seconds; 0: nobody knows, since it has not answered a call yet
  float wait;        // predicted seconds until it could begin there
  double score;      // workload a second; of a worker that is cold or in doubt, what is expected
  double ends;  // predicted seconds until it has ended, of a batch all of it; with the round trip
};

/// 368 bytes: 10,000 of them take 3.7 MB.
struct why {
  struct call_id id;
  uint32_t deployment, function, attempt;
  uint8_t priority;
  double workload;
  int64_t admitted, decided;  // decided: when it was given to a worker; INT64_MAX: it was not yet
  uint32_t looks;             // how often it was looked at
  enum why_reason reason;     // of the latest look
  enum why_reason waited;     // of the latest look that let it wait, if it was looked at twice
  uint32_t place;             // that it was given to, or waits for; ROUTER_NONE: neither
  double predicted;           // seconds of the function there; 0: nobody knew
  uint32_t candidates;        // that there were in all; kept are those with the earliest ends, and
                              // the one that was chosen
  uint32_t kept;
  struct why_candidate of[WHY_CANDIDATES];
  bool ended;       // the attempt
  uint8_t outcome;  // enum error_name; ERROR_NAMES: a result
  double ran;       // seconds in the function, as its worker says; below 0: it did not say
  double took;      // seconds from its coming until its end
};

/// Keeps the latest `count` decisions from now on; 0: none, as at first. Memory for all is taken at
/// once.
void router_keep_whys(struct router *router, uint32_t count);
/// The latest one about a call. False: it is not known, or not any more.
bool router_why(const struct router *router, struct call_id id, struct why *why);
/// Up to `count` of the latest ones, newest first. Returns how many.
size_t router_why_last(const struct router *router, struct why *whys, size_t count);
