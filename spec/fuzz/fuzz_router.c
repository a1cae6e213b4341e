// Fuzzes the router with clients and workers that say anything the reader of frames lets through,
// at any time, come, go and die.
//
// Each call gets one outcome at most, which goes to its client while that is there, and has one when
// the router has ended; a worker gets calls only while it is ready, not more than its functions
// allow; the router's counts fit what it was told; it ends in time, and nothing is left.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/core/limits.h"
#include "../../host/core/message.h"
#include "../../host/core/payload.h"
#include "../../host/core/router.h"

#define MANIFEST "m"

enum { PEERS = 3, FUNCTIONS = 3, WORKERS = 3, PLACES = 8, IDS = 64, SENT = 64, TICKS = 64 };
enum { EPOCH = 7, MOST_IN_FLIGHT = 32 };

// A call as a client made it; further messages with its id may be the same call or a later one.
struct made {
  uint32_t said, outcomes;
  bool is_shared;  // others have used the id: a call whose id is in use is dropped
};

struct place {
  bool stands, ready, killed;
  uint32_t generation, sent_count;
  struct message sent[SENT];  // the calls it got last, without their bodies
};

struct state {
  const uint8_t *at, *end;
  struct router *router;
  int64_t now;
  uint32_t deployments, places;
  bool connected[PEERS], draining;
  uint32_t lives[PEERS];  // each has a session of its own
  struct made made[PEERS][IDS];
  uint64_t said;
  struct place place[PLACES];
};

static void expect(bool condition) {
  if (!condition) abort();
}

static uint8_t draw(struct state *state) {
  return state->at < state->end ? *state->at++ : 0;
}

// From nothing to about three days, each magnitude as likely.
static int64_t draw_time(struct state *state) {
  uint8_t shift = draw(state) % 48;
  return shift ? (int64_t)1 << shift : 0;
}

// ---- bodies ----

static struct payload *copy(const char *bytes, size_t size) {
  return payload_copy(bytes, size);
}

// What a scan of a frame lets through.
static struct payload *draw_body(struct state *state, enum message_type type) {
  switch (draw(state) % 8) {
    case 0:
      return type == MESSAGE_ERROR || type == MESSAGE_GOODBYE
                 ? copy("\x81\xa4name\xabRemoteError", 18)
                 : copy("\x91\x01", 2);
    case 1:
      return copy("\x91\x81\xa4name\xabRemoteError", 19);
    case 2:
      return copy("\x92\xa1" MANIFEST "\x81\x00\xcb\x40\x59\x00\x00\x00\x00\x00\x00", 14);
    case 3:
      return copy("\x92\xa1?\x80", 4);
    case 4:
      return copy("\x90", 1);
    case 5:
      return copy("\x92\xa1" MANIFEST "\x81\x09\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", 14);
    default:
      return copy("\x92\xa1" MANIFEST "\x80", 4);
  }
}

static void add_body(struct state *state, struct message *message) {
  enum body_rule rule = message_body(message->type);
  bool wanted = rule != BODY_NONE;
  if (wanted && rule != BODY_NEEDED) wanted = draw(state) & 1;
  if (wanted) message->body = draw_body(state, (enum message_type)message->type);
}

// ---- what the router does ----

static void answered(struct state *state, const struct action *action) {
  enum message_type type = (enum message_type)action->message.type;
  expect(action->peer < PEERS && state->connected[action->peer]);
  if (type != MESSAGE_RESULT && type != MESSAGE_ERROR) return;
  expect(action->message.id.counter < IDS);
  struct made *made = &state->made[action->peer][action->message.id.counter];
  expect(++made->outcomes <= made->said);
}

static void dispatched(struct state *state, const struct action *action) {
  struct place *place = &state->place[action->worker];
  expect(place->stands && place->generation == action->generation);
  if (action->message.type != MESSAGE_CALL) return;
  expect(place->ready && !place->killed && !state->draining);
  struct message *sent = &place->sent[place->sent_count++ % SENT];
  *sent = action->message;
  sent->body = NULL;
  sent->key = NULL;
  sent->key_size = 0;
}

static void act(struct state *state) {
  struct action action;
  while (router_next(state->router, &action)) switch (action.type) {
      case ROUTER_SEND:
        if (action.peer == ROUTER_NONE)
          dispatched(state, &action);
        else
          answered(state, &action);
        payload_unref(action.message.body);
        break;
      case ROUTER_START:
        expect(!state->place[action.worker].stands && !state->draining);
        state->place[action.worker] =
            (struct place){.stands = true, .generation = action.generation};
        break;
      case ROUTER_KILL:
        expect(state->place[action.worker].stands && !state->place[action.worker].killed);
        state->place[action.worker].killed = true;
        break;
      case ROUTER_PARK:
      case ROUTER_UNPARK:
      case ROUTER_RECALL:
      case ROUTER_WITHDRAW:
      case ROUTER_LOG:
      case ROUTER_CLOSE:
        break;
    }
  for (uint32_t i = 0; i < state->places; i++) {
    struct worker_status status;
    expect(router_worker_status(state->router, i, &status));
    expect(status.in_flight <= MOST_IN_FLIGHT && (state->place[i].stands || !status.in_flight));
  }
  for (uint32_t i = 0; i < state->deployments; i++) {
    struct deployment_status status;
    expect(router_deployment_status(state->router, i, &status, state->now));
    payload_unref(status.failure);
    expect(status.queued + status.running <= state->said && status.ready <= status.places);
  }
}

