// The shell around the router in virtual time, as host/io is in a process.
#include <string.h>

#include "../core/cursor.h"
#include "../core/limits.h"
#include "../core/memory.h"
#include "../core/pack.h"
#include "../core/payload.h"
#include "simulate_state.h"

static const char kName[] = "simulated", kManifest[] = "simulated\n";

// ---- bodies ----

static struct payload *to_payload(struct buffer *buffer) {
  struct payload *payload = payload_copy(buffer->bytes, buffer->size);
  if (!payload) __builtin_trap();
  buffer_free(buffer);
  return payload;
}

static struct payload *empty_list(void) {
  struct buffer buffer = BUFFER_EMPTY;
  pack_array(&buffer, 0);
  return to_payload(&buffer);
}

static struct payload *fault(void) {
  struct error_writer writer;
  error_begin(&writer, ERROR_REMOTE_ERROR, EXECUTED_YES, false, "worker");
  return error_end(&writer);
}

// What a worker says when it is ready: its scores are what a benchmark would find now.
static struct payload *ready_body(const struct simulation *simulation,
                                  const struct station *station) {
  const struct simulation_options *options = &simulation->options;
  struct buffer buffer = BUFFER_EMPTY;
  size_t count = 0;
  for (uint32_t i = 0; i < options->function_count; i++) count += options->functions[i].benchmarked;
  pack_array(&buffer, 2);
  pack_text(&buffer, kManifest);
  pack_map(&buffer, count);
  for (uint32_t i = 0; i < options->function_count; i++) {
    if (!options->functions[i].benchmarked) continue;
    pack_uint(&buffer, i);
    pack_double(&buffer, station->kind->speed / station->factor);
  }
  return to_payload(&buffer);
}

static enum error_name name_of(const struct payload *body) {
  struct cursor map = cursor_of(body->parts[0].bytes, body->parts[0].size), name;
  const unsigned char *text;
  size_t count, size;
  if (!cursor_array(&map, &count) || !cursor_find(map, "name", &name) ||
      !cursor_str(&name, &text, &size))
    return ERROR_UNKNOWN;
  for (int i = 0; i < ERROR_NAMES; i++) {
    const char *known = error_text((enum error_name)i);
    if (strlen(known) == size && !memcmp(known, text, size)) return (enum error_name)i;
  }
  return ERROR_UNKNOWN;
}

// ---- actions ----

static uint32_t call_of(const struct simulation *simulation, struct call_id id) {
  uint32_t index = (uint32_t)(id.session - 1);
  bool is_known =
      id.session && index < simulation->call_count && simulation->calls[index].serial == id.counter;
  return is_known ? index : NOBODY;
}

static void to_worker(struct simulation *simulation, const struct action *action) {
  const struct message *message = &action->message;
  struct station *station = &simulation->stations[action->worker];
  uint32_t index;
  switch (message->type) {
    case MESSAGE_CALL:
      index = call_of(simulation, message->id);
      simulation->calls[index].sequence = message->sequence;
      simulation->calls[index].attempt = message->attempt;
      station_send(simulation, action->worker, index);
      break;
    case MESSAGE_CANCEL:
      index = call_of(simulation, message->id);
      if (index != NOBODY && simulation->calls[index].station == action->worker)
        station_cancel(simulation, index);
      break;
    case MESSAGE_DRAIN:
      station->drains = true;
      station_may_end(simulation, action->worker);
      break;
    default:
      break;
  }
}

static void to_client(struct simulation *simulation, const struct action *action) {
  const struct message *message = &action->message;
  uint32_t index = call_of(simulation, message->id);
  if (index == NOBODY) return;
  simulation->clients[action->peer]--;
  simulation_over(simulation, index,
                  message->type == MESSAGE_RESULT ? ERROR_NAMES : name_of(message->body));
}

static void park(struct simulation *simulation, const struct action *action) {
  const struct station *station = &simulation->stations[action->worker];
  bool is_there = station->state == STATION_READY || station->state == STATION_PARKED;
  if (is_there && station->generation == action->generation)
    station_park(simulation, action->worker, action->type == ROUTER_PARK);
}

