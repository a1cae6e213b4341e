// How a worker answers: small answers gather until the turn ends and go out in one write; a large
// result is written from where it lies in Lua.
#define _GNU_SOURCE
#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../core/error.h"
#include "../core/frame.h"
#include "../core/payload.h"
#include "../io/page.h"
#include "../io/warden.h"
#include "codec.h"
#include "executor_state.h"

// A larger body does not gather.
static const size_t kGathered = 16 * 1024;

enum { RESERVE = 64 * 1024 };

// ---- writing ----

// Moves past what was written.
static int advance(struct iovec **vector, int count, size_t written) {
  while (count && written >= (*vector)->iov_len) {
    written -= (*vector)->iov_len;
    (*vector)++;
    count--;
  }
  if (!count) return 0;
  (*vector)->iov_base = (char *)(*vector)->iov_base + written;
  (*vector)->iov_len -= written;
  return count;
}

static void write_all(struct executor *executor, struct iovec *vector, int count) {
  while (count && !executor->router_gone) {
    struct msghdr header = {.msg_iov = vector, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(executor->data, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      count = advance(&vector, count, (size_t)n);
    } else if (errno == EAGAIN) {
      struct pollfd full = {.fd = executor->data, .events = POLLOUT};
      poll(&full, 1, -1);
    } else if (errno != EINTR) {
      executor->router_gone = true;
    }
  }
}

// Writes what has gathered, and the parts of `body` behind it, which may be NULL.
static void write_out(struct executor *executor, const struct payload *body) {
  if (executor->out.failed) {
    fprintf(stderr, "farside: there is no memory for answers\n");
    executor_exit(EXIT_INTERNAL);
  }
  struct iovec vector[1 + PAYLOAD_PARTS] = {{executor->out.bytes, executor->out.size}};
  int count = 1;
  for (uint32_t i = 0; body && i < body->count; i++)
    vector[count++] = (struct iovec){(void *)(uintptr_t)body->parts[i].bytes, body->parts[i].size};
  size_t size = executor->out.size + (body ? body->size : 0);
  write_all(executor, vector, count);
  buffer_clear(&executor->out);
  page_written(executor->page, size);
}

// Takes back what was left to the warden.
static void own(struct executor *executor) {
  int owner = OUT_LEFT;
  if (atomic_load_explicit(&executor->out_owner, memory_order_acquire) == OUT_OWN) return;
  while (!atomic_compare_exchange_weak(&executor->out_owner, &owner, OUT_OWN)) {
    if (owner == OUT_OWN) return;
    if (owner == OUT_WARDEN) sched_yield();  // it writes without waiting
    owner = OUT_LEFT;
  }
}

void executor_leave(struct executor *executor) {
  atomic_store(&executor->out_owner, OUT_LEFT);
  warden_look(executor->warden);
}

void executor_look(void *owner) {
  struct executor *executor = owner;
  int expected = OUT_LEFT;
  if (!atomic_compare_exchange_strong(&executor->out_owner, &expected, OUT_WARDEN)) return;
  struct buffer *out = &executor->out;
  ssize_t n =
      out->failed ? 0 : send(executor->data, out->bytes, out->size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n > 0) {
    buffer_consume(out, (size_t)n);
    page_written(executor->page, (size_t)n);
  }
  bool is_done = !out->size;
  bool again = !is_done && (n > 0 || errno == EAGAIN || errno == EINTR);
  atomic_store(&executor->out_owner, is_done ? OUT_OWN : OUT_LEFT);
  if (again) warden_look(executor->warden);
}

void executor_flush(struct executor *executor) {
  own(executor);
  if (executor->out.size || executor->out.failed) write_out(executor, NULL);
}

// ---- answers ----

void executor_send(struct executor *executor, struct message *message) {
  struct payload *body = message->body;
  own(executor);
  if (body && body->size > kGathered) {
    frame_header(&executor->out, message);
    write_out(executor, body);
  } else {
    struct buffer *out = &executor->out;
    size_t before = out->size;
    frame_append(out, message);
    if (!out->failed) page_keep(executor->page, before, out->bytes + before, out->size - before);
  }
  payload_unref(body);
}

void executor_answer(struct executor *executor, const struct message *call, enum message_type type,
                     int64_t elapsed, struct payload *body) {
  struct message message = {.type = (uint8_t)type,
                            .id = call->id,
                            .attempt = call->attempt,
                            .epoch = call->epoch,
                            .sequence = call->sequence,
                            .elapsed = elapsed,
                            .body = body};
  executor_send(executor, &message);
}

void executor_answer_cancelled(struct executor *executor, const struct message *call,
                               enum cancel_reason reason) {
  struct error_writer writer;
  bool late = reason == CANCEL_DEADLINE;
  error_begin(&writer, late ? ERROR_DEADLINE_EXCEEDED : ERROR_CANCELLED, EXECUTED_NO, false,
              "worker");
  error_message(&writer, "the call was ended before its function was entered");
  if (!late) error_string(&writer, "by", reason == CANCEL_SHUTDOWN ? "shutdown" : "client");
  executor_answer(executor, call, MESSAGE_ERROR, 0, error_end(&writer));
}

void executor_answer_interrupted(struct executor *executor, const struct message *call) {
  struct error_writer writer;
  error_begin(&writer, ERROR_CANCELLED, EXECUTED_YES, false, "worker");
  error_message(&writer, "the call was interrupted");
  executor_answer(executor, call, MESSAGE_ERROR, 0, error_end(&writer));
}

void executor_answer_memory(struct executor *executor, const struct message *call, bool entered) {
  struct error_writer writer;
  free(executor->reserve);
  lua_gc(executor->L, LUA_GCCOLLECT, 0);
  error_begin(&writer, ERROR_REMOTE_ERROR, entered ? EXECUTED_YES : EXECUTED_NO, false, "function");
  error_message(&writer, "not enough memory");
  error_string(&writer, "kind", "memory");
  executor_answer(executor, call, MESSAGE_ERROR, 0, error_end(&writer));
  executor->reserve = malloc(RESERVE);
}

// ---- errors ----

// Takes `data` out of the error table below the refusal on top of the stack, which is popped, and
// says so in the message.
static void drop_data(lua_State *L) {
  int table = lua_gettop(L) - 1;
  lua_getfield(L, table, "message");
  lua_getfield(L, -2, "message");
  lua_pushfstring(L, "%s (its data was left out: %s)", lua_tostring(L, -2), lua_tostring(L, -1));
  lua_setfield(L, table, "message");
  lua_pushnil(L);
  lua_setfield(L, table, "data");
  lua_settop(L, table);
}

struct payload *executor_error_body(struct executor *executor, lua_State *L) {
  int table = lua_gettop(L), registry = 0;
  if (executor->callbacks.registry) {
    executor_push(L, executor->callbacks.registry);
    lua_insert(L, table);
    registry = table++;
  }
  struct payload *body = codec_encode(L, table, 1, registry, 0, "result");
  if (!body) {
    drop_data(L);
    body = codec_encode(L, table, 1, registry, 0, "result");
  }
  lua_settop(L, registry ? registry - 1 : table - 1);
  if (body) return body;
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "function");
  error_message(&writer, "the function raised an error that cannot travel");
  return error_end(&writer);
}
