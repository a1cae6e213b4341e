#define _GNU_SOURCE
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/frame.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "address.h"
#include "wait.h"

enum { WHY = 512 };  // bytes of a sentence

struct line {
  struct line *next;
  struct payload *body;
};

struct console {
  int fd;
  char path[ADDRESS_SIZE];
  struct reader *reader;
  uint64_t epoch;     // of the router
  uint64_t sequence;  // of the latest request
  struct payload *welcome, *refusal, *reply;
  struct line *first, **last;
  int error;  // the connection has ended; 0: not
  char why[WHY];
};

// ---- what comes ----

static void add_line(struct console *self, struct payload *body) {
  struct line *line = xcalloc(1, sizeof *line);
  line->body = body;
  *self->last = line;
  self->last = &line->next;
}

static void fail(struct console *self, int error, const char *why) {
  if (self->error) return;
  self->error = error;
  snprintf(self->why, sizeof self->why, "%s", why);
}

static void take(struct console *self, struct message *message) {
  struct payload **place = NULL;
  if (message->type == MESSAGE_LOG) {
    add_line(self, message->body);
    return;
  }
  if (message->type == MESSAGE_WELCOME) {
    place = &self->welcome;
    self->epoch = message->epoch;
  }
  if (message->type == MESSAGE_REPLY && message->sequence == self->sequence) place = &self->reply;
  if (message->type == MESSAGE_ERROR) place = &self->refusal;
  if (!place) {
    payload_unref(message->body);
    return;
  }
  payload_unref(*place);
  *place = message->body;
  if (message->type == MESSAGE_ERROR) fail(self, -EPROTO, "the router refuses this operator");
}

// Takes the messages that are complete.
static void take_all(struct console *self) {
  struct message message;
  int result;
  while ((result = reader_next(self->reader, &message)) == FRAME_OK) take(self, &message);
  if (result == FRAME_MORE) return;
  const char *reason;
  uint64_t offset;
  fail(self, -EPROTO, reader_error(self->reader, &reason, &offset));
}

static void receive(struct console *self) {
  size_t room;
  unsigned char *space = reader_space(self->reader, &room);
  ssize_t size = space ? recv(self->fd, space, room, MSG_DONTWAIT) : 0;
  if (size > 0) {
    reader_received(self->reader, (size_t)size);
    take_all(self);
  } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  } else {
    fail(self, -ECONNRESET, "the router has ended the connection");
  }
}

// ---- waiting ----

// Waits until the descriptor can do one of `events`.
static int wait_for(struct console *self, short events, int64_t until) {
  struct pollfd ready = {.fd = self->fd, .events = events};
  int64_t left = until - wait_now();
  if (left < 0) left = 0;
  struct timespec time = {left / NANOSECONDS_PER_SECOND, left % NANOSECONDS_PER_SECOND};
  int count = ppoll(&ready, 1, until == INT64_MAX ? NULL : &time, NULL);
  if (count < 0) return -errno;
  return count ? 0 : -ETIMEDOUT;
}

static int wait_more(struct console *self, int64_t until) {
  if (self->error) return self->error;
  int error = wait_for(self, POLLIN, until);
  if (!error) receive(self);
  return error;
}

static int send_all(struct console *self, const struct buffer *bytes, int64_t until) {
  size_t sent = 0;
  while (sent < bytes->size) {
    ssize_t size =
        send(self->fd, bytes->bytes + sent, bytes->size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size > 0) {
      sent += (size_t)size;
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return -ECONNRESET;
    int error = wait_for(self, POLLOUT, until);
    if (error) return error;
  }
  return 0;
}

// Takes over the body's reference.
static int send_message(struct console *self, struct message *message, int64_t until) {
  struct buffer bytes = BUFFER_EMPTY;
  if (message->type == MESSAGE_HELLO) frame_preface(&bytes);
  frame_append(&bytes, message);
  payload_unref(message->body);
  int error = bytes.failed ? -ENOMEM : send_all(self, &bytes, until);
  buffer_free(&bytes);
  return error;
}

// ---- silence ----

// Of the router, as the kernel knows it; 0: it is in a place where it has no number for us.
static pid_t process_of(const struct console *self) {
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  return getsockopt(self->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? 0 : peer.pid;
}

// By a signal or a debugger. The state stands behind the name, which may hold anything.
static bool is_stopped(pid_t pid) {
  char path[32], text[256];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  text[size > 0 ? size : 0] = 0;
  const char *end = strrchr(text, ')');
  return end && (!strncmp(end, ") T", 3) || !strncmp(end, ") t", 3));
}

// A router that is there and says nothing is another thing than none: who is told so would start a
// second one, which ends as the first has the lock.
static void tell_silence(const struct console *self, int64_t limit, char *why, size_t size) {
  pid_t pid = process_of(self);
  int length = snprintf(why, size, "the router at unix:%s", self->path);
  if (pid > 0) length += snprintf(why + length, size - (size_t)length, " (process %d)", (int)pid);
  length += snprintf(why + length, size - (size_t)length, " has not answered within %.2g s",
                     (double)limit / 1e9);
  if (pid > 0 && is_stopped(pid))
    snprintf(why + length, size - (size_t)length,
             ": it is stopped; kill -CONT %d lets it go on, kill -9 %d ends it", (int)pid,
             (int)pid);
  else if (pid > 0)
    snprintf(why + length, size - (size_t)length,
             "; if it hangs, kill -9 %d ends it, and its workers with it", (int)pid);
}

// ---- requests ----

static struct payload *body_of(struct buffer *buffer) {
  struct payload *body = buffer->failed ? NULL : payload_copy(buffer->bytes, buffer->size);
  buffer_free(buffer);
  if (!body) abort();
  return body;
}

static struct payload *request_body(const char *name, const struct payload *options) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 2);
  pack_text(&body, name);
  if (!options) pack_map(&body, 0);
  for (uint32_t i = 0; options && i < options->count; i++) {
    size_t skipped = i ? 0 : 1;  // the head of its array
    buffer_append(&body, options->parts[i].bytes + skipped, options->parts[i].size - skipped);
  }
  return body_of(&body);
}

