// What a router does without as its memory fills, so that it does not end for want of it, and with it
// everybody's calls.
//
//   80 % of its budget   no further clients are let in
//   90 %                 no further calls are taken: Overloaded, scope "memory"
//   95 %                 whoever has most in his write queue is cut (SlowReader), one after the other
//
// A step is left 5 points below its mark, so that it does not begin and end with every call. Pure.
#pragma once

#include <stdint.h>

enum pressure_step { PRESSURE_NONE, PRESSURE_CONNECTIONS, PRESSURE_CALLS, PRESSURE_CUT };

/// The step with `held` bytes of `budget`, which is not 0, after the step `before`.
enum pressure_step pressure_step(enum pressure_step before, uint64_t held, uint64_t budget);

/// How many bytes a write queue has to have, so that it is worth to be cut for them.
uint64_t pressure_worth(uint64_t budget);

/// What a router may hold of a machine, or a control group, that has `memory` bytes.
uint64_t pressure_budget(uint64_t memory);
