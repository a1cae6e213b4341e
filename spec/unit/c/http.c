// Checks of host/io/http.c and http_request.c, over socket pairs and loopback.
#define _GNU_SOURCE
#include "../../../host/io/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../host/core/limits.h"
#include "../../../host/io/http_request.h"
#include "../../../host/io/loop.h"
#include "../../../host/io/wait.h"
#include "check.h"

struct site {
  struct loop *loop;
  struct http *http;
  int64_t ahead;  // of the clock
  size_t size;    // of the page
  bool sick;
  uint32_t turns;
};

static void on_metrics(void *owner, struct buffer *out) {
  struct site *site = owner;
  buffer_append(out, "a_total 1\n", 10);
  for (size_t i = 10; i < site->size; i++) buffer_append(out, "x", 1);
}

static bool on_healthy(void *owner, const char **text) {
  struct site *site = owner;
  *text = site->sick ? "draining" : "ready";
  return !site->sick;
}

static int64_t on_turn(void *owner, int64_t now) {
  struct site *site = owner;
  site->turns++;
  http_turn(site->http, now + site->ahead);
  return now + NANOSECONDS_PER_MILLISECOND;
}

static void on_poll(void *owner) {
  (void)owner;
}

static void site_open(struct site *site) {
  *site = (struct site){0};
  struct loop_events events = {on_turn, on_poll, NULL, site};
  struct http_pages pages = {on_metrics, on_healthy, site};
  EXPECT_EQUAL(0, loop_open(&site->loop, &events));
  site->http = http_open(site->loop, &pages);
  loop_acquire(site->loop);
}

static void site_close(struct site *site) {
  struct loop *loop = site->loop;
  http_close(site->http);
  loop_release(loop);
  loop_close(loop);
}

static int visit(struct site *site) {
  int pair[2];
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  http_accept(site->http, pair[0]);
  return pair[1];
}

static void say(struct site *site, int fd, const char *text) {
  for (size_t at = 0, size = strlen(text); at < size;) {
    ssize_t count = send(fd, text + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) at += (size_t)count;
    if (count < 0 && errno == EPIPE) return;
    loop_wait(site->loop, wait_now());
  }
}

// All that comes until the end; closes.
static char *hear(struct site *site, int fd) {
  size_t size = 0, capacity = 1 << 16;
  char *text = calloc(1, capacity);
  int64_t until = wait_now() + 20 * NANOSECONDS_PER_SECOND;
  for (;;) {
    EXPECT(wait_now() < until);
    ssize_t count = recv(fd, text + size, capacity - size - 1, MSG_DONTWAIT);
    if (!count) break;
    if (count > 0) size += (size_t)count;
    if (count < 0) EXPECT(errno == EAGAIN);
    if (count < 0) loop_wait(site->loop, wait_now() + NANOSECONDS_PER_MILLISECOND);
    if (size + 1 < capacity) continue;
    text = realloc(text, capacity *= 2);
  }
  text[size] = 0;
  close(fd);
  return text;
}

static void expect_status(struct site *site, const char *request, const char *status,
                          const char *part) {
  int fd = visit(site);
  say(site, fd, request);
  char *text = hear(site, fd), start[80];
  snprintf(start, sizeof start, "HTTP/1.1 %s\r\n", status);
  if (strncmp(text, start, strlen(start)) != 0 || !strstr(text, part))
    printf("%.60s -> %.400s\n", request, text);
  EXPECT(!strncmp(text, start, strlen(start)));
  EXPECT(strstr(text, part));
  free(text);
}

