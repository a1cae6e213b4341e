// The hub: the router core with what surrounds it in a process. It carries out what the router
// decides, brings it the messages of workers and clients and the time, and owns the local workers.
//
//   session (in the same process) --+                 +-- local.c: worker processes
//   server.c: clients' connections --+-- hub: router --+
//
// A hub hangs on a loop that somebody else owns and turns. Everything with the loop's baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../core/router.h"

struct hub;
struct loop;

/// What a client of the hub gets.
struct hub_client {
  /// A message of the router, as the client core reads it; takes over its body. Returns whether
  /// somebody who waits for the loop was told.
  bool (*message)(void *owner, struct message *message, int64_t now);
  /// The router wants the connection closed; from inside hub_act. NULL is allowed.
  void (*close)(void *owner);
  void *owner;
};

/// Turns with the hub, after it: returns the next instant it wants to be called at, INT64_MAX: none.
typedef int64_t (*hub_part)(void *owner, int64_t now);

/// Starts nothing yet. Negative errno on failure.
int hub_open(struct hub **hub, struct loop *loop);

/// Adds a deployment and starts its workers; the body of START is copied. ROUTER_NONE: refused;
/// -ENOENT etc. in *error with a sentence in `why` (the executable was not found).
uint32_t hub_deploy(struct hub *hub, const struct router_deployment_options *options, int *error,
                    char *why, size_t why_size);
/// NULL: there is none of that number.
const char *hub_deployment_name(const struct hub *hub, uint32_t deployment);

/// A client is there. Its number, for all below, until hub_client_gone: then its queued calls are
/// dropped and its running ones cancelled, and nothing more comes for it.
uint32_t hub_client(struct hub *hub, const struct hub_client *client, int64_t now);
void hub_client_gone(struct hub *hub, uint32_t client, int64_t now);
/// CALL, CANCEL or CREDIT of a client; takes over its body. What the router decides is carried out.
void hub_message(struct hub *hub, uint32_t client, uint32_t deployment, struct message *message,
                 int64_t now);

/// Carries out what the router has decided, after calls of router_* that are not in here.
void hub_act(struct hub *hub, int64_t now);
struct router *hub_router(struct hub *hub);
uint64_t hub_epoch(const struct hub *hub);

/// Tells `line` of what workers print, and of what the router says of a deployment (`worker` is then
/// ROUTER_NONE). It goes to stderr too.
typedef void (*hub_line)(void *owner, uint32_t deployment, uint32_t worker, const char *text,
                         size_t size);
void hub_on_line(struct hub *hub, hub_line line, void *owner);

/// Writes all calls that end from now on into a file, see record.h. Negative errno on failure.
int hub_record(struct hub *hub, const char *path);

/// Lets `part` turn with the hub; NULL: nobody, any more.
void hub_attach(struct hub *hub, hub_part part, void *owner);

/// To be called by the owner of the loop in its turn; returns the next instant it wants to be called
/// at.
int64_t hub_turn(struct hub *hub, int64_t now);
/// Tries the sockets on which answers are due.
void hub_poll(struct hub *hub);
/// Writes what was sent to workers since the last flush; _push: to those that had nothing to do.
void hub_flush(struct hub *hub);
void hub_push(struct hub *hub, int64_t now);
/// Tells the router what the shared pages say, so that errors can say whether a function was
/// entered.
void hub_report_entered(struct hub *hub);

/// A body in the status belongs to the caller, on whatever thread.
bool hub_status(struct hub *hub, uint32_t deployment, struct deployment_status *status);
bool hub_worker(struct hub *hub, uint32_t worker, struct worker_status *status, pid_t *pid);
/// What the provider says of the process of a worker, for a person. False: it has none.
bool hub_explain(struct hub *hub, uint32_t worker, char *text, size_t size);

/// No more calls are admitted, those that wait end in Draining; those that run go on, and so do the
/// calls that they make. hub_finished: none is left.
void hub_finish(struct hub *hub, int64_t now);
bool hub_finished(const struct hub *hub);
/// As router_deployment_end.
void hub_deployment_end(struct hub *hub, uint32_t deployment, int64_t now);

/// No more calls are admitted, workers are told to go. hub_drained: none is left.
void hub_drain(struct hub *hub, int64_t now);
bool hub_drained(const struct hub *hub);

/// Whether it has started anything that has to be drained.
bool hub_is_busy(const struct hub *hub);
/// Kills what is left and closes all handles; then the loop has to turn until they are gone, before
/// the hub is freed.
void hub_close(struct hub *hub);
void hub_free(struct hub *hub);
