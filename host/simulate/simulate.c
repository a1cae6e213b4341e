#include "simulate.h"

#include <string.h>

#include "../core/autoscale.h"
#include "../core/memory.h"
#include "simulate_state.h"
#include "trace.h"

static const double kForever = 9e9;  // seconds that fit into nanoseconds

static double seconds_of(const struct simulation *simulation) {
  return (double)(simulation->now - ORIGIN) * 1e-9;
}

// ---- calls ----

static uint32_t new_call(struct simulation *simulation) {
  uint32_t index = simulation->free_call;
  simulation->living++;
  if (index != NOBODY) {
    simulation->free_call = simulation->calls[index].next;
    return index;
  }
  if (simulation->call_count == simulation->call_capacity) {
    simulation->call_capacity = simulation->call_capacity ? 2 * simulation->call_capacity : 256;
    simulation->calls =
        xrealloc(simulation->calls, simulation->call_capacity * sizeof *simulation->calls);
  }
  simulation->calls[simulation->call_count] = (struct simulated_call){0};
  return simulation->call_count++;
}

void simulation_let_go(struct simulation *simulation, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  if (--call->holds) return;
  simulation_place(simulation, index, CALL_OVER);
  call->next = simulation->free_call;
  simulation->free_call = index;
  simulation->living--;
}

void simulation_place(struct simulation *simulation, uint32_t index, enum call_place place) {
  struct simulated_call *call = &simulation->calls[index];
  simulation->waiting -= call->place == CALL_WAITS;
  simulation->runs -= call->place == CALL_RUNS;
  simulation->waiting += place == CALL_WAITS;
  simulation->runs += place == CALL_RUNS;
  call->place = place;
  if (place != CALL_RUNS || call->has_begun) return;
  call->has_begun = true;
  if (call->counts) histogram_add(&simulation->result.wait, simulation->now - call->arrived);
}

void simulation_over(struct simulation *simulation, uint32_t index, enum error_name error) {
  struct simulated_call *call = &simulation->calls[index];
  struct simulation_result *result = &simulation->result;
  int64_t latency = simulation->now - call->arrived;
  bool ok = error == ERROR_NAMES, closed = simulation->arrivals.options.shape == ARRIVALS_CLOSED;
  simulation->ended++;
  simulation->failed += !ok;
  if (ok && simulation->lately) histogram_add(simulation->lately, latency);
  if (call->counts) {
    result->ended++;
    if (ok) histogram_add(&result->latency, latency);
    if (ok) result->work_done += call->work;
    if (ok && simulation->now <= simulation->horizon) result->work_in_time += call->work;
    if (!ok) result->failed++, result->errors[error]++;
    // One that never ran has waited for nothing, unless it was refused at once.
    if (!call->has_begun && latency > 0) histogram_add(&result->wait, latency);
  }
  if (closed && simulation->now < simulation->horizon)
    calendar_add(&simulation->calendar,
                 (struct event){.at = simulation->now, .kind = EVENT_ARRIVES});
  if (call->place == CALL_WAITS) simulation_place(simulation, index, CALL_OVER);
  simulation_let_go(simulation, index);
}

static void arrive(struct simulation *simulation, const struct arrival *arrival) {
  uint32_t index = new_call(simulation);
  struct simulated_call *call = &simulation->calls[index];
  uint32_t serial = call->serial + 1, run = call->run;
  *call = (struct simulated_call){.arrived = simulation->now,
                                  .workload = arrival->workload,
                                  .work = arrival->work,
                                  .function = arrival->function,
                                  .station = NOBODY,
                                  .previous = NOBODY,
                                  .next = NOBODY,
                                  .serial = serial ? serial : 1,
                                  .run = run + 1,
                                  .holds = 1,
                                  .place = CALL_WAITS,
                                  .counts = simulation->now >= simulation->measured_from};
  simulation->waiting++;
  simulation->arrived++;
  if (call->counts) {
    simulation->result.calls++;
    simulation->result.work_come += call->work;
  }
  if (simulation_has_router(simulation))
    shell_arrives(simulation, index);
  else
    policies_arrives(simulation, index);
}

static void fetch(struct simulation *simulation) {
  simulation->comes = arrivals_next(&simulation->arrivals, &simulation->coming);
  simulation->coming.at += ORIGIN;
}

