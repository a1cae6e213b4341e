#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/buffer.h"
#include "../core/contact.h"
#include "../core/cursor.h"
#include "../core/error.h"
#include "../core/files.h"
#include "../core/frame.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/payload.h"
#include "address.h"
#include "loop.h"
#include "transport.h"
#include "wait.h"

// Calls made in a row share a write, unless the last one is this long ago.
static const int64_t kGather = 20 * INT64_C(1000);
// A router that has no room for one more that connects is tried again later: the loop does not
// wait.
static const int64_t kConnect = NANOSECONDS_PER_MILLISECOND;

struct connection {
  struct loop *loop;
  char *path;
  struct payload *hello, *files;
  char *manifest;
  size_t manifest_size;
  struct connection_events events;

  struct contact *contact;
  struct transport *transport;  // NULL: closed
  struct payload *refusal;
  char why[256];

  int64_t now;      // when it was turned last, or something was sent
  bool is_dirty;    // something is not flushed
  bool was_idle;    // no answer was due before that
  int64_t flushed;  // when
};

// ---- life ----

struct connection *connection_new(struct loop *loop, const struct connection_options *options,
                                  const struct connection_events *events) {
  struct connection *connection = xcalloc(1, sizeof *connection);
  connection->loop = loop;
  connection->path = strdup(options->path);
  connection->hello = payload_ref(options->hello);
  connection->files = options->files ? payload_join(options->files) : NULL;
  connection->manifest = xcalloc(1, options->manifest_size + 1);
  memcpy(connection->manifest, options->manifest, options->manifest_size);
  connection->manifest_size = options->manifest_size;
  connection->events = *events;
  connection->contact =
      contact_new(options->path, options->functions, options->function_count, options->seed);
  if (!connection->path) abort();
  return connection;
}

void connection_free(struct connection *connection) {
  if (!connection) return;
  contact_free(connection->contact);
  payload_unref(connection->refusal);
  payload_unref(connection->hello);
  payload_unref(connection->files);
  free(connection->manifest);
  free(connection->path);
  free(connection);
}

void connection_close(struct connection *connection) {
  if (!connection->transport) return;
  transport_flush(connection->transport);
  transport_close(connection->transport);
  connection->transport = NULL;
}

// ---- what goes ----

static uint64_t position(const struct connection *connection) {
  return transport_written(connection->transport) + transport_queued(connection->transport);
}

static void put(struct connection *connection, struct message *message) {
  connection->is_dirty = true;
  transport_send(connection->transport, message);
}

static void deliver_answers(struct connection *connection, int64_t now) {
  struct message message;
  while (contact_answer(connection->contact, &message))
    connection->events.message(connection->events.owner, &message, now);
}

void connection_send(struct connection *connection, struct message *message, int64_t now) {
  bool is_call = message->type == MESSAGE_CALL;
  connection->now = now;
  uint64_t at = connection->transport ? position(connection) : 0;
  bool goes = is_call ? contact_call(connection->contact, message, at, now)
                      : contact_control(connection->contact, message);
  if (goes) {
    if (!connection->is_dirty) connection->was_idle = contact_out(connection->contact) <= 1;
    put(connection, message);
  }
  deliver_answers(connection, now);
}

void connection_flush(struct connection *connection) {
  if (!connection->is_dirty) return;
  connection->is_dirty = false;
  if (connection->transport) transport_flush(connection->transport);
}

void connection_push(struct connection *connection, int64_t now) {
  if (!connection->is_dirty) return;
  if (!connection->was_idle && now - connection->flushed <= kGather) return;
  connection_flush(connection);
  connection->flushed = now;
}

static void send_waiting(struct connection *connection, int64_t now) {
  struct message message;
  while (contact_next(connection->contact, position(connection), &message, now))
    put(connection, &message);
  connection_flush(connection);
}

// ---- ends of connections ----

static void drop_transport(struct connection *connection) {
  transport_close(connection->transport);
  connection->transport = NULL;
  connection->is_dirty = false;
}

static void lose(struct connection *connection, const char *why, int64_t now) {
  uint64_t written = transport_written(connection->transport);
  bool had_calls = contact_out(connection->contact);
  snprintf(connection->why, sizeof connection->why, "%s", why);
  drop_transport(connection);
  contact_lost(connection->contact, written, connection->why, now);
  if (had_calls) connection->events.lost(connection->events.owner, connection, now);
  deliver_answers(connection, now);
  loop_stir(connection->loop);
}

