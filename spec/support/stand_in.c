// A worker without Lua, for the specs of the shell and its bench. What it does is the text in the
// body of START:
//
//   echo              READY, then each CALL is answered by its arguments (default)
//   idle              READY, then reads nothing
//   exit CODE         ends
//   signal NUMBER     ends itself by a signal
//   abort             prints two lines, the last without an end, and aborts
//   garbage           READY, then bytes that are no frame on the data connection
//   close             READY, then closes the control connection and stays
//   answer_exit       READY, answers the first call, and ends at once with 3
//   enter_die         READY, notes the first call in the page as entered, and kills itself
//   print             prints lines, a long one, and one without an end; ends with 0
//   flood BYTES       prints lines of 64 bytes, then READY, then as echo
//   describe          prints its open descriptors and environment names; ends with 0
//   leave             starts a process that sleeps for a minute; ends with 0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../host/core/buffer.h"
#include "../../host/core/cursor.h"
#include "../../host/core/frame.h"
#include "../../host/core/limits.h"
#include "../../host/core/pack.h"
#include "../../host/core/payload.h"
#include "../../host/io/page.h"
#include "../../host/io/wait.h"

enum { DATA = 3, CONTROL = 4, PAGE = 5 };

struct worker {
  struct reader *data, *control;
  struct page *page;
  struct wait wait;
  struct buffer out;
  char mode[64];
  uint32_t generation;
};

// Without the checks that a sanitizer makes of a process that ends in order.
__attribute__((noreturn)) static void end(int code) {
  fflush(stdout);
  _exit(code);
}

static void send_bytes(int fd, const unsigned char *bytes, size_t size) {
  while (size) {
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0) end(0);
    bytes += sent;
    size -= (size_t)sent;
  }
}

static void send_message(struct worker *worker, int fd, struct message *message) {
  buffer_clear(&worker->out);
  frame_append(&worker->out, message);
  send_bytes(fd, worker->out.bytes, worker->out.size);
  payload_unref(message->body);
}

// True: bytes came. Ends the process with the connection.
static bool read_some(int fd, struct reader *reader, int flags) {
  size_t room;
  unsigned char *space = reader_space(reader, &room);
  ssize_t size = recv(fd, space, room, flags);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) end(0);
  reader_received(reader, (size_t)size);
  return true;
}

static void ready(struct worker *worker) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 2);
  pack_text(&body, "");
  pack_map(&body, 0);
  struct message message = {.type = MESSAGE_READY,
                            .generation = worker->generation,
                            .body = payload_copy(body.bytes, body.size)};
  send_message(worker, CONTROL, &message);
  buffer_free(&body);
}

static void on_control(struct worker *worker, struct message *message) {
  if (message->type == MESSAGE_PING) {
    struct message pong = {.type = MESSAGE_PONG, .sequence = message->sequence};
    send_message(worker, CONTROL, &pong);
  }
  payload_unref(message->body);
  if (message->type == MESSAGE_DRAIN) end(0);
}

// Whether a call that was handed ahead is still this worker's; see page.h.
static bool claim(struct worker *worker, struct message *message) {
  if (!(message->flags & CALL_AHEAD)) return true;
  enum page_claim claim = page_claim(worker->page, message->sequence);
  if (claim == PAGE_CLAIMED) return true;
  payload_unref(message->body);
  message->body = NULL;
  message->type = MESSAGE_GIVE_BACK;
  if (claim == PAGE_GIVE_BACK) frame_append(&worker->out, message);
  return false;
}

static void on_call(struct worker *worker, struct message *message) {
  if (!claim(worker, message)) return;
  atomic_store(&worker->page->entered, message->sequence);
  if (!strcmp(worker->mode, "enter_die")) kill(getpid(), SIGKILL);
  message->type = MESSAGE_RESULT;
  if (message->body->size < 16 * 1024) {
    frame_append(&worker->out, message);
  } else {
    frame_header(&worker->out, message);
    send_bytes(DATA, worker->out.bytes, worker->out.size);
    send_bytes(DATA, message->body->bytes, message->body->size);
    buffer_clear(&worker->out);
  }
  payload_unref(message->body);
  atomic_fetch_add(&worker->page->left, 1);
  if (strcmp(worker->mode, "answer_exit")) return;
  send_bytes(DATA, worker->out.bytes, worker->out.size);
  _exit(3);
}