// ---- samples ----

static void count_stations(const struct simulation *simulation, struct simulation_sample *sample) {
  for (uint32_t i = 0; i < simulation->station_count; i++) {
    enum station_state state = simulation->stations[i].state;
    sample->active += state == STATION_READY;
    sample->starting += state == STATION_STARTING;
    sample->parked += state == STATION_PARKED;
  }
}

static void take_sample(struct simulation *simulation) {
  struct simulation_result *result = &simulation->result;
  if (result->sample_count == simulation->sample_capacity) return;
  struct simulation_sample *sample = &simulation->samples[result->sample_count++];
  *sample = (struct simulation_sample){.at = seconds_of(simulation),
                                       .arrived = simulation->arrived,
                                       .ended = simulation->ended,
                                       .failed = simulation->failed,
                                       .waiting = simulation->waiting,
                                       .running = simulation->runs,
                                       .p50 = histogram_quantile(simulation->lately, 0.5),
                                       .p99 = histogram_quantile(simulation->lately, 0.99)};
  count_stations(simulation, sample);
  simulation->arrived = simulation->ended = simulation->failed = 0;
  memset(simulation->lately, 0, sizeof *simulation->lately);
  calendar_add(
      &simulation->calendar,
      (struct event){.at = simulation->now + simulation->sample_every, .kind = EVENT_SAMPLE});
}

// ---- time ----

static void happen(struct simulation *simulation, const struct event *event) {
  bool routed = simulation_has_router(simulation);
  struct station *station = &simulation->stations[event->station];
  switch (event->kind) {
    case EVENT_ARRIVES: {
      struct arrival arrival;
      arrivals_follow(&simulation->arrivals, simulation->now, &arrival);
      arrive(simulation, &arrival);
      break;
    }
    case EVENT_GETS:
      station_gets(simulation, event->call, event->stamp);
      break;
    case EVENT_ENDS:
      station_ends(simulation, event->call, event->stamp);
      break;
    case EVENT_ANSWERED:
      if (routed)
        shell_answered(simulation, event->call, event->station, event->stamp);
      else
        policies_answered(simulation, event->call);
      break;
    case EVENT_READY:
      if (station->generation != event->stamp || station->state != STATION_STARTING) break;
      station_ready(simulation, event->station);
      if (routed)
        shell_ready(simulation, event->station);
      else
        policies_ready(simulation);
      break;
    case EVENT_DIES:
      station_dies(simulation, event->station, event->stamp);
      break;
    case EVENT_LOST:
      if (routed)
        shell_lost(simulation, event->station, event->stamp);
      else
        policies_lost(simulation, event->station);
      break;
    case EVENT_SPEED:
      station_changes(simulation, event->station, simulation->options.changes[event->call].factor);
      break;
    case EVENT_SAMPLE:
      take_sample(simulation);
  }
}

static bool is_over(const struct simulation *simulation) {
  return !simulation->comes && !simulation->living && simulation->now >= simulation->horizon;
}

static void step(struct simulation *simulation, int64_t at) {
  simulation->now = at;
  if (calendar_first(&simulation->calendar) == at) {
    struct event event = calendar_take(&simulation->calendar);
    happen(simulation, &event);
  } else if (simulation->comes && simulation->coming.at == at) {
    struct arrival arrival = simulation->coming;
    fetch(simulation);
    arrive(simulation, &arrival);
  } else if (simulation->router) {
    shell_tick(simulation);
  }
}

bool simulation_run(struct simulation *simulation, double until) {
  int64_t limit = until < kForever ? ORIGIN + (int64_t)(until * 1e9) : INT64_MAX;
  while (!is_over(simulation)) {
    int64_t at = calendar_first(&simulation->calendar);
    if (simulation->comes && simulation->coming.at < at) at = simulation->coming.at;
    int64_t deadline = simulation->router ? router_deadline(simulation->router) : INT64_MAX;
    if (deadline < at) at = deadline;
    if (at < simulation->now) at = simulation->now;
    // Nothing is left that the time up to the horizon could bring.
    if (at > simulation->horizon && !simulation->comes && !simulation->living)
      at = simulation->horizon;
    if (at > limit) return false;
    step(simulation, at);
  }
  return true;
}