// ---- clients ----

static void comes(struct state *state, uint32_t peer) {
  if (state->connected[peer]) return;
  for (uint32_t i = 0; i < IDS; i++) state->made[peer][i].said = state->made[peer][i].outcomes = 0;
  state->connected[peer] = true;
  state->lives[peer]++;
  router_client(state->router, peer, state->now);
}

static void goes(struct state *state, uint32_t peer) {
  if (!state->connected[peer]) return;
  state->connected[peer] = false;
  router_client_gone(state->router, peer, state->now);
}

static struct call_id draw_id(struct state *state, uint32_t peer) {
  uint8_t byte = draw(state);
  uint32_t owner = byte & 64 ? draw(state) % PEERS : peer;
  return (struct call_id){PEERS * state->lives[owner] + owner, 1 + byte % (IDS - 1)};
}

static void says(struct state *state, uint32_t peer) {
  static const enum message_type types[] = {MESSAGE_CALL,   MESSAGE_CALL,   MESSAGE_CALL,
                                            MESSAGE_CANCEL, MESSAGE_CREDIT, MESSAGE_RESULT,
                                            MESSAGE_READY,  MESSAGE_PONG};
  if (!state->connected[peer]) return;
  uint8_t rare = draw(state);
  struct message message = {.type = (uint8_t)types[draw(state) % 8],
                            .id = draw_id(state, peer),
                            .attempt = 1,
                            .function = draw(state) % (FUNCTIONS + 1),
                            .workload = draw(state) % 4,
                            .remaining = draw_time(state)};
  if (rare & 1) message.flags = draw(state);
  if (rare & 2) message.priority = draw(state);
  if (rare & 4) message.queue_timeout = draw_time(state);
  if (rare & 8) message.attempts = draw(state) % 5;
  if (rare & 16) message.parent = draw_id(state, peer);
  if (rare & 32) message.credit = draw(state) * 1000U;
  if (rare & 64) message.key = "key and more", message.key_size = 1 + draw(state) % 3;
  if (rare & 128) message.attempt = draw(state);
  add_body(state, &message);
  if (message.type == MESSAGE_CALL) {
    state->made[peer][message.id.counter].said++;
    uint32_t owner = (uint32_t)(message.id.session % PEERS);
    // The router has a session of its own for what it begins by a key.
    if (owner != peer || message.id.session == EPOCH)
      for (uint32_t i = 0; i < PEERS; i++) state->made[i][message.id.counter].is_shared = true;
    state->said += 2;  // a call with a key may have a run beside it
  }
  router_client_message(state->router, peer, draw(state) % (state->deployments + 1), &message,
                        state->now);
}

// ---- workers ----

static void worker_says(struct state *state, uint32_t number) {
  static const enum message_type types[] = {
      MESSAGE_RESULT,  MESSAGE_RESULT,   MESSAGE_ERROR, MESSAGE_GIVE_BACK, MESSAGE_STARTED,
      MESSAGE_ITEM,    MESSAGE_PROGRESS, MESSAGE_READY, MESSAGE_PONG,      MESSAGE_SCORE,
      MESSAGE_GOODBYE, MESSAGE_RECYCLE,  MESSAGE_CALL,  MESSAGE_CANCEL};
  struct place *place = &state->place[number];
  const struct place *other = &state->place[draw(state) % state->places];
  uint8_t wrong = draw(state);
  struct message message = {.epoch = EPOCH};
  const struct place *about = wrong & 1 && draw(state) % 4 == 0 ? other : place;
  if (about->sent_count) {
    uint32_t count = about->sent_count < SENT ? about->sent_count : SENT;
    message = about->sent[(about->sent_count - 1 - draw(state) % count) % SENT];
  }
  message.type = (uint8_t)types[draw(state) % (sizeof types / sizeof *types)];
  message.generation = place->generation;
  message.elapsed = draw_time(state);
  message.n = message.total = draw(state);
  message.reason = draw(state) % 6;
  message.batch = 0;
  if (wrong & 2) message.attempt += draw(state) % 3;
  if (wrong & 4) message.epoch += draw(state) % 2;
  if (wrong & 8) message.sequence += draw(state) % 3;
  if (wrong & 16) message.id = draw_id(state, 0);
  if (wrong & 32) message.function = draw(state) % (FUNCTIONS + 1);
  if (wrong & 64) message.generation--;
  if (wrong & 128) message.resident = (uint64_t)draw(state) << 20;
  message.body = NULL;
  add_body(state, &message);
  // A READY that comes true is seen by its effect alone: calls.
  if (message.type == MESSAGE_READY) place->ready = true;
  router_worker_message(state->router, number,
                        wrong & 64 ? place->generation - 1 : place->generation, &message,
                        state->now);
}

