// Which workers are ejected, on probation or trusted: see standings.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../../host/core/router.h"

struct app;
struct seat;
struct world;

struct trust {  // it is that of the place
  enum worker_standing standing;
  uint32_t faults, good, ejections;
  int64_t until, trusted_at;
  uint64_t answered_step;
};

/// Draws what the world is like, after all else.
void standing_draw(struct world *world);
/// The worker did what no call can be to blame for / has answered with RESULT or ERROR.
void standing_fault(struct world *world, struct seat *seat);
void standing_answered(struct world *world, struct seat *seat, const struct message *message);
/// The time of its ejection may be over.
void standing_ticks(struct world *world, struct seat *seat);
/// Holds what the router says of all workers against what is known.
void standing_compare(struct world *world);
/// None stays ejected that a call needs because all others run calls that wait.
void standing_step(struct world *world, const struct app *app);
/// Whether it may be given a call as far as its standing goes.
bool standing_serves(const struct world *world, const struct seat *seat);
