// Calls that the router hands ahead: see ahead.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct action;
struct process;
struct record;
struct seat;
struct world;

/// A call has ended with this time in its function.
void ahead_ended(struct world *world, struct seat *seat, const struct record *record,
                 int64_t elapsed);
void ahead_sent(struct world *world, const struct seat *seat, const struct record *record);
/// What the call is to take there at least, nanoseconds; 0: it is not known to be short.
double ahead_work(const struct world *world, const struct seat *seat, const struct record *record);
/// Before `record` leaves the seat.
void ahead_leaves(struct world *world, struct seat *seat, const struct record *record);
/// Carries out ROUTER_RECALL.
void ahead_recalled(struct world *world, const struct action *action);
void ahead_withdrawn(struct world *world, const struct action *action);
/// Whether a process finds that its call was taken back.
bool ahead_taken(const struct process *process, uint64_t sequence);
/// After a step.
void ahead_step(struct world *world, uint32_t number);