// ---- life ----

static double end_of(const struct simulation_options *options) {
  const struct arrivals_options *arrivals = &options->arrivals;
  if (arrivals->shape != ARRIVALS_TRACE) return arrivals->seconds;
  double last = arrivals->trace->calls[arrivals->trace->count - 1].arrival;
  return arrivals->seconds > 0 && arrivals->seconds < last ? arrivals->seconds : last;
}

static void *copy_of(const void *list, size_t count, size_t size) {
  void *copy = xcalloc(count ? count : 1, size);
  if (count) memcpy(copy, list, count * size);
  return copy;
}

static void copy_options(struct simulation *simulation, const struct simulation_options *options) {
  struct simulation_options *own = &simulation->options;
  *own = *options;
  own->kinds = copy_of(options->kinds, options->kind_count, sizeof *options->kinds);
  own->functions = copy_of(options->functions, options->function_count, sizeof *options->functions);
  if (options->scaling) own->scaling = copy_of(options->scaling, 1, sizeof *options->scaling);
  own->changes = copy_of(options->changes, options->change_count, sizeof *options->changes);
}

struct simulation *simulation_new(const struct simulation_options *options) {
  struct simulation *simulation = xcalloc(1, sizeof *simulation);
  copy_options(simulation, options);
  arrivals_init(&simulation->arrivals, &options->arrivals, options->seed);
  simulation->fate = chance_stream(options->seed, 3);
  simulation->choice = chance_stream(options->seed, 4);
  simulation->now = ORIGIN;
  simulation->free_call = NOBODY;
  double horizon = options->horizon > 0 ? options->horizon : end_of(options);
  simulation->horizon = simulation_after(simulation, horizon);
  simulation->measured_from = simulation_after(simulation, options->measured_from);
  if (options->sample_count) {
    simulation->sample_capacity = options->sample_count;
    simulation->samples = xcalloc(options->sample_count, sizeof *simulation->samples);
    simulation->lately = xcalloc(1, sizeof *simulation->lately);
    simulation->sample_every = (simulation->horizon - ORIGIN) / options->sample_count + 1;
    calendar_add(&simulation->calendar,
                 (struct event){.at = ORIGIN + simulation->sample_every, .kind = EVENT_SAMPLE});
  }
  if (simulation_has_router(simulation))
    shell_open(simulation);
  else
    policies_open(simulation);
  for (uint32_t i = 0; i < options->change_count; i++)
    calendar_add(&simulation->calendar,
                 (struct event){.at = simulation_after(simulation, options->changes[i].at),
                                .kind = EVENT_SPEED,
                                .station = options->changes[i].worker,
                                .call = i});
  if (options->arrivals.shape == ARRIVALS_CLOSED)
    for (uint32_t i = 0; i < options->arrivals.closed; i++)
      calendar_add(&simulation->calendar, (struct event){.at = ORIGIN, .kind = EVENT_ARRIVES});
  fetch(simulation);
  return simulation;
}

void simulation_free(struct simulation *simulation) {
  if (!simulation) return;
  shell_close(simulation);
  calendar_close(&simulation->calendar);
  free((void *)(uintptr_t)simulation->options.kinds);
  free((void *)(uintptr_t)simulation->options.functions);
  free((void *)(uintptr_t)simulation->options.changes);
  free((void *)(uintptr_t)simulation->options.scaling);
  free((void *)(uintptr_t)simulation->result.workers);
  free(simulation->calls);
  free(simulation->stations);
  free(simulation->unplaced);
  free(simulation->clients);
  free(simulation->samples);
  free(simulation->lately);
  free(simulation);
}

const struct simulation_result *simulation_result(struct simulation *simulation) {
  struct simulation_result *result = &simulation->result;
  struct simulation_worker *workers =
      xrealloc((void *)(uintptr_t)result->workers, simulation->station_count * sizeof *workers);
  for (uint32_t i = 0; i < simulation->station_count; i++) {
    station_settle(simulation, i);
    workers[i] = simulation->stations[i].tally;
    workers[i].speed = simulation->stations[i].kind->speed;
  }
  result->workers = workers;
  result->worker_count = simulation->station_count;
  result->samples = simulation->samples;
  result->seconds = seconds_of(simulation);
  return result;
}
