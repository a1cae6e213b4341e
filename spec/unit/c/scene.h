// A router with its deployments, and what it wants done; for the checks of host/core/router*.c. Time
// passes only where a check says so.
#pragma once

#include <stdbool.h>

#include "../../../host/core/cursor.h"
#include "../../../host/core/error.h"
#include "../../../host/core/limits.h"
#include "../../../host/core/payload.h"
#include "../../../host/core/router.h"
#include "check.h"

#define MILLISECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_MILLISECOND)
#define SECONDS(n) ((int64_t)(n)*NANOSECONDS_PER_SECOND)
#define MANIFEST "app\nsquare(x)\n"

enum { EPOCH = 77, WANTED = 65536, PEER = 1 };

struct scene {
  struct router *router;
  int64_t now;
  uint64_t calls;  // made
  struct action *wanted;
  size_t count;               // of wanted actions; those taken have the type TAKEN
  size_t lines;               // that the router has said to a person
  char said[512], told[512];  // the last of them, the one before
};

enum { TAKEN = -1 };

static inline void scene_gather(struct scene *scene) {
  struct action action;
  while (router_next(scene->router, &action)) {
    if (action.type == ROUTER_LOG) {
      memcpy(scene->told, scene->said, sizeof scene->told);
      snprintf(scene->said, sizeof scene->said, "%s", action.text);
      scene->lines++;
      continue;
    }
    EXPECT(scene->count < WANTED);
    scene->wanted[scene->count++] = action;
  }
}

/// A router with one client, PEER, and no deployment.
static inline struct scene scene_open(int64_t heartbeat, uint32_t misses) {
  struct router_options options = {
      .seed = 1, .epoch = EPOCH, .heartbeat = heartbeat, .heartbeat_misses = misses};
  struct scene scene = {.router = router_new(&options), .now = SECONDS(1000)};
  scene.wanted = calloc(WANTED, sizeof *scene.wanted);
  router_client(scene.router, PEER, scene.now);
  return scene;
}

static inline uint32_t scene_deploy(struct scene *scene, const struct router_function *functions,
                                    uint32_t function_count, uint32_t workers) {
  struct router_deployment_options options = {.name = "app",
                                              .functions = functions,
                                              .function_count = function_count,
                                              .manifest = MANIFEST,
                                              .manifest_size = strlen(MANIFEST),
                                              .workers = workers};
  uint32_t number = router_deployment(scene->router, &options, scene->now);
  scene_gather(scene);
  return number;
}

/// A router with PEER and one deployment of one function that runs one call at a time.
static inline struct scene scene_square(uint32_t workers) {
  struct scene scene = scene_open(0, 0);
  EXPECT_EQUAL(0, scene_deploy(&scene, &(struct router_function){.concurrency = 1}, 1, workers));
  return scene;
}

static inline void scene_close(struct scene *scene) {
  for (size_t i = 0; i < scene->count; i++)
    if ((int)scene->wanted[i].type != TAKEN) payload_unref(scene->wanted[i].message.body);
  free(scene->wanted);
  router_free(scene->router);
}

// ---- time ----

static inline void scene_tick(struct scene *scene) {
  router_tick(scene->router, scene->now);
  scene_gather(scene);
}

/// Lets time pass, with a tick at each instant the router asked for.
static inline void scene_pass(struct scene *scene, int64_t time) {
  int64_t until = scene->now + time, deadline;
  while ((deadline = router_deadline(scene->router)) <= until) {
    if (deadline > scene->now) scene->now = deadline;
    scene_tick(scene);
  }
  scene->now = until;
}

// ---- what the router wants ----

// The first action of this kind that was not taken: for a worker, or for a client if `worker` is
// ROUTER_NONE; of this type of message, or any with 0.
static inline struct action *scene_find(struct scene *scene, enum router_action type,
                                        uint32_t worker, int message) {
  for (size_t i = 0; i < scene->count; i++) {
    struct action *action = &scene->wanted[i];
    if (action->type != type || action->worker != worker) continue;
    if (!message || action->message.type == message) return action;
  }
  return NULL;
}

