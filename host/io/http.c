#define _GNU_SOURCE
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "../core/buffer.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "http_request.h"
#include "listener.h"
#include "loop.h"
#include "wait.h"

static const int64_t kPatience = 5 * NANOSECONDS_PER_SECOND;
static const int64_t kLinger = NANOSECONDS_PER_SECOND;
// Nobody more is taken from a loopback port; they wait in its backlog.
static const int64_t kPause = 100 * NANOSECONDS_PER_MILLISECOND;

enum { CONNECTIONS = 64, REFUSALS = 16, BACKLOG = 16, TURN = 16, LISTENERS = 2 };

enum stage {
  READS,   // the request
  WRITES,  // the answer
  LINGERS  // until the peer ends it, so that what it still sends does not cut the answer
};

struct visitor {
  uv_poll_t poll;
  struct http *http;
  struct visitor *previous, *next;
  int fd;
  enum stage stage;
  int64_t until;
  struct http_request request;
  struct buffer answer;
  size_t written;
};

struct listening {
  uv_poll_t poll;
  struct http *http;
  int fd;
};

struct http {
  struct loop *loop;
  struct http_pages pages;
  struct visitor *first;
  struct listening *listening[LISTENERS];
  uint32_t count, listeners;
  int64_t paused_until;  // 0: the loopback ports are looked at
  bool closing;
  uint32_t handles;  // not closed yet
};

static void free_if_done(struct http *http) {
  if (http->closing && !http->handles) free(http);
}

// ---- the end of a connection ----

static void on_visitor_closed(uv_handle_t *handle) {
  struct visitor *visitor = handle->data;
  struct http *http = visitor->http;
  free(visitor);
  http->handles--;
  free_if_done(http);
}

static void end(struct visitor *visitor) {
  struct http *http = visitor->http;
  *(visitor->previous ? &visitor->previous->next : &http->first) = visitor->next;
  if (visitor->next) visitor->next->previous = visitor->previous;
  http->count--;
  uv_poll_stop(&visitor->poll);
  close(visitor->fd);
  http_request_close(&visitor->request);
  buffer_free(&visitor->answer);
  uv_close((uv_handle_t *)&visitor->poll, on_visitor_closed);
  loop_stir(http->loop);
}

// ---- answers ----

static void append(struct buffer *out, const char *text) {
  buffer_append(out, text, strlen(text));
}

static int fill_page(const struct http *http, const char *path, struct buffer *page,
                     const char **type) {
  const char *text = "";
  if (!strcmp(path, "/metrics")) {
    *type = "text/plain; version=0.0.4; charset=utf-8";
    http->pages.metrics(http->pages.owner, page);
    return 200;
  }
  if (strcmp(path, "/healthz") != 0) return 404;
  bool healthy = http->pages.healthy(http->pages.owner, &text);
  append(page, text);
  append(page, "\n");
  return healthy ? 200 : 503;
}

static void write_answer(const struct http *http, const char *path, int status,
                         struct buffer *answer) {
  struct buffer page = BUFFER_EMPTY;
  const char *type = "text/plain; charset=utf-8";
  char head[320];
  if (status == 200) status = fill_page(http, path, &page, &type);
  if (!page.size) {
    append(&page, http_request_why(status));
    append(&page, "\n");
  }
  snprintf(head, sizeof head,
           "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
           "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
           status, http_request_status(status), type, page.size,
           status == 405 ? "Allow: GET\r\n" : "");
  append(answer, head);
  buffer_append(answer, page.bytes, page.size);
  buffer_free(&page);
}

static void on_event(uv_poll_t *poll, int status, int events);

// What a libuv handle waits for is known to the kernel after one more run of the loop.
static void await(struct visitor *visitor, int events) {
  uv_poll_start(&visitor->poll, events, on_event);
  loop_stir(visitor->http->loop);
}

static void linger(struct visitor *visitor) {
  shutdown(visitor->fd, SHUT_WR);
  visitor->stage = LINGERS;
  visitor->until = wait_now() + kLinger;
  await(visitor, UV_READABLE);
}

