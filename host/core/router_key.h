// Idempotency keys: calls of the same function with the same key and the same arguments are one run
// of it, whose outcome all of them get.
//
// A call with a key never stands in the queue or in a slot. It is attached to a run: a call of the
// router's own, which belongs to no client and lives as long as one is attached. Each attached call
// keeps its deadline, its time in the queue and its cancel, and counts as in flight for its client;
// priority, attempts and workload of the run are those of the first. Where clients vanish, the run
// goes on for the others.
//
//   client a  CALL "k"  ->  call (attached) --.
//   client b  CALL "k"  ->  call (attached) ---+-- key "k" of function 3 -- run (queue, slot)
//   client a  CALL "k"  ->  call (attached) --'
//
// What is kept. The function is entered at most once a key, unless it may be run again anyhow
// (`idempotent`, or more than one attempt). So once a run has ended, its outcome stands for
// LIMIT_RESULT_TTL and is given to whoever comes with the key: results, and also errors after which
// the function was or may have been entered, as payment services do. Calls run again after an error
// that proves `executed = "no"`; and, where a further run does no harm, after all errors but those
// that the function raised. The oldest outcomes go early when there are more than LIMIT_KEYS, or
// LIMIT_KEPT_BYTES, in a deployment.
//
// `executed` speaks of the run. One that leaves while others stay attached cannot be told "no", as
// the function may be entered for them.
//
// Progress of a run reaches nobody, and a stream with a key is refused.
//
// Same key, other arguments: DuplicateId. Arguments are compared by a keyed hash of their bytes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "message.h"

struct call;
struct deployment;
struct payload;
struct router;
struct timer;

/// Whether a CALL with a key would join a run, or get a kept outcome: it needs no room in the queue.
bool router_key_joins(const struct router *router, const struct deployment *deployment,
                      const struct message *message);

/// Takes a call that has been admitted, but for the queue, and has the key of `message`: it is
/// attached, answered or refused.
void router_key_admit(struct router *router, struct call *call, const struct message *message,
                      int64_t now);

/// Answers an attached call with an error and forgets it. The last one takes its run with it. Takes
/// over the body.
void router_key_leave(struct router *router, struct call *call, struct payload *error, int64_t now);

/// A run has ended: all attached calls get its outcome. Takes over the body.
void router_key_outcome(struct router *router, struct call *run, enum message_type type,
                        int64_t elapsed, struct payload *body);

/// What stands in the queue or a slot for `call`: the run of an attached one, otherwise itself.
const struct call *router_key_run(const struct call *call);
/// Whether other calls than the attached `call` wait for its run.
bool router_key_is_shared(const struct call *call);
/// `call` is a run.
bool router_key_is_run(const struct call *call);
/// The first call that is attached to a run; the others follow with `next`.
const struct call *router_key_first(const struct call *run);

/// A run waits for a worker again, and so does what is attached to it.
void router_key_queued(struct router *router, struct call *run);
/// The first worker of a deployment is ready: default deadlines start.
void router_key_start_clocks(struct router *router, struct deployment *deployment, int64_t now);

/// Time for the oldest kept outcome of a deployment to go.
void router_key_expire(struct router *router, struct timer *timer, int64_t now);

/// Whether a CALL repeats `call`, whose id it has: the same function with the same arguments.
bool router_key_repeats(const struct router *router, const struct call *call,
                        const struct message *message);

/// Bytes of the outcomes that are kept.
size_t router_key_kept(const struct deployment *deployment);

void router_key_close(struct deployment *deployment);
