// Workers and their GPUs. A worker whose GPU has failed says so in its GOODBYE and ends; what it had
// entered ends in GpuFault, as it was told. One whose GPU has no memory for its calls goes on, but
// not for ever: then it is replaced between calls.
#include <string.h>

#include "cursor.h"
#include "pack.h"
#include "router_state.h"

enum { MEMORY_ERRORS = 3 };  // in a row

bool router_gpu_failed(const struct worker *worker) {
  return worker->phase == PHASE_GPU_FAULT || worker->phase == PHASE_GPU_LOST;
}

bool router_gpu_missing(const struct worker *worker) {
  return worker->phase == PHASE_NO_DEVICE || worker->phase == PHASE_UNSUPPORTED;
}

// The map of an error. False: there is none.
static bool map_of(const struct payload *body, struct cursor *map) {
  size_t count;
  if (!body || body->count != 1) return false;
  *map = cursor_of(body->parts[0].bytes, body->parts[0].size);
  return cursor_array(map, &count) && count == 1 && cursor_type(map) == CURSOR_MAP;
}

static bool find_text(struct cursor map, const char *key, const unsigned char **text,
                      size_t *size) {
  struct cursor value;
  return cursor_find(map, key, &value) && cursor_str(&value, text, size);
}

static bool has_text(struct cursor map, const char *key, const char *wanted) {
  const unsigned char *text;
  size_t size;
  return find_text(map, key, &text, &size) && size == strlen(wanted) && !memcmp(text, wanted, size);
}

void router_gpu_told(struct router *router, const struct worker *worker) {
  const unsigned char *text = (const unsigned char *)"";
  size_t size = 0;
  if (!router_gpu_failed(worker)) return;
  error_says(worker->goodbye, "message", &text, &size);
  router_log(router, worker->deployment, "the GPU of worker %u %s: %.*s", worker->number,
             worker->phase == PHASE_GPU_LOST ? "is lost, and goes to no worker any more"
                                             : "has failed, the worker is replaced",
             (int)size, (const char *)text);
}

// What the worker said of the fault goes into the error of each call.
static void copy_fields(struct error_writer *writer, struct cursor map) {
  static const char *const texts[] = {"cuda_name", "device"};
  const unsigned char *text;
  size_t size;
  struct cursor value;
  double code;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (find_text(map, texts[i], &text, &size)) pack_str(error_value(writer, texts[i]), text, size);
  if (cursor_find(map, "cuda_code", &value) && cursor_number(&value, &code))
    error_number(writer, "cuda_code", code);
  pack_bool(error_value(writer, "sticky"), true);
}

struct payload *router_gpu_fault(struct router *router, struct call *call) {
  const struct worker *worker = call_worker(router, call);
  struct error_writer writer;
  struct cursor map;
  const unsigned char *text = (const unsigned char *)"its GPU has failed";
  size_t size = strlen((const char *)text);
  error_begin(&writer, ERROR_GPU_FAULT, EXECUTED_MAYBE, call->flags & CALL_IDEMPOTENT, "worker");
  bool is_told = map_of(worker->goodbye, &map);
  if (is_told) find_text(map, "message", &text, &size);
  error_message(&writer, "worker %u: %.*s", worker->number, (int)size, (const char *)text);
  if (is_told) copy_fields(&writer, map);
  router_write_call(&writer, router, call);
  return error_end(&writer);
}

void router_gpu_answered(struct router *router, struct worker *worker,
                         const struct message *message, int64_t now) {
  struct cursor map;
  bool is_memory = message->type == MESSAGE_ERROR && map_of(message->body, &map) &&
                   has_text(map, "kind", "gpu_memory");
  worker->memory_errors = is_memory ? worker->memory_errors + 1 : 0;
  if (worker->memory_errors >= MEMORY_ERRORS)
    router_recycle_for(router, worker, "its GPU had no memory for three calls in a row", now);
}
