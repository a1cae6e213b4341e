// Checks of host/io/transport.c and stream.c, over socket pairs.
#define _GNU_SOURCE
#include "../../../host/io/transport.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"

// A transport, the other end of its socket, and what it said.
struct line {
  uv_loop_t loop;
  struct transport *transport;
  int peer;
  size_t messages, sum, closed;
  uint64_t last;
  int error;
  char why[200];
  bool close_at_once;
};

static void on_message(void *owner, struct message *message) {
  struct line *line = owner;
  line->messages++;
  line->last = message->sequence;
  if (message->body) line->sum += message->body->size;
  payload_unref(message->body);
  if (!line->close_at_once) return;
  transport_close(line->transport);
  line->transport = NULL;
}

static void on_closed(void *owner, int error, const char *why) {
  struct line *line = owner;
  line->closed++;
  line->error = error;
  snprintf(line->why, sizeof line->why, "%s", why);
}

static void line_open(struct line *line) {
  static const struct transport_events events = {on_message, on_closed};
  int pair[2];
  *line = (struct line){.error = 1};
  EXPECT(!uv_loop_init(&line->loop));
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  line->transport = transport_new(&line->loop, pair[0], FRAME_OPEN, LIMIT_FRAME, &events, line);
  EXPECT(line->transport);
  line->peer = pair[1];
}

static void line_close(struct line *line) {
  transport_close(line->transport);
  uv_run(&line->loop, UV_RUN_DEFAULT);
  EXPECT(!uv_loop_close(&line->loop));
  if (line->peer >= 0) close(line->peer);
}

static void peer_write(struct line *line, const void *bytes, size_t size) {
  for (size_t at = 0; at < size;) {
    ssize_t sent = send(line->peer, (const char *)bytes + at, size - at, MSG_DONTWAIT);
    if (sent > 0) at += (size_t)sent;
    if (sent < 0) EXPECT(errno == EAGAIN);
    if (sent < 0) uv_run(&line->loop, UV_RUN_NOWAIT);
  }
}

static struct message ping(uint64_t sequence) {
  return (struct message){.type = MESSAGE_PING, .sequence = sequence};
}

static void append_call(struct buffer *out, size_t size) {
  struct message message = call_of(bin_body(size));
  frame_append(out, &message);
  payload_unref(message.body);
}

// ---- what comes ----

static void delivers_whatever_the_cut(void) {
  struct buffer bytes = BUFFER_EMPTY;
  struct message message = ping(7);
  append_call(&bytes, 3);
  append_call(&bytes, 300);
  frame_append(&bytes, &message);
  for (size_t cut = 0; cut <= bytes.size; cut++) {
    struct line line;
    line_open(&line);
    peer_write(&line, bytes.bytes, cut);
    int first = transport_receive(line.transport);
    peer_write(&line, bytes.bytes + cut, bytes.size - cut);
    EXPECT_EQUAL(3, first + transport_receive(line.transport));
    EXPECT_EQUAL(3, line.messages);
    EXPECT_EQUAL(7, line.last);
    line_close(&line);
  }
  buffer_free(&bytes);
}

static void delivers_large_bodies(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  append_call(&bytes, 5 * 1024 * 1024);
  struct message message = ping(9);
  frame_append(&bytes, &message);
  peer_write(&line, bytes.bytes, bytes.size);
  while (line.messages < 2) uv_run(&line.loop, UV_RUN_ONCE);
  EXPECT_EQUAL(9, line.last);
  EXPECT(line.sum > 5 * 1024 * 1024);
  buffer_free(&bytes);
  line_close(&line);
}

static void tells_the_end_after_all_that_came(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  append_call(&bytes, 100);
  size_t whole = bytes.size;
  append_call(&bytes, 100);
  peer_write(&line, bytes.bytes, whole + 10);  // the second one is never completed
  close(line.peer);
  line.peer = -1;
  transport_drain(line.transport);
  EXPECT_EQUAL(1, line.messages);
  EXPECT_EQUAL(1, line.closed);
  EXPECT_EQUAL(0, line.error);
  transport_drain(line.transport);
  uv_run(&line.loop, UV_RUN_NOWAIT);
  EXPECT_EQUAL(1, line.closed);
  buffer_free(&bytes);
  line_close(&line);
}