static void take_messages(struct worker *worker) {
  struct message message;
  int result;
  buffer_clear(&worker->out);
  while ((result = reader_next(worker->data, &message)) == FRAME_OK) on_call(worker, &message);
  if (worker->out.size) send_bytes(DATA, worker->out.bytes, worker->out.size);
  while (result >= 0 && (result = reader_next(worker->control, &message)) == FRAME_OK)
    on_control(worker, &message);
  if (result < 0) end(70);
}

static void serve(struct worker *worker) {
  for (;;) {
    bool came = false;
    wait_begin(&worker->wait);
    while (!came && wait_again(&worker->wait)) came = read_some(DATA, worker->data, MSG_DONTWAIT);
    if (!came) {
      struct pollfd fds[] = {{.fd = DATA, .events = POLLIN}, {.fd = CONTROL, .events = POLLIN}};
      poll(fds, 2, -1);
      read_some(DATA, worker->data, MSG_DONTWAIT);
      read_some(CONTROL, worker->control, MSG_DONTWAIT);
    }
    wait_end(&worker->wait);
    take_messages(worker);
  }
}

static void start(struct worker *worker) {
  struct message message;
  while (reader_next(worker->control, &message) != FRAME_OK) read_some(CONTROL, worker->control, 0);
  if (message.type != MESSAGE_START || !message.body) end(64);
  worker->generation = message.generation;
  struct cursor cursor = cursor_of(message.body->parts[0].bytes, message.body->size);
  const unsigned char *text;
  size_t count, size;
  if (!cursor_array(&cursor, &count) || !cursor_str(&cursor, &text, &size)) end(64);
  snprintf(worker->mode, sizeof worker->mode, "%.*s", (int)size, text);
  payload_unref(message.body);
}

// ---- what it prints ----

static int print_lines(void) {
  printf("first\nsecond\n");
  fflush(stdout);
  fprintf(stderr, "to stderr\n");
  for (int i = 0; i < 6000; i++) putchar('a' + i / 3967);
  printf("\nno end");
  return 0;
}

static void flood(long bytes) {
  char line[65];
  memset(line, 'x', 63);
  line[63] = '\n';
  for (; bytes > 0; bytes -= 64) fwrite(line, 1, 64, stdout);
  fflush(stdout);
}

static int describe(void) {
  DIR *folder = opendir("/proc/self/fd");
  struct dirent *entry;
  printf("descriptors");
  for (int fd = 0; fd < 1024; fd++) {
    rewinddir(folder);
    while ((entry = readdir(folder)))
      if (entry->d_name[0] != '.' && atoi(entry->d_name) == fd && fd != dirfd(folder))
        printf(" %d", fd);
  }
  printf("\n");
  for (char **variable = environ; *variable; variable++)
    if (strstr(*variable, "LUA") || strstr(*variable, "FARSIDE") || strstr(*variable, "KEPT"))
      printf("%s\n", *variable);
  printf("group %s\n", getpgrp() == getpid() ? "own" : "other");
  return 0;
}

static int leave(void) {
  if (fork()) return 0;
  execl("/bin/sleep", "sleep", "60", (char *)NULL);
  _exit(1);
}

__attribute__((noreturn)) static void say_and_abort(void) {
  fprintf(stderr, "a line\nlast words");
  abort();
}

static long number_in(const char *mode) {
  const char *space = strchr(mode, ' ');
  return space ? atol(space) : 0;
}

static bool is(const struct worker *worker, const char *word) {
  return !strncmp(worker->mode, word, strlen(word));
}

int main(void) {
  struct worker worker = {.data = reader_new(FRAME_OPEN, LIMIT_FRAME),
                          .control = reader_new(FRAME_OPEN, LIMIT_FRAME),
                          .page = page_open(PAGE)};
  wait_init(&worker.wait);
  if (!worker.page) return 64;
  start(&worker);
  if (is(&worker, "exit")) end((int)number_in(worker.mode));
  if (is(&worker, "signal")) kill(getpid(), (int)number_in(worker.mode));
  if (is(&worker, "abort")) say_and_abort();
  if (is(&worker, "print")) end(print_lines());
  if (is(&worker, "describe")) end(describe());
  if (is(&worker, "leave")) end(leave());
  if (is(&worker, "flood")) flood(number_in(worker.mode));
  ready(&worker);
  if (is(&worker, "garbage")) send_bytes(DATA, (const unsigned char *)"\0\0\0\0garbage", 11);
  if (is(&worker, "close")) close(CONTROL);
  if (is(&worker, "close") || is(&worker, "idle") || is(&worker, "garbage"))
    for (;;) pause();
  serve(&worker);
}
