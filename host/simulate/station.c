// Simulated workers: each runs the calls it gets in their order, as many at once as their functions
// allow.
#include <string.h>

#include "../core/memory.h"
#include "simulate_state.h"

static uint32_t concurrency_of(const struct simulation *simulation,
                               const struct simulated_call *call) {
  return simulation->options.functions[call->function].concurrency;
}

static int64_t half_trip(const struct station *station) {
  return (int64_t)(station->kind->round_trip * 0.5e9 + 0.5);
}

// ---- life ----

void stations_open(struct simulation *simulation, uint32_t least) {
  const struct simulation_options *options = &simulation->options;
  uint32_t count = 0, number = 0;
  for (uint32_t i = 0; i < options->kind_count; i++) count += options->kinds[i].count;
  if (count < least) count = least;
  simulation->stations = xcalloc(count, sizeof *simulation->stations);
  simulation->station_count = count;
  for (uint32_t i = 0; i < options->kind_count; i++) {
    bool is_last = i + 1 == options->kind_count;
    uint32_t end = is_last ? count : number + options->kinds[i].count;
    for (; number < end; number++)
      simulation->stations[number] = (struct station){.kind = &options->kinds[i],
                                                      .since = simulation->now,
                                                      .first = NOBODY,
                                                      .last = NOBODY,
                                                      .next_up = NOBODY,
                                                      .factor = 1};
  }
}

void station_settle(struct simulation *simulation, uint32_t number) {
  struct station *station = &simulation->stations[number];
  double seconds = (double)(simulation->now - station->since) * 1e-9;
  station->since = simulation->now;
  if (station->state == STATION_STARTING) station->tally.starting += seconds;
  if (station->state == STATION_READY) station->tally.ready += seconds;
  if (station->state == STATION_PARKED) station->tally.parked += seconds;
}

static void enter(struct simulation *simulation, uint32_t number, enum station_state state) {
  station_settle(simulation, number);
  simulation->stations[number].state = state;
}

double station_start_time(struct simulation *simulation, uint32_t number) {
  const struct simulation_kind *kind = simulation->stations[number].kind;
  return chance_lognormal(&simulation->fate, kind->start, kind->spread);
}

void station_start(struct simulation *simulation, uint32_t number, uint32_t generation,
                   double seconds) {
  struct station *station = &simulation->stations[number];
  enter(simulation, number, STATION_STARTING);
  station->generation = generation;
  station->entered = 0;
  station->drains = false;
  station->tally.starts++;
  calendar_add(&simulation->calendar, (struct event){.at = simulation_after(simulation, seconds),
                                                     .kind = EVENT_READY,
                                                     .station = number,
                                                     .stamp = generation});
}

void station_ready(struct simulation *simulation, uint32_t number) {
  struct station *station = &simulation->stations[number];
  enter(simulation, number, STATION_READY);
  if (!(station->kind->deaths > 0)) return;
  double life = chance_exponential(&simulation->fate, 3600 / station->kind->deaths);
  calendar_add(&simulation->calendar, (struct event){.at = simulation_after(simulation, life),
                                                     .kind = EVENT_DIES,
                                                     .station = number,
                                                     .stamp = station->generation});
}

void station_park(struct simulation *simulation, uint32_t number, bool parked) {
  enter(simulation, number, parked ? STATION_PARKED : STATION_READY);
  simulation->stations[number].tally.parks += parked;
  simulation->stations[number].tally.unparks += !parked;
}

void station_changes(struct simulation *simulation, uint32_t number, double factor) {
  simulation->stations[number].factor = factor;
}

// ---- calls ----

static void link_call(struct simulation *simulation, uint32_t number, uint32_t index) {
  struct station *station = &simulation->stations[number];
  struct simulated_call *call = &simulation->calls[index];
  call->station = number;
  call->previous = station->last;
  call->next = NOBODY;
  if (station->last != NOBODY)
    simulation->calls[station->last].next = index;
  else
    station->first = index;
  station->last = index;
  if (station->next_up == NOBODY) station->next_up = index;
  station->count++;
}

static void unlink_call(struct simulation *simulation, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  struct station *station = &simulation->stations[call->station];
  if (station->next_up == index) station->next_up = call->next;
  if (call->previous != NOBODY)
    simulation->calls[call->previous].next = call->next;
  else
    station->first = call->next;
  if (call->next != NOBODY)
    simulation->calls[call->next].previous = call->previous;
  else
    station->last = call->previous;
  station->count--;
  call->run++;  // what was to happen to it there will not
}

static bool has_room(const struct simulation *simulation, const struct station *station,
                     const struct simulated_call *call) {
  if (!station->running) return true;
  return station->running < station->slots && station->running < concurrency_of(simulation, call);
}

