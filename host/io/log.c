#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/limits.h"
#include "../core/memory.h"
#include "wait.h"

enum {
  LINE = 4096,              // a write of so much to a pipe that has room neither blocks nor is torn
  NAME = 128,               // of the worker, with brackets and space
  TEXT = LINE - NAME - 1,   // of one line; one byte is the newline
  RATE = 1024 * 1024,       // bytes a second
  BUDGET = 1024 * 1024,     // read in one go, so that the loop does other things too
  DRAIN = 8 * 1024 * 1024,  // read of a worker that is gone
  PATIENCE = 20,            // ms for a stderr that is full
};

struct log {
  uv_poll_t poll;
  int fd;
  bool ended;
  char name[NAME];
  size_t name_size;
  char text[TEXT + 1];
  char last[TEXT + 1];  // the line before that, with a zero
  size_t size;          // of the line that is not complete yet
  char out[LINE];       // whole lines, written together
  size_t out_size;
  int64_t second;    // when the current second of the rate began
  size_t passed;     // in it
  uint64_t dropped;  // not told yet
  int64_t *alarm;
  void (*line)(void *owner, const char *text, size_t size);  // or NULL
  void *line_owner;
  int64_t stuck_until;  // stderr takes nothing; do not wait for it again before
};

// ---- stderr ----

// Tries for `patience` ms, and again for the rest of a write that was cut. The descriptor is shared
// with whoever started this process: it must not be made non-blocking.
static bool write_out(const char *bytes, size_t size, int patience) {
  while (size) {
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, patience) <= 0 || !(ready.revents & POLLOUT)) return false;
    ssize_t written = write(STDERR_FILENO, bytes, size);
    if (written < 0 && errno != EINTR) return false;
    if (written < 0) written = 0;
    bytes += written;
    size -= (size_t)written;
  }
  return true;
}

static void drop(struct log *log, size_t size) {
  log->dropped += size;
  int64_t at = log->second + NANOSECONDS_PER_SECOND;
  if (at < *log->alarm) *log->alarm = at;
}

static void flush(struct log *log) {
  if (!log->out_size) return;
  int64_t now = wait_now();
  if (!write_out(log->out, log->out_size, now < log->stuck_until ? 0 : PATIENCE)) {
    drop(log, log->out_size);
    log->stuck_until = now + NANOSECONDS_PER_SECOND;
  }
  log->out_size = 0;
}

static void put(struct log *log, const char *text, size_t size) {
  if (log->out_size + log->name_size + size + 1 > sizeof log->out) flush(log);
  char *out = log->out + log->out_size;
  memcpy(out, log->name, log->name_size);
  memcpy(out + log->name_size, text, size);
  out[log->name_size + size] = '\n';
  log->out_size += log->name_size + size + 1;
}

// ---- lines ----

static void tell_dropped(struct log *log) {
  char text[64];
  int size = snprintf(text, sizeof text, "%llu bytes dropped", (unsigned long long)log->dropped);
  log->dropped = 0;
  put(log, text, (size_t)size);
  flush(log);
}

static void begin_second(struct log *log, int64_t now) {
  if (now - log->second < NANOSECONDS_PER_SECOND) return;
  log->second = now;
  log->passed = 0;
  if (log->dropped) tell_dropped(log);
}

static void end_line(struct log *log) {
  size_t size = log->size;
  log->size = 0;
  memcpy(log->last, log->text, size);
  log->last[size] = 0;
  if (log->passed + size + 1 > RATE) {
    drop(log, size + 1);
    return;
  }
  log->passed += size + 1;
  if (log->line) log->line(log->line_owner, log->text, size);
  put(log, log->text, size);
}

static void take(struct log *log, const char *bytes, size_t size) {
  while (size) {
    const char *newline = memchr(bytes, '\n', size);
    size_t part = newline ? (size_t)(newline - bytes) : size;
    if (part > TEXT - log->size) part = TEXT - log->size;
    memcpy(log->text + log->size, bytes, part);
    log->size += part;
    bytes += part;
    size -= part;
    bool is_complete = newline && bytes == newline;
    if (is_complete) {
      bytes++;
      size--;
    }
    if (is_complete || (log->size == TEXT && size)) end_line(log);
  }
}

static void stop(struct log *log) {
  log->ended = true;
  uv_poll_stop(&log->poll);
  if (log->size) end_line(log);
}

static void read_some(struct log *log, size_t budget) {
  char bytes[64 * 1024];
  begin_second(log, wait_now());
  while (!log->ended && budget) {
    ssize_t size = read(log->fd, bytes, sizeof bytes < budget ? sizeof bytes : budget);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size <= 0) {
      stop(log);
      break;
    }
    take(log, bytes, (size_t)size);
    budget -= (size_t)size;
  }
  flush(log);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  read_some(poll->data, BUDGET);
}

const char *log_last(const struct log *log) {
  return log->last;
}

void log_drain(struct log *log) {
  read_some(log, DRAIN);
  if (!log->ended) stop(log);
  flush(log);
  if (log->dropped) tell_dropped(log);
}

void log_tee(struct log *log, void (*line)(void *owner, const char *text, size_t size),
             void *owner) {
  log->line = line;
  log->line_owner = owner;
}

void log_tick(struct log *log, int64_t now) {
  begin_second(log, now);
  if (log->dropped) drop(log, 0);
}

void log_line(const char *name, const char *text) {
  char line[LINE];
  int size = snprintf(line, sizeof line, "[%s] %s\n", name, text);
  if (size >= LINE) {
    size = LINE - 1;
    line[LINE - 2] = '\n';
  }
  write_out(line, (size_t)size, PATIENCE);
}

// ---- life ----

struct log *log_new(uv_loop_t *loop, int fd, const char *name, int64_t *alarm) {
  struct log *log = xcalloc(1, sizeof *log);
  log->fd = fd;
  log->alarm = alarm;
  int size = snprintf(log->name, sizeof log->name, "[%.*s] ", NAME - 4, name);
  log->name_size = (size_t)size;
  log->second = wait_now();
  if (uv_poll_init(loop, &log->poll, fd)) {
    close(fd);
    free(log);
    return NULL;
  }
  log->poll.data = log;
  uv_poll_start(&log->poll, UV_READABLE, on_readable);
  return log;
}

static void on_closed(uv_handle_t *handle) {
  free(handle->data);
}

void log_close(struct log *log) {
  if (!log || uv_is_closing((uv_handle_t *)&log->poll)) return;
  uv_close((uv_handle_t *)&log->poll, on_closed);
  close(log->fd);
}
