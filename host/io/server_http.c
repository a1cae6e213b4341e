// Whom a connection to a socket is for: the first byte tells HTTP from a client or an operator. And
// what is answered over HTTP.
//
//   "G"  (GET)       http.c
//   else (FARSIDE)   server_peer.c, which greets only then
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/router_metrics.h"
#include "http.h"
#include "server_state.h"
#include "wait.h"

// One that has not said anything yet.
struct newcomer {
  uv_poll_t poll;
  struct served *socket;
  struct newcomer *previous, *next;
  int fd;
  int64_t since;
};

// ---- who it is ----

static void on_newcomer_closed(uv_handle_t *handle) {
  free(handle->data);
}

// The descriptor lives on.
static void forget(struct newcomer *newcomer) {
  struct server *server = newcomer->socket->server;
  *(newcomer->previous ? &newcomer->previous->next : &server->newcomers) = newcomer->next;
  if (newcomer->next) newcomer->next->previous = newcomer->previous;
  server->handshakes--;
  uv_close((uv_handle_t *)&newcomer->poll, on_newcomer_closed);
  loop_stir(server->loop);
}

// The first byte; 0: it has not come; negative: none will.
static int first_byte(int fd) {
  char byte;
  ssize_t count;
  do count = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (count < 0 && errno == EINTR);
  if (count > 0) return (unsigned char)byte ? (unsigned char)byte : 1;
  return count < 0 && errno == EAGAIN ? 0 : -1;
}

static void let_in(struct served *socket, int fd, int byte, int64_t since) {
  if (byte == 'G')
    http_accept(socket->server->http, fd);
  else
    server_accept(socket, fd, false, since);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  struct newcomer *newcomer = poll->data;
  struct served *socket = newcomer->socket;
  int fd = newcomer->fd, byte = status < 0 ? -1 : first_byte(fd);
  int64_t since = newcomer->since;
  (void)events;
  if (!byte) return;
  forget(newcomer);
  if (byte < 0)
    close(fd);
  else
    let_in(socket, fd, byte, since);
}

static void wait_for_word(struct served *socket, int fd, int64_t now) {
  struct server *server = socket->server;
  struct newcomer *newcomer = xcalloc(1, sizeof *newcomer);
  if (uv_poll_init(loop_uv(server->loop), &newcomer->poll, fd)) {
    close(fd);
    free(newcomer);
    return;
  }
  newcomer->poll.data = newcomer;
  newcomer->socket = socket;
  newcomer->fd = fd;
  newcomer->since = now;
  newcomer->next = server->newcomers;
  if (newcomer->next) newcomer->next->previous = newcomer;
  server->newcomers = newcomer;
  server->handshakes++;
  uv_poll_start(&newcomer->poll, UV_READABLE, on_readable);
  loop_stir(server->loop);
}

void server_meet(struct served *socket, int fd, bool is_last) {
  int64_t now = wait_now();
  int byte = first_byte(fd);
  if (is_last || server_is_full(socket->server))
    server_accept(socket, fd, is_last, now);
  else if (byte < 0)
    close(fd);
  else if (byte)
    let_in(socket, fd, byte, now);
  else
    wait_for_word(socket, fd, now);
}

static void dismiss(struct newcomer *newcomer) {
  int fd = newcomer->fd;
  forget(newcomer);
  close(fd);
}

// ---- pages ----

static void append(struct buffer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void append(struct buffer *out, const char *format, ...) {
  char text[600];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  buffer_append(out, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

static void append_count(struct buffer *out, const char *family, const char *help,
                         uint64_t number) {
  append(out, "# HELP %s %s\n# TYPE %s counter\n%s %" PRIu64 "\n", family, help, family, family,
         number);
}

// Names and tags hold nothing that has to be escaped.
static void append_clients(const struct server *server, struct buffer *out) {
  append(out, "# HELP farside_clients Clients that are connected.\n");
  append(out, "# TYPE farside_clients gauge\n");
  for (uint32_t i = 0; i < server->deployment_count; i++) {
    const struct served *served = server->deployments[i];
    append(out, "farside_clients{deployment=\"%s\",tag=\"%s\"} %" PRIu32 "\n", served->name,
           served->tag, served->clients);
  }
}

static void append_gauge(struct buffer *out, const char *family, const char *help,
                         uint64_t number) {
  append(out, "# HELP %s %s\n# TYPE %s gauge\n%s %" PRIu64 "\n", family, help, family, family,
         number);
}

static void append_memory(const struct server *server, struct buffer *out) {
  append_gauge(out, "farside_memory_bytes", "Arguments, results and items that the router holds.",
               server_held(server));
  append_gauge(out, "farside_memory_budget_bytes", "What it may hold.", server->budget);
  append_gauge(
      out, "farside_memory_step",
      "What it does without: 0 nothing, 1 further clients, 2 further calls as well, 3 also "
      "clients that do not read.",
      server->pressure);
}

void server_metrics(struct server *server, struct buffer *out) {
  router_metrics_text(hub_router(server->hub), FARSIDE_VERSION, out);
  append_clients(server, out);
  append_count(out, "farside_connections_total", "Clients and operators that have connected.",
               server->connections);
  append_count(out, "farside_connections_refused_total", "Of them: refused, and told why.",
               server->refused);
  append_count(out, "farside_slow_readers_total", "Of them: cut, as they did not read.",
               server->slow);
  append_memory(server, out);
}

static void on_metrics(void *owner, struct buffer *out) {
  server_metrics(owner, out);
}

static bool on_healthy(void *owner, const char **text) {
  const struct server *server = owner;
  bool serves = server->phase == SERVER_SERVES;
  *text = serves ? "serving" : "draining";
  return serves;
}

void server_http_open(struct server *server) {
  struct http_pages pages = {on_metrics, on_healthy, server};
  server->http = http_open(server->loop, &pages);
}

int server_listen_http(struct server *server, const char *address, uint16_t *port, char *why,
                       size_t size) {
  loop_acquire(server->loop);
  int error = http_listen(server->http, address, port, why, size);
  loop_release(server->loop);
  return error;
}

int64_t server_http_turn(struct server *server, int64_t now) {
  int64_t next = server->http ? http_turn(server->http, now) : INT64_MAX;
  for (struct newcomer *newcomer = server->newcomers, *following; newcomer; newcomer = following) {
    following = newcomer->next;
    int64_t until = newcomer->since + LIMIT_HANDSHAKE;
    if (now >= until)
      dismiss(newcomer);
    else if (until < next)
      next = until;
  }
  return next;
}

void server_http_close(struct server *server) {
  while (server->newcomers) dismiss(server->newcomers);
  http_close(server->http);
  server->http = NULL;  // the keeper may turn until the loop is closed
}