// The peer leaves with bytes unread, which makes the socket one with an error: libuv tells of that
// once, and of nothing after it.
static void tells_the_end_of_one_that_did_not_read(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  struct message sent = ping(1), came = ping(5);
  uv_run(&line.loop, UV_RUN_NOWAIT);  // the kernel knows the handle
  transport_send(line.transport, &sent);
  transport_flush(line.transport);
  frame_append(&bytes, &came);
  peer_write(&line, bytes.bytes, bytes.size);
  close(line.peer);
  line.peer = -1;
  for (int i = 0; i < 3; i++) uv_run(&line.loop, UV_RUN_NOWAIT);
  EXPECT_EQUAL(5, line.last);
  EXPECT_EQUAL(1, line.closed);
  EXPECT_EQUAL(-ECONNRESET, line.error);
  buffer_free(&bytes);
  line_close(&line);
}

static void closes_on_hostile_bytes(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  append_call(&bytes, 10);
  buffer_append(&bytes, "\0\0\0\2\xc1\xc1", 6);
  append_call(&bytes, 10);
  peer_write(&line, bytes.bytes, bytes.size);
  transport_receive(line.transport);
  EXPECT_EQUAL(1, line.messages);
  EXPECT_EQUAL(1, line.closed);
  EXPECT_EQUAL(FRAME_BAD, line.error);
  EXPECT(strlen(line.why) > 10);
  transport_receive(line.transport);
  EXPECT_EQUAL(1, line.messages);
  buffer_free(&bytes);
  line_close(&line);
}

static void closes_on_declared_lengths(void) {
  struct line line;
  line_open(&line);
  peer_write(&line, "\xff\xff\xff\xff", 4);
  transport_receive(line.transport);
  EXPECT_EQUAL(FRAME_TOO_LARGE, line.error);
  line_close(&line);
}

static void may_be_closed_by_the_handler(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  line.close_at_once = true;
  append_call(&bytes, 10);
  append_call(&bytes, 10);
  peer_write(&line, bytes.bytes, bytes.size);
  transport_receive(line.transport);
  EXPECT_EQUAL(1, line.messages);
  EXPECT_EQUAL(0, line.closed);
  buffer_free(&bytes);
  line_close(&line);
}

// ---- what goes ----

static size_t peer_read(struct line *line, struct buffer *into, size_t size) {
  EXPECT(buffer_reserve(into, size));
  ssize_t got = recv(line->peer, into->bytes + into->size, size, MSG_DONTWAIT);
  if (got <= 0) return 0;
  into->size += (size_t)got;
  return (size_t)got;
}

static void writes_a_turn_in_one_go(void) {
  struct line line;
  struct buffer expected = BUFFER_EMPTY, got = BUFFER_EMPTY;
  line_open(&line);
  EXPECT(!transport_flush(line.transport));
  for (uint64_t i = 0; i < 200; i++) {
    struct message message = ping(i);
    frame_append(&expected, &message);
    transport_send(line.transport, &message);
  }
  EXPECT_EQUAL(expected.size, transport_queued(line.transport));
  EXPECT_EQUAL(0, peer_read(&line, &got, 100));
  EXPECT(transport_flush(line.transport));
  EXPECT_EQUAL(0, transport_queued(line.transport));
  EXPECT_EQUAL(expected.size, peer_read(&line, &got, 65536));
  EXPECT(!memcmp(expected.bytes, got.bytes, got.size));
  buffer_free(&expected);
  buffer_free(&got);
  line_close(&line);
}

static int releases;

static void count_release(void *owner, uint64_t anchor) {
  (void)owner, (void)anchor;
  releases++;
}

// A body of 16 parts that lie in `bytes`.
static struct payload *in_parts(const struct payload *whole) {
  struct payload *payload = payload_new(0);
  payload->release = count_release;
  payload->size = whole->size;
  payload->count = PAYLOAD_PARTS;
  size_t at = 0;
  for (size_t i = 0; i < PAYLOAD_PARTS; i++) {
    size_t size = i + 1 < PAYLOAD_PARTS ? whole->size * i / 200 : whole->size - at;
    payload->parts[i] = (struct part){whole->bytes + at, size};
    at += size;
  }
  return payload;
}