static void act(struct simulation *simulation) {
  struct action action;
  simulation->result.decisions++;
  while (router_next(simulation->router, &action)) {
    switch (action.type) {
      case ROUTER_SEND:
        if (action.peer == ROUTER_NONE)
          to_worker(simulation, &action);
        else
          to_client(simulation, &action);
        payload_unref(action.message.body);
        break;
      case ROUTER_START: {
        // Those at the beginning have been there before it.
        bool first = simulation->now == ORIGIN;
        double seconds = first ? 0 : station_start_time(simulation, action.worker);
        station_start(simulation, action.worker, action.generation, seconds);
        break;
      }
      case ROUTER_KILL:
        calendar_add(&simulation->calendar, (struct event){.at = simulation->now,
                                                           .kind = EVENT_DIES,
                                                           .station = action.worker,
                                                           .stamp = action.generation});
        break;
      case ROUTER_PARK:
      case ROUTER_UNPARK:
        park(simulation, &action);
        break;
      default:
        break;  // nothing is handed ahead, nobody reads the log
    }
  }
}

// ---- events ----

// A client may have so many calls at a time; the next one is a client of its own.
static uint32_t client_with_room(struct simulation *simulation) {
  for (uint32_t i = 0; i < simulation->client_count; i++)
    if (simulation->clients[i] < LIMIT_IN_FLIGHT) return i;
  uint32_t number = simulation->client_count++;
  simulation->clients =
      xrealloc(simulation->clients, simulation->client_count * sizeof *simulation->clients);
  simulation->clients[number] = 0;
  router_client(simulation->router, number, simulation->now);
  return number;
}

void shell_arrives(struct simulation *simulation, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  call->client = client_with_room(simulation);
  simulation->clients[call->client]++;
  struct message message = {.type = MESSAGE_CALL,
                            .id = {index + 1, call->serial},
                            .attempt = 1,
                            .function = call->function,
                            .workload = call->workload,
                            .flags = CALL_DEFAULT_DEADLINE,
                            .body = payload_ref(simulation->arguments)};
  router_client_message(simulation->router, call->client, simulation->deployment, &message,
                        simulation->now);
  act(simulation);
}

void shell_answered(struct simulation *simulation, uint32_t index, uint32_t number,
                    uint32_t generation) {
  const struct simulated_call *call = &simulation->calls[index];
  struct message message = {
      .type = call->ok ? MESSAGE_RESULT : MESSAGE_ERROR,
      .id = {index + 1, call->serial},
      .attempt = call->attempt,
      .epoch = simulation->epoch,
      .sequence = call->sequence,
      .elapsed = call->elapsed,
      .body = payload_ref(call->ok ? simulation->results : simulation->fault)};
  router_worker_message(simulation->router, number, generation, &message, simulation->now);
  act(simulation);
  simulation_let_go(simulation, index);
}

void shell_ready(struct simulation *simulation, uint32_t number) {
  const struct station *station = &simulation->stations[number];
  struct message message = {.type = MESSAGE_READY,
                            .generation = station->generation,
                            .body = ready_body(simulation, station)};
  router_worker_message(simulation->router, number, station->generation, &message, simulation->now);
  act(simulation);
}

void shell_lost(struct simulation *simulation, uint32_t number, uint32_t generation) {
  const struct station *station = &simulation->stations[number];
  router_worker_lost(simulation->router, number, generation,
                     station->drains ? LOST_EXIT : LOST_SIGNAL, station->drains ? 0 : 9,
                     station->entered, simulation->now);
  act(simulation);
}

void shell_tick(struct simulation *simulation) {
  router_tick(simulation->router, simulation->now);
  act(simulation);
}

// ---- life ----

void shell_open(struct simulation *simulation) {
  const struct simulation_options *options = &simulation->options;
  simulation->epoch = UINT64_MAX;  // no session of a call
  simulation->arguments = empty_list();
  simulation->results = empty_list();
  simulation->fault = fault();
  uint32_t workers = 0;
  for (uint32_t i = 0; i < options->kind_count; i++) workers += options->kinds[i].count;
  simulation->router =
      router_new(&(struct router_options){.seed = options->seed, .epoch = simulation->epoch});
  simulation->deployment = router_deployment(simulation->router,
                                             &(struct router_deployment_options){
                                                 .name = kName,
                                                 .functions = options->functions,
                                                 .function_count = options->function_count,
                                                 .manifest = kManifest,
                                                 .manifest_size = sizeof kManifest - 1,
                                                 .workers = workers,
                                                 .scaling = options->scaling,
                                             },
                                             simulation->now);
  struct deployment_status status;
  if (!router_deployment_status(simulation->router, simulation->deployment, &status,
                                simulation->now))
    __builtin_trap();  // whoever made the options has checked them
  payload_unref(status.failure);
  stations_open(simulation, status.places);
  act(simulation);
}

void shell_close(struct simulation *simulation) {
  router_free(simulation->router);
  payload_unref(simulation->arguments);
  payload_unref(simulation->results);
  payload_unref(simulation->fault);
}
