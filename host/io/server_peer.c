// A peer is freed at once where its own transport tells of it, and in the turn after that where the
// hub does, which may be in the midst of a message of that very peer.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/error.h"
#include "../core/files.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "log.h"
#include "server_state.h"
#include "transport.h"
#include "wait.h"

enum { DIRECT = 4 };  // with more peers to look at, the loop's epoll is cheaper

void peers_add(struct peers *peers, struct peer *peer) {
  if (peers->count == peers->capacity) {
    peers->capacity = peers->capacity ? 2 * peers->capacity : 64;
    peers->items = xrealloc(peers->items, peers->capacity * sizeof *peers->items);
  }
  peers->items[peers->count++] = peer;
}

static void peers_remove(struct peers *peers, const struct peer *peer) {
  for (size_t i = 0; i < peers->count; i++) {
    if (peers->items[i] != peer) continue;
    peers->items[i] = peers->items[--peers->count];
    return;
  }
}

static void mark(struct peer *peer) {
  if (peer->dirty) return;
  peer->dirty = true;
  peers_add(&peer->server->dirty, peer);
  loop_stir(peer->server->loop);
}

static void watch(struct peer *peer) {
  if (peer->watched) return;
  peer->watched = true;
  peers_add(&peer->server->watched, peer);
}

// ---- the end of one ----

static void say(const struct peer *peer, const char *text) {
  char line[300];
  snprintf(line, sizeof line, "%s of process %llu: %s",
           peer->gate.state == GATE_OPERATOR ? "operator" : "client", (unsigned long long)peer->pid,
           text);
  log_line(peer->deployment ? peer->deployment->name : peer->socket->name, line);
}

static void unlink_peer(struct peer *peer) {
  struct server *server = peer->server;
  *(peer->previous ? &peer->previous->next : &server->first) = peer->next;
  if (peer->next) peer->next->previous = peer->previous;
  if (peer->dirty) peers_remove(&server->dirty, peer);
  if (peer->watched) peers_remove(&server->watched, peer);
  server->peer_count--;
}

static void end_peer(struct peer *peer, int64_t now) {
  struct server *server = peer->server;
  unlink_peer(peer);
  transport_close(peer->transport);
  if (!peer->deployment) {
    server->handshakes--;
  } else if (peer->gate.state == GATE_OPERATOR) {
    server->operators--;
  } else {
    peer->deployment->clients--;
    peer->deployment->left_at = now;
    hub_client_gone(server->hub, peer->client, now);
    loop_stir(server->loop);
  }
  free(peer);
}

// ---- what goes ----

void server_send(struct peer *peer, struct message *message, int64_t now) {
  if (peer->doom) {
    payload_unref(message->body);
    return;
  }
  size_t before = transport_queued(peer->transport);
  transport_send(peer->transport, message);
  gate_sent(&peer->gate, transport_queued(peer->transport) - before, now);
  mark(peer);
}

static bool on_hub_message(void *owner, struct message *message, int64_t now) {
  server_send(owner, message, now);
  return true;
}

static void on_hub_close(void *owner) {
  struct peer *peer = owner;
  peer->doom = "the router has closed the connection";
  mark(peer);
}

// An error of the connection itself; takes over the body.
static void send_error(struct peer *peer, struct payload *body, int64_t now) {
  struct message message = {
      .type = MESSAGE_ERROR, .attempt = 1, .epoch = hub_epoch(peer->server->hub), .body = body};
  server_send(peer, &message, now);
}

// The last thing a peer hears; it is tried once to write it. The peer is gone when this returns.
static void refuse(struct peer *peer, struct payload *body, int64_t now) {
  peer->server->refused++;
  send_error(peer, body, now);
  transport_flush(peer->transport);
  end_peer(peer, now);
}

// Who was not let in is told why, however large that is. It may be gone when this returns.
static void turn_away(struct peer *peer, struct payload *body, int64_t now) {
  peer->server->refused++;
  gate_turn_away(&peer->gate);
  send_error(peer, body, now);
  transport_flush(peer->transport);
  if (!transport_queued(peer->transport)) end_peer(peer, now);
}