static void pages(void) {
  struct site site;
  site_open(&site);
  expect_status(&site, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "200 OK",
                "\r\n\r\na_total 1\n");
  expect_status(&site, "GET /metrics HTTP/1.0\r\n\r\n", "200 OK",
                "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
  expect_status(&site, "GET /metrics HTTP/1.0\r\n\r\n", "200 OK", "Content-Length: 10\r\n");
  expect_status(&site, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n", "200 OK",
                "\r\n\r\nready\n");
  site.sick = true;
  expect_status(&site, "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "503 Service Unavailable",
                "\r\n\r\ndraining\n");
  site_close(&site);
}

static void refusals(void) {
  struct site site;
  site_open(&site);
  expect_status(&site, "GET / HTTP/1.1\r\n\r\n", "404 Not Found", "/metrics and /healthz");
  expect_status(&site, "GET /metrics2 HTTP/1.1\r\n\r\n", "404 Not Found", "");
  expect_status(&site, "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
                "405 Method Not Allowed", "Allow: GET\r\n");
  expect_status(&site, "DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "only GET");
  expect_status(&site, "GET /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "400 Bad Request", "");
  expect_status(&site, "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "400 Bad Request", "");
  expect_status(&site, "GET\r\n\r\n", "400 Bad Request", "no HTTP request");
  expect_status(&site, "FARSIDE\n\x01\x01\x01\x01", "400 Bad Request", "");
  site_close(&site);
}

// A page of another site, shown by a browser here, that has its own name point to this machine.
static void hosts(void) {
  struct site site;
  site_open(&site);
  static const char *const kForeign[] = {"evil.example", "127.evil.example", "localhost.example",
                                         "10.0.0.1", "[::2]"};
  char request[120];
  for (size_t i = 0; i < sizeof kForeign / sizeof *kForeign; i++) {
    snprintf(request, sizeof request, "GET /metrics HTTP/1.1\r\nX: y\r\nHost: %s\r\n\r\n",
             kForeign[i]);
    expect_status(&site, request, "421 Misdirected Request", "loopback");
  }
  expect_status(&site, "GET /metrics HTTP/1.1\r\nhOST: LocalHost:1\r\nHostess: evil\r\n\r\n",
                "200 OK", "a_total");
  expect_status(&site, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
                "421 Misdirected Request", "");
  site_close(&site);
}

static char *long_request(size_t size) {
  char *request = calloc(1, size + 1);
  memset(request, 'a', size);
  memcpy(request, "GET /metrics HTTP/1.1\r\nX: ", 26);
  return request;
}

static void too_long(void) {
  struct site site;
  site_open(&site);
  char *request = long_request(HTTP_REQUEST_SIZE + 100000);
  expect_status(&site, request, "431 Request Header Fields Too Large", "8 KiB");
  free(request);
  request = long_request(HTTP_REQUEST_SIZE - 1);
  memcpy(request + HTTP_REQUEST_SIZE - 5, "\r\n\r\n", 4);
  expect_status(&site, request, "200 OK", "a_total");
  free(request);
  site_close(&site);
}

static void byte_by_byte(void) {
  struct site site;
  site_open(&site);
  int fd = visit(&site);
  const char *request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (size_t i = 0; request[i]; i++) say(&site, fd, (char[]){request[i], 0});
  char *text = hear(&site, fd);
  EXPECT(strstr(text, "a_total"));
  free(text);
  site_close(&site);
}

static void large(void) {
  struct site site;
  site_open(&site);
  site.size = 5000000;
  int fd = visit(&site);
  say(&site, fd, "GET /metrics HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 10; i++) loop_wait(site.loop, wait_now());  // the socket is full
  char *text = hear(&site, fd), *page = strstr(text, "\r\n\r\n");
  EXPECT(page && strlen(page + 4) == site.size);
  free(text);
  site_close(&site);
}

static void slow(void) {
  struct site site;
  site_open(&site);
  int fd = visit(&site);
  say(&site, fd, "GET /met");
  EXPECT_EQUAL(1, http_count(site.http));
  site.ahead = 5 * NANOSECONDS_PER_SECOND + 1;
  loop_wait(site.loop, wait_now());
  site.ahead = 0;
  char *text = hear(&site, fd);
  EXPECT(strstr(text, "408 Request Timeout"));
  free(text);
  // One that takes no answer.
  site.size = 5000000;
  fd = visit(&site);
  say(&site, fd, "GET /metrics HTTP/1.1\r\n\r\n");
  for (int i = 0; i < 10; i++) loop_wait(site.loop, wait_now());
  EXPECT_EQUAL(1, http_count(site.http));
  site.ahead = 6 * NANOSECONDS_PER_SECOND;
  loop_wait(site.loop, wait_now());
  EXPECT_EQUAL(0, http_count(site.http));
  close(fd);
  site_close(&site);
}

static void crowd(void) {
  struct site site;
  int fds[64];
  site_open(&site);
  for (size_t i = 0; i < 64; i++) fds[i] = visit(&site);
  int fd = visit(&site);
  char *text = hear(&site, fd);
  EXPECT(strstr(text, "503 Service Unavailable") && strstr(text, "too many"));
  free(text);
  close(fds[0]);
  while (http_count(site.http) > 63) loop_wait(site.loop, wait_now());
  expect_status(&site, "GET /metrics HTTP/1.1\r\n\r\n", "200 OK", "a_total");
  for (size_t i = 1; i < 64; i++) close(fds[i]);
  site_close(&site);
}

static void loopback(void) {
  struct site site;
  uint16_t port = 0, second = 0;
  char why[300];
  site_open(&site);
  EXPECT_EQUAL(0, http_listen(site.http, "127.0.0.1:0", &port, why, sizeof why));
  EXPECT(port);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT(!connect(fd, (struct sockaddr *)&address, sizeof address));
  say(&site, fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  char *text = hear(&site, fd), again[40];
  EXPECT(strstr(text, "a_total"));
  free(text);
  snprintf(again, sizeof again, "localhost:%u", port);
  EXPECT_EQUAL(-EADDRINUSE, http_listen(site.http, again, &second, why, sizeof why));
  EXPECT(strstr(why, again));
  site_close(&site);
}

static int knock(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EXPECT(fd >= 0);
  EXPECT(!connect(fd, (struct sockaddr *)&address, sizeof address) || errno == EINPROGRESS);
  return fd;
}

static void go_on(struct site *site, int64_t milliseconds) {
  int64_t until = wait_now() + milliseconds * NANOSECONDS_PER_MILLISECOND;
  while (wait_now() < until) loop_wait(site->loop, until);
}

// Anybody of this machine may connect there, other users too.
static void rush(void) {
  struct site site;
  uint16_t port;
  char why[300];
  int fds[200];
  site_open(&site);
  EXPECT_EQUAL(0, http_listen(site.http, "127.0.0.1:0", &port, why, sizeof why));
  for (size_t i = 0; i < 200; i++) {
    fds[i] = knock(port);
    loop_wait(site.loop, wait_now());
    EXPECT(http_count(site.http) <= 80);
  }
  for (size_t i = 0; i < 200; i++) close(fds[i]);
  while (http_count(site.http)) go_on(&site, 1);
  int fd = knock(port);
  say(&site, fd, "GET /metrics HTTP/1.1\r\n\r\n");
  char *text = hear(&site, fd);
  EXPECT(strstr(text, "a_total"));
  free(text);
  site_close(&site);
}

static void no_descriptors(void) {
  struct site site;
  uint16_t port;
  char why[300];
  struct rlimit before, limit;
  site_open(&site);
  EXPECT_EQUAL(0, http_listen(site.http, "127.0.0.1:0", &port, why, sizeof why));
  int fd = knock(port);
  EXPECT(!getrlimit(RLIMIT_NOFILE, &before));
  limit = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max};
  EXPECT(!setrlimit(RLIMIT_NOFILE, &limit));
  site.turns = 0;
  int64_t begun = wait_now();
  go_on(&site, 300);
  // One turn a millisecond is this check's own wish.
  EXPECT(site.turns <= 4 * (wait_now() - begun) / NANOSECONDS_PER_MILLISECOND);
  EXPECT_EQUAL(0, http_count(site.http));
  EXPECT(!setrlimit(RLIMIT_NOFILE, &before));
  say(&site, fd, "GET /metrics HTTP/1.1\r\n\r\n");
  char *text = hear(&site, fd);
  EXPECT(strstr(text, "a_total"));
  free(text);
  site_close(&site);
}

static void other_addresses(void) {
  static const char *const kOthers[] = {
      "0.0.0.0:9464",    "10.0.0.1:9464", "[::]:9464",   "9464",
      "127.0.0.1",       "127.0.0.1:",    ":9464",       "example:80",
      "127.0.0.1:65536", "127.0.0.1:x",   "128.0.0.1:1", "*:1"};
  struct site site;
  uint16_t port;
  char why[300];
  site_open(&site);
  for (size_t i = 0; i < sizeof kOthers / sizeof *kOthers; i++) {
    EXPECT_EQUAL(-EINVAL, http_listen(site.http, kOthers[i], &port, why, sizeof why));
    EXPECT(strstr(why, "expected a loopback address") && strstr(why, kOthers[i]));
  }
  site_close(&site);
}

static const struct check checks[] = {
    {"answers /metrics and /healthz", pages},
    {"refuses everything else with a status that says why", refusals},
    {"refuses what was meant for another host", hosts},
    {"refuses more than 8 KiB", too_long},
    {"takes a request in any pieces", byte_by_byte},
    {"writes a page that the socket does not take at once", large},
    {"waits 5 s for a request and 5 s for its answer to be read", slow},
    {"has 64 connections and refuses further ones at once", crowd},
    {"listens on loopback", loopback},
    {"takes few descriptors of a rush at loopback", rush},
    {"rests while it has no descriptor for who comes", no_descriptors},
    {"listens nowhere else", other_addresses},
};

CHECK_MAIN(checks)
