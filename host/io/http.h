// Pages over HTTP for monitoring: GET /metrics and GET /healthz, one request a connection. Reachable
// by who may connect to the router's unix socket (a peer whose first bytes are "GET "), and on a
// loopback address where that was asked for.
//
// A request has HTTP_REQUEST_SIZE bytes and 5 s, its answer 5 s more; there are 64 connections at
// most, beyond which the answer is 503 at once; beyond 80, or a quarter of the descriptors that the
// router may have, who comes to a loopback address waits. With the loop's baton.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;
struct http;
struct loop;

struct http_pages {
  /// Appends what GET /metrics answers.
  void (*metrics)(void *owner, struct buffer *out);
  /// Whether the router takes calls; `*text` is one line that says so.
  bool (*healthy)(void *owner, const char **text);
  void *owner;
};

struct http *http_open(struct loop *loop, const struct http_pages *pages);

/// Also listens on "127.0.0.1:9464", "localhost:0", "[::1]:9464". Anything that is no loopback
/// address with a port is -EINVAL, with a sentence in `why`; so is what the system says, a negative
/// errno. `*port` is the one that was taken.
int http_listen(struct http *http, const char *address, uint16_t *port, char *why, size_t size);

/// Serves a connected socket, of which nothing was read; takes it over.
void http_accept(struct http *http, int fd);

/// To be called in each turn of the loop; returns the next instant it wants to be called at,
/// INT64_MAX: none.
int64_t http_turn(struct http *http, int64_t now);

/// How many connections there are.
uint32_t http_count(const struct http *http);

/// Closes all; memory goes when the loop has turned. NULL is allowed.
void http_close(struct http *http);