static struct payload *bad_frame(const char *why) {
  struct error_writer writer;
  error_begin(&writer, ERROR_BAD_FRAME, EXECUTED_NO, false, "router");
  error_message(&writer, "%s", why);
  error_string(&writer, "reason", "type");
  return error_end(&writer);
}

static struct payload *overloaded(const char *scope, uint32_t limit) {
  struct error_writer writer;
  error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, true, "router");
  if (limit)
    error_message(&writer, "the router lets in no further connection, it has %u", limit);
  else
    error_message(&writer,
                  "the router has no descriptors left for a further connection; a higher "
                  "limit (ulimit -n) may help");
  error_string(&writer, "scope", scope);
  if (limit) error_number(&writer, "limit", limit);
  error_number(&writer, "retry_after", 1000);
  return error_end(&writer);
}

static struct payload *pressed(const struct server *server) {
  struct error_writer writer;
  error_begin(&writer, ERROR_OVERLOADED, EXECUTED_NO, true, "router");
  error_message(&writer,
                "the router lets in no further client: it holds %.3g MiB of arguments and results, "
                "and may hold %.3g MiB (--memory)",
                (double)server_held(server) / (1 << 20), (double)server->budget / (1 << 20));
  error_string(&writer, "scope", "memory");
  error_number(&writer, "limit", (double)server->budget);
  error_number(&writer, "retry_after", 1000);
  return error_end(&writer);
}

// ---- the handshake ----

// Preface and HELLO fit into the buffer of a fresh socket. What is not written the peer misses.
static void say_hello(int fd) {
  struct buffer body = BUFFER_EMPTY, bytes = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 2);
  pack_text(&body, "version");
  pack_text(&body, FARSIDE_VERSION);
  pack_text(&body, "pid");
  pack_uint(&body, (uint64_t)getpid());
  struct message hello = {.type = MESSAGE_HELLO, .role = ROLE_ROUTER, .limit = LIMIT_FRAME};
  hello.body = payload_copy(body.bytes, body.size);
  if (!hello.body) abort();
  frame_preface(&bytes);
  frame_append(&bytes, &hello);
  payload_unref(hello.body);
  buffer_free(&body);
  if (!bytes.failed) send(fd, bytes.bytes, bytes.size, MSG_NOSIGNAL | MSG_DONTWAIT);
  buffer_free(&bytes);
}

static struct payload *no_such_deployment(const struct server *server, const struct hello *hello) {
  struct error_writer writer;
  const char *names[server->deployment_count];
  for (uint32_t i = 0; i < server->deployment_count; i++) names[i] = server->deployments[i]->name;
  size_t nearest = gate_nearest(hello->name, names, server->deployment_count);
  bool found = nearest < server->deployment_count;
  error_begin(&writer, ERROR_NO_SUCH_DEPLOYMENT, EXECUTED_NO, false, "router");
  error_message(&writer,
                "this router (process %d) serves no deployment '%s' with the tag '%s'%s%s%s%s%s",
                (int)getpid(), hello->name, hello->tag, found ? "; did you mean '" : "",
                found ? names[nearest] : "", found ? "' with the tag '" : "",
                found ? server->deployments[nearest]->tag : "", found ? "'?" : "");
  error_string(&writer, "deployment", hello->name);
  if (found) error_string(&writer, "nearest", names[nearest]);
  return error_end(&writer);
}

static struct payload *deployment_changed(const struct served *served, const struct hello *hello) {
  struct error_writer writer;
  error_begin(&writer, ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO, false, "router");
  error_string(&writer, "deployment", served->name);
  error_string(&writer, "yours", hello->hash);
  error_string(&writer, "mine", served->hash);
  error_message(&writer,
                "the router at unix:%s (process %d) serves '%s' " FILES_OTHER
                "; end it (farside stop %s) and serve these, deploy under another tag, or set "
                "FARSIDE_ROUTER=embedded",
                served->path, (int)getpid(), served->name, served->name);
  return files_end(&writer, served->files);
}

