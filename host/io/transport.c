#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "stream.h"

enum {
  GATHERED = 16 * 1024,      // a smaller body is copied behind its header
  VECTORS = 64,              // of one write
  BUDGET = 4 * 1024 * 1024,  // bytes of one receive, so that no peer keeps the others waiting
  KEPT = 256 * 1024,         // of the gathering buffer when it is empty
};

// A piece of what is to be written: bytes of a payload, or, where `bytes` is NULL, gathered ones.
struct segment {
  const unsigned char *bytes;
  size_t size;
  struct payload *payload;  // let go when the segment is written
};

// Whoever sleeps on the loop's descriptor must not miss anything between two runs of the loop. To
// change what a libuv handle waits for takes its descriptor out of epoll until the next run, so
// waiting for room has a handle of its own, on a duplicate of the socket.
struct transport {
  uv_poll_t readable, writable;
  int writable_fd;   // -1 until the socket was full once
  uint32_t handles;  // not closed yet
  struct stream *stream;
  struct reader *reader;
  struct transport_events events;
  void *owner;

  struct segment *segments;  // from `first` on
  size_t first, count, capacity;
  struct buffer gathered;  // the gathered segments one behind the other, from `taken` on
  size_t taken, queued;

  uint64_t *sum;  // where `counted` bytes of it count; NULL: nowhere
  uint64_t counted;

  uint64_t received, written;  // bytes
  bool ended;                  // nothing comes any more
  bool deaf;                   // the peer takes nothing any more
  bool paused;                 // nothing is read
  bool writing;                // waits until the socket takes more
  bool closing;
};

// ---- what it holds ----

static void count(struct transport *transport) {
  if (!transport->sum) return;
  uint64_t held = transport->queued + reader_held(transport->reader);
  *transport->sum += held - transport->counted;
  transport->counted = held;
}

void transport_count_in(struct transport *transport, uint64_t *sum) {
  transport->sum = sum;
  count(transport);
}

// ---- what goes ----

static struct segment *segment_add(struct transport *transport) {
  if (transport->first + transport->count == transport->capacity) {
    if (transport->first > transport->count) {
      memmove(transport->segments, transport->segments + transport->first,
              transport->count * sizeof *transport->segments);
      transport->first = 0;
    } else {
      transport->capacity = transport->capacity ? 2 * transport->capacity : 16;
      transport->segments =
          xrealloc(transport->segments, transport->capacity * sizeof *transport->segments);
    }
  }
  struct segment *segment = &transport->segments[transport->first + transport->count++];
  *segment = (struct segment){0};
  return segment;
}

// `size` bytes more were put into the gathering buffer.
static void segment_gathered(struct transport *transport, size_t size) {
  struct segment *last =
      transport->count ? &transport->segments[transport->first + transport->count - 1] : NULL;
  if (!last || last->bytes) last = segment_add(transport);
  last->size += size;
  transport->queued += size;
}

static void send_by_reference(struct transport *transport, struct message *message) {
  struct payload *body = message->body;
  size_t before = transport->gathered.size;
  frame_header(&transport->gathered, message);
  segment_gathered(transport, transport->gathered.size - before);
  for (uint32_t i = 0; i < body->count; i++) {
    struct segment *segment = segment_add(transport);
    segment->bytes = body->parts[i].bytes;
    segment->size = body->parts[i].size;
    transport->queued += segment->size;
    if (i + 1 == body->count) segment->payload = body;
  }
}

void transport_send(struct transport *transport, struct message *message) {
  if (transport->ended || transport->deaf || transport->closing) {
    payload_unref(message->body);
    return;
  }
  if (message->body && message->body->size >= GATHERED) {
    send_by_reference(transport, message);
    count(transport);
    return;
  }
  size_t before = transport->gathered.size;
  frame_append(&transport->gathered, message);
  segment_gathered(transport, transport->gathered.size - before);
  payload_unref(message->body);
  count(transport);
}

