#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/buffer.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "../core/scan.h"
#include "server_state.h"
#include "transport.h"
#include "wait.h"

enum {
  TAIL_SIZE = 64 * 1024,
  TAIL_STEP = 16 * 1024,       // what is forgotten at once at least
  FOLLOW_QUEUE = 1024 * 1024,  // bytes that an operator may leave unread
  NAME_SIZE = 160,
};

// ---- what is kept ----

static struct tail *tail_of(struct server *server, uint32_t worker) {
  if (worker >= server->tail_count) {
    server->tails = xrealloc(server->tails, (worker + 1) * sizeof *server->tails);
    while (server->tail_count <= worker) server->tails[server->tail_count++] = (struct tail){0};
  }
  return &server->tails[worker];
}

// Forgets whole lines from the front, so that `size` bytes have room.
static void make_room(struct tail *tail, size_t size) {
  if (tail->size + size <= TAIL_SIZE) return;
  size_t least = tail->size + size - TAIL_SIZE;
  if (least < TAIL_STEP) least = TAIL_STEP;
  if (least > tail->size) least = tail->size;
  const char *end = memchr(tail->text + least - 1, '\n', tail->size - least + 1);
  size_t gone = end ? (size_t)(end - tail->text) + 1 : tail->size;
  memmove(tail->text, tail->text + gone, tail->size - gone);
  tail->size -= gone;
}

static void keep(struct tail *tail, const char *text, size_t size) {
  if (!tail->text) tail->text = xrealloc(NULL, TAIL_SIZE);
  if (size >= TAIL_SIZE) size = TAIL_SIZE - 1;
  make_room(tail, size + 1);
  memcpy(tail->text + tail->size, text, size);
  tail->text[tail->size + size] = '\n';
  tail->size += size + 1;
}

void server_log_close(struct server *server) {
  for (uint32_t i = 0; i < server->tail_count; i++) free(server->tails[i].text);
  free(server->tails);
}

// ---- what is sent ----

// Where the numbers of a deployment's workers begin, and how many places it has.
static bool find_places(const struct served *served, uint32_t *first, uint32_t *count) {
  struct deployment_status status;
  if (!hub_status(served->server->hub, served->number, &status)) return false;
  payload_unref(status.failure);
  *first = status.first_worker;
  *count = status.places;
  return true;
}

// What is no UTF-8 travels as the same bytes.
static void pack_line(struct buffer *out, const char *text, size_t size) {
  if (scan_utf8((const unsigned char *)text, size) == size)
    pack_str(out, text, size);
  else
    pack_bin(out, text, size);
}

// `worker` counts from 0 in its deployment; ROUTER_NONE: the router says it.
static void send_line(struct peer *peer, const struct served *served, uint32_t worker,
                      const char *text, size_t size, int64_t now) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 3);
  pack_line(&body, text, size);
  if (worker == ROUTER_NONE)
    pack_nil(&body);
  else
    pack_uint(&body, worker);
  pack_text(&body, served->name);
  struct message message = {.type = MESSAGE_LOG,
                            .body = body.failed ? NULL : payload_copy(body.bytes, body.size)};
  buffer_free(&body);
  if (message.body) server_send(peer, &message, now);
}

static void follow(struct peer *peer, const struct served *served, uint32_t worker,
                   const char *text, size_t size) {
  if (!peer->follows || peer->deployment != served) return;
  if (peer->follow_worker != ROUTER_NONE && peer->follow_worker != worker) return;
  if (transport_queued(peer->transport) > FOLLOW_QUEUE) {
    peer->dropped++;
    return;
  }
  send_line(peer, served, worker, text, size, wait_now());
}

void server_line(void *owner, uint32_t deployment, uint32_t worker, const char *text, size_t size) {
  struct server *server = owner;
  struct served *served = server->deployments[deployment];
  keep(worker == ROUTER_NONE ? &served->tail : tail_of(server, worker), text, size);
  if (!server->operators) return;
  uint32_t first, count;
  if (!find_places(served, &first, &count)) return;
  for (struct peer *peer = server->first; peer; peer = peer->next)
    follow(peer, served, worker == ROUTER_NONE ? worker : worker - first, text, size);
}

void server_tell_dropped(struct peer *peer, int64_t now) {
  char text[64];
  int size = snprintf(text, sizeof text, "%llu lines dropped", (unsigned long long)peer->dropped);
  peer->dropped = 0;
  send_line(peer, peer->deployment, ROUTER_NONE, text, (size_t)size, now);
}

static void send_tail(struct peer *peer, const struct served *served, uint32_t worker,
                      const struct tail *tail, int64_t now) {
  const char *at = tail->text, *end = tail->text + tail->size;
  while (at < end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    send_line(peer, served, worker, at, (size_t)(newline - at), now);
    at = newline + 1;
  }
}

void server_send_tails(struct peer *peer, const struct served *served, uint32_t worker,
                       int64_t now) {
  struct server *server = peer->server;
  uint32_t first, count;
  if (!find_places(served, &first, &count)) return;
  for (uint32_t i = 0; i < count && first + i < server->tail_count; i++)
    if (worker == ROUTER_NONE || worker == i)
      send_tail(peer, served, i, &server->tails[first + i], now);
  if (worker == ROUTER_NONE) send_tail(peer, served, ROUTER_NONE, &served->tail, now);
}