static void welcome(struct peer *peer, const struct hello *hello, struct served *served,
                    int64_t now) {
  peer->server->handshakes--;
  peer->deployment = served;
  gate_welcome(&peer->gate, hello->role);
  struct message message = {.type = MESSAGE_WELCOME,
                            .epoch = hub_epoch(peer->server->hub),
                            .body = payload_ref(served->welcome)};
  server_send(peer, &message, now);
  if (hello->role == ROLE_OPERATOR) {
    peer->server->operators++;
    return;
  }
  served->clients++;
  peer->client = hub_client(
      peer->server->hub,
      &(struct hub_client){.message = on_hub_message, .close = on_hub_close, .owner = peer}, now);
}

static void greet(struct peer *peer, const struct hello *hello, int64_t now) {
  struct served *served =
      *hello->name ? server_find(peer->server, hello->name, hello->tag) : peer->socket;
  peer->pid = hello->pid;
  if (hello->role == ROLE_CLIENT && peer->server->phase != SERVER_SERVES) {
    end_peer(peer, now);  // it came while this router was told to end: it tries the next one
  } else if (!served) {
    turn_away(peer, no_such_deployment(peer->server, hello), now);
  } else if (hello->role == ROLE_CLIENT && *hello->hash && strcmp(hello->hash, served->hash)) {
    turn_away(peer, deployment_changed(served, hello), now);
  } else if (hello->role == ROLE_CLIENT && peer->server->pressure >= PRESSURE_CONNECTIONS) {
    turn_away(peer, pressed(peer->server), now);
  } else {
    welcome(peer, hello, served, now);
  }
}

// ---- what comes ----

// It cancels too much: what follows in its socket stays there for a while.
static void hold(struct peer *peer) {
  transport_pause(peer->transport, true);
  mark(peer);
}

static void on_message(void *owner, struct message *message) {
  struct peer *peer = owner;
  struct server *server = peer->server;
  int64_t now = wait_now();
  struct hello hello;
  const char *why;
  if (peer->doom) {
    payload_unref(message->body);
    return;
  }
  switch (gate_message(&peer->gate, message, &hello, &why, now)) {
    case GATE_GREET:
      greet(peer, &hello, now);
      break;
    case GATE_PASS:
      if (gate_is_held(&peer->gate, now)) hold(peer);
      server_weigh(server);
      hub_message(server->hub, peer->client, peer->deployment->number, message, now);
      loop_stir(server->loop);
      return;
    case GATE_ANSWER:
      server_request(peer, message, now);
      return;
    case GATE_IGNORE:
      break;
    case GATE_REFUSE:
      say(peer, why);
      refuse(peer, bad_frame(why), now);
      break;
  }
  payload_unref(message->body);
}

static void on_closed(void *owner, int error, const char *why) {
  struct peer *peer = owner;
  // What is no frame, or of another version, is told to a person too; a peer that vanishes is not.
  if (error < 0 && error >= FRAME_MEMORY) say(peer, why);
  end_peer(peer, wait_now());
}

bool server_is_full(const struct server *server) {
  return server->peer_count > LIMIT_CONNECTIONS || server->handshakes > LIMIT_HANDSHAKES;
}

void server_accept(struct served *socket, int fd, bool is_last, int64_t since) {
  static const struct transport_events events = {on_message, on_closed};
  struct server *server = socket->server;
  int64_t now = wait_now();
  struct peer *peer = xcalloc(1, sizeof *peer);
  peer->server = server;
  peer->socket = socket;
  say_hello(fd);
  peer->transport =
      transport_new(loop_uv(server->loop), fd, FRAME_PREFACE, LIMIT_FRAME, &events, peer);
  if (!peer->transport) {
    free(peer);
    return;
  }
  transport_count_in(peer->transport, &server->carried);
  peer->next = server->first;
  if (peer->next) peer->next->previous = peer;
  server->first = peer;
  server->peer_count++;
  server->handshakes++;
  server->connections++;
  gate_open(&peer->gate, since);
  if (is_last || server_is_full(server)) {
    refuse(peer, overloaded("connections", is_last ? 0 : server->peer_count - 1), now);
    return;
  }
  watch(peer);
  // What its handle waits for is known to the kernel after one more run of the loop.
  loop_stir(server->loop);
}

