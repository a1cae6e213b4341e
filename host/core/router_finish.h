// What comes while the router ends, see router_finish.c. Private to router*.c.
#pragma once

struct deployment;
struct message;
struct payload;
struct router;

/// The error of a call that comes while the router ends, or NULL.
struct payload *router_finish_refusal(const struct router *router,
                                      const struct deployment *deployment,
                                      const struct message *message);