static void forget_written(struct transport *transport) {
  transport->first = transport->taken = 0;
  if (transport->gathered.capacity > KEPT)
    buffer_free(&transport->gathered);
  else
    buffer_clear(&transport->gathered);
}

static void drop_queue(struct transport *transport) {
  for (size_t i = 0; i < transport->count; i++)
    payload_unref(transport->segments[transport->first + i].payload);
  transport->count = transport->queued = 0;
  buffer_free(&transport->gathered);
  forget_written(transport);
  count(transport);
}

// The kernel has taken `size` bytes from the front of the queue.
static void written(struct transport *transport, size_t size) {
  transport->queued -= size;
  transport->written += size;
  count(transport);
  while (transport->count) {
    struct segment *segment = &transport->segments[transport->first];
    size_t part = size < segment->size ? size : segment->size;
    if (!segment->bytes)
      transport->taken += part;
    else
      segment->bytes += part;
    segment->size -= part;
    size -= part;
    if (segment->size) break;
    payload_unref(segment->payload);
    transport->first++;
    transport->count--;
  }
  if (!transport->count) {
    forget_written(transport);
  } else if (transport->taken > KEPT && transport->taken > transport->gathered.size / 2) {
    buffer_consume(&transport->gathered, transport->taken);
    transport->taken = 0;
  }
}

static ssize_t write_some(struct transport *transport) {
  struct iovec vectors[VECTORS];
  int count = 0;
  size_t gathered = transport->taken;
  for (size_t i = 0; i < transport->count && count < VECTORS; i++) {
    const struct segment *segment = &transport->segments[transport->first + i];
    const unsigned char *bytes =
        segment->bytes ? segment->bytes : transport->gathered.bytes + gathered;
    if (!segment->bytes) gathered += segment->size;
    vectors[count++] = (struct iovec){(void *)(uintptr_t)bytes, segment->size};
  }
  return transport->stream->write(transport->stream, vectors, count);
}

static void on_writable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  transport_flush(poll->data);
}