static inline bool scene_take(struct scene *scene, enum router_action type, uint32_t worker,
                              int message, struct action *taken) {
  struct action *action = scene_find(scene, type, worker, message);
  if (!action) return false;
  *taken = *action;
  action->type = (enum router_action)TAKEN;
  while (scene->count && (int)scene->wanted[scene->count - 1].type == TAKEN) scene->count--;
  return true;
}

static inline bool scene_starts(struct scene *scene, uint32_t worker) {
  struct action action;
  return scene_take(scene, ROUTER_START, worker, 0, &action);
}

static inline bool scene_kills(struct scene *scene, uint32_t worker) {
  struct action action;
  return scene_take(scene, ROUTER_KILL, worker, 0, &action);
}

/// A message of this type to `worker`; its body, if any, is dropped.
static inline bool scene_sends(struct scene *scene, uint32_t worker, enum message_type type,
                               struct message *message) {
  struct action action;
  if (!scene_take(scene, ROUTER_SEND, worker, (int)type, &action)) return false;
  payload_unref(action.message.body);
  if (message) *message = action.message;
  return true;
}

/// The next answer for a client, of whichever call.
static inline bool scene_answers(struct scene *scene, struct message *message) {
  struct action action;
  if (!scene_take(scene, ROUTER_SEND, ROUTER_NONE, 0, &action)) return false;
  *message = action.message;
  return true;
}

static inline bool scene_is_silent(struct scene *scene) {
  return !scene_find(scene, ROUTER_SEND, ROUTER_NONE, 0);
}

/// Takes all answers for clients.
static inline void scene_drop_answers(struct scene *scene) {
  struct message answer;
  while (scene_answers(scene, &answer)) payload_unref(answer.body);
}

// ---- clients ----

/// Makes a call of PEER; the number of the call is its id's counter. Unless it brings a body of its
/// own, its argument is that number.
static inline uint64_t scene_call_with(struct scene *scene, uint32_t peer, struct message message) {
  message.type = MESSAGE_CALL;
  message.id = (struct call_id){peer, ++scene->calls};
  message.attempt = 1;
  if (message.remaining == 0) message.flags |= CALL_DEFAULT_DEADLINE;
  const unsigned char arguments[] = {0x91, 0xcd, (unsigned char)(scene->calls >> 8),
                                     (unsigned char)scene->calls};
  if (!message.body) message.body = payload_copy(arguments, sizeof arguments);
  router_client_message(scene->router, peer, 0, &message, scene->now);
  scene_gather(scene);
  return scene->calls;
}

static inline uint64_t scene_call(struct scene *scene, uint32_t function, int64_t timeout) {
  return scene_call_with(
      scene, PEER, (struct message){.function = function, .remaining = timeout, .workload = 1});
}

static inline void scene_cancel(struct scene *scene, uint64_t call) {
  struct message message = {.type = MESSAGE_CANCEL, .id = {PEER, call}};
  router_client_message(scene->router, PEER, 0, &message, scene->now);
  scene_gather(scene);
}

// ---- workers ----

static inline uint32_t scene_generation(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.generation;
}

static inline void scene_worker_says(struct scene *scene, uint32_t worker,
                                     struct message *message) {
  router_worker_message(scene->router, worker, scene_generation(scene, worker), message,
                        scene->now);
  scene_gather(scene);
}

/// READY with this manifest; `score` for each function, none with 0.
static inline void scene_reports(struct scene *scene, uint32_t worker, const char *manifest,
                                 uint32_t functions, double score) {
  struct buffer bytes = BUFFER_EMPTY;
  pack_array(&bytes, 2);
  pack_text(&bytes, manifest);
  pack_map(&bytes, score > 0 ? functions : 0);
  for (uint32_t i = 0; score > 0 && i < functions; i++) {
    pack_uint(&bytes, i);
    pack_double(&bytes, score);
  }
  struct message message = {.type = MESSAGE_READY,
                            .generation = scene_generation(scene, worker),
                            .body = payload_copy(bytes.bytes, bytes.size)};
  buffer_free(&bytes);
  scene_worker_says(scene, worker, &message);
}

