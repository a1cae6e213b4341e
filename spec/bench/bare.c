// What the machine allows without Farside: the same bytes between the same number of processes, in
// plain C.
//
//   bare ping SECONDS OUT IN           one process asks with OUT bytes, another answers with IN
//                                      bytes, blocking, over a unix socket
//   bare epoll SECONDS WORKERS OUT IN  one process keeps one question in flight at each of WORKERS
//                                      processes, with epoll
//   bare bulk COUNT BYTES              echoes BYTES, COUNT times
//   bare items COUNT BYTES             one process sends COUNT messages of BYTES, 32 KiB a write,
//                                      another looks at each
//
// Prints one line: p50 us, p99 us, exchanges per second, bytes per second (counted once).
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORKERS = 64, MAX_SAMPLES = 1 << 22 };

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void write_all(int fd, const char *bytes, size_t size) {
  while (size) {
    ssize_t n = write(fd, bytes, size);
    if (n < 0) die("write");
    bytes += n;
    size -= (size_t)n;
  }
}

static int read_all(int fd, char *bytes, size_t size) {
  while (size) {
    ssize_t n = read(fd, bytes, size);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) return 0;  // the asker has ended
    if (n < 0) die("read");
    bytes += n;
    size -= (size_t)n;
  }
  return 1;
}

// A process that answers every `in` bytes with `out` bytes.
static int start_answerer(size_t in, size_t out) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) die("socketpair");
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid) {
    close(pair[1]);
    return pair[0];
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(pair[0]);
  char *bytes = calloc(1, in > out ? in : out);
  while (read_all(pair[1], bytes, in)) write_all(pair[1], bytes, out);
  _exit(0);
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void report(float *samples, size_t count, int64_t elapsed, size_t bytes) {
  qsort(samples, count, sizeof *samples, compare);
  double rate = (double)count / ((double)elapsed / 1e9);
  printf("%.2f %.2f %.0f %.0f\n", (double)samples[count / 2], (double)samples[count * 99 / 100],
         rate, rate * (double)bytes);
}

static void ping(double seconds, size_t out, size_t in) {
  int fd = start_answerer(out, in);
  char *bytes = calloc(1, out > in ? out : in);
  float *samples = malloc(MAX_SAMPLES * sizeof *samples);
  size_t count = 0;
  int64_t warm = now() + 100000000;
  while (now() < warm) {
    write_all(fd, bytes, out);
    read_all(fd, bytes, in);
  }
  int64_t start = now(), last = start, end = start + (int64_t)(seconds * 1e9);
  while (last < end && count < MAX_SAMPLES) {
    write_all(fd, bytes, out);
    read_all(fd, bytes, in);
    int64_t after = now();
    samples[count++] = (float)(after - last) / 1000;
    last = after;
  }
  report(samples, count, last - start, out);
}

static void many(double seconds, int workers, size_t out, size_t in) {
  int epoll = epoll_create1(EPOLL_CLOEXEC), fds[MAX_WORKERS];
  char *bytes = calloc(1, out > in ? out : in);
  int64_t sent[MAX_WORKERS];
  float *samples = malloc(MAX_SAMPLES * sizeof *samples);
  size_t count = 0;
  for (int i = 0; i < workers; i++) {
    fds[i] = start_answerer(out, in);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event)) die("epoll_ctl");
  }
  int64_t start = now(), end = start + (int64_t)(seconds * 1e9), last = start;
  for (int i = 0; i < workers; i++) {
    sent[i] = now();
    write_all(fds[i], bytes, out);
  }
  while (last < end && count + MAX_WORKERS < MAX_SAMPLES) {
    struct epoll_event events[MAX_WORKERS];
    int ready = epoll_wait(epoll, events, MAX_WORKERS, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int e = 0; e < ready; e++) {
      uint32_t i = events[e].data.u32;
      read_all(fds[i], bytes, in);
      last = now();
      samples[count++] = (float)(last - sent[i]) / 1000;
      sent[i] = last;
      write_all(fds[i], bytes, out);
    }
  }
  report(samples, count, last - start, out);
}

static void bulk(size_t count, size_t size) {
  int fd = start_answerer(size, size);
  char *bytes = calloc(1, size);
  memset(bytes, 1, size);
  float *samples = malloc(count * sizeof *samples);
  write_all(fd, bytes, size);
  read_all(fd, bytes, size);
  int64_t start = now(), last = start;
  for (size_t i = 0; i < count; i++) {
    write_all(fd, bytes, size);
    read_all(fd, bytes, size);
    int64_t after = now();
    samples[i] = (float)(after - last) / 1000;
    last = after;
  }
  report(samples, count, last - start, size);
}

// Nothing comes back, so there are no times of single messages.
static void items(size_t count, size_t size) {
  enum { BUFFER = 32 * 1024 };
  static char bytes[BUFFER];
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) die("socketpair");
  size_t batch = BUFFER / size, got = 0, sum = 0;
  int64_t start = now();
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (!pid) {
    for (size_t sent = 0; sent < count; sent += batch) {
      for (size_t i = 0; i < batch; i++) memset(bytes + i * size, (int)i, size);
      write_all(pair[1], bytes, batch * size);
    }
    _exit(0);
  }
  close(pair[1]);
  for (ssize_t n; (n = read(pair[0], bytes, BUFFER)) > 0; got += (size_t)n)
    for (size_t i = 0; i < (size_t)n; i += size) sum += (size_t)bytes[i];
  double seconds = (double)(now() - start) / 1e9;
  printf("0 %.0f %.0f %.0f\n", (double)(sum * 0), (double)(got / size) / seconds,
         (double)got / seconds);
}

int main(int count, char **arguments) {
  if (count == 5 && !strcmp(arguments[1], "ping"))
    ping(atof(arguments[2]), (size_t)atol(arguments[3]), (size_t)atol(arguments[4]));
  else if (count == 6 && !strcmp(arguments[1], "epoll") && atoi(arguments[3]) <= MAX_WORKERS)
    many(atof(arguments[2]), atoi(arguments[3]), (size_t)atol(arguments[4]),
         (size_t)atol(arguments[5]));
  else if (count == 4 && !strcmp(arguments[1], "bulk"))
    bulk((size_t)atol(arguments[2]), (size_t)atol(arguments[3]));
  else if (count == 4 && !strcmp(arguments[1], "items") && atol(arguments[3]) > 0)
    items((size_t)atol(arguments[2]), (size_t)atol(arguments[3]));
  else
    return fprintf(stderr, "usage: bare ping|epoll|bulk|items ..., see the head of bare.c\n"), 64;
  return 0;
}