static bool open_writable(struct transport *transport) {
  if (transport->writable_fd >= 0) return true;
  int fd = fcntl(transport->stream->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return false;
  if (uv_poll_init(transport->readable.loop, &transport->writable, fd)) {
    close(fd);
    return false;
  }
  transport->writable.data = transport;
  transport->writable_fd = fd;
  transport->handles++;
  return true;
}

static void stop_waiting(struct transport *transport) {
  if (transport->writing) uv_poll_stop(&transport->writable);
  transport->writing = false;
}

// Nothing can be written any more. What still comes is read; then the end shows there.
static void go_deaf(struct transport *transport) {
  transport->deaf = true;
  drop_queue(transport);
  stop_waiting(transport);
}

static void wait_for_room(struct transport *transport) {
  if (transport->writing) return;
  if (!open_writable(transport)) {
    shutdown(transport->stream->fd, SHUT_RDWR);
    go_deaf(transport);
    return;
  }
  transport->writing = true;
  uv_poll_start(&transport->writable, UV_WRITABLE, on_writable);
}

bool transport_flush(struct transport *transport) {
  if (!transport->count || transport->closing) return false;
  if (transport->gathered.failed) {
    shutdown(transport->stream->fd, SHUT_RDWR);
    go_deaf(transport);
    return true;
  }
  while (transport->count) {
    ssize_t size = write_some(transport);
    if (size == -EAGAIN) {
      wait_for_room(transport);
      return true;
    }
    if (size < 0) {
      go_deaf(transport);
      return true;
    }
    written(transport, (size_t)size);
  }
  stop_waiting(transport);
  return true;
}

size_t transport_queued(const struct transport *transport) {
  return transport->queued;
}

uint64_t transport_written(const struct transport *transport) {
  return transport->written;
}

// ---- what comes ----

static void end(struct transport *transport, int error, const char *why) {
  transport->ended = true;
  drop_queue(transport);
  stop_waiting(transport);
  uv_poll_stop(&transport->readable);
  transport->events.closed(transport->owner, error, why);
}

// Delivers the complete messages. False: none will come any more.
static bool deliver(struct transport *transport, int *messages) {
  struct message message;
  int result;
  while ((result = reader_next(transport->reader, &message)) == FRAME_OK) {
    ++*messages;
    transport->events.message(transport->owner, &message);
    if (transport->closing) return false;
  }
  if (result == FRAME_MORE) return true;
  if (transport->ended) return false;
  const char *reason;
  uint64_t offset;
  end(transport, result, reader_error(transport->reader, &reason, &offset));
  return false;
}

static int receive(struct transport *transport, bool all) {
  int messages = 0;
  size_t budget = BUDGET;
  while (!transport->ended && !transport->closing && !transport->paused) {
    size_t room;
    unsigned char *space = reader_space(transport->reader, &room);
    ssize_t size = space ? transport->stream->read(transport->stream, space, room) : 0;
    if (size == -EAGAIN) break;
    if (space && size <= 0) {
      end(transport, (int)size, size ? strerror((int)-size) : "the peer has closed the connection");
      break;
    }
    if (space) reader_received(transport->reader, (size_t)size);
    transport->received += (uint64_t)size;
    bool goes_on = deliver(transport, &messages);
    count(transport);
    if (!goes_on || all) continue;
    // The rest of a short read would be one more system call to learn that nothing is there.
    if ((size_t)size < room || (size_t)size >= budget) break;
    budget -= (size_t)size;
  }
  return messages;
}

int transport_receive(struct transport *transport) {
  return receive(transport, false);
}

void transport_drain(struct transport *transport) {
  receive(transport, true);
}

uint64_t transport_received(const struct transport *transport) {
  return transport->received;
}

void transport_feed(struct transport *transport, const unsigned char *bytes, size_t size) {
  int messages = 0;
  while (size && !transport->closing) {
    size_t room;
    unsigned char *space = reader_space(transport->reader, &room);
    if (!space) return;
    if (room > size) room = size;
    memcpy(space, bytes, room);
    reader_received(transport->reader, room);
    bytes += room;
    size -= room;
    if (!deliver(transport, &messages)) return;
  }
}

// On a socket with an error libuv has stopped the handle: its end is to be read now.
static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)events;
  receive(poll->data, status < 0);
}

void transport_pause(struct transport *transport, bool paused) {
  if (transport->paused == paused || transport->ended || transport->closing) return;
  transport->paused = paused;
  if (paused)
    uv_poll_stop(&transport->readable);
  else
    uv_poll_start(&transport->readable, UV_READABLE, on_readable);
}

// ---- life ----

struct transport *transport_new(uv_loop_t *loop, int fd, enum frame_state state, uint32_t limit,
                                const struct transport_events *events, void *owner) {
  struct transport *transport = xcalloc(1, sizeof *transport);
  transport->stream = stream_socket(fd);
  if (uv_poll_init(loop, &transport->readable, fd)) {
    transport->stream->close(transport->stream);
    free(transport);
    return NULL;
  }
  transport->readable.data = transport;
  transport->writable_fd = -1;
  transport->handles = 1;
  transport->reader = reader_new(state, limit);
  transport->events = *events;
  transport->owner = owner;
  uv_poll_start(&transport->readable, UV_READABLE, on_readable);
  return transport;
}

static void on_closed(uv_handle_t *handle) {
  struct transport *transport = handle->data;
  if (--transport->handles) return;
  reader_free(transport->reader);
  free(transport->segments);
  free(transport);
}

void transport_close(struct transport *transport) {
  if (!transport || transport->closing) return;
  transport->closing = true;
  drop_queue(transport);
  if (transport->sum) *transport->sum -= transport->counted;
  transport->sum = NULL;
  uv_close((uv_handle_t *)&transport->readable, on_closed);
  if (transport->writable_fd >= 0) {
    uv_close((uv_handle_t *)&transport->writable, on_closed);
    close(transport->writable_fd);
  }
  transport->stream->close(transport->stream);
}
