// Prints every number of some simulations exactly, for a comparison of two builds.
#include <stdio.h>
#include <string.h>

#include "../../../host/core/autoscale.h"
#include "../../../host/core/router.h"
#include "../../../host/simulate/simulate.h"

static void print_times(const char *name, const struct histogram *times) {
  printf("  %s %llu %a %lld", name, (unsigned long long)times->count, times->sum,
         (long long)times->most);
  for (int share = 1; share < 100; share += 7)
    printf(" %a", histogram_quantile(times, share / 100.0));
  printf("\n");
}

static void print_result(const struct simulation_result *result) {
  printf("  %a %llu %llu %a\n", result->seconds, (unsigned long long)result->calls,
         (unsigned long long)result->failed, result->work_done);
  print_times("wait", &result->wait);
  print_times("latency", &result->latency);
  for (uint32_t i = 0; i < result->worker_count; i++) {
    const struct simulation_worker *worker = &result->workers[i];
    printf("  %llu %a %a %a %a %u %u\n", (unsigned long long)worker->calls, worker->busy,
           worker->ready, worker->starting, worker->parked, worker->starts, worker->deaths);
  }
  for (uint32_t i = 0; i < result->sample_count; i++) {
    const struct simulation_sample *sample = &result->samples[i];
    printf("  %a %u %u %u %u %u %u %a %a\n", sample->at, sample->arrived, sample->ended,
           sample->waiting, sample->active, sample->starting, sample->parked, sample->p50,
           sample->p99);
  }
}

int main(void) {
  const struct router_function functions[] = {{.concurrency = 1, .benchmarked = true},
                                              {.concurrency = 2, .idempotent = true}};
  const struct simulation_kind kinds[] = {
      {.count = 3, .speed = 100, .start = 8, .spread = 0.3, .faults = 0.01, .deaths = 20},
      {.count = 2, .speed = 37, .start = 5, .round_trip = 0.02}};
  const struct simulation_change change = {.worker = 1, .at = 400, .factor = 20};
  const double shares[] = {0.75, 0.25};
  struct autoscale_options scaling = autoscale_defaults();
  scaling.max_workers = 5;
  scaling.min_load = 20;
  for (int shape = ARRIVALS_EVEN; shape < ARRIVALS_TRACE; shape++) {
    for (int policy = 0; policy < 2 * POLICIES; policy++) {
      if (policy > POLICIES) continue;
      bool scaled = policy == POLICIES;
      struct simulation_options options = {
          .policy = scaled ? POLICY_FARSIDE : (enum policy)policy,
          .seed = (uint64_t)(shape * 100 + policy),
          .arrivals = {.shape = (enum arrivals_shape)shape,
                       .rate = 2,
                       .high = 6,
                       .swing = 0.7,
                       .period = 300,
                       .length = 60,
                       .closed = 8,
                       .seconds = 1000,
                       .workload = (enum workload_shape)(policy % 5),
                       .mean = 100,
                       .spread = 1.5,
                       .told_wrong = 0.3,
                       .noise = 0.2,
                       .shares = shares,
                       .function_count = 2},
          .kinds = kinds,
          .kind_count = 2,
          .functions = functions,
          .function_count = 2,
          .scaling = scaled ? &scaling : NULL,
          .changes = &change,
          .change_count = 1,
          .sample_count = 20};
      struct simulation *simulation = simulation_new(&options);
      while (!simulation_run(simulation, 1e5)) {
      }
      printf("shape %d, %s%s\n", shape, policy_name(options.policy), scaled ? ", scaled" : "");
      print_result(simulation_result(simulation));
      simulation_free(simulation);
    }
  }
  return 0;
}
