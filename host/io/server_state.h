// What the files of the served router share. Private to server*.c.
//
//   server.c           life: deployments, turns, the end
//   server_http.c      whom a connection is for: HTTP or a peer; pages
//   server_peer.c      connections: the handshake, messages, those that do not read
//   server_operator.c  operators' requests
//   server_why.c       why a call went where it went
//   server_memory.c    what the router holds, and what it does without as that becomes much
//   server_log.c       the lines of workers, and of the router, that are kept and followed
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "../core/gate.h"
#include "../core/pressure.h"
#include "hub.h"
#include "listener.h"
#include "loop.h"
#include "server.h"

struct buffer;
struct transport;

// The last lines of a worker, or of what the router says of a deployment.
struct tail {
  char *text;  // TAIL_SIZE bytes, lines with their ends; NULL: there was none
  size_t size;
};

// A deployment that is served.
struct served {
  struct server *server;
  uint32_t number;  // here and in the hub
  char *name, *tag, *hash;
  char path[ADDRESS_SIZE];
  struct listener *listener;  // NULL: closed
  bool started;
  char **function_names;
  uint32_t function_count;
  struct payload *files, *description, *welcome;
  uint32_t clients;
  int64_t ttl, left_at;  // without a client for so long it ends, 0: never; since when it has none
  bool ended;
  bool failed;       // its workers do not become ready, and that was said
  struct tail tail;  // of what the router has said of it
};

// A connection.
struct peer {
  struct server *server;
  struct served *socket;      // where it came in
  struct served *deployment;  // that it is for; NULL before it was let in
  struct transport *transport;
  struct gate gate;
  uint64_t pid;     // as it says; 0: not known
  uint32_t client;  // its number in the hub, if it is a client
  struct peer *previous, *next;
  bool dirty;        // something was sent since the last turn, or it is to end
  bool watched;      // its `due` is to be looked at
  const char *doom;  // why it is to end, for the log; NULL: it is not

  bool follows;            // an operator that wants lines as they come
  uint32_t follow_worker;  // only of this one of its deployment; ROUTER_NONE: of all
  uint64_t dropped;        // lines that it did not take
};

struct peers {
  struct peer **items;
  size_t count, capacity;
};

enum server_phase { SERVER_SERVES, SERVER_FINISHES, SERVER_DRAINS, SERVER_FLUSHES, SERVER_ENDED };

struct server {
  struct loop *loop;
  struct hub *hub;
  struct served **deployments;
  uint32_t deployment_count;

  struct peer *first;  // all
  uint32_t peer_count, handshakes, operators;
  struct peers dirty, watched;
  struct newcomer *newcomers;  // not known yet what they are; among the handshakes
  struct http *http;
  uint64_t connections, refused, slow;  // since it started

  uint64_t budget, carried;  // bytes; carried: to and from all peers
  enum pressure_step pressure;

  struct tail *tails;  // by worker
  uint32_t tail_count;

  int signal_fd;
  uv_poll_t signals;
  int signal;  // the second one
  enum server_phase phase;
  int64_t started, phase_until;
};

/// Tells the server to drain, as the first signal does.
void server_finish(struct server *server, const char *why);
struct served *server_find(const struct server *server, const char *name, const char *tag);

// server_http.c
/// Somebody has connected; takes over the descriptor.
void server_meet(struct served *socket, int fd, bool is_last);
/// Appends the metrics as Prometheus reads them.
void server_metrics(struct server *server, struct buffer *out);
void server_http_open(struct server *server);
int64_t server_http_turn(struct server *server, int64_t now);
void server_http_close(struct server *server);

// server_peer.c
bool server_is_full(const struct server *server);
/// A client or an operator; `is_last`: it is to be refused. The handshake has begun at `since`.
void server_accept(struct served *socket, int fd, bool is_last, int64_t since);
/// Queues a message; takes over its body.
void server_send(struct peer *peer, struct message *message, int64_t now);
/// Writes what was queued, ends those that are to end. Returns the next instant it wants to be called
/// at.
int64_t server_peers_turn(struct server *server, int64_t now);
/// Reads, without waiting, what clients have sent.
void server_peers_poll(struct server *server);
/// Tells all clients that this router will end within `left` nanoseconds.
void server_peers_drain(struct server *server, int64_t left, int64_t now);
/// Whether all that was sent was written.
bool server_peers_flushed(const struct server *server);
void server_peers_close(struct server *server);
void peers_add(struct peers *peers, struct peer *peer);

// server_operator.c
/// Takes over the body.
void server_request(struct peer *peer, struct message *request, int64_t now);
/// [false, error]; takes over the error's body.
void server_fail(struct peer *peer, uint64_t sequence, struct payload *error, int64_t now);

// server_why.c
struct why;
void server_pack_why(const struct server *server, const struct why *why, int64_t now,
                     struct buffer *out);

// server_status.c
void server_pack_status(struct server *server, struct buffer *out);

// server_memory.c
void server_memory_open(struct server *server);
/// Bytes that the router holds.
uint64_t server_held(const struct server *server);
/// Takes the step that is due.
void server_weigh(struct server *server);
/// Who has most in his write queue; NULL: nobody has so much that it would be worth to cut him.
struct peer *server_largest(const struct server *server);

// server_log.c
/// A line of a worker, or of the router (ROUTER_NONE), is kept and goes to those who follow.
void server_line(void *owner, uint32_t deployment, uint32_t worker, const char *text, size_t size);
/// The lines that were kept of a deployment and what the router has said of it, or those of one of
/// its workers.
void server_send_tails(struct peer *peer, const struct served *served, uint32_t worker,
                       int64_t now);
/// Says how many lines an operator has missed, once it reads again.
void server_tell_dropped(struct peer *peer, int64_t now);
void server_log_close(struct server *server);