static void writes_in_pieces_in_order(void) {
  static const size_t sizes[] = {1, 100, 16000, 17000, 70000, 300000, 2, 1500000, 3};
  struct payload *bodies[sizeof sizes / sizeof *sizes];
  struct line line;
  struct buffer expected = BUFFER_EMPTY, got = BUFFER_EMPTY;
  line_open(&line);
  int tiny = 4096;
  int fd = dup(line.peer);
  EXPECT(!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny));
  close(fd);
  releases = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    bodies[i] = bin_body(sizes[i]);
    struct message message = call_of(bodies[i]);
    frame_append(&expected, &message);
    message.body = in_parts(bodies[i]);
    transport_send(line.transport, &message);
    if (i % 2) transport_flush(line.transport);
  }
  transport_flush(line.transport);
  EXPECT(transport_queued(line.transport) > 0);
  EXPECT(releases < (int)(sizeof sizes / sizeof *sizes));
  for (size_t size = 1; got.size < expected.size; size = size * 3 % 9973 + 1) {
    peer_read(&line, &got, size);
    uv_run(&line.loop, UV_RUN_NOWAIT);
  }
  EXPECT_EQUAL(0, transport_queued(line.transport));
  EXPECT_EQUAL(expected.size, got.size);
  EXPECT(!memcmp(expected.bytes, got.bytes, got.size));
  EXPECT_EQUAL(sizeof sizes / sizeof *sizes, releases);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) payload_unref(bodies[i]);
  buffer_free(&expected);
  buffer_free(&got);
  line_close(&line);
}

// Who sleeps on the loop's descriptor must be woken for every piece.
static void needs_one_run_a_wake(void) {
  struct line line;
  struct buffer got = BUFFER_EMPTY;
  line_open(&line);
  struct message message = call_of(bin_body(3 * 1024 * 1024));
  transport_send(line.transport, &message);
  transport_flush(line.transport);
  uv_run(&line.loop, UV_RUN_NOWAIT);
  while (transport_queued(line.transport)) {
    struct pollfd ready = {.fd = uv_backend_fd(&line.loop), .events = POLLIN};
    while (peer_read(&line, &got, 1 << 20)) continue;
    EXPECT_EQUAL(1, poll(&ready, 1, 5000));
    uv_run(&line.loop, UV_RUN_NOWAIT);
  }
  struct message answer = ping(4);
  struct buffer bytes = BUFFER_EMPTY;
  frame_append(&bytes, &answer);
  peer_write(&line, bytes.bytes, bytes.size);
  struct pollfd ready = {.fd = uv_backend_fd(&line.loop), .events = POLLIN};
  EXPECT_EQUAL(1, poll(&ready, 1, 5000));
  buffer_free(&bytes);
  buffer_free(&got);
  line_close(&line);
}

static void reads_on_when_nothing_can_be_written(void) {
  struct line line;
  struct buffer bytes = BUFFER_EMPTY;
  line_open(&line);
  append_call(&bytes, 50);
  append_call(&bytes, 50);
  peer_write(&line, bytes.bytes, bytes.size);
  close(line.peer);
  line.peer = -1;
  struct message message = call_of(bin_body(50));
  transport_send(line.transport, &message);
  transport_flush(line.transport);
  EXPECT_EQUAL(0, transport_queued(line.transport));
  EXPECT_EQUAL(0, line.closed);
  message = call_of(bin_body(50000));
  transport_send(line.transport, &message);
  transport_drain(line.transport);
  EXPECT_EQUAL(2, line.messages);
  EXPECT_EQUAL(1, line.closed);
  buffer_free(&bytes);
  line_close(&line);
}

static void lets_go_of_what_was_not_written(void) {
  struct line line;
  line_open(&line);
  releases = 0;
  struct payload *body = bin_body(1000000);
  for (int i = 0; i < 3; i++) {
    struct message message = call_of(in_parts(body));
    transport_send(line.transport, &message);
  }
  transport_flush(line.transport);
  line_close(&line);
  EXPECT_EQUAL(3, releases);
  payload_unref(body);
}

static const struct check checks[] = {
    {"delivers what was sent, wherever it is cut", delivers_whatever_the_cut},
    {"delivers large bodies", delivers_large_bodies},
    {"tells the end once, after all that came whole", tells_the_end_after_all_that_came},
    {"tells the end of a peer that left without reading", tells_the_end_of_one_that_did_not_read},
    {"closes on bytes that are no frame, with a reason", closes_on_hostile_bytes},
    {"closes on a declared length beyond the limit", closes_on_declared_lengths},
    {"may be closed by whoever gets a message", may_be_closed_by_the_handler},
    {"writes all messages of a turn in one go", writes_a_turn_in_one_go},
    {"writes large bodies in pieces and in order", writes_in_pieces_in_order},
    {"never loses a wake between two runs of the loop", needs_one_run_a_wake},
    {"reads on when the peer takes nothing more", reads_on_when_nothing_can_be_written},
    {"lets go of bodies that were not written", lets_go_of_what_was_not_written},
};

CHECK_MAIN(checks)