static inline void scene_ready(struct scene *scene, uint32_t worker) {
  scene_reports(scene, worker, MANIFEST, 0, 0);
}

/// The call that the router has given to `worker`; there has to be one.
static inline struct message scene_dispatched(struct scene *scene, uint32_t worker) {
  struct message message;
  EXPECT(scene_sends(scene, worker, MESSAGE_CALL, &message));
  return message;
}

static inline bool scene_is_given_nothing(struct scene *scene, uint32_t worker) {
  return !scene_find(scene, ROUTER_SEND, worker, MESSAGE_CALL);
}

/// The worker answers a call it was given.
static inline void scene_reply(struct scene *scene, uint32_t worker, struct message call,
                               enum message_type type) {
  call.type = (uint8_t)type;
  call.body = type == MESSAGE_RESULT || type == MESSAGE_ERROR ? payload_copy("\x91\x19", 2) : NULL;
  scene_worker_says(scene, worker, &call);
}

/// The body of an error that a function raised, of such a type.
static inline struct payload *scene_raised(const char *type) {
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "worker");
  error_message(&writer, "no");
  error_string(&writer, "type", type);
  return error_end(&writer);
}

static inline void scene_lost(struct scene *scene, uint32_t worker, enum lost_reason reason,
                              int code, uint64_t entered) {
  router_worker_lost(scene->router, worker, scene_generation(scene, worker), reason, code, entered,
                     scene->now);
  scene_gather(scene);
}

static inline enum worker_state scene_state(struct scene *scene, uint32_t worker) {
  struct worker_status status;
  EXPECT(router_worker_status(scene->router, worker, &status));
  return status.state;
}

// ---- errors ----

static inline struct cursor scene_map(const struct payload *body) {
  size_t count;
  EXPECT(body && body->count == 1);
  struct cursor cursor = cursor_of(body->parts[0].bytes, body->size);
  EXPECT(cursor_array(&cursor, &count) && count == 1);
  return cursor;
}

static inline bool scene_map_says(struct cursor map, const char *key, const char *text) {
  struct cursor value;
  const unsigned char *bytes;
  size_t size;
  return cursor_find(map, key, &value) && cursor_str(&value, &bytes, &size) &&
         size == strlen(text) && !memcmp(bytes, text, size);
}

static inline bool scene_map_counts(struct cursor map, const char *key, double number) {
  struct cursor value;
  double got;
  return cursor_find(map, key, &value) && cursor_number(&value, &got) && got == number;
}

static inline bool scene_map_mentions(struct cursor map, const char *key, const char *part) {
  struct cursor value;
  const unsigned char *bytes;
  size_t size;
  if (!cursor_find(map, key, &value) || !cursor_str(&value, &bytes, &size)) return false;
  for (size_t i = 0; i + strlen(part) <= size; i++)
    if (!memcmp(bytes + i, part, strlen(part))) return true;
  return false;
}

/// The next answer is an error of this name for `call` and says so of its execution. The caller owns
/// its body.
static inline struct payload *scene_error(struct scene *scene, uint64_t call, const char *name,
                                          const char *executed) {
  struct message message;
  EXPECT(scene_answers(scene, &message));
  EXPECT_EQUAL(MESSAGE_ERROR, message.type);
  EXPECT_EQUAL(call, message.id.counter);
  if (!scene_map_says(scene_map(message.body), "name", name))
    printf("no %s: %.*s\n", name, (int)message.body->size, (const char *)message.body->bytes);
  EXPECT(scene_map_says(scene_map(message.body), "name", name));
  EXPECT(scene_map_says(scene_map(message.body), "executed", executed));
  return message.body;
}

static inline void scene_fails(struct scene *scene, uint64_t call, const char *name,
                               const char *executed) {
  payload_unref(scene_error(scene, call, name, executed));
}

/// The next answer is the result of `call`.
static inline void scene_succeeds(struct scene *scene, uint64_t call) {
  struct message message;
  EXPECT(scene_answers(scene, &message));
  EXPECT_EQUAL(MESSAGE_RESULT, message.type);
  EXPECT_EQUAL(call, message.id.counter);
  payload_unref(message.body);
}
