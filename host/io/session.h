// A client's session: the client core, and the routers it talks to. One stands in the same process,
// behind a hub, with local workers; the two are joined by function calls. Others serve deployments
// in processes of their own; there is a connection to one for each deployment that is served.
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

struct session;

/// Nothing is started until the first deployment. Negative errno on failure.
int session_open(struct session **session);

/// This process is a fork of the one that has opened it: nothing else of it may be called here, it
/// cannot be closed either.
bool session_is_forked(const struct session *session);

/// What a served router has to know of a deployment, beside what it declares.
struct session_bundle {
  const char *tag;
  const char *hash;       // of its files; NULL: no router that serves is looked for
  struct payload *files;  // [{[path] = their hash}], or NULL
};

/// Joins a deployment: where FARSIDE_ROUTER says ("embedded" or "unix:PATH"; there, or not at all);
/// without it at the router that serves it on this machine, or, if there is none, as session_deploy
/// does. Its number, or ROUTER_NONE with the body of an error in `*failure`, the caller's.
uint32_t session_join(struct session *session, const struct router_deployment_options *options,
                      const struct session_bundle *bundle, struct payload **failure);

/// Adds a deployment and starts its workers; the body of START is copied. ROUTER_NONE: refused;
/// -ENOENT etc. in *error with a sentence in `why` (the executable was not found).
uint32_t session_deploy(struct session *session, const struct router_deployment_options *options,
                        int *error, char *why, size_t why_size);

/// Begins a call and sends it off if it can go at once. The body's reference moves in. A
/// client_result.
int session_call(struct session *session, const struct call_options *options, struct payload *body,
                 uint64_t *call);
/// False: it has ended already.
bool session_cancel(struct session *session, uint64_t call);
/// Cancels all that have not ended. They have when this returns; those whose router is elsewhere
/// and does not answer within a second, with RouterLost.
void session_cancel_all(struct session *session);

enum session_wait { SESSION_DONE, SESSION_OTHER, SESSION_TIMEOUT, SESSION_INTERRUPTED };

/// Pumps until
///   DONE         `call` can be taken; with call 0 and no deployment: any, or there are news
///   OTHER        another call has ended, or news have come, since this was last returned, or the
///                deployment, if one is given (else ROUTER_NONE), is not starting any more
///   TIMEOUT      the instant `until` has passed
///   INTERRUPTED  a signal came
enum session_wait session_wait(struct session *session, uint64_t call, uint32_t deployment,
                               int64_t until);

bool session_take(struct session *session, uint64_t call, struct completion *completion);
bool session_next(struct session *session, struct completion *completion);
size_t session_done(struct session *session);

/// The next item of a call that streams, its tag, as client_item; credit goes back.
bool session_item(struct session *session, uint64_t call, struct payload **body, uint64_t *tag);
/// As client_news.
bool session_news(struct session *session, struct news *news);
/// How many calls have ended and were not taken, and of how many there are news.
void session_count(struct session *session, size_t *done, size_t *told);

/// Of a deployment that is served elsewhere only its state is known, and this client's calls.
bool session_status(struct session *session, uint32_t deployment, struct deployment_status *status);
/// The path of the socket of the router that serves a deployment; NULL: it is in this process.
/// Lives as long as the session.
const char *session_served_at(struct session *session, uint32_t deployment);
bool session_worker(struct session *session, uint32_t worker, struct worker_status *status,
                    pid_t *pid);
double session_score(struct session *session, uint32_t worker, uint32_t function);

/// For a program with its own loop: readable when session_turn has something to do, and while
/// calls that have ended, or news, were not taken. Negative errno on failure.
int session_fd(struct session *session);
void session_turn(struct session *session);

/// Called after calls have ended or news have come, without the baton (so that it may call
/// everything here but session_close), on the keeper's thread; NULL: none. Not once session_fd was
/// asked for.
void session_on_done(struct session *session, void (*done)(void *owner), void *owner);

/// Ends in order: calls are cancelled, workers drain and exit their contexts (10 s at most, a
/// second signal ends the wait), then all is freed. No process is left.
void session_close(struct session *session);