// ---- turns ----

// Whether the peer is still there.
static bool check_flow(struct peer *peer, int64_t now) {
  size_t queued = transport_queued(peer->transport);
  switch (gate_flow(&peer->gate, queued, now)) {
    case GATE_CUT:
      peer->server->slow++;
      peer->doom = "cut, SlowReader: it does not read what it is sent";
      break;
    case GATE_PAUSE:
      transport_pause(peer->transport, true);
      break;
    case GATE_READ:
      transport_pause(peer->transport, false);
      break;
    case GATE_END:
      end_peer(peer, now);
      return false;
  }
  if (gate_late(&peer->gate, now)) peer->doom = "closed: the handshake was not done within 5 s";
  if (peer->doom) {
    say(peer, peer->doom);
    end_peer(peer, now);
    return false;
  }
  if (!queued && peer->dropped) server_tell_dropped(peer, now);
  if (peer->gate.due != INT64_MAX) watch(peer);
  return true;
}

static void flush_dirty(struct server *server, int64_t now) {
  // What is marked meanwhile is looked at in the next turn.
  for (size_t left = server->dirty.count; left && server->dirty.count; left--) {
    struct peer *peer = server->dirty.items[0];
    server->dirty.items[0] = server->dirty.items[--server->dirty.count];
    peer->dirty = false;
    transport_flush(peer->transport);
    check_flow(peer, now);
  }
}

static int64_t look_at_watched(struct server *server, int64_t now) {
  int64_t next = INT64_MAX;
  size_t i = 0;
  while (i < server->watched.count) {
    struct peer *peer = server->watched.items[i];
    transport_flush(peer->transport);
    if (!check_flow(peer, now)) continue;
    if (peer->gate.due == INT64_MAX) {
      peer->watched = false;
      server->watched.items[i] = server->watched.items[--server->watched.count];
      continue;
    }
    if (peer->gate.due < next) next = peer->gate.due;
    i++;
  }
  return next;
}

// What could be written was.
static void cut_largest(struct server *server, int64_t now) {
  struct peer *peer;
  server_weigh(server);
  while (server->pressure == PRESSURE_CUT && (peer = server_largest(server))) {
    server->slow++;
    say(peer,
        "cut, SlowReader: the router holds as much as it may, and most of it is for this one");
    end_peer(peer, now);
    server_weigh(server);
  }
}

int64_t server_peers_turn(struct server *server, int64_t now) {
  flush_dirty(server, now);
  int64_t next = look_at_watched(server, now);
  cut_largest(server, now);
  return next;
}

void server_peers_poll(struct server *server) {
  if (server->peer_count > DIRECT) {
    uv_run(loop_uv(server->loop), UV_RUN_NOWAIT);
    return;
  }
  struct peer *next;
  for (struct peer *peer = server->first; peer; peer = next) {
    next = peer->next;
    transport_receive(peer->transport);
  }
}

// ---- the end of all ----

void server_peers_drain(struct server *server, int64_t left, int64_t now) {
  for (struct peer *peer = server->first; peer; peer = peer->next)
    if (peer->gate.state == GATE_CLIENT)
      server_send(peer, &(struct message){.type = MESSAGE_DRAIN, .remaining = left}, now);
}

bool server_peers_flushed(const struct server *server) {
  for (const struct peer *peer = server->first; peer; peer = peer->next)
    if (transport_queued(peer->transport)) return false;
  return true;
}

void server_peers_close(struct server *server) {
  while (server->first) end_peer(server->first, wait_now());
  free(server->dirty.items);
  free(server->watched.items);
}
