// A router that ends and loses nothing: see finish.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call_id;
struct record;
struct world;

/// Whether, and when, the router of a world finishes.
void finish_draw(struct world *world);
/// Before a step: it finishes if it is time to, and drains when it has.
void finish_looks(struct world *world, int64_t age);
/// Whether a call that arrives has to be refused for it.
bool finish_refuses(struct world *world, struct call_id parent);
/// A waiting call, or its run, was to be given back in this step.
bool finish_gives_back(const struct record *run);
/// After a step.
void finish_step(struct world *world);