int console_request(struct console *self, const char *name, const struct payload *options,
                    int64_t until, struct payload **reply) {
  if (self->error) return self->error;
  int64_t since = wait_now();
  payload_unref(self->reply);
  self->reply = NULL;
  struct message message = {
      .type = MESSAGE_REQUEST, .sequence = ++self->sequence, .body = request_body(name, options)};
  int error = send_message(self, &message, until);
  // What was sent before the end of the connection counts.
  if (error == -ECONNRESET) error = 0;
  while (!error && !self->reply) error = wait_more(self, until);
  if (error == -ETIMEDOUT) tell_silence(self, until - since, self->why, sizeof self->why);
  if (error) return error;
  *reply = self->reply;
  self->reply = NULL;
  return 0;
}

int console_line(struct console *self, int64_t until, struct payload **body) {
  int error = 0;
  while (!error && !self->first) error = wait_more(self, until);
  if (error) return error;
  struct line *line = self->first;
  self->first = line->next;
  if (!self->first) self->last = &self->first;
  *body = line->body;
  free(line);
  return 0;
}

// ---- life ----

const char *console_why(const struct console *self) {
  return self->why;
}

uint64_t console_epoch(const struct console *self) {
  return self->epoch;
}

struct payload *console_welcome(const struct console *self) {
  return self->welcome;
}

static int greet(struct console *self, int64_t until) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 1);
  pack_map(&body, 1);
  pack_text(&body, "pid");
  pack_uint(&body, (uint64_t)getpid());
  struct message hello = {
      .type = MESSAGE_HELLO, .role = ROLE_OPERATOR, .limit = LIMIT_FRAME, .body = body_of(&body)};
  // It may have been refused already: that is read.
  int error = send_message(self, &hello, until);
  if (error == -ECONNRESET) error = 0;
  while (!error && !self->welcome) error = wait_more(self, until);
  return error;
}

int console_open(struct console **out, const char *path, int64_t until, struct payload **refusal,
                 char *why, size_t size) {
  *refusal = NULL;
  int64_t since = wait_now(), left = until == INT64_MAX ? LIMIT_HANDSHAKE : until - since;
  int fd = address_connect(path, left > 1000 ? left : 1000, why, size);
  if (fd < 0) return fd;
  struct console *self = xcalloc(1, sizeof *self);
  self->fd = fd;
  snprintf(self->path, sizeof self->path, "%s", path);
  self->last = &self->first;
  self->reader = reader_new(FRAME_PREFACE, LIMIT_FRAME);
  int error = greet(self, until);
  if (!error) {
    *out = self;
    return 0;
  }
  *refusal = payload_ref(self->refusal);
  if (error == -ETIMEDOUT)
    tell_silence(self, until - since, why, size);
  else
    snprintf(why, size, "the router at unix:%s does not let this operator in: %s", path,
             self->error ? self->why : strerror(-error));
  console_close(self);
  return error;
}

void console_close(struct console *self) {
  if (!self) return;
  while (self->first) {
    struct line *line = self->first;
    self->first = line->next;
    payload_unref(line->body);
    free(line);
  }
  payload_unref(self->welcome);
  payload_unref(self->refusal);
  payload_unref(self->reply);
  reader_free(self->reader);
  close(self->fd);
  free(self);
}