// ---- the handshake ----

static bool text_of(const struct payload *body, const char *key, const unsigned char **text,
                    size_t *size) {
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size), value;
  size_t count;
  if (!cursor_array(&map, &count) || !count || !cursor_find(map, key, &value)) return false;
  return cursor_str(&value, text, size) || cursor_bin(&value, text, size);
}

static bool is_true(const struct payload *body, const char *key) {
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size), value;
  size_t count;
  bool found;
  return cursor_array(&map, &count) && count && cursor_find(map, key, &value) &&
         cursor_bool(&value, &found) && found;
}

static double number_of(const struct payload *body, const char *key) {
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size), value;
  size_t count;
  double number = 0;
  if (cursor_array(&map, &count) && count && cursor_find(map, key, &value))
    cursor_number(&value, &number);
  return number;
}

// Takes over the error.
static void refuse(struct connection *connection, struct payload *error, int64_t now) {
  const unsigned char *text;
  size_t size;
  bool is_final = !is_true(error, "retryable");
  double pause = number_of(error, "retry_after") * 1e6;
  if (!(pause > 0)) pause = 0;
  if (pause > (double)LIMIT_DEADLINE) pause = (double)LIMIT_DEADLINE;
  if (text_of(error, "message", &text, &size))
    snprintf(connection->why, sizeof connection->why, "%.*s", (int)size, (const char *)text);
  payload_unref(connection->refusal);
  connection->refusal = payload_ref(error);
  drop_transport(connection);
  contact_refused(connection->contact, error, is_final, (int64_t)pause, now);
  deliver_answers(connection, now);
  loop_stir(connection->loop);
}

// The scripts are the same files, and yet declare other things.
static struct payload *other_manifest(void) {
  struct error_writer writer;
  error_begin(&writer, ERROR_DEPLOYMENT_CHANGED, EXECUTED_NO, false, "sdk");
  error_message(
      &writer,
      "the router runs the same files, but there they declare other functions, options or "
      "classes: what a deploy script declares may not depend on its environment");
  return error_end(&writer);
}

static void welcome(struct connection *connection, struct message *message, int64_t now) {
  const unsigned char *text;
  size_t size;
  bool has_manifest = message->body && text_of(message->body, "manifest", &text, &size);
  bool is_same = !has_manifest ||
                 (size == connection->manifest_size && !memcmp(text, connection->manifest, size));
  payload_unref(message->body);
  message->body = NULL;
  if (!is_same) {
    refuse(connection, other_manifest(), now);
    return;
  }
  payload_unref(connection->refusal);
  connection->refusal = NULL;
  contact_opened(connection->contact, message->epoch);
  send_waiting(connection, now);
  loop_stir(connection->loop);
}

// ---- what comes ----

static struct payload *version_mismatch(const char *why) {
  struct error_writer writer;
  error_begin(&writer, ERROR_VERSION_MISMATCH, EXECUTED_NO, false, "sdk");
  error_message(&writer, "%s", why);
  return error_end(&writer);
}

static void on_closed(void *owner, int error, const char *why) {
  struct connection *connection = owner;
  if (error == FRAME_VERSION)
    refuse(connection, version_mismatch(why), wait_now());
  else
    lose(connection, why, wait_now());
}

static void on_other(struct connection *connection, struct message *message, int64_t now) {
  bool is_open = contact_state(connection->contact) != CONTACT_CONNECTING;
  switch (message->type) {
    case MESSAGE_WELCOME:
      if (!is_open) welcome(connection, message, now);
      break;
    case MESSAGE_ERROR:  // of the connection
      if (!is_open) {
        refuse(connection, files_explain(message->body, connection->files), now);
        return;
      }
      break;
    case MESSAGE_DRAIN:
      contact_drained(connection->contact);
      break;
    case MESSAGE_PING: {
      struct message pong = {.type = MESSAGE_PONG, .sequence = message->sequence};
      transport_send(connection->transport, &pong);
      transport_flush(connection->transport);
      break;
    }
    default:
      break;
  }
  payload_unref(message->body);
}