static void dies(struct state *state, uint32_t number) {
  struct place *place = &state->place[number];
  uint8_t how = draw(state);
  if (!place->stands) return;
  uint64_t entered = place->sent_count && how & 64
                         ? place->sent[(place->sent_count - 1) % SENT].sequence - (how >> 7)
                         : 0;
  place->stands = false;
  router_worker_lost(state->router, number, place->generation, (enum lost_reason)(how % 5),
                     how % 16, entered, state->now);
}

static void tells_page(struct state *state, uint32_t number) {
  const struct place *place = &state->place[number];
  if (place->stands && place->sent_count)
    router_worker_entered(state->router, number, place->generation,
                          place->sent[(place->sent_count - 1) % SENT].sequence);
}

// ---- time ----

static void passes(struct state *state, int64_t time) {
  int64_t until = state->now + time, deadline;
  for (int i = 0; i < TICKS && (deadline = router_deadline(state->router)) <= until; i++) {
    if (deadline > state->now) state->now = deadline;
    router_tick(state->router, state->now);
    act(state);
  }
  state->now = until;
  router_tick(state->router, state->now);
}

// ---- from the first to the last ----

static void opens(struct state *state) {
  uint8_t byte = draw(state);
  struct router_options options = {.seed = byte,
                                   .epoch = EPOCH,
                                   .heartbeat = byte & 1 ? NANOSECONDS_PER_SECOND : 0,
                                   .heartbeat_misses = 3};
  state->router = router_new(&options);
  state->now = 1000 * NANOSECONDS_PER_SECOND;
  for (uint32_t i = 0; i < 1U + (byte >> 1) % 2; i++) {
    struct router_function functions[FUNCTIONS] = {0};
    uint32_t count = 1 + draw(state) % FUNCTIONS;
    for (uint32_t k = 0; k < count; k++) {
      uint8_t kind = draw(state);
      functions[k].concurrency = 1 + (kind & 3);
      functions[k].idempotent = kind & 4;
      functions[k].batch_size = kind & 8 ? 2 + (kind & 3) : 0;
      functions[k].batch_wait = kind & 8 ? draw_time(state) % NANOSECONDS_PER_SECOND : 0;
      functions[k].timeout = kind & 16 ? draw_time(state) : 0;
      functions[k].max_calls = kind & 32 ? 1 + draw(state) % 4 : 0;
      functions[k].max_rss = kind & 64 ? 1 << 20 : 0;
      functions[k].retry_on = kind & 128 && kind & 4 ? "RemoteError" : NULL;
    }
    struct router_deployment_options deployment = {.name = "d",
                                                   .functions = functions,
                                                   .function_count = count,
                                                   .manifest = MANIFEST,
                                                   .manifest_size = 1,
                                                   .workers = 1 + draw(state) % WORKERS};
    if (router_deployment(state->router, &deployment, state->now) == ROUTER_NONE) continue;
    struct deployment_status status;
    router_deployment_status(state->router, state->deployments++, &status, state->now);
    payload_unref(status.failure);
    state->places = status.first_worker + status.places;
    expect(state->places <= PLACES);
  }
  act(state);
}

static void steps(struct state *state) {
  uint8_t kind = draw(state), which = draw(state);
  uint32_t peer = which % PEERS, worker = which % state->places;
  switch (kind % 16) {
    case 0:
      comes(state, peer);
      break;
    case 1:
      goes(state, peer);
      break;
    case 2:
      dies(state, worker);
      break;
    case 3:
      tells_page(state, worker);
      break;
    case 4:
    case 5:
      passes(state, draw_time(state));
      break;
    case 6:
      if (which != 255) break;
      router_drain(state->router, state->now);
      state->draining = true;
      break;
    case 7:
    case 8:
    case 9:
    case 10:
      says(state, peer);
      break;
    default:
      worker_says(state, worker);
  }
  act(state);
}

static void ends(struct state *state) {
  router_drain(state->router, state->now);
  state->draining = true;
  act(state);
  int64_t latest = state->now + LIMIT_DRAIN + NANOSECONDS_PER_SECOND;
  while (!router_drained(state->router)) {
    for (uint32_t i = 0; i < state->places; i++)
      if (state->place[i].killed) dies(state, i);
    act(state);
    if (router_drained(state->router)) break;
    int64_t deadline = router_deadline(state->router);
    expect(deadline <= latest);
    if (deadline > state->now) state->now = deadline;
    router_tick(state->router, state->now);
    act(state);
  }
  for (uint32_t peer = 0; peer < PEERS; peer++)
    for (uint32_t i = 0; i < IDS && state->connected[peer]; i++)
      expect(!state->made[peer][i].said || state->made[peer][i].outcomes ||
             state->made[peer][i].is_shared);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct state *state = calloc(1, sizeof *state);
  state->at = data;
  state->end = data + size;
  opens(state);
  while (state->at < state->end && state->places) steps(state);
  ends(state);
  router_free(state->router);
  free(state);
  return 0;
}