// False: the connection has ended.
static bool write_on(struct visitor *visitor) {
  const struct buffer *answer = &visitor->answer;
  while (visitor->written < answer->size) {
    ssize_t count = send(visitor->fd, answer->bytes + visitor->written,
                         answer->size - visitor->written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      await(visitor, UV_WRITABLE);
      return true;
    }
    if (count < 0) {
      end(visitor);
      return false;
    }
    visitor->written += (size_t)count;
  }
  linger(visitor);
  return true;
}

static bool begin_answer(struct visitor *visitor, int status) {
  write_answer(visitor->http, visitor->request.path, status, &visitor->answer);
  visitor->stage = WRITES;
  visitor->until = wait_now() + kPatience;
  if (!visitor->answer.failed) return write_on(visitor);
  end(visitor);
  return false;
}

// ---- requests ----

// False: nothing more is there now, or the connection has ended.
static bool read_some(struct visitor *visitor) {
  char bytes[4096];
  ssize_t count = recv(visitor->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0 && errno == EINTR) return true;
  if (count < 0 && errno == EAGAIN) return false;
  if (count <= 0) {
    end(visitor);
    return false;
  }
  if (visitor->stage == LINGERS) return true;
  int status = http_request_feed(&visitor->request, bytes, (size_t)count);
  if (status) begin_answer(visitor, status);
  return !status;
}

static void on_event(uv_poll_t *poll, int status, int events) {
  struct visitor *visitor = poll->data;
  (void)events;
  if (status < 0)
    end(visitor);
  else if (visitor->stage == WRITES)
    write_on(visitor);
  else
    for (int i = 0; i < TURN && read_some(visitor);) i++;
}

void http_accept(struct http *http, int fd) {
  struct visitor *visitor = xcalloc(1, sizeof *visitor);
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  if (uv_poll_init(loop_uv(http->loop), &visitor->poll, fd)) {
    close(fd);
    free(visitor);
    return;
  }
  http->handles++;
  visitor->poll.data = visitor;
  visitor->http = http;
  visitor->fd = fd;
  visitor->until = wait_now() + kPatience;
  visitor->next = http->first;
  if (http->first) http->first->previous = visitor;
  http->first = visitor;
  http_request_open(&visitor->request);
  if (++http->count > CONNECTIONS)
    begin_answer(visitor, 503);
  else
    await(visitor, UV_READABLE);
}

uint32_t http_count(const struct http *http) {
  return http->count;
}

// ---- loopback ----

static void pause_listening(struct http *http) {
  for (uint32_t i = 0; i < http->listeners; i++) uv_poll_stop(&http->listening[i]->poll);
  http->paused_until = wait_now() + kPause;
  loop_stir(http->loop);
}

// Any user of this machine may connect, as often as he likes: that must not take the descriptors
// that clients and workers need.
static bool has_room(const struct http *http) {
  uint32_t most = (uint32_t)listener_descriptors() / 4;
  return http->count < (most < CONNECTIONS + REFUSALS ? most : CONNECTIONS + REFUSALS);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
  struct listening *listening = poll->data;
  (void)status, (void)events;
  for (int i = 0; i < TURN; i++) {
    if (!has_room(listening->http)) {
      pause_listening(listening->http);
      return;
    }
    int fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0 && errno != EAGAIN) pause_listening(listening->http);
    if (fd < 0) return;
    http_accept(listening->http, fd);
  }
}

static void listen_again(struct http *http) {
  http->paused_until = 0;
  for (uint32_t i = 0; i < http->listeners; i++)
    uv_poll_start(&http->listening[i]->poll, UV_READABLE, on_connection);
  loop_stir(http->loop);
}

static void on_listening_closed(uv_handle_t *handle) {
  struct listening *listening = handle->data;
  struct http *http = listening->http;
  free(listening);
  http->handles--;
  free_if_done(http);
}

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

