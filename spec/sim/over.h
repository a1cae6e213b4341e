// Deployments that nobody needs any more, in a router that goes on: see over.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct app;
struct world;

/// Which deployments of a world end before it does, and when.
void over_draw(struct world *world);
/// Before a step: ends those whose time has come.
void over_looks(struct world *world, int64_t age);
/// Whether the router, or this deployment, takes no calls and starts no process any more.
bool over_or_drained(const struct world *world, const struct app *app);
/// Whether no process is left of a deployment that is over.
bool over_is_gone(const struct world *world, const struct app *app);