static void begin(struct simulation *simulation, struct station *station, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  uint32_t concurrency = concurrency_of(simulation, call);
  station->next_up = call->next;
  if (!station->running || concurrency < station->slots) station->slots = concurrency;
  station->running++;
  if (call->sequence > station->entered) station->entered = call->sequence;
  call->begun = simulation->now;
  simulation_place(simulation, index, CALL_RUNS);
  double seconds = call->work * concurrency / station->kind->speed * station->factor;
  calendar_add(&simulation->calendar, (struct event){.at = simulation_after(simulation, seconds),
                                                     .kind = EVENT_ENDS,
                                                     .call = index,
                                                     .stamp = call->run});
}

static void begin_next(struct simulation *simulation, struct station *station) {
  while (station->next_up != NOBODY) {
    struct simulated_call *call = &simulation->calls[station->next_up];
    if (!call->is_there || !has_room(simulation, station, call)) return;
    begin(simulation, station, station->next_up);
  }
}

void station_send(struct simulation *simulation, uint32_t number, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  struct station *station = &simulation->stations[number];
  int64_t way = half_trip(station);
  link_call(simulation, number, index);
  call->run++;
  call->holds++;
  call->is_there = !way;
  if (!way)
    begin_next(simulation, station);
  else
    calendar_add(
        &simulation->calendar,
        (struct event){
            .at = simulation->now + way, .kind = EVENT_GETS, .call = index, .stamp = call->run});
}

void station_gets(struct simulation *simulation, uint32_t index, uint32_t run) {
  struct simulated_call *call = &simulation->calls[index];
  if (call->run != run) return;
  call->is_there = true;
  begin_next(simulation, &simulation->stations[call->station]);
}

// The call is taken off its station. What it took there counts as work.
static void leave(struct simulation *simulation, uint32_t index) {
  struct simulated_call *call = &simulation->calls[index];
  struct station *station = &simulation->stations[call->station];
  call->elapsed = 0;
  if (call->place == CALL_RUNS) {
    station->running--;
    call->elapsed = simulation->now - call->begun;
    station->tally.busy += (double)call->elapsed * 1e-9 / concurrency_of(simulation, call);
  }
  unlink_call(simulation, index);
}

static void answer(struct simulation *simulation, uint32_t index, uint32_t number, bool ok,
                   bool at_once) {
  struct simulated_call *call = &simulation->calls[index];
  struct station *station = &simulation->stations[number];
  int64_t way = half_trip(station);
  call->ok = ok;
  simulation_place(simulation, index, CALL_OVER);
  if (call->counts) station->tally.calls++;
  if (!way && at_once && simulation_has_router(simulation)) {
    shell_answered(simulation, index, number, station->generation);
  } else if (!way && at_once) {
    policies_answered(simulation, index);
  } else {
    calendar_add(&simulation->calendar, (struct event){.at = simulation->now + way,
                                                       .kind = EVENT_ANSWERED,
                                                       .station = number,
                                                       .call = index,
                                                       .stamp = station->generation});
  }
}

void station_ends(struct simulation *simulation, uint32_t index, uint32_t run) {
  struct simulated_call *call = &simulation->calls[index];
  if (call->run != run) return;
  uint32_t number = call->station;
  struct station *station = &simulation->stations[number];
  double faults = station->kind->faults;
  leave(simulation, index);
  begin_next(simulation, station);
  bool ok = !(faults > 0 && chance_uniform(&simulation->fate) < faults);
  answer(simulation, index, number, ok, true);
  station_may_end(simulation, number);
}

void station_cancel(struct simulation *simulation, uint32_t index) {
  uint32_t number = simulation->calls[index].station;
  struct station *station = &simulation->stations[number];
  leave(simulation, index);
  answer(simulation, index, number, false, false);
  begin_next(simulation, station);
  station_may_end(simulation, number);
}

// ---- death ----

void station_may_end(struct simulation *simulation, uint32_t number) {
  struct station *station = &simulation->stations[number];
  if (!station->drains || station->count) return;
  calendar_add(&simulation->calendar, (struct event){.at = simulation->now,
                                                     .kind = EVENT_DIES,
                                                     .station = number,
                                                     .stamp = station->generation});
}

void station_dies(struct simulation *simulation, uint32_t number, uint32_t generation) {
  struct station *station = &simulation->stations[number];
  if (station->generation != generation || station->state == STATION_NONE) return;
  enter(simulation, number, STATION_NONE);
  if (station->drains)
    station->tally.stops++;
  else
    station->tally.deaths++;
  while (station->first != NOBODY) {
    uint32_t index = station->first;
    bool begun = simulation->calls[index].place == CALL_RUNS;
    leave(simulation, index);
    if (begun) simulation_place(simulation, index, CALL_WAITS);
    if (!simulation_has_router(simulation)) policies_orphan(simulation, index, begun);
    simulation_let_go(simulation, index);
  }
  calendar_add(&simulation->calendar, (struct event){.at = simulation->now + half_trip(station),
                                                     .kind = EVENT_LOST,
                                                     .station = number,
                                                     .stamp = generation});
}