// "HOST:PORT" with a loopback HOST. False: it is something else.
static bool read_address(const char *text, union address *address, socklen_t *size) {
  char host[64];
  const char *colon = strrchr(text, ':');
  char *rest;
  if (!colon || (size_t)(colon - text) >= sizeof host || colon[1] < '0' || colon[1] > '9')
    return false;
  unsigned long port = strtoul(colon + 1, &rest, 10);
  if (*rest || port > 65535) return false;
  snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
  memset(address, 0, sizeof *address);
  if (!strcmp(host, "[::1]")) {
    *size = sizeof address->v6;
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    address->v6.sin6_addr = in6addr_loopback;
    return true;
  }
  *size = sizeof address->v4;
  address->v4.sin_family = AF_INET;
  address->v4.sin_port = htons((uint16_t)port);
  const char *name = strcmp(host, "localhost") ? host : "127.0.0.1";
  if (inet_pton(AF_INET, name, &address->v4.sin_addr) != 1) return false;
  return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
}

static int listen_on(const union address *address, socklen_t size, uint16_t *port) {
  int one = 1;
  int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  union address taken = {0};
  socklen_t taken_size = sizeof taken;
  if (bind(fd, &address->any, size) || listen(fd, BACKLOG) ||
      getsockname(fd, &taken.any, &taken_size)) {
    int error = -errno;
    close(fd);
    return error;
  }
  *port = ntohs(taken.any.sa_family == AF_INET ? taken.v4.sin_port : taken.v6.sin6_port);
  return fd;
}

int http_listen(struct http *http, const char *text, uint16_t *port, char *why, size_t size) {
  union address address;
  socklen_t length;
  if (!read_address(text, &address, &length) || http->listeners == LISTENERS) {
    snprintf(why, size,
             "expected a loopback address with a port for HTTP, as in 127.0.0.1:9464, got '%s'; to "
             "reach it from elsewhere, forward the port, as with ssh -L 9464:127.0.0.1:9464",
             text);
    return -EINVAL;
  }
  int fd = listen_on(&address, length, port);
  if (fd < 0) {
    snprintf(why, size, "HTTP on %s: %s", text, strerror(-fd));
    return fd;
  }
  struct listening *listening = xcalloc(1, sizeof *listening);
  int error = uv_poll_init(loop_uv(http->loop), &listening->poll, fd);
  if (error) {
    snprintf(why, size, "HTTP on %s: %s", text, uv_strerror(error));
    close(fd);
    free(listening);
    return error;
  }
  listening->poll.data = listening;
  listening->http = http;
  listening->fd = fd;
  http->handles++;
  http->listening[http->listeners++] = listening;
  uv_poll_start(&listening->poll, UV_READABLE, on_connection);
  loop_stir(http->loop);
  return 0;
}

// ---- turns and life ----

int64_t http_turn(struct http *http, int64_t now) {
  if (http->paused_until && now >= http->paused_until && !http->closing) listen_again(http);
  int64_t next = http->paused_until ? http->paused_until : INT64_MAX;
  for (struct visitor *visitor = http->first, *following; visitor; visitor = following) {
    following = visitor->next;
    bool is_late = now >= visitor->until;
    if (is_late && visitor->stage == READS && !begin_answer(visitor, 408)) continue;
    if (is_late && now >= visitor->until)
      end(visitor);
    else if (visitor->until < next)
      next = visitor->until;
  }
  return next;
}

struct http *http_open(struct loop *loop, const struct http_pages *pages) {
  struct http *http = xcalloc(1, sizeof *http);
  http->loop = loop;
  http->pages = *pages;
  return http;
}

void http_close(struct http *http) {
  if (!http) return;
  http->closing = true;
  while (http->first) end(http->first);
  for (uint32_t i = 0; i < http->listeners; i++) {
    uv_poll_stop(&http->listening[i]->poll);
    close(http->listening[i]->fd);
    uv_close((uv_handle_t *)&http->listening[i]->poll, on_listening_closed);
  }
  free_if_done(http);
}
