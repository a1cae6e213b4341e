// Deployments whose workers do not become ready: who waits is told why, and when the next try is.
#pragma once

#include <stdint.h>

#include "error.h"

struct deployment;
struct payload;
struct router;

/// When another process is started after one that failed; 0: it is starting; INT64_MAX: no place
/// waits for one, what failed before is past.
int64_t router_next_try(const struct router *router, const struct deployment *deployment);

/// DeploymentFailed, one reference for the caller.
struct payload *router_deployment_failed(const struct router *router,
                                         const struct deployment *deployment,
                                         enum executed executed, int64_t now);

/// Ends all waiting calls with it.
void router_fail_queue(struct router *router, struct deployment *deployment, int64_t now);
