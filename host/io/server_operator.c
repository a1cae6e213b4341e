#include <stdlib.h>
#include <string.h>

#include "../core/buffer.h"
#include "../core/cursor.h"
#include "../core/error.h"
#include "../core/limits.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "../core/router_why.h"
#include "server_state.h"
#include "wait.h"

// A request while it is answered.
struct request {
  struct peer *peer;
  uint64_t sequence;
  struct cursor options;  // a map, or at its end
  int64_t now;
};

// ---- replies ----

static void reply(const struct request *request, struct buffer *body) {
  struct message message = {.type = MESSAGE_REPLY,
                            .sequence = request->sequence,
                            .body = body->failed ? NULL : payload_copy(body->bytes, body->size)};
  buffer_free(body);
  if (!message.body) abort();
  server_send(request->peer, &message, request->now);
}

static struct buffer begin_reply(void) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 2);
  pack_bool(&body, true);
  return body;
}

void server_fail(struct peer *peer, uint64_t sequence, struct payload *error, int64_t now) {
  struct buffer body = BUFFER_EMPTY;
  pack_array(&body, 2);
  pack_bool(&body, false);
  buffer_append(&body, error->parts[0].bytes + 1, error->size - 1);  // the map in its body
  payload_unref(error);
  struct request request = {.peer = peer, .sequence = sequence, .now = now};
  reply(&request, &body);
}

static void fail(const struct request *request, struct payload *error) {
  server_fail(request->peer, request->sequence, error, request->now);
}

// ---- options ----

static bool option_text(const struct request *request, const char *key, char *text, size_t size) {
  struct cursor value;
  const unsigned char *bytes;
  size_t length;
  if (!cursor_find(request->options, key, &value) || !cursor_str(&value, &bytes, &length) ||
      length >= size || memchr(bytes, 0, length))
    return false;
  memcpy(text, bytes, length);
  text[length] = 0;
  return true;
}

static bool option_is_set(const struct request *request, const char *key) {
  struct cursor value;
  bool set = false;
  return cursor_find(request->options, key, &value) && cursor_bool(&value, &set) && set;
}

static uint32_t option_worker(const struct request *request) {
  struct cursor value;
  uint64_t number;
  if (!cursor_find(request->options, "worker", &value) || !cursor_uint(&value, &number))
    return ROUTER_NONE;
  return number < ROUTER_NONE ? (uint32_t)number : ROUTER_NONE - 1;
}

// The deployment that the options name, or that of the connection. NULL: it was told that there is
// none.
static struct served *find_deployment(const struct request *request) {
  char name[GATE_NAME + 1], tag[GATE_NAME + 1];
  if (!option_text(request, "deployment", name, sizeof name)) return request->peer->deployment;
  if (!option_text(request, "tag", tag, sizeof tag)) strcpy(tag, "default");
  struct served *served = server_find(request->peer->server, name, tag);
  if (served) return served;
  struct error_writer writer;
  error_begin(&writer, ERROR_NO_SUCH_DEPLOYMENT, EXECUTED_NO, false, "router");
  error_message(&writer, "this router serves no deployment '%s' with the tag '%s'", name, tag);
  fail(request, error_end(&writer));
  return NULL;
}

// ---- requests ----

static void on_status(const struct request *request) {
  struct buffer body = begin_reply();
  server_pack_status(request->peer->server, &body);
  reply(request, &body);
}

static void on_describe(const struct request *request) {
  const struct served *served = find_deployment(request);
  if (!served) return;
  struct buffer body = begin_reply();
  const struct payload *description = served->description;
  if (description)
    buffer_append(&body, description->parts[0].bytes + 1, description->size - 1);
  else
    pack_nil(&body);
  reply(request, &body);
}

static void on_metrics(const struct request *request) {
  struct buffer body = begin_reply(), text = BUFFER_EMPTY;
  server_metrics(request->peer->server, &text);
  pack_str(&body, (const char *)text.bytes, text.size);
  buffer_free(&text);
  reply(request, &body);
}

