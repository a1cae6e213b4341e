#include <inttypes.h>

#include "../../host/core/router_metrics.h"
#include "world.h"

struct counts *counts_of(struct world *world, const struct record *record) {
  if (record->deployment >= world->app_count) return &world->nowhere;
  struct app *app = &world->apps[record->deployment];
  return record->function < app->function_count ? &app->counts[record->function] : &world->nowhere;
}

static void judge(struct world *world, uint32_t deployment, uint32_t function) {
  const struct counts *counts = &world->apps[deployment].counts[function];
  struct function_metrics metrics;
  bool found = router_function_metrics(world->router, deployment, function, &metrics);
  REQUIRE(world, found, "the router has no counts of a function");
  uint64_t ended = 0;
  for (uint32_t i = 0; i < METRIC_OUTCOMES; i++) ended += metrics.outcomes[i];
#define AGREE(mine, theirs)                                                                       \
  REQUIRE(world, (mine) == (theirs),                                                              \
          "the router has counted %" PRIu64 " (" #theirs ") of function %u, there were %" PRIu64, \
          (uint64_t)(theirs), function, (uint64_t)(mine))
  AGREE(counts->admitted, metrics.admitted);
  AGREE(counts->refused, metrics.refused);
  AGREE(counts->dispatched, metrics.dispatched);
  AGREE(counts->retried, metrics.retries);
  AGREE(counts->requeued, metrics.requeues);
  AGREE(counts->results, metrics.outcomes[OUTCOME_OK]);
  for (int i = 0; i < ERROR_NAMES; i++)
    AGREE(counts->errors[i] + (i == ERROR_CANCELLED ? counts->vanished : 0), metrics.outcomes[i]);
  AGREE(metrics.admitted + metrics.refused, ended + metrics.in_flight);
#undef AGREE
}

// Which worker a call is counted with is for the unit checks.
void counts_judge(struct world *world) {
  for (uint32_t i = 0; i < world->app_count; i++)
    for (uint32_t k = 0; k < world->apps[i].function_count; k++) judge(world, i, k);
}
