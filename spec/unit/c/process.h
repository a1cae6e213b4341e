// A worker process (`farside worker`) and what its router says and hears; for the checks of workers.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../host/core/cursor.h"
#include "../../../host/core/frame.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "../../../host/io/page.h"
#include "../../../host/io/wait.h"
#include "check.h"

enum { DATA, CONTROL, LATEST = 10, EPOCH = 77, GENERATION = 3, MEBIBYTE = 1024 * 1024 };

struct worker {
  pid_t pid;
  int fd[2];
  struct reader *reader[2];
  struct page *page;
  int errors;  // its stderr
  char text[64 * 1024];
  size_t text_size;
  struct buffer out;
  uint64_t sequence;
  char folder[32];
};

// ---- messages ----

static inline void write_all(int fd, const void *bytes, size_t size) {
  for (size_t at = 0; at < size;) {
    ssize_t n = send(fd, (const char *)bytes + at, size - at, MSG_NOSIGNAL);
    EXPECT(n > 0);
    at += (size_t)n;
  }
}

static inline void say(struct worker *worker, int connection, struct message message) {
  buffer_clear(&worker->out);
  frame_append(&worker->out, &message);
  write_all(worker->fd[connection], worker->out.bytes, worker->out.size);
  payload_unref(message.body);
}

static inline bool wait_for(int fd, int seconds) {
  struct pollfd pollfd = {.fd = fd, .events = POLLIN};
  int count;
  do count = poll(&pollfd, 1, seconds * 1000);
  while (count < 0 && errno == EINTR);
  return count == 1;
}

// The next message; type 0: the worker has closed the connection.
static inline struct message hear(struct worker *worker, int connection) {
  struct message message = {0};
  int result;
  while ((result = reader_next(worker->reader[connection], &message)) == FRAME_MORE) {
    size_t size;
    EXPECT(wait_for(worker->fd[connection], LATEST));
    unsigned char *space = reader_space(worker->reader[connection], &size);
    ssize_t n = recv(worker->fd[connection], space, size, 0);
    if (n <= 0) return (struct message){0};
    reader_received(worker->reader[connection], (size_t)n);
  }
  EXPECT_EQUAL(FRAME_OK, result);
  return message;
}

static inline struct message call_of(struct worker *worker, uint32_t function,
                                     struct payload *body) {
  worker->sequence++;
  return (struct message){.type = MESSAGE_CALL,
                          .id = {1, worker->sequence},
                          .attempt = 1,
                          .epoch = EPOCH,
                          .sequence = worker->sequence,
                          .function = function,
                          .remaining = NANOSECONDS_PER_SECOND,
                          .workload = 100,
                          .body = body};
}

static inline struct payload *numbers(int count, double value) {
  struct buffer bytes = BUFFER_EMPTY;
  pack_array(&bytes, (size_t)count);
  for (int i = 0; i < count; i++) pack_number(&bytes, value + i);
  struct payload *body = payload_copy(bytes.bytes, bytes.size);
  buffer_free(&bytes);
  return body;
}

static inline uint64_t call(struct worker *worker, uint32_t function, int count, double value) {
  say(worker, DATA, call_of(worker, function, numbers(count, value)));
  return worker->sequence;
}

static inline void cancel(struct worker *worker, uint64_t sequence) {
  say(worker, CONTROL,
      (struct message){
          .type = MESSAGE_CANCEL, .attempt = 1, .sequence = sequence, .reason = CANCEL_DEADLINE});
}

// What was said on control before has been taken in.
static inline void settle(struct worker *worker) {
  say(worker, CONTROL, (struct message){.type = MESSAGE_PING, .sequence = 5});
  EXPECT_EQUAL(MESSAGE_PONG, hear(worker, CONTROL).type);
}

static inline struct message answer(struct worker *worker, int type, uint64_t sequence) {
  struct message message = hear(worker, DATA);
  EXPECT_EQUAL(type, message.type);
  EXPECT_EQUAL(sequence, message.sequence);
  EXPECT_EQUAL(EPOCH, message.epoch);
  EXPECT_EQUAL(sequence, message.id.counter);
  return message;
}

static inline void expect_number(struct worker *worker, uint64_t sequence, double expected) {
  struct message message = answer(worker, MESSAGE_RESULT, sequence);
  struct cursor cursor = cursor_of(message.body->bytes, message.body->size);
  size_t count;
  double value;
  EXPECT(cursor_array(&cursor, &count) && cursor_number(&cursor, &value));
  EXPECT_EQUAL(1, count);
  EXPECT_EQUAL(expected * 1000, value * 1000);
  payload_unref(message.body);
}

// Whether the text `expected` stands under `key` in the error.
static inline void expect_field(const struct message *message, const char *key,
                                const char *expected) {
  struct cursor cursor = cursor_of(message->body->bytes, message->body->size), value;
  const unsigned char *text;
  size_t count, size;
  EXPECT(cursor_array(&cursor, &count) && cursor_find(cursor, key, &value));
  EXPECT(cursor_str(&value, &text, &size));
  if (size == strlen(expected) && !memcmp(text, expected, size)) return;
  printf("%s: expected %s, got %.*s\n", key, expected, (int)size, (const char *)text);
  exit(1);
}