// A call's id as people see it: 32 hexadecimal digits.
static bool option_call(const struct request *request, struct call_id *id) {
  char text[33], *end;
  if (!option_text(request, "call", text, sizeof text)) return false;
  if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32) return false;
  id->counter = strtoull(text + 16, &end, 16);
  text[16] = 0;
  id->session = strtoull(text, &end, 16);
  return true;
}

static void on_why(const struct request *request) {
  struct server *server = request->peer->server;
  struct error_writer writer;
  struct call_id id;
  struct why why;
  if (!option_call(request, &id)) {
    error_begin(&writer, ERROR_BAD_ARGUMENTS, EXECUTED_NO, false, "router");
    error_message(&writer, "call: expected the 32 hexadecimal digits of a call's id");
    error_string(&writer, "parameter", "call");
    fail(request, error_end(&writer));
  } else if (!router_why(hub_router(server->hub), id, &why)) {
    error_begin(&writer, ERROR_BAD_ARGUMENTS, EXECUTED_NO, false, "router");
    error_message(&writer,
                  "this router has no such call among the latest %d that it has decided on",
                  LIMIT_WHYS);
    error_string(&writer, "parameter", "call");
    fail(request, error_end(&writer));
  } else {
    struct buffer body = begin_reply();
    server_pack_why(server, &why, wait_now(), &body);
    reply(request, &body);
  }
}

static void on_stop(const struct request *request) {
  struct buffer body = begin_reply();
  pack_bool(&body, true);
  reply(request, &body);
  server_finish(request->peer->server, "an operator asks for it");
}

static void on_logs(const struct request *request) {
  struct served *served = find_deployment(request);
  if (!served) return;
  struct peer *peer = request->peer;
  uint32_t worker = option_worker(request);
  server_send_tails(peer, served, worker, request->now);
  peer->deployment = served;
  peer->follow_worker = worker;
  peer->follows = option_is_set(request, "follow");
  struct buffer body = begin_reply();
  pack_bool(&body, true);
  reply(request, &body);
}

static const struct {
  const char *name;
  void (*answer)(const struct request *request);
} requests[] = {
    {"status", on_status}, {"describe", on_describe}, {"metrics", on_metrics},
    {"stop", on_stop},     {"logs", on_logs},         {"why", on_why},
};

enum { REQUESTS = sizeof requests / sizeof *requests };

static void no_such_request(const struct request *request, const char *name) {
  struct error_writer writer;
  error_begin(&writer, ERROR_UNSUPPORTED, EXECUTED_NO, false, "router");
  error_message(&writer, "this router (version %s) knows no request '%s'", FARSIDE_VERSION, name);
  error_string(&writer, "feature", name);
  fail(request, error_end(&writer));
}

// [name, {options}]; options may be missing or empty.
static bool read_request(struct request *request, const struct payload *body, char *name,
                         size_t size) {
  struct cursor at = cursor_of(body->parts[0].bytes, body->parts[0].size);
  const unsigned char *bytes;
  size_t count, length;
  if (body->count != 1 || !cursor_array(&at, &count) || !count ||
      !cursor_str(&at, &bytes, &length) || length >= size)
    return false;
  memcpy(name, bytes, length);
  name[length] = 0;
  request->options = at;
  return true;
}

void server_request(struct peer *peer, struct message *message, int64_t now) {
  struct request request = {.peer = peer, .sequence = message->sequence, .now = now};
  char name[64] = "";
  size_t i = REQUESTS;
  if (read_request(&request, message->body, name, sizeof name))
    for (i = 0; i < REQUESTS && strcmp(name, requests[i].name);) i++;
  if (i < REQUESTS)
    requests[i].answer(&request);
  else
    no_such_request(&request, name);
  payload_unref(message->body);
}