static void on_message(void *owner, struct message *message) {
  struct connection *connection = owner;
  int64_t now = connection->now;
  bool is_of_call = message->id.session || message->id.counter;
  bool is_end = message->type == MESSAGE_RESULT || message->type == MESSAGE_ERROR;
  bool is_part = message->type == MESSAGE_ITEM || message->type == MESSAGE_PROGRESS;
  if (!(is_end || is_part) || !is_of_call ||
      contact_state(connection->contact) == CONTACT_CONNECTING) {
    on_other(connection, message, wait_now());
    return;
  }
  if (is_end && !contact_ended(connection->contact, message, now)) {
    payload_unref(message->body);
    return;
  }
  connection->events.message(connection->events.owner, message, now);
}

void connection_poll(struct connection *connection) {
  if (connection->transport && contact_out(connection->contact))
    transport_receive(connection->transport);
}

// ---- attempts ----

// Preface and HELLO fit into the buffer of a fresh socket.
static int say_hello(struct connection *connection, int fd) {
  struct message hello = {
      .type = MESSAGE_HELLO, .role = ROLE_CLIENT, .limit = LIMIT_FRAME, .body = connection->hello};
  struct buffer bytes = BUFFER_EMPTY;
  frame_preface(&bytes);
  frame_append(&bytes, &hello);
  ssize_t sent = bytes.failed ? -1 : send(fd, bytes.bytes, bytes.size, MSG_NOSIGNAL | MSG_DONTWAIT);
  int error = sent == (ssize_t)bytes.size ? 0 : sent < 0 && !bytes.failed ? -errno : -EIO;
  buffer_free(&bytes);
  return error;
}

static int try_connect(struct connection *connection, char *why, size_t size) {
  static const struct transport_events events = {on_message, on_closed};
  int fd = address_connect(connection->path, kConnect, why, size);
  if (fd < 0) return fd;
  int error = say_hello(connection, fd);
  if (!error) {
    connection->transport = transport_new(loop_uv(connection->loop), fd, FRAME_PREFACE, LIMIT_FRAME,
                                          &events, connection);
    if (connection->transport) return 0;
    snprintf(why, size, "the event loop takes no more sockets");
    return -ENOMEM;
  }
  snprintf(why, size, "the router at unix:%s does not listen: %s", connection->path,
           strerror(-error));
  close(fd);
  return error;
}

static int attempt(struct connection *connection, int64_t now) {
  int error = try_connect(connection, connection->why, sizeof connection->why);
  if (error) contact_lost(connection->contact, 0, connection->why, now);
  return error;
}

int connection_begin(struct connection *connection, int64_t now, char *why, size_t size) {
  contact_due(connection->contact, now);
  int error = attempt(connection, now);
  if (error) snprintf(why, size, "%s", connection->why);
  return error;
}

// ---- turns ----

int64_t connection_turn(struct connection *connection, int64_t now) {
  struct contact *contact = connection->contact;
  connection->now = now;
  if (now >= contact_deadline(contact)) {
    contact_tick(contact, now);
    deliver_answers(connection, now);
    if (contact_is_late(contact, now))
      lose(connection, "the router accepted the connection and did not answer within 5 s", now);
    if (contact_due(contact, now)) attempt(connection, now);
  }
  connection_flush(connection);
  return contact_deadline(contact);
}

// ---- what is going on ----

enum connection_state connection_state(const struct connection *connection) {
  switch (contact_state(connection->contact)) {
    case CONTACT_OPEN:
    case CONTACT_DRAINING:
      return CONNECTION_OPEN;
    case CONTACT_CONNECTING:
      return CONNECTION_TRYING;
    case CONTACT_CLOSED:
      break;
  }
  return connection->refusal ? CONNECTION_REFUSED : CONNECTION_LOST;
}

bool connection_is_draining(const struct connection *connection) {
  return contact_state(connection->contact) == CONTACT_DRAINING;
}

const struct payload *connection_refusal(const struct connection *connection) {
  return connection->refusal;
}

const char *connection_why(const struct connection *connection) {
  return connection->why;
}

const char *connection_path(const struct connection *connection) {
  return connection->path;
}

uint64_t connection_epoch(const struct connection *connection) {
  return contact_epoch(connection->contact);
}

void connection_waiting(const struct connection *connection,
                        void (*each)(void *owner, uint64_t call), void *owner) {
  contact_each(connection->contact, each, owner);
}

void connection_count(const struct connection *connection, size_t *waiting, size_t *out) {
  *waiting = contact_waiting(connection->contact);
  *out = contact_out(connection->contact);
}
