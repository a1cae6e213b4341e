// The worker's half of the protocol: which cancels wait for which call. Pure; the warden calls it
// under its lock.
//
// A call of a worker is not yet seen, running, suspended, or ended. Sequences grow, so those not
// seen are above the last one entered. A cancel for an ended call is dropped; the others are kept,
// at most WORKER_CANCELS of them (the router sends no more than it has slots: a peer that does is
// refused).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

enum { WORKER_CANCELS = 2048 };

struct worker;

struct worker *worker_new(void);
void worker_free(struct worker *worker);

/// A cancel came. False: too many are kept.
bool worker_cancel(struct worker *worker, uint64_t sequence, enum cancel_reason reason);
/// Takes the cancel of `sequence` if there is one.
bool worker_take(struct worker *worker, uint64_t sequence, enum cancel_reason *reason);
/// Takes the oldest cancel for which `match` holds.
bool worker_match(struct worker *worker, bool (*match)(void *owner, uint64_t sequence), void *owner,
                  uint64_t *sequence, enum cancel_reason *reason);
uint32_t worker_cancels(const struct worker *worker);
