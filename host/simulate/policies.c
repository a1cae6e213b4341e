// How others choose a worker, by the book, to compare the router with. All of them decide when a
// call comes, and each worker has a queue of its own, first come, first served.
//
//   round robin             one after the other (nginx, HAProxy, LVS: the default)
//   least connections       the worker with the fewest calls that have not ended; among equals one
//                           after the other (HAProxy leastconn, nginx least_conn)
//   least connections       the same, divided by the worker's speed as its weight; among equals the
//     weighted by speed     smooth weighted round robin (nginx least_conn with weights, LVS wlc)
//   power of two choices    two workers at random, and the one of them with fewer calls
//                           (Mitzenmacher 2001, "The power of two choices in randomized load
//                           balancing")
//
// They know which workers are ready. Calls that a dead worker had not begun are placed again; those
// it had begun fail.
#include <string.h>

#include "../core/memory.h"
#include "simulate_state.h"

const char *policy_name(enum policy policy) {
  static const char *const names[] = {"farside", "round_robin", "least_connections",
                                      "least_connections_weighted", "power_of_two"};
  return policy < POLICIES ? names[policy] : "?";
}

static bool is_ready(const struct simulation *simulation, uint32_t number) {
  return simulation->stations[number].state == STATION_READY;
}

static uint32_t round_robin(struct simulation *simulation) {
  for (uint32_t i = 0; i < simulation->station_count; i++) {
    uint32_t number = simulation->turn++ % simulation->station_count;
    if (is_ready(simulation, number)) return number;
  }
  return NOBODY;
}

// Whether `a` has fewer calls for its weight than `b`.
static bool has_fewer(const struct station *a, double weight_a, const struct station *b,
                      double weight_b) {
  return a->count * weight_b < b->count * weight_a;
}

// Smooth weighted round robin, among those with the fewest calls: each gains its weight, and the
// one that has most pays the sum. With equal weights this is one after the other.
static uint32_t least_connections(struct simulation *simulation, bool weighted) {
  uint32_t least = NOBODY, chosen = NOBODY;
  double total = 0;
  for (uint32_t i = 0; i < simulation->station_count; i++) {
    const struct station *station = &simulation->stations[i];
    double weight = weighted ? station->kind->speed : 1;
    if (!is_ready(simulation, i)) continue;
    if (least == NOBODY || has_fewer(station, weight, &simulation->stations[least],
                                     weighted ? simulation->stations[least].kind->speed : 1))
      least = i;
  }
  if (least == NOBODY) return NOBODY;
  const struct station *best = &simulation->stations[least];
  double best_weight = weighted ? best->kind->speed : 1;
  for (uint32_t i = least; i < simulation->station_count; i++) {
    struct station *station = &simulation->stations[i];
    double weight = weighted ? station->kind->speed : 1;
    if (!is_ready(simulation, i) || has_fewer(best, best_weight, station, weight)) continue;
    station->current += weight;
    total += weight;
    if (chosen == NOBODY || station->current > simulation->stations[chosen].current) chosen = i;
  }
  simulation->stations[chosen].current -= total;
  return chosen;
}

static uint32_t random_ready(struct simulation *simulation, uint32_t ready) {
  uint32_t left = chance_below(&simulation->choice, ready), number = 0;
  while (!is_ready(simulation, number) || left--) number++;
  return number;
}

static uint32_t power_of_two(struct simulation *simulation) {
  uint32_t ready = 0;
  for (uint32_t i = 0; i < simulation->station_count; i++) ready += is_ready(simulation, i);
  if (!ready) return NOBODY;
  uint32_t first = random_ready(simulation, ready), second = random_ready(simulation, ready);
  return simulation->stations[second].count < simulation->stations[first].count ? second : first;
}

static uint32_t choose(struct simulation *simulation) {
  switch (simulation->options.policy) {
    case POLICY_LEAST_CONNECTIONS:
      return least_connections(simulation, false);
    case POLICY_LEAST_CONNECTIONS_WEIGHTED:
      return least_connections(simulation, true);
    case POLICY_POWER_OF_TWO:
      return power_of_two(simulation);
    default:
      return round_robin(simulation);
  }
}

static void keep(struct simulation *simulation, uint32_t index) {
  if (simulation->unplaced_count == simulation->unplaced_capacity) {
    simulation->unplaced_capacity =
        simulation->unplaced_capacity ? 2 * simulation->unplaced_capacity : 64;
    simulation->unplaced = xrealloc(simulation->unplaced,
                                    simulation->unplaced_capacity * sizeof *simulation->unplaced);
  }
  simulation->unplaced[simulation->unplaced_count++] = index;
}

void policies_arrives(struct simulation *simulation, uint32_t index) {
  uint32_t number = choose(simulation);
  if (number == NOBODY)
    keep(simulation, index);
  else
    station_send(simulation, number, index);
}

void policies_answered(struct simulation *simulation, uint32_t index) {
  bool ok = simulation->calls[index].ok;
  simulation_over(simulation, index, ok ? ERROR_NAMES : ERROR_REMOTE_ERROR);
  simulation_let_go(simulation, index);
}

void policies_ready(struct simulation *simulation) {
  uint32_t count = simulation->unplaced_count;
  simulation->unplaced_count = 0;
  for (uint32_t i = 0; i < count; i++) policies_arrives(simulation, simulation->unplaced[i]);
}

void policies_orphan(struct simulation *simulation, uint32_t index, bool begun) {
  if (begun)
    simulation_over(simulation, index, ERROR_WORKER_LOST);
  else
    policies_arrives(simulation, index);
}

void policies_lost(struct simulation *simulation, uint32_t number) {
  station_start(simulation, number, simulation->stations[number].generation + 1,
                station_start_time(simulation, number));
}

void policies_open(struct simulation *simulation) {
  stations_open(simulation, 0);
  for (uint32_t i = 0; i < simulation->station_count; i++) {
    station_start(simulation, i, 1, 0);
  }
}
