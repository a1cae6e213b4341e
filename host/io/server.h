// The served router: a hub in a process of its own, with a listener for each of its deployments and
// a connection for each client and operator.
//
//   clients, operators --unix sockets--> listener.c --> server_peer.c --> hub
//
// Whoever serves claims the deployments first, all of them, so that nothing is started where another
// process serves one already; then deploys them, which starts workers; then runs.
//
// A first SIGTERM or SIGINT drains: nobody is let in any more and clients are told so; calls that
// wait end in Draining, those that run go on for LIMIT_DRAIN at most; workers exit their contexts.
// A second one ends at once, killing what is left. Should this process vanish the workers end by
// themselves, as they do where a client has started them.
//
// An operator's REQUEST is [name, {options}]:
//
//   status                      of this process and all its deployments
//   describe  deployment, tag   the functions of a deployment and what else it was declared with
//   stop                        as a signal
//   why       call (32 hexadecimal digits)   what a call's place was decided by
//   metrics                     a text, as Prometheus reads it
//   logs      deployment, tag, worker (its number there), follow
//                               LOG with the lines that were kept, then the reply; with `follow`
//                               what comes from then on, less what the operator does not read in
//                               time, which is counted
//
// Without `deployment`: the one that the connection was opened for.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../core/router.h"
#include "address.h"

struct server;

/// Negative errno on failure.
int server_open(struct server **server);

/// Takes the socket of a deployment, which is at `path` (NULL: where address.h has it). Its number,
/// from 0 on. -EADDRINUSE: another process, `*holder`, has it; other negative errnos; a sentence is
/// in `why`.
int server_claim(struct server *server, const char *name, const char *tag, const char *path,
                 pid_t *holder, char *why, size_t size);
/// Where its socket is.
const char *server_path(const struct server *server, uint32_t number);

struct server_deployment {
  const struct router_deployment_options *router;
  const char *const *function_names;  // as many as there are functions; copied
  int64_t ttl;                        // without a client for so long it ends, 0: never
  const char *hash;                   // of its files, or ""; copied
  const struct payload *files;        // body [{[path] = digest}], or NULL; copied
  const struct payload *description;  // body [value], what `describe` answers, or NULL; copied
};

/// Starts its workers and lets clients in. In the order of the claims. -EINVAL, -ENOENT etc. with a
/// sentence in `why`.
int server_deploy(struct server *server, uint32_t number,
                  const struct server_deployment *deployment, char *why, size_t size);

/// Also answers GET /metrics and GET /healthz at a loopback address, as http_listen; each socket does
/// so anyway.
int server_listen_http(struct server *server, const char *address, uint16_t *port, char *why,
                       size_t size);

/// Writes the calls that end from now on into a file, see record.h. Negative errno.
int server_record(struct server *server, const char *path);

/// Bytes that it may hold, not 0; without it half of what the machine, or the control group, has. See
/// core/pressure.h.
void server_memory(struct server *server, uint64_t bytes);

/// Serves until it was told to end, on this thread, in which SIGTERM and SIGINT are to be blocked,
/// as they are in all others. 0: it has drained; a signal's number: it was the second one.
int server_run(struct server *server);

/// Ends what is left at once and frees all; sockets are removed, no process is left. NULL is allowed.
void server_close(struct server *server);
