// A router inside the client process: client core and router core side by side, joined by function
// calls, with local workers.
//
// Every function may be called from any thread and takes the loop's baton itself. Bodies that come
// out of here belong to the caller alone, whatever thread it is.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../core/client.h"
#include "../core/router.h"

struct embedded;

/// Nothing is started until the first deployment. Negative errno on failure.
int embedded_open(struct embedded **embedded);

/// Adds a deployment and starts its workers; the body of START is copied. ROUTER_NONE: refused;
/// -ENOENT etc. in *error with a sentence in `why` (the executable was not found).
uint32_t embedded_deploy(struct embedded *embedded, const struct router_deployment_options *options,
                         int *error, char *why, size_t why_size);

/// Begins a call and sends it off if it can go at once. The body's reference moves in. A
/// client_result.
int embedded_call(struct embedded *embedded, const struct call_options *options,
                  struct payload *body, uint64_t *call);
/// False: it has ended already.
bool embedded_cancel(struct embedded *embedded, uint64_t call);
/// Cancels all that have not ended. They have when this returns.
void embedded_cancel_all(struct embedded *embedded);

enum embedded_wait { EMBEDDED_DONE, EMBEDDED_OTHER, EMBEDDED_TIMEOUT, EMBEDDED_INTERRUPTED };

/// Pumps until
///   DONE         `call` can be taken; with call 0 and no deployment: any, or there are news
///   OTHER        another call has ended, or news have come, since this was last returned, or the
///                deployment, if one is given (else ROUTER_NONE), is not starting any more
///   TIMEOUT      the instant `until` has passed
///   INTERRUPTED  a signal came
enum embedded_wait embedded_wait(struct embedded *embedded, uint64_t call, uint32_t deployment,
                                 int64_t until);

bool embedded_take(struct embedded *embedded, uint64_t call, struct completion *completion);
bool embedded_next(struct embedded *embedded, struct completion *completion);
size_t embedded_done(struct embedded *embedded);

/// The next item of a call that streams, its tag, as client_item; credit goes back.
bool embedded_item(struct embedded *embedded, uint64_t call, struct payload **body, uint64_t *tag);
/// As client_news.
bool embedded_news(struct embedded *embedded, struct news *news);
/// How many calls have ended and were not taken, and of how many there are news.
void embedded_count(struct embedded *embedded, size_t *done, size_t *told);

bool embedded_status(struct embedded *embedded, uint32_t deployment,
                     struct deployment_status *status);
bool embedded_worker(struct embedded *embedded, uint32_t worker, struct worker_status *status,
                     pid_t *pid);
double embedded_score(struct embedded *embedded, uint32_t worker, uint32_t function);

/// For a program with its own loop: readable when embedded_turn has something to do, and while
/// calls that have ended, or news, were not taken. Negative errno on failure.
int embedded_fd(struct embedded *embedded);
void embedded_turn(struct embedded *embedded);

/// Called after calls have ended or news have come, without the baton (so that it may call everything
/// here but embedded_close), on the keeper's thread; NULL: none. Not once embedded_fd was asked for.
void embedded_on_done(struct embedded *embedded, void (*done)(void *owner), void *owner);

/// Ends in order: calls are cancelled, workers drain and exit their contexts (10 s at most, a
/// second signal ends the wait), then all is freed. No process is left.
void embedded_close(struct embedded *embedded);