static inline void expect_error(struct worker *worker, uint64_t sequence, const char *name,
                                const char *executed) {
  struct message message = answer(worker, MESSAGE_ERROR, sequence);
  expect_field(&message, "name", name);
  expect_field(&message, "executed", executed);
  payload_unref(message.body);
}

// ---- processes ----

static inline void find_executable(char *path) {
  ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 16);
  EXPECT(size > 0);
  path[size] = 0;
  *strrchr(path, '/') = 0;
  strcpy(strrchr(path, '/'), "/farside");
}

__attribute__((noreturn)) static inline void exec_worker(const int *fds, size_t memory) {
  char path[PATH_MAX];
  find_executable(path);
  int high[4];  // above all that the spec's process has open
  for (int i = 0; i < 4; i++) EXPECT((high[i] = fcntl(fds[i], F_DUPFD, 20)) >= 20);
  for (int i = 0; i < 3; i++) dup2(high[i], 3 + i);
  dup2(high[3], STDERR_FILENO);
  dup2(high[3], STDOUT_FILENO);
  if (memory) setrlimit(RLIMIT_AS, &(struct rlimit){memory, memory});
  execl(path, path, "worker", (char *)NULL);
  _exit(127);
}

static inline struct payload *start_body(const struct worker *worker) {
  struct buffer bytes = BUFFER_EMPTY;
  char file[64];
  snprintf(file, sizeof file, "%s/deploy.lua", worker->folder);
  pack_array(&bytes, 1);
  pack_map(&bytes, 3);
  pack_text(&bytes, "name");
  pack_text(&bytes, "checks");
  pack_text(&bytes, "file");
  pack_text(&bytes, file);
  pack_text(&bytes, "cwd");
  pack_text(&bytes, worker->folder);
  struct payload *body = payload_copy(bytes.bytes, bytes.size);
  buffer_free(&bytes);
  return body;
}

static inline void write_script(struct worker *worker, const char *script) {
  char file[64];
  strcpy(worker->folder, "/tmp/farside.XXXXXX");
  EXPECT(mkdtemp(worker->folder) != NULL);
  snprintf(file, sizeof file, "%s/deploy.lua", worker->folder);
  FILE *stream = fopen(file, "w");
  EXPECT(stream && fputs(script, stream) >= 0 && !fclose(stream));
}

static inline void remove_script(const struct worker *worker) {
  char file[64];
  snprintf(file, sizeof file, "%s/deploy.lua", worker->folder);
  unlink(file);
  rmdir(worker->folder);
}

static inline void spawn(struct worker *worker, size_t memory) {
  int data[2], control[2], output[2], page;
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data));
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control));
  EXPECT(!pipe2(output, O_CLOEXEC));
  worker->page = page_create(&page);
  EXPECT(worker->page != NULL);
  worker->pid = fork();
  if (!worker->pid) exec_worker((int[]){data[1], control[1], page, output[1]}, memory);
  close(data[1]);
  close(control[1]);
  close(output[1]);
  close(page);
  worker->fd[DATA] = data[0];
  worker->fd[CONTROL] = control[0];
  worker->errors = output[0];
  worker->reader[DATA] = reader_new(FRAME_OPEN, LIMIT_FRAME);
  worker->reader[CONTROL] = reader_new(FRAME_OPEN, LIMIT_FRAME);
}

static inline void start(struct worker *worker) {
  say(worker, CONTROL,
      (struct message){.type = MESSAGE_START,
                       .generation = GENERATION,
                       .epoch = EPOCH,
                       .body = start_body(worker)});
}

static inline void hang_up(struct worker *worker) {
  shutdown(worker->fd[DATA], SHUT_RDWR);
  shutdown(worker->fd[CONTROL], SHUT_RDWR);
}

// What it has printed, to its end.
static inline void read_text(struct worker *worker) {
  ssize_t n;
  while ((n = read(worker->errors, worker->text + worker->text_size,
                   sizeof worker->text - 1 - worker->text_size)) > 0)
    worker->text_size += (size_t)n;
}

// Waits for its end. Returns the wait status.
static inline int await(struct worker *worker) {
  int status;
  EXPECT(wait_for(worker->fd[DATA], LATEST));
  EXPECT_EQUAL(worker->pid, waitpid(worker->pid, &status, 0));
  read_text(worker);
  for (int i = 0; i < 2; i++) {
    close(worker->fd[i]);
    reader_free(worker->reader[i]);
  }
  close(worker->errors);
  page_close(worker->page);
  buffer_free(&worker->out);
  remove_script(worker);
  return status;
}

static inline void expect_exit(struct worker *worker, int code) {
  int status = await(worker);
  if (WIFEXITED(status) && WEXITSTATUS(status) == code) return;
  printf("expected exit code %d, got status %x; it printed:\n%s\n", code, status, worker->text);
  exit(1);
}
